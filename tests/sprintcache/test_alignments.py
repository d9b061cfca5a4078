"""Alignments: three magics, run-length and weighted code, alphabets, and the Alignment class."""

from __future__ import annotations

import copy
import pickle
import struct
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    Alignment,
    Archive,
    CorruptError,
    FormatError,
    TruncatedError,
    UnsupportedError,
    open_archive,
)
from tests.oracle import builder, reference
from tests.oracle.builder import u32
from tests.oracle.compare import IOS, Checker, only_alignment, same_alignment
from tests.oracle.reference import RefAlignment

MAGICS = (b"ALIGNRLE", b"AALPHRLE", b"ALIGNEMI")
U32 = st.integers(0, 2**32 - 1)
EMISSIONS = st.one_of(st.integers(0, 3), U32)
TIMES = st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1))
SYMBOLS = st.one_of(st.binary(max_size=12), st.just(b"a{b+c}@i.1"))


def archive_of(folder: Path, payload: bytes, io: str = "mmap", **options: bool) -> Archive:
    path = folder / "x.cache"
    path.write_bytes(builder.archive([("x", payload)], **options))
    return open_archive(path, io)


def entry_of(code: str, size: int, magic: bytes = b"ALIGNRLE", tail: bytes = b"") -> bytes:
    """An entry with this code (hex) after the size word."""
    return builder.alignment_entry(magic + u32(size) + bytes.fromhex(code) + tail)


# ---- everything that can be stored -----------------------------------------------------------


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Items as aligners make them: runs, gaps, jumps back; lengths around the code's limits."""
    items: list[tuple[int, int]] = []
    time = 0
    for _ in range(draw(st.integers(0, 6))):
        time = draw(st.one_of(st.just(time), TIMES))
        length = draw(st.sampled_from([1, 1, 2, 3, 126, 127, 128, 129, 300]))
        rising = draw(st.booleans())
        emission = draw(st.integers(0, 2**31))
        for _ in range(min(length, 2**32 - time)):
            items.append((time, emission))
            time += 1
            emission += rising
        time = min(time, 2**32 - 1)
    return items


@settings(max_examples=100)
@given(
    items=runs(),
    magic=st.sampled_from(MAGICS),
    alphabet=st.dictionaries(U32, SYMBOLS, max_size=4),
    times=st.tuples(st.floats(), st.floats()),
    compress=st.booleans(),
)
def test_run_length_code(
    scratch: Path,
    items: list[tuple[int, int]],
    magic: bytes,
    alphabet: dict[int, bytes],
    times: tuple[float, float],
    compress: bool,
) -> None:
    tail = alphabet if magic == b"AALPHRLE" else None
    packet = builder.alignment_rle(items, magic=magic, alphabet=tail)
    payload = builder.alignment_entry(packet, *times)
    label_type = "emission" if magic == b"ALIGNEMI" else "allophone-state"
    ones = [(time, emission, 1.0) for time, emission in items]
    expected = RefAlignment(label_type, False, ones, tail, *times)
    for io in IOS:
        with archive_of(scratch, payload, io, compress=compress) as archive:
            check(archive, expected)


@settings(max_examples=100)
@given(
    items=st.lists(st.tuples(TIMES, EMISSIONS, st.floats(0, 1, width=32)), max_size=20),
    version=st.integers(0, 2),
    magic=st.sampled_from(MAGICS),
    compress=st.booleans(),
)
def test_weighted_code(
    scratch: Path,
    items: list[tuple[int, int, float]],
    version: int,
    magic: bytes,
    compress: bool,
) -> None:
    """Several items in a frame, gaps, jumps back; weights of each version."""
    tail = {7: b"seven"} if magic == b"AALPHRLE" else None
    packet = builder.alignment_weighted(items, version=version, magic=magic, alphabet=tail)
    payload = builder.alignment_entry(packet, 0.25, 0.5)
    stored = {0: lambda w: 0.0, 1: lambda w: round(w * 65535) / 65535, 2: lambda w: w}[version]
    expected = RefAlignment(
        "emission" if magic == b"ALIGNEMI" else "allophone-state",
        True,
        [(time, emission, stored(weight)) for time, emission, weight in items],
        tail,
        0.25,
        0.5,
    )
    assert only_alignment(payload) == expected
    for io in IOS:
        with archive_of(scratch, payload, io, compress=compress) as archive:
            check(archive, expected)


