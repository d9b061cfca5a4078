"""Loader: an epoch read ahead by threads, with a consumer that idles and with one that computes.

The data are those of bench_dataset.py, with the same sampler for all peers: 20,000 frames in random
order. "read_batch" is `SprintCacheDataset.read_batch` of the same batches in the thread of the
consumer, into new arrays; "read_batch, into" into reused ones, of which the caches of the processor
may hold the only buffer, while a loader needs several. The idle consumer drops each batch. The busy
one multiplies matrices for four times as long as reading a batch takes, with one thread, in epochs
of four times the data: of some 300 steps the first one waits for its batch.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import harness
import numpy as np
from bench_dataset import FRAMES, Corpus
from bench_torch import check
from harness import Order, Peer, Report, Run, measure

BUSY_FACTOR = 4  # computing takes 80 % of the time if reading were not hidden


class Epochs:
    """A peer: one epoch after another, and the processor time of them and their workers."""

    def __init__(self, name: str, batches: Callable[[], Iterator[Any]]) -> None:
        self.name = name
        self.batches = batches

    def peer(self) -> Peer:
        def plan(order: Order) -> Run:
            def run() -> None:
                for _ in self.batches():
                    pass

            return run

        return Peer(self.name, plan)


def idle(module: Any, report: Report, args: Any, corpus: Corpus) -> None:
    """Wall and processor time of an epoch against `read_batch` alone."""
    import torch

    from sprintcache.dataset import BatchBuffers
    from sprintcache.torch import Batch, BatchSampler, Loader, MapDataset

    dataset = module.SprintCacheDataset(corpus.data, seq_ordering="random")
    ours = MapDataset(dataset)
    sampler: Callable[[], Any] = functools.partial(BatchSampler, dataset, max_frames=FRAMES)

    def read_batch(sampler: Any, buffers: Any) -> Iterator[Any]:
        for seqs in sampler:
            read = dataset.read_batch(seqs, buffers=buffers)
            arrays = {key: torch.from_numpy(array) for key, (array, _) in read.items()}
            lengths = {key: torch.from_numpy(sizes) for key, (_, sizes) in read.items()}
            yield Batch(arrays, lengths, dataset.get_tags(seqs), None)

    peers = [
        Epochs("read_batch", functools.partial(read_batch, sampler(), None)),
        Epochs("read_batch, into", functools.partial(read_batch, sampler(), BatchBuffers())),
    ]
    for name, threads in (("ours", None), ("ours, 2 threads", 2)):
        loader = Loader(ours, sampler(), num_threads=threads)
        peers.append(Epochs(name, functools.partial(iter, loader)))
    expected = [list(seqs) for seqs in sampler()]
    for peer in peers:
        check(peer.name, peer.batches(), expected, corpus)
    rounds = args.rounds or (3 if args.quick else 25)
    timings = measure([peer.peer() for peer in peers], corpus.frames, rounds, args.seed)
    report.timings("an epoch with an idle consumer", timings, "read_batch", 160)
    name = "ours"
    for id, kind, limit in (("wall", "seconds", 1.15), ("processor", "cpu", 1.3)):
        ratios = {
            base: float(
                np.median(np.divide(getattr(timings[name], kind), getattr(timings[base], kind)))
            )
            for base in ("read_batch", "read_batch, into")
        }
        report.figure(
            f"loader_{id}",
            f"{id} time of a loader's epoch, idle consumer",
            f"<= {limit} x read_batch",
            ratios["read_batch"],
            ratios["read_batch"] <= limit,
            " x",
            remark=f"{ratios['read_batch, into']:.2f} x of one reused buffer",
        )


def busy(module: Any, report: Report, args: Any, corpus: Corpus) -> None:
    """The part of the time that a computing consumer waits."""
    import torch

    from sprintcache.torch import BatchSampler, Loader, MapDataset

    dataset = module.SprintCacheDataset(corpus.data, seq_ordering="random")
    loader = Loader(MapDataset(dataset), BatchSampler(dataset, max_frames=FRAMES))
    begin = time.perf_counter()
    seqs = list(BatchSampler(dataset, max_frames=FRAMES))
    for batch in seqs:
        dataset.read_batch(batch)
    seconds = BUSY_FACTOR * (time.perf_counter() - begin) / len(seqs)
    x = torch.ones(96, 96)
    shares, steps = [], []
    for _ in range(args.rounds or (2 if args.quick else 9)):
        for _batch in loader:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                x @ x
        figures = loader.report()
        shares.append(100 * figures.waited_share)
        steps.append(1e6 * figures.waited / figures.num_steps)
    report.table(
        "a consumer that computes",
        ["", "computing, ms a step", "waiting, µs a step", "share"],
        [
            [
                "ours",
                f"{seconds * 1e3:.2f}",
                f"{statistics.median(steps):.0f}",
                f"{statistics.median(shares):.2f} %",
            ]
        ],
    )
    share = statistics.median(shares)
    report.figure(
        "loader_waiting",
        "share of its time that a consumer waits, which computes 80 % of it",
        "<= 2 %",
        share,
        share <= 2,
        " %",
        remark=f"{min(shares):.2f} to {max(shares):.2f} %",
    )


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    report = Report("bench_loader", args, module)
    torch = harness.optional("torch")
    if module is not None and torch is not None:
        torch.set_num_threads(1)
        with harness.workspace(args) as folder:
            corpus = Corpus(folder, 60 if args.quick else 1000, args.seed)
            report.say(f"{len(corpus.names)} entries, batches of {FRAMES} frames")
            idle(module, report, args, corpus)
            (folder / "long").mkdir()
            busy(module, report, args, Corpus(folder / "long", 4 * len(corpus.names), args.seed))
    report.finish()


if __name__ == "__main__":
    main()
