#!/usr/bin/env python3
"""Programs that end, in part or as a whole, while they are being stopped: no checkpoint takes a child that is about to end for a hindrance,
or waits in vain for an end that the checkpoint itself holds up (ptrace(2), "Death under ptrace")."""

import argparse
import os
import signal
import time

from bad_input import Subject
from harness import Workspace, check, read_text, run_cases, users_to_test, wait_until

# In most runs one of the first hundred met a child at the wrong moment.
CHECKPOINTS = 150
# Such a wait lasts at least as long as a thread is given to stop.
LIMIT = 9.0  # seconds


# So many threads that stopping them takes a while.
MANY_THREADS = """
import threading, time
threading.stack_size(65536)
for _ in range(1500):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("up", flush=True)
time.sleep(1000)
"""


def killed(options, user):
    with Workspace(options.crs, user) as workspace:
        for delay in (0, 0.002, 0.01, 0.05):
            program = workspace.start(["/usr/bin/python3", "-c", MANY_THREADS])
            output = workspace.work / "stdout.txt"
            wait_until(lambda: "up" in read_text(output), "all threads are there")
            output.write_text("")
            checkpoint = workspace.start([workspace.crs_path, "checkpoint", "--name", "many", str(program.pid)])
            last = max(int(tid) for tid in os.listdir(f"/proc/{program.pid}/task"))
            wait_until(lambda: "(tracing stop)" in read_text(f"/proc/{program.pid}/task/{last}/status") or checkpoint.poll() is not None, "it is being stopped")
            time.sleep(delay)  # the test's input: how far that has come
            begin = time.monotonic()
            os.kill(program.pid, signal.SIGKILL)
            status = workspace.wait_exit(checkpoint)
            check(status in (0, 1) and time.monotonic() - begin < LIMIT, f"status {status} after {time.monotonic() - begin} s")
            check(status == 0 or " meanwhile" in read_text(workspace.work / "stderr.txt"), read_text(workspace.work / "stderr.txt"))
            workspace.wait_exit(program)
            (workspace.work / "stderr.txt").write_text("")


def children(options, user):
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
    users = users_to_test()[-1:]
    run_cases([(f"{case.__name__} as {user}", lambda case=case, user=user: case(options, user)) for case in (killed, children) for user in users])


if __name__ == "__main__":
    main()
