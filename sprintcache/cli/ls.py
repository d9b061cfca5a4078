"""`sprintcache ls`: lists entries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        for name in names:
            fields: dict[str, Any] = archive.entry(name)._asdict()
            if options.long:
                fields.update(_content(archive, name))
            num_damaged += "problem" in fields
            write_line(json.dumps(fields) if options.json else _line(**fields))
    if num_damaged:
        report(
            f"{pluralize(num_damaged, 'damaged entry', 'damaged entries')}; see sprintcache verify"
        )
    return 1 if num_damaged else 0


def _content(archive: Archive, name: str) -> dict[str, Any]:
    """Datatype and number of frames, None if it is not a Flow cache; or why it is damaged."""
    fields: dict[str, Any] = {"datatype": None, "frames": None}
    try:
        fields["datatype"] = archive.datatype(name)
        if fields["datatype"] is not None:
            fields["frames"] = archive.num_frames(name)
    except SprintCacheError as error:
        fields["problem"] = error.reason
    return fields


def _line(
    name: str,
    position: int,
    size: int,
    compressed_size: int,
    datatype: str | None,
    frames: int | None,
    problem: str | None = None,
    **_: Any,
) -> str:
    """An entry as text below _HEAD."""
    kind = "(damaged)" if problem is not None else datatype or "-"
    num_frames = "-" if frames is None else frames
    return f"{position:14} {compressed_size or '-':>12} {size:12} {num_frames:>8} {kind:24} {name}"
