#!/usr/bin/env python3
"""Files that a program writes to and that have grown since its checkpoint: cut back at the restart, byte for byte; what is cut is kept in the
store and named; and nothing is touched by a restart that fails."""

import os
import pathlib
import re

from harness import check, run_tests, wait_until

# Any user may execute this one.
PYTHON = "/usr/bin/python3"

# Writes as many lines as the link "target" says, which nobody needs to open, to three files, in each way: appending, at its offset, as
# standard output; then ends.
WRITER = r"""
import os, time
appending = os.open("appended.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
placed = os.open("folder/placed.log", os.O_RDWR | os.O_CREAT, 0o644)
print("begin", flush=True)
line = 0
while True:
    target = int(os.readlink("target"))
    while line < target:
        line += 1
        for file in (appending, placed, 1):
            os.write(file, b"line %d %s\n" % (line, b"x" * (line % 50)))
    if os.path.exists("end"): break
    time.sleep(0.002)
os.write(1, b"end\n")
"""
FILES = ("appended.log", "folder/placed.log", "output.log")


def lines(first, last):
    return b"".join(b"line %d %s\n" % (line, b"x" * (line % 50)) for line in range(first, last + 1))


class Writer:
    def __init__(self, workspace):
        self.workspace = workspace
        (workspace.work / "folder").mkdir()
        if workspace.drops:
            os.chown(workspace.work / "folder", workspace.uid, workspace.uid)
        self.aim(0)
        _, self.pid = workspace.start_by_crs("writer", [PYTHON, "-c", WRITER], stdout=workspace.output_file("output.log"))

    def content(self, name):
        path = self.workspace.work / name
        return path.read_bytes() if path.exists() else b""

    def aim(self, target):
        new = self.workspace.work / "target.new"
        new.symlink_to(str(target))
        new.rename(self.workspace.work / "target")

    def write_to(self, target):
        """Lets it write up to this line and waits for it."""
        self.aim(target)
        last = lines(target, target)
        wait_until(lambda: all(self.content(name).endswith(last) for name in FILES), f"line {target} is written")

    def checkpoint(self):
        return self.workspace.checkpoint("writer")

    def kill(self):
        self.workspace.kill(self.pid)

    def restart(self, reference):
        """The restarted program's notes about files that it cut, by file: (from, to, where the rest is)."""
        result = self.workspace.restart_result(reference, "--json")
        self.pid = result.json()["pid"]
        pattern = re.compile(r"(.*) was cut back from (\d+) bytes to its (\d+) bytes at the checkpoint; what was cut is in (.*)")
        notes = [pattern.fullmatch(note) for note in result.json()["notes"]]
        for note in filter(None, notes):
            check(note[0] in result.stderr, f"not said to people: {note[0]}: {result}")
        return {note[1]: (int(note[2]), int(note[3]), pathlib.Path(note[4])) for note in notes if note}

    def end(self):
        (self.workspace.work / "end").touch()
        self.workspace.wait_gone(self.pid)


