#!/usr/bin/env python3
"""docs/snapshot-format.md is exact: a reader written from it alone reads a snapshot, and finds in it what the program had; and it names
every file that is in a store."""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

from harness import Workspace, check, read_text, run_cases, users_to_test, wait_until
from independent_reader import Damaged, Snapshot

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/snapshot-format.md"
# What stands for a part of a name in the page's picture of the store.
PLACEHOLDERS = {"JOB": r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", "SEQ": r"[1-9][0-9]*", "TIME": r"[0-9]{8}T[0-9]{6}Z", "XXXXXX": r"\w{6}"}

# Says on standard output what it has where, and waits.
PROGRAM = r"""
import ctypes, fcntl, hashlib, json, mmap, os, signal, sys, tempfile, threading

def address(area):
    return ctypes.addressof(ctypes.c_char.from_buffer(area))

def noise(text, pages):
    return b"".join(hashlib.sha256(b"%s %d" % (text, i)).digest() * 128 for i in range(pages))

anonymous = mmap.mmap(-1, 700 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, 700, 3):  # runs and gaps; a page written with zeros is none
    anonymous[page * 4096 : page * 4096 + 4096] = bytes(4096) if page % 9 == 0 else noise(b"anonymous %d" % page, 1)
shared = mmap.mmap(-1, 20 * 4096)
shared[5 * 4096 : 8 * 4096] = noise(b"shared", 3)

open("mapped", "wb").write(noise(b"file", 10)[:-100])
file = open("mapped", "r+b")
private = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE)
private[3 * 4096 : 3 * 4096 + 5] = b"mine!"
file.seek(12345)

lost = tempfile.TemporaryFile(buffering=0)
lost.write(b"begin")
lost.seek(3 << 20)
lost.write(b"end")
pipe = os.pipe()
os.write(pipe[1], b"in the pipe")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
threading.Thread(target=threading.Event().wait, daemon=True).start()

areas = {name: [address(area), len(area), bytes(area).hex()] for name, area in
         {"anonymous": anonymous, "shared": shared, "private": private}.items()}
json.dump({"areas": areas, "file": file.fileno(), "lost": lost.fileno(), "pipe": pipe, "pid": os.getpid(),
           "tids": sorted(map(int, os.listdir("/proc/self/task"))), "directory": os.getcwd()}, sys.stdout)
sys.stdout.flush()
signal.pause()
"""


def take_snapshot(workspace):
    """The snapshot's directory and what the program says of itself."""
    output = workspace.work / "self.json"
    runner, _ = workspace.start_by_crs("format", ["/usr/bin/python3", "-c", PROGRAM], stdout=open(output, "ab"))
    wait_until(lambda: read_text(output).endswith("}") or runner.poll() is not None, "the program is ready")
    reference = workspace.checkpoint("format")
    return workspace.store / reference.replace("@", "/"), json.loads(read_text(output))


def memory_is_right(snapshot, said):
    for name, (address, size, content) in said["areas"].items():
        check(snapshot.memory(address, size) == bytes.fromhex(content), f"the {name} memory differs")
    # Not all of it can have come from what is stored, nor all from the rules for what is not.
    start, size, _ = said["areas"]["anonymous"]
    stored = sum(start <= number * 4096 < start + size for number in snapshot.pages)
    check(stored == sum(page % 9 != 0 for page in range(0, 700, 3)), f"{stored} pages of the anonymous memory are stored")


def process_is_right(snapshot, said):
    process = snapshot.process
    threads = process["threads"]["threads"]
    check(process["pid"] == said["pid"] and sorted(thread["tid"] for thread in threads) == said["tids"], "the ids differ")
    check(all(thread["signal_mask"] == 1 << 11 for thread in threads), f"signal masks {[thread['signal_mask'] for thread in threads]}")
    for thread in threads:
        instruction = int.from_bytes(thread["registers"][16 * 8 : 17 * 8], "little")  # rip of struct user_regs_struct
        check(snapshot.area_at(instruction)["protection"] & 4, f"thread {thread['tid']} stands at {instruction:#x}")
        check(len(thread["extended_state"]) >= 576 and thread["attributes"]["name"], "a thread without state or name")
    check(process["attributes"]["working_directory"].decode() == said["directory"], "the working directory differs")
    check(snapshot.manifest["program"]["command_line"][1:] == [b"-c", PROGRAM.encode()], "the command line differs")


def descriptors_are_right(snapshot, said):
    file = snapshot.description(said["file"])["regular_file"]
    check(file["file"]["path"].decode() == said["directory"] + "/mapped" and file["position"] == 12345, f"the file differs: {file}")
    lost = snapshot.description(said["lost"])["content_file"]
    check(lost["position"] == (3 << 20) + 3, f"the unlinked file stands at {lost['position']}")
    check(snapshot.content(lost["object"]) == b"begin" + bytes((3 << 20) - 5) + b"end", "the unlinked file's content differs")
    pipes = snapshot.tree["descriptors"]["pipes"]
    pieces = [pipes[snapshot.description(number)["pipe_end"]["pipe"]]["pieces"] for number in said["pipe"]]
    check(pieces == [[{"data": b"in the pipe", "packet": 0}]] * 2, f"the pipe holds {pieces}")


def damage_is_found(directory):
    """The reader's own checks work: each file with one bit changed, cut short, and missing."""
    names = [path.relative_to(directory) for path in directory.rglob("*") if path.is_file()]
    check(len(names) >= 5, f"only {names}")
    for name in names:
        for damage in ("bit", "cut", "gone"):
            copy = directory.parent / "damaged"
            shutil.copytree(directory, copy)
            path = copy / name
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 16
            path.unlink()
            if damage != "gone":
                path.write_bytes(data if damage == "bit" else data[:-1])
            try:
                Snapshot(copy)
            except Damaged:
                continue
            finally:
                shutil.rmtree(copy)
            check(False, f"{name}: {damage} was not found")


def reads_a_snapshot(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace:
        directory, said = take_snapshot(workspace)
        snapshot = Snapshot(directory)
        memory_is_right(snapshot, said)
        process_is_right(snapshot, said)
        descriptors_are_right(snapshot, said)
        if user == "root" or not workspace.am_root:
            damage_is_found(directory)


def names_of_page():
    """Patterns of the paths below a store that the page's picture of it names; each level is indented by two blanks more."""
    picture = re.search(r"^```\nSTORE/\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    folders, patterns = [], []
    for indentation, name in re.findall(r"^( +)(\S+)", picture, re.MULTILINE):
        pattern = re.sub("|".join(PLACEHOLDERS), lambda word: PLACEHOLDERS[word[0]], re.escape(name.rstrip("/")).replace(r"\-", "-"))
        folders[len(indentation) // 2 - 1 :] = [pattern]
        patterns.append("/".join(folders))
    return patterns


def store_has_no_other_names(options, user):
    """After a row of incremental snapshots and a restart that cuts a file back, beside what the snapshots themselves hold."""
    # Little memory would not be tracked.
    program = "import os, time; memory = os.urandom(32 << 20); log = open('log', 'a', buffering=1)\nwhile True: log.write('line\\n'); time.sleep(0.02)"
    with Workspace(options.crs, user, options.verbose) as workspace:
        _, pid = workspace.start_by_crs("names", ["/usr/bin/python3", "-c", program])
        wait_until(lambda: read_text(workspace.work / "log"), "the program writes")
        workspace.checkpoint("names", "--incremental")
        length = len(read_text(workspace.work / "log"))
        names = {str(path.relative_to(workspace.store)) for path in workspace.store.rglob("*")}
        wait_until(lambda: len(read_text(workspace.work / "log")) > length, "the program writes more")
        workspace.kill(pid)
        again = workspace.restart("names")
        workspace.checkpoint("names", "--incremental")
        names |= {str(path.relative_to(workspace.store)) for path in workspace.store.rglob("*")}
        workspace.kill(again)
    check_names(names)


def check_names(names):
    patterns = names_of_page()
    check({"names/1", "names/1/manifest", "names/set-aside"} <= names, f"the store holds {sorted(names)}")
    # What the page describes elsewhere: a snapshot's own files, and the names of what was set aside.
    inside = re.compile(r"names/([1-9][0-9]*/(?!manifest).*|set-aside(/[^/]+/[^/]+\.from-[0-9]+)?)")
    unknown = [name for name in sorted(names) if not inside.fullmatch(name) and not any(re.fullmatch(known, name) for known in patterns)]
    check(not unknown, f"the page does not name {unknown}")


def page_follows_schema():
    result = subprocess.run([ROOT / "scripts/describe-image.py", "--check"], capture_output=True, text=True)
    check(result.returncode == 0, result.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    cases = [(f"an independent reader, as {user}", lambda user=user: reads_a_snapshot(options, user)) for user in users_to_test()]
    cases += [(f"the names in a store, as {user}", lambda user=user: store_has_no_other_names(options, user)) for user in users_to_test()]
    run_cases([("the page follows the schema", page_follows_schema), *cases])


if __name__ == "__main__":
    sys.exit(main())
