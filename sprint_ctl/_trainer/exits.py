"""Objects with work under way when the interpreter exits: one hook for all of them."""

from __future__ import annotations

import atexit
import weakref
from typing import Protocol

__all__ = ["watch_exit"]


class _Exiting(Protocol):
    def before_exit(self) -> None:
        """Stops what other threads do, which still run."""


_watched: weakref.WeakSet[_Exiting] = weakref.WeakSet()
_hooks: list[object] = []


def watch_exit(owner: _Exiting) -> None:
    """Calls ``owner.before_exit()`` when the interpreter exits, if the object still exists.

    That is before finalizers run, which end Sprints one by one.
    """
    _watched.add(owner)
    if not _hooks:
        # hooks run in reverse order, so that of all finalizers must be registered first
        _hooks.append(weakref.finalize(_watched, bool))
        atexit.register(_before_exit)


def _before_exit() -> None:
    for owner in list(_watched):
        owner.before_exit()
