"""Exceptions in what Sprint calls: the trainer receives them before they end Sprint."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Reporter", "reported", "reporting_to"]

_F = TypeVar("_F", bound="Callable[..., Any]")


class Reporter(Protocol):
    """Receives the text of exceptions."""

    def report(self, text: str) -> None:
        """Accepts the traceback of an exception that will end Sprint."""


def reporting_to(find_reporter: Callable[..., Reporter | None]) -> Callable[[_F], _F]:
    """A decorator for what Sprint calls: reports exceptions, and raises them again.

    `find_reporter` is called with the arguments of the call; None: nothing to report to.
    """

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception:
                reporter = find_reporter(*args, **kwargs)
                if reporter is not None:
                    reporter.report(traceback.format_exc())
                raise

        return cast("_F", wrapper)

    return decorate


reported = reporting_to(lambda self, *_, **__: self)
