"""open_archive: from a path to an `Archive`."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence

from . import _bundle as bundle
from . import _directory as directory
from ._files import is_locked, partial_of
from .archive import Archive

__all__ = ["open_archive"]

logger = logging.getLogger(__name__)


StrPath = str | os.PathLike[str]


def open_archive(path: StrPath | Sequence[StrPath], io: str = "auto") -> Archive:
    """Opens what Sprint wrote: an archive file, a ``.bundle`` of archives, or a directory.

    Args:
        path: the kind is decided as in Sprint: by the ending ``.bundle``, then by what is there.
            A list of paths is opened as one archive, as if a bundle listed them.
        io: how files are read: "mmap"; "pread", which costs a copy but stays safe when files
            change or vanish under us; "auto" maps on local file systems only.

    Returns:
        the archive, read-only. Where an archive has no sound table (the writer was killed), it is
        scanned for whole entries and `Archive.scan_report` says what was skipped. What an
        interrupted `ArchiveWriter` left beside it is named in the log.

    Raises:
        FileNotFoundError, OSError: if a file cannot be opened; the first names what an interrupted
            writer left in its place.
        FormatError: if a file is no archive, or a bundle no bundle.
        ValueError: if `io` is none of the three, or no path is given.
    """
    if isinstance(path, (str, os.PathLike)):
        if not os.fspath(path):
            raise ValueError("no path to open: it is empty")
        full = os.path.abspath(os.fspath(path))
        return Archive(full, _sources(full), io)
    try:
        members = tuple(os.path.abspath(os.fspath(member)) for member in path)
    except TypeError:
        raise TypeError(f"path must be a path or several of them, not {path!r}") from None
    if not members:
        raise ValueError("no path to open")
    others = f" and {len(members) - 1} more" if len(members) > 1 else ""
    sources = [source for member in members for source in _sources(member)]
    return Archive(members[0] + others, sources, io, members)


def _sources(path: str) -> list[tuple[str, bool, list[str] | None]]:
    if path.endswith(".bundle"):
        return [_source(member) for member in bundle.members(path)]
    partial = partial_of(path)
    left = os.path.exists(partial) and not is_locked(partial)
    hint = f"{partial} is unfinished: sprintcache.recover(path) gives it a table"
    if left and not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}, but {hint}", path)
    if left:
        logger.warning("beside %s: %s", path, hint)
    return [_source(path)]


def _source(path: str) -> tuple[str, bool, list[str] | None]:
    if os.path.isdir(path):
        return path, True, directory.names(path)
    return path, False, None
