"""Loader: batches of reading threads, compared with a plain sampler and DataLoaders."""

from __future__ import annotations

import contextlib
import copy
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import ArchiveWriter, SprintCacheDataset, open_archive
from sprintcache.errors import LoaderError, SprintCacheError
from tests.faults import Interrupt

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")

from torch.utils.data import DataLoader  # noqa: E402

from sprintcache.torch import (  # noqa: E402
    AutomataCollate,
    Batch,
    BatchSampler,
    Loader,
    MapDataset,
    collate,
)
from sprintcache.torch.batch_memory import BatchMemory  # noqa: E402
from sprintcache.torch.step_queue import StepQueue  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

NUM_SEQS = 23
NUM_POINTS = int(os.environ.get("SPRINTCACHE_FAULT_BATCHES", "40"))
SECONDS = 30.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequence i has the value i everywhere."""
    folder = tmp_path_factory.mktemp("corpus")
    with ArchiveWriter(folder / "features.cache") as writer:
        for seq in range(NUM_SEQS):
            frames = 5 + 7 * seq % 13
            writer.add_features(f"seq{seq}", np.full((frames, 2), seq, np.float32))
    return folder


def open_dataset(corpus: Path, **options: Any) -> MapDataset:
    data = {"data": {"filename": corpus / "features.cache"}}
    return MapDataset(SprintCacheDataset(data, seq_ordering="random", **options))


@pytest.fixture
def dataset(corpus: Path) -> Iterator[MapDataset]:
    opened = open_dataset(corpus)
    yield opened
    opened.dataset.close()


def reading_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("sprintcache-loader")]


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def seqs_of(batch: Batch) -> list[int]:
    """The sequences of a batch, by its values."""
    for row, n in zip(batch.data["data"], batch.lengths["data"].tolist(), strict=True):
        assert len(set(row[:n].flatten().tolist())) == 1
        assert not row[n:].any()
    seqs = [int(row[0, 0]) for row in batch.data["data"]]
    assert batch.tags == [f"seq{seq}" for seq in seqs]
    return seqs


# ---- order, exactly once, resume -----------------------------------------------------------------


@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["threads", "threads", "workerless"]),
            st.integers(1, 3),  # threads
            st.integers(1, 5),  # prefetch
            st.integers(0, 6),  # batches until it is left
            st.sampled_from(["batch", "loader"]),  # whose state is stored
        ),
        min_size=1,
        max_size=6,
    ),
    ranks=st.integers(1, 3),
    parts=st.integers(1, 2),
    remainder=st.sampled_from(["repeat", "drop"]),
)
@settings(max_examples=60)
def test_every_sequence_once_in_order_however_it_is_interrupted(
    plan: list[Any], ranks: int, parts: int, remainder: Any, corpus: Path
) -> None:
    """Each interruption continues in a new object, as after a crash; the oracle is the sampler."""
    dataset = open_dataset(corpus, partition_epoch=parts)
    ours = {"max_frames": 40, "world_size": ranks, "remainder": remainder}
    for rank in range(ranks):
        alone = BatchSampler(dataset, rank=rank, **ours)
        expected = list(chain.from_iterable(alone for _ in range(2 * parts)))
        done: list[list[int]] = []
        state = BatchSampler(dataset, rank=rank, **ours).state_dict()
        for kind, threads, prefetch, stop, keeper in [*plan, ("threads", 2, 3, 99, "batch")]:
            sampler = BatchSampler(dataset, rank=rank, **ours)
            batches: Any
            if kind == "threads":
                batches = Loader(dataset, sampler, num_threads=threads, prefetch=prefetch)
                batches.load_state_dict(json.loads(json.dumps(state)))
            else:
                batches = DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)
                sampler.load_state_dict(state)
            for batch in islice(batches, stop):
                assert batch.state == expected[len(done)].state
                done.append(seqs_of(batch))
                state = batch.state
                if kind == "threads" and keeper == "loader":
                    state = batches.state_dict()
                    assert state == batch.state
            if kind == "threads":
                assert batches.state_dict()["epoch"] >= state["epoch"]
        assert [list(seqs) for seqs in expected[: len(done)]] == done
        assert state["epoch"] * len(expected) >= len(done)
    dataset.dataset.close()


def test_state_before_within_and_after_an_epoch(dataset: MapDataset) -> None:
    sampler = BatchSampler(dataset, max_seqs=4)
    loader = Loader(dataset, sampler)
    start = loader.state_dict()
    assert (start["epoch"], start["batch"]) == (1, 0)
    batches = iter(loader)
    assert loader.state_dict() == start  # although batches were read ahead
    states = [next(batches).state for _ in range(2)]
    assert loader.state_dict() == states[-1]
    del batches
    assert loader.state_dict() == states[-1]
    loader.load_state_dict(states[0])
    rest = [batch.state["batch"] for batch in loader]
    assert rest == list(range(2, 7))
    after = loader.state_dict()
    assert (after["epoch"], after["batch"]) == (2, 0)
    begun = iter(loader)
    assert loader.state_dict() == after
    assert next(begun).state["epoch"] == 2
    iter(loader)  # left early: the next epoch
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (3, 0)
    loader.set_epoch(7)
    assert len(loader) == 6
    assert next(iter(loader)).state["epoch"] == 7
    with pytest.raises(ValueError, match="not a state"):
        loader.load_state_dict({})


def test_lists_of_another_sampler(dataset: MapDataset) -> None:
    loader = Loader(dataset, [[3, 1], [2]])
    assert [(seqs_of(batch), batch.state) for batch in loader] == [([3, 1], None), ([2], None)]
    assert len(loader) == 2
    with pytest.raises(TypeError, match="list has no state"):
        loader.state_dict()
    assert list(Loader(dataset, [])) == []


# ---- memory --------------------------------------------------------------------------------------


def test_tensors_that_are_kept_are_not_overwritten(dataset: MapDataset) -> None:
    loader = Loader(dataset, BatchSampler(dataset, max_seqs=1), num_threads=3)
    kept, addresses = [], set()
    for number in range(12):
        for step, batch in enumerate(loader):
            addresses.add(batch.data["data"].data_ptr())
            if step == number:
                row = batch.data["data"][0]
                kept.append((row, row.clone()))
        del batch
    assert all(torch.equal(row, copied) for row, copied in kept)
    assert len(addresses) <= len(kept) + 12  # those kept, those in flight, those outgrown


def test_no_signal_handler_runs_while_memory_is_released() -> None:
    """In a callback of the garbage collector its exception would be lost, and the memory too."""
    memory = BatchMemory(2)
    array = memory.take("data", (3,), np.float32)
    address = array.ctypes.data
    with Interrupt(RuntimeError, -1, "sprintcache.torch.batch_memory") as points:
        del array
    assert points.num_passed == 0
    assert memory.take("data", (3,), np.float32).ctypes.data == address


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=40))
def test_blocks_in_use_never_overlap(plan: list[tuple[int, int]]) -> None:
    memory = BatchMemory(2)
    held: dict[int, Any] = {}
    array: Any = None
    for slot, size in plan:
        held.pop(slot, None)
        held[slot] = memory.take("x", (size, 1), np.int32)[:, 0]
        held[slot][:] = slot
        for number, array in held.items():
            assert np.all(array == number)
    held.clear()
    del array
    last = memory.take("x", (1,), np.int32)
    assert last.shape == (1,)
    assert len(memory._free["x"]) <= 2


def test_pinned_memory(dataset: MapDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning needs a GPU; the calls that would pin are the same."""
    calls: list[str] = []
    empty = torch.empty

    def pinned_empty(*args: Any, pin_memory: bool = False, **options: Any) -> Any:
        calls.append("empty" if pin_memory else "plain")
        return empty(*args, **options)

    def pin(tensor: Any, device: Any = None) -> Any:
        calls.append("pin")
        return tensor

    monkeypatch.setattr(torch, "empty", pinned_empty)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loader = Loader(dataset, [[4, 2]])
    assert [seqs_of(batch) for batch in loader] == [[4, 2]]
    assert calls == ["empty", "pin", "pin"]
    calls.clear()
    assert [seqs_of(batch) for batch in Loader(dataset, [[4]], pin_memory=False)] == [[4]]
    assert calls == []


