"""`sprintcache extract`: writes entries to files."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprintcache.errors import SprintCacheError

from ._console import report, write_line
from ._options import (
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
    from sprintcache.states import StateNames

    from ._options import Subparsers

__all__ = ["Extractor", "Options", "add_parser", "run"]

# errors about one name: the file cannot exist, the others can
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True, kw_only=True)
class Options(StateNameOptions, ReadOptions):
    """Arguments of the command."""

    archive: str
    globs: list[str]
    to: str
    format: str
    list_file: str | None
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
    from ._selection import choose_names

    state_names = options.read_state_names()
    segments_only = options.format != "raw"
    with options.open(options.archive) as archive:
        extractor = Extractor(archive, options.to, options.format, options.overwrite, state_names)
        names = choose_names(archive, options.globs, options.list_file, segments_only)
        if names is None:
            names = list(archive.segments if segments_only else archive)
        accepted = []
        for name in names:
            try:
                path = extractor.path_of(name)
            except ValueError as error:
                report(str(error))
            else:
                accepted.append(name)
                if options.dry_run:
                    write_line(path)
        # an existing file raised an error before anything was written
        num_written = len(accepted) if options.dry_run else _extract(extractor, accepted)
    omitted = f"; {len(names) - num_written} left out" if num_written < len(names) else ""
    verb = "to be written" if options.dry_run else "written"
    report(f"{pluralize(num_written, 'entry', 'entries')} {verb} to {options.to}{omitted}")
    return 0 if num_written == len(names) else 1


def _extract(extractor: Extractor, names: list[str]) -> int:
    """Returns the number of files that were written."""
    num_written = 0

    def state(_done: int, _total: int) -> str:
        return f"{pluralize(num_written, 'file was', 'files were')} written"

    with Task("extracting", state) as task:
        for index, name in enumerate(names):
            task(index, len(names))
            try:
                extractor.extract(name)
                num_written += 1
            except (SprintCacheError, ValueError) as error:
                report(str(error))
    return num_written


class Extractor:
    """Writes entries as files below a folder, and nowhere else.

    Each file is written under a temporary name and renamed, so it is complete or absent. In the
    format "raw" the folder becomes a directory archive with the same names.

    Args:
        archive: the source.
        folder: created if it does not exist.
        format_name: "raw" (the payload, inflated), "npy" (numbers as stored; alignments as an array
            with fields time, emission and weight), "npz" (the same with times, alphabet and
            attributes) or "text" (as Sprint's archiver prints it).
        overwrite: replace existing files.
        state_names: symbols of allophone states for "text".

    Raises:
        KeyError: for an unknown format.
    """

    def __init__(
        self,
        archive: Archive,
        folder: str,
        format_name: str = "raw",
        overwrite: bool = False,
        state_names: StateNames | None = None,
    ) -> None:
        from ._entry_files import SUFFIXES, WRITERS

        self._archive = archive
        self._folder = os.path.realpath(folder)
        self._suffix, self._encode = SUFFIXES[format_name], WRITERS[format_name]
        self._overwrite = overwrite
        self._state_names = state_names

    def path_of(self, name: str) -> str:
        """The path of the file of an entry.

        Raises:
            ValueError: if the name leads out of the folder or is not a plain path.
            FileExistsError: if the file exists and `overwrite` is false.
        """
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ValueError(
                f"entry {name!r} is not extracted: its name is not a path below a folder"
            )
        raw = name.encode("utf-8", "surrogateescape")
        path = os.path.join(self._folder, os.fsdecode(raw)) + self._suffix
        # an existing link may lead out of the folder
        parent = os.path.realpath(os.path.dirname(path))
        if parent != self._folder and not parent.startswith(os.path.join(self._folder, "")):
            raise ValueError(f"entry {name!r} is not extracted: {parent} is outside the folder")
        if os.path.lexists(path) and not self._overwrite:
            raise FileExistsError(f"{path} already exists; --overwrite replaces it")
        return path

    def extract(self, name: str) -> str:
        """Writes one entry and returns the path of its file.

        Raises:
            ValueError, FileExistsError: as `path_of`; ValueError also if no file can have the name,
                or if a file exists where a folder is needed.
            FormatError: if the entry is damaged or does not fit the format.
            OSError: if the file cannot be written.
        """
        path = self.path_of(name)
        data = self._encode(self._archive, name, self._state_names)
        os.makedirs(self._folder, exist_ok=True)
        try:
            self._write(path, data)
        except OSError as error:
            if error.errno not in _NAME_ERRORS:
                raise
            raise ValueError(
                f"entry {name!r} is not extracted: {error.strerror}: {path}"
            ) from error
        return path

    def _write(self, path: str, data: bytes | memoryview) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = os.path.join(os.path.dirname(path), f".sprintcache-{os.getpid()}.part")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            if os.path.lexists(temporary):
                os.unlink(temporary)
            raise
