"""The body of a message of the first framing: a pickle, as the incumbent's ends write and read it.

What is written can be loaded by a plain unpickler beside any numpy: an array goes as a call of
``numpy.ndarray`` on its bytes, in its own memory order. What is read may be such a pickle, numpy's
own, or one that calls ``make_numpy_ndarray_fromstring`` (interface facts, section 10). The
opcodes are looked through before anything is built: only those that make plain values are taken,
and functions only from a closed list, which our own stand for.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintProtocolError

from .shared_memory import order_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["dumps", "loads"]

_PROTOCOL = 5  # of Python 3.8, the first that has bytearrays
_KINDS = "biufcSU"
_OPCODES = frozenset(
    """
    PROTO FRAME STOP MARK POP POP_MARK MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    GLOBAL STACK_GLOBAL REDUCE BUILD
    """.split()  # noqa: SIM905
)


def dumps(message: tuple[Any, ...]) -> bytes:
    """The pickle of a message.

    Raises:
        TypeError: something that does not go over the wire.
    """
    file = io.BytesIO()
    _Pickler(file, _PROTOCOL).dump(_plain(message))
    return file.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        if value.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {value.dtype} does not go over the wire")
        order = order_of(value)
        stored = bytearray(np.ascontiguousarray(value.T if order == "F" else value))  # writable
        return np.ndarray, (value.shape, value.dtype.str, stored, 0, None, order)


def _plain(value: Any) -> Any:
    """The same in exact types, with scalars of numpy as those of Python."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, np.ndarray)):
        return value
    kinds: tuple[Any, ...] = (str, bytes, int, float)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(map(_plain, value))
    raise TypeError(f"a {type(value).__name__} does not go over the wire")


def loads(body: bytes) -> tuple[Any, ...]:
    """The message of a pickle; arrays are fresh and writable.

    Raises:
        SprintProtocolError: not such a pickle.
    """
    try:
        _check_opcodes(body)
        message = _Finisher()(_Unpickler(io.BytesIO(body)).load())
    except SprintProtocolError:
        raise
    except Exception as error:
        raise SprintProtocolError(
            "a message cannot be read",
            expected="a pickle of plain values and arrays",
            found=f"{body[:60]!r}, {type(error).__name__}: {error}",
        ) from None
    if not isinstance(message, tuple):
        raise SprintProtocolError(
            "not a message", expected="a tuple", found=f"a {type(message).__name__}"
        )
    return message


def _check_opcodes(body: bytes) -> None:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(body))):
        if opcode.name not in _OPCODES:
            raise ValueError(f"opcode {opcode.name}")
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > count:
            raise ValueError(f"memo place {argument} after {count} opcodes")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _FUNCTIONS[module, name]
        except KeyError:
            raise ValueError(f"{module}.{name} is not on the list") from None


def _dtype(name: object) -> np.dtype[Any]:
    if isinstance(name, _PickledDtype):
        return name.value
    if not isinstance(name, str):
        raise ValueError(f"dtype {name!r}")
    dtype = np.dtype(name)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"dtype {name!r}")
    return dtype


def _filled(buffer: Any, dtype: object, shape: Any, order: Any = "C") -> NDArray[Any]:
    """A writable array of bytes that must fill it exactly."""
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    flat: NDArray[Any] = (
        np.frombuffer(buffer, _dtype(dtype)) if len(buffer) else np.empty(0, _dtype(dtype))
    )
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError(f"shape {shape!r}")
    array = flat.reshape(sizes, order="F" if order == "F" else "C")
    return array if array.flags.writeable else array.copy(order="K")


def _ndarray(
    shape: Any, dtype: object, buffer: Any, offset: int = 0, strides: None = None, order: Any = "C"
) -> NDArray[Any]:
    if offset or strides is not None:
        raise ValueError(f"array with offset {offset!r}, strides {strides!r}")
    return _filled(buffer, dtype, shape, order)


def _scalar(dtype: object, data: bytes) -> Any:
    (item,) = np.frombuffer(data, _dtype(dtype))
    return item


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode(encoding)


def _bytearray(data: bytes = b"") -> bytearray:
    if not isinstance(data, bytes):
        raise ValueError(f"bytearray of {data!r}")
    return bytearray(data)


class _PickledDtype:
    """Stands for a dtype while its pickle is read: ``numpy.dtype(name, ...)``, then the state."""

    def __init__(self, name: str, *_: object) -> None:
        self.value = _dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (">", "<"):
            self.value = self.value.newbyteorder(state[1])
        elif state[1] not in ("|", "="):
            raise ValueError(f"byte order {state[1]!r}")


class _PickledArray:
    """Stands for an array while its pickle is read: made empty, then the state."""

    value: NDArray[Any] | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(data, (bytes, bytearray)):
            raise ValueError(f"array of a {type(data).__name__}")
        self.value = _filled(data, dtype, shape, "F" if is_fortran else "C")


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _PickledDtype,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytearray"): _bytearray,
}
for _core in ("numpy.core", "numpy._core"):
    _FUNCTIONS[_core + ".multiarray", "_reconstruct"] = _PickledArray
    _FUNCTIONS[_core + ".multiarray", "scalar"] = _scalar
    _FUNCTIONS[_core + ".numeric", "_frombuffer"] = _filled
for _module in ("returnn.util.task_system", "returnn.TaskSystem", "TaskSystem"):
    _FUNCTIONS[_module, "make_numpy_ndarray_fromstring"] = _filled


class _Finisher:
    """Puts what the stand-ins stand for in their place, each once."""

    def __init__(self) -> None:
        self.done: dict[int, tuple[Any, Any]] = {}  # id -> (kept alive, finished)

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, float, str, bytes, bytearray):
            return value
        if isinstance(value, (np.ndarray, np.generic)):
            return value
        if isinstance(value, (_PickledDtype, _PickledArray)) and value.value is not None:
            return value.value
        if kind not in (tuple, list, dict):
            raise ValueError(f"a {kind.__name__}")
        if id(value) not in self.done:
            if kind is dict:
                finished: Any = {self(key): self(item) for key, item in value.items()}
            else:
                finished = kind(map(self, value))
            self.done[id(value)] = value, finished
        return self.done[id(value)][1]
