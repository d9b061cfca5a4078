"""Waits, threads and work that an exception of a signal handler leaves whole.

Python runs signal handlers in the main thread, between any two instructions. Where one raises an
exception, several functions of `threading` lose it or their own state: ``Condition.wait`` may leave
its lock released (RuntimeError: cannot release un-acquired lock), ``Thread.start`` may lose the
thread, ``Thread.join`` and ``is_alive`` may take a thread for ended that runs.

Here no wait relies on being woken: an exception may come between a change and the call that wakes.
A waiting thread looks again after 0.1 s at the latest.
"""

from __future__ import annotations

import _thread
import atexit
import functools
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "NoThreadError",
    "ServiceThread",
    "Waiters",
    "closed_at_exit",
    "start_threads",
    "uninterrupted",
]

Result = TypeVar("Result")

_INTERVAL = 0.1  # seconds after which a waiting thread looks again


class NoThreadError(RuntimeError):
    """Raised when the system has no further thread."""


def uninterrupted(function: Callable[[], object]) -> None:
    """Calls a function where no signal handler runs: from the main thread, in another thread.

    Raises what the function raises. An exception of a signal handler is raised instead, when the
    function is over; a further one at once.

    Raises:
        NoThreadError: the function was not called.
    """
    if threading.get_ident() != threading.main_thread().ident:
        function()
        return
    errors: list[BaseException] = []
    started: list[int] = []
    is_over: list[bool] = []
    done = _thread.allocate_lock()
    done.acquire()

    def call() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)
        finally:
            is_over.append(True)
            done.release()

    try:
        # in one step: no handler runs between the start and its record
        started.extend(map(_thread.start_new_thread, [call], [()]))
        done.acquire()
    except BaseException as error:
        if not started and isinstance(error, RuntimeError) and _is_raised_by_c(error):
            raise NoThreadError(str(error)) from None
        if started and not is_over:
            done.acquire()
        raise
    if errors:
        raise errors[0]


def _is_raised_by_c(error: BaseException) -> bool:
    """Whether a call of C has raised an exception, and not a signal handler in Python."""
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is None


def start_threads(*threads: threading.Thread) -> None:
    """Starts threads, as many as the system has.

    Raises:
        NoThreadError: these are not all.
    """

    def start() -> None:
        for thread in threads:
            try:
                thread.start()
            except RuntimeError as error:
                raise NoThreadError(str(error)) from None

    if threads:
        uninterrupted(start)


class ServiceThread(threading.Thread):
    """A daemon thread whose end can be awaited where signal handlers run.

    Attributes:
        has_ended: its work is over.
    """

    def __init__(self, name: str, target: Callable[..., object] | None = None, *args: Any) -> None:
        """Starts nothing; without a target a class overrides `serve`."""
        super().__init__(name=name, target=target, args=args, daemon=True)
        self.has_ended = False
        self._process = os.getpid()
        self._end = _thread.allocate_lock()
        self._end.acquire()

    def run(self) -> None:
        """Calls `serve`."""
        try:
            self.serve()
        finally:
            self.has_ended = True
            self._end.release()

    def serve(self) -> None:
        """The work: calls the target."""
        super().run()

    def wait(self, timeout: float = math.inf) -> bool:
        """Waits until the thread has ended; False after these seconds.

        At once if it was never started, or if this process is a fork, where it does not run.
        """
        deadline = time.monotonic() + timeout
        while not self.has_ended and self.ident is not None and self._process == os.getpid():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._end.acquire(True, min(left, _INTERVAL)):
                self._end.release()  # for other threads that wait
        if self.has_ended:
            self.join()  # some instructions
        return True


@functools.lru_cache(maxsize=None)  # noqa: UP033 -- Sprint may embed Python 3.8
def closed_at_exit(close: Callable[[Any], object]) -> weakref.WeakSet[Any]:
    """Objects with threads, for each of which `close` is called before the interpreter ends.

    That is before finalizers run, which would end what their threads work on, one by one.
    """
    objects: weakref.WeakSet[Any] = weakref.WeakSet()
    # hooks run in reverse order, so that of all finalizers must be registered first
    weakref.finalize(objects, bool)

    def close_all() -> None:
        for each in list(objects):
            close(each)

    atexit.register(close_all)
    return objects


class Waiters:
    """Threads that wait for a change of what a lock guards; they do not hold it meanwhile."""

    def __init__(self, lock: Any) -> None:
        """For a lock of `threading`."""
        self._lock = lock
        self._tickets: list[Any] = []  # locks; to release one wakes its thread

    def enter(self) -> Any:
        """Adds the calling thread, which holds the lock.

        Returns:
            a lock that can be acquired after the next change.
        """
        ticket = _thread.allocate_lock()
        ticket.acquire()
        self._tickets.append(ticket)
        return ticket

    def notify_all(self) -> None:
        """Wakes the threads that wait; the calling thread holds the lock."""
        if self._tickets:
            tickets, self._tickets = self._tickets, []
            for ticket in tickets:
                ticket.release()

    def notify_one(self) -> None:
        """Wakes the thread that waits longest; the calling thread holds the lock."""
        if self._tickets:
            self._tickets.pop(0).release()

    def wait_for(self, result: Callable[[], Result | None], timeout: float) -> Result | None:
        """Waits until a function returns something.

        Args:
            result: called with the lock held, at once and after each change; it may raise.
            timeout: seconds.

        Returns:
            What it has returned; None after the timeout.
        """
        with self._lock:
            value = result()
        if value is not None:
            return value
        deadline = time.monotonic() + timeout
        ticket = None
        while True:
            with self._lock:
                value = result()
                if value is not None:
                    if ticket in self._tickets:
                        self._tickets.remove(ticket)
                    return value
                if ticket is None:
                    ticket = self.enter()
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if ticket.acquire(True, min(left, _INTERVAL)):
                ticket = None
