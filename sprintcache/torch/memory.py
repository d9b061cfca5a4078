"""SharedPool: reusable memory in which a worker leaves batches for the training.

Fresh shared memory costs more than all the rest of a batch: the kernel clears every page of it. So
a worker keeps its blocks (files without a name: nothing remains if it is killed, and the size of
``/dev/shm`` does not matter), and the training maps each of them once.

Ownership. A worker owns its blocks. `SharedPool.take` returns a free one: the worker has no array
of it, and the training has released it as often as it was sent. The training releases a block when
the last tensor on it is deleted: it counts releases at the start of the block, where only the
training writes, and neither side waits. If the worker dies, tensors of the training stay valid; a
block that the training loses without releasing it is never used again. Several threads of the
training may delete tensors: a lock guards the count. A process that was forked from the training
releases nothing.

A block is identified by the numbers of the worker's process and of its file: the training opens it
below ``/proc``, so no descriptor is passed.
"""

from __future__ import annotations

import functools
import math
import mmap
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sprintcache._dataset.buffers import BatchBuffers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SharedPool", "SharedTensor", "is_possible"]

# each is an open file; further batches that the training keeps are sent as PyTorch does
_MAX_BLOCKS = 64

_HEAD = 64  # bytes of a block before its memory; the first of them are three numbers:
_NAME, _RELEASED, _CLOSED = range(3)


def is_possible() -> bool:
    """Whether the system has what a `SharedPool` needs."""
    return hasattr(os, "memfd_create") and os.access("/proc/self/fd", os.R_OK)


class BlockId(NamedTuple):
    """Identifies a block; `name` is a random number that the block contains as well."""

    process: int
    file: int
    name: int
    size: int


class SharedTensor(NamedTuple):
    """A tensor in a block, as it is sent: a reference, not its content."""

    block_id: BlockId
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def open(self) -> torch.Tensor:
        """The tensor; the block is released when it and all its views are deleted.

        Raises:
            ConnectionError: if the worker has died before the block was opened here.
        """
        mapping = _block_mappings(os.getpid()).at(self.block_id)
        memory = torch.from_numpy(mapping.memory()).view(self.dtype)
        return memory.as_strided(self.shape, self.stride, self.offset // memory.itemsize)


class SharedPool(BatchBuffers):
    """The blocks of a worker. One thread takes; another one may send."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, SharedBlock] = {}  # by the address of their memory

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content, in a free block.

        If too many blocks are in use, it is in private memory.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        free = sorted((b for b in self._blocks.values() if b.is_free), key=lambda b: b.size)
        fitting = [block for block in free if block.size >= size]
        if fitting:
            block = fitting[0]
        else:
            if free:  # too small: replaced by a larger one
                self._blocks.pop(free[-1].address).close()
            if len(self._blocks) >= _MAX_BLOCKS:
                return np.empty(shape, dtype)
            block = SharedBlock(size + size // 4)
            self._blocks[block.address] = block
        return block.memory()[:size].view(dtype).reshape(shape)

    def sent(self, tensor: torch.Tensor) -> SharedTensor | torch.Tensor:
        """What to send for a tensor: a reference, or the tensor itself if it is not in a block."""
        address = tensor.untyped_storage().data_ptr()
        block = self._blocks.get(address)
        if block is None:
            return tensor
        block.sent()
        offset = tensor.data_ptr() - address
        return SharedTensor(
            block.block_id, offset, tuple(tensor.shape), tensor.stride(), tensor.dtype
        )


class SharedBlock:
    """A block in the worker that owns it."""

    def __init__(self, size: int) -> None:
        self.size = -(-(size + _HEAD) // mmap.PAGESIZE) * mmap.PAGESIZE - _HEAD
        file = os.memfd_create("sprintcache-batch")
        os.ftruncate(file, _HEAD + self.size)
        name = int.from_bytes(os.urandom(7), "little")
        self.block_id = BlockId(os.getpid(), file, name, _HEAD + self.size)
        self._map = mmap.mmap(file, _HEAD + self.size)
        self._numbers = np.frombuffer(self._map, np.int64, 3)
        self._numbers[_NAME] = name
        self._times_sent = 0
        self.address: int = np.frombuffer(self._map, np.uint8).ctypes.data + _HEAD
        self._memory: weakref.ref[NDArray[np.uint8]] | None = None

    @property
    def is_free(self) -> bool:
        is_used = self._memory is not None and self._memory() is not None
        return not is_used and self._times_sent == self._numbers[_RELEASED]

    def memory(self) -> NDArray[np.uint8]:
        """All its bytes; the block is in use while this array, or a view of it, exists."""
        array = np.frombuffer(self._map, np.uint8, offset=_HEAD)
        self._memory = weakref.ref(array)
        return array

    def sent(self) -> None:
        self._times_sent += 1

    def close(self) -> None:
        self._numbers[_CLOSED] = 1
        os.close(self.block_id.file)


class BlockMapping:
    """A block in the training process."""

    def __init__(self, block_id: BlockId) -> None:
        path = f"/proc/{block_id.process}/fd/{block_id.file}"
        try:
            with open(path, "r+b", buffering=0) as file:
                self._map = mmap.mmap(file.fileno(), block_id.size)
            self._numbers = np.frombuffer(self._map, np.int64, 3)
            name = int(self._numbers[_NAME])
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"a batch of worker {block_id.process} is lost: {error}"
            ) from error
        if name != block_id.name:
            raise ConnectionError(f"a batch of worker {block_id.process} is lost: it has ended")
        self._owner = os.getpid()
        self._worker = f"/proc/{block_id.process}"
        self._lock = threading.RLock()  # reentrant: the garbage collector runs at any time

    @property
    def is_closed(self) -> bool:
        """Whether the worker sends nothing more in it."""
        return bool(self._numbers[_CLOSED]) or not os.path.exists(self._worker)

    def memory(self) -> NDArray[np.uint8]:
        array = np.frombuffer(self._map, np.uint8, offset=_HEAD)
        weakref.finalize(array, self._release).atexit = False
        return array

    def _release(self) -> None:
        if os.getpid() == self._owner:  # not from a forked process, which has the same tensors
            with self._lock:
                self._numbers[_RELEASED] += 1


class BlockMappings:
    """The blocks that this process has opened; safe for threads."""

    def __init__(self) -> None:
        self._mapped: dict[BlockId, BlockMapping] = {}
        self._lock = threading.Lock()

    def at(self, block_id: BlockId) -> BlockMapping:
        with self._lock:
            if block_id not in self._mapped:
                self._mapped = {
                    key: mapping for key, mapping in self._mapped.items() if not mapping.is_closed
                }
                self._mapped[block_id] = BlockMapping(block_id)
            return self._mapped[block_id]


@functools.cache
def _block_mappings(process: int) -> BlockMappings:
    """By process: in a fork, a thread that no longer exists may hold the lock."""
    return BlockMappings()
