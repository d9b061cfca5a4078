"""Stream: the protocol of one data key, from its segments to padded batches.

A stream numbers its segments; a dataset matches them by name with those of other streams. A batch
is read in two steps, since features and targets may differ in length: `Stream.fetch` reads, and
returns the length of each sequence; `Stream.arrays` returns the arrays, cut to fewer frames where
the dataset decides so.

Any number of threads may read at once, each with separate `BatchBuffers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, Padded, PaddedArrays, ReadOptions
from sprintcache._dataset.name_lookup import NameIndex, NameSource, NameView
from sprintcache._packing import joined_rows
from sprintcache._renaming import Rename, renamer
from sprintcache.errors import EntryNotFoundError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Entries", "FrameArrays", "Layout", "Output", "Stream", "joined", "padded"]

Layout: TypeAlias = tuple[int, int]  # gap and alignment


class FrameArrays(NamedTuple):
    """Sequences in one array.

    Attributes:
        values: (B, Tmax, ...) padded, or (N, ...) packed.
        offsets: (B + 1,) int64, where each sequence of a packed array begins; None: padded.
        lengths: (B,) int64.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64] | None
    lengths: NDArray[np.int64]


# B segments: their numbers (B,) int64, or their names in the source of the stream
Entries: TypeAlias = "Sequence[str] | NDArray[np.int64]"


class Output(NamedTuple):
    """What a stream delivers under one data key.

    Attributes:
        dim: size of a row, or number of labels; 0 if it is not known.
        num_axes: 2 for rows (T, dim), 1 for one number per frame (T,).
        dtype: name of the numpy dtype.
        is_sparse: whether the numbers are labels.
        labels: the names of the labels, or None.
    """

    dim: int
    num_axes: int
    dtype: str
    is_sparse: bool
    labels: Sequence[str] | None = None


