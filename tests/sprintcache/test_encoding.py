"""Arrays to bytes: what was read is written as it was, and as the builder writes it."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import Alignment, Block
from sprintcache import _attributes as attributes
from sprintcache._attributes import render
from sprintcache._write.alignment_encoding import encode_alignment
from sprintcache._write.encoding import encode_blocks, encode_features
from tests.oracle import builder
from tests.sprintcache.test_alignments import EMISSIONS, TIMES, runs
from tests.sprintcache.test_datatypes import BLOCKS, archive_of
from tests.sprintcache.test_reference import PACKETS

ID = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x7f"), max_size=8)


def features(*args: Any, **kwargs: Any) -> bytes:
    return b"".join(encode_features(*args, **kwargs))


# ---- blocks ----------------------------------------------------------------------------------


@settings(max_examples=100)
@given(blocks=st.lists(BLOCKS, max_size=3))
def test_blocks_come_back_byte_for_byte(scratch: Path, blocks: list[bytes]) -> None:
    payload = b"".join(blocks)
    with archive_of(scratch, payload) as archive:
        assert b"".join(encode_blocks(archive.read_blocks("x"))) == payload


@pytest.mark.parametrize("datatype", sorted(PACKETS))
def test_every_datatype_comes_back(scratch: Path, datatype: str) -> None:
    packet, _ = PACKETS[datatype]
    payload = b"".join(builder.block(datatype, [packet] * count) for count in (1, 0, 3))
    with archive_of(scratch, payload) as archive:
        assert b"".join(encode_blocks(archive.read_blocks("x"))) == payload


NO_TIMES = np.zeros((1, 2))
VECTOR = Block("vector-f32", NO_TIMES, np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    "block",
    [
        Block("vector-f128", NO_TIMES, np.zeros((1, 1))),
        Block("u8", NO_TIMES, np.zeros(1, np.uint8)),
        Block("f32", NO_TIMES, np.zeros((1, 1), np.float32)),
        Block("vector-f32", NO_TIMES, np.zeros(1, np.float32)),
        Block("vector-f32", None, np.zeros((1, 1), np.float32)),
        Block("vector-f32", np.zeros((2, 2)), np.zeros((1, 1), np.float32)),
        Block("vector-u8", NO_TIMES, np.array([[256]])),
        Block("vector-u8", NO_TIMES, np.array([[0.5]])),
        Block("vector-f32", NO_TIMES, np.array([[1j]])),
        Block("vector-f32", NO_TIMES, np.array([[1e300]])),
        Block("vector-f32", NO_TIMES, np.array([["1"]])),
        Block("matrix-f32", NO_TIMES, [np.zeros(3)]),
        Block("autoregressive-coefficients", NO_TIMES, [np.zeros(0)]),
        Block("vector-vector-f32", NO_TIMES, [Block("f32", NO_TIMES, np.zeros(1, np.float32))]),
        Block("aggregate", NO_TIMES, [[VECTOR._replace(times=None)]]),
        Block("aggregate", NO_TIMES, [[Block("string", np.zeros((2, 2)), ["a", "b"])]]),
    ],
    ids=lambda block: block.datatype,
)
def test_blocks_that_are_none(block: Block) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_blocks([block])


# ---- features --------------------------------------------------------------------------------

INTS = {
    np.int8: ("vector-s8", "f32"),
    np.uint8: ("vector-u8", "f32"),
    np.int16: ("vector-s16", "f32"),
    np.uint16: ("vector-u16", "f32"),
    np.int32: ("vector-f64", "f64"),
    np.uint32: ("vector-u32", "f64"),
}


@pytest.mark.parametrize("dtype", INTS)
@pytest.mark.parametrize("ndim", [1, 2])
def test_integers_are_kept_exactly(scratch: Path, dtype: Any, ndim: int) -> None:
    info = np.iinfo(dtype)
    array = np.array([info.min, -1 if info.min else 1, 0, info.max], dtype)
    array = array if ndim == 1 else array.reshape(2, 2)
    with archive_of(scratch, features(array)) as archive:
        (block,) = archive.read_blocks("x")
    assert block.datatype == INTS[dtype][ndim == 1]
    assert np.array_equal(block.data, array)


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [
        (np.float16, "vector-f32"),
        (">f4", "vector-f32"),
        (np.float32, "vector-f32"),
        (np.float64, "vector-f64"),
        (np.int64, "vector-f64"),
        (np.uint64, "vector-f64"),
        (np.bool_, "vector-bool"),
        (np.complex64, "vector-complex-f32"),
        (np.complex128, "vector-complex-f64"),
    ],
)
def test_other_dtypes(scratch: Path, dtype: Any, datatype: str) -> None:
    array = np.array([[0, 1, 7], [2, 3, 1]]).astype(dtype)
    with archive_of(scratch, features(array)) as archive:
        (block,) = archive.read_blocks("x")
    assert block.datatype == datatype
    assert np.array_equal(block.data, array)


@pytest.mark.parametrize(
    ("value", "datatype", "fits"),
    [
        (1 << 24, "f32", True),
        ((1 << 24) + 1, "f32", False),
        (1 << 60, "vector-f32", True),
        ((1 << 53) + 1, "f64", False),
        ((1 << 64) - 1, "vector-f64", False),
        ((1 << 53) + 1, "vector-complex-f64", False),
        (3, "vector-complex-f32", True),
    ],
)
def test_integers_are_not_rounded(value: int, datatype: str, fits: bool) -> None:
    array = np.full((1, 1) if "vector" in datatype else 1, value, np.uint64)
    with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="do not fit"):
        encode_features(array, datatype=datatype)


@pytest.mark.parametrize("value", [2**53, -(2**53)])
def test_large_integers(scratch: Path, value: int) -> None:
    with archive_of(scratch, features(np.array([value]))) as archive:
        assert archive.read("x") == [value]
    with pytest.raises(ValueError, match="2\\*\\*53"):
        encode_features(np.array([value + (1 if value > 0 else -1)]))


@pytest.mark.parametrize("shape", [(0,), (0, 4), (0, 0)])
def test_no_frames_are_no_bytes(shape: tuple[int, ...]) -> None:
    assert features(np.zeros(shape, np.float32)) == b""


@settings(max_examples=100)
@given(
    count=st.integers(0, 130),
    dim=st.integers(0, 5),
    gather=st.none() | st.integers(0, 60),
    data=st.data(),
)
def test_features_are_as_the_builder_writes_them(
    count: int, dim: int, gather: int | None, data: st.DataObject
) -> None:
    shift, length = data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
    array = np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)
    ours = features(array, frame_shift=shift, frame_length=length, gather=gather)
    assert ours == builder.features(array.tolist(), shift=shift, length=length, gather=gather)
    wide = array.astype(np.float64)
    assert features(wide, gather=gather, datatype="vector-f32") == builder.features(
        array.tolist(), gather=gather
    )
    assert features(array[::-1, ::-1]) == builder.features(array[::-1, ::-1].tolist())


@given(times=st.lists(st.tuples(st.floats(), st.floats()), max_size=5))
def test_times_are_stored_as_they_are(scratch: Path, times: list[tuple[float, float]]) -> None:
    expected = np.array(times, np.float64).reshape(-1, 2)
    with archive_of(scratch, features(np.zeros((len(times), 3)), expected)) as archive:
        assert archive.read_times("x").tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.zeros((2, 2, 2)), {}),
        (np.zeros(()), {}),
        (np.zeros(2, np.complex64), {}),
        (np.zeros((2, 2), np.longdouble), {}),
        (np.zeros((2, 2), object), {}),
        (np.zeros((2, 2)), {"datatype": "f32"}),
        (np.zeros(2), {"datatype": "vector-f32"}),
        (np.zeros((2, 2)), {"datatype": "string"}),
        (np.zeros((2, 2)), {"gather": -1}),
        (np.zeros((2, 2)), {"times": np.zeros((3, 2))}),
        (np.full((2, 2), 300), {"datatype": "vector-u8"}),
        (np.full((2, 2), np.nan), {"datatype": "vector-s16"}),
        (np.broadcast_to(np.float32(0), (1 << 20, 1100)), {}),
    ],
)
def test_features_that_are_none(array: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_features(array, **options)


# ---- alignments ------------------------------------------------------------------------------


@settings(max_examples=100)
@given(items=runs() | st.lists(st.tuples(TIMES, EMISSIONS), max_size=12))
def test_run_length_code_is_sprints(items: list[tuple[int, int]]) -> None:
    alignment = Alignment([time for time, _ in items], [emission for _, emission in items])
    assert encode_alignment(alignment) == builder.alignment_rle(items)


@pytest.mark.parametrize("count", [1, 2, 3, 128, 129])
def test_items_after_those_of_an_alignment_are_not_looked_at(count: int) -> None:
    """Parts of longer arrays, which go on as a run would."""
    times, emissions = np.arange(300, dtype=np.uint32), np.full(300, 7, np.uint32)
    alignment = Alignment(times[:count], emissions[:count])
    assert np.shares_memory(alignment.emission, emissions)
    assert encode_alignment(alignment) == builder.alignment_rle([(t, 7) for t in range(count)])


@settings(max_examples=100)
@given(
    items=st.lists(st.tuples(TIMES, EMISSIONS | ID, st.floats(width=32)), max_size=20),
    alphabet=st.none() | st.dictionaries(ID, st.text(max_size=5).map(str.strip), max_size=5),
)
def test_weighted_code_is_sprints(
    items: list[tuple[int, int, float]], alphabet: dict[int, str] | None
) -> None:
    try:
        raw = alphabet and {key: symbol.encode() for key, symbol in alphabet.items()}
    except UnicodeEncodeError:
        return
    columns = [list(column) for column in zip(*items, strict=True)] or [[], [], []]
    alignment = Alignment(*columns, alphabet=alphabet, weighted=True)
    magic = b"ALIGNRLE" if alphabet is None else b"AALPHRLE"
    tail = {} if alphabet == {} else raw
    expected = builder.alignment_weighted(items, magic=magic, alphabet=tail)
    assert encode_alignment(alignment) == expected


def test_packed_numbers_of_every_length() -> None:
    ids = [0, *(2**bits + delta for bits in (7, 14, 21, 28) for delta in (-1, 0)), 2**32 - 1]
    items = [(time, id_, 0.5) for time in ids for id_ in ids]
    alignment = Alignment(*(list(column) for column in zip(*items, strict=True)))
    assert encode_alignment(alignment) == builder.alignment_weighted(items)


def test_weights_are_never_lost(scratch: Path) -> None:
    alignment = Alignment([0], [1], [0.25], start=0, end=1, weighted=False)
    block = Block("flow-alignment", np.array([[0.0, 1.0]]), [alignment])
    with archive_of(scratch, b"".join(encode_blocks([block]))) as archive:
        assert archive.read_alignment("x").weight.tolist() == [0.25]


@pytest.mark.parametrize(
    "options", [{"label_type": "emission", "alphabet": {}}, {"alphabet": {-1: ""}}]
)
def test_alignments_that_cannot_be_stored(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_alignment(Alignment([], [], **options))


def test_long_entries_leak_no_memory() -> None:
    samples = np.zeros(1 << 20, np.float32)
    tracemalloc.start()
    try:
        encode_features(samples)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("weights", [None, 0.5])
def test_no_loop_over_frames(weights: float | None) -> None:
    """As many lines of Python are executed for 10,000 frames as for 1,000."""
    few, many = (
        Alignment(
            np.arange(count) // 3,
            np.arange(count),
            None if weights is None else np.full(count, weights),
        )
        for count in (1000, 10_000)  # numbers of up to two bytes
    )
    assert executed_lines(lambda: encode_alignment(few)) == executed_lines(
        lambda: encode_alignment(many)
    )


def executed_lines(call: Callable[[], object]) -> int:
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


# ---- attributes ------------------------------------------------------------------------------


@given(mapping=st.dictionaries(st.text("ab&<>\"'é-", max_size=4), st.text("ab&<>\"'é", max_size=4)))
def test_attributes_are_as_the_builder_writes_them(mapping: dict[str, str]) -> None:
    if sorted(mapping) == sorted(mapping, key=builder.xml_escaped):  # Sprint sorts before escaping
        assert render(mapping) == builder.attribs(mapping)
    assert attributes.parse(render(mapping)) == mapping


@given(mapping=st.dictionaries(TEXT, TEXT, max_size=4))
def test_attributes_come_back_or_are_refused(mapping: dict[str, str]) -> None:
    try:
        data = render(mapping)
    except ValueError:
        text = "".join([*mapping, *mapping.values()])
        assert any(char < " " for char in text)
        return
    assert attributes.parse(data) == mapping


def test_attributes_that_are_no_text() -> None:
    with pytest.raises(ValueError, match="not 16000"):
        render({"sample-rate": 16000})  # type: ignore[dict-item]


def test_attributes_are_sorted_and_escaped() -> None:
    mapping = {"frame-shift": "0.01", "datatype": "vector-f32", "a": "<&>\"'\udcff"}
    assert render(mapping) == (
        b'<flow-attributes><flow-attribute name="a" value="&lt;&amp;&gt;&quot;&apos;\xff"/>'
        b'<flow-attribute name="datatype" value="vector-f32"/>'
        b'<flow-attribute name="frame-shift" value="0.01"/></flow-attributes>'
    )
