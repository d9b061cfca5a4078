"""NaN and infinite values in the blocks of an entry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.alignment import Alignment
from sprintcache.entries import Block

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["describe_not_finite"]


def describe_not_finite(blocks: list[Block]) -> str:
    """The number of NaN and infinite values and weights, and their first frame; "" if none."""
    count = frame = 0
    first_frame: int | None = None
    for block in blocks:
        counts = _count(block.data)
        if first_frame is None and any(counts):
            first_frame = frame + next(index for index, number in enumerate(counts) if number)
        count += sum(counts)
        frame += len(counts)
    if not count:
        return ""
    values = "value is" if count == 1 else "values are"
    return f"{count} {values} NaN or infinite, the first in frame {first_frame}"


def _count(data: Any) -> list[int]:
    """The number of non-finite values of each packet."""
    if isinstance(data, np.ndarray):
        rows = data.reshape(len(data), math.prod(data.shape[1:]))
        if rows.dtype.kind not in "fc":
            return [0] * len(rows)
        counts: list[int] = np.count_nonzero(~np.isfinite(rows), axis=1).tolist()
        return counts
    return [sum(_count(_numbers(packet))) for packet in data]


def _numbers(packet: Any) -> NDArray[Any] | list[Any]:
    """The numbers of a packet; a list for an aggregate."""
    if isinstance(packet, Block):
        numbers: NDArray[Any] | list[Any] = packet.data
        return numbers
    if isinstance(packet, Alignment):
        return packet.weight
    if isinstance(packet, str):
        return []
    return packet if isinstance(packet, list) else np.asarray(packet)
