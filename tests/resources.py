"""What a test must not leave: descriptors and child processes, without those of earlier tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

__all__ = ["children", "descriptors"]


def descriptors() -> list[str]:
    """The open descriptors of this process, sorted, after its garbage was collected."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    """The process ids of the children of the main thread."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
