#!/usr/bin/env python3
"""What cannot be kept is refused before anything is written: the message names the process, the descriptor or address, what it is and what to do.
The program goes on with it; where it can do without, --leave-out fd=N keeps the rest."""

import os
import pathlib
import shutil
import socket

from bad_input import Subject, main, refused
from harness import check, is_alive, read_text, wait_until

PYTHON = "/usr/bin/python3"

# What the message must call it.
DESCRIPTORS = {
    "unix-connection": "a unix stream socket whose other end is in another process",
    "unix-late-connection": "a listening unix socket with a connection that has been closed before it was accepted",
    "netlink-messages": "a netlink socket with messages that have not been read",
    "packet": "a packet socket",
    "inotify-events": "an inotify instance with events that have not been read",
    "fanotify": "a fanotify instance",
    "userfaultfd": "a userfaultfd",
    "perf-event": "a performance counter",
    "bpf-map": "a BPF map",
    "pidfd": "a pidfd of another process",
    "io-uring": "an io_uring instance",
    "terminal-master": "the master of a pseudo-terminal",
    "terminal-output": "the master of a pseudo-terminal with output that has not been read",
    "tun": "the character device /dev/net/tun, which has a state of its own",
    "fuse": "the character device /dev/fuse, which has a state of its own",
    "kernel-messages": "the character device /dev/kmsg, which has a state of its own",
    "message-queue": "a POSIX message queue",
    "lease": "lease",
    "secret-memory-file": "secret",
    "namespace": "a namespace (net:[",
    "landlock": "a Landlock rule set",
    "file-system-context": "a file system that is being configured",
    "pipe-to-another-process": "the reading end of pipe",
}
AREAS = {"aio-context": "an asynchronous I/O context (io_setup) with 1 request(s) under way", "secret-memory": "secret memory"}
SETTINGS = {"user-dispatch": "uses system call user dispatch"}  # which only a stop shows


class Holder(Subject):
    def __init__(self, workspace, kind, left_out=False, extra=(), **options):
        self.workspace = workspace
        script = workspace.work / "holder_of.py"
        if not script.exists():
            shutil.copy(pathlib.Path(__file__).parent / "holder_of.py", script)
            script.chmod(0o755)
        label = f"{kind}-{left_out}"
        self.status_file, self.go_file = workspace.work / f"{label}.status", workspace.work / f"{label}.go"
        variables = {"SUBJECT_STATUS": str(self.status_file), "SUBJECT_GO": str(self.go_file)}
        self.runner = workspace.start([PYTHON, script, kind, "left-out" if left_out else "kept", *extra],
                                      env={**workspace.environment, **variables}, **options)
        self.pid = self.runner.pid
        wait_until(lambda: "ready" in self.all_status() or self.skipped() or self.runner.poll() is not None, f"{kind} says ready")

    def all_status(self):
        return read_text(self.status_file).splitlines()

    def status(self):
        return [line for line in self.all_status() if not line.startswith("at ")]

    def address(self):
        return self.all_status()[0].split()[1]


def descriptors(workspace, options):
    missing = []
    for kind, words in DESCRIPTORS.items():
        ends = ()
        if kind == "pipe-to-another-process":
            ends = os.pipe()
        elif kind == "unix-connection":
            ends = tuple(end.detach() for end in socket.socketpair())
        more = {"extra": [str(ends[0])], "pass_fds": [ends[0]]} if ends else {}
        if not one_descriptor(workspace, kind, words, more):
            missing.append(kind)
        for end in ends:
            os.close(end)
    print(f"not to be had here, so not checked: {', '.join(missing) or 'nothing'}")
    check(len(missing) < len(DESCRIPTORS) / 2, f"too many kinds cannot be had: {missing}")


def before_anything_is_written(workspace, pid, words):
    """Not even a byte may be written; what is said goes through a pipe."""
    for after in ([], ["--kill"], ["--stop"]):
        command = 'prlimit --fsize=0 "$0" checkpoint "$@" 2>&1 | cat'
        result = workspace.run(["sh", "-c", command, workspace.crs_path, *after, str(pid)])
        check(words in result.stdout, f"{after}: it writes first: {result}")


