#!/usr/bin/env python3
"""Standard streams that are no terminal: files, pipes to outside, closed ones, duplicates, and what a restart gives in their place; other
descriptors that lead outside."""

import os
import resource
import socket

from harness import check, read_text, run_tests, wait_until

# Any user may execute this one.
PYTHON = "/usr/bin/python3"

# Before the checkpoint it writes "before" to the descriptors that are its arguments, and afterwards, once the file "go" is there,
# "after"; then copies its standard input to a file.
WRITER = r"""
import os, sys, time
numbers = [int(word) for word in sys.argv[1:]]
for number in numbers: os.write(number, b"before %d\n" % number)
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
for number in numbers:
    try:
        os.write(number, b"after %d\n" % number)
    except OSError as problem:
        open("problems", "a").write("%d: %d\n" % (number, problem.errno))
with open("input-seen", "wb") as copy:
    try:
        while data := os.read(0, 4096): copy.write(data)
    except OSError as problem:
        copy.write(b"error %d\n" % problem.errno)
os.rename("input-seen", "input-copied")
"""


class Job:
    """The writer, started by hand or by a shell's redirections, up to its snapshot and death."""

    def __init__(self, workspace, redirections, *numbers, **streams):
        self.workspace = workspace
        shell = f'exec {PYTHON} -c "$1" {" ".join(map(str, numbers))} {redirections}'
        self.process = workspace.start(["sh", "-c", shell, "sh", WRITER], **streams)
        wait_until(lambda: (workspace.work / "ready").exists() or self.process.poll() is not None, "the writer is up")
        check(self.process.poll() is None, "the writer has died: " + read_text(workspace.work / "stderr.txt"))
        self.pid = self.process.pid

    def snapshot(self, *options):
        reference = self.workspace.checkpoint(str(self.pid), *options)
        self.workspace.kill(self.pid)
        (self.workspace.work / "go").touch()
        return reference


def copied_input(workspace):
    path = workspace.work / "input-copied"
    wait_until(path.exists, "the program has read its input")
    return path.read_text()


def end(workspace, runner):
    check(workspace.wait_exit(runner) == 0, f"exit status {runner.returncode}: " + read_text(workspace.work / "stderr.txt"))
    check(not (workspace.work / "problems").exists(), read_text(workspace.work / "problems"))


def files(workspace):
    """Files are the program's own: whatever the restart command has, it goes on in them, at its offsets."""
    (workspace.work / "input").write_text("line\n" * 3)
    job = Job(workspace, "<input >output 2>>errors", 1, 2)
    reference = job.snapshot()
    with open(workspace.work / "other", "ab") as other, open(workspace.work / "other") as nothing:
        runner = workspace.restart_in_foreground(reference, stdin=nothing, stdout=os.fdopen(os.dup(other.fileno()), "ab"))
        end(workspace, runner)
    check(copied_input(workspace) == "line\n" * 3, "the input is another")
    check(read_text(workspace.work / "output") == "before 1\nafter 1\n", read_text(workspace.work / "output"))
    check(read_text(workspace.work / "errors") == "before 2\nafter 2\n", read_text(workspace.work / "errors"))
    check(read_text(workspace.work / "other") == "", "the restart command's output was written to")


def pipes_to_outside(workspace):
    """`producer | program | consumer`: the restart command's pipes take their place."""
    input_reader, input_writer = os.pipe()
    output_reader, output_writer = os.pipe()
    os.write(input_writer, b"lost\n")
    job = Job(workspace, "2>&1 5>&1", 1, 2, 5, stdin=input_reader, stdout=os.fdopen(output_writer, "wb"))
    check(os.read(output_reader, 4096) == b"before 1\nbefore 2\nbefore 5\n", "the program does not write to its pipe")
    reference = job.snapshot()
    os.close(input_reader), os.close(input_writer), os.close(output_reader)
    new_input, feeder = os.pipe()
    consumer, new_output = os.pipe()
    os.write(feeder, b"fed\n")
    os.close(feeder)
    runner = workspace.restart_in_foreground(reference, stdin=new_input, stdout=os.fdopen(new_output, "wb"))
    os.close(new_input)
    end(workspace, runner)
    # Standard error was the same pipe as standard output; here it is what the restart command has as standard error.
    check(os.read(consumer, 4096) == b"after 1\nafter 5\n" and os.read(consumer, 1) == b"", "the output is another")
    check(read_text(workspace.work / "stderr.txt").endswith("after 2\n"), read_text(workspace.work / "stderr.txt"))
    os.close(consumer)
    check(copied_input(workspace) == "fed\n", "the input is another")


