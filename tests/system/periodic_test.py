#!/usr/bin/env python3
"""What crs does by itself while it waits for a program: checkpoints at intervals, a last one, a restart after a failure; and `crs prune`."""

import fcntl
import os
import pathlib
import re
import signal

from harness import check, is_alive, read_text, run_tests, state_of, wait_until

# Says in a file that it was started, which no restart may do again; ends with status 7 when the file "end" is there.
PROGRAM = """
import os, pathlib, sys, time
memory = os.urandom(1 << 20) * 16  # so much that what changes is tracked
with open("starts", "a") as file:
    file.write(f"{os.getpid()}\\n")
while not os.path.exists("end"):
    time.sleep(0.01)
sys.exit(7)
"""
PYTHON = "/usr/bin/python3"


def start(workspace, *options, job="job"):
    runner = workspace.start([workspace.crs_path, "run", "--name", job, *options, "--", PYTHON, "-c", PROGRAM])
    wait_until(lambda: len(starts(workspace)) == 1, "the program runs")
    return runner


def starts(workspace):
    return read_text(workspace.work / "starts").split()


def sequences(workspace, job="job"):
    return sorted(int(reference.split("@")[1]) for reference in workspace.snapshots() if reference.startswith(job + "@"))


def program_of(workspace, job="job"):
    """The pid under which the store knows the job's program; 0: it runs no more."""
    running = workspace.crs("list", "--json").json()["running"]
    return next((entry["pid"] for entry in running if entry["job"] == job), 0)


def life_of(workspace):
    """The program's pid, which may be the same after a restart, and start time; None while the job is the restart command."""
    program = program_of(workspace)
    stat = read_text(f"/proc/{program}/stat")
    if not program or not read_text(f"/proc/{program}/cmdline").startswith(PYTHON):
        return None
    return program, stat[stat.rfind(")") + 2 :].split()[19]


def said(workspace):
    return read_text(workspace.work / "stderr.txt")


def at_intervals(workspace):
    """Snapshots come by themselves, the newest ones stay and can be restarted, and the program's end is its own."""
    runner = start(workspace, "--every", "200ms", "--keep", "2")
    wait_until(lambda: sequences(workspace)[-1:] >= [5], "five checkpoints")
    (workspace.work / "end").touch()
    check(workspace.wait_exit(runner) == 7, "not the program's exit status")
    kept = sequences(workspace)
    check(len(kept) == 2 and kept[1] == kept[0] + 1, f"kept {kept}")
    check(len(starts(workspace)) == 1, "")
    newest = workspace.crs("show", "--json", f"job@{kept[1]}").json()
    check(newest["parent_sequence"] == kept[0] and newest["stored_bytes"] - newest["shared_bytes"] < 4 << 20, f"a full one: {newest}")
    (workspace.work / "end").unlink()
    again = workspace.restart_in_foreground(f"job@{kept[0]}", "--every", "200ms", "--keep", "3")
    wait_until(lambda: sequences(workspace)[-1] >= kept[1] + 4, "checkpoints of the restarted program")
    (workspace.work / "end").touch()
    check(workspace.wait_exit(again) == 7, "")
    check(len(sequences(workspace)) == 3 and len(starts(workspace)) == 1, f"{sequences(workspace)}, {starts(workspace)}")


def a_last_one(workspace):
    """A signal as batch systems send it: a snapshot, the end, status 85; and so again after a restart."""
    runner = start(workspace, "--on-signal", "USR1")
    for number, expected in ((signal.SIGUSR1, 1), (signal.SIGTERM, 2)):
        program = wait_until(lambda: program_of(workspace), "the program is known")
        os.kill(runner.pid, number)
        check(workspace.wait_exit(runner) == 85, f"status after {number}")
        check(not is_alive(program) and sequences(workspace) == [expected], f"{state_of(program)}, {sequences(workspace)}")
        check(f"job@{expected} is the last snapshot" in said(workspace), "")
        runner = workspace.restart_in_foreground("job", "--on-signal", "SIGUSR1", "--keep", "1")
    wait_until(lambda: program_of(workspace), "the program is known")
    (workspace.work / "end").touch()
    check(workspace.wait_exit(runner) == 7 and len(starts(workspace)) == 1, "")


def a_last_one_that_fails(workspace):
    """The program gets the signal instead, and nothing is started again for it."""
    runner = start(workspace, "--on-signal", "USR1", "--restart-on-failure", "3")
    workspace.checkpoint("job")
    (workspace.store / "job" / "sequence").write_text("nonsense\n")
    os.kill(runner.pid, signal.SIGUSR1)
    check(workspace.wait_exit(runner) == 128 + signal.SIGUSR1, "status")
    check("there is no last snapshot of job: it gets SIGUSR1" in said(workspace), "")
    check(len(starts(workspace)) == 1 and sequences(workspace) == [1], "")


