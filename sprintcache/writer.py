"""ArchiveWriter: new archives, and more entries for old ones.

A new archive grows as ``<path>.partial`` and gets its name when it is whole and on the disk; what
stood there before stays until then. Nothing is held back in memory: what an ``add_`` method has
written survives the end of the process, what was there at the last `ArchiveWriter.flush` that of
the machine. Entries overwrite old bytes in an order in which a half-written one is never taken for
an entry.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .alignment import Alignment
from .encoding import SIZE_LIMIT, Part, encode_blocks, encode_features, render
from .entries import Block
from .errors import ClosedArchiveError, CorruptError, EntryNotFoundError, SprintCacheError
from .opening import open_archive

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["ArchiveWriter"]

logger = logging.getLogger(__name__)

HEADER = b"SP_ARC1\0\0"
START_TAG = struct.pack("<I", 0xAA55AA55)
END_TAG = struct.pack("<I", 0x55AA55AA)
_MOST_PARTS = 512  # per system call; Linux takes 1024
_DBL_MAX = 1.7976931348623157e308


class Row(NamedTuple):
    """An entry of the table: offset of its size field, its sizes."""

    position: int
    size: int
    compressed_size: int

    @property
    def end(self) -> int:
        """Where the entry ends in the file."""
        return self.position + 16 + (self.compressed_size or self.size)


class ArchiveWriter:
    """Writes an archive file; a context manager, and safe to share between threads.

    Args:
        path: the archive.
        mode: "x": a new archive, an error if there is one; "w": a new one in place of what is
            there; "a": more entries in the archive itself, which must have its table. Where there
            is no archive, "a" is "x".
        compress: whether entries are stored as gzip members; every ``add_`` method may differ.
        keep_partial: leave ``<path>.partial`` when the ``with`` block ends with an exception.

    Raises:
        FileExistsError: in mode "x".
        FormatError: if the archive to append to is none.
        SprintCacheError: if another writer is at work, or if an earlier one did not finish.
        ValueError: for a mode that is none of the three, or the path of a bundle.

    Entries are put where Sprint puts them (archive format, section 2.5): in the first hole of
    exactly their size, else at the end. When the ``with`` block ends with an exception, mode "a"
    completes the archive with what was added, the other modes remove what they wrote. After an
    error of the operating system everything stays as it is, for `sprintcache.recover`.
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
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if mode == "a" and not os.path.exists(self.path):
            mode = "x"
        self.mode = mode
        self._compress = compress
        self._keep_partial = keep_partial
        self._rows: dict[str, Row] = {}
        self._holes: dict[int, int] = {}  # position of the size field -> size, in the table's order
        self._holes_of: dict[int, list[int]] = {}  # size -> positions
        self._end = len(HEADER)
        self._changed = mode != "a"
        self._failed = False
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._replaced: FileIO | None = None
        if mode == "a":
            self._file_path = self.path
            self._file = open_locked(self.path, "r+b")
        else:
            self._file_path = self.path + ".partial"
            self._file = self._new_file()
        self._fd = self._file.fileno()
        try:
            with self._told():
                if mode == "a":
                    self._load()
                else:
                    write_all(self._fd, [HEADER], 0)
                self._dirty_end = os.fstat(self._fd).st_size  # old bytes may stand up to here
        except BaseException:
            self._release()
            raise

    def _new_file(self) -> FileIO:
        """Creates the partial file, locked; of mode "w" the old archive is locked as well."""
        if self.mode == "x" and os.path.exists(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        if os.path.exists(self.path):
            self._replaced = open_locked(self.path, "rb")
        try:
            if self._replaced is not None and same_file(self._file_path, self.path):
                os.unlink(self._file_path)  # a writer was killed between its last two steps
            while True:
                file = open_locked(self._file_path, "r+b", create=True)
                if os.fstat(file.fileno()).st_size == 0:
                    return file
                if self.mode == "x":
                    file.close()
                    raise SprintCacheError(
                        f"an earlier writer did not finish; sprintcache.recover({self.path!r})"
                        " finishes it, or remove the file",
                        path=self._file_path,
                    )
                os.unlink(self._file_path)
                file.close()
        except BaseException:
            if self._replaced is not None:
                self._replaced.close()
            raise

    def _load(self) -> None:
        """Takes over the rows and holes of the archive that is appended to."""
        with open_archive(self.path, "pread") as archive:
            for report in archive.scan_reports:
                if report is not None:
                    raise SprintCacheError(
                        f"{report.reason}; sprintcache.recover({self.path!r}) mends it, then it"
                        " can be appended to",
                        path=self.path,
                    )
            for name in archive:
                _, *row, _ = archive.entry(name)
                self._rows[name] = Row(*row)
        size = os.fstat(self._fd).st_size
        holes_at, self._end = struct.unpack("<QQ", os.pread(self._fd, 16, size - 16))
        tail = os.pread(self._fd, size - 16 - holes_at, holes_at) if 0 < holes_at < size else b""
        if len(tail) >= 4 and 4 + 12 * int.from_bytes(tail[:4], "little") == len(tail):
            for position, room in struct.iter_unpack("<QI", tail[4:]):
                self._add_hole(position, room)

    # ---- life

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.close()
            return
        with self._lock:
            if self._file.closed:
                return
            try:
                if self._failed or os.getpid() != self._pid:
                    return
                if self.mode == "a":
                    self._finish()
                elif not self._keep_partial:
                    os.unlink(self._file_path)
            finally:
                self._release()

    def close(self) -> None:
        """Writes the table, brings all to the disk and gives the archive its name.

        A second time: nothing.

        Raises:
            FileExistsError: in mode "x", if an archive of that name has come up meanwhile; the new
                one stays as ``<path>.partial``.
            OSError: if the system fails; `sprintcache.recover` can finish then.
            SprintCacheError: if an earlier write failed.
        """
        with self._lock:
            if self._file.closed:
                return
            try:
                if os.getpid() != self._pid:
                    return  # a fork: the archive is the parent's
                if self._failed:
                    raise SprintCacheError(f"not finished: {self._hint()}", path=self._file_path)
                self._finish()
            finally:
                self._release()

    def flush(self) -> None:
        """Brings all that was added to the disk; without it, that is left to the system."""
        with self._lock:
            self._check_open()
            with self._told():
                os.fsync(self._fd)

    def _finish(self) -> None:
        if not self._changed:
            return
        with self._told():
            finish(self._fd, self._end, self._rows, self._holes)
            if self.mode == "w":
                os.replace(self._file_path, self.path)
        if self.mode == "x":
            publish(self._file_path, self.path)
        if self.mode != "a":
            with self._told():
                sync_folder(self.path)

    def _release(self) -> None:
        for file in (self._file, self._replaced):
            if file is not None and not file.closed:
                if os.getpid() == self._pid:  # children that were forked hold the lock as well
                    with contextlib.suppress(OSError):
                        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
                file.close()

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
            times: (T, 2) start and end in seconds; None: made of shift and length.
            frame_shift, frame_length: in seconds.
            datatype: Sprint's name, such as "vector-f32"; None: by dtype and dimensions, the
                smallest float that holds them where Sprint does not know the dtype.
            gather: Sprint's parameter: blocks of ``gather + 1`` packets; None: one block.
            attributes: for the entry ``<name>.attribs``, which goes before; None: no such entry.
            compress: None: as the writer was told.
            replace: whether an entry of that name may give way.

        Raises:
            ValueError: if there is such an entry already, if the name is empty or not normalised,
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
        self._add(name, encode, attributes, compress, replace)

    def add_alignment(
        self,
        name: str,
        alignment: Alignment,
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds an alignment.

        Without times of its own it gets those of frames of 10 ms shift and 25 ms length; without
        items, those that Sprint gives to an empty one.

        Raises:
            ValueError, OSError: as `add_features`; also for an alphabet that lacks an id in use,
                which Sprint would not read.
        """
        alphabet = alignment.alphabet
        if alphabet is not None:
            missing = sorted(set(alignment.emission.tolist()) - alphabet.keys())
            if missing:
                raise ValueError(f"{self.path}, entry {name!r}: no symbol for id {missing[0]}")
        start, end = 0.0, 0.01 * (alignment.num_frames - 1) + 0.025
        if not len(alignment):
            start, end = _DBL_MAX, -_DBL_MAX
        start = start if alignment.start is None else alignment.start
        end = end if alignment.end is None else alignment.end
        blocks = [Block("flow-alignment", np.array([[start, end]]), [alignment])]
        self._add(name, partial(encode_blocks, blocks), attributes, compress, replace)

    def add_blocks(
        self,
        name: str,
        blocks: Iterable[Block],
        attributes: Mapping[str, str] | None = None,
        compress: bool | None = None,
        replace: bool = False,
    ) -> None:
        """Adds what `Archive.read_blocks` gave, byte for byte.

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
        """Adds a text as UTF-8; surrogates become the bytes that they stand for.

        Raises:
            ValueError, OSError: as `add_features`.
        """
        self._add(name, lambda: [text.encode(*_UTF8)], attributes, compress, replace)

    def remove(self, name: str) -> None:
        """Removes this entry, and not its ".attribs", as Sprint's archiver.

        Raises:
            EntryNotFoundError: if there is no such entry.
            CorruptError: if the file does not have it where its table says.
            OSError: if the system fails.
        """
        with self._lock:
            self._check_open()
            if name not in self._rows:
                raise EntryNotFoundError("no such entry", path=self.path, entry=name)
            row = self._found(name)
            self._begin()
            del self._rows[name]
            self._give_up(name, row)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def _add(
        self,
        name: str,
        encode: Callable[[], Sequence[Part]],
        attributes: Mapping[str, str] | None,
        compress: bool | None,
        replace: bool,
    ) -> None:
        compress = self._compress if compress is None else compress
        try:
            check_name(name)
            entries = [(name, *_stored(name, encode(), compress))]
            if attributes is not None:
                attribs = name + ".attribs"
                entries.insert(0, (attribs, *_stored(attribs, [render(attributes)], compress)))
        except ValueError as error:
            raise ValueError(f"{self.path}, entry {name!r}: {error}") from error
        with self._lock:
            self._check_open()
            for entry, *_ in entries:
                if entry in self._rows and not replace:
                    raise ValueError(f"{self.path}: there is an entry {entry!r} already")
            for entry, size, compressed_size, stored in entries:
                if entry in self._rows:
                    self._replace(entry, size, compressed_size, stored)
                else:
                    self.put(entry, size, compressed_size, stored)

    # ---- the file

    def _check_open(self) -> None:
        if self._file.closed:
            raise ClosedArchiveError("the writer is closed", path=self.path)
        if self._failed:
            raise SprintCacheError(f"writing has failed before: {self._hint()}", path=self.path)
        if os.getpid() != self._pid:
            raise SprintCacheError("the writer belongs to the process that forked", path=self.path)

    def _hint(self) -> str:
        path = self._file_path if os.path.exists(self.path) else self.path
        return f"all entries before are safe, sprintcache.recover({path!r}) finishes the archive"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns an error of the system into one that says what to do."""
        try:
            yield
        except OSError as error:
            raise self._telling(error) from error

    def _telling(self, error: OSError) -> OSError:
        self._failed = True
        return OSError(error.errno, f"{error.strerror}; {self._hint()}", self._file_path)

    def put(self, name: str, size: int, compressed_size: int, parts: Sequence[Part]) -> None:
        """Writes an entry whose bytes are as stored already; for `recover`, which checks none."""
        raw = name.encode(*_UTF8)
        stored = compressed_size or size
        head = struct.pack("<I", len(raw)) + raw + struct.pack("<III", size, compressed_size, 0)
        self._begin()
        try:
            hole = self._hole(stored + len(raw))
            start = self._end if hole is None else hole - 8
            end = start + 24 + len(raw) + stored
            if start < self._dirty_end:  # over old bytes: no entry before the last four are there
                write_all(self._fd, [bytes(4)], start)
                self._dirty_end = max(self._dirty_end, end)
                write_all(self._fd, [head, *parts, END_TAG], start + 4)
                write_all(self._fd, [START_TAG], start)
            else:
                self._dirty_end = end
                write_all(self._fd, [START_TAG + head, *parts, END_TAG], start)
        except OSError as error:
            raise self._telling(error) from error
        if hole is None:
            self._end = end
        else:
            self._holes_of[self._holes.pop(hole)].remove(hole)
        self._rows.pop(name, None)  # a replaced one goes to the end of the table
        self._rows[name] = Row(start + 8 + len(raw), size, compressed_size)

    def _begin(self) -> None:
        """Before the first change: from here to the new table, there is none."""
        if not self._changed:
            with self._told():
                write_all(self._fd, [b"\0"], 8)
            self._changed = True

    def _hole(self, size: int) -> int | None:
        """The first hole of this size that the file really has."""
        for position in self._holes_of.get(size, ()):
            head = struct.pack("<IIIII", 0xAA55AA55, 0, size, 0, 0)
            if os.pread(self._fd, 20, position - 8) == head:
                return position
        return None

    def _replace(self, name: str, size: int, compressed_size: int, parts: Sequence[Part]) -> None:
        """Removes and writes; the old entry goes last, unless the new one takes its very place."""
        old = self._found(name)
        room = (compressed_size or size) + len(name.encode(*_UTF8))
        same = (compressed_size or size) == (old.compressed_size or old.size)
        if (same or old.end == self._end) and self._hole(room) is None:
            self._begin()
            del self._rows[name]
            self._give_up(name, old)
            self.put(name, size, compressed_size, parts)
        else:
            self.put(name, size, compressed_size, parts)
            self._give_up(name, old)

    def _found(self, name: str) -> Row:
        """The row of an entry that the file really has."""
        raw, row = name.encode(*_UTF8), self._rows[name]
        head = START_TAG + struct.pack("<I", len(raw)) + raw
        head += struct.pack("<III", row.size, row.compressed_size, 0)
        start = row.position - 8 - len(raw)
        with self._told():
            found = os.pread(self._fd, len(head), start)
            tag = os.pread(self._fd, 4, row.end - 4)
        if found != head or tag != END_TAG:
            raise CorruptError(
                "the entry is not where the table has it",
                path=self.path,
                entry=name,
                offset=start,
                expected=head[:40],
                found=found[:40],
            )
        return row

    def _give_up(self, name: str, row: Row) -> None:
        """Makes a hole of an entry, or moves the end of the archive back if it is the last."""
        start = row.position - 8 - len(name.encode(*_UTF8))
        size = row.end - start - 24
        if row.end == self._end:
            self._end = start
            return
        with self._told():
            write_all(self._fd, [struct.pack("<IIIII", 0xAA55AA55, 0, size, 0, 0)], start)
        self._add_hole(start + 8, size)

    def _add_hole(self, position: int, size: int) -> None:
        if position not in self._holes:
            self._holes[position] = size
            self._holes_of.setdefault(size, []).append(position)


_UTF8 = ("utf-8", "surrogateescape")


def check_name(name: str) -> None:
    """Raises ValueError for a name that Sprint would not look up: empty or not normalised."""
    body = name[2:] if name.startswith("//") else name.removeprefix("/")
    parts = body.split("/")
    if all(parts) and "." not in parts and ".." not in parts:
        return
    climbs = len(name) == len(body)  # leading ".." are normal, but not below the root
    for part in parts:
        if part in ("", ".") or (part == ".." and not climbs):
            raise ValueError(
                "a name must be a normalised path: not empty, without '//', '.', trailing '/' or"
                " inner '..'"
            )
        climbs = climbs and part == ".."


def _stored(name: str, parts: Sequence[Part], compress: bool) -> tuple[int, int, Sequence[Part]]:
    """Size, compressed size and the bytes as they are stored (archive format, section 3)."""
    size = sum(map(len, parts))
    stored = size
    if compress and size < SIZE_LIMIT:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        deflated = memoryview(zlib.compress(data))[2:-4]
        trailer = struct.pack("<II", zlib.crc32(data), size)
        parts = [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", deflated, trailer]
        stored = sum(map(len, parts))
    if max(size, stored + len(name.encode(*_UTF8))) >= SIZE_LIMIT:
        raise ValueError(f"{stored} bytes: an entry must be below 4 GiB")
    return size, stored if compress else 0, parts


# ---- what recover does as well


def open_locked(path: str, mode: str, create: bool = False) -> FileIO:
    """Opens a file that no other writer has, unbuffered; the lock lasts until it is closed.

    Raises:
        SprintCacheError: if another writer has it.
        OSError: if it cannot be opened.
    """
    while True:
        file = FileIO(path, mode, opener=_create if create else None)
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise SprintCacheError("another writer is at work on it", path=path) from error
        except OSError as error:
            logger.warning("%s: this file system has no locks: %s", path, error)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # it was renamed or removed before it was ours


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def write_all(fd: int, parts: Sequence[Part], offset: int) -> None:
    """Writes all parts, one behind the other; a system call may take only some of the bytes."""
    while parts:
        some = parts[:_MOST_PARTS]
        done = os.pwritev(fd, some, offset)
        offset += done
        whole = 0
        for part in some:
            if done < len(part):
                break
            done -= len(part)
            whole += 1
        else:
            if len(some) == len(parts):
                return
        rest = parts[whole:]
        if whole == 0 and done == 0:
            raise OSError(errno.EIO, "nothing could be written")
        parts = [memoryview(rest[0])[done:], *rest[1:]] if done else rest


def finish(fd: int, end: int, rows: Mapping[str, Row], holes: Mapping[int, int]) -> None:
    """Table, trailer, then flag 1 (archive format, section 2.2), all of it on the disk."""
    table = [struct.pack("<I", len(rows))]
    for name, row in rows.items():
        raw = name.encode(*_UTF8)
        table += struct.pack("<I", len(raw)), raw, struct.pack("<QII", *row)
    data = b"".join(table)
    holes_at = end + len(data)
    data += struct.pack("<I", len(holes))
    data += b"".join(struct.pack("<QI", *hole) for hole in holes.items())
    data += struct.pack("<QQ", holes_at, end)
    write_all(fd, [data], end)
    os.ftruncate(fd, end + len(data))
    os.fsync(fd)
    write_all(fd, [b"\1"], 8)
    os.fsync(fd)


def same_file(partial: str, path: str) -> bool:
    """Whether both are there and one file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samefile(partial, path)
    return False


def publish(partial: str, path: str) -> None:
    """Gives the file its name, unless something has it.

    Raises:
        FileExistsError: if so.
        OSError: if the system fails.
    """
    try:
        os.link(partial, path)
    except FileExistsError:
        text = f"it has come up meanwhile; the new archive is whole, as {partial}"
        raise FileExistsError(errno.EEXIST, text, path) from None
    except OSError as error:  # a file system without links
        if os.path.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
        os.rename(partial, path)
        return
    os.unlink(partial)


def sync_folder(path: str) -> None:
    """Brings the new name of a file to the disk."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
