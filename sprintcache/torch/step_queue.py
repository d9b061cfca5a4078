"""StepQueue: steps of an iteration, processed by several threads, delivered in order.

States. A queue is *open* until one of three things happens: the steps are *exhausted* (results that
are left are delivered first), a reader *fails* (the consumer raises that error at its next `take`,
even if earlier results are ready), or it is *stopped*. Only an open queue begins steps.

Threads. Readers call `begin`, `fail` and `leave`; one consumer calls `take`; any thread
calls `stop`, also a finalizer while the same thread holds the lock, which is therefore reentrant.
One lock guards all of it, the iterator of the steps included, so steps are numbered in the order in
which they are drawn. Nothing here relies on the GIL.

A forked process has none of the readers, and perhaps a locked lock: there, `take` raises a
LoaderError and `stop` does nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Generic, TypeVar

from sprintcache.errors import LoaderError

__all__ = ["StepQueue"]

Step = TypeVar("Step")
Result = TypeVar("Result")

_WAIT_SECONDS = 5.0  # after this time a waiting thread looks again, whatever happened


class StepQueue(Generic[Step, Result]):
    """A bounded queue whose results have the order of their steps."""

    def __init__(self, steps: Iterator[Step], size: int, num_readers: int) -> None:
        """Begins nothing yet.

        Args:
            steps: drawn from one at a time, by whichever reader is free.
            size: number of steps that are begun and not yet taken, at most.
            num_readers: number of threads that will call `leave`.
        """
        self._steps = steps
        self._size = size
        self._num_readers = num_readers
        self._lock = threading.RLock()
        self._ready = threading.Condition(self._lock)  # the consumer waits
        self._room = threading.Condition(self._lock)  # readers wait
        self._results: dict[int, Result] = {}
        self._num_begun = 0
        self._num_taken = 0
        self._is_exhausted = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._process = os.getpid()

    @property
    def _is_open(self) -> bool:
        return not (self._is_exhausted or self._is_stopped)

    # ---- readers

    def begin(self, done: tuple[int, Result] | None = None) -> tuple[int, Step] | None:
        """Delivers a result and begins the next step, once there is room.

        Args:
            done: number and result of a step; a queue that was stopped drops it.

        Returns:
            number and step, or None if the queue is not open.
        """
        with self._lock:
            if done is not None and not self._is_stopped:
                self._results[done[0]] = done[1]
                if done[0] == self._num_taken:
                    self._ready.notify()
            while self._is_open and self._num_begun - self._num_taken >= self._size:
                self._room.wait(_WAIT_SECONDS)
            if not self._is_open:
                return None
            try:
                step = next(self._steps)
            except StopIteration:
                self._is_exhausted = True
                self._ready.notify_all()
                self._room.notify_all()
                return None
            self._num_begun += 1
            return self._num_begun - 1, step

    def fail(self, error: BaseException) -> None:
        """Stops the queue; the consumer raises the first error."""
        with self._lock:
            if self._error is None and not self._is_stopped:
                self._error = error
            self.stop()

    def leave(self) -> None:
        """Counts a reader out."""
        with self._lock:
            self._num_readers -= 1
            self._ready.notify_all()

    # ---- consumer

    def take(self, timeout: float | None) -> tuple[Result, int] | None:
        """Waits for the next result.

        Args:
            timeout: seconds to wait; None: any time.

        Returns:
            the result and how many were ready; None after the last one.

        Raises:
            TimeoutError: if the result did not come in time; it is not lost.
            LoaderError: if the queue was stopped, or belongs to another process.
            Exception: the error of a reader.
        """
        if os.getpid() != self._process:
            raise LoaderError("this iteration belongs to the process that this one was forked from")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while True:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                if self._is_stopped:
                    raise LoaderError("this iteration was closed")
                if self._num_taken in self._results:
                    depth = len(self._results)
                    result = self._results.pop(self._num_taken)
                    self._num_taken += 1
                    self._room.notify()
                    return result, depth
                if self._is_exhausted and self._num_taken == self._num_begun:
                    return None
                if self._num_readers == 0:
                    raise LoaderError("all reading threads have ended")
                seconds = _WAIT_SECONDS
                if deadline is not None:
                    seconds = min(seconds, deadline - time.monotonic())
                    if seconds <= 0:
                        raise TimeoutError(f"no batch within {timeout} seconds")
                self._ready.wait(seconds)

    # ---- any thread

    def stop(self) -> None:
        """Drops what was not taken, and lets readers end; idempotent."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._is_stopped = True
            self._results.clear()
            self._ready.notify_all()
            self._room.notify_all()
