"""BatchBuffers: reusable memory for batches, and the types of batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchBuffers", "Padded", "PaddedArrays"]

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
