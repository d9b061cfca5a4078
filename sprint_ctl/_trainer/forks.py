"""Objects that a fork of the trainer must not use as they are: one hook for all of them."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["watch_forks"]


class _Forkable(Protocol):
    def after_fork(self) -> None:
        """Gives up, in the new process, what belongs to the process that was forked."""


_watched: weakref.WeakSet[_Forkable] = weakref.WeakSet()
_hooks: list[int] = []  # the process that has registered the hook; forks inherit it


def watch_forks(owner: _Forkable) -> None:
    """Calls ``owner.after_fork()`` in every later fork of this process, as long as it exists."""
    _watched.add(owner)
    if not _hooks:
        _hooks.append(os.getpid())
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    for owner in list(_watched):
        owner.after_fork()
