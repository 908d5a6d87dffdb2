#!/usr/bin/env python3
"""POSIX message queues with messages that a process outside the program has open: a checkpoint takes nothing out of them, and a restart puts
nothing into them. What else is in such a queue by then gives way to the snapshot's messages."""

import ctypes
import os

from bad_input import Subject, main, refused
from harness import check, wait_until

library = ctypes.CDLL("librt.so.1", use_errno=True)
HOLDER = """import ctypes, os, sys, time
assert ctypes.CDLL("librt.so.1").mq_open(sys.argv[1].encode(), os.O_RDONLY) >= 0
open(sys.argv[2], "w").close()
time.sleep(1000)"""


class Outsider:
    """Has the queue open until it is ended."""

    def __init__(self, workspace, name):
        self.workspace, opened = workspace, workspace.work / "opened"
        opened.unlink(missing_ok=True)
        self.program = workspace.start(["python3", "-c", HOLDER, name, str(opened)])
        wait_until(opened.exists, "the other process has the queue open")

    def end(self):
        self.program.kill()
        self.workspace.wait_exit(self.program)


def take_one(name):
    queue = library.mq_open(name.encode(), os.O_RDONLY | os.O_NONBLOCK)
    check(queue >= 0 and library.mq_receive(queue, ctypes.create_string_buffer(100), 100, None) >= 0, "no message can be taken")
    os.close(queue)


def queue_of_others(workspace, options):
    program = Subject(workspace, options.subjects, "posix_message_queues")
    name = f"/subject-{program.pid}-filled"
    try:
        outsider = Outsider(workspace, name)
        refused(workspace, "checkpoint", str(program.pid), expect=1, names=["a POSIX message queue with messages", f"process {outsider.program.pid}"])
        program.check_untouched()
        outsider.end()
        reference = workspace.checkpoint(str(program.pid))
        workspace.kill(program.pid)
        take_one(name)
        outsider = Outsider(workspace, name)
        result = refused(workspace, "restart", "--detach", reference, expect=1, json=False, names=[name, "has it open"])
        check(str(outsider.program.pid) in result.stderr, f"the message does not say who: {result}")
        outsider.end()
        result = workspace.restart_result(reference)
        check("had 4 messages, and has the 5 of the snapshot" in result.stderr, f"nothing is said of the queue: {result}")
        program.finish(int(result.stdout))
    finally:
        for queue in ("filled", "queue"):
            library.mq_unlink(f"/subject-{program.pid}-{queue}".encode())


if __name__ == "__main__":
    main([queue_of_others])
