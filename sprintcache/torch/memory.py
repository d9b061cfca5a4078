"""SharedPool: memory in which a worker leaves batches for the training, used again and again.

Fresh shared memory costs more than all the rest of a batch: the kernel clears every page of it. So
a worker keeps its segments (files without a name: nothing stays behind, however it dies, and the
size of ``/dev/shm`` does not matter), and the training maps each of them once.

Who owns what. A worker owns its segments. `SharedPool.take` gives a free one: no array of it lives
in the worker, and the training has given it back as often as it was sent. The training gives a
segment back when the last tensor on it dies: it counts so at the beginning of the segment, where
only the training writes, and nobody waits for anybody. If the worker dies, what the training holds
stays valid; if the training loses a segment without giving it back, it is never used again. Several
threads of the training may drop tensors: a lock guards the count. A process that was forked from
the training gives nothing back.

A segment is known by the numbers of the worker's process and of its file: the training opens it
below ``/proc``, so that no descriptor has to be passed.
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

from sprintcache._dataset.reader import BatchBuffers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SharedPool", "SharedTensor", "is_possible"]

# each is an open file; batches that the training keeps in any number are sent as PyTorch does it
_MOST_SEGMENTS = 64

_HEAD = 64  # bytes of a segment before its memory; the first of them are three numbers:
_NAME, _BACK, _OVER = range(3)


def is_possible() -> bool:
    """Whether the system has what a `SharedPool` needs."""
    return hasattr(os, "memfd_create") and os.access("/proc/self/fd", os.R_OK)


class _Place(NamedTuple):
    """Where a segment is found; `name` is a random number that stands in it as well."""

    process: int
    file: int
    name: int
    size: int


class SharedTensor(NamedTuple):
    """A tensor in a segment, as it is sent: not what it holds, but where."""

    place: _Place
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def open(self) -> torch.Tensor:
        """The tensor; the segment is given back when it and all its views are gone.

        Raises:
            ConnectionError: if the worker has died before the segment was opened here.
        """
        mapping = _mappings(os.getpid()).at(self.place)
        memory = torch.from_numpy(mapping.memory()).view(self.dtype)
        return memory.as_strided(self.shape, self.stride, self.offset // memory.itemsize)


class SharedPool(BatchBuffers):
    """The segments of a worker. One thread takes; another one may send."""

    def __init__(self) -> None:
        super().__init__()
        self._segments: dict[int, _Segment] = {}  # by the address of their memory

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape in a free segment; what stands in it is arbitrary.

        Where very many segments are in use it is in none.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        free = sorted((s for s in self._segments.values() if s.is_free), key=lambda s: s.size)
        fitting = [segment for segment in free if segment.size >= size]
        if fitting:
            segment = fitting[0]
        else:
            if free:  # too small: grown out of
                self._segments.pop(free[-1].address).close()
            if len(self._segments) >= _MOST_SEGMENTS:
                return np.empty(shape, dtype)
            segment = _Segment(size + size // 4)
            self._segments[segment.address] = segment
        return segment.memory()[:size].view(dtype).reshape(shape)

    def sent(self, tensor: torch.Tensor) -> SharedTensor | torch.Tensor:
        """What to send for a tensor that is on its way: the tensor where it is not in a segment."""
        address = tensor.untyped_storage().data_ptr()
        segment = self._segments.get(address)
        if segment is None:
            return tensor
        segment.sent()
        offset = tensor.data_ptr() - address
        return SharedTensor(
            segment.place, offset, tuple(tensor.shape), tensor.stride(), tensor.dtype
        )


class _Segment:
    """A segment in the worker that owns it."""

    def __init__(self, size: int) -> None:
        self.size = -(-(size + _HEAD) // mmap.PAGESIZE) * mmap.PAGESIZE - _HEAD
        file = os.memfd_create("sprintcache-batch")
        os.ftruncate(file, _HEAD + self.size)
        name = int.from_bytes(os.urandom(7), "little")
        self.place = _Place(os.getpid(), file, name, _HEAD + self.size)
        self._map = mmap.mmap(file, _HEAD + self.size)
        self._numbers = np.frombuffer(self._map, np.int64, 3)
        self._numbers[_NAME] = name
        self._times_sent = 0
        self.address: int = np.frombuffer(self._map, np.uint8).ctypes.data + _HEAD
        self._memory: weakref.ref[NDArray[np.uint8]] | None = None

    @property
    def is_free(self) -> bool:
        lives = self._memory is not None and self._memory() is not None
        return not lives and self._times_sent == self._numbers[_BACK]

    def memory(self) -> NDArray[np.uint8]:
        """All its bytes; the segment is in use as long as this array lives, or a view of it."""
        array = np.frombuffer(self._map, np.uint8, offset=_HEAD)
        self._memory = weakref.ref(array)
        return array

    def sent(self) -> None:
        self._times_sent += 1

    def close(self) -> None:
        self._numbers[_OVER] = 1
        os.close(self.place.file)


class _Mapping:
    """A segment in the process that trains."""

    def __init__(self, place: _Place) -> None:
        path = f"/proc/{place.process}/fd/{place.file}"
        try:
            with open(path, "r+b", buffering=0) as file:
                self._map = mmap.mmap(file.fileno(), place.size)
            self._numbers = np.frombuffer(self._map, np.int64, 3)
            found = int(self._numbers[_NAME])
        except (OSError, ValueError) as error:
            raise ConnectionError(f"a batch of worker {place.process} is lost: {error}") from error
        if found != place.name:
            raise ConnectionError(f"a batch of worker {place.process} is lost: it has ended")
        self._owner = os.getpid()
        self._worker = f"/proc/{place.process}"
        self._lock = threading.RLock()  # the garbage collector finds tensors at any time

    @property
    def is_over(self) -> bool:
        """Whether nothing will be sent in it any more."""
        return bool(self._numbers[_OVER]) or not os.path.exists(self._worker)

    def memory(self) -> NDArray[np.uint8]:
        array = np.frombuffer(self._map, np.uint8, offset=_HEAD)
        weakref.finalize(array, self._give_back).atexit = False
        return array

    def _give_back(self) -> None:
        if os.getpid() == self._owner:  # not from a forked process, which has the same tensors
            with self._lock:
                self._numbers[_BACK] += 1


class _Mappings:
    """The segments that this process has opened; safe for threads."""

    def __init__(self) -> None:
        self._known: dict[_Place, _Mapping] = {}
        self._lock = threading.Lock()

    def at(self, place: _Place) -> _Mapping:
        with self._lock:
            if place not in self._known:
                self._known = {p: known for p, known in self._known.items() if not known.is_over}
                self._known[place] = _Mapping(place)
            return self._known[place]


@functools.cache
def _mappings(process: int) -> _Mappings:
    """By process: in a forked one, a thread that is not there may have held the lock."""
    return _Mappings()
