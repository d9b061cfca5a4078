"""RemoteArchive: an archive, or several, of an object store such as S3.

Opening fetches headers and tables, or the index if there is one. Every read first makes the blocks
of its entries present in the sparse copies, then reads them as a local file: a batch asks for the
blocks of all of its entries at once, and neighbors share a request.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sprintcache._path_map import is_url
from sprintcache._reader import FileOrderIterator
from sprintcache.archive import Archive, OpenRequest
from sprintcache.entries import EntryInfo
from sprintcache.errors import CorruptError, FormatError, SprintCacheError, UnsupportedError

from .sparse_copy import SparseCopy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["RemoteArchive", "open_remote"]

logger = logging.getLogger(__name__)

CACHE = "SPRINTCACHE_REMOTE_CACHE"  # environment variable: folder of the copies
_CHUNK = 1 << 25  # bytes of entries that an iteration fetches at a time
# index format: number of archives, offset of their rows; size and time of an archive
_HEADER = struct.Struct("<48xI68xQ")
_ROW = struct.Struct("<Qq32x")
_AROUND = 20, 16  # bytes of an entry before its size field, without the name, and after the payload

Method = TypeVar("Method", bound=Callable[..., Any])


def _one(method: Method) -> Method:
    """Fetches the entry that a method of the reader reads."""

    @functools.wraps(method)
    def read(self: RemoteArchive, name: str, *args: Any, **keywords: Any) -> Any:
        with self._named_by_url():
            self.fetch([name])
            return method(self, name, *args, **keywords)

    return read  # type: ignore[return-value]


def _all(method: Method) -> Method:
    """For facts on all segments: from the index, or else the whole archive is fetched."""

    @functools.wraps(method)
    def read(self: RemoteArchive, *args: Any, **keywords: Any) -> Any:
        with self._named_by_url():
            if self.index_path is not None:
                try:
                    return method(self, *args, **keywords)
                except FormatError:
                    pass
            for _ in self._fetched():
                pass
            return method(self, *args, **keywords)

    return read  # type: ignore[return-value]


def _batch(method: Method) -> Method:
    """Fetches the entries of a batch."""

    @functools.wraps(method)
    def read(self: RemoteArchive, names: Any, *args: Any, **keywords: Any) -> Any:
        if isinstance(names, np.ndarray) and names.dtype.kind in "iu":
            names = self.segments.at(names)
        names = list(names)
        with self._named_by_url():
            self.fetch(names)
            return method(self, names, *args, **keywords)

    return read  # type: ignore[return-value]


class RemoteArchive(Archive):
    """Entries of objects; `sprintcache.open_archive` makes one of a URL."""

    def __init__(
        self,
        paths: Sequence[str],
        request: OpenRequest,
        title: str,
        index: str | None = None,
        folder: str | None = None,
    ) -> None:
        """Opens objects, and files among them, as one archive.

        Args:
            paths: URLs or absolute paths, in the order of the bundle.
            request: the arguments of `sprintcache.open_archive`; for pickling.
            title: the path for messages.
            index: URL or path of an index, which need not exist; None: the tables are read.
            folder: parent of the copies; None for that of the environment variable
                ``SPRINTCACHE_REMOTE_CACHE``, or a temporary one that this process removes.

        Raises:
            FileNotFoundError: if there is no such object.
            CorruptError: for an object without a valid table, which only a local copy can be
                scanned for.
            SprintCacheError: if the store cannot be reached.
        """
        self.folder = folder if folder and os.path.isdir(folder) else _folder_of(self)
        self._arguments = (tuple(paths), request, title, index)
        copies = [SparseCopy(path, self.folder) if is_url(path) else None for path in paths]
        self._copy_of = {copy.path: copy for copy in copies if copy is not None}
        index_paths = [] if index is None else _fetched_index(index, self.folder)
        for index_path in index_paths:
            _take_times(index_path, copies)
        for copy in self._copy_of.values():
            copy.fetch_table(ends_only=bool(index_paths))
        files = zip(paths, copies, strict=True)
        sources = [(path if copy is None else copy.path, False, None) for path, copy in files]
        with self._named_by_url():
            super().__init__(
                title, sources, request.io, request, index_paths=index_paths, remote_index=True
            )
        for report, path in zip(self.scan_reports, paths, strict=True):
            if report is not None and is_url(path):
                raise CorruptError(
                    f"no valid table ({report.reason}): copy the archive to a local disk and"
                    " recover it",
                    path=path,
                )

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteArchive, (*self._arguments, self.folder)

    def entry(self, name: str) -> EntryInfo:
        """The row of an entry; `EntryInfo.archive_path` is a URL."""
        info = super().entry(name)
        copy = self._copy_of.get(info.archive_path)
        return info if copy is None else info._replace(archive_path=copy.url)

    def fetch(self, names: Iterable[str]) -> int:
        """Makes entries present in the local copies; returns the number of bytes fetched.

        Raises:
            EntryNotFoundError: for a name that is not in the archive.
            ArchiveChangedError: if an object was replaced after opening.
            SprintCacheError: if the store fails.
        """
        ranges: dict[SparseCopy, list[tuple[int, int]]] = {}
        for name in names:
            copy, begin, end = self._extent(name)
            if copy is not None:
                ranges.setdefault(copy, []).append((begin, end))
        return sum(copy.fetch(wanted) for copy, wanted in ranges.items())

    def _extent(self, name: str) -> tuple[SparseCopy | None, int, int]:
        """The copy that an entry is in, None for a local file, and its first and last byte."""
        info = super().entry(name)
        before, after = _AROUND
        begin = info.position - before - len(os.fsencode(info.name))
        return (
            self._copy_of.get(info.archive_path),
            max(begin, 0),
            info.position + after + (info.compressed_size or info.size),
        )

    @contextmanager
    def _named_by_url(self) -> Iterator[None]:
        """Names the object instead of its copy in errors."""
        try:
            yield
        except SprintCacheError as error:
            if error.path in self._copy_of:
                error.path = self._copy_of[error.path].url
            raise

    # ---- what the compiled reader reads

    read_bytes = _one(Archive.read_bytes)
    read_blocks = _one(Archive.read_blocks)
    read_features = _one(Archive.read_features)
    read_times = _one(Archive.read_times)
    read_alignment = _one(Archive.read_alignment)
    num_frames = _one(Archive.num_frames)
    num_frames_all = _all(Archive.num_frames_all)
    feature_dims_all = _all(Archive.feature_dims_all)
    _read_labels = _one(Archive._read_labels)
    _datatype = _one(Archive._datatype)
    read_features_batch = _batch(Archive.read_features_batch)
    read_features_packed = _batch(Archive.read_features_packed)
    _read_labels_batch = _batch(Archive._read_labels_batch)

    def _write_index(self, fd: int, path: str, num_threads: int) -> None:
        raise UnsupportedError(
            "an object gets no index: write the index of the local file, and upload it", path=path
        )

    def iter_features(self, prefetch: int = 1 << 24) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """As `Archive.iter_features`; fetches some megabytes at a time."""
        for name in self._fetched():
            yield name, self.read_features(name)

    def iter_labels(
        self,
        labeling: AllophoneLabeling | None,
        on_alphabet_mismatch: OnMismatch = "error",
        prefetch: int = 1 << 24,
    ) -> Iterator[tuple[str, NDArray[np.int32]]]:
        """As `Archive.iter_labels`; fetches some megabytes at a time."""
        for name in self._fetched():
            yield name, self.read_labels(name, labeling, on_alphabet_mismatch)

    def _fetched(self) -> Iterator[str]:
        """Names of the segments in the order of the files, fetched in chunks."""
        chunk: list[str] = []
        size = 0
        names: FileOrderIterator[None] = FileOrderIterator(self, "names", 0)
        for name, _ in names:
            _, begin, end = self._extent(name)
            chunk.append(name)
            size += end - begin
            if size >= _CHUNK:
                self.fetch(chunk)
                yield from chunk
                chunk, size = [], 0
        self.fetch(chunk)
        yield from chunk


def open_remote(paths: Sequence[str], request: OpenRequest, title: str) -> RemoteArchive:
    """Opens URLs, and files among them, with their index if there is a valid one.

    Raises:
        FileNotFoundError, CorruptError, SprintCacheError: as `RemoteArchive`.
    """
    index = request.index_file
    if index == "auto":
        index = f"{title}.index" if len(request.paths) == 1 else None
    if index is not None:
        try:
            archive = RemoteArchive(paths, request, title, index)
        except FormatError as error:  # of a table that was left out for an index out of date
            logger.debug("%s is opened without an index: %s", title, error)
        else:
            if archive.index_path is not None or not archive.index_problems:
                return archive
            archive.close()
    return RemoteArchive(paths, request, title)


def _fetched_index(index: str, folder: str) -> list[str]:
    """The local path of an index, if there is one."""
    if not is_url(index):
        return [index] if os.path.exists(index) else []
    try:
        copy = SparseCopy(index, folder)
    except FileNotFoundError:
        return []
    copy.fetch([(0, copy.size)])
    return [copy.path]


def _take_times(index_path: str, copies: Sequence[SparseCopy | None]) -> None:
    """Gives copies the times of the files that an index was written for.

    A store keeps its own times; size and identity of the archive still have to match.
    """
    with open(index_path, "rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        num_archives, offset = _HEADER.unpack(header)
        if num_archives != len(copies) or offset > os.fstat(file.fileno()).st_size:
            return
        file.seek(offset)
        rows = file.read(_ROW.size * num_archives)
    if len(rows) == _ROW.size * num_archives:
        for copy, (size, time) in zip(copies, _ROW.iter_unpack(rows), strict=True):
            if copy is not None and copy.size == size:
                copy.set_time(time)


def _folder_of(archive: RemoteArchive) -> str:
    """The folder of the copies; a temporary one goes with the archive."""
    folder = os.environ.get(CACHE)
    if folder:
        os.makedirs(folder, exist_ok=True)
        return folder
    folder = tempfile.mkdtemp(prefix="sprintcache-")
    weakref.finalize(archive, _remove, folder, os.getpid())
    return folder


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # not by a child that was forked
        shutil.rmtree(folder, ignore_errors=True)
