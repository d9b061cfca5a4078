"""A memory file for the arrays of one direction: written by one process, mapped by both.

An array is copied into the file once, in its memory order, and read in place. The writer owns the
file: each message starts again at offset 0, so a view is valid until the next message of that
direction is received. Requests and replies alternate, which makes this safe.

The file is anonymous and exists as long as a descriptor of it. It can grow but never shrink (a
seal), so a mapped page always exists.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .descriptors import above_standard, close_all, standard_reserved

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ALIGNMENT", "ArrayMemory", "order_of"]

Order = Literal["C", "F"]

ALIGNMENT = 64  # of every array, bytes
_STEP = 1 << 22  # the file grows by multiples of this
# linux/fcntl.h; Python has the names from 3.10 on
_ADD_SEALS, _SEAL_SHRINK = 1033, 2


class ArrayMemory:
    """One end of a memory file; owns its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._fds = [fd]  # empty once closed
        self._map: mmap.mmap | None = None
        self._size = 0  # of the mapping

    @classmethod
    def create(cls, name: str) -> ArrayMemory:
        """A new, empty file. Raises OSError if the system does not support it."""
        fd = above_standard(os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        try:
            fcntl.fcntl(fd, _ADD_SEALS, _SEAL_SHRINK)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    def write(self, arrays: Iterable[tuple[int, Order, NDArray[Any]]], size: int) -> None:
        """Copies arrays to offsets, in C or F order; ``size`` is the end of the last one."""
        if size > self._size:
            os.ftruncate(self.fd, max(-(-size // _STEP) * _STEP, os.fstat(self.fd).st_size))
            self._remap()
        for offset, order, array in arrays:
            if array.size:  # without any element, nothing may be mapped yet
                np.copyto(self._view(offset, array.dtype, array.shape, order), array)

    def view(
        self, offset: int, dtype: np.dtype[Any], shape: Sequence[int], order: Order, nbytes: int
    ) -> NDArray[Any]:
        """An array of the other end, not copied. Raises ValueError if the file is too small."""
        if offset + nbytes > self._size:
            self._remap()
            if offset + nbytes > self._size:
                raise ValueError(f"bytes {offset} to {offset + nbytes} of {self._size}")
        return self._view(offset, dtype, shape, order)

    def _view(
        self, offset: int, dtype: np.dtype[Any], shape: Sequence[int], order: Order
    ) -> NDArray[Any]:
        buffer: Any = self._map if self._map is not None else b""
        array: NDArray[Any] = np.ndarray(tuple(shape), dtype, buffer, offset, None, order)
        return array

    def _remap(self) -> None:
        # the old mapping is unmapped with the last view of it
        self._size = os.fstat(self.fd).st_size
        if self._size:
            with standard_reserved():
                self._map = mmap.mmap(self.fd, self._size)

    def close(self) -> None:
        """Closes the descriptor; views stay valid. Idempotent."""
        self._map = None
        self._size = 0
        close_all(self._fds)


def order_of(array: NDArray[Any]) -> Order:
    """The memory order of an array in a message: "F" if the first axis varies fastest, else "C"."""
    if array.flags.c_contiguous or array.ndim < 2:
        return "C"
    return "F" if abs(array.strides[0]) < abs(array.strides[-1]) else "C"
