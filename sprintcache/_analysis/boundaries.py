"""Boundaries between phones: where they are, and which ones of two alignments belong together.

Where both alignments have the same phones in the same order, boundaries belong together by that
order; elsewhere a boundary belongs to the nearest one of the other alignment between the same two
phones, if that is so from both sides and no more than 100 frames away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment

__all__ = ["Phones", "phones_in_time", "shifts"]

_FARTHEST = 100  # frames; the same two phones farther away are another place of the sentence


class Phones(NamedTuple):
    """The phones of an alignment in time.

    Attributes:
        what: (P,) int64, a number for each.
        start: (P,) int64, the frame in which it begins.
    """

    what: NDArray[np.int64]
    start: NDArray[np.int64]

    @property
    def num_boundaries(self) -> int:
        """Boundaries between them."""
        return max(len(self.what) - 1, 0)


def phones_in_time(
    alignment: Alignment, phones: NDArray[np.int64], numbers: NDArray[np.int64]
) -> Phones:
    """Phones in time: each allophone anew; of emission ids, each id."""
    time = alignment.time.astype(np.int64)
    if not len(time):
        return Phones(time, time)
    begins = np.diff(time, prepend=time[0] - 2) != 1
    if alignment.label_type == "emission":
        begins[1:] |= np.diff(numbers) != 0
        what = numbers
    else:
        allophone = alignment.allophone
        begins[1:] |= (allophone[1:] != allophone[:-1]) | (np.diff(alignment.state.astype(int)) < 0)
        # where there is no symbol, the bare allophone
        what = np.where(phones >= 0, phones, -1 - allophone.astype(np.int64))
    return Phones(what[begins], time[begins])


def shifts(one: Phones, other: Phones) -> NDArray[np.int64]:
    """(M,) int64: how many frames later the boundaries of the second are, of those that match."""
    if np.array_equal(one.what, other.what):
        return other.start[1:] - one.start[1:]
    _, places = np.unique(np.concatenate([_sides(one), _sides(other)]), axis=0, return_inverse=True)
    # a number line with a stretch for each pair of phones, the stretches far apart
    starts = np.concatenate([one.start[1:], other.start[1:]])
    spread = 2 * (int(starts.max(initial=0)) + _FARTHEST + 1)
    mine, its = np.split(places.ravel() * spread + starts, [one.num_boundaries])
    return _nearest(np.sort(mine), np.sort(its))


def _sides(phones: Phones) -> NDArray[np.int64]:
    """(P - 1, 2): the phones on both sides of each boundary."""
    return np.stack([phones.what[:-1], phones.what[1:]], 1)


def _nearest(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distances between those that are nearest to each other from both sides; ascending input."""
    if not (len(one) and len(other)):
        return np.zeros(0, np.int64)
    there, back = _nearest_places(one, other), _nearest_places(other, one)
    mutual = back[there] == np.arange(len(one))
    distances: NDArray[np.int64] = (other[there] - one)[mutual]
    return distances[np.abs(distances) <= _FARTHEST]


def _nearest_places(places: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each place, where the nearest of the known ones stands."""
    above = np.searchsorted(known, places)
    below = np.maximum(above - 1, 0)
    above = np.minimum(above, len(known) - 1)
    return np.where(places - known[below] <= known[above] - places, below, above)
