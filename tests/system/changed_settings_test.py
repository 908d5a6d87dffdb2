#!/usr/bin/env python3
"""A program that changes all the time how its memory is set (madvise(2)): of a large one a checkpoint knows that from before it stops the
program, and must find out where it no longer holds."""

from harness import check, run_tests, wait_until

PYTHON = "/usr/bin/python3"
# After the restart the program looks at once whether its memory is set as it was. No combination comes again before all others were there.
PROGRAM = r"""
import itertools, mmap, re, sys, time
size = int(sys.argv[1]) << 20
rest = float(sys.argv[2])
area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
zeros = bytes(size // mmap.PAGESIZE)
# madvise(2), and the flags of proc_pid_smaps(5)
KINDS = [{"": 17, "dd": 16}, {"": 10 + 1, "dc": 10}, {"": 19, "wf": 18}, {"": 0, "rr": 1, "sr": 2}]
FLAGS = {flag for kind in KINDS for flag in kind if flag}

def settings():
    found = None
    for line in open("/proc/self/smaps"):
        if line.startswith("VmFlags:") and found is None and large:
            found = FLAGS & set(line.split())
        elif match := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            large = int(match[2], 16) - int(match[1], 16) >= size
    return found

before = [""] * len(KINDS)
for wanted in itertools.cycle(itertools.product(*KINDS)):
    for kind, flag, old in zip(KINDS, wanted, before):
        if flag != old:
            area.madvise(kind[flag])
    before = wanted
    now = settings()
    if now != set(wanted) - {""}:
        open("wrong", "w").write(f"{now} instead of {wanted}\n")
        break
    area[:: mmap.PAGESIZE] = zeros  # there again, also after a restart
    open("steps", "a").write(".")
    time.sleep(rest)
"""
SAID = "changed how its memory is set"
CHECKPOINTS = 6
MOST_CHECKPOINTS = 30


def steps(workspace):
    path = workspace.work / "steps"
    return path.stat().st_size if path.exists() else 0


def look_at(workspace, what):
    wrong = workspace.work / "wrong"
    before = steps(workspace)
    wait_until(lambda: wrong.exists() or steps(workspace) > before + 4, "the program goes on")
    check(not wrong.exists(), f"{what}: {wrong.read_text() if wrong.exists() else ''}")


def round_trips(workspace, megabytes, rest, options, is_wanted):
    """So many, or more until `is_wanted` says that of the number of those that had to be taken once more."""
    program = workspace.start([PYTHON, "-c", PROGRAM, megabytes, rest])
    wait_until(lambda: steps(workspace), "the program is ready")
    pid, said = program.pid, 0
    for number in range(MOST_CHECKPOINTS):
        result = workspace.crs("checkpoint", "--name", "settings", *options, pid)
        said += SAID in result.stderr
        if "--kill" not in options:
            look_at(workspace, "after a checkpoint")
            workspace.kill(pid)
        workspace.wait_gone(pid)
        restarted = workspace.crs("restart", "--detach", result.stdout.strip())
        pid = int(restarted.stdout)
        look_at(workspace, f"after restart {number + 1}")
        if number + 1 >= CHECKPOINTS and is_wanted(said):
            break
    workspace.kill(pid)
    check(is_wanted(said), f"{said} of {number + 1} checkpoints noticed that the program changed its settings")


def small(workspace):
    """Looked at while it stands still: it may change its settings as often as it wants to."""
    round_trips(workspace, 8, 0, [], lambda said: said > 0)


def going_on(workspace):
    round_trips(workspace, 128, 0.006, [], lambda said: said > 0)


def incremental(workspace):
    round_trips(workspace, 128, 0.006, ["--incremental"], lambda said: said > 0)


def ended_with_much_memory(workspace):
    """How memory is set is looked at while it is written."""
    round_trips(workspace, 1100, 0, ["--kill"], lambda said: said > 0)


if __name__ == "__main__":
    run_tests([small, going_on, incremental, ended_with_much_memory])
