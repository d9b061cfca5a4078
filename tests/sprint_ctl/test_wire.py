"""The wire: messages, both framings, memory files, deadlines, malformed bytes."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sprint_ctl import config
from sprint_ctl._pipe import pickle_framing
from sprint_ctl._pipe.json_framing import Unpacker
from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire
from sprint_ctl.errors import (
    PipeClosedError,
    SprintDiedError,
    SprintError,
    SprintProtocolError,
    SprintRequestError,
    SprintTimeoutError,
)

FUNCTIONS = [f for f in pickle_framing._FUNCTIONS.values() if isinstance(f, types.FunctionType)]
HEADER = struct.Struct("<4sIQQ")


def make_pair(version: int = 1, memory: bool = False) -> tuple[Wire, Wire]:
    (a, b), (c, d) = os.pipe(), os.pipe()
    ours: list[ArrayMemory | None] = [None, None]
    theirs: list[ArrayMemory | None] = [None, None]
    if memory:
        made = [ArrayMemory.create("test"), ArrayMemory.create("test")]
        ours = list(made)
        theirs = [ArrayMemory(os.dup(m.fd)) for m in reversed(made)]
    left = Wire(a, d, read_memory=ours[0], write_memory=ours[1])
    right = Wire(c, b, read_memory=theirs[0], write_memory=theirs[1])
    left.version = right.version = version
    return left, right


@pytest.fixture(params=["pickle", "json", "memory"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Wire, Wire]]:
    left, right = make_pair(1 if request.param == "pickle" else 2, request.param == "memory")
    yield left, right
    left.close()
    right.close()


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def carry(wires: tuple[Wire, Wire], message: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sends from another thread, since a pipe holds 1 MiB."""
    thread = threading.Thread(target=lambda: wires[0].send(message, deadline=soon()))
    thread.start()
    received = wires[1].receive(deadline=soon())
    thread.join()
    return received


class Raw:
    """A Wire at the end of two pipes whose other ends are bare."""

    def __init__(self) -> None:
        self.read, write = os.pipe()
        read, self.write = os.pipe()
        self.wire = Wire(read, write)

    def receive(self, data: bytes, *, close: bool = True) -> tuple[Any, ...]:
        os.write(self.write, data)
        if close:
            os.close(self.write)
            self.write = -1
        return self.wire.receive(deadline=soon(0.3))

    def close(self) -> None:
        self.wire.close()
        for fd in (self.read, self.write):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def raw() -> Iterator[Raw]:
    made = Raw()
    yield made
    made.close()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(
            type(b) is np.ndarray
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, (tuple, list)):
        return isinstance(b, (tuple, list)) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and a != a:
        return isinstance(b, float) and b != b
    return type(a) is type(b) and bool(a == b)


# ---- messages ----------------------------------------------------------------------------------

DTYPES = st.sampled_from(
    "|b1 |i1 |u1 <i2 >i2 <u2 <i4 <u4 >u4 <i8 <u8 <f2 <f4 >f4 <f8 <c8 <c16 |S3 <U2".split()  # noqa: SIM905
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_side=4, min_side=0))
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | ARRAYS
    | ARRAYS.map(np.transpose)
)
MESSAGES = st.lists(
    st.recursive(
        PLAIN,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
).map(tuple)


@pytest.mark.parametrize("kind", ["pickle", "json", "memory"])
def test_messages_arrive_unchanged(kind: str) -> None:
    wires = make_pair(1 if kind == "pickle" else 2, kind == "memory")

    @settings(max_examples=60)
    @given(MESSAGES)
    def check(message: tuple[Any, ...]) -> None:
        wires[0].send(message, deadline=soon())
        received = wires[1].receive(deadline=soon())
        assert type(received) is tuple
        assert same(message, received)

    check()
    for wire in wires:
        wire.close()


def test_large_arrays_of_any_strides_keep_their_layout(pair: tuple[Wire, Wire]) -> None:
    batch = np.arange(900 * 3 * 500, dtype=np.float32).reshape(900, 3, 500)
    cut = batch[:800, 1]
    *_, first, second, third = carry(pair, ("loss", cut, cut.T, batch[::-2, 0, ::3]))
    assert np.array_equal(first, cut)
    assert first.flags.c_contiguous
    assert np.array_equal(second, cut.T)
    assert second.flags.f_contiguous
    assert np.array_equal(third, batch[::-2, 0, ::3])
    assert all(a.flags.writeable and a.flags.aligned for a in (first, second, third))


def test_empty_arrays_come_first(pair: tuple[Wire, Wire]) -> None:
    """Before anything else, when a memory file has no pages yet."""
    received = carry(pair, (np.zeros((0, 3), np.float32), np.zeros((2, 0), order="F")))
    assert [array.shape for array in received] == [(0, 3), (2, 0)]


def test_messages_that_come_at_once_are_taken_apart(pair: tuple[Wire, Wire]) -> None:
    sizes = 1, 900, 1100, 5000  # around the size of one read
    for size in sizes:
        pair[0].send(("x" * size,), request_id=size, deadline=soon())
    for size in sizes:
        assert pair[1].has_data()
        assert pair[1].receive(deadline=soon()) == ("x" * size,)
        assert pair[1].received_id in (None, size)
    assert not pair[1].has_data()


def test_a_message_that_contains_itself_is_not_sent(pair: tuple[Wire, Wire]) -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="contains itself"):
        pair[0].send(("x", circle))
    assert carry(pair, ("next",)) == ("next",)


