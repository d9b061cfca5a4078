"""Ranges of frames and packed batches, compared with numpy slices of whole reads."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    Alignment,
    AllophoneLabeling,
    Archive,
    ArchiveWriter,
    open_archive,
)
from sprintcache.errors import ArchiveChangedError, FormatError
from tests.oracle.compare import IOS
from tests.paths import DATA

LENGTHS = (0, 1, 7, 60, 333, 2000)
KINDS = ("one block", "gathered", "compressed", "compressed, gathered", "f64", "scalars")
MANY = 1 << 40


def features_of(kind: str, frames: int) -> Any:
    rng = np.random.default_rng([frames, len(kind)])
    if kind == "scalars":
        return rng.standard_normal(frames).astype(np.float32)
    # compressible: a range of it is inflated by the prefix
    values = rng.integers(-3, 3, (frames, 5)) + np.arange(frames)[:, None]
    return values.astype(np.float64 if kind == "f64" else np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranges") / "all.cache"
    with ArchiveWriter(path) as writer:
        for kind in KINDS:
            for frames in LENGTHS:
                writer.add_features(
                    f"{kind}/{frames}",
                    features_of(kind, frames),
                    gather=50 if "gathered" in kind else None,
                    compress="compressed" in kind,
                )
    return path


@pytest.fixture(scope="module", params=IOS)
def archive(request: pytest.FixtureRequest, path: Path) -> Any:
    with open_archive(path, io=request.param) as opened:
        yield opened


def whole(kind: str, frames: int) -> Any:
    """As float32 rows; an entry without frames has no dimension."""
    values = features_of(kind, frames).astype(np.float32)
    return values.reshape(frames, -1 if frames else 0)


ends = st.one_of(st.integers(0, 2100), st.sampled_from([0, 50, 51, 102, 333, 2000, MANY]))
ranges = st.tuples(ends, ends).map(sorted)


@given(st.sampled_from(KINDS), st.sampled_from(LENGTHS), ranges, st.booleans())
@settings(max_examples=150)
def test_one_range(
    archive: Archive, kind: str, frames: int, bounds: list[int], reuse: bool
) -> None:
    start, stop = bounds
    expected = whole(kind, frames)[start:stop]
    out = np.full((len(expected) + 2, expected.shape[1]), -9, np.float32) if reuse else None
    got = archive.read_features(f"{kind}/{frames}", out, start=start, stop=stop)
    np.testing.assert_array_equal(got, expected)
    if out is not None:
        assert np.all(out[len(expected) :] == -9)
    got = archive.read_features(f"{kind}/{frames}", start=start)
    np.testing.assert_array_equal(got, whole(kind, frames)[start:])


@given(
    st.sampled_from(KINDS[:5]),
    st.lists(st.tuples(st.sampled_from(LENGTHS[1:]), ranges), min_size=1, max_size=6),
    st.integers(0, 9),
    st.integers(1, 8),
    st.booleans(),
    st.integers(1, 3),
)
@settings(max_examples=100)
def test_batches_of_ranges(
    archive: Archive,
    kind: str,
    items: list[Any],
    gap: int,
    align: int,
    ranged: bool,
    num_threads: int,
) -> None:
    names = [f"{kind}/{frames}" for frames, _ in items]
    options: dict[str, Any] = {"num_threads": num_threads}
    bounds = [[0, MANY]] * len(items)
    if ranged:
        bounds = [pair for _, pair in items]
        options |= dict(zip(("starts", "stops"), np.array(bounds).T, strict=True))
    rows = [
        whole(kind, frames)[start:stop]
        for (frames, _), (start, stop) in zip(items, bounds, strict=True)
    ]
    batch, lengths = archive.read_features_batch(names, **options)
    assert lengths.tolist() == [len(row) for row in rows]
    assert batch.shape == (len(rows), max(map(len, rows)), 5)
    for got, row in zip(batch, rows, strict=True):
        np.testing.assert_array_equal(got[: len(row)], row)
        assert not got[len(row) :].any()
    values, offsets, lengths = archive.read_features_packed(names, gap=gap, align=align, **options)
    expected = []
    for row in rows:  # as RETURNN's layout: a multiple of `align` of length and gap
        size = len(row) + gap
        size += -size % align
        expected.append(np.zeros((size, 5), np.float32))
        expected[-1][: len(row)] = row
    np.testing.assert_array_equal(values, np.concatenate(expected))
    assert offsets.tolist() == [0, *np.cumsum([len(part) for part in expected])]
    assert lengths.tolist() == [len(row) for row in rows]
    out = np.full((len(values) + 3, 5), -9, np.float32)
    archive.read_features_packed(names, out, gap=gap, align=align, **options)
    np.testing.assert_array_equal(out[: len(values)], values)
    assert np.all(out[len(values) :] == -9)


@pytest.mark.parametrize("mode", ["error", "map"])
def test_labels(mode: Any) -> None:
    labeling = AllophoneLabeling(
        silence_phone="[SILENCE]",
        allophone_file=DATA / "allophones",
        state_tying_file=DATA / "state-tying" / "monophone",
    )
    with open_archive(DATA / "alignment.viterbi.cache") as archive:
        names = archive.segments[:5]
        rows = [archive.read_labels(name, labeling) for name in names]
        starts = np.array([0, 3, 50, 10_000, 20])
        stops = np.array([5, 60, 50, 20_000, MANY])
        cut = [row[a:b] for row, a, b in zip(rows, starts, stops, strict=True)]
        for name, row, start, stop in zip(names, cut, starts, stops, strict=True):
            got = archive.read_labels(name, labeling, mode, start=start, stop=stop)
            np.testing.assert_array_equal(got, row)
        batch, lengths = archive.read_labels_batch(
            names, labeling, -7, on_alphabet_mismatch=mode, starts=starts, stops=stops
        )
        values, offsets, packed_lengths = archive.read_labels_packed(
            names, labeling, -7, on_alphabet_mismatch=mode, starts=starts, stops=stops, gap=3
        )
        assert lengths.tolist() == packed_lengths.tolist() == [len(row) for row in cut]
        for index, row in enumerate(cut):
            expected = np.concatenate([row, [-7] * (batch.shape[1] - len(row))])
            np.testing.assert_array_equal(batch[index], expected)
            part = values[offsets[index] : offsets[index + 1]]
            np.testing.assert_array_equal(part, [*row, -7, -7, -7])
        dense, offsets, _ = archive.read_labels_packed(names, labeling, on_alphabet_mismatch=mode)
        np.testing.assert_array_equal(dense, np.concatenate(rows))
        with pytest.raises(ValueError, match="not a range of frames: 3 to 2"):
            archive.read_labels(names[0], labeling, start=3, stop=2)


def test_emission_ids(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "a.cache") as writer:
        for seq in range(3):
            times = np.arange(40, dtype=np.uint32)
            ids = (times // 3 + seq).astype(np.uint32)
            writer.add_alignment(f"s{seq}", Alignment(times, ids, label_type="emission"))
    with open_archive(tmp_path / "a.cache") as archive:
        batch, _ = archive.read_labels_batch(np.arange(3), None, starts=5, stops=9)
    assert batch.tolist() == [[(t // 3) + seq for t in range(5, 9)] for seq in range(3)]


def test_wrong_ranges_and_layouts(archive: Archive) -> None:
    for start, stop in ((-1, None), (3, 2), (0, -1)):
        with pytest.raises(ValueError, match="not a range of frames"):
            archive.read_features("f64/7", start=start, stop=stop)
    for bad in ([1, 2], -1, 1.5, [[1]], ["a"]):
        with pytest.raises(ValueError, match="starts must be 1 frame numbers or one"):
            archive.read_features_batch(["f64/7"], starts=np.array(bad))
    with pytest.raises(ValueError, match="ends before it starts"):
        archive.read_features_batch(["f64/7"], starts=3, stops=2)
    for layout in ({"gap": -1}, {"align": 0}):
        with pytest.raises(ValueError, match="expected 0 or more, 1 or more"):
            archive.read_features_packed(["f64/7"], **layout)
    with pytest.raises(ValueError, match=r"out of shape \(6, 5\) cannot hold a batch of shape"):
        archive.read_features_packed(["f64/7"], np.zeros((6, 5), np.float32))
    with pytest.raises(ValueError, match=r"out of shape \(7, 6\) cannot hold a batch of shape"):
        archive.read_features_packed(["f64/7"], np.zeros((7, 6), np.float32))


def corrupted(path: Path, target: Path, name: str, at: int) -> Path:
    with open_archive(path) as archive:
        position = archive.entry(name).position
    data = bytearray(path.read_bytes())
    data[position + 12 + at] ^= 0x55
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("io", IOS)
@pytest.mark.parametrize("kind", ["one block", "gathered"])
def test_only_the_range_is_read(path: Path, tmp_path: Path, io: str, kind: str) -> None:
    """The size of a packet after the range is wrong: the range before it does not see it."""
    name, stride = f"{kind}/2000", 4 + 5 * 4 + 16
    head = 4 + len("vector-f32") + 4
    frame = 1500
    heads = head * (frame // 51 + 1 if kind == "gathered" else 1)
    changed = corrupted(path, tmp_path / "changed.cache", name, heads + frame * stride)
    with open_archive(changed, io=io) as archive:
        expected = whole(kind, 2000)
        reads = {0, 10, 1499 - 100, 1501}
        if kind == "gathered":  # of its block nothing can be found
            reads -= {1501}
        for start in reads:
            got = archive.read_features(name, start=start, stop=start + 100)
            np.testing.assert_array_equal(got, expected[start : start + 100])
        with pytest.raises(FormatError, match=r"frame|packet|size"):
            archive.read_features(name, start=1450, stop=1550)
        with pytest.raises(FormatError):
            archive.read_features(name)


@pytest.mark.parametrize("io", IOS)
def test_a_damaged_compressed_entry(path: Path, tmp_path: Path, io: str) -> None:
    """Up to the damage a range is what it was; later it is an error, never other numbers."""
    name = "compressed/2000"
    with open_archive(path) as archive:
        info = archive.entry(name)
    changed = corrupted(path, tmp_path / "changed.cache", name, info.compressed_size - 9)
    with open_archive(changed, io=io) as archive:
        got = archive.read_features(name, start=3, stop=30)
        np.testing.assert_array_equal(got, whole("compressed", 2000)[3:30])
        with pytest.raises(FormatError):
            archive.read_features(name, start=1000, stop=1950)


def test_a_file_that_became_shorter(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy.cache"
    copied.write_bytes(path.read_bytes())
    with open_archive(copied, io="pread") as archive:
        with open(copied, "r+b") as file:
            file.truncate(100)
        with pytest.raises((ArchiveChangedError, FormatError)):
            archive.read_features("one block/2000", start=5, stop=9)


def test_crc_is_of_the_whole(path: Path) -> None:
    """The oracle of the compressed entries is zlib, not the writer."""
    with open_archive(path) as archive:
        info = archive.entry("compressed/2000")
        data = path.read_bytes()[info.position + 12 :][: info.compressed_size]
        payload = zlib.decompress(data, 31)
        head = 4 + len("vector-f32") + 4
        packets = np.frombuffer(payload[head:], np.uint8).reshape(2000, 40)
        values = packets[:, 4:24].copy().view(np.float32)
        got = archive.read_features("compressed/2000", start=500, stop=600)
    np.testing.assert_array_equal(got, values[500:600])
