#!/usr/bin/env python3
"""`crs restart --lazy`: the program runs before its memory is there, and cannot tell. Without CAP_SYS_PTRACE all of it comes first."""

import os
import re
import signal
import time

from harness import check, children_of, descendants_of, is_alive, read_text, run_tests, wait_until

PYTHON = "/usr/bin/python3"
MEBIBYTES = 192
SLOWLY = ("--lazy", "--io-limit", "4MiB/s")  # so that memory is still to come when something else has been done

# Fills memory with a pattern of its own on each page. When the file "go" is there, which it is before the restart: forks, gives memory
# back, moves and enlarges it, all before much of it can have come, and checks every page of parent and child.
PROGRAM = """
import mmap, os, pathlib, sys, time
PAGES = %d * 256
pattern = lambda page: ((page * 2654435761 + 12345) & 0xffffffff).to_bytes(4, "little") * 1024
memory = mmap.mmap(-1, PAGES * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(PAGES):
    memory[page * 4096:(page + 1) * 4096] = pattern(page)
pathlib.Path("ready").touch()
while not os.path.exists("go"):
    time.sleep(0.002)
begin = time.monotonic()

def wrong(expected_zero, pages=PAGES):
    return [page for page in range(pages)
            if memory[page * 4096:(page + 1) * 4096] != (bytes(4096) if expected_zero(page) else pattern(page))]

child = os.fork()
if child == 0:
    os._exit(1 if wrong(lambda page: False) else 0)
given_back = range(PAGES - 5000, PAGES - 1000)
memory.madvise(mmap.MADV_DONTNEED, given_back.start * 4096, len(given_back) * 4096)
memory.resize((PAGES + 3000) * 4096)
late = (PAGES - 10) * 4096
with open("input", "rb", buffering=0) as file:
    file.readinto(memoryview(memory)[late:late + 6])  # the kernel's own write to a page that has not come
assert memory[late:late + 6] == b"kernel", memory[late:late + 6]
memory[late:late + 6] = pattern(PAGES - 10)[:6]
problems = wrong(lambda page: page in given_back or page >= PAGES, PAGES + 3000)
status = os.waitpid(child, 0)[1]
pathlib.Path("result").write_text(f"parent {problems[:5]} child {status}")
while not os.path.exists("end"):
    time.sleep(0.01)
sys.exit(0 if not problems and status == 0 else 1)
""" % MEBIBYTES

# A process and two children, each with memory of its own; when "go" is there, all check it.
FAMILY = """
import hashlib, mmap, os, pathlib, random, sys, time
number = next((child for child in (1, 2) if os.fork() == 0), 0)
memory = mmap.mmap(-1, 48 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory[:] = random.Random(number).randbytes(len(memory))
content = hashlib.sha256(memory).digest()
pathlib.Path(f"up-{number}").touch()
while not os.path.exists("go"):
    time.sleep(0.002)
right = hashlib.sha256(memory).digest() == content
if number:
    os._exit(0 if right else 1)
ended = [os.waitpid(-1, 0)[1] for _ in range(2)]
sys.exit(7 if right and ended == [0, 0] else 1)
"""


def make_snapshot(workspace):
    (workspace.work / "input").write_bytes(b"kernel")
    (workspace.work / "input").chmod(0o644)
    runner = workspace.start([workspace.crs_path, "run", "--name", "job", "--", PYTHON, "-c", PROGRAM])
    wait_until(lambda: (workspace.work / "ready").exists(), "the program is ready")
    workspace.crs("checkpoint", "--kill", "job")
    workspace.wait_gone(runner.pid)


def pagers():
    return [pid for pid in descendants_of(os.getpid()) if is_alive(pid) and read_text(f"/proc/{pid}/comm").strip() == "crs-pager"]


def areas_of(pid):
    """Without the stack, which grows, and what the kernel places."""
    lines = read_text(f"/proc/{pid}/maps").splitlines()
    return [re.sub(r" +", " ", line) for line in lines if "[stack]" not in line and "[v" not in line]


