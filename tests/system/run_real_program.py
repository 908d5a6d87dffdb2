#!/usr/bin/env python3
"""Puts one of the real programs (tests/real/programs.py) through checkpoints, SIGKILLs and restarts in the middle of its work, and compares
everything it leaves with an uninterrupted run of its own: standard output and result files byte for byte, and the exit status."""

import argparse
import os
import pathlib
import signal
import sys
import tempfile

TESTS = pathlib.Path(__file__).parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / "real")]
from harness import Workspace, check, run_cases, users_to_test, wait_until
from programs import PROGRAMS, SOURCES, write_data

# What a case does: (checkpoints that the program goes on from, checkpoints each followed by SIGKILL and a restart).
CASES = {
    "one checkpoint": (0, 1),
    "three checkpoints, each killed and restarted": (0, 3),
    "three checkpoints of the running program, restarted from the last": (2, 1),
}
WORK_LIMIT = 200.0  # seconds for a run of a few, on a machine that others use too


class Run:
    """A program at work in a workspace of its own."""

    def __init__(self, options, program, user, data):
        self.options, self.program, self.user, self.data = options, program, user, data

    def __enter__(self):
        self.workspace = Workspace(self.options.crs, self.user, self.options.verbose).__enter__()
        for name in self.program.sources:
            copy = self.workspace.work / name
            copy.write_bytes((SOURCES / name).read_bytes())
            copy.chmod(0o644)
        self.command = [self.fill_in(word) for word in self.program.command]
        return self

    def __exit__(self, *problem):
        return self.workspace.__exit__(*problem)

    def fill_in(self, word):
        if word.startswith("{compiled}"):
            return self.workspace.reachable(pathlib.Path(word.format(compiled=self.options.compiled)))
        return word.format(data=self.data)

    def streams(self):
        return {"stdin": open(self.workspace.work / self.program.stdin)} if self.program.stdin else {}

    def progress(self):
        return sum(path.stat().st_size for path in self.files(self.program.progress))

    def files(self, patterns):
        return sorted(path for pattern in patterns for path in self.workspace.work.glob(pattern))

    def results(self):
        """Name and content of everything that the program leaves."""
        return {path.name: path.read_bytes() for path in self.files([*self.program.results, "stdout.txt", "stderr.txt"])}

    def to_its_end(self):
        """The uninterrupted run: its results and its progress at the end."""
        process = self.workspace.start(self.command, **self.streams())
        status = self.workspace.wait_exit(process, WORK_LIMIT)
        check(status == self.program.status, f"an uninterrupted run ended with {status} instead of {self.program.status}")
        return self.results(), self.progress()

    def interrupted(self, plain, running, restarted):
        """The run with checkpoints; `plain` is the uninterrupted one's (results, progress)."""
        expected, whole = plain
        marks = [int(whole * fraction) for fraction in self.program.fractions]
        process, pid = self.workspace.start_by_crs(self.program.name, self.command, **self.streams())
        for mark in marks[:running]:
            self.wait_for(mark, process)
            self.workspace.checkpoint(self.program.name)
        for mark in marks[running : running + restarted]:
            self.wait_for(mark, process)
            before = self.progress()
            reference = self.checkpoint_and_kill(process, pid)
            process = self.restart(reference)
            pid = self.workspace.program_below(process, self.command[0])
            check(self.progress() >= before, f"the program began anew: {self.progress()} bytes after {before}")
        status = self.workspace.wait_exit(process, WORK_LIMIT)
        check(status == self.program.status, f"ended with {status} instead of {self.program.status}")
        self.compare(expected)

    def wait_for(self, mark, process):
        def reached():
            check(process.poll() is None, f"the program ended, with {process.returncode}, before its checkpoint")
            return self.progress() >= mark

        wait_until(reached, f"{mark} bytes of progress", WORK_LIMIT)

    def checkpoint_and_kill(self, process, pid):
        """That SIGKILL ended the program proves that it was in the middle of its work at the checkpoint before."""
        options = ["--kill"] if self.program.ends_with_checkpoint else []
        reference = self.workspace.checkpoint(self.program.name, *options)
        if not options:
            self.workspace.kill(pid)
        status = self.workspace.wait_exit(process)
        check(status == 128 + signal.SIGKILL, f"killed, but ended with {status}")
        wanted = self.program.exists_in_the_middle
        check(not wanted or (self.workspace.work / wanted).exists(), f"not in the middle of its work: {wanted} is missing")
        return reference

    def restart(self, reference):
        words = self.workspace.directory / "restart-messages"
        # The program's standard streams are files and come back by themselves.
        with open(words, "ab") as file:
            return self.workspace.restart_in_foreground(reference, stdout=file, stderr=file)

    def compare(self, expected):
        found = self.results()
        check(found.keys() == expected.keys(), f"left {sorted(found)} instead of {sorted(expected)}")
        for name, content in expected.items():
            if found[name] != content:  # where takes long to find
                check(False, f"{name} differs: {difference(found[name], content)}")


def difference(found, expected):
    where = next((i for i, (one, other) in enumerate(zip(found, expected)) if one != other), min(len(found), len(expected)))
    return (
        f"{len(found)} bytes, expected {len(expected)}; from byte {where}: {found[where : where + 60]!r} instead of "
        f"{expected[where : where + 60]!r}"
    )


def cases_of(options, program, data):
    plain = []

    def uninterrupted():
        with Run(options, program, "ordinary", data) as run:
            plain.extend(run.to_its_end())

    def interrupted(user, running, restarted):
        check(plain, "there is no uninterrupted run to compare with")
        with Run(options, program, user, data) as run:
            run.interrupted(plain, running, restarted)

    cases = [("an uninterrupted run", uninterrupted)]
    for user in users_to_test():
        for name, counts in CASES.items():
            if wanted(options, program, user, counts):
                cases.append((f"{name}, as {user}", lambda user=user, counts=counts: interrupted(user, *counts)))
    return cases


def wanted(options, program, user, counts):
    if options.user:
        return user == options.user
    if program.short and not options.long:
        return counts == (0, 1)
    return options.long or (user == "ordinary" and counts == (0, 3))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--compiled", required=True, help="the folder of compiled programs")
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--long", action="store_true", help="every case for every user")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("program", choices=[program.name for program in PROGRAMS])
    options = parser.parse_args()
    program = next(program for program in PROGRAMS if program.name == options.program)
    with tempfile.TemporaryDirectory(prefix="crs-test-data-") as directory:
        os.chmod(directory, 0o755)  # every user reads the data there
        data = pathlib.Path(directory) / "data.txt"
        if program.data:
            write_data(data, program.data)
        run_cases(cases_of(options, program, data))


if __name__ == "__main__":
    main()
