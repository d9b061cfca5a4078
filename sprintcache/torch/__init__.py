"""Archives for PyTorch: datasets, a sampler that can be resumed, batches with padding.

>>> from torch.utils.data import DataLoader
>>> from sprintcache.torch import BatchSampler, MapDataset, collate
>>> dataset = MapDataset(sprintcache.SprintCacheDataset(data))  # doctest: +SKIP
>>> sampler = BatchSampler(dataset, max_frames=20_000)  # doctest: +SKIP
>>> loader = DataLoader(
...     dataset, batch_sampler=sampler, collate_fn=collate, num_workers=2
... )  # doctest: +SKIP

A training that can be interrupted anywhere stores the state of the last batch that it has trained
on; what the workers have read ahead does not matter:

>>> for batch in loader:  # doctest: +SKIP
...     train(batch.data["data"], batch.lengths["data"], batch.data["classes"])
...     checkpoint = {"model": model.state_dict(), "data": batch.state}
>>> sampler.load_state_dict(checkpoint["data"])  # doctest: +SKIP

The next iteration over the loader is then the rest of that epoch, on any number of ranks and
workers. The state is the same on all ranks of a step. A StatefulDataLoader (torchdata) counts
batches itself: its ``state_dict`` is as exact, but can only be loaded with the same number of
workers. With a plain DataLoader, ``sampler.state_dict()`` is the position of the read-ahead.

`Loader` reads ahead in threads of the training process instead, with the same sampler: there is
nothing to send, and it reports how long the training waited.

>>> with Loader(dataset, sampler) as loader:  # doctest: +SKIP
...     for batch in loader:
...         train(batch.data["data"], batch.lengths["data"], batch.data["classes"])

Reading a batch from a warm archive takes about as long as sending it to another process, so workers
gain little there, and ``num_threads`` more. Workers pay off where reading is slow (cold disks,
compressed archives), where batches are transformed, or to read while the training computes. The
memory of a worker's batch is reused once its last tensor is deleted; tensors that you keep are not
overwritten.

With ``torch.distributed``, create a loader on each rank; the sampler deals one list of batches to
all ranks, disjoint and in equal steps. Do not use a DistributedSampler or anything else that shards
(``num_shards``; set ``use_distributed_sampler=False`` in Lightning's trainer). Batches must be
delivered in order: ``in_order=True``, the default of a DataLoader.
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
from .batch import Batch, Item, PackedBatch, collate
from .datasets import MapDataset
from .full_sum import full_sum_loss
from .loader import Loader
from .loader_report import LoaderReport, StepReport
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
    "Loader",
    "LoaderReport",
    "MapDataset",
    "PackedBatch",
    "SequenceStream",
    "StepReport",
    "collate",
    "full_sum_loss",
    "to_k2",
]

del torch
