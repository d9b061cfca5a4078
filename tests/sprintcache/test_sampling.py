"""The sampler: every sequence as often as promised, whatever the ranks, and exact resuming."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sprintcache.ordering import Ordering
from sprintcache.sampling import BatchSampler, BatchSeqs

SEVEN: dict[str, Any] = {"num_seqs": 7, "max_seqs": 1, "ordering": "random"}
RULES = [
    "default", "reverse", "sorted", "sorted_reverse", "random", "laplace:3", "laplace:.4",
    "sort_bin_shuffle:3", "sort_bin_shuffle_x2:3",
]  # fmt: skip


@st.composite
def corpora(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a sampler, all but the rank."""
    lengths = draw(st.lists(st.integers(0, 30), max_size=40))
    limits = draw(st.sampled_from([{"max_seqs": 3}, {"max_frames": 60}, {"max_frames": 1}]))
    if draw(st.booleans()):
        limits = {**limits, "buckets": 3}
    ordering = Ordering(
        draw(st.sampled_from(RULES)),
        partition_epoch=draw(st.integers(1, 4)),
        repeat_epoch=draw(st.integers(1, 2)),
        fixed_random_seed=draw(st.none() | st.just(7)),
        random_seed_offset=draw(st.integers(0, 3)),
    )
    chosen = None
    if draw(st.booleans()):
        chosen = np.array(draw(st.lists(st.booleans(), min_size=40, max_size=40))[: len(lengths)])
        chosen = chosen.astype(bool)
    # a corpus of which nothing is left is an error
    assume(not lengths or any(np.array(lengths)[slice(None) if chosen is None else chosen]))
    return {
        "num_seqs": len(lengths),
        "lengths": lengths,
        "ordering": ordering,
        "chosen": chosen,
        **limits,
    }


def ranks(corpus: dict[str, Any], size: int, remainder: Any = "repeat") -> list[BatchSampler]:
    return [
        BatchSampler(**corpus, rank=rank, world_size=size, remainder=remainder)
        for rank in range(size)
    ]


def expected(corpus: dict[str, Any], times: int = 1) -> Counter[int]:
    chosen = corpus["chosen"]
    return Counter(
        {
            seq: times * corpus["ordering"].repeat_epoch
            for seq in range(corpus["num_seqs"])
            if (chosen is None or chosen[seq]) and corpus["lengths"][seq]
        }
    )


def count(batches: list[list[BatchSeqs]]) -> Counter[int]:
    return Counter(seq for rank in batches for batch in rank for seq in batch)


def resume(samplers: list[BatchSampler], state: dict[str, int]) -> list[BatchSampler]:
    """A state goes through a file, as in a checkpoint."""
    for sampler in samplers:
        sampler.load_state_dict(json.loads(json.dumps(state)))
    return samplers


