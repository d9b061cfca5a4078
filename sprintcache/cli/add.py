"""`sprintcache add`: puts files into an archive.

What happens to every file is decided first; files whose name exists already are compared before
anything is written.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sprintcache
from sprintcache.errors import SprintCacheError

from ._console import report, write_line
from ._copying import (
    Duplicates,
    add_duplicates,
    add_prefix,
    describe_counts,
    describe_result,
    state_after,
)
from ._options import add_archive, add_command, add_dry_run, add_paths, seconds, stored_name
from ._parser import UsageError
from ._sources import Source, collect_sources
from ._task import Task

if TYPE_CHECKING:
    from sprintcache._write.writer import ArchiveWriter
    from sprintcache.archive import Archive

    from ._entry_files import Content
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments of the command."""

    archive: str
    paths: list[str]
    format: str
    list_file: str | None
    prefix: str
    duplicates: Duplicates
    compress: bool
    frame_shift: float
    frame_length: float
    attribute: list[tuple[str, str]]
    dry_run: bool

    def __post_init__(self) -> None:
        if not self.paths and self.list_file is None:
            raise UsageError("nothing to add: PATH or --list is required")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "add",
        "put files into an archive",
        "Adds files to an archive, which is created if it does not exist. A file becomes an entry"
        " with the name of the file; every file in a folder becomes one named by its path below the"
        " folder. To read what extract wrote, use the same --format. Files that cannot be read"
        " are left out.\n\n"
        "exit status: 1 if something was left out, or differs from what is in the archive",
        "  sprintcache add features.cache features/ --format npy --frame-shift 0.01",
    )
    add_archive(parser)
    add_paths(parser, "paths", "PATH", "files and folders", nargs="*")
    parser.add_argument(
        "--format",
        choices=["raw", "npy", "npz"],
        default="raw",
        help="raw (default): the bytes of the entry. npy: an array of features, (frames, dimension)"
        " or (frames,), or of an alignment, with fields time, emission and weight. npz: arrays data"
        " and times, or emission, time and weight, and the other arrays that extract writes. npy"
        " and npz read only files that end in .npy and .npz; the ending is not part of the entry's"
        " name",
    )
    parser.add_argument(
        "--list",
        metavar="FILE",
        dest="list_file",
        help="files to add, one per line, or `NAME PATH` to choose the entry's name; - is standard"
        " input",
    )
    add_prefix(parser)
    add_duplicates(parser, "in the archive or in an earlier file")
    parser.add_argument("--compress", action="store_true", help="compress the entries with gzip")
    group = parser.add_argument_group("features from npy, and npz without times")
    group.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=seconds,
        default=0.01,
        help="from the start of one frame to the start of the next (default: %(default)s)",
    )
    group.add_argument(
        "--frame-length",
        metavar="SECONDS",
        type=seconds,
        default=0.025,
        help="from the start to the end of a frame (default: %(default)s)",
    )
    group.add_argument(
        "--attribute",
        metavar="NAME=VALUE",
        type=_attribute,
        action="append",
        default=[],
        help="an attribute for each entry, such as datatype=vector-f32; may be repeated",
    )
    add_dry_run(parser)


def run(options: Options) -> int:
    """Adds files; status 1 if some are left out or differ from existing entries."""
    path = options.archive
    sources = _read_sources(options)
    adder = _Adder(path, _reader(options), options.duplicates)
    with ExitStack() as stack:
        task = stack.enter_context(Task("adding", state_after(path, "a")))
        if options.dry_run:
            for source in adder.decide(sources, task):
                write_line(source.name)
                adder.num_added += 1
        else:
            writer = stack.enter_context(sprintcache.ArchiveWriter(path, "a", options.compress))
            adder.add(adder.decide(sources, task), writer, task)
    counts = [
        (adder.num_kept, "kept"),
        (adder.num_differing, "of these different"),
        (adder.num_left_out, "left out"),
    ]
    text = describe_result(adder.num_added, "added to", path, options.dry_run)
    report(text + describe_counts(counts))
    return 1 if adder.num_differing or adder.num_left_out else 0


def _read_sources(options: Options) -> list[Source]:
    """The files to add; the archive itself is ignored."""
    from sprintcache._files import same_file

    from ._entry_files import SUFFIXES
    from ._selection import read_lines

    lines = [] if options.list_file is None else read_lines(options.list_file)
    sources = collect_sources(options.paths, lines, SUFFIXES[options.format])
    others = [source for source in sources if not same_file(source.path, options.archive)]
    if len(others) < len(sources):
        report(f"{options.archive} is not added to itself")
    return [source._replace(name=options.prefix + source.name) for source in others]


def _reader(options: Options) -> Callable[[str], Content]:
    """Reads the content of an entry from a file."""
    from ._entry_files import Content, Timing, read_file

    timing = Timing(options.frame_shift, options.frame_length)
    added = dict(options.attribute)

    def read(path: str) -> Content:
        payload, attributes = read_file(path, options.format, timing)
        return Content(payload, {**(attributes or {}), **added} if added else attributes)

    return read


class _Adder:
    """Adds files to an archive.

    Args:
        path: the archive.
        read: reads the content of an entry from the path of a file.
        duplicates: "check", "keep" or "replace" existing entries.

    Attributes:
        num_added, num_kept: entries that were added, or exist and are kept.
        num_differing: kept entries whose file differs.
        num_left_out: files that cannot be read, or that the archive cannot hold.
    """

    def __init__(self, path: str, read: Callable[[str], Content], duplicates: Duplicates) -> None:
        self._path = path
        self._read = read
        self._duplicates = duplicates
        self.num_added = self.num_kept = self.num_differing = self.num_left_out = 0

    def decide(self, sources: Sequence[Source], task: Task) -> list[Source]:
        """Returns the sources to add, or to replace entries by; writes nothing."""
        chosen: dict[str, Source] = {}
        exists = os.path.exists(self._path)
        existing = sprintcache.open_archive(self._path, "pread", index=None) if exists else None
        with existing or nullcontext() as archive:
            for source in sources:
                task(0, len(sources))
                name = source.name
                earlier = chosen.get(name)
                if earlier is None and (archive is None or name not in archive):
                    chosen[name] = source
                elif self._duplicates == "replace":
                    chosen.pop(name, None)
                    chosen[name] = source
                elif self._duplicates == "keep":
                    self.num_kept += 1
                else:
                    self._compare(source, archive if earlier is None else earlier)
        return list(chosen.values())

    def add(self, sources: Sequence[Source], writer: ArchiveWriter, task: Task) -> None:
        """Adds the sources."""
        for index, (name, path) in enumerate(sources):
            task(index, len(sources))
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
        task(len(sources), len(sources))

    def _compare(self, source: Source, existing: Source | Archive | None) -> None:
        """Compares a file with the entry, or the earlier file, of the same name."""
        from sprintcache._attributes import render

        content = self._content(source.path)
        if content is None or existing is None:
            return
        if isinstance(existing, Source):
            is_same, where = content == self._content(existing.path), existing.path
        else:
            where = self._path
            attribs = f"{source.name}.attribs"
            is_same = content.payload == existing.read_bytes(source.name)
            if is_same and content.attributes is not None:
                is_same = attribs in existing and (
                    render(content.attributes) == existing.read_bytes(attribs)
                )
        self.num_kept += 1
        if not is_same:
            self.num_differing += 1
            report(f"{source.path} differs from {source.name!r} in {where}, which is kept")

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
        report(reason)


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return stored_name(name), stored_name(value)
