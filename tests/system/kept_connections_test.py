#!/usr/bin/env python3
"""TCP connections to programs in another network namespace go on after a checkpoint that ended the program and a restart (--tcp keep): no
byte is lost or comes twice. All of it in network namespaces of the test's own; as ordinary user in a user namespace."""

import argparse
import os
import pathlib
import signal
import subprocess
import sys

from harness import Workspace, check, is_alive, read_text, run_cases, users_to_test, wait_until

HERE, THERE = "10.111.0.1", "10.111.0.2"
PORT = 7000
NUMBER_BYTES = 8

# What both sides of a stream need. A stream is the numbers from 0 on, each in eight bytes.
COMMON = """
import os, pathlib, select, signal, socket, sys
name, role, address = sys.argv[1:4]
def numbers(first, count):
    return b"".join(n.to_bytes(8, "big") for n in range(first, first + count))
def tell(what, value):
    pathlib.Path(f"{name}.telling").write_text(str(value))
    os.rename(f"{name}.telling", f"{name}.{what}")
class Expected:
    "Numbers that arrive: each the next one."
    def __init__(self):
        self.rest, self.count = b"", 0
    def take(self, data):
        self.rest += data
        whole = len(self.rest) // 8
        if self.rest[:8 * whole] != numbers(self.count, whole):
            tell("end", f"number {self.count} is not there"), os._exit(1)
        self.rest, self.count = self.rest[8 * whole:], self.count + whole
def connect():
    if role == "listens":
        listener = socket.create_server((address, 7000))
        tell("ready", 1)
        return listener.accept()[0]
    return socket.create_connection((address, 7000))
"""

# Sends back what it gets. At the end of what comes it ends, too.
ECHO = COMMON + """
stream, arrived, waiting = connect(), Expected(), b""
tell("ready", 1)
stream.setblocking(False)
ended = False
while not ended or waiting:
    reads, writes, _ = select.select([] if ended or len(waiting) > 1 << 20 else [stream], [stream] if waiting else [], [])
    if reads:
        data = stream.recv(1 << 16)
        arrived.take(data)
        waiting, ended = waiting + data, not data
    if writes:
        waiting = waiting[stream.send(waiting):]
stream.close()
tell("end", f"{arrived.count} numbers")
"""

# Sends numbers and expects them back, no more at a time than an ordinary user may put into the queues of a connection
# (net.core.wmem_max), until the file NAME.stop is there; then all that are on their way.
ASKER = COMMON + """
stream, arrived, sent, told, waiting = connect(), Expected(), 0, 0, b""
tell("ready", 1)
stream.setblocking(False)
stop = False
while True:
    if not stop and os.path.exists(f"{name}.stop"):
        stop = True
    if stop and not waiting and sent >= 0:
        stream.shutdown(socket.SHUT_WR)
        total, sent = sent, -1
    if not stop and not waiting and sent - arrived.count < 15000:
        waiting, sent = numbers(sent, 1000), sent + 1000
    reads, writes, _ = select.select([stream], [stream] if waiting else [], [], 0.05)
    if writes:
        waiting = waiting[stream.send(waiting):]
    if reads:
        data = stream.recv(1 << 16)
        if not data:
            break
        arrived.take(data)
    if arrived.count - told >= 5000:
        told = arrived.count
        tell("progress", told)
tell("end", f"{arrived.count} numbers" if stop and arrived.count == total else f"an early end after {arrived.count}")
"""

# Ends its own side at once and reads until the other one ends: from a side that sends numbers until it is told to end.
LISTENS_ON = COMMON + """
stream, arrived = connect(), Expected()
stream.shutdown(socket.SHUT_WR)
while data := stream.recv(1 << 16):
    arrived.take(data)
    tell("progress", arrived.count)
tell("end", f"{arrived.count} numbers")
"""
TALKS_ON = COMMON + """
stream, sent = connect(), 0
assert stream.recv(1) == b""
tell("ready", 1)
while not os.path.exists(f"{name}.stop"):
    if select.select([], [stream], [], 0.05)[1]:
        stream.sendall(numbers(sent, 1000))
        sent += 1000
stream.close()
tell("end", f"{sent} numbers")
"""
IS_ENDED = COMMON + """
stream = connect()
select.select([stream], [], [])
assert stream.recv(1, socket.MSG_PEEK) == b""
tell("ready", 1)
signal.pause()
"""
ENDS = COMMON + """
stream = connect()
stream.shutdown(socket.SHUT_WR)
signal.pause()
"""


