"""A seeded scheduler of faults: each sequence of an epoch from Sprint is right, or a named error.

SPRINTCACHE_SCHEDULES sets the number of epochs with a fault (default 16; `make schedules` runs
thousands), SPRINTCACHE_FAULT_SEED their seed (default 0): both together repeat a failure.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprint_ctl.dataset import ExternSprintDataset
from sprint_ctl.errors import SprintError
from tests.faults import InterruptionError, alarm, in_fork
from tests.sprint_ctl.sprint_data import ENVIRONMENT, NAMES, SMALL, STAND_IN, resources

NUM_SCHEDULES = int(os.environ.get("SPRINTCACHE_SCHEDULES", "16"))
SEED = int(os.environ.get("SPRINTCACHE_FAULT_SEED", "0"))
FAULTS = ("none", "kill", "pause", "interrupt", "interrupt", "fork", "close", "begin", "finish")

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def open_dataset(**options: Any) -> ExternSprintDataset:
    timeouts = {"start_timeout": 60.0, "data_timeout": 1.5, "exit_timeout": 5.0}
    return ExternSprintDataset(STAND_IN, SMALL, **{**timeouts, **options})


def sprints() -> list[int]:
    """Child processes of all threads of this process."""
    children = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            children += [int(pid) for pid in (task / "children").read_text().split()]
    return children


def signal_sprints(number: int) -> None:
    for pid in sprints():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Schedule:
    """One epoch with a fault at a random sequence, and some time after it."""

    def __init__(
        self, dataset: ExternSprintDataset, expected: list[Any], chance: random.Random
    ) -> None:
        self._dataset = dataset
        self._expected = expected
        self._chance = chance
        # a stopped Sprint costs the timeout
        self.fault = "stop" if chance.random() < 0.03 else chance.choice(FAULTS)
        self._seq_index = chance.randrange(len(expected))
        self._delay = chance.choice([0.0, 0.0, chance.random() * 0.02, chance.random() * 0.3])
        self._kind = chance.choice([KeyboardInterrupt, InterruptionError])
        self._timers: list[threading.Timer] = []

    def run(self, epoch: int) -> str:
        """The outcome: what was delivered is right."""
        try:
            if self.fault != "interrupt":
                return self._read(epoch)
            with alarm(max(self._delay, 1e-4), self._kind):
                return self._read(epoch)
        except self._kind:
            return "interrupted"
        except SprintError as error:
            # an error without a class: of a Sprint that dies before its first segment
            allowed = {"kill": "SprintDiedError", "stop": "SprintTimeoutError"}.get(self.fault)
            if allowed is None or type(error).__name__ not in (allowed, "SprintError"):
                raise
            return type(error).__name__
        finally:
            for timer in self._timers:
                timer.cancel()
                timer.join()
            signal_sprints(signal.SIGCONT)  # also those that were started ahead

    def _read(self, epoch: int) -> str:
        self._dataset.init_seq_order(epoch)
        count = 0
        for count, seq in enumerate(self._dataset.iter_seqs()):
            assert (seq.seq_idx, seq.seq_tag) == (count, NAMES[count])
            check_features(seq.features, self._expected[count])
            if count == self._seq_index and self._happens(epoch):
                return "left"
        assert count + 1 == len(NAMES)
        return "complete"

    def _happens(self, epoch: int) -> bool:
        """Lets the fault happen; returns whether the epoch is left."""
        if self.fault in ("kill", "stop", "pause"):
            number = signal.SIGKILL if self.fault == "kill" else signal.SIGSTOP
            self._later(self._delay, number)
            if self.fault == "pause":
                self._later(self._delay + self._chance.random() * 0.2, signal.SIGCONT)
        elif self.fault == "fork":
            assert in_fork(self._use_in_fork) == 0
        elif self.fault == "close":
            self._dataset.close()
        elif self.fault == "begin":
            self._dataset.init_seq_order(epoch + 1)
        elif self.fault == "finish":
            self._dataset.finish_epoch(free_resources=self._chance.random() < 0.5)
        return self.fault in ("close", "begin", "finish")

    def _later(self, seconds: float, number: int) -> None:
        self._timers.append(threading.Timer(seconds, signal_sprints, (number,)))
        self._timers[-1].start()

    def _use_in_fork(self) -> None:
        """A fork is a dataset without an epoch, and ends nothing of the parent."""
        if self._chance.random() < 0.5:
            self._dataset.init_seq_order(1)
            self._dataset.load_seqs(0, 1)
            assert self._dataset.get_tag(0) == NAMES[0]
        self._dataset.close()


def check_features(features: Any, expected: Any) -> None:
    assert features.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(features[key], array)


def read_epoch(dataset: ExternSprintDataset, epoch: int) -> list[Any]:
    dataset.init_seq_order(epoch)
    return [dict(seq.features) for seq in dataset.iter_seqs()]


@pytest.mark.parametrize("prefetch_epochs", [0, 1])
def test_scheduled_faults_of_an_epoch(prefetch_epochs: int, tmp_path: Path) -> None:
    with open_dataset() as undisturbed:
        expected = read_epoch(undisturbed, 1)
        assert len(expected) == len(NAMES)
    before = resources(tmp_path)
    seed = 2 * SEED + prefetch_epochs
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    dataset = open_dataset(prefetch_epochs=prefetch_epochs)
    epoch = 1
    for index in range(max(NUM_SCHEDULES // 2, 1)):
        schedule = Schedule(dataset, expected, random.Random(chance.random()))
        outcome = schedule.run(epoch)
        outcomes[f"{schedule.fault}: {outcome}"] += 1
        epoch += chance.choice([1, 1, 0, 2])
        # all is right again; a Sprint that was started ahead may have been killed, too
        if outcome != "complete" or schedule.fault in ("kill", "stop"):
            for seq, features in enumerate(read_until_right(dataset, epoch)):
                check_features(features, expected[seq])
            epoch += 1
        if index % 20 == 19:
            dataset.close()
            wait_for_resources(before, tmp_path)
    dataset.close()
    wait_for_resources(before, tmp_path)
    assert sum(outcomes.values()) == max(NUM_SCHEDULES // 2, 1)


def read_until_right(dataset: ExternSprintDataset, epoch: int) -> list[Any]:
    """A whole epoch; a Sprint that was started ahead may have died with the one before."""
    for _ in range(2):
        try:
            return read_epoch(dataset, epoch)
        except SprintError:
            if not dataset.prefetch_epochs:
                raise
    return read_epoch(dataset, epoch)


def wait_for_resources(before: Any, folder: Path) -> None:
    deadline = time.monotonic() + 20
    while resources(folder) != before:
        assert time.monotonic() < deadline, (resources(folder), before)
        time.sleep(0.005)
