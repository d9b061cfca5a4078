"""Checks of arguments, with errors that name the argument and the expected value."""

from __future__ import annotations

import math
import operator
from inspect import signature
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "check_arguments",
    "check_not_negative",
    "integer",
    "positive_seconds",
    "require_attribute",
]

_LONG = 1e18  # seconds; an int may exceed a float


def integer(name: str, value: Any) -> int:
    """The value as an int; raises TypeError, which names the option, for other types."""
    try:
        return int(operator.index(value))  # not a bool, nor an integer of numpy
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r:.80}") from None


def require_attribute(value: object, attribute: str, expected: str) -> None:
    """Raises TypeError, with the expected and the found type, if a value lacks an attribute."""
    if not hasattr(value, attribute):
        raise TypeError(f"expected {expected}, found {type(value).__name__} {value!r:.80}")


def check_arguments(label: str, function: Callable[..., Any], /, **arguments: Any) -> None:
    """Raises TypeError, which lists the parameters, unless a function accepts these arguments."""
    known = signature(function)
    try:
        known.bind(**arguments)
    except TypeError as error:
        raise TypeError(f"{label}: {error}; known: {', '.join(known.parameters)}") from None


def check_not_negative(**options: float) -> None:
    """Raises ValueError for the first option that is negative or not a number."""
    for name, value in options.items():
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, not {value}")


def positive_seconds(name: str, value: Any) -> float:
    """The time as a float, also infinite; TypeError, ValueError for what is not a time above 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of seconds, not {value!r:.80}")
    number: Any = value
    if not number > 0:
        raise ValueError(f"{name} must be above 0, not {value}")
    return float(number) if number < _LONG else math.inf
