#!/usr/bin/env python3
"""The eight operations of a component's module without the service, in C and C++: checkpoints of the caller, which return twice, and of
another process; restarts beside the caller, of a copy of the snapshot of which only the place is known, and in its stead."""

import argparse
import os
import pathlib
import re
import shutil
import signal
import sys
import time

from harness import STEP_LIMIT, Workspace, check, is_alive, link_target, read_text, run_cases, state_of, users_to_test, wait_until


def lines_of(workspace, options, language, component):
    program = workspace.reachable(options.build / "library" / f"operations_{language}")
    objects = workspace.make_directory("objects")
    shutil.copy(options.build / "lib" / "crs" / "self.so", objects / "self.so")
    (objects / "self.so").chmod(0o755)
    workspace.environment.update(CRS_COMPONENT_PATH=str(objects), CRS_PARAM_crs_helper=str(workspace.crs_path))
    other = workspace.start(["sleep", "1000"])
    # Through a pipe: it ends when everybody who may write to it has ended.
    result = workspace.run(["sh", "-c", '"$0" "$@" 2>&1 | cat', program, component, workspace.work / "copy", other.pid])
    check(is_alive(other.pid), "the other process has ended")
    # What CRS has to say to a person is not the program's output.
    return [line for line in result.stdout.splitlines() if not line.startswith("crs: ")], other.pid, result


def native(workspace, options, language):
    lines, other, result = lines_of(workspace, options, language, "native")
    # Twice restarted: beside the first process, and in its place.
    expected = ["module native", "another continue direct@1", "checkpoint continue direct@2 cell 42",
                "child of direct@2 by native, cold start 0", "checkpoint restart direct@2 cell 42", "checkpoint restart direct@2 cell 42"]
    check(sorted(lines) == sorted(expected), f"{lines}\n{result}")
    check(workspace.snapshots() == ["direct@1", "direct@2"], f"{workspace.snapshots()}")
    workspace.kill(other)
    check(is_alive(workspace.restart("direct@1")), "the other process is restarted")


def self(workspace, options, language):
    lines, _, result = lines_of(workspace, options, language, "self")
    refused = [line for line in lines if line.startswith("another refused")]
    check(len(refused) == 1 and "cannot checkpoint another process" in refused[0], f"{lines}\n{result}")
    expected = ["module self", *refused, "checkpoint continue direct@1 cell 42", "child of direct@1 by self, cold start 0",
                "begins anew, cell 42", "begins anew, cell 42"]
    check(sorted(lines) == sorted(expected), f"{lines}\n{result}")


def none(workspace, options, language):
    lines, _, result = lines_of(workspace, options, language, "none")
    check(lines[0] == "module none" and lines[2] == "checkpoint continue  cell 42" and len(lines) == 4, f"{lines}\n{result}")
    check("stores nothing" in lines[1] and lines[3].startswith("no restart: there is no snapshot to restart"), f"{lines}\n{result}")
    check(workspace.snapshots() == [], f"{workspace.snapshots()}")


def stuck(workspace, options, language):
    """A crs that does not come to an end is waited for no longer than was said, and starts nothing when it goes on."""
    program = workspace.reachable(options.build / "library" / "restarting")
    sleeper = workspace.start(["sleep", "1000"])
    wait_until(lambda: link_target(f"/proc/{sleeper.pid}/exe").endswith("sleep"), "sleep runs")
    workspace.crs("checkpoint", "--name", "sleeper", "--kill", sleeper.pid)
    workspace.wait_exit(sleeper)
    helper, late = workspace.work / "late-crs", workspace.work / "late"
    helper.write_text(f'#!/bin/sh\necho $$ > "{late}.new"\nmv "{late}.new" "{late}"\nkill -STOP $$\nexec "{workspace.crs_path}" "$@"\n')
    helper.chmod(0o755)
    environment = {**workspace.environment, "CRS_PARAM_crs_helper": str(helper), "CRS_PARAM_crs_restart_limit": "1"}
    for way in ("beside", "in-place"):
        result = workspace.run([program, "sleeper", way], env=environment)
        check(result.status == 3 and "has not answered within 1 s" in result.stdout and "crs_restart_limit" in result.stdout, f"{result}")
        wait_until(late.exists, "the late crs begins")
        wait_until(lambda: state_of(int(late.read_text())) == "T", "the late crs stops itself")
        os.kill(int(late.read_text()), signal.SIGCONT)
        workspace.wait_gone()
        late.unlink()
        check(workspace.crs("list", "--json").json()["running"] == [], "it started the program when nobody waited any more")
    result = workspace.run([program, "sleeper", "beside"], env={**environment, "CRS_PARAM_crs_helper": str(workspace.crs_path), "CRS_PARAM_crs_restart_limit": "60"})
    check(result.status == 0 and is_alive(int(result.stdout.split()[1])), f"{result}")


