#!/usr/bin/env python3
"""Component self from outside: programs that save themselves, one of 2009 and one that names its memory; restarts, failures, damage."""

import argparse
import os
import pathlib
import shutil
import signal
import sys

from harness import Workspace, check, is_alive, read_text, run_cases, state_of, users_to_test, wait_until

PREFIX = "my_app"


class Program:
    """One of tests/self, in a directory of its own below a workspace."""

    def __init__(self, workspace, options, name):
        self.workspace = workspace
        self.directory = workspace.make_directory("program with a 'quote")  # what goes through a shell does not survive it
        self.path = workspace.reachable(pathlib.Path(options.build) / "self" / name)
        objects = workspace.make_directory("objects")
        library = pathlib.Path(options.build) / "lib"
        shutil.copy(library / "crs" / "self.so", objects / "self.so")
        (objects / "self.so").chmod(0o755)
        libraries = workspace.make_directory("libraries")
        for file in library.glob("libcrs.so*"):
            shutil.copy(file, libraries / file.name)
        workspace.environment.update(CRS_COMPONENT_PATH=str(objects), LD_LIBRARY_PATH=str(libraries), CRS_PARAM_crs_self_prefix=PREFIX,
                                     CRS_PARAM_crs_helper=str(workspace.crs_path), TRIGGER=str(self.directory), PROGRAM=str(self.path))

    def start(self, starter=()):
        return self.workspace.start([*starter, self.path, self.directory])

    def number(self):
        """What the program last wrote, as words."""
        return read_text(self.directory / "number").split()

    def wait_at(self, condition):
        return wait_until(lambda: (words := self.number()) and condition(words) and words, f"{self.path.name} gets there; at {self.number()}")

    def ask(self):
        told = self.directory / "told"
        told.unlink(missing_ok=True)
        (self.directory / "ask").touch()
        wait_until(told.exists, "the checkpoint is done")
        return told.read_text().strip()

    def log(self):
        return [line.split()[0] for line in read_text(self.directory / "log").splitlines()]


def old_style(workspace, options, kind):
    program = Program(workspace, options, f"self_old_style_{kind}")
    # The quote is not for this one: its restart command is a line.
    program.directory = workspace.make_directory("work of 2009")
    workspace.environment["TRIGGER"] = str(program.directory)
    process = program.start()
    program.wait_at(lambda words: int(words[0]) > 20)
    answer = program.ask()
    check(answer.startswith("continue ") and is_alive(process.pid), answer)
    first = answer.split()[1]
    check(program.log() == ["checkpoint", "continue"], f"{program.log()}")
    saved = int(read_text(program.directory / "state").split()[0])
    check(workspace.crs("show", "--json", first).json()["component"]["name"] == "self", "another component was selected")
    # A callback that fails: no snapshot, and the program goes on.
    for name in ("fail-checkpoint", "fail-continue"):
        (program.directory / name).touch()
        answer = program.ask()
        (program.directory / name).unlink()
        check(answer.startswith("error ") and f"{PREFIX}_{name[5:]}() of the program returned -1" in answer, answer)
        check(workspace.snapshots() == [first] and is_alive(process.pid), f"{workspace.snapshots()}")
    workspace.kill(process.pid)
    (program.directory / "state").write_text(f"{saved} 0\n")  # the failing ones have written theirs

    pid = workspace.restart(first, "--env", "SHAPE=round=1")
    words = program.wait_at(lambda words: words[1] == "1" and int(words[0]) > saved + 20)
    check(int(words[2]) == pid and program.log()[-1] == "restart", f"{words} {program.log()}")
    # Its children are not taken for restarted, and it can be saved again.
    check(b"\0SHAPE=round=1\0" in pathlib.Path(f"/proc/{pid}/environ").read_bytes(), "the new variable is not in the environment")
    check(b"CRS_SELF_" in pathlib.Path(f"/proc/{pid}/environ").read_bytes(), "the snapshot is not named in the environment")
    answer = program.ask()
    check(answer.startswith("continue ") and answer.split()[1] != first, answer)
    workspace.kill(pid)
    # Whatever component is chosen now, and whatever mistakes it makes, the restart function is called.
    (program.directory / "call-service").touch()
    pid = workspace.restart(first, env={**workspace.environment, "CRS_PARAM_crs": "native"})
    words = program.wait_at(lambda words: int(words[2]) == pid and int(words[0]) > saved + 20)
    check(words[1] == "2" and program.log()[-1] == "restart", f"{words} {program.log()}")
    workspace.kill(pid)
    (program.directory / "call-service").unlink()
    # It is not left out in silence where the program finds no component self: that ends the restarted program, too.
    process = workspace.restart_in_foreground(first, "--env", f"CRS_COMPONENT_PATH={workspace.make_directory('no objects')}")
    check(workspace.wait_exit(process) == 1, "a restarted program without component self")
    said = read_text(workspace.work / "stderr.txt")
    check(f"could not come back from {first}: component self restarted this program" in said and "CRS_COMPONENT_PATH" in said, said)
    # A restart function that fails ends the restarted program.
    (program.directory / "fail-restart").touch()
    process = workspace.restart_in_foreground(first)
    check(workspace.wait_exit(process) == 1, "a failing restart function")
    said = read_text(workspace.work / "stderr.txt")
    check(f"this program could not come back from {first}: {PREFIX}_restart() of the program returned -1" in said and "no service" not in said, said)
    # Whoever does not wait for its end hears of that all the same.
    result = workspace.crs("restart", "--detach", "--json", first, expect=1)
    failures = result.json()["layer_failures"]
    check(len(failures) == 1 and f"{PREFIX}_restart() of the program returned -1" in failures[0], f"{result}")
    check(f"{first}: the program could not come back: " in result.stderr and "runs, but" not in result.stderr, f"{result}")