def pipes_to_files(workspace):
    """From pipes to `crs restart </dev/null >file 2>&1`, and from there on in the file."""
    reader, writer = os.pipe()
    output_reader, output_writer = os.pipe()
    job = Job(workspace, "2>&1 7>&2", 1, 2, 7, stdin=reader, stdout=os.fdopen(output_writer, "wb"))
    reference = job.snapshot()
    runner = workspace.start(
        ["sh", "-c", 'exec "$@" </dev/null >>file 2>&1', "sh", workspace.crs_path, "restart", *workspace.ids_option(), reference]
    )
    end(workspace, runner)
    check(copied_input(workspace) == "", "there is input in /dev/null")
    check(read_text(workspace.work / "file") == "after 1\nafter 2\nafter 7\n", read_text(workspace.work / "file"))
    for descriptor in (reader, writer, output_reader):
        os.close(descriptor)


def closed(workspace):
    """What was closed stays closed, also where the restart command has something there."""
    job = Job(workspace, "<&- >output 2>&-", 1)
    reference = job.snapshot()
    end(workspace, workspace.restart_in_foreground(reference))
    check(copied_input(workspace) == "error 9\n", "standard input was opened")
    check(read_text(workspace.work / "output") == "before 1\nafter 1\n", read_text(workspace.work / "output"))


def closed_at_restart(workspace):
    """Streams to outside that the restart command does not have become /dev/null, and never a file that it opens itself."""
    reader, writer = os.pipe()
    output_reader, output_writer = os.pipe()
    job = Job(workspace, "", 1, stdin=reader, stdout=os.fdopen(output_writer, "wb"))
    reference = job.snapshot()
    runner = workspace.start(["sh", "-c", 'exec "$@" <&- >&-', "sh", workspace.crs_path, "restart", *workspace.ids_option(), reference])
    end(workspace, runner)
    check(copied_input(workspace) == "", "there is input in /dev/null")
    check(read_text(workspace.work / "stderr.txt") == "", read_text(workspace.work / "stderr.txt"))
    for descriptor in (reader, writer, output_reader):
        os.close(descriptor)


def sharing(workspace):
    """Input, output and error that are one open file share its offset afterwards, too."""
    workspace.output_file("all").close()
    job = Job(workspace, "0<>all 1>&0 2>&0 6>&0", 0, 1, 2, 6)
    reference = job.snapshot()
    end(workspace, workspace.restart_in_foreground(reference))
    wanted = "".join(f"{when} {number}\n" for when in ("before", "after") for number in (0, 1, 2, 6))
    check(read_text(workspace.work / "all") == wanted, read_text(workspace.work / "all"))


def other_pipe(workspace):
    """A pipe to another process that is no standard stream is refused by name, and can be left out."""
    reader, writer = os.pipe()
    job = Job(workspace, "", 1, writer, pass_fds=[writer], stdout=workspace.output_file("output"))
    result = workspace.crs("checkpoint", str(job.pid), expect=1)
    wanted = f"descriptor {writer} of process {job.pid} is the writing end of pipe"
    check(wanted in result.stderr and f"--leave-out fd={writer}" in result.stderr, str(result))
    check(workspace.snapshots() == [], f"a refusal left {workspace.snapshots()}")
    reference = job.snapshot("--leave-out", f"fd={writer}")
    runner = workspace.restart_in_foreground(reference)
    check(workspace.wait_exit(runner) == 0, f"exit status {runner.returncode}")
    check(read_text(workspace.work / "problems") == f"{writer}: 9\n", read_text(workspace.work / "problems"))
    check(read_text(workspace.work / "output") == "before 1\nafter 1\n", read_text(workspace.work / "output"))
    os.close(reader), os.close(writer)


