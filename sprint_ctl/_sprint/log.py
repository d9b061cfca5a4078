"""Log lines of the code inside Sprint: to stderr, with the process id, none unless asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from sprint_ctl.config import to_bool

__all__ = ["configure_log", "is_verbose", "log"]

_level = 0  # 0 quiet, 1 what happens once, 2 every segment


def configure_log(config: Mapping[str, str]) -> None:
    """Takes ``quiet`` and ``verbose`` of a configuration; what it does not name stays."""
    global _level
    if "quiet" in config:
        _level = 0 if to_bool(config["quiet"]) else max(_level, 1)
    if to_bool(config.get("verbose", "false")):
        _level = 2


def log(*words: Any) -> None:
    """Writes one line, unless quiet."""
    if _level > 0:
        sys.stderr.write(f"sprint_ctl[pid {os.getpid()}] {' '.join(map(str, words))}\n")
        sys.stderr.flush()


def is_verbose() -> bool:
    """Whether lines for every segment are wanted."""
    return _level > 1
