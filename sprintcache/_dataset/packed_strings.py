"""PackedStrings: many strings as one array of bytes, decoded on access."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PackedStrings", "StringPacker"]


class StringPacker:
    """Collects strings one by one, in the memory that they need when packed."""

    def __init__(self) -> None:
        self._encoded = bytearray()
        self._ends = array("q", [0])

    def add(self, text: str) -> None:
        """Adds a string."""
        self._encoded += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._encoded))

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of all strings, and the offset of each, (N + 1,)."""
        return np.frombuffer(bytes(self._encoded), np.uint8), np.array(self._ends, np.int64)

    def packed(self) -> PackedStrings:
        """The strings so far."""
        strings = PackedStrings.__new__(PackedStrings)
        strings._bytes, strings._offsets = self.arrays()
        return strings


class PackedStrings(Sequence[str]):
    """Strings in the memory of their UTF-8 bytes and 8 bytes each; immutable.

    Processes that are forked share them; a list of str is copied there, page by page.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        """Packs the strings."""
        packer = StringPacker()
        for text in strings:
            packer.add(text)
        self._bytes, self._offsets = packer.arrays()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        numbers = range(len(self))[index]
        return self._decode(numbers) if isinstance(numbers, int) else self.at(numbers)

    def __iter__(self) -> Iterator[str]:
        return map(self._decode, range(len(self)))

    def at(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The strings at some indices; negative ones are not allowed."""
        indices = np.asarray(numbers, np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"string {indices.min()} or {indices.max()} of {len(self)}")
        return [self._decode(number) for number in indices.tolist()]

    def encoded(self, number: int) -> NDArray[np.uint8]:
        """The UTF-8 bytes of a string, as a view."""
        return self._bytes[self._offsets[number] : self._offsets[number + 1]]

    def num_bytes(self) -> NDArray[np.int64]:
        """(N,) int64 lengths in UTF-8."""
        lengths: NDArray[np.int64] = np.diff(self._offsets)
        return lengths

    def _decode(self, number: int) -> str:
        return self.encoded(number).tobytes().decode("utf-8", "surrogateescape")
