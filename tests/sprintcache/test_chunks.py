"""Chunks and packed batches of datasets: numpy slices, brute force, and exactly-once."""

from __future__ import annotations

import json
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import Alignment, ArchiveWriter, SprintCacheDataset
from sprintcache.batching import make_batches
from sprintcache.chunks import ChunkedDataset, Splice, spliced
from sprintcache.dataset import BatchBuffers
from sprintcache.sampling import BatchSampler

DIM = 3
LENGTHS = [1, 7, 30, 12, 19, 2, 25]


def features_of(seq: int) -> Any:
    return np.random.default_rng(seq).standard_normal((LENGTHS[seq], DIM)).astype(np.float32)


def labels_of(seq: int, factor: int = 1) -> Any:
    return (100 * seq + np.arange(-(-LENGTHS[seq] // factor))).astype(np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chunks")
    with ArchiveWriter(folder / "f.cache") as features, ArchiveWriter(folder / "v.cache") as rows:
        for seq in range(len(LENGTHS)):
            features.add_features(f"s{seq}", features_of(seq), gather=5 if seq % 2 else None)
            rows.add_features(f"s{seq}", np.full((1, 2), seq, np.float32))
    for factor in (1, 3):
        with ArchiveWriter(folder / f"a{factor}.cache") as writer:
            for seq in range(len(LENGTHS)):
                ids = labels_of(seq, factor).astype(np.uint32)
                times = np.arange(len(ids), dtype=np.uint32)
                writer.add_alignment(f"s{seq}", Alignment(times, ids, label_type="emission"))
    return folder


def open_dataset(folder: Path, factor: int = 1, **options: Any) -> SprintCacheDataset:
    data = {
        "data": {"filename": folder / "f.cache"},
        "classes": {"filename": folder / f"a{factor}.cache"},
        "speaker": {"filename": folder / "v.cache", "type": "vector"},
    }
    return SprintCacheDataset(data, reduce_target_factor=factor, **options)


# ---- splicing and tables -------------------------------------------------------------------------


def spliced_slowly(frames: Any, left: int, right: int, stride: int) -> Any:
    """By definition, frame by frame; zeros beyond the ends."""
    rows = []
    for middle in range(0, len(frames), stride):
        parts = [
            frames[t] if 0 <= t < len(frames) else np.zeros_like(frames[0])
            for t in range(middle - left, middle + right + 1)
        ]
        rows.append(np.concatenate(parts))
    return np.array(rows)


splices = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5))


@given(st.integers(1, 12), splices)
def test_splicing(count: int, splice: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(count).standard_normal((count, 2)).astype(np.float32)
    expected = spliced_slowly(frames, *splice)
    np.testing.assert_array_equal(spliced(frames, Splice(*splice)), expected)
    both = spliced(np.stack([frames, 2 * frames]), Splice(*splice))
    np.testing.assert_array_equal(both, [expected, 2 * expected])


def chunks_slowly(size: int, step: int, min_size: int) -> list[tuple[int, int, int]]:
    chunks = []
    for seq, length in enumerate(LENGTHS):
        for start in range(0, length, step):
            stop = min(start + size, length)
            if stop - start >= min_size:
                chunks.append((seq, start, stop))
    return chunks


@given(
    st.integers(1, 12),
    st.integers(1, 15),
    st.integers(0, 7),
    st.integers(0, 7),
    st.integers(1, 12),
    splices,
    st.sampled_from([1, 3]),
    st.booleans(),
)
@settings(max_examples=40)
def test_chunks_are_slices(
    folder: Path,
    size: int,
    step: int,
    left: int,
    right: int,
    min_size: int,
    splice: tuple[int, int, int],
    factor: int,
    reuse: bool,
) -> None:
    unit = int(np.lcm(splice[2], factor))
    size, step, left, right = size * unit, step * unit, left * unit, right * unit
    min_size = min(min_size, size)
    source = open_dataset(folder, factor)
    expected = chunks_slowly(size, step, min_size)
    dataset = ChunkedDataset(
        source, size, step, left=left, right=right, splice=splice, min_size=min_size
    )
    assert dataset.get_total_num_seqs() == len(expected)
    names = [f"s{seq}[{start}:{stop}]" for seq, start, stop in expected]
    assert list(dataset.get_all_tags()) == dataset.get_all_tags()[:] == names
    buffers = BatchBuffers() if reuse else None
    order = np.random.default_rng(0).permutation(len(expected))[:9]
    batch = dataset.read_batch(order, buffers=buffers)
    x, lengths = batch["data"]
    assert lengths.tolist() == dataset.get_lengths()[order].tolist()
    for row, number in enumerate(order.tolist()):
        seq, start, stop = expected[number]
        far = 200  # zeros beyond the ends
        padded = np.pad(features_of(seq), ((far, far), (0, 0)))
        frames = [
            np.concatenate(padded[far + t - splice[0] : far + t + splice[1] + 1])
            for t in range(start - left, stop + right, splice[2])
        ]
        np.testing.assert_array_equal(x[row, : lengths[row]], frames)
        assert not x[row, lengths[row] :].any()
        labels = labels_of(seq, factor)[start // factor : -(-stop // factor)]
        y, counts = batch["classes"]
        np.testing.assert_array_equal(y[row, : counts[row]], labels)
        assert np.all(y[row, counts[row] :] == -1)
        np.testing.assert_array_equal(batch["speaker"][0][row], [[seq, seq]])
    source.close()


def test_filters_and_trimming(folder: Path, tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "short.cache") as writer:
        for seq in range(len(LENGTHS)):
            ids = labels_of(seq)[: max(LENGTHS[seq] - 2, 1)].astype(np.uint32)
            times = np.arange(len(ids), dtype=np.uint32)
            writer.add_alignment(f"s{seq}", Alignment(times, ids, label_type="emission"))
    (tmp_path / "list").write_text("s1\ns2\n")
    source = SprintCacheDataset(
        {
            "data": {"filename": folder / "f.cache"},
            "classes": {"filename": tmp_path / "short.cache"},
        },
        length_mismatch="trim",
        seq_list_filter_file=tmp_path / "list",
    )
    dataset = ChunkedDataset(source, 4, right=1)
    sampler = BatchSampler(len(dataset.get_all_tags()), chosen=dataset.chosen, max_seqs=99)
    ((*seqs,),) = sampler
    batch = dataset.read_batch(sorted(seqs))
    expected = [(1, 0, 4), (1, 4, 5), *((2, t, t + 4) for t in range(0, 28, 4))]
    assert dataset.get_tags(sorted(seqs)) == [f"s{s}[{a}:{b}]" for s, a, b in expected]
    for row, (seq, start, stop) in enumerate(expected):
        shared = {1: 5, 2: 28}[seq]
        frames = np.pad(features_of(seq)[:shared], ((0, 1), (0, 0)))[start : stop + 1]
        np.testing.assert_array_equal(batch["data"][0][row, : len(frames)], frames)
        np.testing.assert_array_equal(
            batch["classes"][0][row, : stop - start], labels_of(seq)[start:stop]
        )


def test_wrong_options(folder: Path) -> None:
    source = open_dataset(folder, 3)
    for options, message in (
        ({"size": 0}, "size 0, step 0"),
        ({"size": 3, "step": 0}, "step 0"),
        ({"size": 3, "min_size": 4}, "min_size at most size"),
        ({"size": 4}, "size 4 is not a multiple of 3, which is reduce_target_factor"),
        ({"size": 6, "left": 1, "splice": (0, 1, 2)}, "left 1 is not a multiple of the stride"),
        ({"size": 6, "left": -1}, "left must be 0 or more"),
        ({"size": 99, "min_size": 31}, "no chunk is left by min_size 31: .* has 30 frames"),
    ):
        with pytest.raises(ValueError, match=message):
            ChunkedDataset(source, **options)
    with pytest.raises(TypeError, match="size must be an integer"):
        ChunkedDataset(source, 2.5)  # type: ignore[arg-type]
    labels = SprintCacheDataset({"classes": {"filename": folder / "a1.cache"}})
    with pytest.raises(ValueError, match="chunks need features under the data key 'data'"):
        ChunkedDataset(labels, 3)
    dataset = ChunkedDataset(source, 3)
    with pytest.raises(IndexError, match=r"chunk 99 of \d+"):
        dataset.read_batch([0, 99])


# ---- packed batches ------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=6),
    st.integers(0, 6),
    st.integers(1, 6),
    st.booleans(),
)
@settings(max_examples=60)
def test_packed_batches(folder: Path, seqs: list[int], gap: int, align: int, reuse: bool) -> None:
    source = open_dataset(folder)
    packing = {"gap": gap, "align": align, "per_key": {"classes": {"gap": 2}}}
    buffers = BatchBuffers() if reuse else None
    batch = source.read_packed(seqs, packing=packing, pad=-5, buffers=buffers)
    for key, rows, own_gap, fill in (
        ("data", [features_of(seq) for seq in seqs], gap, 0),
        ("classes", [labels_of(seq) for seq in seqs], 2, -5),
        ("speaker", [np.full((1, 2), seq, np.float32) for seq in seqs], gap, 0),
    ):
        values, offsets, lengths = batch[key]
        expected = []
        for row in rows:
            size = len(row) + own_gap
            size += -size % align
            part = np.full((size, *row.shape[1:]), fill, row.dtype)
            part[: len(row)] = row
            expected.append(part)
        np.testing.assert_array_equal(values, np.concatenate(expected))
        assert values.dtype == rows[0].dtype
        assert lengths.tolist() == [len(row) for row in rows]
        assert offsets is not None
        assert offsets.tolist() == [0, *np.cumsum([len(part) for part in expected])]
    mixed = source.read_packed(seqs, packing={"per_key": {"data": {"packed": False}}})
    padded = source.read_batch(seqs)
    assert mixed["data"].offsets is None
    np.testing.assert_array_equal(mixed["data"].values, padded["data"][0])
    np.testing.assert_array_equal(
        mixed["classes"].values, np.concatenate([labels_of(seq) for seq in seqs])
    )
    source.close()


def test_packing_follows_trimming_and_refuses_unknown_options(folder: Path, tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "long.cache") as writer:
        for seq in range(len(LENGTHS)):
            times = np.arange(LENGTHS[seq] + (2 if seq == 3 else -2 * (seq == 4)), dtype=np.uint32)
            writer.add_alignment(
                f"s{seq}", Alignment(times, times + np.uint32(7), label_type="emission")
            )
    source = SprintCacheDataset(
        {
            "data": {"filename": folder / "f.cache"},
            "classes": {"filename": tmp_path / "long.cache"},
        },
        length_mismatch="trim",
    )
    batch = source.read_packed([3, 4])
    for key in ("data", "classes"):
        assert batch[key].lengths.tolist() == [12, 17]
    np.testing.assert_array_equal(
        batch["data"].values, np.concatenate([features_of(3), features_of(4)[:17]])
    )
    assert batch["classes"].values.tolist() == [*range(7, 19), *range(7, 24)]
    for bad in ({"gaps": 1}, {"per_key": {"labels": {}}}, {"per_key": {"data": {"pack": 1}}}):
        with pytest.raises(ValueError, match="packed: unknown options or data keys"):
            source.read_packed([0], packing=bad)
    with pytest.raises(ValueError, match="gap -1, align 1"):
        source.read_packed([0], packing={"gap": -1})


def packed_slowly(sizes: list[int], limit: int, padded: int | None) -> list[list[int]]:
    batches: list[list[int]] = []
    for seq, _ in enumerate(sizes):
        last = [*batches[-1], seq] if batches else [seq]
        own = [sizes[i] for i in last]
        full = sum(own) > limit or (padded is not None and max(own) * len(own) > padded)
        if not batches or full:
            batches.append([seq])
        else:
            batches[-1].append(seq)
    return batches


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=30),
    st.integers(1, 50),
    st.none() | st.integers(1, 50),
)
def test_budget_of_packed_frames(sizes: list[int], limit: int, padded: int | None) -> None:
    got = make_batches(range(len(sizes)), sizes, max_packed_frames=limit, max_frames=padded)
    assert [batch.tolist() for batch in got] == packed_slowly(sizes, limit, padded)