def check(archive: Archive, expected: RefAlignment) -> None:
    alignment = archive.read_alignment("x")
    assert same_alignment(alignment, expected), (alignment, expected)
    assert same_alignment(archive.read("x"), expected)
    assert len(alignment) == len(expected.items)
    frames = max((time + 1 for time, _, _ in expected.items), default=0)
    assert alignment.num_frames == archive.num_frames("x") == frames
    assert archive.num_frames_all().tolist() == [frames]


def test_every_16_bit_weight(scratch: Path) -> None:
    items = [(time, 1, time / 65535) for time in range(65536)]
    packet = builder.alignment_weighted(items, version=1)
    with archive_of(scratch, builder.alignment_entry(packet)) as archive:
        weight = archive.read_alignment("x").weight
    expected = (np.arange(65536) / 65535).astype(np.float32)
    assert weight.tobytes() == expected.tobytes()
    assert (weight[0], weight[65535]) == (0, 1)


def test_the_codes_that_sprint_never_writes(scratch: Path) -> None:
    """Markers in a row, a run of -1, empty frames, long forms of packed numbers."""
    one = u32(7).hex()
    marker = "00" + u32(3).hex()
    for code, size, items in (
        (marker * 3 + "ff" + one + "01" + one, 2, [(3, 7), (4, 7)]),
        ("00" + u32(2**32 - 1).hex() + "ff" + one, 1, [(2**32 - 1, 7)]),
        ("80" + one, 128, [(time, 7) for time in range(128)]),
        ("7f" + one * 127, 127, [(time, 7) for time in range(127)]),
    ):
        with archive_of(scratch, entry_of(code, size)) as archive:
            alignment = archive.read_alignment("x")
            assert (
                list(zip(alignment.time.tolist(), alignment.emission.tolist(), strict=True))
                == items
            )
    empty_frames = "02 00 00 02 07 0000803f 00 02 8780808000 0000803f".replace(" ", "")
    with archive_of(scratch, entry_of(empty_frames, 2**31 + 2)) as archive:
        alignment = archive.read_alignment("x")
        assert alignment.time.tolist() == [2, 4]
        assert alignment.emission.tolist() == [7, 7]


# ---- what is wrong, and how it is said ---------------------------------------------------------

