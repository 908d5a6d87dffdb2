#!/usr/bin/env python3
"""The time slice of a thread (sched_setattr(2), sched_runtime of an ordinary policy: Linux 6.12): kept where the program has set one, and the
system's where it has not, whatever slices crs itself runs with."""

import ctypes
import platform
import struct
import sys

from harness import check, run_tests

PYTHON = "/usr/bin/python3"
GETATTR, SETATTR = 315, 314
OWN = 7_000_000
OTHER = 3_000_000
FORMAT = "IIQiIQQQ"

LIBC = ctypes.CDLL(None, use_errno=True)


def slice_of(pid):
    """In nanoseconds; 0 where the kernel has no such thing."""
    attributes = ctypes.create_string_buffer(struct.pack(FORMAT, struct.calcsize(FORMAT), 0, 0, 0, 0, 0, 0, 0))
    check(LIBC.syscall(GETATTR, pid, attributes, struct.calcsize(FORMAT), 0) == 0, f"no scheduling of process {pid}")
    return struct.unpack(FORMAT, attributes.raw[: struct.calcsize(FORMAT)])[5]


def with_slice(nanoseconds):
    def prepare():
        if nanoseconds:
            LIBC.syscall(SETATTR, 0, struct.pack(FORMAT, struct.calcsize(FORMAT), 0, 0, 0, 0, nanoseconds, 0, 0), 0)

    return {"preexec_fn": prepare}


def round_trip(workspace, of_program, of_checkpoint, of_restart):
    program = workspace.start([PYTHON, "-c", "import time\nwhile True: time.sleep(0.01)"], **with_slice(of_program))
    before = slice_of(program.pid)
    check(before == (of_program or slice_of(0)), f"the program's slice is {before} from the start")
    result = workspace.crs("checkpoint", "--kill", "--name", "sim", program.pid, **with_slice(of_checkpoint))
    workspace.wait_exit(program)
    result = workspace.crs("restart", "--detach", result.stdout.strip(), **with_slice(of_restart))
    after = slice_of(int(result.stdout))
    workspace.kill(int(result.stdout))
    check(after == before, f"of {before} the restart made {after} (crs had {of_checkpoint} and {of_restart}; 0: the system's)")


def its_own(workspace):
    for of_crs in (0, OWN, OTHER):
        round_trip(workspace, OWN, of_crs, 0)
        round_trip(workspace, OWN, 0, of_crs)


def of_system(workspace):
    for of_crs in (0, OTHER):
        round_trip(workspace, 0, of_crs, 0)
        round_trip(workspace, 0, 0, of_crs)


if __name__ == "__main__":
    if platform.machine() != "x86_64" or slice_of(0) == 0:
        print("not tested: this kernel has no time slices to be set")
        sys.exit(77)
    run_tests([its_own, of_system])
