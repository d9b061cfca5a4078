"""`sprintcache ls`: lists entries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sprintcache.errors import SprintCacheError

from ._console import report, write_line
from ._options import (
    ReadOptions,
    add_archive,
    add_command,
    add_globs,
    add_json,
    add_read_options,
)
from ._text import pluralize

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.entries import EntryInfo

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]

_HEAD = f"{'position':>14} {'compressed':>12} {'size':>12} {'frames':>8} {'datatype':24} name"


@dataclass(frozen=True, kw_only=True)
class Options(ReadOptions):
    """Arguments of the command."""

    archive: str
    globs: list[str]
    segments: bool
    long: bool
    json: bool


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "ls",
        "list entries",
        "Lists the entries of an archive and their sizes, in the format of Sprint's archiver.",
        "  sprintcache ls features.cache 'corpus/rec00*'",
    )
    add_archive(parser)
    add_globs(
        parser, "list only names that match one of these patterns (* also matches /); quote them"
    )
    parser.add_argument("--segments", action="store_true", help="leave out .attribs entries")
    parser.add_argument(
        "--long", action="store_true", help="also show position, datatype and frames"
    )
    add_json(parser, "print a JSON object per line")
    add_read_options(parser)


def run(options: Options) -> int:
    """Lists entries; status 1 if some are damaged."""
    from ._archiver_format import archiver_list
    from ._selection import match_globs

    with options.open(options.archive) as archive:
        names = match_globs(archive, options.globs, options.segments)
        if not (options.long or options.json):
            for line in archiver_list(archive, options.archive, names):
                write_line(line)
            return 0
        num_damaged = 0
        if not options.json:
            write_line(_HEAD)
        for row in _rows(archive, names, with_frames=options.long):
            num_damaged += row.problem is not None
            write_line(json.dumps(row.as_dict()) if options.json else row.line())
    if num_damaged:
        report(
            f"{pluralize(num_damaged, 'damaged entry', 'damaged entries')}; see sprintcache verify"
        )
    return 1 if num_damaged else 0


class _ListingRow(NamedTuple):
    """One entry.

    Attributes:
        entry: the entry.
        datatype, frames: None for entries that are not Flow caches, and without `with_frames`.
        problem: why the entry cannot be decoded, or None.
        with_frames: whether the head of the entry was read.
    """

    entry: EntryInfo
    datatype: str | None
    frames: int | None
    problem: str | None
    with_frames: bool

    def line(self) -> str:
        """The row as text below _HEAD."""
        entry = self.entry
        frames = "-" if self.frames is None else self.frames
        datatype = "(damaged)" if self.problem is not None else self.datatype or "-"
        compressed = entry.compressed_size or "-"
        return (
            f"{entry.position:14} {compressed:>12} {entry.size:12} {frames:>8} {datatype:24}"
            f" {entry.name}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        fields: dict[str, Any] = self.entry._asdict()
        if self.with_frames:
            fields.update(datatype=self.datatype, frames=self.frames)
        if self.problem is not None:
            fields["problem"] = self.problem
        return fields


def _rows(archive: Archive, names: Iterable[str], with_frames: bool) -> Iterator[_ListingRow]:
    """A row for each entry; `with_frames` also reads datatype and number of frames."""
    for name in names:
        datatype = frames = problem = None
        if with_frames:
            try:
                datatype = archive.datatype(name)
                frames = None if datatype is None else archive.num_frames(name)
            except SprintCacheError as error:
                problem = error.reason
        yield _ListingRow(archive.entry(name), datatype, frames, problem, with_frames)
