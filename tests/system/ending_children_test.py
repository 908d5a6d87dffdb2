#!/usr/bin/env python3
"""A program whose children end all the time, each with several threads: no checkpoint takes one that is about to end for a hindrance, or
waits in vain for an end that the checkpoint itself holds up (ptrace(2), "Death under ptrace")."""

import argparse

from bad_input import Subject
from harness import Workspace, check, run_cases, users_to_test

# In most runs one of the first hundred met a child at the wrong moment.
CHECKPOINTS = 150
# Such a wait lasts at least as long as a thread is given to stop.
LIMIT = 9.0  # seconds


def case(options, user):
    with Workspace(options.crs, user) as workspace:
        subject = Subject(workspace, options.subjects, "ending_children", job="sim")
        for number in range(options.checkpoints):
            result = workspace.crs("checkpoint", "--json", "--keep", "1", "sim").json()
            check(result["pause_seconds"] < LIMIT, f"checkpoint {number} stopped the program for {result['pause_seconds']} s")
        subject.check_untouched()
        subject.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--subjects", required=True)
    parser.add_argument("--checkpoints", type=int, default=CHECKPOINTS)
    options, _ = parser.parse_known_args()
    run_cases([(user, lambda user=user: case(options, user)) for user in users_to_test()[-1:]])


if __name__ == "__main__":
    main()
