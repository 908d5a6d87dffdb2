#!/usr/bin/env python3
"""Processes that come to have one memory (clone(2) with CLONE_VM) between two checkpoints, or in the middle of one; and those of which one is
not part of the program."""

import argparse
import os
import signal

from bad_input import Subject, refused
from harness import Workspace, check, children_of, run_cases, users_to_test, wait_until


def comes_between(workspace, options):
    """The row goes on, in full as long as the memory is shared, and nothing is taken for a userfaultfd of the program's."""
    subject = Subject(workspace, options.subjects, "memory_shared_later", job="sim")
    sizes = []
    for number in range(4):
        if number == 2:
            os.kill(subject.pid, signal.SIGUSR1)
            wait_until(lambda: children_of(subject.pid), "it has a child")
        workspace.crs("checkpoint", "--incremental", "sim")
        sizes.append(workspace.crs("show", "--json", f"sim@{number + 1}").json()["parent_sequence"])
    check(sizes == [None, 1, None, None], f"made from {sizes}")
    workspace.checkpoint("sim", "--kill")
    workspace.wait_exit(subject.runner)
    subject.finish(workspace.restart("sim@4"))


def comes_and_goes(workspace, options):
    """Whatever is found shared when it stands still is right."""
    subject = Subject(workspace, options.subjects, "memory_shared_later", job="sim")
    os.kill(subject.pid, signal.SIGUSR2)
    wait_until(lambda: children_of(subject.pid), "it has a child")
    for _ in range(6):
        workspace.crs("checkpoint", "--incremental", "sim")
    workspace.checkpoint("sim", "--kill")
    workspace.wait_exit(subject.runner)
    subject.finish(workspace.restart("sim@5"))


def outside(workspace, options):
    """A child's parent is no part of what is saved when only the child is."""
    subject = Subject(workspace, options.subjects, "processes_of_one_memory")
    child = children_of(subject.pid)[0]
    refused(workspace, "checkpoint", str(child), expect=1, names=[child, subject.pid, "not part of the program", "have one memory"])
    subject.check_untouched()
    subject.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--subjects", required=True)
    options, _ = parser.parse_known_args()

    def case(test, user):
        def run():
            with Workspace(options.crs, user) as workspace:
                test(workspace, options)
        return f"{test.__name__} as {user}", run

    run_cases([case(test, user) for test in (comes_between, comes_and_goes, outside) for user in users_to_test()])


if __name__ == "__main__":
    main()
