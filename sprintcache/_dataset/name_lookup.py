"""Matching: where names stand in another list of names, without keeping a string for each.

Archives give their names as lazy sequences; a million of them are hashed, not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Segments

__all__ = ["Subset", "contained", "is_same_list", "places"]

_CHUNK = 1024


class Subset(Sequence[str]):
    """Some of the segments of an archive."""

    def __init__(self, segments: Segments, kept: NDArray[np.int64]) -> None:
        self._segments = segments
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._segments.at(self._kept[index])
        return self._segments[int(self._kept[index])]

    def at(self, places: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The names at some places, such as those of a batch."""
        return self._segments.at(self._kept[np.asarray(places, np.int64)])

    def __repr__(self) -> str:
        return f"<{len(self)} of {self._segments}>"


def is_same_list(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether both have the same names in the same order."""
    if len(first) != len(second):
        return False
    starts = range(0, len(first), _CHUNK)
    return all(first[i : i + _CHUNK] == second[i : i + _CHUNK] for i in starts)


def contained(wanted: Sequence[str], known: Sequence[str] | set[str]) -> NDArray[np.bool_]:
    """(len(wanted),) whether each name is one of `known`."""
    return np.fromiter(map(known.__contains__, _each(wanted)), np.bool_, len(wanted))


def places(wanted: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Where each name stands in `known`, which has no name twice.

    Returns:
        (len(wanted),) int64, -1 for a name that is not there.
    """
    salt = ""
    while True:
        hashes = _hashes(known, salt)
        order = np.argsort(hashes)
        ordered = hashes[order]
        if not np.any(ordered[1:] == ordered[:-1]):
            break
        salt += "\0"  # two names with one hash of 64 bits: as good as never
    found = contained(wanted, known)
    at = np.full(len(wanted), -1, np.int64)
    at[found] = order[np.searchsorted(ordered, _hashes(wanted, salt)[found])]
    return at


def _hashes(names: Sequence[str], salt: str) -> NDArray[np.int64]:
    each = (name + salt for name in _each(names)) if salt else _each(names)
    return np.fromiter(map(hash, each), np.int64, len(names))


def _each(names: Sequence[str]) -> Iterator[str]:
    """A lazy sequence by slices: much faster than one by one."""
    return chain.from_iterable(names[i : i + _CHUNK] for i in range(0, len(names), _CHUNK))
