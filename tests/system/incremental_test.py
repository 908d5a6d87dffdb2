#!/usr/bin/env python3
"""A row of incremental snapshots: each is small, complete in itself and exact; earlier ones may be removed; damage of what they share is found
and named; where it is not known what has changed, everything is written."""

import hashlib
import os
import random
import signal

from harness import check, descendants_of, is_alive, read_text, run_tests, wait_until

MEBIBYTES = 48
PAGE = 4096

# With a third argument it has so many children that do the same, each for itself, and it tells them to. SIGHUP ends the
# first of them.
PROGRAM = """
import hashlib, mmap, os, random, signal, sys
status, size, number, children = sys.argv[1], int(sys.argv[2]) << 20, 0, []
for child in range(1, int(sys.argv[3]) + 1):
    children.append(os.fork())
    if children[-1] == 0:
        status, number, children = f"{status}-{child}", child, []
        break
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = random.Random(number << 32).randbytes(size)
rounds = 0
def tell_children(signal_number):
    for child in children:
        os.kill(child, signal_number)
def end_first(*_):
    os.kill(children[0], signal.SIGKILL)
    os.waitpid(children.pop(0), 0)
    tell("ended")
def tell(text):
    with open(status + ".new", "w") as file:
        file.write(text)
    os.rename(status + ".new", status)
def change(*_):
    global rounds
    tell_children(signal.SIGUSR1)
    rounds += 1
    chance = random.Random((number << 32) + rounds)
    for page in chance.sample(range(size // 4096), size // 409600):
        memory[page * 4096:page * 4096 + 16] = chance.randbytes(16)
    tell(f"changed {rounds}")
def report(*_):
    tell_children(signal.SIGUSR2)
    tell(f"content {rounds} {hashlib.sha256(memory).hexdigest()}")
signal.signal(signal.SIGUSR1, change)
signal.signal(signal.SIGUSR2, report)
signal.signal(signal.SIGHUP, end_first)
tell("ready")
while True:
    signal.pause()
"""


# It maps and unmaps memory all the time.
RESTLESS = """
import itertools, mmap, os, sys
held = bytearray(os.urandom(8 << 20))
for turn in itertools.count():
    areas = [mmap.mmap(-1, (1 + turn % 7) << 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=protection)
             for protection in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE, mmap.PROT_READ)]
    if turn == 10:
        open(sys.argv[1], "w").close()
"""


