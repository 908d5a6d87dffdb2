#!/usr/bin/env python3
"""Files that the program had open or mapped, and its executable: missing, replaced or shorter at the restart. The message names the file and says
what is wrong with it; nothing is started; with the file as it was, the program goes on."""

import os
import pathlib
import shutil

from bad_input import Subject, main, refused
from harness import check, wait_until

PYTHON = "/usr/bin/python3"

# Opens the first file for reading, maps the second one privately and the third one shared, and says at the end what it finds.
READER = r"""
import mmap, os, sys, time
opened = open(sys.argv[1], "rb", buffering=0)
first = opened.read(10)
files = [os.open(path, os.O_RDWR) for path in sys.argv[2:4]]
private = mmap.mmap(files[0], 0, flags=mmap.MAP_PRIVATE)
shared = mmap.mmap(files[1], 0, flags=mmap.MAP_SHARED)
for file in files: os.close(file)
appended = open(sys.argv[4], "ab", buffering=0)
appended.write(b"line\n")
open(os.environ["SUBJECT_STATUS"], "a").write("ready\n")
while not os.path.exists(os.environ["SUBJECT_GO"]): time.sleep(0.002)
appended.write(b"end\n")
right = opened.read(10) == b"o" * 10 and private[:5] == b"ppppp" and shared[:5] == b"sssss"
open(os.environ["SUBJECT_STATUS"], "a").write("ok\n" if right else "failed\n")
"""


class Reader(Subject):
    def __init__(self, workspace):
        self.workspace = workspace
        self.opened, self.private, self.shared, self.appended = [workspace.work / name for name in ("opened", "private", "shared", "appended")]
        for path, letter in ((self.opened, "o"), (self.private, "p"), (self.shared, "s")):
            path.write_text(letter * 10000)
        self.appended.touch()
        for path in (self.opened, self.private, self.shared, self.appended):
            if workspace.drops:
                os.chown(path, workspace.uid, workspace.uid)
        self.status_file, self.go_file = workspace.work / "reader.status", workspace.work / "reader.go"
        variables = {"SUBJECT_STATUS": str(self.status_file), "SUBJECT_GO": str(self.go_file)}
        paths = [self.opened, self.private, self.shared, self.appended]
        self.runner = workspace.start([PYTHON, "-c", READER, *paths], env={**workspace.environment, **variables})
        self.pid = self.runner.pid
        wait_until(lambda: self.status(), "the program says ready")


def replace_by_copy(path):
    """Another inode with other content of the same size."""
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.write_text("x" * 10000)
    shutil.copymode(aside, path)
    os.chown(path, aside.stat().st_uid, aside.stat().st_gid)
    return lambda: aside.rename(path)


def take_away(path):
    aside = path.with_suffix(".aside")
    path.rename(aside)
    return lambda: aside.rename(path)


def shorten(path):
    aside = path.with_suffix(".aside")
    path.rename(aside)
    shutil.copy2(aside, path)
    os.chown(path, aside.stat().st_uid, aside.stat().st_gid)
    os.truncate(path, 100)
    return lambda: aside.rename(path)


def put_directory(path):
    aside = path.with_suffix(".aside")
    path.rename(aside)
    path.mkdir()
    path.chmod(0o755)
    return lambda: (path.rmdir(), aside.rename(path))


def forbid(path):
    path.chmod(0)
    return lambda: path.chmod(0o644)


CHANGES = [(take_away, "missing|No such file"), (replace_by_copy, "replaced"), (shorten, "shorter"), (put_directory, "regular file"),
           (forbid, "Permission denied")]


def open_and_mapped_files(workspace, options):
    reader = Reader(workspace)
    reference = workspace.checkpoint(str(reader.pid), "--name", "reader")
    workspace.kill(reader.pid)
    for path in (reader.opened, reader.private, reader.shared):
        for change, words in CHANGES:
            if change is forbid and workspace.user == "root":
                continue
            undo = change(path)
            result = refused(workspace, "restart", "--detach", reference, expect=1, names=[path])
            check(any(word in result.stderr for word in words.split("|")), f"the message does not say that it is {words}: {result}")
            undo()
    # The last of them all: everything is as it was.
    reader.finish(workspace.restart(reference))
    check(reader.appended.read_text() == "line\nend\n", "the appended file is wrong")


