#!/usr/bin/env python3
"""stress-ng with a dozen stressors at work (processes that are made and end, pipes, signals, timers, memory) goes through checkpoints that
end it, and restarts; it checks its results itself (--verify) and ends well when it is asked to."""

import os
import signal

from harness import check, descendants_of, read_text, wait_until
from servers import Server, run_server_tests

# Not mutex: as root its threads have real-time priorities, and crs waits for the processor.
STRESSORS = ["cpu", "eventfd", "fifo", "fork", "futex", "itimer", "matrix", "pipe", "poll", "sigq", "switch", "vm"]


def processor_time(pid):
    """In clock ticks, of the stressors' own processes: below the first one, which waits."""
    fields = [read_text(f"/proc/{process}/stat").rpartition(")")[2].split() for process in descendants_of(pid)]
    return sum(int(field[11]) + int(field[12]) for field in fields if field)


def works(pid):
    """Each stressor has got on."""
    before = processor_time(pid)
    wait_until(lambda: processor_time(pid) > before + 5 * len(STRESSORS), "the stressors work")


def stressed_and_restarted(workspace, rounds):
    options = [word for stressor in STRESSORS for word in (f"--{stressor}", "1")]
    server = Server(workspace, "stress", ["stress-ng", *options, "--vm-bytes", "16m", "--verify", "--timeout", "600"])
    for _ in range(rounds):
        works(server.pid)
        # Killed one after the other, those that are left would remove their FIFOs.
        server.restart(server.end_with_checkpoint())
    works(server.pid)
    os.kill(server.pid, signal.SIGINT)
    server.ends()
    said = read_text(workspace.work / "stderr.txt") + read_text(workspace.work / "stdout.txt")
    wrong = [line for line in said.splitlines() if "stress-ng: info:" not in line]
    check(not wrong, f"stress-ng says {wrong}")


if __name__ == "__main__":
    run_server_tests(["stress-ng"], stressed_and_restarted, rounds=1, many_rounds=20)
