"""recover: gives an archive without a sound table its table back."""

from __future__ import annotations

import errno
import mmap
import os
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
from sprintcache.entries import ScanReport, SkippedRange
from sprintcache.opening import open_archive

from .archive_layout import HEADER, ArchiveFile, Row
from .partial_file import PartialFile

__all__ = ["RecoveryReport", "recover"]


class RecoveryReport(NamedTuple):
    """What `recover` found and did.

    Attributes:
        path: the file that was looked at: the archive, or its ``.partial``.
        out: the archive that is whole now.
        num_entries: entries in its table.
        num_duplicates: further entries of the same names, which no reader sees: the first counts.
        num_holes: removed entries that the scan passed over; in a new file there are none.
        skipped: what was no whole entry, with the reason; lost in place where it was at the end.
        was_sound: whether the table was sound, so that nothing was scanned.
        unfinished: a ``.partial`` file beside the archive that was left alone, or None.
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
        lost = sum(part.size for part in self.skipped)
        text = f"{self.out}: {self.num_entries} {'entry' if self.num_entries == 1 else 'entries'}"
        if self.was_sound:
            text += ", the table was sound"
        if lost:
            first = self.skipped[0]
            text += (
                f", {lost} bytes in {len(self.skipped)} place{'s'[: len(self.skipped) > 1]} belong"
                f" to no whole entry, first at offset {first.offset}: {first.reason}"
            )
        if self.unfinished is not None:
            text += f"; {self.unfinished} is another unfinished archive"
        return text


def recover(
    path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None
) -> RecoveryReport:
    """Finishes an archive whose writer was interrupted, or mends one whose table is damaged.

    Every whole entry is kept, wherever it stands in the file. Where only ``<path>.partial`` is
    there, it becomes `path`; beside an archive it is left alone, and recovered by its own name.

    Args:
        path: the archive.
        out: None: in place, where damaged bytes behind the last whole entry are cut off; else a
            new archive, which gets a copy of every entry as it is stored.

    Raises:
        FileNotFoundError: if there is no such archive, nor a partial one.
        FileExistsError: if there is a file `out`.
        FormatError: if the file is no archive.
        SprintCacheError: if a writer is at work on it.
        OSError: if it is no regular file, or the system fails; then it can be tried again.
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
    with open_locked(source, "rb" if out is not None else "r+b") as file:
        fd = file.fileno()
        if out is None:
            _complete_header(fd)
        rows, report = _found(source)
        if out is not None:
            final = os.path.realpath(out)
            _copy(source, rows, final)
        elif report is not None:
            with errors_of(source):
                archive = ArchiveFile(fd, source)
                archive.rows = rows
                archive.find_holes()
                archive.finish()
        if out is None and source != final:
            publish(source, final)
            sync_folder(final)
    if report is None:
        return RecoveryReport(source, final, len(rows), 0, 0, (), True, unfinished)
    duplicates = report.num_entries - len(rows)
    return RecoveryReport(
        source,
        final,
        len(rows),
        duplicates,
        report.num_holes,
        report.skipped,
        False,
        unfinished,
    )


def _complete_header(fd: int) -> None:
    """A writer that was killed at once left the beginning of a header, or nothing."""
    found = os.pread(fd, len(HEADER), 0)
    if len(found) < len(HEADER) and HEADER.startswith(found):
        write_all(fd, [HEADER], 0)


def _found(path: str) -> tuple[dict[str, Row], ScanReport | None]:
    """The rows of an archive, and the report if it was scanned."""
    rows: dict[str, Row] = {}
    with open_archive(path, "pread", path_map={}) as archive:
        (report,) = archive.scan_reports
        for name in archive:
            _, *row, _ = archive.entry(name)
            rows[name] = Row(*row)
    return rows, report


def _copy(source: str, rows: dict[str, Row], out: str) -> None:
    """A new archive with these entries, each as it is stored."""
    partial = PartialFile(out, replace=False)
    try:
        with errors_of(partial.path):
            archive = ArchiveFile(partial.fd, partial.path)
            archive.begin()
            # not closed here: the traceback of a failed write has views of it. The mapping keeps
            # what it was made of open, so that must not be what the lock is on
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
