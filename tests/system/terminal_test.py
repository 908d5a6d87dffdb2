#!/usr/bin/env python3
"""Programs on terminals: checkpointed on one, killed, restarted on another. Its settings, its size, its keys, job control, and that the
restart's terminal is given back as it was."""

import contextlib
import os
import signal

from harness import check, children_of, descendants_of, read_text, run_tests, wait_until
from terminals import PYTHON, Terminal

# Reads key by key in raw mode, as editors do; says each key, and each new size of its window; gives the terminal back at the end.
EDITOR = r"""
import os, signal, sys, termios, tty
before = termios.tcgetattr(0)
def size(number=0, frame=None):
    columns, rows = os.get_terminal_size(0)
    os.write(1, b"size %d %d\r\n" % (rows, columns))
signal.signal(signal.SIGWINCH, size)
tty.setraw(0)
os.write(1, b"up\r\n")
size()
while True:
    key = os.read(0, 1)
    if not key or key == b"q":
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        os.write(1, b"bye\n")
        sys.exit(5)
    os.write(1, b"key %d\r\n" % key[0])
"""

# Works in lines; says each signal of the terminal.
LINES = r"""
import os, signal, sys
signal.signal(signal.SIGINT, lambda number, frame: os.write(1, b"int\n"))
signal.signal(signal.SIGCONT, lambda number, frame: os.write(1, b"cont\n"))
tty = os.open("/dev/tty", os.O_RDWR)
os.write(1, b"up\n")
while True:
    line = os.read(0, 1000)
    os.write(tty, b"line " + line)
    if not line: sys.exit(7)
"""


@contextlib.contextmanager
def on_terminal(workspace, program, job=None):
    """A terminal on which `crs run` (without a job's name: the shell itself) runs this Python program, and the program's pid."""
    with Terminal(workspace) as terminal:
        runner = [workspace.crs_path, "run", "--name", job, "--"] if job else []
        terminal.run(*runner, PYTHON, "-c", program)
        terminal.expect(b"up")
        if job:
            pid = workspace.program_below(terminal.shell, PYTHON)
        else:
            (pid,) = children_of(terminal.shell.pid)
        yield terminal, pid


def checkpoint_and_kill(workspace, terminal, pid, job=None):
    reference = workspace.checkpoint(job or str(pid))
    os.kill(pid, signal.SIGKILL)
    terminal.expect(b"shell: ended 137" if job else b"shell: ended -9")
    workspace.wait_exit(terminal.shell)
    return reference


def raw_mode(workspace):
    """Raw mode comes back on another terminal, keys arrive one by one, the new size is told, and afterwards the terminal is as it was."""
    with on_terminal(workspace, EDITOR, "editor") as (terminal, pid):
        terminal.expect(b"size 24 80")
        wait_until(terminal.is_raw, "raw mode")
        terminal.press(b"\x03")
        terminal.expect(b"key 3")
        reference = checkpoint_and_kill(workspace, terminal, pid, "editor")
        check(not terminal.is_raw(), "crs run left the terminal of a killed program in raw mode")
    for round_number in range(2):
        with Terminal(workspace, 50 + round_number, 132) as terminal:
            before = terminal.settings()
            terminal.run(workspace.crs_path, "restart", reference)
            terminal.expect(b"size %d 132" % (50 + round_number))
            check(terminal.is_raw(), f"not in raw mode: {terminal.settings()}")
            terminal.press(b"\x1a\x03")
            terminal.expect(b"key 26\r\nkey 3")
            if round_number == 0:
                pid = workspace.program_below(terminal.shell, PYTHON)
                reference = checkpoint_and_kill(workspace, terminal, pid, "editor")
            else:
                terminal.press(b"q")
                terminal.expect(b"bye\r\nshell: ended 5")
                workspace.wait_exit(terminal.shell)
            check(terminal.settings() == before, f"the terminal is not as it was: {before}, now {terminal.settings()}")
    workspace.wait_gone()


def job_control(workspace):
    """Lines, Ctrl-C once, Ctrl-Z with the shell's fg, end of input, Ctrl-\\; after restarts, too."""
    with on_terminal(workspace, LINES) as (terminal, pid):
        terminal.press(b"one\n")
        terminal.expect(b"line one")
        reference = checkpoint_and_kill(workspace, terminal, pid)
    for key, end in ((b"\x04", b"shell: ended 7"), (b"\x1c", b"shell: ended 131")):
        with Terminal(workspace) as terminal:
            terminal.run(workspace.crs_path, "restart", reference)
            terminal.press(b"two\n")
            terminal.expect(b"line two")
            terminal.press(b"\x03")
            terminal.expect(b"int\r\n")
            terminal.press(b"three\n")
            terminal.expect(b"line three")
            check(b"int" not in terminal.seen, f"Ctrl-C came twice: {terminal.seen}")
            terminal.press(b"\x1a")
            terminal.expect(b"shell: stopped")
            terminal.expect(b"cont\r\n")
            terminal.press(b"four\n")
            terminal.expect(b"line four")
            terminal.press(key)
            terminal.expect(end)
            workspace.wait_exit(terminal.shell)
        workspace.wait_gone()