def ip(*words, namespace=None):
    inside = ["nsenter", "-t", str(namespace), "-n"] if namespace else []
    subprocess.run([*inside, "ip", *words], check=True)


class Network:
    """This process's network namespace and another one, with a link between them."""

    def __enter__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, "the other namespace is there")
        self.there = self.holder.pid
        ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(self.there))
        ip("addr", "add", f"{HERE}/24", "dev", "here")
        ip("addr", "add", f"{THERE}/24", "dev", "there", namespace=self.there)
        ip("link", "set", "lo", "up")
        ip("link", "set", "here", "up")
        self.plug()
        return self

    def plug(self):
        ip("link", "set", "there", "up", namespace=self.there)

    def unplug(self):
        ip("link", "set", "there", "down", namespace=self.there)

    def __exit__(self, *_):
        # The link goes with the namespace, but not at once.
        subprocess.run(["ip", "link", "del", "here"], check=False)
        self.holder.kill()
        self.holder.wait()


class Side:
    def __init__(self, workspace, network, name, text, role, address, outside):
        self.workspace, self.name = workspace, name
        command = ["/usr/bin/python3", "-c", text, name, role, address]
        prefix = ["nsenter", "-t", str(network.there), "-n"] if outside else []
        # nsenter executes it: the same process.
        self.pid = workspace.start([*prefix, *command]).pid

    def path(self, what):
        return self.workspace.work / f"{self.name}.{what}"

    def is_ready(self):
        wait_until(self.path("ready").exists, f"{self.name} is ready")
        self.path("ready").unlink()
        return self

    def progress(self):
        return int(read_text(self.path("progress")) or 0)

    def goes_on(self, count=20000):
        wanted = self.progress() + count
        wait_until(lambda: self.progress() >= wanted or self.path("end").exists(), f"{self.name} goes on")
        check(not self.path("end").exists(), f"{self.name} has ended: {read_text(self.path('end'))}")

    def stop(self):
        self.path("stop").touch()

    def end(self):
        wait_until(self.path("end").exists, f"{self.name} has ended")
        return self.path("end").read_text()


def holders(workspace):
    pids = workspace.leftovers()
    return [pid for pid in pids if is_alive(pid) and read_text(f"/proc/{pid}/comm").strip() == "crs-connections"]


def two_sides(workspace, network, inside_listens, inside_text, outside_text):
    """The program and the other one, connected."""
    make = {
        True: lambda role, address: Side(workspace, network, "inside", inside_text, role, address, False),
        False: lambda role, address: Side(workspace, network, "outside", outside_text, role, address, True),
    }
    address = HERE if inside_listens else THERE
    first = make[inside_listens]("listens", address).is_ready()
    second = make[not inside_listens]("connects", address)
    return (first, second) if inside_listens else (second, first)


def end_and_restart(workspace, network, inside, anew):
    """With `anew` nobody holds the connection meanwhile, as after a crash of the machine; the other side hears nothing until the restart."""
    reference = workspace.checkpoint(inside.pid, "--kill", "--tcp", "keep")
    wait_until(lambda: not is_alive(inside.pid), "the program is ended")
    [holder] = holders(workspace)
    if anew:
        network.unplug()
        os.kill(holder, signal.SIGKILL)
        wait_until(lambda: not holders(workspace), "nobody holds the connection")
    pid = workspace.restart(reference)
    if anew:
        network.plug()
    wait_until(lambda: not holders(workspace), "the connection is taken over")
    return pid


def stream_goes_on(workspace, network, inside_listens, inside_asks, anew):
    texts = (ASKER, ECHO) if inside_asks else (ECHO, ASKER)
    inside, outside = two_sides(workspace, network, inside_listens, *texts)
    asker = inside if inside_asks else outside
    asker.goes_on()
    workspace.checkpoint(inside.pid, "--tcp", "keep")
    asker.goes_on()
    for _ in range(2):
        inside.pid = end_and_restart(workspace, network, inside, anew)
        asker.goes_on()
    asker.stop()
    ends = inside.end(), outside.end()
    check(ends[0] == ends[1] and ends[0].endswith(" numbers"), f"the sides say {ends}")


def other_side_goes_on_when_this_one_has_ended(workspace, network, anew):
    inside, outside = two_sides(workspace, network, False, LISTENS_ON, TALKS_ON)
    inside.goes_on()
    end_and_restart(workspace, network, inside, anew)
    inside.goes_on()
    outside.stop()
    ends = inside.end(), outside.end()
    check(ends[0] == ends[1] and ends[0].endswith(" numbers"), f"the sides say {ends}")


