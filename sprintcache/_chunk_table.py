"""ChunkTable: the chunks of all sequences of a corpus, as numbers, and their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkNames", "ChunkTable", "Chunks"]


class Chunks(NamedTuple):
    """Several chunks.

    Attributes:
        seqs: (B,) int64 their sequences.
        starts, stops: (B,) int64 first frame, and end.
    """

    seqs: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


class ChunkTable:
    """Chunk k of a sequence has the frames from ``k * step`` to ``k * step + size``.

    The last ones may be shorter; those of less than `min_size` frames do not exist. Chunks are
    numbered in the order of the sequences. The table has one number per sequence.
    """

    def __init__(self, lengths: NDArray[np.int64], size: int, step: int, min_size: int) -> None:
        self._lengths = lengths
        self._size = size
        self._step = step
        self.counts: NDArray[np.int64] = np.maximum((lengths - min_size) // step + 1, 0)
        self._ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def at(self, numbers: NDArray[np.int64]) -> Chunks:
        """Chunks by number.

        Raises:
            IndexError: if there is no such chunk.
        """
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            wrong = next(n for n in numbers.tolist() if not 0 <= n < len(self))
            raise IndexError(f"chunk {wrong} of {len(self)}")
        seqs = np.searchsorted(self._ends, numbers, side="right")
        starts = (numbers - self._ends[seqs] + self.counts[seqs]) * self._step
        return Chunks(seqs, starts, np.minimum(starts + self._size, self._lengths[seqs]))


class ChunkNames(Sequence[str]):
    """The names of chunks, such as ``corpus/rec/1[200:300]``, made on demand."""

    def __init__(
        self, table: ChunkTable, names_at: Callable[[NDArray[np.int64]], list[str]]
    ) -> None:
        self._table = table
        self._names_at = names_at

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self.at(np.arange(*index.indices(len(self))))
        return self.at(np.array([index + len(self) if index < 0 else index]))[0]

    def at(self, numbers: NDArray[np.int64]) -> list[str]:
        """Names of chunks by number."""
        chunks = self._table.at(numbers)
        names = self._names_at(chunks.seqs)
        return [
            f"{name}[{start}:{stop}]"
            for name, start, stop in zip(
                names, chunks.starts.tolist(), chunks.stops.tolist(), strict=True
            )
        ]
