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
        "Adds files to an archive, which is created if it does not exist. A file becomes an entry"
        " with the name of the file; every file in a folder becomes one named by its path below the"
        " folder. To read what extract wrote, use the same --format. Files that cannot be read"
        " are left out.\n\n"
        "exit status: 1 if something was left out, or differs from what is in the archive",
        "  sprintcache add features.cache features/ --format npy --frame-shift 0.01",
    )
    add_archive(command)
    add_more(command, "PATH", "files and folders")
    command.add_argument(
        "--format",
        choices=["raw", "npy", "npz", "text"],
        default="raw",
        help="raw (default): the bytes of the entry. npy: an array of features, (frames, dimension)"
        " or (frames,), or of an alignment, with fields time, emission and weight. npz: arrays data"
        " and times, or emission, time and weight, and whatever else extract writes. text: features"
        " and alignments as Sprint's archiver shows them. npy, npz and text read only files that"
        " end in .npy, .npz and .txt; the ending is not part of the entry's name",
    )
    command.add_argument(
        "--list",
        metavar="FILE",
        help="files to add, one per line, or `NAME PATH` to choose the entry's name; - is standard"
        " input",
    )
    command.add_argument("--prefix", default="", help="put this before every name")
    _add_duplicates(command, "in the archive or in an earlier file")
    command.add_argument("--compress", action="store_true", help="compress the entries with gzip")
    features = command.add_argument_group("features from npy, and npz without times")
    features.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=seconds,
        default=0.01,
        help="from the start of one frame to the start of the next (default: %(default)s)",
    )
    features.add_argument(
        "--frame-length",
        metavar="SECONDS",
        type=seconds,
        default=0.025,
        help="from the start to the end of a frame (default: %(default)s)",
    )
    features.add_argument(
        "--attribute",
        metavar="NAME=VALUE",
        type=_attribute,
        action="append",
        default=[],
        help="an attribute for each entry, such as datatype=vector-f32; may be repeated",
    )
    add_dry_run(command)


def _add_copy(commands: Commands) -> None:
    command = add_command(
        commands,
        "copy",
        "copy some entries to another archive",
        "Copies entries to another archive as they are stored, compressed or not. The .attribs"
        " entry of a segment is copied too. With --list, entries are copied in the order of the"
        " list.\n\n"
        "exit status: 1 if something was left out, or differs from what is in OUT",
        "  sprintcache copy all.bundle --list segments --to some.cache",
    )
    add_archive(command)
    add_more(command, "GLOB", "names to copy (* also matches /); quote them; default: all")
    add_list(command)
    _add_destination(command)


def _add_combine(commands: Commands) -> None:
    command = add_command(
        commands,
        "combine",
        "make one archive of several",
        "Copies the entries of archives, bundles or directories into one archive, as they are"
        " stored unless --compress or --decompress is given. Holes are not copied.\n\n"
        "exit status: 1 if something was left out, or differs from what is in OUT",
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
        "remove entries from an archive",
        "Removes segments and their .attribs entries. They leave holes in the file, which Sprint"
        " and `add` reuse only for entries of exactly the same size; `repack` drops the holes.",
        "  sprintcache remove features.cache 'corpus/rec007/*'",
    )
    add_archive(command)
    add_more(command, "GLOB", "names to remove (* also matches /); quote them")
    add_list(command)
    command.add_argument(
        "--keep-attributes",
        action="store_true",
        help="remove only what is named and keep .attribs entries, as Sprint's archiver does",
    )
    add_dry_run(command)


def _add_repack(commands: Commands) -> None:
    command = add_command(
        commands,
        "repack",
        "rewrite an archive",
        "Rewrites an archive without holes, and if you wish in another order, compressed or"
        " decompressed. The new archive replaces the old one when it is complete.\n\n"
        "exit status: 1 if something was left out",
        "  sprintcache repack features.cache --compress --order segments --to new.cache",
    )
    add_archive(command)
    command.add_argument("--to", metavar="OUT", help="write to OUT, and do not change ARCHIVE")
    command.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    _add_compression(command)
    order = command.add_mutually_exclusive_group()
    order.add_argument("--sort", action="store_true", help="sort entries by name")
    order.add_argument(
        "--order",
        metavar="FILE",
        help="put these names first, in this order; one per line; - is standard input",
    )
    _add_skip_damaged(command)
    add_dry_run(command)


def _add_recover(commands: Commands) -> None:
    command = add_command(
        commands,
        "recover",
        "repair an archive that was not finished",
        "Rebuilds the table of archives whose writer was killed, or whose table is damaged. Every"
        " complete entry is kept; bytes that belong to no complete entry are reported as lost. If a"
        " killed writer left ARCHIVE.partial, it becomes ARCHIVE.\n\n"
        "exit status: 1 if something was lost, or if an archive cannot be repaired",
        "  sprintcache recover features.cache",
    )
    add_more(command, "ARCHIVE", least="+")
    command.add_argument(
        "--to", metavar="OUT", help="write to OUT, and do not change ARCHIVE; for one ARCHIVE only"
    )
    add_dry_run(command)


def _add_bundle(commands: Commands) -> None:
    command = add_command(
        commands,
        "bundle",
        "make or check a bundle of archives",
        "Writes a bundle, a list of archives that Sprint reads as if they were one. If several"
        " archives have an entry of the same name, the last one in the list counts. With --check,"
        " checks that the archives in a bundle exist and have a sound table, and that Sprint's"
        " index of the bundle is up to date.\n\n"
        "exit status: 1 if there is a problem",
        "  sprintcache bundle features.*.cache --to features.bundle\n"
        "  sprintcache bundle --check features.bundle",
    )
    add_more(command, "ARCHIVE", least="+")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="BUNDLE", help="the bundle to write; must end in .bundle")
    what.add_argument("--check", action="store_true", help="check each ARCHIVE, which is a bundle")
    command.add_argument(
        "--relative",
        action="store_true",
        help="list paths relative to the bundle's folder, in which Sprint must then be started;"
        " the default is absolute paths",
    )
    command.add_argument("--overwrite", action="store_true", help="replace BUNDLE if it exists")
    add_dry_run(command)


MANAGING = (_add_add, _add_copy, _add_combine, _add_remove, _add_repack, _add_recover, _add_bundle)


# ---- what they share


def _add_destination(command: Parser) -> None:
    """Where entries are copied to, and how."""
    command.add_argument("--to", metavar="OUT", required=True, help="the archive to write")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--append", action="store_true", help="add to OUT if it exists")
    how.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    command.add_argument("--prefix", default="", help="put this before every name")
    _add_duplicates(command, "in OUT or in an earlier ARCHIVE")
    _add_skip_damaged(command)
    add_dry_run(command)


def _add_duplicates(command: Parser, where: str) -> None:
    command.add_argument(
        "--duplicates",
        choices=["check", "keep", "replace"],
        default="check",
        help=f"what to do with a name that already exists {where}: check (default) keeps the"
        " first entry and reports if the other one differs; keep keeps the first; replace takes"
        " the last",
    )


def _add_skip_damaged(command: Parser) -> None:
    command.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out damaged entries and report them; without this, the first one is an error",
    )


def _add_compression(command: Parser) -> None:
    how = command.add_mutually_exclusive_group()
    how.add_argument(
        "--compress",
        action="store_const",
        const=True,
        dest="compress",
        help="compress all entries with gzip",
    )
    how.add_argument(
        "--decompress",
        action="store_const",
        const=False,
        dest="compress",
        help="store all entries uncompressed",
    )


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