def test_more_arrays_than_one_call_writes(pair: tuple[Wire, Wire]) -> None:
    received = carry(pair, tuple(np.full(3, i) for i in range(3000)))
    assert [array[2] for array in received] == list(range(3000))


def test_scalars_of_numpy_arrive_as_those_of_python(pair: tuple[Wire, Wire]) -> None:
    message = (np.float32(0.5), np.int64(3), np.str_("name"), np.bool_(True), np.float64(2.0))
    received = carry(pair, message)
    assert received == (0.5, 3, "name", True, 2.0)
    assert [type(x) for x in received] == [float, int, str, bool, float]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        np.array([object()]),
        np.zeros(2, "i4,f4"),
        np.array([1], "M8[s]"),
        1j,
        {1: 2},
        [{"a": {None: 0}}],
    ],
    ids=["object", "set", "objects", "structure", "date", "complex", "int key", "inner key"],
)
def test_nothing_else_is_sent(pair: tuple[Wire, Wire], value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        pair[0].send(("x", value))
    assert carry(pair, ("next",)) == ("next",)


def test_a_memory_file_grows_and_is_reused() -> None:
    pair = make_pair(2, memory=True)
    seen = []
    for size in (10, 3_000_000, 5):
        (array,) = carry(pair, (np.arange(size, dtype=np.float32),))
        assert array[-1] == size - 1
        seen.append(array)
    assert seen[0][0] == 0  # a view of the first mapping is still readable
    assert not pair[1].has_data()
    for wire in pair:
        wire.close()
    assert seen[1][-1] == 2_999_999


def test_request_ids_and_the_mix_of_framings(pair: tuple[Wire, Wire]) -> None:
    left, right = pair
    left.version = 2
    left.send(("a",), request_id=2**63 + 1)
    left.version = 1
    left.send(("b", np.zeros(3)))
    left.send(("c",))
    left.version = 2
    left.send(("d",), request_id=7)
    received = []
    while right.has_data():
        received.append((right.receive(deadline=soon())[0], right.received_id))
    assert received == [("a", 2**63 + 1), ("b", None), ("c", None), ("d", 7)]


# ---- the pickle framing, against RETURNN's bytes ------------------------------------------------


def pickle_framed(body: bytes) -> bytes:
    return struct.pack("<i", len(body)) + body


def test_a_plain_unpickler_reads_our_pickles(raw: Raw) -> None:
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    raw.wire.send(("ok", 1.5, array, np.int32(2)))
    data = os.read(raw.read, 1 << 16)
    assert struct.unpack("<i", data[:4]) == (len(data) - 4,)
    status, loss, copy, number = pickle.loads(data[4:])
    assert (status, loss, number) == ("ok", 1.5, 2)
    assert np.array_equal(copy, array)
    assert copy.dtype == np.float32
    assert copy.flags.writeable
    assert b"core" not in data  # no module of numpy that was renamed


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("renamed", [False, True])
def test_pickles_of_numpy_are_read(raw: Raw, protocol: int, renamed: bool) -> None:
    arrays = (
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.array(["ab", "c"]),
        np.float32(2.5),
        np.dtype("<u4"),
    )
    body = pickle.dumps(arrays, protocol)
    if renamed:  # the other name of the same module, whichever numpy this is
        old, new = b"numpy._core.multiarray", b"numpy.core.multiarray"
        assert old in body or new in body
        body = body.replace(b"\x16" + old, b"\x15" + new).replace(b"c" + old, b"c" + new)
        if protocol >= 4:  # drop the frame, whose length has changed
            body = body[:2] + body[11:]
    received = raw.receive(pickle_framed(body))
    assert same(list(received)[:3], list(arrays)[:3])
    assert received[3:] == (2.5, "<u4")  # a dtype arrives as its name


def test_arrays_pickled_by_returnn_are_read(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "returnn.util.task_system"
    module = types.ModuleType(name)

    def make_numpy_ndarray_fromstring(*arguments: Any) -> None:
        raise AssertionError(arguments)

    make_numpy_ndarray_fromstring.__module__ = name
    make_numpy_ndarray_fromstring.__qualname__ = "make_numpy_ndarray_fromstring"
    module.make_numpy_ndarray_fromstring = make_numpy_ndarray_fromstring  # type: ignore[attr-defined]
    for parent in ("returnn", "returnn.util"):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, name, module)
    array = np.arange(12, dtype=np.float32).reshape(3, 4)

    class Pickled:
        def __reduce__(self) -> tuple[Any, ...]:
            return make_numpy_ndarray_fromstring, (array.tobytes(), "float32", array.shape)

    body = pickle.dumps(("get_loss_and_error_signal", "seg", np.int32(3), Pickled()), 5)
    received = raw.receive(pickle_framed(body))
    assert received[:3] == ("get_loss_and_error_signal", "seg", 3)
    assert same(received[3], array)
    assert received[3].flags.writeable


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def function(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


# each tuple holds the one before twice: 2**60 parts when written out
PAIRS = b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))
NDARRAY = function("numpy", "ndarray")
COMPLEX_SCALAR = (
    function("numpy._core.multiarray", "scalar") + short("<c8") + b"C\x08" + bytes(8) + b"\x86R"
)
MALFORMED_PICKLES = {
    "a later protocol": b"\x80\x06N\x85.",
    "a later protocol in the middle": b"\x80\x05\x80\x08N\x85.",
    "a deep tuple as key": b"\x80\x05}" + b")" + b"\x85" * 1_000_000 + b"Ns\x85.",
    "a deep tuple": b"\x80\x05" + b")" + b"\x85" * 1_000_000 + b".",
    "a deep list": b"\x80\x05)" + b"]" * 100 + b"a" * 99 + b"\x85.",
    "pairs of pairs": b"\x80\x05" + PAIRS + b".",
    "pairs of pairs as key": b"\x80\x05}" + PAIRS + b"Ns\x85.",
    "pairs of pairs as dtype": b"\x80\x05" + function("numpy", "dtype") + PAIRS + b"\x85R\x85.",
    "pairs of pairs as shape": b"\x80\x05" + NDARRAY + PAIRS + short("f4") + b"C\x00\x87R\x85.",
    "a key of int": b"\x80\x05}K\x01Ns\x85.",
    "keys of int": b"\x80\x05}(K\x01NK\x02Nu\x85.",
    "a key of bytes": b"\x80\x05}C\x01aNs\x85.",
    "a text many times": b"\x80\x05(B\x00\x00\x10\x00"
    + bytes(1 << 20)
    + b"q\x00"
    + b"h\x00" * 9
    + b"t.",
    "an array made many times": b"\x80\x05(B\x00\x00\x10\x00"
    + bytes(1 << 20)
    + b"q\x00"
    + function("builtins", "bytearray")
    + b"q\x01"
    + b"h\x01h\x00\x85R" * 9
    + b"t.",
    "many items": b"\x80\x05(" + b"N" * (1 << 20) + b"t.",
    "BUILD on a function": b"\x80\x05"
    + NDARRAY
    + b"N}"
    + short("__defaults__")
    + b"K\x00N"
    + short("F")
    + b"\x87s\x86b\x85.",
    "BUILD on a list": b"\x80\x05]}b\x85.",
    "a complex scalar": b"\x80\x05" + COMPLEX_SCALAR + b"\x85.",
    "text with an escape": b"\x80\x05S'\\u'\n\x85.",
    "a module with an escape": b"\x80\x02c\\umpy\nndarray\n)R\x85.",
    "a function as value": b"\x80\x05" + NDARRAY + b"\x85.",
    "a dtype without size": b"\x80\x05" + NDARRAY + b"K\x05\x85" + short("S0") + b"C\x00\x87R\x85.",
    "a dtype of a gigabyte": b"\x80\x05"
    + NDARRAY
    + b"K\x00\x85"
    + short("U999999999")
    + b"C\x00\x87R\x85.",
    "no mark": b"\x80\x05t.",
    "two values": b"\x80\x05)).",
    "a function": pickle.dumps((Evil(),)),
    "an array larger than its bytes": pickle.dumps((1,))[:2]
    + b"(cnumpy\nndarray\n(\x8a\x06\x00\x00\x00\x00\x00\x01\x85X\x02\x00\x00\x00f4C\x01atRt.",
    "a memo index": b"\x80\x04)r\xff\xff\xff\x7f.",
    "a bytearray of a terabyte": b"\x80\x05\x96\x00\x00\x00\x00\x00\x01\x00\x00.",
    "bytes beyond the end": b"\x80\x04\x8e\x00\x00\x00\x00\x00\x01\x00\x00abc.",
    "objects": pickle.dumps((np.array([None]),)),
    "no tuple": pickle.dumps([1]),
    "a class": pickle.dumps((Raw,)),
    "an array made empty": b"\x80\x02(cnumpy.core.multiarray\n_reconstruct\n)Rt.",
    "text": b"\x80this is no pickle",
    "nested": b"\x80\x04" + b"(" * 100_000 + b"t" * 100_000 + b".",
    "itself": b"\x80\x04]\x94h\x00a\x85.",
}


