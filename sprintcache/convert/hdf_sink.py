"""HDF5 files in the layout that RETURNN's HDFDataset reads and its SimpleHDFWriter writes.

* ``inputs``: the frames of all segments, concatenated: (sum of T, D) features, with D = 1 for
  scalars, or (sum of T,) int32 labels; ``targets/data/<key>``: the same for each target.
* ``seqLengths``: (N, 1 + targets) int32 frames of each segment; without targets, the second column
  repeats the first.
* ``seqTags``: (N,) names in UTF-8.
* ``inputPattSize`` (attribute): D, or the number of labels; ``targets/size`` (attributes): number
  of labels and of dimensions of each target.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from io import FileIO
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._reader import start_writing
from sprintcache.errors import LabelError, UnsupportedError, naming

from .destination import Destination
from .extras import h5py_module
from .items import ConvertItem, LabelBlock, Sink, array_of, check_names, is_labels

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["HdfSink"]

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 128 << 10  # a segment has a few chunks
_CHUNK_NAMES = 1024
_BUFFERED_NAMES = 4096
_STRIDE = 4 << 20  # bytes
_MAX_PENDING = 512  # segments that are added at a time
_MAX_PENDING_BYTES = 1 << 20


class _FailSafeFile:
    """The file that HDF5 writes to; its methods never fail.

    After a system error, such as a full disk, HDF5 would retry its buffers at exit and crash. So
    the first error is recorded for `check`, and later writes are dropped.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._started = 0  # writing to the disk has started up to this offset
        self._error: OSError | None = None
        self.drop_writes = False
        self.seek, self.tell = file.seek, file.tell
        self.read, self.readinto = file.read, file.readinto
        self.flush = file.flush

    def check(self) -> None:
        """Raises the first error."""
        error = self._error
        if error is not None:
            raise OSError(error.errno, error.strerror, self._file.name) from error

    def write(self, data: memoryview) -> int:
        size = len(data)
        try:
            while len(data) and not self.drop_writes:
                data = data[self._file.write(data) :]
            end = self._file.tell()
            if end - self._started >= _STRIDE:  # so the last fsync is short
                start_writing(self._file.fileno(), self._started, end - self._started)
                self._started = end
        except OSError as error:
            self._fail(error)
        return size

    def truncate(self, size: int) -> None:
        try:
            if not self.drop_writes:
                os.ftruncate(self._file.fileno(), size)  # continues after an interrupt
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._error = error
        self.drop_writes = True


