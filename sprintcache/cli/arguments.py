"""The arguments of the command `sprintcache`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from . import conversion
from .managing_arguments import MANAGING
from .options import (
    add_archive,
    add_command,
    add_dry_run,
    add_json,
    add_list,
    add_more,
    add_names,
    add_threads,
    count,
    frames,
)
from .picture_arguments import PICTURES

if TYPE_CHECKING:
    from .options import Commands

__all__ = ["UsageError", "parse"]


class UsageError(Exception):
    """Raised for wrong arguments; `program` is the command whose help says more, if known."""

    def __init__(self, message: str, program: str = "") -> None:
        super().__init__(message)
        self.program = program


class _Help(argparse.HelpFormatter):
    """Wraps paragraphs to the width of the terminal, but leaves those with indented lines alone."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = [
            part if "\n  " in part else super(_Help, self)._fill_text(part, width, indent)
            for part in text.split("\n\n")
        ]
        return "\n\n".join(paragraphs)


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and ending the process."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Help)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.prog)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments as a namespace; `command` is the subcommand.

    Raises:
        UsageError: if they are wrong.
        SystemExit: after --help and --version.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # argparse takes the -5: in `--frames -5:` for an option
    for at in range(len(words) - 1, 0, -1):
        if words[at - 1] == "--frames" and words[at].startswith("-"):
            words[at - 1 : at + 1] = [f"--frames={words[at]}"]
    arguments, rest = _parser().parse_known_args(words)
    # argparse takes no further globs or archives once an option came between
    for text in rest:
        if text.startswith("-") or not hasattr(arguments, "more"):
            raise UsageError(f"unrecognized argument {text!r}", f"sprintcache {arguments.command}")
        arguments.more.append(text)
    # an unset variable of the shell; the system takes it for the working directory
    for name, shown in (("archive", "ARCHIVE"), ("to", "--to"), ("output", "--output")):
        if getattr(arguments, name, None) == "":
            raise UsageError(f"{shown} is empty", f"sprintcache {arguments.command}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    whole: argparse.ArgumentParser = _Parser(
        prog="sprintcache",
        description="Inspects, checks, converts and writes the cache archives of Sprint (RASR),"
        " which hold features and alignments.",
        epilog="ARCHIVE is an archive file, a .bundle of archives, or a directory of entries."
        " `sprintcache COMMAND --help` has the options of a command and an example.\n\n"
        "A new archive is written as ARCHIVE.partial and renamed when it is complete, so Ctrl-C"
        " leaves an existing file as it was. add, remove and --append change the archive itself;"
        " after Ctrl-C it is intact and has what was done so far.\n\n"
        "exit status: 0 for success; 1 for errors and problems, such as damage that was found or"
        " an entry that was left out; 2 for wrong usage; 130 after Ctrl-C",
    )
    whole.add_argument("--version", action=_Version)
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    reading = _add_ls, _add_info, _add_show, _add_extract, _add_convert, _add_verify
    for add in (*reading, *PICTURES, *MANAGING):
        add(commands)
    for name, command in commands.choices.items():
        if name in ("add", "remove", "recover", "bundle"):  # there is nothing to choose
            continue
        command.add_argument(
            "--io",
            choices=["auto", "mmap", "pread"],
            default="auto",
            help="how to read files: auto (default) memory-maps them on local file systems; pread"
            " is safe even if a file changes meanwhile",
        )
    return whole


