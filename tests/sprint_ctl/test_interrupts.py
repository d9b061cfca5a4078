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

import numpy as np
import pytest

from sprint_ctl._pipe.json_framing import Unpacker
from sprint_ctl._pipe.pickle_framing import loads
from sprint_ctl._sequences.sequence_cache import SequenceCache
from sprint_ctl.dataset import ExternSprintDataset
from sprint_ctl.error_signals import SprintInstancePool
from sprint_ctl.errors import SprintProtocolError, SprintRequestError, SprintTimeoutError
from sprintcache._interrupts import ServiceThread, start_threads
from sprintcache.dataset_base import DatasetSeq
from tests.faults import Interrupt
from tests.sprint_ctl.sprint_data import ENVIRONMENT, NAMES, SMALL, STAND_IN
from tests.sprint_ctl.test_pool_faults import resources, run_batch, tiny_pool

NUM_POINTS = int(os.environ.get("SPRINTCACHE_FAULT_BATCHES", "60"))
SEED = int(os.environ.get("SPRINTCACHE_FAULT_SEED", "0"))
MODULES = ("sprint_ctl.", "threading", "contextlib", "weakref", "json.", "sprintcache._interrupts")

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
    raised: BaseException | None = None  # with its traceback, as an interactive shell keeps it
    try:
        with interrupt:
            work(pool)
    except kind as error:
        raised = error
    expected = "of a signal handler" if interrupt.position else "None"
    assert str(raised) == expected, interrupt.position
    assert not any(run_batch(pool, ["c/1", "c/2"])), interrupt.position
    raised = None
    pool.close()
    del pool
    assert resources() == before, interrupt.position
    return interrupt


def cached(index: int) -> DatasetSeq:
    return DatasetSeq(index, f"seq-{index}", {"data": np.zeros((1, 1), np.float32)})


def added_by_a_thread(cache: SequenceCache) -> ServiceThread:
    thread = ServiceThread("adding", cache.add, [cached(cache.num_added)], 9, 9)
    start_threads(thread)
    return thread


def wait_for_a_sequence(cache: SequenceCache) -> None:
    with pytest.raises(SprintTimeoutError, match="no sequence arrived"):
        cache.get(5)


def wait_for_an_epoch(cache: SequenceCache) -> None:
    cache.keeps_step = True
    cache.want(2)
    with pytest.raises(SprintTimeoutError, match="no sequence arrived"):
        cache.has_epoch()


def wait_for_the_consumer(cache: SequenceCache) -> None:
    with pytest.raises(SprintTimeoutError, match="not consumed"):
        cache.add([cached(1)], 0, 0)


def wait_for_the_epoch_of_the_consumer(cache: SequenceCache) -> None:
    with pytest.raises(SprintTimeoutError, match="does not begin"):
        cache.wait_for_epoch(7)


def receive(cache: SequenceCache) -> None:
    """From a thread that adds while this one waits."""
    thread = added_by_a_thread(cache)
    assert cache.get(1).seq_tag == "seq-1"
    thread.wait()


@pytest.mark.parametrize(
    "work",
    [
        wait_for_a_sequence,
        wait_for_an_epoch,
        wait_for_the_consumer,
        wait_for_the_epoch_of_the_consumer,
        receive,
    ],
)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_exception_at_any_point_of_a_wait(
    work: Callable[[SequenceCache], None], kind: type[BaseException]
) -> None:
    """It is raised as it is, and the cache can be used by both sides afterwards."""
    index, is_over = 0, False
    while not is_over:
        cache = SequenceCache(1 << 20, take_timeout=0.001, add_timeout=0.001)
        assert added_by_a_thread(cache).wait(60)
        if work is receive:
            cache.take_timeout = 60.0
        interrupt = Interrupt(kind, index, "sprint_ctl.", "sprintcache.", "threading")
        raised = ""
        try:
            with interrupt:
                work(cache)
        except kind as error:
            raised = str(error)
        assert raised == ("of a signal handler" if interrupt.position else ""), interrupt.position
        cache.keeps_step, cache.take_timeout = False, 60.0
        assert added_by_a_thread(cache).wait(60), interrupt.position
        assert cache.get(cache.num_added - 1).seq_tag.startswith("seq-"), interrupt.position
        cache.stop()
        is_over = not interrupt.position
        index += 1
    assert index > 10


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_exception_at_any_point_of_waiting_for_a_thread(kind: type[BaseException]) -> None:
    """A thread that still runs is not taken for ended, as `Thread.join` would."""
    index, is_over = 0, False
    while not is_over:
        hold = threading.Lock()
        hold.acquire()
        thread = ServiceThread("held", hold.acquire)
        start_threads(thread)
        interrupt = Interrupt(kind, index, "sprintcache.", "threading")
        with contextlib.suppress(kind), interrupt:
            assert not thread.wait(0.001)
        assert not thread.has_ended
        assert not thread.wait(0), interrupt.position
        hold.release()
        assert thread.wait(60)
        is_over = not interrupt.position
        index += 1
    assert index > 5


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError, OfHandlerError])
def test_an_exception_at_any_point_of_an_epoch(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised as it is; `close` ends the epoch, and the next one is right."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def attempt(index: int) -> Interrupt:
        dataset = ExternSprintDataset(
            STAND_IN, SMALL, start_timeout=60.0, data_timeout=60.0, exit_timeout=5.0
        )
        interrupt = Interrupt(kind, index, *MODULES, "sprintcache.")
        raised = ""
        tags: list[str] = []
        try:
            with interrupt:
                dataset.init_seq_order(1)
                tags += [seq.seq_tag for seq in dataset.iter_seqs()]
                dataset.close()
        except kind as error:
            raised = str(error)
        assert raised == ("of a signal handler" if interrupt.position else ""), interrupt.position
        assert tags in ([], NAMES)
        dataset.close()
        if index % 4 == 0:
            dataset.init_seq_order(2)
            assert [seq.seq_tag for seq in dataset.iter_seqs()] == NAMES, interrupt.position
            dataset.close()
        del dataset
        assert resources() == before, interrupt.position
        return interrupt

    before = resources()
    num_points = attempt(-1).num_passed
    assert num_points > 100
    step = max(num_points * 12 // NUM_POINTS, 1)
    for index in range(SEED % step, num_points, step):
        attempt(index)


def test_an_error_of_a_message_is_not_taken_for_that_of_a_handler() -> None:
    """Neither where json, nor where numpy or one of our functions has raised it."""
    nested = b"[" * 60 + b"]" * 60
    for text in (b"[", b"[1] 2", b'["' + b"[" * 99, nested, b"\xff", b'[{"__array__":[]}]'):
        with pytest.raises(SprintProtocolError):
            Unpacker(None).unpack(text, 0)
    for body in (b"", b"\x80\x05.", b"I00\n", b"\x80\x05X\x09\x00\x00\x00a", b"\x80\x05}N]s."):
        with pytest.raises(SprintProtocolError):
            loads(body)
