#!/usr/bin/env python3
"""`crs restart` from outside: signals and exit statuses, foreground and detached, killed restarts, stores that cannot be written."""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import time

from harness import Failure, check, children_of, descendants_of, is_alive, link_target, read_text, run_tests, state_of, wait_until
from terminals import PYTHON, Terminal

# Writes down every signal that it gets; SIGUSR2 makes it end as the file `end` says: "exit 7" or "kill 9".
REPORTER = r"""
import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
log = os.open("signals.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
def report(number, frame):
    os.write(log, signal.Signals(number).name.encode() + b"\n")
    if number == signal.SIGTSTP: os.kill(os.getpid(), signal.SIGSTOP)
    if number == signal.SIGUSR2:
        how, value = open("end").read().split()
        if how == "kill": os.kill(os.getpid(), int(value))
        os._exit(int(value))
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTSTP,
               signal.SIGCONT, signal.SIGALRM, signal.SIGPIPE, signal.SIGIO):
    signal.signal(number, report)
os.write(log, b"up\n")
while True: signal.sigtimedwait([], 0.1)
"""

# Says on standard output, a pipe, that it runs; ends with 44 on SIGTERM.
TICKER = r"""
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(44))
while True:
    os.write(1, b".")
    time.sleep(0.001)
"""


def modes_of(workspace):
    """The ways ids can come back for this user."""
    return ["keep", "namespace", "new"] if workspace.uid == 0 else ["auto", "new"]


def make_snapshot(workspace, job, program=REPORTER):
    """A reporter, checkpointed and ended: the file that it reports to."""
    log = workspace.work / "signals.log"
    runner, pid = workspace.start_by_crs(job, [PYTHON, "-c", program])
    wait_until(lambda: log.exists() and log.read_text() == "up\n", "the program is up")
    workspace.checkpoint(job, "--kill")
    workspace.wait_gone()
    return log


def restart_and_wait(workspace, job, *options, **keywords):
    """A foreground restart whose program runs: its Popen and the program's pid."""
    foreground = workspace.restart_in_foreground(job, *options, **keywords)

    def find():
        if foreground.poll() is not None:
            raise Failure(f"the restart ended with {foreground.returncode}")
        running = [entry["pid"] for entry in workspace.crs("list", "--json").json()["running"] if entry["pid"] != foreground.pid]
        # It is announced just before it is let go.
        return [pid for pid in running if "\nTracerPid:\t0\n" in read_text(f"/proc/{pid}/status")]

    return foreground, wait_until(find, "the restarted program is announced")[0]


def forwards_signals(workspace):
    log = make_snapshot(workspace, "signals")
    (workspace.work / "end").write_text("exit 33")
    (workspace.work / "end").chmod(0o644)
    for mode in modes_of(workspace):
        foreground, pid = restart_and_wait(workspace, "signals", "--ids", mode)
        expected = "up\n"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGWINCH, signal.SIGALRM,
                       signal.SIGPIPE, signal.SIGIO):
            os.kill(foreground.pid, number)
            expected += number.name + "\n"
            wait_until(lambda: log.read_text() == expected, f"{number.name} reaches the program ({mode})")
        os.kill(foreground.pid, signal.SIGTSTP)
        wait_until(lambda: state_of(pid) == "T", f"SIGTSTP stops the program ({mode})")
        check(state_of(foreground.pid) != "T", "crs, which is nobody's job, stops too")
        os.kill(foreground.pid, signal.SIGCONT)
        expected += "SIGTSTP\nSIGCONT\n"
        wait_until(lambda: log.read_text() == expected, f"SIGCONT continues the program ({mode})")
        # What goes to the program's id, or to the process that stands for it, arrives once, too.
        os.kill(pid, signal.SIGUSR1)
        expected += "SIGUSR1\n"
        wait_until(lambda: log.read_text() == expected, f"SIGUSR1 to the program itself ({mode})")
        child = children_of(foreground.pid)[0]
        check((child == pid) == (mode in ("keep", "new")), f"process {child} between crs and {pid} with {mode}")
        os.kill(child, signal.SIGINT)
        expected += "SIGINT\n"
        wait_until(lambda: log.read_text() == expected, f"SIGINT to crs's child ({mode})")
        os.kill(foreground.pid, signal.SIGUSR2)
        check(workspace.wait_exit(foreground) == 33, f"exit status {foreground.returncode} instead of 33 ({mode})")
        check(log.read_text() == expected + "SIGUSR2\n", f"{log.read_text()} ({mode})")
        workspace.wait_gone()


