"""verify: reads and decodes everything in an archive, and lists the problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _bundle as bundle
from . import states
from ._analysis.finite import describe_not_finite
from ._text_file import open_regular
from ._threads import byte_runs, default_threads, ordered_map
from ._write.archive_layout import HEADER, EntryRow, overlaps, raw_name
from .entries import ScanReport
from .errors import FormatError, SprintCacheError
from .opening import open_archive

if TYPE_CHECKING:
    from ._path_map import PathMap
    from .alignment import Alignment
    from .allophones import AllophoneLabeling
    from .archive import Archive

__all__ = ["Problem", "VerifyReport", "verify"]


# what a thread checks at a time: short entries are checked in less time than a change of threads
_RUN_BYTES = 4 << 20
_RUN_ENTRIES = 4096
_FILE_BYTES = _RUN_BYTES // 256  # assumed of a file in a directory

# datatypes that are checked by decoding them into objects: the first for its ids, the second may
# hold the first, the third has no times
_SLOW = ("flow-alignment", "aggregate", "windowing-fir-filter-parameter")


class Problem(NamedTuple):
    """One problem of an archive.

    Attributes:
        path: the file.
        entry: name of the entry, or None if it is not a problem of an entry.
        offset: byte offset in the file, or None.
        reason: the problem in words.
    """

    path: str
    entry: str | None
    offset: int | None
    reason: str

    def __str__(self) -> str:
        where = [self.path]
        if self.entry is not None:
            where.append(f"entry {self.entry!r}")
        if self.offset is not None:
            where.append(f"offset {self.offset}")
        return f"{', '.join(where)}: {self.reason}"


class VerifyReport(NamedTuple):
    """Result of `verify`.

    Attributes:
        path: what was verified.
        num_entries: entries that were checked.
        num_bytes: bytes of their payloads, inflated.
        problems: first those of no entry, then those of entries in archive order.
    """

    path: str
    num_entries: int
    num_bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def verify(
    path: str | os.PathLike[str],
    num_threads: int | None = None,
    labeling: AllophoneLabeling | None = None,
    progress: Callable[[int, int], None] | None = None,
    io: str = "auto",
    *,
    path_map: PathMap | None = None,
    finite: bool = False,
) -> VerifyReport:
    """Reads every entry of an archive, bundle or directory and decodes it completely.

    Checks tags, names, sizes, checksum fields and gzip CRCs; the structure of Flow caches,
    attributes and alignments; that alignments use only ids of their alphabet; that there is a
    table, or else what a scan had to skip; that entries do not overlap; that the index of a bundle
    is up to date. A file in a directory that is an archive itself is verified as one. Entries of a
    bundle that a later archive in it replaces are not read.

    Args:
        path: the archive.
        num_threads: threads to check with; None: one per processor, at most 8.
        labeling: alphabets must agree with its allophones, and every state must have a label.
        progress: called with (entries checked, entries in all) from time to time.
        io, path_map: as for `open_archive`.
        finite: report NaN and infinite values, also as weights of alignments.

    Raises:
        OSError: if the archive cannot be opened; what cannot be read later is a problem.
        ValueError: if `num_threads` is less than 1 or `io` unknown.
    """
    path = os.fspath(path)
    num_threads = default_threads() if num_threads is None else num_threads
    try:
        archive = open_archive(path, io, path_map=path_map, index=None)
    except (FormatError, FileNotFoundError) as error:
        if not os.path.exists(path):
            raise
        members = _members(path, path_map)
        if not members:
            return VerifyReport(path, 0, 0, (_problem(error, path),))
        reports = [
            verify(member, num_threads, labeling, progress, io, path_map={}, finite=finite)
            for member in members
        ]
        return _joined(path, reports)

    def check(run: range) -> VerifyReport:
        try:
            return _check_run(archive, run, labeling, io, finite)
        except SprintCacheError as error:  # of the archive as a whole, such as one that changed
            return VerifyReport(path, 0, 0, (_problem(error, path),))

    with archive:
        reports = [VerifyReport(path, 0, 0, tuple(_table_problems(archive, path_map)))]
        runs = _runs(archive)
        for run, report in zip(runs, ordered_map(check, runs, num_threads), strict=True):
            reports.append(report)
            if progress is not None:
                progress(run.stop, len(archive))
        try:
            archive.check_unchanged()
        except SprintCacheError as error:
            reports.append(VerifyReport(path, 0, 0, (_problem(error, path),)))
    return _joined(path, reports)


def _joined(path: str, reports: list[VerifyReport]) -> VerifyReport:
    return VerifyReport(
        path,
        sum(report.num_entries for report in reports),
        sum(report.num_bytes for report in reports),
        tuple(problem for report in reports for problem in report.problems),
    )


def _members(path: str, path_map: PathMap | None) -> list[str]:
    """The archives that a bundle lists, as far as that can be read."""
    try:
        return bundle.members(path, path_map) if path.endswith(".bundle") else []
    except (FormatError, OSError):
        return []


def _table_problems(archive: Archive, path_map: PathMap | None) -> Iterator[Problem]:
    """Problems of tables and of the bundle's index."""
    for report in archive.scan_reports:
        if report is not None:
            yield from _scan_problems(report)
    if _has_overlaps(archive):
        yield from _overlaps(archive)
    if archive.path.endswith(".bundle") and os.path.exists(archive.path + ".idx.gz"):
        homes = {name: archive.entry(name).archive_path for name in archive}
        reason = bundle.index_problem(archive.path, homes.keys(), homes, path_map)
        if reason is not None:
            yield Problem(archive.path, None, None, reason)


