"""VectorStream: one row for each segment, such as an i-vector, from an archive, HDF5 or .npz."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache._dataset.packed_strings import PackedStrings
from sprintcache._path_map import PathMap, mapped_path
from sprintcache._renaming import Rename
from sprintcache._text_file import open_regular
from sprintcache._zip_errors import zip_errors
from sprintcache.errors import FormatError, UnsupportedError

from .archives import FeatureStream
from .base import Entries, Output, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArchiveVectorStream", "VectorStream", "is_vector_table"]

_MALFORMED = (EOFError, ValueError, KeyError, MemoryError)


class ArchiveVectorStream(FeatureStream):
    """Features of one frame: (1, D) float32."""

    type = "vector"
    may_exceed = True

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Decodes the rows; see `Stream.fetch`."""
        batch, lengths = super().fetch(entries, options)
        wrong = np.flatnonzero(lengths != 1)
        if len(wrong):
            name = self._names(entries)[int(wrong[0])]
            raise FormatError(
                "not a vector of a segment",
                path=self.archive.entry(name).archive_path,
                entry=name,
                expected="1 frame",
                found=int(lengths[wrong[0]]),
            )
        return batch, lengths


class VectorStream(Stream):
    """Rows of a file that is read as a whole: (1, D) float32.

    An .npz has an array (D,) or (1, D) under the name of each segment. An HDF5 file is one of
    RETURNN's HDFDataset with a frame for each segment: ``inputs`` (N, D), ``seqTags`` (N,).
    Pickled, it keeps the path, and is read again.
    """

    type = "vector"

    def __init__(
        self,
        data_key: str,
        filename: str | os.PathLike[str],
        *,
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Reads the file."""
        super().__init__(data_key, rename)
        self._path = mapped_path(filename, path_map)
        self._load()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_rows": None, "_segments": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    def _load(self) -> None:
        read = _read_npz if self._path.endswith(".npz") else _read_hdf
        names, rows = read(self._path)
        self._segments = PackedStrings(names)
        self._rows = np.ascontiguousarray(rows, np.float32)

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    @property
    def segments(self) -> PackedStrings:
        """The names in the file."""
        return self._segments

    @property
    def outputs(self) -> dict[str, Output]:
        """Rows of float32."""
        return {self.data_key: Output(self._rows.shape[1], 2, "float32", False)}

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64: 1."""
        return np.ones(len(entries), np.int64)

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Copies the rows; see `Stream.fetch`."""
        numbers = self._numbers(entries)
        lengths = np.ones(len(numbers), np.int64)
        shape = len(numbers), min(len(numbers), 1), self._rows.shape[1]
        batch = options.memory.take(self.data_key, shape, np.float32)
        batch[:] = self._rows[numbers][:, None]
        return {self.data_key: (batch, lengths)}, lengths


def is_vector_table(path: object) -> bool:
    """Whether a path is that of an .npz or HDF5 file, by its ending, and not of an archive."""
    endings = (".npz", ".hdf", ".hdf5", ".h5")
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).endswith(endings)


def _read_npz(path: str) -> tuple[list[str], NDArray[Any]]:
    with zip_errors(path), open_regular(path) as zipped, np.lib.npyio.NpzFile(zipped) as file:
        names = list(file.files)
        rows = [np.asarray(file[name]) for name in names]
    shape = rows[0].shape[-1:] if rows else (0,)
    for name, row in zip(names, rows, strict=True):
        if row.shape not in (shape, (1, *shape)) or len(shape) != 1 or row.dtype.kind not in "fiu":
            raise FormatError(
                "not a vector of a segment",
                path=path,
                entry=name,
                expected=f"numbers {list(shape) or '[D]'}",
                found=f"{row.dtype} {list(row.shape)}",
            )
    return names, np.array([row.ravel() for row in rows]).reshape(len(rows), *shape)


def _read_hdf(path: str) -> tuple[list[str], NDArray[Any]]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install 'sprintcache[hdf]'") from error
    try:
        open_regular(path).close()  # opening a pipe would wait
        with h5py.File(path) as file:
            inputs, tags = file["inputs"], file["seqTags"][:]
            if inputs.ndim != 2 or inputs.dtype.kind not in "fiu" or len(inputs) != len(tags):
                raise UnsupportedError(
                    "not vectors of segments",
                    path=path,
                    expected=f"numbers [{len(tags)}, D], a frame for each segment",
                    found=f"{inputs.dtype} {list(inputs.shape)}",
                )
            rows = inputs[:]
    except FormatError:
        raise
    except _MALFORMED as error:
        raise FormatError(f"not an HDF5 file of RETURNN: {error}", path=path) from error
    except OSError as error:
        if not os.path.isfile(path):
            raise
        raise FormatError(f"damaged HDF5 file: {error}", path=path) from error
    names = [tag.decode("utf-8") if isinstance(tag, bytes) else str(tag) for tag in tags]
    return names, rows
