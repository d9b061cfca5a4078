"""BatchStream: the iterable form, for ``DataLoader(stream, batch_size=None)``.

Each worker of a DataLoader has a copy of the stream and is told nothing but to begin. Where it
begins stands in shared memory: a numbered command of the process that made the workers, which
`BatchStream.set_epoch` and `BatchStream.load_state_dict` write, and, in one word, which iteration
has begun last, and at which epoch. The first worker of an iteration to come writes that word; if
several come at once they write the same, so there is no lock.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from .batch import Batch
from .datasets import MapDataset
from .sampler import BatchSampler

__all__ = ["BatchStream"]

_STATE = "epoch", "seed", "batch", "checksum"
_EPOCH_BITS, _TAG_BITS, _COMMAND_BITS = 20, 32, 11  # of the word; below the bit of the sign


class BatchStream(IterableDataset[Batch]):  # type: ignore[misc]
    """All batches of this rank, in the order of a `BatchSampler`; an iteration is an epoch.

    The workers take the steps of the rank in turn. Each makes the order of the epoch for itself,
    which costs time and memory: a `MapDataset` with a sampler does without.

    Batches carry their states as those of a `MapDataset` do, for `load_state_dict`; with workers
    nothing else says where the training is. A StatefulDataLoader asks its workers by itself.
    """

    def __init__(self, dataset: MapDataset, **options: Any) -> None:
        """Takes what reads.

        Args:
            dataset: the sequences.
            **options: of `BatchSampler`: limits of a batch, ranks, remainder.
        """
        self.dataset = dataset
        self._sampler = BatchSampler(dataset, **options)
        self._shared = torch.zeros(6, dtype=torch.int64).share_memory_()
        self._tag = 0  # of the iteration under way
        self._num_iterations = 0
        self._loaded: Mapping[str, Any] | None = None  # for this worker alone
        self._at: Mapping[str, Any] | None = None  # behind the last batch of this iteration
        self._command(self._sampler.state_dict())

    def __len__(self) -> int:
        """Steps of the next iteration, of all workers together."""
        self._sampler.load_state_dict(self._next(-1))
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        self._num_iterations += 1
        owner = os.getpid() if worker is None else worker.seed - worker.id  # the same for all
        self._tag = zlib.crc32(f"{owner} {self._num_iterations}".encode())
        self._at = None
        return self._deal(*((0, 1) if worker is None else (worker.id, worker.num_workers)))

    def _deal(self, first: int, every: int) -> Iterator[Batch]:
        state = self._loaded or self._next(self._tag)
        self._loaded = None
        if state["epoch"] >> _EPOCH_BITS:
            raise ValueError(f"a stream has no epoch {state['epoch']}: {1 << _EPOCH_BITS} or above")
        self._begun(self._tag, state["epoch"])
        self._at = state
        self._sampler.load_state_dict(state)
        skipped = state.get("first")
        for seqs in self._sampler.deal(first if skipped is None else skipped, every):
            # the other workers come first now
            self._at = {**seqs.state, "first": every - 1}
            yield self.dataset.__getitems__(seqs)
        if get_worker_info() is None:
            self._at = {**state, "epoch": state["epoch"] + 1, "batch": 0, "first": None}

    # ---- position

    def set_epoch(self, epoch: int) -> None:
        """Has the next iteration begin this epoch, in workers that exist already, too.

        Raises:
            ValueError: if `epoch` is below 1.
        """
        self._sampler.load_state_dict(self._next(-1))
        self._sampler.set_epoch(epoch)
        self._command(self._sampler.state_dict())

    def state_dict(self) -> dict[str, int | None]:
        """The position of this process; in a worker it is good for that worker alone."""
        return dict(self._at or self._loaded or self._next(self._tag))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to a position, see `BatchSampler.load_state_dict`; reaches existing workers, too.

        Raises:
            ValueError: if this is no state, or one of other data or options.
        """
        self._sampler.load_state_dict(state)
        self._at = None
        if get_worker_info() is None:
            self._command(state)
        else:
            self._loaded = state

    # ---- shared memory

    def _command(self, state: Mapping[str, int]) -> None:
        self._shared[1:5] = torch.tensor([state[key] for key in _STATE])
        self._shared[0] += 1

    def _next(self, tag: int) -> dict[str, Any]:
        """Where the iteration of that tag begins."""
        command, *values, word = self._shared.tolist()
        state = dict(zip(_STATE, values, strict=True))
        epoch = word & (1 << _EPOCH_BITS) - 1
        begun = word >> _EPOCH_BITS & (1 << _TAG_BITS) - 1
        if word >> _EPOCH_BITS + _TAG_BITS != command % (1 << _COMMAND_BITS):
            return state  # nobody has begun since the command
        epoch += begun != tag
        return state if epoch == state["epoch"] else {**state, "epoch": epoch, "batch": 0}

    def _begun(self, tag: int, epoch: int) -> None:
        command = int(self._shared[0]) % (1 << _COMMAND_BITS)
        self._shared[5] = (command << _TAG_BITS | tag) << _EPOCH_BITS | epoch