# ---- with PyTorch --------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(["threads", "loader"]), st.integers(0, 6)), max_size=4),
    st.integers(1, 2),
    st.sampled_from(["random", "default", "laplace:.3"]),
)
@settings(max_examples=12, deadline=None)
def test_chunks_are_resumed_exactly(
    folder: Path, plan: list[Any], ranks: int, ordering: str
) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")
    from torch.utils.data import DataLoader

    from sprintcache.torch import BatchSampler as TorchSampler
    from sprintcache.torch import Loader, MapDataset, collate

    dataset = MapDataset(
        ChunkedDataset(open_dataset(folder, seq_ordering=ordering), 6, 4, left=1, min_size=2)
    )
    wanted_names = [f"s{s}[{a}:{b}]" for s, a, b in chunks_slowly(6, 4, 2)]
    seen: list[str] = []
    for rank in range(ranks):
        options = {"max_frames": 30, "rank": rank, "world_size": ranks, "remainder": "drop"}
        alone = TorchSampler(dataset, **options)  # type: ignore[arg-type]
        expected = list(chain.from_iterable(alone for _ in range(2)))
        state = TorchSampler(dataset, **options).state_dict()  # type: ignore[arg-type]
        done = []
        for kind, stop in [*plan, ("threads", 99)]:
            sampler = TorchSampler(dataset, **options)  # type: ignore[arg-type]
            sampler.load_state_dict(json.loads(json.dumps(state)))
            batches: Any = (
                Loader(dataset, sampler)
                if kind == "threads"
                else DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)
            )
            for batch in islice(batches, stop):
                done.append(batch.tags)
                state = batch.state
        names = dataset.dataset.get_all_tags()
        assert done == [[names[n] for n in seqs] for seqs in expected[: len(done)]]
        seen += chain.from_iterable(done)
    assert len(seen) == len(set(seen))
    if ranks == 1:
        assert sorted(seen) == sorted(wanted_names)
    dataset.dataset.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_packed_tensors(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")
    from torch.utils.data import DataLoader

    from sprintcache.torch import BatchSampler as TorchSampler
    from sprintcache.torch import Loader, MapDataset, PackedBatch, collate

    packed = {"per_key": {"classes": {"gap": 3}, "speaker": {"packed": False}}}
    dataset = MapDataset(open_dataset(folder), packed=packed)
    sampler = TorchSampler(dataset, max_packed_frames=40)
    expected = [list(seqs) for seqs in sampler]
    workers = DataLoader(
        dataset, batch_sampler=TorchSampler(dataset, max_packed_frames=40), collate_fn=collate,
        num_workers=1, multiprocessing_context="fork", timeout=60,
    )  # fmt: skip
    threads = Loader(dataset, TorchSampler(dataset, max_packed_frames=40))
    for batches in (workers, threads):
        got = list(batches)
        assert [[int(tag[1:]) for tag in batch.tags] for batch in got] == expected
        for batch, seqs in zip(got, expected, strict=True):
            assert isinstance(batch, PackedBatch)
            rows = [features_of(seq) for seq in seqs]
            np.testing.assert_array_equal(batch.data["data"].numpy(), np.concatenate(rows))
            assert batch.cu_seqlens["data"].dtype == torch.int32
            assert batch.cu_seqlens["data"].tolist() == [0, *np.cumsum([len(x) for x in rows])]
            assert batch.lengths["classes"].tolist() == [len(x) for x in rows]
            assert "speaker" not in batch.cu_seqlens
            assert batch.data["speaker"].shape == (len(seqs), 1, 2)
            assert batch.state is not None
            dense, gapped = batch.nested("data"), batch.nested("classes")
            assert dense.layout == gapped.layout == torch.jagged
            for part, row in zip(dense.unbind(), rows, strict=True):
                np.testing.assert_array_equal(part.numpy(), row)
            for part, seq in zip(gapped.unbind(), seqs, strict=True):
                np.testing.assert_array_equal(part.numpy(), labels_of(seq))
            assert batch.to("meta").data["data"].is_meta
            assert batch.to("meta").cu_seqlens["data"].is_meta
    with pytest.raises(ValueError, match="packed: unknown options"):
        MapDataset(open_dataset(folder), packed={"gaps": 1})
    with pytest.raises(TypeError, match="a dataset that reads packed batches"):
        MapDataset(ChunkedDataset(open_dataset(folder), 5), packed=True)
