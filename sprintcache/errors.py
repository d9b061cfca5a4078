"""Errors of archives, labels and automata.

* ``SprintCacheError``: the root; catch this to catch everything below

  * ``FormatError`` (also ``ValueError``): the bytes violate the format

    * ``TruncatedError``: bytes are missing
    * ``CorruptError``: bytes contradict each other: tags, sizes, checksums, counts
    * ``UnsupportedError``: valid, but not supported by this reader: another datatype or version

  * ``EntryNotFoundError`` (also ``KeyError``): no entry of that name
  * ``ClosedArchiveError`` (also ``ValueError``): the archive was closed
  * ``ArchiveChangedError``: the file was changed after it was opened
  * ``LabelError`` (also ``ValueError``): an alignment that cannot be turned into labels
  * ``AutomatonError`` (also ``ValueError``): an automaton that is malformed or cannot be built
  * ``SegmentationError`` (also ``ValueError``): words or phones that do not fit an alignment

    * ``AmbiguousSegmentationError``: an alignment follows several readings of its orthography

  * ``LoaderError`` (also ``RuntimeError``): an iteration of a loader that cannot continue
  * ``ConfigurationError`` (also ``ValueError``): a parameter of Sprint's that is not valid

Every error keeps its facts as attributes and survives pickling. A wrong argument is a plain
``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AmbiguousSegmentationError",
    "ArchiveChangedError",
    "AutomatonError",
    "ClosedArchiveError",
    "ConfigurationError",
    "CorruptError",
    "EntryNotFoundError",
    "FormatError",
    "LabelError",
    "LoaderError",
    "SegmentationError",
    "SprintCacheError",
    "TruncatedError",
    "UnsupportedError",
]


class SprintCacheError(Exception):
    """Root of all errors of this package.

    Attributes:
        reason: the problem in words.
        path: the file, or None where no file is involved.
        entry: name of the entry, or None.
        offset: byte offset in the file, or None. For a compressed entry, the offset of its stored
            bytes; offsets in the reason then count inflated bytes.
        expected: the expected value, or None.
        found: the value in the file, or None.
    """

    def __init__(
        self,
        reason: str,
        *,
        path: str | None = None,
        entry: str | None = None,
        offset: int | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.entry = entry
        self.offset = offset
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        where = [] if self.path is None else [self.path]
        if self.entry is not None:
            where.append(f"entry {self.entry!r}")
        if self.offset is not None:
            where.append(f"offset {self.offset}")
        text = f"{', '.join(where)}: {self.reason}" if where else self.reason
        facts = ("expected", self.expected), ("found", self.found)
        known = [f"{label} {fact}" for label, fact in facts if fact is not None]
        if known:
            text += f": {', '.join(known)}"
        if not text.isprintable():  # names come from files: keep to one line
            text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason,), self.__dict__.copy()


class FormatError(SprintCacheError, ValueError):
    """Raised when bytes violate the format."""


class TruncatedError(FormatError):
    """Raised when bytes are missing."""


class CorruptError(FormatError):
    """Raised when bytes contradict each other or a checksum."""


class UnsupportedError(FormatError):
    """Raised when an entry is valid but not supported by the method that reads it."""


class EntryNotFoundError(SprintCacheError, KeyError):
    """Raised when an archive has no entry of that name."""


class ClosedArchiveError(SprintCacheError, ValueError):
    """Raised when an archive is used after ``close``."""


class ArchiveChangedError(SprintCacheError):
    """Raised when a file is not the one that was opened: its size, time or inode differ."""


class LabelError(SprintCacheError, ValueError):
    """Raised when an alignment cannot be turned into one label per frame."""


class AutomatonError(SprintCacheError, ValueError):
    """Raised when an automaton is malformed or cannot be built; `entry` is the segment."""


class SegmentationError(SprintCacheError, ValueError):
    """Raised when words or phones cannot be found in an alignment, or made into one."""


class AmbiguousSegmentationError(SegmentationError):
    """Raised when an alignment follows several readings of its orthography."""


class LoaderError(SprintCacheError, RuntimeError):
    """Raised when an iteration of a loader was closed, or belongs to another process."""


class ConfigurationError(SprintCacheError, ValueError):
    """Raised for a parameter of Sprint's configuration that is missing or not valid."""


@contextmanager
def naming(path: str, entry: str) -> Iterator[None]:
    """Adds file and entry to errors of this package that were raised without them."""
    try:
        yield
    except SprintCacheError as error:
        error.path, error.entry = path, entry
        raise
