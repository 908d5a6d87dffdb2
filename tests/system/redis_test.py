#!/usr/bin/env python3
"""redis-server with 100,000 keys, and a client that counts and connects again when its connection is gone: after each checkpoint that ends
the server, and the restart, every key is there and nothing that the client was told is lost. The server still forks for its dumps."""

import contextlib
import socket
import threading

from harness import check, wait_until
from servers import Server, free_port, run_server_tests

KEYS, BATCH = 100_000, 5_000


class Connection:
    """As much of the protocol (RESP) as is needed here."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.replies = self.socket.makefile("rb")

    def close(self):
        self.replies.close()
        self.socket.close()

    def send(self, *commands):
        words = lambda command: [word.encode() for word in command]
        frame = lambda words: b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(b"".join(frame(words(command)) for command in commands))

    def reply(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection has ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else self.replies.read(int(rest) + 2)[:-2]
        check(kind != b"-", f"redis answered {rest}")
        return int(rest) if kind == b":" else rest

    def ask(self, *command):
        self.send(command)
        return self.reply()


class Counter(threading.Thread):
    """A client that increments a number as fast as it can and knows the last value that it was told."""

    def __init__(self, port):
        super().__init__()
        self.port, self.told, self.connections, self.problem, self.enough = port, 0, 0, None, threading.Event()

    def run(self):
        while not self.enough.is_set() and self.problem is None:
            with contextlib.suppress(ConnectionError):
                self.count(Connection(self.port))
            self.enough.wait(0.005)

    def count(self, connection):
        self.connections += 1
        with contextlib.closing(connection):
            # The one that was asked for when the connection ended may have been done or not.
            value = int(connection.ask("GET", "counter") or 0)
            if not self.told <= value <= self.told + 1:
                self.problem = f"the client was told {self.told}, and now it is {value}"
                return
            self.told = value
            while not self.enough.is_set():
                self.told = connection.ask("INCR", "counter")

    def check(self):
        check(self.problem is None, self.problem)
        check(self.is_alive(), "the client has ended")


def value_of(number):
    return f"{number * 2654435761 % 1_000_003} " * (number % 7 + 1)


def batches():
    return [range(begin, begin + BATCH) for begin in range(0, KEYS, BATCH)]


def fill(connection):
    for numbers in batches():
        connection.send(*(["SET", f"key:{number}", value_of(number)] for number in numbers))
        check(all(connection.reply() == b"OK" for _ in numbers), "a key was not taken")


def check_keys(connection):
    for numbers in batches():
        found = connection.ask("MGET", *(f"key:{number}" for number in numbers))
        wrong = [number for number, value in zip(numbers, found) if value != value_of(number).encode()]
        check(not wrong, f"{len(wrong)} keys have other values, for one {wrong[:1]}")


def connect(port):
    connection = None

    def connected():
        nonlocal connection
        with contextlib.suppress(ConnectionError):
            connection = Connection(port)
        return connection

    wait_until(connected, "redis listens")
    return connection


def check_dump(connection):
    """The server forks a child for it, which ends; the server is told by its signal."""
    before = connection.ask("LASTSAVE")
    check(connection.ask("BGSAVE").startswith(b"Background saving started"), "no dump was begun")
    wait_until(lambda: b"rdb_bgsave_in_progress:0" in connection.ask("INFO", "persistence"), "the dump is done")
    check(b"rdb_last_bgsave_status:ok" in connection.ask("INFO", "persistence"), "the dump failed")
    check(connection.ask("LASTSAVE") >= before, "the time of the dump is wrong")


def counted_and_restarted(workspace, rounds):
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--unixsocket", "redis.sock", "--appendonly", "yes"]
    server = Server(workspace, "redis", command)
    with contextlib.closing(connect(port)) as connection:
        fill(connection)
    counter = Counter(port)
    counter.start()
    try:
        for number in range(1, rounds + 1):
            told = counter.told
            wait_until(lambda: counter.told > told + 100 or counter.problem, "the client counts")
            server.restart(server.end_with_checkpoint())
            wait_until(lambda: counter.connections > number or counter.problem, "the client connects again")
            counter.check()
            with contextlib.closing(connect(port)) as connection:
                check_keys(connection)
                check_dump(connection)
    finally:
        counter.enough.set()
        counter.join()
    with contextlib.closing(connect(port)) as connection:
        check(connection.ask("GET", "counter") == str(counter.told).encode(), "the client's last count is lost")
        connection.send(["SHUTDOWN", "NOSAVE"])
    server.ends()


if __name__ == "__main__":
    run_server_tests(["redis-server"], counted_and_restarted, rounds=1, many_rounds=8)
