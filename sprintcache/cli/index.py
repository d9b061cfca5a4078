"""`sprintcache index`: writes indexes of archives, and checks them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sprintcache
from sprintcache.errors import SprintCacheError

from ._console import report
from ._options import ReadOptions, add_command, add_paths, add_read_options, add_threads
from ._parser import UsageError
from ._text import describe_error, pluralize

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(ReadOptions):
    """Arguments of the command."""

    archives: list[str]
    to: str | None
    join: bool
    check: bool
    threads: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.to is not None and len(self.archives) > 1 and not self.join:
            raise UsageError("--to is for one ARCHIVE, or for --join")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "index",
        "write an index, so that an archive opens at once",
        "Writes an index of an archive or a bundle: one file with the names, offsets, sizes and"
        " lengths of all entries, which all processes share. Archives of millions of entries then"
        " open at once, without memory of each process, and orders by length read no entry. The"
        " index is ARCHIVE.index, or a file in the cache folder if the folder of ARCHIVE is"
        " read-only; both are used whenever ARCHIVE is opened. An index that is out of date is not"
        " used; run the command again. With --check, checks every byte of the index.\n\n"
        "exit status: 1 if an index was not written; with --check, if there is none, or one that is"
        " damaged or out of date",
        "  sprintcache index features.bundle alignment.cache",
    )
    add_paths(parser, "archives", "ARCHIVE")
    parser.add_argument("--to", metavar="FILE", help="the index to write, or to check")
    parser.add_argument(
        "--join",
        action="store_true",
        help="one index of all ARCHIVEs, for programs that open them as one; the default is one"
        " for each",
    )
    parser.add_argument("--check", action="store_true", help="check the index; write nothing")
    add_threads(parser)
    add_read_options(parser)


def run(options: Options) -> int:
    """Writes or checks indexes; status 1 if one could not be written, or is not in order."""
    status = 0
    paths: list[str | list[str]] = [options.archives] if options.join else [*options.archives]
    for path in paths:
        try:
            is_good, text = _check(path, options) if options.check else _write(path, options)
        except (SprintCacheError, OSError, ValueError) as error:
            is_good, text = False, describe_error(error)
        report(text)
        status |= not is_good
    return status


def _write(path: str | list[str], options: Options) -> tuple[bool, str]:
    target = sprintcache.write_index(
        path, options.to, path_map=options.path_mapping, num_threads=options.threads
    )
    with sprintcache.open_archive(
        path, options.io, path_map=options.path_mapping, index=target
    ) as archive:
        num_entries = pluralize(len(archive), "entry", "entries")
    return True, f"{target}: {num_entries}, {os.path.getsize(target)} bytes"


def _check(path: str | list[str], options: Options) -> tuple[bool, str]:
    from sprintcache.opening import check_index

    target, problem = check_index(path, options.to, path_map=options.path_mapping)
    if problem is None:
        return True, f"{target}: in order"
    return False, problem if target is None else f"{target}: {problem}"
