#!/usr/bin/env python3
"""A file that the program wrote over after the checkpoint, open or only mapped, is not brought back; the restart says so. Of one that only grew it says nothing
of the kind: that one is cut back."""

import argparse
import os
import signal

from harness import Workspace, check, run_cases, users_to_test, wait_until

PROGRAM = r"""
import mmap, os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
table = open("table", "r+b", buffering=0)
grown = open("grown", "ab", buffering=0)
with open("mapped", "r+b") as file: mapped = mmap.mmap(file.fileno(), 100)
with open("unchanged", "r+b") as file: unchanged = mmap.mmap(file.fileno(), 100)
for number in range(3, 20):  # mmap.mmap keeps a descriptor
    if os.path.exists(f"/proc/self/fd/{number}") and os.readlink(f"/proc/self/fd/{number}").endswith(("/mapped", "/unchanged")): os.close(number)
open("ready", "w").close()
signal.sigwait({signal.SIGUSR1})
os.pwrite(table.fileno(), b"changed", 0)
grown.write(b"more")
mapped[:7] = b"changed"
mapped.flush()
open("changed", "w").close()
signal.sigwait({signal.SIGUSR1})
"""


def changed_in_place(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace:
        for name in ("table", "grown", "mapped", "unchanged"):
            (workspace.work / name).write_bytes(bytes(100))
            os.chown(workspace.work / name, workspace.uid, workspace.uid)
        program = workspace.start(["/usr/bin/python3", "-c", PROGRAM])
        wait_until((workspace.work / "ready").exists, "the program is ready")
        reference = workspace.checkpoint(program.pid)
        os.kill(program.pid, signal.SIGUSR1)
        wait_until((workspace.work / "changed").exists, "the program has changed its files")
        workspace.kill(program.pid)
        for name, kept in (("table", b"changed" + bytes(93)), ("grown", bytes(100)), ("mapped", b"changed" + bytes(93)), ("unchanged", bytes(100))):
            restarted = workspace.restart_result(reference)
            notes = [line for line in restarted.stderr.splitlines() if f"/{name} " in line]
            said = any("has been written to since the checkpoint" in line for line in notes)
            check(said == (name in ("table", "mapped")), f"of {name} it says {notes}")
            check((workspace.work / name).read_bytes() == kept, f"{name} holds {(workspace.work / name).read_bytes()}")
            workspace.kill(int(restarted.stdout))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    run_cases([(f"as {user}", lambda user=user: changed_in_place(options, user)) for user in users_to_test()])


if __name__ == "__main__":
    main()
