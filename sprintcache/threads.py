"""chunk_map: work on many names in a few threads, results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["chunk_map", "default_threads"]

Result = TypeVar("Result")

_CHUNK = 64  # names a thread works on at a time


def default_threads() -> int:
    """One thread per processor, at most 8."""
    return min(os.cpu_count() or 1, 8)


def chunk_map(
    work: Callable[[list[str]], Result], names: Iterable[str], num_threads: int
) -> Iterator[Result]:
    """What `work` gives for each chunk of the names, in their order.

    Names and results never pile up: only a few chunks per thread are under way. Whoever stops
    iterating waits for the chunks in work and leaves out the others.

    Raises:
        ValueError: if `num_threads` is less than 1.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return _chunk_map(work, iter(names), num_threads)


def _chunk_map(
    work: Callable[[list[str]], Result], names: Iterator[str], num_threads: int
) -> Iterator[Result]:
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(num_threads, "sprintcache")
    try:
        while True:
            while len(pending) < 4 * num_threads and (chunk := list(islice(names, _CHUNK))):
                pending.append(pool.submit(work, chunk))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
