#!/usr/bin/env python3
"""Checkpoints that are asked for from outside, of a program with a service: its layers are told, the asker hears what delays it; askers
that disappear, programs that end, hostile messages and planted sockets harm nobody."""

import argparse
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess

from harness import Workspace, check, describe_process, is_alive, is_left_out, read_text, run_cases, state_of, users_to_test, wait_until
from terminals import Terminal

PREPARED = ["upper checkpoint", "lower checkpoint"]
CONTINUED = ["lower continue", "upper continue"]
RESTARTED = ["upper restart-pre", "lower restart-pre", "lower restart", "upper restart"]
ENDED = ["lower term", "upper term"]
# Whatever it starts as has a child with a child of its own, and an orphan.
WITH_FAMILY = ["sh", "-c", '(sleep 1000; :) & (sleep 1000 &); exec "$0" "$@"']


class Program:
    """A run of tests/service/teller.cc that listens to requests."""

    def __init__(self, workspace, arguments, *words, waits=1, starter=(), **options):
        self.workspace, self.program = workspace, workspace.reachable(arguments.teller)
        command = [*starter, self.program, workspace.crs_path, "requests", *words]
        self.runner, self.pid = workspace.start_by_crs("sim", command, program=self.program, **options)
        wait_until(lambda: self.lines().count("waiting") == waits, f"the program waits: {self.lines()}")

    def lines(self):
        return read_text(self.workspace.work / "stdout.txt").splitlines()

    def told(self):
        return [line for line in self.lines() if line != "waiting"]

    def go_on(self):
        os.kill(self.pid, signal.SIGUSR1)

    def family(self):
        """The processes beside its own, where WITH_FAMILY started it."""
        others = lambda: set(self.workspace.tree_of(self.pid)) - {self.pid}
        return wait_until(lambda: (found := others()) and len(found) == 3 and found, f"it has a family: {others()}")

    def socket_path(self):
        found = list(self.workspace.directory.glob(f"run/crs/{self.pid}-*"))
        check(len(found) == 1, f"sockets: {found}")
        return found[0]

    def still_works(self):
        """A whole checkpoint, after whatever happened: one whose asker is gone may be undone before it."""
        before = len(self.told())
        self.workspace.checkpoint(self.pid)
        whole = PREPARED + CONTINUED
        check(len(self.told()) >= before + len(whole) and self.told()[-len(whole) :] == whole, f"{self.told()[before:]}")


def case_layers_are_told(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "5")
        result = workspace.crs("checkpoint", "--json", "sim").json()
        check(result["reference"] == "sim@1", f"{result}")
        told = [(time["layer"], time["state"]) for time in result["layer_times"]]
        # The service's own part in it is nobody's layer.
        check([layer for layer, _ in told] == ["upper", "lower", "lower", "upper"] and told[0][1] == "checkpoint" and told[-1][1] == "continue", f"{told}")
        check(program.told() == PREPARED + CONTINUED, f"{program.told()}")
        shown = workspace.crs("show", "--json", "sim@1").json()
        check([layer["name"] for layer in shown["layers"]] == ["lower", "upper"], f"{shown['layers']}")
        check(all(layer["checkpoint_nanoseconds"] > 0 for layer in shown["layers"]), f"{shown['layers']}")
        phases = [(phase["layer"], phase["state"]) for phase in shown["layer_times"]["checkpoint"]["phases"]]
        check(phases == [("lower", "continue"), ("upper", "continue")], f"{phases}")
        check(shown["layer_times"]["restart"] is None, "nothing was restarted")
        times = workspace.store / "sim" / "layers-1"
        times.write_bytes(times.read_bytes()[:-1] + b"!")
        result = workspace.crs("show", "sim@1")
        check("fails its checksum" in result.stderr and "upper                    checkpoint" in result.stdout, f"{result}")
        check(workspace.checkpoint(program.pid) == "sim@2", "by process id")
        check(program.told() == (PREPARED + CONTINUED) * 2, f"{program.told()}")
        program.go_on()
        check(workspace.wait_exit(program.runner) == 5, "the program's end")
        check(not list(workspace.directory.glob("run/crs/*")), "the socket is gone with the program")


