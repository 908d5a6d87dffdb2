#!/usr/bin/env python3
"""tmux with a shell in it is checkpointed, killed and restarted twice: the shell is in its pane as it was, with its terminal and job
control, and new clients find it through the server's socket."""

import argparse
import shutil
import socket
import sys

from harness import SKIPPED, Workspace, check, run_cases, users_to_test, wait_until

TMUX = ["tmux", "-L", "test", "-f", "/dev/null"]


class Pane:
    """The one pane of the server, as a client sees it."""

    def __init__(self, workspace):
        self.workspace = workspace

    def tmux(self, *arguments):
        return self.workspace.run([*TMUX, *arguments]).stdout

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def shows(self, line):
        wait_until(lambda: line in self.tmux("capture-pane", "-p").splitlines(), f"the pane shows '{line}'")


def listens(path):
    """A client that found no server would start one of its own."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def quiet(workspace, reference):
    """What is on its way in the terminal at that instant only reading would show: such a checkpoint is refused, and made again."""
    result = None

    def taken():
        nonlocal result
        result = workspace.crs("checkpoint", reference, expect=None)
        check(result.status == 0 or "not been read" in result.stderr, f"the checkpoint failed: {result}")
        return result.status == 0

    wait_until(taken, "a checkpoint succeeds")
    return result.stdout.strip()


def shell_in_tmux(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace:
        workspace.environment |= {"TMUX_TMPDIR": str(workspace.home), "TERM": "xterm", "SHELL": "/bin/bash"}
        server = workspace.start([*TMUX, "-D"])
        pane = Pane(workspace)
        wait_until(lambda: listens(workspace.home / f"tmux-{workspace.uid}" / "test"), "tmux listens")
        pane.tmux("new-session", "-d", "-x", "100", "-y", "30", "bash --norc --noprofile")
        pane.type("kept=42; echo first $((kept - 1))")
        pane.shows("first 41")
        pid = server.pid
        for number in range(1, 3):
            reference = quiet(workspace, str(pid))
            workspace.kill(pid)
            pid = workspace.restart(reference)
            pane.shows("first 41")
            pane.type(f"echo round {number} $((kept))")
            pane.shows(f"round {number} 42")
            pane.tmux("resize-window", "-x", str(90 + number), "-y", "20")
            pane.type("sleep 1000")
            wait_until(lambda: pane.tmux("display", "-p", "#{pane_current_command}") == "sleep\n", "sleep is in the foreground")
            pane.tmux("send-keys", "C-c")
            # tmux takes a moment for a second new size.
            size = f"20 {90 + number}"
            pane.type(f'while [ "$(stty size)" != "{size}" ]; do sleep 0.05; done; echo size $(stty size)')
            pane.shows(f"size {size}")
        pane.tmux("kill-server")
        workspace.wait_gone(pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    if shutil.which("tmux") is None:
        print("skipped: there is no tmux here")
        sys.exit(SKIPPED)
    run_cases([(f"as {user}", lambda user=user: shell_in_tmux(options, user)) for user in users_to_test()])


if __name__ == "__main__":
    main()
