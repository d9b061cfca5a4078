"""Entries as text: a head with datatype, size and times, then a row per packet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.entries import Block
from sprintcache.states import StateNames

from ._alignment_text import alignment_lines
from ._archiver_format import text_lines
from ._text import pluralize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Archive

__all__ = ["entry_lines", "join_blocks"]

_DUMP_SIZE = 256  # bytes shown of an entry that is neither a Flow cache nor text
_WIDTH = 10  # characters of a number in a row


def entry_lines(
    archive: Archive, name: str, frames: slice | None = None, state_names: StateNames | None = None
) -> Iterator[str]:
    """An entry as lines of text; arguments and errors as of `_entry_json.entry_record`."""
    if archive.datatype(name) is None:
        yield from _raw(name, archive.read_bytes(name))
        return
    blocks = archive.read_blocks(name)
    joined = join_blocks(blocks)
    for block in joined:
        if block.datatype == "flow-alignment":
            for alignment in block.data:
                yield from alignment_lines(name, alignment, frames, state_names or StateNames())
        else:
            yield _head(name, block, len(blocks) if len(joined) == 1 else 1)
            yield from _rows(block, frames)


def join_blocks(blocks: list[Block]) -> list[Block]:
    """Joins neighboring blocks of the same datatype and packet shape."""
    joined: list[Block] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.datatype == block.datatype
            and last.times is not None
            and block.times is not None
            and isinstance(last.data, np.ndarray)
            and isinstance(block.data, np.ndarray)
            and last.data.shape[1:] == block.data.shape[1:]
        ):
            times = np.concatenate([last.times, block.times])
            joined[-1] = Block(last.datatype, times, np.concatenate([last.data, block.data]))
        else:
            joined.append(block)
    return joined


def _raw(name: str, data: bytes) -> Iterator[str]:
    """A text, or the first bytes of other data."""
    if not data:
        yield f"{name}: empty"
        return
    text = data.decode("utf-8", "surrogateescape")
    if text.replace("\n", " ").replace("\t", " ").replace("\r", " ").isprintable():
        yield from text_lines(text)
        return
    shown = f", the first {_DUMP_SIZE}" if len(data) > _DUMP_SIZE else ""
    yield f"{name}: {len(data)} bytes, not a Flow cache and not text{shown}:"
    for offset in range(0, min(len(data), _DUMP_SIZE), 16):
        row = data[offset : offset + 16]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset:6x}  {row.hex(' '):47}  {characters}"


def _head(name: str, block: Block, num_blocks: int) -> str:
    count = len(block.data)
    text = f"{name}: {block.datatype}, {pluralize(count, 'frame', 'frames')}"
    if isinstance(block.data, np.ndarray) and block.data.ndim == 2:
        text += f" x {block.data.shape[1]}"
    if num_blocks > 1:
        text += f" in {num_blocks} blocks"
    if block.times is not None and count:
        text += f", {block.times[0, 0]:.3f} to {block.times[-1, 1]:.3f} s"
    return text + _value_range(block.data)


def _value_range(data: Any) -> str:
    """Minimum and maximum of real numbers; "" for other data."""
    if isinstance(data, np.ndarray):
        parts = [data]
    else:
        parts = [part for part in data if isinstance(part, np.ndarray)]
    parts = [part.ravel() for part in parts if part.size and part.dtype.kind in "fiu"]
    if not parts:
        return ""
    values = np.concatenate(parts)
    finite = values[np.isfinite(values)]
    text = ""
    if finite.size:
        text = f", values {_number(finite.min())} to {_number(finite.max())}"
    num_bad = values.size - finite.size
    return text + (f", {num_bad} not finite" if num_bad else "")


def _rows(block: Block, frames: slice | None) -> Iterator[str]:
    """A line per packet: its index, times and values."""
    chosen = range(len(block.data))[frames or slice(None)]
    yield "# frame    start      end  " + ("text" if block.datatype == "string" else "values")
    for index in chosen:
        times = f"{'-':>8} {'-':>8}"
        if block.times is not None:
            times = f"{block.times[index, 0]:8.3f} {block.times[index, 1]:8.3f}"
        yield f"{index:7} {times}  {_packet(block.data[index])}"


def _packet(data: Any) -> str:
    """The values of one packet."""
    if isinstance(data, str):
        return repr(data)
    if isinstance(data, Block):
        return f"{len(data.data)} {data.datatype}: " + "; ".join(map(_packet, data.data))
    if isinstance(data, list):
        return " | ".join(map(_packet, data))
    if not isinstance(data, np.ndarray):
        return f"{_number(data):>{_WIDTH}}" if isinstance(data, np.generic) else repr(data)
    if data.ndim == 2:
        return "; ".join(_packet(row) for row in data)
    return " ".join([f"{_number(value):>{_width(data)}}" for value in data])


def _width(row: NDArray[Any]) -> int:
    return 6 if row.dtype.kind in "iub" else _WIDTH


def _number(value: Any) -> str:
    if value.dtype.kind in "iu":
        return str(value)
    if value.dtype.kind == "b":
        return str(int(value))
    if value.dtype.kind == "c":
        return f"{value.real:.4g}{value.imag:+.4g}j"
    return f"{value:.4g}"