# ---- hooks ---------------------------------------------------------------------------------------


def test_hooks_run_where_they_should(dataset: MapDataset) -> None:
    names: dict[str, set[str]] = {"transform": set(), "deliver": set()}

    def transform(batch: Batch) -> dict[str, Any]:
        names["transform"].add(threading.current_thread().name.rpartition("-")[0])
        return {"double": 2 * batch.data["data"], "tags": batch.tags}

    def deliver(batch: dict[str, Any]) -> tuple[Any, str]:
        names["deliver"].add(threading.current_thread().name)
        return batch["double"], batch["tags"][0]

    loader = Loader(dataset, [[3], [5]], transform=transform, deliver=deliver)
    got = [(float(double[0, 0, 0]), tag) for double, tag in loader]
    assert got == [(6, "seq3"), (10, "seq5")]
    assert names == {
        "transform": {"sprintcache-loader"},
        "deliver": {threading.current_thread().name},
    }


def test_automata_of_each_batch(dataset: MapDataset) -> None:
    from sprintcache.automata import Automata

    def build(tags: Any) -> Automata:
        seqs = np.arange(len(tags))
        edges = np.array([2 * seqs, 2 * seqs + 1, 0 * seqs, seqs])
        return Automata.from_edges(edges, np.zeros(len(tags)), edges[:2])

    loader = Loader(dataset, [[3, 1]], transform=AutomataCollate(build))
    ((batch, automata),) = loader
    assert batch.tags == list(automata.tags) == ["seq3", "seq1"]


