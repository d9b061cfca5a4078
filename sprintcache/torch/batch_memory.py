"""BatchMemory: memory of batches that is reused once their last tensor is deleted.

Fresh memory costs more than decoding into it: the kernel clears every page. A `BatchMemory` keeps
blocks instead. A block is in use while an array or tensor on it exists, so a tensor that the
training keeps is never overwritten. The block that became free last is used first, since the
processor's caches may still hold it. `PinnedMemory` is page-locked memory, which PyTorch itself
reuses once copies to a device that are in progress have ended.

Any number of threads may take and release. Releasing takes no lock: it may happen in a process that
was forked while another thread held it. To take, such a process makes a new object.
"""

from __future__ import annotations

import math
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sprintcache._dataset.reader import BatchBuffers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchMemory", "PinnedMemory"]


class BatchMemory(BatchBuffers):
    """Blocks of private memory, by data key."""

    def __init__(self, max_free: int) -> None:
        """Allocates nothing yet.

        Args:
            max_free: number of free blocks of a data key that are kept.
        """
        super().__init__()
        self._max_free = max_free
        self._free: dict[str, list[memoryview]] = {}  # in the order of their release
        self._leases: dict[int, _Lease] = {}  # by their id
        self._lock = threading.RLock()  # reentrant: the garbage collector runs at any time

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content, in a free block."""
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        with self._lock:
            free = self._free.setdefault(key, [])
            block = _latest(free, size)
            if len(free) > self._max_free:
                del free[: -self._max_free]
        # all views refer to this array, since its own base is not an array
        array: NDArray[Any] = np.frombuffer(block, dtype, count)
        lease = _Lease(array, self._release)
        lease.block, lease.free = block, free
        self._leases[id(lease)] = lease
        return array.reshape(shape)

    def _release(self, lease: Any) -> None:
        del self._leases[id(lease)]
        lease.free.append(lease.block)


class _Lease(weakref.ref["NDArray[Any]"]):
    """Calls back when the last array on a block is deleted."""

    __slots__ = ("block", "free")

    block: memoryview
    free: list[memoryview]


def _latest(free: list[memoryview], size: int) -> memoryview:
    """Removes the last block of at least this size; if there is none, replaces one by a new one."""
    for index in range(len(free) - 1, -1, -1):
        if len(free[index]) >= size:
            return free.pop(index)
    if free:
        free.pop()
    return np.empty(size + size // 4 + 64, np.uint8).data


class PinnedMemory(BatchBuffers):
    """Page-locked memory, from which a device copies while the training computes."""

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        array: NDArray[Any] = torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        return array
