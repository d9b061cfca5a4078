"""Faults at a time of the test's choice: an exception of a signal handler, and forks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

__all__ = ["InterruptionError", "alarm", "in_fork", "start_fork", "wait_for_exit"]


class InterruptionError(Exception):
    """Of a signal handler."""


@contextlib.contextmanager
def alarm(seconds: float, kind: type[BaseException]) -> Iterator[list[bool]]:
    """Raises an exception in the main thread after some time, unless the block is left before.

    Yields a list that is not empty once it was raised.
    """
    fired: list[bool] = []
    armed = [True]

    def handler(*_: object) -> None:
        if armed:
            armed.clear()
            fired.append(True)
            raise kind("of a signal handler")

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield fired
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def start_fork(task: Callable[[], object]) -> int:
    """The process of a fork, whose exit status is 0 if the task returns."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            task()
            status = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(status)
    return pid


def wait_for_exit(pid: int) -> int:
    """Exit status of a fork; -1 for one that is killed after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


def in_fork(task: Callable[[], object]) -> int:
    """Exit status of a fork that runs the task."""
    return wait_for_exit(start_fork(task))