def case_after_a_restart(arguments, user, ids):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "5")
        workspace.checkpoint("sim", "--kill")
        check(program.told() == PREPARED + ["lower term", "upper term"], f"{program.told()}")
        check(workspace.wait_exit(program.runner) == 137, "the program was ended")
        descriptors = None
        for round in (1, 2, 3):
            restarted = workspace.start([workspace.crs_path, "restart", "--ids", ids, "sim"])
            # The thread that carried out the checkpoint tells the layers; the file was cut back to the checkpoint.
            wait_until(lambda: program.told()[-4:] == RESTARTED, f"restart {round}: {program.told()}")
            program.pid = workspace.program_below(restarted, program.program)
            count = len(list(pathlib.Path(f"/proc/{program.pid}/fd").iterdir()))
            wait_until(lambda: len(list(pathlib.Path(f"/proc/{program.pid}/fd").iterdir())) <= (descriptors or 100), "no leak")
            descriptors = descriptors or count
            before = len(program.told())
            workspace.checkpoint("sim", "--kill" if round < 3 else "--timeout=30")
            told = program.told()[before:]
            check(told == PREPARED + (["lower term", "upper term"] if round < 3 else CONTINUED), f"round {round}: {told}")
            if round < 3:
                workspace.wait_exit(restarted)
        # The restarts were each from the snapshot before.
        # Noted by the restart, beside what the program does.
        times = lambda: workspace.crs("show", "--json", "sim@3").json()["layer_times"]["restart"]
        phases = [(phase["layer"], phase["state"]) for phase in wait_until(times, "the times of the restart")["phases"]]
        check(phases[:2] == [("upper", "restart-pre"), ("lower", "restart-pre")], f"{phases}")
        check(phases[2:] == [("lower", "restart"), ("upper", "restart")], f"{phases}")
        check("lower                    restart-pre" in workspace.crs("show", "sim@3").stdout, "as text")
        os.kill(program.pid, signal.SIGUSR1)
        check(workspace.wait_exit(restarted) == 5, "the end")
        left = list(workspace.directory.glob("run/crs/*"))
        check(left == [], f"of four processes there are {left}")


def case_single(arguments, user):
    """What the command line asks of a snapshot counts for a program with a service, too."""
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "5", starter=WITH_FAMILY)
        program.family()
        result = workspace.crs("checkpoint", "--single", str(program.pid), expect=1)
        check("leave --single away" in result.stderr and workspace.snapshots() == [], f"{result}")
        # The asker has its answer first.
        wait_until(lambda: program.told() == [*PREPARED, "lower error", "upper error"], "both layers have been told of the error")


def case_layer_cannot_go_on(arguments, user):
    """The snapshot is complete and named, but the program does not go on as it did: no success."""
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "5", env={**workspace.environment, "TELLER_FAILS": "lower continue"})
        result = workspace.crs("checkpoint", "--json", "sim", expect=1)
        check(result.json()["reference"] == "sim@1", f"{result}")
        check("it was told to fail" in result.json()["layer_failures"][0] and "not as it did" in result.stderr, f"{result}")
        result = workspace.crs("checkpoint", "sim", expect=1)
        check(result.stdout == "sim@2\n" and program.told() == (PREPARED + CONTINUED) * 2, f"{result}: {program.told()}")
        program.go_on()
        check(workspace.wait_exit(program.runner) == 5, "the program's end")


def case_layer_ends_its_thread(arguments, user):
    """The asker hears of it at once, as often as it happens."""
    if "CRS_SANITIZE:STRING=\n" not in (arguments.build / "CMakeCache.txt").read_text():
        print("left out in a sanitized build, which does not follow the end of a thread through its frames")
        return
    for where, words in (("lower checkpoint", "ended"), ("lower continue", "was ended")):
        with Workspace(arguments.crs, user) as workspace:
            program = Program(workspace, arguments, "wait", "exit", "5", env={**workspace.environment, "TELLER_ENDS_THREAD": where})
            before = len(os.listdir(f"/proc/{program.pid}/fd"))
            for _ in range(40):  # more than are served at once
                result = workspace.crs("checkpoint", "--timeout", "20", "sim", expect=1)
                check(words in result.stderr and "does not answer" not in result.stderr, f"{result}")
            wait_until(lambda: len(os.listdir(f"/proc/{program.pid}/fd")) <= before, "no connection stays open")
            program.go_on()
            check(workspace.wait_exit(program.runner) == 5, "the program's end")
    # One that is cancelled carries the checkpoint out, and says so, before it ends.
    for where in ("lower checkpoint", "lower continue"):
        with Workspace(arguments.crs, user) as workspace:
            program = Program(workspace, arguments, "wait", "exit", "5", env={**workspace.environment, "TELLER_CANCELS_THREAD": where})
            for number in (1, 2):
                result = workspace.crs("checkpoint", "--timeout", "20", "sim")
                check(result.stdout == f"sim@{number}\n", f"{result}")
            program.go_on()
            check(workspace.wait_exit(program.runner) == 5, "the program's end")