# ---- errors, signals, the end --------------------------------------------------------------------


def test_an_error_is_raised_at_once_and_as_it_is(corpus: Path, tmp_path: Path) -> None:
    """Batches before it are ready: they are not delivered any more, and not lost either."""
    path = tmp_path / "features.cache"
    data = bytearray((corpus / "features.cache").read_bytes())
    with open_archive(corpus / "features.cache") as archive:
        position = archive.entry("seq3").position
    data[position + 12 + 4] ^= 0xFF  # the name of the datatype
    path.write_bytes(data)
    dataset = open_dataset(tmp_path)
    loader = Loader(dataset, [[0], [1], [2], [3], [4]], num_threads=1, prefetch=4)
    batches = iter(loader)
    wait_for(lambda: not reading_threads())
    with pytest.raises(SprintCacheError, match=r"features\.cache.*seq3") as caught:
        next(batches)
    assert any("copy" in entry.name or "_read" in entry.name for entry in caught.traceback)
    with pytest.raises(LoaderError, match="closed"):
        next(batches)
    assert reading_threads() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_an_error_of_a_transform(dataset: MapDataset, error: type[BaseException]) -> None:
    def fail(batch: Batch) -> Batch:
        if batch.tags == ["seq2"]:
            raise error("of the transform")
        return batch

    loader = Loader(dataset, [[2]], transform=fail)
    with pytest.raises(error, match="of the transform"):
        list(loader)


def test_an_error_of_the_sampler(dataset: MapDataset) -> None:
    def steps() -> Iterator[list[int]]:
        yield [1]
        yield [2]
        raise ValueError("no third step")

    class Steps:
        def __iter__(self) -> Iterator[list[int]]:
            return steps()

    with pytest.raises(ValueError, match="no third step"):
        list(Loader(dataset, Steps()))


