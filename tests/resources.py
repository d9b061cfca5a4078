"""What a test must not leave: descriptors and child processes, without those of earlier tests."""

from __future__ import annotations

import contextlib
import gc
import os
from pathlib import Path

__all__ = ["children", "descriptors"]


def descriptors() -> list[str]:
    """The open descriptors of this process, sorted, after its garbage was collected."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    """The process ids of the children of all threads."""
    while True:
        # a child of a thread that ends becomes one of another thread
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            threads = os.listdir("/proc/self/task")
            texts = [Path(f"/proc/self/task/{tid}/children").read_text() for tid in threads]
            return sorted(pid for text in texts for pid in text.split())
