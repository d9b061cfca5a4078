"""The command `add`: files become entries of an archive.

First it is decided what happens to every file; those whose name is there already are compared
before anything is written.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from sprintcache import _directory as directory
from sprintcache._attributes import render
from sprintcache.errors import SprintCacheError
from sprintcache.opening import open_archive

if TYPE_CHECKING:
    from sprintcache._write.writer import ArchiveWriter
    from sprintcache.archive import Archive

    from .contents import Content

__all__ = ["Adder", "Source", "sources_of"]

Note = Callable[[str], None]
Progress = Callable[[int, int], None]


class Source(NamedTuple):
    """An entry to be, and the file that it comes from."""

    name: str
    path: str


def sources_of(paths: Iterable[str], lines: Iterable[str], suffix: str, note: Note) -> list[Source]:
    """The entries that files and folders become, in the order in which they are added.

    A file gives an entry of its base name, a folder one for every file below it; attributes go
    right before their entry, as in Sprint.

    Args:
        paths: files and folders.
        lines: a path each, or a name, blanks and a path.
        suffix: that all files have and that is no part of the name.
        note: takes a line on files in folders that do not have it.

    Raises:
        ValueError: for a file that does not have the suffix.
        OSError: if a folder cannot be read, or what does not have the suffix is not there; files
            are read later.
    """
    found: list[Source] = []
    others = 0
    for path in paths:
        if os.path.isdir(path):
            below = directory.names(path)
            taken = [name for name in below if name.endswith(suffix)]
            others += len(below) - len(taken)
            found += [Source(_name(name, suffix), os.path.join(path, name)) for name in taken]
        else:
            if not path.endswith(suffix) and not os.path.lexists(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            found.append(Source(_name(os.path.basename(path), suffix), path))
    for line in lines:
        *names, text = re.split(r"[ \t]+", line, maxsplit=1)
        path = os.fsdecode(text.encode("utf-8", "surrogateescape"))
        name = names[0] if names else _name(os.path.basename(path), suffix)
        found.append(Source(name, path))
    if others:
        files = "file that does" if others == 1 else "files that do"
        verb = "was" if others == 1 else "were"
        note(f"{others} {files} not end in {suffix} {verb} passed over")
    places: dict[str, list[Source]] = {}
    for source in found:
        places.setdefault(source.name, []).append(source)
    ordered: dict[str, None] = {}
    for name in places:
        if f"{name}.attribs" in places:
            ordered[f"{name}.attribs"] = None
        ordered[name] = None
    return [source for name in ordered for source in places[name]]


class Adder:
    """Adds files to an archive.

    Args:
        path: the archive.
        read: makes the content of an entry from the path of a file.
        duplicates: "check", "keep" or "replace" what is there already.
        note: takes a line on every file that is left out or differs.

    Attributes:
        num_added, num_kept: entries that went in, or stayed as they were.
        num_differing: of the latter, those whose file is different.
        num_left_out: files that are no entry, or none that the archive can hold.
    """

    def __init__(
        self, path: str, read: Callable[[str], Content], duplicates: str, note: Note
    ) -> None:
        self._path = path
        self._read = read
        self._duplicates = duplicates
        self._note = note
        self.num_added = self.num_kept = self.num_differing = self.num_left_out = 0

    def decide(self, sources: Sequence[Source], progress: Progress) -> list[Source]:
        """Those that are to be added or to replace what is there; nothing is written."""
        chosen: dict[str, Source] = {}
        is_there = os.path.exists(self._path)
        with open_archive(self._path, "pread") if is_there else nullcontext() as archive:
            for source in sources:
                progress(0, len(sources))
                name = source.name
                old = chosen.get(name)
                if old is None and (archive is None or name not in archive):
                    chosen[name] = source
                elif self._duplicates == "replace":
                    chosen.pop(name, None)
                    chosen[name] = source
                elif self._duplicates == "keep":
                    self.num_kept += 1
                else:
                    self._compare(source, archive if old is None else old)
        return list(chosen.values())

    def add(self, sources: Sequence[Source], writer: ArchiveWriter, progress: Progress) -> None:
        """Adds what was decided on."""
        for number, (name, path) in enumerate(sources):
            progress(number, len(sources))
            content = self._content(path)
            if content is None:
                continue
            payload, attributes = content
            replace = self._duplicates == "replace"
            try:
                writer.add_bytes(name, payload, attributes=attributes, replace=replace)
            except ValueError as error:  # nothing was written
                self._leave_out(str(error))
            else:
                self.num_added += 1
        progress(len(sources), len(sources))

    def _compare(self, source: Source, other: Source | Archive | None) -> None:
        """Whether a file is what is in the archive, or in an earlier file, by that name."""
        content = self._content(source.path)
        if content is None or other is None:
            return
        if isinstance(other, Source):
            first = self._content(other.path)
            same = content == first
            where = other.path
        else:
            where = self._path
            attribs = f"{source.name}.attribs"
            same = content.payload == other.read_bytes(source.name)
            if same and content.attributes is not None:
                same = attribs in other and render(content.attributes) == other.read_bytes(attribs)
        self.num_kept += 1
        if not same:
            self.num_differing += 1
            self._note(f"{source.path} differs from {source.name!r} in {where}, which stays")

    def _content(self, path: str) -> Content | None:
        try:
            return self._read(path)
        except SprintCacheError as error:
            self._leave_out(str(error))
        except OSError as error:
            self._leave_out(f"{path}: {error.strerror or error}")
        return None

    def _leave_out(self, reason: str) -> None:
        self.num_left_out += 1
        self._note(reason)


def _name(path: str, suffix: str) -> str:
    """The entry's name as the archive has it."""
    if not path.endswith(suffix):
        raise ValueError(f"{path}: the file does not end in {suffix}")
    return os.fsencode(path[: len(path) - len(suffix)]).decode("utf-8", "surrogateescape")
