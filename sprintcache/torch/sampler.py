"""BatchSampler for a DataLoader: the ranks are those of torch.distributed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

from sprintcache import sampling
from sprintcache._checks import require_attribute

from .datasets import MapDataset

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from sprintcache.dataset import SprintCacheDataset
    from sprintcache.sampling import BatchSeqs, Remainder

__all__ = ["BatchSampler"]


class BatchSampler(sampling.BatchSampler, Sampler[list[int]]):  # type: ignore[misc]
    """The `batch_sampler` of a DataLoader; see `sampling.BatchSampler`."""

    def __init__(
        self,
        dataset: MapDataset | SprintCacheDataset,
        *,
        max_frames: int | None = None,
        max_packed_frames: int | None = None,
        max_seqs: int | None = None,
        buckets: int | ArrayLike | None = None,
        min_seq_length: int = 0,
        max_seq_length: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        remainder: Remainder = "repeat",
    ) -> None:
        """Takes sequences, lengths and the options of the order from a dataset.

        Args:
            dataset: its `seq_ordering`, `partition_epoch`, `repeat_epoch`, seeds,
                `seq_list_filter_file` and limits of lengths apply here as well.
            max_frames, max_packed_frames, max_seqs, buckets: limits of a batch, see
                `batching.make_batches`.
            min_seq_length, max_seq_length: leave out further sequences than the dataset does.
            rank, world_size: number of this process, and of all processes; None: those of
                torch.distributed, and 0 of 1 if that is not initialized.
            remainder: "repeat" or "drop", see `sampling.BatchSampler`.

        Raises:
            ValueError: if an option is out of range.
            TypeError: if `dataset` is not a dataset of archives.

        Iterating raises a RuntimeError if torch.distributed was initialized in the meantime with
        another rank: every rank would take all batches.
        """
        self._has_rank = rank is not None
        if (rank is None) != (world_size is None):
            raise ValueError("rank and world_size are given together, or neither")
        if rank is None or world_size is None:
            rank, world_size = _group_rank()
        source = dataset.dataset if isinstance(dataset, MapDataset) else dataset
        require_attribute(source, "chosen", "a MapDataset or SprintCacheDataset")
        limits = max_frames, max_packed_frames, buckets, max_seq_length, min_seq_length or None
        lengths = None
        if any(limit is not None for limit in limits):
            lengths = source.get_lengths()
        super().__init__(
            source.get_total_num_seqs(),
            lengths,
            order_lengths=source.get_order_lengths() if source.ordering.needs_lengths else None,
            ordering=source.ordering,
            chosen=source.chosen,
            tags=source.get_all_tags(),
            max_frames=max_frames,
            max_packed_frames=max_packed_frames,
            max_seqs=max_seqs,
            buckets=buckets,
            min_seq_length=min_seq_length,
            max_seq_length=max_seq_length,
            rank=rank,
            world_size=world_size,
            remainder=remainder,
        )

    @property
    def sampler(self) -> BatchSampler:
        """This object, for frameworks that call ``batch_sampler.sampler.set_epoch``."""
        return self

    def deal(self, first: int = 0, every: int = 1) -> Iterator[BatchSeqs]:
        """See `sampling.BatchSampler.deal`."""
        rank, size = _group_rank()
        # spawned workers are in no group
        if not self._has_rank and size > 1 and (rank, size) != (self.rank, self.world_size):
            raise RuntimeError(
                f"this is rank {rank} of {size}, but the sampler was made for rank"
                f" {self.rank} of {self.world_size}: make it after init_process_group"
            )
        return super().deal(first, every)


def _group_rank() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