def redirected(workspace):
    """From a terminal to files and back: the program takes what the restart gives it."""
    with on_terminal(workspace, LINES, "moved") as (terminal, pid):
        reference = checkpoint_and_kill(workspace, terminal, pid, "moved")
    (workspace.work / "input").write_bytes(b"from a file\n")
    os.chmod(workspace.work / "input", 0o644)
    with open(workspace.work / "input") as given:
        runner = workspace.restart_in_foreground(reference, stdin=given, stdout=workspace.output_file("out"))
    check(workspace.wait_exit(runner) == 7, f"exit status {runner.returncode}")
    check("/dev/tty" in read_text(workspace.work / "stderr.txt"), "nothing said of /dev/tty: " + read_text(workspace.work / "stderr.txt"))


def duplicates(workspace):
    """Duplicates of the terminal go with the output where the restart has no terminal, and to its terminal where it has one."""
    program = "import os, time\nos.dup2(1, 5)\nos.write(1, b'up\\n')\nwhile not os.path.exists('go'): time.sleep(0.01)\n" \
        "os.write(1, b'to 1\\n')\nos.write(5, b'to 5\\n')\n"
    with on_terminal(workspace, program, "twice") as (terminal, pid):
        reference = checkpoint_and_kill(workspace, terminal, pid, "twice")
    (workspace.work / "go").touch()
    runner = workspace.restart_in_foreground(reference, stdout=workspace.output_file("out"))
    check(workspace.wait_exit(runner) == 0, f"exit status {runner.returncode}")
    check(read_text(workspace.work / "out") == "to 1\nto 5\n", read_text(workspace.work / "out"))
    with Terminal(workspace) as terminal:
        terminal.run("sh", "-c", 'exec "$@" >out', "sh", workspace.crs_path, "restart", reference)
        terminal.expect(b"to 5\r\nshell: ended 0")
        workspace.wait_exit(terminal.shell)
    check(read_text(workspace.work / "out") == "to 1\n", read_text(workspace.work / "out"))


def two_terminals(workspace):
    """A terminal that is none of the standard streams is refused by name; left out, the program does without it."""
    program = "import os, time\nos.write(1, b'up\\n')\nwhile not os.path.exists('go'): time.sleep(0.01)\n" \
        "try:\n    os.write(9, b'x')\n    print('written')\nexcept OSError as problem:\n    print('error', problem.errno)\n"
    with Terminal(workspace) as other, Terminal(workspace) as terminal:
        name = os.ttyname(other.slave)
        shell = f"exec 9<>{name}; exec {PYTHON} -uc \"$1\""
        terminal.run(workspace.crs_path, "run", "--name", "two", "--", "sh", "-c", shell, "sh", program)
        terminal.expect(b"up")
        pid = workspace.program_below(terminal.shell, PYTHON)
        result = workspace.crs("checkpoint", "two", expect=1)
        check(f"descriptor 9 of process {pid} is terminal {name}" in result.stderr and "--leave-out fd=9" in result.stderr, str(result))
        check(workspace.snapshots() == [], f"a refusal left {workspace.snapshots()}")
        reference = workspace.checkpoint("two", "--leave-out", "fd=9")
        os.kill(pid, signal.SIGKILL)
        terminal.expect(b"shell: ended 137")
        workspace.wait_exit(terminal.shell)
    with Terminal(workspace) as terminal:
        (workspace.work / "go").touch()
        terminal.run(workspace.crs_path, "restart", reference)
        terminal.expect(b"error 9\r\nshell: ended 0")
        workspace.wait_exit(terminal.shell)


def detached(workspace):
    """--detach from a terminal: the program keeps it for output but is no part of its jobs."""
    program = "import os, time\nos.write(1, b'up\\n')\nwhile not os.path.exists('go'): time.sleep(0.01)\nos.write(1, b'went on\\n')\n"
    with on_terminal(workspace, program, "apart") as (terminal, pid):
        reference = checkpoint_and_kill(workspace, terminal, pid, "apart")
    with Terminal(workspace) as terminal:
        terminal.run(workspace.crs_path, "restart", "--detach", reference)
        terminal.expect(b"shell: ended 0")
        workspace.wait_exit(terminal.shell)
        (workspace.work / "go").touch()
        terminal.expect(b"went on")
        workspace.wait_gone()


