"""The arguments of the commands that write archives."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import add_archive, add_command, add_dry_run, add_list, add_more, seconds

if TYPE_CHECKING:
    from .options import Commands, Parser

__all__ = ["MANAGING"]


def _add_add(commands: Commands) -> None:
    command = add_command(
        commands,
        "add",
        "put files into an archive",
        "Adds files to an archive, which is made if it is not there. A file becomes an entry of\n"
        "its own name; of a folder every file becomes an entry, named by its path below the\n"
        "folder. What extract wrote is read in the same --format. A file that cannot be read is\n"
        "left out.\n"
        "\n"
        "exit status: 1 if something was left out, or differs from what is there",
        "  sprintcache add features.cache features/ --format npy --frame-shift 0.01",
    )
    add_archive(command)
    add_more(command, "PATH", "files and folders")
    command.add_argument(
        "--format",
        choices=["raw", "npy", "npz", "text"],
        default="raw",
        help="raw (default): files are taken as they are. npy: an array of features, frames x"
        " dimension or a number a frame, or of an alignment, with fields time, emission and"
        " weight. npz: arrays data and times, or emission, time and weight, and what else extract"
        " writes. text: as Sprint's archiver shows features and alignments. All but raw take only"
        " files that end in .npy, .npz or .txt, which is no part of the name",
    )
    command.add_argument(
        "--list",
        metavar="FILE",
        help="files to add, one a line, or `NAME PATH` with the entry's name; - is standard input",
    )
    command.add_argument("--prefix", default="", help="to put before every name")
    _add_duplicates(command, "in the archive, or in an earlier file")
    command.add_argument("--compress", action="store_true", help="store them as gzip does")
    features = command.add_argument_group("features from npy, and npz without times")
    features.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=seconds,
        default=0.01,
        help="from the start of a frame to that of the next (default: %(default)s)",
    )
    features.add_argument(
        "--frame-length",
        metavar="SECONDS",
        type=seconds,
        default=0.025,
        help="from start to end of a frame (default: %(default)s)",
    )
    features.add_argument(
        "--attribute",
        metavar="NAME=VALUE",
        type=_attribute,
        action="append",
        default=[],
        help="for the .attribs entry beside each, such as datatype=vector-f32; may come again",
    )
    add_dry_run(command)


def _add_copy(commands: Commands) -> None:
    command = add_command(
        commands,
        "copy",
        "copy some entries to another archive",
        "Copies entries as they are stored, compressed or not, into another archive. The .attribs\n"
        "entry of a segment goes with it. With --list they go in the order of the list.\n"
        "\n"
        "exit status: 1 if something was left out, or differs from what is there",
        "  sprintcache copy all.bundle --list segments --to some.cache",
    )
    add_archive(command)
    add_more(command, "GLOB", "names to copy (* also matches /); quote them; none: everything")
    add_list(command)
    _add_destination(command)


def _add_combine(commands: Commands) -> None:
    command = add_command(
        commands,
        "combine",
        "make one archive of several",
        "Copies the entries of archives, bundles or directories into one archive, as they are\n"
        "stored unless --compress or --decompress is given. Holes are left behind.\n"
        "\n"
        "exit status: 1 if something was left out, or differs from what is there",
        "  sprintcache combine features.*.cache --to features.cache",
    )
    add_more(command, "ARCHIVE", least="+")
    add_list(command)
    _add_destination(command)
    _add_compression(command)


def _add_remove(commands: Commands) -> None:
    command = add_command(
        commands,
        "remove",
        "take entries out of an archive",
        "Removes segments and their .attribs entries. They leave holes in the file, which Sprint\n"
        "and `add` fill again if something fits exactly; `repack` drops them.",
        "  sprintcache remove features.cache 'corpus/rec007/*'",
    )
    add_archive(command)
    add_more(command, "GLOB", "names to remove (* also matches /); quote them")
    add_list(command)
    command.add_argument(
        "--keep-attributes",
        action="store_true",
        help="only what is named, without .attribs, as Sprint's archiver does",
    )
    add_dry_run(command)


def _add_repack(commands: Commands) -> None:
    command = add_command(
        commands,
        "repack",
        "write an archive anew",
        "Writes an archive without holes, in another order, or compressed or not. It takes the\n"
        "place of the old one when it is whole.\n"
        "\n"
        "exit status: 1 if something was left out",
        "  sprintcache repack features.cache --compress --order segments --to sorted.cache",
    )
    add_archive(command)
    command.add_argument("--to", metavar="OUT", help="leave the archive alone and write this one")
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    _add_compression(command)
    order = command.add_mutually_exclusive_group()
    order.add_argument("--sort", action="store_true", help="sort entries by name")
    order.add_argument(
        "--order",
        metavar="FILE",
        help="names, one a line, that come first and in this order; - is standard input",
    )
    _add_skip_damaged(command)
    add_dry_run(command)


def _add_recover(commands: Commands) -> None:
    command = add_command(
        commands,
        "recover",
        "mend an archive that was not finished",
        "Gives archives of a killed writer, or with a damaged table, their table back. Every\n"
        "whole entry is kept; what is said to be lost was no whole entry. What a killed writer\n"
        "left as ARCHIVE.partial becomes ARCHIVE.\n"
        "\n"
        "exit status: 1 if bytes were no whole entry, or if an archive cannot be mended",
        "  sprintcache recover features.cache",
    )
    add_more(command, "ARCHIVE", least="+")
    command.add_argument(
        "--to", metavar="OUT", help="leave the archive alone and write a new one; for one ARCHIVE"
    )
    add_dry_run(command)


def _add_bundle(commands: Commands) -> None:
    command = add_command(
        commands,
        "bundle",
        "make or check a bundle of archives",
        "Writes a list of archives that Sprint reads as one archive; or checks with --check that\n"
        "all that is listed is there and has a sound table, and that Sprint's index of the bundle\n"
        "is not stale. Of a name that several archives have, the last one in the list counts.\n"
        "\n"
        "exit status: 1 if there is a problem",
        "  sprintcache bundle features.*.cache --to features.bundle\n"
        "  sprintcache bundle --check features.bundle",
    )
    add_more(command, "ARCHIVE", least="+")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="BUNDLE", help="the bundle to write; it ends in .bundle")
    what.add_argument("--check", action="store_true", help="check bundles, given as ARCHIVE")
    command.add_argument(
        "--relative",
        action="store_true",
        help="list paths relative to the bundle's folder, where Sprint must then be started;"
        " otherwise they are absolute",
    )
    command.add_argument("--overwrite", action="store_true", help="replace BUNDLE if it is there")
    add_dry_run(command)


MANAGING = (_add_add, _add_copy, _add_combine, _add_remove, _add_repack, _add_recover, _add_bundle)


# ---- what they share


def _add_destination(command: Parser) -> None:
    """Where entries are copied to, and how."""
    command.add_argument("--to", metavar="OUT", required=True, help="the archive to write")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--append", action="store_true", help="add to OUT if it is there")
    how.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    command.add_argument("--prefix", default="", help="to put before every name")
    _add_duplicates(command, "in OUT, or in an archive before")
    _add_skip_damaged(command)
    add_dry_run(command)


def _add_duplicates(command: Parser, where: str) -> None:
    command.add_argument(
        "--duplicates",
        choices=["check", "keep", "replace"],
        default="check",
        help=f"what to do with a name that is there already, {where}: check (default) keeps the"
        " first and reports it if the other one differs; keep keeps the first; replace takes the"
        " last",
    )


def _add_skip_damaged(command: Parser) -> None:
    command.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out and report damaged entries; otherwise the first one ends the work",
    )


def _add_compression(command: Parser) -> None:
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--compress",
        action="store_const",
        const=True,
        dest="compress",
        help="store all entries as gzip does",
    )
    how.add_argument(
        "--decompress",
        action="store_const",
        const=False,
        dest="compress",
        help="store all entries plain",
    )


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