def _has_overlaps(archive: Archive) -> bool:
    """Whether entries of one file share bytes."""
    sources, begins, ends, *_ = archive._rows_of()
    if np.any(begins[1:] < begins[:-1]) or np.any(sources[1:] != sources[:-1]):
        order = np.lexsort((begins, sources))
        sources, begins, ends = sources[order], begins[order], ends[order]
    shared = (begins[1:] < ends[:-1]) & (sources[1:] == sources[:-1]) & (begins[:-1] >= 0)
    return bool(np.any(shared))


def _overlaps(archive: Archive) -> Iterator[Problem]:
    rows: dict[str, dict[str, EntryRow]] = {}
    for name in archive:
        with suppress(SprintCacheError):  # a file that was removed; reading it reports that
            _, position, size, compressed_size, path = archive.entry(name)
            if position:
                rows.setdefault(path, {})[name] = EntryRow(position, size, compressed_size)
    for path, in_file in rows.items():
        for name, owner in overlaps(in_file).items():
            yield Problem(path, name, None, f"it overlaps entry {owner!r}")


def _scan_problems(report: ScanReport) -> Iterator[Problem]:
    yield Problem(report.path, None, None, f"no valid table: {report.reason}")
    for skipped in report.skipped:
        reason = f"{skipped.size} bytes belong to no complete entry: {skipped.reason}"
        yield Problem(report.path, None, skipped.offset, reason)


def _runs(archive: Archive) -> list[range]:
    """Neighboring entries that are checked by one thread."""
    _, begins, ends, *_ = archive._rows_of()
    sizes = np.where(begins < 0, _FILE_BYTES, ends - begins)
    return list(byte_runs(sizes, _RUN_BYTES, _RUN_ENTRIES))


def _check_run(
    archive: Archive, run: range, labeling: AllophoneLabeling | None, io: str, finite: bool
) -> VerifyReport:
    """The report on a run of entries."""
    start, stop = run.start, run.stop
    reports = []
    if finite:  # values are looked at
        names = archive._names(start, stop, False)
    else:
        sizes = archive._sound_entries(start, stop)
        others = np.flatnonzero(sizes < 0)
        num_bytes = int(sizes.sum()) + len(others)  # each of the others counts as -1
        reports.append(VerifyReport(archive.path, len(sizes) - len(others), num_bytes, ()))
        names = archive._names_at(others + start, False)
    reports += [_check_entry(archive, name, labeling, io, finite) for name in names]
    return _joined(archive.path, reports)


