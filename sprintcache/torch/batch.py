"""Batch: padded tensors of several sequences; `collate`, which pads single sequences."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from sprintcache._checks import require_attribute

from .memory import SharedPool, SharedTensor, is_possible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.sampling import State

    Sent = dict[str, SharedTensor | torch.Tensor]

__all__ = ["Batch", "Item", "PackedBatch", "PaddedTensors", "collate", "pool_of_worker"]


class PaddedTensors(dict[str, torch.Tensor]):
    """The data of a batch; marks it for PyTorch's ``default_collate``, which returns it as is."""


def _keep(batch: Any, *, collate_fn_map: Any = None) -> Any:
    return batch


default_collate_fn_map.update({PaddedTensors: _keep})


class Batch(NamedTuple):
    """Several sequences, in plain containers that a DataLoader can send and pin.

    Attributes:
        data: data key to padded tensor: features (B, Tmax, D) float32, zero beyond each length;
            labels (B, Tmax) int32, `pad` beyond; audio (B, Nmax) float32 or int16, zero beyond;
            other streams as `SprintCacheDataset.read_batch` returns them.
        lengths: data key to (B,) int64.
        tags: the B names.
        state: the position after this batch, for `BatchSampler.load_state_dict`; None for a batch
            of another sampler.
    """

    data: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    tags: list[str]
    state: State | None

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """The batch with its data on another device; the lengths are not moved."""
        data = {key: x.to(device, non_blocking=non_blocking) for key, x in self.data.items()}
        return self._replace(data=PaddedTensors(data))


class PackedBatch(NamedTuple):
    """Several sequences one after the other, without padding.

    Sequence i of a key is ``data[key][cu_seqlens[key][i]:][:lengths[key][i]]``.

    Attributes:
        data: data key to tensor: features (N, D) float32, labels (N,) int32, and others; zero in
            gaps, labels `pad`. Padded as in a `Batch` where a key is not packed.
        cu_seqlens: data key to (B + 1,) int32, where each sequence begins, the last one being N;
            without the keys that are not packed.
        lengths: data key to (B,) int64.
        tags: the B names.
        state: as of a `Batch`.
    """

    data: dict[str, torch.Tensor]
    cu_seqlens: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    tags: list[str]
    state: State | None

    def to(self, device: Any, non_blocking: bool = False) -> PackedBatch:
        """The batch with its data and `cu_seqlens` on another device; lengths are not moved."""
        data, cu_seqlens = (
            {key: x.to(device, non_blocking=non_blocking) for key, x in tensors.items()}
            for tensors in (self.data, self.cu_seqlens)
        )
        return self._replace(data=PaddedTensors(data), cu_seqlens=cu_seqlens)

    def nested(self, key: str) -> torch.Tensor:
        """The sequences of a key as a nested tensor of PyTorch's jagged layout; no copy.

        Raises:
            KeyError: if the key is not packed.
        """
        values, offsets = self.data[key], self.cu_seqlens[key].long()
        lengths = self.lengths[key].to(values.device)
        if torch.equal(offsets.diff(), lengths):
            return torch.nested.nested_tensor_from_jagged(values, offsets)
        return torch.nested.nested_tensor_from_jagged(values, offsets, lengths)


class Item(NamedTuple):
    """One sequence.

    Attributes:
        data: data key to tensor: features (T, D) float32, labels (T,) int32, audio
            (N,) float32 or int16.
        tag: its name.
    """

    data: dict[str, torch.Tensor]
    tag: str


@overload
def collate(items: PackedBatch, pad: int = -1) -> PackedBatch: ...
@overload
def collate(items: Batch | Sequence[Item], pad: int = -1) -> Batch: ...
def collate(items: Batch | PackedBatch | Sequence[Item], pad: int = -1) -> Batch | PackedBatch:
    """The `collate_fn` of a DataLoader.

    Args:
        items: a batch of `MapDataset.__getitems__`, which is returned; or single sequences with
            the same data keys, which are padded.
        pad: value beyond the end of labels, int32 or int64; beyond other data it is zero.

    Raises:
        ValueError: if the batch is empty.
        TypeError: if a sequence is not an `Item`.
    """
    if isinstance(items, (Batch, PackedBatch)):
        return items
    if not items:
        raise ValueError("an empty batch")
    for item in items:
        require_attribute(item, "tag", "an Item of a MapDataset")
    data, lengths = PaddedTensors(), {}
    for key in items[0].data:
        rows = [item.data[key] for item in items]
        sizes = torch.tensor([len(row) for row in rows])
        # an entry of no frames has no dimension
        width = max((row.shape[1:] for row in rows), key=lambda shape: shape.numel())
        fill = pad if rows[0].dtype in (torch.int32, torch.int64) else 0
        batch = rows[0].new_full((len(rows), int(sizes.max()), *width), fill)
        for padded, row in zip(batch, rows, strict=True):
            if len(row):
                padded[: len(row)] = row
        data[key], lengths[key] = batch, sizes
    return Batch(data, lengths, [item.tag for item in items], None)


def pool_of_worker() -> SharedPool | None:
    """The memory for the batches of a DataLoader's worker; None in other processes.

    The first call in a worker registers that batches are sent as references to this memory.
    """
    if get_worker_info() is None or not is_possible():
        return None
    return _pool_of(os.getpid())


@functools.cache  # by process: workers are forked with what was cached before
def _pool_of(process: int) -> SharedPool:
    pool = SharedPool()
    for kind in (Batch, PackedBatch):
        ForkingPickler.register(kind, functools.partial(_reduce, pool))
    return pool


def _reduce(pool: SharedPool, batch: Batch | PackedBatch) -> tuple[Any, ...]:
    data, *sizes, tags, state = batch
    sent = {key: pool.sent(tensor) for key, tensor in data.items()}
    # small tensors are quicker as bytes than as files
    small = [{key: tensor.numpy() for key, tensor in tensors.items()} for tensors in sizes]
    return _rebuild, (type(batch), sent, small, tags, state)


def _rebuild(
    kind: Any, sent: Sent, small: list[dict[str, NDArray[Any]]], tags: list[str], state: Any
) -> Batch | PackedBatch:
    data = {k: x.open() if isinstance(x, SharedTensor) else x for k, x in sent.items()}
    sizes = [{k: torch.from_numpy(x) for k, x in arrays.items()} for arrays in small]
    batch: Batch | PackedBatch = kind(PaddedTensors(data), *sizes, tags, state)
    return batch
