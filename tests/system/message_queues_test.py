#!/usr/bin/env python3
"""POSIX message queues with messages that a process outside the program has open, or may have: a checkpoint takes nothing out of them, and a
restart puts nothing into them. What else is in such a queue by then gives way to the snapshot's messages. And many of them."""

import ctypes
import os
import signal

from bad_input import Subject, main, refused
from harness import OTHER_USER, check, read_text, wait_until

library = ctypes.CDLL("librt.so.1", use_errno=True)
HOLDER = """import ctypes, os, sys, threading, time
way, name, opened = sys.argv[1:]
if way == "mounted":
    queue = os.open("/mnt" + name, os.O_RDONLY)
else:
    queue = ctypes.CDLL("librt.so.1").mq_open(name.encode(), os.O_RDONLY)
assert queue >= 0
if way == "thread":
    threading.Thread(target=lambda: (open(opened, "w").close(), time.sleep(1000))).start()
    ctypes.CDLL(None).syscall(60, 0)  # _exit(2) of this thread alone
print("opened", flush=True)
open(opened, "w").close() if way != "unseen" else None
time.sleep(1000)"""

# Says "ready", and ends with 0 if each of its queues has its message when it is told to go on.
MANY = """import ctypes, os, resource, signal, sys
library = ctypes.CDLL("librt.so.1", use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
os.dup2(0, 1023)
limits = (ctypes.c_long * 8)(0, 1, 8)
queues = range(150, 150 + int(sys.argv[1]))
for number in queues:
    name = f"/many-{os.getpid()}-{number}".encode()
    made = library.mq_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NONBLOCK, 0o600, limits)
    assert made >= 0, os.strerror(ctypes.get_errno())
    library.mq_unlink(name)
    os.dup2(made, number), os.close(made)
    assert library.mq_send(number, b"%d" % number, 3, 1) == 0
open("ready", "w").close()
signal.sigwait([signal.SIGUSR1])
text = ctypes.create_string_buffer(8)
for number in queues:
    got = library.mq_receive(number, text, 8, None)
    assert got == 3 and text.raw[:3] == b"%d" % number, (number, got, os.strerror(ctypes.get_errno()))
os.fstat(1023)"""


class Outsider:
    """Has the queue open until it is ended."""

    def __init__(self, workspace, name, way="opened", command=(), **options):
        self.workspace, opened = workspace, workspace.work / "opened"
        opened.unlink(missing_ok=True)
        self.program = workspace.start([*command, "python3", "-c", HOLDER, way, name, str(opened)], **options)
        said = workspace.work / "stdout.txt" if way == "unseen" else opened
        wait_until(lambda: "opened" in read_text(said) if way == "unseen" else opened.exists(), "the other process has the queue open")

    def end(self):
        self.program.kill()
        self.workspace.wait_exit(self.program)


def open_queue(name, flags=os.O_RDONLY | os.O_NONBLOCK):
    queue = library.mq_open(name.encode(), flags)
    check(queue >= 0, f"{name} cannot be opened: {os.strerror(ctypes.get_errno())}")
    return queue


def take_one(name):
    queue = open_queue(name)
    check(library.mq_receive(queue, ctypes.create_string_buffer(100), 100, None) >= 0, "no message can be taken")
    os.close(queue)


def unlink(program):
    for queue in ("filled", "queue"):
        library.mq_unlink(f"/subject-{program.pid}-{queue}".encode())


def queue_of_others(workspace, options):
    program = Subject(workspace, options.subjects, "posix_message_queues")
    name = f"/subject-{program.pid}-filled"
    try:
        for way in ("opened", "thread"):
            outsider = Outsider(workspace, name, way)
            for dry_run in ([], ["--dry-run"]):
                refused(workspace, "checkpoint", *dry_run, str(program.pid), expect=1,
                        names=["a POSIX message queue with messages", f"process {outsider.program.pid}"])
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
        unlink(program)


