"""open_archive: from a path to an `Archive`."""

from __future__ import annotations

import errno
import logging
import os

from . import bundle, directory
from .archive import Archive
from .files import is_locked, partial_of

__all__ = ["open_archive"]

logger = logging.getLogger(__name__)


def open_archive(path: str | os.PathLike[str], io: str = "auto") -> Archive:
    """Opens what Sprint wrote: an archive file, a ``.bundle`` of archives, or a directory.

    Args:
        path: the kind is decided as in Sprint: by the ending ``.bundle``, then by what is there.
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
        ValueError: if `io` is none of the three.
    """
    path = os.fspath(path)
    full = os.path.abspath(path)
    if full.endswith(".bundle"):
        return Archive(full, [_source(member) for member in bundle.members(full)], io)
    partial = partial_of(full)
    left = os.path.exists(partial) and not is_locked(partial)
    hint = f"{partial} is unfinished: sprintcache.recover(path) gives it a table"
    if left and not os.path.exists(full):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}, but {hint}", full)
    if left:
        logger.warning("beside %s: %s", full, hint)
    return Archive(full, [_source(full)], io)


def _source(path: str) -> tuple[str, bool, list[str] | None]:
    if os.path.isdir(path):
        return path, True, directory.names(path)
    return path, False, None
