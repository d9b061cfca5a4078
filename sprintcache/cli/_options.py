"""Options and arguments that several commands share."""

from __future__ import annotations

import argparse
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sprintcache
from sprintcache.errors import LabelError

from ._parser import UsageError

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import StateNames

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    Parser = argparse.ArgumentParser

__all__ = [
    "ListOptions",
    "ReadOptions",
    "StateNameOptions",
    "add_archive",
    "add_command",
    "add_dry_run",
    "add_globs",
    "add_json",
    "add_list",
    "add_mismatch",
    "add_output",
    "add_paths",
    "add_read_options",
    "add_select",
    "add_state_names",
    "add_threads",
    "frame_range",
    "non_negative_int",
    "positive_seconds",
    "seconds",
    "stored_name",
]


@dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """Arguments that are checked together."""

    def __post_init__(self) -> None:
        """Raises UsageError for arguments that contradict each other."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions(CheckedOptions):
    """How archives are opened."""

    io: str
    path_map: list[tuple[str, str]]

    def open(self, path: str | list[str]) -> Archive:
        """Opens an archive, or several as one."""
        return sprintcache.open_archive(path, self.io, path_map=self.path_mapping)

    @property
    def path_mapping(self) -> dict[str, str] | None:
        """Old to new folders; None for those of the environment."""
        return dict(self.path_map) or None


@dataclass(frozen=True, kw_only=True)
class ListOptions(CheckedOptions):
    """A list of names."""

    list_file: str | None
    ignore_missing: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ignore_missing and self.list_file is None:
            raise UsageError("--ignore-missing needs --list")


@dataclass(frozen=True, kw_only=True)
class StateNameOptions(CheckedOptions):
    """Files that name allophone states and their labels."""

    allophones: str | None
    state_tying: str | None
    silence: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state_tying and not self.allophones:
            raise UsageError("--state-tying needs --allophones")
        if self.silence and not self.state_tying:
            raise UsageError("--silence needs --state-tying")

    def read_state_names(self) -> StateNames:
        """Reads the files.

        Raises:
            LabelError: if they are malformed, or lack the silence phoneme.
            OSError: if they cannot be read.
        """
        from sprintcache.allophones import numbered
        from sprintcache.states import StateNames

        if not self.allophones:
            return StateNames()
        if not self.state_tying:
            return StateNames(list(numbered(self.allophones)))
        labeling = sprintcache.AllophoneLabeling(
            self.silence, self.allophones, state_tying_file=self.state_tying
        )
        if self.silence and labeling.sil_allo_state_id is None:
            raise LabelError(
                "the silence phoneme is missing",
                path=self.allophones,
                expected=f"{self.silence}{{#+#}}@i@f",
            )
        return StateNames(labeling.allophones, labeling)


# ---- parsers and arguments


def add_command(
    subparsers: Subparsers, name: str, summary: str, description: str, example: str
) -> Parser:
    """A subparser with its line in the list of commands, its description and an example."""
    return subparsers.add_parser(
        name, help=summary, description=description, epilog=f"example:\n{example}"
    )


def add_archive(parser: Parser, **options: Any) -> None:
    """The archive that a command is about."""
    parser.add_argument("archive", metavar="ARCHIVE", **options)


def add_globs(parser: Parser, purpose: str, metavar: str = "GLOB") -> None:
    """Any number of globs; also after options."""
    parser.add_argument(
        "globs", metavar=metavar, nargs="*", default=[], type=stored_name, help=purpose
    )
    parser.set_defaults(variadic=("globs", stored_name))


def add_paths(
    parser: Parser, dest: str, metavar: str, purpose: str | None = None, nargs: str = "+"
) -> None:
    """Any number of paths; also after options."""
    parser.add_argument(dest, metavar=metavar, nargs=nargs, default=[], help=purpose)
    parser.set_defaults(variadic=(dest, str))


def add_list(
    parser: Parser,
    ignore_missing: str = "ignore names of the list that do not exist, such as those of other"
    " archives of a corpus, and report their number",
) -> None:
    """The fields of `ListOptions`; `ignore_missing` is the help of that option."""
    parser.add_argument(
        "--list",
        metavar="FILE",
        dest="list_file",
        help="names, one per line; - is standard input",
    )
    parser.add_argument("--ignore-missing", action="store_true", help=ignore_missing)


def add_select(parser: Parser) -> None:
    """Segments by glob, where the positional arguments are archives."""
    parser.add_argument(
        "--select",
        metavar="GLOB",
        action="append",
        default=[],
        type=stored_name,
        help="use only segments that match (* also matches /); may be repeated; quote it",
    )


def add_mismatch(parser: Any) -> None:
    """How to resolve alphabets that contradict each other."""
    parser.add_argument(
        "--on-alphabet-mismatch",
        choices=["error", "map", "ignore"],
        default="error",
        help="what to do if an alignment's alphabet contradicts the allophone file: error"
        " (default); map maps states by name; ignore uses the ids unchanged",
    )


def add_json(parser: Parser, purpose: str = "print a JSON object") -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help=purpose)


def add_output(parser: Parser, note: str = "") -> None:
    """The file of a picture."""
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=f"write a picture, .png, .svg or .pdf, instead of opening a window{note}",
    )


def add_dry_run(parser: Parser) -> None:
    """Print what would be done."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only print what would be done; write nothing"
    )