def protected(workspace, options, kind):
    program = Program(workspace, options, f"self_protected_{kind}")
    process = program.start()
    program.wait_at(lambda words: int(words[0]) > 20)
    answer = program.ask()
    check(answer.startswith("continue "), answer)
    reference = answer.split()[1]
    shown = workspace.crs("show", "--json", reference).json()
    check(shown["memory_bytes"] == 400004 and shown["program"]["cpu_features"], f"{shown}")
    program.wait_at(lambda words, at=int(program.number()[0]): int(words[0]) > at + 20)
    workspace.kill(process.pid)
    for _ in range(2):
        (program.directory / "number").unlink()
        pid = workspace.restart(reference)
        words = program.wait_at(lambda words: int(words[0]) > int(words[1]) + 10)
        check(int(words[1]) > 20 and int(words[2]) == pid and words[3] == reference, f"{words}")
        workspace.kill(pid)
    # Whoever waits for a restart function that ends its thread hears of that; another thread may go on.
    (program.directory / "end-thread").touch()
    result = workspace.crs("restart", "--detach", "--json", reference, expect=1)
    check(len(failures := result.json()["layer_failures"]) == 1 and "restart function ended its thread" in failures[0], f"{result}")
    workspace.kill(result.json()["pid"])
    # What is damaged is noticed before anything runs.
    memory = pathlib.Path(shown["location"]) / "memory"
    memory.chmod(0o600)
    content = bytearray(memory.read_bytes())
    content[-1000] ^= 1
    memory.write_bytes(content)
    check("memory" in workspace.crs("restart", reference, expect=4).stderr, "damage")


def with_options(workspace, options, kind):
    """What becomes of the program after its checkpoint, and what it finds at a restart."""
    program = Program(workspace, options, f"self_protected_{kind}")
    process = program.start(["sh", "-c", 'sleep 1000 & exec "$0" "$@"'])
    program.wait_at(lambda words: int(words[0]) > 20)
    family = workspace.tree_of(process.pid)
    result = workspace.checkpoint_result(process.pid, "--stop", "--leave-out", "9", "--compress", "none", "--tcp", "refuse")
    reference = result.stdout.strip()
    states = {pid: state_of(pid) for pid in family}
    check("component self makes its snapshots itself, in the program, and knows nothing of --leave-out, --compress, --tcp" in result.stderr, f"{result}")
    check(list(states.values()) == ["T", "T"] and f"process {process.pid} is stopped" in result.stderr, f"{states}: {result}")
    stopped_at = int(program.number()[0])
    for pid in reversed(family):
        os.kill(pid, signal.SIGCONT)
    program.wait_at(lambda words: int(words[0]) > stopped_at + 20)
    workspace.checkpoint(process.pid, "--kill")
    check(workspace.wait_exit(process) == -signal.SIGKILL, "it was ended")
    wait_until(lambda: not is_alive(family[1]), "its child was ended, too")
    for mask in ("027", "0"):
        (program.directory / "number").unlink()
        pid = int(workspace.run(["sh", "-c", f'umask {mask}; exec "$0" "$@"', workspace.crs_path, "restart", "--detach", reference]).stdout)
        program.wait_at(lambda words: int(words[0]) > int(words[1]) + 10)
        # The mask is that of whoever restarts it, as it was that of whoever started it.
        mode = (program.directory / "number").stat().st_mode & 0o777
        check(mode == 0o666 & ~int(mask, 8), f"the file has mode {mode:o}")
        check(f"Umask:\t{int(mask, 8):04o}" in read_text(f"/proc/{pid}/status"), read_text(f"/proc/{pid}/status"))
        workspace.kill(pid)


