"""The trainer's end: losses, error signals and automata from Sprint processes.

The names that trainers import; each is at home in a module of its own.
"""

from __future__ import annotations

from ._trainer.instance import SprintSubprocessInstance
from ._trainer.pool import ReaderThread, SprintInstancePool

__all__ = ["ReaderThread", "SprintInstancePool", "SprintSubprocessInstance"]
