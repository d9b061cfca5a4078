"""Archives for PyTorch: datasets, a sampler that can be resumed, batches with padding.

>>> from torch.utils.data import DataLoader
>>> from sprintcache.torch import BatchSampler, MapDataset, collate
>>> dataset = MapDataset(sprintcache.SprintCacheDataset(data))  # doctest: +SKIP
>>> sampler = BatchSampler(dataset, max_frames=20_000)  # doctest: +SKIP
>>> loader = DataLoader(
...     dataset, batch_sampler=sampler, collate_fn=collate, num_workers=2
... )  # doctest: +SKIP

A loop that can be interrupted anywhere stores the state of the batch it has trained on last; what
its workers have read ahead does not matter:

>>> for batch in loader:  # doctest: +SKIP
...     train(batch.data["data"], batch.lengths["data"], batch.data["classes"])
...     checkpoint = {"model": model.state_dict(), "data": batch.state}
>>> sampler.load_state_dict(checkpoint["data"])  # doctest: +SKIP

The next pass over the loader is then the rest of that epoch, on any number of ranks and workers.
The state is the same on all ranks of a step. A StatefulDataLoader (torchdata) keeps count by
itself: its ``state_dict`` is as exact, but can be loaded with the same number of workers only. In a
plain DataLoader only ``sampler.state_dict()`` is not: it is where the DataLoader reads ahead.

To read a batch from a warm archive takes about as long as to send it to another process, so there
workers gain little, and ``num_threads`` more. They pay off where reading is slow (cold disks,
compressed archives), where batches are transformed, or to read while the training computes. What a
worker has read lies in memory that is used again when its last tensor is gone; what you keep stays
as it is.

With ``torch.distributed`` each rank makes its own loader; the sampler deals one list of batches to
all of them, disjoint and in equal steps, so there is no DistributedSampler, and nothing else may
shard (``num_shards``, ``use_distributed_sampler=False`` for Lightning's trainer). Batches have to
come in order: ``in_order=True``, the default of a DataLoader.
"""

from __future__ import annotations

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("PyTorch is missing: pip install 'sprintcache[torch]'") from error

from .automata import AutomataTensors, to_k2
from .automata_collate import AutomataBatch, AutomataCollate
from .batch import Batch, Item, collate
from .datasets import MapDataset
from .full_sum import full_sum_loss
from .sampler import BatchSampler
from .sequences import SequenceStream
from .stream import BatchStream

__all__ = [
    "AutomataBatch",
    "AutomataCollate",
    "AutomataTensors",
    "Batch",
    "BatchSampler",
    "BatchStream",
    "Item",
    "MapDataset",
    "SequenceStream",
    "collate",
    "full_sum_loss",
    "to_k2",
]

del torch
