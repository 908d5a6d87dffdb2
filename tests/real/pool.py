"""A pool of processes as people use it, and one process of its own beside it that is talked to through a queue, a pipe and shared memory.

    pool.py TASKS           appends to results.log, writes result.txt, exits with 23
"""

import hashlib
import multiprocessing
import sys


def work(task):
    digest = hashlib.sha256(str(task).encode())
    for _ in range(2000):
        digest.update(digest.digest())
    return task, digest.hexdigest()


def square(tasks, answers, begin, total):
    """The process beside the pool."""
    begin.wait()
    for task in iter(tasks.get, None):
        with total.get_lock():
            total.value += task
        answers.send(task * task)
    answers.close()


def main():
    tasks, begin, total = multiprocessing.Queue(), multiprocessing.Event(), multiprocessing.Value("q", 0)
    answers, other_end = multiprocessing.Pipe(duplex=False)
    beside = multiprocessing.Process(target=square, args=(tasks, other_end, begin, total))
    beside.start()
    other_end.close()
    begin.set()
    with multiprocessing.Pool(4) as pool, open("results.log", "a") as log:
        for task, digest in pool.imap(work, range(int(sys.argv[1])), chunksize=3):
            tasks.put(task)
            print(task, digest, answers.recv(), file=log, flush=True)
        pool.close()
        pool.join()
    tasks.put(None)
    beside.join()
    with open("result.txt", "w") as file:
        print(total.value, beside.exitcode, file=file)
    sys.exit(23)


if __name__ == "__main__":
    main()
