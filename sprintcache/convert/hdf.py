"""HDF5 files in the layout that RETURNN's HDFDataset reads and its SimpleHDFWriter writes.

* ``inputs``: all frames of all segments one behind the other, (sum of T, D) features or (sum of T,)
  int32 labels; ``targets/data/<key>``: the same for each target.
* ``seqLengths``: (N, 1 + targets) int32 frames of each segment; where there are no targets, the
  second column repeats the first.
* ``seqTags``: (N,) names in UTF-8.
* ``inputPattSize`` (attribute): D, or the number of labels; ``targets/size`` (attributes): number
  of labels and of dimensions of each target.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.errors import (
    CorruptError,
    FormatError,
    LabelError,
    TruncatedError,
    UnsupportedError,
)

from .destination import Destination
from .segments import Segment, Sink, array_of, check_name, is_labels

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["HdfSink", "HdfSource"]

_CHUNK = 128 << 10  # bytes; a segment is a few of them
_CHUNKS = 32  # that are written at a time
_ROWS = 4096  # segments whose names and lengths are read at a time


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install 'sprintcache[hdf]'") from error
    return h5py


class _Column:
    """A dataset that grows at its end; rows are collected and written in whole chunks."""

    def __init__(
        self,
        group: Any,
        name: str,
        dtype: DTypeLike,
        width: tuple[int, ...] = (),
        row_bytes: int | None = None,
    ) -> None:
        row_bytes = row_bytes or np.dtype(dtype).itemsize * math.prod(width)
        rows = max(1, _CHUNK // row_bytes)
        self.dtype, self.width = np.dtype(dtype), width
        self.dataset = group.create_dataset(
            name, (0, *width), dtype, maxshape=(None, *width), chunks=(rows, *width)
        )
        self._rows = np.empty((rows * _CHUNKS, *width), dtype)
        self._filled = 0

    def add(self, rows: NDArray[Any]) -> None:
        while len(rows):
            count = min(len(rows), len(self._rows) - self._filled)
            self._rows[self._filled : self._filled + count] = rows[:count]
            self._filled += count
            rows = rows[count:]
            if self._filled == len(self._rows):
                self.flush()

    def flush(self) -> None:
        start = len(self.dataset)
        self.dataset.resize(start + self._filled, 0)
        self.dataset[start:] = self._rows[: self._filled]
        self._filled = 0


class _Labels:
    """What is known of the labels of a dataset: how many there are, given or seen."""

    def __init__(self, given: int | None) -> None:
        self._given = given
        self._seen = 1

    def see(self, labels: NDArray[np.integer[Any]]) -> None:
        most = int(labels.max(initial=0)) + 1
        if self._given is not None and most > self._given:
            raise LabelError("label", expected=f"less than {self._given}", found=most - 1)
        self._seen = max(self._seen, most)

    @property
    def count(self) -> int:
        return self._seen if self._given is None else self._given


class HdfSink(Sink):
    """A new HDF5 file; features or labels become ``inputs``, targets become ``classes``.

    Args:
        path: the file.
        overwrite: whether it is replaced if it is there.
        with_targets: whether every segment has targets.
        num_labels: of labels and targets; None: the largest one + 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool,
        with_targets: bool = False,
        num_labels: int | None = None,
    ) -> None:
        h5py = _h5py()
        self._destination = Destination(path, overwrite)
        try:
            # the destination is locked already, and HDF5's own lock would be another one
            self._file = h5py.File(self._destination.partial, "w", locking=False)
        except BaseException:
            self._destination.discard()
            raise
        self._path = self._destination.path
        self._tags = _Column(self._file, "seqTags", h5py.string_dtype(), row_bytes=128)
        self._lengths = _Column(self._file, "seqLengths", np.int32, (2,))
        self._inputs: _Column | None = None
        self._targets: _Column | None = None
        if with_targets:
            self._targets = _Column(self._file.create_group("targets/data"), "classes", np.int32)
        self._input_labels, self._target_labels = _Labels(num_labels), _Labels(num_labels)
        self._odd = 0  # segments with another number of targets than of frames

    def add(self, segment: Segment) -> None:
        """Adds a segment.

        Raises:
            UnsupportedError: for a name that HDF5 cannot hold, or data that do not go with those
                of the segments before.
            LabelError: for a label that is too large.
        """
        name, _, _, targets = segment
        check_name(name, self._path, "HDF5")
        data = array_of(segment, self._path)
        try:
            if is_labels(data):
                self._input_labels.see(data)
            elif data.ndim == 1:
                data = data[:, np.newaxis]
            if targets is not None:
                self._target_labels.see(targets)
        except LabelError as error:
            error.path, error.entry = self._path, name
            raise
        self._add_inputs(name, data)
        if self._targets is not None and targets is not None:
            self._targets.add(targets)
        self._tags.add(np.array([name], object))
        self._lengths.add(np.array([[len(data), len(data if targets is None else targets)]]))

    def _add_inputs(self, name: str, data: NDArray[Any]) -> None:
        if data.ndim == 2 and len(data) == 0:
            return  # an empty entry does not say its dimension
        if self._inputs is None:
            self._inputs = _Column(self._file, "inputs", data.dtype, data.shape[1:])
        expected = self._inputs.dtype, self._inputs.width
        if expected != (data.dtype, data.shape[1:]):
            raise UnsupportedError(
                "HDF5 takes segments of one dtype and dimension",
                path=self._path,
                entry=name,
                expected=f"{expected[0]} {list(expected[1])}, as the segments before",
                found=f"{data.dtype} {list(data.shape[1:])}",
            )
        self._inputs.add(data)

    def _finish(self) -> None:
        file = self._file
        if self._inputs is None:
            self._inputs = _Column(file, "inputs", np.float32, (1,))
        for column in (self._tags, self._lengths, self._inputs, self._targets):
            if column is not None:
                column.flush()
        inputs = self._inputs.dataset
        dim = inputs.shape[1] if inputs.ndim == 2 else self._input_labels.count
        file.attrs["numTimesteps"] = len(inputs)
        file.attrs["numSeqs"] = len(self._lengths.dataset)
        file.attrs["inputPattSize"] = file.attrs["numLabels"] = dim
        file.attrs["numDims"] = 1
        file.create_dataset("labels", (0,), "S5")
        if self._targets is not None:
            file.create_group("targets/labels")
            sizes = file.create_group("targets/size").attrs
            sizes["classes"] = [self._target_labels.count, 1]
        try:
            file.close()
        except RuntimeError as error:  # what h5py makes of a full disk
            raise OSError(f"{self._path}: {error}") from error
        self._destination.publish()

    def _discard(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._file.close()
        self._destination.discard()


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
        try:
            self._file = _h5py().File(self._path, "r")
        except OSError as error:
            raise FormatError(f"HDF5: {error}", path=self._path) from error
        try:
            self._find(key)
        except BaseException:
            self._file.close()
            raise

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
        self._data = file[places[key]]
        self._column = list(places).index(key)
        shape, kind = self._data.shape, self._data.dtype.kind
        if kind not in "biufc" or len(shape) not in (1, 2):
            raise UnsupportedError(
                f"{key} is neither features nor labels",
                path=self._path,
                found=f"{self._data.dtype} {list(shape)}",
            )
        lengths = file["seqLengths"]
        fits = lengths.ndim == 1 or (lengths.ndim == 2 and lengths.shape[1] > self._column)
        if not fits or lengths.dtype.kind not in "iu" or file["seqTags"].shape != lengths.shape[:1]:
            raise CorruptError("seqLengths and seqTags do not fit the data", path=self._path)

    def __len__(self) -> int:
        return len(self._file["seqTags"])

    def names(self) -> Iterator[str]:
        """Of all segments."""
        return (name for name, _ in self._rows())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _rows(self) -> Iterator[tuple[str, int]]:
        """(name, number of frames) of all segments."""
        tags, lengths = self._file["seqTags"], self._file["seqLengths"]
        for start in range(0, len(tags), _ROWS):
            some = lengths[start : start + _ROWS]
            some = some if some.ndim == 1 else some[:, self._column]
            for tag, length in zip(tags[start : start + _ROWS], some.tolist(), strict=True):
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
                try:
                    data = self._data[position : position + length]
                except OSError as error:
                    raise FormatError(f"HDF5: {error}", path=self._path, entry=name) from error
                yield Segment(name, data)
            position += length
