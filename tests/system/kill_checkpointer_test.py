#!/usr/bin/env python3
"""A program survives its checkpointer: SIGKILL to `crs checkpoint`, with --long 1000 times in all, and as often where the program is a
tree of ten processes, and where it talks through pseudo-terminals, whose unread data is taken out and put back: every other time at a
random moment of its whole duration, and every other time, since the program is held for a small part of that, at a random moment of
being held.

After each kill every thread of the self-checking program gets on, none is stopped or traced, and nothing else runs. Half of the kills of
a program meet its restarted copy. At the end the program ends by itself with everything right, and so does its last snapshot."""

import argparse
import os
import random
import signal
import statistics
import subprocess
import time

from harness import STEP_LIMIT, Workspace, check, run_cases, users_to_test
from onlooker import RING, SELFCHECK, TERMINALS, SelfCheck

JOB = "sim"
MEASURED = 7  # undisturbed checkpoints, whose median duration the moments are spread over ...
MEASURED_FOR_FEW, FEW = 3, 10  # ... and for few kills, or measuring would be most of what is done
REMEASURE = 100  # kills
LATEST = 1.1  # of that duration: the last moments fall behind the end, and are drawn again
LEAST_HELD = 0.1  # of the kills must meet a program that is held, or this test says little ...
ENOUGH = 100  # ... and of so many at least, for that to be no chance

# Threads in groups of 11, and one: the kills for each, and how many MiB of memory the program has: so much that it is copied while the
# program runs, or so little that it is not.
KILLS = {1: (400, 40), 3: (100, 0)}
TREE_KILLS = {RING: (500, "a tree of ten processes"), TERMINALS: (500, "processes at pseudo-terminals")}
SHORT = 0.06  # of them, without --long


class Kills:
    def __init__(self, workspace, program, seed, count):
        self.workspace, self.program, self.count = workspace, program, count
        self.random = random.Random(seed)
        self.held = 0
        self.done = 0
        self.measure()

    def spawn(self):
        return subprocess.Popen(
            [self.workspace.crs_path, "checkpoint", JOB],
            cwd=self.workspace.work,
            env=self.workspace.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self.workspace.identity(),
        )

    def measure(self):
        """How long an undisturbed checkpoint takes, from here to its end, and how long the program is paused."""
        durations = []
        for _ in range(MEASURED if self.count > FEW else MEASURED_FOR_FEW):
            begin = time.monotonic()
            status = self.spawn().wait(2 * STEP_LIMIT)
            durations.append(time.monotonic() - begin)
            check(status == 0, f"an undisturbed checkpoint ends with {status}")
        self.duration = statistics.median(durations)
        self.pause = self.workspace.crs("checkpoint", "--json", JOB).json()["pause_seconds"]
        self.program.check_goes_on()

    def kill(self):
        for number in range(self.count):
            if number % REMEASURE == REMEASURE - 1:
                self.measure()
            while not (self.kill_once() if number % 2 else self.kill_while_held()):
                pass
            self.program.check_goes_on()
            self.check_store()

    def kill_once(self):
        """False if the checkpoint ended before its moment came."""
        moment = self.random.uniform(0, LATEST * self.duration)
        begin = time.monotonic()
        process = self.spawn()
        while time.monotonic() < begin + moment:
            time.sleep(max(0, begin + moment - time.monotonic()))
        return self.end(process, self.program.is_traced())

    def kill_while_held(self):
        """False if the checkpoint ended before that."""
        process = self.spawn()
        while not self.program.is_traced():
            if process.poll() is not None:
                check(process.returncode == 0, f"a checkpoint ends with {process.returncode}")
                return False
        end = time.monotonic() + self.random.uniform(0, LATEST * self.pause)
        while time.monotonic() < end:
            pass  # too short a time to sleep
        return self.end(process, self.program.is_traced())

    def end(self, process, held):
        process.send_signal(signal.SIGKILL)
        status = process.wait(2 * STEP_LIMIT)
        check(status in (0, -signal.SIGKILL), f"a checkpoint ends with {status}")
        if status == 0:
            return False
        self.done += 1
        self.held += held
        return True

    def check_store(self):
        """At most one attempt's leftovers: the next one cleans up."""
        partial = [name for name in os.listdir(self.workspace.store / JOB) if name.startswith(".")]
        check(len(partial) <= 1, f"leftovers of several attempts: {partial}")

    def report(self):
        print(f"{self.done} kills over {self.duration * 1000:.1f} ms, {self.held} of them while the program was held", flush=True)
        check(self.done < ENOUGH or self.held >= LEAST_HELD * self.done, f"only {self.held} of {self.done} kills met a program that was held")


def check_snapshots(workspace):
    """Every snapshot that is listed is sound, and every directory of one is listed."""
    listed = [entry["reference"] for entry in workspace.crs("list", "--json", JOB).json()["snapshots"]]
    check(sorted(listed) == workspace.snapshots(), f"listed are {listed}, there are {workspace.snapshots()}")
    for reference in listed:
        workspace.crs("verify", reference)
    left = [name for name in os.listdir(workspace.store / JOB) if name.startswith(".") or name == "sequence.new"]
    check(not left, f"left in the store: {left}")
    return listed


def restart_from_new_snapshot(workspace, program):
    reference = workspace.checkpoint(JOB)
    workspace.kill(program.pid)
    program.watch(workspace.restart(reference))
    program.check_goes_on()


def survive(options, user, groups, kills, memory, seed, program=SELFCHECK):
    with Workspace(options.crs, user, options.verbose, store_in_memory=True) as workspace:
        # A kill may cost one wait an EINTR, in the instant in which its thread is borrowed (docs/limits.md).
        program = SelfCheck(workspace, options.subjects, JOB, groups, interruptions=kills, memory=memory, program=program)
        first = Kills(workspace, program, seed, kills - kills // 2)
        first.kill()
        first.report()
        restart_from_new_snapshot(workspace, program)
        second = Kills(workspace, program, seed + 1, kills // 2)
        second.kill()
        second.report()
        reference = workspace.checkpoint(JOB)
        snapshots = check_snapshots(workspace)
        check(snapshots[-1] == reference, f"the newest of {snapshots} is not {reference}")
        program.finish()
        program.watch(workspace.restart(reference))
        program.check_goes_on()
        program.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--subjects", required=True, help="the directory of the built subject programs")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--groups", type=int, help="groups of threads")
    parser.add_argument("--kills", type=int, help="for each user and number of threads")
    parser.add_argument("--long", action="store_true", help="all the kills")
    parser.add_argument("--memory", type=int, default=40, help="with --groups: MiB of memory")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    users = [options.user] if options.user else users_to_test()
    all_groups = {options.groups: (options.kills or 100, options.memory)} if options.groups else KILLS
    # One user who is not root must see all the kills, too.
    share = 2 / len(users) * (1 if options.long else SHORT)
    cases = []
    for user in users:
        if not options.groups:
            for program, (kills, words) in TREE_KILLS.items():
                kills = options.kills or int(kills * share)
                cases.append(
                    (
                        f"{kills} kills as {user}, {words}",
                        lambda user=user, kills=kills, program=program: survive(options, user, 1, kills, 0, options.seed, program),
                    )
                )
        for groups, (kills, memory) in all_groups.items():
            kills = options.kills or int(kills * share)
            name = f"{kills} kills as {user}, {11 * groups + 1} threads, {memory} MiB"
            cases.append(
                (
                    name,
                    lambda user=user, groups=groups, kills=kills, memory=memory: survive(
                        options, user, groups, kills, memory, options.seed
                    ),
                )
            )
    run_cases(cases)


if __name__ == "__main__":
    main()