def returns_the_exit_status(workspace):
    make_snapshot(workspace, "status")
    ends = [("exit 0", 0), ("exit 255", 255), ("kill 9", 137), ("kill 11", 139), ("kill 6", 134)]
    for mode in modes_of(workspace):
        for how, status in ends:
            (workspace.work / "end").write_text(how)
            (workspace.work / "end").chmod(0o644)
            foreground, pid = restart_and_wait(workspace, "status", "--ids", mode)
            os.kill(pid, signal.SIGUSR2)
            check(workspace.wait_exit(foreground) == status, f"{how}: exit status {foreground.returncode} instead of {status} ({mode})")
            ends = ends[:3]
    check(workspace.crs("list", "--json").json()["running"] == [], "an ended job is listed")


def signals_from_the_first_instruction(workspace):
    """A signal that is sent to crs as soon as the program runs reaches the program."""
    read_end, write_end = os.pipe()
    runner = workspace.start([workspace.crs_path, "run", "--name", "early", "--", PYTHON, "-c", TICKER], stdout=os.fdopen(write_end, "wb"))
    os.read(read_end, 1)
    workspace.checkpoint("early", "--kill")
    workspace.wait_gone()
    os.close(read_end)
    for round in range(6):
        read_end, write_end = os.pipe()
        foreground = workspace.restart_in_foreground("early", stdout=os.fdopen(write_end, "wb"))
        check(os.read(read_end, 1) == b".", "the program does not run")
        os.kill(foreground.pid, signal.SIGTERM)
        check(workspace.wait_exit(foreground) == 44, f"status {foreground.returncode}: the signal did not reach the program (round {round})")
        os.close(read_end)
        workspace.wait_gone(limit=5)


def many_signals_at_the_end(workspace):
    """Signals that come when the program has ended do not hide its exit status."""
    make_snapshot(workspace, "many")
    (workspace.work / "end").write_text("exit 21")
    (workspace.work / "end").chmod(0o644)
    for round in range(4):
        foreground, pid = restart_and_wait(workspace, "many")
        os.kill(foreground.pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGUSR2)
        wait_until(lambda: state_of(pid) in ("Z", ""), "the program has ended")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGRTMIN):
            os.kill(foreground.pid, number)
        os.kill(foreground.pid, signal.SIGCONT)
        check(workspace.wait_exit(foreground) == 21, f"status {foreground.returncode}")


def a_killed_restart_command(workspace):
    """The program does not depend on a foreground `crs restart` that is killed, and is still known by its job's name."""
    log = make_snapshot(workspace, "orphan")
    for mode in modes_of(workspace):
        foreground, pid = restart_and_wait(workspace, "orphan", "--ids", mode)
        os.kill(foreground.pid, signal.SIGKILL)
        foreground.wait()
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: log.read_text() == "up\nSIGUSR1\n", f"the program lives ({mode})")
        check(workspace.crs("list", "--json").json()["running"] == [{"job": "orphan", "pid": pid, "restarting": False}], f"not listed any more ({mode})")
        reference = workspace.checkpoint("orphan", "--kill")
        workspace.wait_gone()
        check(workspace.crs("verify", "--json", reference).json()["sound"], reference)
        workspace.crs("remove", reference)


