#!/usr/bin/env python3
"""`crs checkpoint` from outside: what it takes, what it prints, what becomes of the program, and several of them at once."""

import contextlib
import os
import pathlib
import re
import signal
import socket

from harness import check, is_alive, is_left_out, read_text, run_tests, state_of, wait_until

PYTHON = "/usr/bin/python3"

# Counts until it is told to end, and checks that nothing of the count is lost.
COUNTER = r"""
import os, signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if total[0] == sum(counts) else 9))
counts, total, lock = [0, 0], [0], threading.Lock()
def work(number):
    while True:
        with lock:
            counts[number] += 1
            total[0] += 1
for number in range(2): threading.Thread(target=work, args=(number,), daemon=True).start()
os.write(1, b"up\n")
while True: signal.sigtimedwait([], 0.1)
"""


def start_counter(workspace, job=None):
    """A program with three threads that is up: its Popen and its pid."""
    output = workspace.work / "stdout.txt"
    before = output.read_text().count("up") if output.exists() else 0
    command = [PYTHON, "-c", COUNTER]
    if job:
        process, pid = workspace.start_by_crs(job, command)
    else:
        process = workspace.start(command)
        pid = process.pid
    wait_until(lambda: output.read_text().count("up") > before, "the counter is up")
    return process, pid


def end_counter(workspace, process, pid):
    os.kill(pid, signal.SIGTERM)
    check(workspace.wait_exit(process) == 0, f"the program is wrong after all this: status {process.returncode}")


def prints_the_reference_alone(workspace):
    process, pid = start_counter(workspace, "words")
    result = workspace.checkpoint_result("words")
    check(result.stdout == "words@1\n", f"{result}")
    check(re.fullmatch(r"crs: words@1: \S+ \w+ in \S+ s, the program was paused for \S+ s -> \S+\n", result.stderr), f"{result}")
    by_pid = workspace.checkpoint_result(str(pid))
    check(by_pid.stdout == "words@2\n", f"a job by its pid is not that job: {by_pid}")
    by_runner = workspace.checkpoint_result(str(process.pid))
    check(by_runner.stdout == "words@3\n", f"`crs checkpoint $!` after `crs run ... &`: {by_runner}")
    check(workspace.snapshots() == ["words@1", "words@2", "words@3"], f"{workspace.snapshots()}")
    end_counter(workspace, process, pid)


def figures_in_json_and_show(workspace):
    """The pause, the total time, the bytes, and each pass's time, the same in all places and consistent with each other."""
    process, pid = start_counter(workspace, "figures")
    result = workspace.crs("checkpoint", "--json", "figures")
    taken = result.json()
    shown = workspace.crs("show", "--json", "figures@1").json()
    listed = workspace.crs("list", "--json").json()["snapshots"][0]
    for name in ("reference", "pause_nanoseconds", "total_nanoseconds", "memory_bytes", "stored_bytes", "passes", "files", "program"):
        check(taken[name] == shown[name] == listed[name], f"{name}: {taken[name]} != {shown[name]}")
    check(0 < taken["pause_nanoseconds"] < taken["total_nanoseconds"] <= result.seconds * 1e9, f"times: {taken}")
    check(abs(taken["pause_seconds"] * 1e9 - taken["pause_nanoseconds"]) < 1000, "pause_seconds is another pause")
    check(taken["bytes"] == taken["memory_bytes"] > 1 << 20, f"a Python program of {taken['bytes']} bytes")
    location = pathlib.Path(taken["location"])
    sizes = {file["name"]: (location / file["name"]).stat().st_size for file in taken["files"]}
    check(sizes == {file["name"]: file["bytes"] for file in taken["files"]}, f"sizes on disk {sizes}, {taken['files']}")
    check(taken["stored_bytes"] == sum(sizes.values()), f"stored {taken['stored_bytes']}, on disk {sizes}")
    check(taken["stored_bytes"] >= taken["memory_bytes"], "less stored than there is, without compression")
    passes = {entry["name"]: entry for entry in taken["passes"]}
    for name in ("look", "freeze", "capture", "pages", "write pages", "write image", "sync"):
        check(passes[name]["nanoseconds"] > 0, f"no pass '{name}': {taken['passes']}")
    top = [entry for entry in taken["passes"] if entry.get("part_of", "") == ""]
    check(sum(entry["nanoseconds"] for entry in top) <= taken["total_nanoseconds"], f"the passes take longer than the whole: {taken}")
    in_pause = sum(passes[name]["nanoseconds"] for name in ("capture", "pages"))
    check(in_pause <= taken["pause_nanoseconds"], f"the pause is shorter than its passes: {taken}")
    check(passes["write pages"]["bytes"] == taken["memory_bytes"], f"bytes of the pass 'write pages': {passes['write pages']}")
    for entry in taken["passes"]:
        if entry["part_of"]:
            check(entry["nanoseconds"] <= passes[entry["part_of"]]["nanoseconds"], f"a part takes longer than the whole: {entry}")
    text = workspace.crs("show", "figures@1").stdout
    for name in [*passes, "paused for", "took", "memory", "stored"]:
        check(re.search(rf"^ *{re.escape(name)} ", text, re.MULTILINE), f"crs show says nothing of '{name}': {text}")
    check(f"({taken['memory_bytes']} bytes)" in text and f"({taken['stored_bytes']} bytes)" in text, text)
    check(taken["process"] == pid and taken["program"]["threads"] == 3, f"{taken['program']}")
    end_counter(workspace, process, pid)