def never_two_at_once(workspace):
    """While one is being written, the next is left out and that is said."""
    runner = start(workspace, "--every", "300ms")
    wait_until(lambda: sequences(workspace), "the first checkpoint")
    with open(workspace.store / "job" / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = sequences(workspace)
        wait_until(lambda: said(workspace).count("is still being written: one is left out") >= 2, "two are left out")
        wait_until(lambda: "waiting for another checkpoint" in said(workspace), "one waits, and says so")
        check(said(workspace).count("waiting for another checkpoint") == 1, f"more than one: {said(workspace)}")
        check(sequences(workspace) == before, f"{sequences(workspace)} instead of {before}")
    wait_until(lambda: len(sequences(workspace)) > len(before), "it goes on")
    (workspace.work / "end").touch()
    check(workspace.wait_exit(runner) == 7, "")


def after_a_failure(workspace):
    """From the newest snapshot of this run, as often as was said; not after a signal that crs got."""
    runner = start(workspace, "--every", "300ms", "--restart-on-failure", "2")
    # What crs says of it is not looked at: its standard error is the program's too, and cut back with that.
    for _ in range(2):
        newest = sequences(workspace)[-1:]
        wait_until(lambda: sequences(workspace)[-1:] > newest, "a checkpoint")
        before = life_of(workspace)
        os.kill(before[0], signal.SIGSEGV)
        wait_until(lambda: life_of(workspace) not in (None, before), "it runs again")
    (workspace.work / "end").touch()
    check(workspace.wait_exit(runner) == 7 and len(starts(workspace)) == 1, f"{starts(workspace)}")


def no_restart(workspace):
    """Where there is nothing to start from, where crs itself got the signal, and without the option."""
    for options, kill, expected in ((["--restart-on-failure", "2"], "program", 128 + signal.SIGSEGV),
                                    (["--restart-on-failure", "2"], "crs", 128 + signal.SIGHUP),
                                    (["--every", "1h"], "program", 128 + signal.SIGSEGV)):
        (workspace.work / "starts").unlink(missing_ok=True)
        runner = start(workspace, *options)
        if kill == "crs":
            workspace.checkpoint("job")
        program = wait_until(lambda: program_of(workspace), "the program is known")
        os.kill(*((program, signal.SIGSEGV) if kill == "program" else (runner.pid, signal.SIGHUP)))
        check(workspace.wait_exit(runner) == expected and len(starts(workspace)) == 1, f"{options} {kill}")


def best_interval(workspace):
    """auto measures and says what it chose."""
    runner = start(workspace, "--every", "auto", "--mtbf", "2h")
    wait_until(lambda: "is best for a mean time between failures of 2 h" in said(workspace), "the choice", limit=40)
    check(re.search(r"a checkpoint of job takes 0\.\d+ s: one every \S+ (s|min)", said(workspace)), said(workspace))
    os.kill(runner.pid, signal.SIGTERM)
    check(workspace.wait_exit(runner) == 85, "")


def prunes(workspace):
    """All but the newest, or the old ones; only said with --dry-run; nothing of other jobs; status 3 for an unknown job."""
    runner = start(workspace)
    for job in ("a", "b"):
        for _ in range(4):
            workspace.checkpoint("job", "--name", job)
    before = workspace.snapshots()
    dry = workspace.crs("prune", "--keep", "2", "--dry-run", "--json", "a").json()
    check(dry["would_remove"] == ["a@2", "a@1"] and dry["bytes"] > 0 and workspace.snapshots() == before, f"{dry}")
    check(workspace.crs("prune", "--keep", "2", "--json", "a").json()["removed"] == ["a@2", "a@1"], "")
    check(sequences(workspace, "a") == [3, 4] and sequences(workspace, "b") == [1, 2, 3, 4], "")
    check(workspace.crs("prune", "--older-than", "1h", "--json", expect=3).json()["removed"] == [], "")
    check(workspace.crs("prune", "--older-than", "1ms").stdout == "removed a@3\nremoved b@3\nremoved b@2\nremoved b@1\n", "")
    check(workspace.crs("prune", "--keep", "1", expect=3).stdout == "", "")
    # Damaged ones are nobody's reserve.
    workspace.checkpoint("job", "--name", "a")
    (workspace.store / "a" / "5" / "manifest").chmod(0o600)
    (workspace.store / "a" / "5" / "manifest").write_text("nonsense")
    check(workspace.crs("prune", "--keep", "1", "a", expect=3).stdout == "" and sequences(workspace, "a") == [4, 5], "")
    workspace.checkpoint("job", "--name", "a")
    (workspace.store / "a" / "6" / "pages").unlink()
    check(workspace.crs("prune", "--keep", "1", "a", expect=3).stdout == "" and sequences(workspace, "a") == [4, 5, 6], "one that lacks a file")
    check(re.search("^a@6 +damaged: .*pages", workspace.crs("list", "a").stdout, re.MULTILINE), "not shown as damaged")
    (workspace.store / "a" / "6" / "process").unlink()
    damage = workspace.crs("verify", "--json", "a@6", expect=4).json()["damage"]
    check(any("/pages" in fault for fault in damage) and any("/process" in fault for fault in damage), f"not all is named: {damage}")
    check(workspace.checkpoint("job", "--name", "b", "--keep", "1") == "b@5" and sequences(workspace, "b") == [5], "")
    workspace.crs("prune", "--keep", "1", "nosuch", expect=3)
    for arguments in ([], ["--keep", "0"], ["--older-than", "soon"], ["--keep", "x"]):
        workspace.crs("prune", *arguments, "a", expect=2)
    (workspace.work / "end").touch()
    check(workspace.wait_exit(runner) == 7, "")


def wrong_usage(workspace):
    """Told before the program is started."""
    for options in (["--every", "soon"], ["--every", "0"], ["--on-signal", "KILL"], ["--on-signal", "NONE"], ["--keep", "2"],
                    ["--every", "1s", "--keep", "0"], ["--restart-on-failure", "-1"], ["--every", "auto", "--mtbf", "x"]):
        workspace.crs("run", *options, "--", "/bin/touch", "started", expect=2)
    workspace.crs("restart", "--detach", "--every", "1s", "job", expect=2)
    check(not pathlib.Path(workspace.work / "started").exists(), "it was started")


if __name__ == "__main__":
    run_tests([at_intervals, a_last_one, a_last_one_that_fails, never_two_at_once, after_a_failure, no_restart, best_interval, prunes,
               wrong_usage])
