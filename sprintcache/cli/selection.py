"""Which entries a user means: globs, lists of names, and names that are nearly right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from sprintcache._segment_list import read_segment_list
from sprintcache.errors import EntryNotFoundError

if TYPE_CHECKING:
    from sprintcache.archive import Archive

__all__ = ["as_stored", "chosen", "lines_of", "listed", "matching", "similar"]

_COMPARED = 20_000  # names that are compared with one that does not exist


def as_stored(names: list[str]) -> list[str]:
    """Names of the command line as the library has them, in any locale."""
    return [os.fsencode(name).decode("utf-8", "surrogateescape") for name in names]


def chosen(
    archive: Archive, globs: list[str], path: str | None, segments_only: bool = False
) -> list[str] | None:
    """The names of a list and those that match globs of the command line, each once.

    Args:
        archive: has them all.
        globs, path: as `matching` and `listed` take them.
        segments_only: whether globs do not match ".attribs" entries.

    Returns:
        first those of the list; None where there is neither a list nor a glob: all are meant.

    Raises:
        EntryNotFoundError, FormatError, OSError: as `matching` and `listed`.
    """
    if path is None and not globs:
        return None
    names = [] if path is None else listed(archive, path)
    if globs:
        names += matching(archive, as_stored(globs), segments_only)
    return list(dict.fromkeys(names))


def matching(archive: Archive, patterns: list[str], segments_only: bool) -> Iterable[str]:
    """Names that match a glob or are equal to it, in archive order; without globs, all.

    Raises:
        EntryNotFoundError: if nothing matches one of the globs.
    """
    names: Iterable[str] = archive.segments if segments_only else archive
    if not patterns:
        return names
    useless = set(patterns)
    found = []
    for name in names:
        hits = {pattern for pattern in patterns if name == pattern or fnmatchcase(name, pattern)}
        if hits:
            found.append(name)
            useless -= hits
    if useless:
        missing = next(pattern for pattern in patterns if pattern in useless)
        what = "segment" if segments_only else "entry"
        raise EntryNotFoundError(
            f"no {what} matches {missing!r}{similar(archive, missing)}", path=archive.path
        )
    return found


def lines_of(path: str) -> list[str]:
    """Stripped lines of a file, possibly gzipped; blank lines and ``#`` lines do not count.

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


def listed(archive: Archive, path: str) -> list[str]:
    """Names of a file, as `lines_of` reads it.

    Args:
        archive: has them all.
        path: the file; ``-`` for standard input.

    Raises:
        EntryNotFoundError: if some are not in the archive.
        FormatError, OSError: as `lines_of`.
    """
    names = lines_of(path)
    missing = [name for name in names if name not in archive]
    if missing:
        raise EntryNotFoundError(
            f"{len(missing)} of {len(names)} names of the list {os.path.basename(path)} are not in"
            f" the archive, the first: {missing[0]!r}{similar(archive, missing[0])}",
            path=archive.path,
        )
    return names


def similar(archive: Archive, name: str) -> str:
    """``; did you mean 'corpus/rec1/1'?`` if there is such a name, else "" ."""
    names = list(islice(archive.segments, _COMPARED))
    # people often leave out the beginning or the end
    near = [known for known in names if known.endswith(f"/{name}") or known.startswith(f"{name}/")]
    near = near or get_close_matches(name, names, 1, 0.7)
    return f"; did you mean {near[0]!r}?" if near else ""
