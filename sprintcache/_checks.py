"""Checks of arguments, with errors that say which, and what was expected."""

from __future__ import annotations

import operator
from inspect import signature
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_arguments", "check_not_negative", "expect", "integer"]


def integer(name: str, value: Any) -> int:
    """The value as an int; TypeError that names the option if it is none."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r:.80}") from None


def expect(value: object, attribute: str, what: str) -> None:
    """TypeError that says what was expected and found, unless a value has an attribute."""
    if not hasattr(value, attribute):
        raise TypeError(f"expected {what}, found {type(value).__name__} {value!r:.80}")


def check_arguments(what: str, function: Callable[..., Any], /, **arguments: Any) -> None:
    """TypeError that says what a function takes, unless it takes these."""
    known = signature(function)
    try:
        known.bind(**arguments)
    except TypeError as error:
        raise TypeError(f"{what}: {error}; known: {', '.join(known.parameters)}") from None


def check_not_negative(**options: float) -> None:
    """Raises ValueError for the first option that is negative or not a number."""
    for name, value in options.items():
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, not {value}")
