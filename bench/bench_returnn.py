"""What a user gains by changing one line: RETURNN's classes and ours under the same names, warm.

The archives of bench_dataset.py. "dataset" is `get_dataset_seq_for_name` of the classes that a
RETURNN config may name, features and labels of one sequence after another in random order; "script"
is `read(name, "feat")` and `read(name, "align")` of RETURNN's reader and of `sprintcache.compat`,
which give a list with an array, or a tuple, for each frame.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import harness
import numpy as np
from bench_dataset import Corpus
from harness import Order, Peer, Report, Run, check_equal, measure

LIMIT = 10  # sequences that RETURNN reads in a round
READS = {"feat": "data", "align": "classes"}


def reading(name: str, read: Callable[[str], object], corpus: Corpus, limit: int | None) -> Peer:
    def plan(order: Order) -> Run:
        names = [corpus.names[i] for i in order]

        def run() -> None:
            for entry in names:
                read(entry)

        return run

    return Peer(name, plan, limit)


def datasets(corpus: Corpus, theirs: ModuleType, ours: ModuleType | None) -> list[Peer]:
    peers = []
    for name, module, limit in (("RETURNN", theirs, LIMIT), ("ours", ours, None)):
        if module is None:
            continue
        dataset = module.SprintCacheDataset(corpus.data)
        dataset.initialize()
        for i in range(3):
            data = dataset.get_dataset_seq_for_name(corpus.names[i]).features
            check_equal(name, corpus.names[i], data["data"], corpus.features[corpus.names[i]])
            labels = data["classes"].astype(np.int32)
            check_equal(name, corpus.names[i], labels, corpus.labels[i])
        peers.append(reading(name, dataset.get_dataset_seq_for_name, corpus, limit))
    return peers


def scripts(corpus: Corpus, kind: str, theirs: ModuleType, ours: ModuleType | None) -> list[Peer]:
    results, peers = [], []
    for name, module, limit in (("RETURNN", theirs, LIMIT), ("ours", ours, None)):
        if module is None:
            continue
        archive: Any = module.open_file_archive(corpus.data[READS[kind]]["filename"])
        labeling = corpus.data["classes"]["allophone_labeling"]
        archive.set_allophones(labeling["allophone_file"])
        results.append([archive.read(entry, kind) for entry in corpus.names[:3]])

        def read(entry: str, archive: Any = archive) -> object:
            return archive.read(entry, kind)

        peers.append(reading(name, read, corpus, limit))
    for entry, *items in zip(corpus.names, *results, strict=False):
        arrays = [np.array(item if kind == "align" else item[1]) for item in items]
        for array in arrays:
            check_equal("ours", entry, array, arrays[0])
    return peers


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    rounds = args.rounds or (2 if args.quick else 7)
    report = Report("bench_returnn", args, module)
    sprint = harness.optional("returnn.datasets.sprint")
    cache = harness.optional("returnn.sprint.cache")
    if sprint is not None and cache is not None:
        own_class = harness.optional("sprintcache.returnn") if module else None
        compat = harness.optional("sprintcache.compat") if module else None
        with harness.workspace(args) as folder:
            corpus = Corpus(folder, 50 if args.quick else 300, args.seed)
            harness.settle(folder)
            timings = {
                "dataset": measure(
                    datasets(corpus, sprint, own_class), corpus.frames, rounds, args.seed
                )
            }
            for kind in READS:
                peers = scripts(corpus, kind, cache, compat)
                timings[f"script, {kind}"] = measure(peers, corpus.frames, rounds, args.seed)
        for title, timing in timings.items():
            report.timings(title, timing, "RETURNN")
            if "ours" in timing:
                ratio = timing["RETURNN"].ratio(timing["ours"])
                name = f"returnn_{title.split(' ')[-1]}"
                target = ">= 100 x as fast" if title == "dataset" else "no slower"
                least = 100 if title == "dataset" else 1
                report.figure(
                    name, f"{title}: one line changed", target, ratio, ratio >= least, " x", 0
                )
    report.finish()


if __name__ == "__main__":
    main()