def rounds(workspace):
    """Several rounds, each with more lines lost: at the end the files are those of an uninterrupted run, and every lost part is kept."""
    writer = Writer(workspace)
    kept = {}
    done = 0
    for number in range(1, 5):
        writer.write_to(done + 10)
        done += 10
        reference = writer.checkpoint()
        wanted = {name: writer.content(name) for name in FILES}
        lost = done + 3 * number
        writer.write_to(lost)
        writer.kill()
        with open(workspace.work / FILES[0], "ab") as other:
            other.write(b"somebody else's\n")
        writer.aim(done)
        cut = writer.restart(reference)
        check(set(cut) == {str(workspace.work / name) for name in FILES}, f"cut: {cut}")
        for name in FILES:
            check(writer.content(name) == wanted[name], f"{name} is not as at the checkpoint in round {number}")
            before, after, place = cut[str(workspace.work / name)]
            tail = lines(done + 1, lost) + (b"somebody else's\n" if name == FILES[0] else b"")
            check(place.read_bytes() == tail, f"{place} does not hold what was cut off {name}")
            check(after == len(wanted[name]) and before == after + len(tail), f"the message is wrong: {cut}")
            check(workspace.store in place.parents and place not in kept, f"{place} is not in the store or not new")
            check(place.stat().st_uid == workspace.uid and place.stat().st_mode & 0o777 == 0o600, f"mode of {place}")
            kept[place] = tail
    writer.write_to(done + 5)
    writer.end()
    check(writer.content(FILES[0]) == lines(1, done + 5) and writer.content(FILES[1]) == lines(1, done + 5), "a file is another")
    check(writer.content(FILES[2]) == b"begin\n" + lines(1, done + 5) + b"end\n", "standard output is another")
    # The same snapshot once more, after its successor ended: from there on the files are longer still.
    final = writer.content(FILES[1])
    (workspace.work / "end").unlink()
    writer.aim(0)
    cut = writer.restart("writer@1")
    check(cut[str(workspace.work / FILES[1])][2].read_bytes() == final[len(lines(1, 10)) :], "what the whole run wrote is not kept")
    writer.kill()
    result = workspace.crs("remove", "--all", "writer")
    check("set-aside" in result.stderr, f"not said where the parts are: {result}")
    for place, tail in kept.items():
        check(place.read_bytes() == tail, f"removing snapshots took {place}")


def nothing_to_cut(workspace):
    """Files that have not grown are left alone, and nothing is said or kept."""
    writer = Writer(workspace)
    writer.write_to(5)
    reference = writer.checkpoint()
    writer.kill()
    before = (workspace.work / FILES[0]).stat()
    check(writer.restart(reference) == {}, "a file was cut")
    check((workspace.work / FILES[0]).stat() == before, "a file was touched")
    check(not list(workspace.store.glob("*/set-aside/*")), "an empty place was left behind")
    writer.end()


def failed_restart(workspace):
    """One file is shorter than at the checkpoint: the restart says so, and the grown ones stay as they are."""
    writer = Writer(workspace)
    writer.write_to(10)
    reference = writer.checkpoint()
    writer.write_to(20)
    writer.kill()
    grown = writer.content(FILES[0])
    os.truncate(workspace.work / FILES[1], 17)
    result = workspace.crs("restart", reference, expect=1)
    check(f"{FILES[1]} is shorter than at the checkpoint (17 bytes, was {len(lines(1, 10))})" in result.stderr, str(result))
    check(writer.content(FILES[0]) == grown and (workspace.work / FILES[1]).stat().st_size == 17, "a failed restart changed a file")
    check(not list(workspace.store.glob("*/set-aside/*/*")), "a failed restart set something aside")
    (workspace.work / FILES[1]).write_bytes(lines(1, 20))
    writer.aim(10)
    cut = writer.restart(reference)
    check(len(cut) == 3 and writer.content(FILES[1]) == lines(1, 10), f"cut: {cut}")
    writer.end()


def changed_input(workspace):
    """A file that the program only reads must be the same; --files accept takes another."""
    (workspace.work / "input").write_text("first\n" * 1000)
    program = "import os, sys, time\nfile = open('input', 'rb', 0)\nfile.read(6)\nopen('ready', 'w').close()\n" \
        "while not os.path.exists('go'): time.sleep(0.002)\nos.write(1, file.read(5))\n"
    _, pid = workspace.start_by_crs("reader", [PYTHON, "-c", program], stdout=workspace.output_file("out"))
    wait_until((workspace.work / "ready").exists, "the reader is up")
    reference = workspace.checkpoint("reader")
    workspace.kill(pid)
    (workspace.work / "input").write_text("other\n" * 1000)
    (workspace.work / "go").touch()
    result = workspace.crs("restart", reference, expect=1)
    check("input, which the program reads, has been changed since the checkpoint" in result.stderr and "--files accept" in result.stderr, str(result))
    check((workspace.work / "out").read_text() == "", "a refused program ran")
    result = workspace.crs("restart", "--files", "accept", reference)
    check("input" in result.stderr and "accepted" in result.stderr and (workspace.work / "out").read_text() == "other", str(result))


TESTS = [rounds, nothing_to_cut, failed_restart, changed_input]


if __name__ == "__main__":
    run_tests(TESTS)
