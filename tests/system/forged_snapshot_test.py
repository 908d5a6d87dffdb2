#!/usr/bin/env python3
"""Snapshots that a forger has changed below right checksums: crs says what is wrong, starts nothing, and never crashes.

CRS_TEST_MUTATIONS=N: how many random changes of the image to try (default 150), CRS_TEST_SEED=N: from which on.
"""

import os
import pathlib
import time

from bad_input import Subject, check_message, copy_tree, main, tree_of
from harness import Failure, check, is_alive


class Forge:
    def __init__(self, workspace, options, subject="cpp_threads"):
        self.workspace = workspace
        self.tool = workspace.reachable(pathlib.Path(options.build) / "bin" / "forge_snapshot")
        self.subject = Subject(workspace, options.subjects, subject, job="sim")
        check(workspace.checkpoint("sim") == "sim@1", "a snapshot with another name")
        workspace.kill(self.subject.pid)
        self.snapshot = workspace.store / "sim" / "1"
        self.pristine = workspace.directory / "pristine"
        copy_tree(workspace, self.snapshot, self.pristine)

    def apply(self, *arguments):
        copy_tree(self.workspace, self.pristine, self.snapshot)
        result = self.workspace.run([self.tool, self.snapshot, *arguments])
        check(result.status == 0, f"the forger failed: {result}")
        return result.stdout.strip()

    def forgeries(self):
        listed = self.workspace.run([self.tool, "--list"]).stdout.splitlines()
        return [line.split("\t") for line in listed]

    def check_nothing_started(self, what):
        self.workspace.reap()
        left = self.workspace.leftovers()
        check(not left, f"{what}: {len(left)} processes are left")


def each_forgery(workspace, options):
    forge = Forge(workspace, options)
    failures = []
    for name, status, says in forge.forgeries():
        try:
            one_forgery(workspace, forge, name, int(status), says)
        except Failure as failure:
            failures.append(f"{name}: {failure}")
            workspace.end_processes()
    check(not failures, f"{len(failures)} of {len(forge.forgeries())}: " + "\n".join(failures))
    copy_tree(workspace, forge.pristine, forge.snapshot)
    forge.subject.finish(workspace.restart("sim"))


def one_forgery(workspace, forge, name, status, says):
    forge.apply(name)
    # These look at the manifest or at the checksums alone, which may be right; but they must not crash.
    for verb in ("verify", "show", "list") if workspace.drops else ():
        result = workspace.crs(verb, *([] if verb == "list" else ["sim@1"]), expect=None)
        check(result.status in (0, 4), f"crs {verb}: {result}")
    before = tree_of(workspace.store)
    result = workspace.crs("restart", "--detach", "sim@1", expect=status)
    check_message(result, says)
    check(tree_of(workspace.store) == before, "the failed restart left something in the store")
    forge.check_nothing_started(name)


def ordinary_random_changes(workspace, options):
    """Whatever the image says: a restart either succeeds or says why not, and then nothing is left."""
    forge = Forge(workspace, options, "blocked_calls")
    first = int(os.environ.get("CRS_TEST_SEED", "1"))
    counts = {}
    for seed in range(first, first + int(os.environ.get("CRS_TEST_MUTATIONS", "150"))):
        changed = forge.apply("mutate", str(seed))
        what = f"seed {seed} ({changed.split()})"
        begin = time.monotonic()
        try:
            # A change may say that the program waits for news of its restart, and then it is waited for.
            result = workspace.crs("restart", "--detach", "--layers-timeout", "1", "sim@1", expect=None)
        except Failure as failure:
            raise Failure(f"{what}: {failure}") from None
        check(result.status in (0, 1, 4), f"{what}: {result}")
        check(time.monotonic() - begin < 10, f"{what}: took {time.monotonic() - begin:.1f} s")
        counts[result.status] = counts.get(result.status, 0) + 1
        # So the program runs, and its layers have nothing to say.
        waits_in_vain = result.status == 1 and "its layers have not come back" in result.stderr
        if result.status == 0 or waits_in_vain:
            # What it does now is its own affair.
            check(result.stdout.strip().isdigit(), f"{what}: {result}")
            workspace.end_processes()
        else:
            check(result.stderr.splitlines()[-1].startswith("crs: cannot restart sim@1: "), f"{what}: {result}")
            forge.check_nothing_started(what)
    print(f"exit statuses: {counts}")
    check(len(counts) > 1, f"the changes change nothing: {counts}")


def another_boot(workspace, options):
    """A thread that waited until a time of CLOCK_MONOTONIC at the checkpoint: noted where that clock has begun anew and does not go on for the
    program, and only there."""
    forge = Forge(workspace, options, "blocked_calls")
    for forged in (False, True):
        if forged:
            forge.apply("another-boot")
        for clocks in ("machine", "continue"):
            result = workspace.crs("restart", "--detach", "--clocks", clocks, "sim@1")
            noted = "until a time of CLOCK_MONOTONIC" in result.stderr
            check(noted == (forged and clocks == "machine"), f"forged {forged}, clocks {clocks}: {result}")
            workspace.kill(int(result.stdout))


if __name__ == "__main__":
    main([each_forgery, another_boot, ordinary_random_changes])
