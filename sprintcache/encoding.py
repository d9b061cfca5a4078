"""From arrays to the bytes that Sprint writes: blocks, features, alignments, attributes.

Pure functions, the inverse of `Archive.read_blocks` and its like; the bytes are those of the
archive format, sections 6 and 7. A payload is a list of parts, bytes or views of fresh arrays, that
follow each other, so that the writer needs no copy of the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .alignment import Alignment
from .entries import Block

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[Any]

__all__ = ["Part", "encode_alignment", "encode_blocks", "encode_features", "render"]

Part = bytes | memoryview

SIZE_LIMIT = 1 << 32  # sizes of entries are u32
_WEIGHTED = 0x80000002  # the scheme and its version that Sprint writes: float32 weights

_DTYPES = {
    "f32": "<f4",
    "f64": "<f8",
    "vector-u8": "u1",
    "vector-s8": "i1",
    "vector-u16": "<u2",
    "vector-s16": "<i2",
    "vector-u32": "<u4",
    "vector-f32": "<f4",
    "vector-f64": "<f8",
    "vector-bool": "?",
    "vector-complex-f32": "<c8",
    "vector-complex-f64": "<c16",
}
_SCALARS = ("f32", "f64")
_ONLY_TIMES = ("timestamp", "linear-filter-parameter")

# numpy's kind and size -> the element of the vector, the scalar; what Sprint does not know is
# stored as the smallest float that holds it
_FITTING = {
    "f2": ("f32", "f32"),
    "f4": ("f32", "f32"),
    "f8": ("f64", "f64"),
    "b1": ("bool", "f32"),
    "i1": ("s8", "f32"),
    "u1": ("u8", "f32"),
    "i2": ("s16", "f32"),
    "u2": ("u16", "f32"),
    "i4": ("f64", "f64"),
    "u4": ("u32", "f64"),
    "i8": ("f64", "f64"),
    "u8": ("f64", "f64"),
    "c8": ("complex-f32", None),
    "c16": ("complex-f64", None),
}


# ---- features


def encode_features(
    features: ArrayLike,
    times: ArrayLike | None = None,
    *,
    frame_shift: float = 0.01,
    frame_length: float = 0.025,
    datatype: str | None = None,
    gather: int | None = None,
) -> list[Part]:
    """The payload of a feature entry.

    Args:
        features: (T, D) for a ``vector-`` datatype, (T,) for scalars; of any numeric dtype.
        times: (T, 2) start and end in seconds; None: starts are the running sum of `frame_shift`,
            as in Sprint, ends are `frame_length` later.
        datatype: Sprint's name; None: by dtype and number of dimensions. One that is named may
            round floats, but never changes integers.
        gather: Sprint's parameter: blocks of ``gather + 1`` packets; None: one block.

    Returns:
        the payload; empty where T is 0, as Sprint has it.

    Raises:
        ValueError: if shapes or values do not fit, or the entry would have 4 GiB.
    """
    array = np.asarray(features)
    if array.ndim not in (1, 2):
        raise ValueError(f"features must be (T, D) or (T,), not {array.shape}")
    datatype = _fitting(array) if datatype is None else datatype
    if datatype not in _DTYPES or (datatype in _SCALARS) == (array.ndim == 2):
        raise ValueError(f"features of shape {array.shape} cannot be stored as {datatype!r}")
    if gather is not None and gather < 0:
        raise ValueError(f"gather must be 0 or more, not {gather}")
    count = len(array)
    step = count if gather is None else gather + 1
    width = 20 + array[:1].size * np.dtype(_DTYPES[datatype]).itemsize
    if count * width >= SIZE_LIMIT:
        raise ValueError(f"features of {count * width} bytes: an entry must be below 4 GiB")
    if times is None:
        made = _made_times(frame_shift, frame_length, 1 << count.bit_length())[:count]
    else:
        made = _times(times, count)
    packets = _packets(datatype, array, made)
    parts: list[Part] = []
    for at in range(0, count, max(step, 1)):
        chunk = packets[at : at + step]
        parts += _head(datatype, len(chunk)), _view(chunk)
    return parts


@lru_cache(maxsize=8)
def _made_times(frame_shift: float, frame_length: float, count: int) -> NDArray[np.float64]:
    """(count, 2) times; those of fewer frames are their beginning."""
    times = np.zeros((count, 2))
    np.cumsum(np.full(count - 1, frame_shift), out=times[1:, 0])
    times[:, 1] = times[:, 0] + frame_length
    return times


def _fitting(array: Array) -> str:
    """The datatype for an array."""
    found = _FITTING.get(array.dtype.str[1:])
    name = found and found[array.ndim != 2]
    if name is None:
        what = "scalar" if array.ndim == 1 else "vector"
        raise ValueError(f"Sprint has no {what} datatype that holds {array.dtype}")
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        least, most = int(array.min()), int(array.max())
        if max(-least, most) > 1 << 53:
            raise ValueError(
                f"integers between {least} and {most}: Sprint's widest number, f64, holds those"
                " up to 2**53"
            )
    return name if array.ndim == 1 else f"vector-{name}"


def _converted(values: ArrayLike, dtype: str, what: str) -> Array:
    """The values in this dtype; floats may be rounded, integers must stay what they are."""
    array, wanted = np.asarray(values), np.dtype(dtype)
    if array.dtype == wanted:
        return array
    if array.size == 0:
        return np.empty(array.shape, wanted)
    if array.dtype.kind not in "biufc" or (array.dtype.kind == "c" and wanted.kind != "c"):
        raise ValueError(f"{array.dtype} cannot be stored as {what}")
    with np.errstate(all="ignore"):
        result = array.astype(wanted)
        if wanted.kind in "biu":
            kept = np.array_equal(result, array)
        else:
            kept = np.array_equal(np.isfinite(result), np.isfinite(array))
    if not kept:
        raise ValueError(f"values of this {array.dtype} array do not fit {what}")
    return result


def _times(times: ArrayLike | None, count: int) -> NDArray[np.float64]:
    array = np.asarray(times, np.float64) if times is not None else np.empty(())
    if array.shape != (count, 2):
        raise ValueError(f"times must be ({count}, 2), one start and end per packet")
    return array


def _packets(datatype: str, data: ArrayLike, times: NDArray[np.float64]) -> Array:
    """Packets of one size, as an array of records that lie as in the file."""
    dtype = _DTYPES[datatype]
    array = _converted(data, dtype, datatype)
    if dtype == "?":
        array, dtype = np.negative(array.view(np.uint8)), "u1"  # true is FF
    scalar = datatype in _SCALARS
    packets = np.empty(len(array), _record(dtype, array.shape[1:], scalar))
    if not scalar:
        packets["size"] = array.shape[1]
    packets["data"] = array
    packets["times"] = times
    return packets


@lru_cache(maxsize=64)
def _record(dtype: str, shape: tuple[int, ...], scalar: bool) -> np.dtype[np.void]:
    fields: list[Any] = [("data", dtype, shape), ("times", "<f8", (2,))]
    return np.dtype(fields if scalar else [("size", "<u4"), *fields])


# ---- blocks


def encode_blocks(blocks: Iterable[Block]) -> list[Part]:
    """The payload of an entry from what `Archive.read_blocks` gives, byte for byte.

    What reading does not keep is written as Sprint writes it: a stored bool that was neither 00 nor
    FF, and weighted alignments of versions 0 and 1.

    Raises:
        ValueError: if a block is not what `Block` describes.
    """
    parts: list[Part] = []
    for block in blocks:
        parts += [_head(block.datatype, len(block.data)), *_block_packets(block)]
    return parts


def _block_packets(block: Block) -> list[Part]:
    """The packets of a block, without its head."""
    datatype, data = block.datatype, block.data
    if datatype == "windowing-fir-filter-parameter":
        return [part for pairs in data for part in _counted(_converted(pairs, "<f8", datatype))]
    times = _times(block.times, len(data))
    if datatype in _ONLY_TIMES:
        return [_view(times)]
    if datatype in _DTYPES:
        if isinstance(data, np.ndarray):
            if data.ndim != (1 if datatype in _SCALARS else 2):
                raise ValueError(f"data of shape {data.shape} in a block of {datatype}")
            return [_view(_packets(datatype, data, times))]
        return [
            _view(_packets(datatype, np.asarray(row)[None], times[i : i + 1]))
            for i, row in enumerate(data)
        ]
    if datatype not in _BODIES:
        raise ValueError(f"Sprint's caches have no datatype {datatype!r}")
    parts: list[Part] = []
    for body, pair in zip(data, times, strict=True):
        stamp = struct.pack("<dd", *pair)
        if datatype == "aggregate":
            parts += [b"\xff" if isinstance(body, Block) else b"\0", stamp, *_members(body)]
        elif datatype == "aggregate-vector-f32":
            parts += [stamp, *_vectors(body)]
        else:
            parts += [*_BODIES[datatype](body), stamp]
    return parts


def _members(body: Block | Sequence[Block]) -> list[Part]:
    """What an aggregate holds: a block, or packets that each have their datatype in front."""
    if isinstance(body, Block):
        return encode_blocks([body])
    parts: list[Part] = [struct.pack("<I", len(body))]
    for block in body:
        if len(block.data) != 1:
            raise ValueError(f"a block of {len(block.data)} packets in an aggregate of several")
        parts += [_string(block.datatype), *_block_packets(block)]
    return parts


def _vectors(body: Block) -> list[Part]:
    if body.datatype != "vector-f32":
        raise ValueError(f"a block of {body.datatype} where vector-f32 belongs")
    return [struct.pack("<I", len(body.data)), *_block_packets(body)]


def _coefficients(body: ArrayLike) -> list[Part]:
    array = _converted(body, "<f4", "autoregressive-coefficients")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"autoregressive-coefficients are (1 + n,), not {array.shape}")
    return [array[:1].tobytes(), *_counted(array[1:])]


def _matrix(body: ArrayLike, dtype: str) -> list[Part]:
    array = _converted(body, dtype, "a matrix of this type")
    if array.ndim != 2:
        raise ValueError(f"a matrix is (R, C), not {array.shape}")
    rows = np.empty(len(array), [("size", "<u4"), ("data", array.dtype, array.shape[1:])])
    rows["size"] = array.shape[1]
    rows["data"] = array
    return [struct.pack("<III", len(array), array.shape[1], len(array)), _view(rows)]


_BODIES: dict[str, Any] = {
    "string": lambda body: [_string(body)],
    "matrix-f32": lambda body: _matrix(body, "<f4"),
    "matrix-f64": lambda body: _matrix(body, "<f8"),
    "flow-alignment": lambda body: [encode_alignment(body)],
    "autoregressive-coefficients": _coefficients,
    "vector-vector-f32": _vectors,
    "aggregate-vector-f32": _vectors,
    "aggregate": _members,
}


def _head(datatype: str, count: int) -> bytes:
    return _string(datatype) + struct.pack("<I", count)


def _string(text: str | bytes) -> bytes:
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return struct.pack("<I", len(raw)) + raw


def _counted(array: Array) -> list[Part]:
    return [struct.pack("<I", len(array)), array.tobytes()]


def _view(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


# ---- alignments


def encode_alignment(alignment: Alignment) -> bytes:
    """The bytes of an alignment as Sprint's encoder forms them, without the times behind it.

    Weighted if it was stored so or if a weight is not 1. In run-length code Sprint writes a time
    marker behind every literal run, needed or not, but for an item one frame before the start of
    the run, which it then reads back with a wrong time: here that has its marker too.

    Raises:
        ValueError: for an alphabet with emission ids, or alphabet keys that are no u32.
    """
    if alignment.label_type == "emission":
        if alignment.alphabet is not None:
            raise ValueError("an alignment of emission ids cannot have an alphabet")
        magic = b"ALIGNEMI"
    else:
        magic = b"ALIGNRLE" if alignment.alphabet is None else b"AALPHRLE"
    weighted = alignment.weighted or bool(np.any(alignment.weight != 1))
    size = struct.pack("<I", _WEIGHTED if weighted else len(alignment))
    body = _weighted(alignment) if weighted else _runs(alignment)
    return b"".join((magic, size, body, _alphabet(alignment.alphabet)))


def _runs(alignment: Alignment) -> bytes:
    """Run-length code (section 7.2)."""
    count = len(alignment)
    if count == 0:
        return b""
    time, emission = alignment.time.astype("<u4"), alignment.emission.astype("<u4")
    same = np.zeros(count, np.bool_)  # as the next item
    same[:-1] = emission[1:] == emission[:-1]
    link = np.zeros(count, np.uint8)  # to the next: 0 none, 1 of a literal run, 2 of a repeat run
    link[:-1][np.diff(time.astype(np.int64)) == 1] = 1
    link[same & (link == 1)] = 2
    changes = np.flatnonzero(np.diff(link)) + 1  # each chain of equal links ends where one changes
    chain_end = np.append(changes, count)[np.searchsorted(changes, np.arange(count), "right")]
    times, repeats, links, ends = time.tolist(), same.tolist(), link.tolist(), chain_end.tolist()
    raw, raw_times = emission.tobytes(), time.tobytes()
    out = bytearray()
    at, clock = 0, 0
    while at < count:
        if times[at] != clock:
            out += b"\0" + raw_times[4 * at : 4 * at + 4]
        size = ends[at] - at + 1 if links[at] else 1
        if repeats[at]:
            size = min(size, 128)
            out.append(256 - size)
            out += raw[4 * at : 4 * at + 4]
            clock = times[at] + size
        else:
            size = min(size, 127)
            out.append(size)
            out += raw[4 * at : 4 * (at + size)]
            clock = -1  # a marker in any case
        at += size
    return bytes(out)


def _weighted(alignment: Alignment) -> bytes:
    """Frames of weighted items (section 7.2), version 2."""
    count = len(alignment)
    total = _packed_one(count)
    if count == 0:
        return total
    time, emission = alignment.time.astype(np.int64), alignment.emission.astype(np.int64)
    firsts = np.flatnonzero(np.append(True, time[1:] != time[:-1]))  # of each frame
    frame = time[firsts]
    explicit = frame != np.append(0, frame[:-1] + 1)
    head = 2 * np.diff(np.append(firsts, count)) + explicit
    head_size, emission_size = _packed_size(head), _packed_size(emission)
    time_size = np.where(explicit, _packed_size(frame), 0)
    before = np.zeros(count, np.int64)
    before[firsts] = head_size + time_size
    sizes = before + emission_size + 4
    ends = np.cumsum(sizes)
    place = ends - 4 - emission_size
    out = np.empty(ends[-1], np.uint8)
    _put_packed(out, place[firsts] - before[firsts], head, head_size)
    _put_packed(out, place[firsts] - time_size, frame, time_size)
    _put_packed(out, place, emission, emission_size)
    weights = np.ascontiguousarray(alignment.weight, "<f4").view(np.uint8).reshape(-1, 4)
    out[(ends - 4)[:, None] + np.arange(4)] = weights
    return total + out.tobytes()


def _packed_size(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of each number: seven bits a byte."""
    return 1 + np.searchsorted([1 << 7, 1 << 14, 1 << 21, 1 << 28], values, "right")


