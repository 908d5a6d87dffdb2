#!/usr/bin/env python3
"""Files on a mounted hugetlbfs: with a name, which stay where they are, and without one, which come back. Only root can mount it."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys

from harness import SKIPPED, Workspace, check, run_cases, users_to_test, wait_until
from run_subject import huge_pages

PROGRAM = r"""
import mmap, os, signal, sys
HUGE = 2 << 20
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

def make(file, text):
    os.ftruncate(file, 2 * HUGE)
    shared = mmap.mmap(file, 2 * HUGE)
    shared[HUGE:HUGE + len(text)] = text
    return file, shared

named = make(os.open(sys.argv[1] + "/named", os.O_RDWR | os.O_CREAT, 0o600), b"named")
unlinked = make(os.open(sys.argv[1] + "/unlinked", os.O_RDWR | os.O_CREAT, 0o600), b"unlinked")
os.unlink(sys.argv[1] + "/unlinked")
nameless = make(os.open(sys.argv[1], os.O_RDWR | os.O_TMPFILE, 0o600), b"nameless")
own = mmap.mmap(named[0], 2 * HUGE, flags=mmap.MAP_PRIVATE)
own[0:3] = b"own"
open("ready", "w").close()
signal.sigwait({signal.SIGUSR1})
for (file, shared), text in ((named, b"named"), (unlinked, b"unlinked"), (nameless, b"nameless")):
    assert shared[HUGE:HUGE + len(text)] == text == os.pread(file, len(text), HUGE), shared[HUGE:HUGE + 10]
    assert shared[0:3] == bytes(3), shared[0:3]
    shared[3:6] = b"new"
    assert os.pread(file, 3, 3) == b"new" and os.fstat(file).st_blksize == HUGE
assert own[0:3] == b"own" and own[HUGE:HUGE + 5] == b"named", own[0:10]
open("done", "w").close()
"""


@contextlib.contextmanager
def mounted(workspace):
    place = workspace.directory / "hugetlbfs"
    place.mkdir()
    if subprocess.run(["mount", "-t", "hugetlbfs", "-o", "mode=1777,pagesize=2M", "none", place], check=False).returncode != 0:
        print("skipped: no hugetlbfs can be mounted")
        sys.exit(SKIPPED)
    try:
        yield place
    finally:
        workspace.end_processes()
        subprocess.run(["umount", place], check=True)


def comes_back(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace, mounted(workspace) as place:
        program = workspace.start(["/usr/bin/python3", "-c", PROGRAM, str(place)])
        wait_until((workspace.work / "ready").exists, "the program is ready")
        result = workspace.crs("checkpoint", "--files", "copy", str(program.pid), expect=1)
        check(f"{place}/named" in result.stderr and "hugetlbfs" in result.stderr, str(result))
        pid = program.pid
        for _ in range(2):
            reference = workspace.checkpoint(pid)
            workspace.kill(pid)
            pid = workspace.restart(reference)
        os.kill(pid, signal.SIGUSR1)
        wait_until((workspace.work / "done").exists, "the program has found everything")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        print("skipped: only root can mount a hugetlbfs")
        sys.exit(SKIPPED)
    with huge_pages(16):
        run_cases([(f"as {user}", lambda user=user: comes_back(options, user)) for user in users_to_test()])


if __name__ == "__main__":
    main()
