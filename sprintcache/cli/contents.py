"""What a file makes of an entry, and what is asked of a form of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import Names

__all__ = ["Content", "Format", "Timing"]


class Timing(NamedTuple):
    """The times of features whose file has none: shift and length of a frame in seconds."""

    frame_shift: float = 0.01
    frame_length: float = 0.025


class Content(NamedTuple):
    """An entry: its payload, and attributes if the file has some."""

    payload: bytes
    attributes: dict[str, str] | None = None


class Format(NamedTuple):
    """A form that entries have as files.

    Attributes:
        suffix: of the files, behind the entry's name.
        write: makes the bytes of a file from an entry of an archive, with names of states; raises
            a SprintCacheError.
        read: makes an entry from the bytes of a file; raises ValueError, or a FormatError without
            a path.
    """

    suffix: str
    write: Callable[[Archive, str, Names | None], bytes | memoryview]
    read: Callable[[bytes, Timing], Content]
