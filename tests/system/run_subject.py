#!/usr/bin/env python3
"""Puts a subject program (tests/programs) through rounds of checkpoint, SIGKILL and restart, as root and as an ordinary user."""

import argparse
import contextlib
import errno
import fcntl
import os
import pathlib
import pty
import re
import subprocess
import sys
import termios
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from harness import SKIPPED, Failure, Workspace, check, is_alive, link_target, living_thread_of, read_text, run_cases, users_to_test, wait_until


LEISURE = 10  # nice(2)


class Directives:
    """The `subject:` comments of a source file."""

    def __init__(self, source):
        self.values = {}
        for line in pathlib.Path(source).read_text().splitlines():
            match = re.match(r" *(?://|#|;) subject: ([a-z-]+) ?(.*)$", line)
            if match:
                self.values.setdefault(match[1], []).append(match[2].strip())

    def has(self, name):
        return name in self.values

    def words(self, name):
        return " ".join(self.values.get(name, [])).split()

    def text(self, name):
        return " ".join(self.values.get(name, []))


class Case:
    """One program, one user, one number of rounds, one way to treat ids."""

    def __init__(self, options, directives, user, rounds, ids):
        self.options, self.directives, self.user, self.rounds, self.ids = options, directives, user, rounds, ids
        self.name = f"{pathlib.Path(options.program).name} as {user}, {rounds} rounds" + (f", ids {ids}" if ids else "")

    def run(self):
        with Workspace(self.options.crs, self.user, self.options.verbose, self.ids) as self.workspace:
            self.status_file = self.workspace.work / "status"
            self.go_file = self.workspace.work / "go"
            self.program = self.workspace.reachable(self.options.program)
            self.workspace.environment |= {"SUBJECT_STATUS": str(self.status_file), "SUBJECT_GO": str(self.go_file)}
            self.objects_file = self.workspace.work / "objects"
            self.workspace.environment |= {"SUBJECT_ROUNDS": str(self.rounds), "SUBJECT_OBJECTS": str(self.objects_file)}
            self.workspace.environment |= dict(word.split("=", 1) for word in self.directives.words("env"))
            self.streams = self.make_streams()
            try:
                self.go_through()
            finally:
                for descriptor in self.terminal:
                    os.close(descriptor)
                self.remove_objects()

    def remove_objects(self):
        """What a killed program leaves in the system (subject_leaves)."""
        for line in read_text(self.objects_file).splitlines():
            kind, number = line.split()
            subprocess.run(["ipcrm", f"-{kind}", number], stderr=subprocess.DEVNULL, check=False)

    def make_streams(self):
        self.terminal = []
        if not self.directives.has("terminal"):
            return {}
        self.terminal = list(pty.openpty())
        if self.workspace.drops:
            os.fchown(self.terminal[1], self.workspace.uid, self.workspace.uid)
        ends = self.terminal[1]
        return {
            "stdin": ends,
            "stdout": ends,
            "stderr": ends,
            "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 1),
        }

    def status(self):
        return read_text(self.status_file).splitlines()

    def go_through(self):
        try:
            runner, pid = self.start_program()
        except Failure:
            if self.skipped():
                return
            raise
        wait_until(lambda: self.status() or runner.poll() is not None, "the subject says ready")
        if self.skipped():
            self.workspace.wait_exit(runner)
            return
        self.check_untouched("at first")
        self.target = self.job or str(pid)
        if self.directives.has("refused"):
            self.try_refused(pid)
        elif self.rounds == 0:
            for _ in range(2):
                self.take_checkpoint()
                check(is_alive(pid), "the program is gone after a checkpoint")
        else:
            runner, pid = self.go_rounds(runner, pid)
        self.finish(runner, pid)

    def skipped(self):
        """Whether the subject says that this machine or user cannot do what it is about; it says why."""
        says = self.status() and self.status()[-1].startswith("skipped")
        if says:
            print(self.status()[-1])
        return says

    def start_program(self):
        arguments = [self.program, *self.directives.words("args")]
        self.job = f"subject{self.rounds}" if self.rounds != 1 else None
        options = dict(self.streams)
        if self.directives.has("never-rests"):
            options["preexec_fn"] = lambda: os.nice(LEISURE)
        if self.job:
            return self.workspace.start_by_crs(self.job, arguments, **options)
        process = self.workspace.start(arguments, **options)
        return process, process.pid

    def check_untouched(self, when):
        check(self.status() == ["ready"], f"{when}, the subject's status is {self.status()} instead of ready")

    def let_run(self):
        if self.directives.has("keeps-running"):
            time.sleep(float(self.directives.text("keeps-running")))

    def take_checkpoint(self):
        self.let_run()
        result = self.workspace.checkpoint_result(self.target, *self.directives.words("checkpoint-options"))
        check(self.directives.text("checkpoint-says") in result.stderr, f"not said: {self.directives.text('checkpoint-says')}: {result}")
        self.let_run()
        self.check_untouched("after a checkpoint")
        return result.stdout.strip()

    def try_refused(self, pid):
        before = self.workspace.snapshots()
        result = self.workspace.crs("checkpoint", *self.directives.words("checkpoint-options"), self.target, expect=1)
        check(self.directives.text("refused") in result.stderr, f"the message lacks '{self.directives.text('refused')}': {result}")
        check(result.stdout == "", f"a refusal printed a reference: {result}")
        check(self.workspace.snapshots() == before, f"a refusal left {self.workspace.snapshots()}")
        check(is_alive(pid), "the program is gone after a refusal")
        self.check_untouched("after a refusal")

    def go_rounds(self, runner, pid):
        """Detached restarts, save for the last one of a single round, which stays in the foreground. Returns (None, pid) if detached."""
        for number in range(1, self.rounds + 1):
            reference = self.take_checkpoint()
            check(reference.endswith(f"@{number}"), f"round {number} gave {reference}")
            self.workspace.kill(pid)
            self.check_untouched("after SIGKILL")
            options = self.directives.words("restart-options")
            if self.directives.has("terminal") or self.rounds == 1:
                self.workspace.crs("verify", reference)
                runner = self.workspace.restart_in_foreground(reference, *options, **self.streams)
                pid = self.workspace.program_below(runner, self.program) if number < self.rounds else None
            else:
                runner, pid = None, self.restart_detached(reference, options)
            self.let_run()
            self.check_untouched(f"after restart {number}")
            self.target = self.job or reference.split("@")[0]
        return runner, pid

    def restart_detached(self, reference, options):
        result = self.workspace.restart_result(reference, *options)
        says = self.directives.text("restart-says")
        check(says in result.stderr, f"not said: {says}: {result}")
        check(result.stdout.strip().isdigit(), f"standard output is not a pid: {result}")
        pid = int(result.stdout)
        # Without a namespace of their own an ordinary user may not set the executable link (prctl(2), PR_SET_MM_EXE_FILE).
        may_set_link = self.user == "root" or self.ids != "new"
        executes = link_target(f"/proc/{living_thread_of(pid)}/exe")
        check(not may_set_link or executes == str(self.program), f"process {pid} executes {executes}")
        return pid

    def finish(self, runner, pid):
        self.go_file.touch()
        ended = lambda: len(self.status()) > 1 or (runner.poll() is not None if runner else not is_alive(pid))
        wait_until(ended, "the subject reports")
        statuses = self.workspace.wait_gone(pid)
        check(self.status() == ["ready", "ok"], f"the subject says {self.status()}")
        if runner:
            check(runner.wait() == 0, f"exit status {runner.returncode} of {runner.args[:3]}")
        else:
            check(all(status == 0 for status in statuses.values()), f"exit statuses {statuses}")


