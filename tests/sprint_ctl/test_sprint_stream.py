"""Data from Sprint in a DataLoader: batches by frames, a Sprint for every worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprint_ctl.dataset import ExternSprintDataset
from sprint_ctl.errors import SprintDiedError
from tests.paths import DATA
from tests.sprint_ctl.sprint_data import CONTROL, ENVIRONMENT, NAMES, SMALL, STAND_IN

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")

from torch.utils.data import DataLoader  # noqa: E402

from sprintcache.torch import SequenceStream  # noqa: E402

# more workers than processors; forks of a process that has threads of PyTorch
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def open_dataset(arguments: list[str], *more: str, **options: Any) -> ExternSprintDataset:
    return ExternSprintDataset(
        STAND_IN, [*arguments, *more], start_timeout=60, data_timeout=60, **options
    )


@pytest.fixture
def dataset() -> Iterator[ExternSprintDataset]:
    with open_dataset(CONTROL) as made:
        yield made


def test_batches_are_stretches_within_the_budget(dataset: ExternSprintDataset) -> None:
    batches = list(DataLoader(SequenceStream(dataset, max_frames=1500), batch_size=None))
    assert [tag for batch in batches for tag in batch.tags] == NAMES
    other = open_dataset(CONTROL)
    other.init_seq_order(1)
    seqs = other.iter_seqs()
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        lengths = batch.lengths["data"]
        assert len(lengths) * max(lengths) <= 1500 or len(lengths) == 1
        if following is not None:  # the next one would not have fitted
            longest = max(*lengths.tolist(), int(following.lengths["data"][0]))
            assert (len(lengths) + 1) * longest > 1500
        for index in range(len(lengths)):
            seq = next(seqs)
            for key, array in seq.features.items():
                size = int(batch.lengths[key][index])
                assert np.array_equal(batch.data[key][index, :size].numpy(), array)
                rest = batch.data[key][index, size:]
                assert bool((rest == (-1 if key == "classes" else 0)).all())
    other.close()


def test_workers_and_ranks_share_an_epoch(tmp_path: Path) -> None:
    epochs: list[list[str]] = []
    for rank in (0, 1):
        with open_dataset(SMALL, prefetch_epochs=1) as dataset:
            stream = SequenceStream(dataset, ["data"], max_seqs=5, rank=rank, num_ranks=2)
            loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
            for epoch in (1, 2):
                stream.set_epoch(epoch)
                batches = list(loader)
                assert {len(batch.tags) for batch in batches} == {5, 1}
                epochs.append(sorted(tag for batch in batches for tag in batch.tags))
            del loader
    assert epochs[0] == epochs[1]
    assert sorted(epochs[0] + epochs[2]) == NAMES


def test_epochs_from_zero_and_limits_of_lengths() -> None:
    """In the order of RandomState(0), (1) and (2); limits are against the archive's lengths."""
    with sprintcache.open_archive(DATA / "features.bundle") as archive:
        frames = {name: archive.num_frames(name) for name in NAMES}
    with open_dataset(CONTROL, seq_ordering="random") as dataset:
        stream = SequenceStream(dataset, ["data"], max_seqs=5)
        limited = SequenceStream(
            dataset, ["data"], max_seqs=5, min_seq_length=200, max_seq_length=300
        )
        for epoch in range(3):
            order = [NAMES[i] for i in np.random.RandomState(epoch).permutation(len(NAMES))]
            stream.set_epoch(epoch)
            assert [tag for batch in stream for tag in batch.tags] == order
        limited.set_epoch(2)
        tags = [tag for batch in limited for tag in batch.tags]
        assert tags == [name for name in order if 200 <= frames[name] <= 300]
        assert 0 < len(tags) < len(NAMES)


def test_an_error_in_a_worker_keeps_its_name() -> None:
    dataset = open_dataset(SMALL, "--*.fake.misbehave=segment-4:signal:KILL")
    loader = DataLoader(SequenceStream(dataset, max_seqs=2), batch_size=None, num_workers=1)
    batches = iter(loader)
    assert len(next(batches).tags) == 2
    with pytest.raises(SprintDiedError, match="SIGKILL"):
        list(batches)
    dataset.close()


def test_options_that_cannot_be(dataset: ExternSprintDataset) -> None:
    for options in ({}, {"max_frames": 0}, {"max_seqs": 1, "rank": 1}):
        with pytest.raises(ValueError, match=r"expected one above 0|rank 1 of 1"):
            SequenceStream(dataset, **options)
    with pytest.raises(ValueError, match="counted from 1"):
        SequenceStream(dataset, max_seqs=1).set_epoch(-1)
    with pytest.raises(ValueError, match="sharded already"):
        SequenceStream(open_dataset(SMALL, num_shards=2), max_seqs=1)