class _Column:
    """A dataset of numbers that rows are appended to.

    Chunks are written as soon as they are complete, without HDF5's cache of chunks: it would copy
    each, and write most of them when the file is closed.
    """

    def __init__(
        self, group: Any, name: str, dtype: DTypeLike, width: tuple[int, ...] = ()
    ) -> None:
        self.dtype, self.width = np.dtype(dtype), width
        rows = max(1, _CHUNK_BYTES // (self.dtype.itemsize * math.prod(width)))
        self.dataset = group.create_dataset(
            name, (0, *width), dtype, maxshape=(None, *width), chunks=(rows, *width)
        )
        self._chunk = np.zeros((rows, *width), dtype)
        self._num_buffered = 0
        self._num_written = 0

    def add(self, rows: NDArray[Any]) -> None:
        size = len(self._chunk)
        while len(rows):
            if not self._num_buffered and len(rows) >= size and rows.flags.c_contiguous:
                self._write(rows[:size], size)
                rows = rows[size:]
                continue
            count = min(len(rows), size - self._num_buffered)
            self._chunk[self._num_buffered : self._num_buffered + count] = rows[:count]
            self._num_buffered += count
            rows = rows[count:]
            if self._num_buffered == size:
                self.flush()

    def add_all(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Adds the rows of arrays of the dataset's dtype."""
        end = self._num_buffered + sum(map(len, arrays))
        if end < len(self._chunk):
            np.concatenate(arrays, out=self._chunk[self._num_buffered : end])
            self._num_buffered = end
            return
        for rows in arrays:
            self.add(rows)

    def flush(self) -> None:
        """Writes the buffered rows; only the last chunk may be incomplete."""
        if self._num_buffered:
            self._chunk[self._num_buffered :] = 0
            self._write(self._chunk, self._num_buffered)
            self._num_buffered = 0

    def _write(self, chunk: NDArray[Any], num_rows: int) -> None:
        dataset, start = self.dataset.id, self._num_written
        self._num_written += num_rows
        dataset.set_extent((self._num_written, *self.width))
        dataset.write_direct_chunk((start, *[0] * len(self.width)), chunk)


class _Names:
    """A dataset of strings in UTF-8 that names are appended to."""

    def __init__(self, group: Any, name: str, dtype: Any) -> None:
        self.dataset = group.create_dataset(
            name, (0,), dtype, maxshape=(None,), chunks=(_CHUNK_NAMES,)
        )
        self._names: list[str] = []

    def add(self, names: Sequence[str]) -> None:
        self._names += names
        if len(self._names) >= _BUFFERED_NAMES:
            self.flush()

    def flush(self) -> None:
        start = len(self.dataset)
        self.dataset.resize(start + len(self._names), 0)
        self.dataset[start:] = np.array(self._names, object)
        self._names = []


class _LabelCount:
    """The number of labels of a dataset: given, or the largest label + 1."""

    def __init__(self, num_labels: int | None) -> None:
        self._given = num_labels
        self._required = 1

    def add(self, labels: NDArray[np.integer[Any]]) -> None:
        """Raises LabelError for a label that is too large."""
        self.add_label(int(labels.max(initial=0)))

    def add_label(self, label: int) -> None:
        """As `add` for one label."""
        required = label + 1
        if self._given is not None and required > self._given:
            raise LabelError("label", expected=f"less than {self._given}", found=required - 1)
        self._required = max(self._required, required)

    def add_all(self, path: str, labels: Sequence[tuple[str, NDArray[np.integer[Any]]]]) -> None:
        """Adds the labels of named segments; LabelError as `add`, with the segment's name."""
        if not labels:
            return
        try:
            self.add(np.concatenate([array for _, array in labels]))
        except LabelError:
            for name, array in labels:
                with naming(path, name):
                    self.add(array)
            raise

    @property
    def count(self) -> int:
        return self._required if self._given is None else self._given


class HdfSink(Sink):
    """A new HDF5 file; features or labels become ``inputs``, targets become ``classes``.

    Args:
        path: the file.
        overwrite: whether an existing file is replaced.
        with_targets: whether every segment has targets.
        num_labels: of labels and targets; None: the largest label + 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool,
        with_targets: bool = False,
        num_labels: int | None = None,
    ) -> None:
        h5py = h5py_module()
        self._destination = Destination(path, overwrite)
        self._path = self._destination.path
        self._output = _FailSafeFile(self._destination.file)
        try:
            self._file = h5py.File(self._output, "w")
        except BaseException:
            self._destination.discard()
            raise
        self._tags = _Names(self._file, "seqTags", h5py.string_dtype())
        self._lengths = _Column(self._file, "seqLengths", np.int32, (2,))
        self._inputs: _Column | None = None
        self._targets: _Column | None = None
        if with_targets:
            self._targets = _Column(self._file.create_group("targets/data"), "classes", np.int32)
        self._input_labels = _LabelCount(num_labels)
        self._target_labels = _LabelCount(num_labels)
        self._num_mismatches = 0
        self._pending: list[tuple[str, NDArray[Any], NDArray[np.int32] | None]] = []
        self._num_pending_bytes = 0

    def add(self, item: ConvertItem) -> None:
        """Adds a segment; some are written at a time, so their errors may be raised later.

        Raises:
            UnsupportedError: for a name that HDF5 cannot hold, or data of another dtype or
                dimension than those of earlier segments.
            LabelError: for a label that is too large.
        """
        data = array_of(item, self._path)
        if data.ndim == 1 and not is_labels(data):
            data = data[:, np.newaxis]
        self._pending.append((item.name, data, item.targets))
        self._num_pending_bytes += data.nbytes
        if len(self._pending) == _MAX_PENDING or self._num_pending_bytes >= _MAX_PENDING_BYTES:
            self._add_pending()

    def add_labels(self, block: LabelBlock) -> None:
        """As `add` for segments without targets, all at once.

        Raises:
            UnsupportedError, LabelError: as `add`.
        """
        if self._targets is not None:
            super().add_labels(block)
            return
        self._add_pending()
        check_names(block.names, self._path, "HDF5")
        try:
            self._input_labels.add_label(block.largest)
        except LabelError:
            labels = [(item.name, array_of(item, self._path)) for item in block.items()]
            self._input_labels.add_all(self._path, labels)
        self._add_inputs([(block.names[0], block.labels)])
        self._add_names(block.names, np.repeat(block.lengths[:, np.newaxis], 2, 1))

    def _add_names(self, names: Sequence[str], lengths: NDArray[Any]) -> None:
        self._tags.add(names)
        self._lengths.add(lengths)
        self._output.check()

    def _add_pending(self) -> None:
        if not self._pending:
            return
        names, arrays, targets = zip(*self._pending, strict=True)
        self._pending, self._num_pending_bytes = [], 0
        check_names(names, self._path, "HDF5")
        inputs = list(zip(names, arrays, strict=True))
        self._input_labels.add_all(self._path, [item for item in inputs if item[1].ndim == 1])
        # an empty entry has no dimension
        rows = (item for item in inputs if item[1].ndim == 1 or len(item[1]))
        for _, run in groupby(rows, lambda item: (item[1].dtype, item[1].shape[1:])):
            self._add_inputs(list(run))
        lengths = np.empty((len(names), 2), np.int32)
        lengths[:, 0] = lengths[:, 1] = list(map(len, arrays))
        if self._targets is not None:
            self._target_labels.add_all(self._path, list(zip(names, targets, strict=True)))
            self._targets.add_all(targets)
            lengths[:, 1] = list(map(len, targets))
            self._num_mismatches += int(np.count_nonzero(lengths[:, 0] != lengths[:, 1]))
        self._add_names(names, lengths)

    def _add_inputs(self, inputs: Sequence[tuple[str, NDArray[Any]]]) -> None:
        """Adds segments of one dtype and dimension."""
        name, data = inputs[0]
        if self._inputs is None:
            self._inputs = _Column(self._file, "inputs", data.dtype, data.shape[1:])
        expected = self._inputs.dtype, self._inputs.width
        if expected != (data.dtype, data.shape[1:]):
            raise UnsupportedError(
                "HDF5 requires segments of one dtype and dimension",
                path=self._path,
                entry=name,
                expected=f"{expected[0]} {list(expected[1])}, as in earlier segments",
                found=f"{data.dtype} {list(data.shape[1:])}",
            )
        self._inputs.add_all([data for _, data in inputs])

    def _finish(self) -> None:
        self._add_pending()
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
        file.close()
        self._output.check()
        self._destination.publish()
        if self._num_mismatches:
            logger.warning(
                "%s: %d segments have another number of targets than of frames",
                self._path,
                self._num_mismatches,
            )

    def _discard(self) -> None:
        self._output.drop_writes = True
        self._file.close()
        self._destination.discard()
