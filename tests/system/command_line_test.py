#!/usr/bin/env python3
"""The command line from outside: exit statuses, JSON, and that `crs run` is invisible to the program and to the one who waits for it."""

import argparse
import json
import os
import pathlib
import pty
import signal
import sys

from harness import Failure, Workspace, check, is_alive, state_of, verbs_of, wait_until
from terminals import SMALL_SHELL

# Any user may execute this one.
PYTHON = "/usr/bin/python3"

# What a program can see of how it was started, but for its process ids.
SELF_PORTRAIT = r"""
import json, os, re, resource, signal, sys
status = open("/proc/self/status").read()
fields = dict(re.findall(r"^(SigPnd|SigBlk|SigIgn|SigCgt|Cap\w+|NoNewPrivs|Seccomp|Umask|ShdPnd|Cpus_allowed):\s*(\S+)", status, re.MULTILINE))
descriptors = {}
for name in os.listdir("/proc/self/fd"):
    try:
        descriptors[name] = [os.readlink(f"/proc/self/fd/{name}"), os.get_inheritable(int(name))]
    except OSError:
        pass  # the listing's own
environment = {name: value for name, value in os.environb.items() if name != b"_"}
json.dump([sys.argv, fields, descriptors, sorted(map(str, environment.items())), os.getcwd(), os.getpgid(0), os.getsid(0), os.nice(0),
           [resource.getrlimit(limit) for limit in range(16)]], sys.stdout)
"""


def usage_errors(workspace):
    for arguments in ([], ["nonsense"], ["--nonsense"], ["run"], ["run", "--nonsense", "true"], ["checkpoint"], ["restart"], ["show"],
                      ["restart", "--ids", "odd", "x"], ["checkpoint", "--stop", "--kill", "x"], ["show", "a b"], ["remove"],
                      ["list", "a", "b"], ["run", "--name", "4711", "true"], ["--param", "crs_nonsense=1", "list"]):
        result = workspace.crs(*arguments, expect=2)
        check(result.stderr.startswith("crs: cannot ") and result.stderr.count("\n") == 1, f"not one line: {result}")
        check(result.stdout == "", f"an error on standard output: {result}")


def empty_values(workspace):
    """An option with nothing after its '=' has an empty value; the next word is its own."""
    refused = workspace.crs("list", "--store=", "--json", expect=2).json()["error"]
    check("a store has a path" in refused["message"], f"--json is taken for the store: {refused}")
    for flag in "--verbose=", "--json=":
        check(workspace.crs("run", flag, "echo", "here").stdout == "here\n", f"{flag} takes a value")
    check("a store has a path" in workspace.crs("--store=", "list", "nosuch", expect=2).stderr, "the verb is taken for the store")
    check("not empty" in workspace.crs("run", "--name=", "--", "/bin/true", expect=2).stderr, "-- is taken for a name")
    check(workspace.crs("run", "--", "echo", "--x=", "y").stdout == "--x= y\n", "the command's own words")
    check(workspace.crs("nonsense", "--json", expect=2).json()["error"]["exit_status"] == 2, "no JSON for what is no verb")


