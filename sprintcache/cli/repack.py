"""`sprintcache repack`: rewrites an archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sprintcache

from ._copying import (
    add_compression,
    add_skip_damaged,
    explain_existing,
    report_result,
    state_after,
)
from ._options import ReadOptions, add_archive, add_command, add_dry_run, add_read_options
from ._parser import UsageError
from ._task import Task

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(ReadOptions):
    """Arguments of the command."""

    archive: str
    to: str | None
    overwrite: bool
    compress: bool | None
    sort: bool
    order: str | None
    skip_damaged: bool
    dry_run: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.to is None and self.overwrite:
            raise UsageError("--overwrite is for --to; without it the archive itself is replaced")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "repack",
        "rewrite an archive",
        "Rewrites an archive without holes, and optionally in another order, compressed or"
        " decompressed. The new archive replaces the old one when it is complete.\n\n"
        "exit status: 1 if something was left out",
        "  sprintcache repack features.cache --compress --order segments --to new.cache",
    )
    add_archive(parser)
    parser.add_argument("--to", metavar="OUT", help="write to OUT, and do not change ARCHIVE")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_compression(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--sort", action="store_true", help="sort entries by name")
    group.add_argument(
        "--order",
        metavar="FILE",
        help="put these names first, in this order; one per line; - is standard input",
    )
    add_skip_damaged(parser)
    add_dry_run(parser)
    add_read_options(parser)


def run(options: Options) -> int:
    """Rewrites an archive; status 1 if entries are left out."""
    from ._selection import read_names

    mode = "w" if options.to is None or options.overwrite else "x"
    path = options.archive if options.to is None else options.to
    with (
        options.open(options.archive) as archive,
        explain_existing("--overwrite replaces it"),
        Task("repacking", state_after(path, mode)) as task,
    ):
        order = read_names(archive, options.order) if options.order else None
        result = sprintcache.repack(
            archive,
            options.to,
            mode,
            order="name" if options.sort else order,
            compress=options.compress,
            skip_damaged=options.skip_damaged,
            dry_run=options.dry_run,
            progress=task,
        )
    return report_result(result, path, options.dry_run)