def ended_connection_is_refused(workspace, network):
    inside, _ = two_sides(workspace, network, False, IS_ENDED, ENDS)
    inside.is_ready()
    result = workspace.crs("checkpoint", "--tcp", "keep", inside.pid, expect=1)
    check("that the other side has ended, which cannot be kept" in result.stderr, f"it says {result.stderr}")
    check(not workspace.snapshots() and not holders(workspace), "something is left")


def killed_checkpointer_gives_them_back(workspace, network):
    inside, outside = two_sides(workspace, network, True, ECHO, ASKER)
    outside.goes_on()
    # So slow that it has the connection still when it is killed.
    words = ["checkpoint", "--kill", "--tcp", "keep", "--io-limit", "10KB", inside.pid]
    checkpointer = workspace.start([workspace.crs_path, *words])
    data = lambda: list(workspace.store.rglob("pages"))  # noqa: E731
    wait_until(lambda: holders(workspace) and data(), "the connection is held")
    checkpointer.kill()
    workspace.wait_exit(checkpointer)
    outside.goes_on()
    wait_until(lambda: not holders(workspace), "nobody holds the connection")
    outside.stop()
    ends = inside.end(), outside.end()
    check(ends[0] == ends[1] and ends[0].endswith(" numbers"), f"the sides say {ends}")


def inside_the_namespace(options):
    cases = [
        (f"{'server' if listens else 'client'} inside that {'asks' if asks else 'answers'}{', made again' if anew else ''}",
         lambda workspace, network, case=(listens, asks, anew): stream_goes_on(workspace, network, *case))
        for listens, asks, anew in ((True, False, False), (True, False, True), (False, True, False), (False, True, True))
    ]
    cases += [
        (f"half-closed{', made again' if anew else ''}",
         lambda workspace, network, anew=anew: other_side_goes_on_when_this_one_has_ended(workspace, network, anew))
        for anew in (False, True)
    ]
    cases.append(("ended by the other side", ended_connection_is_refused))
    cases.append(("checkpointer killed", killed_checkpointer_gives_them_back))

    def run(case):
        with Workspace(options.crs, "root", options.verbose) as workspace, Network() as network:
            case(workspace, network)

    run_cases([(name, lambda case=case: run(case)) for name, case in cases if options.only in (None, name)])


def in_namespaces(options, user):
    """This script again, in a network namespace, which an ordinary user has in a user namespace."""
    with Workspace(options.crs, user, options.verbose) as workspace:
        script = pathlib.Path(__file__).resolve()
        if workspace.drops:
            for path in script.parent.glob("*.py"):
                script = workspace.directory / path.name
                script.write_bytes(path.read_bytes())
                script.chmod(0o644)
            script = workspace.directory / pathlib.Path(__file__).name
        inside = ["unshare", "--net", *(["--user", "--map-root-user"] if user == "ordinary" else [])]
        if workspace.run([*inside, "true"]).status != 0:
            print(f"no network namespaces here as {user}")
            return
        words = ["/usr/bin/python3", script, "--crs", workspace.crs_path, "--inside"]
        result = workspace.run([*inside, *words, *(["--only", options.only] if options.only else [])], limit=200)
        print(result.stdout)
        check(result.status == 0, f"exit status {result.status}")


def refused_without_the_right(options):
    """An ordinary user has no CAP_NET_ADMIN where its program's connection is."""
    with Workspace(options.crs, "ordinary", options.verbose) as workspace:
        text = ENDS.replace("stream.shutdown(socket.SHUT_WR)", 'tell("ready", 1)').replace("7000", "port")
        text = text.replace("name, role, address =", "port = int(sys.argv.pop())\nname, role, address =")
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            words = ["/usr/bin/python3", "-c", text, "inside", "connects", "127.0.0.1", server.getsockname()[1]]
            program = workspace.start(words)
            wait_until((workspace.work / "inside.ready").exists, "the program is ready")
            result = workspace.crs("checkpoint", "--tcp", "keep", program.pid, expect=1)
            check("CAP_NET_ADMIN" in result.stderr, f"it says {result.stderr}")
            check(not workspace.snapshots() and not holders(workspace), "something is left")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--inside", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    if options.inside:
        return inside_the_namespace(options)
    cases = [(f"in namespaces as {user}", lambda user=user: in_namespaces(options, user)) for user in users_to_test()]
    run_cases([*cases, ("refused without the right", lambda: refused_without_the_right(options))])


if __name__ == "__main__":
    sys.exit(main())