@pytest.mark.parametrize("name", MALFORMED_PICKLES)
def test_malformed_pickles(raw: Raw, name: str) -> None:
    threading.Thread(
        target=os.write, args=(raw.write, pickle_framed(MALFORMED_PICKLES[name]))
    ).start()
    with pytest.raises(SprintProtocolError, match="expected"):
        raw.wire.receive(deadline=soon(60))


# ---- the JSON framing, byte by byte -------------------------------------------------------------


def json_framed(text: bytes, payload: bytes = b"", size: int | None = None) -> bytes:
    size = len(payload) if size is None else size
    return HEADER.pack(b"SPR2", len(text), 5, size) + text + payload


def test_the_bytes_of_the_json_framing(raw: Raw) -> None:
    raw.wire.version = 2
    array = np.array([[1, 2], [3, 4]], "<u2")
    raw.wire.send(("ok", 0.5, array.T, b"\xff"), request_id=9)
    text = b'["ok",0.5,{"__array__":["<u2",[2,2],"F",null]},{"__bytes__":"\\u00ff"}]'
    assert os.read(raw.read, 1000) == HEADER.pack(b"SPR2", len(text), 9, 8) + text + array.tobytes()


MALFORMED_MESSAGES = {
    "no JSON": json_framed(b"invalid"),
    "no list": json_framed(b'{"a":1}'),
    "no text": json_framed(b"\xff\xfe"),
    "nested": json_framed(b"[" * 200_000),
    "bytes of a number": json_framed(b'[{"__bytes__":3}]'),
    "array without facts": json_framed(b'[{"__array__":[]}]'),
    "array of objects": json_framed(b'[{"__array__":["|O",[1],"C",null]}]', b"12345678"),
    "array of negative size": json_framed(b'[{"__array__":["<f4",[-1],"C",null]}]'),
    "array of halves": json_framed(b'[{"__array__":["<f4",[0.5],"C",null]}]'),
    "array in no order": json_framed(b'[{"__array__":["<f4",[1],"A",null]}]', b"1234"),
    "array in no memory file": json_framed(b'[{"__array__":["<f4",[1],"C",0]}]'),
    "array of a terabyte": json_framed(
        b'[{"__array__":["<f4",[274877906944],"C",null]}]', size=1 << 35
    ),
    "array beyond the payload": json_framed(b'[{"__array__":["<f4",[2],"C",null]}]', b"1234"),
    "payload beyond the array": json_framed(b'[{"__array__":["<f4",[1],"C",null]}]', b"12345678"),
    "array of long text": json_framed(b'[{"__array__":["U999999999",[1],"C",null]}]'),
    "array of no size": json_framed(b'[{"__array__":["S0",[64000000],"C",null]}]'),
    "array of an axis beyond 64 bits": json_framed(
        b'[{"__array__":["<f4",[0,%d],"C",null]}]' % 2**70
    ),
    "array of a nested type": json_framed(
        b'[{"__array__":[' + b"[" * 99 + b"]" * 99 + b',[1],"C",null]}]'
    ),
    "a list of a hundred levels": json_framed(b"[" * 100 + b"]" * 100),
    "a dict of a hundred levels": json_framed(b"[" + b'{"a":' * 100 + b"0" + b"}" * 100 + b"]"),
    "a number of a million digits": json_framed(b"[" + b"1" * 1_000_000 + b"]"),
    "text of 4 GiB": HEADER.pack(b"SPR2", 2**32 - 1, 0, 0),
    "arrays of 2**63 bytes": HEADER.pack(b"SPR2", 10, 0, 2**63),
    "a length below zero": struct.pack("<i", -5),
    "a length of zero": struct.pack("<i", 0),
    "log lines": b"<info>this is Sprint's stdout</info>\n",
}


