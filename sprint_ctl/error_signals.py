"""Losses, error signals and automata from Sprint processes: the trainer's end of the pipe."""

from __future__ import annotations

from ._trainer.instance import SprintSubprocessInstance
from ._trainer.pool import SprintInstancePool
from ._trainer.reader_thread import ReaderThread

__all__ = ["ReaderThread", "SprintInstancePool", "SprintSubprocessInstance"]