def default_job_names(workspace):
    process, pid = start_counter(workspace)
    check(workspace.checkpoint(str(pid)) == f"python3-{pid}@1", f"{workspace.snapshots()}")
    runner = workspace.start([workspace.crs_path, "run", "--", "/bin/sleep", "60"])
    sleeper = workspace.program_below(runner, "/bin/sleep")
    running = wait_until(lambda: workspace.crs("list", "--json").json()["running"], "the job is announced")
    check(running == [{"job": f"sleep-{sleeper}", "pid": sleeper, "restarting": False}], f"{running}")
    check(workspace.checkpoint(f"sleep-{sleeper}") == f"sleep-{sleeper}@1", "")
    # What is no letter of a job name must not make the name unusable.
    odd = workspace.work / "-my prögram (1)@2"
    odd.symlink_to("/bin/sleep")
    runner = workspace.start([workspace.crs_path, "run", str(odd), "60"])
    odd_pid = workspace.program_below(runner, "/bin/sleep")
    names = lambda: [entry["job"] for entry in workspace.crs("list", "--json").json()["running"] if entry["pid"] == odd_pid]
    name = wait_until(names, "the job with the odd name is announced")[0]
    check(re.fullmatch(rf"my_pr_+gram__1__2-{odd_pid}", name), f"odd name: {name}")
    check(workspace.checkpoint(name) == name + "@1", "")
    shell = workspace.start([PYTHON, "-c", "import os; os.execv('/bin/sleep', ['-', '60'])"])
    wait_until(lambda: read_text(f"/proc/{shell.pid}/cmdline").startswith("-\0"), "sleep runs")
    check(workspace.checkpoint(str(shell.pid)) == f"program-{shell.pid}@1", f"{workspace.snapshots()}")
    end_counter(workspace, process, pid)


def chosen_names(workspace):
    """Names that are options, paths, too long or not ASCII are refused before anything is done; all others work everywhere."""
    process, pid = start_counter(workspace)
    for name in ("--name", "-x", "../up", "a/b", "a b", "é", "x" * 129, "", ".", "..", ".hidden", "a@1", "a\nb", "4711", "\udcff"):
        result = workspace.crs("checkpoint", f"--name={name}", str(pid), expect=None)
        check(result.status == 2 and result.stderr.count("\n") == 1 and result.stdout == "", f"{name!r}: {result}")
        check(workspace.crs("run", f"--name={name}", "true", expect=2).stdout == "", "")
    check(is_alive(pid) and state_of(pid) != "T", "the program is not running any more")
    for name in ("x" * 128, "a.b_c-d+e", "0x1", "running", "set-aside", "manifest"):
        check(workspace.checkpoint(str(pid), "--name", name) == f"{name}@1", name)
        check(workspace.crs("verify", name, "--json").json()["sound"], name)
        check(workspace.crs("list", name, "--json").json()["snapshots"][0]["reference"] == f"{name}@1", name)
        workspace.crs("remove", "--all", name)
    end_counter(workspace, process, pid)


