"""recover: gives an archive without a sound table its table back."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from typing import NamedTuple

from .entries import ScanReport, SkippedRange
from .opening import open_archive
from .writer import (
    HEADER,
    START_TAG,
    ArchiveWriter,
    Row,
    finish,
    open_locked,
    publish,
    same_file,
    sync_folder,
    write_all,
)

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
        text = f"{self.out}: {self.num_entries} entries"
        if self.was_sound:
            text += ", the table was sound"
        if lost:
            first = self.skipped[0]
            text += (
                f", {lost} bytes in {len(self.skipped)} place{'s'[: len(self.skipped) > 1]} were"
                f" no whole entry, first at offset {first.offset}: {first.reason}"
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
        OSError: if the system fails; it can be tried again.
    """
    final = source = os.path.realpath(path)
    partial = final + ".partial"
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
    with open_locked(source, "rb" if out is not None else "r+b") as file:
        if out is None:
            _complete_header(file.fileno())
        rows, report, end = _found(source)
        holes = _holes(file.fileno(), rows, end) if report is not None else {}
        if out is not None:
            final = os.path.realpath(out)
            _copy(file.fileno(), rows, final)
        elif report is not None:
            write_all(file.fileno(), [b"\0"], 8)
            finish(file.fileno(), end, rows, holes)
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


def _found(path: str) -> tuple[dict[str, Row], ScanReport | None, int]:
    """The rows of an archive, the report if it was scanned, and where the last entry ends."""
    rows: dict[str, Row] = {}
    with open_archive(path, "pread") as archive:
        (report,) = archive.scan_reports
        for name in archive:
            _, *row, _ = archive.entry(name)
            rows[name] = Row(*row)
    return rows, report, max((row.end for row in rows.values()), default=len(HEADER))


def _holes(fd: int, rows: dict[str, Row], end: int) -> dict[int, int]:
    """The holes right behind whole entries or the header, and behind each other."""
    holes: dict[int, int] = {}
    starts = {
        row.position - 8 - len(name.encode("utf-8", "surrogateescape"))
        for name, row in rows.items()
    }
    for at in (len(HEADER), *sorted(row.end for row in rows.values())):
        while at < end and at not in starts:
            tag, name_size, size, compressed, checksum = struct.unpack(
                "<4sIIII", os.pread(fd, 20, at).ljust(20, b"\0")
            )
            if tag != START_TAG or name_size or compressed or checksum or at + 24 + size > end:
                break
            holes[at + 8] = size
            at += 24 + size
    return holes


def _copy(fd: int, rows: dict[str, Row], out: str) -> None:
    """A new archive with these entries, each as it is stored."""
    with (
        ArchiveWriter(out) as writer,
        mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data,
        memoryview(data) as view,
    ):
        for name, row in rows.items():
            begin = row.position + 12
            with view[begin : row.end - 4] as stored:
                writer.put(name, row.size, row.compressed_size, [stored])