def _put_packed(
    out: NDArray[np.uint8],
    places: NDArray[np.int64],
    values: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """Writes packed numbers; one of size 0 is left out."""
    for byte in range(int(sizes.max())):
        here = sizes > byte
        more = (sizes[here] > byte + 1) * 0x80
        out[places[here] + byte] = (values[here] >> 7 * byte) & 0x7F | more


def _packed_one(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _alphabet(alphabet: Mapping[int, str] | None) -> bytes:
    if alphabet is None:
        return b""
    if any(not 0 <= id_ < 1 << 32 for id_ in alphabet):
        raise ValueError("the keys of an alphabet must be between 0 and 2**32 - 1")
    rows = [_packed_one(id_) + _string(alphabet[id_]) for id_ in sorted(alphabet)]
    return _packed_one(len(rows)) + b"".join(rows)


# ---- attributes


def render(attributes: Mapping[str, str]) -> bytes:
    """The content of a ".attribs" entry (section 6.2): one line, sorted by name.

    Raises:
        ValueError: for control characters that XML cannot hold.
    """
    rows = sorted((_encoded(name), _encoded(value)) for name, value in attributes.items())
    cells = [
        b'<flow-attribute name="%s" value="%s"/>' % (_escaped(name), _escaped(value))
        for name, value in rows
    ]
    return b"<flow-attributes>%s</flow-attributes>" % b"".join(cells)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_ESCAPES = {
    **{ord(c): f"&{name};" for c, name in zip("&<>\"'", ("amp", "lt", "gt", "quot", "apos"))},  # noqa: B905
    **{ord(c): f"&#{ord(c)};" for c in "\t\n\r"},
}


def _escaped(raw: bytes) -> bytes:
    text = raw.decode("latin-1").translate(_ESCAPES)
    if any(c < " " for c in text):
        raise ValueError(f"an attribute with control characters: {text!r}")
    return text.encode("latin-1")
