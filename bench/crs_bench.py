#!/usr/bin/env python3
"""Measures what a checkpoint and a restart cost a program, beside what the machine itself can do.

Every case is measured several times, all its measurements taking turns in one run, and reported as median (lowest - highest). What the
program notices is what it noticed itself: the longest time that one of its threads, which look at the clock all the time, did not get to.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
RECORD_START, THREAD_RECORD = 64, 64  # the layout of Record in subject.cc
SMALLEST_INCREMENTAL = 64  # MiB, of which one in a hundred is worth measuring
PIECE = 4  # MiB: crs-bench-raw works in such
SETTLE = 0.3  # seconds for a subject to tick undisturbed

# What issue and documentation promise, for cases of that name: figure -> the largest value that will do.
TARGETS = {
    "4 GiB idle": {
        "gap ms": 10.0,
        "lazy restart ms": 30.0,
        "stopped / raw write": 1.2,
        "eager restart / raw read": 1.2,
        "1 % dirty: written / dirty": 1.3,
        "1 % dirty: total ms beyond 1.2 raw writes": 100.0,
    },
    "4 GiB, 100 MiB/s": {"gap ms": 15.0},
    "64 MiB idle": {"gap ms": 2.0},
    "10 MiB idle": {"total ms": 15.0, "restart ms": 20.0},
}

# name: (MiB, content, threads, MiB rewritten per second, pages)
SUITE = {
    "10 MiB idle": (10, "random", 1, 0, "small"),
    "64 MiB idle": (64, "random", 1, 0, "small"),
    "1 GiB idle": (1024, "random", 1, 0, "small"),
    "4 GiB idle": (4096, "random", 1, 0, "small"),
    "4 GiB, 100 MiB/s": (4096, "random", 1, 100, "small"),
    "4 GiB of huge pages": (4096, "random", 1, 0, "huge"),
    "4 GiB of zeros": (4096, "zero", 1, 0, "small"),
    "1 GiB of text": (1024, "text", 1, 0, "small"),
}
UNDER_RUN = "a program below crs run"
WORK = ["calls", "faults", "threads", "processes", "compute"]
QUICK = {"16 MiB, 20 MiB/s": (16, "text", 2, 20, "small")}


class Subject:
    """One running crs-bench-subject; its record is read and reset in its memory."""

    def __init__(self, case, prefix=()):
        mib, content, threads, rate, pages = case
        self.threads = threads
        command = [HERE / "crs-bench-subject", str(mib), content, str(threads), str(rate), pages]
        with tempfile.TemporaryFile() as output:
            # A pipe that leads to this program could not be kept.
            self.process = subprocess.Popen(
                [*prefix, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL, start_new_session=True
            )
            while not os.fstat(output.fileno()).st_size:
                if self.process.poll() is not None:
                    raise RuntimeError("the subject ended")
                time.sleep(0.01)
            output.seek(0)
            self.address = int(output.read())
        self.watch(self.process.pid)

    def watch(self, pid):
        self.pid = pid
        self.memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)

    def record(self, thread):
        place = self.address + RECORD_START + THREAD_RECORD * thread
        names = ("ticks", "gap", "gap_end", "written")
        return dict(zip(names, struct.unpack("4Q", os.pread(self.memory, 32, place))))

    def records(self):
        return [self.record(thread) for thread in range(self.threads)]

    def reset(self):
        for thread in range(self.threads):
            os.pwrite(self.memory, struct.pack("Q", 1), self.address + RECORD_START + THREAD_RECORD * thread + 32)

    def touch(self, step):
        """Rewrites every so many'th page of each thread's part."""
        places = [self.address + RECORD_START + THREAD_RECORD * thread + 40 for thread in range(self.threads)]
        for place in places:
            os.pwrite(self.memory, struct.pack("Q", step), place)
        while any(any(os.pread(self.memory, 8, place)) for place in places):
            time.sleep(0.001)

    def ticks(self):
        return sum(record["ticks"] for record in self.records())

    def rate(self):
        begin, ticks = time.monotonic(), self.ticks()
        time.sleep(SETTLE)
        return (self.ticks() - ticks) / (time.monotonic() - begin)

    def end(self):
        os.close(self.memory)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self.process.kill()
        self.process.wait()
        while os.path.exists(f"/proc/{self.pid}") and self.pid != self.process.pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.002)


def run(command, environment):
    """Ends with (output, seconds from start to end, CPU seconds, peak memory in MiB)."""
    begin = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close(), process.stderr.close()
    if process.returncode != 0:
        raise RuntimeError(f"{command}: exit status {process.returncode}: {errors.decode(errors='replace').strip()}")
    return output, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def ignore_missing(_function, _path, problem):
    if problem[0] is not FileNotFoundError:
        raise problem[1]


def kill_and_wait(pid):
    """A process that need not be a child: its pidfd is readable as soon as it has ended (pidfd_open(2))."""
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [])
    finally:
        os.close(process)


def available_memory():
    """Bytes."""
    return next(int(line.split()[1]) * 1024 for line in pathlib.Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))


class Bench:
    def __init__(self, options):
        self.options = options
        self.crs = options.crs
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="crs-bench-", dir=options.directory))
        self.environment = os.environ | {"CRS_STORE": str(self.directory / "store")}
        self.results = {}

    def close(self):
        # What brought the memory of a program that has been killed takes a file away as it ends.
        shutil.rmtree(self.directory, onerror=ignore_missing)

    def note(self, case, figure, value):
        self.results.setdefault(case, {}).setdefault(figure, []).append(value)

    def raw(self, name, mib):
        file = self.directory / "raw"
        tool = HERE / "crs-bench-raw"
        direct, buffered = map(float, run([tool, "write", file, mib], None)[0].split())
        self.note(name, "raw write ms", min(direct, buffered) * 1000)
        self.note(name, "raw read ms", float(run([tool, "read", file, mib], None)[0]) * 1000)
        self.note(name, "raw cold read ms", float(run([tool, "cold", file, mib], None)[0]) * 1000)
        file.unlink()
        if 2 * mib * MIB < available_memory():
            self.note(name, "raw copy ms", float(run([tool, "copy", mib], None)[0]) * 1000)

    def beside_raw_write(self, name, mib):
        """What a program notices of such a write without any checkpointer."""
        subject = Subject((1, "zero", 1, 0, "small"))
        file = self.directory / "raw"
        try:
            time.sleep(SETTLE)
            subject.reset()
            run([HERE / "crs-bench-raw", "write", file, mib], None)
            self.note(name, "gap beside raw write ms", max(record["gap"] for record in subject.records()) / 1e6)
        finally:
            subject.end()
            file.unlink(missing_ok=True)

    def going_on(self, name, subject, options=(), label=""):
        """A checkpoint after which the program goes on."""
        before = subject.rate()
        subject.reset()
        time.sleep(SETTLE)
        undisturbed = max(record["gap"] for record in subject.records())
        subject.reset()
        ticks, begin = subject.ticks(), time.monotonic()
        output, seconds, cpu, memory = run([self.crs, "checkpoint", "--json", "--name", "bench", *options, subject.pid], self.environment)
        during = (subject.ticks() - ticks) / (time.monotonic() - begin)
        gap = max(record["gap"] for record in subject.records())
        report = json.loads(output)
        self.note(name, f"{label}gap ms", gap / 1e6)
        self.note(name, f"{label}gap without ms", undisturbed / 1e6)
        self.note(name, f"{label}reported pause ms", report["pause_seconds"] * 1000)
        self.note(name, f"{label}total ms", seconds * 1000)
        self.note(name, f"{label}MiB written", float(report["stored_bytes"]) / MIB)
        self.note(name, f"{label}CPU s", cpu)
        self.note(name, f"{label}peak MiB", memory)
        self.note(name, f"{label}speed meanwhile", during / before)
        self.note(name, f"{label}speed afterwards", subject.rate() / before)
        self.remove(report["reference"])

    def incremental(self, name, mib, subject):
        """A first incremental snapshot, which is complete, and one more when every hundredth page has been rewritten."""
        command = [self.crs, "checkpoint", "--incremental", "--json", "--name", "bench", subject.pid]
        before = subject.rate()
        first, seconds, *_ = run(command, self.environment)
        self.note(name, "tracked from: total ms", seconds * 1000)
        self.note(name, "tracked: speed", subject.rate() / before)
        subject.touch(100)
        subject.reset()
        second, seconds, cpu, _ = run(command, self.environment)
        report = json.loads(second)
        dirty = mib / 100
        self.note(name, "1 % dirty: gap ms", max(record["gap"] for record in subject.records()) / 1e6)
        self.note(name, "1 % dirty: total ms", seconds * 1000)
        self.note(name, "1 % dirty: CPU s", cpu)
        written = float(report["stored_bytes"] - report["shared_bytes"]) / MIB
        self.note(name, "1 % dirty: MiB written", written)
        self.note(name, "1 % dirty: written / dirty", written / dirty)
        if dirty >= PIECE:
            file = self.directory / "raw"
            pieces = round(dirty / PIECE) * PIECE
            raw = min(map(float, run([HERE / "crs-bench-raw", "write", file, pieces], None)[0].split())) * 1000 * dirty / pieces
            file.unlink()
            self.note(name, "1 % dirty: raw write ms", raw)
            self.note(name, "1 % dirty: total ms beyond 1.2 raw writes", seconds * 1000 - 1.2 * raw)
        for output in (first, second):
            self.remove(json.loads(output)["reference"])

    def remove(self, reference):
        run([self.crs, "remove", reference], self.environment)

    def stopped_and_restarted(self, name, case, options=(), label=""):
        """A checkpoint that ends the program, and its restart."""
        subject = Subject(case)
        try:
            begin = time.time()
            output, seconds, cpu, memory = run(
                [self.crs, "checkpoint", "--kill", "--json", "--name", "bench", *options, subject.pid], self.environment
            )
            # The snapshot gets its name in the job's directory when all of it is on the disk; then the program is ended.
            committed = (self.directory / "store" / "bench").stat().st_mtime - begin
            self.note(name, f"{label}stopped ms", committed * 1000)
            self.note(name, f"{label}stopped and ended ms", seconds * 1000)
            self.note(name, f"{label}stopped CPU s", cpu)
            self.note(name, f"{label}stopped peak MiB", memory)
            report = json.loads(output)
            self.note(name, f"{label}stopped MiB written", float(report["stored_bytes"]) / MIB)
            subject.process.wait()
            self.restart(name, subject, report["reference"], f"{label}restart ms", [])
            if self.has_lazy():
                self.restart(name, subject, report["reference"], f"{label}lazy restart ms", ["--lazy"])
            self.remove(report["reference"])
        finally:
            subject.end()

    def restart(self, name, subject, reference, figure, options):
        os.close(subject.memory)
        begin = time.time_ns()
        output, *_ = run([self.crs, "restart", "--detach", *options, reference], self.environment)
        subject.watch(int(output))
        while True:
            end = max(record["gap_end"] for record in subject.records())
            if end > begin:
                break
            time.sleep(0.002)
        self.note(name, figure, (end - begin) / 1e6)
        kill_and_wait(subject.pid)

    def has_lazy(self):
        return "--lazy" in subprocess.run([self.crs, "restart", "--help"], capture_output=True, text=True).stdout

    def has_compression(self):
        return "--compress" in subprocess.run([self.crs, "checkpoint", "--help"], capture_output=True, text=True).stdout

    def criu(self, name, case):
        subject = Subject(case)
        images = self.directory / "criu"
        try:
            images.mkdir()
            begin = time.monotonic_ns()
            run(["criu", "dump", "--shell-job", "-t", subject.pid, "-D", images, "--leave-running"], None)
            self.note(name, "criu total ms", (time.monotonic_ns() - begin) / 1e6)
            self.note(name, "criu gap ms", max(record["gap"] for record in subject.records()) / 1e6)
        finally:
            subject.end()
            shutil.rmtree(images)

    def dmtcp(self, name, case):
        port = str(20000 + os.getpid() % 20000)
        subject = Subject(case, ["dmtcp_launch", "--new-coordinator", "-p", port, "--no-gzip", "--ckptdir", str(self.directory)])
        try:
            begin = time.monotonic_ns()
            run(["dmtcp_command", "-p", port, "--bcheckpoint"], None)
            self.note(name, "dmtcp total ms", (time.monotonic_ns() - begin) / 1e6)
            self.note(name, "dmtcp gap ms", max(record["gap"] for record in subject.records()) / 1e6)
        finally:
            subprocess.run(["dmtcp_command", "-p", port, "--quit"], capture_output=True)
            subject.end()

    def under_run(self, runs, kinds):
        """What nothing costs: the same work by itself and below `crs run`, in turns."""
        for number in range(runs):
            print(f"{UNDER_RUN}: {number + 1} of {runs}", file=sys.stderr, flush=True)
            for kind in kinds:
                alone = [HERE / "crs-bench-work", kind]
                self.note(UNDER_RUN, f"{kind}: alone ms", float(run(alone, None)[0]) * 1000)
                self.note(UNDER_RUN, f"{kind}: below crs run ms", float(run([self.crs, "run", "--name", "bench", "--", *alone], self.environment)[0]) * 1000)
        figures = self.results[UNDER_RUN]
        for kind in kinds:
            figures[f"{kind}: ratio"] = [statistics.median(figures[f"{kind}: below crs run ms"]) / statistics.median(figures[f"{kind}: alone ms"])]

    def measure(self, name, case):
        # The pauses first: a virtual machine may stand still for tens of milliseconds, again and again, once much has been written.
        for number in range(self.options.runs):
            print(f"{name}: {number + 1} of {self.options.runs}, going on", file=sys.stderr, flush=True)
            subject = Subject(case)
            try:
                self.going_on(name, subject)
                if case[1] == "text" and self.has_compression():
                    self.going_on(name, subject, ["--compress", "auto"], "auto: ")
                    self.going_on(name, subject, ["--compress", "zstd"], "zstd: ")
                if case[0] >= SMALLEST_INCREMENTAL and case[3] == 0 and case[4] == "small" and case[1] != "zero":
                    self.incremental(name, case[0], subject)
            finally:
                subject.end()
        for number in range(self.options.runs):
            print(f"{name}: {number + 1} of {self.options.runs}", file=sys.stderr, flush=True)
            self.raw(name, case[0])
            self.beside_raw_write(name, case[0])
            self.stopped_and_restarted(name, case)
            if shutil.which("criu"):
                self.criu(name, case)
            if shutil.which("dmtcp_launch"):
                self.dmtcp(name, case)
        figures = self.results[name]
        for ratio, one, other in [
            ("stopped / raw write", "stopped ms", "raw write ms"),
            ("stopped and ended / raw write", "stopped and ended ms", "raw write ms"),
            ("going on / raw write", "total ms", "raw write ms"),
            ("eager restart / raw read", "restart ms", "raw read ms"),
            ("eager restart / raw cold read", "restart ms", "raw cold read ms"),
        ]:
            figures[ratio] = [statistics.median(figures[one]) / statistics.median(figures[other])]


def machine():
    cores = len(os.sched_getaffinity(0))
    gib = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30))
    return f"{cores} {platform.machine()} processors, {gib} GiB of memory, Linux {platform.release()}"


def summarised(results):
    return {
        name: {figure: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)} for figure, values in figures.items()}
        for name, figures in results.items()
    }


def table(summary):
    lines = []
    for name, figures in summary.items():
        lines += ["", f"### {name}", "", "| figure | median | lowest - highest | target |", "|---|---|---|---|"]
        for figure, value in figures.items():
            target = TARGETS.get(name, {}).get(figure)
            verdict = "" if target is None else f"at most {target:g}: {'yes' if value['median'] <= target else 'no'}"
            lines.append(f"| {figure} | {value['median']:.2f} | {value['lowest']:.2f} - {value['highest']:.2f} | {verdict} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def plot(summary):
    """Bars of the pause, on a logarithmic scale, with the spread as a line."""
    rows = [(name, figures["gap ms"]) for name, figures in summary.items() if "gap ms" in figures]
    height, left, width = 40 + 28 * len(rows), 200, 400
    decades = range(-1, 5)

    def x(milliseconds):
        import math

        return left + width * (math.log10(max(milliseconds, 0.1)) + 1) / 5

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height + 10}" font-family="sans-serif" font-size="12">']
    out.append('<rect width="100%" height="100%" fill="white"/><text x="10" y="18">Longest time a program does not run, milliseconds</text>')
    for decade in decades:
        out.append(f'<line x1="{x(10**decade):.1f}" x2="{x(10**decade):.1f}" y1="28" y2="{height - 8}" stroke="#ccc"/>')
        out.append(f'<text x="{x(10**decade):.1f}" y="{height + 6}" text-anchor="middle">{10**decade:g}</text>')
    for number, (name, value) in enumerate(rows):
        y = 34 + 28 * number
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{x(value["median"]) - left:.1f}" height="18" fill="#4477aa"/>')
        out.append(f'<line x1="{x(value["lowest"]):.1f}" x2="{x(value["highest"]):.1f}" y1="{y + 9}" y2="{y + 9}" stroke="black"/>')
        target = TARGETS.get(name, {}).get("gap ms")
        if target:
            out.append(f'<line x1="{x(target):.1f}" x2="{x(target):.1f}" y1="{y - 3}" y2="{y + 21}" stroke="#cc3311" stroke-width="2"/>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crs", default=str(HERE / "crs"), help="the crs to measure")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="on the file system to measure; needs three times the memory of the largest case")
    parser.add_argument("--runs", type=int, default=5, help="of each case")
    parser.add_argument("--quick", action="store_true", help="one small case, once: does the benchmark itself work?")
    parser.add_argument("--case", action="append", choices=[*SUITE, UNDER_RUN], help="only this; may be repeated")
    parser.add_argument("--own", metavar="MIB,CONTENT,THREADS,MIB_PER_SECOND,PAGES", help="a case of your own: 512,text,4,50,huge")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures there")
    parser.add_argument("--plot", type=pathlib.Path, help="write a picture (SVG) of the pauses there")
    # So that what it has started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parser.parse_args()
    cases = QUICK if options.quick else {name: case for name, case in SUITE.items() if not options.case or name in options.case}
    if options.own:
        mib, content, threads, rate, pages = options.own.split(",")
        cases = {options.own: (int(mib), content, int(threads), float(rate), pages)}
    if options.quick:
        options.runs = 1
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # what has been started is ended, too
    bench = Bench(options)
    try:
        for name, case in cases.items():
            bench.measure(name, case)
        if options.quick or UNDER_RUN in (options.case or ([] if options.own else [UNDER_RUN])):
            bench.under_run(options.runs, WORK[:1] if options.quick else WORK)
    finally:
        bench.close()
    summary = summarised(bench.results)
    print(f"{machine()}; median of {options.runs}\n\n{table(summary)}", end="")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "runs": options.runs, "cases": bench.results}, indent=1) + "\n")
    if options.plot:
        options.plot.write_text(plot(summary))


if __name__ == "__main__":
    main()
