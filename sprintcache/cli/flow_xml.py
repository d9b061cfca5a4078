"""Features from Flow's XML, in which Sprint's archiver shows all but vector-f32 and alignments."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache.entries import Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_flow_xml"]

_PACKET = re.compile(
    rb'\s*<(f32|f64|vector-[a-z0-9-]+) start="([^"]*)" end="([^"]*)"(?: size="(\d+)")?>'
    rb"([^<]*)</\1>\s*"
)


class _Packet(NamedTuple):
    datatype: str
    times: tuple[float, float]
    numbers: NDArray[Any]


def read_flow_xml(data: bytes) -> list[Block]:
    """The packets in a text such as ``<f32 start="0" end="0.025">-0.4</f32>...``.

    Args:
        data: packets of scalars and of vectors of numbers.

    Returns:
        a block for each run of packets of one datatype. Its numbers are float64, or complex128:
        an array (T,) or (T, D), or a list of arrays where sizes differ.

    Raises:
        ValueError: if anything else stands there.
    """
    packets: list[_Packet] = []
    at = 0
    while at < len(data):
        match = _PACKET.match(data, at)
        if match is None:
            raise ValueError(f"{data[at : at + 60]!r} is not a packet of numbers")
        packets.append(_packet(*match.groups()))
        at = match.end()
    return [_block(datatype, list(run)) for datatype, run in groupby(packets, lambda p: p.datatype)]


def _packet(kind: bytes, start: bytes, end: bytes, size: bytes | None, text: bytes) -> _Packet:
    words = text.split()
    expected = 1 if size is None else int(size)
    if len(words) != expected or (size is None) == kind.startswith(b"vector-"):
        raise ValueError(f"a {kind.decode()} of {len(words)} numbers, expected {expected}")
    numbers = np.array([_complex(word) if word[:1] == b"(" else float(word) for word in words])
    times = float(start), float(end)
    return _Packet(kind.decode(), times, numbers if size is not None else numbers[0])


def _complex(word: bytes) -> complex:
    """A number that is shown as ``(real,imaginary)``."""
    real, _, imaginary = word[1:].removesuffix(b")").partition(b",")
    return complex(float(real), float(imaginary))


def _block(datatype: str, packets: list[_Packet]) -> Block:
    rows: Any = [packet.numbers for packet in packets]
    if len({row.shape for row in rows}) == 1:
        rows = np.array(rows)
    return Block(datatype, np.array([packet.times for packet in packets]), rows)