def add_read_options(parser: Parser) -> None:
    """The fields of `ReadOptions`."""
    parser.add_argument(
        "--io",
        choices=["auto", "mmap", "pread"],
        default="auto",
        help="how to read files: auto (default) memory-maps them on local file systems; pread is"
        " safe even if a file changes meanwhile",
    )
    parser.add_argument(
        "--path-map",
        metavar="OLD=NEW",
        action="append",
        default=[],
        type=_folder_pair,
        help="files below the folder OLD, such as those that a bundle lists, are now below NEW; may"
        " be repeated (default: the environment variable SPRINTCACHE_PATH_MAP)",
    )


def add_state_names(parser: Parser, purpose: str, silence: str | None = None) -> None:
    """The fields of `StateNameOptions`; `silence` is the purpose of --silence, if there is one."""
    group = parser.add_argument_group("names of allophone states")
    group.add_argument("--allophones", metavar="FILE", help=f"allophone file, {purpose}")
    group.add_argument(
        "--state-tying",
        metavar="FILE",
        help="file of lines `allophone.state label`, to get labels; needs --allophones",
    )
    if silence:
        group.add_argument(
            "--silence",
            metavar="PHONEME",
            help=f"the silence phoneme, such as [SILENCE], {silence}; needs --state-tying",
        )


def add_threads(parser: Parser, default: str = "number of processors, at most 8") -> None:
    """Number of threads."""
    parser.add_argument(
        "--threads", metavar="N", type=non_negative_int, help=f"threads (default: {default})"
    )


# ---- types of arguments


def stored_name(text: str) -> str:
    """A name of the command line as archives store it, in any locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def _folder_pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (equals and os.path.isabs(old) and os.path.isabs(new)):
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW with absolute paths")
    return old, new


def non_negative_int(text: str) -> int:
    """A number of items."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return value


def positive_seconds(text: str) -> float:
    """A frame shift in seconds."""
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("the time from frame to frame cannot be 0")
    return value


def frame_range(text: str) -> slice:
    """Frames A to B - 1."""
    match = re.fullmatch(r"(-?[0-9]*)(:?)(-?[0-9]*)", text)
    try:
        if match is None:
            raise ValueError(text)
        start, colon, end = match.groups()
        if colon:
            return slice(int(start) if start else None, int(end) if end else None)
        return slice(int(text), int(text) + 1 or None)
    except ValueError:
        message = f"{text!r} is not A:B, such as 0:10, 100: or 7"
        raise argparse.ArgumentTypeError(message) from None
