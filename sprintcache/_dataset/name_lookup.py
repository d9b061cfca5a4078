"""Name lookup: numbers of names in lazy sequences, without keeping a string for any of them.

Archives provide their names as lazy sequences; a million of them are hashed, not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NameIndex", "NameSource", "NameView", "is_same_list"]

_CHUNK = 1024


class NameSource(Protocol):
    """A lazy sequence of names, such as the segments of an archive."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def at(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The names at some indices; negative ones are not allowed."""


class NameView(Sequence[str]):
    """Names of segments of a file, all or some of them, renamed or not; decoded on demand."""

    def __init__(
        self,
        segments: NameSource,
        rename: Callable[[str], str] | None = None,
        numbers: NDArray[np.int64] | None = None,
    ) -> None:
        """Args: the names, a function of each, and the numbers of those to keep (None: all)."""
        self._segments = segments
        self._rename = rename
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._segments) if self._numbers is None else len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            if self._numbers is None:
                return self._renamed(self._segments[index])
            return self._renamed(self._segments.at(self._numbers[index]))
        number = index if self._numbers is None else int(self._numbers[index])
        return self._renamed([self._segments[number]])[0]

    def __iter__(self) -> Iterator[str]:
        return _chunked(self)

    def at(self, indices: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The names at some indices, such as those of a batch; negative ones are not allowed."""
        numbers = np.asarray(indices, np.int64)
        if self._numbers is not None:
            if numbers.min(initial=0) < 0:
                raise IndexError(f"name {numbers.min()} of {len(self)}")
            numbers = self._numbers[numbers]
        return self._renamed(self._segments.at(numbers))

    def subset(self, indices: NDArray[np.int64]) -> NameView:
        """A view of some of these names."""
        numbers = indices if self._numbers is None else self._numbers[indices]
        return NameView(self._segments, self._rename, numbers)

    def _renamed(self, names: list[str]) -> list[str]:
        return names if self._rename is None else list(map(self._rename, names))

    def __repr__(self) -> str:
        return f"<{len(self)} of {self._segments}>"


class NameIndex:
    """Finds names in a sequence of unique names: 16 bytes a name."""

    def __init__(self, names: NameSource | Sequence[str]) -> None:
        """Hashes the names.

        Raises:
            ValueError: if a name occurs twice.
        """
        self._names = names
        self._salt = ""
        while True:
            hashes = self._hashes(names)
            self._order = np.argsort(hashes)
            self._sorted = hashes[self._order]
            same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
            if not len(same):
                return
            a, b = self._order[same[0]], self._order[same[0] + 1]
            if names[int(a)] == names[int(b)]:
                raise ValueError(f"two segments are named {names[int(a)]!r}")
            self._salt += "\0"  # two names with one hash of 64 bits: practically never

    def find(self, wanted: Sequence[str]) -> NDArray[np.int64]:
        """(len(wanted),) int64 index of each name, -1 for a name that is not in the sequence."""
        if not len(self._sorted):
            return np.full(len(wanted), -1, np.int64)
        positions = np.searchsorted(self._sorted, self._hashes(wanted))
        numbers = self._order[np.minimum(positions, len(self._sorted) - 1)]
        for start in range(0, len(wanted), _CHUNK):
            part = numbers[start : start + _CHUNK]
            names = _names_at(self._names, part)
            pairs = zip(names, wanted[start : start + _CHUNK], strict=True)
            part[[name != wanted_name for name, wanted_name in pairs]] = -1
        return numbers

    def _hashes(self, names: NameSource | Sequence[str]) -> NDArray[np.int64]:
        salted = (name + self._salt for name in _chunked(names)) if self._salt else _chunked(names)
        return np.fromiter(map(hash, salted), np.int64, len(names))


def is_same_list(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether both have the same names in the same order."""
    if len(a) != len(b):
        return False
    starts = range(0, len(a), _CHUNK)
    return all(a[i : i + _CHUNK] == b[i : i + _CHUNK] for i in starts)


def _names_at(names: NameSource | Sequence[str], numbers: NDArray[np.int64]) -> list[str]:
    if hasattr(names, "at"):
        named: list[str] = names.at(numbers)
        return named
    return [names[number] for number in numbers.tolist()]


def _chunked(names: NameSource | Sequence[str]) -> Iterator[str]:
    """A lazy sequence by slices: much faster than one by one."""
    return chain.from_iterable(names[i : i + _CHUNK] for i in range(0, len(names), _CHUNK))
