"""StepQueue: steps of an iteration, processed by several threads, delivered in order.

States. A queue is *open* until one of three things happens: the steps are *exhausted* (results that
are left are delivered first), a reader *fails* (the consumer raises that error at its next `take`,
even if earlier results are ready), or it is *stopped*. Only an open queue begins steps.

Threads. Readers call `begin`, `fail` and `leave`; one consumer calls `take`, and processes steps
there as well instead of waiting, if it can; any thread calls `stop`, also a finalizer while the
same thread holds the lock, which is therefore reentrant. One lock guards all of it, the iterator of
the steps included, so steps are numbered in the order in which they are drawn. Nothing here relies
on the GIL.

Exceptions of signal handlers come into the consumer, between any two instructions. A result that is
`taken` stays so until the consumer clears it, as its last act, and is returned again otherwise; a
step that is begun stays its own. An exception inside the iterator of the steps, which may be a
generator that does not survive it, stops the queue.

A forked process has none of the readers, and perhaps a locked lock: there, `take` raises a
LoaderError and `stop` does nothing.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from sprintcache._interrupts import Waiters
from sprintcache.errors import LoaderError

__all__ = ["StepQueue"]

Step = TypeVar("Step")
Result = TypeVar("Result")

_SHORT_SECONDS = 1e-3  # steps below it are not worth a change of threads
_WAIT_SECONDS = 5.0  # after this time a waiting thread looks again, whatever happened


class StepQueue(Generic[Step, Result]):
    """A bounded queue whose results have the order of their steps.

    Attributes:
        taken: the result that `take` has returned, and how many were ready; the consumer sets None
            once it has delivered it.
    """

    def __init__(
        self, steps: Iterator[Step], size: int, num_readers: int, begin_first: bool = False
    ) -> None:
        """Begins nothing yet but the first step of `begin_first`.

        Args:
            steps: drawn from one at a time, by whichever reader is free.
            size: number of steps that are begun and not yet taken, at most.
            num_readers: number of threads that will call `leave`.
            begin_first: leave the first step to the consumer, which would wait for it otherwise.
        """
        self._steps = steps
        self._size = size
        self._wake_free = max(size * 3 // 4, 1)  # free slots that are worth a change of threads
        self._num_readers = num_readers
        self._lock = threading.RLock()
        self._ready = Waiters(self._lock)  # the consumer
        self._room = Waiters(self._lock)  # readers
        self.taken: tuple[Result, int] | None = None
        self._results: dict[int, Result] = {}
        self._own: tuple[int, Step] | None = None  # the step that the consumer processes
        self._own_seconds = 0.0  # that the last one took
        self._left = -math.inf  # when the consumer took its last result
        self._is_alone = False  # whether readers leave the steps to the consumer
        self._num_begun = 0
        self._num_taken = 0
        self._is_exhausted = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._process = os.getpid()
        if begin_first:
            with self._lock:
                self._own = self._draw()

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
                    self._ready.notify_all()
            goes_first = done is not None or self._own is None
        if not goes_first:  # a short first step goes alone
            time.sleep(_SHORT_SECONDS)
        (begun,) = self._room.wait_for(self._begin, math.inf) or (None,)
        return begun

    def _begin(self) -> tuple[tuple[int, Step] | None] | None:
        """What `begin` returns, in a tuple; None while there is no room."""
        if self._is_open and not self._may_begin:
            return None
        return (self._draw() if self._is_open else None,)

    @property
    def _num_free(self) -> int:
        return self._size - (self._num_begun - self._num_taken)

    @property
    def _may_begin(self) -> bool:
        return self._num_free > 0 and not self._is_alone

    def _draw(self) -> tuple[int, Step] | None:
        """Begins the next step of an open queue; None if there is none."""
        for step in self._steps:  # in contrast to next(), no handler runs before the record
            self._num_begun += 1
            return self._num_begun - 1, step
        self._is_exhausted = True
        self._ready.notify_all()
        self._room.notify_all()
        return None

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

    def take(
        self, timeout: float | None, process: Callable[[Step], Result] | None = None
    ) -> tuple[Result, int] | None:
        """Returns the next result, once it is ready; again until the consumer clears `taken`.

        Args:
            timeout: seconds to wait; None: any time.
            process: makes the result of a step. While the next result is not ready, the consumer
                processes steps that no reader has begun, which costs no change of threads. None:
                it waits. A step that is interrupted, as by Ctrl-C, is processed by the next `take`.

        Returns:
            the result and how many were ready; None after the last one.

        Raises:
            TimeoutError: if the result did not come in time; it is not lost.
            LoaderError: if the queue was stopped, or belongs to another process.
            Exception: the error of a reader, or of `process`.
        """
        if os.getpid() != self._process:
            raise LoaderError("this iteration belongs to the process that this one was forked from")
        begin = time.monotonic()
        is_idle = begin - self._left < self._own_seconds / 4
        self._is_alone = is_idle and self._own_seconds < _SHORT_SECONDS
        deadline = None if timeout is None else begin + timeout
        done: tuple[int, Result] | None = None
        seconds = 0.0
        change: Any = None
        while True:
            with self._lock:
                if done is not None:
                    self._results[done[0]] = done[1]
                    self._own, self._own_seconds = None, seconds
                    done = None
                self._take_ready()
                taken = self.taken
                if taken is not None or self._is_at_end:
                    return taken
                own = None if process is None else self._begin_own()
                if own is None:
                    seconds = self._seconds_to_wait(deadline, timeout)
                    change = self._ready.enter()
            if process is None or own is None:
                change.acquire(True, seconds)
                continue
            begin = time.monotonic()
            try:
                done = own[0], process(own[1])
            except Exception:
                self.stop()
                raise
            seconds = time.monotonic() - begin

    def _take_ready(self) -> None:
        """Takes the next result if it is ready; raises what ended the queue."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._is_stopped:
            raise LoaderError("this iteration was closed")
        results, number = self._results, self._num_taken
        if self.taken is not None or number not in results:
            return
        depth = len(results)
        self._left = time.monotonic()
        # without a call in between, so no handler runs
        self.taken = results[number], depth
        del results[number]
        self._num_taken = number + 1
        if not self._is_alone and self._num_free >= self._wake_free:
            self._room.notify_one()

    @property
    def _is_at_end(self) -> bool:
        return self._is_exhausted and self._num_taken == self._num_begun

    def _begin_own(self) -> tuple[int, Step] | None:
        """The step that the consumer may process: one that was interrupted, or the next one."""
        if self._own is None and self._is_open and self._num_free > 0:
            try:
                self._own = self._draw()
            except BaseException:
                self.stop()
                raise
        return self._own

    def _seconds_to_wait(self, deadline: float | None, timeout: float | None) -> float:
        """How long to wait for a change of the queue."""
        if self._num_readers == 0:
            raise LoaderError("all reading threads have ended")
        seconds = _WAIT_SECONDS
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                raise TimeoutError(f"no batch within {timeout} seconds")
        return seconds

    # ---- any thread

    def stop(self) -> None:
        """Drops what was not taken, and lets readers end; idempotent."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._is_stopped = True
            self.taken = None
            self._results.clear()
            self._ready.notify_all()
            self._room.notify_all()
