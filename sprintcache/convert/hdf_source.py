"""HDF5 files of RETURNN as a source; `hdf_sink` describes the layout."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from sprintcache._text_file import open_regular
from sprintcache.errors import CorruptError, FormatError, TruncatedError, UnsupportedError

from .extras import h5py_module
from .items import ConvertItem

__all__ = ["HdfSource"]

_BLOCK_ROWS = 4096  # names and lengths that are read at a time


class HdfSource:
    """Segments of an HDF5 file.

    Args:
        path: the file.
        key: ``"data"`` for ``inputs``, or a target such as ``"classes"``; None: ``"data"``, or the
            only target of a file without inputs.

    Raises:
        FormatError: if the file is damaged, of another layout, or lacks the key.
        OSError: if it cannot be read, for example because another process has locked it.
    """

    def __init__(self, path: str | os.PathLike[str], key: str | None = None) -> None:
        self._path = os.fspath(path)
        self._h5py = h5py_module()
        with self._translate_errors():
            open_regular(self._path).close()  # opening a pipe would wait
            self._file = self._h5py.File(self._path, "r")
        try:
            with self._translate_errors():
                self._find(key)
        except BaseException:
            self._file.close()
            raise

    @contextmanager
    def _translate_errors(self, name: str | None = None) -> Iterator[None]:
        """Errors of h5py: an OSError for those of the system, else a FormatError for damage."""
        try:
            yield
        except FormatError:
            raise
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                text = f"HDF5: {error.strerror or error}"
                raise OSError(error.errno, text, self._path) from error
            reason = f"HDF5: {error.args[0] if error.args else error}"
            raise FormatError(reason, path=self._path, entry=name) from error

    def _dataset(self, name: str) -> Any:
        dataset = self._file[name]
        if not isinstance(dataset, self._h5py.Dataset):
            raise FormatError(f"{name} is not a dataset", path=self._path)
        return dataset

    def _find(self, key: str | None) -> None:
        """Finds the datasets of the key, of names and of lengths."""
        file = self._file
        if not {"seqTags", "seqLengths"} <= set(file):
            raise FormatError(
                "the layout is not that of RETURNN's HDFDataset",
                path=self._path,
                expected="seqTags and seqLengths",
                found=", ".join(list(file)[:5]) or "an empty file",
            )
        # the columns of seqLengths: inputs, then the targets by name
        locations = {"data": "inputs"} if "inputs" in file else {}
        targets = set(file.get("targets/data", ()))
        if "targets/size" in file:
            targets |= set(file["targets/size"].attrs)
        locations |= {target: f"targets/data/{target}" for target in sorted(targets)}
        if key is None and len(locations) == 1:
            key = next(iter(locations))
        key = "data" if key is None else key
        if key not in locations or locations[key] not in file:
            raise FormatError(
                f"no data {key!r} (key chooses)", path=self._path, found=", ".join(locations)
            )
        self._data = self._dataset(locations[key])
        self._column = list(locations).index(key)
        shape, kind = self._data.shape, self._data.dtype.kind
        if kind not in "biufc" or len(shape) not in (1, 2):
            raise UnsupportedError(
                f"{key} is neither features nor labels",
                path=self._path,
                found=f"{self._data.dtype} {list(shape)}",
            )
        self._tags, lengths = self._dataset("seqTags"), self._dataset("seqLengths")
        self._lengths = lengths
        fits = lengths.ndim == 1 or (lengths.ndim == 2 and lengths.shape[1] > self._column)
        fits = fits and self._tags.shape == lengths.shape[:1]
        if not fits or lengths.dtype.kind not in "iu" or self._tags.dtype.kind not in "SO":
            raise CorruptError("seqLengths and seqTags do not fit the data", path=self._path)
        if key == "data" and "sizes" in targets:
            self._check_one_axis(list(locations).index("sizes"))

    def _check_one_axis(self, column: int) -> None:
        """Refuses segments that RETURNN flattened from several axes; their lengths are `sizes`."""
        lengths = self._lengths
        num_axes = 0
        if lengths.ndim == 2 and lengths.shape[1] > column and len(lengths):
            num_axes = int(lengths[0, column])
        if num_axes > 1:
            raise UnsupportedError(
                "data of several axes of variable length",
                path=self._path,
                expected="one axis",
                found=f"{num_axes} axes, with their lengths in `sizes`",
            )

    def __len__(self) -> int:
        return len(self._tags)

    def names(self) -> Iterator[str]:
        """Names of all segments."""
        return (name for name, _ in self._rows())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _rows(self) -> Iterator[tuple[str, int]]:
        """(name, number of frames) of all segments."""
        for start in range(0, len(self), _BLOCK_ROWS):
            with self._translate_errors():
                tags = self._tags[start : start + _BLOCK_ROWS]
                lengths = self._lengths[start : start + _BLOCK_ROWS]
            lengths = lengths if lengths.ndim == 1 else lengths[:, self._column]
            for tag, length in zip(tags, lengths.tolist(), strict=True):
                name = tag.decode("utf-8", "surrogateescape") if isinstance(tag, bytes) else tag
                yield name.split("\0")[0], length

    def items(self, names: Collection[str] | None) -> Generator[ConvertItem]:
        """Reads segments.

        Raises:
            FormatError: if the file is damaged.
            OSError: if it cannot be read.
        """
        offset = 0
        for name, length in self._rows():
            if length < 0 or offset + length > len(self._data):
                raise TruncatedError(
                    "frames are missing",
                    path=self._path,
                    entry=name,
                    expected=offset + length,
                    found=len(self._data),
                )
            if names is None or name in names:
                with self._translate_errors(name):
                    data = self._data[offset : offset + length]
                yield ConvertItem(name, data)
            offset += length
