"""The body of a message in the pickle framing, as RETURNN's ends write and read it.

Written: a pickle that a plain unpickler loads with any numpy. An array is a call of
``numpy.ndarray`` on its bytes, in its own memory order.

Read: such a pickle, numpy's own, or one that calls ``make_numpy_ndarray_fromstring``
(sprint-interface.md, section 10). The opcodes are executed here and not by `pickle`: only those
that build plain values exist, functions come from a closed list, keys are str, BUILD reaches the
two placeholders of numpy's pickles and nothing else. Opcodes, items, nesting and the bytes made
from a message are bounded, and the deadline is checked on the way.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintProtocolError, SprintTimeoutError

from .foreign_errors import is_foreign
from .plain_values import MAX_DEPTH, READING_ERRORS, brief, is_plain_dtype, plain_dtype
from .shared_memory import order_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["dumps", "loads"]

_PROTOCOL = 5  # of Python 3.8, the first that has bytearrays
_MAX_ITEMS = 1 << 18  # opcodes of a message, and values in it
_ITEMS_PER_CHECK = 1 << 10  # of the deadline
_MIN_BYTES = 1 << 16


def dumps(message: tuple[Any, ...]) -> bytes:
    """The pickle of a message; TypeError, ValueError for values that are not plain, or too deep."""
    file = io.BytesIO()
    _Pickler(file, _PROTOCOL).dump(_plain(message, 0))
    return file.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return NotImplemented
        if not is_plain_dtype(value.dtype.str):
            raise TypeError(f"an array of {value.dtype} cannot be sent")
        order = order_of(value)
        stored = bytearray(np.ascontiguousarray(value.T if order == "F" else value))  # writable
        return np.ndarray, (value.shape, value.dtype.str, stored, 0, None, order)


def _plain(value: Any, depth: int) -> Any:
    """The same in exact types, with scalars of numpy as those of Python."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, np.ndarray)):
        return value
    kinds: tuple[Any, ...] = (str, bytes, int, float)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if depth > MAX_DEPTH:
        raise ValueError(f"a message that contains itself, or nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of type {type(key).__name__} cannot be sent")
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return (tuple if isinstance(value, tuple) else list)(_plain(v, depth + 1) for v in value)
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def loads(body: bytes, deadline: float | None = None) -> tuple[Any, ...]:
    """The message of a pickle. Arrays are new and writable; lists, tuples, dicts share nothing.

    Raises SprintProtocolError, or SprintTimeoutError after `deadline` (``time.monotonic()``).
    """
    try:
        message = _PickleReader(body, deadline).read()
    except SprintTimeoutError:
        raise
    except READING_ERRORS as error:
        if is_foreign(error):
            raise
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


# ---- arrays ------------------------------------------------------------------------------------


class _PickledDtype:
    """Placeholder of a dtype while its pickle is read: ``numpy.dtype(name, ...)``, then BUILD."""

    def __init__(self, name: object, *_: object) -> None:
        self.value = plain_dtype(name)

    def set_state(self, state: tuple[Any, ...]) -> None:
        byte_order = state[1]
        if byte_order in (">", "<"):
            self.value = self.value.newbyteorder(byte_order)
        elif byte_order not in ("|", "="):
            raise ValueError(f"byte order {brief(byte_order)}")