def another_queue_of_that_name(workspace, options):
    """Somebody else's is left alone. One that is missing is made, also by several restarts of one snapshot."""
    program = Subject(workspace, options.subjects, "posix_message_queues")
    name = f"/subject-{program.pid}-filled"
    try:
        reference = workspace.checkpoint(str(program.pid))
        workspace.kill(program.pid)
        library.mq_unlink(name.encode())
        limits = (ctypes.c_long * 8)(0, 5, 100)
        queue = library.mq_open(name.encode(), os.O_RDWR | os.O_CREAT, 0o666, limits)
        os.fchmod(queue, 0o666), os.fchown(queue, OTHER_USER, OTHER_USER)
        check(queue >= 0 and library.mq_send(queue, b"own", 3, 1) == 0, "another queue cannot be filled")
        os.close(queue)
        refused(workspace, "restart", "--detach", reference, expect=1, json=False, names=[name, f"belongs to user {OTHER_USER}"])
        take_one(name)
        refused(workspace, "restart", "--detach", reference, expect=1, json=False, names=[name, "belongs to user"])
        library.mq_unlink(name.encode())
        for _ in range(2):
            result = workspace.restart_result(reference)
            check(name not in result.stderr, f"something is said of the queue: {result}")
            workspace.kill(int(result.stdout))
        program.finish(workspace.restart(reference))
    finally:
        unlink(program)


def ordinary_process_that_hides(workspace, options):
    """This user's own processes may hide what they have open (sshd's do): they are no reason to refuse."""
    program = Subject(workspace, options.subjects, "posix_message_queues")
    try:
        hidden = workspace.start(["python3", "-c", "import ctypes, time; ctypes.CDLL(None).prctl(4, 0); open('hidden', 'w').close(); time.sleep(1000)"])
        wait_until((workspace.work / "hidden").exists, "a process hides")
        workspace.checkpoint(str(program.pid))
        hidden.kill(), workspace.wait_exit(hidden)
        program.finish()
    finally:
        unlink(program)


def refused_beside(workspace, options, words, *way, mode=0o640, **user):
    """A checkpoint beside another process that has the queue open."""
    program = Subject(workspace, options.subjects, "posix_message_queues")
    name = f"/subject-{program.pid}-filled"
    try:
        queue = open_queue(name)
        os.fchmod(queue, mode)
        os.close(queue)
        outsider = Outsider(workspace, name, *way, **user)
        refused(workspace, "checkpoint", str(program.pid), expect=1, names=["a POSIX message queue with messages", words])
        outsider.end()
        program.check_untouched()
        program.finish()
    finally:
        unlink(program)


def ordinary_queue_of_another_user(workspace, options):
    """Who may open the queue may have it open where this user does not see it."""
    refused_beside(workspace, options, "of another user", "unseen", mode=0o644, user=OTHER_USER, group=OTHER_USER, extra_groups=[])


def root_queue_in_a_mounted_file_system(workspace, options):
    mounted = ["unshare", "-m", "sh", "-c", 'mount -t mqueue none /mnt && exec "$0" "$@"']
    refused_beside(workspace, options, "has it open", "mounted", mounted)


def many_queues(workspace, options):
    """More than there are numbers free above those of the program."""
    process = workspace.start(["python3", "-c", MANY, "160"])
    wait_until(lambda: (workspace.work / "ready").exists() or process.poll() is not None, "there are many queues")
    check(process.poll() is None, read_text(workspace.work / "stderr.txt"))
    reference = workspace.checkpoint(str(process.pid))
    workspace.kill(process.pid)
    restarted = workspace.restart_in_foreground(reference)
    os.kill(workspace.program_below(restarted, "python3"), signal.SIGUSR1)
    check(workspace.wait_exit(restarted) == 0, read_text(workspace.work / "stderr.txt"))


if __name__ == "__main__":
    main([queue_of_others, another_queue_of_that_name, ordinary_process_that_hides, ordinary_queue_of_another_user,
          root_queue_in_a_mounted_file_system, many_queues])
