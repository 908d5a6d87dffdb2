#!/usr/bin/env python3
"""`crs restart --replace`: a program rolls itself back to an earlier snapshot by executing crs in its own place."""

import contextlib
import json
import os
import pathlib
import signal
import time

from bad_input import main
from harness import STEP_LIMIT, Failure, check, children_of, is_alive, link_target, read_text, state_of, wait_until

PYTHON = "/usr/bin/python3"

# Three threads count; asked, it says what it sees; told, it executes what the file "go" says. SIGCHLD is noted.
PROGRAM = r"""
import ctypes, json, os, signal, sys, threading, time
libc = ctypes.CDLL(None)
counts, total, lock, ids = [0, 0], [0], threading.Lock(), {}
children = []
signal.signal(signal.SIGCHLD, lambda *_: children.append(1))
def work(number):
    # A word that only this round knows is lost by a rollback.
    while True:
        with lock:
            counts[number] += 1
            total[0] += 1
            ids[number] = [libc.gettid(), int(os.readlink("/proc/thread-self").split("/")[-1])]
        time.sleep(0.001)
threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(2)]
for thread in threads: thread.start()
rolled, ballast = [], bytearray(os.urandom(1 << 20))
check = hash(bytes(ballast))
def say(name, value):
    with open(name + ".new", "w") as file: json.dump(value, file)
    os.rename(name + ".new", name)
say("up", 1)
while True:
    if os.path.exists("ask"):
        os.unlink("ask")
        with lock:
            known = [libc.pthread_kill(ctypes.c_ulong(thread.ident), 0) for thread in threading.enumerate()]
            say("answer", {"pid": os.getpid(), "tid": libc.gettid(), "ids": ids, "known": known, "right": total[0] == sum(counts),
                           "total": total[0], "rolled": rolled, "sound": hash(bytes(ballast)) == check, "children": len(children),
                           "tasks": sorted(map(int, os.listdir("/proc/self/task")))})
    if os.path.exists("go"):
        command = json.load(open("go"))
        os.unlink("go")
        rolled.append(1)
        if command.pop("orphan", False):
            # Somebody who is no child takes the snapshot.
            rolled.pop()
            between = os.fork()
            if between == 0:
                if os.fork() == 0:
                    # When the process between is gone for good.
                    while not os.path.exists("alone"): time.sleep(0.002)
                    os.unlink("alone")
                    os.execv(command["command"][0], command["command"])
                os._exit(0)
            os.waitpid(between, 0)
            say("alone", 1)
            children.clear()
            continue
        ballast[:] = bytes(len(ballast))
        if command.pop("child", False) and os.fork() == 0:
            while True: time.sleep(1)
        os.execv(command["command"][0], command["command"])
    time.sleep(0.002)
"""


class Program:
    def __init__(self, workspace):
        self.workspace = workspace
        self.process = workspace.start([PYTHON, "-c", PROGRAM])
        self.pid = self.process.pid
        wait_until(lambda: (workspace.work / "up").exists(), "the program is up")

    def ask(self):
        (self.workspace.work / "answer").unlink(missing_ok=True)
        (self.workspace.work / "ask").touch()
        wait_until(lambda: (self.workspace.work / "answer").exists() or not is_alive(self.pid), "the program answers")
        # One that is ending may be found without a living thread, and then with one.
        check((self.workspace.work / "answer").exists(), f"the program ended: {read_text(self.workspace.work / 'stderr.txt')}")
        return json.loads((self.workspace.work / "answer").read_text())

    def execute(self, *arguments, **more):
        go = self.workspace.work / "go"
        new = self.workspace.work / "go.new"
        new.write_text(json.dumps({"command": [str(self.workspace.crs_path), *arguments], **more}))
        new.rename(go)
        wait_until(lambda: not go.exists(), "the program executes crs")

    def roll_back(self, reference, *options):
        self.execute("restart", "--replace", *options, reference)
        answer = self.ask()
        check(answer["rolled"] == [], "the program was not rolled back")
        check(answer["right"] and answer["sound"], f"its memory is wrong: {answer}")
        check(answer["known"] == [0, 0, 0], f"the C library knows its threads by other ids: {answer}")
        check(all(kernel == shown for kernel, shown in answer["ids"].values()), f"{answer}")
        check(answer["tid"] == answer["pid"] and len(answer["tasks"]) == 3, f"{answer}")
        check(answer["children"] == 0, "the program was sent SIGCHLD")
        wait_until(lambda: self.workspace.reap() is not None and self.family() == {self.pid}, "the helper is gone")
        return answer

    def family(self):
        return set(self.workspace.leftovers()) - {pid for pid in self.workspace.leftovers() if state_of(pid) == "Z"}