def _check_entry(
    archive: Archive, name: str, labeling: AllophoneLabeling | None, io: str, finite: bool
) -> VerifyReport:
    """The report on one entry; on an archive, if it is a file in a directory that is one."""
    size = 0
    path = archive.path
    problems: list[Problem] = []
    try:
        _, position, size, _, path = archive.entry(name)
        if position == 0:  # a file
            file = os.path.join(path, os.fsdecode(raw_name(name)))
            if _is_archive(file):
                return verify(file, 1, labeling, io=io, path_map={}, finite=finite)
        for reason in _entry_problems(archive, name, size, labeling, finite):
            problems.append(Problem(path, name, None, reason))
    except (SprintCacheError, OSError, MemoryError) as error:
        problems.append(_problem(error, path, name))
    return VerifyReport(path, 1, size, tuple(problems))


def _is_archive(path: str) -> bool:
    with open_regular(path) as file:
        return file.read(8) == HEADER[:8]


def _entry_problems(
    archive: Archive, name: str, size: int, labeling: AllophoneLabeling | None, finite: bool
) -> Iterator[str]:
    """Decodes an entry; yields the problems of its alignments and values."""
    if name.endswith(".attribs"):
        archive.read_attributes(name)
        return
    datatype = archive.datatype(name)
    if datatype is None:
        archive.read_bytes(name)
        if size and name + ".attribs" in archive:
            raise FormatError("it has attributes, but begins with no known datatype")
    elif datatype not in _SLOW and not finite:
        archive.read_times(name)  # looks at every packet, without the GIL
    else:
        blocks = archive.read_blocks(name)
        not_finite = describe_not_finite(blocks) if finite else ""
        if not_finite:
            yield not_finite
        for block in blocks:
            if block.datatype == "flow-alignment":
                for alignment in block.data:
                    yield from _alignment_problems(alignment, labeling)


def _alignment_problems(alignment: Alignment, labeling: AllophoneLabeling | None) -> Iterator[str]:
    """Ids outside the alphabet, symbols that contradict the allophones, states without label."""
    if alignment.alphabet is None and labeling is None:
        return
    used = np.unique(alignment.emission)
    if alignment.alphabet is not None:
        absent = [id_ for id_ in used.tolist() if id_ not in alignment.alphabet]
        if absent:
            yield f"the alphabet lacks {len(absent)} of the ids in use, the first: {absent[0]}"
    if labeling is None:
        return
    if alignment.label_type == "emission":
        if len(used) and int(used[-1]) >= labeling.num_labels:
            yield f"emission id {used[-1]}, but the labeling has {labeling.num_labels} labels"
        return
    contradiction = states.contradiction(alignment.alphabet, labeling.allophones)
    if contradiction:
        yield contradiction
        return
    unknown = used[labeling.labels_of(used) < 0].tolist()
    if unknown:
        first = states.symbol(unknown[0], labeling.allophones)
        yield f"no label for {len(unknown)} of the states in use, the first: {first}"


def _problem(error: Exception, path: str, entry: str | None = None) -> Problem:
    """An error as a problem; `path` and `entry` are for errors without them."""
    if not isinstance(error, SprintCacheError):
        if isinstance(error, OSError) and error.strerror:
            where = error.filename if isinstance(error.filename, str) else path
            return Problem(where, entry, None, error.strerror)
        reason = "not enough memory to read it" if isinstance(error, MemoryError) else str(error)
        return Problem(path, entry, None, reason.removeprefix(f"{os.path.abspath(path)}: "))
    facts = [("expected", error.expected), ("found", error.found)]
    known = ", ".join(f"{word} {value}" for word, value in facts if value is not None)
    reason = f"{error.reason}: {known}" if known else error.reason
    return Problem(error.path or path, error.entry or entry, error.offset, reason)