def excluding(workspace, options, language):
    """What the program excludes makes its snapshot smaller by as much, reads as zero in the restarted program, and is told there."""
    program = workspace.reachable(options.build / "library" / "excluding")
    output = workspace.work / "excluding.txt"
    with output.open("w") as stream:
        process = workspace.start([program], env={**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path)}, stdout=stream)
    if workspace.drops:
        os.chown(output, workspace.uid, workspace.uid)
    wait_until(lambda: read_text(output).count("taken ") == 2 or process.poll() is not None, "both snapshots are taken")
    references = re.findall("taken (.*)\n", read_text(output))
    check(len(references) == 2, f"the program says: {read_text(output)}")
    workspace.kill(process.pid)
    without, whole = [sum(file["bytes"] for file in workspace.crs("show", "--json", one).json()["files"]) for one in references]
    check(abs(whole - without - (32 << 20)) < 1 << 20, f"{without} bytes without the 32 MiB, {whole} with them")
    for reference in reversed(references):  # the older one takes back what the program has written since
        result = workspace.run([workspace.crs_path, "restart", reference])
        check(result.status == 0, f"{result}: {read_text(output)}")


def start_rolling(workspace, options, *words):
    program = workspace.reachable(options.build / "library" / "rolling")
    # The leak checker of the sanitizers knows threads by the ids that they had, and takes what only those know for lost.
    environment = {**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path), "ASAN_OPTIONS": "detect_leaks=0"}
    return workspace.start([program, *words], env=environment)


def rolled(workspace, process, limit=STEP_LIMIT):
    """What the program says at last, and its exit status."""
    status = workspace.wait_exit(process, limit)
    return status, read_text(workspace.work / "stdout.txt").splitlines()


def rolling(workspace, options, language):
    """Neither the program's timers nor signals that it has handlers for end it while it becomes what it was."""
    for _ in range(3):
        status, lines = rolled(workspace, start_rolling(workspace, options, "timers"))
        check((status, lines[-1]) == (0, "back"), f"with timers: {status} {lines}")
    process = start_rolling(workspace, options, "waits")
    wait_until(lambda: "taken" in read_text(workspace.work / "stdout.txt"), "the snapshot is taken")
    (workspace.work / "go").touch()
    while process.poll() is None:
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.0005)
    status, lines = rolled(workspace, process)
    check((status, lines[-1]) == (0, "back"), f"with signals: {status} {lines}")


def rolling_to_damage(workspace, options, language):
    """A snapshot that is not sound, its page data included, is refused while the program can still go on."""
    for name in ("pages", "pages.index", "process"):
        (workspace.work / "stdout.txt").unlink(missing_ok=True)
        process = start_rolling(workspace, options, "waits")
        wait_until(lambda: "taken" in read_text(workspace.work / "stdout.txt"), "the snapshot is taken")
        file = workspace.store / f"rolling-{process.pid}" / "1" / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.chmod(0o600)
        file.write_bytes(content)
        (workspace.work / "go").touch()
        status, lines = rolled(workspace, process)
        check(status == 0 and lines[-1].startswith("goes on: ") and ("damaged" in lines[-1] or "checksum" in lines[-1]), f"{name}: {status} {lines}")
        (workspace.work / "go").unlink()


def rolling_with_few_descriptors(workspace, options, language):
    """A limit of open files that is too low for the restart is told while the program can still go on."""
    status, lines = rolled(workspace, start_rolling(workspace, options, "few"))
    # A privileged one raises its limit.
    refused = lines[-1].startswith("goes on: ") and "limit of open files" in lines[-1]
    check(status == 0 and (refused or (workspace.uid == 0 and lines[-1] == "back")), f"{status} {lines}")


def rolling_with_many_areas_left_out(workspace, options, language):
    """However long the list of what was not saved, the program is told of it: in place, and in a new process."""
    process = start_rolling(workspace, options, "many")
    status, lines = rolled(workspace, process, 3 * STEP_LIMIT)
    check((status, lines[-1]) == (0, "back"), f"{status} {lines}")
    result = workspace.crs("restart", f"rolling-{process.pid}")
    check(read_text(workspace.work / "stdout.txt") == "back\n" and "lost" not in result.stderr, f"{result}")


# It waits; told so, it says whether every other page is lost.
WITHOUT_SERVICE = r"""
import ctypes, mmap, os, time
pages = 60000
memory = mmap.mmap(-1, pages * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(pages): memory[page * 4096] = 7
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
while not os.path.exists("go"): time.sleep(0.01)
print(sum(memory[page * 4096] == 7 * (page % 2) for page in range(pages)), flush=True)
"""


