"""HDF5 files that RETURNN wrote, or we; the layout stands in `hdf_sink`."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from sprintcache.errors import CorruptError, FormatError, TruncatedError, UnsupportedError

from .extras import h5py_module
from .segments import Segment

__all__ = ["HdfSource"]

_ROWS = 4096  # segments whose names and lengths are read at a time


class HdfSource:
    """Segments of an HDF5 file.

    Args:
        path: the file.
        key: ``"data"`` for ``inputs``, or a target such as ``"classes"``; None: ``"data"``, or the
            only target where there are no inputs.

    Raises:
        FormatError: if it is damaged or of another layout, or has no such data.
    """

    def __init__(self, path: str | os.PathLike[str], key: str | None = None) -> None:
        self._path = os.fspath(path)
        self._h5py = h5py_module()
        with self._damage():
            self._file = self._h5py.File(self._path, "r")
        try:
            with self._damage():
                self._find(key)
        except BaseException:
            self._file.close()
            raise

    @contextmanager
    def _damage(self, name: str | None = None) -> Iterator[None]:
        """Turns what h5py makes of damaged files into one kind of error."""
        try:
            yield
        except FormatError:
            raise
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = f"HDF5: {error.args[0] if error.args else error}"
            raise FormatError(reason, path=self._path, entry=name) from error

    def _dataset(self, name: str) -> Any:
        found = self._file[name]
        if not isinstance(found, self._h5py.Dataset):
            raise FormatError(f"{name} is not a dataset", path=self._path)
        return found

    def _find(self, key: str | None) -> None:
        file = self._file
        if not {"seqTags", "seqLengths"} <= set(file):
            raise FormatError(
                "the layout is not that of RETURNN's HDFDataset",
                path=self._path,
                expected="seqTags and seqLengths",
                found=", ".join(list(file)[:5]) or "nothing",
            )
        # the columns of seqLengths: inputs, then the targets by name
        places = {"data": "inputs"} if "inputs" in file else {}
        targets = set(file.get("targets/data", ()))
        if "targets/size" in file:
            targets |= set(file["targets/size"].attrs)
        places |= {target: f"targets/data/{target}" for target in sorted(targets)}
        if key is None and len(places) == 1:
            key = next(iter(places))
        key = "data" if key is None else key
        if key not in places or places[key] not in file:
            raise FormatError(
                f"no data {key!r} (key chooses)", path=self._path, found=", ".join(places)
            )
        self._data = self._dataset(places[key])
        self._column = list(places).index(key)
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

    def __len__(self) -> int:
        return len(self._tags)

    def names(self) -> Iterator[str]:
        """Of all segments."""
        return (name for name, _ in self._rows())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _rows(self) -> Iterator[tuple[str, int]]:
        """(name, number of frames) of all segments."""
        for start in range(0, len(self), _ROWS):
            with self._damage():
                tags = self._tags[start : start + _ROWS]
                lengths = self._lengths[start : start + _ROWS]
            lengths = lengths if lengths.ndim == 1 else lengths[:, self._column]
            for tag, length in zip(tags, lengths.tolist(), strict=True):
                name = tag.decode("utf-8", "surrogateescape") if isinstance(tag, bytes) else tag
                yield name.split("\0")[0], length

    def segments(self, wanted: Collection[str] | None) -> Generator[Segment]:
        """Reads segments.

        Raises:
            FormatError: if the file is damaged.
        """
        position = 0
        for name, length in self._rows():
            if length < 0 or position + length > len(self._data):
                raise TruncatedError(
                    "frames are missing",
                    path=self._path,
                    entry=name,
                    expected=position + length,
                    found=len(self._data),
                )
            if wanted is None or name in wanted:
                with self._damage(name):
                    data = self._data[position : position + length]
                yield Segment(name, data)
            position += length