def start_shell(workspace, terminal):
    """A real shell in the place of the small one's job; returns the small one's Popen."""
    terminal.run("bash", "--norc", "--noprofile", "-i")
    terminal.press(b"PS1='at''tention '\n")
    terminal.expect(b"\nattention ")


def ask_shell(terminal, command, answer):
    terminal.press(command + b"\n")
    terminal.expect(answer)


def interactive_shell(workspace):
    """An interactive bash goes on, leads its group, runs and stops jobs, and ends when it is told to; twice."""
    with Terminal(workspace) as terminal:
        start_shell(workspace, terminal)
        ask_shell(terminal, b"kept=42", b"attention ")
        (pid,) = children_of(terminal.shell.pid)
        reference = checkpoint_and_kill(workspace, terminal, pid)
    for round_number in range(2):
        with Terminal(workspace) as terminal:
            # A shell like any user's starts it.
            start_shell(workspace, terminal)
            terminal.press(b"PS1='outer''most '\n%s restart %s\n" % (os.fsencode(workspace.crs_path), reference.encode()))
            ask_shell(terminal, b"", b"attention ")
            ask_shell(terminal, b"echo answer $((kept))", b"\nanswer 42")
            ask_shell(terminal, b"/bin/echo child $?", b"\nchild 0")
            ask_shell(terminal, b"echo started; sleep 1000", b"\nstarted")
            wait_until(lambda: any("sleep" in read_text(f"/proc/{child}/comm") for child in descendants_of(terminal.shell.pid)), "sleep runs")
            terminal.press(b"\x1a")
            terminal.expect(b"Stopped")
            ask_shell(terminal, b"kill -9 %1; while kill -0 %1 2>/dev/null; do :; done; echo gone", b"\ngone")
            if round_number == 0:
                shells = [pid for pid in descendants_of(terminal.shell.pid) if read_text(f"/proc/{pid}/comm") == "bash\n"]
                reference = workspace.checkpoint(reference.split("@")[0])
                os.kill(shells[-1], signal.SIGKILL)
                ask_shell(terminal, b"echo status $?", b"\nstatus 137")
            else:
                ask_shell(terminal, b"suspend", b"Stopped")
                ask_shell(terminal, b"echo between", b"\nbetween")
                ask_shell(terminal, b"fg", b"restart")
                ask_shell(terminal, b"echo again $((kept))", b"\nagain 42")
                ask_shell(terminal, b"exit 7", b"outermost ")
                ask_shell(terminal, b"echo status $?", b"\nstatus 7")
            terminal.press(b"exit 3\n")
            terminal.expect(b"shell: ended 3")
            workspace.wait_exit(terminal.shell)
        workspace.wait_gone()


def stopped(workspace):
    """A program that its shell had stopped comes back stopped, as a stopped job of the shell where crs restart runs; fg continues it."""
    script = workspace.work / "lines.py"
    script.write_text(LINES)
    script.chmod(0o644)
    with Terminal(workspace) as terminal:
        start_shell(workspace, terminal)
        ask_shell(terminal, f"{PYTHON} lines.py".encode(), b"\nup")
        terminal.press(b"\x1a")
        terminal.expect(b"Stopped")
        (pid,) = [pid for pid in descendants_of(terminal.shell.pid) if read_text(f"/proc/{pid}/comm").startswith("python")]
        reference = workspace.checkpoint(str(pid))
        ask_shell(terminal, b"kill -9 %1; while kill -0 %1 2>/dev/null; do :; done; echo gone", b"\ngone")
        terminal.press(b"exit 3\n")
        terminal.expect(b"shell: ended 3")
        workspace.wait_exit(terminal.shell)
    for _ in range(2):
        with Terminal(workspace) as terminal:
            start_shell(workspace, terminal)
            ask_shell(terminal, f"{workspace.crs_path} restart {reference}".encode(), b"Stopped")
            ask_shell(terminal, b"echo between", b"\nbetween")
            check(b"cont" not in terminal.seen, f"the program ran: {terminal.seen}")
            ask_shell(terminal, b"fg", b"cont")
            ask_shell(terminal, b"one", b"line one")
            terminal.press(b"\x04")
            terminal.expect(b"attention ")
            ask_shell(terminal, b"echo status $?", b"\nstatus 7")
            terminal.press(b"exit 3\n")
            terminal.expect(b"shell: ended 3")
            workspace.wait_exit(terminal.shell)
        workspace.wait_gone()


TESTS = [raw_mode, job_control, interactive_shell, stopped, redirected, duplicates, two_terminals, detached]


if __name__ == "__main__":
    run_tests(TESTS)
