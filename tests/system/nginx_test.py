#!/usr/bin/env python3
"""nginx with three workers, one server that hands a path on to the other, and a client that keeps its connection: after each checkpoint,
SIGKILL and restart every path is answered, by every worker; the master still makes workers, reads its configuration again, and ends."""

import contextlib
import http.client
import os
import signal

from harness import check, children_of, wait_until
from servers import Server, free_port, run_server_tests

WORKERS = 3
CONTENT = bytes(range(256)) * 4096
CONFIGURATION = """
daemon off;
worker_processes {workers};
{user}
pid {work}/nginx.pid;
error_log {work}/error.log info;
events {{ worker_connections 128; }}
http {{
  access_log {work}/access.log;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi; scgi_temp_path {work}/scgi; uwsgi_temp_path {work}/uwsgi;
  root {work};
  server {{
    listen 127.0.0.1:{port} reuseport;
    keepalive_timeout 600;
    location /worker {{ return 200 $pid; }}
    location /behind {{ proxy_pass http://127.0.0.1:{behind}/answer; }}
  }}
  server {{
    listen 127.0.0.1:{behind};
    location /answer {{ return 200 "from behind"; }}
  }}
}}
"""


class Client:
    """A client that keeps its connection, and connects again where that has been reset."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.resets = 0

    def get(self, path):
        try:
            return self.get_once(path)
        except ConnectionError:
            self.resets += 1
            self.connection.close()
            return self.get_once(path)

    def get_once(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        content = answer.read()
        check(answer.status == 200, f"{path}: status {answer.status}")
        return content


def worker_at(port):
    """Which worker answers a new connection; nothing while none does."""
    with contextlib.suppress(ConnectionError):
        client = Client(port)
        with contextlib.closing(client.connection):
            return int(client.get_once("/worker"))


def workers_at(port, wanted):
    """The process ids (as nginx sees them) of `wanted` workers."""
    found = set()

    def all_seen():
        found.update({worker_at(port)} - {None})
        return len(found) >= wanted

    wait_until(all_seen, f"{wanted} workers answer")
    return found


def check_answers(port, client):
    check(client.get("/content") == CONTENT, "a file has another content")
    check(client.get("/behind") == b"from behind", "the second server's answer is another")


def check_new_worker(port, master, known):
    """The master replaces a worker that has been killed."""
    os.kill(children_of(master)[0], signal.SIGKILL)
    wait_until(lambda: worker_at(port) not in known | {None}, "a new worker answers")


def check_reload(port, master):
    before = workers_at(port, WORKERS)
    os.kill(master, signal.SIGHUP)
    wait_until(lambda: not {worker_at(port) for _ in range(10)} & (before | {None}), "workers of the new configuration answer")
    wait_until(lambda: len(children_of(master)) == WORKERS, "the old workers have ended")


def served_and_restarted(workspace, rounds):
    port, behind = free_port(), free_port()
    (workspace.work / "content").write_bytes(CONTENT)
    (workspace.work / "content").chmod(0o644)
    workspace.directory.joinpath("work").chmod(0o755)
    user = "user nobody nogroup;" if workspace.uid == 0 else ""
    configuration = workspace.directory / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(work=workspace.work, workers=WORKERS, user=user, port=port, behind=behind))
    server = Server(workspace, "nginx", ["nginx", "-c", configuration, "-e", workspace.work / "error.log"])
    known = workers_at(port, WORKERS)
    client = Client(port)
    for number in range(1, rounds + 1):
        check_answers(port, client)
        reference = workspace.checkpoint("nginx")
        server.kill()
        server.restart(reference)
        check(workers_at(port, WORKERS) == known, "the workers are others")
        check_answers(port, client)
        check(client.resets == number, f"the client's connection was reset {client.resets} times in {number} rounds")
    check_new_worker(port, server.pid, known)
    check_reload(port, server.pid)
    os.kill(server.pid, signal.SIGQUIT)
    server.ends()


if __name__ == "__main__":
    run_server_tests(["nginx"], served_and_restarted, rounds=1, many_rounds=8)