def killed_while_restarting(workspace):
    """SIGKILL at any time: afterwards the program runs as a whole or there is nothing."""
    log = make_snapshot(workspace, "killed")
    begin = time.monotonic()
    pid = workspace.restart("killed")
    whole = time.monotonic() - begin
    workspace.kill(pid)
    workspace.wait_gone()
    generator = random.Random(workspace.user)
    survived = 0
    for round in range(16):
        command = workspace.start([workspace.crs_path, "restart", *([] if round % 2 else ["--detach"]), "killed"])
        time.sleep(generator.uniform(0.2, 1.1) * whole)  # the moment is the test's input
        with contextlib.suppress(ProcessLookupError):
            os.kill(command.pid, signal.SIGKILL)
        command.wait()
        # What is left is the program (with its init), running, or is on its way out.
        deadline = time.monotonic() + 10
        while left := [p for p in workspace.leftovers() if is_alive(p)]:
            program = [p for p in left if link_target(f"/proc/{p}/exe").startswith("/usr/bin/python3")]
            if program and all(state_of(p) not in "tT" for p in left):
                os.kill(program[-1], signal.SIGUSR1)
                if "SIGUSR1" in log.read_text():
                    survived += 1
                    os.kill(program[-1], signal.SIGKILL)
                    break
            check(time.monotonic() < deadline, f"a half-made program is left: {left}")
            time.sleep(0.005)
        workspace.wait_gone()
        check(workspace.crs("list", "--json").json()["running"] == [], f"a dead job is listed (round {round})")
    check(workspace.crs("verify", "killed", "--json").json()["sound"], "the snapshot has suffered")
    pid = workspace.restart("killed")
    workspace.kill(pid)
    if workspace.verbose:
        print(f"the program was up in {survived} of 16 rounds")


def detached(workspace):
    log = make_snapshot(workspace, "detached")
    for mode in modes_of(workspace):
        result = workspace.run(["sh", "-c", f'pid=$("$0" restart --detach --ids {mode} detached) && echo "<$pid>"', workspace.crs_path])
        check(result.status == 0, f"{result}")
        pid = int(result.stdout.strip()[1:-1])
        check(result.stdout == f"<{pid}>\n", f"standard output is not the pid alone: {result}")
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: log.read_text() == "up\nSIGUSR1\n", f"the program lives ({mode})")
        workspace.kill(pid)
        answer = workspace.crs("restart", "--detach", "--json", "--ids", mode, "detached").json()
        check(answer["reference"] == "detached@1" and answer["job"] == "detached" and answer["component"] == "native", f"{answer}")
        check(is_alive(answer["pid"]) and is_alive(answer["wait_pid"]), f"{answer}")
        passes = {entry["name"]: entry for entry in answer["passes"]}
        check(passes["pages"]["bytes"] == workspace.crs("show", "--json", "detached").json()["memory_bytes"], f"{answer}")
        workspace.kill(answer["pid"])


# Wants to hear of its parent's death.
WITH_PARENT = r"""
import ctypes, os, signal, time
ctypes.CDLL(None).prctl(1, signal.SIGHUP)
ticks = os.open("ticks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(os.open("signals.log", os.O_WRONLY | os.O_CREAT, 0o600), b"up\n")
while True:
    os.write(ticks, b".")
    time.sleep(0.01)
"""


def outlives_its_parent(workspace):
    make_snapshot(workspace, "orphan", WITH_PARENT)
    ticks = workspace.work / "ticks"
    for mode in modes_of(workspace):
        result = workspace.run(["sh", "-c", f'"$0" restart --detach --ids {mode} orphan', workspace.crs_path])
        check(result.status == 0 and is_alive(int(result.stdout)), f"{mode}: {result}")
        before = ticks.stat().st_size
        wait_until(lambda: ticks.stat().st_size > before + 5, f"the program goes on ({mode}): {result}")
        workspace.kill(int(result.stdout))


