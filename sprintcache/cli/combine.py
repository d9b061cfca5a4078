"""`sprintcache combine`: combines archives into one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._copying import CopyOptions, add_compression, add_copy_options, copy_entries
from ._options import ListOptions, ReadOptions, add_command, add_list, add_paths, add_read_options

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(CopyOptions, ListOptions, ReadOptions):
    """Arguments of the command."""

    archives: list[str]
    compress: bool | None


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "combine",
        "make one archive of several",
        "Copies the entries of archives, bundles or directories into one archive, as they are"
        " stored unless --compress or --decompress is given. Holes are not copied.\n\n"
        "exit status: 1 if something was left out, or differs from what is in OUT",
        "  sprintcache combine features.*.cache --to features.cache",
    )
    add_paths(parser, "archives", "ARCHIVE")
    add_list(parser)
    add_copy_options(parser)
    add_compression(parser)
    add_read_options(parser)


def run(options: Options) -> int:
    """Combines archives; status 1 if entries are left out or differ from existing ones."""
    from ._selection import SeveralArchives, choose_names

    with ExitStack() as stack:
        archives = [stack.enter_context(options.open(path)) for path in options.archives]
        names = choose_names(SeveralArchives(archives), [], options)
        return copy_entries(options, archives, names, options.compress)
