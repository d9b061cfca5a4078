"""Selection of entries: globs, lists of names, and suggestions for misspelled names."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from sprintcache._segment_list import read_segment_list
from sprintcache.errors import EntryNotFoundError

from ._console import report

if TYPE_CHECKING:
    from ._options import ListOptions

__all__ = [
    "NameList",
    "SeveralArchives",
    "check_entry",
    "choose_names",
    "match_globs",
    "read_lines",
    "read_names",
    "suggestion",
]

_MAX_COMPARED = 20_000  # names that are compared with a misspelled one


class NamedEntries(Collection[str], Protocol):
    """An archive, or the names of several sources."""

    @property
    def path(self) -> str: ...

    @property
    def segments(self) -> Sequence[str]: ...


class NameList(Collection[str]):
    """The segments of files that are not archives."""

    def __init__(self, path: str, names: Iterable[str]) -> None:
        self.path = path
        self.segments = list(names)
        self._names = frozenset(self.segments)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self.segments)

    def __len__(self) -> int:
        return len(self.segments)


class SeveralArchives(Collection[str]):
    """The entries of several archives, in order, as those of one."""

    def __init__(self, archives: Sequence[NamedEntries]) -> None:
        self._archives = archives
        self.path = ", ".join(archive.path for archive in archives)

    @property
    def segments(self) -> Sequence[str]:
        """Segments of the first archive."""
        return self._archives[0].segments

    def __contains__(self, name: object) -> bool:
        return any(name in archive for archive in self._archives)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._archives)

    def __len__(self) -> int:
        return sum(map(len, self._archives))


def choose_names(
    archive: NamedEntries,
    globs: list[str],
    options: ListOptions | None,
    segments_only: bool = False,
) -> list[str] | None:
    """The names of a list and those that match globs, each once.

    Those of the list are first; None if there is neither a list nor a glob. Raises as `match_globs`
    and `read_names`.
    """
    list_file = None if options is None else options.list_file
    if list_file is None and not globs:
        return None
    names = []
    if options is not None and list_file is not None:
        names = read_names(archive, list_file, options.ignore_missing)
    if globs:
        names += match_globs(archive, globs, segments_only)
    return list(dict.fromkeys(names))


def match_globs(archive: NamedEntries, globs: list[str], segments_only: bool) -> Iterable[str]:
    """Names that match or equal a glob, in archive order; without globs, all.

    With `segments_only`, a glob does not match ".attribs" entries.

    Raises:
        EntryNotFoundError: if nothing matches one of the globs.
    """
    names: Iterable[str] = archive.segments if segments_only else archive
    if not globs:
        return names
    unmatched = set(globs)
    chosen = []
    for name in names:
        hits = {glob for glob in globs if name == glob or fnmatchcase(name, glob)}
        if hits:
            chosen.append(name)
            unmatched -= hits
    if unmatched:
        glob = next(glob for glob in globs if glob in unmatched)
        kind = "segment" if segments_only else "entry"
        raise EntryNotFoundError(
            f"no {kind} matches {glob!r}{suggestion(archive, glob)}", path=archive.path
        )
    return chosen


def read_lines(path: str) -> list[str]:
    """Stripped lines of a file, possibly gzipped, without blank lines and ``#`` lines.

    ``-`` is standard input. That a file has none is reported.

    Raises:
        FormatError: if the file is damaged.
        OSError: if it cannot be read.
    """
    if path != "-":
        lines = read_segment_list(path)
    else:
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        stripped = (line.strip() for line in text.split("\n"))
        lines = [line for line in stripped if line and not line.startswith("#")]
    if not lines:
        report(f"{path}: no names in the list")
    return lines


def read_names(archive: NamedEntries, path: str, ignore_missing: bool = False) -> list[str]:
    """Names of a file, as `read_lines` reads it, that the archive has.

    Raises:
        EntryNotFoundError: if the archive lacks names; with `ignore_missing`, which reports their
            number, if it lacks all of them.
        FormatError, OSError: as `read_lines`.
    """
    names = read_lines(path)
    existing = [name for name in names if name in archive]
    if len(existing) < len(names):
        first = next(name for name in names if name not in archive)
        message = (
            f"{len(names) - len(existing)} of {len(names)} names of the list"
            f" {os.path.basename(path)} are not in the archive, the first:"
            f" {first!r}{suggestion(archive, first)}"
        )
        if not (ignore_missing and existing):
            raise EntryNotFoundError(message, path=archive.path)
        report(f"{archive.path}: {message}")
    return existing


def check_entry(archive: NamedEntries, name: str, path: str) -> None:
    """Raises EntryNotFoundError for a name that the archive lacks."""
    if name not in archive:
        raise EntryNotFoundError(f"no entry {name!r}{suggestion(archive, name)}", path=path)


def suggestion(archive: NamedEntries, name: str) -> str:
    """``; did you mean 'corpus/rec1/1'?``, or "" if no name is similar."""
    names = list(islice(archive.segments, _MAX_COMPARED))
    # the beginning or the end is often left out
    near = [known for known in names if known.endswith(f"/{name}") or known.startswith(f"{name}/")]
    near = near or get_close_matches(name, names, 1, 0.7)
    return f"; did you mean {near[0]!r}?" if near else ""