class Gate:
    """A transform that blocks until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, batch: Batch) -> Batch:
        self.entered.set()
        assert self.opened.wait(SECONDS)
        return batch


def test_ctrl_c_while_it_waits_loses_nothing(dataset: MapDataset) -> None:
    gate = Gate()
    loader = Loader(dataset, [[1], [2], [3]], transform=gate)
    batches = iter(loader)
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        wait_for(lambda: batches._queue._ready._tickets)  # type: ignore[attr-defined]
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    thread.join(SECONDS)
    gate.opened.set()
    assert [seqs_of(batch) for batch in batches] == [[1], [2], [3]]


@pytest.mark.parametrize("helps", [False, True], ids=["waits", "reads"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_exception_at_any_point_loses_no_batch(
    dataset: MapDataset, kind: type[BaseException], helps: bool
) -> None:
    """Of a signal handler, while an epoch is read; then the rest of it is, or it is resumed."""
    timeout = None if helps else SECONDS

    def attempt(index: int) -> Interrupt:
        loader = Loader(dataset, BatchSampler(dataset, max_seqs=2), timeout=timeout)
        interrupt = Interrupt(kind, index, "sprintcache.", "threading")
        expected = [list(seqs) for seqs in BatchSampler(dataset, max_seqs=2)]
        tags: list[list[int]] = []
        raised = ""
        try:
            with interrupt:
                batches = iter(loader)
                while True:
                    batch = next(batches, None)
                    if batch is None:
                        break
                    tags.append(seqs_of(batch))
                loader.close()
        except kind as error:
            raised = str(error)
        assert raised == ("of a signal handler" if interrupt.position else ""), interrupt.position
        with contextlib.suppress(LoaderError, UnboundLocalError):
            tags += [seqs_of(batch) for batch in batches]
        if len(tags) < len(expected):
            loader.load_state_dict(loader.state_dict())
            tags += [seqs_of(batch) for batch in loader]
        assert tags == expected, interrupt.position
        loader.close()
        return interrupt

    num_points = attempt(-1).num_passed
    assert num_points > 100
    for index in range(0, num_points, max(num_points // NUM_POINTS, 1)):
        attempt(index)


def test_a_timeout_loses_nothing(dataset: MapDataset) -> None:
    gate = Gate()
    loader = Loader(dataset, [[1], [2]], transform=gate, timeout=0.05)
    batches = iter(loader)
    with pytest.raises(TimeoutError, match=r"no batch within 0\.05 seconds"):
        next(batches)
    gate.opened.set()
    loader._timeout = SECONDS
    assert [seqs_of(batch) for batch in batches] == [[1], [2]]


def test_close_from_another_thread_ends_the_waiting(dataset: MapDataset) -> None:
    gate = Gate()
    loader = Loader(dataset, [[1], [2]] * 1000, transform=gate)
    batches = iter(loader)

    def close() -> None:
        wait_for(lambda: batches._queue._ready._tickets)  # type: ignore[attr-defined]
        gate.opened.set()
        loader.close()

    thread = threading.Thread(target=close)
    thread.start()
    with pytest.raises(LoaderError, match="this iteration was closed"):
        list(batches)
    thread.join(SECONDS)
    assert reading_threads() == []


def test_threads_end_with_their_iteration(dataset: MapDataset) -> None:
    sampler = BatchSampler(dataset, max_seqs=1)
    for prefetch in (1, 4):
        with Loader(dataset, sampler, num_threads=3, prefetch=prefetch) as loader:
            list(loader)
            assert reading_threads() == []
            batches = iter(loader)
            next(batches)
            assert len(reading_threads()) == min(3, prefetch)
            other = iter(loader)
            with pytest.raises(LoaderError, match="closed"):
                next(batches)
            assert len(reading_threads()) == min(3, prefetch)
        with pytest.raises(LoaderError, match="closed"):
            next(other)
        loader.close()
        assert reading_threads() == []
        for _ in loader:
            break
        wait_for(lambda: not reading_threads())
        batches = iter(loader)
        del loader
        assert next(batches)
        del batches
        wait_for(lambda: not reading_threads())


def test_the_queue_is_bounded(dataset: MapDataset) -> None:
    read: list[str] = []
    loader = Loader(
        dataset,
        BatchSampler(dataset, max_seqs=1),
        num_threads=3,
        prefetch=3,
        transform=lambda batch: read.append(batch.tags[0]) or batch,
    )
    batches = iter(loader)
    for taken in range(2, 11, 2):  # threads wake for two free slots of three
        next(batches)
        next(batches)
        wait_for(lambda: len(read) == taken + 3)  # noqa: B023
        queue = batches._queue  # type: ignore[attr-defined]
        assert queue._num_begun - queue._num_taken == 3
    loader.close()


EXIT = """
import os, sys
from sprintcache import SprintCacheDataset
from sprintcache.torch import BatchSampler, Loader, MapDataset
for way in ("end", "error"):  # forks: importing torch takes longer than the rest
    child = os.fork()
    if not child:
        break
    print(way, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for number, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(f"{way}.{name}", os.O_WRONLY | os.O_CREAT), number)
