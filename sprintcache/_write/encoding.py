"""From arrays to the bytes that Sprint writes: features and whole blocks.

Pure functions, the inverse of `Archive.read_blocks` and its like; the bytes are those of the
archive format, section 6. A payload is a list of parts that follow each other: bytes, views of
fresh arrays, or packets, which are laid out where they are written. So the writer needs no copy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._files import Part
from sprintcache._reader import Packets, distinct_ids
from sprintcache.alignment import Alignment
from sprintcache.entries import Block

from .alignment_encoding import encode_alignment, encode_string

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Array = NDArray[Any]

__all__ = ["encode_alignment_entry", "encode_blocks", "encode_features"]

_DBL_MAX = 1.7976931348623157e308

SIZE_LIMIT = 1 << 32  # sizes of entries are u32

_MANY_FRAMES = 1 << 16  # whose times are not kept for the next entry

_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
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
    }.items()
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
    width = 20 + array[:1].size * _DTYPES[datatype].itemsize
    if count * width >= SIZE_LIMIT:
        raise ValueError(f"features of {count * width} bytes: an entry must be below 4 GiB")
    made = _made_times(frame_shift, frame_length, count) if times is None else _times(times, count)
    packets = _packets(datatype, array, made)
    if step >= count > 0:
        return [_head(datatype, count), packets]
    parts: list[Part] = []
    for at in range(0, count, max(step, 1)):
        parts += _head(datatype, min(step, count - at)), packets.part(at, at + step)
    return parts


def _made_times(frame_shift: float, frame_length: float, count: int) -> NDArray[np.float64]:
    """(count, 2) times; those of fewer frames are their beginning, so they are kept unless long."""
    if not (0 <= frame_shift < math.inf and 0 <= frame_length < math.inf):
        raise ValueError(f"invalid frame times: shift {frame_shift}, length {frame_length}")
    if count < _MANY_FRAMES:
        return _kept_times(frame_shift, frame_length, 1 << count.bit_length())[:count]
    return _computed_times(frame_shift, frame_length, count)


def _computed_times(frame_shift: float, frame_length: float, count: int) -> NDArray[np.float64]:
    times = np.zeros((count, 2))
    np.cumsum(np.full(count - 1, frame_shift), out=times[1:, 0])
    times[:, 1] = times[:, 0] + frame_length
    return times


_kept_times = lru_cache(maxsize=8)(_computed_times)


def _fitting(array: Array) -> str:
    """The datatype for an array."""
    names = _FITTING.get(array.dtype.str[1:])
    name = names and names[0 if array.ndim == 2 else 1]
    if name is None:
        shape = "scalar" if array.ndim == 1 else "vector"
        raise ValueError(f"Sprint has no {shape} datatype that holds {array.dtype}")
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        least, most = int(array.min()), int(array.max())
        if max(-least, most) > 1 << 53:
            raise ValueError(
                f"integers between {least} and {most}: Sprint's widest number, f64, holds those"
                " up to 2**53"
            )
    return name if array.ndim == 1 else f"vector-{name}"


def _converted(values: ArrayLike, dtype: DTypeLike, what: str) -> Array:
    """The values in this dtype; floats may be rounded, integers must stay what they are."""
    array, target = np.asarray(values), np.dtype(dtype)
    if array.dtype == target:
        return array
    if array.size == 0:
        return np.empty(array.shape, target)
    if array.dtype.kind not in "biufc" or (array.dtype.kind == "c" and target.kind != "c"):
        raise ValueError(f"{array.dtype} cannot be stored as {what}")
    with np.errstate(all="ignore"):
        result = array.astype(target)
        if target.kind in "biu":
            kept = np.array_equal(result, array)
        elif array.dtype.kind in "iu":  # a long double holds them all
            kept = np.array_equal(result.real.astype(np.longdouble), array)
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


def _packets(datatype: str, data: ArrayLike, times: NDArray[np.float64]) -> Packets:
    """Packets of one size."""
    rows = np.ascontiguousarray(_converted(data, _DTYPES[datatype], datatype))
    if rows.dtype.kind == "b":
        rows = np.negative(rows.view(np.uint8))  # true is FF
    return Packets(rows, np.ascontiguousarray(times))


# ---- blocks


def encode_blocks(blocks: Iterable[Block]) -> list[Part]:
    """The payload of an entry from the blocks of `Archive.read_blocks`, byte for byte.

    What reading does not keep is written as by Sprint: a stored bool that was neither 00 nor
    FF, and weighted alignments of versions 0 and 1.

    Raises:
        ValueError: if a block violates the description of `Block`.
    """
    parts: list[Part] = []
    for block in blocks:
        parts += [_head(block.datatype, len(block.data)), *_block_packets(block)]
    return parts


def encode_alignment_entry(alignment: Alignment) -> list[Part]:
    """The payload of an entry with one alignment.

    Without times it gets those of frames of 10 ms shift and 25 ms length; without items, those of
    an empty one in Sprint.

    Raises:
        ValueError: for an alphabet that lacks an id in use, which Sprint would not read.
    """
    if not isinstance(alignment, Alignment):
        raise TypeError(f"expected an Alignment, found {type(alignment).__name__}")
    alphabet = alignment.alphabet
    if alphabet is not None:
        missing = next(filterfalse(alphabet.__contains__, distinct_ids(alignment.emission)), None)
        if missing is not None:
            raise ValueError(f"no symbol for id {missing}")
    start, end = alignment.start, alignment.end
    if start is None:
        start = 0.0 if len(alignment) else _DBL_MAX
    if end is None:
        end = 0.01 * (alignment.num_frames - 1) + 0.025 if len(alignment) else -_DBL_MAX
    return encode_blocks([Block("flow-alignment", np.array([[start, end]]), [alignment])])


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
            return [_packets(datatype, data, times)]
        return [
            _packets(datatype, np.asarray(row)[None], times[i : i + 1])
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
    """The content of an aggregate: a block, or packets that each have their datatype first."""
    if isinstance(body, Block):
        return encode_blocks([body])
    parts: list[Part] = [struct.pack("<I", len(body))]
    for block in body:
        if len(block.data) != 1:
            raise ValueError(f"a block of {len(block.data)} packets in an aggregate of several")
        parts += [encode_string(block.datatype), *_block_packets(block)]
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
    "string": lambda body: [encode_string(body)],
    "matrix-f32": lambda body: _matrix(body, "<f4"),
    "matrix-f64": lambda body: _matrix(body, "<f8"),
    "flow-alignment": lambda body: [encode_alignment(body)],
    "autoregressive-coefficients": _coefficients,
    "vector-vector-f32": _vectors,
    "aggregate-vector-f32": _vectors,
    "aggregate": _members,
}


def _head(datatype: str, count: int) -> bytes:
    raw = datatype.encode()
    return struct.pack(f"<I{len(raw)}sI", len(raw), raw, count)


def _counted(array: Array) -> list[Part]:
    return [struct.pack("<I", len(array)), array.tobytes()]


def _view(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
