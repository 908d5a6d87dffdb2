"""Four threads with a numeric loop each, one that waits with time limits, and a main thread that collects: python3 as people use it.

    threads.py STEPS        appends to thread-N.log, writes result.txt, prints a summary, exits with 7
"""

import hashlib
import math
import queue
import random
import sys
import threading

THREADS = 4


def numeric_loop(number, steps, results):
    generator = random.Random(number)
    total, big, digest = 0.0, number + 3, hashlib.sha256()
    with open(f"thread-{number}.log", "a") as log:
        for step in range(steps):
            for _ in range(2000):
                total += math.sin(total) * generator.random() + math.sqrt(step + 1)
            big = pow(big, 65537, (1 << 521) - 1)
            digest.update(f"{total!r} {big}".encode())
            log.write(f"{step} {total!r} {digest.hexdigest()}\n")
            log.flush()
    results.put((number, total, digest.hexdigest()))


def wait_often(ended, waits):
    while not ended.wait(0.01):
        waits.append(None)


def main():
    steps = int(sys.argv[1])
    results, ended, waits = queue.Queue(), threading.Event(), []
    waiter = threading.Thread(target=wait_often, args=(ended, waits))
    waiter.start()
    threads = [threading.Thread(target=numeric_loop, args=(number, steps, results)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    found = sorted(results.get() for _ in threads)
    ended.set()
    for thread in [waiter, *threads]:
        thread.join()
    with open("result.txt", "w") as file:
        file.writelines(f"{number} {total!r} {digest}\n" for number, total, digest in found)
    print(f"{len(found)} threads, waited: {bool(waits)}")
    sys.exit(7)


main()