def lacks_needed(directives):
    flags = read_text("/proc/cpuinfo")
    flags = set(re.search(r"^flags\s*:(.*)$", flags, re.MULTILINE)[1].split())
    return [flag for flag in directives.words("needs") if flag not in flags]


def cases_of(options, directives):
    users = [options.user] if options.user else users_to_test()
    users = [user for user in users if not (directives.has("root-only") and user != "root")]
    users = [user for user in users if not (directives.has("ordinary-only") and user == "root")]
    default_rounds = [0] if directives.has("refused") else [0, 1, 3]
    rounds = [options.rounds] if options.rounds is not None else [int(word) for word in directives.words("rounds")] or default_rounds
    all_ids = [options.ids] if options.ids else directives.words("only-ids") or [None, *directives.words("ids")]
    return [
        Case(options, directives, user, number, ids)
        for user in users
        for ids in all_ids
        for number in rounds
        if not (ids and number == 0 and len(all_ids) > 1)
    ]


def cannot_be_executed(program):
    """A 32-bit program, where the kernel runs none (ia32_emulation=0)."""
    if pathlib.Path(program).read_bytes()[:5] != b"\x7fELF\x01":
        return False
    try:
        subprocess.run([program], env={}, stdin=subprocess.DEVNULL, timeout=10, check=False)  # has no place to say anything
    except OSError as error:
        return error.errno == errno.ENOEXEC
    return False


@contextlib.contextmanager
def huge_pages(wanted):
    """Sets so many aside (of 2 MiB) beside those that are there already, as root, as long as this lasts."""
    pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = int(read_text(pool) or 0)
    if wanted and os.access(pool, os.W_OK):
        pool.write_text(str(before + wanted))
    try:
        yield
    finally:
        if wanted and os.access(pool, os.W_OK):
            pool.write_text(str(before))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--source", required=True, help="the subject's source file, for its directives")
    parser.add_argument("--program", required=True)
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--ids")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    directives = Directives(options.source)
    cases = cases_of(options, directives)
    if lacks_needed(directives) or not cases:
        print(f"skipped: needs {lacks_needed(directives)} or another user")
        sys.exit(SKIPPED)
    if cannot_be_executed(options.program):
        print("skipped: this kernel runs no 32-bit programs")
        sys.exit(SKIPPED)
    with huge_pages(int(directives.text("huge-pages") or 0)):
        run_cases([(case.name, case.run) for case in cases])


if __name__ == "__main__":
    main()
