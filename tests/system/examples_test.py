#!/usr/bin/env python3
"""The examples: built outside the source tree against an installed one, and run; and the tutorial, whose code is theirs."""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import sys

from harness import Workspace, check, is_alive, read_text, run_cases, wait_until

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SNIPPET = re.compile(r"<!-- (\S+) -->\n```\w+\n(.*?)```\n", re.DOTALL)


def run(workspace, *arguments, limit=120, **options):
    result = workspace.run(arguments, limit=limit, **options)
    check(result.status == 0, str(result))
    return result


def the_tutorial_is_made_of_the_examples(workspace, options):
    text = (SOURCE / "docs/service.md").read_text()
    snippets = SNIPPET.findall(text)
    check(len(snippets) >= 10, f"only {len(snippets)} pieces of code")
    check(len(re.findall(r"^```\w", text, re.MULTILINE)) == len(snippets), "a piece of code does not say where it is from")
    for name, code in snippets:
        check(code in (SOURCE / name).read_text(), f"not in {name}:\n{code}")


def build(workspace, prefix, name):
    """The program of an example, built by somebody who has nothing but the installed tree."""
    source, tree = workspace.directory / f"{name}-source", workspace.directory / name
    shutil.copytree(SOURCE / "examples" / name, source)
    run(workspace, "cmake", "-S", source, "-B", tree, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    run(workspace, "cmake", "--build", tree)
    return tree / name


def first_layer(workspace, prefix):
    program = build(workspace, prefix, "first_layer")
    status = workspace.wait_exit(workspace.start([program]))
    output = read_text(workspace.work / "stdout.txt")
    match = re.fullmatch(r"goes on after (\S+), the socket is there\n", output)
    check(status == 0 and match, output)
    run(workspace, workspace.crs_path, "restart", match[1])
    expected = f"restarted from {match[1]}, the socket is there\nthe table is to be computed again\n"
    # What the first one wrote after the snapshot is cut off.
    output = read_text(workspace.work / "stdout.txt")
    check(output == expected, output)


def rollback(workspace, prefix):
    by_cmake = build(workspace, prefix, "rollback")
    environment = {**workspace.environment, "PKG_CONFIG_PATH": str(next(prefix.rglob("crs.pc")).parent)}
    folder = workspace.directory / "rollback-source"
    run(workspace, "make", "-C", folder, env=environment)
    for number, program in enumerate([by_cmake, folder / "rollback"]):
        counter = workspace.work / f"attempts-{number}"
        # Through a pipe: a file would be cut back to its length at the snapshot each time.
        output = run(workspace, "sh", "-c", '"$0" "$1" | cat', program, counter).stdout.splitlines()
        check(read_text(counter) == "11\n" and len(output) == 11, "\n".join(output))
        pids = {re.match(r"process (\d+): 6000 steps", line)[1] for line in output}
        check(len(pids) == 1 and output[-1].endswith("stand after 10 rollbacks"), "\n".join(output))
        # Of its eleven lives, each with a service.
        left = list(workspace.directory.glob("run/crs/*"))
        check(left == [], f"sockets stay behind: {left}")


class Ring:
    def __init__(self, workspace, program, stations):
        self.workspace, self.program = workspace, program
        self.ports = free_ports(stations)
        self.name = f"of-{stations}"
        self.outputs = [workspace.work / f"station-{number}-{self.name}" for number in range(stations)]
        self.processes = [self.start(number) for number in range(stations)]

    def start(self, number):
        output = self.workspace.output_file(f"station-{number}-{self.name}")
        return self.workspace.start([self.program, number, *self.ports], stdout=output)

    def rounds(self):
        numbers = re.findall(r"^(\d+) rounds$", read_text(self.outputs[0]), re.MULTILINE)
        return int(numbers[-1]) if numbers else 0

    def goes_on(self):
        before = self.rounds()
        wait_until(lambda: self.rounds() > before, f"the ring goes on after {before} rounds")

    def snapshot(self, number, pid):
        """The new snapshot's reference."""
        taken = lambda: re.findall(r"^station \d+: (\S+@\d+)$", read_text(self.outputs[number]), re.MULTILINE)
        before = len(taken())
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: len(taken()) > before, "the snapshot is taken")
        return taken()[-1]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ring(workspace, prefix):
    program = build(workspace, prefix, "ring")
    for count in (2, 3):
        ring_of(workspace, program, count)


