"""PyTorch: batches through real workers, resuming while they read ahead, ranks that are killed."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    Alignment,
    AllophoneLabeling,
    ArchiveWriter,
    SprintCacheDataset,
    open_archive,
)
from tests.paths import DATA

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")

from torch.utils.data import DataLoader, RandomSampler  # noqa: E402

from sprintcache.torch import (  # noqa: E402
    Batch,
    BatchSampler,
    BatchStream,
    Item,
    Loader,
    MapDataset,
    collate,
)
from sprintcache.torch.memory import SharedPool, SharedTensor  # noqa: E402

# more workers than processors; forks of a process that has threads of PyTorch
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

NUM_SEQS = 23
OPTIONS: dict[str, Any] = {"max_frames": 50}
ALONE = {"rank": 0, "world_size": 1}
LABELING = {
    "silence_phone": "[SILENCE]",
    "allophone_file": DATA / "allophones",
    "state_tying_file": DATA / "state-tying" / "monophone",
}


def length(seq: int) -> int:
    return 5 + 7 * seq % 13


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequence i has the value i everywhere, and i as its emission ids."""
    folder = tmp_path_factory.mktemp("corpus")
    with (
        ArchiveWriter(folder / "features.cache") as features,
        ArchiveWriter(folder / "alignments.cache") as alignments,
    ):
        for seq in range(NUM_SEQS):
            frames = length(seq)
            features.add_features(f"seq{seq}", np.full((frames, 2), seq, np.float32))
            ids = np.full(frames, seq, np.uint32)
            times = np.arange(frames, dtype=np.uint32)
            alignments.add_alignment(f"seq{seq}", Alignment(times, ids, label_type="emission"))
    return folder


@pytest.fixture
def dataset(corpus: Path) -> Iterator[MapDataset]:
    source = SprintCacheDataset(
        {
            "data": {"filename": corpus / "features.cache"},
            "classes": {"filename": corpus / "alignments.cache"},
        },
        seq_ordering="laplace:.5",
        partition_epoch=2,
    )
    yield MapDataset(source)
    source.close()


def loader(dataset: Any, sampler: Any = None, **options: Any) -> Any:
    if "num_threads" in options:
        return Loader(dataset, sampler, timeout=60, **options)
    if options.get("num_workers"):
        options = {"multiprocessing_context": "fork", "timeout": 60, **options}
    if sampler is None:
        return DataLoader(dataset, batch_size=None, **options)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, **options)


def check(batch: Batch) -> list[int]:
    """The sequences of a batch; compares its content with the written one."""
    seqs = [int(tag[3:]) for tag in batch.tags]
    x, y = batch.data["data"], batch.data["classes"]
    assert (x.dtype, y.dtype) == (torch.float32, torch.int32)
    frames = [length(seq) for seq in seqs]
    assert x.shape == (len(seqs), max(frames), 2)
    assert batch.lengths["data"].tolist() == batch.lengths["classes"].tolist() == frames
    for row, labels, seq, n in zip(x, y, seqs, frames, strict=True):
        assert torch.all(row[:n] == seq)
        assert not row[n:].any()
        assert torch.all(labels[:n] == seq)
        assert torch.all(labels[n:] == -1)
    return seqs


def epoch(batches: Any) -> list[list[int]]:
    return [check(batch) for batch in batches]


# ---- batches -------------------------------------------------------------------------------------