dataset = MapDataset(SprintCacheDataset({"data": {"filename": sys.argv[1]}}))
loader = Loader(dataset, BatchSampler(dataset, max_seqs=1))
batches = iter(loader)
print(next(batches).tags, flush=True)
if way == "error":
    raise RuntimeError("of the training")
"""


def test_the_interpreter_ends_in_the_middle(corpus: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXIT, corpus / "features.cache"],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "end 0\nerror 1\n", "")
    for way in ("end", "error"):
        assert (tmp_path / f"{way}.out").read_text() == "['seq0']\n"
        errors = (tmp_path / f"{way}.err").read_text()
        assert ("of the training" in errors) == (way == "error")


# ---- fork, pickle --------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True], ids=["", "lock held"])
def test_a_forked_process(dataset: MapDataset, held: bool) -> None:
    """The child's iteration of the parent is an error; its own one works, and so does its end."""
    loader = Loader(dataset, BatchSampler(dataset, max_seqs=2))
    batches = iter(loader)
    first = next(batches)
    queue, memory = batches._queue, loader._memory  # type: ignore[attr-defined]
    release, acquired = threading.Event(), threading.Event()

    def hold() -> None:
        with queue._lock, memory._lock:  # type: ignore[attr-defined]
            acquired.set()
            release.wait(SECONDS)

    thread = threading.Thread(target=hold)
    if held:
        thread.start()
        assert acquired.wait(SECONDS)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(int(SECONDS))
            try:
                next(batches)
            except LoaderError as error:
                message = str(error)
            del first
            seqs = [seq for batch in loader for seq in seqs_of(batch)]
            del batches
            gc.collect()
            loader.close()
            status = 0 if "forked" in message and sorted(seqs) == list(range(NUM_SEQS)) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    if held:
        release.set()
        thread.join(SECONDS)
    seqs = [*seqs_of(first), *(seq for batch in batches for seq in seqs_of(batch))]
    assert sorted(seqs) == list(range(NUM_SEQS))


def test_a_pickled_loader_is_idle(dataset: MapDataset) -> None:
    loader = Loader(dataset, BatchSampler(dataset, max_seqs=2), num_threads=1)
    other = pickle.loads(pickle.dumps(loader))
    assert [seqs_of(batch) for batch in other] == [seqs_of(batch) for batch in loader]
    batches = iter(loader)
    state = next(batches).state
    copied = copy.copy(loader)
    copied.load_state_dict(state)
    assert next(iter(copied)).state["batch"] == state["batch"] + 1
    copied.close()


# ---- figures -------------------------------------------------------------------------------------


def test_report_of_steps_and_of_the_whole(dataset: MapDataset) -> None:
    gate = Gate()
    loader = Loader(dataset, [[0], [1, 2], [3]], transform=gate)
    assert loader.report() == (0, 0, 0.0, 0.0, 0.0, None)
    batches = iter(loader)
    assert gate.entered.wait(SECONDS)
    timer = threading.Timer(0.1, gate.opened.set)
    timer.start()
    steps = []
    for _ in range(3):
        next(batches)
        steps.append(loader.report().last_step)
        wait_for(lambda: len(batches._queue._results) == 2 - len(steps) + 1)  # type: ignore[attr-defined]
    assert next(batches, None) is None
    timer.join(SECONDS)
    report = loader.report()
    assert [step.num_frames for step in steps] == [5, 12 + 6, 13]
    assert steps[0].waited >= 0.05 > steps[1].waited
    assert [step.queue_depth for step in steps[1:]] == [2, 1]
    assert report.num_steps == 3
    assert report.num_frames == 36
    assert report.last_step == steps[-1]
    assert sum(step.waited for step in steps) <= report.waited <= report.seconds
    assert sum(step.seconds for step in steps) <= report.seconds
    assert report.queue_depth == sum(step.queue_depth for step in steps) / 3
    assert report.waited_share == report.waited / report.seconds
    assert report.frames_per_second == 36 / report.seconds


