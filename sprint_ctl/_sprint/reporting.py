"""Exceptions in what Sprint calls: the trainer is told before they end Sprint."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["reported"]

_F = TypeVar("_F", bound="Callable[..., Any]")


def reported(method: _F) -> _F:
    """A method whose exceptions go to ``self.report`` as a traceback, and are raised again."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception:
            self.report(traceback.format_exc())
            raise

    return cast("_F", wrapper)
