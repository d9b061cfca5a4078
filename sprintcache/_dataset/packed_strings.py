"""PackedStrings: many strings as one array of bytes, decoded on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PackedStrings"]


class PackedStrings(Sequence[str]):
    """Strings in the memory of their UTF-8 bytes and 8 bytes each; immutable.

    Processes that are forked share them; a list of str is copied there, page by page.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        """Packs the strings."""
        encoded = bytearray()
        ends = [0]
        for text in strings:
            encoded += text.encode("utf-8", "surrogateescape")
            ends.append(len(encoded))
        self._bytes = np.frombuffer(bytes(encoded), np.uint8)
        self._offsets = np.array(ends, np.int64)

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
