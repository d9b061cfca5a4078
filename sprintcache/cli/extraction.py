"""Extractor: entries of an archive as files below a folder, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.errors import UnsupportedError

from .rendering import archiver_show

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import Names

__all__ = ["FORMATS", "Extractor"]

ITEM = np.dtype([("time", np.uint32), ("emission", np.uint32), ("weight", np.float32)])


class Extractor:
    """Writes entries as files.

    A file is written beside its place and then moved there, so it is whole or not there at all.
    In the format "raw" the folder becomes a directory archive with the same names.

    Args:
        archive: where the entries are.
        folder: made if it is not there.
        kind: "raw" (the payload, inflated), "npy" (numbers as stored; alignments as an array with
            fields time, emission and weight) or "text" (as Sprint's archiver prints it).
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
        self._convert, self._suffix = FORMATS[kind]
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
            raise ValueError(f"entry {name!r} is not extracted: its name is no path below a folder")
        raw = name.encode("utf-8", "surrogateescape")
        path = os.path.join(self._folder, os.fsdecode(raw)) + self._suffix
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
            ValueError, FileExistsError: as `place_of`.
            FormatError: if the entry is damaged or does not fit the format.
            OSError: if the file cannot be written.
        """
        path = self.place_of(name)
        data = self._convert(self._archive, name, self._names)
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
        return path


def _raw(archive: Archive, name: str, _names: Names | None) -> bytes:
    return archive.read_bytes(name)


def _text(archive: Archive, name: str, names: Names | None) -> bytes:
    allophones = None if names is None else names.allophones
    labeling = None if names is None else names.labeling
    tying = None if labeling is None else labeling.state_tying
    lines = archiver_show(archive, name, allophones, tying)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _npy(archive: Archive, name: str, _names: Names | None) -> memoryview:
    array = _array(archive, name)
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getbuffer()


def _array(archive: Archive, name: str) -> Any:
    """An entry as one array of the stored dtype."""
    kind = archive.datatype(name)
    if kind == "flow-alignment":
        alignment = archive.read_alignment(name)
        items = np.empty(len(alignment), ITEM)
        items["time"], items["emission"] = alignment.time, alignment.emission
        items["weight"] = alignment.weight
        return items
    data = archive.read(name) if kind is not None else None
    if isinstance(data, np.ndarray):
        return data
    if kind is None and archive.entry(name).size == 0:
        return np.zeros((0, 0), np.float32)
    raise UnsupportedError(
        f"{kind or 'an entry that is no Flow cache'} does not become one array;"
        " --format raw or text takes it",
        path=archive.entry(name).archive_path,
        entry=name,
    )


_Convert = Callable[["Archive", str, "Names | None"], "bytes | memoryview"]
FORMATS: dict[str, tuple[_Convert, str]] = {
    "raw": (_raw, ""),
    "npy": (_npy, ".npy"),
    "text": (_text, ".txt"),
}
