"""The body of a message in the JSON framing: a JSON text, and the arrays that follow it.

In the text an array is ``{"__array__": [dtype, shape, order, offset]}``, bytes are
``{"__bytes__": latin-1 text}``. ``offset`` is a position in the memory file of that direction, or
null for an array that follows in the pipe, in the order of the text, without gaps. Reading builds
None, bool, int, float (also nan and infinite), str, bytes, list, dict with str keys, and arrays of
plain numbers or characters, whatever the bytes are. The message itself arrives as a tuple; tuples
inside it arrive as lists, scalars of numpy as those of Python.
"""

from __future__ import annotations

import json
import math
import sys
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintProtocolError

from .foreign_errors import is_foreign
from .plain_values import (
    MAX_DEPTH,
    READING_ERRORS,
    brief,
    check_depth,
    is_plain_dtype,
    plain_dtype,
)
from .shared_memory import ALIGNMENT, order_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .shared_memory import ArrayMemory, Order

__all__ = ["Packer", "Unpacker"]

_ARRAY, _BYTES = "__array__", "__bytes__"
_MAX_NDIM = 32
_MAX_SIZE = 1 << 48  # of an axis
_MAX_DIGITS = 100  # of an int


class Packer:
    """Writes messages of one direction."""

    def __init__(self, memory: ArrayMemory | None) -> None:
        self._memory = memory
        self._arrays: list[NDArray[Any]] = []  # for the pipe
        self._mapped: list[tuple[int, Order, NDArray[Any]]] = []  # for the memory file
        self._size = 0

    def pack(self, message: tuple[Any, ...]) -> tuple[bytes, list[NDArray[Any]]]:
        """The text of a message, and the arrays that go through the pipe, contiguous, in C order.

        With a memory file all arrays are copied into it and none goes through the pipe. Raises
        TypeError for a value that is not plain, ValueError for one nested too deep.
        """
        self._arrays, self._mapped, self._size = [], [], 0
        text = f"[{','.join([self._text(value, 0) for value in message])}]".encode("ascii")
        if self._memory is not None and self._mapped:
            self._memory.write(self._mapped, self._size)
        arrays, self._arrays, self._mapped = self._arrays, [], []
        return text, arrays

    def _text(self, value: Any, depth: int) -> str:
        """JSON of a value; the frequent types first."""
        kind = type(value)
        if kind is str:
            return encode_basestring_ascii(value)
        if kind is int or (kind is float and math.isfinite(value)):
            return repr(value)
        if kind is np.ndarray:
            return self._array(value)
        if value is None or isinstance(value, (bool, float)):
            return json.dumps(value)
        if isinstance(value, (list, tuple, dict)):
            if depth >= MAX_DEPTH:
                raise ValueError(
                    f"a message that contains itself, or nests deeper than {MAX_DEPTH} levels"
                )
            if isinstance(value, dict):
                pairs = [f"{_key(k)}:{self._text(v, depth + 1)}" for k, v in value.items()]
                return f"{{{','.join(pairs)}}}"
            return f"[{','.join([self._text(item, depth + 1) for item in value])}]"
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, np.generic):
            return self._scalar(value, depth)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f'{{"{_BYTES}":{encode_basestring_ascii(bytes(value).decode("latin-1"))}}}'
        if isinstance(value, (str, int)):  # of a subclass
            return self._text(str(value) if isinstance(value, str) else int(value), depth)
        raise TypeError(f"a {kind.__name__} cannot be sent")

    def _scalar(self, value: np.generic, depth: int) -> str:
        item = value.item()
        if isinstance(item, np.generic):
            raise TypeError(f"a {type(value).__name__} cannot be sent")
        return self._text(item, depth)

    def _array(self, array: NDArray[Any]) -> str:
        name = array.dtype.str
        if not is_plain_dtype(name):
            raise TypeError(f"an array of {array.dtype} cannot be sent")
        order = order_of(array)
        offset = "null"
        if self._memory is not None:
            start = -(-self._size // ALIGNMENT) * ALIGNMENT
            self._size = start + array.nbytes
            self._mapped.append((start, order, array))
            offset = str(start)
        else:
            self._arrays.append(np.ascontiguousarray(array.T if order == "F" else array))
        sizes = ",".join(map(str, array.shape))
        return f'{{"{_ARRAY}":["{name}",[{sizes}],"{order}",{offset}]}}'


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of type {type(key).__name__} cannot be sent")
    if key in (_ARRAY, _BYTES):
        raise ValueError(f"the key {key!r} is reserved")
    return encode_basestring_ascii(key)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # more take quadratic time
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


# newer interpreters have such a limit
_PARSE_INT = None if hasattr(sys, "set_int_max_str_digits") else _integer


class Unpacker:
    """Reads messages of one direction."""

    def __init__(self, memory: ArrayMemory | None) -> None:
        self._memory = memory
        self._decode = json.JSONDecoder(object_hook=self._restore, parse_int=_PARSE_INT).raw_decode
        self._arrays: list[NDArray[Any]] = []
        self._num_bytes_left = 0

    def unpack(self, text: bytes, payload: int) -> tuple[tuple[Any, ...], list[NDArray[Any]]]:
        """A message, and its arrays that the pipe has yet to fill, contiguous, in C order.

        `payload` bytes follow in the pipe; nothing larger is allocated. Raises SprintProtocolError.
        """
        self._arrays, self._num_bytes_left = [], payload
        try:
            message, end = self._decode(text.decode("ascii"))
            if end < len(text):
                raise ValueError(f"more after {end} characters")
            if isinstance(message, list):
                check_depth(message)
        except READING_ERRORS as error:
            if is_foreign(error):
                raise
            raise SprintProtocolError(
                "a message cannot be read",
                expected="its JSON text",
                found=f"{_start(text)}: {error}",
            ) from None
        if not isinstance(message, list):
            raise SprintProtocolError("not a message", expected="a tuple", found=_start(text))
        if self._num_bytes_left:
            raise SprintProtocolError(
                "arrays and payload of a message differ in size",
                expected=f"arrays of {payload} bytes",
                found=f"{payload - self._num_bytes_left} bytes",
            )
        arrays, self._arrays = self._arrays, []
        return tuple(message), arrays

    def _restore(self, pairs: dict[str, Any]) -> Any:
        if _ARRAY in pairs:
            return self._array(pairs[_ARRAY])
        if _BYTES in pairs:
            if not isinstance(pairs[_BYTES], str):
                raise ValueError(f"bytes of {brief(pairs[_BYTES])}")
            return pairs[_BYTES].encode("latin-1")
        return pairs

    def _array(self, description: Any) -> NDArray[Any]:
        if not (isinstance(description, list) and len(description) == 4):
            raise ValueError(f"array of {brief(description)}")
        name, shape, order, offset = description
        dtype = plain_dtype(name)
        nbytes = dtype.itemsize
        if order not in ("C", "F") or not isinstance(shape, list) or len(shape) > _MAX_NDIM:
            raise ValueError(f"array of shape {brief(shape)} in order {brief(order)}")
        for size in shape:
            if type(size) is not int or not 0 <= size <= _MAX_SIZE:
                raise ValueError(f"array of shape {brief(shape)}")
            nbytes *= size
        if offset is not None:
            if self._memory is None or type(offset) is not int or offset < 0 or offset % ALIGNMENT:
                raise ValueError(f"array at {brief(offset)} of the memory file")
            return self._memory.view(offset, dtype, shape, order, nbytes)
        if nbytes > self._num_bytes_left:
            raise ValueError(f"array of {nbytes} bytes where {self._num_bytes_left} remain")
        self._num_bytes_left -= nbytes
        array: NDArray[Any] = np.empty(shape if order == "C" else shape[::-1], dtype)
        self._arrays.append(array)
        return array if order == "C" else array.T


def _start(text: bytes) -> str:
    return repr(text[:80]) + ("..." if len(text) > 80 else "")