class _Version(argparse.Action):
    """--version; looks the version up only when asked."""

    def __init__(self, option_strings: list[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_others: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("sprintcache")
        except PackageNotFoundError:
            number = "(not installed)"
        sys.stdout.write(f"sprintcache {number}\n")
        parser.exit()


def _add_ls(commands: Commands) -> None:
    command = add_command(
        commands,
        "ls",
        "list entries",
        "Lists the entries of an archive and their sizes, in the format of Sprint's archiver.",
        "  sprintcache ls features.cache 'corpus/rec00*'",
    )
    add_archive(command)
    add_more(
        command,
        "GLOB",
        "list only names that match one of these patterns (* also matches /); quote them",
    )
    command.add_argument("--segments", action="store_true", help="leave out .attribs entries")
    command.add_argument(
        "--long", action="store_true", help="also show position, datatype and frames"
    )
    add_json(command, "print a JSON object per line")


def _add_info(commands: Commands) -> None:
    command = add_command(
        commands,
        "info",
        "summarise an archive",
        "Summarises an archive: entries, sizes, datatypes, dimensions, frames, duration and"
        " compression, and for alignments the states and labels in use. The duration is the sum"
        " over all segments, from the start of the first to the end of the last frame.",
        "  sprintcache info alignment.cache \\\n"
        "      --allophones allophones --state-tying tying --silence '[SILENCE]'",
    )
    add_archive(command, nargs="?")
    add_json(command)
    command.add_argument(
        "--sample",
        metavar="N",
        type=count,
        default=10_000,
        help="read only N segments, evenly spread, if there are more; 0 reads all"
        " (default: %(default)s)",
    )
    command.add_argument("--build", action="store_true", help="show how sprintcache was built")
    add_names(command, "to compare with the alphabets of alignments", silence="to report its share")


def _add_show(commands: Commands) -> None:
    command = add_command(
        commands,
        "show",
        "print one entry",
        "Prints one entry: features frame by frame, an alignment run by run, attributes or text.",
        "  sprintcache show features.cache corpus/rec000/1 --frames 0:10",
    )
    add_archive(command)
    command.add_argument("segment", metavar="SEGMENT", help="name of the entry")
    command.add_argument(
        "--frames",
        metavar="A:B",
        type=frames,
        help="show only frames A to B-1, like a Python slice: 0:10, 100:, -5: (the last five), 7",
    )
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--archiver-format", action="store_true", help="print as Sprint's archiver does"
    )
    how.add_argument("--attributes", action="store_true", help="print the entry's attributes")
    add_json(command)
    add_names(command, "for the names of states", silence="to report its share")


def _add_extract(commands: Commands) -> None:
    command = add_command(
        commands,
        "extract",
        "write entries to files",
        "Writes entries as files into a folder; a / in a name makes sub-folders.",
        "  sprintcache extract features.cache 'corpus/rec00*' --to out --format npy",
    )
    add_archive(command)
    add_more(command, "GLOB", "names to extract (* also matches /); quote them; default: all")
    command.add_argument(
        "--to", metavar="DIR", required=True, help="the folder, which is created if necessary"
    )
    command.add_argument(
        "--format",
        choices=["raw", "npy", "npz", "text"],
        default="raw",
        help="raw (default): the bytes of the entry, decompressed. npy: NumPy files of features and"
        " alignments, without times. npz: the same with times, alphabet and attributes. text: what"
        " Sprint's archiver shows, rounded. Only raw writes .attribs entries as files. `add` reads"
        " the files back: raw and npz without loss, text if it is of features and alignments",
    )
    add_list(command)
    command.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_dry_run(command)
    add_names(command, "for --format text")


def _add_convert(commands: Commands) -> None:
    command = add_command(commands, "convert", *conversion.TEXTS)
    conversion.add_options(command)
    add_threads(command)
    add_names(command, "for the labels of alignments; needs --state-tying")


def _add_verify(commands: Commands) -> None:
    command = add_command(
        commands,
        "verify",
        "check everything",
        "Reads and decodes every entry and prints a line for each problem. This checks tags, sizes,"
        " checksums, gzip CRCs, the structure of features, alignments and attributes, and that no"
        " part of the file is lost. With --allophones and --state-tying, it also checks that these"
        " fit the alignments.",
        "  sprintcache verify *.cache",
    )
    add_more(command, "ARCHIVE", least="+")
    add_threads(command)
    add_names(command, "to check the alphabets of alignments; needs --state-tying")
