"""Lists of names that were pickled, as RETURNN accepts them for segment lists.

The opcodes of a list of strings are interpreted here, and no other ones: nothing is imported,
called or built, and nothing is allocated beyond the bytes that are present.
"""

from __future__ import annotations

import pickletools
import warnings
from typing import TYPE_CHECKING

from .errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parse_pickled_list"]

_TEXTS = {
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_SKIPPED = {"PROTO", "FRAME"}
_MARK = object()


def parse_pickled_list(data: bytes, path: str) -> list[str]:
    """The strings of a pickled list or tuple.

    Args:
        data: the pickle, of any protocol.
        path: its file, for errors.

    Raises:
        FormatError: if it is damaged, or holds anything but a list of str.
    """
    try:
        with warnings.catch_warnings():  # of unknown escapes in STRING
            warnings.simplefilter("ignore", DeprecationWarning)
            return _Machine().run(data)
    except _UnexpectedError as error:
        raise FormatError(
            "not a pickled list of segment names", path=path, expected="a list of str",
            found=str(error), offset=error.offset,
        ) from None  # fmt: skip
    except (ValueError, IndexError) as error:
        raise FormatError(f"damaged pickle: {error}", path=path) from error


class _UnexpectedError(Exception):
    def __init__(self, text: str, offset: int | None = None) -> None:
        super().__init__(text)
        self.offset = offset


class _Machine:
    """The part of the unpickler's stack machine that lists of strings need."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def run(self, data: bytes) -> list[str]:
        steps: dict[str, Callable[[], None]] = {
            "MARK": lambda: self._stack.append(_MARK),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "EMPTY_TUPLE": lambda: self._stack.append([]),
            "LIST": self._collect,
            "TUPLE": self._collect,
            "APPEND": self._append,
            "APPENDS": self._extend,
            "MEMOIZE": lambda: self._put(len(self._memo)),
            "TUPLE1": lambda: self._pack(1),
            "TUPLE2": lambda: self._pack(2),
            "TUPLE3": lambda: self._pack(3),
        }
        for opcode, argument, offset in pickletools.genops(data):
            name = opcode.name
            if name in _TEXTS:
                self._stack.append(argument)
            elif name in _PUTS:
                self._put(int(argument))  # type: ignore[arg-type]
            elif name in _GETS:
                self._get(int(argument))  # type: ignore[arg-type]
            elif name in steps:
                steps[name]()
            elif name not in _SKIPPED and name != "STOP":
                raise _UnexpectedError(f"the opcode {name}", offset)
        return self._result()

    def _result(self) -> list[str]:
        (value,) = self._stack
        if not isinstance(value, list):
            raise _UnexpectedError("a str")
        for item in value:
            if not isinstance(item, str):
                raise _UnexpectedError("a nested list")
        return value

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError(f"nothing is stored under number {index}")
        self._stack.append(self._memo[index])

    def _to_mark(self) -> list[object]:
        """Removes and returns what the stack holds above the last mark."""
        stack = self._stack
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is _MARK:
                items = stack[index + 1 :]
                del stack[index:]
                return items
        raise ValueError("no mark on the stack")

    def _collect(self) -> None:
        self._stack.append(self._to_mark())

    def _pack(self, count: int) -> None:
        if len(self._stack) < count:
            raise ValueError("the stack is too short")
        items = self._stack[-count:]
        del self._stack[-count:]
        self._stack.append(items)

    def _append(self) -> None:
        value = self._stack.pop()
        self._list().append(value)

    def _extend(self) -> None:
        items = self._to_mark()
        self._list().extend(items)

    def _list(self) -> list[object]:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise _UnexpectedError("items of something other than a list")
        return target
