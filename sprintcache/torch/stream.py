"""BatchStream: the iterable form, for ``DataLoader(stream, batch_size=None)``.

Each worker of a DataLoader has a copy of the stream and receives nothing but the request to begin.
Its start position is in shared memory: a numbered command of the parent process, written by
`BatchStream.set_epoch` and `BatchStream.load_state_dict`, and one word with the last iteration that
began and its epoch. The first worker of an iteration writes that word; if several begin at once,
they write the same value, so there is no lock.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from .batch import Batch, PackedBatch
from .datasets import MapDataset
from .sampler import BatchSampler

__all__ = ["BatchStream"]

_STATE = "epoch", "seed", "batch", "checksum"
_EPOCH_BITS, _TAG_BITS, _COMMAND_BITS = 20, 32, 11  # of the word; below the bit of the sign


class BatchStream(IterableDataset[Batch | PackedBatch]):  # type: ignore[misc]
    """All batches of this rank, in the order of a `BatchSampler`; an iteration is an epoch.

    The workers take the steps of the rank in turn. Each computes the order of the epoch; a
    `MapDataset` with a sampler saves this time and memory.

    Batches carry their states as those of a `MapDataset` do, for `load_state_dict`; with workers
    only they have the position of the training. A StatefulDataLoader collects it from its workers.
    """

    def __init__(self, dataset: MapDataset, **options: Any) -> None:
        """Wraps a dataset.

        Args:
            dataset: the sequences.
            **options: of `BatchSampler`: limits of a batch, ranks, remainder.
        """
        self.dataset = dataset
        self._sampler = BatchSampler(dataset, **options)
        self._shared = torch.zeros(6, dtype=torch.int64).share_memory_()
        self._tag = 0  # of the iteration in progress
        self._num_iterations = 0
        self._loaded: Mapping[str, Any] | None = None  # for this worker alone
        self._position: Mapping[str, Any] | None = None  # after the last batch
        self._command(self._sampler.state_dict())

    def __len__(self) -> int:
        """Steps of the next iteration, of all workers together."""
        self._sampler.load_state_dict(self._next(-1))
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch | PackedBatch]:
        worker = get_worker_info()
        self._num_iterations += 1
        owner = os.getpid() if worker is None else worker.seed - worker.id  # the same for all
        self._tag = zlib.crc32(f"{owner} {self._num_iterations}".encode())
        self._position = None
        return self._deal(*((0, 1) if worker is None else (worker.id, worker.num_workers)))

    def _deal(self, first: int, every: int) -> Iterator[Batch | PackedBatch]:
        state = self._loaded or self._next(self._tag)
        self._loaded = None
        if state["epoch"] >> _EPOCH_BITS:
            raise ValueError(f"epoch {state['epoch']} of a stream is not below {1 << _EPOCH_BITS}")
        self._begun(self._tag, state["epoch"])
        self._position = state
        self._sampler.load_state_dict(state)
        skipped = state.get("first")
        for seqs in self._sampler.deal(first if skipped is None else skipped, every):
            # the next steps belong to the other workers
            self._position = {**seqs.state, "first": every - 1}
            yield self.dataset.__getitems__(seqs)
        if get_worker_info() is None:
            self._position = {**state, "epoch": state["epoch"] + 1, "batch": 0, "first": None}

    # ---- position

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration, also in existing workers.

        Args:
            epoch: counted from 1, or from 0 by loops that begin there.

        Raises:
            ValueError: if `epoch` is negative.
        """
        self._sampler.load_state_dict(self._next(-1))
        self._sampler.set_epoch(epoch)
        self._command(self._sampler.state_dict())

    def state_dict(self) -> dict[str, int | None]:
        """The position of this process; in a worker it is valid for that worker only."""
        return dict(self._position or self._loaded or self._next(self._tag))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Moves to a position, see `BatchSampler.load_state_dict`; also in existing workers.

        Raises:
            ValueError: if it is not a state, or one of other data or options.
        """
        self._sampler.load_state_dict(state)
        self._position = None
        if get_worker_info() is None:
            self._command(state)
        else:
            self._loaded = state

    # ---- shared memory

    def _command(self, state: Mapping[str, int]) -> None:
        self._shared[1:5] = torch.tensor([state[key] for key in _STATE])
        self._shared[0] += 1

    def _next(self, tag: int) -> dict[str, Any]:
        """The state at which the iteration of that tag begins."""
        command, *values, word = self._shared.tolist()
        state = dict(zip(_STATE, values, strict=True))
        epoch = word & (1 << _EPOCH_BITS) - 1
        begun = word >> _EPOCH_BITS & (1 << _TAG_BITS) - 1
        if word >> _EPOCH_BITS + _TAG_BITS != command % (1 << _COMMAND_BITS):
            return state  # no iteration has begun since the command
        epoch += begun != tag
        return state if epoch == state["epoch"] else {**state, "epoch": epoch, "batch": 0}

    def _begun(self, tag: int, epoch: int) -> None:
        command = int(self._shared[0]) % (1 << _COMMAND_BITS)
        self._shared[5] = (command << _TAG_BITS | tag) << _EPOCH_BITS | epoch