def everything_is_as_it_was(workspace):
    """Fork, MADV_DONTNEED, mremap, read(2) into memory that is still to come; areas and the next checkpoint are exact."""
    make_snapshot(workspace)
    eager = workspace.restart("job")
    expected = areas_of(eager)
    workspace.kill(eager)
    lazy = workspace.restart_result("job", "--lazy")
    check(("CAP_SYS_PTRACE" in lazy.stderr) == (workspace.user != "root"), f"{lazy}")
    pid = int(lazy.stdout)
    second = workspace.checkpoint("job")  # waits until all is there
    check(not pagers(), "memory is still coming")
    check(areas_of(pid) == expected, "the areas are others")
    workspace.kill(pid)
    # All at once, as soon as it runs.
    for reference in ("job@1", second):
        (workspace.work / "go").touch()
        (workspace.work / "result").unlink(missing_ok=True)
        program = workspace.restart_in_foreground(reference, "--lazy")
        result = wait_until(lambda: read_text(workspace.work / "result"), "the program has checked its memory")
        check(result == "parent [] child 0", result)
        (workspace.work / "end").touch()
        check(workspace.wait_exit(program) == 0, "")
        (workspace.work / "end").unlink()


def flip_byte_in_the_middle(pages):
    """Of the large memory; what is loaded at once may lie at the end."""
    pages.chmod(0o600)
    with open(pages, "r+b") as file:
        file.seek(pages.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def damage_ends_it(workspace):
    """A page that cannot be trusted is never seen: the program ends, and why is said."""
    make_snapshot(workspace)
    flip_byte_in_the_middle(workspace.store / "job" / "1" / "pages")
    program = workspace.restart_in_foreground("job", "--lazy")
    status = workspace.wait_exit(program)
    said = read_text(workspace.work / "stderr.txt")
    check("fails its checksum" in said, said)
    # Before it ran, or when it did.
    check(status in ((128 + signal.SIGKILL, 4) if workspace.user == "root" else (4,)), f"status {status}")
    workspace.wait_gone()


def ends_with_its_pager(workspace):
    """Killed with the process that brings its memory, the program never sees memory that is not its own: it ends."""
    if workspace.user != "root":
        return
    make_snapshot(workspace)

    pid = workspace.restart("job", *SLOWLY)
    (worker,) = [child for watcher in pagers() for child in children_of(watcher)]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the program ends")
    workspace.wait_gone()


def touched_pages_do_not_wait(workspace):
    """What --io-limit holds back is what nobody asks for."""
    make_snapshot(workspace)
    (workspace.work / "go").touch()
    program = workspace.restart_in_foreground("job", *SLOWLY)
    begin = time.monotonic()
    result = wait_until(lambda: read_text(workspace.work / "result"), "the program has checked its memory")
    check(result == "parent [] child 0", result)
    check(time.monotonic() - begin < MEBIBYTES / 4, "no sooner than at the limit's pace")
    (workspace.work / "end").touch()
    check(workspace.wait_exit(program) == 0, "")


def make_snapshot_of_family(workspace):
    runner = workspace.start([workspace.crs_path, "run", "--name", "job", "--", PYTHON, "-c", FAMILY])
    wait_until(lambda: all((workspace.work / f"up-{number}").exists() for number in range(3)), "the family is up")
    workspace.crs("checkpoint", "--kill", "job")
    workspace.wait_gone(runner.pid)


def a_tree(workspace):
    make_snapshot_of_family(workspace)
    pid = workspace.restart("job", "--lazy")
    second = workspace.checkpoint("job")  # waits until all is there
    check(not pagers(), "memory is still coming")
    workspace.kill(pid)
    workspace.wait_gone()
    for reference in ("job@1", second):
        (workspace.work / "go").touch()
        program = workspace.restart_in_foreground(reference, "--lazy")
        check(workspace.wait_exit(program) == 7, "what a member found, or was")
        (workspace.work / "go").unlink()
    if workspace.user == "root":
        left = workspace.restart("job@1", *SLOWLY)
        check(len(pagers()) > 2, f"the processes that bring the memory: {pagers()}")
        workspace.kill(left)
        wait_until(lambda: not pagers(), "they end with the program")


def damage_ends_a_tree(workspace):
    """What one member cannot have ends all of them."""
    make_snapshot_of_family(workspace)
    flip_byte_in_the_middle(workspace.store / "job" / "1" / "pages")
    program = workspace.restart_in_foreground("job", "--lazy")
    status = workspace.wait_exit(program)
    check("fails its checksum" in read_text(workspace.work / "stderr.txt"), "the reason")
    check(status in ((128 + signal.SIGKILL, 4) if workspace.user == "root" else (4,)), f"status {status}")
    workspace.wait_gone()


if __name__ == "__main__":
    run_tests([everything_is_as_it_was, damage_ends_it, ends_with_its_pager, touched_pages_do_not_wait, a_tree, damage_ends_a_tree])
