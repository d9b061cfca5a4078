"""`sprintcache remove`: removes entries from an archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sprintcache

from ._console import report, write_line
from ._copying import describe_result, state_after
from ._options import (
    ListOptions,
    add_archive,
    add_command,
    add_dry_run,
    add_globs,
    add_list,
)
from ._parser import UsageError
from ._task import Task

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(ListOptions):
    """Arguments of the command."""

    archive: str
    globs: list[str]
    keep_attributes: bool
    dry_run: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.globs and self.list_file is None:
            raise UsageError("nothing to remove: GLOB or --list is required")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "remove",
        "remove entries from an archive",
        "Removes segments and their .attribs entries. They leave holes in the file, which Sprint"
        " and `add` reuse only for entries of exactly the same size; `repack` drops the holes.",
        "  sprintcache remove features.cache 'corpus/rec007/*'",
    )
    add_archive(parser)
    add_globs(parser, "names to remove (* also matches /); quote them")
    add_list(parser)
    parser.add_argument(
        "--keep-attributes",
        action="store_true",
        help="remove only the named entries and keep their .attribs, as Sprint's archiver does",
    )
    add_dry_run(parser)


def run(options: Options) -> int:
    """Removes entries."""
    from sprintcache._write.combine_plan import with_attributes

    from ._selection import choose_names

    path = options.archive
    with sprintcache.open_archive(path, "pread", index=None) as archive:
        names = choose_names(archive, options.globs, options) or []
        if not options.keep_attributes:
            names = list(with_attributes(archive, names))
    if options.dry_run:
        for name in names:
            write_line(name)
    else:
        with (
            Task("removing", state_after(path, "a", "without")) as task,
            sprintcache.ArchiveWriter(path, "a") as writer,
        ):
            for index, name in enumerate(names):
                task(index, len(names))
                writer.remove(name)
    report(describe_result(len(names), "removed from", path, options.dry_run))
    return 0
