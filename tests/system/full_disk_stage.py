"""bad_store_test.py runs this where the store is a small tmpfs: CRS STORE PROGRAM. Starts the program, fills the disk more and more and takes a checkpoint each time.
The program says how it fared in the end."""

import os
import pathlib
import subprocess
import sys
import time

CRS, STORE = sys.argv[1], pathlib.Path(sys.argv[2])
STATUS, GO = pathlib.Path(os.environ["SUBJECT_STATUS"]), pathlib.Path(os.environ["SUBJECT_GO"])
with open(STATUS.with_suffix(".out"), "w") as output:
    program = subprocess.Popen([sys.executable, sys.argv[3], str(8 << 20)], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
PID = str(program.pid)


def crs(*arguments):
    return subprocess.run([CRS, *arguments], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)


def check(condition, text):
    if not condition:
        program.kill()
        sys.exit(f"{text}\n{os.listdir(STORE)}")


def leftovers():
    return [path for path in STORE.glob("*/.*")]


end = time.monotonic() + 30
while not STATUS.exists():
    check(time.monotonic() < end and program.poll() is None, "the program does not start")
    time.sleep(0.005)
first = crs("checkpoint", "--name", "sim", PID)
check(first.returncode == 0 and first.stdout == "sim@1\n", f"with space: {first}")
size = sum(path.stat().st_size for path in (STORE / "sim" / "1").rglob("*"))
filler = STORE / "filler"
moments = set()
# From "no byte is left" to "only the last file does not fit".
for left in (0, 4096, 8192, 16384, 1 << 20, size // 2, size - (1 << 16), size - 16384, size - 8192, size - 4096):
    space = os.statvfs(STORE)
    filler.write_bytes(b"")
    filler.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - left)))
    failed = crs("checkpoint", "--name", "sim", PID)
    check(failed.returncode in (0, 1), f"{left} bytes left: {failed}")
    if failed.returncode == 0:
        check(left > size // 2, f"{left} bytes are too few for it to be complete: {failed}")
        crs("remove", failed.stdout.strip())
    else:
        moments.add(failed.stderr)
        check("No space left on device" in failed.stderr, f"{left} bytes left: {failed}")
        check("Remove snapshots" in failed.stderr and failed.stderr.count("\n") == 1, f"{left} bytes left: {failed}")
        check(failed.stdout == "" and not leftovers(), f"{left} bytes left: leftovers {leftovers()}")
    listed = crs("list")
    check(listed.returncode == 0 and "sim@1 " in listed.stdout and "damaged" not in listed.stdout, f"the list: {listed}")
    os.remove(filler)
check(len(moments) >= 2, f"always the same error: {moments}")
check(crs("verify", "sim@1").returncode == 0, "the first snapshot is damaged")
again = crs("checkpoint", "--name", "sim", PID)
check(again.returncode == 0, f"with space again: {again}")
check(crs("verify", again.stdout.strip()).returncode == 0, "the new snapshot is damaged")
GO.touch()
program.wait(30)
check(STATUS.read_text() == "ready\nok\n", f"the program says {STATUS.read_text()}")
