"""combine and repack: several archives into one, one archive anew.

First it is decided for every name which archive it comes from, then everything is copied in long
runs, as it is stored; only what is to be compressed or inflated is read, in a few threads. An entry
``<name>.attribs`` goes with its segment: it is never mixed with the data of another archive.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

from sprintcache._threads import default_threads, ordered_map
from sprintcache.errors import EntryNotFoundError, SprintCacheError
from sprintcache.opening import open_archive

from .combine_plan import Plan, Step
from .entry_copier import Extents, transfer
from .storing import check_name, stored_form
from .writer import ArchiveWriter

if TYPE_CHECKING:
    from sprintcache._files import Part
    from sprintcache.archive import Archive

    from .combine_plan import Tell

__all__ = ["CombineReport", "combine", "repack"]

Duplicates = Literal["check", "keep", "replace"]
Progress = Callable[[int, int], None]


class CombineReport(NamedTuple):
    """What `combine` or `repack` did, or would do.

    Attributes:
        path: the archive that was written.
        num_added: entries that went in, those in place of others included.
        num_replaced: entries in it that gave way.
        num_kept: entries that were left out, since there was one of their name.
        differing: names of those among them that "check" found to be different.
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
    compress: bool | None = None,
    skip_damaged: bool = False,
    dry_run: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> CombineReport:
    """Puts the entries of several archives, bundles or directories into one archive.

    Args:
        archives: the sources, open; they stay so.
        path: the archive to write; it may be one of the sources.
        mode: as of `ArchiveWriter`: "x" new, "w" in place of what is there, "a" to what is there.
        names: only these, with their ".attribs", and in this order within each source.
        duplicates: what happens to a name that is there already, in the archive that is appended
            to or in an earlier source: "check" keeps it, and names it in the report if the other
            one has different data or attributes; "keep" keeps it unseen; "replace" takes the
            later one.
        prefix: is put before every name.
        compress: store all entries as gzip members or none of them; None: as they are.
        skip_damaged: leave out entries that are damaged, and report them; False: raise an error.
        dry_run: write nothing; `num_added` counts what would be.
        tell: called with "add", "replace", "keep" or "differ", and the name that was decided on.
        progress: called with (entries dealt with, entries in all) now and then, between two
            entries; an exception that it raises ends the work there.

    Raises:
        EntryNotFoundError: if one of the names is in none of the archives.
        FormatError: if an entry is damaged; with `skip_damaged` only if its double must be read.
        FileExistsError, SprintCacheError, OSError: as `ArchiveWriter`; in modes "x" and "w" the
            path is then as it was before, in mode "a" the archive is whole and has what was done
            so far.
        ValueError: if `mode` or `duplicates` is none of the three; if names with the prefix would
            not be normalised paths; if entries were to be appended to their own archive.
    """
    if duplicates not in ("check", "keep", "replace"):
        raise ValueError(f"duplicates must be 'check', 'keep' or 'replace', not {duplicates!r}")
    if prefix:
        check_name(f"{prefix}x")
    for archive in archives:
        _check_open(archive)
    wanted = None if names is None else list(names)
    if wanted is not None:
        _check_names(archives, wanted)
    with ExitStack() as stack:
        writer = None if dry_run else stack.enter_context(ArchiveWriter(path, mode))
        if dry_run and mode == "x" and os.path.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
        there = None
        if mode == "a" and os.path.exists(path):
            there = stack.enter_context(open_archive(path, "pread", path_map={}))
        plan = Plan(there, duplicates, prefix, tell)
        for archive in archives:
            if progress is not None:
                progress(0, 0)
            plan.take(archive, wanted)
        damaged: list[tuple[str, SprintCacheError]] = []
        steps = plan.steps()
        total = sum(len(step.names) for step in steps)
        target = os.path.realpath(path)
        if mode == "a" and any(s.names and target in s.archive.source_paths for s in steps):
            raise ValueError(f"{target}: an archive cannot be appended to itself")
        if writer is not None:
            for name in sorted(plan.orphans):
                writer.remove(name)
            job = _Job(writer, prefix, compress, damaged if skip_damaged else None, progress, total)
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
    """Writes an archive anew: without holes, in another order, compressed or not.

    Args:
        archive: what is there, open; when it was replaced, it must be opened again.
        path: where it goes; None: in place of the archive, once it is whole.
        mode: "w", or "x" for an error where there is something.
        order: "name": sorted by name; or names that come first, in this order, before the others.
        compress, skip_damaged, dry_run, progress: as of `combine`.

    Raises:
        ValueError: without a path for a bundle or a directory, which are no archive files.
        SprintCacheError: without a path for an archive that has no sound table: what a scan passed
            over would be lost; `sprintcache.recover` is for it.
        EntryNotFoundError, FormatError, OSError: as `combine`.
    """
    _check_open(archive)
    if path is None:
        path = archive.path
        if archive.source_paths != (path,) or os.path.isdir(path):
            raise ValueError(f"{path}: only archive files can be written in their place")
        if archive.scan_report is not None:
            raise SprintCacheError(
                f"there is no sound table; sprintcache.recover({path!r}) first", path=path
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


def _check_open(archive: object) -> None:
    if not hasattr(archive, "source_paths"):
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


class _Job:
    """Carries steps out."""

    def __init__(
        self,
        writer: ArchiveWriter,
        prefix: str,
        compress: bool | None,
        damaged: list[tuple[str, SprintCacheError]] | None,
        progress: Progress | None,
        total: int,
    ) -> None:
        self._writer = writer
        self._prefix = prefix
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
        """Copies entries as they are stored."""
        transfer(
            archive,
            names,
            self._writer,
            prefix=self._prefix,
            replace=replace,
            on_damage=None if self._damaged is None else self._note,
            progress=self._advance,
            extents=self._extents(archive),
        )

    def _extents(self, archive: Archive) -> Extents:
        return self._extents_of.setdefault(id(archive), Extents(archive))

    def _recode(self, archive: Archive, names: Iterable[str], replace: bool) -> None:
        """Compresses or inflates entries on the way."""
        prefix, compress = self._prefix, self._compress is True

        extents = self._extents(archive)

        def work(name: str) -> tuple[str, tuple[int, int, Sequence[Part]] | SprintCacheError]:
            try:
                _, position, size, compressed_size, path = archive.entry(name)
                if position:
                    extents.add(path, name, compressed_size or size)
                return name, stored_form(prefix + name, [archive.read_bytes(name)], compress)
            except SprintCacheError as error:
                return name, error

        for name, result in ordered_map(work, names, default_threads()):
            if not isinstance(result, SprintCacheError):
                self._writer.add_stored(prefix + name, *result, replace)
            elif self._damaged is None:
                raise result
            else:
                self._note(name, result)
            self._advance(1)

    def _note(self, name: str, error: SprintCacheError) -> None:
        if self._damaged is not None:
            self._damaged.append((name, error))

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