def test_real_data_as_single_sequences_and_as_batches() -> None:
    source = SprintCacheDataset(
        {
            "data": {"filename": DATA / "features.bundle"},
            "classes": {
                "filename": DATA / "alignment.viterbi.cache",
                "allophone_labeling": LABELING,
            },
        }
    )
    dataset = MapDataset(source)
    assert len(dataset) == 24
    seqs = [3, 0, 17, 5]
    batch = dataset.__getitems__(seqs)
    items = [dataset[seq] for seq in seqs]
    collated = collate(items)
    assert collate(batch) is batch
    labeling = AllophoneLabeling(**LABELING)
    with (
        open_archive(DATA / "features.bundle") as features,
        open_archive(DATA / "alignment.viterbi.cache") as alignments,
    ):
        for row, (seq, item) in enumerate(zip(seqs, items, strict=True)):
            name = features.segments[seq]
            x, y = features.read_features(name), alignments.read_labels(name, labeling)
            assert item.tag == batch.tags[row] == collated.tags[row] == name
            for made in (batch, collated):
                for key, want in (("data", x), ("classes", y)):
                    assert made.lengths[key][row] == len(want)
                    np.testing.assert_array_equal(made.data[key][row][: len(want)].numpy(), want)
                    np.testing.assert_array_equal(item.data[key].numpy(), want)
                assert not made.data["data"][row][len(x) :].any()
                assert torch.all(made.data["classes"][row][len(y) :] == -1)
    assert batch.state is None
    moved = batch.to("meta")
    assert moved.data["data"].is_meta
    assert moved.tags == batch.tags


def test_collate_single_sequences() -> None:
    items = [
        Item({"x": torch.zeros(0, 0), "y": torch.zeros(0, dtype=torch.int32)}, "empty"),
        Item({"x": torch.ones(2, 3), "y": torch.ones(2, dtype=torch.int32)}, "two"),
    ]
    batch = collate(items, pad=7)
    assert batch.data["x"].tolist() == [[[0] * 3] * 2, [[1] * 3] * 2]
    assert batch.data["y"].tolist() == [[7, 7], [1, 1]]
    assert batch.lengths["x"].tolist() == [0, 2]
    with pytest.raises(ValueError, match="an empty batch"):
        collate([])


def test_a_forgotten_collate_function(dataset: MapDataset) -> None:
    """PyTorch's own one returns batches that are made already, from workers, too."""
    for workers in (0, 1):
        batches = DataLoader(
            dataset,
            batch_sampler=BatchSampler(dataset, **OPTIONS),
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )
        assert epoch(batches) == epoch(loader(dataset, BatchSampler(dataset, **OPTIONS)))
    with pytest.raises(TypeError, match="an Item of a MapDataset, found dict"):
        collate([{"x": torch.zeros(3)}])  # type: ignore[list-item]


def test_accelerate_counts_from_zero(dataset: MapDataset) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    sampler = BatchSampler(dataset, **OPTIONS)
    prepared = accelerate.Accelerator(cpu=True).prepare(loader(dataset, sampler))
    epochs = [epoch(prepared) for _ in range(3)]
    assert sorted(chain(*epochs[1], *epochs[2])) == list(range(NUM_SEQS))
    alone = BatchSampler(dataset, **OPTIONS)
    for number, batches in enumerate(epochs):
        alone.set_epoch(number)
        assert [list(seqs) for seqs in alone] == batches
    state = next(iter(prepared)).state
    resumed = BatchSampler(dataset, **OPTIONS)
    resumed.load_state_dict(state)
    again = accelerate.Accelerator(cpu=True).prepare(loader(dataset, resumed))
    again.set_epoch(resumed.epoch)
    alone.set_epoch(3)
    assert epoch(again) == [list(seqs) for seqs in alone][1:]


def test_a_loop_that_counts_from_zero(dataset: MapDataset) -> None:
    """As Lightning does it: before each epoch, on the sampler of the batch sampler."""
    batches = loader(dataset, BatchSampler(dataset, **OPTIONS))
    alone = BatchSampler(dataset, **OPTIONS)
    for number in range(3):
        batches.batch_sampler.sampler.set_epoch(number)  # type: ignore[union-attr]
        alone.set_epoch(number)
        assert epoch(batches) == [list(seqs) for seqs in alone]


def test_no_batch_without_frames(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "f.cache") as writer:
        for seq, frames in enumerate((0, 10, 12, 9, 0, 1000)):
            writer.add_features(f"seq{seq}", np.ones((frames, 2), np.float32))
    data = {"data": {"filename": tmp_path / "f.cache"}}
    for options, limits, expected in (
        ({}, {}, [1, 2, 3, 5]),
        ({"max_seq_length": 999}, {}, [1, 2, 3]),
        ({}, {"max_seq_length": 999, "min_seq_length": 10}, [1, 2]),
        ({"min_seq_length": 0}, {}, [0, 1, 2, 3, 4, 5]),
    ):
        source = MapDataset(SprintCacheDataset(data, **options))
        batches = list(loader(source, BatchSampler(source, max_seqs=1, **limits)))
        assert [int(batch.tags[0][3:]) for batch in batches] == expected
        if 0 not in expected:
            assert all(batch.data["data"].shape[1] for batch in batches)


