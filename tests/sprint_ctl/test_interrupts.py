"""An exception of a signal handler at every point of a pool's work where Python may run handlers.

It is raised by the pool, whatever its type; nothing is left behind, and the next batch is right.
SPRINTCACHE_FAULT_BATCHES sets the number of points (default 60, of about 700 in each scenario).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from sprint_ctl._pipe.json_framing import Unpacker
from sprint_ctl._pipe.pickle_framing import loads
from sprint_ctl._sequences.sequence_cache import SequenceCache
from sprint_ctl.error_signals import SprintInstancePool
from sprint_ctl.errors import SprintProtocolError, SprintRequestError, SprintTimeoutError
from tests.faults import Interrupt
from tests.sprint_ctl.test_pool_faults import resources, run_batch, tiny_pool

NUM_POINTS = int(os.environ.get("SPRINTCACHE_FAULT_BATCHES", "60"))
SEED = int(os.environ.get("SPRINTCACHE_FAULT_SEED", "0"))
MODULES = ("sprint_ctl.", "threading", "contextlib", "weakref", "json.")

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="names of the instructions of Python 3.11"
)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """`logging` swallows exceptions where a record is written."""
    for module in ("pool", "batch_run"):
        monkeypatch.setattr(logging.getLogger(f"sprint_ctl._trainer.{module}"), "disabled", True)


class OfHandlerError(SprintRequestError):
    """Of a handler that uses another pool, say."""


def start(pool: SprintInstancePool) -> None:
    assert not any(run_batch(pool, ["c/1", "c/2"]))


def start_for_automata(pool: SprintInstancePool) -> None:
    assert len(pool.get_automata_for_batch(["a/2", "a/3"])[1]) == 5


def lose_a_sprint(pool: SprintInstancePool) -> None:
    assert run_batch(pool, ["c/kill/1", "c/2", "c/refuse/3"]) == [True, False, True]


def close(pool: SprintInstancePool) -> None:
    run_batch(pool, ["c/1"])
    pool.close()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError, ValueError, OfHandlerError])
@pytest.mark.parametrize("work", [start, start_for_automata, lose_a_sprint, close])
def test_an_exception_at_any_point(
    work: Callable[[SprintInstancePool], None], kind: type[BaseException]
) -> None:
    tiny_pool().close()
    before = resources()
    num_points = num_points_of(work)
    step = max(num_points * 16 // NUM_POINTS, 1)
    for index in range(SEED % step, num_points, step):
        attempt(work, kind, index, before)
    assert resources() == before


@cache
def num_points_of(work: Callable[[SprintInstancePool], None]) -> int:
    """Number of points, of a run without exception; about the same in each run."""
    num_points = attempt(work, KeyboardInterrupt, -1, resources()).num_passed
    assert num_points > 100
    return num_points


def attempt(
    work: Callable[[SprintInstancePool], None], kind: type[BaseException], index: int, before: Any
) -> Interrupt:
    """A run with an exception at a point, none for -1; another batch; the resources of before."""
    pool = tiny_pool(on_failure="skip")
    interrupt = Interrupt(kind, index, *MODULES)
    raised = ""
    try:
        with interrupt:
            work(pool)
    except kind as error:
        raised = str(error)
    assert raised == ("of a signal handler" if interrupt.position else ""), interrupt.position
    assert not any(run_batch(pool, ["c/1", "c/2"])), interrupt.position
    pool.close()
    del pool
    assert resources() == before, interrupt.position
    return interrupt


def test_a_cache_is_never_left_locked() -> None:
    """Otherwise the thread that adds sequences would wait for ever, and `close` for that thread."""
    index, is_over = 0, False
    while not is_over:
        cache = SequenceCache(1 << 20, take_timeout=0.001, add_timeout=1)
        interrupt = Interrupt(KeyboardInterrupt, index, "sprint_ctl.", "threading")
        # RuntimeError: one instruction of Condition.wait does not survive an exception
        with contextlib.suppress(KeyboardInterrupt, SprintTimeoutError, RuntimeError), interrupt:
            cache.get(0)
        taken: list[bool] = []
        thread = threading.Thread(target=lambda: taken.append(cache.lock.acquire(timeout=0)))  # noqa: B023
        thread.start()
        thread.join()
        assert taken == [True], interrupt.position
        is_over = not interrupt.position
        index += 1
    assert index > 20


def test_an_error_of_a_message_is_not_taken_for_that_of_a_handler() -> None:
    """Neither where json, nor where numpy or one of our functions has raised it."""
    nested = b"[" * 60 + b"]" * 60
    for text in (b"[", b"[1] 2", b'["' + b"[" * 99, nested, b"\xff", b'[{"__array__":[]}]'):
        with pytest.raises(SprintProtocolError):
            Unpacker(None).unpack(text, 0)
    for body in (b"", b"\x80\x05.", b"I00\n", b"\x80\x05X\x09\x00\x00\x00a", b"\x80\x05}N]s."):
        with pytest.raises(SprintProtocolError):
            loads(body)