def appended_file(workspace, options):
    """Missing or shorter is refused; grown is cut back, and what was cut is kept."""
    reader = Reader(workspace)
    reference = workspace.checkpoint(str(reader.pid), "--name", "reader")
    workspace.kill(reader.pid)
    for change, words in CHANGES[:1] + CHANGES[3:4]:
        undo = change(reader.appended)
        refused(workspace, "restart", "--detach", reference, expect=1, names=[reader.appended])
        undo()
    reader.appended.write_text("li")
    refused(workspace, "restart", "--detach", reference, expect=1, names=[reader.appended, "shorter"])
    reader.appended.write_text("line\nmore\n")
    # Nothing is cut where the restart fails for another reason.
    undo = take_away(reader.opened)
    refused(workspace, "restart", "--detach", reference, expect=1, names=[reader.opened])
    check(reader.appended.read_text() == "line\nmore\n", "a restart that failed cut the file")
    undo()
    result = workspace.restart_result(reference)
    kept = [pathlib.Path(word.strip(".,;:'")) for word in result.stderr.split() if "set-aside" in word]
    check(kept, f"the place of what was cut is not named: {result}")
    check(any("more\n" in path.read_text() for path in kept if path.is_file()), f"what was cut is not there: {kept}")
    reader.finish(int(result.stdout))
    check(reader.appended.read_text() == "line\nend\n", "the appended file is wrong")


def replaced_by_its_number(workspace, options):
    """Another file that the file system has given the same inode number, as ext4 likes to: its birth time is another."""
    reader = Reader(workspace)
    reference = workspace.checkpoint(str(reader.pid), "--name", "reader")
    workspace.kill(reader.pid)
    inode = reader.appended.stat().st_ino
    for _ in range(100):
        reader.appended.unlink()
        reader.appended.write_text("of another program\n" * 10)
        if reader.appended.stat().st_ino == inode:
            break
    else:
        print("this file system gives no inode number twice: left out")
        return
    if workspace.drops:
        os.chown(reader.appended, workspace.uid, workspace.uid)
    refused(workspace, "restart", "--detach", reference, expect=1, names=[reader.appended, "replaced"])
    check(reader.appended.read_text() == "of another program\n" * 10, "the other program's file was changed")


def accepted(workspace, options):
    """--files accept, for changes that are known to be harmless."""
    reader = Reader(workspace)
    reference = workspace.checkpoint(str(reader.pid), "--name", "reader")
    workspace.kill(reader.pid)
    aside = reader.opened.with_suffix(".aside")
    reader.opened.rename(aside)
    reader.opened.write_text("o" * 20000)
    if workspace.drops:
        os.chown(reader.opened, workspace.uid, workspace.uid)
    refused(workspace, "restart", "--detach", reference, expect=1, names=[reader.opened, "--files accept"])
    result = workspace.restart_result(reference, "--files", "accept")
    check(str(reader.opened) in result.stderr, f"the accepted change is not named: {result}")
    reader.finish(int(result.stdout))


def executable(workspace, options):
    """Gone or replaced between checkpoint and restart: refused. Gone before the checkpoint: its content is in the snapshot."""
    program = workspace.directory / "bin" / "own-copy"
    program.parent.mkdir(exist_ok=True)
    shutil.copy2(pathlib.Path(options.subjects) / "idle", program)
    subject = Subject(workspace, program.parent, "own-copy")
    reference = workspace.checkpoint(str(subject.pid), "--name", "own")
    workspace.kill(subject.pid)
    for change, words in ((take_away, "missing"), (shorten, "shorter")):
        undo = change(program)
        refused(workspace, "restart", "--detach", reference, expect=1, names=[program, words])
        undo()
    # A rebuild: the same name, other content, other time.
    aside = program.with_suffix(".aside")
    program.rename(aside)
    program.write_bytes(aside.read_bytes() + b"rebuilt")
    program.chmod(0o755)
    refused(workspace, "restart", "--detach", reference, expect=1, names=[program, "replaced"])
    aside.rename(program)
    pid = workspace.restart(reference)
    program.unlink()
    result = workspace.checkpoint_result(str(pid), "--name", "own")
    workspace.kill(pid)
    restarted = workspace.restart_result(result.stdout.strip())
    subject.finish(int(restarted.stdout))


def missing_directory(workspace, options):
    folder = workspace.make_directory("folder")
    subject = Subject(workspace, options.subjects, cwd=folder)
    reference = workspace.checkpoint(str(subject.pid))
    workspace.kill(subject.pid)
    folder.rmdir()
    refused(workspace, "restart", "--detach", reference, expect=1, names=[folder, "working directory", "Make the directory again"])
    workspace.make_directory("folder")
    subject.finish(workspace.restart(reference))


if __name__ == "__main__":
    main([open_and_mapped_files, appended_file, replaced_by_its_number, accepted, executable, missing_directory])