def job_names(workspace):
    log = make_snapshot(workspace, "names")
    pid = workspace.restart("names")
    for arguments in (["names"], ["names@1"], ["--detach", "names"], ["--ids", "new", "names"]):
        result = workspace.crs("restart", *arguments, expect=1)
        check(f"the job names runs already, as process {pid}" in result.stderr and "--name" in result.stderr, f"{result}")
    # Its ids are taken now where it runs in place.
    result = workspace.crs("restart", "--detach", "--name", "copy", "names")
    copy = int(result.stdout)
    if workspace.uid == 0:
        check(f"process id {pid} is in use here: the program runs in a private process id namespace" in result.stderr, f"{result}")
        error = workspace.crs("restart", "--detach", "--ids", "keep", "--name", "third", "names", expect=1)
        check(f"process id {pid} is in use by 'python3'" in error.stderr and "--ids namespace" in error.stderr, f"{error}")
        check(error.stderr.count("\n") == 1 and error.stdout == "", f"{error}")
    running = {entry["job"]: entry["pid"] for entry in workspace.crs("list", "--json").json()["running"]}
    check(running == {"names": pid, "copy": copy}, f"{running}")
    os.kill(copy, signal.SIGUSR1)
    wait_until(lambda: "SIGUSR1" in log.read_text(), "the copy lives")
    for name in ("names", "copy"):
        # By its name and by the pid that it has here.
        check(workspace.checkpoint(name) == f"{name}@{2 if name == 'names' else 1}", "")
        check(workspace.checkpoint(str(running[name])) == f"{name}@{3 if name == 'names' else 2}", "")
    for name in ("4711", "a/b", "-x", "é", "x" * 129):
        workspace.crs("restart", "--detach", f"--name={name}", "names", expect=2)
    os.kill(pid, signal.SIGKILL)
    workspace.kill(copy)


def by_the_job_itself(workspace):
    """A batch script that ends by becoming the restart of its own job."""
    make_snapshot(workspace, "again")
    script = '"$0" restart again; exec "$0" restart --detach again'
    result = workspace.crs("run", "--name", "again", "--", "sh", "-c", script, workspace.crs_path)
    check("the job again runs already" in result.stderr, f"its child is not the job: {result}")
    workspace.kill(int(result.stdout))
    result = workspace.crs("run", "--name", "again", "--", "sh", "-c", 'exec "$0" run --name again -- echo here', workspace.crs_path)
    check(result.stdout == "here\n", f"{result}")


def two_at_once(workspace):
    """Of several restarts of one job exactly one gets through; the others say why not."""
    make_snapshot(workspace, "race")
    for round in range(2):
        commands = [workspace.start([workspace.crs_path, "restart", "--detach", "race"], stdout=open(workspace.work / f"out{i}", "wb"),
                                    stderr=open(workspace.work / f"err{i}", "wb")) for i in range(4)]
        statuses = [workspace.wait_exit(command) for command in commands]
        words = [(workspace.work / f"err{i}").read_text() for i in range(4)]
        check(sorted(statuses) == [0, 1, 1, 1], f"{statuses} {words}")
        check(all("the job race runs already" in text or "the job race is just being restarted" in text for text, status in zip(words, statuses) if status), f"{words}")
        pid = int((workspace.work / f"out{statuses.index(0)}").read_text())
        check(workspace.crs("list", "--json").json()["running"] == [{"job": "race", "pid": pid, "restarting": False}], "")
        workspace.kill(pid)


def removed_meanwhile(workspace):
    """A restart of a snapshot that is being removed works or says that there is no such snapshot."""
    make_snapshot(workspace, "removed")
    snapshot = workspace.store / "removed" / "1"
    workspace.run(["cp", "-a", snapshot, workspace.work / "copy"])
    restart = [workspace.crs_path, "restart", "--detach", "removed@1"]
    remove = [workspace.crs_path, "remove", "removed@1"]
    generator = random.Random(7)
    seen = []
    for round in range(12):
        if not snapshot.exists():
            workspace.run(["cp", "-a", workspace.work / "copy", snapshot])
        moment = generator.uniform(-0.01, 0.02)  # the test's input: how much later the removal begins
        (workspace.work / "err").write_text("")
        files = {"stdout": open("/dev/null", "wb"), "stderr": open(workspace.work / "err", "ab")}
        first = workspace.start(restart if moment > 0 else remove, **files)
        time.sleep(abs(moment))
        files = {"stdout": open("/dev/null", "wb"), "stderr": open(workspace.work / "err", "ab")}
        second = workspace.start(remove if moment > 0 else restart, **files)
        removed, status = [workspace.wait_exit(command) for command in ((second, first) if moment > 0 else (first, second))]
        words = (workspace.work / "err").read_text()
        check(removed == 0 and status in (0, 3), f"status {removed} of the removal, {status} of the restart: {words}")
        check(status == 0 or ("there is no snapshot" in words and words.count("\n") == 1), f"{words}")
        seen.append(status)
        for pid in workspace.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        workspace.wait_gone()
    if workspace.verbose:
        print(f"statuses {seen}")


