#!/usr/bin/env python3
"""Files whose content a snapshot keeps (--files copy) are as they were at the checkpoint when the program goes on; what stood in their place
is kept aside and named. With --files ignore whatever stands there is taken."""

import errno
import os
import shutil
import signal
import stat

from harness import check, run_tests, wait_until
from independent_reader import Snapshot

# The steps of a program wait for SIGUSR1, and what it has to say of one is in the file "said-N".
START = """
import mmap, os, pathlib, signal, sqlite3, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
step = 0
def say(text="done"):
    global step
    pathlib.Path("saying").write_text(text)
    os.rename("saying", f"said-{step}")
    step += 1
    signal.sigwait({signal.SIGUSR1})
"""

# The pages that do not fit into the small cache are in the file before the transaction ends, and their old content in the journal.
DATABASE = START + """
rows = 4000
base = sqlite3.connect("work.db", isolation_level=None)
base.execute("pragma cache_size = 10")
base.execute("create table numbers (number integer, text text)")
base.execute("begin")
base.executemany("insert into numbers values (?, ?)", ((n, str(n) * 20) for n in range(rows)))
base.execute("commit")
base.execute("begin")
base.execute("update numbers set number = number + 1 where number % 2 = 0")
say()
base.execute("update numbers set number = number + 1")
base.execute("commit")
base.execute("insert into numbers values (?, ?)", (1000000, "one more"))
total, count = base.execute("select sum(number), count(*) from numbers").fetchone()
expected = sum(n + 2 if n % 2 == 0 else n + 1 for n in range(rows)) + 1000000
intact = base.execute("pragma integrity_check").fetchone()[0]
say(f"{total == expected and count == rows + 1} {intact}")
"""

# A log, a table that is rewritten in place, a file that is mapped and closed, and one that is only read; a child has the table open by itself.
FILES = START + """
log = open("log", "ab", buffering=0)
table = open("table", "r+b", buffering=0)
read = open("read", "rb", buffering=0)
with open("mapped", "r+b") as file:
    area = mmap.mmap(file.fileno(), 0)
log.write(b"one\\n")
os.pwrite(table.fileno(), b"ONE", 4096)
area[:3] = b"ONE"
into_child, from_parent = os.pipe()
from_child, into_parent = os.pipe()
if os.fork() == 0:
    own = open("table", "r+b", buffering=0)
    while os.read(into_child, 1):
        os.pwrite(own.fileno(), b"child", 100)
        os.write(into_parent, f"{os.fstat(own.fileno()).st_ino:20}".encode())
    os._exit(0)
def ask_child():
    os.write(from_parent, b"x")
    return int(os.read(from_child, 20))
def state():
    inode = os.fstat(table.fileno()).st_ino
    one_file = inode == ask_child() == os.stat("table").st_ino
    paths = [os.readlink(f"/proc/self/fd/{file.fileno()}") for file in (log, table)]
    here = paths == [os.path.abspath(name) for name in ("log", "table")]
    return f"{one_file} {here} {bytes(area[:3])} {os.fstat(log.fileno()).st_size} {os.pread(table.fileno(), 3, 4096)}"
ask_child()
say()
while True:
    before = state()
    log.write(b"two\\n" * 10)
    os.pwrite(table.fileno(), b"TWO", 4096)
    area[:3] = b"TWO"
    os.truncate("mapped", 4096)
    say(before)
"""
AS_AT_THE_CHECKPOINT = "True True b'ONE' 4 b'ONE'"
TABLE = b"\0" * 100 + b"child" + b"\0" * 3991 + b"ONE" + b"\0" * 12285


class Program:
    """A program of steps, from its start or a restart on."""

    def __init__(self, workspace, pid, step=0):
        self.workspace, self.pid, self.step = workspace, pid, step

    def said(self):
        path = self.workspace.work / f"said-{self.step}"
        wait_until(path.exists, f"the program has done its step {self.step}")
        text = path.read_text()
        path.unlink()
        return text

    def go_on(self):
        os.kill(self.pid, signal.SIGUSR1)
        self.step += 1
        return self.said()