def many_areas_left_out_from_outside(workspace, options, language):
    process = workspace.start(["/usr/bin/python3", "-c", WITHOUT_SERVICE])
    wait_until(lambda: read_text(workspace.work / "stdout.txt").endswith("\n"), "the program is ready")
    first = int(read_text(workspace.work / "stdout.txt"))

    def exclude(count):
        starts = [first + 8192 * number for number in range(count)]
        return [word for start in starts for word in ("--exclude", f"{start:x}-{start + 4096:x}")]

    result = workspace.crs("checkpoint", "--kill", *exclude(32769), process.pid, expect=None)
    check(result.status == 1 and "at most 32768" in result.stderr and is_alive(process.pid), f"{result.status} {result.stderr[:1000]}")
    reference = workspace.checkpoint(process.pid, "--kill", *exclude(30000))
    workspace.wait_exit(process)
    (workspace.work / "go").touch()
    result = workspace.crs("restart", reference)
    check(result.status == 0 and read_text(workspace.work / "stdout.txt").splitlines()[-1] == "60000", f"{result}")


def named(workspace, options, language):
    """The job's name that a program chose counts for whoever asks by its process id, too, but for --name."""
    process = start_rolling(workspace, options, "waits", "chosen")
    wait_until(lambda: "taken chosen@1" in read_text(workspace.work / "stdout.txt"), "the snapshot is taken")
    check(workspace.checkpoint(process.pid, "--keep", "1") == "chosen@2" and workspace.snapshots() == ["chosen@2"], f"{workspace.snapshots()}")
    check(workspace.checkpoint(process.pid, "--name", "other") == "other@1", "--name")
    workspace.kill(process.pid)
    result = workspace.run([workspace.reachable(options.build / "library" / "rolling"), "waits", "4711"])
    check(result.status == 1 and "would be taken for a process id" in result.stdout, f"{result}")


def choosing(workspace, options, language):
    """Each option of a program's own checkpoint comes through, by its service and by the module alone."""
    program = workspace.reachable(options.build / "library" / "choosing")
    result = workspace.run(["sh", "-c", '"$0" 2>&1 | cat', program], env={**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path)})
    lines = [line.split(": ", 1) for line in result.stdout.splitlines() if not line.startswith("crs: ")]
    check(result.status == 0 and len(lines) == 16, f"{result}")
    for said in (dict(lines[:8]), dict(lines[8:])):
        shown = {name: workspace.crs("show", "--json", said[name].removeprefix("taken ")).json() for name in ("plain", "small", "first", "second")}
        size = {name: shown[name]["stored_bytes"] for name in shown}
        check(size["small"] < size["plain"] / 4, f"compression: {size}")
        check("'strange'" in said["strange"] and "odd=/x" in said["files"] and "7 says nothing" in said["tcp"], f"{said}")
        check("single" in said["single"] or "child" in said["single"] or "descend" in said["single"], f"{said}")
        check(shown["second"]["parent_sequence"] == shown["first"]["sequence"], f"incremental: {shown}")


def beside_itself(workspace, options, language):
    """A job that runs is no other program's: a restart beside it has a name of its own."""
    program = workspace.reachable(options.build / "library" / "restarting")
    environment = {**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path)}
    _, pid = workspace.start_by_crs("sleeper", ["sleep", "1000"])
    reference = workspace.checkpoint("sleeper")
    restart = lambda *words: workspace.run([program, reference, *words], env=environment)
    result = restart("beside")
    check(result.status == 3 and f"the job sleeper runs already, as process {pid}" in result.stdout, f"{result}")
    for name in ("-h", "a/b"):
        result = restart("beside", name)
        check(result.status == 3 and f"'{name}' is not a job name" in result.stdout, f"{result}")
    twin = int(restart("beside", "twin").stdout.split()[1])
    running = {program["job"]: program["pid"] for program in workspace.crs("list", "--json").json()["running"]}
    check(running == {"sleeper": pid, "twin": twin} and is_alive(pid) and is_alive(twin), f"{running}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    options.build = options.build.resolve()

    def case(test, language, user):
        def run():
            with Workspace(options.crs, user, options.verbose) as workspace:
                test(workspace, options, language)
        return f"{test.__name__} in {language} as {user}", run

    alone = (stuck, excluding, rolling, rolling_to_damage, rolling_with_few_descriptors, rolling_with_many_areas_left_out,
             many_areas_left_out_from_outside, named, choosing, beside_itself)
    tests = [(test, language) for test in (native, self, none) for language in ("c", "cc")] + [(test, "c") for test in alone]
    run_cases([case(test, language, user) for test, language in tests for user in users_to_test()])


if __name__ == "__main__":
    sys.exit(main())
