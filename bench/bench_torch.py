"""PyTorch: an epoch through a DataLoader against HDF5, memory of eight workers, time of a state.

The data are those of bench_dataset.py. All peers take the batches of the same sampler, 20,000
frames in random order; the consumer of a batch sums all features, so that every page is touched.
"h5py" opens its file in the worker, keeps the datasets open and reads them right into the padded
tensors, "h5py items" returns single sequences that a collate function pads. "read_batch" is
`SprintCacheDataset.read_batch` of the same batches, without any DataLoader.

Memory: a bundle of 1,000,000 entries, eight workers (quick: two), private memory of each after 200
batches of 64 random sequences; an idle worker is one of a DataLoader over nothing, of the same
process.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import statistics
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
from bench_dataset import FRAMES, Corpus
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import ArchiveFile, feature_payload, tiny_name, write_bundle

PARTS = 4


# --- an epoch ------------------------------------------------------------------------------------


class HdfDataset:
    """The same sequences in HDF5, a dataset for each; opened where it is read, as h5py requires."""

    def __init__(self, path: Path, num_seqs: int, whole: bool) -> None:
        self.path = path
        self.num_seqs = num_seqs
        if whole:
            self.__getitems__ = self.batch

    def __len__(self) -> int:
        return self.num_seqs

    @functools.cached_property
    def datasets(self) -> list[tuple[Any, Any]]:
        import h5py

        file = h5py.File(self.path, "r")
        return [(file[f"x{i}"], file[f"y{i}"]) for i in range(self.num_seqs)]

    def __getitem__(self, seq: int) -> Any:
        import torch

        x, y = self.datasets[seq]
        return torch.from_numpy(x[()]), torch.from_numpy(y[()])

    def batch(self, seqs: list[int]) -> Any:
        import torch

        pairs = [self.datasets[seq] for seq in seqs]
        frames = [len(x) for x, _ in pairs]
        shape = len(seqs), max(frames)
        features = torch.empty((*shape, pairs[0][0].shape[1]))
        labels = torch.empty(shape, dtype=torch.int32)
        arrays = features.numpy(), labels.numpy()
        for row, (n, pair) in enumerate(zip(frames, pairs, strict=True)):
            for array, source, pad in zip(arrays, pair, (0, -1), strict=True):
                source.read_direct(array, dest_sel=np.s_[row, :n])
                array[row, n:] = pad
        return features, labels, torch.tensor(frames)


def pad_items(items: Any) -> Any:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    if isinstance(items, tuple):
        return items
    features, labels = zip(*items, strict=True)
    return (
        pad_sequence(features, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=-1),
        torch.tensor([len(x) for x in features]),
    )


def parts(batch: Any) -> tuple[Any, Any, Any]:
    """Features, labels and lengths of any peer's batch."""
    if hasattr(batch, "data"):
        return batch.data["data"], batch.data["classes"], batch.lengths["data"]
    return batch  # type: ignore[no-any-return]


def check(name: str, batches: Any, expected: list[list[int]], corpus: Corpus) -> None:
    for batch, seqs in zip(batches, expected, strict=True):
        x, y, lengths = (part.numpy() for part in parts(batch))
        for row, seq in enumerate(seqs):
            n = int(lengths[row])
            entry = corpus.names[seq]
            check_equal(name, entry, x[row, :n], corpus.features[entry])
            check_equal(name, entry, y[row, :n], corpus.labels[seq])
            if x[row, n:].any() or (y[row, n:] != -1).any():
                raise AssertionError(f"{name}: {entry}: padding")


def processor_time(pids: list[int]) -> float:
    """Seconds of other processes so far, in steps of 10 ms."""
    total = 0
    for pid in pids:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(words[11]) + int(words[12])
    return total / 100


class Feeder:
    """A peer: batches of the epochs one after another, and the processor time they took."""

    def __init__(self, name: str, batches: Callable[[], Iterator[Any]]) -> None:
        self.name = name
        self.batches = batches
        self.workers: list[int] = []
        self.cpu: list[float] = []

    def start(self, corpus: Corpus, expected: list[list[int]]) -> None:
        """The first epoch: starts the workers, checks the batches."""
        before = set(multiprocessing.active_children())
        check(self.name, self.batches(), expected, corpus)
        children = set(multiprocessing.active_children()) - before
        self.workers = [child.pid for child in children if child.pid]

    def peer(self) -> Peer:
        def plan(order: Order) -> Run:
            def run() -> None:
                begin = time.process_time() + processor_time(self.workers)
                for batch in self.batches():
                    parts(batch)[0].sum()
                self.cpu.append(time.process_time() + processor_time(self.workers) - begin)

            return run

        return Peer(self.name, plan)