def case_layer_takes_long_to_end(arguments, user):
    """The layers of a program that is to end have as long as the asker says; if that is not enough, it is no success."""
    for limit, status in (("1", 1), ("60", 0)):
        with Workspace(arguments.crs, user) as workspace:
            program = Program(workspace, arguments, "wait", "exit", "5", env={**workspace.environment, "TELLER_SLEEPS": "lower term"})
            result = workspace.crs("checkpoint", "--kill", "--json", "--timeout", limit, "sim", expect=status)
            failures = result.json()["layer_failures"]
            check(result.json()["reference"] == "sim@1" and len(failures) == status, f"{result}")
            check(status == 0 or ("had not ended within 1 s" in failures[0] and failures[0] in result.stderr), f"{result}")
            workspace.wait_exit(program.runner)
            check(("upper term" in program.told()) == (status == 0), f"{program.told()}")


def case_ends_with_its_family(arguments, user):
    """All processes of a program end with it, also one that a layer makes when it hears of the end, and the orphans."""
    with Workspace(arguments.crs, user) as workspace:
        environment = {**workspace.environment, "TELLER_FORKS": "lower term"}
        program = Program(workspace, arguments, "wait", "exit", "5", starter=WITH_FAMILY, env=environment)
        family = program.family()
        workspace.checkpoint("sim", "--kill")
        check([line for line in program.told() if not line.startswith("child")] == PREPARED + ENDED, f"{program.told()}")
        family.update(int(line.split()[1]) for line in program.told() if line.startswith("child"))
        check(len(family) == 4, f"{family}: {program.told()}")
        left = [describe_process(pid) for pid in family if is_alive(pid)]
        check(left == [], "\n".join(left))
        check(workspace.wait_exit(program.runner) == 137, "the program was ended")


def case_family_goes_on_until_the_end(arguments, user):
    """The layers may need the program's other processes when they hear of its end, and all of them end at the time limit, too."""
    with Workspace(arguments.crs, user) as workspace:
        environment = {**workspace.environment, "TELLER_SLEEPS": "lower term"}
        program = Program(workspace, arguments, "wait", "exit", "5", starter=WITH_FAMILY, env=environment)
        family = program.family()
        asker = workspace.start([workspace.crs_path, "checkpoint", "--kill", "--timeout", "5", "sim"], stdout=workspace.output_file("asker.txt"))
        wait_until(lambda: "lower term" in program.told(), f"the layers hear of the end: {program.told()}")
        states = lambda: {pid: state_of(pid) for pid in family}
        wait_until(lambda: set(states().values()) == {"S"}, f"the others go on: {states()}", limit=4)
        check(workspace.wait_exit(asker) == 1 and read_text(workspace.work / "asker.txt") == "sim@1\n", "it is no success, with a snapshot")
        left = [describe_process(pid) for pid in family if is_alive(pid)]
        check(left == [], "\n".join(left))
        check("upper term" not in program.told(), f"{program.told()}")


def case_ends_on_a_terminal(arguments, user):
    """That the program is stopped for a moment before it ends is nothing for the shell whose job crs run is."""
    with Workspace(arguments.crs, user) as workspace, Terminal(workspace) as terminal:
        program = workspace.reachable(arguments.teller)
        terminal.run(workspace.crs_path, "run", "--name", "sim", "--", program, workspace.crs_path, "requests", "wait", "exit", "5")
        terminal.expect(b"waiting")
        workspace.checkpoint("sim", "--kill")
        wait_until(lambda: b"shell: ended 137" in terminal.read(), "the program was ended")
        check(b"upper term" in terminal.seen and b"shell: stopped" not in terminal.seen, f"{terminal.seen}")
        workspace.wait_exit(terminal.shell)