def socket_as_output(workspace):
    """A program below inetd(8) or sshd(8): its standard streams are a socket; the restart gives others."""
    ours, theirs = socket.socketpair()
    job = Job(workspace, "", 1, 2, stdin=theirs.fileno(), stdout=theirs.makefile("wb"), stderr=theirs.makefile("wb"))
    theirs.close()
    reference = job.snapshot()
    ours.close()
    ours, theirs = socket.socketpair()
    ours.sendall(b"by the new one\n")
    ours.shutdown(socket.SHUT_WR)
    runner = workspace.restart_in_foreground(reference, stdin=theirs.fileno(), stdout=theirs.makefile("wb"))
    theirs.close()
    end(workspace, runner)
    check(ours.recv(4096) == b"after 1\n", "the output is another")
    check(copied_input(workspace) == "by the new one\n", "the input is another")
    ours.close()


def another_users_file(workspace):
    """A file that only the shell which started the program could open: the restart gives others, and the checkpoint says so."""
    if not workspace.drops:
        return
    output = workspace.directory / "log-of-root"
    with open(output, "wb") as stream:
        output.chmod(0o600)
        job = Job(workspace, "2>&1 5>&1", 1, 2, 5, stdout=os.fdopen(os.dup(stream.fileno()), "wb"))
    result = workspace.checkpoint_result(str(job.pid))
    check(f"descriptor 1 of process {job.pid} is {output}, a file that cannot be opened again" in result.stderr, f"{result}")
    reference = job.snapshot()
    end(workspace, workspace.restart_in_foreground(reference, stdout=workspace.output_file("output")))
    check(read_text(output) == "before 1\nbefore 2\nbefore 5\n", read_text(output))
    check(read_text(workspace.work / "output") == "after 1\nafter 5\n", read_text(workspace.work / "output"))
    check(read_text(workspace.work / "stderr.txt").endswith("after 2\n"), read_text(workspace.work / "stderr.txt"))


def covered_file(workspace):
    """A file that a mount has covered since, and no path reaches any more."""
    if workspace.drops or not workspace.am_root:
        return
    place = workspace.make_directory("covered")
    job = Job(workspace, f">{place}/output", 1)
    if workspace.run(["mount", "-t", "tmpfs", "none", place]).status != 0:
        return print("not checked: nothing may be mounted here")
    try:
        result = workspace.checkpoint_result(str(job.pid))
        check(f"{place}/output, a file that cannot be opened again" in result.stderr, f"{result}")
        reference = job.snapshot()
    finally:
        workspace.run(["umount", place])
    end(workspace, workspace.restart_in_foreground(reference, stdout=workspace.output_file("output")))
    check(read_text(place / "output") == "before 1\n", read_text(place / "output"))
    check(read_text(workspace.work / "output") == "after 1\n", read_text(workspace.work / "output"))


def low_limit(workspace):
    """A restart under a lower limit of open files: the soft one is no obstacle, a hard one is named."""
    program = r"""
import os, time
os.dup2(1, 700)
open("ready", "w").close()
while not os.path.exists("go"): time.sleep(0.005)
os.write(700, b"at 700\n")
"""
    process = workspace.start([PYTHON, "-c", program], stdout=workspace.output_file("output"))
    wait_until((workspace.work / "ready").exists, "the program is up")
    reference = workspace.checkpoint(str(process.pid))
    workspace.kill(process.pid)
    (workspace.work / "go").touch()
    limit = lambda soft, hard: lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    result = workspace.crs("restart", reference, expect=1, preexec_fn=limit(256, 256))
    check("descriptor 700" in result.stderr and "ulimit -Hn" in result.stderr, str(result))
    end(workspace, workspace.restart_in_foreground(reference, preexec_fn=limit(64, 2000)))
    check(read_text(workspace.work / "output") == "at 700\n", read_text(workspace.work / "output"))


TESTS = [files, pipes_to_outside, pipes_to_files, closed, closed_at_restart, sharing, other_pipe, socket_as_output, another_users_file,
         covered_file, low_limit]


if __name__ == "__main__":
    run_tests(TESTS)
