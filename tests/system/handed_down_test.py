#!/usr/bin/env python3
"""What root opens and hands down to an ordinary user's program, which could not open it itself: kept where the open description is enough,
otherwise refused with advice, or said beforehand where only a restart needs the right."""

import ctypes
import os
import socket
import stat
import sys
import tempfile

from bad_input import Subject, main, refused
from harness import SKIPPED, check, read_text, wait_until

PYTHON = "/usr/bin/python3"
SIZE = 300_000

# Has read one byte of its descriptor before it is ready, and copies the rest to a file after "go".
READER = """
import os, sys, time
number = int(sys.argv[1])
assert os.read(number, 1) == b"x"
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
rest = b""
while data := os.read(number, 1 << 20): rest += data
with open("copying", "wb") as file: file.write(b"%o " % os.fstat(number).st_mode + rest)
os.rename("copying", "copied")
"""

WRITER = """
import os, time
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
os.write(1, b"after")
"""


def roots_file(content=b""):
    """An unlinked file that nobody but root may open: its descriptor."""
    number, path = tempfile.mkstemp()
    os.unlink(path)
    os.write(number, content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


def start(workspace, script, *arguments, **options):
    process = workspace.start([PYTHON, "-c", script, *map(str, arguments)], **options)
    wait_until(lambda: (workspace.work / "ready").exists() or process.poll() is not None, "the program is ready")
    check(process.poll() is None, "the program has died: " + read_text(workspace.work / "stderr.txt"))
    return process


def read_on(workspace, process, file):
    """The program reads the rest of its file, and nobody has moved the offset meanwhile."""
    check(os.lseek(file, 0, os.SEEK_CUR) == 1, "the offset that root shares has moved")
    reference = workspace.checkpoint(str(process.pid))
    check(os.lseek(file, 0, os.SEEK_CUR) == 1, "the checkpoint has moved the offset")
    workspace.kill(process.pid)
    runner = workspace.restart_in_foreground(reference)
    (workspace.work / "go").touch()
    check(workspace.wait_exit(runner) == 0, "the program failed: " + read_text(workspace.work / "stderr.txt"))
    check(read_text(workspace.work / "copied") == "100600 " + "x" * (SIZE - 1), "it has read something else")


def ordinary_unlinked_file(workspace, options):
    """Its content is read through the open description."""
    file = roots_file(b"x" * SIZE)
    read_on(workspace, start(workspace, READER, file, pass_fds=[file]), file)
    os.close(file)


def ordinary_standard_input(workspace, options):
    """As the shell of root makes one of a here-document."""
    file = roots_file(b"x" * SIZE)
    read_on(workspace, start(workspace, READER, 0, stdin=file), file)
    os.close(file)


def ordinary_unreadable_output(workspace, options):
    """Only written to, it cannot be kept: a restarted program has a stream of crs restart."""
    reading = roots_file()
    file = os.open(f"/proc/self/fd/{reading}", os.O_WRONLY)
    process = start(workspace, WRITER, stdout=os.fdopen(os.dup(file), "wb"))
    result = workspace.checkpoint_result(str(process.pid))
    check(f"descriptor 1 of process {process.pid} is /" in result.stderr, f"no warning: {result}")
    check("a restarted program has a stream of crs restart there" in result.stderr, f"no warning: {result}")
    workspace.kill(process.pid)
    runner = workspace.restart_in_foreground(result.stdout.strip(), stdout=open(workspace.work / "output", "wb"))
    (workspace.work / "go").touch()
    check(workspace.wait_exit(runner) == 0, "the program failed: " + read_text(workspace.work / "stderr.txt"))
    check(read_text(workspace.work / "output") == "after", "its output went elsewhere")
    os.close(reading), os.close(file)


def ordinary_unreadable_file(workspace, options):
    """At another number there is nothing to take its place: it has to be left out."""
    reading = roots_file()
    file = os.open(f"/proc/self/fd/{reading}", os.O_WRONLY)
    program = Subject(workspace, options.subjects, pass_fds=[file])
    refused(workspace, "checkpoint", str(program.pid), expect=1,
            names=[f"descriptor {file} of process {program.pid} is ", "whose permissions do not let its content be read", f"--leave-out fd={file}"])
    program.check_untouched()
    reference = workspace.checkpoint(str(program.pid), "--leave-out", f"fd={file}")
    workspace.kill(program.pid)
    program.finish(workspace.restart(reference))
    os.close(reading), os.close(file)


def ordinary_directory(workspace, options):
    folder = tempfile.mkdtemp()
    number = os.open(folder, os.O_RDONLY)
    program = Subject(workspace, options.subjects, pass_fds=[number])
    refused(workspace, "checkpoint", str(program.pid), "--kill", expect=1,
            names=[f"descriptor {number} of process {program.pid} is directory {folder}", "would not let a restart open it again",
                   f"--leave-out fd={number}"])
    program.check_untouched()
    program.finish()
    os.close(number), os.rmdir(folder)


def ordinary_working_directory(workspace, options):
    folder = tempfile.mkdtemp()
    program = Subject(workspace, options.subjects, cwd=folder)
    refused(workspace, "checkpoint", str(program.pid), "--kill", expect=1,
            names=[f"the working directory of process {program.pid} is {folder}", "may not enter", "as root"])
    program.check_untouched()
    program.finish()
    os.rmdir(folder)


def lacks(workspace, options, number, *words):
    """A restart lacks a right: with --kill a refusal, else a warning, and the restart fails."""
    program = Subject(workspace, options.subjects, pass_fds=[number])
    return program, lacks_right(workspace, program, f"descriptor {number} of process {program.pid} is ", *words)


def lacks_right(workspace, program, named, *words):
    refused(workspace, "checkpoint", str(program.pid), "--kill", expect=1, names=[named, *words])
    program.check_untouched()
    result = workspace.checkpoint_result(str(program.pid))
    for word in [named, "before a restart, ", *words]:
        check(word in result.stderr, f"'{word}' is not said: {result}")
    program.check_untouched()
    return result.stdout.strip()


def ordinary_low_port(workspace, options):
    first = int(read_text("/proc/sys/net/ipv4/ip_unprivileged_port_start"))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as bound:
            port = bind_low(bound, first)
            if port is None:
                print("not to be had here, so not checked: a low port")
                return
            if kind == socket.SOCK_STREAM:
                bound.listen()
            program, reference = lacks(workspace, options, bound.fileno(), f"may not bind port {port}", "CAP_NET_BIND_SERVICE")
        workspace.kill(program.pid)
        workspace.crs("restart", "--detach", reference, expect=1)
    with socket.socket() as bound:  # one that everybody may bind
        bound.bind(("127.0.0.1", 0))
        program = Subject(workspace, options.subjects, pass_fds=[bound.fileno()])
        result = workspace.checkpoint_result(str(program.pid))
        check("may not bind" not in result.stderr, f"said of any port: {result}")
    program.finish()


def bind_low(bound, first):
    for port in range(first - 1, 0, -1):
        try:
            bound.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue
    return None


def ordinary_socket_directory(workspace, options):
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{folder}/socket")
        bound.listen()
        program, reference = lacks(workspace, options, bound.fileno(), f"the unix socket {folder}/socket", f"may not make it again in {folder}")
    workspace.kill(program.pid)
    workspace.crs("restart", "--detach", reference, expect=1)
    os.unlink(f"{folder}/socket"), os.rmdir(folder)


def ordinary_sticky_directory(workspace, options):
    """Everybody may make a socket there, but nobody may remove root's."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o1777)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{folder}/socket")
        program, reference = lacks(workspace, options, bound.fileno(), f"the unix socket {folder}/socket", "belongs to user 0")
    workspace.kill(program.pid)
    workspace.crs("restart", "--detach", reference, expect=1)
    os.unlink(f"{folder}/socket"), os.rmdir(folder)


def ordinary_message_queue(workspace, options):
    library = ctypes.CDLL("librt.so.1", use_errno=True)
    name = f"/crs-test-{os.getpid()}".encode()
    queue = library.mq_open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, None)
    check(queue >= 0, f"no message queue can be made: {os.strerror(ctypes.get_errno())}")
    try:
        program, reference = lacks(workspace, options, queue, f"the POSIX message queue {name.decode()}", "do not let this user open")
        workspace.kill(program.pid)
        workspace.crs("restart", "--detach", reference, expect=1)
    finally:
        os.close(queue)
        library.mq_unlink(name)


def cannot_come_back(workspace, options, number, *words):
    """As lacks(), and the program is not had again by that user."""
    program, reference = lacks(workspace, options, number, *words)
    workspace.kill(program.pid)
    workspace.crs("restart", "--detach", reference, expect=1)


def ordinary_access_time(workspace, options):
    """Everybody may read it, but only its owner without leaving a trace."""
    path = workspace.work / "roots"
    path.write_text("content")
    path.chmod(0o644)
    file = os.open(path, os.O_RDONLY | os.O_NOATIME)
    cannot_come_back(workspace, options, file, f"{path}, open with O_NOATIME", "its owner (user 0)")
    os.close(file)


def ordinary_fifo(workspace, options):
    path = workspace.work / "fifo"
    os.mkfifo(path, 0o600)
    for flags, words in ((os.O_RDWR, " for reading and writing"), (os.O_RDONLY | os.O_NONBLOCK, "open again")):
        file = os.open(path, flags)
        cannot_come_back(workspace, options, file, f"FIFO {path}, which its permissions do not let this user open again", words)
        os.close(file)


def ordinary_watch(workspace, options):
    library = ctypes.CDLL(None, use_errno=True)
    path = workspace.work / "watched"
    path.mkdir(0o700)
    instance = library.inotify_init1(os.O_NONBLOCK)
    check(library.inotify_add_watch(instance, bytes(path), 0x100) == 1, f"{path} cannot be watched: {os.strerror(ctypes.get_errno())}")
    cannot_come_back(workspace, options, instance, f"an inotify instance that watches {path}", "do not let this user read")
    os.close(instance)


def ordinary_kernel_setting(workspace, options):
    path = "/proc/sys/vm/drop_caches"
    try:
        file = os.open(path, os.O_WRONLY)
    except OSError as error:
        print(f"not to be had here, so not checked: {path}: {error}")
        return
    cannot_come_back(workspace, options, file, f"{path}, which its permissions do not let this user open again", "as root")
    os.close(file)


def ordinary_device(workspace, options):
    """As in a chroot: another node of the same device is as good."""
    path = workspace.work / "null"
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        file = os.open(path, os.O_RDWR)
    except OSError as error:
        print(f"not to be had here, so not checked: a device node: {error}")
        return
    program = Subject(workspace, options.subjects, pass_fds=[file])
    reference = workspace.checkpoint(str(program.pid))
    workspace.kill(program.pid)
    pid = workspace.restart(reference)
    check(os.stat(f"/proc/{pid}/fd/{file}").st_rdev == os.makedev(1, 3), "the device has not come back")
    program.finish(pid)
    os.close(file)


def ordinary_execute_only(workspace, options):
    """A program that its user may execute and not read (nor, without being its owner, change that)."""
    program = workspace.directory / "execute-only"
    program.write_bytes((workspace.reachable(f"{options.subjects}/idle")).read_bytes())
    program.chmod(0o755)
    job = Subject(workspace, workspace.directory, "execute-only")
    program.chmod(0o711)
    refused(workspace, "checkpoint", str(job.pid), "--kill", expect=1,
            names=[f"process {job.pid} executes {program}, whose permissions would not let a restart read it",
                   "let its owner give you the right (chmod a+r it)", "as root"])
    job.check_untouched()
    job.finish()


def ordinary_real_time(workspace, options):
    """A policy that root gave its thread."""
    program = Subject(workspace, options.subjects)
    os.sched_setscheduler(program.pid, os.SCHED_RR, os.sched_param(7))
    named = f"thread {program.pid} of process {program.pid} has the real-time policy {os.SCHED_RR} with priority 7"
    reference = lacks_right(workspace, program, named, "ulimit -r", "as root")
    workspace.kill(program.pid)
    workspace.crs("restart", "--detach", reference, expect=1)


CASES = [ordinary_unlinked_file, ordinary_standard_input, ordinary_unreadable_output, ordinary_unreadable_file, ordinary_directory,
         ordinary_working_directory, ordinary_real_time, ordinary_low_port, ordinary_socket_directory, ordinary_sticky_directory,
         ordinary_message_queue, ordinary_access_time, ordinary_fifo, ordinary_watch, ordinary_kernel_setting, ordinary_device,
         ordinary_execute_only]

if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skipped: only root can hand something down")
        sys.exit(SKIPPED)
    main(CASES)