def content_after(rounds, number=0):
    """What the memory of the program, or of one of its children, is after so many changes."""
    memory = bytearray(random.Random(number << 32).randbytes(MEBIBYTES << 20))
    for done in range(1, rounds + 1):
        chance = random.Random((number << 32) + done)
        for page in chance.sample(range(len(memory) // PAGE), len(memory) // 100 // PAGE):
            memory[page * PAGE : page * PAGE + 16] = chance.randbytes(16)
    return hashlib.sha256(memory).hexdigest()


class Program:
    def __init__(self, workspace, children=0):
        self.workspace, self.status = workspace, workspace.work / "status"
        self.members = list(range(children + 1))
        self.pid = workspace.start(["/usr/bin/python3", "-c", PROGRAM, self.status, MEBIBYTES, children]).pid
        self.wait_for("ready")
        self.rounds = 0

    def status_of(self, number):
        return self.status.with_name(f"status-{number}") if number else self.status

    def wait_for(self, text):
        for number in self.members:
            wait_until(lambda: read_text(self.status_of(number)).startswith(text), text)

    def end_first_child(self):
        os.kill(self.pid, signal.SIGHUP)
        wait_until(lambda: read_text(self.status) == "ended", "the end of a child")
        self.members.remove(1)

    def change(self):
        self.rounds += 1
        os.kill(self.pid, signal.SIGUSR1)
        self.wait_for(f"changed {self.rounds}")

    def snapshot(self, *options):
        return self.workspace.crs("checkpoint", "--name", "row", "--json", *options, str(self.pid)).json()

    def row(self, length):
        """Incremental snapshots, with a change between each and the next."""
        taken = [self.snapshot("--incremental")]
        for _ in range(length - 1):
            self.change()
            taken.append(self.snapshot("--incremental"))
        return taken

    def kill(self):
        self.workspace.kill(self.pid)

    def restart_and_check(self, sequence, rounds):
        for number in self.members:
            self.status_of(number).unlink(missing_ok=True)
        self.pid = self.workspace.restart(f"row@{sequence}")
        os.kill(self.pid, signal.SIGUSR2)
        self.wait_for("content")
        for number in self.members:
            expected = f"content {rounds} {content_after(rounds, number)}"
            check(read_text(self.status_of(number)) == expected, f"process {number} of row@{sequence} came back wrong")
        self.kill()


def own_bytes(snapshot):
    return snapshot["stored_bytes"] - snapshot["shared_bytes"]


def trackers():
    found = [pid for pid in descendants_of(os.getpid()) if is_alive(pid)]
    return [pid for pid in found if read_text(f"/proc/{pid}/comm").strip() == "crs-tracker"]


def small_and_exact(workspace):
    program = Program(workspace)
    taken = program.row(3)
    check(taken[0]["parent_sequence"] is None and taken[0]["shared_bytes"] == 0, f"the first is no full one: {taken[0]}")
    for snapshot in taken[1:]:
        check(snapshot["parent_sequence"] == snapshot["sequence"] - 1, f"made from {snapshot['parent_sequence']}")
        # One page in a hundred, and what the interpreter itself writes.
        check(own_bytes(snapshot) < own_bytes(taken[0]) // 10, f"{own_bytes(snapshot)} bytes of its own")
    wait_until(lambda: len(trackers()) == 1, "the earlier holders of the tracking have ended")
    program.kill()
    for sequence in (1, 2, 3):
        workspace.crs("verify", f"row@{sequence}")
        program.restart_and_check(sequence, sequence - 1)


def earlier_ones_may_go(workspace):
    program = Program(workspace)
    program.row(3)
    workspace.crs("remove", "row@1", "row@2")
    program.change()
    after = program.snapshot("--incremental")
    check(after["parent_sequence"] == 3, f"made from {after['parent_sequence']}")
    program.kill()
    for sequence, rounds in ((3, 2), (4, 3)):
        workspace.crs("verify", f"row@{sequence}")
        program.restart_and_check(sequence, rounds)


def damage_is_named(workspace):
    program = Program(workspace)
    program.row(2)
    program.kill()
    path = workspace.store / "row" / "1" / "pages"
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    for sequence, name in ((1, "1/pages"), (2, "2/pages@1")):
        for verb in (["verify"], ["restart", "--detach"]):
            result = workspace.crs(*verb, f"row@{sequence}", expect=4)
            check(name in result.stderr, f"{name} is not named: {result}")
    (workspace.store / "row" / "2" / "pages@1").unlink()
    result = workspace.crs("restart", "--detach", "row@2", expect=4)
    check("pages@1" in result.stderr, f"the missing file is not named: {result}")


def unknown_is_written(workspace):
    program = Program(workspace)
    program.row(2)
    # Nobody holds the tracking any more.
    [tracker] = trackers()
    os.kill(tracker, signal.SIGKILL)
    wait_until(lambda: not trackers(), "the tracker is gone")
    program.change()
    check(program.snapshot("--incremental")["parent_sequence"] is None, "made from what is not known")
    # One that is not incremental ends the tracking.
    check(program.snapshot()["shared_bytes"] == 0 and not trackers(), "tracked still")
    program.change()
    check(program.snapshot("--incremental")["parent_sequence"] is None, "made from what is not known")
    # The snapshot that it would be made from is gone.
    workspace.crs("remove", "row@5")
    full = program.snapshot("--incremental")
    check(full["parent_sequence"] is None and full["warnings"], f"no word of the missing snapshot: {full}")
    program.kill()
    for sequence, rounds in ((3, 2), (4, 2), (6, 3)):
        program.restart_and_check(sequence, rounds)


def areas_that_come_and_go(workspace):
    """Tracking leaves its marks on the program's areas; they are CRS's own also where the areas are looked at again."""
    ready = workspace.work / "ready"
    pid = workspace.start(["/usr/bin/python3", "-c", RESTLESS, ready]).pid
    wait_until(ready.exists, "the program maps and unmaps")
    for _ in range(3):
        workspace.crs("checkpoint", "--name", "row", "--incremental", str(pid))
        workspace.crs("check", str(pid))
        workspace.crs("checkpoint", "--name", "row", "--dry-run", str(pid))
    workspace.kill(pid)
    workspace.restart("row")
    for options in (["--incremental"], ["--incremental"], []):
        workspace.crs("checkpoint", *options, "row")


def under_another_name(workspace):
    """A checkpoint under another name is exact, and ends the row: the next one of that is a full one."""
    program = Program(workspace)
    program.row(2)
    workspace.checkpoint(program.pid, "--name", "other")
    check(not trackers(), "tracked still")
    program.change()
    check(program.snapshot("--incremental")["parent_sequence"] is None, "made from what is not known")
    other = workspace.crs("checkpoint", "--name", "other", "--json", "--incremental", str(program.pid)).json()
    check(other["parent_sequence"] is None and len(trackers()) == 1, f"{other}")
    program.kill()
    program.restart_and_check(3, 2)


def under_another_store(workspace):
    """Tracking that this store knows nothing of, another store's or one whose note is lost, is no hindrance."""
    program = Program(workspace)
    program.row(2)
    other = {**workspace.environment, "CRS_STORE": str(workspace.work / "other store")}
    workspace.crs("check", str(program.pid), env=other)
    check(len(trackers()) == 1, "a look has ended the tracking")
    workspace.crs("checkpoint", "--name", "elsewhere", str(program.pid), env=other)
    check(not trackers(), "tracked still")
    program.change()
    check(program.snapshot("--incremental")["parent_sequence"] is None, "made from what is not known")
    (workspace.store / "row" / "remembered-writes").unlink()
    workspace.crs("check", str(program.pid))
    check(program.snapshot()["shared_bytes"] == 0 and not trackers(), "tracked still")
    # Where it cannot be noted, nobody tracks.
    (workspace.store / "row" / "remembered-writes.new").mkdir()
    program.snapshot("--incremental")
    wait_until(lambda: not trackers(), "nobody knows of the tracking")
    program.snapshot()
    (workspace.store / "row" / "remembered-writes.new").rmdir()
    program.kill()
    for sequence in (3, 4, 5, 6):
        program.restart_and_check(sequence, 2)


def ended_by_the_last(workspace):
    program = Program(workspace)
    program.row(2)
    program.change()
    last = program.snapshot("--incremental", "--kill")
    check(last["parent_sequence"] == 2 and own_bytes(last) < last["memory_bytes"] // 10, f"a full one: {last}")
    workspace.wait_gone(program.pid)
    program.restart_and_check(3, 2)


def made_into_one(workspace):
    """A row becomes one full snapshot, which shares nothing; later snapshots and the row itself go on."""
    program = Program(workspace)
    program.row(3)
    check(workspace.crs("compact", "row").stdout == "row@4\n", "the new one's name")
    check(workspace.snapshots() == ["row@4"], f"{workspace.snapshots()}")
    shown = workspace.crs("show", "--json", "row@4").json()
    check(shown["shared_bytes"] == 0 and shown["parent_sequence"] is None and shown["same_as_sequences"] == [3], f"{shown}")
    check(shown["stored_bytes"] < 1.05 * shown["memory_bytes"] + (1 << 20), f"more than what counts: {shown}")
    program.change()
    after = program.snapshot("--incremental")
    check(after["parent_sequence"] == 4 and own_bytes(after) < after["memory_bytes"] // 10, f"a full one: {after}")
    # With the row kept, and one in the middle of it.
    program.change()
    program.snapshot("--incremental")
    result = workspace.crs("compact", "--json", "--keep-row", "--compress", "zstd", "row@5").json()
    check(result["reference"] == "row@7" and result["removed"] == [] and len(workspace.snapshots()) == 4, f"{result}")
    check(workspace.crs("compact", "row@7", expect=3).stdout == "row@7\n", "a complete one is left as it is")
    program.kill()
    for sequence, rounds in ((4, 2), (5, 3), (6, 4), (7, 3)):
        workspace.crs("verify", f"row@{sequence}")
        program.restart_and_check(sequence, rounds)


def damage_is_not_compacted(workspace):
    """What is damaged is found before anything is removed."""
    program = Program(workspace)
    program.row(2)
    program.kill()
    for name in ("process", "pages@1"):
        path = workspace.store / "row" / "2" / name
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        result = workspace.crs("compact", "row", expect=4)
        check(f"2/{name}" in result.stderr and len(workspace.snapshots()) == 2, f"{result}")
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    workspace.crs("compact", "nosuch", expect=3)
    workspace.crs("compact", expect=2)
    workspace.crs("compact", "row")
    check(workspace.snapshots() == ["row@3"], f"{workspace.snapshots()}")
    program.restart_and_check(3, 1)


def of_a_tree(workspace):
    program = Program(workspace, children=2)
    taken = program.row(2)
    # The second child is in another place of the tree from now on.
    program.end_first_child()
    program.change()
    taken.append(program.snapshot("--incremental"))
    check(taken[0]["program"]["processes"] == 3 and taken[2]["program"]["processes"] == 2, f"the processes of the snapshots: {taken}")
    for snapshot in taken[1:]:
        check(snapshot["parent_sequence"] == snapshot["sequence"] - 1, f"made from {snapshot['parent_sequence']}")
        check(own_bytes(snapshot) < own_bytes(taken[0]) // 10, f"{own_bytes(snapshot)} bytes of its own")
    wait_until(lambda: len(trackers()) == 1, "the earlier holders of the tracking have ended")
    program.kill()
    for sequence, members in ((3, [0, 2]), (2, [0, 1, 2])):
        program.members = members
        workspace.crs("verify", f"row@{sequence}")
        program.restart_and_check(sequence, sequence - 1)


def goes_on_after_a_restart(workspace):
    """A restarted program's next snapshot writes what it has changed since, also where it began from an earlier one."""
    program = Program(workspace, children=1)
    program.row(2)
    program.kill()
    for before, sequence in ((2, 3), (1, 4), (4, 5)):
        program.rounds = {1: 0, 2: 1, 4: 1}[before]
        program.pid = workspace.restart(f"row@{before}")
        program.change()
        after = program.snapshot("--incremental")
        check(after["sequence"] == sequence and after["parent_sequence"] == before, f"made from {after['parent_sequence']}: {after}")
        check(own_bytes(after) < after["memory_bytes"] // 10, f"{own_bytes(after)} bytes of its own: {after}")
        wait_until(lambda: len(trackers()) == 1, "the earlier holders of the tracking have ended")
        program.kill()
        wait_until(lambda: not trackers(), "the tracker is gone")
    for sequence, rounds in ((3, 2), (4, 1), (5, 2)):
        workspace.crs("verify", f"row@{sequence}")
        program.restart_and_check(sequence, rounds)
    # Of one that is not of a row nothing is tracked.
    program.pid = workspace.restart("row@5")
    check(program.snapshot()["parent_sequence"] is None, "made from another")
    program.kill()
    program.pid = workspace.restart("row@6")
    check(not trackers(), "tracked, though nobody asked")
    program.kill()


if __name__ == "__main__":
    run_tests([goes_on_after_a_restart, areas_that_come_and_go, made_into_one, damage_is_not_compacted, of_a_tree, small_and_exact, earlier_ones_may_go, damage_is_named, unknown_is_written, under_another_name, under_another_store, ended_by_the_last])