def stop_and_kill(workspace):
    process, pid = start_counter(workspace, "after")
    stopped = workspace.crs("checkpoint", "--stop", "--json", "after").json()
    check(stopped["after"] == "stopped", f"{stopped}")
    # No code of it runs any more; it takes a processor to get there.
    wait_until(lambda: state_of(pid) == "T", "it is stopped after --stop")
    result = workspace.checkpoint_result("after", "--stop")  # of a stopped program
    check(f"kill -CONT {pid}" in result.stderr, f"how to continue it: {result}")
    wait_until(lambda: state_of(pid) == "T", "it is stopped after a second --stop")
    workspace.checkpoint("after")
    wait_until(lambda: state_of(pid) == "T", "a checkpoint leaves a stopped program stopped")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: state_of(pid) not in ("T", "t"), "SIGCONT continues it")
    killed = workspace.crs("checkpoint", "--kill", "--json", "after").json()
    check(killed["after"] == "killed" and killed["reference"] == "after@4", f"{killed}")
    check(workspace.wait_exit(process) == 128 + signal.SIGKILL, f"status of crs run {process.returncode}")
    check(workspace.crs("verify", "after@4", "--json").json()["sound"], "")
    check(workspace.crs("list", "--json").json()["running"] == [], "an ended job is listed")
    foreground = workspace.restart_in_foreground("after")
    again = workspace.program_below(foreground, PYTHON) if workspace.user == "ordinary" else wait_until(
        lambda: [entry["pid"] for entry in workspace.crs("list", "--json").json()["running"] if entry["pid"] != foreground.pid], "it is up")[0]
    wait_until(lambda: [entry["pid"] for entry in workspace.crs("list", "--json").json()["running"]] == [again], "it is announced")
    end_counter(workspace, foreground, again)


def refused_without_a_trace(workspace):
    """What cannot be kept: nothing written, the program goes on, the next number is not spent."""
    program = r"""
import os, signal, socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGUSR1, lambda *_: (client.close(), os.write(1, b"closed\n"), signal.signal(signal.SIGTERM, signal.SIG_DFL)))
os.write(1, b"up\n")
while True: signal.sigtimedwait([], 0.1)
"""
    server = socket.create_server(("127.0.0.1", 0))
    process = workspace.start([PYTHON, "-c", program, str(server.getsockname()[1])])
    output = workspace.work / "stdout.txt"
    wait_until(lambda: output.read_text() == "up\n", "the program is up")
    for options in ([], ["--kill"], ["--stop"]):
        options = ["--tcp", "refuse", *options]
        result = workspace.crs("checkpoint", "--name", "socket", *options, str(process.pid), expect=1)
        check(result.stdout == "" and result.stderr.count("\n") == 1, f"{result}")
        check(f"process {process.pid}" in result.stderr and "TCP" in result.stderr and "descriptor" in result.stderr, f"{result}")
        check(state_of(process.pid) in "SR", f"state {state_of(process.pid)} after a refusal")
    error = workspace.crs("checkpoint", "--name", "socket", "--tcp", "refuse", "--json", str(process.pid), expect=1).json()["error"]
    check(error["kind"] == "refused" and error["exit_status"] == 1 and "--leave-out fd=3" in error["message"], f"{error}")
    check(workspace.snapshots() == [], f"{workspace.snapshots()}")
    check([path for path in workspace.store.rglob("*") if path.name.startswith(("partial", ".partial"))] == [], "leftovers")
    os.kill(process.pid, signal.SIGUSR1)
    wait_until(lambda: output.read_text() == "up\nclosed\n", "the sockets are closed")
    check(workspace.checkpoint(str(process.pid), "--name", "socket") == "socket@1", "a refusal has spent a number")
    workspace.kill(process.pid)
    server.close()


