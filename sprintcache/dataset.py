"""SprintCacheDataset: archives as the backend of a training.

Who owns what. A dataset owns one `SprintCacheReader`, and so one archive, for each data key, and a
`Corpus` with arrays of one number per sequence at most. `read_batch` changes nothing and may be
called from any number of threads, each with `BatchBuffers` of its own; the methods of an epoch,
from `init_seq_order` to `get_targets`, belong to one thread. A dataset goes over ``fork`` as it is.
Over ``pickle`` go its options and what was left out of the corpus; archives are opened again, and
lengths and order, which follow from these, are made anew where they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._checks import check_arguments
from ._dataset.corpus import Corpus, Mismatch, Missing
from ._dataset.name_lookup import contained
from ._dataset.reader import Batch, BatchBuffers
from ._dataset.reader import SprintCacheReader as _Reader
from .dataset_base import Dataset, DatasetSeq, read_seq_list

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchBuffers", "DatasetReport", "SprintCacheDataset"]


class DatasetReport(NamedTuple):
    """What a dataset has, and what it leaves out.

    Attributes:
        num_seqs: sequences in the corpus, those included that the filter leaves out.
        missing: data key to the segments of its archive that another key lacks.
        mismatched: target key to the sequences whose length does not match the features; with
            ``length_mismatch="skip"`` they are not in the corpus, else they are.
        filtered: sequences of the corpus that `seq_list_filter_file` leaves out.
    """

    num_seqs: int
    missing: dict[str, int]
    mismatched: dict[str, int]
    filtered: int


class SprintCacheDataset(Dataset):
    """Sequences of several data keys, each key from its own archive, bundle or directory.

    The corpus is the segments of "data" (without it: of the first key), in the order of the
    archive; a *corpus index* is a place in it.

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
        reduce_target_factor: int = 1,
        **kwargs: Any,
    ) -> None:
        """Opens the archives and compares their segments.

        Args:
            data: data key to the arguments of `SprintCacheReader`, such as
                ``{"data": {"filename": "features.bundle"}, "classes": {"filename": ...,
                "allophone_labeling": {...}}}``.
            missing: what to do with segments that not every key has: "error", or "skip" them.
            length_mismatch: what to do where a target has not one frame per (reduced) frame of
                "data": "error" when the sequence is read; "trim" both to what they share; "skip"
                such sequences, which measures all lengths now. `report` counts them.
            reduce_target_factor: targets have one frame for that many frames of "data", the last
                one perhaps for less.
            **kwargs: see `Dataset`: window, seq_ordering, partition_epoch, repeat_epoch,
                fixed_random_seed, random_seed_offset, seq_list_filter_file, num_shards,
                shard_index, name.

        Raises:
            EntryNotFoundError: if the keys have different segments, or none in common.
            ValueError: if an option is out of range, or no tag of the filter is in the corpus.
            FormatError, OSError: if a file cannot be read.
        """
        super().__init__(**kwargs)
        if not data:
            raise ValueError("data: no data key")
        self.data: dict[str, _Reader] = {}
        for key, options in data.items():
            if not isinstance(options, Mapping) or "filename" not in options:
                raise TypeError(f"{key}: expected a dict with 'filename', found {options!r}")
            check_arguments(key, self.SprintCacheReader, data_key=key, **options)
            self.data[key] = self.SprintCacheReader(data_key=key, **options)
        self._corpus = Corpus(self.data, missing, length_mismatch, reduce_target_factor)
        self._chosen = self._filtered()
        self._order: NDArray[np.int64] | None = None
        self._seq_list: list[str] | None = None
        self._loaded: dict[int, DatasetSeq] = {}
        for reader in self.data.values():
            self.num_outputs.update(reader.outputs)
        if "data" in self.data and self.data["data"].type == "feat":
            self.num_inputs = self.data["data"].num_labels
            self.num_outputs["data"] = self.num_inputs * self.window, 2
        elif self.window > 1:
            raise ValueError("a window needs features under the data key 'data'")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_order": None, "_loaded": {}}

    def _filtered(self) -> NDArray[np.bool_] | None:
        """(N,) whether the filter has each sequence of the corpus; None without a filter."""
        path = self.seq_list_filter_file
        if path is None:
            return None
        wanted = set(read_seq_list(path))
        chosen = contained(self._corpus.tags, wanted)
        if not chosen.any():
            example = f", such as {min(wanted)!r}" if wanted else ""
            raise ValueError(f"{path}: none of its {len(wanted)} tags{example}, is in the corpus")
        return chosen

    def close(self) -> None:
        """Closes the archives."""
        for reader in self.data.values():
            reader.archive.close()

    # ---- the corpus

    def get_all_tags(self) -> Sequence[str]:
        """The tags of the corpus, by corpus index, as a sequence that decodes on demand."""
        return self._corpus.tags

    def get_total_num_seqs(self) -> int:
        """Number of sequences in the corpus."""
        return len(self._corpus)

    @property
    def chosen(self) -> NDArray[np.bool_] | None:
        """(N,) whether the filter has each sequence, by corpus index; None without a filter."""
        return self._chosen

    def get_lengths(self, key: str | None = None) -> NDArray[np.int64]:
        """Frames of all sequences, without decoding where possible; measured once, then kept.

        Args:
            key: the data key; None: "data", or the first one.

        Returns:
            (N,) int64 by corpus index: what stands in the archive of that key, before trimming.
        """
        return self._corpus.lengths(key)

    def report(self) -> DatasetReport:
        """Counts what is left out or does not match; measures all lengths."""
        filtered = 0 if self._chosen is None else int(np.sum(~self._chosen))
        return DatasetReport(
            len(self._corpus), self._corpus.dropped, self._corpus.mismatched(), filtered
        )

    # ---- the epoch

    def init_seq_order(
        self, epoch: int | None = None, seq_list: Sequence[str] | None = None
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1; None: no sequences, unless there is a `seq_list`.
            seq_list: the tags of exactly the sequences to give, in this order.

        Returns:
            whether the order changed.

        Raises:
            EntryNotFoundError: if a tag of `seq_list` is not in the corpus.
            ValueError: if `epoch` is below 1.
        """
        wanted = None if seq_list is None else list(seq_list)
        if self._order is not None and (epoch, wanted) == (self.epoch, self._seq_list):
            return False
        order = self._make_order(epoch, wanted)
        self.epoch, self._seq_list, self._order, self._loaded = epoch, wanted, order, {}
        return True

    def _make_order(self, epoch: int | None, seq_list: list[str] | None) -> NDArray[np.int64]:
        if seq_list is not None:
            return self._corpus.indices(seq_list)
        if epoch is None:
            return np.zeros(0, np.int64)
        lengths = self._corpus.lengths() if self.ordering.needs_lengths else None
        order = self.ordering.order(epoch, len(self._corpus), lengths)
        return order if self._chosen is None else order[self._chosen[order]]

    def get_current_seq_order(self) -> NDArray[np.int64]:
        """(num_seqs,) int64 corpus indices of this epoch."""
        if self._order is None:
            self._order = self._make_order(self.epoch, self._seq_list)
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
        return {key: int(n.sum()) for key, n in self._corpus.agreed(frames, self.get_tag).items()}

    # ---- sequences

    def load_seqs(self, start: int, end: int) -> None:
        """Reads sequences `start` to `end` (exclusive, may lie behind the last one).

        Other sequences are forgotten; what is loaded already is not read again.

        Raises:
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        if not 0 <= start <= end:
            raise ValueError(f"not a range of sequences: {start} to {end}")
        loaded = self._loaded
        self._loaded = {
            i: loaded.get(i) or self.get_dataset_seq_for_name(self.get_tag(i), i)
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
        order = self.get_current_seq_order()
        if not 0 <= sorted_seq_idx < len(order):
            begun = self.epoch is not None or self._seq_list is not None
            hint = "" if begun else "; init_seq_order(epoch=1) begins an epoch"
            raise IndexError(f"sequence {sorted_seq_idx} of {len(order)}{hint}")
        return self._corpus.tags[int(order[sorted_seq_idx])]

    def get_seq_length(self, sorted_seq_idx: int) -> dict[str, int]:
        """Data key to the length of a sequence; decodes only sparse soft targets."""
        if sorted_seq_idx in self._loaded or self.data.keys() != self.num_outputs.keys():
            return self._seq(sorted_seq_idx).num_frames
        tag = self.get_tag(sorted_seq_idx)
        frames = {k: np.array([r.archive.num_frames(tag)]) for k, r in self.data.items()}
        return {key: int(n[0]) for key, n in self._corpus.agreed(frames, lambda _: tag).items()}

    def get_data(self, seq_idx: int, key: str) -> NDArray[Any]:
        """Features (T, D) float32, labels (T,) int32, or soft targets of a sequence.

        A sequence that `load_seqs` has not read is read now, and the others are forgotten.

        Raises:
            IndexError: if this epoch has no such sequence.
            KeyError: if there is no such data key.
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        features = self._seq(seq_idx).features
        if key not in features:
            raise KeyError(f"no data key {key!r}; there are {', '.join(map(repr, features))}")
        return features[key]

    def _seq(self, seq_idx: int) -> DatasetSeq:
        if seq_idx not in self._loaded:
            self.get_tag(seq_idx)
            self.load_seqs(seq_idx, seq_idx + 1)
        return self._loaded[seq_idx]

    def get_dataset_seq_for_name(self, name: str, seq_idx: int = -1) -> DatasetSeq:
        """All data of one sequence, by its tag.

        Raises:
            EntryNotFoundError: if an archive has no such entry.
            FormatError, LabelError, ArchiveChangedError: see `read_batch`.
        """
        batch = self.read_batch([name])
        data = {key: array[0, : lengths[0]] for key, (array, lengths) in batch.items()}
        return DatasetSeq(seq_idx, name, data)

    def read_batch(
        self,
        seqs: Sequence[int] | Sequence[str] | NDArray[np.int64],
        keys: Sequence[str] | None = None,
        *,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> Batch:
        """A padded batch of each data key, by one copy from the page cache.

        Args:
            seqs: B sequences, by corpus index (not their place in an epoch) or by tag.
            keys: data keys to read (of `data`); None: all. Lengths are compared, and trimmed,
                among these.
            pad: what stands beyond the end of labels; beyond features stand zeros.
            num_threads: threads to decode with, this one included.
            buffers: memory to read into; the arrays are then overwritten by the next batch that is
                read into it. None: new arrays.

        Returns:
            dict of data key to (array, lengths): features (B, Tmax, D) float32, labels (B, Tmax)
            int32, soft targets as `SprintCacheReader` says; the lengths are (B,) int64.

        Raises:
            EntryNotFoundError: if an archive has no such entry.
            FormatError, LabelError: if an entry is damaged, cannot be turned into labels, or if
                lengths do not match.
            ArchiveChangedError: if a file was changed after opening.
            IndexError: if there is no such corpus index.
        """
        names = self._names(seqs)
        readers = self.data if keys is None else {key: self.data[key] for key in keys}
        fetched, frames = {}, {}
        reference, longest = self._corpus.reference, self._corpus.longest(seqs)
        for key in sorted(readers, key=reference.__ne__):
            fetched[key], frames[key] = readers[key].fetch(
                names,
                expected=self._corpus.guess(key, longest),
                pad=pad,
                num_threads=num_threads,
                buffers=buffers,
            )
            if key == reference:
                longest = int(frames[key].max(initial=0))
        agreed = self._corpus.agreed(frames, names.__getitem__)
        batch: Batch = {}
        for key, reader in readers.items():
            arrays = reader.arrays(names, fetched[key], agreed[key], pad=pad, buffers=buffers)
            batch.update(arrays)
        if self.window > 1 and "data" in batch:
            batch["data"] = _windowed(*batch["data"], self.window, buffers), batch["data"][1]
        return batch

    def _names(self, seqs: Sequence[int] | Sequence[str] | NDArray[np.int64]) -> list[str]:
        if isinstance(seqs, (str, bytes)):
            raise TypeError("seqs must be several sequences, not one")
        if len(seqs) and isinstance(seqs[0], str):
            return list(seqs)
        return self._corpus.tags.at(seqs)  # type: ignore[arg-type]

    # ---- keys

    def get_target_list(self) -> list[str]:
        """The data keys of alignments."""
        return [k for r in self.data.values() if r.type == "align" for k in r.outputs]

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return super().is_data_sparse(key) and not key.endswith("[sparse:coo:2:2]")


def _windowed(
    batch: NDArray[np.float32],
    lengths: NDArray[np.int64],
    window: int,
    buffers: BatchBuffers | None,
) -> NDArray[np.float32]:
    """`sliding_window` of a padded batch: (B, Tmax, D) to (B, Tmax, window * D)."""
    num_seqs, longest, dim = batch.shape
    shape = num_seqs, longest, window, dim
    memory = BatchBuffers() if buffers is None else buffers
    out = memory.take("data, window", shape, np.float32)
    for place in range(window):
        shift = place - window // 2
        count, to, source = max(longest - abs(shift), 0), max(-shift, 0), max(shift, 0)
        out[:, :to, place] = 0
        out[:, to : to + count, place] = batch[:, source : source + count]
        out[:, to + count :, place] = 0
    out[np.arange(longest) >= lengths[:, None]] = 0
    return out.reshape(num_seqs, longest, window * dim)
