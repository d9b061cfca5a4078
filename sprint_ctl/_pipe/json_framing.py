"""The body of a message of the second framing: a JSON text, and the arrays beside it.

In the text an array stands as ``{"__array__": [dtype, shape, order, place]}``, bytes as
``{"__bytes__": latin-1 text}``; ``place`` is an offset in the memory file of that direction, or
null for an array that follows in the pipe, in the order of the text, without gaps. So whatever the
bytes are, reading them makes nothing but None, bool, int, float (also nan and infinite), str,
bytes, list, dict with str keys, and arrays of plain numbers or characters. The message itself
arrives as a tuple; tuples inside it arrive as lists, scalars of numpy as those of Python.
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintProtocolError

from .shared_memory import ALIGNMENT, order_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .shared_memory import ArrayMemory, Order

__all__ = ["Packer", "Unpacker"]

_ARRAY, _BYTES = "__array__", "__bytes__"
_PLAIN = re.compile(r"[<>|]?(b1|[iu][1248]|f2|f4|f8|c8|c16|[SU]\d{1,9})")
_MAX_NDIM = 32
# the usual ones, for speed
_known = {name: np.dtype(name) for name in ("<f4", "<f8", "<i4", "<i8", "<u4", "|u1")}


class Packer:
    """Writes messages of one direction."""

    def __init__(self, memory: ArrayMemory | None) -> None:
        self._memory = memory
        self._encode = json.JSONEncoder(
            default=self._describe, separators=(",", ":"), check_circular=False
        ).encode
        self._arrays: list[NDArray[Any]] = []  # for the pipe
        self._placed: list[tuple[int, Order, NDArray[Any]]] = []  # for the memory file
        self._size = 0

    def pack(self, message: tuple[Any, ...]) -> tuple[bytes, list[NDArray[Any]]]:
        """The text of a message, and the arrays that go through the pipe, contiguous, in C order.

        With a memory file all arrays are copied into it and none goes through the pipe.

        Raises:
            TypeError, ValueError: something that does not go over the wire.
        """
        self._arrays, self._placed, self._size = [], [], 0
        try:
            text = f"[{','.join([self._text(value) for value in message])}]".encode("ascii")
        except RecursionError:
            raise ValueError("a message that holds itself, or too deep") from None
        if self._memory is not None and self._placed:
            self._memory.write(self._placed, self._size)
        arrays, self._arrays, self._placed = self._arrays, [], []
        return text, arrays

    def _text(self, value: Any) -> str:
        """JSON of one part of a message; the usual kinds without the machinery of the encoder."""
        kind = type(value)
        if kind is str:
            return encode_basestring_ascii(value)
        if kind is int or (kind is float and math.isfinite(value)):
            return repr(value)
        if kind is np.ndarray:
            name, shape, order, place = self._array(value)
            where = "null" if place is None else place
            sizes = ",".join(map(str, shape))
            return f'{{"{_ARRAY}":["{name}",[{sizes}],"{order}",{where}]}}'
        return self._encode(value)

    def _describe(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {_ARRAY: self._array(value)}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {_BYTES: bytes(value).decode("latin-1")}
        raise TypeError(f"a {type(value).__name__} does not go over the wire")

    def _array(self, array: NDArray[Any]) -> list[Any]:
        name = array.dtype.str
        if name not in _known and not _PLAIN.fullmatch(name):
            raise TypeError(f"an array of {array.dtype} does not go over the wire")
        order = order_of(array)
        place = None
        if self._memory is not None:
            place = -(-self._size // ALIGNMENT) * ALIGNMENT
            self._size = place + array.nbytes
            self._placed.append((place, order, array))
        else:
            self._arrays.append(np.ascontiguousarray(array.T if order == "F" else array))
        return [name, array.shape, order, place]


class Unpacker:
    """Reads messages of one direction.

    Attributes:
        empty: makes the arrays that come through the pipe, as ``numpy.empty`` does.
    """

    def __init__(self, memory: ArrayMemory | None) -> None:
        self.empty: Callable[[Sequence[int], np.dtype[Any]], NDArray[Any]] = np.empty
        self._memory = memory
        self._decode = json.JSONDecoder(object_hook=self._restore).raw_decode
        self._arrays: list[NDArray[Any]] = []
        self._remaining = 0

    def unpack(self, text: bytes, payload: int) -> tuple[tuple[Any, ...], list[NDArray[Any]]]:
        """A message, and its arrays that the pipe has yet to fill, contiguous, in C order.

        Args:
            text: the JSON text.
            payload: bytes that follow in the pipe; nothing larger is allocated.

        Raises:
            SprintProtocolError: not such a text.
        """
        self._arrays, self._remaining = [], payload
        try:
            message, end = self._decode(text.decode("ascii"))
            if end < len(text):
                raise ValueError(f"more after {end} characters")
        except (ValueError, RecursionError, MemoryError) as error:
            raise SprintProtocolError(
                "a message cannot be read",
                expected="its JSON text",
                found=f"{_start(text)}: {error}",
            ) from None
        if not isinstance(message, list):
            raise SprintProtocolError("not a message", expected="a tuple", found=_start(text))
        if self._remaining:
            raise SprintProtocolError(
                "a message does not add up",
                expected=f"arrays of {payload} bytes",
                found=f"{payload - self._remaining} bytes",
            )
        arrays, self._arrays = self._arrays, []
        return tuple(message), arrays

    def _restore(self, pairs: dict[str, Any]) -> Any:
        if _ARRAY in pairs:
            return self._array(pairs[_ARRAY])
        if _BYTES in pairs:
            if not isinstance(pairs[_BYTES], str):
                raise ValueError(f"bytes of {pairs[_BYTES]!r}")
            return pairs[_BYTES].encode("latin-1")
        return pairs

    def _array(self, facts: Any) -> NDArray[Any]:
        if not (isinstance(facts, list) and len(facts) == 4):
            raise ValueError(f"array of {facts!r}")
        name, shape, order, place = facts
        dtype = (_known.get(name) if isinstance(name, str) else None) or _dtype(name)
        nbytes = dtype.itemsize
        if order not in ("C", "F") or not isinstance(shape, list) or len(shape) > _MAX_NDIM:
            raise ValueError(f"array of shape {shape!r} in order {order!r}")
        for size in shape:
            if type(size) is not int or size < 0:
                raise ValueError(f"array of shape {shape!r}")
            nbytes *= size
        if place is not None:
            if self._memory is None or type(place) is not int or place < 0 or place % ALIGNMENT:
                raise ValueError(f"array at {place!r} of the memory file")
            return self._memory.view(place, dtype, shape, order, nbytes)
        if nbytes > self._remaining:
            raise ValueError(f"array of {nbytes} bytes where {self._remaining} remain")
        self._remaining -= nbytes
        array = self.empty(shape if order == "C" else shape[::-1], dtype)
        self._arrays.append(array)
        return array if order == "C" else array.T


def _dtype(name: Any) -> np.dtype[Any]:
    if isinstance(name, str) and _PLAIN.fullmatch(name):
        return np.dtype(name)
    raise ValueError(f"array of type {name!r}")


def _start(text: bytes) -> str:
    return repr(text[:80]) + ("..." if len(text) > 80 else "")
