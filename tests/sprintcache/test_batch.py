"""Batches: many entries at once, padded, in one thread or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sprintcache import (
    Archive,
    CorruptError,
    EntryNotFoundError,
    FormatError,
    LabelError,
    UnsupportedError,
    open_archive,
)
from tests.oracle import builder
from tests.oracle.compare import IOS, Labeling

THREADS = (1, 2, 3, 8, 100)
Array = NDArray[Any]


def frames(count: int, dim: int = 3, value: float = 0.0) -> Array:
    return (np.arange(count * dim, dtype=np.float32) + np.float32(value)).reshape(count, dim)


LENGTHS = [5, 0, 1, 12, 7, 300, 2, 40]
FEATURES = {f"f{at}": frames(length, value=1000.0 * at) for at, length in enumerate(LENGTHS)}
LABELS = {
    f"l{at}": [0] * (length // 2) + [7] * (length - length // 2)
    for at, length in enumerate(LENGTHS)
}
A1 = 1 | 2 << 26


def payload_of(name: str) -> bytes:
    if name in FEATURES:
        gather = {0: None, 1: 0, 2: 4}[int(name[1:]) % 3]
        return builder.features(FEATURES[name].tolist(), gather=gather)
    items = [(time, A1 if label else 0) for time, label in enumerate(LABELS[name])]
    alphabet = {0: b"sil{#+#}@i@f.0", A1: b"a{b+c}@i.2"}
    return builder.alignment_entry(
        builder.alignment_rle(items, magic=b"AALPHRLE", alphabet=alphabet)
    )


KINDS = ("file", "file, gz", "bundle", "directory")


def write(folder: Path, kind: str) -> Path:
    """The same entries in an archive of each kind."""
    entries = [(name, payload_of(name)) for name in (*FEATURES, *LABELS)]
    if kind.startswith("file"):
        path = folder / "x.cache"
        path.write_bytes(builder.archive(entries, compress=kind.endswith("gz")))
    elif kind == "bundle":
        path = folder / "x.bundle"
        for part in range(3):
            data = builder.archive(entries[part::3], compress=part == 1)
            (folder / str(part)).write_bytes(data)
        path.write_text("0 1 2")
    else:
        path = folder / "archive"
        path.mkdir()
        for at, (name, payload) in enumerate(entries):
            (path / name).write_bytes(builder.gz(payload) if at % 2 else payload)
    return path


@pytest.fixture
def labeling(scratch: Path) -> Labeling:
    (scratch / "labeling").mkdir()
    return Labeling.write(
        scratch / "labeling",
        ["sil{#+#}@i@f", "a{b+c}@i"],
        {"sil{#+#}@i@f.0": 0, "a{b+c}@i.2": 7},
    )


# ---- what comes back -------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "io"), list(product(KINDS, IOS)))
@settings(max_examples=40)
@given(
    names=st.lists(st.sampled_from(list(FEATURES)), max_size=12),
    num_threads=st.sampled_from(THREADS),
    spare=st.tuples(st.integers(0, 3), st.integers(0, 9)) | st.none(),
)
def test_feature_batches(
    scratch: Path,
    kind: str,
    io: str,
    names: list[str],
    num_threads: int,
    spare: tuple[int, int] | None,
) -> None:
    """In the order of the names, duplicates too; zeros after each; memory beyond is kept."""
    path = next(iter(scratch.glob("x.*")), scratch / "archive")
    path = path if path.exists() else write(scratch, kind)
    longest = max((len(FEATURES[name]) for name in names), default=0)
    dim = 3 if longest or spare else 0
    expected = np.zeros((len(names), longest, dim), np.float32)
    for row, name in zip(expected, names, strict=True):
        row[: len(FEATURES[name])] = FEATURES[name][:, :dim]
    out = None
    if spare is not None:
        out = np.full((len(names) + spare[0], longest + spare[1], 3), -1, np.float32)
    with open_archive(path, io) as archive:
        batch, lengths = archive.read_features_batch(names, out=out, num_threads=num_threads)
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [len(FEATURES[name]) for name in names]
    assert batch.dtype == np.float32
    assert np.array_equal(batch, expected)
    if out is not None:
        check_view(out, batch, expected, -1)


@pytest.mark.parametrize(("kind", "io"), list(product(KINDS, IOS)))
@settings(max_examples=40)
@given(
    names=st.lists(st.sampled_from(list(LABELS)), max_size=12),
    num_threads=st.sampled_from(THREADS),
    pad=st.sampled_from([-1, 0, -100, 2**31 - 1, -(2**31)]),
    spare=st.tuples(st.integers(0, 3), st.integers(0, 9)) | st.none(),
    mode=st.sampled_from(["error", "map", "ignore"]),
)
def test_label_batches(
    scratch: Path,
    labeling: Labeling,
    kind: str,
    io: str,
    names: list[str],
    num_threads: int,
    pad: int,
    spare: tuple[int, int] | None,
    mode: Any,
) -> None:
    path = next(iter(scratch.glob("x.*")), scratch / "archive")
    path = path if path.exists() else write(scratch, kind)
    longest = max((len(LABELS[name]) for name in names), default=0)
    expected = np.full((len(names), longest), pad, np.int32)
    for row, name in zip(expected, names, strict=True):
        row[: len(LABELS[name])] = LABELS[name]
    out = None
    if spare is not None:
        out = np.full((len(names) + spare[0], longest + spare[1]), 55, np.int32)
    with open_archive(path, io) as archive:
        batch, lengths = archive.read_labels_batch(
            names, labeling.ours, pad, out=out, num_threads=num_threads, on_alphabet_mismatch=mode
        )
    assert (lengths.dtype, batch.dtype) == (np.int64, np.int32)
    assert lengths.tolist() == [len(LABELS[name]) for name in names]
    assert np.array_equal(batch, expected)
    if out is not None:
        check_view(out, batch, expected, 55)


def check_view(out: Array, batch: Array, expected: Array, kept: float) -> None:
    """The batch is the beginning of `out`, and nothing beyond was written."""
    assert batch.base is out or batch is out
    rows, longest = expected.shape[:2]
    assert np.array_equal(out[:rows, :longest], expected)
    assert (out[rows:] == kept).all()
    assert (out[:, longest:] == kept).all()


def test_names_may_come_from_anywhere(scratch: Path) -> None:
    with open_archive(write(scratch, "file")) as archive:
        expected = archive.read_features_batch(["f0", "f3"])[0].tolist()
        for names in (("f0", "f3"), iter(["f0", "f3"]), {"f0": 1, "f3": 2}, [b"f0", b"f3"]):
            assert archive.read_features_batch(names)[0].tolist() == expected
        with pytest.raises(TypeError):
            archive.read_features_batch([1])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            archive.read_features_batch(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_entries_by_number_into_memory_made_to_measure(
    scratch: Path, kind: str, labeling: Labeling
) -> None:
    """Numbers count the segments, not the entries, of which some are attributes."""
    attributes = [(f"{name}.attribs", b"<attributes/>") for name in ("f0", "l1", "f7")]
    path = write(scratch, kind)
    if kind == "file":
        entries = [(name, payload_of(name)) for name in (*FEATURES, *LABELS)]
        path.write_bytes(
            builder.archive([attributes[0], *entries[:9], *attributes[1:], *entries[9:]])
        )
    room = {2: np.full(99, -7, np.int32), 3: np.full(9999, -7, np.float32)}

    def out(shape: tuple[int, ...]) -> Array:
        return room[len(shape)][: int(np.prod(shape))].reshape(shape)

    with open_archive(path) as archive:
        names = list(archive.segments)
        features = [name for name in names if name[0] == "f" and len(FEATURES[name]) < 99]
        some = [features[4], features[0], features[4]]
        numbers = np.array([names.index(name) for name in some])
        expected = archive.read_features_batch(some)
        actual = archive.read_features_batch(numbers, out)
        assert all(map(np.array_equal, actual, expected))
        assert np.shares_memory(actual[0], room[3])
        assert numbers.tolist() == [names.index(name) for name in some]
        numbers = np.array([names.index("l3"), names.index("l0")], np.uint32)
        for mode in ("error", "map"):
            expected = archive.read_labels_batch(["l3", "l0"], labeling.ours, 5)
            actual = archive.read_labels_batch(numbers, labeling.ours, 5, out, 1, mode)
            assert all(map(np.array_equal, actual, expected))
            assert np.shares_memory(actual[0], room[2])
        for number in (-1, len(names)):
            with pytest.raises(IndexError, match=f"segment {number} of {len(names)}"):
                archive.read_features_batch(np.array([0, number]))
        sizes = archive.segment_sizes()
        assert sizes.tolist() == [len(payload_of(name)) for name in names]


def test_iteration_equals_single_reads(scratch: Path, labeling: Labeling) -> None:
    for kind, names in product(KINDS, (FEATURES, LABELS)):
        folder = scratch / kind.replace(", ", "-") / next(iter(names))
        folder.mkdir(parents=True)
        path = write(folder, kind)
        others = LABELS if names is FEATURES else FEATURES
        with open_archive(path) as archive:
            assert set(archive.segments) == {*FEATURES, *LABELS}
            assert archive.num_frames_all(3).tolist() == [
                len(FEATURES[name]) if name in FEATURES else len(LABELS[name])
                for name in archive.segments
            ]
            if names is FEATURES:
                items: Iterator[tuple[str, Array]] = archive.iter_features()
            else:
                items = archive.iter_labels(labeling.ours)
            passed = dict(with_refusals(items))
        assert {name: passed[name] for name in others} == dict.fromkeys(others, "refused")
        for name, expected in names.items():
            assert np.array_equal(passed[name], np.reshape(expected, np.shape(passed[name])))


def with_refusals(items: Iterator[tuple[str, Array]]) -> Iterator[tuple[str, Any]]:
    """Iteration continues after an entry that cannot be read."""
    while True:
        try:
            yield next(items)
        except StopIteration:
            return
        except FormatError as error:
            yield error.entry or "", "refused"


# ---- what is refused, and what is left alone then ----------------------------------------------


def arrays_that_do_not_fit(shape: tuple[int, ...], dtype: Any) -> list[Array]:
    """Too small in each direction, another dtype, another order, one dimension more or less."""
    actual = [
        np.full((*shape[:at], size - 1, *shape[at + 1 :]), 9, dtype)
        for at, size in enumerate(shape)
    ]
    actual.append(np.full(shape, 9, np.float64))
    actual.append(np.full(shape, 9, np.dtype(dtype).newbyteorder(">")))
    actual.append(np.full(shape, 9, dtype, order="F"))
    actual.append(np.full((*shape, 1), 9, dtype))
    actual.append(np.full(shape[1:], 9, dtype))
    actual.append(np.full((*shape[:-1], 2 * shape[-1]), 9, dtype)[..., ::2])
    actual.append(np.full(shape, 9, dtype))
    actual[-1].flags.writeable = False
    return actual


@pytest.mark.parametrize("at", range(10))
def test_features_into_arrays_that_do_not_fit(scratch: Path, at: int) -> None:
    arrays = [*arrays_that_do_not_fit((2, 12, 3), np.float32), np.full((2, 12, 4), 9, np.float32)]
    with open_archive(write(scratch, "file")) as archive:
        for out in arrays[at::10]:
            before = out.copy()
            with pytest.raises(ValueError, match="out"):
                archive.read_features_batch(["f0", "f3"], out=out)
            assert np.array_equal(out, before)


@pytest.mark.parametrize("mode", ["error", "map", "ignore"])
def test_labels_into_arrays_that_do_not_fit(scratch: Path, labeling: Labeling, mode: Any) -> None:
    with open_archive(write(scratch, "file")) as archive:
        for out in arrays_that_do_not_fit((2, 12), np.int32):
            before = out.copy()
            with pytest.raises(ValueError, match="out"):
                archive.read_labels_batch(
                    ["l0", "l3"], labeling.ours, out=out, on_alphabet_mismatch=mode
                )
            assert np.array_equal(out, before)
        for wrong in ([[0] * 12] * 2, "out"):
            with pytest.raises((TypeError, ValueError)):
                archive.read_labels_batch(
                    ["l0"],
                    labeling.ours,
                    out=wrong,
                    on_alphabet_mismatch=mode,  # type: ignore[arg-type]
                )


@pytest.mark.parametrize("num_threads", [0, -1])
def test_numbers_of_threads_that_are_none(
    scratch: Path, labeling: Labeling, num_threads: int
) -> None:
    with open_archive(write(scratch, "file")) as archive:
        calls: list[Callable[[], object]] = [
            lambda: archive.read_features_batch(["f0"], num_threads=num_threads),
            lambda: archive.num_frames_all(num_threads),
        ]
        for mode in ("error", "map", "ignore"):
            calls.append(
                lambda mode=mode: archive.read_labels_batch(  # type: ignore[misc]
                    ["l0"], labeling.ours, num_threads=num_threads, on_alphabet_mismatch=mode
                )
            )
        for call in calls:
            with pytest.raises(ValueError, match="num_threads"):
                call()


def damaged_archive(folder: Path, compress: bool) -> Archive:
    """Twelve entries; the fifth, eighth and last of them cannot be read."""
    entries = [(f"{at}", builder.features(frames(at % 4 + 1).tolist())) for at in range(12)]
    entries[4] = ("4", builder.block("string", []))
    entries[7] = ("7", builder.features([[1.0] * 3, [1.0] * 2]))
    entries[11] = ("11", entries[11][1][:-1])
    (folder / "x.cache").write_bytes(builder.archive(entries, compress=compress))
    return open_archive(folder / "x.cache")


@pytest.mark.parametrize(("num_threads", "compress"), list(product(THREADS, [False, True])))
def test_the_error_is_that_of_the_first_entry_that_fails(
    scratch: Path, num_threads: int, compress: bool
) -> None:
    good = [str(at) for at in range(12) if at not in (4, 7, 11)]
    with damaged_archive(scratch, compress) as archive:
        for bad, cls in (("4", UnsupportedError), ("7", FormatError), ("11", FormatError)):
            for at in (0, 3, len(good)):
                names = [*good[:at], bad, *good[at:], "4", "7", "11"]
                with pytest.raises(cls) as caught:
                    archive.read_features_batch(names, num_threads=num_threads)
                assert (caught.value.path, caught.value.entry) == (archive.path, bad)
        with pytest.raises(FormatError) as caught:
            archive.num_frames_all(num_threads)
        assert caught.value.entry == "11"
        with pytest.raises(EntryNotFoundError) as missing:
            archive.read_features_batch([*good, "absent", "4"], num_threads=num_threads)
        assert missing.value.entry == "absent"
        batch, _ = archive.read_features_batch(good, num_threads=num_threads)
        assert np.array_equal(batch[1], np.vstack([frames(2), np.zeros((2, 3))]))


@pytest.mark.parametrize("num_threads", THREADS)
def test_entries_of_different_dimension(scratch: Path, num_threads: int) -> None:
    entries = [
        ("empty", b""),
        ("three", builder.features([[1.0] * 3])),
        ("two", builder.features([[1.0] * 2])),
        ("scalar", builder.features([[1.0]], datatype="f32")),
        ("one", builder.features([[1.0]])),
        ("none", builder.features([[], []])),
    ]
    (scratch / "x.cache").write_bytes(builder.archive(entries))
    with open_archive(scratch / "x.cache") as archive:
        with pytest.raises(FormatError, match=r"'three'.*expected 3, found 2") as caught:
            archive.read_features_batch(["empty", "three", "empty", "two"], num_threads=num_threads)
        assert caught.value.entry == "two"
        batch, _ = archive.read_features_batch(["scalar", "empty", "one"])
        assert batch.tolist() == [[[1]], [[0]], [[1]]]
        batch, lengths = archive.read_features_batch(["none", "empty"])
        assert (batch.shape, lengths.tolist()) == ((2, 2, 0), [2, 0])
        out = np.ones((3, 2, 2), np.float32)
        batch, lengths = archive.read_features_batch(["empty", "two"], out=out)
        assert out.tolist() == [[[0, 0], [1, 1]], [[1, 1]] * 2, [[1, 1]] * 2]
        batch, _ = archive.read_features_batch(["empty"], out=out)
        assert batch.shape == (1, 0, 2)


@pytest.mark.parametrize("num_threads", THREADS)
def test_labels_of_the_first_entry_that_fails(
    scratch: Path, labeling: Labeling, num_threads: int
) -> None:
    alignment = builder.alignment_entry(builder.alignment_rle([(0, 0)]))
    gap = builder.alignment_entry(builder.alignment_rle([(0, 0), (2, 0)]))
    cut = builder.alignment_entry(builder.alignment_rle([(0, 0)]))[:-20]
    data = builder.archive([("a", alignment), ("gap", gap), ("cut", cut)], compress=True)
    (scratch / "x.cache").write_bytes(data)
    with open_archive(scratch / "x.cache") as archive:
        for names, cls in (
            (["a", "gap"], LabelError),
            (["a", "a", "gap", "gap"], LabelError),
            (["cut", "a", "gap"], FormatError),
        ):
            with pytest.raises(cls) as caught:
                archive.read_labels_batch(names, labeling.ours, num_threads=num_threads)
            first = next(name for name in names if name != "a")
            assert caught.value.entry == first  # type: ignore[attr-defined]


def test_a_damaged_member_of_a_bundle_is_named(scratch: Path) -> None:
    (scratch / "good").write_bytes(builder.archive([("a", builder.features([[1]]))]))
    data = bytearray(builder.archive([("b", builder.features([[1]]))], compress=True))
    data[9 + 4 + 4 + 1 + 12 + 20] ^= 1
    (scratch / "bad").write_bytes(data)
    (scratch / "x.bundle").write_text("good bad")
    with open_archive(scratch / "x.bundle") as archive:
        for num_threads in THREADS:
            with pytest.raises(CorruptError) as caught:
                archive.read_features_batch(["a", "b", "a"], num_threads=num_threads)
            assert (caught.value.path, caught.value.entry) == (str(scratch / "bad"), "b")
