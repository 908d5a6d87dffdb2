#!/usr/bin/env python3
"""System V objects that a restart finds in use: it says which, and leaves everything as it is; in private namespaces it does not matter."""

import ctypes
import subprocess

from bad_input import Subject, main, refused
from harness import check, read_text

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p


def segments(ids):
    """Those of the program that are there; other tests have some, too."""
    lines = [line.split() for line in read_text("/proc/sysvipc/shm").splitlines()[1:]]
    return [line[:5] for line in lines if int(line[1]) in ids]


def root_segment_in_use(workspace, options):
    objects = workspace.work / "objects"
    program = Subject(workspace, options.subjects, "system_v_memory", env={"SUBJECT_OBJECTS": str(objects)})
    ids = [int(line.split()[1]) for line in read_text(objects).splitlines()]
    reference = workspace.checkpoint(str(program.pid))
    workspace.kill(program.pid)
    try:
        place = libc.shmat(ids[0], None, 0)
        before = segments(ids)
        refused(workspace, "restart", "--ids", "keep", reference, expect=1,
                names=[f"System V shared memory segment {ids[0]} ", "in use here", "ipcrm", "--ids namespace"])
        check(segments(ids) == before, f"segments were {before}, are {segments(ids)}")
        # Beside the one in use.
        pid = workspace.restart(reference, "--ids", "namespace")
        check(segments(ids) == before, f"segments were {before}, are {segments(ids)}")
        libc.shmdt(ctypes.c_void_p(place))
        program.finish(pid)
    finally:
        for number in ids:
            subprocess.run(["ipcrm", "-m", str(number)], stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main([root_segment_in_use])
