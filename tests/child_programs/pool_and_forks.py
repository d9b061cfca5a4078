"""Batches in threads of the pool while the process forks; prints what went wrong, or nothing.

    python pool_and_forks.py ARCHIVE

First one thread: the pool has no threads right after a fork. Then callers in several threads, and
forks in the middle of their batches; every child reads with its own pool.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings

import numpy as np

import sprintcache

NUM_FORKS = 40


def num_threads() -> int:
    """Threads of this process, those of C included."""
    return len(os.listdir("/proc/self/task"))


def read(archive: sprintcache.Archive) -> np.ndarray:
    """A batch of all segments, by four threads."""
    batch: np.ndarray = archive.read_features_batch(list(archive.segments) * 8, num_threads=4)[0]
    return batch


def child_status(archive: sprintcache.Archive, expected: np.ndarray) -> int:
    """Forks; the exit status of a child that reads a batch."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        os._exit(0 if np.array_equal(read(archive), expected) else 1)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
    archive = sprintcache.open_archive(sys.argv[1])
    alone = num_threads()
    expected = read(archive)
    if num_threads() <= alone:
        sys.stdout.write("no thread of the pool\n")
    if child_status(archive, expected) != 0:
        sys.stdout.write("the child of an idle pool failed\n")
    if num_threads() > alone:
        sys.stdout.write(f"{num_threads()} threads after a fork, {alone} before the first batch\n")
    stopped = threading.Event()

    def call() -> None:
        while not stopped.is_set():
            if not np.array_equal(read(archive), expected):
                sys.stdout.write("another batch\n")

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    failed = sum(child_status(archive, expected) != 0 for _ in range(NUM_FORKS))
    stopped.set()
    for caller in callers:
        caller.join()
    if failed:
        sys.stdout.write(f"{failed} of {NUM_FORKS} children failed\n")


if __name__ == "__main__":
    main()
