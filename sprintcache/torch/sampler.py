"""BatchSampler for a DataLoader: the ranks are those of torch.distributed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler

from sprintcache import sampling
from sprintcache._checks import expect

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
        max_seqs: int | None = None,
        buckets: int | ArrayLike | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        remainder: Remainder = "repeat",
    ) -> None:
        """Takes sequences, lengths and the options of the order from a dataset.

        Args:
            dataset: its `seq_ordering`, `partition_epoch`, `repeat_epoch`, seeds and
                `seq_list_filter_file` count here as well.
            max_frames, max_seqs, buckets: limits of a batch, see `batching.make_batches`.
            rank, world_size: which of how many processes this is; None: as torch.distributed
                says, and one alone where that is not initialised.
            remainder: "repeat" or "drop", see `sampling.BatchSampler`.

        Raises:
            ValueError: if an option is out of range.
            TypeError: if `dataset` is none of archives.

        To iterate is a RuntimeError where torch.distributed was initialised since, with another
        place: every rank would take all batches.
        """
        self._is_told = rank is not None
        if (rank is None) != (world_size is None):
            raise ValueError("rank and world_size are given together, or neither")
        if rank is None or world_size is None:
            rank, world_size = _place_in_group()
        source = dataset.dataset if isinstance(dataset, MapDataset) else dataset
        expect(source, "chosen", "a MapDataset or SprintCacheDataset")
        sized = source.ordering.needs_lengths or max_frames is not None or buckets is not None
        super().__init__(
            source.get_total_num_seqs(),
            source.get_lengths() if sized else None,
            ordering=source.ordering,
            chosen=source.chosen,
            tags=source.get_all_tags(),
            max_frames=max_frames,
            max_seqs=max_seqs,
            buckets=buckets,
            rank=rank,
            world_size=world_size,
            remainder=remainder,
        )

    def deal(self, first: int = 0, every: int = 1) -> Iterator[BatchSeqs]:
        """As `sampling.BatchSampler.deal`."""
        rank, size = _place_in_group()
        # spawned workers know of no group
        if not self._is_told and size > 1 and (rank, size) != (self.rank, self.world_size):
            raise RuntimeError(
                f"this is rank {rank} of {size}, but the sampler was made for rank"
                f" {self.rank} of {self.world_size}: make it after init_process_group"
            )
        return super().deal(first, every)


def _place_in_group() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
