"""ArchiveWriter: new archives, and more entries for old ones.

A new archive is written as ``<path>.partial`` and renamed once it is complete and on the disk; an
existing file stays until then. Entries that were added before the last `ArchiveWriter.flush`
survive a crash of the process and of the machine; of later features and alignments, up to a
mebibyte is buffered in memory. Threads may share a writer: they compress in parallel and write one
at a time. A lock on the file excludes other writers; in a forked child the writer does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sprintcache._attributes import render
from sprintcache._files import (
    Part,
    check_regular,
    close_locked,
    open_locked,
    partial_of,
    sync_folder,
)
from sprintcache.errors import ClosedArchiveError, EntryNotFoundError, SprintCacheError
from sprintcache.opening import open_archive

from .archive_layout import HEADER, ArchiveLayout, EntryRow, raw_name
from .encoding import encode_alignment_entry, encode_blocks, encode_features
from .partial_file import PartialFile
from .recover import recover
from .storing import check_name, stored_form

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.entries import Block

__all__ = ["ArchiveWriter"]

logger = logging.getLogger(__name__)


class ArchiveWriter:
    """Writes an archive file; a context manager, and safe to share between threads.

    Args:
        path: the archive.
        mode: "x": a new archive, an error if it exists; "w": a new one that replaces an existing
            file; "a": adds entries to an archive, or to a new one if it does not exist. An
            unfinished archive is finished first, as by `sprintcache.recover`.
        compress: whether entries are stored as gzip members; every ``add_`` method may differ.
        keep_partial: leave ``<path>.partial`` with all that was added when the ``with`` block ends
            with an exception.

    Raises:
        FileExistsError: in mode "x".
        OSError: if it is not a regular file, or the system fails.
        FormatError: if the file to append to is not an archive, or its table is damaged.
        SprintCacheError: if another writer has the file open, or an earlier one did not finish.
        ValueError: for another mode, or the path of a bundle.

    Entries are placed as by Sprint (archive format, section 2.5): in the first hole of
    exactly their size, else at the end. When the ``with`` block ends with an exception, mode "a"
    completes the archive with the entries that were added, and the other modes remove the new file.
    After an error of the operating system the file is left as it is, for `sprintcache.recover`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: str = "x",
        compress: bool = False,
        *,
        keep_partial: bool = False,
    ) -> None:
        if mode not in ("x", "w", "a"):
            raise ValueError(f"mode must be 'x', 'w' or 'a', not {mode!r}")
        self.path = os.path.realpath(path)
        if self.path.endswith(".bundle"):
            raise ValueError(f"{self.path}: a bundle is a list of archives, not an archive")
        check_regular(self.path)
        self._compress = compress
        self._keep_partial = keep_partial
        self._failed = False
        self._closed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._partial: PartialFile | None = None
        if mode == "a" and is_unfinished(self.path):
            logger.warning("finished what a writer left: %s", recover(self.path))
        if mode == "a" and os.path.exists(self.path):
            self._opened = open_locked(self.path, "r+b")
            self._fd = self._opened.fileno()
        else:
            self._partial = PartialFile(self.path, replace=mode == "w")
            self._fd = self._partial.fd
        try:
            with self._translate_errors():
                self._file = ArchiveLayout(self._fd, self._file_path)
                if self._partial is None:
                    self._load()
                else:
                    self._file.begin()
        except BaseException:
            self._release()
            raise

    @property
    def _file_path(self) -> str:
        return self.path if self._partial is None else self._partial.path

    def _load(self) -> None:
        """Reads the rows and holes of the archive that is appended to."""
        with open_archive(self.path, "pread", path_map={}, index=None) as archive:
            for report in archive.scan_reports:
                if report is not None:
                    raise SprintCacheError(
                        f"{report.reason}; sprintcache.recover({self.path!r}) mends it, then it"
                        " can be appended to",
                        path=self.path,
                    )
            for name in archive:
                _, *row, _ = archive.entry(name)
                self._file.rows[name] = EntryRow(*row)
        self._file.load_holes()

    # ---- life

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.close()
            return
        if self._is_forked:
            self._release()
            return
        with self._lock:
            if self._closed:
                return
            try:
                if self._failed:
                    return
                if self._partial is None:
                    self._finish()
                elif not self._keep_partial:
                    self._partial.discard()
                else:
                    with self._translate_errors():
                        self._file.sync()
            finally:
                self._release()

    def close(self) -> None:
        """Writes the table, syncs the file and renames it. Idempotent.

        Raises:
            FileExistsError: in mode "x", if an archive of that name was created meanwhile; the new
                one stays as ``<path>.partial``.
            OSError: if the system fails; `sprintcache.recover` can finish then.
            SprintCacheError: if an earlier write failed.
        """
        if self._is_forked:
            self._release()
            return
        with self._lock:
            if self._closed:
                return
            try:
                if self._failed:
                    raise SprintCacheError(f"not finished: {self._hint()}", path=self._file_path)
                self._finish()
            finally:
                self._release()

    def flush(self) -> None:
        """Writes all entries to the disk; they survive any crash.

        Raises:
            ClosedArchiveError: the writer is closed.
            OSError: the disk is full, or another error of the system.
        """
        with self._shared_lock, self._translate_errors():
            self._check_writable()
            self._file.sync()
            if self._partial is not None:
                sync_folder(self._partial.path)

    def _finish(self) -> None:
        if not self._file.changed:
            return
        with self._translate_errors():
            self._file.finish()
        if self._partial is not None:
            with self._translate_errors():
                self._partial.publish()

    def _release(self) -> None:
        self._closed = True
        if self._partial is not None:
            self._partial.close(unlock=not self._is_forked)
        else:
            close_locked(self._opened, unlock=not self._is_forked)

    # ---- adding

    def add_features(
        self,
        name: str,
        features: ArrayLike,
        times: ArrayLike | None = None,
        *,
        frame_shift: float = 0.01,
        frame_length: float = 0.025,
        datatype: str | None = None,
        gather: int | None = None,
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds features.

        Args:
            name: the entry.
            features: (T, D), or (T,) for scalars, of any numeric dtype.
            times: (T, 2) start and end in seconds; None: from shift and length.
            frame_shift, frame_length: in seconds.
            datatype: Sprint's name, such as "vector-f32"; None: by dtype and dimensions, the
                smallest float that holds them where Sprint does not know the dtype.
            gather: Sprint's parameter: blocks of ``gather + 1`` packets; None: one block.
            attributes: for the entry ``<name>.attribs``, which precedes it; None: no such entry.
            compress: None: as of the writer.
            replace: whether an entry of that name is replaced.

        Raises:
            ValueError: if there is such an entry already, if the name is empty or not normalized,
                if values do not fit, or if the entry would have 4 GiB; nothing is written then.
            OSError: if the system fails, for example on a full disk.
        """
        encode = partial(
            encode_features,
            features,
            times,
            frame_shift=frame_shift,
            frame_length=frame_length,
            datatype=datatype,
            gather=gather,
        )
        self._add(name, encode, attributes, compress, replace, buffered=True)

    def add_alignment(
        self,
        name: str,
        alignment: Alignment,
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds an alignment.

        Without times it gets those of frames of 10 ms shift and 25 ms length; without items, those
        of an empty one in Sprint.

        Raises:
            ValueError, OSError: as `add_features`; also for an alphabet that lacks an id in use,
                which Sprint would not read.
        """
        encode = partial(encode_alignment_entry, alignment)
        self._add(name, encode, attributes, compress, replace, buffered=True)

    def add_blocks(
        self,
        name: str,
        blocks: Iterable[Block],
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds the blocks of `Archive.read_blocks`, byte for byte.

        Raises:
            ValueError, OSError: as `add_features`.
        """
        self._add(name, partial(encode_blocks, blocks), attributes, compress, replace)

    def add_bytes(
        self,
        name: str,
        data: bytes | bytearray | memoryview,
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds an entry as it is.

        Raises:
            ValueError, OSError: as `add_features`.
        """
        part = memoryview(data).cast("B")
        self._add(name, lambda: [part], attributes, compress, replace)

    def add_text(
        self,
        name: str,
        text: str,
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds a text as UTF-8, surrogates as their bytes.

        Raises:
            ValueError, OSError: as `add_features`.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, not {type(text).__name__}")
        self._add(name, lambda: [raw_name(text)], attributes, compress, replace)

    def add_stored(
        self,
        name: str,
        size: int,
        compressed_size: int,
        parts: Sequence[Part],
        replace: bool = False,
    ) -> None:
        """Adds an entry that is given as stored, without checks.

        Args:
            name: the entry; also one that Sprint would not look up.
            size: bytes of the data.
            compressed_size: bytes of the gzip member; 0: the data are stored plain.
            parts: the data or the gzip member, in pieces that follow each other.
            replace: whether an entry of that name is replaced.

        Raises:
            ValueError, OSError: as `add_features`.
        """
        self._put([(name, size, compressed_size, parts)], replace)

    @property
    def can_run(self) -> bool:
        """Whether `add_run` is allowed; a hole or an entry removed from the end rules it out."""
        return self._file.can_run

    def add_run(
        self,
        names: list[str],
        sizes: NDArray[np.uint32],
        compressed_sizes: NDArray[np.uint32],
        data: Iterable[Part],
    ) -> None:
        """Adds neighboring entries of an archive as they are, without checks.

        Args:
            names: of the entries.
            sizes, compressed_sizes: (N,) of each, as in the table.
            data: their bytes, with tags, names and sizes. Each part is written before the next is
                requested; if that raises, nothing was added.

        Raises:
            ValueError: if there is an entry of one of the names already, or holes to fill.
            OSError: if the system fails.
        """
        with self._shared_lock:
            self._check_writable()
            existing = self._file.names
            if not existing.isdisjoint(names):
                name = next(name for name in names if name in existing)
                raise ValueError(f"{self.path}: there is an entry {name!r} already")
            if not self._file.can_run:
                raise ValueError(f"{self.path}: it has holes, so entries must be added one by one")
            with self._translate_errors():
                self._file.put_run(names, sizes, compressed_sizes, data)

    def remove(self, name: str) -> None:
        """Removes this entry but not its ".attribs", like Sprint's archiver.

        Raises:
            EntryNotFoundError: if there is no such entry.
            CorruptError: if it is not where the table has it.
            OSError: if the system fails.
        """
        with self._shared_lock:
            self._check_writable()
            if name not in self._file.names:
                raise EntryNotFoundError("no such entry", path=self.path, entry=name)
            with self._translate_errors():
                self._file.remove(name)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._file.names)

    def __contains__(self, name: object) -> bool:
        return name in self._file.names

    def _add(
        self,
        name: str,
        encode: Callable[[], Sequence[Part]],
        attributes: Mapping[str, str] | None,
        compress: bool | None,
        replace: bool,
        buffered: bool = False,
    ) -> None:
        compress = self._compress if compress is None else compress
        try:
            check_name(name)
            entries = [(name, *stored_form(name, encode(), compress))]
            if attributes is not None:
                attribs = name + ".attribs"
                entries.insert(0, (attribs, *stored_form(attribs, [render(attributes)], compress)))
        except ValueError as error:
            raise ValueError(f"{self.path}, entry {name!r}: {error}") from error
        self._put(entries, replace, buffered)

    def _put(
        self,
        entries: Sequence[tuple[str, int, int, Sequence[Part]]],
        replace: bool,
        buffered: bool = False,
    ) -> None:
        with self._shared_lock:
            self._check_writable()
            for name, *_ in entries:
                if name in self._file.names and not replace:
                    raise ValueError(f"{self.path}: there is an entry {name!r} already")
            try:
                for entry in entries:
                    if entry[0] in self._file.names:
                        self._file.replace(*entry)
                    else:
                        self._file.put(*entry, buffered)
            except OSError as error:
                raise self._os_error(error) from error

    # ---- the file

    @property
    def _is_forked(self) -> bool:
        """Whether this is a child, whose lock may be held by a thread that it does not have."""
        return os.getpid() != self._pid

    # no generator, which would keep the lock while the traceback of an interrupt exists
    @property
    def _shared_lock(self) -> threading.Lock:
        """The lock, for what writes; an error in a forked child."""
        if self._is_forked:
            raise SprintCacheError("the writer belongs to the process that forked", path=self.path)
        return self._lock

    def _check_writable(self) -> None:
        """Raises an error if nothing can be written; the calling thread holds the lock."""
        if self._closed:
            raise ClosedArchiveError("the writer is closed", path=self.path)
        if self._failed:
            raise SprintCacheError(f"writing has failed before: {self._hint()}", path=self.path)

    def _hint(self) -> str:
        path = self._file_path if os.path.exists(self.path) else self.path
        return f"sprintcache.recover({path!r}) finishes the archive with what was written before"

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Adds to an error of the system how to recover."""
        try:
            yield
        except FileExistsError:  # the archive itself is whole
            raise
        except OSError as error:
            raise self._os_error(error) from error

    def _os_error(self, error: OSError) -> OSError:
        self._failed = True
        return OSError(error.errno, f"{error.strerror}; {self._hint()}", self._file_path)


def is_unfinished(path: str) -> bool:
    """Whether an interrupted writer left the archive, or its partial file only, without a table."""
    if not os.path.exists(path):
        return os.path.exists(partial_of(path))
    with open(path, "rb") as file:
        return HEADER.startswith(file.read(len(HEADER)))
