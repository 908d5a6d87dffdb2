#!/usr/bin/env python3
"""What cannot be checkpointed at all: the message says which process it is, why, and what to do; nothing is written, and the process goes on."""

import ctypes
import os
import re
import subprocess
import sys
import threading
import time

from bad_input import Subject, check_message, check_no_effect, main, refused, tree_of
from harness import OTHER_USER, check, children_of, is_alive, read_text, state_of, wait_until

PYTHON = "/usr/bin/python3"

# Attaches to the process given and stays.
DEBUGGER = r"""
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_SEIZE = 0x4206
if libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None) != 0: sys.exit(os.strerror(ctypes.get_errno()))
os.write(1, b"attached\n")
time.sleep(60)
"""


def no_such_process(workspace, options):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for pid in (gone.pid, 0, 2147483647, 99999999999999999999):
        refused(workspace, "checkpoint", str(pid), expect=3, names=[pid, "there is no process"])


def no_such_job(workspace, options):
    refused(workspace, "checkpoint", "simulation", expect=3, names=["no job 'simulation'", "crs list"])
    subject = Subject(workspace, options.subjects, job="simulation")
    refused(workspace, "checkpoint", "simulatoin", expect=3, names=["no job 'simulatoin'", "Did you mean 'simulation'?"])
    refused(workspace, "checkpoint", "simulation@1", expect=2, names=["simulation@1", "is a snapshot, not a running job"])
    refused(workspace, "restart", "simulation", expect=3, names=["simulation", "crs list"])
    subject.check_untouched()
    subject.finish()


def ordinary_another_users_process(workspace, options):
    if not workspace.am_root:
        # There is one process that surely is not this user's.
        refused(workspace, "checkpoint", "1", expect=1, names=["process 1 belongs to", "root"])
        return
    # A file of their own, since the workspace's are not theirs.
    other = workspace.start(["sleep", "60"], user=OTHER_USER, group=OTHER_USER, extra_groups=[], cwd="/")
    refused(workspace, "checkpoint", str(other.pid), expect=1, names=[other.pid, f"user {OTHER_USER}", "root"])
    check(is_alive(other.pid), "the other user's process is gone")


def zombie(workspace, options):
    process = workspace.start(["true"])
    wait_until(lambda: state_of(process.pid) == "Z", "the process is a zombie")
    # Only afterwards may it be waited for.
    store = tree_of(workspace.store)
    result = workspace.crs("checkpoint", str(process.pid), expect=3)
    check_message(result, process.pid, "(true)", "zombie", "nothing left to save")
    check(tree_of(workspace.store) == store, "something was written")


def the_tool_itself(workspace, options):
    store = tree_of(workspace.store)
    result = workspace.run(["sh", "-c", 'exec "$0" checkpoint $$', workspace.crs_path])
    check(result.status == 2, f"exit status {result.status} instead of 2: {result}")
    check_message(result, "this very command, the tool itself")
    check(tree_of(workspace.store) == store, "something was written")


def kernel_thread(workspace, options):
    if read_text("/proc/2/comm").strip() != "kthreadd":
        print("no kernel threads can be seen here: not checked")
        return
    refused(workspace, "checkpoint", "2", expect=1, names=["process 2"])


def a_thread(workspace, options):
    subject = Subject(workspace, options.subjects, "cpp_threads")
    threads = [int(tid) for tid in os.listdir(f"/proc/{subject.pid}/task") if int(tid) != subject.pid]
    refused(workspace, "checkpoint", str(threads[0]), expect=2, names=[threads[0], f"thread of process {subject.pid}"])
    subject.check_untouched()


def under_a_debugger(workspace, options):
    subject = Subject(workspace, options.subjects)
    output = workspace.work / "debugger.txt"
    debugger = workspace.start([PYTHON, "-c", DEBUGGER, str(subject.pid)], stdout=open(output, "ab"))
    wait_until(lambda: output.read_text() == "attached\n" or debugger.poll() is not None, "the debugger is attached")
    check(debugger.poll() is None, "the debugger could not attach")
    refused(workspace, "checkpoint", str(subject.pid), expect=1,
            names=[f"process {subject.pid}", f"traced by process {debugger.pid}", "python3", "end the debugger"])
    check(f"TracerPid:\t{debugger.pid}\n" in read_text(f"/proc/{subject.pid}/status"), "the debugger was driven off")
    debugger.kill()
    debugger.wait()
    subject.check_untouched()
    # Once the debugger is gone, the same program can be kept.
    reference = workspace.checkpoint(str(subject.pid))
    workspace.kill(subject.pid)
    subject.finish(workspace.restart(reference))


def with_children(workspace, options):
    subject = Subject(workspace, options.subjects, "refused_children")
    children = children_of(subject.pid)
    refused(workspace, "checkpoint", "--single", str(subject.pid), expect=1, names=[f"process {subject.pid}", f"{children[0]} (refused_childr", "child"])
    check(all(map(is_alive, children)), "the child is gone")
    subject.check_untouched()
    subject.finish()


def ends_while_it_is_looked_at(workspace, options):
    """A program that ends at any moment of its checkpoint is an ordinary error, or has been saved before."""
    for delay in (0.0, 0.005, 0.01, 0.02, 0.03):
        subject = Subject(workspace, options.subjects, "cpp_threads")
        killer = threading.Timer(delay, lambda: os.kill(subject.pid, 9))
        killer.start()
        result = workspace.crs("checkpoint", "--name", "mortal", str(subject.pid), expect=None)
        killer.join()
        check(result.status in (0, 1, 3), f"killed after {delay} s: {result}")
        if result.status != 0:
            check_message(result)
        workspace.wait_gone(subject.pid)
    for reference in workspace.snapshots():
        workspace.crs("verify", reference)


def ends_by_itself(workspace, options):
    """The same of small programs, at many moments: no crash, and the words for it."""
    for turn in range(60):
        process = workspace.start(["sh", "-c", f"sleep 0.0{turn % 30:02}"])
        for verb in (["checkpoint", "--name", "brief"], ["check"], ["checkpoint", "--name", "brief", "--kill"]):
            result = workspace.crs(*verb, str(process.pid), expect=None)
            check(result.status in (0, 1, 3), f"{verb}: {result}")
            said = re.search("meanwhile|has ended|about to end|there is no process", result.stderr)
            check(result.status == 0 or said, f"{verb}: {result}")
        workspace.kill(process.pid)


if __name__ == "__main__":
    main([no_such_process, no_such_job, ordinary_another_users_process, zombie, the_tool_itself, kernel_thread, a_thread, under_a_debugger,
          with_children, ends_while_it_is_looked_at, ends_by_itself])
