#!/usr/bin/env python3
"""A restarted program is checkpointed and restarted again, 100 times in a row: it stays correct and nothing of it grows.

After each restart its memory areas, descriptors, threads and timers are compared with those that it had at first; its namespaces and the
processes around it with those after the first restart; and the snapshots' sizes."""

import argparse
import os
import pathlib
import re
import statistics
import time

from harness import Workspace, check, link_target, read_text, run_cases, users_to_test
from onlooker import SelfCheck

JOB = "sim"
ROUNDS = 100
ROUNDS_WITH_NEW_IDS = 10
NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
OF_THE_PROGRAM = ["areas", "descriptors", "threads", "thread names", "own process id", "timers"]
STEADY_LIMIT = 3.0  # seconds
SIZE_TOLERANCE = 1.1  # between the snapshots of the first and of the last rounds: how much of the stacks is zero differs


def areas_of(pid):
    """Address, protection and name of each area; the device of an anonymous shared one is the kernel's own."""
    areas = []
    for line in read_text(f"/proc/{pid}/maps").splitlines():
        words = line.split(maxsplit=5)
        areas.append((words[0], words[1], words[5] if len(words) > 5 else ""))
    return areas


def depth_of(kind):
    """Of nested namespaces: how many lie between the program's and this test's."""

    def depth(pid):
        own, levels = link_target(f"/proc/self/ns/{kind}"), set()
        while pid > 1:
            level = link_target(f"/proc/{pid}/ns/{kind}")
            if level == own or not level:
                break
            levels.add(level)
            pid = int(re.search(r"^PPid:\t(\d+)", read_text(f"/proc/{pid}/status"), re.MULTILINE)[1])
        return len(levels)

    return depth


def portrait(workspace, pid):
    """Everything that must not grow."""
    status = read_text(f"/proc/{pid}/status")
    descriptors = {
        entry.name: re.sub(r"\d+", "N", link_target(entry)) + read_text(f"/proc/{pid}/fdinfo/{entry.name}").split("mnt_id")[0].split("flags")[1]
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()
    }
    return {
        "areas": areas_of(pid),
        "descriptors": descriptors,
        "threads": re.search(r"^Threads:\t(\d+)", status, re.MULTILINE)[1],
        "thread names": sorted(read_text(f"/proc/{pid}/task/{tid}/comm") for tid in os.listdir(f"/proc/{pid}/task")),
        "process id namespaces": len(re.search(r"^NSpid:\t(.*)$", status, re.MULTILINE)[1].split()),
        "own process id": re.search(r"^NSpid:.*\t(\d+)$", status, re.MULTILINE)[1],
        "namespaces": {kind: depth_of(kind)(pid) for kind in NAMESPACES},
        "processes": len(workspace.leftovers()),
        "mounts": len(read_text(f"/proc/{pid}/mountinfo").splitlines()),
        "timers": len(read_text(f"/proc/{pid}/timers").splitlines()),
    }


def compare(first, look, number):
    """The program maps and unmaps something all the time: what is looked for is growth that lasts."""
    end = time.monotonic() + STEADY_LIMIT
    now = look()
    while now != first and time.monotonic() < end:
        now = look()
    for what, before in first.items():
        check(now[what] == before, f"{what} after restart {number}: {describe_difference(before, now[what])}")


def least_memory(look):
    """What is mapped for a moment may make a neighbour larger instead of being an area of its own."""
    return min((look() for _ in range(20)), key=lambda seen: sum(size_of(area) for area, *_ in seen["areas"]))


def size_of(area):
    start, end = (int(address, 16) for address in area.split("-"))
    return end - start


def describe_difference(before, now):
    if not isinstance(before, list):
        return f"{now} instead of {before}"
    return f"{len(now)} instead of {len(before)}; new {[x for x in now if x not in before]}, gone {[x for x in before if x not in now]}"


def go_rounds(options, user, ids, rounds):
    with Workspace(options.crs, user, options.verbose, ids, store_in_memory=True) as workspace:
        program = SelfCheck(workspace, options.subjects, JOB)
        first, sizes = None, []
        changing = {"own process id"} if ids == "new" else set()
        original = least_memory(lambda: portrait(workspace, program.pid))
        for number in range(1, rounds + 1):
            sizes.append(workspace.crs("checkpoint", "--json", JOB).json()["stored_bytes"])
            workspace.kill(program.pid)
            program.watch(workspace.restart(f"{JOB}@{number}"))
            program.check_goes_on()
            look = lambda: {what: value for what, value in portrait(workspace, program.pid).items() if what not in changing}
            first = first or look() | {what: original[what] for what in OF_THE_PROGRAM if what not in changing}
            compare(first, look, number)
            # Snapshots of other rounds are not what this is about.
            if number > 1:
                workspace.crs("remove", f"{JOB}@{number - 1}")
        check_sizes(sizes)
        print(f"{len(first['areas'])} areas, {len(first['descriptors'])} descriptors, namespaces {first['namespaces']}, {sizes[0]} to {sizes[-1]} bytes")
        program.finish()


def check_sizes(sizes):
    few = max(1, len(sizes) // 10)
    begin, end = statistics.median(sizes[:few]), statistics.median(sizes[-few:])
    check(end <= begin * SIZE_TOLERANCE, f"snapshots grew from {begin} to {end} bytes: {sizes}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--subjects", required=True, help="the directory of the built subject programs")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--ids", choices=["keep", "namespace", "new"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    users = [options.user] if options.user else users_to_test()
    kinds = [(options.ids, options.rounds)]
    if not options.ids:
        kinds.append(("new", min(options.rounds, ROUNDS_WITH_NEW_IDS)))
    run_cases(
        [
            (
                f"{rounds} rounds as {user}, ids {ids or 'automatic'}",
                lambda user=user, ids=ids, rounds=rounds: go_rounds(options, user, ids, rounds),
            )
            for user in users
            for ids, rounds in kinds
        ]
    )


if __name__ == "__main__":
    main()