class _PickledArray:
    """Placeholder of an array while its pickle is read: ``_reconstruct(...)``, then BUILD."""

    value: NDArray[Any] | None = None

    def __init__(self, *_: object) -> None:
        pass

    def set_state(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _array_of_bytes(data, dtype, shape, "F" if is_fortran is True else "C")


def _dtype(name: object) -> np.dtype[Any]:
    return name.value if isinstance(name, _PickledDtype) else plain_dtype(name)


def _array_of_bytes(buffer: Any, dtype: object, shape: Any, order: Any = "C") -> NDArray[Any]:
    """A writable array of bytes that must fill it exactly."""
    if type(buffer) not in (bytes, bytearray):
        raise ValueError(f"array of a {type(buffer).__name__}")
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError(f"shape {brief(shape)}")
    flat: NDArray[Any] = (
        np.frombuffer(buffer, _dtype(dtype)) if len(buffer) else np.empty(0, _dtype(dtype))
    )
    array = flat.reshape(tuple(sizes), order="F" if order == "F" else "C")
    return array if array.flags.writeable else array.copy(order="K")


def _ndarray(
    shape: Any, dtype: object, buffer: Any, offset: int = 0, strides: None = None, order: Any = "C"
) -> NDArray[Any]:
    if offset != 0 or strides is not None:
        raise ValueError(f"array with offset {brief(offset)}, strides {brief(strides)}")
    return _array_of_bytes(buffer, dtype, shape, order)


def _scalar(dtype: object, data: Any) -> Any:
    array = _array_of_bytes(data, dtype, 1)
    if array.dtype.kind == "c":
        raise ValueError("a complex number outside an array")
    (item,) = array
    return item


def _encode(text: Any, encoding: object) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise ValueError(f"encoding {brief(encoding)} of a {type(text).__name__}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _bytearray(data: Any = b"") -> bytearray:
    if type(data) is not bytes:
        raise ValueError(f"bytearray of a {type(data).__name__}")
    return bytearray(data)


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _PickledDtype,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytearray"): _bytearray,
    ("__builtin__", "bytearray"): _bytearray,  # of protocol 2
    ("__builtin__", "bytes"): _empty_bytes,  # likewise, called without arguments for b""
}
for _core in ("numpy.core", "numpy._core"):
    _FUNCTIONS[_core + ".multiarray", "_reconstruct"] = _PickledArray
    _FUNCTIONS[_core + ".multiarray", "scalar"] = _scalar
    _FUNCTIONS[_core + ".numeric", "_frombuffer"] = _array_of_bytes
for _module in ("returnn.util.task_system", "returnn.TaskSystem", "TaskSystem"):
    _FUNCTIONS[_module, "make_numpy_ndarray_fromstring"] = _array_of_bytes


# ---- opcodes -----------------------------------------------------------------------------------


class _Function:
    """A function of the list, on the stack until REDUCE calls it."""

    def __init__(self, module: Any, name: Any) -> None:
        known = _FUNCTIONS.get((module, name)) if type(module) is type(name) is str else None
        if known is None:
            raise ValueError(f"{brief(module)}.{brief(name)} is not on the list of functions")
        self.call = known


class _PickleReader:
    """The stack and memo of one message."""

    def __init__(self, body: bytes, deadline: float | None) -> None:
        self._body = body
        self._deadline = deadline
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # stacks below the marks
        self._memo: dict[int, Any] = {}
        self._num_items = 0
        # calls and shared values may not make more of a message than this
        self._num_bytes_left = 4 * len(body) + _MIN_BYTES

    def read(self) -> Any:
        """Executes the opcodes; the value, without placeholders."""
        file = io.BytesIO(self._body)
        code = b""
        while code != b".":
            code = file.read(1)
            self._count()
            if code not in _OPCODES:
                raise ValueError(f"opcode {code!r}")  # before its argument is parsed
            name, read_argument = _OPCODES[code]
            argument = read_argument(file)
            if name in _LITERALS:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            else:
                _ACTIONS[name](self, argument)
        (value,) = self._stack
        self._num_items = 0
        return self._finished(value, 0)

    def _count(self) -> None:
        self._num_items += 1
        if self._num_items > _MAX_ITEMS:
            raise ValueError(f"more than {_MAX_ITEMS} items")
        if self._deadline is None or self._num_items % _ITEMS_PER_CHECK:
            return
        if time.monotonic() > self._deadline:
            raise SprintTimeoutError("a message was not read in time")

    def _spend(self, value: Any) -> None:
        """Counts the bytes of a value that a call makes, or that the message contains again."""
        if isinstance(value, (str, bytes, bytearray)):
            self._num_bytes_left -= len(value)
        elif isinstance(value, np.ndarray):
            self._num_bytes_left -= value.nbytes
        if self._num_bytes_left < 0:
            raise ValueError("values of many times the size of the message")

    def _finished(self, value: Any, depth: int) -> Any:
        """A value with placeholders replaced and containers copied, so that none is shared."""
        self._count()
        kind = type(value)
        if kind in (tuple, list, dict):
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
            if kind is dict:
                return {key: self._finished(item, depth + 1) for key, item in value.items()}
            return kind([self._finished(item, depth + 1) for item in value])
        if kind in (str, bytes, bytearray):
            self._spend(value)
        elif kind is _PickledDtype:
            return value.value.str  # a dtype is not a plain value, its name is
        elif kind is _PickledArray:
            if value.value is None:
                raise ValueError("an array without its state")
            return value.value
        elif not (value is None or isinstance(value, (bool, int, float, np.ndarray, np.generic))):
            raise ValueError(f"a {kind.__name__}")
        return value

    # ---- one opcode each

    def _begin(self, protocol: int) -> None:
        if protocol > _PROTOCOL:
            raise ValueError(f"pickle protocol {protocol}")

    def _pop_marked(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _mark(self, _: object) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _pop(self, _: object) -> None:
        self._stack.pop()

    def _pop_mark(self, _: object) -> None:
        self._pop_marked()

    def _memoize(self, index: int | None) -> None:
        if index is not None and index > self._num_items:
            raise ValueError(f"memo index {index} after {self._num_items} items")
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _tuple(self, _: object) -> None:
        items = self._pop_marked()
        self._stack.append(tuple(items))

    def _tuple_of(self, size: int) -> None:
        items = tuple(self._stack[-size:])
        if len(items) < size:
            raise ValueError("a tuple of missing items")
        del self._stack[-size:]
        self._stack.append(items)

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError(f"an append to a {type(target).__name__}")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError(f"{len(items)} keys and values for a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):  # noqa: B905
            if type(key) is not str:
                raise ValueError(f"a key of type {type(key).__name__}")
            target[key] = value

    def _set_item(self, _: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _global(self, names: tuple[str, str]) -> None:
        self._stack.append(_Function(*names))

    def _stack_global(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_Function(module, name))

    def _reduce(self, _: object) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if type(function) is not _Function or type(arguments) is not tuple:
            raise ValueError(f"a call of a {type(function).__name__}")
        made = function.call(*arguments)
        self._spend(made)
        self._stack.append(made)

    def _build(self, _: object) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) not in (_PickledDtype, _PickledArray) or type(state) is not tuple:
            raise ValueError(f"a state of a {type(target).__name__}")
        target.set_state(state)
        self._spend(target.value)


_LITERALS = frozenset(
    """
    BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    """.split()  # noqa: SIM905
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_ACTIONS: dict[str, Callable[[_PickleReader, Any], None]] = {
    "PROTO": _PickleReader._begin,
    "FRAME": lambda reader, _: None,
    "STOP": lambda reader, _: None,
    "MARK": _PickleReader._mark,
    "POP": _PickleReader._pop,
    "POP_MARK": _PickleReader._pop_mark,
    "MEMOIZE": _PickleReader._memoize,
    "BINPUT": _PickleReader._memoize,
    "LONG_BINPUT": _PickleReader._memoize,
    "BINGET": _PickleReader._get,
    "LONG_BINGET": _PickleReader._get,
    "TUPLE": _PickleReader._tuple,
    "TUPLE1": lambda reader, _: reader._tuple_of(1),
    "TUPLE2": lambda reader, _: reader._tuple_of(2),
    "TUPLE3": lambda reader, _: reader._tuple_of(3),
    "APPEND": lambda reader, _: reader._extend([reader._stack.pop()]),
    "APPENDS": lambda reader, _: reader._extend(reader._pop_marked()),
    "SETITEM": _PickleReader._set_item,
    "SETITEMS": lambda reader, _: reader._update(reader._pop_marked()),
    "GLOBAL": _PickleReader._global,
    "STACK_GLOBAL": _PickleReader._stack_global,
    "REDUCE": _PickleReader._reduce,
    "BUILD": _PickleReader._build,
}


def _global_argument(file: io.BytesIO) -> tuple[str, str]:
    """Module and name; the reader of pickletools would also decode escapes."""
    return file.readline()[:-1].decode("ascii"), file.readline()[:-1].decode("ascii")


def _argument_reader(opcode: pickletools.OpcodeInfo) -> Callable[[io.BytesIO], Any]:
    if opcode.name == "GLOBAL":
        return _global_argument
    return opcode.arg.reader if opcode.arg is not None else lambda _: None


_OPCODES = {
    opcode.code.encode("latin-1"): (opcode.name, _argument_reader(opcode))
    for opcode in pickletools.opcodes
    if opcode.name in _LITERALS or opcode.name in _CONSTANTS or opcode.name in _ACTIONS
}
