"""A seeded scheduler of faults for Loader: each batch is the next one of the sampler, or an error.

SPRINTCACHE_SCHEDULES sets the number of steps with a fault (default 60; `make schedules` runs
thousands), SPRINTCACHE_FAULT_SEED their seed (default 0): both together repeat a failure.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sprintcache import ArchiveWriter, SprintCacheDataset
from sprintcache.errors import LoaderError
from tests.faults import InterruptionError, alarm, start_fork, wait_for_exit
from tests.resources import descriptors

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")

from sprintcache.torch import BatchSampler, Loader, MapDataset  # noqa: E402

NUM_SEQS = 23
NUM_SCHEDULES = int(os.environ.get("SPRINTCACHE_SCHEDULES", "60"))
SEED = int(os.environ.get("SPRINTCACHE_FAULT_SEED", "0"))
MAX_FRAMES = 40
FAULTS = (
    *("none", "interrupt", "interrupt", "close", "close by a thread", "error", "fork", "kill"),
    *("leave", "pickle", "resume", "begin", "another epoch"),
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class TransformError(Exception):
    """Of a transform."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MapDataset]:
    """Sequence i has the value i everywhere."""
    path = tmp_path_factory.mktemp("corpus") / "features.cache"
    with ArchiveWriter(path) as writer:
        for seq in range(NUM_SEQS):
            frames = 5 + 7 * seq % 13
            writer.add_features(f"seq{seq}", np.full((frames, 2), seq, np.float32))
    with contextlib.closing(
        SprintCacheDataset({"data": {"filename": path}}, seq_ordering="random")
    ) as opened:
        yield MapDataset(opened)


class Epochs:
    """The batches of epochs by the sampler alone, which reads nothing."""

    def __init__(self, dataset: MapDataset) -> None:
        self._dataset = dataset
        self._epochs: dict[int, list[list[int]]] = {}

    def batches(self, epoch: int) -> list[list[int]]:
        if epoch not in self._epochs:
            sampler = BatchSampler(self._dataset, max_frames=MAX_FRAMES)
            sampler.set_epoch(epoch)
            self._epochs[epoch] = [list(batch) for batch in sampler]
        return self._epochs[epoch]


