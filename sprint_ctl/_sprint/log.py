"""Log lines of the code inside Sprint: on stderr, with the process id, only on request."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from sprint_ctl.config import to_bool

__all__ = ["configure_log", "is_verbose", "log"]

_level = 0  # 0 quiet, 1 events of the process, 2 every segment


def configure_log(config: Mapping[str, str]) -> None:
    """Sets the level from ``quiet`` and ``verbose`` of a configuration, where they are named."""
    global _level
    if "quiet" in config:
        _level = 0 if to_bool(config["quiet"]) else max(_level, 1)
    if to_bool(config.get("verbose", "false")):
        _level = 2


def log(*words: Any) -> None:
    """Writes one line, unless quiet. A stderr that is closed is no error of the caller."""
    if _level > 0 and sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"sprint_ctl[pid {os.getpid()}] {' '.join(map(str, words))}\n")
            sys.stderr.flush()


def is_verbose() -> bool:
    """Whether each segment is logged."""
    return _level > 1
