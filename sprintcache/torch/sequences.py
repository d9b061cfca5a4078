"""SequenceStream: batches of a dataset that only knows what comes next, in its own order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import IterableDataset, get_worker_info

from .batch import Batch, Item, collate

if TYPE_CHECKING:
    from sprintcache.dataset_base import Dataset

__all__ = ["SequenceStream"]


class SequenceStream(IterableDataset[Batch]):  # type: ignore[misc]
    """An epoch of sequences as batches, for ``DataLoader(stream, batch_size=None)``.

    It is for data that Sprint extracts (`sprint_ctl.dataset.ExternSprintDataset`); archives have
    `MapDataset`, which can be resumed anywhere. Ranks and workers each take a shard of the dataset
    (``num_shards``), so every worker starts a Sprint of its own; ranks may get different numbers of
    batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        keys: Sequence[str] | None = None,
        *,
        max_frames: int | None = None,
        max_seqs: int | None = None,
        pad: int = -1,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Takes what delivers.

        Args:
            dataset: the sequences, with their order; not sharded itself.
            keys: data keys to take; None: all that a sequence has.
            max_frames: the most frames of the first key that a batch occupies once padded; a
                sequence that is longer alone is a batch of its own.
            max_seqs: the most sequences of a batch.
            pad: what stands beyond the end of labels.
            rank, num_ranks: of this process among those that train together.

        Raises:
            ValueError: no limit, one below 1, or a rank that is none.
        """
        limits = [limit for limit in (max_frames, max_seqs) if limit is not None]
        if not limits or min(limits) < 1:
            raise ValueError(f"max_frames {max_frames}, max_seqs {max_seqs}: expected one above 0")
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank {rank} of {num_ranks}")
        if dataset.ordering.num_shards != 1:
            raise ValueError("the dataset is sharded already: give rank and num_ranks instead")
        self.dataset = dataset
        self.keys = keys
        self.max_frames = max_frames
        self.max_seqs = max_seqs
        self.pad = pad
        self.rank = rank
        self.num_ranks = num_ranks
        self._epoch = torch.ones(1, dtype=torch.int64).share_memory_()  # workers see it change

    def set_epoch(self, epoch: int) -> None:
        """Has the next iteration deliver this epoch, also in workers that exist already.

        Raises:
            ValueError: if `epoch` is below 1.
        """
        self.dataset.ordering.seed(epoch)  # checks it
        self._epoch[0] = epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        self.dataset.ordering = dataclasses.replace(
            self.dataset.ordering,
            num_shards=self.num_ranks * count,
            shard_index=self.rank * count + number,
        )
        self.dataset.init_seq_order(epoch=int(self._epoch[0]))
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        items: list[Item] = []
        longest = 0
        for item in self._items():
            longest = max(longest, len(next(iter(item.data.values()))))
            if items and self._is_over(len(items) + 1, longest):
                yield collate(items, self.pad)
                items, longest = [], len(next(iter(item.data.values())))
            items.append(item)
        if items:
            yield collate(items, self.pad)

    def _is_over(self, num_seqs: int, longest: int) -> bool:
        frames = self.max_frames is not None and num_seqs * longest > self.max_frames
        return frames or (self.max_seqs is not None and num_seqs > self.max_seqs)

    def _items(self) -> Iterator[Item]:
        dataset, index = self.dataset, 0
        while dataset.is_less_than_num_seqs(index):
            dataset.load_seqs(index, index + 1)
            keys = dataset.get_data_keys() if self.keys is None else self.keys
            # "data" first: it measures the batch
            arrays = {k: dataset.get_data(index, k) for k in sorted(keys, key="data".__ne__)}
            data = {key: torch.from_numpy(array) for key, array in arrays.items()}
            yield Item(data, dataset.get_tag(index))
            index += 1