def children_are_named(workspace):
    process = workspace.start(["sh", "-c", "sleep 61 & wait"])
    child = wait_until(lambda: [p for p in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()], "child")[0]
    wait_until(lambda: "sleep" in pathlib.Path(f"/proc/{child}/comm").read_text(), "the child executes sleep")
    result = workspace.crs("checkpoint", "--single", str(process.pid), expect=1)
    check(f"{child} (sleep)" in result.stderr, f"{result}")
    check(workspace.snapshots() == [], "written")


def two_at_once(workspace):
    """Several checkpoints of one job: each waits for the other and says so, and each makes a sound snapshot of its own."""
    process, pid = start_counter(workspace, "busy")
    number = 6
    commands = [workspace.start([workspace.crs_path, "checkpoint", ["busy", str(pid)][i % 2]],
                                stdout=open(workspace.work / f"out{i}", "wb"), stderr=open(workspace.work / f"err{i}", "wb"))
                for i in range(number)]
    for i, command in enumerate(commands):
        check(workspace.wait_exit(command) == 0, f"checkpoint {i}: {(workspace.work / f'err{i}').read_text()}")
    references = sorted((workspace.work / f"out{i}").read_text() for i in range(number))
    check(references == [f"busy@{i + 1}\n" for i in range(number)], f"{references}")
    words = "".join((workspace.work / f"err{i}").read_text() for i in range(number))
    check("waiting for another checkpoint of busy" in words, f"none of them said that it waits: {words}")
    for reference in workspace.snapshots():
        check(workspace.crs("verify", "--json", reference).json()["sound"], reference)
    end_counter(workspace, process, pid)


