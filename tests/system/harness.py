"""What the system tests share: a workspace with a store and a user of its own, the crs command, and programs that are started, killed
and waited for. Standard library only.

A Workspace is a context manager. Whatever happens inside, at its end every process that was started below this one (restarted programs
included: this process is a child subreaper) is gone and its directory is removed. On a failure it first prints what is known.
"""

import argparse
import contextlib
import ctypes
import glob
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
ORDINARY_USER = 61234  # no passwd entry needed or wanted
OTHER_USER = 61235
NOBODY = 65534  # for programs that insist on an entry
# Seconds for anything that takes a fraction of one. Sanitized programs take longer (CMakePresets.json).
STEP_LIMIT = 30.0 * float(os.environ.get("CRS_TEST_PATIENCE", "1"))
POLL_INTERVAL = 0.005
MEMORY_DISK = "/dev/shm"

REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*@[1-9][0-9]*\n")


class Failure(Exception):
    """A test's verdict; its text says why."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(condition, what, limit=STEP_LIMIT):
    """Polls until condition() is true and returns its value; a Failure after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"not within {limit:g} s: {what}")
        time.sleep(POLL_INTERVAL)


def is_sanitized(program):
    """Whether it was built with AddressSanitizer, which needs more memory, descriptors and signals than a program has by itself."""
    return b"__asan_init" in pathlib.Path(program).read_bytes()


def is_left_out(program, what):
    """Whether a sanitized program cannot show this; then the output says that it is not tested."""
    if not is_sanitized(program):
        return False
    print(f"left out, since crs is sanitized: {what}")
    return True


def become_subreaper():
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


# --- Looking at processes ---------------------------------------------------------------------------------------------------------


def read_text(path, otherwise=""):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return otherwise


def children_of(pid):
    children = []
    # The process may end meanwhile, and glob() throws then.
    for task in [pathlib.Path(path) for path in glob.glob(f"/proc/{pid}/task/*/children")]:
        children += [int(word) for word in read_text(task).split()]
    return children


def descendants_of(pid):
    found = []
    for child in children_of(pid):
        found.append(child)
        found += descendants_of(child)
    return found


def state_of(pid):
    """The state letter, or '' if there is no such process."""
    text = read_text(f"/proc/{pid}/stat")
    return text[text.rfind(")") + 2 :][:1]


def living_thread_of(pid):
    """A process, or one of its threads where its main one has ended and shows nothing any more."""
    if state_of(pid) == "Z":
        with contextlib.suppress(OSError):
            return next((int(tid) for tid in os.listdir(f"/proc/{pid}/task") if state_of(tid) not in ("", "Z", "X")), pid)
    return pid


def is_alive(pid):
    return state_of(living_thread_of(pid)) not in ("", "Z", "X")


