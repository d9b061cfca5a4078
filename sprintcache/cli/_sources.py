"""Files and folders that `add` makes entries of."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from sprintcache import _directory

from ._console import report

__all__ = ["Source", "collect_sources"]


class Source(NamedTuple):
    """The name of a new entry, and the path of its file."""

    name: str
    path: str


def collect_sources(paths: Iterable[str], lines: Iterable[str], suffix: str) -> list[Source]:
    """The entries for files and folders, in the order in which they are added.

    The entry of a file has its base name; a folder has an entry for every file below it. Attributes
    precede their segment, as in Sprint.

    Args:
        paths: files and folders.
        lines: a path each, or a name, blanks and a path.
        suffix: of all files; not part of the name. Other files in folders are reported.

    Raises:
        ValueError: for a file without the suffix.
        OSError: if a folder cannot be read, or if a path without the suffix does not exist; files
            are read later.
    """
    sources: list[Source] = []
    num_ignored = 0
    for path in paths:
        if os.path.isdir(path):
            names = _directory.names(path)
            matching = [name for name in names if name.endswith(suffix)]
            num_ignored += len(names) - len(matching)
            sources += [Source(_name(name, suffix), os.path.join(path, name)) for name in matching]
        else:
            if not path.endswith(suffix) and not os.path.lexists(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            sources.append(Source(_name(os.path.basename(path), suffix), path))
    for line in lines:
        *names, text = re.split(r"[ \t]+", line, maxsplit=1)
        path = os.fsdecode(text.encode("utf-8", "surrogateescape"))
        name = names[0] if names else _name(os.path.basename(path), suffix)
        sources.append(Source(name, path))
    if num_ignored:
        files = "file that does" if num_ignored == 1 else "files that do"
        verb = "was" if num_ignored == 1 else "were"
        report(f"{num_ignored} {files} not end in {suffix} {verb} ignored")
    return _with_attributes_first(sources)


def _with_attributes_first(sources: list[Source]) -> list[Source]:
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        by_name.setdefault(source.name, []).append(source)
    ordered: dict[str, None] = {}
    for name in by_name:
        if f"{name}.attribs" in by_name:
            ordered[f"{name}.attribs"] = None
        ordered[name] = None
    return [source for name in ordered for source in by_name[name]]


def _name(path: str, suffix: str) -> str:
    """The name as the archive stores it."""
    if not path.endswith(suffix):
        raise ValueError(f"{path}: the file does not end in {suffix}")
    return os.fsencode(path[: len(path) - len(suffix)]).decode("utf-8", "surrogateescape")
