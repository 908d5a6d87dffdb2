#!/usr/bin/env python3
"""`crs checkpoint --dry-run` and `crs check JOB|PID`: what a checkpoint would say is said, nothing is written, and the program goes on; a
checkpoint that has to refuse writes nothing either, however much memory the program has."""

import json
import os
import subprocess
import sys
import threading
import time

from harness import check, descendants_of, is_alive, read_text, run_tests, wait_until

PYTHON = "/usr/bin/python3"
MEBIBYTES = 64

# A parent with a child; both count, so that it shows that they go on. The parent has an io_uring instance if it is told so.
PROGRAM = """
import ctypes, os, pathlib, sys, time
memory = bytearray(os.urandom(1 << 20)) * %d
if "ring" in sys.argv:
    IO_URING_SETUP = 425  # linux/io_uring.h; struct io_uring_params has 120 bytes
    assert ctypes.CDLL(None).syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(120)) >= 0
name = "child" if os.fork() == 0 else "parent"
for count in range(100000):
    pathlib.Path(name + ".new").write_text(str(count))
    os.rename(name + ".new", name)
    time.sleep(0.01)
""" % MEBIBYTES


def start(workspace, *words):
    process = workspace.start([PYTHON, "-c", PROGRAM, *words])
    wait_until(lambda: all(read_text(workspace.work / name) for name in ("parent", "child")), "both count")
    return process


def goes_on(workspace):
    before = {name: read_text(workspace.work / name) for name in ("parent", "child")}
    for name, count in before.items():
        wait_until(lambda: read_text(workspace.work / name) not in ("", count), f"{name} goes on")


