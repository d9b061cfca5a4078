"""Numbers, durations and errors in messages."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["describe_error", "format_clock", "format_counts", "pluralize"]


def pluralize(count: int, singular: str, plural: str) -> str:
    """``1 entry``, ``2 entries``."""
    return f"{count} {singular if count == 1 else plural}"


def describe_error(error: Exception) -> str:
    """The text of an error, with the file of an OSError."""
    if isinstance(error, OSError) and error.strerror:
        path = error.filename if isinstance(error.filename, str) else None
        return error.strerror if path is None else f"{path}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({error})' if str(error) else ''}"
    return str(error)


def format_counts(counts: Mapping[str, int]) -> str:
    """``vector-f32 (12), f32 (1)``, most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} ({count})" for name, count in ordered) or "none"


def format_clock(seconds: float) -> str:
    """``1:02:03``."""
    total = round(seconds)
    return f"{total // 3600}:{total // 60 % 60:02}:{total % 60:02}"