def test_samplers_of_others(dataset: MapDataset) -> None:
    generator = torch.Generator().manual_seed(1)
    own = DataLoader(
        dataset,
        batch_size=4,
        sampler=RandomSampler(dataset, generator=generator),
        collate_fn=collate,
    )
    assert sorted(chain(*epoch(own))) == list(range(NUM_SEQS))
    labels = MapDataset(dataset.dataset, ["classes"])
    assert [*labels.__getitems__([1]).data] == [*labels[1].data] == ["classes"]
    with pytest.raises(ValueError, match="no data key 'class' among data, classes"):
        MapDataset(dataset.dataset, ["class"])


def test_pinning_keeps_the_form(dataset: MapDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning needs a GPU; the function that a DataLoader applies is the same."""
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
        pinned.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    sampler = BatchSampler(dataset, **OPTIONS)
    batch = dataset.__getitems__(next(iter(sampler)))
    got = torch.utils.data._utils.pin_memory.pin_memory(batch)
    assert type(got) is Batch
    assert len(pinned) == 4
    assert check(got) == check(batch)
    assert (got.tags, got.state) == (batch.tags, batch.state)
    for bad in ("rank", "world_size"):
        with pytest.raises(ValueError, match="given together"):
            BatchSampler(dataset, max_seqs=1, **{bad: 1})


# ---- workers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "persistent"), [("fork", False), ("fork", True), ("spawn", True)]
)
def test_workers_give_what_one_process_gives(
    dataset: MapDataset, context: str, persistent: bool
) -> None:
    alone = BatchSampler(dataset, **OPTIONS)
    expected = [list(loader(dataset, alone)) for _ in range(3)]
    assert sorted(chain(*epoch(expected[0] + expected[1]))) == list(range(NUM_SEQS))
    options = {
        "num_workers": 2 if context == "fork" else 1,  # PyTorch takes seconds to be imported
        "multiprocessing_context": context,
        "persistent_workers": persistent,
    }
    form = loader(dataset, BatchSampler(dataset, **OPTIONS), **options)
    stream = loader(BatchStream(dataset, **OPTIONS), **options)
    threads = loader(dataset, BatchSampler(dataset, **OPTIONS), num_threads=2)
    for batches in expected:
        for kind in (form, stream, threads):
            assert len(kind) == len(batches)
            got = list(kind)
            assert epoch(got) == epoch(batches)
            assert [batch.state for batch in got] == [batch.state for batch in batches]


SEVERAL: list[dict[str, Any]] = [
    {"num_workers": 2, "prefetch_factor": 3, "persistent_workers": False},
    {"num_workers": 2, "prefetch_factor": 3, "persistent_workers": True},
    {"num_threads": 3, "prefetch": 5},
]


@pytest.mark.parametrize("several", SEVERAL, ids=["workers", "persistent workers", "threads"])
def test_resuming_while_others_read_ahead(dataset: MapDataset, several: dict[str, Any]) -> None:
    """Left in the middle, twice in a row and at the last batch, then with other workers."""
    alone = BatchSampler(dataset, **OPTIONS)
    epochs = [epoch(loader(dataset, alone)) for _ in range(3)]
    persistent = several.get("persistent_workers")
    for streaming in (False, True)[: 1 if "num_threads" in several else 2]:
        if streaming:
            position: Any = BatchStream(dataset, **OPTIONS)
            first, second = loader(position, **several), loader(position)
        else:
            position = BatchSampler(dataset, **OPTIONS)
            first, second = loader(dataset, position, **several), loader(dataset, position)
        done: list[list[int]] = []
        state = None
        for kind, steps in ((first, 2), (first, 1), (second, 1), (first, 99)):
            if state is not None:
                position.load_state_dict(json.loads(json.dumps(state)))
            for step, batch in enumerate(kind, 1):
                done.append(check(batch))
                state = batch.state
                if step == steps:
                    break
        assert done == epochs[0]
        position.load_state_dict(state)  # after the last batch: that epoch is over
        assert epoch(first) == []
        assert epoch(first) == epochs[1]
        position.set_epoch(1)
        assert epoch(first) == epochs[0]
        assert epoch(first) == epochs[1]
        assert epoch(second if persistent else first) == epochs[2]


@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["whole", "left", "resumed", "set"]),
            st.integers(1, 3),  # workers
            st.booleans(),  # those of the iteration before, if they are as many
            st.integers(1, 4),  # batches until it is left
            st.randoms(use_true_random=False),  # which worker begins first
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60)
def test_workers_of_a_stream_agree(plan: list[Any], corpus: Path) -> None:
    """Copies of a stream that share nothing but its memory, begun in any order."""
    source = SprintCacheDataset({"data": {"filename": corpus / "features.cache"}})
    dataset = MapDataset(source)
    stream, alone = BatchStream(dataset, max_seqs=3), BatchSampler(dataset, max_seqs=3)
    workers: list[BatchStream] = []
    seed, state = 0, None
    for action, size, again, stop, random in plan:
        if action == "resumed" and state is not None:
            stream.load_state_dict(state)
            alone.load_state_dict(state)
        elif action == "set":
            stream.set_epoch(5)
            alone.set_epoch(5)
        if not again or len(workers) != size:
            workers = [copy.copy(stream) for _ in range(size)]
            seed += 100
            for worker in workers:
                worker._sampler = copy.deepcopy(stream._sampler)
        iterators, firsts = [], {}
        with pytest.MonkeyPatch.context() as patch:

            def be(number: int) -> None:
                info = SimpleNamespace(id=number, num_workers=size, seed=seed + number)  # noqa: B023
                patch.setattr("sprintcache.torch.stream.get_worker_info", lambda: info)

            for number, worker in enumerate(workers):
                be(number)
                iterators.append(iter(worker))
            for number in random.sample(range(size), size):
                be(number)
                firsts[number] = next(iterators[number], None)
            expected = list(alone)
            if action == "left":
                expected = expected[:stop]
            for step, seqs in enumerate(expected):
                number = step % size
                be(number)
                batch = firsts[number] if step < size else next(iterators[number])
                assert batch is not None
                assert batch.tags == [f"seq{seq}" for seq in seqs]
                state = batch.state
                assert state == seqs.state
            if action != "left":
                be(0)
                assert all(next(iterator, None) is None for iterator in iterators)
    source.close()


def test_the_last_epoch_of_a_stream(dataset: MapDataset) -> None:
    stream = BatchStream(dataset, **OPTIONS)
    stream.set_epoch(0)
    assert [{batch.state["epoch"] for batch in stream} for _ in range(2)] == [{0}, {1}]
    stream.set_epoch((1 << 20) - 1)
    assert {batch.state["epoch"] for batch in stream} == {(1 << 20) - 1}
    with pytest.raises(ValueError, match="epoch 1048576 of a stream"):
        next(iter(stream))


def test_a_batch_keeps_its_data_while_the_worker_goes_on(dataset: MapDataset) -> None:
    """Memory is used again only when the last tensor on it is gone, views included."""
    dataset.__getitems__([0])  # the process has read before it forks
    sampler = BatchSampler(dataset, max_seqs=1)
    kept: list[tuple[Batch, torch.Tensor]] = []
    addresses = set()
    batches = loader(dataset, sampler, num_workers=1, persistent_workers=True)
    for number in range(12):
        for step, batch in enumerate(batches):
            addresses.add(batch.data["data"].data_ptr())
            check(batch)
            if step == number:
                row = batch.data["data"][0]
                kept.append((batch._replace(data={"data": row}), row.clone()))
            if number == 3 and step == 5:
                break  # batches in transit are dropped
        del batch
    for batch, expected in kept:
        assert torch.equal(batch.data["data"], expected)
    # of two keys: those kept, those in flight
    assert len(addresses) <= len(kept) + 8


def doubled(batch: Batch) -> Batch:
    data = {**batch.data, "double": 2 * batch.data["data"], "part": batch.data["data"][:, 1:]}
    return batch._replace(data=data)


def as_dict(batch: Batch) -> dict[str, Any]:
    return {"x": batch.data["data"], "tags": batch.tags}


def test_batches_that_workers_change(dataset: MapDataset) -> None:
    """Memory of ours, of PyTorch, and parts of ours, work together; so do other containers."""
    for change in (doubled, as_dict):
        batches = DataLoader(
            dataset,
            batch_sampler=BatchSampler(dataset, max_seqs=3),
            collate_fn=change,
            num_workers=1,
            multiprocessing_context="fork",
            timeout=60,
        )
        for batch, expected in zip(
            batches, loader(dataset, BatchSampler(dataset, max_seqs=3)), strict=True
        ):
            x = expected.data["data"]
            if change is as_dict:
                assert batch["tags"] == expected.tags
                assert torch.equal(batch["x"], x)
            else:
                assert check(batch) == check(expected)
                assert torch.equal(batch.data["double"], 2 * x)
                assert torch.equal(batch.data["part"], x[:, 1:])


def test_memory_of_a_worker() -> None:
    pool = SharedPool()
    first = torch.from_numpy(pool.take("a", (3, 4), np.float32))
    first[:] = torch.arange(12).reshape(3, 4)
    sent = pool.sent(first[:, 1:])
    assert isinstance(sent, SharedTensor)
    address = first.data_ptr()
    del first
    got = sent.open()  # in the same process here
    assert got.tolist() == [[1, 2, 3], [5, 6, 7], [9, 10, 11]]
    view = got[1]
    del got
    gc.collect()
    other = pool.take("a", (3, 4), np.float32)
    other[:] = -1
    assert other.ctypes.data != address
    child = os.fork()
    if child == 0:  # has the same tensor and drops it
        del view
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    again = pool.take("a", (3, 4), np.float32)
    assert again.ctypes.data not in (address, other.ctypes.data)
    assert view.tolist() == [5, 6, 7]
    del view
    assert pool.take("a", (2, 4), np.float32).ctypes.data == address
    del again
    large = pool.take("a", (5000,), np.float32)  # one that is too small is replaced
    assert len(large) == 5000
    assert pool.sent(torch.zeros(3)).tolist() == [0, 0, 0]
    gone = pool.sent(torch.from_numpy(large))
    gone = gone._replace(block_id=gone.block_id._replace(process=2**22 + 1))
    with pytest.raises(ConnectionError, match="a batch of worker 4194305 is lost"):
        gone.open()


def our_files() -> set[str]:
    folder = Path("/proc/self/fd")
    names = set()
    for link in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # of the folder itself
            if "sprintcache-batch" in os.readlink(link):
                names.add(link.name)
    return names


def test_batches_that_are_kept_need_no_files_without_end(
    dataset: MapDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch sends further batches, by its configured strategy."""
    monkeypatch.setattr("sprintcache.torch.memory._MAX_BLOCKS", 6)
    before = our_files()
    kept = list(loader(dataset, BatchSampler(dataset, max_seqs=1), num_workers=1))
    assert len(our_files() - before) <= 6
    assert epoch(kept) == [list(seqs) for seqs in BatchSampler(dataset, max_seqs=1)]


def test_errors_of_workers_name_file_and_entry(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.cache"
    data = bytearray((corpus / "features.cache").read_bytes())
    with open_archive(corpus / "features.cache") as archive:
        position = archive.entry("seq4").position
    data[position + 12 + 4] ^= 0xFF  # the name of the datatype
    path.write_bytes(data)
    broken = MapDataset(SprintCacheDataset({"data": {"filename": path}}))
    sampler = BatchSampler(broken, max_seqs=1)
    with pytest.raises(Exception, match=r"(?s)damaged\.cache.*seq4") as caught:
        list(loader(broken, sampler, num_workers=1))
    assert type(caught.value).__module__ == "sprintcache.errors"


def test_a_state_of_another_corpus(dataset: MapDataset, tmp_path: Path) -> None:
    """Of the same number of sequences: only their names differ."""
    with ArchiveWriter(tmp_path / "other.cache") as writer:
        for seq in range(NUM_SEQS):
            writer.add_features(f"other{seq}", np.zeros((length(seq), 2), np.float32))
    one, other = (
        BatchSampler(SprintCacheDataset({"data": {"filename": path}}), max_seqs=2)
        for path in (dataset.dataset.data["data"].archive.path, tmp_path / "other.cache")
    )
    with pytest.raises(ValueError, match="the state belongs to different data"):
        other.load_state_dict(one.state_dict())


# ---- StatefulDataLoader --------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True], ids=["map", "stream"])
@pytest.mark.parametrize(
    ("workers", "persistent"), [(0, False), (2, False), (2, True)], ids=["0", "2", "2 persistent"]
)
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata's own doing
@pytest.mark.skipif(
    importlib.util.find_spec("torchdata") is None, reason="needs torchdata: pip install torchdata"
)
def test_stateful_data_loader(
    dataset: MapDataset, workers: int, persistent: bool, streaming: bool
) -> None:
    """Its own state, taken anywhere, twice in a row, at the end of an epoch and after it."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    alone = BatchSampler(dataset, **OPTIONS)
    epochs = [epoch(loader(dataset, alone)) for _ in range(3)]

    def fresh() -> Any:
        options: dict[str, Any] = {"num_workers": workers, "persistent_workers": persistent}
        if workers:
            options["multiprocessing_context"] = "fork"
        if streaming:
            return StatefulDataLoader(BatchStream(dataset, **OPTIONS), batch_size=None, **options)
        sampler = BatchSampler(dataset, **OPTIONS)
        return StatefulDataLoader(dataset, batch_sampler=sampler, collate_fn=collate, **options)

    expected = [*epochs[0], *epochs[1], *epochs[2]]
    total = len(epochs[0])
    # 1, then 1 more, then to the last batch: and there before, or after, the end of the epoch
    for exhausted in (False, True):
        state = None
        done: list[list[int]] = []
        for steps in (1, 1, total - 2, 2, total):
            batches = fresh()
            if state is not None:
                batches.load_state_dict(state)
            goal = len(done) + steps
            for _ in range(3):  # epochs, of which one may be an empty rest
                for batch in batches:
                    done.append(check(batch))
                    if len(done) == goal and not (exhausted and goal == total):
                        break
                if len(done) == goal:
                    break
            state = json.loads(json.dumps(batches.state_dict()))
            assert done == expected[:goal]


# ---- ranks ---------------------------------------------------------------------------------------

RANK = """
import json, os, sys, time
import torch._dynamo  # which DistributedDataParallel imports
from torch import distributed
from torch.utils.data import DataLoader
from sprintcache.dataset import SprintCacheDataset
from sprintcache.torch import BatchSampler, Loader, MapDataset, collate

def main(folder, store, rank, epochs):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
    dataset = MapDataset(SprintCacheDataset(
        {"data": {"filename": folder + "/features.cache"}}, seq_ordering="random"))
    sampler = BatchSampler(dataset, max_seqs=2, remainder="drop")
    assert (sampler.rank, sampler.world_size) == (rank, 2)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
    seen = []
    if os.path.exists(store + ".checkpoint"):
        checkpoint = torch.load(store + ".checkpoint")
        model.load_state_dict(checkpoint["model"])
        sampler.load_state_dict(checkpoint["data"])
        seen = checkpoint["seen"]
    if rank == 0:
        loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, num_workers=1,
                            multiprocessing_context="fork")
    else:  # the same batches
        loader = Loader(dataset, sampler)
    while sampler.epoch <= epochs:
        for batch in loader:
            model(batch.data["data"]).mean().backward()
            everyone = [None, None]
            distributed.all_gather_object(everyone, (batch.tags, batch.state))
            assert everyone[0][1] == everyone[1][1]
            seen.append([tags for tags, _ in everyone])
            if rank == 0:
                torch.save({"model": model.state_dict(), "data": batch.state, "seen": seen},
                           store + ".new")
                os.replace(store + ".new", store + ".checkpoint")
            distributed.barrier()
            time.sleep(0.05)
    distributed.destroy_process_group()

if __name__ == "__main__":
    for _ in sys.stdin:  # each line starts two ranks
        ranks = []
        for rank in range(2):  # forks: importing torch takes longer than the training
            ranks.append(os.fork())
            if not ranks[-1]:
                os.setsid()
                main(sys.argv[1], sys.argv[2], rank, epochs=2)
                os._exit(0)
        print(*ranks, flush=True)
        print(any([os.waitpid(rank, 0)[1] for rank in ranks]), flush=True)
"""


def seen_in(checkpoint: Path) -> list[list[list[str]]]:
    return torch.load(checkpoint)["seen"] if checkpoint.exists() else []


def test_two_ranks_killed_and_started_again(corpus: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    store, checkpoint = tmp_path / "store", tmp_path / "store.checkpoint"

    @contextlib.contextmanager
    def started(parent: subprocess.Popen[str]) -> Iterator[None]:
        """Starts both; at the end they and their workers are killed."""
        store.unlink(missing_ok=True)
        print(file=parent.stdin, flush=True)
        ranks = [int(word) for word in parent.stdout.readline().split()]  # type: ignore[union-attr]
        try:
            assert len(ranks) == 2
            yield
        finally:
            for rank in ranks:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(rank, signal.SIGKILL)

    steps = 6  # 12 batches, the last one of a single sequence, go round over two ranks
    with subprocess.Popen(
        [sys.executable, script, corpus, store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    ) as parent:
        assert parent.stdout is not None
        with started(parent):
            deadline = time.monotonic() + 90
            while len(seen_in(checkpoint)) < 3:
                assert time.monotonic() < deadline
                assert parent.poll() is None
                time.sleep(0.02)
        assert parent.stdout.readline() == "True\n"  # killed
        assert len(seen_in(checkpoint)) < steps
        with started(parent):
            assert parent.stdout.readline() == "False\n"
    seen = seen_in(checkpoint)
    assert len(seen) == 2 * steps  # equal ones: each has the tags of both ranks
    for part in (seen[:steps], seen[steps:]):
        count = Counter(tag for step in part for tags in step for tag in tags)
        assert count == Counter(f"seq{seq}" for seq in range(NUM_SEQS))
        assert all(set(one).isdisjoint(other) for one, other in part)


def test_a_group_that_came_later(dataset: MapDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler was made for one process: both ranks would train on everything."""
    early, explicit = (BatchSampler(dataset, **OPTIONS, **more) for more in ({}, ALONE))
    stream = BatchStream(dataset, **OPTIONS)
    group = torch.distributed
    for name, value in (("is_initialized", True), ("get_rank", 1), ("get_world_size", 2)):
        monkeypatch.setattr(group, name, lambda value=value: value)
    for made in (early, stream):
        with pytest.raises(RuntimeError, match=r"rank 1 of 2, .* after init_process_group"):
            next(iter(made))
    assert len(list(explicit)) > len(list(BatchSampler(dataset, **OPTIONS)))


# ---- the example, short --------------------------------------------------------------------------


def test_training_beats_the_prior(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).resolve().parents[2] / "examples" / "train_hybrid.py"
    spec = importlib.util.spec_from_file_location("train_hybrid", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    picture = tmp_path / "curve.png"
    drawing = importlib.util.find_spec("matplotlib") is not None
    result = example.main(["--epochs", "6", *(["--plot", str(picture)] if drawing else [])])
    assert picture.is_file() == drawing
    labeling = AllophoneLabeling(**LABELING)
    with open_archive(DATA / "alignment.viterbi.cache") as archive:
        tags = open_archive(DATA / "features.bundle").segments[::6]
        labels = np.concatenate([archive.read_labels(tag, labeling) for tag in tags])
    assert result.prior == pytest.approx(np.mean(labels != labeling.sil_label_idx))
    assert result.dev[-1] < 0.92 * result.prior
    assert result.train[-1] < 0.85 * result.train[0]
    assert f"prior: {result.prior:.1%}" in capsys.readouterr().out


# ---- the extra -----------------------------------------------------------------------------------


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None; import sprintcache.torch"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "PyTorch is missing: pip install 'sprintcache[torch]'" in done.stderr