@pytest.mark.parametrize("name", MALFORMED_MESSAGES)
def test_malformed_messages(raw: Raw, name: str) -> None:
    threading.Thread(target=os.write, args=(raw.write, MALFORMED_MESSAGES[name])).start()
    with pytest.raises(SprintProtocolError, match=r"expected.*found"):
        raw.wire.receive(deadline=soon(5))


@pytest.mark.parametrize("offset", [-64, 1, 64, 1 << 62, "0", 0.0, True])
def test_offsets_outside_of_the_memory_file(offset: Any) -> None:
    left, right = make_pair(2, memory=True)
    left.send((np.zeros(16, np.float32),))
    right.receive(deadline=soon())
    import json

    text = json.dumps([{"__array__": ["<f4", [1 << 20], "C", offset]}]).encode()
    os.write(left._write_fd, json_framed(text))
    with pytest.raises(SprintProtocolError):
        right.receive(deadline=soon())
    left.close()
    right.close()


def num_levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return (
        1 + max(map(num_levels, inner), default=0) if isinstance(value, (tuple, list, dict)) else 0
    )


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
ARGUMENTS = [
    b"K\x00",
    b"N",
    b")",
    b"(",
    b"]",
    b"}",
    short("a"),
    short("<f4"),
    b"C\x04abcd",
    b"\x94",
    b"h\x00",
    b"\x85",
    b"R",
    b"b",
    *(function(*names) for names in pickle_framing._FUNCTIONS),
]
PICKLES = [
    pickle.dumps(("data", ("a", np.eye(2, dtype=np.float32), {"x": np.arange(3)})), protocol)[2:]
    for protocol in (2, 4, 5)
]
PIECES = st.lists(
    st.sampled_from(ARGUMENTS) | st.sampled_from(OPCODES) | st.binary(max_size=3), max_size=30
)
MUTATED = st.tuples(st.sampled_from(PICKLES), st.integers(0, 400), st.integers(0, 9), PIECES).map(
    lambda parts: parts[0][: parts[1]] + b"".join(parts[3][:3]) + parts[0][parts[1] + parts[2] :]
)


