"""Which entries a user means: globs, lists of names, and names that are nearly right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from sprintcache.allophones import content_lines
from sprintcache.errors import EntryNotFoundError

if TYPE_CHECKING:
    from sprintcache.archive import Archive

__all__ = ["listed", "matching", "similar"]

_COMPARED = 20_000  # names that are compared with one that does not exist


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


def listed(archive: Archive, path: str) -> list[str]:
    """Names of a file, one a line, possibly gzipped; blank lines and ``#`` lines do not count.

    Args:
        archive: has them all.
        path: the file; ``-`` for standard input.

    Raises:
        EntryNotFoundError: if some are not in the archive.
        FormatError: if the file is damaged.
        OSError: if it cannot be read.
    """
    if path == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        stripped = (line.strip() for line in text.split("\n"))
        names = [line for line in stripped if line and not line.startswith("#")]
    else:
        names = [line for _, line in content_lines(path)]
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
