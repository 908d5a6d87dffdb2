#!/usr/bin/env python3
"""A program that changes all the time how its memory is set (madvise(2)): a checkpoint knows that from before it stops the program, and
must find out where it no longer holds."""

from harness import check, run_tests, wait_until

PYTHON = "/usr/bin/python3"
# After the restart the program looks at once whether its memory is set as it was.
PROGRAM = r"""
import mmap, re, sys, time
size = int(sys.argv[1]) << 20
area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, size, 4096):
    area[page] = 0
DONT_DUMP, DO_DUMP, DO_NOT_FORK, DO_FORK = 16, 17, 10, 11
STEPS = [(DONT_DUMP, {"dd"}), (DO_NOT_FORK, {"dd", "dc"}), (DO_DUMP, {"dc"}), (DO_FORK, set())]

def settings():
    found = None
    for line in open("/proc/self/smaps"):
        if line.startswith("VmFlags:") and found is None and large:
            found = {"dd", "dc"} & set(line.split())
        elif match := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            large = int(match[2], 16) - int(match[1], 16) >= size
    return found

step = 0
while True:
    area.madvise(STEPS[step][0])
    if settings() != STEPS[step][1]:
        open("wrong", "w").write(f"{settings()} instead of {STEPS[step][1]}\n")
        break
    open("steps", "a").write(".")
    step = (step + 1) % len(STEPS)
"""
SAID = "changed how its memory is set"
MOST_CHECKPOINTS = 20


def steps(workspace):
    path = workspace.work / "steps"
    return path.stat().st_size if path.exists() else 0


def look_at(workspace, what):
    wrong = workspace.work / "wrong"
    before = steps(workspace)
    wait_until(lambda: wrong.exists() or steps(workspace) > before + 4, "the program goes on")
    check(not wrong.exists(), f"{what}: {wrong.read_text() if wrong.exists() else ''}")


def round_trips(workspace, megabytes, options):
    """Until a checkpoint said that it had to be done again, and at least twice."""
    program = workspace.start([PYTHON, "-c", PROGRAM, megabytes])
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
        if said and number:
            break
    workspace.kill(pid)
    check(said, f"none of {MOST_CHECKPOINTS} checkpoints noticed that the program changed its settings")


def going_on(workspace):
    round_trips(workspace, 64, [])


def incremental(workspace):
    round_trips(workspace, 64, ["--incremental"])


def ended_with_much_memory(workspace):
    """How memory is set is looked at while it is written."""
    round_trips(workspace, 1100, ["--kill"])


if __name__ == "__main__":
    run_tests([going_on, incremental, ended_with_much_memory])
