"""From an `Alignment` to the bytes that Sprint's encoder writes (archive format, section 7)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._reader import encode_runs
from sprintcache.alignment import Alignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["encode_alignment", "encode_string"]

_WEIGHTED = 0x80000002  # the scheme and its version that Sprint writes: float32 weights


def encode_alignment(alignment: Alignment) -> bytes:
    """The bytes of an alignment as Sprint's encoder forms them, without the times after it.

    Weighted if it was stored so or if a weight is not 1. In run-length code Sprint writes a time
    marker after every literal run, needed or not, but for an item one frame before the start of
    the run, which it then reads back with a wrong time: here that has its marker too.

    Raises:
        ValueError: for an alphabet with emission ids, or alphabet keys that are not u32.
    """
    if alignment.label_type == "emission":
        if alignment.alphabet is not None:
            raise ValueError("an alignment of emission ids cannot have an alphabet")
        magic = b"ALIGNEMI"
    else:
        magic = b"ALIGNRLE" if alignment.alphabet is None else b"AALPHRLE"
    weighted = alignment.weighted or bool(np.any(alignment.weight != 1))
    size = struct.pack("<I", _WEIGHTED if weighted else len(alignment))
    body = _weighted(alignment) if weighted else encode_runs(alignment.time, alignment.emission)
    return b"".join((magic, size, body, _alphabet(alignment.alphabet)))


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
    index = ends - 4 - emission_size
    out = np.empty(ends[-1], np.uint8)
    _put_packed(out, index[firsts] - before[firsts], head, head_size)
    _put_packed(out, index[firsts] - time_size, frame, time_size)
    _put_packed(out, index, emission, emission_size)
    weights = np.ascontiguousarray(alignment.weight, "<f4").view(np.uint8).reshape(-1, 4)
    out[(ends - 4)[:, None] + np.arange(4)] = weights
    return total + out.tobytes()


def _packed_size(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of each number: seven bits a byte."""
    return 1 + np.searchsorted([1 << 7, 1 << 14, 1 << 21, 1 << 28], values, "right")


def _put_packed(
    out: NDArray[np.uint8],
    indices: NDArray[np.int64],
    values: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """Writes packed numbers; those of size 0 are skipped."""
    for byte in range(int(sizes.max())):
        has_byte = sizes > byte
        continuation = (sizes[has_byte] > byte + 1) * 0x80
        out[indices[has_byte] + byte] = (values[has_byte] >> 7 * byte) & 0x7F | continuation


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
    ids = sorted(alphabet)
    if ids and not (ids[0] >= 0 and ids[-1] < 1 << 32):
        raise ValueError("the keys of an alphabet must be between 0 and 2**32 - 1")
    rows = map(_ALPHABET_ROWS.__getitem__, zip(ids, map(alphabet.__getitem__, ids), strict=True))
    return _packed_one(len(ids)) + b"".join(rows)


class _AlphabetRows(dict[tuple[int, str], bytes]):
    """The bytes of an id and its symbol; alignments of one corpus share most of them."""

    def __missing__(self, item: tuple[int, str]) -> bytes:
        if len(self) >= _MAX_ROWS:
            self.clear()
        row = self[item] = _packed_one(item[0]) + encode_string(item[1])
        return row


_MAX_ROWS = 1 << 16
_ALPHABET_ROWS = _AlphabetRows()


def encode_string(text: str | bytes) -> bytes:
    """A string of the format: its size in bytes as u32, its bytes; surrogates become theirs."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return struct.pack("<I", len(raw)) + raw
