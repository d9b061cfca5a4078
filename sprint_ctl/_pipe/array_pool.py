"""ArrayPool: memory for the arrays that stream out of a pipe, used again and again.

Fresh memory costs as much as what is written into it: the kernel clears every page. So arrays are
cut from slabs, and a slab is used again when no array of it is left, which its reference count
tells. Small arrays share a slab of 1 MiB, and whoever keeps one of them keeps its slab; a large one
has a slab of its own.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ArrayPool"]

_SLAB = 1 << 20
_LARGE = 1 << 18  # bytes of an array that gets its own slab
_ALIGNMENT = 64
_LOOKED_AT = 4  # slabs, each time one is needed; the oldest come free first


class ArrayPool:
    """Makes arrays as ``numpy.empty`` does; for one thread."""

    def __init__(self, max_slabs: int = 512) -> None:
        """Begins with nothing.

        Args:
            max_slabs: of each kind to remember; further ones are given back when they are free.
        """
        self._shared: deque[NDArray[np.uint8]] = deque(maxlen=max_slabs)
        self._own: deque[NDArray[np.uint8]] = deque(maxlen=max_slabs)
        self._slab = np.empty(0, np.uint8)
        self._used = 0  # bytes of it
        # interpreters count differently (3.14 borrows what lies on its stack): measured, not known
        self._count_unused = _count(deque([np.empty(0, np.uint8)]))

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A C-contiguous array; what stands in it is arbitrary."""
        size = dtype.itemsize
        for length in shape:
            size *= length
        if size > _LARGE:
            slab = _unused(self._own, size, self._count_unused)
            if slab is None:
                slab = np.empty(-(-size // _LARGE) * _LARGE, np.uint8)
            self._own.append(slab)
            return np.ndarray(shape, dtype, slab.data)
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if start + size > self._slab.size:
            if self._slab.size:
                self._shared.append(self._slab)
                del self._slab
            slab = _unused(self._shared, _SLAB, self._count_unused)
            self._slab = np.empty(_SLAB, np.uint8) if slab is None else slab
            start = 0
        self._used = start + size
        return np.ndarray(shape, dtype, self._slab.data, start)


def _count(slabs: deque[NDArray[np.uint8]]) -> int:
    """References to the first of some slabs, with that of the deque."""
    return sys.getrefcount(slabs[0])


def _unused(
    slabs: deque[NDArray[np.uint8]], size: int, count_unused: int
) -> NDArray[np.uint8] | None:
    """A slab that nobody uses, of a size that fits; taken out."""
    for _ in range(min(len(slabs), _LOOKED_AT)):
        count = _count(slabs)
        slab = slabs.popleft()
        if count == count_unused and size <= slab.size < 2 * size + _LARGE:
            return slab
        slabs.append(slab)
    return None
