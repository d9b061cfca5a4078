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
        self._free: dict[str, list[_Lease]] = {}  # that ended, in this order
        self._leases: dict[int, _Lease] = {}  # all, by their id
        self._lock = threading.RLock()  # reentrant: the garbage collector runs at any time

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content, in a free block."""
        count = math.prod(shape)
        with self._lock:
            free = self._free.setdefault(key, [])
            block = self._block(free, count * np.dtype(dtype).itemsize)
        # all views refer to this array, since its own base is not an array
        array: NDArray[Any] = np.frombuffer(block, dtype, count)
        # no code in Python, in which the exception of a signal handler would be lost
        lease = _Lease(array, free.append)
        lease.block = block
        self._leases[id(lease)] = lease
        return array.reshape(shape)

    def _block(self, free: list[_Lease], size: int) -> memoryview:
        """The last free block of at least this size, or a new one in place of the last."""
        fitting = -1
        for index in range(len(free) - 1, -1, -1):
            if id(free[index]) not in self._leases:  # an exception came before it was kept
                del free[index]
            elif len(free[index].block) >= size:
                fitting = index
                break
        block = None
        if free:
            block, lease_id = free[fitting].block, id(free[fitting])
            # without a call in between, so no handler runs
            del self._leases[lease_id]
            del free[fitting]
        while len(free) > self._max_free:
            self._leases.pop(id(free.pop(0)), None)
        if block is None or len(block) < size:
            block = np.empty(size + size // 4 + 64, np.uint8).data
        return block


class _Lease(weakref.ref["NDArray[Any]"]):
    """Calls back when the last array on a block is deleted."""

    __slots__ = ("block",)

    block: memoryview


class PinnedMemory(BatchBuffers):
    """Page-locked memory, from which a device copies while the training computes."""

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        array: NDArray[Any] = torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        return array
