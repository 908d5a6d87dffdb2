#!/usr/bin/env python3
"""A signal as the trigger of checkpoints (parameter crs_signal): of a program with a service and component native, before and after a
restart; and that no signal is taken from a program that names none."""

import argparse
import os
import pathlib
import re
import signal
import sys

from harness import Workspace, check, is_alive, is_sanitized, listen_for_subject, read_text, run_cases, users_to_test, wait_until

INTERNAL = {32, 33}  # the C library's own, nptl(7)
SANITIZERS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE}  # where the program is built with one


class Subject:
    """The program of the conformance suite, which links libcrs and waits."""

    def __init__(self, workspace, options, **environment):
        self.workspace, self.directory = workspace, workspace.make_directory("subject")
        program = workspace.reachable(options.build / "bin" / "crs-conformance-subject")
        self.is_sanitized = is_sanitized(program)
        environment = {**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path), **environment}
        self.outside = listen_for_subject(self.directory)
        self.process = workspace.start([program, self.directory, "native"], env=environment)

    def wait_ready(self):
        wait_until(lambda: read_text(self.directory / "answer") == "ready\n", "the program is ready")

    def caught(self):
        mask = int(re.search(r"^SigCgt:\t(\w+)", read_text(f"/proc/{self.process.pid}/status"), re.MULTILINE)[1], 16)
        return {number for number in range(1, 65) if mask >> (number - 1) & 1} - INTERNAL - (SANITIZERS if self.is_sanitized else set())


def triggers(workspace, options):
    subject = Subject(workspace, options, CRS_PARAM_crs_signal="USR2")
    subject.wait_ready()
    check(subject.caught() == {signal.SIGUSR2}, f"{subject.caught()}")
    name, pid = f"crs-conformance-subject-{subject.process.pid}", subject.process.pid
    for sequence in (1, 2):
        os.kill(pid, signal.SIGUSR2)
        wait_until(lambda: workspace.snapshots() == [f"{name}@{number}" for number in range(1, sequence + 1)], f"{workspace.snapshots()}")
    workspace.kill(pid)
    pid = workspace.restart(name)
    os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: f"{name}@3" in workspace.snapshots(), f"the restarted program takes its own: {workspace.snapshots()}")
    shown = workspace.crs("show", "--json", f"{name}@3").json()
    check([layer["name"] for layer in shown["layers"]] == ["low", "high"], f"{shown['layers']}")
    workspace.kill(pid)


def takes_none(workspace, options):
    subject = Subject(workspace, options)
    subject.wait_ready()
    check(subject.caught() == set(), f"{subject.caught()}")
    workspace.kill(subject.process.pid)


def is_no_signal(workspace, options):
    subject = Subject(workspace, options, CRS_PARAM_crs_signal="USR3")
    check(workspace.wait_exit(subject.process) == 1, "it goes on")
    check("'USR3' is no signal" in read_text(subject.directory / "answer"), read_text(subject.directory / "answer"))


def says_why_not(workspace, options):
    subject = Subject(workspace, options, CRS_PARAM_crs_signal="USR2", CRS_PARAM_crs_helper="/bin/true")
    subject.wait_ready()
    os.kill(subject.process.pid, signal.SIGUSR2)
    wait_until(lambda: "the checkpoint that SIGUSR2 asked for failed" in read_text(workspace.work / "stderr.txt"), "the program says so")
    workspace.kill(subject.process.pid)


def taker_that_is_stopped(workspace, options):
    """The program waits for it no longer than it was told to, and what it does when it goes on leaves no snapshot."""
    helper = workspace.work / "late-crs"
    helper.write_text(f'#!/bin/sh\necho $$ > "{workspace.work}/late"\nkill -STOP $$\nexec "{workspace.crs_path}" "$@"\n')
    helper.chmod(0o755)
    subject = Subject(workspace, options, CRS_PARAM_crs_signal="USR2", CRS_PARAM_crs_helper=str(helper), CRS_PARAM_crs_snapshot_limit="1")
    subject.wait_ready()
    os.kill(subject.process.pid, signal.SIGUSR2)
    errors = workspace.work / "stderr.txt"
    wait_until(lambda: "has not answered within 1 s" in read_text(errors), "the program gives up")
    late = int(read_text(workspace.work / "late"))
    os.kill(late, signal.SIGCONT)
    wait_until(lambda: not is_alive(late), "it ends")
    check(workspace.snapshots() == [], f"{workspace.snapshots()}")
    workspace.kill(subject.process.pid)


def taker_that_is_slow(workspace, options):
    """Given up while it writes: it commits nothing; in time it does."""
    # A sanitized crs needs longer than a second at its best.
    subject = Subject(workspace, options, CRS_PARAM_crs_snapshot_limit="10" if is_sanitized(workspace.crs_path) else "1")
    subject.wait_ready()
    result = workspace.crs("checkpoint", "--compress", "none", "--io-limit", "500KB/s", subject.process.pid, expect=None)
    check(result.status == 1 and "given the snapshot up" in result.stderr, f"{result}")
    check(workspace.snapshots() == [], f"{workspace.snapshots()}")
    # On a busy machine one that is in no way held back may be late, too.
    wait_until(lambda: workspace.crs("checkpoint", subject.process.pid, expect=None).status == 0, "a checkpoint in time")
    workspace.kill(subject.process.pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()

    def case(test, user):
        def run():
            with Workspace(options.crs, user, options.verbose) as workspace:
                test(workspace, options)
        return f"{test.__name__} ({user})", run

    run_cases([case(test, user) for test in (triggers, takes_none, is_no_signal, says_why_not, taker_that_is_stopped, taker_that_is_slow) for user in users_to_test()])


if __name__ == "__main__":
    sys.exit(main())
