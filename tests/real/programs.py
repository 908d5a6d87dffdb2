"""The real programs that run_real_program.py puts through checkpoints: how each is started, how its progress shows, and what it leaves."""

import dataclasses
import os
import pathlib
import random

SOURCES = pathlib.Path(__file__).parent
MEBIBYTE = 1 << 20
PATIENCE = int(os.environ.get("CRS_TEST_PATIENCE", "1"))  # the shortest must not end during a checkpoint that takes so many times as long


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    command: list  # the words "{compiled}" and "{data}" stand for the folder of compiled programs and for the generated file
    results: list  # patterns of the files that must be as after an uninterrupted run
    progress: list  # patterns of files whose sizes together tell how far the program is
    status: int = 0
    sources: list = ()  # copied into the working directory
    stdin: str = ""  # one of them
    data: int = 0  # bytes of generated text that the program reads
    fractions: tuple = (0.25, 0.45, 0.65)  # of the progress of an uninterrupted run: where the checkpoints are
    # A file that was changed in place after a checkpoint is not brought back (docs/limits.md). Where a program does so, what ends it is the
    # checkpoint itself (--kill), so that its files stay as they were.
    ends_with_checkpoint: bool = False
    short: bool = False  # by default one checkpoint for each user; the other cases with --long
    exists_in_the_middle: str = ""  # a file that only a program in the middle of its work has


PROGRAMS = [
    Program("python", ["/usr/bin/python3", "threads.py", "2500"], ["thread-*.log", "result.txt"], ["thread-*.log"], 7, ["threads.py"]),
    Program("asyncio", ["/usr/bin/python3", "asyncio_clients.py", str(2000 * PATIENCE)], ["client-*.log", "result.txt"], ["client-*.log"], 19,
            ["asyncio_clients.py"]),
    Program("perl", ["perl", "words.pl", "250"], ["rounds.log", "result.txt"], ["rounds.log"], 3, ["words.pl"]),
    Program("gawk", ["gawk", "-f", "summary.awk", "{data}"], ["progress.log"], ["progress.log"], 5, ["summary.awk"], data=25 * MEBIBYTE),
    Program("gzip", ["gzip", "-1", "-c", "{data}"], [], ["stdout.txt"], data=200 * MEBIBYTE),
    Program("xz", ["xz", "-0", "-T2", "--block-size=1MiB", "-c", "{data}"], [], ["stdout.txt"], data=32 * MEBIBYTE),
    Program("sqlite3", ["sqlite3", "-batch", "work.db"], ["work.db", "work.db-journal"], ["work.db"], 0, ["transaction.sql"],
            stdin="transaction.sql", fractions=(0.6, 0.75, 0.9), ends_with_checkpoint=True, exists_in_the_middle="work.db-journal"),
    Program("lua", ["lua5.4", "tables.lua", "150"], ["steps.log", "result.txt"], ["steps.log"], 9, ["tables.lua"]),
    Program("static_c", ["{compiled}/grid", "400"], ["steps.log", "result.bin"], ["steps.log"], 11),
    Program("go", ["{compiled}/pipeline", "1500"], ["steps.log", "result.txt"], ["steps.log"], 13),
    # Trees of processes; both make temporary files, which must be as they were.
    Program("sort_and_gzip", ["sh", "-c", "sort -S 4M -T . {data} | gzip -n -1 -c > sorted.gz; echo $? > result.txt"],
            ["sorted.gz", "result.txt"], ["sort??????", "sorted.gz"], data=48 * MEBIBYTE, fractions=(0.3, 0.5, 0.7),
            ends_with_checkpoint=True),
    Program("make", ["make", "-s", "-j2", "-f", "units.mk"], ["result.txt"], ["*.o"], 0, ["units.mk", "unit.c"],
            ends_with_checkpoint=True),
    Program("multiprocessing", ["/usr/bin/python3", "pool.py", "8000"], ["results.log", "result.txt"], ["results.log"], 23, ["pool.py"],
            fractions=(0.1, 0.2, 0.3), short=True),
    Program("node", ["node", "events.js", "1600"], ["worker-*.log", "result.txt"], ["worker-*.log"], 21, ["events.js"],
            fractions=(0.1, 0.25, 0.4), short=True),
    Program("java", ["java", "-Xmx64m", "Collected.java", "320"], ["thread-*.log", "result.txt"], ["thread-*.log"], 25,
            ["Collected.java"], fractions=(0.1, 0.25, 0.4), short=True),
    Program("mpi", ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "4", "{compiled}/neighbours", "13000"],
            ["steps.log", "result.bin"], ["steps.log"], ends_with_checkpoint=True, short=True),
    Program("cpp_64_threads", ["{compiled}/many_threads", "3000"], ["thread-*.log", "result.txt"], ["thread-*.log"], 17),
]


def write_data(path, size):
    """Text of three columns, as logs are: a key, a number, a word. The same bytes every time; no two stretches of it are the same."""
    generator = random.Random(size)
    lines = []
    for _ in range(100_000):
        word = "".join(generator.choices("etaoinshrdlu", k=generator.randrange(3, 14)))
        lines.append(f"{generator.randrange(5000)} {generator.randrange(10**6)} {word}\n")
    block = "".join(lines).encode()
    letters = bytes(b"etaoinshrdlu")
    with open(path, "wb") as file:
        while file.tell() < size:
            shuffled = bytes(generator.sample(letters, len(letters)))
            file.write(block.translate(bytes.maketrans(letters, shuffled))[: size - file.tell()])
    path.chmod(0o644)
