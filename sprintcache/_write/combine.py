"""combine and repack: several archives into one, or one archive rewritten.

First the source archive of every name is chosen, then entries are copied in long runs as stored;
only entries to compress or to inflate are read, in a few threads. An entry ``<name>.attribs`` is
copied with its segment and never mixed with the data of another archive.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from sprintcache._threads import default_threads, ordered_map
from sprintcache.archive import Archive
from sprintcache.errors import EntryNotFoundError, SprintCacheError
from sprintcache.opening import open_archive

from .combine_plan import Plan, Step
from .entry_copier import Extents, transfer
from .storing import check_name, stored_form
from .writer import ArchiveWriter

if TYPE_CHECKING:
    from sprintcache._files import Part

    from .combine_plan import OnDecision

__all__ = ["CombineReport", "combine", "repack"]

Duplicates = Literal["check", "keep", "replace"]
Progress = Callable[[int, int], None]


class CombineReport(NamedTuple):
    """Result of `combine` or `repack`, also of a dry run.

    Attributes:
        path: the archive that was written.
        num_added: entries that were added, replacements included.
        num_replaced: entries of the target that were replaced.
        num_kept: entries that were skipped, since their name existed.
        differing: names of skipped entries that differ, by "check".
        damaged: name and error of entries that were skipped.
    """

    path: str
    num_added: int
    num_replaced: int
    num_kept: int
    differing: tuple[str, ...]
    damaged: tuple[tuple[str, SprintCacheError], ...]


def combine(
    archives: Sequence[Archive],
    path: str | os.PathLike[str],
    mode: str = "x",
    *,
    names: Iterable[str] | None = None,
    duplicates: Duplicates = "check",
    prefix: str = "",
    rename: Callable[[str], str] | None = None,
    compress: bool | None = None,
    skip_damaged: bool = False,
    dry_run: bool = False,
    on_decision: OnDecision | None = None,
    progress: Progress | None = None,
) -> CombineReport:
    """Copies the entries of several archives, bundles or directories into one archive.

    Args:
        archives: the open sources; they stay open.
        path: the archive to write; it may be one of the sources.
        mode: as of `ArchiveWriter`: "x" new, "w" replacing a file, "a" appending.
        names: only these, with their ".attribs", and in this order within each source.
        duplicates: for a name that exists already, in the archive that is appended to or in an
            earlier source: "check" keeps that entry, and reports the name if data or attributes
            differ; "keep" keeps it without comparing; "replace" takes the later one.
        prefix: prepended to every name.
        rename: new name of each segment, before the prefix; its ".attribs" follow.
        compress: store all entries as gzip members or none of them; None: as they are.
        skip_damaged: skip damaged entries and report them; False: raise an error.
        dry_run: write nothing; the report is that of a real run.
        on_decision: called with "add", "replace", "keep" or "differ", and the name.
        progress: called with (entries processed, entries in all) from time to time, between two
            entries; an exception that it raises ends the work there.

    Raises:
        EntryNotFoundError: if one of the names is not in any archive.
        FormatError: if an entry is damaged; with `skip_damaged` only if it must be compared with
            another one.
        FileExistsError, SprintCacheError, OSError: as `ArchiveWriter`; in modes "x" and "w" the
            path is then unchanged, in mode "a" the archive is complete with the entries so far.
        ValueError: for another `mode` or `duplicates`; if new names are not normalized paths, or
            two segments of one archive get the same one; if an archive would be appended to itself.
    """
    if duplicates not in ("check", "keep", "replace"):
        raise ValueError(f"duplicates must be 'check', 'keep' or 'replace', not {duplicates!r}")
    if prefix:
        check_name(f"{prefix}x")
    for archive in archives:
        _check_open(archive)
    selected = None if names is None else list(names)
    if selected is not None:
        _check_names(archives, selected)
    with ExitStack() as stack:
        writer = None if dry_run else stack.enter_context(ArchiveWriter(path, mode))
        if dry_run and mode == "x" and os.path.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        target_archive = None
        if mode == "a" and os.path.exists(path):
            target_archive = stack.enter_context(
                open_archive(path, "pread", path_map={}, index=None)
            )
        new_name = _new_name(prefix, rename)
        plan = Plan(target_archive, duplicates, new_name, on_decision)
        for archive in archives:
            if progress is not None:
                progress(0, 0)
            plan.add(archive, selected)
        damaged: list[tuple[str, SprintCacheError]] = []
        steps = plan.steps()
        total = sum(len(step.names) for step in steps)
        target = os.path.realpath(path)
        if mode == "a" and any(s.names and target in s.archive.source_paths for s in steps):
            raise ValueError(f"{target}: an archive cannot be appended to itself")
        if writer is not None:
            for name in sorted(plan.orphans):
                writer.remove(name)
            on_damage = damaged if skip_damaged else None
            job = _Copying(writer, new_name, compress, on_damage, progress, total)
            for step in steps:
                job.run(step)
    return CombineReport(
        target,
        total - len(damaged),
        plan.num_replaced,
        plan.num_kept,
        tuple(plan.differing),
        tuple(damaged),
    )


def repack(
    archive: Archive,
    path: str | os.PathLike[str] | None = None,
    mode: str = "w",
    *,
    order: Literal["name"] | Iterable[str] | None = None,
    compress: bool | None = None,
    skip_damaged: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> CombineReport:
    """Rewrites an archive: without holes, in another order, compressed or not.

    Args:
        archive: the open source; if it is replaced, it must be opened again.
        path: the target; None: replaces the archive once it is complete.
        mode: "w", or "x" for an error if it exists.
        order: "name": sorted by name; or names to put first, in this order.
        compress, skip_damaged, dry_run, progress: as of `combine`.

    Raises:
        ValueError: without a path for a bundle or a directory, which are not archive files.
        SprintCacheError: without a path for an archive that has no valid table: what a scan
            skipped would be lost; use `sprintcache.recover`.
        EntryNotFoundError, FormatError, OSError: as `combine`.
    """
    _check_open(archive)
    if path is None:
        path = archive.path
        if archive.source_paths != (path,) or os.path.isdir(path):
            raise ValueError(f"{path}: only archive files can be replaced")
        if archive.scan_report is not None:
            raise SprintCacheError(
                f"there is no valid table; sprintcache.recover({path!r}) first", path=path
            )
    names: list[str] | None = None
    if order is not None:
        names = sorted(archive) if order == "name" else [*order, *archive]
    return combine(
        [archive],
        path,
        mode,
        names=names,
        compress=compress,
        skip_damaged=skip_damaged,
        dry_run=dry_run,
        progress=progress,
    )


def _new_name(prefix: str, rename: Callable[[str], str] | None) -> Callable[[str], str] | None:
    """A function from the name of an entry to its new name; None if names are unchanged."""
    if rename is None:
        return (lambda name: prefix + name) if prefix else None

    def new_name(name: str) -> str:
        segment = name.removesuffix(".attribs")
        renamed = prefix + rename(segment)
        check_name(renamed)
        return renamed + name[len(segment) :]

    return new_name


def _check_open(archive: object) -> None:
    if not isinstance(archive, Archive):
        raise TypeError(f"an open archive is needed, from open_archive, not {archive!r}")


def _check_names(archives: Sequence[Archive], names: list[str]) -> None:
    missing = [name for name in names if not any(name in archive for archive in archives)]
    if missing:
        raise EntryNotFoundError(
            f"{len(missing)} of {len(names)} names are in none of the archives, the first:"
            f" {missing[0]!r}",
            path=archives[0].path if len(archives) == 1 else None,
        )


# ---- copying


class _Copying:
    """Copies the entries of steps."""

    def __init__(
        self,
        writer: ArchiveWriter,
        new_name: Callable[[str], str] | None,
        compress: bool | None,
        damaged: list[tuple[str, SprintCacheError]] | None,
        progress: Progress | None,
        total: int,
    ) -> None:
        self._writer = writer
        self._new_name = new_name
        self._compress = compress
        self._damaged = damaged
        self._progress = progress
        self._total = total
        self._done = 0
        self._extents_of: dict[int, Extents] = {}

    def run(self, step: Step) -> None:
        archive = step.archive
        if self._compress is None and not step.replacing:
            self._transfer(archive, step.names, False)
            return

        def kind(name: str) -> tuple[bool, bool]:
            replace = name in step.replacing
            if self._compress is None:
                return False, replace
            return (archive.entry(name).compressed_size > 0) != self._compress, replace

        for (recode, replace), names in groupby(step.names, kind):
            if recode:
                self._recode(archive, names, replace)
            else:
                self._transfer(archive, names, replace)

    def _transfer(self, archive: Archive, names: Iterable[str], replace: bool) -> None:
        """Copies entries as stored."""
        transfer(
            archive,
            names,
            self._writer,
            new_name=self._new_name,
            replace=replace,
            on_damage=None if self._damaged is None else self._record_damage,
            progress=self._advance,
            extents=self._extents(archive),
        )

    def _extents(self, archive: Archive) -> Extents:
        return self._extents_of.setdefault(id(archive), Extents(archive))

    def _recode(self, archive: Archive, names: Iterable[str], replace: bool) -> None:
        """Copies entries compressed or inflated."""
        new_name, compress = self._new_name or str, self._compress is True

        extents = self._extents(archive)

        def work(name: str) -> tuple[str, tuple[int, int, Sequence[Part]] | SprintCacheError]:
            try:
                _, position, size, compressed_size, path = archive.entry(name)
                if position:
                    extents.add(path, name, compressed_size or size)
                return name, stored_form(new_name(name), [archive.read_bytes(name)], compress)
            except SprintCacheError as error:
                return name, error

        for name, result in ordered_map(work, names, default_threads()):
            if not isinstance(result, SprintCacheError):
                self._writer.add_stored(new_name(name), *result, replace)
            elif self._damaged is None:
                raise result
            else:
                self._record_damage(name, result)
            self._advance(1)

    def _record_damage(self, name: str, error: SprintCacheError) -> None:
        if self._damaged is not None:
            self._damaged.append((name, error))

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
