"""The order of an epoch: RETURNN as the peer, and invariants for any options."""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprintcache.ordering import Ordering, part

COUNTS = st.integers(1, 40)
RULES = st.one_of(
    st.sampled_from(["default", "reverse", "sorted", "sorted_reverse", "random", "random_sample"]),
    st.builds("default_every_n:{}".format, COUNTS),
    st.builds("random_sample:{}".format, st.integers(1, 3)),
    st.sampled_from(["laplace", "sort_bin_shuffle", "sort_bin_shuffle_x2"]),
    st.builds("random:{}".format, st.integers(1, 3)),
    st.builds(
        "{}:{}{}{}".format,
        st.sampled_from(["laplace", "sort_bin_shuffle", "sort_bin_shuffle_x2"]),
        st.sampled_from(["", "."]),
        COUNTS,
        st.sampled_from(["", ":1", ":2", ":3"]),
    ),
)
SIZES = st.one_of(
    st.lists(st.integers(0, 20), min_size=1, max_size=60),
    st.lists(st.integers(0, 1 << 40), min_size=1, max_size=60),  # too long to be sorted by radix
    st.lists(st.floats(0, 3, width=16), min_size=1, max_size=60),
)


@functools.cache
def peer() -> Any:
    """RETURNN's base class of datasets."""
    return pytest.importorskip("returnn.datasets.basic", reason="RETURNN is not installed").Dataset