class Delays:
    """A transform that waits for random times, and fails on request."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self.fails = False

    def __call__(self, batch: Any) -> Any:
        with self._lock:
            seconds = self._chance.choice([0.0, 0.0, 0.0, self._chance.random() * 0.004])
            fails, self.fails = self.fails, False
        if seconds:
            time.sleep(seconds)
        if fails:
            raise TransformError
        return batch

    def __getstate__(self) -> int:
        return 1

    def __setstate__(self, state: int) -> None:
        self.__init__(state)  # type: ignore[misc]


def values_of(batch: Any) -> list[int]:
    """The sequences of a batch, by its values."""
    lengths = batch.lengths["data"].tolist()
    seqs = [int(row[0, 0]) for row in batch.data["data"]]
    for row, length, seq in zip(batch.data["data"], lengths, seqs, strict=True):
        assert bool((row[:length] == seq).all())
        assert not row[length:].any()
    return seqs


class Schedule:
    """A loader, its iteration, and the position by the batches that were delivered."""

    def __init__(self, dataset: MapDataset, chance: random.Random) -> None:
        self._dataset = dataset
        self._chance = chance
        self._epochs = Epochs(dataset)
        self._delays = Delays(chance.randrange(1 << 30))
        self.outcomes: Counter[str] = Counter()
        self._new_loader()
        self._expect(1, 0)

    def _new_loader(self) -> None:
        chance = self._chance
        self._has_transform = chance.random() < 0.6  # without one, the training reads as well
        self.loader = Loader(
            self._dataset,
            BatchSampler(self._dataset, max_frames=MAX_FRAMES),
            num_threads=chance.randint(1, 3),
            prefetch=chance.randint(1, 5),
            transform=self._delays if self._has_transform else None,
            timeout=chance.choice([None, None, 60.0]),
        )
        self._iteration: Any = None

    def _expect(self, epoch: int, batch: int) -> None:
        self._epoch, self._batch = epoch, batch

    def _next(self) -> bool:
        """Takes the next batch; False at the end of the epoch."""
        if self._iteration is None:
            self._iteration = iter(self.loader)
        expected = self._epochs.batches(self._epoch)
        batch = next(self._iteration, None)
        if batch is None:
            assert self._batch == len(expected)
            self._iteration = None
            self._expect(self._epoch + 1, 0)
            return False
        assert values_of(batch) == expected[self._batch]
        self._batch += 1
        state = self.loader.state_dict()
        assert (state["epoch"], state["batch"]) == (self._epoch, self._batch)
        assert state == batch.state
        return True

    def run(self) -> None:
        """Some batches, a fault, and the position after it."""
        for _ in range(self._chance.randint(0, 4)):
            self._next()
        fault = self._chance.choice(FAULTS)
        outcome = getattr(self, "_" + fault.replace(" ", "_"))()
        self.outcomes[f"{fault}: {outcome or 'right'}"] += 1
        self._next()

    # ---- faults

    def _none(self) -> None:
        self._next()

    def _interrupt(self) -> str | None:
        """At any point of the loader: its state is the position, before or after the batch."""
        kind = self._chance.choice([KeyboardInterrupt, InterruptionError])
        seconds = self._chance.choice([1e-5, self._chance.random() * 1e-3, 0.005])
        try:
            with alarm(seconds, kind) as alarm_state:
                while not alarm_state.was_raised:
                    self._next()
        except kind:
            # what continues is the state that was stored
            state = self.loader.state_dict()
            self.loader.close()
            self._iteration = None
            self._check_near(state["epoch"], state["batch"])
            self.loader.load_state_dict(state)
            return "interrupted"
        return None

    def _check_near(self, epoch: int, batch: int) -> None:
        """At most one batch, or the end of an epoch, was not seen here."""
        here = (self._epoch, self._batch)
        following = {here, (self._epoch, self._batch + 1), (self._epoch + 1, 0)}
        if self._batch == 0:  # an epoch begins where the last one ends
            following.add((self._epoch - 1, len(self._epochs.batches(self._epoch - 1))))
        assert (epoch, batch) in following
        self._expect(epoch, batch)

    def _close(self) -> str | None:
        self.loader.close()
        return self._after_close()

    def _close_by_a_thread(self) -> str | None:
        """While the training waits, or between two batches."""
        while not self._next():
            pass
        timer = threading.Timer(self._chance.random() * 0.003, self.loader.close)
        timer.start()
        try:
            for _ in range(self._chance.randint(0, 6)):
                if not self._next():
                    break
        except LoaderError:
            pass
        finally:
            timer.join()
        return self._after_close()

    def _after_close(self) -> str | None:
        """A closed iteration raises; the state is the position after the last batch."""
        if self._iteration is not None:
            try:
                batch = next(self._iteration)
            except LoaderError:
                pass
            except StopIteration:
                assert self._batch == len(self._epochs.batches(self._epoch))
                self._iteration = None
                self._expect(self._epoch + 1, 0)
                return "at the end"
            else:
                raise AssertionError(f"a batch of a closed iteration: {batch.tags}")
        self._continue()
        return "closed"

    def _continue(self) -> None:
        """Goes on where the last batch ended, as the pages say."""
        self._iteration = None
        self.loader.load_state_dict(self.loader.state_dict())

    def _error(self) -> str | None:
        if not self._has_transform:
            return "no transform"
        self._delays.fails = True
        try:
            while self._next():
                pass
        except TransformError:
            self._continue()
            return "raised"
        finally:
            self._delays.fails = False
        return None

    def _fork(self) -> str | None:
        """A fork has an iteration that raises, and a loader that can be iterated."""

        def task() -> None:
            if self._iteration is not None:
                with contextlib.suppress(StopIteration):
                    try:
                        next(self._iteration)
                        raise AssertionError("a batch of the parent")
                    except LoaderError:
                        pass
            for batch in self.loader:
                values_of(batch)
            self.loader.close()

        pid = start_fork(task)
        for _ in range(self._chance.randint(0, 3)):
            self._next()
        assert wait_for_exit(pid) == 0
        return None

    def _kill(self) -> None:
        """A fork that is killed while it reads."""

        def task() -> None:
            while True:
                for _ in self.loader:
                    pass

        pid = start_fork(task)
        for _ in range(self._chance.randint(0, 3)):
            self._next()
        time.sleep(self._chance.random() * 0.005)
        os.kill(pid, signal.SIGKILL)
        assert wait_for_exit(pid) == -signal.SIGKILL

    def _leave(self) -> None:
        """As ``break``: the threads end with the iteration."""
        self._iteration = None
        if self._chance.random() < 0.5:
            gc.collect()
        self._continue()

    def _pickle(self) -> None:
        """A copy is idle; it takes the state."""
        state = self.loader.state_dict()
        self.loader.close()
        self.loader = pickle.loads(pickle.dumps(self.loader))
        self._iteration = None
        self.loader.load_state_dict(state)

    def _resume(self) -> None:
        """Another loader takes the state, as text."""
        state = json.loads(json.dumps(self.loader.state_dict()))
        if self._chance.random() < 0.5:
            self.loader.close()
        self._new_loader()
        self.loader.load_state_dict(state)

    def _begin(self) -> None:
        """Two iterations at once: the second ends the first."""
        state = self.loader.state_dict()
        old = self._iteration
        self.loader.load_state_dict(state)
        self._iteration = iter(self.loader)
        if old is not None:
            with pytest.raises((LoaderError, StopIteration)):
                next(old)

    def _another_epoch(self) -> None:
        self.loader.set_epoch(self._epoch + 2)
        self._iteration = None
        self._expect(self._epoch + 2, 0)


def resources() -> tuple[int, list[str]]:
    """Descriptors and threads of this process."""
    return len(descriptors()), [thread.name for thread in threading.enumerate()]


def test_scheduled_faults_of_a_loader(dataset: MapDataset) -> None:
    for _ in Loader(dataset, BatchSampler(dataset, max_frames=MAX_FRAMES)):
        pass  # what is loaded once
    before = resources()
    schedule = Schedule(dataset, random.Random(SEED))
    for _ in range(NUM_SCHEDULES):
        schedule.run()
    schedule.loader.close()
    assert sum(schedule.outcomes.values()) == NUM_SCHEDULES
    del schedule
    deadline = time.monotonic() + 20
    while resources() != before:
        assert time.monotonic() < deadline, (resources(), before)
        time.sleep(0.002)
