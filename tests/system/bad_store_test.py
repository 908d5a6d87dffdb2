#!/usr/bin/env python3
"""Stores that are full, too small, or not to be written, and machines without the memory for a restart: the message says so, the program goes
on (or none is started), nothing is left, and once there is space everything works."""

import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys

from bad_input import Subject, check_message, check_no_effect, main, refused, tree_of
from harness import Failure, Workspace, check, is_alive, is_left_out, read_text, wait_until

PYTHON = "/usr/bin/python3"

# Holds the memory given, each page another, and then waits as an ordinary subject does.
HOLDER = r"""
import os, sys, time
held = bytearray(os.urandom(int(sys.argv[1])))
total = sum(held[::4096])
open(os.environ["SUBJECT_STATUS"], "a").write("ready\n")
while not os.path.exists(os.environ["SUBJECT_GO"]): time.sleep(0.002)
open(os.environ["SUBJECT_STATUS"], "a").write("ok\n" if sum(held[::4096]) == total else "failed\n")
"""

# In a mount namespace of its own: runs a command with a small tmpfs as the store. Arguments: the store, its size, the command.
STAGE = r"""
mount -t tmpfs -o size=$2,mode=0700 tmpfs "$1" || exit 99
shift 2
exec "$@"
"""


class Holder(Subject):
    def __init__(self, workspace, bytes_held, before="", **options):
        self.workspace = workspace
        self.status_file, self.go_file = workspace.work / "holder.status", workspace.work / "holder.go"
        variables = {"SUBJECT_STATUS": str(self.status_file), "SUBJECT_GO": str(self.go_file)}
        self.runner = workspace.start([PYTHON, "-c", before + HOLDER, str(bytes_held)], env={**workspace.environment, **variables}, **options)
        self.pid = self.runner.pid
        wait_until(lambda: self.status(), "the program says ready")


def full_disk(workspace, options):
    """A store on a small tmpfs, filled more and more: the checkpoint fails at another place each time. Store, program and crs are in a mount
    namespace of the test; for the ordinary user in a user namespace too."""
    scripts = {}
    for name, text in (("stage", (pathlib.Path(__file__).parent / "full_disk_stage.py").read_text()), ("holder", HOLDER)):
        scripts[name] = workspace.work / f"{name}.py"
        scripts[name].write_text(text)
        scripts[name].chmod(0o755)
    unshare = ["unshare", "-m"] if workspace.user == "root" else ["unshare", "-Urm"]
    workspace.environment |= {"SUBJECT_STATUS": str(workspace.work / "status"), "SUBJECT_GO": str(workspace.work / "go")}
    result = workspace.run([*unshare, "sh", "-c", STAGE, "stage", workspace.store, "24m", PYTHON, scripts["stage"], workspace.crs_path,
                            workspace.store, scripts["holder"]], limit=100)
    check(result.status == 0, f"{result}")


