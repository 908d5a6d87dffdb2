"""A pseudo-terminal for the system tests, with a small shell that runs one job on it."""

import contextlib
import fcntl
import os
import pty
import struct
import termios

from harness import wait_until

# Any user may execute this one.
PYTHON = "/usr/bin/python3"

# Leads a session on the terminal that is its standard input and runs one job in the foreground; continues it whenever it stops.
SMALL_SHELL = r"""
import fcntl, os, signal, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        os.write(1, b"shell: ended %d\n" % os.waitstatus_to_exitcode(status))
        sys.exit()
    # Who reads this may press keys at once, which are the job's.
    os.tcsetpgrp(0, job)
    os.write(1, b"shell: stopped\n")
    os.kill(-job, signal.SIGCONT)
"""


class Terminal:
    """A pseudo-terminal with a shell that runs one command on it."""

    def __init__(self, workspace, rows=24, columns=80):
        self.workspace = workspace
        self.master, self.slave = pty.openpty()
        if workspace.drops:
            os.fchown(self.slave, workspace.uid, workspace.uid)
        os.set_blocking(self.master, False)
        self.resize(rows, columns)
        self.seen = b""
        self.shell = None

    def __enter__(self):
        return self

    def __exit__(self, kind, problem, trace):
        if problem is not None:
            self.read()
            print(f"--- on the terminal: {self.seen}")
        os.close(self.master)
        os.close(self.slave)

    def run(self, *command):
        stream = lambda: os.fdopen(os.dup(self.slave), "wb")
        self.shell = self.workspace.start(
            [PYTHON, "-c", SMALL_SHELL, *command], stdin=self.slave, stdout=stream(), stderr=stream(), start_new_session=False
        )

    def read(self):
        with contextlib.suppress(BlockingIOError, OSError):
            self.seen += os.read(self.master, 65536)
        return self.seen

    def expect(self, text):
        """Waits for it and forgets everything up to its end."""
        wait_until(lambda: text in self.read(), f"{text} on the terminal")
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.master, keys)

    def settings(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return self.settings()[3] & (termios.ICANON | termios.ECHO | termios.ISIG) == 0
