"""`sprintcache extract`: writes entries to files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprintcache._output_folder import OutputFolder
from sprintcache.errors import SprintCacheError

from ._console import report, write_line
from ._copying import explain_existing
from ._options import (
    ListOptions,
    ReadOptions,
    StateNameOptions,
    add_archive,
    add_command,
    add_dry_run,
    add_globs,
    add_list,
    add_read_options,
    add_state_names,
)
from ._task import Task
from ._text import pluralize

if TYPE_CHECKING:
    from sprintcache.archive import Archive

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(StateNameOptions, ListOptions, ReadOptions):
    """Arguments of the command."""

    archive: str
    globs: list[str]
    to: str
    format: str
    overwrite: bool
    dry_run: bool


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "extract",
        "write entries to files",
        "Writes entries as files into a folder; a / in a name creates sub-folders.",
        "  sprintcache extract features.cache 'corpus/rec00*' --to out --format npy",
    )
    add_archive(parser)
    add_globs(parser, "names to extract (* also matches /); quote them; default: all")
    parser.add_argument(
        "--to", metavar="DIR", required=True, help="the folder, which is created if necessary"
    )
    parser.add_argument(
        "--format",
        choices=["raw", "npy", "npz", "text"],
        default="raw",
        help="raw (default): the bytes of the entry, decompressed. npy: NumPy files of features and"
        " alignments, without times. npz: the same with times, alphabet and attributes. text: what"
        " Sprint's archiver shows, rounded. Only raw writes .attribs entries as files. `add` reads"
        " raw, npy and npz files; raw and npz are lossless",
    )
    add_list(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_dry_run(parser)
    add_read_options(parser)
    add_state_names(parser, "for --format text")


def run(options: Options) -> int:
    """Writes entries to files; status 1 if some could not be written."""
    from ._entry_files import SUFFIXES
    from ._selection import choose_names

    segments_only = options.format != "raw"
    folder = OutputFolder(options.to, SUFFIXES[options.format], options.overwrite)
    with (
        explain_existing("--overwrite replaces it"),
        options.open(options.archive) as archive,
    ):
        names = choose_names(archive, options.globs, options, segments_only)
        if names is None:
            names = list(archive.segments if segments_only else archive)
        accepted = []
        for name in names:
            try:
                path = folder.path_of(name)
            except ValueError as error:
                report(str(error))
            else:
                accepted.append(name)
                if options.dry_run:
                    write_line(path)
        # an existing file raised an error before anything was written
        num_written = len(accepted)
        if not options.dry_run:
            num_written = _extract(options, archive, accepted, folder)
    omitted = f"; {len(names) - num_written} left out" if num_written < len(names) else ""
    verb = "to be written" if options.dry_run else "written"
    report(f"{pluralize(num_written, 'entry', 'entries')} {verb} to {options.to}{omitted}")
    return 0 if num_written == len(names) else 1


def _extract(options: Options, archive: Archive, names: list[str], folder: OutputFolder) -> int:
    """Returns the number of files that were written."""
    from ._entry_files import WRITERS

    encode, state_names = WRITERS[options.format], options.read_state_names()
    num_written = 0

    def state(_done: int, _total: int) -> str:
        return f"{pluralize(num_written, 'file was', 'files were')} written"

    with Task("extracting", state) as task:
        for index, name in enumerate(names):
            task(index, len(names))
            try:
                folder.write(name, encode(archive, name, state_names))
                num_written += 1
            except (SprintCacheError, ValueError) as error:
                report(str(error))
    return num_written