def no_file_may_grow(workspace, command):
    """Where the record of the running job cannot be written; with pipes, into which crs can say so."""
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    result = subprocess.run([workspace.crs_path, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                            env=workspace.environment, cwd=workspace.work, preexec_fn=limited, **workspace.identity())
    wanted = result.returncode == 1 and "File too large" in result.stderr and "file size limit" in result.stderr
    check(wanted, f"{command} with RLIMIT_FSIZE 0 ends with {result.returncode} and says {result.stderr}")


def file_size_limit(workspace, options):
    """RLIMIT_FSIZE and its SIGXFSZ: an error, not a death; and the signal's treatment is not handed on."""
    holder = Holder(workspace, 8 << 20)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    refused(workspace, "checkpoint", str(holder.pid), expect=1, names=["File too large", "file size limit"], preexec_fn=limited)
    holder.check_untouched()
    for preexec, limit in ((limited, "1 MiB"), (None, "none")):
        facts = workspace.crs("check", "--json", expect=None, preexec_fn=preexec).json()["facts"]
        [fact] = [fact for fact in facts if fact["name"] == "file size limit"]
        check((fact["detail"], fact["available"]) == (limit, preexec is None), f"crs check says {fact}")
    reference = workspace.checkpoint(str(holder.pid))
    workspace.kill(holder.pid)
    for command in (["restart", "--detach", reference], ["run", "--name", "limited", "true"]):
        no_file_may_grow(workspace, command)
    holder.finish(workspace.restart(reference))
    portrait = "import re; print(re.search('SigIgn:.*', open('/proc/self/status').read())[0])"
    plain, below = workspace.run([PYTHON, "-c", portrait]), workspace.crs("run", "--", PYTHON, "-c", portrait)
    check(plain.stdout == below.stdout, f"ignored signals without crs {plain.stdout}, below it {below.stdout}")


def ordinary_unwritable_store(workspace, options):
    subject = Subject(workspace, options.subjects)
    pid = str(subject.pid)
    os.chmod(workspace.store, 0o500)
    refused(workspace, "checkpoint", pid, expect=1, names=[workspace.store, "Permission denied", "CRS_STORE"])
    os.chmod(workspace.store, 0o700)
    elsewhere = ["--store", "/proc/nowhere"]
    refused(workspace, "checkpoint", *elsewhere, pid, expect=1, names=["/proc/nowhere"])
    refused(workspace, "checkpoint", "--store", "/root/store", pid, expect=1, names=["/root/store", "Permission denied"])
    subject.check_untouched()
    subject.finish()


def other_unsuitable_stores(workspace, options):
    subject = Subject(workspace, options.subjects)
    pid = str(subject.pid)
    file = workspace.work / "file"
    file.touch()
    refused(workspace, "checkpoint", "--store", str(file), pid, expect=1, names=[file, "Not a directory"])
    link = workspace.work / "link"
    link.symlink_to("nowhere")
    refused(workspace, "checkpoint", "--store", str(link), pid, expect=1, names=[link, "leads nowhere", "CRS_STORE"])
    taken = workspace.make_directory("taken")
    (taken / "job").touch()
    refused(workspace, "checkpoint", "--store", str(taken), "--name", "job", pid, expect=4, names=[taken / "job", "not a directory", "CRS_STORE"])
    open_to_all = workspace.make_directory("open")
    open_to_all.chmod(0o755)
    refused(workspace, "checkpoint", "--store", str(open_to_all), pid, expect=1, names=[open_to_all, "chmod 700"])
    if workspace.user == "root":
        foreign = workspace.make_directory("foreign")
        os.chown(foreign, 61235, 61235)
        refused(workspace, "checkpoint", "--store", str(foreign), pid, expect=1, names=[foreign, "61235", "CRS_STORE"])
        subject.check_untouched()
        read_only_store(workspace, subject)
    subject.check_untouched()
    subject.finish()


def read_only_store(workspace, subject):
    result = workspace.run(["unshare", "-m", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', workspace.store,
                            workspace.crs_path, "checkpoint", str(subject.pid)])
    check(result.status == 1, f"exit status {result.status} instead of 1: {result}")
    check_message(result, workspace.store, "Read-only file system", "CRS_STORE")


def no_room_for_the_restart(workspace, options):
    """A limit of the restart command that is less than the program's memory."""
    holder = Holder(workspace, 64 << 20)
    reference = workspace.checkpoint(str(holder.pid))
    workspace.kill(holder.pid)
    limits = ((resource.RLIMIT_AS, "RLIMIT_AS", "ulimit -v"), (resource.RLIMIT_DATA, "RLIMIT_DATA", "ulimit -d"))
    for kind, name, option in () if is_left_out(workspace.crs_path, "limits of memory for the restart") else limits:
        refused(workspace, "restart", "--detach", reference, expect=1, names=[name, "are needed", option],
                preexec_fn=lambda: resource.setrlimit(kind, (60 << 20, 60 << 20)))
    holder.finish(workspace.restart(reference))


def ordinary_too_few_descriptors_for_the_restart(workspace, options):
    holder = Holder(workspace, 1 << 20)
    reference = workspace.checkpoint(str(holder.pid))
    workspace.kill(holder.pid)
    for limit in 20, 64:
        refused(workspace, "restart", "--detach", reference, expect=1, names=["ulimit -n"],
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    holder.finish(workspace.restart(reference))


def ordinary_too_few_processes_for_the_restart(_, options):
    """RLIMIT_NPROC, for the first process and for a thread of it; of a user who has no other processes, as the tests beside this one make."""
    if is_left_out(options.crs, "a limit of processes, at which its leak checker fails"):
        return
    with Workspace(options.crs, "other", options.verbose) as workspace:
        too_few_processes(workspace)


def too_few_processes(workspace):
    threads = "import threading, time\nfor _ in range(20): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    holder = Holder(workspace, 1 << 20, before=threads)
    reference = workspace.checkpoint(str(holder.pid))
    workspace.kill(holder.pid)
    for limit, what in (0, "cannot make a process"), (10, "cannot make a thread"):
        refused(workspace, "restart", "--detach", reference, expect=1, names=[what, "ulimit -u"],
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)))
    refused(workspace, "run", "--name", "limited", "true", expect=1, names=["ulimit -u"], json=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (0, 0)))
    holder.finish(workspace.restart(reference))


def memory_group(limit):
    """A new control group with a limit of memory, of whichever version this system has; None if there is none."""
    for folder, file in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        line = [line for line in read_text("/proc/self/cgroup").splitlines() if line.startswith("0::") == (file == "memory.max")
                and (file == "memory.max" or ":memory:" in line)]
        for own in [line[0].split(":", 2)[2], ""] if line else []:
            group = pathlib.Path(folder + own) / f"crs-test-{os.getpid()}"
            # The files of a real one are there at once.
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / file).exists():
                (group / file).write_text(str(limit))
                return group
            group.rmdir()
    return None


def root_no_memory_for_the_restart(workspace, options):
    """A memory control group that is too small."""
    group = None if is_left_out(workspace.crs_path, "a memory control group") else memory_group(32 << 20)
    if group is None:
        print("no memory control groups can be made here: not checked")
        return
    try:
        holder = Holder(workspace, 64 << 20)
        reference = workspace.checkpoint(str(holder.pid))
        workspace.kill(holder.pid)
        enter = lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        refused(workspace, "restart", "--detach", reference, expect=1, names=["control group", "are needed"], preexec_fn=enter)
        holder.finish(workspace.restart(reference))
    finally:
        workspace.end_processes()
        group.rmdir()


if __name__ == "__main__":
    main([full_disk, file_size_limit, ordinary_unwritable_store, other_unsuitable_stores, no_room_for_the_restart, ordinary_too_few_descriptors_for_the_restart, ordinary_too_few_processes_for_the_restart,
          root_no_memory_for_the_restart])