def test_scalars_for_tensorboard(dataset: MapDataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    loader = Loader(dataset, [[0], [1]])
    loader.report().write_scalars(None, 0)  # nothing yet
    reports = []
    with SummaryWriter(tmp_path) as writer:
        for step, _ in enumerate(loader, 10):
            loader.report().write_scalars(writer, step, prefix="data")
            reports.append(loader.report())
    events = EventAccumulator(str(tmp_path)).Reload()
    for tag, values in {
        "data/step_seconds": [r.last_step.seconds for r in reports],
        "data/step_waited": [r.last_step.waited for r in reports],
        "data/queue_depth": [r.last_step.queue_depth for r in reports],
        "data/waited_share": [r.waited_share for r in reports],
        "data/frames_per_second": [r.frames_per_second for r in reports],
    }.items():
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [10, 11]
        assert [scalar.value for scalar in scalars] == pytest.approx(values)


# ---- options, and the queue alone ----------------------------------------------------------------


def test_options_out_of_range(dataset: MapDataset) -> None:
    for options, message in (
        ({"num_threads": 0}, "num_threads must be at least 1, not 0"),
        ({"prefetch": 0}, "prefetch must be at least 1, not 0"),
        ({"timeout": 0}, "timeout must be above 0, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Loader(dataset, [], **options)  # type: ignore[arg-type]
    for wrong in (timedelta(5), Decimal(5), "5", True):
        with pytest.raises(TypeError, match="timeout must be a number of seconds"):
            Loader(dataset, [], timeout=wrong)  # type: ignore[arg-type]
    for long in (float("inf"), 10**400, np.float32(9e9)):
        assert len(list(Loader(dataset, [[0], [1]], timeout=long))) == 2
    with pytest.raises(TypeError, match="expected a MapDataset, found list"):
        Loader([], [])  # type: ignore[arg-type]


@pytest.mark.parametrize("helps", [False, True], ids=["", "consumer helps"])
@pytest.mark.parametrize("readers", [1, 4])
def test_a_queue_under_contention(readers: int, helps: bool) -> None:
    """Without torch or archives: order and completeness of many short steps."""
    process = (lambda step: -step) if helps else None
    queue: StepQueue[int, int] = StepQueue(iter(range(3000)), 5, readers)

    def read() -> None:
        begun = queue.begin()
        while begun is not None:
            number, step = begun
            assert number == step
            begun = queue.begin((number, -step))
        queue.leave()

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    taken = []
    while (result := queue.take(SECONDS, process)) is not None:
        assert 1 <= result[1] <= 5
        assert queue.take(SECONDS, process) == result  # it is not delivered yet
        queue.taken = None
        taken.append(result[0])
    for thread in threads:
        thread.join(SECONDS)
    assert taken == [-step for step in range(3000)]
    assert queue.take(SECONDS) is None


def test_a_consumer_that_processes_steps() -> None:
    """A step that is interrupted is processed by the next `take`; an error ends the queue."""
    queue: StepQueue[int, int] = StepQueue(iter(range(3)), 3, 1)
    errors = [KeyboardInterrupt(), None, ZeroDivisionError()]
    processed: list[int] = []

    def process(step: int) -> int:
        processed.append(step)
        error = errors.pop(0)
        if error is not None:
            raise error
        return -step

    with pytest.raises(KeyboardInterrupt):
        queue.take(SECONDS, process)
    assert queue.begin() == (1, 1)
    assert queue.take(SECONDS, process) == (0, 1)
    queue.taken = None
    with pytest.raises(ZeroDivisionError):  # of step 2, while the reader has step 1
        queue.take(SECONDS, process)
    assert processed == [0, 0, 2]
    with pytest.raises(LoaderError, match="closed"):
        queue.take(SECONDS, process)
    assert queue.begin((1, -1)) is None


def test_readers_that_vanish() -> None:
    queue: StepQueue[int, int] = StepQueue(iter([1, 2]), 5, 1)
    assert queue.begin() == (0, 1)
    queue.leave()
    with pytest.raises(LoaderError, match="all reading threads have ended"):
        queue.take(SECONDS)