def start(workspace, text):
    program = Program(workspace, workspace.start(["/usr/bin/python3", "-c", text]).pid)
    program.said()
    return program


def restart(workspace, reference, *options):
    """The program, and the notes of the restart."""
    result = workspace.restart_result(reference, *options)
    return Program(workspace, int(result.stdout)), result.stderr


def make_files(workspace):
    for name, size in (("table", 16384), ("mapped", 8192), ("read", 100), ("log", 0)):
        path = workspace.work / name
        path.write_bytes(bytes(size))
        path.chmod(0o640)
        os.chown(path, workspace.uid, workspace.uid)


def give_attribute(path):
    """An extended attribute, where the file system has them: the attributes that the file has then."""
    try:
        os.setxattr(path, "user.note", b"of the log")
    except OSError as problem:
        check(problem.errno == errno.ENOTSUP, f"no attribute can be set: {problem}")
    return attributes_of(path)


def attributes_of(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def content(workspace, name):
    return (workspace.work / name).read_bytes()


def asides(workspace):
    return sorted(path.name for path in workspace.work.iterdir() if ".crs-" in path.name)


def database_goes_on(workspace):
    program = start(workspace, DATABASE)
    check((workspace.work / "work.db-journal").exists(), "there is no journal: the test shows nothing")
    reference = workspace.checkpoint(program.pid, "--files", "copy")
    check(program.go_on() == "True ok", "the database is not right without a restart")
    workspace.kill(program.pid)
    check(not (workspace.work / "work.db-journal").exists(), "the journal is still there: the test shows nothing")
    for _ in range(2):
        program, notes = restart(workspace, reference)
        check("work.db-journal was missing" in notes, f"it says {notes}")
        said = program.go_on()
        check(said == "True ok", f"after the restart the database is {said}")
        workspace.kill(program.pid)


def changed_files_come_back(workspace):
    make_files(workspace)
    program = start(workspace, FILES)
    inodes = [(workspace.work / name).stat().st_ino for name in ("log", "table", "mapped")]
    reference = workspace.checkpoint(program.pid, "--files", "copy")
    workspace.crs("verify", reference)
    stored = Snapshot(workspace.store / reference.replace("@", "/"))
    check(stored.kept_file(str(workspace.work / "table")) == TABLE, "the snapshot has another content")
    check(program.go_on() == AS_AT_THE_CHECKPOINT, "the program is not right without a restart")
    workspace.kill(program.pid)
    held = {name: content(workspace, name) for name in ("log", "table", "mapped")}
    check(held["log"] == b"one\n" + b"two\n" * 10 and len(held["mapped"]) == 4096, "the test shows nothing")
    program, notes = restart(workspace, reference)
    check((content(workspace, "log"), content(workspace, "table")) == (b"one\n", TABLE), "the files are not as they were")
    check(content(workspace, "mapped") == b"ONE" + bytes(8189), "the mapped file is not as it was")
    check(inodes == [(workspace.work / name).stat().st_ino for name in ("log", "table", "mapped")], "they are other files")
    said = program.go_on()
    check(said == AS_AT_THE_CHECKPOINT, f"the program finds {said}")
    workspace.kill(program.pid)
    check(asides(workspace) == [f"{name}.crs-aside-1" for name in ("log", "mapped", "table")], f"there is {asides(workspace)}")
    for name, bytes_held in held.items():
        check(content(workspace, f"{name}.crs-aside-1") == bytes_held, f"what {name} held is lost")
        check(f"/{name}.crs-aside-1" in notes, f"of {name} it says {notes}")
    # Equal files are left alone.
    for name in ("log", "table", "mapped"):
        shutil.copyfile(workspace.work / f"{name}.crs-aside-1", workspace.work / name)
    workspace.kill(restart(workspace, reference)[0].pid)
    check(len(asides(workspace)) == 6, f"there is {asides(workspace)}")
    workspace.kill(restart(workspace, reference)[0].pid)
    check(len(asides(workspace)) == 6, f"files that were right are kept aside: {asides(workspace)}")


def replaced_and_missing_files_come_back(workspace):
    make_files(workspace)
    attributes = give_attribute(workspace.work / "log")
    program = start(workspace, FILES)
    reference = workspace.checkpoint(program.pid, "--files", "copy", "--incremental")
    workspace.kill(program.pid)
    work = workspace.work
    (work / "log").unlink()
    (work / "mapped").unlink()
    (work / "other").write_bytes(b"another file")
    (work / "other").rename(work / "table")
    os.chown(work / "table", workspace.uid, workspace.uid)
    program, notes = restart(workspace, reference)
    check(asides(workspace) == ["table.crs-aside-1"], f"there is {asides(workspace)}")
    check(content(workspace, "table.crs-aside-1") == b"another file", "what stood there is lost")
    for name in ("log", "table", "mapped"):
        status = (work / name).stat()
        check((stat.S_IMODE(status.st_mode), status.st_uid) == (0o640, workspace.uid), f"{name} is another's: {status}")
    check(attributes_of(work / "log") == attributes, f"the log's extended attributes are {attributes_of(work / 'log')}")
    check("table.crs-aside-1" in notes and notes.count("was missing") == 2, f"it says {notes}")
    # They are no longer known by another name: a second checkpoint finds them.
    second = workspace.checkpoint(program.pid, "--files", "copy", "--incremental")
    said = program.go_on()
    check(said == AS_AT_THE_CHECKPOINT, f"the program finds {said}")
    workspace.kill(program.pid)
    workspace.crs("compact", second)
    (compacted,) = workspace.snapshots()
    program, _ = restart(workspace, compacted)
    said = program.go_on()
    check(said == AS_AT_THE_CHECKPOINT, f"after the second restart the program finds {said}")
    workspace.kill(program.pid)


def refused(workspace, reference, words, status=1):
    before = asides(workspace)
    result = workspace.crs("restart", "--detach", reference, expect=status)
    check(all(word in result.stderr for word in words), f"it does not say {words}: {result}")
    check(not workspace.leftovers(), "something was started")
    check(asides(workspace) == before, f"left behind: {asides(workspace)}")


def what_cannot_come_back_is_an_error(workspace):
    make_files(workspace)
    work = workspace.work
    folder = work / "folder"
    folder.mkdir()
    (work / "table").rename(folder / "table")
    (work / "table").symlink_to("folder/table")
    for path in (folder, folder / "table"):
        os.chown(path, workspace.uid, workspace.uid)
    program = start(workspace, FILES.replace('os.path.abspath(name)', 'os.path.realpath(name)'))
    reference = workspace.checkpoint(program.pid, "--files", "copy")
    workspace.kill(program.pid)
    folder.rename(work / "elsewhere")
    refused(workspace, reference, ["the directory of", "folder/table is missing"])
    folder.mkdir()
    (folder / "table").mkdir()
    refused(workspace, reference, ["folder/table is no regular file"])
    (folder / "table").rmdir()
    if workspace.uid != 0:
        # It is root's here, and its user may not write to it.
        folder.chmod(0o755)
        refused(workspace, reference, ["folder/table", "cannot be made in"])
    folder.rmdir()
    (work / "elsewhere").rename(folder)
    # Of a file with two names only one would come back.
    (work / "log").write_bytes(b"one\n")
    program, _ = restart(workspace, reference)
    os.link(work / "log", work / "log too")
    second = workspace.checkpoint(program.pid, "--files", "copy")
    workspace.kill(program.pid)
    (work / "log").unlink()
    refused(workspace, second, ["log had 2 names"])
    os.link(work / "log too", work / "log")
    (work / "log").write_bytes(b"changed")
    workspace.kill(restart(workspace, second)[0].pid)
    check(content(workspace, "log too") == b"one\n", "the other name leads to another file")
    for name in ("log", "log too"):
        (work / name).unlink()
    accepted = workspace.restart_result(second, "--files", "accept")
    check("log had 2 names (hard links) at the checkpoint, and has this one alone now" in accepted.stderr, f"not said: {accepted}")
    check(content(workspace, "log") == b"one\n", "it did not come back")
    workspace.kill(int(accepted.stdout))


def damage_is_found(workspace):
    make_files(workspace)
    program = start(workspace, FILES)
    reference = workspace.checkpoint(program.pid, "--files", "copy")
    workspace.kill(program.pid)
    job, sequence = reference.split("@")
    kept = max((workspace.store / job / sequence / "files").iterdir(), key=lambda path: path.stat().st_size)
    kept.chmod(0o600)
    with open(kept, "r+b") as file:
        file.seek(100)
        file.write(b"CHILD")
    (workspace.work / "table").write_bytes(b"changed")
    refused(workspace, reference, ["damaged"], status=4)
    workspace.crs("verify", reference, expect=4)
    check(content(workspace, "table") == b"changed", "a file was touched")


def ignored_files_are_taken_as_they_are(workspace):
    make_files(workspace)
    program = start(workspace, FILES)
    reference = workspace.checkpoint(program.pid, "--files", "ignore")
    workspace.kill(program.pid)
    with open(workspace.work / "log", "ab") as file:
        file.write(b"more")
    (workspace.work / "table").write_bytes(b"TABLE" * 1000)
    program, notes = restart(workspace, reference)
    said = program.go_on()
    check(said == "True True b'ONE' 8 b'ABL'", f"the program finds {said}; {notes}")
    workspace.kill(program.pid)
    check(asides(workspace) == [], f"there is {asides(workspace)}")
    (workspace.work / "log").unlink()
    refused(workspace, reference, ["log", "No such file"])


def rules_choose(workspace):
    make_files(workspace)
    program = start(workspace, FILES)
    crs = lambda *options: workspace.checkpoint(program.pid, *options)  # noqa: E731
    by_name = crs("--files", "copy=rea?", "--files", "copy=*/table")
    of_both = crs("--files", "copy", "--files", "reference=log")
    by_parameter = crs("--param", "crs_native_files=copy reference=log")
    for rule in ("all", "copy=", "=x"):
        workspace.crs("checkpoint", "--files", rule, program.pid, expect=2)
    workspace.kill(program.pid)
    (workspace.work / "read").unlink()
    (workspace.work / "table").unlink()
    workspace.kill(restart(workspace, by_name)[0].pid)
    check((content(workspace, "read"), content(workspace, "table")) == (bytes(100), TABLE), "they do not come back")
    (workspace.work / "log").unlink()
    for reference in (by_name, of_both, by_parameter):
        refused(workspace, reference, ["log", "No such file"])
    (workspace.work / "log").write_bytes(b"one\n")
    os.chown(workspace.work / "log", workspace.uid, workspace.uid)
    for reference in (of_both, by_parameter):
        (workspace.work / "table").unlink()
        workspace.kill(restart(workspace, reference, "--files", "accept")[0].pid)
        check(content(workspace, "table") == TABLE, "it does not come back")


def run_keeps_them(workspace):
    make_files(workspace)
    workspace.crs("run", "--files", "copy", "--", "true", expect=2)
    runner = workspace.start([workspace.crs_path, "run", "--name", "kept", "--on-signal", "USR2", "--files", "copy", "--",
                              "/usr/bin/python3", "-c", FILES])
    program = Program(workspace, workspace.program_below(runner, "/usr/bin/python3"))
    program.said()
    runner.send_signal(signal.SIGUSR2)
    check(workspace.wait_exit(runner) == 85, "there is no last snapshot")
    (workspace.work / "table").unlink()
    program, _ = restart(workspace, "kept")
    said = program.go_on()
    check(said == AS_AT_THE_CHECKPOINT, f"the program finds {said}")
    workspace.kill(program.pid)


if __name__ == "__main__":
    run_tests([database_goes_on, changed_files_come_back, replaced_and_missing_files_come_back, what_cannot_come_back_is_an_error,
               damage_is_found, ignored_files_are_taken_as_they_are, rules_choose, run_keeps_them])
