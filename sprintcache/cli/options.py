"""Options and arguments that several commands share."""

from __future__ import annotations

import argparse
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    Parser = argparse.ArgumentParser

__all__ = [
    "add_archive",
    "add_command",
    "add_dry_run",
    "add_json",
    "add_list",
    "add_mismatch",
    "add_more",
    "add_names",
    "add_select",
    "add_threads",
    "count",
    "frames",
    "seconds",
]


def add_command(commands: Commands, name: str, short: str, long: str, example: str) -> Parser:
    """A subcommand, with its line in the list, its description and an example."""
    return commands.add_parser(name, help=short, description=long, epilog=f"example:\n{example}")


def add_archive(command: Parser, **options: Any) -> None:
    """The archive that a command is about."""
    command.add_argument("archive", metavar="ARCHIVE", **options)


def add_more(command: Parser, metavar: str, purpose: str | None = None, least: str = "*") -> None:
    """Any number of further words, as `more`; they may stand behind options too."""
    command.add_argument("more", metavar=metavar, nargs=least, default=[], help=purpose)


def add_list(command: Parser) -> None:
    """Names from a file."""
    command.add_argument("--list", metavar="FILE", help="names, one per line; - is standard input")


def add_select(command: Parser) -> None:
    """Segments by glob, where the further words are archives."""
    command.add_argument(
        "--select",
        metavar="GLOB",
        action="append",
        default=[],
        help="use only segments that match (* also matches /); may be repeated; quote it",
    )


def add_mismatch(command: Any) -> None:
    """What to do where alphabets contradict each other."""
    command.add_argument(
        "--on-alphabet-mismatch",
        choices=["error", "map", "ignore"],
        default="error",
        help="what to do if an alignment's alphabet contradicts the allophone file: error"
        " (default); map maps states by name; ignore takes the ids as they are",
    )


def add_json(command: Parser, what: str = "print a JSON object") -> None:
    """Output for programs."""
    command.add_argument("--json", action="store_true", help=what)


def add_dry_run(command: Parser) -> None:
    """Words instead of deeds."""
    command.add_argument(
        "--dry-run", action="store_true", help="only print what would be done; write nothing"
    )


def add_names(command: Parser, purpose: str, silence: str | None = None) -> None:
    """Options for what allophone states are called."""
    group = command.add_argument_group("names of allophone states")
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


def add_threads(command: Parser, default: str = "number of processors, at most 8") -> None:
    """How many threads work."""
    command.add_argument("--threads", metavar="N", type=count, help=f"threads (default: {default})")


def count(text: str) -> int:
    """A number of things, as the type of an option."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, as the type of an option."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds")
    return value


def frames(text: str) -> slice:
    """Frames A to B - 1, as the type of an option."""
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
