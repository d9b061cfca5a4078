"""open_archive: from a path to an `Archive`."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence

from . import _bundle as bundle
from . import _directory as directory
from ._files import is_locked, partial_of
from ._path_map import PathMap, path_mapper
from ._text_file import not_regular
from .archive import Archive, OpenRequest

__all__ = ["open_archive"]

logger = logging.getLogger(__name__)


StrPath = str | os.PathLike[str]


def open_archive(
    path: StrPath | Sequence[StrPath], io: str = "auto", *, path_map: PathMap | None = None
) -> Archive:
    """Opens an archive file, a ``.bundle`` of archives, or a directory archive.

    Args:
        path: the kind is decided as in Sprint: by the ending ``.bundle``, then by the file itself.
            Several paths are opened as one archive, as if a bundle listed them.
        io: how files are read: "mmap"; "pread", which costs a copy but stays safe when files
            change or vanish; "auto" maps on local file systems only.
        path_map: where files are now whose paths were written elsewhere: a mapping from old to
            new folders, ``{"/old": "/new"}``, or a function from an absolute path to the path
            that is opened. It applies to `path` and to the paths that bundles list; a path that
            it leads nowhere is tried as it is. None: the environment variable
            ``SPRINTCACHE_PATH_MAP`` (``/old=/new:/old2=/new2``); ``{}``: no map.
            An archive is pickled with its map, so that a function must be picklable too.

    Returns:
        the archive, read-only. An archive without a sound table (its writer was killed) is
        scanned for whole entries, and `Archive.scan_report` lists what was skipped. An unfinished
        file of an interrupted `ArchiveWriter` is named in the log.

    Raises:
        FileNotFoundError, OSError: if a file cannot be opened; the first names
            the unfinished file of an interrupted writer.
        FormatError: if a file is not an archive, or a bundle not a list of paths.
        ValueError: if `io` is another word, no path is given, or `path_map` is malformed.
    """
    mapped = path_mapper(path_map)
    paths: tuple[str, ...]
    if isinstance(path, (str, os.PathLike)):
        if not os.fspath(path):
            raise ValueError("no path to open: it is empty")
        paths = (os.path.abspath(os.fspath(path)),)
    else:
        try:
            paths = tuple(os.path.abspath(os.fspath(member)) for member in path)
        except TypeError:
            raise TypeError(f"path must be a path or several of them, not {path!r}") from None
        if not paths:
            raise ValueError("no path to open")
    opened = [_current(member, mapped) for member in paths]
    sources = [
        source
        for member, original in zip(opened, paths, strict=True)
        for source in _sources(member, original, path_map)
    ]
    others = f" and {len(opened) - 1} more" if len(opened) > 1 else ""
    return Archive(opened[0] + others, sources, io, OpenRequest(paths, io, path_map))


def _current(path: str, mapped: Callable[[str], str]) -> str:
    """Where a path leads by the path map, or the path itself if that does not exist."""
    new = mapped(path)
    if new == path or not (os.path.exists(new) or os.path.exists(partial_of(new))):
        return path
    return new


def _sources(
    path: str, original: str, path_map: PathMap | None
) -> list[tuple[str, bool, list[str] | None]]:
    if path.endswith(".bundle"):
        return [_source(member) for member in bundle.members(path, path_map, original=original)]
    partial = partial_of(path)
    is_left = os.path.exists(partial) and not is_locked(partial)
    hint = f"{partial} is unfinished: sprintcache.recover(path) writes its table"
    if is_left and not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}, but {hint}", path)
    if is_left:
        logger.warning("%s: %s", path, hint)
    return [_source(path)]


def _source(path: str) -> tuple[str, bool, list[str] | None]:
    try:
        mode = os.stat(path).st_mode
    except OSError:  # raised when the file is opened
        return path, False, None
    if stat.S_ISDIR(mode):
        return path, True, directory.names(path)
    if not stat.S_ISREG(mode):
        raise not_regular(path, mode)
    return path, False, None
