#!/usr/bin/env python3
"""Another user who reaches a program's socket all the same, because its directory was opened later, is told that he may not ask."""

import argparse
import contextlib
import os
import pathlib
import socket
import sys

from harness import Workspace, check, listen_for_subject, read_text, run_cases, wait_until

STRANGER = 65534


def refused(workspace, options):
    directory = workspace.make_directory("subject")
    program = workspace.reachable(options.build / "bin" / "crs-conformance-subject")
    environment = {**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path)}
    with listen_for_subject(directory):
        process = workspace.start([program, directory, "native"], env=environment)
        wait_until(lambda: read_text(directory / "answer") == "ready\n", "the program is ready")
    path = next(workspace.directory.glob(f"run/crs/{process.pid}-*"))
    answers = {}
    for user in (0, STRANGER):
        with socket.socket(socket.AF_UNIX) as asker:
            place = os.open(path.parent, os.O_PATH)
            path.chmod(0o777)
            path.parent.chmod(0o755)
            os.seteuid(user)
            try:
                asker.connect(f"/proc/self/fd/{place}/{path.name}")
            finally:
                os.seteuid(0)
                os.close(place)
            with contextlib.suppress(BrokenPipeError):  # a stranger may have been told by then
                asker.sendall(b"\x05\0\0\0hello")
            asker.settimeout(20)
            answers[user] = asker.recv(65536)
    check(b"may not ask" not in answers[0] and b"failure" in answers[0], f"{answers}")
    check(b"user 65534 may not ask for a checkpoint of a program of user 0" in answers[STRANGER], f"{answers}")
    check(workspace.snapshots() == [], f"{workspace.snapshots()}")
    workspace.kill(process.pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    if os.geteuid() != 0:
        return 77  # who is not root has only one user

    def run():
        with Workspace(options.crs, "root", options.verbose) as workspace:
            refused(workspace, options)

    run_cases([("refused (root)", run)])


if __name__ == "__main__":
    sys.exit(main())