def nowhere(workspace):
    """Directories without a snapshot, and a relative one where there is no working directory."""
    (workspace.work / "empty").mkdir()
    for place in ("empty/", str(workspace.work / "empty")):
        for verb in "show", "verify", "restart":
            check("no snapshot in" in workspace.crs(verb, place, expect=3).stderr, f"{verb} {place}")
    closed = workspace.work / "closed"
    closed.mkdir()
    closed.chmod(0)
    if os.geteuid() != 0 or workspace.identity():
        check("Permission denied" in workspace.crs("show", f"{closed}/1", expect=1).stderr, "a directory that may not be searched")
    result = workspace.run(["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && "$0" --store relative list', workspace.crs_path])
    check(result.status == 1 and "begins with a slash" in result.stderr, f"{result}")


def not_found(workspace):
    for arguments in (["checkpoint", "nosuchjob"], ["checkpoint", "2147483647"], ["restart", "nosuch"], ["restart", "nosuch@3"],
                      ["show", "nosuch"], ["verify", "nosuch@1"], ["remove", "nosuch@1"], ["remove", "--all", "nosuch"], ["list", "nosuch"]):
        workspace.crs(*arguments, expect=3)
        result = workspace.crs(arguments[0], "--json", *arguments[1:], expect=3)
        check(result.json()["error"]["exit_status"] == 3, f"no error as JSON: {result}")
        check(result.stderr.startswith("crs: cannot "), f"no line for people: {result}")


def json_is_valid(workspace):
    for verb in ("list", "components", "params"):
        workspace.crs(verb, "--json").json()
        workspace.crs("--json", verb).json()
    # Standard output is the program's, standard error says as JSON what crs itself fails at; options after CMD are CMD's.
    check(workspace.crs("run", "--json", "--", "echo", "--json").stdout == "--json\n", "the program's output alone")
    for command, status in (["run", "--json", "--", "/nonexistent/x"], 127), (["run", "--json", "--nonsense", "--", "x"], 2), (["--json", "run", "/etc/passwd"], 126):
        result = workspace.crs(*command, expect=status)
        error = json.loads(result.stderr)["error"]
        check(error["exit_status"] == status and error["advice"] and result.stdout == "", f"{result}")
    check(workspace.crs("run", "--verbose", "/etc/passwd", "--json", expect=126).stderr.startswith("crs: "), "the command's own --json")
    check("facts" in workspace.crs("check", "--json", expect=None).json(), "crs check --json has no facts")


def help_is_complete(workspace):
    verbs = verbs_of(workspace)
    check({"run", "checkpoint", "restart", "compact", "prune"} <= set(verbs) and len(verbs) >= 12, f"verbs: {verbs}")
    check(workspace.crs("help").stdout == workspace.crs("--help").stdout, "crs help says something else")
    for verb in verbs:
        text = workspace.crs(verb, "--help").stdout
        check("Example:" in text and "Exit statuses" in text, f"crs {verb} --help is incomplete")
        check(workspace.crs("help", verb).stdout == text, f"crs help {verb} says something else")


def closed_output(workspace):
    with open("/dev/full", "w") as full:
        workspace.crs("params", expect=1, stdout=full)
    workspace.crs("params", expect=1, preexec_fn=lambda: os.close(1))
    # What crs says to people is no result.
    check(workspace.crs("list", preexec_fn=lambda: os.close(2)), "")


def run_returns_the_programs_status(workspace):
    check(workspace.crs("run", "--", "sh", "-c", "exit 7", expect=7), "")
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
        workspace.crs("run", "--", "sh", "-c", f"kill -{int(number)} $$", expect=128 + number)
    workspace.crs("run", "nosuchprogram", expect=127)
    workspace.crs("run", "./nosuchprogram", expect=127)
    workspace.crs("run", "/etc/passwd", expect=126)
    workspace.crs("run", "/", expect=126)
    check(workspace.crs("list", "--json").json()["running"] == [], "an ended program is listed as running")


def run_is_invisible(workspace):
    command = [PYTHON, "-c", SELF_PORTRAIT, "a", "", "b=c\nd", "--json", "--", "-x"]

    def peculiar():
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGCHLD})
        os.umask(0o027)
        os.nice(3)
        os.dup2(0, 9)

    def closed():
        peculiar()
        os.close(0)
        os.close(2)

    for prepare in (peculiar, closed):
        plain = workspace.run(command, preexec_fn=prepare, process_group=0)
        under_crs = workspace.run([workspace.crs_path, "run", "--component", "none", "--", *command], preexec_fn=prepare, process_group=0)
        seen = [json.loads(result.stdout) for result in (plain, under_crs)]
        for portrait in seen:
            portrait[5] = portrait[6] = None  # of this run
            portrait[2].pop("1", None)  # the file that takes the output
            portrait[2].pop("2", None)
        check(seen[0] == seen[1], f"without crs {seen[0]}\nunder crs   {seen[1]}")


