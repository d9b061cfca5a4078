"""Every datatype of the format through every way to read it, and the copy loops underneath."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sprintcache import (
    Archive,
    FormatError,
    TruncatedError,
    UnsupportedError,
    _reader,
    open_archive,
)
from tests.oracle import builder, reference
from tests.oracle.compare import DTYPES, IOS, READINGS, Checker
from tests.sprintcache.test_reference import PACKETS

FEATURE_TYPES = [*reference.SCALARS, *reference.VECTORS]
VECTOR_TYPES = [datatype for datatype in DTYPES if datatype.startswith("vector-")]
U32 = st.integers(0, 2**32 - 1)
TIMES = st.tuples(st.floats(), st.floats())


def archive_of(folder: Path, payload: bytes, io: str = "mmap", **options: bool) -> Archive:
    path = folder / "x.cache"
    path.write_bytes(builder.archive([("x", payload)], **options))
    return open_archive(path, io)


# ---- packets of every datatype ---------------------------------------------------------------


def floats(width: int) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_subnormal=True)


ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "f32": floats(32),
    "f64": floats(64),
    "u8": st.integers(0, 2**8 - 1),
    "s8": st.integers(-(2**7), 2**7 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "s16": st.integers(-(2**15), 2**15 - 1),
    "u32": U32,
    "bool": st.booleans(),
    "complex-f32": st.complex_numbers(width=64),
    "complex-f64": st.complex_numbers(width=128),
}
VECTORS = st.lists(
    st.builds(
        lambda values, times: builder.vector_f32(values, *times),
        st.lists(floats(32), max_size=3),
        TIMES,
    ),
    max_size=3,
)


@st.composite
def vectors(draw: st.DrawFn, datatype: str) -> list[bytes]:
    """Packets of a vector datatype, mostly of one size."""
    sizes = draw(st.one_of(st.integers(0, 9).map(lambda n: (n, n)), st.just((0, 4))))
    values = st.lists(
        ELEMENTS[datatype.removeprefix("vector-")], min_size=sizes[0], max_size=sizes[1]
    )
    actual = draw(st.lists(st.tuples(values, TIMES), max_size=5))
    return [builder.vector(datatype, elements, *times) for elements, times in actual]


@st.composite
def matrix_packets(draw: st.DrawFn, datatype: str) -> list[bytes]:
    element = ELEMENTS[datatype.removeprefix("matrix-")]
    packets = []
    for _ in range(draw(st.integers(0, 3))):
        columns = draw(st.integers(0, 3))
        row = st.lists(element, min_size=columns, max_size=columns)
        packets.append(builder.matrix(datatype, draw(st.lists(row, max_size=3)), *draw(TIMES)))
    return packets


def packets_of(datatype: str) -> st.SearchStrategy[list[bytes]]:
    """Lists of packets of one datatype."""
    if datatype in VECTOR_TYPES:
        return vectors(datatype)
    if datatype.startswith("matrix"):
        return matrix_packets(datatype)
    some = st.lists(floats(32), max_size=3)
    one = {
        "timestamp": st.builds(lambda t: builder.timestamp(*t), TIMES),
        "linear-filter-parameter": st.builds(lambda t: builder.timestamp(*t), TIMES),
        "f32": st.builds(lambda v, t: builder.scalar("f32", v, *t), floats(32), TIMES),
        "f64": st.builds(lambda v, t: builder.scalar("f64", v, *t), floats(64), TIMES),
        "string": st.builds(
            lambda v, t: builder.string_packet(v, *t), st.binary(max_size=6), TIMES
        ),
        "vector-vector-f32": st.builds(
            lambda v, t: builder.vector_vector_f32(v, *t), VECTORS, TIMES
        ),
        "aggregate-vector-f32": st.builds(
            lambda v, t: builder.aggregate_vector_f32(v, *t), VECTORS, TIMES
        ),
        "autoregressive-coefficients": st.builds(
            lambda g, v, t: builder.autoregressive_coefficients(g, v, *t), floats(32), some, TIMES
        ),
        "windowing-fir-filter-parameter": st.builds(
            builder.windowing_fir_filter_parameter, st.lists(TIMES, max_size=3)
        ),
        "aggregate": st.builds(lambda m, t: builder.aggregate(m, *t), MEMBERS, TIMES),
        "flow-alignment": st.builds(
            lambda items, t: builder.alignment_rle(items) + builder.timestamp(*t),
            st.lists(st.tuples(U32, st.integers(0, 3)), max_size=6),
            TIMES,
        ),
    }[datatype]
    return st.lists(one, max_size=3)


MEMBERS = st.lists(
    st.sampled_from([(name, packet) for name, (packet, _) in PACKETS.items()]), max_size=4
)
BLOCKS = st.sampled_from(sorted(PACKETS)).flatmap(
    lambda datatype: packets_of(datatype).map(lambda packets: builder.block(datatype, packets))
)


# an empty block of another datatype next to an alignment, with items and without
ONE_ALIGNMENT = [
    builder.alignment_rle(items) + builder.timestamp(0.0, 1.0) for items in ([], [(7, 1)])
]
# members of every datatype
MIXED = builder.aggregate([(name, packet) for name, (packet, _) in PACKETS.items()], 0.0, 1.0)


@settings(max_examples=100)
@example([builder.block("f32", []), builder.block("flow-alignment", ONE_ALIGNMENT[:1])], False)
@example([builder.block("f32", []), builder.block("flow-alignment", ONE_ALIGNMENT[1:])], True)
@example([builder.block("flow-alignment", ONE_ALIGNMENT[1:]), builder.block("f32", [])], True)
@example([builder.block("aggregate", [MIXED] * 2)] * 2, False)
@given(blocks=st.lists(BLOCKS, max_size=3), compress=st.booleans())
def test_everything_reads_as_the_reference_does(
    scratch: Path, blocks: list[bytes], compress: bool
) -> None:
    """Several blocks, mixed datatypes, vectors of different sizes, through every reading."""
    data = builder.archive([(b"x", b"".join(blocks))], compress=compress)
    assert Checker(scratch / "x.cache", READINGS).check(data) == []


@pytest.mark.parametrize("datatype", sorted(PACKETS))
@pytest.mark.parametrize("compress", [False, True])
def test_every_datatype_in_several_blocks(scratch: Path, datatype: str, compress: bool) -> None:
    packet, _ = PACKETS[datatype]
    blocks = [builder.block(datatype, [packet] * count) for count in (1, 0, 40, 2)]
    for payload in (blocks[0], blocks[1], b"".join(blocks)):
        data = builder.archive([(b"x", payload), (b"y", payload)], compress=compress)
        assert Checker(scratch / "x.cache", READINGS).check(data) == []
        with open_archive(scratch / "x.cache") as archive:
            assert archive.datatype("x") == datatype


# ---- features --------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", FEATURE_TYPES)
@settings(max_examples=60)
@given(data=st.data())
def test_numbers_become_float32_as_numpy_converts_them(
    scratch: Path, datatype: str, data: st.DataObject
) -> None:
    dim = 1 if datatype in reference.SCALARS else data.draw(st.integers(0, 6))
    element = ELEMENTS[datatype.removeprefix("vector-")]
    rows = data.draw(st.lists(st.lists(element, min_size=dim, max_size=dim), max_size=6))
    gather = data.draw(st.sampled_from([None, 0, 1]))
    with np.errstate(all="ignore"):
        expected = np.array(rows, DTYPES[datatype]).reshape(len(rows), dim).astype(np.float32)
    with archive_of(scratch, builder.features(rows, datatype=datatype, gather=gather)) as archive:
        features = archive.read_features("x")
        assert features.dtype == np.float32
        assert features.shape == (expected.shape if rows else (0, 0))
        np.testing.assert_array_equal(features, expected.reshape(features.shape))
        assert archive.num_frames("x") == len(rows)
        out = np.full((len(rows) + 1, dim), 7, np.float32)
        read = archive.read_features("x", out)
        assert read.base is out
        np.testing.assert_array_equal(read, expected)
        assert (out[len(rows) :] == 7).all()


def test_any_byte_but_0_is_true(scratch: Path) -> None:
    packet = struct.pack("<I4Bdd", 4, 0, 1, 2, 255, 0.0, 0.0)
    with archive_of(scratch, builder.block("vector-bool", [packet])) as archive:
        assert archive.read_features("x").tolist() == [[0, 1, 1, 1]]
        (block,) = archive.read_blocks("x")
        assert block.data.tolist() == [[False, True, True, True]]
        assert block.data.view(np.uint8).tolist() == [[0, 1, 1, 1]]


def test_feature_blocks_may_differ_in_datatype_but_not_in_size(scratch: Path) -> None:
    parts = [
        builder.features([[1.5], [2.5]]),
        builder.features([[3]], datatype="vector-u8"),
        builder.features([[-4.25]], datatype="f64"),
    ]
    with archive_of(scratch, b"".join(parts)) as archive:
        assert archive.read_features("x").tolist() == [[1.5], [2.5], [3], [-4.25]]
        assert [block.datatype for block in archive.read("x")] == ["vector-f32", "vector-u8", "f64"]


RAGGED = [
    ([2, 2, 3, 2], "frame 2 has 3 values, frame 0 has 2"),
    ([0, 1], "frame 1 has 1 values, frame 0 has 0"),
    ([3, 1, 1, 5], "frame 1 has 1 values, frame 0 has 3"),
    ([2, 1, 3], "frame 1 has 1 values, frame 0 has 2"),  # as many bytes as if all had 2
]


@pytest.mark.parametrize(("sizes", "message"), RAGGED)
@pytest.mark.parametrize(("gather", "compress"), list(product([None, 0, 1], [False, True])))
def test_frames_of_different_size_are_named(
    scratch: Path, sizes: list[int], message: str, gather: int | None, compress: bool
) -> None:
    rows = [[float(at)] * size for at, size in enumerate(sizes)]
    payload = builder.features(rows, gather=gather)
    with archive_of(scratch, payload, compress=compress) as archive:
        for read in (
            lambda: archive.read_features("x"),
            lambda: archive.read_features_batch(["x"]),
        ):
            with pytest.raises(FormatError, match=message) as caught:
                read()
            assert "read_blocks" in str(caught.value)
            assert type(caught.value) is FormatError
        frames = [frame.tolist() for block in archive.read_blocks("x") for frame in block.data]
        assert frames == rows
        assert archive.num_frames("x") == len(rows)
        assert len(archive.read_times("x")) == len(rows)


@pytest.mark.parametrize("datatype", sorted(set(PACKETS) - set(FEATURE_TYPES)))
def test_what_is_no_feature_is_unsupported(scratch: Path, datatype: str) -> None:
    with archive_of(scratch, builder.block(datatype, [PACKETS[datatype][0]])) as archive:
        with pytest.raises(UnsupportedError, match=datatype) as caught:
            archive.read_features("x")
        assert "read_blocks" in str(caught.value)
        assert archive.num_frames("x") == (2 if datatype == "flow-alignment" else 1)


def test_entries_without_frames(scratch: Path) -> None:
    for payload in (b"", builder.block("vector-f32", []), builder.block("f64", []) * 3):
        with archive_of(scratch, payload) as archive:
            assert archive.read_features("x").shape == (0, 0)
            assert archive.read_features("x", np.ones((4, 5), np.float32)).shape == (0, 5)
            assert archive.read_times("x").shape == (0, 2)
            assert archive.num_frames("x") == 0
            batch, lengths = archive.read_features_batch(["x", "x"])
            assert (batch.shape, lengths.tolist()) == ((2, 0, 0), [0, 0])
    with archive_of(scratch, b"") as archive:
        assert archive.read("x") == b""
        assert archive.read_blocks("x") == []
        with pytest.raises(TruncatedError):
            archive.read_alignment("x")


def test_times_of_packets_without_any_are_unsupported(scratch: Path) -> None:
    name = "windowing-fir-filter-parameter"
    with archive_of(scratch, builder.block(name, [PACKETS[name][0]])) as archive:
        with pytest.raises(UnsupportedError, match="no times"):
            archive.read_times("x")
        assert archive.read_blocks("x")[0].times is None


def test_frame_times_are_bit_exact(scratch: Path) -> None:
    rows = [[0.0]] * 300
    with archive_of(scratch, builder.features(rows, end=3.0125, gather=50)) as archive:
        times = archive.read_times("x")
    start, expected = 0.0, []
    for _ in rows:
        expected.append((start, start + 0.025))
        start += 0.01
    expected[-1] = (expected[-1][0], 3.0125)
    assert times.tolist() == [list(pair) for pair in expected]


# ---- arrays to read into ---------------------------------------------------------------------


def unfit() -> Iterator[np.ndarray[Any, Any]]:
    """Arrays that cannot take three frames of two values."""
    yield np.zeros((2, 2), np.float32)
    yield np.zeros((3, 3), np.float32)
    yield np.zeros((3, 1), np.float32)
    yield np.zeros((3, 2), np.float64)
    yield np.zeros((3, 2), ">f4")
    yield np.zeros(6, np.float32)
    yield np.zeros((1, 3, 2), np.float32)
    yield np.zeros((3, 4), np.float32)[:, ::2]
    yield np.zeros((2, 3), np.float32).T
    yield np.zeros(25, np.uint8)[1:].view(np.float32).reshape(3, 2)
    read_only = np.zeros((3, 2), np.float32)
    read_only.flags.writeable = False
    yield read_only


@pytest.mark.parametrize(
    "out", list(unfit()), ids=lambda out: f"{out.dtype}{out.shape}{out.strides}"
)
def test_arrays_that_do_not_fit_are_left_alone(scratch: Path, out: np.ndarray[Any, Any]) -> None:
    with archive_of(scratch, builder.features([[1, 2]] * 3)) as archive:
        with pytest.raises(ValueError, match="out"):
            archive.read_features("x", out)
        assert not out.any()
        with pytest.raises((TypeError, ValueError)):
            archive.read_features("x", [[0.0] * 2] * 3)  # type: ignore[arg-type]


# ---- the copy loops --------------------------------------------------------------------------

KERNELS = ("plain", "avx2", "avx512")
GUARD = np.float32(-12345.0)


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every variant that this processor has, one after another; the best one is put back."""
    best = _reader.build_info()["gather"]
    if not _reader.use_kernel(request.param):
        pytest.skip(f"this processor has no {request.param}")
    assert _reader.build_info()["gather"] == request.param
    yield request.param
    assert _reader.use_kernel(best)