def case_ends_in_a_layer(arguments, user):
    """A program that ends by itself when it hears of its end: its snapshot is there, but not all layers were told."""
    with Workspace(arguments.crs, user) as workspace:
        environment = {**workspace.environment, "TELLER_ENDS": "lower term"}
        program = Program(workspace, arguments, "wait", "exit", "5", starter=WITH_FAMILY, env=environment)
        family = program.family()
        result = workspace.crs("checkpoint", "--kill", "--json", "sim", expect=1)
        words = "the program ended before all its layers had been told that it ends"
        check(result.json()["reference"] == "sim@1" and result.json()["layer_failures"] == [words] and words in result.stderr, f"{result}")
        check(words in workspace.crs("show", "sim@1").stdout and workspace.snapshots() == ["sim@1"], f"{workspace.snapshots()}")
        check(program.told() == PREPARED + ["lower term"], f"{program.told()}")
        check(workspace.wait_exit(program.runner) == 4, "the program's own end")
        left = [describe_process(pid) for pid in family if is_alive(pid)]
        check(left == [], "\n".join(left))
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "5", env={**workspace.environment, "TELLER_ENDS": "lower continue"})
        result = workspace.crs("checkpoint", "--json", "sim", expect=1)
        words = "the program ended before its layers had gone on"
        check(result.json()["layer_failures"] == [words] and words in workspace.crs("show", "sim@1").stdout, f"{result}")
        workspace.wait_exit(program.runner)


def case_layer_fails_under_crs_run(arguments, user):
    """Snapshots that crs run takes by itself count although a layer failed after them, not where one failed before; both are said."""
    for failing, options, status in (("lower continue", ["--every", "200ms"], 5), ("lower term", ["--on-signal", "USR1"], 85),
                                     ("lower checkpoint", ["--on-signal", "USR1"], 128 + signal.SIGTERM)):
        with Workspace(arguments.crs, user) as workspace:
            environment = {**workspace.environment, "TELLER_FAILS": failing}
            program = Program(workspace, arguments, "wait", "exit", "5", env=environment, run=options)
            said = lambda: read_text(workspace.work / "stderr.txt")
            if failing == "lower continue":
                wait_until(lambda: len(workspace.snapshots()) >= 2, "it goes on taking snapshots")
                program.go_on()
            else:
                program.runner.send_signal(signal.SIGTERM)
            check(workspace.wait_exit(program.runner) == status, f"{failing}: {program.runner.returncode}, {said()}")
            check(f"it was told to fail (layer 'lower' at {failing.split()[1]}" in said(), f"{failing}: {said()}")
            if failing == "lower checkpoint":
                check(workspace.snapshots() == [] and "there is no last snapshot of sim: it gets SIGTERM" in said(), f"{said()}")
                check(program.told() == PREPARED + ["upper error"], f"{program.told()}")
            else:
                what = "at the program's end" if status == 85 else "the program goes on, but not as it did"
                check(f"warning: {what}: it was told to fail" in said(), f"{failing}: {said()}")
            check(("sim@1 is the last snapshot" in said()) == (status == 85), f"{failing}: {said()}")


def case_below_the_first_process(arguments, user):
    """The layers of a service that a script started are not told, and that is said."""
    with Workspace(arguments.crs, user) as workspace:
        script = '"$0" "$@"; exit $?'
        program = workspace.reachable(arguments.teller)
        runner, shell = workspace.start_by_crs("sim", ["sh", "-c", script, program, workspace.crs_path, "requests", "wait", "exit", "5"])
        wait_until(lambda: "waiting" in read_text(workspace.work / "stdout.txt"), "the program waits")
        teller = workspace.program_below(runner, program)
        words = f"process {teller} has a service whose layers are not told"
        for arguments_ in (["--dry-run"], []):
            result = workspace.crs("checkpoint", "--json", *arguments_, "sim")
            check(words in result.stderr and any(words in warning for warning in result.json()["warnings"]), f"{result}")
        check(read_text(workspace.work / "stdout.txt") == "waiting\n", "its layers were told")
        result = workspace.crs("checkpoint", "--json", teller)
        warnings = [text for text in result.json()["warnings"] if "nobody has used it yet" not in text]  # of what other tests have made
        check(warnings == [] and PREPARED[0] in read_text(workspace.work / "stdout.txt"), f"{result}")
        os.kill(teller, signal.SIGUSR1)
        check(workspace.wait_exit(runner) == 5, "the program's end")