def slow_end(workspace, options, kind):
    """A layer that takes longer with the end than the asker allows is cut off, and the program ends with all of its processes."""
    if kind == "static":
        return slow_end_of_its_own(workspace, options, kind)
    program = Program(workspace, options, f"self_protected_{kind}")
    workspace.environment["ENDS_SLOWLY"] = "1"
    process = program.start(["sh", "-c", 'sleep 1000 & exec "$0" "$@"'])
    program.wait_at(lambda words: int(words[0]) > 5)
    child = workspace.tree_of(process.pid)[1]
    result = workspace.checkpoint_result(process.pid, "--kill", "--timeout", "0.5", expect=1)
    check("at the program's end: the program's layers have not gone on within the time limit" in result.stderr, f"{result}")
    check(workspace.wait_exit(process) == -signal.SIGKILL, "it was ended")
    wait_until(lambda: not is_alive(child), "its child was ended, too")


def slow_end_of_its_own(workspace, options, kind):
    """The same where the program asks itself: the crs that takes its snapshot does it, to those, too, that lose their parents meanwhile."""
    program = Program(workspace, options, f"self_protected_{kind}")
    workspace.environment["ENDS_SLOWLY"] = "1"
    process = program.start(["sh", "-c", 'sh -c "sleep 1000; exit 3" & exec "$0" "$@"'])
    program.wait_at(lambda words: int(words[0]) > 5)
    _, child, grandchild = wait_until(lambda: len(family := workspace.tree_of(process.pid)) == 3 and family, "all are there")
    (program.directory / "ask.new").write_text("3000")
    (program.directory / "ask.new").rename(program.directory / "ask")
    wait_until((program.directory / "ending").exists, "the layer hears of the end")
    os.kill(child, signal.SIGKILL)
    check(workspace.wait_exit(process) == -signal.SIGKILL, "it was ended")
    wait_until(lambda: not is_alive(grandchild), "its orphan was ended, too")
    shown = workspace.crs("show", "--json", workspace.snapshots()[0]).json()
    check("the layers had not ended within the time limit" in shown["layer_times"]["checkpoint"]["failures"][0], f"{shown}")


def dies_at_its_end(workspace, options, kind):
    """What is left of one that dies while its layers hear of the end that it asked for itself is ended with it."""
    program = Program(workspace, options, f"self_protected_{kind}")
    workspace.environment["ENDS_SLOWLY"] = "1"
    process = program.start(["sh", "-c", 'sleep 1000 & exec "$0" "$@"'])
    program.wait_at(lambda words: int(words[0]) > 5)
    child = workspace.tree_of(process.pid)[1]
    (program.directory / "ask.new").write_text("60000")
    (program.directory / "ask.new").rename(program.directory / "ask")
    wait_until((program.directory / "ending").exists, "the layer hears of the end")
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(child), "its child is ended, too")
    shown = workspace.crs("show", "--json", workspace.snapshots()[0]).json()
    check("the program ended before its layers" in shown["layer_times"]["checkpoint"]["failures"][0], f"{shown}")