@settings(max_examples=100)
@given(PIECES.map(b"".join) | MUTATED)
@example(function("numpy", "dtype") + short("<f4") + b"\x85R")
@example(COMPLEX_SCALAR)
@example(b"c\\umpy\nndarray\n")
@example(b"S'\\u'\n")
@example(b"L" + b"9" * 5000 + b"L\n")
def test_any_opcodes_are_a_message_or_a_typed_error(data: bytes) -> None:
    body = b"\x80\x05" + data + b"\x85."
    before = [function.__defaults__ for function in FUNCTIONS]
    try:
        message = pickle_framing.loads(body)
    except SprintProtocolError as error:
        text = str(error)
    else:
        text = ""
        assert num_levels(message) <= 34
        assert len(repr(message)) < 40 * len(body) + 2000
        pickle_framing.dumps(message)
    assert len(text) < 2000
    assert [function.__defaults__ for function in FUNCTIONS] == before


JSON_PIECES = st.lists(
    st.sampled_from(
        [
            *'[ ] { } , : "a" "__array__" "__bytes__" null 0 1 -1 1e9 NaN'.split(),  # noqa: SIM905
            *'"<f4" "S0" "U99999999" "C" "F" [2] [0]'.split(),  # noqa: SIM905
            '{"__array__":["<f4",[1],"C",null]}',
            '{"__array__":[',
            '{"__bytes__":',
        ]
    ),
    max_size=20,
)