def case_a_subreaper(arguments, user):
    """A program that orphans come to (prctl(2), PR_SET_CHILD_SUBREAPER): what CRS starts is no child of it, asked or by itself."""
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "subreaper", "wait", "checkpoint", "children", "wait", "exit", "5")
        program.still_works()
        program.go_on()
        wait_until(lambda: program.lines().count("waiting") == 2, "the program has taken its own checkpoint")
        check(program.told()[-2:] == ["checkpoint continue sim@2", "no children, a subreaper"], f"{program.told()}")
        workspace.checkpoint("sim", "--kill")
        workspace.wait_exit(program.runner)
        restarted = workspace.start([workspace.crs_path, "restart", "sim"])
        wait_until(lambda: program.told()[-4:] == RESTARTED, f"{program.told()}")
        program.pid = workspace.program_below(restarted, program.program)
        program.go_on()
        check(workspace.wait_exit(restarted) == 5, "the end")


def case_asked_from_outside_its_namespace(arguments, user):
    """By root, who has no user id in the private user namespace of a restarted program."""
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "5")
        workspace.checkpoint("sim", "--kill")
        workspace.wait_exit(program.runner)
        restarted = workspace.start([workspace.crs_path, "restart", "--ids", "namespace", "sim"])
        wait_until(lambda: program.told()[-4:] == RESTARTED, f"{program.told()}")
        program.pid = workspace.program_below(restarted, program.program)
        before = len(program.told())
        store = workspace.directory / "root-store"
        environment = {**workspace.environment, "CRS_STORE": str(store)}
        result = workspace.crs("checkpoint", program.pid, env=environment, user=None, group=None, extra_groups=None, limit=60)
        check(program.told()[before:] == PREPARED + CONTINUED, f"{program.told()[before:]}; {result}")
        check(list(store.glob("*/1/manifest")), f"the snapshot is in root's store: {result}")
        program.go_on()
        check(workspace.wait_exit(restarted) == 5, "the end")


def case_delayed(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "section", "wait", "exit", "0")
        result = workspace.crs("checkpoint", "--timeout", "0.3", "sim", expect=1)
        check(re.search(r"delayed 0\.\d s by thread 'solver' in a critical section", result.stderr), f"{result}")
        check("cannot checkpoint sim" in result.stderr and program.told() == [], f"{result}")
        asker = workspace.start([workspace.crs_path, "checkpoint", "sim"], stdout=workspace.output_file("asker.txt"))
        wait_until(lambda: "by thread 'solver'" in read_text(workspace.work / "stderr.txt"), "the asker hears of the delay")
        check(workspace.snapshots() == [], f"{workspace.snapshots()}")
        program.go_on()
        check(workspace.wait_exit(asker) == 0, "the checkpoint comes when the section is left")
        check(read_text(workspace.work / "asker.txt") == "sim@1\n", "the asker's output")


def case_asker_disappears(arguments, user):
    """At every stage: while it waits for a section, in the queue, and while its engine is at work."""
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "section", "wait", "exit", "0")
        first = workspace.start([workspace.crs_path, "checkpoint", "sim"])
        wait_until(lambda: "by thread 'solver'" in read_text(workspace.work / "stderr.txt"), "the first waits for the section")
        second = workspace.start([workspace.crs_path, "checkpoint", "--verbose", "sim"])
        wait_until(lambda: "accepted" in read_text(workspace.work / "stderr.txt"), "the second is in the queue")
        for asker in (second, first):
            asker.kill()
            workspace.wait_exit(asker)
        program.go_on()
        wait_until(lambda: program.lines().count("waiting") == 2, "the program goes on")
        program.still_works()
        for delay in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08):
            asker = workspace.start([workspace.crs_path, "checkpoint", "sim"])
            try:
                asker.wait(delay)
            except subprocess.TimeoutExpired:
                asker.kill()
                workspace.wait_exit(asker)
        program.still_works()
        program.go_on()
        check(workspace.wait_exit(program.runner) == 0, "the program's end")