def files_in(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def end(workspace, process):
    for pid in [process.pid, *descendants_of(process.pid)]:
        os.kill(pid, 9)
    workspace.wait_gone(process.pid)


def what_can_be_kept(workspace):
    process = start(workspace)
    before = files_in(workspace.store)
    for command in (["check"], ["checkpoint", "--dry-run"]):
        said = workspace.crs(*command, process.pid)
        check(said.stdout == f"process {process.pid} can be checkpointed: 2 processes, 2 threads\n", f"{said}")
        found = json.loads(workspace.crs(*command, "--json", process.pid).stdout)
        # Of what other tests have made meanwhile.
        warnings = [text for text in found["warnings"] if not (text.startswith("System V") and "nobody has used it yet" in text)]
        check((found["possible"], found["processes"], found["threads"], warnings) == (True, 2, 2, []), f"{found}")
        check(found["pause_seconds"] > 0, f"{found}")
        goes_on(workspace)
    check(files_in(workspace.store) == before, "something was written")
    check(workspace.crs("checkpoint", "--dry-run", "--single", process.pid, expect=1).stderr.count("child processes") == 1, "--single")
    # A program whose writes are tracked is looked at like any other, and is tracked afterwards as before.
    workspace.crs("checkpoint", "--incremental", "--name", "row", process.pid)
    workspace.crs("check", process.pid)
    workspace.crs("checkpoint", "--incremental", "--name", "row", process.pid)
    shown = json.loads(workspace.crs("show", "--json", "row@2").stdout)
    check(shown["parent_sequence"] == 1, "the row has ended")
    goes_on(workspace)
    end(workspace, process)


def what_cannot(workspace):
    process = start(workspace, "ring")
    looked = [workspace.crs(*command, process.pid, expect=1).stderr for command in (["check"], ["checkpoint", "--dry-run"])]
    for said in looked:
        check("io_uring" in said and f"process {process.pid}" in said, said)
    before = files_in(workspace.store)
    trace = workspace.work / "trace"
    said = workspace.run(["strace", "-f", "-o", trace, "-e", "trace=pwrite64", workspace.crs_path, "checkpoint", process.pid])
    check(said.status == 1 and "io_uring" in said.stderr, f"{said}")
    check(trace.exists() and "pwrite64" not in read_text(trace), "memory was written before it was refused")
    check(files_in(workspace.store) in (before, [*before, str(workspace.store / f"python3-{process.pid}" / "lock")]), "something is left")
    goes_on(workspace)
    check(is_alive(process.pid), "the program")
    end(workspace, process)


def whom_it_cannot_look_at(workspace):
    workspace.crs("check", 2**22 + 1, expect=3)
    workspace.crs("check", "nobody", expect=3)
    for other in ("--kill", "--stop"):
        check("--dry-run" in workspace.crs("checkpoint", "--dry-run", other, os.getpid(), expect=2).stderr, other)
    own = workspace.start(["/bin/sleep", "1000"])
    no_rule = ("--param", "crs_native_files=bogus")
    check("'bogus' is no rule" in workspace.crs("checkpoint", "--dry-run", *no_rule, own.pid, expect=2).stderr, "not looked at")


def while_others_take_it(workspace):
    """Looks at a program and checkpoints of it under two names, all at once: they wait for each other, or say that one is going on, and take
    nothing of the others for the program's own."""
    process = start(workspace)
    pid, ends = str(process.pid), time.monotonic() + 3
    answers = []

    def repeat(*arguments):
        while time.monotonic() < ends:
            result = subprocess.run([workspace.crs_path, *arguments], env=workspace.environment, cwd=workspace.work, capture_output=True, text=True,
                                    stdin=subprocess.DEVNULL, check=False, **workspace.identity())
            answers.append((arguments, result.returncode, result.stderr))

    commands = [("check", pid), ("checkpoint", "--dry-run", pid), ("checkpoint", "--name", "one", "--keep", "1", pid),
                ("checkpoint", "--name", "two", "--keep", "1", "--incremental", pid)]
    threads = [threading.Thread(target=repeat, args=command) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [answer for answer in answers if answer[1] != 0 and "still going on" not in answer[2]]
    check(not wrong, f"{len(wrong)} of {len(answers)} failed: {wrong[:3]}")
    check(any(answer[0] == commands[2] and answer[1] == 0 for answer in answers), "no checkpoint succeeded")
    goes_on(workspace)
    end(workspace, process)


# A parent looks at the clock all the time; a child of it waits in vfork(2) for its own, which waits for an input.
HELD_UP = r"""
import ctypes, os, pathlib, time
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    VFORK = 58
    if libc.syscall(VFORK) == 0:
        libc.pause()
    os._exit(0)
largest, before = 0, time.monotonic()
while True:
    now = time.monotonic()
    largest, before = max(largest, now - before), now
    pathlib.Path("largest.new").write_text(f"{largest} {child}")
    os.rename("largest.new", "largest")
    time.sleep(0.002)
"""


def nobody_is_held_up(workspace):
    """A process that cannot be stopped is told of, and the others go on meanwhile."""
    process = workspace.start([PYTHON, "-c", HELD_UP])
    wait_until(lambda: len(read_text(workspace.work / "largest").split()) == 2, "the program runs")
    child = int(read_text(workspace.work / "largest").split()[1])
    wait_until(lambda: read_text(f"/proc/{child}/stat").rpartition(")")[2].split()[:1] == ["D"], "its child waits")
    for command in (["check"], ["checkpoint", "--dry-run"]):
        result = workspace.crs(*command, process.pid, expect=1)
        check("a child of vfork" in result.stderr, f"{result}")
    largest = float(read_text(workspace.work / "largest").split()[0])
    check(largest < 5, f"the program stood still for {largest} s")
    end(workspace, process)


# The ordinary user stays who it is. Root becomes somebody of whom the kernel has no keyring.
WITH_KEY = r"""
import ctypes, os, time
ADD_KEY, OF_PROCESS = 248, -2  # asm/unistd_64.h, linux/keyctl.h
assert ctypes.CDLL(None).syscall(ADD_KEY, b"user", b"secret", b"abc", 3, OF_PROCESS) >= 0
ready = open("ready", "w")
user = 1_000_000 + os.getpid()
if os.geteuid() == 0:
    os.setresuid(user, user, user)
ready.write("yes")
ready.close()
time.sleep(1000)
"""


def keys_of_former_user(workspace):
    """Keys are those of the user who made them, also where the process has become another one since, as a daemon does."""
    process = workspace.start([PYTHON, "-c", WITH_KEY])
    wait_until(lambda: read_text(workspace.work / "ready"), "the program has a key")
    for command in (["check"], ["checkpoint", "--kill"]):
        result = workspace.crs(*command, process.pid, expect=1)
        check("has keys in its process keyring" in result.stderr, f"{result}")
    end(workspace, process)


if __name__ == "__main__":
    sys.exit(run_tests([keys_of_former_user, what_can_be_kept, what_cannot, whom_it_cannot_look_at, while_others_take_it, nobody_is_held_up]))