@contextlib.contextmanager
def locked(workspace, job):
    """The job's lock is held, as by a checkpoint that takes long."""
    import fcntl
    lock = [path for path in (workspace.store / job).iterdir() if path.name.endswith("lock") and "running" not in path.name][0]
    with open(lock, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def time_limit_of_the_wait(workspace):
    process, pid = start_counter(workspace, "limit")
    workspace.checkpoint("limit")
    with locked(workspace, "limit"):
        result = workspace.crs("checkpoint", "--timeout", "0.2", "limit", expect=1)
        check("another checkpoint of limit" in result.stderr and 0.2 <= result.seconds < 10, f"{result}")
        check(workspace.crs("checkpoint", "--timeout", "0", "--json", "limit", expect=1).json()["error"]["kind"] == "failed", "")
        waiter = workspace.start([workspace.crs_path, "checkpoint", "limit"])
        wait_until(lambda: "waiting for another" in (workspace.work / "stderr.txt").read_text(), "it says that it waits")
        check(state_of(pid) not in "tT", "the program is stopped while its checkpoint waits")
    check(workspace.wait_exit(waiter) == 0, "it does not go on")
    check(workspace.snapshots() == ["limit@1", "limit@2"], f"{workspace.snapshots()}")
    for text in ("-1", "much", "1e9", "nan"):
        workspace.crs("checkpoint", "--timeout", text, "limit", expect=2)
    end_counter(workspace, process, pid)


def one_program_under_two_names(workspace):
    """Each works or says that there is another, and the program is unharmed."""
    process, pid = start_counter(workspace)
    for round in range(5):
        commands = [workspace.start([workspace.crs_path, "checkpoint", "--name", f"name{i}", str(pid)],
                                    stdout=open(workspace.work / f"out{i}", "wb"), stderr=open(workspace.work / f"err{i}", "wb"))
                    for i in range(4)]
        for i, command in enumerate(commands):
            status, words = workspace.wait_exit(command), (workspace.work / f"err{i}").read_text()
            check(status == 0 or (status == 1 and f"another checkpoint of process {pid}" in words and words.count("\n") == 1), f"{status}: {words}")
        check(state_of(pid) not in "tT", "the program is left stopped")
    for reference in workspace.snapshots():
        check(workspace.crs("verify", "--json", reference).json()["sound"], reference)
    end_counter(workspace, process, pid)


def ended_jobs(workspace):
    """The job of a program that has ended is no job, also if a new process has its id."""
    process, pid = start_counter(workspace, "gone")
    workspace.checkpoint("gone")
    record = next(path for path in (workspace.store / "gone").iterdir() if path.name == "running").read_bytes()
    os.kill(process.pid, signal.SIGKILL)  # crs run itself can withdraw nothing any more
    process.wait()
    workspace.kill(pid)
    result = workspace.crs("checkpoint", "gone", expect=3)
    check("no job 'gone' is running" in result.stderr and "crs restart gone" in result.stderr, f"{result}")
    check("there is no process" in workspace.crs("checkpoint", str(pid), expect=3).stderr, "")
    check(workspace.crs("list", "--json").json()["running"] == [], "")
    if os.geteuid() != 0:
        return
    pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    other = workspace.start(["sleep", "62"])
    if other.pid == pid:  # somebody else may have taken it
        running = workspace.store / "gone" / "running"
        running.write_bytes(record)
        if workspace.drops:
            os.chown(running, workspace.uid, workspace.uid)
        check("no job 'gone' is running" in workspace.crs("checkpoint", "gone", expect=3).stderr, "another program under the old id")
        check(workspace.crs("list", "--json").json()["running"] == [], "another program is listed as the job")
        check(workspace.checkpoint(str(pid)) == f"sleep-{pid}@1", "the other program under the old job's name")


def job_of_a_program_from_outside(workspace):
    """Of a program that crs did not start, a job's name is known by its snapshots alone: if it runs still, the advice names it."""
    process, pid = start_counter(workspace)
    workspace.checkpoint(str(pid), "--name", "outside")
    command = f"crs checkpoint --name outside {pid}"
    result = workspace.crs("checkpoint", "outside", expect=3)
    check("no job 'outside' is running" in result.stderr and f"process {pid} may be that program still" in result.stderr, f"{result}")
    check(command in result.stderr and "crs restart outside" in result.stderr, f"{result}")
    check(workspace.crs(*command.split()[1:]).stdout.strip() == "outside@2", "the advice does not work")
    workspace.kill(pid)
    process.wait()
    result = workspace.crs("checkpoint", "outside", expect=3)
    check("may be that program" not in result.stderr and "crs restart outside" in result.stderr, f"{result}")


def no_targets(workspace):
    sleeper = workspace.start(["sleep", "63"])
    zombie = workspace.start([PYTHON, "-c", "import os, time; print(os.fork() or os._exit(0), flush=True); time.sleep(60)"])
    text = wait_until(lambda: (workspace.work / "stdout.txt").read_text(), "the child's pid").split()[0]
    wait_until(lambda: state_of(int(text)) == "Z", "a zombie")
    check("zombie" in workspace.crs("checkpoint", text, expect=3).stderr, "")
    for pid in ("0", "99999999999999999999", "4194305"):
        check("there is no process" in workspace.crs("checkpoint", pid, expect=3).stderr, pid)
    result = workspace.run(["sh", "-c", f"exec {workspace.crs_path} checkpoint $$"])
    check(result.status == 2 and "itself" in result.stderr, f"{result}")
    result = workspace.crs("checkpoint", "--single", str(os.getpid()), expect=1)  # children at least, or another user
    if workspace.drops:
        check("belongs to user root" in result.stderr, f"{result}")
        result = workspace.crs("checkpoint", "2", expect=1)  # kthreadd
        workspace.crs("checkpoint", "1", expect=1)
    threads, pid = start_counter(workspace)
    thread = [int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid][0]
    result = workspace.crs("checkpoint", str(thread), expect=2)
    check(f"{thread} is a thread of process {pid}" in result.stderr, f"{result}")
    for text in ("gone@1", "a/b", "-", "", "é", "x" * 200, "1.5", "0x10", "+5", " 5"):
        result = workspace.crs("checkpoint", "--", text, expect=None)
        check(result.status in (2, 3) and result.stderr.count("\n") == 1 and result.stdout == "", f"{text!r}: {result}")
    check(workspace.snapshots() == [] and is_alive(sleeper.pid), "")


def main_thread_ended(workspace):
    """A program whose first thread has ended is told from a program that has ended."""
    program = r"""
import ctypes, os, threading, time
threading.Thread(target=lambda: [os.write(1, b"up\n"), time.sleep(100)]).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2) of this thread alone
"""
    process = workspace.start([PYTHON, "-c", program])
    wait_until(lambda: state_of(process.pid) == "Z", "the main thread has ended")
    workspace.crs("checkpoint", "--kill", "--name", "headless", str(process.pid))
    check(workspace.snapshots() == ["headless@1"], f"{workspace.snapshots()}")
    check(workspace.wait_exit(process) == -signal.SIGKILL, f"{process.returncode}")


def output_that_cannot_be_written(workspace):
    """The snapshot is complete although its name reaches nobody: the error says so."""
    process, pid = start_counter(workspace, "full")
    with open("/dev/full", "w") as full:
        result = workspace.crs("checkpoint", "full", expect=1, stdout=full)
    check("full@1" in result.stderr, f"the message does not name the snapshot that there is now: {result}")
    check(workspace.snapshots() == ["full@1"], f"{workspace.snapshots()}")
    result = workspace.crs("checkpoint", "full", expect=1, preexec_fn=lambda: os.close(1))
    check("full@2" in result.stderr, f"{result}")
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = workspace.crs("checkpoint", "--kill", "full", expect=1, stdout=os.fdopen(write_end, "wb"))
    check("full@3" in result.stderr, f"{result}")
    check(workspace.crs("verify", "--json", "full@3").json()["sound"], "")
    check(workspace.wait_exit(process) == 137, f"{process.returncode}")


def stopped_in_the_middle(workspace):
    """Ctrl-Z while the program is held waits until it is not: the program goes on, and crs once it is continued."""
    # Shared memory is not copied ahead: it takes a while.
    program = "import mmap, os, time\nmuch = mmap.mmap(-1, 300 << 20)\nmuch.write(os.urandom(300 << 20))\nos.write(1, b'up\\n')\nwhile True: time.sleep(0.01)\n"
    process = workspace.start([PYTHON, "-c", program])
    wait_until(lambda: "up" in (workspace.work / "stdout.txt").read_text(), "the program is up", 60)
    # A job of its own, as a shell's: in a process group without a parent in the session nothing stops (setpgid(2)).
    command = [workspace.crs_path, "checkpoint", "--name", "held", process.pid]
    checkpoint = workspace.start(command, start_new_session=False, process_group=0)
    wait_until(lambda: state_of(process.pid) == "t", "the program is held")
    os.kill(checkpoint.pid, signal.SIGTSTP)
    wait_until(lambda: state_of(checkpoint.pid) == "T", "the checkpoint is stopped")
    check(state_of(process.pid) in "SR", f"the program is in state {state_of(process.pid)} while crs checkpoint is stopped")
    os.kill(checkpoint.pid, signal.SIGCONT)
    check(workspace.wait_exit(checkpoint, 60) == 0 and workspace.snapshots() == ["held@1"], f"{workspace.snapshots()}")
    check(is_alive(process.pid), "the program has ended")


def written_afterwards(workspace):
    """A slow disk is waited for when the program runs again, also where its memory is shared and so not copied ahead."""
    program = "import mmap, os, time\nmuch = mmap.mmap(-1, 20 << 20)\nmuch.write(os.urandom(20 << 20))\nos.write(1, b'up\\n')\nwhile True: time.sleep(0.01)\n"
    process = workspace.start([PYTHON, "-c", program])
    wait_until(lambda: "up" in (workspace.work / "stdout.txt").read_text(), "the program is up")
    taken = workspace.crs("checkpoint", "--json", "--io-limit", "20MB/s", process.pid).json()
    check(taken["pause_seconds"] < taken["total_seconds"] / 2, f"{taken}")


def just_begun(workspace):
    """A program is kept from its first moment on: by pid while its C library is not there yet, by name before crs run has executed it."""
    for _ in range(20):
        process = workspace.start([PYTHON, "-c", COUNTER])
        workspace.checkpoint(str(process.pid), "--kill")
        workspace.wait_exit(process)
    for _ in range(10):
        runner = workspace.start([workspace.crs_path, "run", "--name", "early", "--", PYTHON, "-c", COUNTER])
        wait_until(lambda: workspace.crs("checkpoint", "--kill", "early", expect=None).status != 3, "the job is known")
        check(workspace.wait_exit(runner) == 137, f"the first checkpoint that knew the job failed: {workspace.journal[-1]}")


def small_limits(workspace):
    """Too little stack or memory for crs is an error in words, never a death, and the program goes on."""
    if is_left_out(workspace.crs_path, "limits of stack and memory"):
        return
    process, pid = start_counter(workspace)
    seen = set()
    for limit in [("-s", kilobytes) for kilobytes in (16, 64, 96, 255)] + [("-d", kilobytes) for kilobytes in range(400, 3000, 200)]:
        result = workspace.run(["sh", "-c", f'ulimit {limit[0]} {limit[1]} && exec "$@"', "sh", workspace.crs_path, "checkpoint", pid])
        if result.status == 127:  # the dynamic loader's own error: not even crs has begun
            continue
        check(result.status in (0, 1) and "bad_alloc" not in result.stderr, f"{limit}: {result}")
        seen |= {words for words in ("ulimit -s", "ulimit -d") if words in result.stderr and result.status == 1}
    check(seen == {"ulimit -s", "ulimit -d"}, f"not all limits were met: {seen}")
    end_counter(workspace, process, pid)


@contextlib.contextmanager
def freezer():
    """A new control group, of whichever version this system has, and a function that freezes or thaws it; None if none can be frozen."""
    for folder, file, words in (("/sys/fs/cgroup", "cgroup.freeze", ("0", "1")), ("/sys/fs/cgroup/freezer", "freezer.state", ("THAWED", "FROZEN"))):
        group = pathlib.Path(folder) / f"crs-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if not (group / file).exists():
            group.rmdir()
            continue
        try:
            yield group, lambda frozen: (group / file).write_text(words[frozen])
        finally:
            (group / file).write_text(words[False])
            wait_until(lambda: not read_text(group / "cgroup.procs").strip(), "the group is empty")
            group.rmdir()
        return
    yield None, None


def frozen_group(workspace):
    """A program that a control group holds cannot be stopped: the message says what holds it."""
    process = workspace.start(["sleep", "100"])
    with freezer() as (group, freeze):
        if group is None:
            return print("no control group can be frozen here: not checked")
        (group / "cgroup.procs").write_text(str(process.pid))
        freeze(True)
        result = workspace.crs("checkpoint", process.pid, expect=1, limit=60)
        check(group.name in result.stderr and "frozen" in result.stderr, f"{result}")
        freeze(False)
        workspace.checkpoint(str(process.pid), "--kill")
        workspace.wait_exit(process)


TESTS = [prints_the_reference_alone, figures_in_json_and_show, default_job_names, chosen_names, stop_and_kill, refused_without_a_trace,
         children_are_named, two_at_once, time_limit_of_the_wait, one_program_under_two_names, ended_jobs,
         job_of_a_program_from_outside, no_targets, main_thread_ended,
         output_that_cannot_be_written, stopped_in_the_middle, written_afterwards, just_begun, small_limits, frozen_group]


if __name__ == "__main__":
    run_tests(TESTS)