def case_program_ends(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "section", "exit", "0")
        asker = workspace.start([workspace.crs_path, "checkpoint", "sim"])
        wait_until(lambda: "by thread 'solver'" in read_text(workspace.work / "stderr.txt"), "the asker waits")
        os.kill(program.pid, signal.SIGKILL)
        check(workspace.wait_exit(asker) == 1, "the asker's status")
        check(f"process {program.pid} ended" in read_text(workspace.work / "stderr.txt"), "the reason")
        check(workspace.snapshots() == [], f"{workspace.snapshots()}")


def case_program_ends_by_itself(arguments, user):
    """However it ends, and whoever waits for a checkpoint of it just then: no socket stays behind, and no snapshot that nobody was told of."""
    for way in ("return", "cancelled", "exited", "fork", "thread", "finalize", "busy", "inside", "section", "layer"):
        # A child of a program with several threads may find the sanitizer's own locks taken for ever.
        if way == "fork" and is_left_out(arguments.crs, "a program that forks"):
            continue
        with Workspace(arguments.crs, user) as workspace:
            program = workspace.reachable(arguments.build / "library" / "ending")
            environment = {**workspace.environment, "CRS_PARAM_crs_helper": str(workspace.crs_path)}
            # The C library forgets the destructors of a main thread that ends alone, which LeakSanitizer tells of.
            if way == "exited":
                environment["ASAN_OPTIONS"] = "detect_leaks=0"
            runner, pid = workspace.start_by_crs("sim", [program, way], env=environment)
            wait_until(lambda: "waiting" in read_text(workspace.work / "stdout.txt"), "the program waits")
            sockets = lambda: list(workspace.directory.glob("run/crs/*"))
            check(len(sockets()) == 1, f"{way}: {sockets()}")
            asker = None
            if way in ("thread", "finalize", "busy", "section", "layer"):
                slowly = ["--verbose", "--compress", "none", "--io-limit", "1MB/s"] if way == "busy" else []
                asker = workspace.start([workspace.crs_path, "checkpoint", *slowly, "sim"], stdout=workspace.output_file("asker.txt"))
            if way == "busy":
                wait_until(lambda: "snapshotting" in read_text(workspace.work / "stderr.txt"), "the snapshot is being taken")
            if way in ("thread", "finalize", "section"):
                wait_until(lambda: "in a critical section" in read_text(workspace.work / "stderr.txt"), "the asker waits")
            if way == "inside":
                told = workspace.crs("checkpoint", "sim").stdout.split()
                check(told == workspace.snapshots() and len(sockets()) == 1, f"{told}")
            if way != "layer":
                os.kill(pid, signal.SIGUSR1)
            check(workspace.wait_exit(runner) == 3, f"{way}: status {runner.returncode}")
            if asker:
                status = workspace.wait_exit(asker)
                # The section of a main thread that ends is over, and the checkpoint may be quicker than the end of the process.
                told = read_text(workspace.work / "asker.txt").split()
                check(told == workspace.snapshots() and (status == 0) == (told != []), f"{way}: {status}, {told}, {workspace.snapshots()}")
                check(way == "section" or status == (0 if way == "busy" else 1), f"{way}: status {status}")
            check(sockets() == [], f"{way}: {sockets()} stays behind")


def case_several_askers(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "together", "2", "wait", "exit", "0")
        output = [workspace.output_file("asker.txt") for _ in range(3)]
        askers = [workspace.start([workspace.crs_path, "checkpoint", "sim"], stdout=file) for file in output]
        program.go_on()
        for asker in askers:
            check(workspace.wait_exit(asker) == 0, "an asker's status")
        wait_until(lambda: program.lines().count("waiting") == 2, "the program's own are done")
        check(workspace.snapshots() == [f"sim@{number}" for number in range(1, 6)], f"{workspace.snapshots()}")
        layers = [line for line in program.told() if not line.startswith("checkpoint")]
        check(layers == (PREPARED + CONTINUED) * 5, f"one after the other: {layers}")


