"""SprintCacheDataset: archives, and what belongs to them, as the data of a training.

Ownership. A dataset owns one `SprintCacheReader`, and so one file, for each data key, and a
`Corpus` with arrays of at most one number per sequence. `read_batch` changes nothing and may be
called from any number of threads, each with separate `BatchBuffers`; the methods of an epoch,
from `init_seq_order` to `get_targets`, belong to one thread. A dataset survives ``fork``. Pickled,
it keeps its options and which sequences were left out; archives are opened again, and lengths and
order, which follow from these, are computed again where they are needed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._dataset.buffers import BatchBuffers
from ._dataset.corpus import Corpus, Mismatch, Missing
from ._dataset.reader import SprintCacheReader as _Reader
from ._dataset.reader import reduce_targets
from ._dataset.selection import DatasetReport, Limit, Selection
from ._dataset.sequences import SequenceReader
from ._dataset.streams.base import FrameArrays
from .dataset_base import Dataset, DatasetSeq, read_seq_lengths
from .ordering import check_epoch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._path_map import PathMap
    from .label_rates import Frame

__all__ = ["BatchBuffers", "DatasetReport", "FrameArrays", "SprintCacheDataset"]

logger = logging.getLogger(__name__)


class SprintCacheDataset(SequenceReader, Dataset):
    """Sequences of several data keys, each key from one archive or other file.

    The corpus is the segments of "data" (without it: of the first key), in the order of that
    file; a *corpus index* counts them.

    Attributes:
        data: dict of data key to its `SprintCacheReader`.
    """

    SprintCacheReader = _Reader

    def __init__(
        self,
        data: Mapping[str, Mapping[str, Any]],
        *,
        missing: Missing = "error",
        length_mismatch: Mismatch = "error",
        trim_tolerance: int | None = 10,
        reduce_target_factor: int = 1,
        reduce_target_frame: Frame | None = None,
        min_seq_length: Limit = 1,
        max_seq_length: Limit | None = None,
        path_map: PathMap | None = None,
        **kwargs: Any,
    ) -> None:
        """Opens the archives and compares their segments.

        Args:
            data: data key to the arguments of `SprintCacheReader`, such as
                ``{"data": {"filename": "features.bundle"}, "classes": {"filename": ...,
                "allophone_labeling": {...}}}``.
            missing: what to do with segments that not every key has: "error", or "skip" them.
            length_mismatch: what to do if a target does not have one frame per (reduced) frame of
                "data": "error" when the sequence is read; "trim" both to what they share; "skip"
                such sequences, which measures all lengths now. `report` counts them.
            trim_tolerance: most frames of "data" by which "trim" accepts a difference; more are
                an error. None: any number.
            reduce_target_factor: targets have one frame for that many frames of "data", the last
                one perhaps for less.
            reduce_target_frame: which label of these frames targets have, whose archives have one
                for each frame: "first", "middle" or "majority", see `label_rates.LabelRate`. None:
                the archives have labels at the lower rate.
            min_seq_length, max_seq_length: shortest and longest sequence that is used, in frames
                (or audio samples) of "data"; or a dict of data key to frames. Other sequences are
                left out of the order after parts and shards are cut. By default sequences without
                frames are left out; 0 keeps them.
            path_map: for all archives, see `open_archive`.
            **kwargs: see `Dataset`: window, seq_ordering, partition_epoch, repeat_epoch,
                fixed_random_seed, random_seed_offset, seq_list_filter_file, num_shards,
                shard_index, name, and the others.

        Raises:
            EntryNotFoundError: if the keys have different segments, or none in common.
            ValueError: if an option is out of range, or filter and limits leave no sequence.
            LabelError: if ``length_mismatch="skip"`` leaves no sequence.
            FormatError, OSError: if a file cannot be read.
        """
        Dataset.__init__(self, **kwargs)
        if not data:
            raise ValueError("data: no data key")
        self.data: dict[str, _Reader] = {}
        for key, options in data.items():
            if not isinstance(options, Mapping) or "filename" not in options:
                raise TypeError(f"{key}: expected a dict with 'filename', found {options!r}")
            options = {"path_map": path_map, **options}
            self.data[key] = self.SprintCacheReader(data_key=key, **options)
        streams = {key: reader.stream for key, reader in self.data.items()}
        if reduce_target_frame is not None:
            reduce_targets(streams, reduce_target_factor, reduce_target_frame)
        corpus = Corpus(streams, missing, length_mismatch, reduce_target_factor, trim_tolerance)
        SequenceReader.__init__(self, streams, corpus)
        self._selection = Selection(
            self._corpus, self.seq_list_filter_file, min_seq_length, max_seq_length
        )
        self._order_lengths: NDArray[Any] | None = None
        self._order: NDArray[np.int64] | None = None
        self._begun: tuple[list[str] | None, list[int] | None] = (None, None)
        self._loaded: dict[int, DatasetSeq] = {}
        for key, output in self._outputs.items():
            self.num_outputs[key] = output.dim, output.num_axes
            if output.labels is not None:
                self.labels[key] = list(output.labels)
        if "data" in self.data and self.data["data"].type == "feat":
            self.num_inputs = self.data["data"].num_labels
            self.num_outputs["data"] = self.num_inputs * self.window, 2
        elif "data" in self.data and self.data["data"].type == "audio" and self.window == 1:
            self.num_inputs = 1
        elif self.window > 1:
            raise ValueError("a window needs features under the data key 'data'")

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_order": None,
            "_order_lengths": None,
            "_shared": None,
            "_loaded": {},
        }

    # ---- the corpus

    @property
    def chosen(self) -> NDArray[np.bool_] | None:
        """(N,) whether each sequence, by corpus index, passes filter and limits, or None if all do.

        Raises:
            ValueError: if none does.
        """
        return self._selection.mask()

    def get_order_lengths(self) -> NDArray[Any]:
        """(N,) lengths that orders by length use, by corpus index.

        The frames of "data" (without it: of the first key). Where "data" is alignments, the bytes
        of its entries, as in RETURNN. With ``seq_order_seq_lens_file``: the lengths of the file.
        """
        if self._order_lengths is None:
            if self.seq_order_seq_lens_file is None:
                self._order_lengths = self._corpus.order_lengths()
            else:
                path = self.seq_order_seq_lens_file
                self._order_lengths = read_seq_lengths(path, self._corpus.tags)
        return self._order_lengths

    def report(self) -> DatasetReport:
        """Counts what is left out or does not match; measures all lengths."""
        return self._selection.report()

    def have_corpus_seq_idx(self) -> bool:
        """Whether sequences have a corpus index (`get_corpus_seq_idx`): True."""
        return True

    def get_corpus_seq_idx(self, seq_idx: int) -> int:
        """The corpus index of a sequence of this epoch.

        Raises:
            IndexError: if this epoch has no such sequence, or none has begun.
        """
        order = self.get_current_seq_order()
        if not 0 <= seq_idx < len(order):
            has_begun = self.epoch is not None or self._begun != (None, None)
            hint = "" if has_begun else "; init_seq_order(epoch=1) begins an epoch"
            raise IndexError(f"sequence {seq_idx} of {len(order)}{hint}")
        return int(order[seq_idx])

    def have_get_corpus_seq(self) -> bool:
        """Whether `get_corpus_seq` can be used: True."""
        return True

    def get_corpus_seq(self, corpus_seq_idx: int) -> DatasetSeq:
        """All data of a sequence, by corpus index.

        Raises:
            IndexError: if there is no such sequence.
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        return self._read(corpus_seq_idx, -1)

    # ---- the epoch

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        *,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1 (or 0, see `ordering`); None: no sequences, unless there is a
                list.
            seq_list: the tags of exactly the sequences to deliver, in this order.
            seq_order: the same by corpus index.

        Returns:
            whether the order changed.

        Raises:
            EntryNotFoundError: if a tag of `seq_list` is not in the corpus.
            IndexError: if an index of `seq_order` is not in the corpus.
            ValueError: if `epoch` is negative, or filter and limits leave no sequence.
        """
        begun = (
            None if seq_list is None else list(seq_list),
            None if seq_order is None else [int(index) for index in seq_order],
        )
        epoch = None if epoch is None else check_epoch(epoch)
        if self._order is not None and (epoch, begun) == (self.epoch, self._begun):
            return False
        order = self._make_order(epoch, *begun)
        self.epoch, self._begun, self._order, self._loaded = epoch, begun, order, {}
        return True

    def _make_order(
        self, epoch: int | None, seq_list: list[str] | None, seq_order: list[int] | None
    ) -> NDArray[np.int64]:
        given = seq_order if seq_list is None else seq_list
        if given is not None:
            return self._corpus.indices(given)
        if epoch is None:
            return np.zeros(0, np.int64)
        lengths = self.get_order_lengths() if self.ordering.needs_lengths else None
        order = self.ordering.order(epoch, len(self._corpus), lengths)
        chosen = self.chosen
        order = order if chosen is None else order[chosen[order]]
        if not len(order):
            logger.warning("%s: epoch %d has no sequence", self, epoch)
        return order

    def finish_epoch(self, *, free_resources: bool = False) -> None:
        """Ends the epoch: drops its order and what is loaded."""
        self.init_seq_order(None)

    def set_sharding(self, *, num_shards: int, shard_index: int) -> None:
        """Selects a shard from the next epoch on; see `ordering.Ordering`.

        Raises:
            ValueError: if `shard_index` is out of range.
        """
        super().set_sharding(num_shards=num_shards, shard_index=shard_index)
        self._order = None

    def get_current_seq_order(self) -> NDArray[np.int64]:
        """(num_seqs,) int64 corpus indices of this epoch."""
        if self._order is None:
            self._order = self._make_order(self.epoch, *self._begun)
        return self._order

    @property
    def num_seqs(self) -> int:
        """Number of sequences in this epoch; 0 before the first one."""
        return len(self.get_current_seq_order())

    def have_seqs(self) -> bool:
        """Whether there is any sequence."""
        return len(self._corpus) > 0

    def get_num_timesteps(self) -> dict[str, int]:
        """Data key to the number of frames of this epoch; measures all lengths."""
        order = self.get_current_seq_order()
        frames = {key: self._corpus.lengths(key)[order] for key in self.data}
        return {key: int(n.sum()) for key, n in self._corpus.agreed(frames, order).items()}

    # ---- sequences

    def load_seqs(self, start: int, end: int) -> None:
        """Reads sequences `start` to `end` (exclusive, may be beyond the last one).

        Drops other sequences; does not read a loaded one again.

        Raises:
            ValueError: if `start` to `end` is not a range.
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        if not 0 <= start <= end:
            raise ValueError(f"not a range of sequences: {start} to {end}")
        loaded = self._loaded
        self._loaded = {
            i: loaded.get(i) or self._read(self.get_corpus_seq_idx(i), i)
            for i in range(start, min(end, self.num_seqs))
        }

    def is_cached(self, start: int, end: int) -> bool:
        """Whether sequences `start` to `end` (exclusive) are loaded."""
        return all(i in self._loaded for i in range(start, end))

    def get_tag(self, sorted_seq_idx: int) -> str:
        """The tag of a sequence.

        Raises:
            IndexError: if this epoch has no such sequence, or none has begun.
        """
        return self._corpus.tags[self.get_corpus_seq_idx(sorted_seq_idx)]

    def get_seq_length(self, sorted_seq_idx: int) -> dict[str, int]:
        """Data key to the length of a sequence; decodes only audio and sparse soft targets."""
        if sorted_seq_idx in self._loaded or self.data.keys() != self.num_outputs.keys():
            return self._seq(sorted_seq_idx).num_frames
        index = self.get_corpus_seq_idx(sorted_seq_idx)
        indices = np.array([index])
        frames = {
            key: stream.num_frames(self._corpus.numbers(key, indices))
            for key, stream in self._streams.items()
        }
        agreed = self._corpus.agreed(frames, indices)
        return {key: int(n[0]) for key, n in agreed.items()}

    def get_estimated_seq_length(self, seq_idx: int) -> int:
        """Frames of a sequence of this epoch, as stored, that need not be loaded."""
        return int(self._corpus.lengths()[self.get_corpus_seq_idx(seq_idx)])

    def get_data(self, seq_idx: int, key: str) -> NDArray[Any]:
        """Features (T, D) float32, labels (T,) int32, audio (N,), or soft targets of a sequence.

        Reads a sequence that `load_seqs` has not loaded, and drops the others.

        Raises:
            IndexError: if this epoch has no such sequence.
            KeyError: if there is no such data key.
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        features = self._seq(seq_idx).features
        if key not in features:
            raise KeyError(f"no data key {key!r}; known: {', '.join(map(repr, features))}")
        return features[key]

    def _seq(self, seq_idx: int) -> DatasetSeq:
        if seq_idx not in self._loaded:
            self.get_corpus_seq_idx(seq_idx)
            self.load_seqs(seq_idx, seq_idx + 1)
        return self._loaded[seq_idx]

    def get_dataset_seq_for_name(self, name: str, seq_idx: int = -1) -> DatasetSeq:
        """All data of one sequence, by its tag.

        Raises:
            EntryNotFoundError: if there is no such sequence.
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        return self._read(int(self._corpus.indices([name])[0]), seq_idx)

    def _read(self, index: int, seq_idx: int) -> DatasetSeq:
        """A sequence by corpus index."""
        batch = self.read_batch([index])
        data = {key: array[0, : lengths[0]] for key, (array, lengths) in batch.items()}
        return DatasetSeq(seq_idx, self._corpus.tags[index], data)

    # ---- keys

    def get_target_list(self) -> list[str]:
        """The data keys of alignments, texts and automata, except "data", always an input."""
        return [
            output
            for key, stream in self._streams.items()
            if stream.type in ("align", "text", "automaton") and key != "data"
            for output in stream.outputs
        ]

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return self._outputs[key].is_sparse

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype."""
        return self._outputs[key].dtype
