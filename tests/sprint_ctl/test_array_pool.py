"""ArrayPool: memory that is used again, never while an array of it is left."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sprint_ctl._pipe.array_pool import ArrayPool

FLOAT = np.dtype("f4")


@pytest.mark.parametrize("fewer", [0, 1], ids=["as here", "references on the stack are borrowed"])
@pytest.mark.parametrize("size", [1000, 100_000], ids=["shared slab", "slab of its own"])
def test_an_array_in_use_keeps_its_memory(
    monkeypatch: pytest.MonkeyPatch, size: int, fewer: int
) -> None:
    value = object()
    count = sys.getrefcount

    def with_frame(thing: object) -> int:
        return count(thing)

    beside = with_frame(value) - count(value)  # what a function of Python's adds
    monkeypatch.setattr(sys, "getrefcount", lambda thing: count(thing) - beside - fewer)
    pool = ArrayPool()
    kept = [pool.empty((size,), FLOAT) for _ in range(2)]
    for number, array in enumerate(kept):
        array[:] = number
    for _ in range(2000 if size == 1000 else 20):
        pool.empty((size,), FLOAT)[:] = -1
    assert [set(array.tolist()) for array in kept] == [{0.0}, {1.0}]


def test_memory_that_nobody_uses_is_used_again() -> None:
    pool = ArrayPool()
    places = {pool.empty((100_000,), FLOAT).ctypes.data for _ in range(20)}
    assert len(places) <= 2