def case_hostile_messages(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "0")
        request = b"\xa1gversion\x01"
        inputs = [b"", b"\0", b"\0\0\0\0", b"\xff\xff\xff\xff", struct.pack("<I", 5) + b"hello", struct.pack("<I", 9) + request]
        inputs += [struct.pack("<I", 1 << 20) + b"\x81" * (1 << 20), struct.pack("<I", 100) + b"x" * 50]
        for data in inputs:
            with socket.socket(socket.AF_UNIX) as asker:
                asker.connect(str(program.socket_path()))
                asker.sendall(data)
                if not data:
                    continue
                asker.shutdown(socket.SHUT_WR)
                answer = asker.recv(65536)
                check(answer == b"" or b"failure" in answer, f"{data[:20]}: {answer}")
        # Connections none of which ever comes to the point; then more than are served at once.
        idle = []
        for count, served in ((20, True), (40, False)):
            while len(idle) < count:
                idle.append(socket.socket(socket.AF_UNIX))
                idle[-1].connect(str(program.socket_path()))
            if served:
                program.still_works()
        result = workspace.crs("checkpoint", "sim", expect=1)
        check("too many ask this program" in result.stderr, f"{result}")
        for asker in idle:
            asker.close()
        program.still_works()
        program.go_on()
        check(workspace.wait_exit(program.runner) == 0, "the program's end")


# A program that answers a request with progress without end: stage 1 is "delayed".
CHATTERER = r"""
import os, socket, struct
def text(word): return bytes([0x78, len(word)]) + word.encode()
fields = {"version": b"\x01", "type": text("progress"), "stage": b"\x01", "text": text("and so on")}
message = bytes([0xa0 + len(fields)]) + b"".join(text(name) + value for name, value in fields.items())
listener = socket.socket(socket.AF_UNIX)
directory = os.environ["XDG_RUNTIME_DIR"] + "/crs"
os.makedirs(directory, 0o700, exist_ok=True)
listener.bind(f"{directory}/{os.getpid()}-0123456789abcdef")
listener.listen()
print("waiting", flush=True)
asker, _ = listener.accept()
try:
    while True: asker.sendall((struct.pack("<I", len(message)) + message) * 100)
except OSError:
    print("the asker has gone", flush=True)
"""


def case_talks_without_end(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = workspace.start(["/usr/bin/python3", "-c", CHATTERER])
        wait_until(lambda: "waiting" in read_text(workspace.work / "stdout.txt"), "it listens")
        result = workspace.crs("checkpoint", "--timeout", "0.1", "--name", "chat", program.pid, expect=1)
        check("does not answer" in result.stderr, f"{result.status} {result.stderr[-500:]}")
        check(5 < result.seconds < 30, f"it took {result.seconds} s")
        workspace.wait_exit(program)


def case_no_means(arguments, user):
    """No descriptor, and no thread, is left for whoever asks: they hear so, and the program goes on."""
    if is_left_out(arguments.crs, "no descriptor and no thread"):
        return
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "full", "wait", "exit", "0")
        limit = lambda wanted: workspace.run(["prlimit", f"--pid={program.pid}", wanted])
        for _ in range(2):
            result = workspace.crs("checkpoint", "sim", expect=1)
            check("no descriptor left" in result.stderr and program.told() == [], f"{result}")
        limit("--nofile=128:")
        program.still_works()
        if user == "ordinary":  # root may have as many as it likes (setrlimit(2), RLIMIT_NPROC)
            limit("--nproc=1:")
            result = workspace.crs("checkpoint", "sim", expect=1)
            check("cannot make the thread" in result.stderr, f"{result}")
            before = resource.getrlimit(resource.RLIMIT_NPROC)[0]
            limit(f"--nproc={'unlimited' if before == resource.RLIM_INFINITY else before}:")
            program.still_works()
        program.go_on()
        check(workspace.wait_exit(program.runner) == 0, "the program's end")


