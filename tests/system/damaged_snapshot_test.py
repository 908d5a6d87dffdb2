#!/usr/bin/env python3
"""Bytes flipped, files cut, lengthened, missing, exchanged: `crs verify` and `crs restart` end with 4, name the file, and start nothing.

Every byte of every file is flipped in the unit tests (tests/unit/store/snapshot_damage_test.cc); here a sample goes through the finished command.
CRS_TEST_FLIPS=N: how many positions beside those at the ends of the files (default 60; of those at the ends fewer, too, if it is less).
"""

import os
import random

from bad_input import Subject, check_message, copy_tree, main, tree_of
from harness import check

EDGE = 64
FLIPS = int(os.environ.get("CRS_TEST_FLIPS", "60"))


def snapshot_of(workspace, options):
    subject = Subject(workspace, options.subjects, job="sim")
    check(workspace.checkpoint("sim") == "sim@1", "a snapshot with another name")
    workspace.kill(subject.pid)
    return subject, workspace.store / "sim" / "1"


def must_be_refused(workspace, what, name):
    before = tree_of(workspace.store)
    verified = workspace.crs("verify", "sim@1", expect=None)
    check(verified.status == 4 and name in verified.stderr, f"{what}: {verified}")
    restarted = workspace.crs("restart", "--detach", "sim@1", expect=None)
    check(restarted.status == 4, f"{what}: {restarted}")
    check_message(restarted, name, "There is no older one")
    workspace.reap()
    check(not workspace.leftovers(), f"{what}: processes are left")
    check(tree_of(workspace.store) == before, f"{what}: the failed restart changed the store")


def flip(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << position % 8)]))


def positions(path, count, chance):
    size = path.stat().st_size
    edge = EDGE * min(FLIPS, 60) // 60
    ends = [*range(min(edge, size)), *range(max(edge, size - edge), size)]
    return sorted({*ends, *(chance.randrange(size) for _ in range(count))})


def flipped_bytes(workspace, options):
    subject, snapshot = snapshot_of(workspace, options)
    chance = random.Random(1)
    files = sorted(path for path in snapshot.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    for path in files:
        chosen = positions(path, max(5, FLIPS * path.stat().st_size // total), chance)
        if workspace.user == "root":  # it is the same code; the ordinary user has them all
            chosen = chosen[:: max(1, len(chosen) // 10)]
        os.chmod(path, 0o600)
        for position in chosen:
            flip(path, position)
            must_be_refused(workspace, f"byte {position} of {path.name} flipped", path.name)
            flip(path, position)
        os.chmod(path, 0o400)
    workspace.crs("verify", "sim@1")
    subject.finish(workspace.restart("sim@1"))


def files_cut_missing_or_more(workspace, options):
    subject, snapshot = snapshot_of(workspace, options)
    pristine = workspace.directory / "pristine"
    copy_tree(workspace, snapshot, pristine)
    for name in sorted(path.name for path in snapshot.rglob("*") if path.is_file()):
        size = (snapshot / name).stat().st_size
        for length in sorted({0, 1, size // 2, size - 1, size + 1, size + 4096} - {size}):
            os.chmod(snapshot / name, 0o600)
            os.truncate(snapshot / name, length)
            must_be_refused(workspace, f"{name} with {length} instead of {size} bytes", name)
            copy_tree(workspace, pristine, snapshot)
        os.remove(snapshot / name)
        must_be_refused(workspace, f"{name} missing", name)
        os.mkdir(snapshot / name, 0o700)
        if workspace.drops:
            os.chown(snapshot / name, workspace.uid, workspace.uid)
        must_be_refused(workspace, f"a directory for {name}", name)
        os.rmdir(snapshot / name)
        os.symlink(pristine / name, snapshot / name)
        must_be_refused(workspace, f"a symbolic link for {name}", name)
        copy_tree(workspace, pristine, snapshot)
    (snapshot / "extra").touch()
    if workspace.drops:
        os.chown(snapshot / "extra", workspace.uid, workspace.uid)
    must_be_refused(workspace, "a file too many", "extra")
    copy_tree(workspace, pristine, snapshot)
    subject.finish(workspace.restart("sim@1"))


def damage_is_listed(workspace, options):
    """A damaged snapshot does not hide the sound ones, and can be shown, listed and removed."""
    subject = Subject(workspace, options.subjects, job="sim")
    for number in (1, 2, 3):
        check(workspace.checkpoint("sim") == f"sim@{number}", "a snapshot with another name")
    manifest = workspace.store / "sim" / "2" / "manifest"
    os.chmod(manifest, 0o600)
    flip(manifest, 50)
    listed = workspace.crs("list")
    lines = [line for line in listed.stdout.splitlines() if line.startswith("sim@")]
    check([line.split()[0] for line in lines] == ["sim@1", "sim@2", "sim@3"], f"the list: {listed}")
    check(["damaged" in line for line in lines] == [False, True, False], f"the list: {listed}")
    as_json = workspace.crs("list", "--json").json()["snapshots"]
    check(["damage" in snapshot for snapshot in as_json] == [False, True, False], f"the list: {as_json}")
    check_message(workspace.crs("show", "sim@2", expect=4), "manifest", "damaged", "'crs restart sim@1' goes on")
    for verb in ("show", "verify", "restart"):
        result = workspace.crs(verb, "--json", "sim@2", expect=4)
        error = result.json()["error"]
        check(error["exit_status"] == 4 and error["kind"] == "damaged" and "crs restart sim@1" in error["advice"], f"{result}")
    for sound in ("sim@1", "sim@3"):
        workspace.crs("verify", sound)
    workspace.crs("remove", "sim@2")
    check(workspace.snapshots() == ["sim@1", "sim@3"], f"left: {workspace.snapshots()}")
    subject.finish()


if __name__ == "__main__":
    main([flipped_bytes, files_cut_missing_or_more, damage_is_listed])