def ten_times(workspace, options):
    program = Program(workspace)
    before = program.ask()
    reference = workspace.checkpoint(str(program.pid), "--name", "roll")
    for number in range(10):
        answer = program.roll_back(reference)
        check(answer["pid"] == program.pid, f"round {number}: process {answer['pid']} instead of {program.pid}")
        check(workspace.uid != 0 or answer["tasks"] == before["tasks"], f"round {number}: threads {answer['tasks']}, were {before['tasks']}")
        check(children_of(program.pid) == [], f"round {number}: it has children")
        check(link_target(f"/proc/{program.pid}/exe") == os.path.realpath(PYTHON) or workspace.uid != 0, "it shows another executable")
    # What was rolled back can be kept again.
    again = workspace.checkpoint(str(program.pid), "--name", "roll")
    check(program.roll_back(again)["total"] >= before["total"], "an older state")
    check(program.process.poll() is None, "its parent was told of an end")
    workspace.kill(program.pid)


def fresh_ids_and_another_process(workspace, options):
    """New thread ids where they are wanted, and another process than the original."""
    program = Program(workspace)
    reference = workspace.checkpoint(str(program.pid), "--name", "roll")
    tasks = program.ask()["tasks"]
    answer = program.roll_back(reference, "--ids", "new")
    check(answer["pid"] == program.pid and answer["tasks"] != tasks, f"{answer}")
    workspace.kill(program.pid)
    # It inherits whatever its shell had open, at the numbers that the restart uses, too.
    inherit = 'for number in {10..310}; do eval "exec $number</dev/null"; done; exec "$0" "$@"'
    other = workspace.start(["bash", "-c", inherit, workspace.crs_path, "restart", "--replace", reference])
    program.process, program.pid = other, other.pid
    answer = program.ask()
    check(answer["pid"] == other.pid and answer["right"] and answer["known"] == [0, 0, 0] and answer["tid"] == other.pid, f"{answer}")
    wait_until(lambda: f"runs as process {other.pid} instead of" in read_text(workspace.work / "stderr.txt"), "it is said")
    workspace.kill(other.pid)


def inside_a_private_namespace(workspace, options):
    program = Program(workspace)
    reference = workspace.checkpoint(str(program.pid), "--name", "roll")
    inner = program.pid
    workspace.kill(program.pid)
    program.pid = workspace.restart(reference, "--ids", "namespace")
    init = next(pid for pid in workspace.leftovers() if program.pid in children_of(pid))
    program.family = lambda: set(children_of(init))
    for _ in range(3):
        answer = program.roll_back(reference)
        check(answer["pid"] == inner, f"{answer}")
    workspace.kill(program.pid)


def a_taker_inside_the_namespace(workspace, options):
    """The program of a private namespace asks for its own checkpoints: who takes them is in there, too."""
    program = Program(workspace)
    inner = program.pid
    reference = workspace.checkpoint(str(program.pid), "--name", "deep")
    workspace.kill(program.pid)
    for number in range(3):
        program.pid = workspace.restart(reference, "--ids", "namespace")
        before = program.ask()
        check(before["pid"] == inner and before["right"] and before["sound"] and before["known"] == [0, 0, 0], f"{before}")
        program.execute("checkpoint", "--name", "deep", str(inner), orphan=True)
        reference = f"deep@{number + 2}"
        taken = lambda: reference in workspace.snapshots() or "crs: cannot" in read_text(workspace.work / "stderr.txt")
        wait_until(taken, "there is a snapshot")
        check(reference in workspace.snapshots(), read_text(workspace.work / "stderr.txt"))
        check(program.ask()["total"] > before["total"], "it does not go on")
        workspace.kill(program.pid)
        workspace.wait_gone()