@settings(max_examples=100)
@given(JSON_PIECES, st.integers(0, 64))
def test_any_json_is_a_message_or_a_typed_error(pieces: list[str], payload: int) -> None:
    try:
        _, arrays = Unpacker(None).unpack(f"[{''.join(pieces)}]".encode(), payload)
    except SprintProtocolError as error:
        text = str(error)
    else:
        text = ""
        assert sum(array.nbytes for array in arrays) == payload
    assert len(text) < 2000


@settings(max_examples=60)
@given(MESSAGES.filter(lambda message: b"numpy" not in pickle.dumps(message)), st.integers(2, 5))
def test_plain_pickles_are_read_as_pickle_reads_them(
    message: tuple[Any, ...], protocol: int
) -> None:
    body = pickle.dumps((message, message, list(message)), protocol)
    assert same(pickle_framing.loads(body), pickle.loads(body))


def test_a_long_pickle_is_given_up_at_the_deadline() -> None:
    body = b"\x80\x05(" + b"N" * 100_000 + b"t."
    assert pickle_framing.loads(body, soon()) == (None,) * 100_000
    with pytest.raises(SprintTimeoutError):
        pickle_framing.loads(body, time.monotonic() - 1)


def test_equal_values_share_no_container() -> None:
    inner = [1]
    first_copy, second_copy = pickle_framing.loads(pickle.dumps((inner, inner)))
    first_copy.append(2)
    assert second_copy == [1]


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from(["bare", "pickle", "json"]))
def test_any_bytes_are_a_message_or_a_typed_error(data: bytes, framing: str) -> None:
    raw = Raw()
    frame = {
        "bare": bytes,
        "pickle": lambda data: pickle_framed(b"\x80\x04" + data),
        "json": json_framed,
    }[framing]
    try:
        assert isinstance(raw.receive(frame(data)), tuple)
    except (SprintProtocolError, PipeClosedError):
        pass
    finally:
        raw.close()


# ---- closed pipes and deadlines ----------------------------------------------------------------


@pytest.mark.parametrize(
    "whole", [pickle_framed(b"\x80\x04" + b"N" * 996 + b"."), json_framed(b"[" + b" " * 99)]
)
def test_half_a_message_is_an_error(raw: Raw, whole: bytes) -> None:
    with pytest.raises(
        PipeClosedError, match=r"in the middle of a message: expected .* found"
    ) as e:
        raw.receive(whole[:30])
    assert isinstance(e.value, (SprintProtocolError, EOFError))


def test_half_a_message_that_stays_half(raw: Raw) -> None:
    with pytest.raises(SprintTimeoutError, match="expected 999 bytes, found 6 bytes"):
        raw.receive(pickle_framed(b"\x80" * 999)[:10], close=False)


def test_no_message_and_no_reader(raw: Raw) -> None:
    with pytest.raises(TimeoutError):
        raw.wire.receive(deadline=soon(0.05))
    os.close(raw.read)
    raw.read = -1
    with pytest.raises(PipeClosedError, match="has closed the pipe"):
        raw.wire.send(("x",))
    with pytest.raises(EOFError):
        raw.receive(b"")


