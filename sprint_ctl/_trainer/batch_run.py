"""One batch on its way through the Sprints of a pool; see `sprint_ctl._trainer.pool` for the rules.

The thread of the caller works with the first Sprint, where a signal handler may break it off at any
point; each further Sprint has a thread. A thread that has nothing to do waits until the batch is
over: a segment of a lost Sprint may become the next one. So does one whose Sprint is starting.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue

from sprint_ctl._pipe.foreign_errors import is_foreign
from sprint_ctl.errors import (
    SprintAutomatonError,
    SprintDiedError,
    SprintError,
    SprintRequestError,
)
from sprintcache._interrupts import NoThreadError, ServiceThread, start_threads

from .instance import SprintSubprocessInstance

__all__ = ["SegmentQueue", "Task", "run_batch"]

Task = Callable[[SprintSubprocessInstance, int], None]

_END_INTERVAL = 0.05  # seconds between attempts to end what a thread is just starting

logger = logging.getLogger(__name__)


class SegmentQueue:
    """Segments of a batch that wait for a Sprint, by index, and those that failed for good.

    Threads wait in a SimpleQueue, which an exception of a signal handler leaves intact.

    Attributes:
        failures: the error of each segment that failed for good.
        has_answer: a Sprint has answered for a segment, with a result or an exception.
        num_lost: segments with which a Sprint was lost twice.
        last_loss: the last error with which a Sprint was lost or did not start.
        is_cancelled: the batch is broken off: no thread takes or starts anything any more.
        is_over: each segment was answered or has failed for good, or the batch is broken off.
    """

    def __init__(self, order: Iterable[int]) -> None:
        self.failures: dict[int, Exception] = {}
        self.has_answer = False
        self.num_lost = 0
        self.last_loss: SprintError | None = None
        self.is_cancelled = False
        self.is_over = False
        self._waiting = deque(order)
        self._open = set(self._waiting)  # neither answered nor failed for good
        self._retried: set[int] = set()
        self._lock = threading.Lock()
        # as many as segments wait; once the batch is over, one more that stays
        self._tickets: SimpleQueue[None] = SimpleQueue()
        for _ in self._waiting:
            self._tickets.put(None)

    def __bool__(self) -> bool:
        """Whether segments wait."""
        return bool(self._waiting) and not self.is_cancelled

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> int | None:
        """Returns the next segment, once one waits; None if the batch is over."""
        self._tickets.get()
        if self.is_over:
            self._tickets.put(None)
            return None
        return self._waiting.popleft()

    def wait(self) -> bool:
        """Waits until a segment waits; False if the batch is over."""
        self._tickets.get()
        self._tickets.put(None)
        return not self.is_over

    def answer(self, index: int, error: SprintError | None = None) -> None:
        """Records that Sprint has answered for a segment, with a result or an error for good."""
        self.has_answer = True
        if error is not None:
            self.failures[index] = error
        self._close(index)

    def put_back(self, index: int) -> None:
        """Makes a segment the next one, as if it had not been tried."""
        self._waiting.appendleft(index)
        self._tickets.put(None)

    def lose(self, index: int, error: SprintError) -> bool:
        """Records a Sprint that was lost with a segment; True if the segment is tried once more."""
        with self._lock:
            self.last_loss = error
            if index in self._retried:
                self.failures[index] = error
                self.num_lost += 1
                self._close(index)
                return False
            self._retried.add(index)
            self.put_back(index)
            return True

    def cancel(self) -> None:
        """Breaks the batch off."""
        self.is_cancelled = self.is_over = True
        self._tickets.put(None)

    def _close(self, index: int) -> None:
        """Records that a segment is done; the batch is over with the last one."""
        self._open.discard(index)
        if not self._open:
            self.is_over = True
            self._tickets.put(None)


class _Worker(ServiceThread):
    """Takes segments from a queue for one Sprint, which only this thread uses meanwhile.

    ``is_given_up``: Sprint was lost too often in a row, or cannot be started. ``error``: what no
    rule of the pool covers, or None.
    """

    def __init__(
        self,
        instance: SprintSubprocessInstance,
        number: int,
        queue: SegmentQueue,
        task: Task,
        max_restarts: int,
    ) -> None:
        super().__init__(f"Sprint {number}")
        self.instance = instance
        self.is_given_up = False
        self.error: BaseException | None = None
        self._queue = queue
        self._task = task
        self._max_restarts = max_restarts
        self._has_answered = False  # in this batch, if only to its start

    def serve(self) -> None:
        try:
            self.work()
        except BaseException as error:  # not of a signal handler: these run in the main thread
            self.error = error
            self._queue.cancel()
        finally:
            if self._queue.is_cancelled:
                self.instance.end()
                self.instance.exit_handler()

    def work(self) -> None:
        """Until the batch is over or the Sprint is given up."""
        while self.instance.is_ready or self._start():
            index = self._queue.take()
            if index is None:
                return
            try:
                self._task(self.instance, index)
            except SprintError as error:
                if is_foreign(error):
                    raise
                if isinstance(error, (SprintRequestError, SprintAutomatonError)):
                    self._has_answered = True
                    self._queue.answer(index, error)
                elif not self._queue.is_cancelled:
                    self._lose(index, error)
            else:
                self._has_answered = True
                self._queue.answer(index)

    def _lose(self, index: int, error: SprintError) -> None:
        """Records that Sprint was lost with a segment."""
        logger.warning("%s", error)
        if isinstance(error, SprintDiedError) and not self._has_answered:
            self._queue.put_back(index)  # it may have ended before it was asked
        elif self._queue.lose(index, error):
            self.instance.deaths += 1

    def _start(self) -> bool:
        """(Re)starts the Sprint for a segment; False if it is given up or not needed."""
        instance, queue = self.instance, self._queue
        while instance.is_starting or queue.wait():
            if instance.deaths > self._max_restarts:
                logger.warning(
                    "a Sprint is given up after %d restarts in a row", instance.deaths - 1
                )
                self.is_given_up = True
                return False
            try:
                if not instance.is_starting:
                    instance.start()
                if not instance.await_ready(lambda: queue.is_over):
                    return False  # it goes on starting
            except SprintError as error:
                if is_foreign(error):
                    raise
                queue.last_loss = error
                logger.warning("%s", error)
                if not instance.was_ready:  # it has never worked: it is not tried again and again
                    self.is_given_up = True
                    return False
                instance.deaths += 1
            else:
                self._has_answered = True
                return True
        return False


def run_batch(
    queue: SegmentQueue,
    instances: Sequence[SprintSubprocessInstance],
    task: Task,
    max_restarts: int,
) -> list[SprintSubprocessInstance]:
    """Has the segments of a queue done, or until no Sprint is left; see `SprintInstancePool`.

    After any exception all these Sprints have ended or will end by themselves, and must not be used
    again. Returns the Sprints that were not given up; some may be starting.
    """
    remaining = list(instances)
    while queue and remaining:
        workers = [
            _Worker(instance, number, queue, task, max_restarts)
            for number, instance in enumerate(remaining)
        ]
        try:
            try:
                start_threads(*workers[1:])
            except NoThreadError:  # fewer Sprints do it
                logger.warning("no thread can be started for another Sprint")
            workers[0].work()
            for worker in workers[1:]:
                worker.wait()
                if worker.error is not None:
                    raise worker.error
            if queue.is_cancelled:
                raise SprintError("the interpreter exits in the middle of the batch")
        except BaseException:
            _cancel(queue, workers)
            raise
        remaining = [worker.instance for worker in workers if not worker.is_given_up]
    return remaining


def _cancel(queue: SegmentQueue, workers: Sequence[_Worker]) -> None:
    """Ends the Sprints of a batch that was broken off."""
    queue.cancel()
    for worker in workers:
        while not worker.wait(0):
            worker.instance.end()  # its thread releases it
            worker.wait(_END_INTERVAL)
    for worker in workers:
        worker.instance.end()
        worker.instance.exit_handler()
