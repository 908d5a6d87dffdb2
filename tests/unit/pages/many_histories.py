#!/usr/bin/env python3
"""Many random histories of memory (precopy_test.cc). In processes of their own, few in each: a child has the heap of the process that made
it, in which the pages of all earlier comparisons lie."""

import argparse
import os
import random
import subprocess
import sys

EACH = 10
# How many of a hundred, and which of the tests: with room for all that is left, in rows of three snapshots, with a twin.
SHARES = ((70, "SavesExactlyWhatTheFrozenProgramHas"), (10, "GoesOnFromTheSnapshotBefore"), (20, "LeavesTheRestToATwin"))


def run(program, test, seed):
    environment = {**os.environ, "CRS_TEST_SEED": str(seed), "CRS_TEST_HISTORIES": str(EACH)}
    try:
        result = subprocess.run([program, f"--gtest_filter=PrecopyTest.{test}", "--gtest_brief=1"], env=environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    except subprocess.TimeoutExpired as problem:
        print(f"{test} from CRS_TEST_SEED={seed}: {problem}", flush=True)
        return False
    passed = result.returncode == 0 and "[  PASSED  ] 1 test." in result.stdout
    if not passed:
        print(f"{test} from CRS_TEST_SEED={seed}: status {result.returncode}\n{result.stdout}", flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="unit_pages")
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    print(f"--seed {options.seed}", flush=True)
    done = failed = 0
    for share, test in SHARES:
        for _ in range(max(1, options.histories * share // 100 // EACH)):
            failed += not run(options.program, test, options.seed + done)
            done += EACH
    print(f"{done} histories, {failed} of {done // EACH} processes failed")
    return 0 if done and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