def case_planted(arguments, user):
    """A directory that is open to others or a link is refused by both sides; a socket of another process is not the program."""
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "exit", "0")
        directory = workspace.directory / "run" / "crs"
        path = program.socket_path()
        path.rename(directory / "away")
        with socket.socket(socket.AF_UNIX) as impostor:
            impostor.bind(str(path))
            impostor.listen()
            if workspace.drops:
                os.chown(path, workspace.uid, workspace.uid)
            # Nobody there is the program, and without its layers' knowledge nothing is saved.
            result = workspace.crs("checkpoint", "sim", expect=1)
            check("nobody can reach it" in result.stderr and program.told() == [], f"{result}")
        path.unlink()
        (directory / "away").rename(path)
        directory.chmod(0o755)
        result = workspace.crs("checkpoint", "sim", expect=1)
        check("open to other users" in result.stderr and program.told() == [], f"{result}")
        directory.chmod(0o700)
        program.still_works()
        program.go_on()
        check(workspace.wait_exit(program.runner) == 0, "the program's end")


def case_no_directory(arguments, user, planted):
    """Where something stands in the way of the private directory, the service listens all the same, and its layers are told."""
    with Workspace(arguments.crs, user) as workspace:
        directory = workspace.directory / "run" / "crs"
        elsewhere = workspace.make_directory("elsewhere")
        if planted == "link":
            directory.symlink_to(elsewhere)
        elif planted == "open":
            directory.mkdir()
            directory.chmod(0o777)
            if workspace.drops:
                os.chown(directory, workspace.uid, workspace.uid)
        else:
            directory.touch()
        program = Program(workspace, arguments, "wait", "exit", "5")
        workspace.checkpoint("sim", "--kill")
        check(program.told() == PREPARED + ["lower term", "upper term"], f"{program.told()}")
        workspace.wait_exit(program.runner)
        restarted = workspace.start([workspace.crs_path, "restart", "sim"])
        wait_until(lambda: program.told()[-4:] == RESTARTED, f"{program.told()}")
        program.pid = workspace.program_below(restarted, program.program)
        program.still_works()
        program.go_on()
        check(workspace.wait_exit(restarted) == 5, "the program's end")
        check(not list(elsewhere.iterdir()) and (planted != "open" or not list(directory.iterdir())), "nothing was put where others could reach it")


def case_fork(arguments, user):
    with Workspace(arguments.crs, user) as workspace:
        program = Program(workspace, arguments, "wait", "fork", "wait", "exit", "0")
        program.go_on()
        wait_until(lambda: program.lines().count("waiting") == 2, f"the child has ended: {program.lines()}")
        told = program.told()
        check("has no service" in told[0], f"{told}")
        check(any(re.match(r"checkpoint continue .*@1", line) for line in told), f"{told}")
        check(told[-2:] == ["child done", "child ended with 0"], f"{told}")
        program.still_works()


def main():
    parser = argparse.ArgumentParser()
    for name in ("--crs", "--subjects", "--build"):
        parser.add_argument(name, type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    arguments.teller = arguments.build / "service" / "teller"
    cases = []
    for user in users_to_test():
        for ids in ["auto", "namespace"] if user == "ordinary" else ["auto", "new"]:
            cases.append((f"after_a_restart ({user}, ids {ids})", lambda user=user, ids=ids: case_after_a_restart(arguments, user, ids)))
        if user == "ordinary" and len(users_to_test()) == 2:
            cases.append(("asked_from_outside_its_namespace", lambda: case_asked_from_outside_its_namespace(arguments, "ordinary")))
        for planted in ("link", "open", "file"):
            cases.append((f"no_directory ({user}, {planted})", lambda user=user, planted=planted: case_no_directory(arguments, user, planted)))
        for case in (case_layers_are_told, case_single, case_layer_cannot_go_on, case_layer_ends_its_thread, case_layer_takes_long_to_end, case_ends_with_its_family,
                     case_family_goes_on_until_the_end, case_ends_on_a_terminal, case_ends_in_a_layer, case_layer_fails_under_crs_run,
                     case_below_the_first_process, case_a_subreaper, case_delayed, case_asker_disappears, case_program_ends,
                     case_program_ends_by_itself, case_several_askers,
                     case_hostile_messages, case_talks_without_end, case_no_means, case_planted, case_fork):
            cases.append((f"{case.__name__[5:]} ({user})", lambda user=user, case=case: case(arguments, user)))
    run_cases([case for case in cases if arguments.only in case[0]])


if __name__ == "__main__":
    main()
