"""recover: writes the table of an archive that has none, or none that agrees with the entries."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from typing import NamedTuple

from sprintcache._files import (
    check_regular,
    errors_of,
    open_locked,
    partial_of,
    publish,
    same_file,
    sync_folder,
    write_all,
)
from sprintcache.archive import Archive
from sprintcache.entries import ScanReport, SkippedRange

from .archive_layout import END_TAG, HEADER, ArchiveLayout, EntryRow, entry_head, overlaps, raw_name
from .partial_file import PartialFile

__all__ = ["RecoveryReport", "recover"]


class RecoveryReport(NamedTuple):
    """What `recover` did.

    Attributes:
        path: the file that was read: the archive, or its ``.partial``.
        out: the archive that is complete now.
        num_entries: entries in its table.
        num_duplicates: further entries of the same names, which no reader sees: the first counts.
        num_holes: removed entries that the scan passed; a new file has none.
        skipped: damaged parts with the reason; lost in place if they were at the end.
        was_sound: whether the table was sound and agreed with the entries.
        unfinished: a ``.partial`` file of the archive that was left alone, or None.
    """

    path: str
    out: str
    num_entries: int
    num_duplicates: int
    num_holes: int
    skipped: tuple[SkippedRange, ...]
    was_sound: bool
    unfinished: str | None = None

    def __str__(self) -> str:
        text = f"{self.out}: {self.num_entries} {'entry' if self.num_entries == 1 else 'entries'}"
        if self.was_sound:
            text += ", the table was sound"
        if self.skipped:
            size = sum(part.size for part in self.skipped)
            ranges = "range" if len(self.skipped) == 1 else "ranges"
            first = self.skipped[0]
            text += (
                f", {size} bytes in {len(self.skipped)} {ranges} belong to no complete entry, first"
                f" at offset {first.offset}: {first.reason}"
            )
        if self.unfinished is not None:
            text += f"; {self.unfinished} is another unfinished archive"
        return text


def recover(
    path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None
) -> RecoveryReport:
    """Finishes an archive whose writer was interrupted, or mends one whose table is damaged.

    Every complete entry is kept, wherever it is in the file. If only ``<path>.partial`` exists, it
    becomes `path`; if both exist, it is left alone and recovered by its own name.

    Entries are compared with the table: tags, names and sizes. One that is not where the table has
    it is searched for. One that is not found, or that shares bytes with another entry, is listed in
    the report and stays unreadable: a copy does not have it.

    Args:
        path: the archive.
        out: None: in place, where damaged bytes after the last entry are cut off; otherwise a new
            archive, with a copy of every complete entry as it is stored.

    Raises:
        FileNotFoundError: if neither the archive nor a partial one exists.
        FileExistsError: if `out` exists.
        FormatError: if the file is not an archive.
        SprintCacheError: if a writer has the file open.
        OSError: if it is not a regular file, or the system fails; then it can be tried again.
    """
    final = source = os.path.realpath(path)
    partial = partial_of(final)
    unfinished = None
    if not os.path.exists(source):
        if not os.path.exists(partial):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        source = partial
    elif os.path.exists(partial):
        if not same_file(partial, source):
            unfinished = partial
        elif out is None:
            os.unlink(partial)  # the writer was killed between its last two steps
    if os.path.isdir(source) or source.endswith(".bundle"):
        raise ValueError(f"{source}: only archive files have a table")
    check_regular(source)
    with open_locked(source, "rb" if out is not None else "r+b") as file, _hint(source):
        if out is None:
            _complete_header(file.fileno())
        survey = _survey(source)
        rows = survey.rows
        if out is not None:
            final = os.path.realpath(out)
            rows = survey.whole
            _copy(source, rows, final)
        elif survey.is_new:
            archive = ArchiveLayout(file.fileno(), source)
            archive.rows.update(rows)
            archive.find_holes()
            archive.finish()
        if out is None and source != final:
            publish(source, final)
            sync_folder(final)
    return RecoveryReport(
        source,
        final,
        len(rows),
        survey.num_duplicates,
        survey.num_holes,
        survey.skipped,
        survey.was_sound,
        unfinished,
    )


@contextlib.contextmanager
def _hint(path: str) -> Iterator[None]:
    """Adds to an error of the system the file, and that nothing is lost."""
    try:
        with errors_of(path):
            yield
    except FileExistsError:
        raise
    except OSError as error:
        text = f"{error.strerror}; its entries are still there: recover it again"
        raise OSError(error.errno, text, error.filename) from error


def _complete_header(fd: int) -> None:
    """Writes the header if the writer was killed before it had: the file has a part of it."""
    present = os.pread(fd, len(HEADER), 0)
    if len(present) < len(HEADER) and HEADER.startswith(present):
        write_all(fd, [HEADER], 0)


class _Survey(NamedTuple):
    """What an archive has.

    Attributes:
        rows: of the table as it should be.
        whole: those of them whose entries can be read.
        is_new: whether `rows` differ from the table of the file.
        num_duplicates, num_holes, skipped, was_sound: as of `RecoveryReport`.
    """

    rows: dict[str, EntryRow]
    whole: dict[str, EntryRow]
    is_new: bool
    num_duplicates: int = 0
    num_holes: int = 0
    skipped: tuple[SkippedRange, ...] = ()
    was_sound: bool = True


def _survey(path: str) -> _Survey:
    rows, report = _read_rows(path)
    if report is not None:
        num_duplicates = report.num_entries - len(rows)
        return _Survey(
            rows, rows, True, num_duplicates, report.num_holes, report.skipped, was_sound=False
        )
    damaged = _damaged(path, rows)
    if not damaged:
        return _Survey(rows, rows, is_new=False)
    # an entry elsewhere in the file counts if it does not share bytes with one that is sound
    scanned, _ = _read_rows(path, "the table does not agree with the entries")
    elsewhere = {name: scanned[name] for name in damaged if name in scanned}
    sound = {name: row for name, row in rows.items() if name not in damaged}
    moved = _without_overlaps(sound, elsewhere)
    lost = {name: rows[name] for name in damaged if name not in moved}
    kept = _without_overlaps({**sound, **moved}, lost)
    new_rows = {**sound, **moved, **kept}
    skipped = [
        SkippedRange(row.start(raw_name(name)), row.end - row.start(raw_name(name)), damaged[name])
        for name, row in lost.items()
    ]
    return _Survey(
        {name: new_rows[name] for name in rows if name in new_rows},
        {name: new_rows[name] for name in rows if name in new_rows and name not in kept},
        is_new=new_rows != rows,
        skipped=tuple(sorted(skipped)),
        was_sound=False,
    )


def _read_rows(
    path: str, scan_reason: str | None = None
) -> tuple[dict[str, EntryRow], ScanReport | None]:
    """The rows of an archive, and the report if it was scanned."""
    rows: dict[str, EntryRow] = {}
    with Archive(path, [(path, False, None)], "pread", scan_reason=scan_reason) as archive:
        (report,) = archive.scan_reports
        for name in archive:
            _, *row, _ = archive.entry(name)
            rows[name] = EntryRow(*row)
    return rows, report


def _damaged(path: str, rows: dict[str, EntryRow]) -> dict[str, str]:
    """Entries that are not where the table has them, or overlap another one, with the reason."""
    damaged = {}
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        for name, (position, size, compressed_size) in rows.items():
            head = entry_head(raw_name(name), size, compressed_size)
            start, end = position + 12 - len(head), rows[name].end
            if data[start : position + 12] != head or data[end - 4 : end] != END_TAG:
                damaged[name] = f"entry {name!r} is not where the table has it"
    sound = {name: row for name, row in rows.items() if name not in damaged}
    for name, owner in overlaps(sound).items():
        damaged[name] = f"entry {name!r} overlaps entry {owner!r}"
    return damaged


def _without_overlaps(
    sound: dict[str, EntryRow], others: dict[str, EntryRow]
) -> dict[str, EntryRow]:
    """Those of the others that share no bytes with a valid entry or with each other."""
    shared = overlaps({**sound, **others})
    involved = shared.keys() | shared.values()
    return {name: row for name, row in others.items() if name not in involved}


def _copy(source: str, rows: dict[str, EntryRow], out: str) -> None:
    """Writes a new archive with these entries, each as it is stored."""
    partial = PartialFile(out, replace=False)
    try:
        with errors_of(partial.path):
            archive = ArchiveLayout(partial.fd, partial.path)
            archive.begin()
            # not closed here: the traceback of a failed write has views of it. The mapping keeps
            # its file open, so that must not be the one that is locked
            with open(source, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
            for name, row in rows.items():
                stored = data[row.position + 12 : row.end - 4]
                archive.put(name, row.size, row.compressed_size, [stored])
            archive.finish()
        partial.publish()
    except BaseException:
        partial.discard()
        raise
    finally:
        partial.close()