# A child has a file open that its parent has not.
PARENT_AND_CHILD = """
import os, sys, time
if os.fork() == 0:
    held = open("held")
    open("child", "w").write(f"{os.getpid()} {held.fileno()}")
while True: time.sleep(60)
"""


def names_the_process(workspace):
    """Where one process of several cannot come back, none does, and it is that one which is named."""
    held, said = workspace.work / "held", workspace.work / "child"
    held.write_text("content")
    if workspace.drops:
        os.chown(held, workspace.uid, workspace.uid)
    runner, pid = workspace.start_by_crs("tree", [PYTHON, "-c", PARENT_AND_CHILD])
    wait_until(lambda: len(read_text(said).split()) == 2, "the child has it open")
    child, number = read_text(said).split()
    workspace.checkpoint("tree", "--kill")
    workspace.wait_exit(runner)
    held.rename(workspace.work / "away")
    result = workspace.crs("restart", "tree", expect=1)
    check(f"descriptor {number} of process {child}" in result.stderr and str(pid) not in result.stderr.replace(child, ""), f"{result}")
    workspace.wait_gone()


def end_reporter(shell):
    """Tells a reporter that runs below the process `shell` to end; what is still being built is not touched."""
    for pid in descendants_of(shell):
        untraced = "\nTracerPid:\t0\n" in read_text(f"/proc/{pid}/status")
        if untraced and link_target(f"/proc/{pid}/exe") == os.path.realpath(PYTHON):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR2)


def in_mount_namespace(workspace, script, meanwhile=None):
    """Runs a shell script as the workspace's user after root has arranged mounts that nobody else sees: {CRS} and {STORE} are set.
    `meanwhile` is called with the shell's process id again and again."""
    prelude, rest = script.split("---\n")
    drop = f"setpriv --reuid {workspace.uid} --regid {workspace.uid} --clear-groups " if workspace.drops else ""
    whole = f"set -e; {prelude}\nexec {drop}sh -c '{rest}'"
    whole = whole.replace("{CRS}", str(workspace.crs_path)).replace("{STORE}", str(workspace.store))
    with open(workspace.directory / "output", "w+") as output:
        process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", whole], stdout=output,
                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=workspace.environment, cwd=workspace.work)

        def ended():
            if meanwhile:
                meanwhile(process.pid)
            return process.poll() is not None

        wait_until(ended, "end of the script", 60)
        status = process.returncode
        output.seek(0)
        text = output.read()
    workspace.note(f"{whole}\n{text}status {status}")
    return status, text


