#!/usr/bin/env python3
"""What was stopped at the checkpoint is so after the restart, also when the restart command is gone. At its end the kernel looks whether it
leaves a process group orphaned with a stopped process in it, and ends such a group by SIGHUP."""

import os
import signal
import time

from harness import check, is_alive, name_of, parent_of, read_text, run_tests, state_of, wait_until

PYTHON = "/usr/bin/python3"

# A parent that goes on, with a child that is stopped; or alone, to be stopped itself. It leads a process group or not.
PROGRAM = r"""
import ctypes, os, signal, sys, time
if "dies" in sys.argv:
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if "leads" in sys.argv: os.setpgid(0, 0)
if "parent" in sys.argv:
    child = os.fork()
    if child == 0:
        while True: time.sleep(0.01)
    os.kill(child, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
beats = 0
while True:
    beats += 1
    with open("beats.new", "w") as file: file.write(str(beats))
    os.rename("beats.new", "beats")
    time.sleep(0.002)
"""


def beats(workspace):
    return int(read_text(workspace.work / "beats") or 0)


def runs_on(workspace):
    before = beats(workspace)
    wait_until(lambda: beats(workspace) > before, "the program goes on")


def start(workspace, *how):
    # Below a shell, so that it leads neither session nor group by itself.
    shell = workspace.start(["/bin/sh", "-c", '"$@" & echo $! > pid; wait', "sh", PYTHON, "-c", PROGRAM, *how])
    wait_until(lambda: beats(workspace) > 0, "the program runs")
    pid = int(read_text(workspace.work / "pid"))
    if "parent" not in how:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) == "T", "the program is stopped")
    return pid, shell


def restart(workspace, *options):
    """From a shell in a session of its own, whose group the command has."""
    arguments = [str(workspace.crs_path), "restart", "--detach", *options, "sim"]
    result = workspace.run(["/bin/sh", "-c", '"$@"; exit $?', "sh", *arguments], start_new_session=True)
    check(result.status == 0, f"{result}")
    return int(result.stdout), result.stderr


def stays_stopped(workspace, *options):
    for how in (["leads"], [], ["dies"]):
        (workspace.work / "beats").unlink(missing_ok=True)
        pid, shell = start(workspace, *how)
        workspace.checkpoint(str(pid), "--kill", "--name", "sim")
        workspace.wait_exit(shell)
        workspace.wait_gone()
        before = beats(workspace)
        pid, said = restart(workspace, *options)
        time.sleep(0.3)  # what ends it would have done so
        # Its parent ends at once; not so in a private process id namespace.
        has_init = name_of(parent_of(pid)) == "crs-init"
        check(("parent-death signal is not set" in said) == ("dies" in how and not has_init), f"{how}: {said}")
        check(is_alive(pid) and state_of(pid) == "T", f"{how}: it is in state {state_of(pid)!r}")
        check(beats(workspace) == before, f"{how}: it has run")
        os.kill(pid, signal.SIGCONT)
        runs_on(workspace)
        workspace.kill(pid)


def in_place(workspace):
    stays_stopped(workspace)


def with_new_ids(workspace):
    stays_stopped(workspace, "--ids", "new")


def below_a_running_parent(workspace):
    for how in (["parent"], ["parent", "leads"]):
        (workspace.work / "beats").unlink(missing_ok=True)
        pid, shell = start(workspace, *how)
        workspace.checkpoint(str(pid), "--kill", "--name", "sim")
        workspace.wait_exit(shell)
        workspace.wait_gone()
        pid, _ = restart(workspace)
        time.sleep(0.3)
        runs_on(workspace)
        states = sorted(state_of(member) for member in set(workspace.tree_of(pid)))
        check(states.count("T") == 1 and len(states) == 2, f"{how}: its processes are in states {states}")
        workspace.kill(pid)


if __name__ == "__main__":
    run_tests([in_place, with_new_ids, below_a_running_parent])