def feeders(module: Any, corpus: Corpus, folder: Path) -> tuple[list[Feeder], list[list[int]]]:
    import torch
    from torch.utils.data import DataLoader

    from sprintcache.torch import Batch, BatchSampler, MapDataset, collate

    dataset = module.SprintCacheDataset(corpus.data, seq_ordering="random")
    sampler: Callable[[], Any] = functools.partial(BatchSampler, dataset, max_frames=FRAMES)
    ours = MapDataset(dataset)
    direct = sampler()

    def read_batch() -> Iterator[Any]:
        for seqs in direct:
            read = dataset.read_batch(seqs)
            arrays = {key: torch.from_numpy(array) for key, (array, _) in read.items()}
            lengths = {key: torch.from_numpy(sizes) for key, (_, sizes) in read.items()}
            yield Batch(arrays, lengths, [], None)

    def loading(name: str, data: Any, collate_fn: Any, workers: int) -> Feeder:
        loader = DataLoader(
            data,
            batch_sampler=sampler(),
            collate_fn=collate_fn,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        return Feeder(f"{name}, {workers} workers", lambda: iter(loader))

    feeding = [Feeder("read_batch", read_batch)]
    feeding += [loading("ours", ours, collate, workers) for workers in (0, 2)]
    h5py = harness.optional("h5py")
    if h5py is not None:
        path = folder / "all.h5"
        with h5py.File(path, "w") as file:
            for i, x in enumerate(corpus.features.values()):
                file.create_dataset(f"x{i}", data=x)
                file.create_dataset(f"y{i}", data=corpus.labels[i])
        for name, whole in (("h5py", True), ("h5py items", False)):
            data = HdfDataset(path, len(corpus.names), whole)
            feeding += [loading(name, data, pad_items, workers) for workers in (0, 2)]
    return feeding, [list(seqs) for seqs in sampler()]


def epochs(module: Any, report: Report, args: Any, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    corpus = Corpus(folder, 60 if args.quick else 1000, args.seed)
    feeding, expected = feeders(module, corpus, folder)
    report.say(f"{len(corpus.names)} entries, {len(expected)} batches an epoch")
    for feeder in feeding:
        feeder.start(corpus, expected)
    rounds = args.rounds or (3 if args.quick else 15)
    timings = measure([feeder.peer() for feeder in feeding], corpus.frames, rounds, args.seed)
    report.timings("an epoch, features and labels", timings, "read_batch", 160)
    per_frame = {
        feeder.name: statistics.median(feeder.cpu[1:]) / corpus.frames.sum() * 1e9
        for feeder in feeding
    }
    report.table(
        "processor time of training and workers",
        ["", "ns/frame"],
        [[name, f"{value:.1f}"] for name, value in per_frame.items()],
    )
    ours_name, bare = "ours, 2 workers", "read_batch"
    lost = 1 - per_frame[bare] / per_frame[ours_name]
    speed = timings[bare].ratio(timings[ours_name])
    report.figure(
        "torch_lost",
        "share of processor time lost to the DataLoader, 2 workers",
        "reported",
        100 * lost,
        None,
        " %",
        0,
        remark=f"{speed:.2f} x the speed of read_batch in one process",
    )
    rivals = [name for name in timings if name.startswith("h5py") and name.endswith(" 2 workers")]
    if rivals:
        ratio = min(timings[name].ratio(timings[ours_name]) for name in rivals)
        report.figure(
            "torch_h5py",
            "epoch through a DataLoader, 2 workers",
            ">= 1 x h5py, the faster form",
            ratio,
            ratio >= 1,
            " x",
            remark=", ".join(f"{n} {timings[n].ratio(timings[ours_name]):.1f} x" for n in rivals),
        )


# --- memory and state ----------------------------------------------------------------------------


class Nothing:
    """What an idle worker has: the same modules, no data."""

    def __len__(self) -> int:
        return 1 << 30

    def __getitems__(self, seqs: list[int]) -> Any:
        import sprintcache.dataset  # noqa: F401 imported by unpickling, too
        from sprintcache.torch import Batch

        return Batch({}, {}, [], None)


def write_many(folder: Path, count: int) -> Path:
    """A bundle of entries of one frame of one value."""
    payload = feature_payload(np.zeros((1, 1), np.float32))
    paths = [folder / f"many{part}.cache" for part in range(PARTS)]
    for part, path in enumerate(paths):
        with ArchiveFile(path) as archive:
            for number in range(part, count, PARTS):
                archive.add(tiny_name(number), payload)
    write_bundle(folder / "many.bundle", paths)
    return folder / "many.bundle"


def private(pid: int) -> dict[str, int]:
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split()[:2]
        fields[key.rstrip(":")] = int(value) * 1024
    return {
        "private": fields["Private_Clean"] + fields["Private_Dirty"],
        "anonymous": fields["Anonymous"],
    }


def memory_of_workers(dataset: Any, spec: dict[str, Any]) -> list[dict[str, int]]:
    """Private memory of each worker, after all of them have read."""
    from torch.utils.data import DataLoader

    from sprintcache.sampling import BatchSampler
    from sprintcache.torch import collate

    loader = DataLoader(
        dataset,
        batch_sampler=BatchSampler(spec["count"], ordering="random", max_seqs=64),
        collate_fn=collate,
        num_workers=spec["workers"],
        multiprocessing_context=spec["context"],
        persistent_workers=True,
    )
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    for _ in range(spec["steps"]):
        next(batches)
    workers = set(multiprocessing.active_children()) - before
    return [private(child.pid) for child in workers if child.pid]


def child(spec: dict[str, Any]) -> dict[str, Any]:
    """In a separate process: memory of opening and of workers, time of a state."""
    import sprintcache
    import sprintcache.dataset
    from sprintcache.torch import BatchSampler, MapDataset

    sprintcache.open_archive(spec["warm"]).close()
    before = harness.private_memory()
    archive = sprintcache.open_archive(spec["path"])
    after = harness.private_memory()
    result: dict[str, Any] = {"index": {key: after[key] - before[key] for key in after}}
    archive.close()
    source = sprintcache.SprintCacheDataset({"data": {"filename": spec["path"]}})
    dataset = MapDataset(source)
    sampler = BatchSampler(dataset, max_frames=64)
    begin = time.perf_counter()
    next(iter(sampler))
    result["first batch"] = time.perf_counter() - begin
    state = sampler.state_dict()
    for name, call in (
        ("state_dict", sampler.state_dict),
        ("load_state_dict", lambda: sampler.load_state_dict(state)),
    ):
        result[name] = min(timeit.repeat(call, number=1000, repeat=20)) / 1000
    if spec["context"]:
        for name, data in (("idle", Nothing()), ("ours", dataset)):
            result[name] = memory_of_workers(data, spec)
    return result


def memory(report: Report, args: Any, folder: Path) -> None:
    count = 20_000 if args.quick else 1_000_000
    with ArchiveFile(folder / "warm.cache") as archive:
        archive.add("a", feature_payload(np.zeros((1, 1), np.float32)))
    spec = {
        "path": str(write_many(folder, count)),
        "warm": str(folder / "warm.cache"),
        "count": count,
        "steps": 40 if args.quick else 200,
        "workers": 2 if args.quick else 8,  # each that is spawned imports torch
    }
    report.say(f"\na bundle of {PARTS} archives, {count} entries of one frame")
    rows = []
    mib = 1 << 20
    for context in ("fork", "spawn"):
        result = harness.run_child(__file__, {**spec, "context": context})
        over = {
            key: max(one[key] for one in result["ours"])
            - statistics.median(one[key] for one in result["idle"])
            for key in ("private", "anonymous")
        }
        index = result["index"]["private"]
        rows.append([context, *(f"{over[key] / mib:.1f}" for key in over), f"{index / mib:.1f}"])
        most = max(over.values())
        limit = 20 * mib if context == "fork" else index
        report.figure(
            f"torch_memory_{context}",
            f"private memory of a worker over an idle one, {context}",
            "<= 20 MiB" if context == "fork" else "<= the reader's index",
            most / mib,
            most <= limit,
            " MiB",
            1,
            remark=f"private or anonymous, whichever is more; index {index / mib:.1f} MiB",
        )
    report.table(
        f"MiB of the largest of {spec['workers']} workers over an idle one",
        ["", "private", "anonymous", "index when opened"],
        rows,
    )
    micros = result["state_dict"] * 1e6
    report.figure(
        "torch_state",
        "state_dict() of the sampler",
        "<= 20 µs",
        micros,
        micros <= 20,
        " µs",
        remark=f"load_state_dict {result['load_state_dict'] * 1e6:.1f} µs, order and batches of"
        f" an epoch {result['first batch']:.2f} s",
    )


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--child", help="for the script itself")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(json.loads(args.child))))
        return
    module = harness.ours(args)
    report = Report("bench_torch", args, module)
    if module is not None and harness.optional("torch") is not None:
        with harness.workspace(args) as folder:
            epochs(module, report, args, folder)
            memory(report, args, folder)
    report.finish()


if __name__ == "__main__":
    main()
