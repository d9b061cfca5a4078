"""Parser of the command line: arguments to the `Options` of a command."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Command", "UsageError", "parse"]

_DESCRIPTION = (
    "Inspects, checks, converts and writes the cache archives of Sprint (RASR), which hold"
    " features and alignments."
)
_EPILOG = (
    "ARCHIVE is an archive file, a .bundle of archives, or a directory of entries."
    " `sprintcache COMMAND --help` lists the options of a command and an example.\n\n"
    "A new archive is written as ARCHIVE.partial and renamed when it is complete, so Ctrl-C leaves"
    " an existing file unchanged. add, remove and --append change the archive itself; after Ctrl-C"
    " it is intact and has what was done so far.\n\n"
    "exit status: 0 for success; 1 for errors and problems, such as damaged or omitted entries;"
    " 2 for wrong usage; 130 after Ctrl-C"
)


class Command(Protocol):
    """A command as a module."""

    Options: Any  # a frozen dataclass

    def add_parser(self, subparsers: Subparsers) -> None:
        """Adds the subparser; its destinations are the fields of `Options`."""

    def run(self, options: Any) -> int:
        """Runs the command and returns the exit status."""


class UsageError(Exception):
    """Raised for wrong arguments; `program` is the command whose help applies, if known."""

    def __init__(self, message: str, program: str = "") -> None:
        super().__init__(message)
        self.program = program


def parse(argv: Sequence[str] | None, names: Sequence[str]) -> tuple[str, Command, Any]:
    """Parses the command line.

    Args:
        argv: arguments; None: those of the process.
        names: modules of the commands.

    Returns:
        name, module and `Options` of the chosen command.

    Raises:
        UsageError: for wrong arguments.
        SystemExit: after --help and --version.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # argparse parses the -5: in `--frames -5:` as an option
    for index in range(len(words) - 1, 0, -1):
        if words[index - 1] == "--frames" and words[index].startswith("-"):
            words[index - 1 : index + 1] = [f"--frames={words[index]}"]
    # the parsers of all commands take longer to make than most commands to run
    needed = words[:1] if words and words[0] in names else names
    commands = {
        name: cast(Command, importlib.import_module(f".{name}", __package__)) for name in needed
    }
    namespace, extra_words = _parser(commands.values()).parse_known_args(words)
    name = namespace.command
    # argparse accepts no further globs or archives after an option
    variadic, convert = getattr(namespace, "variadic", (None, str))
    for word in extra_words:
        if variadic is None or word.startswith("-"):
            raise UsageError(f"unrecognized argument {word!r}", f"sprintcache {name}")
        getattr(namespace, variadic).append(convert(word))
    try:
        return name, commands[name], _options(namespace, commands[name].Options)
    except UsageError as error:
        raise UsageError(str(error), f"sprintcache {name}") from error


def _parser(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="sprintcache", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("--version", action=_Version)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        command.add_parser(subparsers)
    return parser


def _options(namespace: argparse.Namespace, options_class: Any) -> Any:
    values = vars(namespace)
    # an unset variable of the shell; the system would use the working directory
    for name, argument in (("archive", "ARCHIVE"), ("to", "--to"), ("output", "--output")):
        if values.get(name) == "":
            raise UsageError(f"{argument} is empty")
    if values.get("threads") == 0:
        raise UsageError("--threads must be at least 1")
    fields = {field.name for field in dataclasses.fields(options_class)}
    return options_class(**{name: value for name, value in values.items() if name in fields})


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs, except those with indented lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = [
            part if "\n  " in part else super(_HelpFormatter, self)._fill_text(part, width, indent)
            for part in text.split("\n\n")
        ]
        return "\n\n".join(paragraphs)


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and ending the process."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.prog)


class _Version(argparse.Action):
    """--version; the version is looked up only when asked for."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_others: Any) -> None:
        from sprintcache import __version__

        sys.stdout.write(f"sprintcache {__version__}\n")
        parser.exit()
