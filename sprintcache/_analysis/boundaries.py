"""Boundaries between phones, and their matching between two alignments.

If both alignments have the same sequence of phones, boundaries are matched in order. Otherwise a
boundary is matched with the nearest one between the same two phones in the other alignment,
provided that each is the other's nearest and that they are at most 100 frames apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment

__all__ = ["Phones", "phones_in_time", "shifts"]

_MAX_DISTANCE = 100  # frames; the same two phones farther apart are another occurrence


class Phones(NamedTuple):
    """The phones of an alignment in time.

    Attributes:
        number: (P,) int64, a number for each phone.
        start: (P,) int64, the frame in which each begins.
    """

    number: NDArray[np.int64]
    start: NDArray[np.int64]

    @property
    def num_boundaries(self) -> int:
        """Boundaries between them."""
        return max(len(self.number) - 1, 0)


def phones_in_time(
    alignment: Alignment, phones: NDArray[np.int64], numbers: NDArray[np.int64]
) -> Phones:
    """Phones in time: one per allophone occurrence; for emission ids, one per run of an id."""
    time = alignment.time.astype(np.int64)
    if not len(time):
        return Phones(time, time)
    begins = np.diff(time, prepend=time[0] - 2) != 1
    if alignment.label_type == "emission":
        begins[1:] |= np.diff(numbers) != 0
        number = numbers
    else:
        allophone = alignment.allophone
        begins[1:] |= (allophone[1:] != allophone[:-1]) | (np.diff(alignment.state.astype(int)) < 0)
        # without a symbol, the allophone index
        number = np.where(phones >= 0, phones, -1 - allophone.astype(np.int64))
    return Phones(number[begins], time[begins])


def shifts(a: Phones, b: Phones) -> NDArray[np.int64]:
    """(M,) int64: frames by which the matched boundaries of `b` are later."""
    if np.array_equal(a.number, b.number):
        return b.start[1:] - a.start[1:]
    _, pairs = np.unique(np.concatenate([_sides(a), _sides(b)]), axis=0, return_inverse=True)
    # a number line with a section for each pair of phones, the sections far apart
    starts = np.concatenate([a.start[1:], b.start[1:]])
    spread = 2 * (int(starts.max(initial=0)) + _MAX_DISTANCE + 1)
    points_a, points_b = np.split(pairs.ravel() * spread + starts, [a.num_boundaries])
    return _nearest_distances(np.sort(points_a), np.sort(points_b))


def _sides(phones: Phones) -> NDArray[np.int64]:
    """(P - 1, 2): the phones on both sides of each boundary."""
    return np.stack([phones.number[:-1], phones.number[1:]], 1)


def _nearest_distances(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distances between mutually nearest points; both inputs are ascending."""
    if not (len(a) and len(b)):
        return np.zeros(0, np.int64)
    nearest_b, nearest_a = _nearest(a, b), _nearest(b, a)
    mutual = nearest_a[nearest_b] == np.arange(len(a))
    distances: NDArray[np.int64] = (b[nearest_b] - a)[mutual]
    return distances[np.abs(distances) <= _MAX_DISTANCE]


def _nearest(points: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each point, the index of the nearest of the others."""
    above = np.searchsorted(others, points)
    below = np.maximum(above - 1, 0)
    above = np.minimum(above, len(others) - 1)
    return np.where(points - others[below] <= others[above] - points, below, above)
