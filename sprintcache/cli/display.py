"""Entries as people want to see them: a head that says what it is, then its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.entries import Block
from sprintcache.states import Names

from .rendering import text_lines
from .runs import alignment_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Archive

__all__ = ["display", "sections"]

_DUMPED = 256  # bytes shown of what is neither Flow cache nor text
_WIDTH = 10  # of a number in a row


def display(
    archive: Archive, name: str, frames: slice | None = None, known: Names | None = None
) -> Iterator[str]:
    """An entry in lines for people.

    Args:
        archive: the archive.
        name: the entry.
        frames: which packets, or frames of an alignment; None: all.
        known: symbols and labels of allophone states.

    Raises:
        EntryNotFoundError: if there is no entry of that name.
        FormatError: if it is damaged.
    """
    if archive.datatype(name) is None:
        yield from _raw(name, archive.read_bytes(name))
        return
    blocks = archive.read_blocks(name)
    merged = sections(blocks)
    for section in merged:
        if section.datatype == "flow-alignment":
            for alignment in section.data:
                yield from alignment_lines(name, alignment, frames, known or Names())
        else:
            yield _head(name, section, len(blocks) if len(merged) == 1 else 1)
            yield from _rows(section, frames)


def sections(blocks: list[Block]) -> list[Block]:
    """Blocks, neighbours of the same datatype and shape of packets joined."""
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
    """Text as it is; of anything else the first bytes."""
    if not data:
        yield f"{name}: empty"
        return
    text = data.decode("utf-8", "surrogateescape")
    if text.replace("\n", " ").replace("\t", " ").replace("\r", " ").isprintable():
        yield from text_lines(text)
        return
    rest = f", the first {_DUMPED}" if len(data) > _DUMPED else ""
    yield f"{name}: {len(data)} bytes, no Flow cache and no text{rest}:"
    for at in range(0, min(len(data), _DUMPED), 16):
        part = data[at : at + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:6x}  {part.hex(' '):47}  {seen}"


def _head(name: str, block: Block, num_blocks: int) -> str:
    count = len(block.data)
    what = f"{count} frames" if count != 1 else "1 frame"
    text = f"{name}: {block.datatype}, {what}"
    if isinstance(block.data, np.ndarray) and block.data.ndim == 2:
        text += f" x {block.data.shape[1]}"
    if num_blocks > 1:
        text += f" in {num_blocks} blocks"
    if block.times is not None and count:
        text += f", {block.times[0, 0]:.3f} to {block.times[-1, 1]:.3f} s"
    return text + _value_range(block.data)


def _value_range(data: Any) -> str:
    """Least and largest number, where these are real numbers."""
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
    bad = values.size - finite.size
    return text + (f", {bad} not finite" if bad else "")


def _rows(block: Block, frames: slice | None) -> Iterator[str]:
    """A line per packet: its number, its times, its values."""
    chosen = range(len(block.data))[frames or slice(None)]
    yield "# frame    start      end  " + ("text" if block.datatype == "string" else "values")
    for place in chosen:
        times = f"{'-':>8} {'-':>8}"
        if block.times is not None:
            times = f"{block.times[place, 0]:8.3f} {block.times[place, 1]:8.3f}"
        yield f"{place:7} {times}  {_packet(block.data[place])}"


def _packet(data: Any) -> str:
    """One packet in a line."""
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
