"""MapDataset: the sequences of a `SprintCacheDataset` for a DataLoader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from sprintcache._checks import require_attribute
from sprintcache._packing import Packing, packed_layouts
from sprintcache.sampling import BatchSeqs

from .batch import Batch, Item, PackedBatch, PaddedTensors, pool_of_worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.dataset import BatchBuffers, SprintCacheDataset
    from sprintcache.sampling import State

__all__ = ["MapDataset"]


class MapDataset(Dataset[Item]):  # type: ignore[misc]
    """Sequences by corpus index, one by one or, as DataLoaders prefer, in batches.

    It has no position and no state, so any number of workers can use it. Forked workers share the
    tables of the archives with their parent; spawned ones open the archives again. In a worker,
    batches are decoded directly into the memory that the training reads, see `memory`.
    """

    def __init__(
        self,
        dataset: SprintCacheDataset,
        keys: Sequence[str] | None = None,
        *,
        pad: int = -1,
        num_threads: int = 1,
        packed: Packing = False,
    ) -> None:
        """Wraps a dataset; its epochs have no effect here.

        Args:
            dataset: the sequences.
            keys: data keys to read; None: all.
            pad: value beyond the end of labels.
            num_threads: threads that decode a batch, in each worker.
            packed: batches are `PackedBatch` instead of `Batch`. True: without gaps. Or gap and
                alignment, as for `SprintCacheDataset.read_packed`.

        Raises:
            ValueError: if `dataset` has no such key, or `packed` is not valid.
            TypeError: if it is not a dataset of archives.
        """
        require_attribute(dataset, "read_batch", "a SprintCacheDataset")
        for key in keys or ():
            if key not in dataset.data:
                raise ValueError(f"no data key {key!r} among {', '.join(dataset.data)}")
        self.dataset = dataset
        self.keys = keys
        self.pad = pad
        self.num_threads = num_threads
        self.packed = packed
        if packed or isinstance(packed, Mapping):
            require_attribute(dataset, "read_packed", "a dataset that reads packed batches")
            packed_layouts(packed, dataset.data if keys is None else keys)  # checks it

    def __len__(self) -> int:
        """Number of sequences in the corpus."""
        return self.dataset.get_total_num_seqs()

    def __getitem__(self, seq: int) -> Item:
        """One sequence.

        Raises:
            IndexError: if there is no such sequence.
            SprintCacheError: see `SprintCacheDataset.read_batch`.
        """
        batch = self.dataset.read_batch([seq], self.keys, pad=self.pad)
        data = {key: array[0, : lengths[0]] for key, (array, lengths) in batch.items()}
        tag = self.dataset.get_all_tags()[seq]
        return Item({key: torch.from_numpy(array) for key, array in data.items()}, tag)

    def __getitems__(self, seqs: Sequence[int]) -> Batch | PackedBatch:
        """A padded or packed batch, by one call into the compiled reader for each data key.

        Raises:
            IndexError: if there is no such sequence.
            SprintCacheError: see `SprintCacheDataset.read_batch`.
        """
        return self.read(seqs, pool_of_worker())

    def read(self, seqs: Sequence[int], buffers: BatchBuffers | None = None) -> Batch | PackedBatch:
        """A padded or packed batch in memory of the caller's choice; safe for threads if that is.

        Args:
            seqs: sequences by corpus index; those of a `BatchSampler` carry the batch's state.
            buffers: memory to read into; None: new arrays.

        Raises:
            IndexError, SprintCacheError: as for `__getitems__`.
        """
        numbers = np.array(seqs, np.int64)
        state = seqs.state if isinstance(seqs, BatchSeqs) else None
        tags = self.dataset.get_tags(numbers)
        if self.packed or isinstance(self.packed, Mapping):
            return self._read_packed(numbers, buffers, tags, state)
        read = self.dataset.read_batch(
            numbers, self.keys, pad=self.pad, num_threads=self.num_threads, buffers=buffers
        )
        data = PaddedTensors({key: torch.from_numpy(array) for key, (array, _) in read.items()})
        lengths = {key: torch.from_numpy(sizes) for key, (_, sizes) in read.items()}
        return Batch(data, lengths, tags, state)

    def _read_packed(
        self,
        numbers: NDArray[np.int64],
        buffers: BatchBuffers | None,
        tags: list[str],
        state: State | None,
    ) -> PackedBatch:
        read = self.dataset.read_packed(
            numbers,
            self.keys,
            packing=self.packed,
            pad=self.pad,
            num_threads=self.num_threads,
            buffers=buffers,
        )
        return PackedBatch(
            PaddedTensors({key: torch.from_numpy(arrays.values) for key, arrays in read.items()}),
            {
                key: torch.from_numpy(arrays.offsets.astype(np.int32))
                for key, arrays in read.items()
                if arrays.offsets is not None
            },
            {key: torch.from_numpy(arrays.lengths) for key, arrays in read.items()},
            tags,
            state,
        )
