"""ChunkedDataset: a dataset whose sequences are chunks of those of another one.

Everything that selects and orders sequences works on chunks as well: samplers, orders, batches by a
budget of frames, resuming, ranks. A chunk is read without the rest of its sequence where the format
allows it, see `Archive.read_features`.

The table of chunks is a pure function of the lengths and the options, so a position in the epoch
means the same in every process. `ChunkedDataset.read_batch` changes nothing and may be called from
any number of threads, each with separate `BatchBuffers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._checks import check_not_negative, integer
from ._chunk_table import ChunkNames, Chunks, ChunkTable
from ._dataset.buffers import BatchBuffers, PaddedArrays
from .dataset import SprintCacheDataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._dataset.reader import SprintCacheReader
    from .ordering import Ordering

__all__ = ["ChunkedDataset", "Splice", "spliced"]


class Splice(NamedTuple):
    """Frames that are joined to one.

    Frame j of the result has the frames from ``j * stride - left`` to ``j * stride + right``,
    including both, one after the other. ``Splice(0, 2, 3)`` stacks three frames and skips three.

    Attributes:
        left, right: number of frames before and after.
        stride: distance of frames of which the neighbors are joined.
    """

    left: int = 0
    right: int = 0
    stride: int = 1


NO_SPLICE = Splice()


def spliced(frames: NDArray[np.float32], splice: Splice) -> NDArray[np.float32]:
    """Joins neighboring frames.

    Args:
        frames: (..., T, D); for a frame that is missing at an end there are zeros.
        splice: which ones.

    Returns:
        (..., ceil(T / stride), (left + 1 + right) * D), a new array.
    """
    *outer, count, dim = frames.shape
    width = splice.left + 1 + splice.right
    num_joined = -(-count // splice.stride)
    out = np.zeros((*outer, num_joined, width, dim), np.float32)
    for column in range(width):
        shift = column - splice.left
        first = max(-(shift // splice.stride), 0)  # the first j with j * stride + shift >= 0
        source = frames[..., first * splice.stride + shift :: splice.stride, :]
        source = source[..., : max(num_joined - first, 0), :]
        out[..., first : first + source.shape[-2], column, :] = source
    return out.reshape(*outer, num_joined, width * dim)


class ChunkedDataset:
    """Chunks of the sequences of a `SprintCacheDataset`; for `MapDataset` and samplers.

    Of features and labels a chunk has a range of frames, of soft targets (dense) too; other data
    (text, speaker, vector, automaton) belongs to the whole sequence and is delivered as a whole.

    Attributes:
        dataset: the dataset of whole sequences.
        data: data key to `SprintCacheReader`, as of the dataset.
    """

    def __init__(
        self,
        dataset: SprintCacheDataset,
        size: int,
        step: int | None = None,
        *,
        left: int = 0,
        right: int = 0,
        splice: Splice | tuple[int, int, int] = NO_SPLICE,
        min_size: int = 1,
    ) -> None:
        """Measures the lengths of all sequences.

        Args:
            dataset: its order, filters and limits of sequences apply; the order is that of chunks.
            size: frames of a chunk; the last ones of a sequence may have less.
            step: frames from the start of one chunk to the start of the next; None: `size`.
            left, right: context: frames of features delivered before and after each chunk, zeros
                beyond the ends of the sequence. Labels have none.
            splice: joins neighboring frames of features, those of the context and beyond included.
                `size`, `step`, `left` and `right` must be multiples of its stride.
            min_size: chunks of fewer frames are left out, and so are sequences as short as that.

        Raises:
            ValueError: if an option is out of range, `min_size` leaves no chunk, or the dataset has
                no features under "data", has a window, or labels whose length is not that of the
                features by `reduce_target_factor`.
            TypeError: if an option is not an integer.
        """
        step = size if step is None else step
        self._splice = Splice(*splice)
        options = {"size": size, "step": step, "left": left, "right": right, "min_size": min_size}
        splicing = {f"splice {name}": value for name, value in self._splice._asdict().items()}
        for name, value in (options | splicing).items():
            check_not_negative(**{name: integer(name, value)})
        if min(size, step, min_size, self._splice.stride) < 1 or min_size > size:
            raise ValueError(
                f"size {size}, step {step}, min_size {min_size}, stride {self._splice.stride}:"
                " expected 1 or more, and min_size at most size"
            )
        if dataset.window > 1 or "data" not in dataset.data or dataset.data["data"].type != "feat":
            raise ValueError("chunks need features under the data key 'data', and no window")
        factor = dataset.target_factor
        for name in ("size", "step", "left", "right"):
            if options[name] % self._splice.stride:
                raise ValueError(f"{name} {options[name]} is not a multiple of the stride")
            if name in ("size", "step") and options[name] % factor:
                raise ValueError(
                    f"{name} {options[name]} is not a multiple of {factor}, which is"
                    " reduce_target_factor"
                )
        self.dataset = dataset
        self.data: dict[str, SprintCacheReader] = dataset.data
        self._left, self._right = left, right
        self._factor = factor
        lengths = dataset.shared_lengths()
        self._table = ChunkTable(lengths, size, step, min_size)
        if not len(self._table):
            raise ValueError(
                f"no chunk is left by min_size {min_size}: the longest sequence has"
                f" {lengths.max(initial=0)} frames"
            )
        self._tags = ChunkNames(self._table, dataset.get_tags)

    def close(self) -> None:
        """Closes the archives."""
        self.dataset.close()

    # ---- for samplers

    @property
    def ordering(self) -> Ordering:
        """The order of the dataset, which orders chunks here."""
        return self.dataset.ordering

    @property
    def chosen(self) -> NDArray[np.bool_] | None:
        """(N,) whether the sequence of each chunk passes filter and limits, or None if all do."""
        chosen = self.dataset.chosen
        return None if chosen is None else np.repeat(chosen, self._table.counts)

    def get_total_num_seqs(self, *, fast: bool = False) -> int:
        """Number of chunks."""
        return len(self._table)

    def get_all_tags(self) -> ChunkNames:
        """The names of the chunks: segment, first frame and end, ``segment[200:300]``."""
        return self._tags

    def get_tags(self, seqs: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The names of some chunks."""
        return self._tags.at(np.asarray(seqs, np.int64))

    def get_lengths(self, key: str | None = None) -> NDArray[np.int64]:
        """(N,) int64 frames of features of each chunk, as delivered."""
        chunks = self._table.at(np.arange(len(self._table)))
        return self._num_delivered(chunks)

    def get_order_lengths(self) -> NDArray[np.int64]:
        """The same, for orders by length."""
        return self.get_lengths()

    def get_chunks(self, seqs: Sequence[int] | NDArray[np.int64]) -> Chunks:
        """Corpus index, first frame and end of some chunks."""
        return self._table.at(np.asarray(seqs, np.int64))

    def _num_delivered(self, chunks: Chunks) -> NDArray[np.int64]:
        frames = chunks.stops - chunks.starts + self._left + self._right
        return -(-frames // self._splice.stride)

    # ---- data

    def read_batch(
        self,
        seqs: Sequence[int] | NDArray[np.int64],
        keys: Sequence[str] | None = None,
        *,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> PaddedArrays:
        """A padded batch of chunks.

        Args:
            seqs: B chunks by number.
            keys, pad, num_threads, buffers: as for `SprintCacheDataset.read_batch`.

        Returns:
            as `SprintCacheDataset.read_batch`.

        Raises:
            IndexError: if there is no such chunk.
            FormatError, LabelError, ArchiveChangedError: as for `SprintCacheDataset.read_batch`.
        """
        chunks = self.get_chunks(seqs)
        batch: PaddedArrays = {}
        for key in self.data if keys is None else keys:
            starts, stops = self._ranges(key, chunks)
            read = self.dataset.read_ranges(
                key, chunks.seqs, starts, stops, pad=pad, num_threads=num_threads, buffers=buffers
            )
            for name, arrays in read.items():
                batch[name] = arrays.values, arrays.lengths
            if key == "data":
                batch[key] = self._with_context(chunks, starts, batch[key][0], buffers)
        return batch

    def _ranges(
        self, key: str, chunks: Chunks
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """The ranges to read of a key."""
        if key == "data":
            left, right = self._left + self._splice.left, self._right + self._splice.right
            return np.maximum(chunks.starts - left, 0), chunks.stops + right
        if self.data[key].stream.is_frame_target:
            return chunks.starts // self._factor, -(-chunks.stops // self._factor)
        if self.data[key].type == "feat":
            return chunks.starts, chunks.stops
        return None, None

    def _with_context(
        self,
        chunks: Chunks,
        starts: NDArray[np.int64] | None,
        read: NDArray[np.float32],
        buffers: BatchBuffers | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features with zeros beyond the ends of sequences, spliced."""
        left, right = self._left + self._splice.left, self._right + self._splice.right
        own = chunks.stops - chunks.starts
        lengths = self._num_delivered(chunks)
        if left == right == 0 and self._splice.stride == 1:
            return read, lengths
        missing = np.maximum(left - chunks.starts, 0)
        num_seqs, _, dim = read.shape
        memory = BatchBuffers() if buffers is None else buffers
        width = int(own.max(initial=0)) + left + right
        frames = memory.take("data, context", (num_seqs, width, dim), np.float32)
        counts = self.dataset.shared_lengths()[chunks.seqs]
        counts = np.minimum(chunks.stops + right, counts) - np.maximum(chunks.starts - left, 0)
        for target, row, first, count in zip(
            frames, read, missing.tolist(), counts.tolist(), strict=True
        ):
            target[:first] = 0
            target[first : first + count] = row[:count]
            target[first + count :] = 0
        out = frames
        if self._splice != NO_SPLICE:
            # the frames beyond the context are neighbors only
            joined = spliced(frames, self._splice._replace(stride=1))
            end = width - self._splice.right
            out = np.ascontiguousarray(joined[:, self._splice.left : end : self._splice.stride])
        out[np.arange(out.shape[1]) >= lengths[:, None]] = 0
        return out, lengths