def structured(payload: bytes, dim: int) -> np.ndarray[Any, Any]:
    """The values as numpy sees them: a view of packets of equal size."""
    head = len(builder.string("vector-f32")) + 4
    packet = np.dtype([("size", "<u4"), ("values", "<f4", (dim,)), ("times", "<f8", (2,))])
    values: np.ndarray[Any, Any] = np.frombuffer(payload, packet, offset=head)["values"]
    return values


@pytest.mark.parametrize("count", [1, 2, 33])
def test_frames_are_copied_whole_and_no_byte_more(scratch: Path, kernel: str, count: int) -> None:
    """Every size up to 70, at every place in a cache line, between guards."""
    random = np.random.default_rng(1)
    for dim in range(71):
        rows = random.integers(0, 2**32, (count, dim), np.uint32).view(np.float32)
        rows[np.isnan(rows)] = 0
        payload = builder.features(rows.tolist())
        with archive_of(scratch, payload) as archive:
            expected = structured(payload, dim)
            assert np.array_equal(expected, rows.reshape(count, dim))
            for shift in (dim % 16, 0):
                guarded = np.full(count * dim + 64, GUARD, np.float32)
                out = guarded[16 + shift : 16 + shift + count * dim].reshape(count, dim)
                assert np.array_equal(archive.read_features("x", out), expected)
                assert (guarded[: 16 + shift] == GUARD).all()
                assert (guarded[16 + shift + count * dim :] == GUARD).all()
            assert np.array_equal(archive.read_features("x"), expected)
            assert np.array_equal(archive.read_blocks("x")[0].data, expected)
            batch, _ = archive.read_features_batch(["x", "x"])
            assert np.array_equal(batch, [expected] * 2)