def test_a_receiver_stays_awake_only_where_messages_come_soon(
    raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    monkeypatch.setattr("sprint_ctl._pipe.wire._SPIN_SECONDS", 0.1)
    monkeypatch.setattr(os, "sched_yield", lambda: looks.append(None))
    body = pickle.dumps(("ok",))
    message = struct.pack("<i", len(body)) + body

    def later() -> None:
        time.sleep(0.3)
        os.write(raw.write, message)

    def receive_late() -> None:
        thread = threading.Thread(target=later)
        thread.start()
        assert raw.wire.receive(deadline=soon()) == ("ok",)
        thread.join()

    receive_late()
    assert not looks
    assert raw.receive(message, close=False) == ("ok",)
    assert not looks  # it was there
    receive_late()
    assert looks
    looks.clear()
    receive_late()
    assert not looks
    raw.receive(message, close=False)
    with pytest.raises(SprintTimeoutError):
        raw.wire.receive(deadline=soon(0.05))
    raw.receive(message, close=False)
    with pytest.raises(PipeClosedError):
        raw.receive(b"")


@pytest.mark.parametrize("version", [1, 2])
def test_a_reader_that_does_not_read(raw: Raw, version: int) -> None:
    raw.wire.version = version
    with pytest.raises(SprintTimeoutError):
        raw.wire.send(("x", np.zeros(10_000_000, np.uint8)), deadline=soon(0.05))


@pytest.mark.parametrize("by", ["descriptor", "question"])
def test_the_end_of_the_process_is_seen_where_the_pipe_stays_open(by: str) -> None:
    (a, b), (c, d) = os.pipe(), os.pipe()
    stop_read, stop_write = os.pipe()
    alive = [True]
    watch: dict[str, Any] = {"process_fd": stop_read}
    if by == "question":
        watch = {"is_alive": lambda: alive[0]}
    wire = Wire(a, d, **watch)

    def end() -> None:
        os.write(b, pickle_framed(pickle.dumps(("last words",))))
        alive[0] = False
        os.write(stop_write, b"x")

    threading.Timer(0.1, end).start()
    assert wire.receive(deadline=soon()) == ("last words",)
    with pytest.raises(PipeClosedError, match="process at the other end has ended"):
        wire.receive(deadline=soon())
    wire.close()
    for fd in (b, c, stop_read, stop_write):
        os.close(fd)


# ---- errors and configuration ------------------------------------------------------------------


def test_errors_keep_their_facts_and_survive_pickling() -> None:
    error = SprintDiedError("Sprint ended by SIGKILL", request="loss", segment="a/b")
    error.command, error.pid, error.returncode, error.signal = (
        ["sprint", "--x=y"],
        12,
        -9,
        "SIGKILL",
    )
    error.stderr_tail = "first\nlast\n"
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    for fact in ("SIGKILL", "'a/b'", "sprint --x=y", "12", "last", "loss"):
        assert fact in str(again)
    assert isinstance(again, EOFError)
    assert (again.pid, again.signal, again.segment) == (12, "SIGKILL", "a/b")
    for kind in (SprintTimeoutError, SprintRequestError, PipeClosedError):
        other = pickle.loads(pickle.dumps(kind("why", expected=1, found=2)))
        assert str(other) == "why: expected 1, found 2"
        assert isinstance(other, SprintError)


def test_configuration_strings() -> None:
    pairs = config.parse_config("c2p_fd:3,file:/a:b,,x:")
    assert pairs == {"c2p_fd": "3", "file": "/a:b", "x": ""}
    assert config.parse_config(config.format_config(pairs)) == pairs
    for bad in ({"a": "1,2"}, {"a:b": 1}, {"a,b": 1}):
        with pytest.raises(ValueError, match="cannot be part of"):
            config.format_config(bad)
    with pytest.raises(ValueError, match="not key:value"):
        config.parse_config("a:b,c")
    assert [config.to_bool(x) for x in ("True", "0", "no", "yes")] == [True, False, False, True]


# ---- limits, exactly -----------------------------------------------------------------------------


def nested(depth: int, kind: str) -> Any:
    """A value in `depth` containers."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if kind == "dict" else [value] if kind == "list" else (value,)
    return value


@pytest.mark.parametrize("kind", ["dict", "list", "tuple"])
def test_nesting_of_sent_values_is_limited(kind: str) -> None:
    """The tuple of the message does not count; what is sent is also read."""
    sent = [depth for depth in range(50) if is_sent(nested(depth, kind))]
    assert sent == list(range(33))
    assert not is_sent(nested(900, kind))
    loop: list[Any] = []
    loop.append({"a": loop})
    assert not is_sent(loop)


def is_sent(value: Any) -> bool:
    try:
        body = pickle_framing.dumps((value,))
    except ValueError as error:
        if "contains itself, or nests deeper than" not in str(error):
            raise
        return False
    assert pickle_framing.loads(body) == pickle.loads(body) == (value,)
    return True


@pytest.mark.parametrize(("ndim", "is_read"), [(31, True), (32, True), (33, False), (64, False)])
def test_the_number_of_axes_is_limited(ndim: int, is_read: bool) -> None:
    shape = ",".join(["1"] * ndim)
    text = f'["ok",{{"__array__":["<f4",[{shape}],"C",null]}}]'.encode()
    if is_read:
        (_, array), (payload,) = Unpacker(None).unpack(text, 4)
        assert array.shape == (1,) * ndim
        assert payload.nbytes == 4
    else:
        with pytest.raises(SprintProtocolError, match="array of shape"):
            Unpacker(None).unpack(text, 4)