def unwritable_stores(workspace):
    """A store on a read-only or full file system: what only reads works, a restart too; what must write says what is wrong."""
    if not workspace.am_root:
        return
    log = make_snapshot(workspace, "fixed")
    (workspace.work / "end").write_text("exit 5")
    (workspace.work / "end").chmod(0o644)
    reading = """
{CRS} list --json >/dev/null && {CRS} show fixed >/dev/null && {CRS} verify fixed && {CRS} check --json >facts.json || echo check-$?
{CRS} restart fixed; echo "status $?"
"""
    status, text = in_mount_namespace(workspace, f"mount --bind {{STORE}} {{STORE}}; mount -o remount,bind,ro {{STORE}}\n---\n{reading}"
                                      "{CRS} run --name other true; echo run-$?; {CRS} remove fixed@1; echo remove-$?; {CRS} checkpoint $$; echo cp-$?",
                                      end_reporter)
    check("fixed@1: sound" in text, f"verify: {text}")
    check("status 5\n" in text, f"a restart from a read-only store: {text}")
    check("warning: " in text and "fixed" in text, f"no warning that the job is not announced: {text}")
    for what in ("run", "remove", "cp"):
        check(f"{what}-1\n" in text, f"{what} in a read-only store: {text}")
    check("Read-only file system" in text and "check-1" in text, f"{text}")
    # A file that has grown needs a place for what is cut off.
    with open(log, "ab") as file:
        file.write(b"more\n")
    status, text = in_mount_namespace(workspace, "mount --bind {STORE} {STORE}; mount -o remount,bind,ro {STORE}\n---\n{CRS} restart fixed; echo status $?")
    check("status 1\n" in text and str(log) in text and "has grown" in text, f"{text}")
    check(log.read_text().endswith("more\n"), "a file was cut back although nothing was kept")
    os.truncate(log, 3)
    # Full: the store is copied into a small file system and the rest is filled.
    fill = """
mkdir -p /tmp/crs-full-$$; d=/tmp/crs-full-$$; mount -t tmpfs -o size=24m,mode=700 none $d; cp -a {STORE}/. $d; chown --reference={STORE} $d
cat /dev/zero >$d/filler 2>/dev/null || true; export CRS_STORE=$d
---
"""
    status, text = in_mount_namespace(workspace, fill + reading + "{CRS} run --name other -- sh -c \"exit 9\"; echo run-$?", end_reporter)
    check("status 5\n" in text, f"a restart from a full store: {text}")
    check("run-1\n" in text and "No space left" in text, f"{text}")
    for directory in pathlib.Path("/tmp").glob("crs-full-*"):
        directory.rmdir()


def on_a_terminal(workspace):
    """Ctrl-C reaches the program once, Ctrl-Z stops crs and the program and both go on, the size of the window is handed on."""
    program = r"""
import fcntl, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"int\n"))
signal.signal(signal.SIGTERM, lambda *_: os._exit(6))
def winch(*_): os.write(1, b"size %d %d\n" % tuple(os.get_terminal_size(1)))
signal.signal(signal.SIGWINCH, winch)
os.write(1, b"up\n")
while True: signal.sigtimedwait([], 0.1)
"""
    for mode in modes_of(workspace):
        with Terminal(workspace) as terminal:
            terminal.run(workspace.crs_path, "run", "--name", f"tty-{mode}", "--", PYTHON, "-c", program)
            terminal.expect(b"up")
            workspace.checkpoint(f"tty-{mode}", "--kill")
            terminal.expect(b"shell: ended 137")
            workspace.wait_exit(terminal.shell)
        with Terminal(workspace) as terminal:
            terminal.run(workspace.crs_path, "restart", "--ids", mode, f"tty-{mode}")

            def find():
                running = [entry["pid"] for entry in workspace.crs("list", "--json").json()["running"] if entry["job"] == f"tty-{mode}"]
                # At first the restart command itself has the job's name; and the program is announced just before it is let go.
                return [pid for pid in running if pid not in children_of(terminal.shell.pid)
                        and "\nTracerPid:\t0\n" in read_text(f"/proc/{pid}/status")]

            pid = wait_until(find, "it runs")[0]
            wait_until(lambda: state_of(pid) == "S", "the program waits")
            terminal.press(b"\x03"), terminal.expect(b"int\r\n")
            terminal.press(b"\x1a"), terminal.expect(b"shell: stopped")
            terminal.press(b"\x03"), terminal.expect(b"int\r\n")
            terminal.resize(33, 77), terminal.expect(b"size 77 33")
            check(b"int" not in terminal.seen, f"Ctrl-C came more than once ({mode}): {terminal.seen}")
            os.kill(pid, signal.SIGTERM)
            terminal.expect(b"shell: ended 6")
            workspace.wait_exit(terminal.shell)
        workspace.wait_gone()


TESTS = [forwards_signals, returns_the_exit_status, signals_from_the_first_instruction, many_signals_at_the_end, a_killed_restart_command,
         killed_while_restarting, detached, outlives_its_parent, job_names, by_the_job_itself, two_at_once, removed_meanwhile, names_the_process, unwritable_stores, on_a_terminal]


if __name__ == "__main__":
    run_tests(TESTS)
