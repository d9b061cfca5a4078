"""BatchBuffers: reusable memory for batches; ReadOptions; the types of batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DEFAULTS", "BatchBuffers", "Padded", "PaddedArrays", "ReadOptions"]

Padded = tuple["NDArray[Any]", "NDArray[np.int64]"]
PaddedArrays = dict[str, Padded]


class BatchBuffers:
    """Reusable memory for batches: a batch is overwritten by the next one read into it."""

    def __init__(self) -> None:
        self._memory: dict[str, NDArray[Any]] = {}

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content."""
        size = math.prod(shape)
        memory = self._memory.get(key)
        if memory is None or memory.size < size or memory.dtype != dtype:
            spare = 0 if memory is None else size // 4
            memory = self._memory[key] = np.empty(size + spare, dtype)
        return memory[:size].reshape(shape)


class ReadOptions(NamedTuple):
    """How a batch is read.

    Attributes:
        pad: value beyond the end of labels.
        num_threads: threads to read with, the calling one included.
        buffers: memory to read into; None: new arrays.
    """

    pad: int = -1
    num_threads: int = 1
    buffers: BatchBuffers | None = None

    @property
    def memory(self) -> BatchBuffers:
        """The buffers, or new ones."""
        return BatchBuffers() if self.buffers is None else self.buffers

    def out(self, key: str, dtype: type) -> Callable[[tuple[int, ...]], NDArray[Any]] | None:
        """The argument `out` of a reading method: a function of the shape; None: a new array."""
        buffers = self.buffers
        return None if buffers is None else lambda shape: buffers.take(key, shape, dtype)


DEFAULTS = ReadOptions()
