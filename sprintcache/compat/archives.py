"""FileArchive and FileArchiveBundle: the classes of the old readers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from sprintcache._attributes import render
from sprintcache._bundle import members
from sprintcache._write.writer import ArchiveWriter
from sprintcache.archive import Archive
from sprintcache.entries import Block
from sprintcache.errors import SprintCacheError
from sprintcache.opening import open_archive

from .readable import FileInfo, Readable, StrPath

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["HEADER", "FileArchive", "FileArchiveBundle"]

HEADER = "SP_ARC1\0"


class FileArchive(Readable):
    """An archive file, to be read, or a new one to be written.

    Attributes:
        filename, encoding: as given.
        ft: dict, name to `FileInfo`; made when it is first used.
        allophones: list of str, read by `set_allophones`.
    """

    SprintCacheHeader = RasrCacheHeader = HEADER
    start_recovery_tag = 0xAA55AA55
    end_recovery_tag = 0x55AA55AA

    def __init__(
        self, filename: StrPath, must_exists: bool = False, encoding: str = "ascii"
    ) -> None:
        """Opens a file.

        Args:
            filename: the archive; a new one grows as ``<filename>.partial`` until `finalize`.
            must_exists: whether it must exist now.
            encoding: "ascii" or "utf-8"; UTF-8 is used for both.

        Raises:
            FileNotFoundError: if it is missing and `must_exists` says that it must not be.
            FormatError: if it is not an archive.
        """
        super().__init__(encoding)
        self.filename = os.fspath(filename)
        self._writer: ArchiveWriter | None = None
        if must_exists or os.path.exists(self.filename):
            _ = self._archive

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.filename!r}>"

    def __getattr__(self, name: str) -> NoReturn:
        text = f"{type(self).__name__!r} object has no attribute {name!r}"
        if name == "f" or name.lower().startswith(("read", "write", "scan")):
            text += "; methods on single bytes are left out of sprintcache.compat"
        raise AttributeError(text)

    @cached_property
    def _archive(self) -> Archive:
        if self._writer is not None:
            raise SprintCacheError("it can be read after finalize()", path=self.filename)
        return open_archive(self.filename)

    @cached_property
    def ft(self) -> dict[str, FileInfo]:
        """Name to `FileInfo`, in archive order."""
        rows = (self._archive.entry(name) for name in self._archive)
        return {
            row.name: FileInfo(row.name, row.position, row.size, row.compressed_size, index)
            for index, row in enumerate(rows)
        }

    def has_entry(self, filename: str) -> bool:
        """Whether there is an entry of that name; while the archive is written as well."""
        return filename in (self._archive if self._writer is None else self._writer)

    def _writing(self) -> ArchiveWriter:
        if self._writer is None:
            self._writer = ArchiveWriter(self.filename)
        return self._writer

    def add_feature_cache(
        self, filename: str, features: Iterable[ArrayLike], times: Iterable[ArrayLike]
    ) -> None:
        """Adds features as "vector-f32", and their attributes after them.

        Args:
            filename: name of the entry.
            features: (T, D), or T vectors; the attributes have the dimension of the first.
            times: (T, 2) start and end in seconds.

        Raises:
            FileExistsError: if the archive existed before.
            ValueError: if there is such an entry already, or if the times do not fit.
        """
        rows = [np.ravel(np.asarray(row, np.float32)) for row in features]
        pairs = np.array(list(times), np.float64).reshape(-1, 2)
        data = np.stack(rows) if len({row.size for row in rows}) == 1 else rows
        self._writing().add_blocks(filename, [Block("vector-f32", pairs, data)])
        dim, duration = (rows[0].size, pairs[-1, 1]) if rows else (0, 1.0)
        self.add_attributes(filename, dim, duration)

    def add_attributes(self, filename: str, dim: int, duration: float) -> None:
        """Adds the attributes of features, as the entry ``<filename>.attribs``.

        Args:
            filename: name of the features' entry.
            dim: components of a frame.
            duration: end of the last frame in seconds.

        Raises:
            FileExistsError, ValueError: as `add_feature_cache`.
        """
        attributes = {
            "datatype": "vector-f32",
            "sample-size": str(dim),
            "total-duration": f"{duration:.5f}",
        }
        self._writing().add_bytes(f"{filename}.attribs", render(attributes))

    def finalize(self) -> None:
        """Writes the table of a new archive and renames it; from then on it can be read.

        Raises:
            OSError: if the system fails.
        """
        self._writing().close()
        self._writer = None

    addFeatureCache = add_feature_cache  # noqa: N815
    addAttributes = add_attributes  # noqa: N815


class FileArchiveBundle(Readable):
    """Archives as one; of entries in several archives the last one counts.

    Attributes:
        archives: dict, absolute path to `FileArchive`; opened when it is first used.
        files: dict, name of an entry to the `FileArchive` that has it; made when it is first used.
    """

    def __init__(self, filename: StrPath | None = None, encoding: str = "ascii") -> None:
        """Opens the archives that a bundle lists.

        Raises:
            FileNotFoundError: if one is missing.
            FormatError: if one is not an archive.
        """
        super().__init__(encoding)
        self._paths: dict[str, None] = {}
        if filename is not None:
            self.add_bundle(filename)
            _ = self._archive

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {[*self._paths]}>"

    def add_bundle_or_archive(self, filename: StrPath, encoding: str = "ascii") -> None:
        """Adds a bundle, by the ending ".bundle", or an archive; opened when first used."""
        if os.fspath(filename).endswith(".bundle"):
            self.add_bundle(filename)
        else:
            self._add(os.path.abspath(filename))

    add_archive = add_bundle_or_archive

    def add_bundle(self, filename: StrPath, encoding: str = "ascii") -> None:
        """Adds the archives that a file lists, whatever its name, one path a line."""
        for member in members(os.fspath(filename), by_line=True):
            self._add(member)

    def _add(self, path: str) -> None:
        self._paths[path] = None
        for made in ("_archive", "_by_basename", "archives", "files"):
            self.__dict__.pop(made, None)

    @cached_property
    def _archive(self) -> Archive:
        if not self._paths:
            return Archive("an empty bundle", [])
        return open_archive([*self._paths], path_map={})

    @cached_property
    def archives(self) -> dict[str, FileArchive]:
        """Absolute path to archive; all have the allophones of the bundle."""
        paths = self._archive.source_paths
        archives = {path: FileArchive(path, must_exists=True) for path in paths}
        for archive in archives.values():
            archive.allophones = self.allophones
        return archives

    @cached_property
    def files(self) -> dict[str, FileArchive]:
        """Name of an entry to its archive."""
        entry, archives = self._archive.entry, self.archives
        return {name: archives[entry(name).archive_path] for name in self._archive}