def one_descriptor(workspace, kind, words, more):
    plain = Holder(workspace, kind, **more)
    if plain.skipped():
        workspace.wait_gone(plain.pid)
        return False
    pid = str(plain.pid)
    refused(workspace, "checkpoint", pid, expect=1, json=kind == "inotify-events",
            names=[f"descriptor 40 of process {pid}", words, "close it before the checkpoint", "--leave-out fd=40"])
    before_anything_is_written(workspace, plain.pid, words)
    plain.check_untouched()
    plain.finish()
    # The same again, left out.
    program = Holder(workspace, kind, left_out=True, **more)
    reference = workspace.checkpoint(str(program.pid), "--leave-out", "fd=40", "--name", kind)
    workspace.kill(program.pid)
    program.finish(workspace.restart(reference))
    workspace.crs("list")  # which notices that the job has ended
    return True


def areas(workspace, options):
    missing = []
    for kind, words in AREAS.items():
        holder = Holder(workspace, kind)
        if holder.skipped():
            missing.append(kind)
            continue
        refused(workspace, "checkpoint", str(holder.pid), expect=1, names=[f"process {holder.pid}", holder.address(), words])
        before_anything_is_written(workspace, holder.pid, words)
        holder.check_untouched()
        holder.finish()
    print(f"not to be had here, so not checked: {', '.join(missing) or 'nothing'}")
    check(len(missing) < len(AREAS), f"none of the kinds can be had: {missing}")


def settings(workspace, options):
    """The program has memory of its own, some MiB: none of it may be written before it stands still."""
    for kind, words in SETTINGS.items():
        holder = Holder(workspace, kind)
        if holder.skipped():
            print(f"not to be had here, so not checked: {kind}")
            continue
        refused(workspace, "checkpoint", str(holder.pid), expect=1, names=[f"process {holder.pid}", words])
        before_anything_is_written(workspace, holder.pid, words)
        holder.check_untouched()
        holder.finish()


def several_at_once(workspace, options):
    """All that stands in the way is named in one message."""
    ends = os.pipe()
    both = Holder(workspace, "inotify-events", extra=["-"], pass_fds=[ends[0]])
    result = refused(workspace, "checkpoint", str(both.pid), expect=1, names=["descriptor 40", f"descriptor {ends[0]} "])
    check("inotify" in result.stderr and "pipe" in result.stderr, f"not all is named: {result}")
    # Leaving out one of them is not enough; leaving out what is not there is a mistake that is told.
    refused(workspace, "checkpoint", "--leave-out", "fd=40", str(both.pid), expect=1, names=[f"descriptor {ends[0]} "])
    everything = [word for number in (40, ends[0], 4099) for word in ("--leave-out", f"fd={number}")]
    refused(workspace, "checkpoint", *everything, str(both.pid), expect=1, names=[f"descriptor 4099 of process {both.pid}", "is not open"])
    for wrong in ("40", "fd=", "fd=x", "fd=-1", "fd=99999999999", "socket=1"):
        refused(workspace, "checkpoint", "--leave-out", wrong, str(both.pid), expect=2, names=[wrong])
    both.check_untouched()
    both.finish()
    for end in ends:
        os.close(end)


# Many pipes; told to, it ends.
PIPES = """
import os, time
pipes = [os.pipe() for _ in range(60)]
for number, (_, end) in enumerate(pipes): os.write(end, b"%d" % number)
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
for number, (end, _) in enumerate(pipes): assert os.read(end, 9) == b"%d" % number
"""


def open_files_of_a_restart(workspace, options):
    """A restart needs more descriptors for a while than the program and its checkpoint: said beforehand."""
    program = workspace.start([PYTHON, "-c", PIPES])
    wait_until(lambda: (workspace.work / "ready").exists(), "the program is ready")
    limited = lambda *words: workspace.run(["sh", "-c", 'ulimit -n 300; exec "$0" "$@"', workspace.crs_path, *words])
    says = "a restart needs descriptors up to"
    result = limited("checkpoint", "--kill", str(program.pid))
    check(result.status == 1 and says in result.stderr and "raise the limit of open files to" in result.stderr, f"{result}")
    check(is_alive(program.pid), "the program has ended")
    result = limited("checkpoint", str(program.pid))
    check(result.status == 0 and says in result.stderr, f"{result}")
    workspace.kill(program.pid)
    reference = result.stdout.strip()
    result = limited("restart", reference)
    check(result.status == 1 and says in result.stderr, f"{result}")
    (workspace.work / "go").touch()
    workspace.crs("restart", reference)


if __name__ == "__main__":
    main([descriptors, areas, settings, several_at_once, open_files_of_a_restart])
