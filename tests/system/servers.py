"""What the tests of real servers share: ports, rounds of checkpoint, end and restart, and the main program of such a test."""

import argparse
import shutil
import socket
import sys

from harness import SKIPPED, Failure, Workspace, check, read_text, run_cases, users_to_test


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server that crs started, and that goes through checkpoints and restarts."""

    def __init__(self, workspace, job, command, program=None):
        self.workspace, self.job, self.program = workspace, job, program or command[0]
        self.process, self.pid = workspace.start_by_crs(job, command, program)
        self.messages = None  # of the restart that it runs under

    def end_with_checkpoint(self):
        """Nothing that the server does is later than the snapshot, so nothing that it has told a client may be lost."""
        reference = self.workspace.checkpoint(self.job, "--kill", limit=60)
        self.workspace.wait_gone(self.pid)
        self.check_messages()
        return reference

    def kill(self):
        self.workspace.kill(self.pid)
        self.check_messages()

    def restart(self, reference):
        self.messages = f"restart-of-{reference}.txt"
        self.process = self.workspace.restart_in_foreground(reference, stderr=self.workspace.output_file(self.messages))
        try:
            self.pid = self.workspace.program_below(self.process, self.program)
        except Failure as failure:
            raise Failure(f"{failure}; it said: {read_text(self.workspace.work / self.messages)}") from None

    def check_messages(self):
        """Where nothing differs, crs has nothing to say of a restart, save that logs have grown since the checkpoint."""
        said = read_text(self.workspace.work / self.messages).splitlines() if self.messages else []
        said = [line for line in said if "was cut back" not in line]
        check(not said, f"the restart said: {said}")

    def ends(self, status=0):
        found = self.workspace.wait_exit(self.process)
        check(found == status, f"the server ended with {found} instead of {status}")
        self.workspace.wait_gone(self.pid)
        self.check_messages()


def run_server_tests(programs, test, rounds, many_rounds, ordinary="ordinary"):
    """The main program of a test file: test(workspace, rounds) as each user, `ordinary` naming the ordinary one. Skipped where one of the
    programs is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--crs", required=True)
    parser.add_argument("--long", action="store_true", help=f"{many_rounds} rounds instead of {rounds}")
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    if missing := [program for program in programs if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]:
        print(f"skipped: there is no {', no '.join(missing)} here")
        sys.exit(SKIPPED)

    def case(user):
        with Workspace(options.crs, ordinary if user == "ordinary" else user, options.verbose) as workspace:
            test(workspace, many_rounds if options.long else rounds)

    users = [user for user in users_to_test() if options.user in (None, user)]
    run_cases([(f"as {user}", lambda user=user: case(user)) for user in users])
