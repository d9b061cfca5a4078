"""Options and arguments that several commands share."""

from __future__ import annotations

import argparse
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
    "add_more",
    "add_names",
    "add_threads",
    "count",
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
    command.add_argument("--list", metavar="FILE", help="names, one a line; - is standard input")


def add_json(command: Parser, what: str = "as a JSON object") -> None:
    """Output for programs."""
    command.add_argument("--json", action="store_true", help=what)


def add_dry_run(command: Parser) -> None:
    """Words instead of deeds."""
    command.add_argument(
        "--dry-run", action="store_true", help="only say what would be done; write nothing"
    )


def add_names(command: Parser, purpose: str, silence: bool = False) -> None:
    """Options for what allophone states are called."""
    group = command.add_argument_group("names of allophone states")
    group.add_argument("--allophones", metavar="FILE", help=f"allophone file, {purpose}")
    group.add_argument(
        "--state-tying",
        metavar="FILE",
        help="lines `allophone.state label`, for labels; needs --allophones",
    )
    if silence:
        group.add_argument(
            "--silence",
            metavar="PHONEME",
            help="the silence phoneme, such as [SILENCE], for its share; needs --state-tying",
        )


def add_threads(command: Parser) -> None:
    """How many threads work."""
    command.add_argument("--threads", metavar="N", type=count, help="default: processors, up to 8")


def count(text: str) -> int:
    """A number of things, as the type of an option."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)
