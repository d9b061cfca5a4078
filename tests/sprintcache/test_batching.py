"""Batches by a budget of frames: against a search that tries every cut, and invariants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprintcache.batching import Batches, bucket_bounds, make_batches
from sprintcache.ordering import Ordering

LENGTHS = st.lists(st.integers(0, 30), max_size=60)
LIMITS = st.one_of(
    st.fixed_dictionaries({"max_frames": st.integers(1, 100)}),
    st.fixed_dictionaries({"max_seqs": st.integers(1, 9)}),
    st.fixed_dictionaries({"max_frames": st.integers(1, 100), "max_seqs": st.integers(1, 9)}),
)


RANGES = st.fixed_dictionaries(
    {}, optional={"min_seq_length": st.integers(0, 9), "max_seq_length": st.integers(1, 30)}
)


def in_range(order: list[int], lengths: list[int], limits: dict[str, int]) -> list[int]:
    lower, upper = limits.get("min_seq_length", 1), limits.get("max_seq_length", 99)
    return [seq for seq in order if lower <= lengths[seq] <= upper]


def greedy(order: list[int], lengths: list[int], limits: dict[str, int]) -> list[list[int]]:
    """Each sequence goes to the last batch if it fits in there."""
    batches: list[list[int]] = []
    for seq in in_range(order, lengths, limits):
        grown = [*batches[-1], seq] if batches else []
        occupied = max([lengths[i] for i in grown], default=0) * len(grown)
        fits = occupied <= limits.get("max_frames", occupied)
        if grown and fits and len(grown) <= limits.get("max_seqs", len(grown)):
            batches[-1] = grown
        else:
            batches.append([seq])
    return batches


@given(lengths=LENGTHS, limits=LIMITS, ranges=RANGES, seed=st.integers(1, 99))
def test_batches_are_the_longest_stretches_that_fit(
    lengths: list[int], limits: dict[str, int], ranges: dict[str, int], seed: int
) -> None:
    order = Ordering("random", fixed_random_seed=seed).order(1, len(lengths)).tolist()
    batches = make_batches(order, lengths, **limits, **ranges)
    assert [batch.tolist() for batch in batches] == greedy(order, lengths, {**limits, **ranges})
    if "max_frames" not in limits:
        expected = greedy(order, lengths, {**limits, "min_seq_length": 0})
        assert [b.tolist() for b in make_batches(order, **limits)] == expected


@given(
    lengths=LENGTHS,
    limits=LIMITS,
    ranges=RANGES,
    seed=st.integers(1, 99),
    buckets=st.integers(1, 6) | st.lists(st.integers(0, 31), unique=True, max_size=5).map(sorted),
)
def test_with_buckets(
    lengths: list[int],
    limits: dict[str, int],
    ranges: dict[str, int],
    seed: int,
    buckets: int | list[int],
) -> None:
    order = Ordering("random", fixed_random_seed=seed).order(1, len(lengths)).tolist()
    limits = {**limits, **ranges}
    used = [lengths[seq] for seq in in_range(order, lengths, limits)]
    bounds = bucket_bounds(used, buckets).tolist() if isinstance(buckets, int) else buckets
    of = [sum(bound < length for bound in bounds) for length in lengths]
    expected = []
    for bucket in range(len(bounds) + 1):
        expected += greedy([i for i in order if of[i] == bucket], lengths, limits)
    expected.sort(key=lambda batch: order.index(batch[-1]))
    batches = make_batches(order, lengths, buckets=buckets, **limits)
    assert [batch.tolist() for batch in batches] == expected
    assert batches.order.dtype == batches.offsets.dtype == np.int64


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({"max_frames": 10}, [2, 2]),
        ({"max_frames": 9}, [1, 1, 1, 1]),
        ({"max_packed_frames": 15}, [3, 1]),
        ({"max_packed_frames": 14}, [2, 2]),
        ({"max_frames": 20, "max_packed_frames": 15}, [3, 1]),
        ({"max_frames": 20, "max_seqs": 3}, [3, 1]),
    ],
)
def test_budgets_that_are_met_exactly(limits: dict[str, int], sizes: list[int]) -> None:
    batches = make_batches(range(4), [5] * 4, **limits)
    assert [len(batch) for batch in batches] == sizes


def test_a_bucket_keeps_the_order() -> None:
    """With more sequences than a sort by insertion keeps in order by itself."""
    order = np.random.default_rng(3).permutation(3000)
    lengths = np.arange(3000) % 4 * 10 + 5
    batches = make_batches(order, lengths, max_seqs=3000, buckets=[10, 20, 30])
    for batch in batches:
        bucket = lengths[batch[0]]
        assert batch.tolist() == [seq for seq in order.tolist() if lengths[seq] == bucket]
    assert [len(batch) for batch in batches] == [750] * 4


def test_lengths_of_many_chunks_and_more_than_16_bits() -> None:
    """Audio samples: more sequences than are numbers of Python at a time."""
    lengths = np.random.default_rng(4).integers(1, 200_000, 10_000)
    batches = make_batches(range(10_000), lengths, max_frames=400_000)
    limits = {"max_frames": 400_000, "max_seq_length": 200_000}
    expected = greedy(list(range(10_000)), lengths.tolist(), limits)
    assert [batch.tolist() for batch in batches] == expected


def test_the_number_of_bounds_is_limited() -> None:
    """The number of a bucket has 16 bits."""
    order, lengths = [0, 1, 2], [1, 65_535, 70_000]
    batches = make_batches(order, lengths, max_seqs=3, buckets=np.arange(1, 65_536))
    assert [batch.tolist() for batch in batches] == [[0], [1], [2]]
    for buckets in (np.arange(1, 65_537), 65_536):
        with pytest.raises(ValueError, match="65536"):
            make_batches(order, lengths, max_seqs=3, buckets=buckets)


@given(lengths=LENGTHS, num_buckets=st.integers(1, 6))
def test_bounds_share_the_frames(lengths: list[int], num_buckets: int) -> None:
    bounds = bucket_bounds(lengths, num_buckets)
    assert len(bounds) < num_buckets
    assert np.all(bounds[1:] > bounds[:-1])
    parts = np.bincount(np.searchsorted(bounds, lengths), lengths, len(bounds) + 1)
    # a bucket has more than its share by one sequence, or by those of one length
    most = max((n * lengths.count(n) for n in lengths), default=0)
    assert max(parts) <= sum(lengths) / num_buckets + most
    assert not len(bounds) or np.all(np.bincount(np.searchsorted(bounds, lengths)) > 0)


def test_buckets_save_padding() -> None:
    lengths = np.random.default_rng(1).integers(200, 1600, 20_000)
    order = Ordering("random").order(1, len(lengths))

    def share(batches: Batches) -> float:
        longest = np.maximum.reduceat(lengths[batches.order], batches.offsets[:-1])
        occupied = longest * np.diff(batches.offsets)
        assert occupied.max() <= 20_000
        return float(lengths.sum() / occupied.sum())

    assert share(make_batches(order, lengths, max_frames=20_000)) < 0.7
    assert share(make_batches(order, lengths, max_frames=20_000, buckets=30)) > 0.96


def test_no_batch_without_frames_unless_asked_for() -> None:
    lengths = [0, 10, 12, 9, 0, 1000]
    batches = make_batches(range(6), lengths, max_seqs=1, max_seq_length=999)
    assert [batch.tolist() for batch in batches] == [[1], [2], [3]]
    batches = make_batches(range(6), lengths, max_seqs=1, min_seq_length=0)
    assert [batch.tolist() for batch in batches] == [[0], [1], [2], [3], [4], [5]]
    assert len(make_batches([0, 4], lengths, max_frames=9, buckets=2)) == 0


def test_a_batch_is_a_view_and_batches_a_sequence() -> None:
    batches = make_batches(range(10), max_seqs=4)
    assert len(batches) == 3
    assert np.shares_memory(batches[1], batches.order)
    assert batches[1].tolist() == [4, 5, 6, 7]
    assert batches[-1].tolist() == [8, 9]
    assert repr(batches) == "<3 batches of 10 sequences>"
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"batch {index} of 3"):
            batches[index]
    assert list(make_batches([], max_seqs=4)) == list(make_batches([], [], max_frames=4)) == []


@pytest.mark.parametrize("buckets", [None, 2])
def test_batches_keep_no_array_of_the_caller(buckets: int | None) -> None:
    order, lengths = np.arange(10), np.arange(1, 11)
    batches = make_batches(order, lengths, max_seqs=10, buckets=buckets)
    order[:] = lengths[:] = 0
    assert sorted(batches.order) == list(range(10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "need max_frames, max_packed_frames or max_seqs"),
        ({"max_seqs": 0}, "max_seqs must be at least 1, not 0"),
        ({"max_frames": 0, "lengths": [1, 2]}, "max_frames must be at least 1"),
        ({"max_frames": 5}, "need the lengths"),
        ({"max_seqs": 5, "max_seq_length": 7}, "need the lengths"),
        ({"max_seqs": 5, "max_seq_length": 0, "lengths": [1, 2]}, "max_seq_length must be at"),
        ({"max_seqs": 5, "buckets": 5}, "need the lengths"),
        ({"max_seqs": 5, "lengths": [1, 2], "buckets": [3, 3]}, "ascending bounds"),
        ({"max_seqs": 5, "lengths": [1, 2], "buckets": np.int64(0)}, "num_buckets must be"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_batches([1, 0], **options)