ID = u32(1).hex()
WRONG: dict[str, tuple[bytes, type[FormatError], str]] = {
    "magic": (entry_of("", 0, b"ALIGNXYZ"), UnsupportedError, "magic.*ALIGNXYZ"),
    "version": (entry_of("00", 2**31 + 3), UnsupportedError, "version.*found 3"),
    "repeat run": (entry_of("fe" + ID, 1), CorruptError, "expected 1, found 2"),
    "literal run": (entry_of("02" + ID * 2, 1), CorruptError, "expected 1, found 2"),
    "frame": (entry_of("01 04 01 01", 2**31), CorruptError, "expected 1, found 2"),
    "too many items": (entry_of("", 10_000), CorruptError, "found 10000"),
    "too many weights": (entry_of("64", 2**31), CorruptError, "found 100"),
    "cut in items": (entry_of("01" + ID, 100), TruncatedError, "the alignment is cut"),
    "cut in a time": (entry_of("01" + "00" * 16 + "0b80", 2**31)[:-16], TruncatedError, "is cut"),
    "time": (entry_of("00ffffffff fe" + ID, 2), CorruptError, "32 bits"),
    "weighted time": (entry_of("02 03 ffffffff0f 01 02 01", 2**31), CorruptError, "32 bits"),
    "packed": (entry_of("01 02 ffffffff1f", 2**31), CorruptError, "32 bits"),
    "packed, six bytes": (entry_of("01 02 808080808001", 2**31), CorruptError, "32 bits"),
    "alphabet": (entry_of("", 0, b"AALPHRLE", b"\x09"), TruncatedError, "alphabet"),
    "alphabet twice": (
        entry_of("", 0, b"AALPHRLE", b"\2" + (b"\1" + builder.string("s")) * 2),
        CorruptError,
        "id 1 occurs twice",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize(("io", "compress"), list(product(IOS, [False, True])))
def test_damaged_alignments(scratch: Path, kind: str, io: str, compress: bool) -> None:
    payload, cls, message = WRONG[kind]
    with archive_of(scratch, payload, io, compress=compress) as archive:
        with pytest.raises(cls, match=message) as caught:
            archive.read_alignment("x")
        error = caught.value
        assert (error.path, error.entry) == (archive.path, "x")
        position = archive.entry("x").position + 12
        assert error.offset is not None
        assert position <= error.offset <= position + (0 if compress else len(payload))
        with pytest.raises(FormatError):
            archive.read_blocks("x")


ONE = builder.alignment_rle([(0, 1)]) + builder.timestamp(0.0, 1.0)


TWO = builder.block("flow-alignment", [ONE]) * 2
NOT_ONE: dict[str, tuple[bytes, type[FormatError], str]] = {
    "nothing": (b"", TruncatedError, "no alignment"),
    "an empty block": (builder.block("flow-alignment", []), TruncatedError, "no alignment"),
    "features": (builder.features([[1.0]]), UnsupportedError, "vector-f32"),
    "two in a block": (builder.block("flow-alignment", [ONE, ONE]), UnsupportedError, "several"),
    "two blocks": (TWO, UnsupportedError, "several alignments"),
    "features after": (TWO[: len(TWO) // 2] + builder.features([[1]]), UnsupportedError, "f32"),
    "junk after": (TWO[: len(TWO) // 2] + b"junk!", TruncatedError, "cut"),
    "no times": (builder.block("flow-alignment", [ONE[:-1]]), TruncatedError, "cut"),
}


@pytest.mark.parametrize("kind", NOT_ONE)
def test_entries_without_exactly_one_alignment(scratch: Path, kind: str) -> None:
    payload, cls, message = NOT_ONE[kind]
    with archive_of(scratch, payload) as archive, pytest.raises(cls, match=message):
        archive.read_alignment("x")


def test_empty_blocks_around_an_alignment_do_not_matter(scratch: Path) -> None:
    empty = builder.block("flow-alignment", [])
    payload = empty * 2 + builder.block("flow-alignment", [ONE]) + empty
    assert Checker(scratch / "x.cache").check(builder.archive([(b"x", payload)])) == []


def test_several_alignments_come_through_read_blocks(scratch: Path) -> None:
    payload = builder.block("flow-alignment", [ONE, ONE]) + builder.block("flow-alignment", [ONE])
    with archive_of(scratch, payload) as archive:
        assert [len(block.data) for block in archive.read_blocks("x")] == [2, 1]
        assert archive.read("x") == [archive.read_blocks("x")[1].data[0]] * 3


# ---- the class -------------------------------------------------------------------------------


def test_allophone_and_state_are_bits_of_the_id() -> None:
    random = np.random.default_rng(0)
    allophone = random.integers(0, 2**26, 100, np.uint32)
    state = random.integers(0, 16, 100, np.uint32)
    alignment = Alignment(np.arange(100), allophone | state << 26)
    assert alignment.allophone.tolist() == allophone.tolist()
    assert alignment.state.tolist() == state.tolist()
    assert (alignment.allophone.dtype, alignment.state.dtype) == (np.uint32, np.uint8)


def test_defaults() -> None:
    alignment = Alignment([0, 1, 3], [5, 6, 7])
    assert alignment.weight.tolist() == [1, 1, 1]
    assert (alignment.alphabet, alignment.label_type) == (None, "allophone-state")
    assert (alignment.start, alignment.end, alignment.weighted) == (None, None, False)
    assert not alignment.is_viterbi
    assert alignment.num_frames == 4
    assert Alignment([0], [0], [0.5]).weighted is True
    assert Alignment([0], [0], [0.5], weighted=False).weighted is False
    assert Alignment([0], [0], weighted=True).weighted is True
    empty = Alignment([], [])
    assert (len(empty), empty.num_frames, empty.is_viterbi) == (0, 0, True)
    assert [array.dtype for array in (empty.time, empty.emission, empty.weight)] == [
        np.uint32,
        np.uint32,
        np.float32,
    ]


@pytest.mark.parametrize(
    ("time", "viterbi"),
    [([0, 1, 2], True), ([1, 2], False), ([0, 2], False), ([0, 0], False), ([1, 0], False)],
)
def test_viterbi_is_one_item_for_each_frame(time: list[int], viterbi: bool) -> None:
    assert Alignment(time, [0] * len(time)).is_viterbi is viterbi


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (([0, 1], [0]), {}),
        (([0], [0], [1.0, 2.0]), {}),
        (([-1], [0]), {}),
        (([0], [2**32]), {}),
        (([0.5], [0]), {}),
        (([[0]], [0]), {}),
        (([0], [0]), {"label_type": "phoneme"}),
    ],
)
def test_arguments_that_are_refused(arguments: Sequence[Any], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|vectors|between"):
        Alignment(*arguments, **options)


VARIANTS = [
    Alignment([0, 1], [5, 6]),
    Alignment([0, 2], [5, 6]),
    Alignment([0, 1], [5, 7]),
    Alignment([0, 1], [5, 6], [1, 0.5]),
    Alignment([0, 1], [5, 6], alphabet={5: "a.0"}),
    Alignment([0, 1], [5, 6], label_type="emission"),
    Alignment([0, 1], [5, 6], start=0.5),
    Alignment([0, 1], [5, 6], end=0.5),
    Alignment([0, 1], [5, 6], weighted=True),
    Alignment([], []),
]


def test_equality_pickles_and_copies() -> None:
    for at, one in enumerate(VARIANTS):
        for other_at, other in enumerate(VARIANTS):
            assert (one == other) == (at == other_at)
        assert pickle.loads(pickle.dumps(one)) == one
        assert copy.deepcopy(one) == one
        assert isinstance(repr(one), str)
        assert one != "an alignment"
        with pytest.raises(TypeError):
            hash(one)


def test_times_of_an_alignment_without_frames(scratch: Path) -> None:
    most = struct.unpack("<d", b"\xff\xff\xff\xff\xff\xff\xef\x7f")[0]
    packet = builder.alignment_rle([], magic=b"AALPHRLE", alphabet={})
    with archive_of(scratch, builder.alignment_entry(packet, most, -most)) as archive:
        alignment = archive.read_alignment("x")
        assert (alignment.start, alignment.end) == (most, -most)
        assert alignment.alphabet == {}
        assert archive.num_frames("x") == 0
    assert reference.WEIGHTED == 2**31


def test_a_frame_without_items_after_the_last_time(scratch: Path) -> None:
    """It has no stored time, so none that is too large."""
    items = b"\3" + builder.packed(2**32 - 1) + b"\5" + b"\0" + b"\3\0\6"
    packet = b"ALIGNRLE" + builder.u32(1 << 31) + b"\2" + items
    data = builder.archive([("a", builder.alignment_entry(packet))])
    (scratch / "x.cache").write_bytes(data)
    with open_archive(scratch / "x.cache") as archive:
        alignment = archive.read_alignment("a")
        assert alignment.time.tolist() == [2**32 - 1, 0]
        assert alignment.emission.tolist() == [5, 6]
        assert archive.num_frames("a") == 2**32