def run_forwards_signals(workspace):
    program = r"""
import os, signal, sys, time
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: (os.write(1, b"usr1\n")))
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(33))
os.write(1, b"up\n")
while True: signal.sigtimedwait([], 0.1)
"""
    output = workspace.work / "forward.txt"
    runner, pid = workspace.start_by_crs("forward", [PYTHON, "-c", program], stdout=open(output, "ab"))
    wait_until(lambda: output.read_text() == "up\n", "the program is up")
    running = workspace.crs("list", "--json").json()["running"]
    check(running == [{"job": "forward", "pid": pid, "restarting": False}], f"running: {running}")
    workspace.crs("run", "--name", "forward", "true", expect=1)
    os.kill(runner.pid, signal.SIGUSR1)
    wait_until(lambda: output.read_text() == "up\nusr1\n", "SIGUSR1 reaches the program")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", "the program stops")
    os.kill(runner.pid, signal.SIGCONT)
    wait_until(lambda: state_of(pid) != "T", "SIGCONT reaches the program")
    os.kill(runner.pid, signal.SIGTERM)
    check(runner.wait(30) == 33, f"exit status {runner.returncode} instead of 33")


def run_outlived(workspace):
    """A program does not depend on the crs that started it."""
    runner, pid = workspace.start_by_crs("outlived", ["sleep", "60"])
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait(30)
    check(is_alive(pid), "the program died with crs")
    check(workspace.crs("list", "--json").json()["running"] == [{"job": "outlived", "pid": pid, "restarting": False}], "the job is not listed any more")


def run_on_a_terminal(workspace):
    """Ctrl-C reaches the program once; Ctrl-Z stops crs too, so that a shell sees it."""
    program = r"""
import os, signal
signal.signal(signal.SIGINT, lambda number, frame: os.write(1, b"int\n"))
os.write(1, b"up\n")
while True: signal.sigtimedwait([], 0.1)
"""
    terminal, other_end = pty.openpty()
    command = [workspace.crs_path, "run", "--name", "terminal", "--", PYTHON, "-c", program]
    leader = workspace.start([PYTHON, "-c", SMALL_SHELL, *command], stdin=other_end, stdout=os.fdopen(os.dup(other_end), "wb"),
                             stderr=os.fdopen(os.dup(other_end), "wb"), start_new_session=False)
    os.close(other_end)
    os.set_blocking(terminal, False)
    seen = bytearray()

    def shows(text):
        try:
            seen.extend(os.read(terminal, 4096))
        except (BlockingIOError, OSError):
            pass
        return text in seen

    try:
        wait_until(lambda: shows(b"up"), "the program is up")
        os.write(terminal, b"\x03")
        wait_until(lambda: shows(b"int"), "Ctrl-C reaches the program")
        os.write(terminal, b"\x1a")
        wait_until(lambda: shows(b"shell: stopped"), "Ctrl-Z stops crs")
        os.write(terminal, b"\x03")
        wait_until(lambda: seen.count(b"int") == 2 or shows(b"int\r\nint"), "the program goes on after SIGCONT")
        os.write(terminal, b"\x1c")
        wait_until(lambda: shows(b"shell: ended 131"), "Ctrl-\\ ends the program and crs")
        check(seen.count(b"int") == 2, f"Ctrl-C came more than once: {bytes(seen)}")
    except Failure:
        print(bytes(seen))
        raise
    finally:
        os.close(terminal)
        leader.wait(30)


TESTS = [usage_errors, empty_values, nowhere, not_found, json_is_valid, help_is_complete, closed_output, run_returns_the_programs_status, run_is_invisible,
         run_forwards_signals, run_outlived, run_on_a_terminal]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--crs", required=True)
    parser.add_argument("--only")
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    failed = 0
    for user in ("root", "ordinary"):
        for test in TESTS:
            if options.only and test.__name__ != options.only:
                continue
            try:
                with Workspace(pathlib.Path(options.crs), user=user, verbose=options.verbose) as workspace:
                    test(workspace)
                print(f"ok      {test.__name__} ({user})")
            except Failure as problem:
                failed += 1
                print(f"FAILED  {test.__name__} ({user}): {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
