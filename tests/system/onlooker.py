"""Looks at tests/programs/selfcheck.c, tree_ring.c or tree_terminals.c from outside, at no cost to it: its progress is read from its memory."""

import os
import re
import struct

from harness import STEP_LIMIT, Failure, check, descendants_of, describe_process, read_text, wait_until

SELFCHECK = "selfcheck"
RING = "tree_ring"
TERMINALS = "tree_terminals"
LEISURE = 10  # nice(2)


def threads_of(pid):
    """Empty if it has ended: what a killed checkpointer leaves of its own may be about to."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []


class SelfCheck:
    """One self-checking program, its job and what is known of it. It may be killed and restarted any number of times."""

    def __init__(self, workspace, subjects, job, groups=1, interruptions=0, memory=0, program=SELFCHECK):
        self.workspace, self.job = workspace, job
        self.status_file, self.go_file, progress_file = (workspace.work / name for name in ("status", "go", "progress"))
        workspace.environment |= {
            "SUBJECT_STATUS": str(self.status_file),
            "SUBJECT_GO": str(self.go_file),
            "SUBJECT_PROGRESS": str(progress_file),
            "SUBJECT_GROUPS": str(groups),
            "SUBJECT_MEMORY": str(memory),
            "SUBJECT_IDS": workspace.ids or "",
        }
        if interruptions:
            workspace.environment["SUBJECT_INTERRUPTIONS"] = str(interruptions)
        # Its threads never rest: they would take the processors from the tests beside this one.
        runner, pid = workspace.start_by_crs(job, [workspace.reachable(f"{subjects}/{program}")], preexec_fn=lambda: os.nice(LEISURE))
        wait_until(lambda: self.status() or runner.poll() is not None, "the program says ready")
        self.address, self.count = map(int, read_text(progress_file).split())
        self.watch(pid)

    def watch(self, pid):
        """From now on the program is process `pid`; what runs below this test now is what belongs to it."""
        self.pid = pid
        self.expected = set(self.workspace.leftovers())

    def status(self):
        return read_text(self.status_file).splitlines()

    def progress(self):
        try:
            with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
                counters = os.pread(memory.fileno(), 8 * self.count, self.address)
                return struct.unpack(f"{self.count}q", counters)
        except (OSError, struct.error) as problem:
            raise Failure(f"process {self.pid} is gone ({problem}); it says {self.status()}") from None

    def check_goes_on(self, limit=STEP_LIMIT):
        """Every thread gets on, none is stopped or traced, and nothing runs that did not run when watch() was called."""
        before = self.progress()
        wait_until(lambda: not self.held_threads(), "no thread is stopped or traced", limit)
        try:
            wait_until(lambda: all(now != then for now, then in zip(self.progress(), before)), "every thread gets on", limit)
        except Failure as failure:
            stuck = [number for number, (now, then) in enumerate(zip(self.progress(), before)) if now == then]
            raise Failure(f"{failure}; these do not: {stuck}\n{describe_process(self.pid)}") from None
        check(self.status() == ["ready"], f"the program says {self.status()}")
        try:
            wait_until(lambda: not self.more(), "nothing is left behind", limit)  # what the kernel ends takes a moment
        except Failure as failure:
            raise Failure(f"{failure}: " + "; ".join(describe_process(pid) for pid in self.more())) from None

    def more(self):
        self.workspace.reap()
        return set(self.workspace.leftovers()) - self.expected

    def held_threads(self):
        """The threads, of any of the processes, that are stopped or have a tracer."""
        held = []
        for pid in [self.pid, *descendants_of(self.pid)]:
            for tid in threads_of(pid):
                status = read_text(f"/proc/{pid}/task/{tid}/status")
                if re.search(r"^(State:\t[tT]|TracerPid:\t[1-9])", status, re.MULTILINE):
                    held.append(tid)
        return held

    def is_traced(self):
        return "\nTracerPid:\t0\n" not in read_text(f"/proc/{self.pid}/status")

    def finish(self):
        """Lets the program end, which then checks the sum of all it did."""
        self.go_file.touch()
        wait_until(lambda: len(self.status()) > 1, "the program reports")
        statuses = self.workspace.wait_gone(self.pid)
        check(self.status() == ["ready", "ok"], f"the program says {self.status()}")
        check(all(status == 0 for status in statuses.values()), f"exit statuses {statuses}")
        self.go_file.unlink()
        self.status_file.write_text("ready\n")
