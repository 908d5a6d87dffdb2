#!/usr/bin/env python3
"""Counts the primes below LIMIT with worker threads, the way a long job does: progress appended to LOG, the answer written to RESULT.

    primes.py LIMIT LOG RESULT

Worker threads sieve one segment after the other and keep a running SHA-256 of everything they sieved; the main thread adds up and appends
one line for each segment, in order. The same LIMIT always gives the same bytes in both files. Nothing in here knows of CRS.
"""

import hashlib
import math
import queue
import sys
import threading

WORKERS = 4
SEGMENT = 4_000_000  # numbers; only the odd ones are kept, one byte each


def small_primes(limit):
    sieve = bytearray([1]) * (limit + 1)
    for number in range(2, math.isqrt(limit) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return [number for number in range(3, limit + 1, 2) if sieve[number]]


def sieve_segment(begin, end, primes):
    """One byte for each odd number in [begin, end): 1 for a prime. `begin` is even."""
    sieve = bytearray([1]) * ((end - begin) // 2)
    if begin == 0:
        sieve[0] = 0  # the number 1
    for prime in primes:
        if prime * prime >= end:
            break
        first = max(prime * prime, (begin + prime - 1) // prime * prime)
        first += prime if first % 2 == 0 else 0
        index = (first - begin) // 2
        if index < len(sieve):
            sieve[index::prime] = bytes(len(range(index, len(sieve), prime)))
    return sieve


class Worker(threading.Thread):
    """Sieves every WORKERS-th segment and puts the counts into its own queue."""

    def __init__(self, number, segments, primes):
        super().__init__(name=f"worker {number}")
        self.segments, self.primes = segments[number::WORKERS], primes
        self.counts = queue.Queue(maxsize=2)
        self.digest = hashlib.sha256()

    def run(self):
        for begin, end in self.segments:
            sieve = sieve_segment(begin, end, self.primes)
            self.digest.update(sieve)
            self.counts.put(sieve.count(1))


def main():
    limit, log_name, result_name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    segments = [(begin, min(begin + SEGMENT, limit)) for begin in range(0, limit, SEGMENT)]
    primes = small_primes(math.isqrt(limit) + 1)
    workers = [Worker(number, segments, primes) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    total = 1  # the number 2
    with open(log_name, "a") as log:
        for number, (_, end) in enumerate(segments):
            total += workers[number % WORKERS].counts.get()
            log.write(f"{total} primes below {end}\n")
            log.flush()
    with open(result_name, "w") as result:
        result.write(f"There are {total} primes below {limit}.\n")
        for worker in workers:
            worker.join()
            result.write(f"SHA-256 of the sieve of {worker.name}: {worker.digest.hexdigest()}\n")


if __name__ == "__main__":
    main()
