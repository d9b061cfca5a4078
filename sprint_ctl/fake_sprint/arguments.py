"""Arguments of callback commands, checked as CPython's PyArg_ParseTupleAndKeywords does."""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["parse"]


def parse(
    specification: str, names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Any]:
    """The values of the named arguments, the command first; None for absent optional ones.

    `specification` has a letter for each: ``s`` str, ``O`` any object, ``i`` int; what follows
    ``|`` is optional. Errors are worded as CPython words them.
    """
    letters = specification.replace("|", "")
    num_required = len(specification.partition("|")[0])
    if len(args) + len(kwargs) > len(names):
        raise TypeError(
            f"callback() takes at most {len(names)} argument{'s' * (len(names) != 1)}"
            f" ({len(args) + len(kwargs)} given)"
        )
    values: list[Any] = [None] * len(names)
    for index, name in enumerate(names):
        if index < len(args):
            if name in kwargs:
                raise TypeError(
                    f"argument for callback() given by name ('{name}') and position ({index + 1})"
                )
            values[index] = _converted(letters[index], args[index], index)
        elif name in kwargs:
            values[index] = _converted(letters[index], kwargs[name], index)
        elif index < num_required:
            raise TypeError(f"callback() missing required argument '{name}' (pos {index + 1})")
    for name in kwargs:
        if name not in names:
            raise TypeError(f"callback() got an unexpected keyword argument '{name}'")
    return values


def _converted(letter: str, value: Any, index: int) -> Any:
    if letter == "s":
        if not isinstance(value, str):
            kind = "None" if value is None else type(value).__name__
            raise TypeError(f"callback() argument {index + 1} must be str, not {kind}")
        if "\0" in value:
            raise ValueError("embedded null character")
        value.encode()  # lone surrogates cannot be encoded
    elif letter == "i":
        number = operator.index(value)
        if not -(1 << 31) <= number < 1 << 31:
            raise OverflowError("signed integer is greater than maximum")
        return number
    return value