class Tags:
    """Tags that are the numbers of their sequences; RETURNN's bins may index them by floats."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: float) -> int:
        return range(self._count)[int(index)]


@given(
    rule=RULES,
    sizes=SIZES,
    epoch=st.integers(1, 30),
    seed=st.none() | st.integers(0, 1 << 31),
    offset=st.integers(0, 1000),
    parts=st.integers(1, 7),
    repeat=st.integers(1, 3),
    shards=st.integers(1, 5),
    unique=st.booleans(),
    by_function=st.booleans(),
    data=st.data(),
)
def test_the_order_is_that_of_returnn(
    rule: str,
    sizes: list[float],
    epoch: int,
    seed: int | None,
    offset: int,
    parts: int,
    repeat: int,
    shards: int,
    unique: bool,
    by_function: bool,
    data: st.DataObject,
) -> None:
    if repeat > 1:  # there, not together with parts
        parts = 1
    shard = data.draw(st.integers(0, shards - 1))
    lengths = np.array(sizes)

    def function(*, epoch: int, **_: object) -> str:
        return "reverse" if epoch % 5 == 0 else rule

    seq_ordering: Any = function if by_function else rule
    dataset = peer()(
        seq_ordering=seq_ordering,
        partition_epoch=parts,
        repeat_epoch=repeat,
        fixed_random_seed=seed,
        random_seed_offset=offset,
        _num_shards=shards,
        _shard_index=shard,
        unique_seq_tags=unique,
    )
    dataset.get_all_tags = lambda: Tags(len(sizes))
    theirs = dataset.get_seq_order_for_epoch(epoch, len(sizes), lengths.__getitem__)
    ours = Ordering(seq_ordering, parts, repeat, seed, offset, shards, shard, unique)
    actual = ours.order(epoch, len(sizes), lengths if ours.needs_lengths else None)
    assert actual.dtype == np.int64
    assert actual.tolist() == list(theirs)


@given(
    rule=RULES.filter(lambda rule: not rule.startswith(("random_sample", "default_every_n"))),
    sizes=st.lists(st.integers(0, 9), max_size=60),
    parts=st.integers(1, 5),
    repeat=st.integers(1, 3),
    shards=st.integers(1, 4),
    full=st.integers(0, 3),
)
def test_every_sequence_comes_as_often_as_was_asked(
    rule: str, sizes: list[int], parts: int, repeat: int, shards: int, full: int
) -> None:
    ordering = Ordering(rule, parts, repeat, num_shards=shards)
    seen: Counter[int] = Counter()
    for epoch in range(full * parts + 1, (full + 1) * parts + 1):
        pieces = [
            replace(ordering, shard_index=i).order(epoch, len(sizes), sizes) for i in range(shards)
        ]
        assert max(map(len, pieces)) - min(map(len, pieces)) <= repeat
        assert sum(len(set(piece.tolist())) for piece in pieces) * repeat == sum(map(len, pieces))
        seen.update(np.concatenate(pieces).tolist())
    assert seen == dict.fromkeys(range(len(sizes)), repeat)


@given(total=st.integers(0, 1000), parts=st.integers(1, 50))
def test_parts_are_contiguous_and_even(total: int, parts: int) -> None:
    cuts = [part(total, parts, i) for i in range(parts)]
    assert [start for start, _ in cuts[1:]] + [total] == [stop for _, stop in cuts]
    sizes = [stop - start for start, stop in cuts]
    assert sizes == [len(piece) for piece in np.array_split(np.arange(total), parts)]


@pytest.mark.parametrize("longest", [65_535, 65_536, 131_071, 2**40])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_orders_by_length_keep_ties(longest: int, dtype: type) -> None:
    """Lengths of audio samples and seconds; Python's sort is stable."""
    lengths = np.random.default_rng(longest).integers(0, 9, 400) * (longest // 8)
    lengths[17] = longest
    values = lengths.tolist()
    ascending = sorted(range(400), key=values.__getitem__)
    descending = sorted(range(400), key=lambda seq: -values[seq])
    sizes = lengths.astype(dtype)
    assert Ordering("sorted").order(1, 400, sizes).tolist() == ascending
    assert Ordering("sorted_reverse").order(1, 400, sizes).tolist() == descending


def test_laplace_by_definition() -> None:
    """Also with fewer sequences than two bins of the wanted size; without RETURNN."""
    lengths = np.random.default_rng(5).integers(0, 100_000, 50)
    shuffled = np.random.RandomState(0).permutation(50).tolist()
    cases = (("laplace:.40", 2), ("laplace:.20", 2), ("laplace:.16", 3), ("laplace:5", 5))
    for rule, bins in cases:
        expected = []
        for i in range(bins):
            piece = shuffled[i * 50 // bins : (i + 1) * 50 // bins]
            expected += sorted(piece, key=lambda seq: (-1) ** i * lengths[seq])
        assert Ordering(rule, fixed_random_seed=0).order(3, 50, lengths).tolist() == expected


def test_laplace_is_neighbours_of_similar_length() -> None:
    lengths = np.random.default_rng(1).integers(200, 1600, 10_000)
    random = lengths[Ordering("random").order(1, 10_000)]
    laplace = lengths[Ordering("laplace:.1000").order(1, 10_000, lengths)]
    assert np.abs(np.diff(laplace)).sum() < 0.02 * np.abs(np.diff(random)).sum()


def test_the_seed_changes_with_the_full_epoch_and_the_order_with_the_seed() -> None:
    ordering = Ordering("random", partition_epoch=3)
    assert [ordering.seed(epoch) for epoch in range(1, 8)] == [1, 1, 1, 2, 2, 2, 3]
    first, again, next_ = (Ordering("random").order(e, 100).tolist() for e in (1, 1, 2))
    assert first == again != next_
    assert Ordering("random", fixed_random_seed=2).order(7, 100).tolist() == next_
    largest = 2**32 - 1
    drawn = np.random.RandomState(largest).permutation(100).tolist()
    assert Ordering("random", fixed_random_seed=largest).order(7, 100).tolist() == drawn


@pytest.mark.parametrize(
    "text",
    ["", "Random", "sorted:2", "random:", "random:.2", "random:0", "laplace:", "laplace:.",
     "laplace:0", "laplace:.00", "laplace:-2", "laplace:2:0", "laplace:2:3:4", "laplace:²",
     "sort_bin_shuffle_x3:2", " default", "default\n", "default_every_n", "default_every_n:0",
     "random_sample:", "default_every_n:2:3"],
)  # fmt: skip
def test_other_orderings_are_refused_when_they_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"not one of default, reverse.*laplace:\.N"):
        Ordering(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition_epoch": 0}, "partition_epoch must be at least 1, not 0"),
        ({"repeat_epoch": -1}, "repeat_epoch must be at least 1"),
        ({"num_shards": 0}, "num_shards must be at least 1"),
        ({"num_shards": 2, "shard_index": 2}, "shard_index 2 of 2 shards"),
        ({"shard_index": -1}, "shard_index -1 of 1 shards"),
        ({"fixed_random_seed": 2**32}, "4294967296 does not fit into 32 bits"),
        ({"fixed_random_seed": -1}, "-1 does not fit into 32 bits"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ordering(**options)


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match=r"counted from 1 \(or 0\), got -1"):
        Ordering("random").order(-1, 5)
    with pytest.raises(ValueError, match=r"needs 5 lengths, got an array of shape \(0,\)"):
        Ordering("laplace:.2").order(1, 5)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        Ordering("sorted").order(1, 5, [1, 2, 3, 4])
    for epoch in (1.0, "1", None):
        with pytest.raises(TypeError, match="epoch must be an integer"):
            Ordering("random", fixed_random_seed=1).order(epoch, 5)  # type: ignore[arg-type]


def test_an_epoch_of_any_integer_type() -> None:
    """A loop may count in numpy; int32 and uint8 have no room for seeds."""
    ordering = Ordering("random", partition_epoch=2)
    epochs: list[Any] = [np.int32(2), np.uint8(2), np.int64(2)]
    for epoch in epochs:
        assert ordering.order(epoch, 9).tolist() == ordering.order(2, 9).tolist()


def test_an_epoch_before_the_first() -> None:
    """For loops that count from 0: another order, and the part before that of epoch 1."""
    ordering = Ordering("random")
    epochs = [ordering.order(epoch, 100).tolist() for epoch in range(4)]
    assert len({tuple(order) for order in epochs}) == 4
    assert epochs[0] == np.random.RandomState(0).permutation(100).tolist()
    parts = Ordering("default", partition_epoch=3)
    assert [parts.order(epoch, 6).tolist() for epoch in range(4)] == [
        [4, 5],
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    assert Ordering("random", random_seed_offset=-3).order(0, 9).tolist() == (
        np.random.RandomState(2**32 - 3).permutation(9).tolist()
    )


def by_epoch(epoch: int, **_: object) -> str:
    return ("sorted", "random:2", "nothing", None)[epoch - 1]  # type: ignore[return-value]


def test_a_function_as_rule() -> None:
    ordering = Ordering(by_epoch)
    assert ordering.order(1, 3, [3, 1, 2]).tolist() == [1, 2, 0]
    assert (
        ordering.order(2, 9).tolist()
        == Ordering("random", fixed_random_seed=1).order(1, 9).tolist()
    )
    assert pickle.loads(pickle.dumps(ordering)) == ordering
    assert "test_ordering.by_epoch" in ordering.description
    with pytest.raises(ValueError, match="'nothing' is not one of"):
        ordering.order(3, 9)
    with pytest.raises(TypeError, match="function that returns one: None"):
        ordering.order(4, 9)
    for wrong in (None, 3, Ordering):
        with pytest.raises(TypeError, match="seq_ordering must be a str or a function"):
            Ordering(wrong)  # type: ignore[arg-type]


def test_it_is_a_value() -> None:
    ordering = Ordering("laplace:.100", 4)
    assert pickle.loads(pickle.dumps(ordering)) == ordering
    assert len({ordering, Ordering("laplace:.100", 4), Ordering("laplace:.100", 5)}) == 2