def refused_while_whole(workspace, options):
    program = Program(workspace)
    reference = workspace.checkpoint(str(program.pid), "--name", "roll")
    errors = workspace.work / "stderr.txt"
    program.execute("restart", "--replace", reference, child=True)
    # An error is that of the command that it became.
    check(program.process.wait(STEP_LIMIT) == 1, f"status {program.process.returncode}")
    check("it has child processes" in errors.read_text(), errors.read_text())
    workspace.end_processes()
    result = workspace.crs("restart", "--replace", "--ids", "namespace", reference, expect=2)
    check("private namespace" in result.stderr, f"{result}")
    workspace.crs("restart", "--replace", "roll@7", expect=3)
    check(not workspace.leftovers(), "something is left")


def check_only(workspace, options):
    program = Program(workspace)
    reference = workspace.checkpoint(str(program.pid), "--name", "roll")
    before = program.ask()
    result = workspace.crs("restart", "--check-only", "--replace", reference)
    check(result.stdout == "" and is_alive(program.pid), f"{result}")
    check(program.ask()["total"] >= before["total"], "it was rolled back")
    workspace.crs("restart", "--check-only", "roll@7", expect=3)
    image = next((workspace.store / "roll").glob("1/process"))
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.chmod(0o600)
    image.write_bytes(content)
    workspace.crs("restart", "--check-only", reference, expect=4)
    check(program.ask()["right"], "the program is harmed")
    workspace.kill(program.pid)


def no_half_program(workspace, options):
    """What fails after the point of no return ends the process, with a message."""
    forge = workspace.reachable(pathlib.Path(options.build) / "bin" / "forge_snapshot")
    program = Program(workspace)
    reference = workspace.checkpoint(str(program.pid), "--name", "sim")
    check(workspace.run([forge, workspace.store / "sim" / "1", "rseq-nowhere"]).status == 0, "the forger failed")
    program.execute("restart", "--replace", reference)
    check(program.process.wait(STEP_LIMIT) != 0, "it ended well")
    errors = workspace.work / "stderr.txt"
    wait_until(lambda: "crs: cannot restart sim@1" in errors.read_text() and "rseq" in errors.read_text(), "the message")
    workspace.wait_gone()
    workspace.crs("remove", reference)


def no_half_program_without_its_helper(workspace, options):
    """Killed at any moment, the helper takes an unfinished program with it."""
    ended = 0
    for number in range(60):
        if number >= 8 and ended > 0:
            break
        program = Program(workspace)
        reference = workspace.checkpoint(str(program.pid), "--name", f"kill{number}")
        program.execute("restart", "--replace", reference)
        # It may be done before it is seen; then the program is whole.
        end, helpers = time.monotonic() + 0.5, []
        while not helpers and time.monotonic() < end:
            helpers = helpers_of(workspace, program.pid)
        time.sleep(number % 8 * 0.002)  # another moment each time
        for helper in helpers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(helper, signal.SIGKILL)
        try:
            check(program.ask()["sound"], "half a program runs")
        except Failure:
            wait_until(lambda: not is_alive(program.pid), "half a program is gone")
            ended += 1
        workspace.end_processes()
        for name in ("ask", "up"):
            (workspace.work / name).unlink(missing_ok=True)
    print(f"{ended} of {number} ended")
    check(ended > 0, "the helper was never killed in time")


def helpers_of(workspace, pid):
    return [other for other in workspace.leftovers() if other != pid and "--replace" in read_text(f"/proc/{other}/cmdline")]


TESTS = [ten_times, fresh_ids_and_another_process, inside_a_private_namespace, a_taker_inside_the_namespace, refused_while_whole, check_only, no_half_program,
         no_half_program_without_its_helper]

if __name__ == "__main__":
    main(TESTS)
