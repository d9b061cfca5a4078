"""Maps that process many items in a few threads, results in order, and how items are divided."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ._interrupts import ServiceThread, closed_at_exit, start_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["batch_map", "byte_runs", "chunk_map", "default_threads", "ordered_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_Outcome = tuple[Any, "BaseException | None"]  # a result or an error
_CHUNK = 64  # names a thread works on at a time


def default_threads() -> int:
    """One thread per processor that this process may use, at most 8."""
    if hasattr(os, "sched_getaffinity"):  # a job on a large machine may have a few processors
        return min(len(os.sched_getaffinity(0)), 8)
    return min(os.cpu_count() or 1, 8)


def byte_runs(sizes: NDArray[Any], max_bytes: int, max_items: int) -> Iterator[range]:
    """Neighboring items that a thread processes at a time, within limits or a single item.

    Args:
        sizes: (N,) bytes of each item.
        max_bytes, max_items: of a run.
    """
    totals = np.cumsum(sizes, dtype=np.int64)
    start, total = 0, 0
    while start < len(totals):
        stop = int(np.searchsorted(totals, total + max_bytes, "right"))
        stop = min(max(stop, start + 1), start + max_items)
        yield range(start, stop)
        start, total = stop, int(totals[stop - 1])


def batch_map(
    work: Callable[[Item], Result], items: Sequence[Item], num_threads: int
) -> list[Result]:
    """The results of `work` for each item of a batch, without threads where one is enough."""
    if num_threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    return list(ordered_map(work, items, num_threads))


def chunk_map(
    work: Callable[[list[str]], Result],
    names: Iterable[str],
    num_threads: int,
    size: int = _CHUNK,
) -> Iterator[Result]:
    """The results of `work` for chunks of `size` names, in order, as `ordered_map`.

    Raises:
        ValueError: if `num_threads` is less than 1.
    """
    return ordered_map(work, _chunks(iter(names), size), num_threads)


def _chunks(names: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(names, size)):
        yield chunk


def ordered_map(
    work: Callable[[Item], Result], items: Iterable[Item], num_threads: int
) -> Iterator[Result]:
    """The results of `work` for each item, in order.

    At most four items per thread are in progress. If the iteration is stopped, it waits for the
    items in progress and skips the others.

    Raises:
        ValueError: if `num_threads` is less than 1.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return _ordered_map(work, iter(items), num_threads)


def _ordered_map(
    work: Callable[[Item], Result], items: Iterator[Item], num_threads: int
) -> Iterator[Result]:
    workers = _Workers(work)
    pending: deque[SimpleQueue[_Outcome]] = deque()
    try:
        while True:
            for item in islice(items, 4 * num_threads - len(pending)):
                pending.append(workers.submit(item))
            if not pending:
                return
            workers.start(min(num_threads, len(pending)))
            result, error = pending.popleft().get()
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # which refers to this frame
            yield result
    finally:
        workers.stop()


class _Workers:
    """Threads that process items; their waits, as all here, survive exceptions of signal handlers.

    They are daemon threads, which `stop` ends, at the latest at the end of the interpreter.
    """

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work
        self._tasks: SimpleQueue[tuple[Any, SimpleQueue[_Outcome]] | None] = SimpleQueue()
        self._threads: list[ServiceThread] = []
        self._is_stopped = False
        closed_at_exit(_Workers.stop).add(self)

    def submit(self, item: Any) -> SimpleQueue[_Outcome]:
        """Accepts an item; returns where its result will be."""
        outcome: SimpleQueue[_Outcome] = SimpleQueue()
        self._tasks.put((item, outcome))
        return outcome

    def start(self, number: int) -> None:
        """Starts the threads, once."""
        if not self._threads:
            self._threads += (ServiceThread(f"sprintcache-{n}", self._serve) for n in range(number))
            start_threads(*self._threads)

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None and not self._is_stopped:
            item, outcome = task
            try:
                outcome.put((self._work(item), None))
            except BaseException as error:  # raised where the results are used
                outcome.put((None, error))
            del task, item, outcome
        self._tasks.put(None)  # for the others

    def stop(self) -> None:
        """Waits for the items in progress and skips the others. Idempotent."""
        self._is_stopped = True
        self._tasks.put(None)
        for thread in self._threads:
            thread.wait()
