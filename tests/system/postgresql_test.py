#!/usr/bin/env python3
"""PostgreSQL in the middle of pgbench: after each checkpoint that ends the server, and the restart, clients connect again, no transaction
that a client was told to be committed is lost, and the sums of all tables agree. At the end the server is shut down and begun anew from
its files, which must say the same."""

import glob
import os
import pathlib
import re
import signal

from harness import check, wait_until
from servers import Server, free_port, run_server_tests

CLIENTS = 4
SUMS = """select (select count(*) from pgbench_history), (select coalesce(sum(delta), 0) from pgbench_history),
  (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), (select sum(bbalance) from pgbench_branches)"""


def commands():
    """The directory of the newest version's commands."""
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    return pathlib.Path(max(found, key=lambda path: int(path.split("/")[4]))).parent if found else None


class Database:
    """The files, the server and its clients. It does not run as root: there root's crs starts it as somebody else."""

    def __init__(self, workspace):
        self.workspace, self.bin, self.port = workspace, commands(), free_port()
        self.told = self.open_ended = self.begun = 0  # transactions
        self.data = workspace.work / "data"
        self.prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if workspace.uid == 0 else []
        if self.prefix:
            workspace.run(["chown", "-R", "nobody:nogroup", workspace.work])
            workspace.directory.joinpath("work").chmod(0o755)
        self.run("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D", self.data)
        self.command = [*self.prefix, self.bin / "postgres", "-D", self.data, "-p", self.port, "-k", "", "-h", "127.0.0.1"]
        self.command += ["-c", "shared_buffers=16MB", "-c", "max_connections=20", "-c", "autovacuum_naptime=1s"]

    def run(self, name, *arguments):
        result = self.workspace.run([*self.prefix, self.bin / name, *arguments])
        check(result.status == 0, f"{name} failed: {result}")
        return result.stdout

    def client(self):
        return ["-h", "127.0.0.1", "-p", self.port, "-U", "postgres"]

    def wait_until_ready(self):
        asked = [self.bin / "pg_isready", *self.client()]
        wait_until(lambda: self.workspace.run(asked).status == 0, "the server takes connections")

    def query(self, text):
        return self.run("psql", *self.client(), "-X", "-A", "-t", "-c", text, "postgres").strip()

    def begin_bench(self):
        self.begun += 1
        output = self.workspace.output_file(f"bench-{self.begun}.txt")
        errors = self.workspace.output_file(f"bench-{self.begun}-errors.txt")
        command = [self.bin / "pgbench", *self.client(), "-n", "-c", CLIENTS, "-T", "600", "postgres"]
        return self.workspace.start(command, stdout=output, stderr=errors)

    def end_bench(self, bench):
        """Its connections have ended, and so does it. What it was told to be committed counts; one of each client may be, too."""
        self.workspace.wait_exit(bench)
        text = (self.workspace.work / f"bench-{self.begun}.txt").read_text()
        match = re.search(r"number of transactions actually processed: (\d+)", text)
        check(match, f"pgbench says '{text}'")
        self.told += int(match[1])
        self.open_ended += CLIENTS

    def check_sums(self):
        """Every client may have been told of one transaction less than there are, each time."""
        rows, *sums = map(int, self.query(SUMS).split("|"))
        check(self.told <= rows <= self.told + self.open_ended, f"{rows} transactions, and clients were told of {self.told}")
        check(len(set(sums)) == 1, f"the sums of the tables are {sums}")
        return rows


def benched_and_restarted(workspace, rounds):
    database = Database(workspace)
    server = Server(workspace, "postgresql", database.command, program=database.bin / "postgres")
    database.wait_until_ready()
    database.run("pgbench", *database.client(), "-i", "-q", "-n", "postgres")
    for _ in range(rounds):
        bench = database.begin_bench()
        rows = int(database.query("select count(*) from pgbench_history"))
        wait_until(lambda: int(database.query("select count(*) from pgbench_history")) > rows + 100, "pgbench works")
        reference = server.end_with_checkpoint()
        database.end_bench(bench)
        check(database.told > 0, "no client was told of anything")
        server.restart(reference)
        database.wait_until_ready()
        database.check_sums()
    rows = database.check_sums()
    os.kill(server.pid, signal.SIGINT)
    server.ends()
    anew = workspace.start(database.command)
    database.wait_until_ready()
    check(database.check_sums() == rows, "the files say something else than the server that wrote them")
    os.kill(anew.pid, signal.SIGINT)
    check(workspace.wait_exit(anew) == 0, "the server begun anew fails")


if __name__ == "__main__":
    needed = [str(commands() / "postgres") if commands() else "postgres"]
    run_server_tests(needed, benched_and_restarted, rounds=1, many_rounds=6, ordinary="nobody")
