#!/usr/bin/env python3
"""How the time of a checkpoint and a restart grows with what a program has: processes, threads, descriptors, memory areas.

Each size is twice the one before, or ten times. A time that grows by more than that, again and again, is worse than proportional.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

SIZES = {
    "processes": [125, 250, 500, 1000, 2000],
    "processes of 10 MiB": [1, 10, 100],
    "threads": [125, 250, 500, 1000],
    "descriptors": [1250, 2500, 5000, 10000],
    "memory areas": [6250, 12500, 25000, 50000],
}

# Sets up so many of a kind, makes the file "up", and waits.
PROGRAM = r"""
import ctypes, mmap, os, signal, sys, threading
kind, number = sys.argv[1], int(sys.argv[2])
if kind == "processes":
    for _ in range(number - 1):
        if os.fork() == 0:
            while True: signal.pause()
elif kind == "processes of 10 MiB":
    reading, writing = os.pipe()
    for i in range(number):
        if i == number - 1 or os.fork() == 0: break
    memory = os.urandom(10 << 20)
    if i < number - 1:
        os.write(writing, b".")
    else:
        for _ in range(number - 1): os.read(reading, 1)
    os.close(reading), os.close(writing)
    if i < number - 1:
        while True: signal.pause()
elif kind == "threads":
    threading.stack_size(65536)
    for _ in range(number - 1): threading.Thread(target=threading.Event().wait, daemon=True).start()
elif kind == "descriptors":
    kept = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(number // 2)]
    for _ in range(number // 4): kept += os.pipe()
else:
    memory = mmap.mmap(-1, number * 4096)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in range(0, number, 2): protect(place + page * 4096, 4096, 1)
open("up", "w").close()
while True: signal.pause()
"""


def run(command, environment):
    begin = time.monotonic()
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise RuntimeError(f"{command}: exit status {result.returncode}: {result.stderr.strip()}")
    return json.loads(result.stdout), time.monotonic() - begin


def end(pid):
    """A session of its own, with all that is in it."""
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if entry.isdigit() and os.getsid(int(entry)) == pid:
                os.kill(int(entry), signal.SIGKILL)


def measure(crs, kind, number, directory):
    """Seconds: (the program's pause, the checkpoint, the restart)."""
    environment = os.environ | {"CRS_STORE": str(directory / "store")}
    program = subprocess.Popen([shutil.which("python3"), "-c", PROGRAM, kind, str(number)], cwd=directory, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not (directory / "up").exists():
        if program.poll() is not None:
            raise RuntimeError(f"{number} {kind}: the program ended with status {program.returncode}")
        time.sleep(0.01)
    report, checkpoint = run([crs, "checkpoint", "--kill", "--json", "--name", "scale", program.pid], environment)
    program.wait()
    restarted, restart = run([crs, "restart", "--detach", "--json", "scale"], environment)
    end(restarted["pid"])
    return report["pause_seconds"], checkpoint, restart


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crs", default=str(HERE / "crs"), help="the crs to measure")
    parser.add_argument("--kind", action="append", choices=SIZES, help="only this; may be repeated")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work?")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| what | number | stopped, s | checkpoint, s | restart, s | ms each |\n|---|---|---|---|---|---|", flush=True)
    for kind, sizes in SIZES.items():
        if options.kind and kind not in options.kind:
            continue
        for number in sizes if not options.quick else [2] if sizes[0] == 1 else [20, 40]:
            with tempfile.TemporaryDirectory(prefix="crs-scale-") as directory:
                pause, checkpoint, restart = measure(options.crs, kind, number, pathlib.Path(directory))
            each = " + ".join(f"{seconds / number * 1000:.2f}" for seconds in (checkpoint, restart))
            print(f"| {kind} | {number} | {pause:.3f} | {checkpoint:.2f} | {restart:.2f} | {each} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