def link_target(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def executable_of(pid):
    return link_target(f"/proc/{living_thread_of(pid)}/exe")


def name_of(pid):
    return read_text(f"/proc/{pid}/comm").strip()


def parent_of(pid):
    """0 if there is no such process."""
    text = read_text(f"/proc/{pid}/stat")
    return int(text[text.rfind(")") + 2 :].split()[1]) if text else 0


def describe_process(pid):
    lines = [f"--- process {pid}: {read_text(f'/proc/{pid}/cmdline').replace(chr(0), ' ')}"]
    wanted = re.compile(r"^(Name|State|Tgid|NSpid|PPid|TracerPid|Uid|Threads|Sig|Shd)", re.MULTILINE)
    lines += [line for line in read_text(f"/proc/{pid}/status").splitlines() if wanted.match(line)]
    for task in [pathlib.Path(path) for path in sorted(glob.glob(f"/proc/{pid}/task/*"))[:8]]:
        text = read_text(task / "stat")
        lines.append(
            f"thread {task.name}: state {text[text.rfind(')') + 2:][:1]}, wchan {read_text(task / 'wchan')}, syscall "
            f"{read_text(task / 'syscall').strip()}"
        )
    for entry in sorted(pathlib.Path(f"/proc/{pid}/fd").glob("*"))[:40]:
        lines.append(f"fd {entry.name} -> {link_target(entry)}")
    return "\n".join(lines)


def listen_for_subject(directory):
    """A socket for the connections of crs-conformance-subject to somebody outside, whose port it reads in its directory. To be kept open."""
    listener = socket.create_server(("127.0.0.1", 0))
    (pathlib.Path(directory) / "port").write_text(f"{listener.getsockname()[1]}\n")
    return listener


# --- Results of commands ----------------------------------------------------------------------------------------------------------


class Result:
    def __init__(self, arguments, status, stdout, stderr, seconds):
        self.arguments, self.status, self.stdout, self.stderr, self.seconds = arguments, status, stdout, stderr, seconds

    def __str__(self):
        return (
            f"$ {shlex.join(map(str, self.arguments))}\n  exit status {self.status} after {self.seconds:.2f} s\n"
            f"  stdout: {self.stdout.strip()}\n  stderr: {self.stderr.strip()}"
        )

    def json(self):
        return json.loads(self.stdout)


# --- The workspace ----------------------------------------------------------------------------------------------------------------


class Workspace:
    """A directory with a home, a store and a working directory, all owned by the user that crs and the programs run as."""

    def __init__(self, crs, user="root", verbose=False, ids=None, store_in_memory=False):
        self.verbose = verbose
        self.store_in_memory = store_in_memory and os.access(MEMORY_DISK, os.W_OK)
        self.ids = ids
        self.am_root = os.geteuid() == 0
        self.drops = self.am_root and user != "root"
        self.user = user
        self.uid = {"ordinary": ORDINARY_USER, "other": OTHER_USER, "nobody": NOBODY}.get(user) if self.drops else os.geteuid()
        self.journal = []
        self.crs_path = pathlib.Path(crs).resolve()

    def __enter__(self):
        become_subreaper()
        self.before = set(descendants_of(os.getpid()))
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="crs-test-"))
        self.directory.chmod(0o755)
        self.processes = []
        self.work = self.make_directory("work")
        self.home = self.make_directory("home")
        self.store = self.make_store()
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games",
            "HOME": str(self.home),
            "TMPDIR": str(self.make_directory("tmp")),
            "XDG_RUNTIME_DIR": str(self.make_directory("run")),
            "CRS_STORE": str(self.store),
            "LANG": "C.UTF-8",
        }
        self.crs_path = self.reachable(self.crs_path)
        return self

    def __exit__(self, kind, problem, trace):
        if problem is not None and not isinstance(problem, KeyboardInterrupt):
            self.report(problem)
        self.end_processes()
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.store, ignore_errors=True)
        return False

    def make_store(self):
        """In memory, a checkpoint's time is its own and not that of a disk that others use, too."""
        if not self.store_in_memory:
            return self.make_directory("store")
        path = pathlib.Path(tempfile.mkdtemp(prefix="crs-test-", dir=MEMORY_DISK))
        if self.drops:
            os.chown(path, self.uid, self.uid)
        return path

    def make_directory(self, name):
        path = self.directory / name
        path.mkdir(mode=0o700)
        if self.drops:
            os.chown(path, self.uid, self.uid)
        return path

    def reachable(self, path):
        """The path itself, or a copy of the file where the user cannot reach it."""
        path = pathlib.Path(path).resolve()
        if not self.drops or all(parent.stat().st_mode & stat.S_IXOTH for parent in [*path.parents]):
            return path
        copy = self.directory / "bin" / path.name
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            shutil.copy(path, copy)
            copy.chmod(0o755)
        return copy

    # --- Commands ---

    def identity(self):
        return {"user": self.uid, "group": self.uid, "extra_groups": []} if self.drops else {}

    def note(self, text):
        self.journal.append(f"[{time.strftime('%H:%M:%S')}] {text}")
        if self.verbose:
            print(self.journal[-1], flush=True)

    def run(self, arguments, limit=STEP_LIMIT, **options):
        """Runs a command as the workspace's user to its end."""
        begin = time.monotonic()
        arguments = [str(argument) for argument in arguments]
        options.setdefault("cwd", self.work)
        options.setdefault("env", self.environment)
        options.setdefault("stdin", subprocess.DEVNULL)
        options = {**self.identity(), **options}
        # Files, not pipes: a process left behind must not keep this from ending.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(arguments, stdout=options.pop("stdout", out), stderr=err, **options)
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                details = describe_process(process.pid)
                process.kill()
                process.wait()
                err.seek(0)
                raise Failure(
                    f"not within {limit:g} s: {shlex.join(arguments)}\n{err.read().decode(errors='replace')}\n{details}"
                ) from None
            out.seek(0), err.seek(0)
            result = Result(
                arguments, status, out.read().decode(errors="replace"), err.read().decode(errors="replace"), time.monotonic() - begin
            )
        self.note(str(result))
        return result

    def crs(self, *arguments, expect=0, **options):
        """Runs crs; `expect` is the exit status that it must have (None: any)."""
        result = self.run([self.crs_path, *arguments], **options)
        if expect is not None and result.status != expect:
            raise Failure(f"exit status {result.status} instead of {expect}: {result}")
        return result

    def checkpoint(self, target, *options, **keywords):
        """The new snapshot's reference."""
        return self.checkpoint_result(target, *options, **keywords).stdout.strip()

    def checkpoint_result(self, target, *options, **keywords):
        result = self.crs("checkpoint", *options, target, **keywords)
        check(REFERENCE.fullmatch(result.stdout), f"standard output is not a reference alone: {result}")
        return result

    def snapshots(self):
        """The references in the store, sorted."""
        listed = []
        for job in sorted(self.store.glob("*")) if self.store.exists() else []:
            listed += [f"{job.name}@{entry.name}" for entry in job.glob("*") if entry.name.isdigit()]
        return sorted(listed)

    # --- Programs ---

    def start(self, arguments, **options):
        """Starts a command as the workspace's user, in a session of its own, and returns its Popen."""
        arguments = [str(argument) for argument in arguments]
        options.setdefault("cwd", self.work)
        options.setdefault("env", self.environment)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("start_new_session", True)
        for stream in ("stdout", "stderr"):
            if stream not in options:
                # O_APPEND: several processes share these files.
                options[stream] = self.output_file(f"{stream}.txt")
        process = subprocess.Popen(arguments, **{**self.identity(), **options})
        for stream in ("stdout", "stderr"):
            if hasattr(options[stream], "close"):
                options[stream].close()
        self.processes.append(process)
        self.note(f"$ {shlex.join(arguments)} &  # pid {process.pid}")
        return process

    def output_file(self, name):
        path = self.work / name
        file = open(path, "ab")
        if self.drops:
            os.fchown(file.fileno(), self.uid, self.uid)
        return file

    def start_by_crs(self, job, arguments, program=None, run=(), **options):
        """`crs run` with the options `run`: its Popen and the program's pid."""
        runner = self.start([self.crs_path, "run", "--name", job, *run, "--", *arguments], **options)
        return runner, self.program_below(runner, program or arguments[0])

    def program_below(self, runner, program, limit=STEP_LIMIT):
        """The pid of the process below `runner` (a Popen) that executes the file `program`."""
        program = os.path.realpath(shutil.which(str(program), path=self.environment["PATH"]) or program)

        def find():
            if runner.poll() is not None:
                raise Failure(f"ended with status {runner.returncode} before its program was up: {shlex.join(runner.args)}")
            return [pid for pid in descendants_of(runner.pid) if executable_of(pid) == program and is_alive(pid) and not is_being_restored(parent_of(pid))]

        def is_being_restored(pid):
            return pid != runner.pid and executable_of(pid) == executable_of(runner.pid) and name_of(pid) != "crs-init"

        # The first: what else executes it are the program's own children, which may be complete before it.
        return wait_until(find, f"{program} runs below process {runner.pid}", limit)[0]

    def restart(self, reference, *options, **keywords):
        """`crs restart --detach`: the program's pid."""
        result = self.restart_result(reference, *options, **keywords)
        check(result.stdout.strip().isdigit(), f"standard output is not a pid: {result}")
        return int(result.stdout)

    def restart_result(self, reference, *options, **keywords):
        return self.crs("restart", "--detach", *self.ids_option(), *options, reference, **keywords)

    def restart_in_foreground(self, reference, *options, **keywords):
        """`crs restart`'s Popen; its exit status will be the program's."""
        return self.start([self.crs_path, "restart", *self.ids_option(), *options, reference], **keywords)

    def ids_option(self):
        return ["--ids", self.ids] if self.ids else []

    def kill(self, pid, number=signal.SIGKILL):
        """Sends SIGKILL to a program, all of its processes, and waits until everything that ends with it is gone."""
        for process in self.tree_of(pid):
            try:
                os.kill(process, number)
            except ProcessLookupError:  # its init has ended
                pass
        self.wait_gone(pid)

    @staticmethod
    def tree_of(pid):
        """The process, its descendants, and the orphans of them that its crs has adopted."""
        parent = parent_of(pid)
        adopted = name_of(parent) in ("crs-run", "crs-init")
        return [pid, *descendants_of(pid)] + [p for p in descendants_of(parent) if adopted and p != pid]

    def wait_gone(self, pid=None, limit=STEP_LIMIT):
        """Waits until no process is left below this one; returns the exit statuses of those that were waited for."""
        statuses = {}

        def none_left():
            statuses.update(self.reap())
            left = self.leftovers()
            return not left and (pid is None or not pathlib.Path(f"/proc/{pid}").exists())

        try:
            wait_until(none_left, "every process is gone", limit)
        except Failure as failure:
            raise Failure(f"{failure}; left: " + "; ".join(describe_process(p) for p in self.leftovers())) from None
        return statuses

    def leftovers(self):
        return [pid for pid in descendants_of(os.getpid()) if pid not in self.before]

    def reap(self):
        """Collects ended children: those of Popen by their objects, adopted ones directly."""
        statuses = {}
        own = {process.pid: process for process in self.processes}
        for pid in children_of(os.getpid()):
            if pid in own and own[pid].returncode is None:
                if own[pid].poll() is not None:
                    statuses[pid] = own[pid].returncode
            elif pid not in self.before:
                with contextlib.suppress(ChildProcessError):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if ended == pid:
                        statuses[pid] = os.waitstatus_to_exitcode(status)
        return statuses

    def wait_exit(self, process, limit=STEP_LIMIT):
        """The exit status of a Popen."""
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failure(f"not within {limit:g} s: end of {shlex.join(process.args)}") from None

    def end_processes(self):
        for _ in range(400):
            self.reap()
            left = self.leftovers()
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_INTERVAL)
        print(f"processes that cannot be ended: {self.leftovers()}", flush=True)

    def report(self, problem):
        print(f"=== FAILED (user {self.user}, ids {self.ids or 'automatic'}): {problem}")
        if not self.verbose:
            print("\n".join(self.journal))
        for pid in self.leftovers():
            print(describe_process(pid))
        for name in ("stdout.txt", "stderr.txt", "status"):
            text = read_text(self.work / name)
            if text:
                print(f"--- {name}\n{text[-4000:]}")
        sys.stdout.flush()


