"""open_archive, write_index: from paths to an `Archive`, and to an index of it."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Sequence

from . import _bundle as bundle
from . import _directory as directory
from . import _index_files as index_files
from ._files import is_locked, partial_of
from ._path_map import PathMap, absolute_path, is_url, path_mapper
from ._remote.archive import RemoteArchive, open_remote
from ._text_file import not_regular
from ._threads import default_threads
from .archive import Archive, OpenRequest
from .errors import ArchiveChangedError, UnsupportedError

__all__ = ["check_index", "open_archive", "open_request", "reopen", "write_index"]

logger = logging.getLogger(__name__)


StrPath = str | os.PathLike[str]


def open_archive(
    path: StrPath | Sequence[StrPath],
    io: str = "auto",
    *,
    path_map: PathMap | None = None,
    index: StrPath | None = "auto",
) -> Archive:
    """Opens an archive file, a ``.bundle`` of archives, or a directory archive.

    Args:
        path: a path, or a URL such as ``s3://bucket/features.bundle`` (extra ``remote``). The kind
            is decided as in Sprint: by the ending ``.bundle``, then by the file itself. Several
            paths are opened as one archive, as if a bundle listed them.
        io: how files are read: "mmap"; "pread", which costs a copy but stays safe when files
            change or vanish; "auto" maps on local file systems only.
        path_map: where files are now whose paths were written elsewhere: a mapping from old to
            new folders, ``{"/old": "/new"}``, or a function from an absolute path to the path
            that is opened. It applies to `path` and to the paths that bundles list; a path that
            it leads nowhere is tried as it is. None: the environment variable
            ``SPRINTCACHE_PATH_MAP`` (``/old=/new:/old2=/new2``); ``{}``: no map.
            An archive is pickled with its map, so that a function must be picklable too.
        index: a file of names, offsets and lengths that processes share (see `write_index`).
            "auto": the one next to the archive or in the cache folder, if it is there and up to
            date; written in the folder ``SPRINTCACHE_INDEX_DIR`` if the environment names one. A
            path: that file, which is written if it is missing, damaged or out of date. None: the
            tables are read.

    Returns:
        the archive, read-only. An archive without a valid table (its writer was killed) is
        scanned for complete entries, and `Archive.scan_report` lists what was skipped. An
        unfinished file of an interrupted `ArchiveWriter` is named in the log, and so is an index
        that is not used.

    Raises:
        FileNotFoundError, OSError: if a file cannot be opened; the first names
            the unfinished file of an interrupted writer.
        FormatError: if a file is not an archive, a bundle not a list of paths, or `index` a file
            of another kind.
        UnsupportedError: if `index` is a path, and the archive a directory or without a table.
        ValueError: if `io` is another word, no path is given, or `path_map` is malformed.
    """
    request = _request(path, io, path_map, index)
    opened = _opened(request)
    target = None
    if request.index_file == "auto":
        index_paths = index_files.existing(opened)
        if index_files.is_configured():
            target = index_files.cached(opened)
    else:
        target = request.index_file
        index_paths = [target] if target is not None and os.path.exists(target) else []
    archive = _open(request, opened, index_paths)
    if target is None or archive.index_path is not None or isinstance(archive, RemoteArchive):
        return archive
    try:
        with archive:
            index_files.write(archive, target, default_threads())
    except (OSError, UnsupportedError) as error:
        if request.index_file != "auto":
            raise
        logger.warning("the index %s was not written: %s", target, error)
        return _open(request, opened, [])
    return _open(request, opened, [target])


def write_index(
    path: StrPath | Sequence[StrPath],
    to: StrPath | None = None,
    *,
    path_map: PathMap | None = None,
    num_threads: int | None = None,
) -> str:
    """Writes an index of an archive: one file that all processes map, and that opens at once.

    It has the names, offsets and sizes of all entries and the frames and dimensions of all
    segments, so that neither look-ups nor orders by length pass over the archive. It replaces an
    older one, whole or not at all.

    Args:
        path, path_map: as of `open_archive`.
        to: the file. None: ``<path>.index``, or a file in the cache folder for several paths and
            where the archive's folder is read-only; `open_archive` finds both.
        num_threads: threads that read the heads of entries; None: one per processor, at most 8.

    Returns:
        the path of the index.

    Raises:
        FormatError: if the archive is damaged, or `to` is a file of another kind.
        UnsupportedError: if the archive is a directory, or has no valid table.
        ArchiveChangedError: if the archive changes meanwhile.
        OSError: if a file cannot be read or written.
        ValueError: as by `open_archive`.
    """
    request = _request(path, "auto", path_map, None)
    threads = default_threads() if num_threads is None else num_threads
    opened = _opened(request)
    with _open(request, opened, []) as archive:
        if to is not None:
            target = os.path.abspath(os.fspath(to))
            index_files.write(archive, target, threads)
            return target
        if len(opened) == 1:
            target = index_files.default_path(opened[0])
            try:
                index_files.write(archive, target, threads)
                return target
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
        target = index_files.cached(opened)
        index_files.write(archive, target, threads)
        return target


def open_request(request: OpenRequest, index_paths: Sequence[str]) -> Archive:
    """Opens an archive by the arguments of another process, with an index file if it is usable."""
    return _open(request, _opened(request), index_paths)


def reopen(
    request: OpenRequest,
    sources: tuple[str, ...],
    states: tuple[tuple[int, int], ...],
    index_path: str | None,
) -> Archive:
    """Opens a pickled archive again, with its index file if that is usable.

    Raises:
        ArchiveChangedError: if a file has another size or time than when it was pickled.
    """
    archive = open_request(request, () if index_path is None else (index_path,))
    if archive.source_paths != sources:
        raise ArchiveChangedError(
            "the bundle lists different archives than when it was pickled", path=archive.path
        )
    for source, then, now in zip(sources, states, archive.source_states, strict=True):
        if then != now and not os.path.isdir(source):
            raise ArchiveChangedError(
                "the file was changed after the archive was pickled",
                path=source,
                expected=f"{then[0]} bytes, time {then[1]} ns",
                found=f"{now[0]} bytes, time {now[1]} ns",
            )
    return archive


def check_index(
    path: StrPath | Sequence[StrPath],
    index_file: StrPath | None = None,
    *,
    path_map: PathMap | None = None,
) -> tuple[str | None, str | None]:
    """Checks every byte of an index, and that it is up to date.

    Args:
        path, path_map: as of `open_archive`.
        index_file: the index; None: the one that `open_archive` finds.

    Returns:
        the index, None if there is none; the problem, None if it is in order.

    Raises:
        FormatError, OSError, ValueError: as by `open_archive`.
    """
    request = _request(path, "auto", path_map, None)
    opened = _opened(request)
    if index_file is None:
        candidates = index_files.existing(opened)
    else:
        candidates = [os.path.abspath(os.fspath(index_file))]
    if not candidates:
        return None, f"{opened[0]}: there is no index"
    with _open(request, opened, candidates) as archive:
        if archive.index_path is None:
            return archive.index_problems[0]
        offset = archive._damaged_block()
        damage = None if offset is None else f"it is damaged: block at offset {offset}"
        return archive.index_path, damage


def _request(
    path: StrPath | Sequence[StrPath], io: str, path_map: PathMap | None, index: StrPath | None
) -> OpenRequest:
    if index is not None and index != "auto":
        index = absolute_path(index)
    paths: tuple[str, ...]
    if isinstance(path, (str, os.PathLike)):
        if not os.fspath(path):
            raise ValueError("no path to open: it is empty")
        paths = (absolute_path(path),)
    else:
        try:
            paths = tuple(absolute_path(member) for member in path)
        except TypeError:
            raise TypeError(f"path must be a path or several of them, not {path!r}") from None
        if not paths:
            raise ValueError("no path to open")
    return OpenRequest(paths, io, path_map, index)


def _opened(request: OpenRequest) -> list[str]:
    """The paths by the path map."""
    mapped = path_mapper(request.path_map)
    return [_current(path, mapped) for path in request.paths]


def _open(request: OpenRequest, opened: list[str], index_paths: Sequence[str]) -> Archive:
    """Opens archives with the first of some index files that is usable."""
    sources = [
        source
        for member, original in zip(opened, request.paths, strict=True)
        for source in _sources(member, original, request.path_map)
    ]
    others = f" and {len(opened) - 1} more" if len(opened) > 1 else ""
    paths = [path for path, *_ in sources]
    if any(map(is_url, paths)):
        return open_remote(paths, request, opened[0] + others)
    remote = request.index_file != "auto" or request.io == "mmap"
    return Archive(
        opened[0] + others,
        sources,
        request.io,
        request,
        index_paths=index_paths,
        remote_index=remote,
    )


def _current(path: str, mapped: Callable[[str], str]) -> str:
    """Where a path leads by the path map, or the path itself if that does not exist."""
    new = mapped(path)
    is_there = is_url(new) or os.path.exists(new) or os.path.exists(partial_of(new))
    return new if is_there else path


def _sources(
    path: str, original: str, path_map: PathMap | None
) -> list[tuple[str, bool, list[str] | None]]:
    if path.endswith(".bundle"):
        return [_source(member) for member in bundle.members(path, path_map, original=original)]
    if is_url(path):
        return [_source(path)]
    partial = partial_of(path)
    is_left = os.path.exists(partial) and not is_locked(partial)
    hint = f"{partial} is unfinished: sprintcache.recover(path) writes its table"
    if is_left and not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}, but {hint}", path)
    if is_left:
        logger.warning("%s: %s", path, hint)
    return [_source(path)]


def _source(path: str) -> tuple[str, bool, list[str] | None]:
    if is_url(path):
        return path, False, None
    try:
        mode = os.stat(path).st_mode
    except OSError:  # raised when the file is opened
        return path, False, None
    if stat.S_ISDIR(mode):
        return path, True, directory.names(path)
    if not stat.S_ISREG(mode):
        raise not_regular(path, mode)
    return path, False, None