@pytest.mark.parametrize("datatype", [*FEATURE_TYPES, "vector-complex-f32", "vector-complex-f64"])
def test_blocks_of_every_element_size(scratch: Path, kernel: str, datatype: str) -> None:
    dtype = np.dtype(DTYPES[datatype])
    sizes: Sequence[int] = [1] if datatype in reference.SCALARS else range(0, 40)
    for dim in sizes:
        values = (np.arange(5 * dim).reshape(5, dim) % 120).astype(dtype)
        rows = values.tolist()
        if datatype in reference.SCALARS:
            values = values[:, 0]
            packets = [builder.scalar(datatype, row[0], 0, 1) for row in rows]
        else:
            packets = [builder.vector(datatype, row, 0, 1) for row in rows]
        with archive_of(scratch, builder.block(datatype, packets)) as archive:
            (block,) = archive.read_blocks("x")
            assert block.data.dtype == dtype
            assert np.array_equal(block.data, values)


@pytest.mark.parametrize("io", IOS)
@settings(max_examples=30)
@given(count=st.integers(1, 700), dim=st.integers(0, 300))
@example(count=700, dim=1)
@example(count=1, dim=5000)
def test_large_entries(scratch: Path, io: str, count: int, dim: int) -> None:
    random = np.random.default_rng(count * dim)
    rows = random.standard_normal((count, dim), np.float32)
    payload = builder.features(rows.tolist())
    with archive_of(scratch, payload, io) as archive:
        assert np.array_equal(archive.read_features("x"), rows)
        assert archive.num_frames("x") == count
    with archive_of(scratch, payload, io, compress=True) as archive:
        assert np.array_equal(archive.read_features("x"), rows)
        assert archive.num_frames("x") == count


def test_a_wrong_size_anywhere_is_found(scratch: Path, kernel: str) -> None:
    """In each packet in turn the size word is another one; the copy loops look at all of them."""
    rows = [[1.0, 2.0, 3.0]] * 20
    payload = builder.features(rows)
    head = len(builder.string("vector-f32")) + 4
    for frame in range(20):
        at = head + frame * (4 + 12 + 16)
        for size in (0, 2, 4, 2**31, 2**32 - 1):
            damaged = payload[:at] + builder.u32(size) + payload[at + 4 :]
            with archive_of(scratch, damaged) as archive, pytest.raises(FormatError) as caught:
                archive.read_features("x")
            assert math.isfinite(caught.value.offset or math.nan)
