"""Options, messages and exit status that the commands share that write archives."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ._console import report, write_line
from ._options import add_dry_run, stored_name
from ._rename import Rule, add_rename, combine_rules
from ._task import Task
from ._text import pluralize

if TYPE_CHECKING:
    from sprintcache._write.combine import CombineReport
    from sprintcache.archive import Archive

    from ._options import Parser

__all__ = [
    "CopyOptions",
    "add_compression",
    "add_copy_options",
    "add_duplicates",
    "add_prefix",
    "add_skip_damaged",
    "copy_entries",
    "describe_counts",
    "describe_result",
    "explain_existing",
    "report_result",
    "state_after",
]

Duplicates = Literal["check", "keep", "replace"]


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """Destination of entries, and how they are copied."""

    to: str
    append: bool
    overwrite: bool
    prefix: str
    rename: list[Rule]
    duplicates: Duplicates
    skip_damaged: bool
    dry_run: bool


def add_copy_options(parser: Parser) -> None:
    """The fields of `CopyOptions`."""
    parser.add_argument("--to", metavar="OUT", required=True, help="the archive to write")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--append", action="store_true", help="add to OUT if it exists")
    group.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    add_rename(parser)
    add_prefix(parser)
    add_duplicates(parser, "in OUT or in an earlier ARCHIVE")
    add_skip_damaged(parser)
    add_dry_run(parser)


def add_prefix(parser: Parser) -> None:
    """A prefix of all names."""
    parser.add_argument("--prefix", default="", type=stored_name, help="put this before every name")


def add_duplicates(parser: Parser, where: str) -> None:
    """How to resolve names that exist already."""
    parser.add_argument(
        "--duplicates",
        choices=["check", "keep", "replace"],
        default="check",
        help=f"what to do with a name that already exists {where}: check (default) keeps the"
        " first entry and reports if the other one differs; keep keeps the first; replace uses"
        " the last",
    )


def add_skip_damaged(parser: Parser) -> None:
    """Damaged entries are left out."""
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out damaged entries and report them; without this, the first one is an error",
    )


def add_compression(parser: Parser) -> None:
    """`compress`: True, False, or None for as stored."""
    group = parser.add_mutually_exclusive_group()
    for option, const, purpose in (
        ("--compress", True, "compress all entries with gzip"),
        ("--decompress", False, "store all entries uncompressed"),
    ):
        group.add_argument(option, action="store_const", const=const, dest="compress", help=purpose)


def copy_entries(
    options: CopyOptions,
    archives: Sequence[Archive],
    names: list[str] | None,
    compress: bool | None = None,
) -> int:
    """Copies entries of archives into `options.to`; returns the exit status."""
    from sprintcache import combine

    def on_decision(decision: str, name: str) -> None:
        write_line(f"{decision:8}{name}")

    mode = "a" if options.append else "w" if options.overwrite else "x"
    with (
        explain_existing("--overwrite replaces it, --append adds to it"),
        Task("copying", state_after(options.to, mode)) as task,
    ):
        result = combine(
            archives,
            options.to,
            mode,
            names=names,
            duplicates=options.duplicates,
            prefix=options.prefix,
            rename=combine_rules(options.rename),
            compress=compress,
            skip_damaged=options.skip_damaged,
            dry_run=options.dry_run,
            on_decision=on_decision if options.dry_run else None,
            progress=task,
        )
    return report_result(result, options.to, options.dry_run)


# ---- messages


def report_result(result: CombineReport, path: str, dry_run: bool) -> int:
    """Reports what was copied; returns the exit status."""
    for name in result.differing:
        report(f"{name!r} differs from the existing entry, which is kept")
    for _, error in result.damaged:
        report(str(error))
    counts = [
        (result.num_replaced, "of these replaced others"),
        (result.num_kept, "kept"),
        (len(result.damaged), "damaged and left out"),
    ]
    report(describe_result(result.num_added, "written to", path, dry_run) + describe_counts(counts))
    return 1 if result.differing or result.damaged else 0


def describe_result(count: int, verb: str, path: str, dry_run: bool) -> str:
    """``2 entries written to PATH``."""
    return f"{pluralize(count, 'entry', 'entries')} {'to be ' if dry_run else ''}{verb} {path}"


def describe_counts(counts: Sequence[tuple[int, str]]) -> str:
    """``, 2 kept, 1 left out``, without the zeros."""
    return "".join(f", {count} {text}" for count, text in counts if count)


def state_after(path: str, mode: str, preposition: str = "with") -> Callable[[int, int], str]:
    """Describes an archive after an interrupted command; called before the command starts."""
    exists = os.path.exists(path)

    def state(done: int, total: int) -> str:
        if not exists:
            return f"{path} was not created"
        if mode != "a" or not done:
            return f"{path} is unchanged"
        return f"{path} is intact, {preposition} the first {done} of {total} entries"

    return state


@contextmanager
def explain_existing(hint: str) -> Iterator[None]:
    """Adds a hint to the error about an existing file."""
    try:
        yield
    except FileExistsError as error:
        if error.strerror != os.strerror(errno.EEXIST):
            raise
        raise FileExistsError(f"{error.filename} already exists; {hint}") from error
