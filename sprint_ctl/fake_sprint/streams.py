"""Standard output and standard error of the stand-in, which may be closed."""

from __future__ import annotations

import contextlib
import os
import sys

__all__ = ["write_stream"]


def write_stream(name: str, text: str) -> None:
    """Writes to stdout or stderr, and flushes; errors of a closed stream are ignored, as in C++."""
    stream = getattr(sys, name)
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # the buffer must not fail at exit
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
