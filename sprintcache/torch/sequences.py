"""SequenceStream: batches of a dataset that delivers sequences one after another."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import IterableDataset, get_worker_info

from sprintcache.ordering import check_epoch

from .batch import Batch, Item, collate

if TYPE_CHECKING:
    from sprintcache.dataset_base import Dataset

__all__ = ["SequenceStream"]

logger = logging.getLogger(__name__)


class SequenceStream(IterableDataset[Batch]):  # type: ignore[misc]
    """An epoch of sequences as batches, for ``DataLoader(stream, batch_size=None)``.

    For data that Sprint extracts (`sprint_ctl.dataset.ExternSprintDataset`); archives have
    `MapDataset`, which can be resumed anywhere. Ranks and workers each take a shard of the dataset
    (``num_shards``), so every worker starts a separate Sprint; ranks may get different numbers of
    batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        keys: Sequence[str] | None = None,
        *,
        max_frames: int | None = None,
        max_seqs: int | None = None,
        min_seq_length: int = 1,
        max_seq_length: int | None = None,
        pad: int = -1,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Wraps a dataset.

        Args:
            dataset: the sequences, with their order; not sharded itself.
            keys: data keys to use; None: all that a sequence has.
            max_frames: maximum size of a padded batch, in frames of the first key; a longer
                sequence is a batch by itself.
            max_seqs: maximum number of sequences of a batch.
            min_seq_length, max_seq_length: shorter and longer sequences are left out, by frames of
                the first key. By default sequences without frames are.
            pad: value beyond the end of labels.
            rank, num_ranks: number of this process, and of all processes of the training.

        Raises:
            ValueError: if there is no limit, one is below 1, or the rank is out of range.
        """
        limits = [limit for limit in (max_frames, max_seqs) if limit is not None]
        if not limits or min(limits) < 1:
            raise ValueError(f"max_frames {max_frames}, max_seqs {max_seqs}: expected one above 0")
        if max_seq_length is not None and max_seq_length < 1:
            raise ValueError(f"max_seq_length must be at least 1, not {max_seq_length}")
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank {rank} of {num_ranks}")
        if dataset.ordering.num_shards != 1:
            raise ValueError("the dataset is sharded already: give rank and num_ranks instead")
        self.dataset = dataset
        self.keys = keys
        self.max_frames = max_frames
        self.max_seqs = max_seqs
        self.min_seq_length = min_seq_length
        self.max_seq_length = max_seq_length
        self.pad = pad
        self.rank = rank
        self.num_ranks = num_ranks
        self._epoch = torch.ones(1, dtype=torch.int64).share_memory_()  # workers see it change

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration, also in existing workers.

        Args:
            epoch: counted from 1, or from 0 by loops that begin there.

        Raises:
            ValueError: if `epoch` is negative.
            TypeError: if it is not an integer.
        """
        self._epoch[0] = check_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, num_workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        self.dataset.ordering = dataclasses.replace(
            self.dataset.ordering,
            num_shards=self.num_ranks * num_workers,
            shard_index=self.rank * num_workers + number,
        )
        self.dataset.init_seq_order(epoch=int(self._epoch[0]))
        return self._batches()

    def _batches(self) -> Iterator[Batch]:
        items: list[Item] = []
        longest = num_seqs = num_batches = 0
        for item in self._items():
            num_seqs += 1
            length = len(next(iter(item.data.values())))
            if length < self.min_seq_length or length > (self.max_seq_length or length):
                continue
            longest = max(longest, length)
            if items and self._is_full(len(items) + 1, longest):
                num_batches += 1
                yield collate(items, self.pad)
                items, longest = [], length
            items.append(item)
        if items:
            yield collate(items, self.pad)
        elif not num_batches:
            message = "%s: epoch %d has no batch, and %d sequences that the limits leave out"
            logger.warning(message, self.dataset, int(self._epoch[0]), num_seqs)

    def _is_full(self, num_seqs: int, longest: int) -> bool:
        frames = self.max_frames is not None and num_seqs * longest > self.max_frames
        return frames or (self.max_seqs is not None and num_seqs > self.max_seqs)

    def _items(self) -> Iterator[Item]:
        dataset, index = self.dataset, 0
        while dataset.is_less_than_num_seqs(index):
            dataset.load_seqs(index, index + 1)
            keys = dataset.get_data_keys() if self.keys is None else self.keys
            # "data" first: its lengths count
            arrays = {k: dataset.get_data(index, k) for k in sorted(keys, key="data".__ne__)}
            data = {key: torch.from_numpy(array) for key, array in arrays.items()}
            yield Item(data, dataset.get_tag(index))
            index += 1
