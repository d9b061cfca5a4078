"""Things counted and errors told, in messages."""

from __future__ import annotations

__all__ = ["clock", "counts", "in_words", "many"]


def many(count: int, one: str, more: str) -> str:
    """``1 entry``, ``2 entries``."""
    return f"{count} {one if count == 1 else more}"


def in_words(error: Exception) -> str:
    """An error, also where its class alone says what happened."""
    if isinstance(error, OSError) and error.strerror:
        where = error.filename if isinstance(error.filename, str) else None
        return error.strerror if where is None else f"{where}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory{f' ({error})' if str(error) else ''}"
    return str(error)


def counts(numbers: dict[str, int]) -> str:
    """``vector-f32 (12), f32 (1)``, most frequent first."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} ({count})" for name, count in ordered) or "none"


def clock(seconds: float) -> str:
    """``1:02:03``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