class Stream(ABC):
    """One data key of a dataset.

    Attributes:
        type: kind of the data, as the option ``type`` names it.
        may_exceed: whether segments that the corpus lacks are no error: the source describes more
            than one corpus, as an XML file or a table of vectors does.
        is_frame_target: whether it has one label per (reduced) frame of features.
        surplus: that many labels more than frames are cut without an error.
        data_key: name of the key.
        rename: from the name of a segment in the source to its name in the corpus, or None.
    """

    type: ClassVar[str]
    may_exceed: ClassVar[bool] = True
    is_frame_target: bool = False
    surplus: int = 0

    def __init__(self, data_key: str, rename: Rename | None) -> None:
        self.data_key = data_key
        self.rename: Callable[[str], str] | None = None if rename is None else renamer(rename)
        self._index: NameIndex | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_index": None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.data_key!r} of {self.path}>"

    # ---- segments

    @property
    @abstractmethod
    def path(self) -> str:
        """The file, for errors."""

    @property
    @abstractmethod
    def segments(self) -> NameSource:
        """The names of the segments in the source."""

    @property
    def names(self) -> NameView:
        """The names of the segments in the corpus, in the order of the source."""
        return NameView(self.segments, self.rename)

    def location(self, number: int) -> tuple[str, str]:
        """Path and name of what holds a segment, for errors."""
        return self.path, self.segments[number]

    def close(self) -> None:  # noqa: B027  # most streams keep no file open
        """Closes the files."""

    # ---- what is delivered

    @property
    @abstractmethod
    def outputs(self) -> dict[str, Output]:
        """Data key to what is delivered under it; most streams have one."""

    @property
    def num_labels(self) -> int:
        """Dimension or number of labels of the first output; 0 if it is not known."""
        return next(iter(self.outputs.values())).dim

    # ---- lengths

    @abstractmethod
    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 lengths of segments, read as far as necessary."""

    def num_frames_all(self, num_threads: int) -> NDArray[np.int64]:
        """(N,) int64 `num_frames` of every segment."""
        return self.num_frames(np.arange(len(self.segments)))

    def has_frames(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B,) whether segments have frames."""
        return self.num_frames(numbers) > 0

    # ---- data

    @abstractmethod
    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[Any, NDArray[np.int64]]:
        """The first step of a batch.

        Args:
            entries: B segments.
            options: pad, threads and memory.

        Returns:
            an argument for `arrays`, by default data key to (padded array, lengths), and the length
            of each, (B,) int64.

        Raises:
            FormatError, LabelError: if a segment is damaged or cannot be turned into labels.
            ArchiveChangedError: if a file was changed after opening.
        """

    def arrays(
        self,
        entries: Entries,
        fetched: Any,
        frames: NDArray[np.int64],
        options: ReadOptions = DEFAULTS,
    ) -> PaddedArrays:
        """The second step: data key to (padded array, lengths).

        Args:
            entries, fetched: of the first step.
            frames: (B,) how many frames to deliver of each, at most those fetched.
            options: as for `fetch`.
        """
        arrays: PaddedArrays = {}
        for key, (batch, lengths) in fetched.items():
            if frames is not lengths:
                batch = batch[:, : frames.max(initial=0)]
                sparse = self.outputs[key].is_sparse
                batch[np.arange(batch.shape[1]) >= frames[:, None]] = options.pad if sparse else 0
            arrays[key] = batch, frames
        return arrays

    def read_ranges(
        self,
        entries: Entries,
        options: ReadOptions = DEFAULTS,
        *,
        starts: NDArray[np.int64] | None = None,
        stops: NDArray[np.int64] | None = None,
        layout: Layout | None = None,
    ) -> dict[str, FrameArrays]:
        """Data key to an array of ranges of frames, padded or packed.

        Here by slicing what `fetch` and `arrays` return; features and plain labels are read into
        place.

        Args:
            entries: B segments.
            starts, stops: (B,) ranges; None: from the first frame, to the last one.
            layout: gap and alignment of a packed array; None: a padded one.
            options: as for `fetch`.
        """
        fresh = options._replace(buffers=None)  # the result has the memory of the key
        fetched, lengths = self.fetch(entries, fresh)
        result = {}
        for key, (array, sizes) in self.arrays(entries, fetched, lengths, fresh).items():
            firsts = np.zeros_like(sizes) if starts is None else np.minimum(starts, sizes)
            ends = sizes if stops is None else np.minimum(stops, sizes)
            rows = [
                row[first:end]
                for row, first, end in zip(array, firsts.tolist(), ends.tolist(), strict=True)
            ]
            result[key] = joined(key, rows, self.outputs[key], layout, options)
        return result

    def read_one(self, entries: Entries) -> dict[str, NDArray[Any]]:
        """Data key to array of one segment."""
        fetched, frames = self.fetch(entries)
        batch = self.arrays(entries, fetched, frames)
        return {key: array[0, : lengths[0]] for key, (array, lengths) in batch.items()}

    # ---- for subclasses

    def _numbers(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) segment numbers."""
        if isinstance(entries, np.ndarray):
            return entries
        if self._index is None:
            self._index = NameIndex(self.segments)
        numbers = self._index.find(entries)
        if np.any(numbers < 0):
            name = entries[int(np.argmin(numbers))]
            raise EntryNotFoundError("no such segment", path=self.path, entry=name)
        return numbers

    def _names(self, entries: Entries) -> Sequence[str]:
        """The names of B segments."""
        return self.segments.at(entries) if isinstance(entries, np.ndarray) else entries


def padded(key: str, rows: Sequence[NDArray[Any]], output: Output, options: ReadOptions) -> Padded:
    """Rows of different length as one padded array, and the lengths; see `joined`."""
    values, _, lengths = joined(key, rows, output, None, options)
    return values, lengths


def joined(
    key: str,
    rows: Sequence[NDArray[Any]],
    output: Output,
    layout: Layout | None,
    options: ReadOptions,
) -> FrameArrays:
    """Rows of different length as one array, padded or packed.

    Between the rows is `options.pad` for signed labels, 0 for other data.
    """
    width = (output.dim,) if output.num_axes == 2 else ()
    dtype = np.dtype(output.dtype)

    def allocate(shape: tuple[int, ...]) -> NDArray[Any]:
        return options.memory.take(key, (*shape, *width), dtype.type)

    fill = options.pad if output.is_sparse and dtype.kind == "i" else 0
    return FrameArrays(*joined_rows(rows, layout, allocate, fill))
