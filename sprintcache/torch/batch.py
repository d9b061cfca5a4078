"""Batch: padded tensors of several sequences; `collate`, which makes one of single sequences."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from sprintcache._checks import expect

from .memory import SharedPool, SharedTensor, is_possible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.sampling import State

    Sent = dict[str, SharedTensor | torch.Tensor]

__all__ = ["Batch", "Item", "collate", "pool_of_worker"]


class Batch(NamedTuple):
    """Several sequences, in plain containers that a DataLoader can send and pin.

    Attributes:
        data: data key to padded tensor: features (B, Tmax, D) float32, zero beyond each length;
            labels (B, Tmax) int32, `pad` beyond.
        lengths: data key to (B,) int64.
        tags: the B names.
        state: what `BatchSampler.load_state_dict` takes to go on behind this batch; None for a
            batch that was not chosen by a `BatchSampler` of ours.
    """

    data: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    tags: list[str]
    state: State | None

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """The batch with its data on another device; the lengths stay where they are."""
        data = {key: x.to(device, non_blocking=non_blocking) for key, x in self.data.items()}
        return self._replace(data=data)


class Item(NamedTuple):
    """One sequence.

    Attributes:
        data: data key to tensor: features (T, D) float32, labels (T,) int32.
        tag: its name.
    """

    data: dict[str, torch.Tensor]
    tag: str


def collate(items: Batch | Sequence[Item], pad: int = -1) -> Batch:
    """The `collate_fn` of a DataLoader.

    Args:
        items: a batch as `MapDataset.__getitems__` has made it, which is given back; or single
            sequences with the same data keys, which are padded.
        pad: what stands beyond the end of signed integers; beyond other data stand zeros.

    Raises:
        ValueError: if there is no sequence.
        TypeError: if one is no `Item`.
    """
    if isinstance(items, Batch):
        return items
    if not items:
        raise ValueError("a batch of no sequences")
    for item in items:
        expect(item, "tag", "an Item, as MapDataset gives them")
    data = {}
    lengths = {}
    for key in items[0].data:
        rows = [item.data[key] for item in items]
        sizes = torch.tensor([len(row) for row in rows])
        # an entry of no frames has no dimension
        width = max((row.shape[1:] for row in rows), key=lambda shape: shape.numel())
        signed = rows[0].dtype.is_signed and not rows[0].is_floating_point()
        fill = pad if signed else 0
        batch = rows[0].new_full((len(rows), int(sizes.max()), *width), fill)
        for place, row in zip(batch, rows, strict=True):
            if len(row):
                place[: len(row)] = row
        data[key], lengths[key] = batch, sizes
    return Batch(data, lengths, [item.tag for item in items], None)


def pool_of_worker() -> SharedPool | None:
    """The memory in which a worker of a DataLoader makes its batches; None in other processes.

    The first call in a worker decides that batches leave it as their places in memory.
    """
    if get_worker_info() is None or not is_possible():
        return None
    return _pool_of(os.getpid())


@functools.cache  # by process: workers are forked with what was cached before
def _pool_of(process: int) -> SharedPool:
    pool = SharedPool()
    ForkingPickler.register(Batch, functools.partial(_sending, pool))
    return pool


def _sending(pool: SharedPool, batch: Batch) -> tuple[Any, ...]:
    # small tensors are quicker as bytes than as files
    lengths = {key: sizes.numpy() for key, sizes in batch.lengths.items()}
    data = {key: pool.sent(tensor) for key, tensor in batch.data.items()}
    return _received, (data, lengths, batch.tags, batch.state)


def _received(
    data: Sent, lengths: dict[str, NDArray[np.int64]], tags: list[str], state: State | None
) -> Batch:
    opened = {k: x.open() if isinstance(x, SharedTensor) else x for k, x in data.items()}
    return Batch(opened, {k: torch.from_numpy(x) for k, x in lengths.items()}, tags, state)
