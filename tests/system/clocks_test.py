#!/usr/bin/env python3
"""CLOCK_MONOTONIC and CLOCK_BOOTTIME of a restarted program: they go on from the checkpoint, in every process of it and in every round, or
are those of the machine by wish; and who looks at such a program from another time namespace knows it again."""

import json
import os
import re
import shutil
import signal
import sys
import time

from harness import check, link_target, name_of, read_text, run_tests, wait_until

PYTHON = "/usr/bin/python3"
GAP = 2.0  # seconds between checkpoint and restart

# A parent and its child look at the clocks all the time, and say at SIGUSR1 which steps they saw since the last time. A child that has not
# heard it yet would be missing.
PROGRAM = r"""
import json, os, signal, time
CLOCKS = {"monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME, "realtime": time.CLOCK_REALTIME}
me = "child" if os.fork() == 0 else "parent"
largest, asked = dict.fromkeys(CLOCKS, 0), []
signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
def look(): return {name: time.clock_gettime(clock) for name, clock in CLOCKS.items()}
before = look()
open(me + ".up", "w").close()
while True:
    answers = bool(asked)  # before the look: it may be away after one
    now = look()
    for name in CLOCKS: largest[name] = max(largest[name], now[name] - before[name])
    before = now
    if answers:
        asked.clear()
        with open(me + ".new", "w") as file: json.dump({**largest, "is": now["monotonic"]}, file)
        os.rename(me + ".new", me + ".says")
        largest = dict.fromkeys(CLOCKS, 0)
    time.sleep(0.002)
"""


def start(workspace):
    process = workspace.start([PYTHON, "-c", PROGRAM])
    wait_until(lambda: all((workspace.work / f"{who}.up").exists() for who in ("parent", "child")), "the program is up")
    return process.pid


def ask(workspace, pid):
    return ask_all(workspace, workspace.tree_of(pid))


def ask_all(workspace, members):
    answers = []
    for who in ("parent", "child"):
        (workspace.work / f"{who}.says").unlink(missing_ok=True)
    for member in members:
        os.kill(member, signal.SIGUSR1)
    for who in ("parent", "child"):
        wait_until((workspace.work / f"{who}.says").exists, f"the {who} answers")
        answers.append(json.loads((workspace.work / f"{who}.says").read_text()))
    return answers


def away(workspace, target, *options):
    """It is stopped, and comes back some time later."""
    reference = workspace.checkpoint(str(target), "--kill", "--name", "sim")
    time.sleep(GAP)
    return workspace.restart(reference, *options)


def go_on(workspace):
    pid = start(workspace)
    ask(workspace, pid)
    for number in range(3):
        pid = away(workspace, "sim" if number else pid)
        for answer in ask(workspace, pid):
            check(answer["realtime"] >= GAP, f"round {number}: was it away? {answer}")
            for clock in ("monotonic", "boottime"):
                # All of the gap is missing, whatever else took long.
                check(answer[clock] < answer["realtime"] - GAP / 2, f"round {number}: {clock} did not go on: {answer}")
    check(link_target(f"/proc/{pid}/ns/time") != link_target("/proc/self/ns/time"), "it is in no time namespace of its own")
    check(link_target("/proc/self/ns/time") == link_target("/proc/self/ns/time_for_children"), "this test's children are in it, too")


def of_machine(workspace):
    pid = away(workspace, start(workspace), "--clocks", "machine")
    for answer in ask(workspace, pid):
        for clock in ("monotonic", "boottime"):
            check(answer[clock] > answer["realtime"] - GAP / 2, f"{clock} is not the machine's: {answer}")
    check(link_target(f"/proc/{pid}/ns/time") == link_target("/proc/self/ns/time"), "it is in a time namespace of its own")


def of_a_part(workspace):
    """A child that was in a time namespace of its own, as one that has rolled itself back may be."""
    if os.geteuid() != 0 or workspace.uid != 0 or not shutil.which("unshare"):
        return
    own = ["unshare", "--time", "--monotonic", "100000", PYTHON, "-c", PROGRAM]  # enters it as it executes
    shell = workspace.start(["/bin/sh", "-c", '"$@" & wait', "sh", *own])
    wait_until(lambda: all((workspace.work / f"{who}.up").exists() for who in ("parent", "child")), "the program is up")
    pid = away(workspace, shell.pid)
    inside = [member for member in set(workspace.tree_of(pid)) if name_of(member).startswith("python")]
    namespaces = {link_target(f"/proc/{member}/ns/time") for member in inside}
    check(len(inside) == 2 and len(namespaces) == 1, f"{inside} are in {namespaces}")
    check(link_target(f"/proc/{pid}/ns/time") not in namespaces, "the first process is in their time namespace")
    for answer in ask_all(workspace, inside):
        check(answer["monotonic"] < answer["realtime"] - GAP / 2, f"its clock did not go on: {answer}")
        check(answer["is"] > 100000, f"it is another clock: {answer}")


def waits_for_another_clock(workspace):
    """Who waits until a time of a clock that goes on is told where it does not any more, also on the same boot."""
    process = workspace.start([PYTHON, "-c", "import time\ntime.sleep(1000)"])
    wait_until(lambda: read_text(f"/proc/{process.pid}/wchan") == "hrtimer_nanosleep", "it sleeps")
    reference = workspace.checkpoint(str(process.pid), "--kill", "--name", "waits")
    for clocks, noted in (("machine", False), ("continue", False)):
        result = workspace.restart_result(reference, "--clocks", clocks)
        check(("until a time of CLOCK_MONOTONIC" in result.stderr) == noted, f"first, {clocks}: {result}")
        if clocks == "machine":
            workspace.kill(int(result.stdout))
    time.sleep(0.3)
    reference = workspace.checkpoint("waits", "--kill")
    result = workspace.restart_result(reference, "--clocks", "machine")
    check("until a time of CLOCK_MONOTONIC" in result.stderr, f"again: {result}")
    workspace.kill(int(result.stdout))


def seen_from_elsewhere(workspace):
    """A start time in /proc is another one in each time namespace."""
    if os.geteuid() != 0 or workspace.uid != 0 or not shutil.which("nsenter"):
        return
    pid = away(workspace, start(workspace))
    inside = workspace.run(["nsenter", f"--time=/proc/{pid}/ns/time", str(workspace.crs_path), "checkpoint", "--incremental", "sim"])
    check(inside.status == 0, f"from inside: {inside}")
    workspace.crs("checkpoint", "--incremental", "sim")
    check(ask(workspace, pid)[0]["realtime"] > GAP, "it is not the one that was restarted")


def may_set_clocks():
    """Whether root may here, as it may in a user namespace; containers often take that away."""
    CAP_SYS_TIME = 25
    effective = int(re.search(r"^CapEff:\t(\w+)$", read_text("/proc/self/status"), re.MULTILINE)[1], 16)
    return os.path.exists("/proc/self/timens_offsets") and (os.geteuid() != 0 or bool(effective >> CAP_SYS_TIME & 1))


if __name__ == "__main__":
    if not may_set_clocks():
        print("not tested: this user may not make time namespaces here")
        sys.exit(77)
    run_tests([go_on, of_machine, of_a_part, waits_for_another_clock, seen_from_elsewhere])