@given(corpus=corpora(), size=st.integers(1, 5), workers=st.integers(1, 4), full=st.integers(0, 2))
def test_every_sequence_as_often_as_promised(
    corpus: dict[str, Any], size: int, workers: int, full: int
) -> None:
    """Over all epochs of a partition, however many ranks and workers share them."""
    parts = corpus["ordering"].partition_epoch
    alone = BatchSampler(**corpus)
    repeating, dropping = ranks(corpus, size), ranks(corpus, size, "drop")
    seen: Counter[int] = Counter()
    for epoch in range(full * parts + 1, (full + 1) * parts + 1):
        alone.set_epoch(epoch)
        every = [list(batch) for batch in alone]
        seen += count([every])  # type: ignore[list-item]
        rest = len(every) % size
        for samplers, steps in (
            (repeating, -(-len(every) // size)),
            (dropping, len(every) // size),
        ):
            for sampler in samplers:
                sampler.set_epoch(epoch)
                assert len(sampler) == steps
            dealt = [list(sampler) for sampler in samplers]
            assert [len(part) for part in dealt] == [steps] * size
            in_order = [list(batch) for step in zip(*dealt, strict=True) for batch in step]
            if samplers is dropping:
                assert in_order == every[: len(every) - rest]
            else:
                assert in_order[: len(every)] == every
                assert len(in_order) - len(every) == -len(every) % size
                assert all(batch in every for batch in in_order[len(every) :])
            # workers take the steps of their rank in turn
            sampler, part = samplers[-1], dealt[-1]
            for worker in range(workers):
                sampler.set_epoch(epoch)
                taken = list(sampler.deal(worker, workers))
                assert taken == part[worker::workers]
                assert [b.state for b in taken] == [b.state for b in part[worker::workers]]
    assert seen == expected(corpus)


@given(
    corpus=corpora(),
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=3),
    steps=st.lists(st.integers(0, 12), min_size=3, max_size=3),
    ahead=st.integers(0, 5),
)
def test_resuming_gives_exactly_the_rest(
    corpus: dict[str, Any], sizes: list[int], steps: list[int], ahead: int
) -> None:
    """Interrupted twice, with other numbers of ranks, while something reads ahead."""
    parts = corpus["ordering"].partition_epoch
    alone = BatchSampler(**corpus)
    epochs = [[list(batch) for batch in alone] for _ in range(parts)]
    state = BatchSampler(**corpus).state_dict()
    done: list[list[int]] = []  # batches in the order of training
    repeated = 0
    for size, step in zip(sizes, steps, strict=True):
        samplers = resume(ranks(corpus, size), state)
        assert all(sampler.state_dict() == state for sampler in samplers)
        iterators = [iter(sampler) for sampler in samplers]
        trained = 0
        while trained < step:
            drawn = [next(iterator, None) for iterator in iterators]
            if drawn[0] is None:
                if samplers[0].epoch > parts:
                    break
                iterators = [iter(sampler) for sampler in samplers]
                continue
            assert None not in drawn  # equal steps
            assert len({json.dumps(batch.state) for batch in drawn if batch is not None}) == 1
            state = drawn[0].state
            if state["epoch"] > parts:
                break
            done += [list(batch) for batch in drawn if batch is not None]
            total = len(epochs[state["epoch"] - 1])
            repeated += max(0, state["batch"] - total)
            if state["batch"] > total:
                del done[total - state["batch"] :]  # the repeated remainder
            trained += 1
        for iterator in iterators:  # read ahead, never trained on: changes nothing
            for _ in range(ahead):
                next(iterator, None)
    (last,) = resume(ranks(corpus, 1), state)
    while last.epoch <= parts:
        done += [list(batch) for batch in last]
    assert done == [batch for epoch in epochs for batch in epoch]
    assert repeated <= 3 * max(sizes) * parts


@given(corpus=corpora(), size=st.integers(1, 4), remainder=st.sampled_from(["repeat", "drop"]))
@settings(max_examples=40)
def test_the_boundary_of_an_epoch(corpus: dict[str, Any], size: int, remainder: str) -> None:
    """No epoch is lost or begun twice: from the last batch, and from the sampler after it."""
    sampler = ranks(corpus, size, remainder)[-1]
    first, second = list(sampler), list(sampler)
    after_end = ranks(corpus, size, remainder)[-1]
    assert list(after_end) == first
    assert after_end.epoch == 2
    after = resume(ranks(corpus, size, remainder), after_end.state_dict())[-1]
    assert list(after) == second
    if first:
        after = resume(ranks(corpus, size, remainder), first[-1].state)[-1]
        assert (after.epoch, len(after), list(after)) == (1, 0, [])
        assert list(after) == second
        for other in ranks(corpus, 1, remainder):  # dropped batches are consumed, for others too
            assert list(resume([other], first[-1].state)[0]) == []


def test_dropped_batches_are_consumed() -> None:
    """Also for another number of ranks, which it would have gone round for."""
    (last,) = {json.dumps(list(s)[-1].state) for s in ranks(SEVEN, 2, "drop")}
    for size in (1, 2, 7):
        assert all(list(s) == [] for s in resume(ranks(SEVEN, size), json.loads(last)))
    first, second = (list(sampler) for sampler in ranks(SEVEN, 2, "repeat"))
    assert second[-1] == first[0]
    assert count([first, second]) == Counter([*range(7), *first[0]])


def test_an_iteration_that_is_left_is_over() -> None:
    sampler = BatchSampler(40, max_seqs=2)
    epochs = [list(sampler) for _ in range(3)]
    sampler.set_epoch(1)
    batch = next(iter(sampler))
    assert len(sampler) == 20
    left = iter(sampler)
    assert next(left) == epochs[1][0]
    assert sampler.epoch == 2
    assert list(sampler) == epochs[2]
    state = sampler.state_dict()
    next(left)  # an old iterator does not move the sampler
    assert sampler.state_dict() == state
    sampler.load_state_dict(batch.state)
    sampler.set_epoch(1)  # begun already: goes on
    assert list(sampler) == epochs[0][1:]
    sampler.set_epoch(1)
    assert list(sampler) == epochs[0]
    assert copy.deepcopy(sampler).epoch == 2


def test_another_seed_is_restored() -> None:
    first = BatchSampler(30, max_seqs=4, ordering=Ordering("random", random_seed_offset=5))
    batches = list(first)
    second = BatchSampler(30, max_seqs=4, ordering=Ordering("random", random_seed_offset=6))
    assert list(second) != batches
    second.load_state_dict(batches[2].state)
    assert list(second) == batches[3:]


def test_states_are_small_and_both_travel() -> None:
    sampler = BatchSampler(100_000, np.full(100_000, 7), max_frames=700)
    batch = next(iter(sampler))
    assert len(json.dumps(batch.state)) < 100
    other = pickle.loads(pickle.dumps(batch))
    assert (other, other.state, type(other)) == (batch, batch.state, BatchSeqs)
    assert all(type(seq) is int for seq in batch)
    data = pickle.dumps(sampler)
    assert len(data) < 1_000_000  # the lengths, but not the order
    clone = pickle.loads(data)
    assert clone.state_dict() == sampler.state_dict() == batch.state
    assert list(clone) == list(sampler)  # of the next epoch


@pytest.mark.parametrize(
    "change",
    [
        {"num_seqs": 9, "lengths": [5] * 9},
        {"lengths": [5] * 9 + [6]},
        {"max_frames": 21},
        {"max_seqs": 3},
        {"buckets": 2},
        {"buckets": [4, 7]},
        {"ordering": "laplace:3"},
        {"ordering": Ordering("random", partition_epoch=2)},
        {"chosen": np.arange(10) > 0},
    ],
)
def test_a_state_of_other_options_is_refused(change: dict[str, Any]) -> None:
    options: dict[str, Any] = {"num_seqs": 10, "lengths": [5] * 10, "max_frames": 20}
    state = next(iter(BatchSampler(**options))).state
    with pytest.raises(ValueError, match="the state belongs to different data or options"):
        BatchSampler(**{**options, **change}).load_state_dict(state)


@pytest.mark.parametrize("change", [{"epoch": None}, {"epoch": -1}, {"batch": -1}, {"seed": "1"}])
def test_invalid_states(change: dict[str, Any]) -> None:
    sampler = BatchSampler(10, max_seqs=3)
    with pytest.raises(ValueError, match="not a state of a BatchSampler"):
        sampler.load_state_dict({**sampler.state_dict(), **change})
    for wrong in ({}, None):
        with pytest.raises(ValueError, match="not a state of a BatchSampler"):
            sampler.load_state_dict(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "need max_frames, max_packed_frames or max_seqs"),
        ({"max_frames": 5}, "need the lengths"),
        ({"max_seqs": 5, "buckets": [3]}, "need the lengths"),
        ({"max_seqs": 5, "ordering": "sorted"}, "need the lengths"),
        ({"max_seqs": 5, "lengths": [1, 2]}, r"10 sequences, but lengths of shape \(2,\)"),
        ({"max_seqs": 5, "chosen": np.ones(3, bool)}, r"but chosen of shape \(3,\)"),
        ({"max_seqs": 5, "rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"max_seqs": 5, "remainder": "pad"}, "remainder must be 'repeat' or 'drop'"),
        ({"max_seqs": 5, "ordering": "shuffled"}, "seq_ordering 'shuffled'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSampler(10, **options)


def test_sharding_twice_is_refused() -> None:
    """Each rank would see a part of its part, and the loss would go unnoticed."""
    ordering = Ordering("random", num_shards=2, shard_index=1)
    assert len(list(BatchSampler(10, ordering=ordering, max_seqs=1))) == 5
    with pytest.raises(ValueError, match="2 ranks, and the ordering takes shard 1 of 2"):
        BatchSampler(10, ordering=ordering, max_seqs=1, world_size=2)
    with pytest.raises(ValueError, match=r"epochs are counted from 1 \(or 0\), got -1"):
        BatchSampler(10, max_seqs=1).set_epoch(-1)


def test_epochs_counted_from_either_end() -> None:
    """The loop of PyTorch's documentation begins with 0; no two numbers have the same order."""
    sampler = BatchSampler(24, max_seqs=3)
    epochs = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        assert (sampler.epoch, len(sampler)) == (epoch, 8)
        epochs.append(list(sampler))
    assert len({str(batches) for batches in epochs}) == 4
    counted = BatchSampler(24, max_seqs=3)
    assert [list(counted) for _ in range(3)] == epochs[1:]
    state = epochs[0][2].state
    assert state["epoch"] == 0
    counted.load_state_dict(state)
    counted.set_epoch(0)  # the loop goes on in the loaded epoch
    assert list(counted) == epochs[0][3:]
    assert list(counted) == epochs[1]


def by_epoch(epoch: int, **_: object) -> str:
    return "random" if epoch % 2 else "reverse"


def test_a_function_as_order() -> None:
    """It takes part in the checksum by its name, which is the same in every process."""
    sampler = BatchSampler(9, range(9), ordering=Ordering(by_epoch), max_seqs=2)
    expected = [seq for seq in Ordering("random").order(1, 9).tolist() if seq]  # 0 has no frames
    assert [seq for batch in sampler for seq in batch] == expected
    assert [seq for batch in sampler for seq in batch] == [8, 7, 6, 5, 4, 3, 2, 1]
    other = BatchSampler(9, range(9), ordering=Ordering(by_epoch), max_seqs=2)
    other.load_state_dict(sampler.state_dict())
    different = BatchSampler(9, range(9), ordering="random", max_seqs=2)
    with pytest.raises(ValueError, match="different data or options"):
        different.load_state_dict(sampler.state_dict())


def test_lengths_that_only_the_order_uses() -> None:
    sizes = [3, 1, 2]
    sampler = BatchSampler(3, [9, 5, 7], order_lengths=sizes, ordering="sorted", max_frames=14)
    assert [list(batch) for batch in sampler] == [[1, 2], [0]]


def test_numbers_of_numpy_mean_the_same() -> None:
    """The state that they gave before is taken after."""
    state = BatchSampler(9, ordering=Ordering("random", np.int64(3)), max_seqs=2).state_dict()
    BatchSampler(9, ordering=Ordering("random", 3), max_seqs=2).load_state_dict(state)


def test_a_state_of_other_sequences() -> None:
    """As many of them, in an order and in batches that need no lengths."""
    names = [f"\udcff{seq}" for seq in range(2500)]  # an archive may contain any bytes
    state = BatchSampler(2500, tags=names, max_seqs=7).state_dict()
    BatchSampler(2500, tags=list(names), max_seqs=7).load_state_dict(state)
    for others in (names[::-1], [*names[:-1], "other"], ["other", *names[1:]], None):
        sampler = BatchSampler(2500, tags=others, max_seqs=7)
        with pytest.raises(ValueError, match="the state belongs to different data"):
            sampler.load_state_dict(state)


@pytest.mark.parametrize(
    "options",
    [
        {"min_seq_length": 10},
        {"max_seq_length": 2},
        {"min_seq_length": 5, "max_seq_length": 4},
        {"chosen": np.zeros(3, bool)},
        {"chosen": np.array([True, False, False]), "min_seq_length": 4},
    ],
)
def test_limits_that_leave_nothing_are_an_error(options: dict[str, Any]) -> None:
    """An epoch of no batch looks like a very fast one."""
    with pytest.raises(ValueError, match=r"no sequence is left|none of the 3"):
        BatchSampler(3, [3, 9, 9], max_seqs=2, **options)
    with pytest.raises(ValueError, match="need the lengths"):
        BatchSampler(3, max_seqs=2, min_seq_length=4)
    with pytest.raises(ValueError, match="no sequence is left"):
        BatchSampler(3, [0, 0, 0], max_seqs=2)
    for limits, text in (
        ({"min_seq_length": 10}, "min_seq_length 10: 3 to 9 frames"),
        ({"max_seq_length": 2}, "min_seq_length 1 and max_seq_length 2: 3 to 9 frames"),
    ):
        with pytest.raises(ValueError, match=f"^no sequence is left by {text}$"):
            BatchSampler(3, [3, 9, 9], max_seqs=2, **limits)


def test_the_text_of_a_sampler_names_a_rank_of_several() -> None:
    assert repr(BatchSampler(**SEVEN)) == "<BatchSampler of 7 sequences, epoch 1>"
    of_two = BatchSampler(**SEVEN, rank=1, world_size=2)
    assert repr(of_two) == "<BatchSampler of 7 sequences, epoch 1, rank 1 of 2>"


def test_an_epoch_without_a_batch_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    sampler = BatchSampler(2, max_seqs=1, rank=0, world_size=3, remainder="drop")
    assert list(sampler) == []
    assert "no batch in epoch 1, of 2 of all ranks" in caplog.text


def test_an_epoch_of_numpy_goes_through_a_state() -> None:
    sampler = BatchSampler(9, max_seqs=2)
    sampler.set_epoch(np.int32(3))  # type: ignore[arg-type]
    state = json.loads(json.dumps(sampler.state_dict()))
    other = BatchSampler(9, max_seqs=2)
    other.load_state_dict(state)
    assert other.epoch == 3
    with pytest.raises(TypeError, match="epoch must be an integer"):
        sampler.set_epoch(1.0)  # type: ignore[arg-type]