# --- Running cases ----------------------------------------------------------------------------------------------------------------


def verbs_of(workspace):
    """The verbs that `crs --help` lists, but help itself."""
    verbs = re.findall(r"^  (\w+) ", workspace.crs("--help").stdout.split("Verbs:")[1].split("Options")[0], re.MULTILINE)
    return [verb for verb in verbs if verb != "help"]


def users_to_test():
    return ["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"]


def run_cases(cases):
    """Runs (name, function) pairs, all of them, and exits with 1 if any failed. A case fails by raising."""
    failed = []
    for name, case in cases:
        begin = time.monotonic()
        try:
            case()
            print(f"passed {name} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Exception as problem:  # the next case is still worth running
            if not isinstance(problem, Failure):
                import traceback

                traceback.print_exc()
            failed.append(name)
            print(f"FAILED {name}: {problem}", flush=True)
    if failed:
        print(f"{len(failed)} of {len(cases)} failed: {', '.join(failed)}")
        sys.exit(1)
    print(f"all {len(cases)} passed")


def run_tests(tests):
    """The main program of a test file whose tests are functions of a workspace: each as each user. --only NAME and --user select."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--crs", required=True)
    parser.add_argument("--only", help="the name of one test")
    parser.add_argument("--user", choices=["root", "ordinary"])
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()

    def case(test, user):
        def run():
            with Workspace(options.crs, user=user, verbose=options.verbose) as workspace:
                test(workspace)

        return f"{test.__name__} as {user}", run

    wanted = [test for test in tests if options.only in (None, test.__name__)]
    run_cases([case(test, user) for user in users_to_test() for test in wanted if options.user in (None, user)])
