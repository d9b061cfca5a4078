"""`sprintcache verify`: checks archives."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._console import report, write_line
from ._options import (
    ReadOptions,
    StateNameOptions,
    add_command,
    add_paths,
    add_read_options,
    add_state_names,
    add_threads,
)
from ._parser import UsageError
from ._progress import Progress
from ._text import describe_error, pluralize

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(StateNameOptions, ReadOptions):
    """Arguments of the command."""

    archives: list[str]
    threads: int | None
    finite: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allophones and not self.state_tying:
            raise UsageError("--allophones needs --state-tying")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "verify",
        "check everything",
        "Reads and decodes every entry and prints a line for each problem. This checks tags, sizes,"
        " checksums, gzip CRCs, the structure of features, alignments and attributes, and that no"
        " part of the file is lost. In a folder, the archives in it are checked too."
        " With --allophones and --state-tying, it also checks that these"
        " fit the alignments.",
        "  sprintcache verify *.cache",
    )
    add_paths(parser, "archives", "ARCHIVE")
    parser.add_argument(
        "--finite",
        action="store_true",
        help="report segments with NaN or infinite values too",
    )
    add_threads(parser)
    add_read_options(parser)
    add_state_names(parser, "to check the alphabets of alignments; needs --state-tying")


def run(options: Options) -> int:
    """Checks archives; status 1 if there is a problem, or if one cannot be opened."""
    from sprintcache import verify

    labeling = options.read_state_names().labeling
    num_problems = num_entries = num_bytes = num_unopened = 0
    start = time.monotonic()
    for path in options.archives:
        try:
            with Progress(f"checking {os.path.basename(path)}", sys.stderr) as progress:
                result = verify(
                    path,
                    options.threads,
                    labeling,
                    progress,
                    options.io,
                    path_map=options.path_mapping,
                    finite=options.finite,
                )
        except OSError as error:
            report(describe_error(error))
            num_unopened += 1
            continue
        for problem in result.problems:
            write_line(str(problem).replace("\n", "\\n"))
        num_problems += len(result.problems)
        num_entries += result.num_entries
        num_bytes += result.num_bytes
    seconds = time.monotonic() - start
    text = pluralize(len(options.archives) - num_unopened, "archive", "archives")
    text += f", {pluralize(num_entries, 'entry', 'entries')}, {num_bytes / 1e6:.1f} MB"
    text += f" in {seconds:.1f} s: "
    text += pluralize(num_problems, "problem", "problems") if num_problems else "no problems"
    report(f"{text}; {num_unopened} not opened" if num_unopened else text)
    return 1 if num_problems or num_unopened else 0
