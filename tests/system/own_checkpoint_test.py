#!/usr/bin/env python3
"""A program that asks for its own checkpoint: the call returns twice, with the layers told in order; what a restart has to say reaches
the program; every failure leaves it as it was."""

import argparse
import os
import pathlib
import signal

from harness import Workspace, check, describe_process, is_alive, read_text, run_cases, state_of, users_to_test, wait_until

PREPARED = ["upper checkpoint", "lower checkpoint"]
CONTINUED = ["lower continue", "upper continue"]
RESTARTED = ["upper restart-pre", "lower restart-pre", "lower restart", "upper restart"]


class Teller:
    """A run of tests/service/teller.cc."""

    def __init__(self, workspace, program, *words, name=None, helper=None, environment={}):
        self.workspace, self.program = workspace, workspace.reachable(program)
        helper = helper if helper is not None else workspace.crs_path
        arguments = [self.program, helper, *words]
        options = {"env": {**workspace.environment, **environment}}
        if name:
            self.runner, self.pid = workspace.start_by_crs(name, arguments, **options)
        else:
            self.runner = workspace.start(arguments, **options)
            self.pid = self.runner.pid

    def lines(self):
        return read_text(self.workspace.work / "stdout.txt").splitlines()

    def expect(self, expected, what):
        wait_until(lambda: self.lines() == expected, f"{what}: {expected} instead of {self.lines()}\n{describe_process(self.pid)}")

    def go_on(self, pid=None):
        os.kill(pid or self.pid, signal.SIGUSR1)


def case_returns_twice(arguments, user, ids):
    with Workspace(arguments.crs, user) as workspace:
        words = ["thread", "checkpoint", "wait", "news", "variable", "CRS_COLOUR", "variable", "SHAPE", "variable", "HOME", "exit", "7"]
        teller = Teller(workspace, arguments.teller, *words, name="sim")
        once = PREPARED + CONTINUED + ["checkpoint continue sim@1", "waiting"]
        teller.expect(once, "the call returns in the program")
        check(workspace.snapshots() == ["sim@1"], f"{workspace.snapshots()}")
        children = read_text(f"/proc/{teller.pid}/task/{teller.pid}/children").split()
        check(not children, f"the helper is still a child: {children}")
        os.kill(teller.pid, signal.SIGKILL)
        check(workspace.wait_exit(teller.runner) == 137, "the program was killed")
        environment = {**workspace.environment, "CRS_COLOUR": "blue=1\nx"}
        restarted = workspace.start(
            [workspace.crs_path, "restart", "--ids", ids, "--env", "SHAPE=round", "sim"], env=environment
        )
        again = PREPARED + RESTARTED + ["checkpoint restart sim@1", "waiting"]
        teller.expect(again, "the call returns in the restarted program")
        pid = workspace.program_below(restarted, teller.program)
        teller.go_on(pid)
        check(workspace.wait_exit(restarted) == 7, "the restarted program's exit status")
        told = teller.lines()[len(again) :]
        check(told[0].startswith("news sim@1 of sim, "), f"{told}")
        check(told[1:] == ["variable CRS_COLOUR=blue=1", "x", "variable SHAPE=round", f"variable HOME={workspace.home}"], f"{told}")


def case_again_and_again(arguments, user):
    """Checkpoint, restart, checkpoint, restart, checkpoint, with the helper started anew each time."""
    with Workspace(arguments.crs, user) as workspace:
        teller = Teller(workspace, arguments.teller, *["checkpoint", "wait"] * 3, "exit", "0", name="sim")
        expected = PREPARED + CONTINUED + ["checkpoint continue sim@1", "waiting"]
        teller.expect(expected, "first")
        pid, runner = teller.pid, teller.runner
        for sequence in (2, 3):
            os.kill(pid, signal.SIGKILL)
            workspace.wait_exit(runner)
            runner = workspace.start([workspace.crs_path, "restart", "sim"])
            expected = expected[: expected.index("waiting") - 3] if sequence == 2 else expected[:-4]
            expected = expected + RESTARTED + [f"checkpoint restart sim@{sequence - 1}", "waiting"]
            teller.expect(expected, f"restart from {sequence - 1}")
            pid = workspace.program_below(runner, teller.program)
            teller.go_on(pid)
            expected = expected + PREPARED + CONTINUED + [f"checkpoint continue sim@{sequence}", "waiting"]
            teller.expect(expected, f"checkpoint {sequence}")
        teller.go_on(pid)
        check(workspace.wait_exit(runner) == 0, "the end")


