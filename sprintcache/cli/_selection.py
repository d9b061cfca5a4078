"""Selection of entries: globs, lists of names, and suggestions for misspelled names."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from typing import Protocol

from sprintcache._segment_list import read_segment_list
from sprintcache.errors import EntryNotFoundError

__all__ = ["check_entry", "choose_names", "match_globs", "read_lines", "read_names", "suggestion"]

_MAX_COMPARED = 20_000  # names that are compared with a misspelled one


class NamedEntries(Collection[str], Protocol):
    """An archive, or the names of several sources."""

    @property
    def path(self) -> str: ...

    @property
    def segments(self) -> Sequence[str]: ...


def choose_names(
    archive: NamedEntries, globs: list[str], list_file: str | None, segments_only: bool = False
) -> list[str] | None:
    """The names of a list and those that match globs, each once.

    Args:
        archive: the archive.
        globs, list_file: as for `match_globs` and `read_names`.
        segments_only: whether globs skip ".attribs" entries.

    Returns:
        the names of the list first; None if there is neither a list nor a glob.

    Raises:
        EntryNotFoundError, FormatError, OSError: as `match_globs` and `read_names`.
    """
    if list_file is None and not globs:
        return None
    names = [] if list_file is None else read_names(archive, list_file)
    if globs:
        names += match_globs(archive, globs, segments_only)
    return list(dict.fromkeys(names))


def match_globs(archive: NamedEntries, globs: list[str], segments_only: bool) -> Iterable[str]:
    """Names that match or equal a glob, in archive order; without globs, all.

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

    Args:
        path: the file; ``-`` for standard input.

    Raises:
        FormatError: if the file is damaged.
        OSError: if it cannot be read.
    """
    if path != "-":
        return read_segment_list(path)
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    stripped = (line.strip() for line in text.split("\n"))
    return [line for line in stripped if line and not line.startswith("#")]


def read_names(archive: NamedEntries, path: str) -> list[str]:
    """Names of a file, as `read_lines` reads it.

    Args:
        archive: the archive.
        path: the file; ``-`` for standard input.

    Raises:
        EntryNotFoundError: if the archive lacks some of the names.
        FormatError, OSError: as `read_lines`.
    """
    names = read_lines(path)
    missing = [name for name in names if name not in archive]
    if missing:
        raise EntryNotFoundError(
            f"{len(missing)} of {len(names)} names of the list {os.path.basename(path)} are not in"
            f" the archive, the first: {missing[0]!r}{suggestion(archive, missing[0])}",
            path=archive.path,
        )
    return names


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