def ring_of(workspace, program, count):
    stations = Ring(workspace, program, count)
    stations.goes_on()
    pid = stations.processes[1].pid
    for asked_from_outside in (False, True):
        reference = workspace.checkpoint(pid) if asked_from_outside else stations.snapshot(1, pid)
        stations.goes_on()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the station is gone")
        pid = workspace.restart(reference)
        stations.goes_on()
    os.kill(stations.processes[0].pid, signal.SIGTERM)
    others = [number for number in range(count) if number != 1]
    for number in others:
        check(workspace.wait_exit(stations.processes[number]) == 0, f"station {number} failed")
    wait_until(lambda: not is_alive(pid), "the restarted station ends")
    for output in (stations.outputs[number] for number in others):
        check("none lost, none doubled" in read_text(output), read_text(output))


class Solver:
    """One life of the solver: started, or restarted from a snapshot, with what it says in a file of its own."""

    EVERY = 200

    def __init__(self, workspace, number, begin, *arguments):
        self.output = workspace.work / f"life-{number}"
        self.process = begin(*arguments, stdout=workspace.output_file(self.output.name))

    def says(self, pattern):
        found = lambda: re.search(pattern, read_text(self.output), re.MULTILINE)
        return wait_until(found, f"{pattern}: {read_text(self.output)}")

    def first_iteration(self, reference):
        """Where a restarted one goes on."""
        return int(self.says(rf"^goes on with iteration (\d+), from {reference}$")[1])

    def own_checkpoints(self):
        return [(int(iteration), name) for iteration, name in re.findall(r"^iteration (\d+): (\S+)$", read_text(self.output), re.MULTILINE)]


def solver(workspace, prefix):
    program = build(workspace, prefix, "solver")
    # An installed tree that was moved does not know where its components are.
    folder = workspace.directory / "solver-source"
    run(workspace, "make", "-C", folder, env={**workspace.environment, "PKG_CONFIG_PATH": str(next(prefix.rglob("crs.pc")).parent)})
    check("solved in " in run(workspace, folder / "solver", 20, 1000, "small").stdout, "the one that make built")

    uninterrupted = run(workspace, program, 800, 10**9, "expected").stdout
    iterations = int(re.fullmatch(r"solved in (\d+) iterations\n", uninterrupted)[1])

    first = Solver(workspace, 1, workspace.start, [program, 800, Solver.EVERY, "solution"])
    first.says(r": solver@2$")
    workspace.kill(first.process.pid)
    check(first.process.wait() == -signal.SIGKILL and first.own_checkpoints()[0] == (Solver.EVERY, "solver@1"), read_text(first.output))

    # The command line again, and the memory; then the checkpoint is asked for from outside and goes through the service.
    newest = max(workspace.snapshots(), key=lambda reference: int(reference.split("@")[1]))
    second = Solver(workspace, 2, workspace.restart_in_foreground, "solver")
    begin = second.first_iteration(newest)
    check(begin == Solver.EVERY * int(newest.split("@")[1]), f"iteration {begin} from {newest}")
    pid = workspace.program_below(second.process, program)
    reference = workspace.checkpoint(pid)
    workspace.kill(pid)
    shown = workspace.crs("show", "--json", reference).json()
    check(shown["component"]["name"] == "self" and shown["layers"] == [], f"{shown}")

    third = Solver(workspace, 3, workspace.restart_in_foreground, reference)
    check(workspace.wait_exit(third.process) == 0, read_text(third.output))
    check(begin <= third.first_iteration(reference) < iterations, read_text(third.output))
    for life in (second, third):
        check(all(iteration > begin for iteration, _ in life.own_checkpoints()), f"it began anew: {read_text(life.output)}")
    check(third.own_checkpoints() and third.says(rf"^solved in {iterations} iterations$"), read_text(third.output))
    solution, expected = [(workspace.work / name).read_bytes() for name in ("solution", "expected")]
    check(len(expected) == 802 * 802 * 8 and solution == expected, "another solution")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    options.build = options.build.resolve()

    def test(example):
        with Workspace(options.crs, verbose=options.verbose) as workspace:
            prefix = workspace.directory / "prefix"
            run(workspace, "cmake", "--install", options.build, "--prefix", workspace.directory / "first", "--strip")
            (workspace.directory / "first").rename(prefix)
            workspace.crs_path = prefix / "bin/crs"
            example(workspace, prefix)

    def check_text():
        with Workspace(options.crs, verbose=options.verbose) as workspace:
            the_tutorial_is_made_of_the_examples(workspace, options)

    cases = [("the tutorial is made of the examples", check_text)]
    if "CRS_SANITIZE:STRING=\n" in (options.build / "CMakeCache.txt").read_text():
        cases += [(case.__name__, lambda case=case: test(case)) for case in (first_layer, ring, rollback, solver)]
    run_cases(cases)


if __name__ == "__main__":
    sys.exit(main())