def case_helper_missing(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        teller = Teller(workspace, arguments.teller, "checkpoint", "exit", "0", helper="/nowhere/crs")
        check(workspace.wait_exit(teller.runner) == 0, "the program goes on")
        lines = teller.lines()
        check(lines[:-1] == PREPARED + ["lower error", "upper error"], f"{lines}")
        check("cannot start /nowhere/crs" in lines[-1] and "crs_helper" in lines[-1], f"{lines}")


def case_helper_ends(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        teller = Teller(workspace, arguments.teller, "checkpoint", "exit", "0", helper="/bin/true")
        check(workspace.wait_exit(teller.runner) == 0, "the program goes on")
        check("ended before the snapshot was complete" in teller.lines()[-1] or "closed" in teller.lines()[-1], f"{teller.lines()}")


def case_refused(arguments, user):
    """What the engine refuses is an error in the program, with its advice, and nothing is left."""
    with Workspace(arguments.crs, user) as workspace:
        import socket

        left, right = socket.socketpair()
        right.set_inheritable(True)
        teller_options = {"pass_fds": [right.fileno()]}
        program = workspace.reachable(arguments.teller)
        runner = workspace.start([program, workspace.crs_path, "checkpoint", "exit", "0"], **teller_options)
        check(workspace.wait_exit(runner) == 0, "the program goes on")
        lines = read_text(workspace.work / "stdout.txt").splitlines()
        check(lines[:-1] == PREPARED + ["lower error", "upper error"], f"{lines}")
        check(f"descriptor {right.fileno()}" in lines[-1] and "socket" in lines[-1], f"{lines}")
        check(workspace.snapshots() == [], f"{workspace.snapshots()}")
        left.close(), right.close()


def case_kill(arguments, user):
    """The layers hear that the program ends; what comes after the snapshot comes in the restarted program only."""
    with Workspace(arguments.crs, user) as workspace:
        teller = Teller(workspace, arguments.teller, "kill", "exit", "3", name="sim")
        check(workspace.wait_exit(teller.runner) == 137, "the program has ended")
        check(teller.lines() == PREPARED + ["lower term", "upper term"], f"{teller.lines()}")
        restarted = workspace.start([workspace.crs_path, "restart", "sim"])
        check(workspace.wait_exit(restarted) == 3, "the restarted program's status")
        check(teller.lines() == PREPARED + RESTARTED + ["checkpoint restart sim@1"], f"{teller.lines()}")


def case_stop(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        teller = Teller(workspace, arguments.teller, "stop", "exit", "4")
        wait_until(lambda: workspace.snapshots() and state_of(teller.pid) == "T", "the program is stopped")
        check(teller.lines() == PREPARED, f"{teller.lines()}")
        os.kill(teller.pid, signal.SIGCONT)
        check(workspace.wait_exit(teller.runner) == 4, "the program goes on")
        name = f"teller-{teller.pid}"
        check(teller.lines() == PREPARED + CONTINUED + [f"checkpoint continue {name}@1"], f"{teller.lines()}")


def case_kill_in_time(arguments, user):
    """The layers of a program that ends itself have the time limit that it gave its checkpoint."""
    with Workspace(arguments.crs, user) as workspace:
        words = ["limit", "2", "kill", "exit", "3"]
        teller = Teller(workspace, arguments.teller, *words, name="sim", environment={"TELLER_SLEEPS": "lower term"})
        check(workspace.wait_exit(teller.runner) == 137, "the program has ended")
        check(teller.lines() == PREPARED + ["lower term"], f"{teller.lines()}")
        shown = workspace.crs("show", "--json", "sim@1").json()
        check(shown["layer_times"]["checkpoint"]["failures"] == ["the layers had not ended within 2 s, and were cut off"], f"{shown}")


def case_layer_fails(arguments, user):
    """A layer that fails at a restart: crs restart says so, and the program's call throws."""
    with Workspace(arguments.crs, user) as workspace:
        environment = {"TELLER_FAILS": "lower restart"}
        teller = Teller(workspace, arguments.teller, "kill", "exit", "3", name="sim", environment=environment)
        workspace.wait_exit(teller.runner)
        result = workspace.crs("restart", "sim", expect=3)
        check("layer 'lower' at restart" in result.stderr and "it was told to fail" in result.stderr, f"{result}")
        lines = teller.lines()
        check(lines[:-1] == PREPARED + RESTARTED, f"{lines}")
        check(lines[-1].startswith("failed it was told to fail (layer 'lower' at restart"), f"{lines}")
        # The program runs, but not as it did: no success.
        result = workspace.crs("restart", "--detach", "--json", "sim", expect=1)
        check("it was told to fail" in result.json()["layer_failures"][0] and result.json()["pid"] > 0, f"{result}")


def case_taker_says_how_it_went(arguments, user):
    """The crs that takes the snapshot has an exit status, too."""
    for failing, status in (("", 0), ("lower continue", 1), ("lower checkpoint", None)):
        with Workspace(arguments.crs, user) as workspace:
            script, said = workspace.work / "taker", workspace.work / "status"
            script.write_text(f'#!/bin/sh\n"{workspace.crs_path}" "$@"\necho $? >"{said}.new" && mv "{said}.new" "{said}"\n')
            script.chmod(0o755)
            teller = Teller(workspace, arguments.teller, "checkpoint", "exit", "0", helper=script, environment={"TELLER_FAILS": failing})
            check(workspace.wait_exit(teller.runner) == 0, "the program goes on")
            if status is None:
                check(not said.exists(), "a taker was started for a snapshot that was never to be")
                continue
            wait_until(said.exists, "the taker has ended")
            check(said.read_text() == f"{status}\n", f"status {said.read_text()} with {failing!r}")


def case_ends_at_a_restart(arguments, user):
    """A program that ends while its layers come back has not come back."""
    with Workspace(arguments.crs, user) as workspace:
        teller = Teller(workspace, arguments.teller, "kill", "exit", "3", name="sim", environment={"TELLER_ENDS": "lower restart-pre"})
        workspace.wait_exit(teller.runner)
        result = workspace.crs("restart", "sim", expect=4)
        check("ended before its layers had come back" in result.stderr, f"{result}")
        result = workspace.crs("restart", "--detach", "--json", "sim", expect=1)
        check("ended before its layers" in result.json()["layer_failures"][0] and result.json()["pid"] > 0, f"{result}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("--crs", "--subjects", "--build"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    arguments.teller = arguments.build / "service" / "teller"
    cases = []
    for user in users_to_test():
        ways = ["auto", "namespace"] if user == "ordinary" else ["auto", "new"]
        for ids in ways:
            cases.append((f"returns twice ({user}, ids {ids})", lambda user=user, ids=ids: case_returns_twice(arguments, user, ids)))
        for case in (case_again_and_again, case_helper_missing, case_helper_ends, case_refused, case_kill, case_kill_in_time, case_stop, case_layer_fails, case_taker_says_how_it_went, case_ends_at_a_restart):
            cases.append((f"{case.__name__[5:]} ({user})", lambda user=user, case=case: case(arguments, user)))
    run_cases([case for case in cases if arguments.only in case[0]])


if __name__ == "__main__":
    main()
