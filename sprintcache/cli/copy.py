"""`sprintcache copy`: copies some entries to another archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._copying import CopyOptions, add_copy_options, copy_entries
from ._options import (
    ListOptions,
    ReadOptions,
    add_archive,
    add_command,
    add_globs,
    add_list,
    add_read_options,
)

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(CopyOptions, ListOptions, ReadOptions):
    """Arguments of the command."""

    archive: str
    globs: list[str]


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "copy",
        "copy some entries to another archive",
        "Copies entries to another archive as they are stored, compressed or not. The .attribs"
        " entry of a segment is copied too. With --list, entries are copied in the order of the"
        " list.\n\n"
        "exit status: 1 if something was left out, or differs from what is in OUT",
        "  sprintcache copy all.bundle --list segments --to some.cache",
    )
    add_archive(parser)
    add_globs(parser, "names to copy (* also matches /); quote them; default: all")
    add_list(parser)
    add_copy_options(parser)
    add_read_options(parser)


def run(options: Options) -> int:
    """Copies entries; status 1 if some are left out or differ from existing ones."""
    from ._selection import choose_names

    with options.open(options.archive) as archive:
        names = choose_names(archive, options.globs, options)
        return copy_entries(options, [archive], names)
