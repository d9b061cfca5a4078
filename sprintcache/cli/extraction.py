"""Extractor: entries of an archive as files below a folder, and nowhere else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from .formats import FORMATS

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import Names

__all__ = ["Extractor"]

# errors of one name, not of all
_NO_PLACE = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class Extractor:
    """Writes entries as files.

    A file is written beside its place and then moved there, so it is whole or not there at all.
    In the format "raw" the folder becomes a directory archive with the same names.

    Args:
        archive: where the entries are.
        folder: made if it is not there.
        kind: a key of `FORMATS`: "raw" (the payload, inflated), "npy" (numbers as stored;
            alignments as an array with fields time, emission and weight), "npz" (the same with all
            that belongs to it) or "text" (as Sprint's archiver prints it).
        overwrite: replace files that are there.
        names: symbols of allophone states for "text".

    Raises:
        KeyError: if there is no such format.
    """

    def __init__(
        self,
        archive: Archive,
        folder: str,
        kind: str = "raw",
        overwrite: bool = False,
        names: Names | None = None,
    ) -> None:
        self._archive = archive
        self._folder = os.path.realpath(folder)
        self._format = FORMATS[kind]
        self._overwrite = overwrite
        self._names = names

    def place_of(self, name: str) -> str:
        """The file that an entry becomes.

        Raises:
            ValueError: if its name leads out of the folder or is no plain path.
            FileExistsError: if the file is there and is not to be replaced.
        """
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ValueError(
                f"entry {name!r} is not extracted: its name is not a path below a folder"
            )
        raw = name.encode("utf-8", "surrogateescape")
        path = os.path.join(self._folder, os.fsdecode(raw)) + self._format.suffix
        # a link that is already there may lead elsewhere
        above = os.path.realpath(os.path.dirname(path))
        if above != self._folder and not above.startswith(os.path.join(self._folder, "")):
            raise ValueError(f"entry {name!r} is not extracted: {above} is outside the folder")
        if os.path.lexists(path) and not self._overwrite:
            raise FileExistsError(f"{path} is there already; --overwrite replaces it")
        return path

    def extract(self, name: str) -> str:
        """Writes one entry; gives the file's path.

        Raises:
            ValueError, FileExistsError: as `place_of`; ValueError also where a file can have no
                such name, or stands where a folder has to be.
            FormatError: if the entry is damaged or does not fit the format.
            OSError: if the file cannot be written.
        """
        path = self.place_of(name)
        data = self._format.write(self._archive, name, self._names)
        os.makedirs(self._folder, exist_ok=True)
        try:
            self._write(path, data)
        except OSError as error:
            if error.errno not in _NO_PLACE:
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