def commands(workspace, options, kind):
    """What a restart runs: looked for in $PATH, by no shell, in its directory, with signals as of a new program."""
    program = Program(workspace, options, f"self_protected_{kind}")
    place, other = workspace.make_directory("place"), workspace.make_directory("other")
    said = workspace.work / "said"
    words = f'trap >"{said}.new"; pwd >>"{said}.new"; grep SigIgn /proc/self/status >>"{said}.new"; mv "{said}.new" "{said}"\n'

    def write(directory, text, mode):
        file = directory / "command-of-test"
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)

    workspace.environment.update(COMMAND="command-of-test", DIRECTORY=str(place), PATH=f"{other}:{place}:{os.environ['PATH']}")
    process = program.start()
    program.wait_at(lambda words: int(words[0]) > 5)
    reference = program.ask().split()[1]
    workspace.kill(process.pid)
    write(other, "#!/bin/sh\n", 0o644 if workspace.uid != 0 else 0o600)  # may not be executed
    write(place, "#!/bin/sh\n" + words, 0o755)
    for way in ("--detach", "--replace"):
        workspace.crs("restart", way, reference)
        wait_until(said.exists, "the command has run")
        lines = said.read_text().splitlines()
        ignored = int(lines[-1].split()[1], 16)
        check(lines[-2] == str(place) and not ignored & 1 << signal.SIGXFSZ - 1, f"{way}: {lines}")
        said.unlink()
    # A program that is to become it is told beforehand that it cannot; nothing is started for that.
    workspace.crs("restart", "--replace", "--check-only", reference)
    check(not said.exists(), "the command was run to see whether it can be")
    (place / "command-of-test").chmod(0o644 if workspace.uid != 0 else 0o600)
    result = workspace.crs("restart", "--replace", "--check-only", reference, expect=1)
    check("'command-of-test' cannot be executed: Permission denied" in result.stderr, f"{result}")
    # What no kernel executes is no shell's either.
    write(place, words, 0o755)
    result = workspace.crs("restart", "--detach", reference, expect=1)
    check("'command-of-test' cannot be executed: Exec format error" in result.stderr and not said.exists(), f"{result}")
    shutil.rmtree(place)
    for way in (["--detach"], ["--replace"], ["--replace", "--check-only"]):
        result = workspace.crs("restart", *way, reference, expect=1)
        check(f"working directory '{place}' cannot be entered: No such file" in result.stderr, f"{result}")


def another_executable(workspace, options, kind):
    """What has taken the executable's place is what a restart runs; where nothing has, no snapshot promises one."""
    program = Program(workspace, options, f"self_protected_{kind}")
    copy = workspace.make_directory("replaced") / "program"
    shutil.copy(program.path, copy)
    copy.chmod(0o755)
    program.path = copy
    process = program.start()
    program.wait_at(lambda words: int(words[0]) > 20)
    copy.rename(copy.with_name("before"))
    answer = program.ask()
    check(answer.startswith("continue "), f"a file that was moved is still the program: {answer}")
    copy.with_name("before").rename(copy)
    other = copy.with_name("other")
    shutil.copy(copy, other)
    other.rename(copy)
    answer = program.ask()
    check(answer.startswith("continue "), answer)
    before = copy.with_name("aside")
    copy.rename(before)
    lost = program.ask()
    check(lost.startswith("error ") and f"the program's executable {copy}, which a restart needs, is gone" in lost, lost)
    before.rename(copy)
    workspace.kill(process.pid)
    (program.directory / "number").unlink()
    pid = workspace.restart(answer.split()[1])
    program.wait_at(lambda words: int(words[0]) > 20)
    check(os.readlink(f"/proc/{pid}/exe") == str(copy), "another program was started")
    workspace.kill(pid)


def elsewhere(workspace, options, kind):
    """A program that does not stand in the tree of its library finds the component in that of the crs in PATH."""
    program = Program(workspace, options, f"self_protected_{kind}")
    tree = workspace.make_directory("tree")
    components = tree / "lib" / "crs"
    components.mkdir(parents=True)
    (tree / "bin").mkdir()
    shutil.copy(workspace.environment["CRS_COMPONENT_PATH"] + "/self.so", components / "self.so")
    shutil.copy(workspace.crs_path, tree / "bin" / "crs")
    copy = workspace.make_directory("elsewhere") / "program"
    shutil.copy(program.path, copy)
    program.path = copy
    for name in ("CRS_COMPONENT_PATH", "CRS_PARAM_crs_helper"):
        del workspace.environment[name]
    workspace.environment["PATH"] = f"{tree}/bin:{workspace.environment['PATH']}"
    process = program.start()
    program.wait_at(lambda words: int(words[0]) > 20)
    answer = program.ask()
    check(answer.startswith("continue "), answer)
    check(workspace.crs("show", "--json", answer.split()[1]).json()["component"]["name"] == "self", "another component took it")
    workspace.kill(process.pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only")
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()

    def case(test, kind, user):
        def run():
            with Workspace(options.crs, user, options.verbose) as workspace:
                test(workspace, options, kind)
        return f"{test.__name__} {kind} as {user}", run

    run_cases([case(test, kind, user) for test in (old_style, protected, with_options, slow_end, dies_at_its_end, commands, another_executable, elsewhere) for kind in ("shared", "static") for user in users_to_test()
               if options.only in (None, test.__name__)])


if __name__ == "__main__":
    sys.exit(main())
