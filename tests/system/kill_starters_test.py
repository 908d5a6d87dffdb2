#!/usr/bin/env python3
"""SIGKILL to `crs restart` and to `crs run` at random moments, 100 times each: either nothing is left behind, or the program runs, whole."""

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import time

from harness import STEP_LIMIT, Failure, Workspace, check, describe_process, is_alive, link_target, run_cases, users_to_test, wait_until
from onlooker import SelfCheck

JOB = "sim"
KILLS = 100  # of each command, shared by the users
MEASURED = 5
LATEST = 2  # of the command's duration: from then on the program runs, and has to go on
LATE_EVERY = 5  # kills comes one up to LATE times later than that, whatever else slows the machine down
LATE = 3


class Starter:
    """A crs command that starts a program, again and again, killed at random moments."""

    def __init__(self, workspace, executable, seed):
        self.workspace, self.executable = workspace, executable
        self.random = random.Random(seed)
        self.started, self.nothing = 0, 0

    def spawn(self, arguments):
        options = {stream: subprocess.DEVNULL for stream in ("stdin", "stdout", "stderr")}
        identity = self.workspace.identity()
        return subprocess.Popen(
            [self.workspace.crs_path, *arguments],
            cwd=self.workspace.work,
            env=self.workspace.environment,
            start_new_session=True,
            **options,
            **identity,
        )

    def programs(self):
        return [pid for pid in self.workspace.leftovers() if link_target(f"/proc/{pid}/exe") == self.executable and is_alive(pid)]

    def kill_once(self, arguments, moment, check_program):
        begin = time.monotonic()
        process = self.spawn(arguments)
        while time.monotonic() < begin + moment:
            time.sleep(max(0, begin + moment - time.monotonic()))
        process.send_signal(signal.SIGKILL)
        process.wait(2 * STEP_LIMIT)
        if self.whole_or_nothing(check_program):
            self.started += 1
        else:
            self.nothing += 1
        self.end()

    def moment(self, number, duration):
        return self.random.uniform(0, LATEST * duration) * (LATE if number % LATE_EVERY == 0 else 1)

    def whole_or_nothing(self, check_program):
        """Whether the program runs; processes that are still on their way out are given their time."""

        def settled():
            self.workspace.reap()
            if not self.workspace.leftovers():
                return "nothing"
            with contextlib.suppress(Failure):
                for pid in self.programs():
                    check_program(pid, 0.5)
                    return "program"
            return None

        return wait_until(settled, "nothing is left, or the program runs as a whole") == "program"

    def end(self):
        for pid in self.programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.workspace.wait_gone()

    def report(self, what):
        print(f"{self.started + self.nothing} kills of crs {what}: {self.nothing} left nothing, {self.started} the whole program", flush=True)
        check(self.started > 0 and self.nothing > 0, "all kills came too early or too late")


def kill_restarts(options, user, kills):
    with Workspace(options.crs, user, options.verbose, store_in_memory=True) as workspace:
        program = SelfCheck(workspace, options.subjects, JOB)
        reference = workspace.checkpoint(JOB)
        executable = link_target(f"/proc/{program.pid}/exe")
        workspace.kill(program.pid)
        duration = measure_restart(workspace, program, reference)

        def check_program(pid, limit):
            program.watch(pid)
            program.check_goes_on(limit)

        starter = Starter(workspace, executable, options.seed)
        for number in range(kills):
            arguments = ["restart", "--detach", reference] if number % 2 == 0 else ["restart", reference]
            starter.kill_once(arguments, starter.moment(number, duration), check_program)
        starter.report("restart")
        workspace.crs("verify", reference)
        program.watch(workspace.restart(reference))
        program.check_goes_on()
        program.finish()


def measure_restart(workspace, program, reference):
    durations = []
    for _ in range(MEASURED):
        result = workspace.restart_result(reference)
        durations.append(result.seconds)
        program.watch(int(result.stdout))
        program.check_goes_on()
        workspace.kill(program.pid)
    return statistics.median(durations)


def kill_runs(options, user, kills):
    """A program whose `crs run` is killed goes on, and is still known by its job's name."""
    with Workspace(options.crs, user, options.verbose, store_in_memory=True) as workspace:
        executable = os.path.realpath("/bin/sleep")
        begin = time.monotonic()
        workspace.crs("run", "--", "/bin/true")
        duration = time.monotonic() - begin

        def check_program(pid, _):
            check(is_alive(pid), describe_process(pid))

        starter = Starter(workspace, executable, options.seed)
        for number in range(kills):
            arguments = ["run", "--name", JOB, "--", executable, "1000"]
            starter.kill_once(arguments, starter.moment(number, duration), check_program)
        starter.report("run")
        runner, pid = workspace.start_by_crs(JOB, [executable, "1000"])
        runner.kill()
        runner.wait()
        reference = workspace.checkpoint(JOB)
        check(is_alive(pid), "the program ended with its crs run")
        workspace.kill(pid)
        workspace.kill(workspace.restart(reference))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--subjects", required=True, help="the directory of the built subject programs")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    users = [options.user] if options.user else users_to_test()
    share = options.kills // len(users)
    cases = []
    for user in users:
        cases.append((f"{share} kills of crs restart as {user}", lambda user=user: kill_restarts(options, user, share)))
        cases.append((f"{share} kills of crs run as {user}", lambda user=user: kill_runs(options, user, share)))
    run_cases(cases)


if __name__ == "__main__":
    main()
