"""An epoch of SprintCacheDataset, warm: order, batches of 20,000 frames, features and labels.

1000 entries of 200 to 1600 frames, 40-dim, with an alignment each, in random order. The timed run
of "dataset" is the whole epoch: `init_seq_order`, `make_batches`, and `read_batch` of every batch.
The batch calls are `read_features_batch` and `read_labels_batch` of the same batches, their names
and buffers made before the clock starts. "sequences" is `load_seqs` and `get_data`, one sequence
after another, as RETURNN's training loop does it. RETURNN reads a few sequences, without padding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import (
    ArchiveFile,
    Inventory,
    alignment_payload,
    make_alignment,
    make_features,
    make_inventory,
    write_features,
    write_inventory,
)

FRAMES = 20_000
DIM = 40
FLOOR = "ours batch calls, into"
OURS = "ours dataset, into"


class Corpus:
    """Features and labels as written, and the options of a dataset that reads them."""

    def __init__(self, folder: Path, entries: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        inventory = make_inventory(5000 if entries >= 1000 else 300, seed)
        mean = 900 * DIM * 4
        features = list(make_features(entries * mean * 2, 200, 1600, DIM, seed).items())[:entries]
        self.features = dict(features)
        self.names = list(self.features)
        self.frames = np.array([len(matrix) for matrix in self.features.values()])
        ids = [make_alignment(inventory, n, rng) for n in self.frames.tolist()]
        write_features(folder / "features.cache", self.features)
        with ArchiveFile(folder / "alignments.cache") as archive:
            for name, body in zip(self.names, ids, strict=True):
                archive.add(name, alignment_payload(body))
        write_inventory(inventory, folder / "allophones", folder / "tying")
        self.labels = [labels_of(inventory, body) for body in ids]
        labeling = {
            "silence_phone": "[SILENCE]",
            "allophone_file": str(folder / "allophones"),
            "state_tying_file": str(folder / "tying"),
        }
        self.data = {
            "data": {"filename": str(folder / "features.cache")},
            "classes": {
                "filename": str(folder / "alignments.cache"),
                "allophone_labeling": labeling,
            },
        }


def labels_of(inventory: Inventory, ids: np.ndarray) -> np.ndarray:
    return np.array([inventory.labels[number] for number in ids.tolist()], np.int32)


def batches_of(dataset: Any, epoch: int) -> Any:
    from sprintcache.batching import make_batches

    dataset.init_seq_order(epoch)
    order = dataset.get_current_seq_order()
    return make_batches(order, dataset.get_lengths(), max_frames=FRAMES)


def epoch_peer(dataset: Any, corpus: Corpus, name: str, reuse: bool) -> Peer:
    from sprintcache.dataset import BatchBuffers

    buffers = BatchBuffers() if reuse else None

    def plan(order: Order) -> Run:
        epoch = epoch_of(order)
        dataset.init_seq_order(None)

        def run() -> None:
            for batch in batches_of(dataset, epoch):
                dataset.read_batch(batch, buffers=buffers)

        return run

    return Peer(name, plan)


def epoch_of(order: Order) -> int:
    """An epoch that is the same for all peers of a round."""
    return 1 + order[0] * len(order) + order[1]


def floor_peer(dataset: Any, corpus: Corpus, name: str, reuse: bool) -> Peer:
    """The two batch calls alone."""
    features, labels = (dataset.data[key].archive for key in ("data", "classes"))
    labeling = dataset.data["classes"].labeling
    room = np.ones(FRAMES * DIM, np.float32), np.ones(FRAMES, np.int32)

    def plan(order: Order) -> Run:
        calls = []
        for batch in batches_of(dataset, epoch_of(order)):
            shape = len(batch), int(corpus.frames[batch].max())
            size = shape[0] * shape[1]
            outs = room[0][: size * DIM].reshape(*shape, DIM), room[1][:size].reshape(shape)
            names = [corpus.names[i] for i in batch]
            calls.append((names, *(outs if reuse else (None, None))))

        def run() -> None:
            for names, to, to_labels in calls:
                features.read_features_batch(names, to)
                labels.read_labels_batch(names, labeling, -1, to_labels)

        return run

    return Peer(name, plan)


def sequence_peer(dataset: Any) -> Peer:
    def plan(order: Order) -> Run:
        dataset.init_seq_order(None)

        def run() -> None:
            dataset.init_seq_order(epoch_of(order))
            for i in range(dataset.num_seqs):
                dataset.load_seqs(i, i + 1)
                dataset.get_data(i, "data")
                dataset.get_data(i, "classes")

        return run

    return Peer("ours sequences, new", plan)


def returnn_peer(corpus: Corpus, limit: int) -> list[Peer]:
    """What its load_seqs does for each sequence, without the rest of an epoch."""
    sprint = harness.optional("returnn.datasets.sprint")
    if sprint is None:
        return []
    dataset = sprint.SprintCacheDataset(corpus.data, seq_ordering="random")
    dataset.initialize()
    dataset.init_seq_order(1)

    def read(name: str) -> dict[str, np.ndarray]:
        features: dict[str, np.ndarray] = dataset.get_dataset_seq_for_name(name).features
        return features

    for i in range(3):
        data = read(corpus.names[i])
        check_equal("RETURNN", corpus.names[i], data["data"], corpus.features[corpus.names[i]])
        labels = data["classes"].astype(np.int32)
        check_equal("RETURNN labels", corpus.names[i], labels, corpus.labels[i])

    def plan(order: Order) -> Run:
        names = [corpus.names[i] for i in order]

        def run() -> None:
            for name in names:
                read(name)

        return run

    return [Peer("RETURNN", plan, limit)]


def copy_peer(corpus: Corpus) -> Peer:
    """For the scale: matrices and labels that are there already, copied into reused buffers."""
    matrices = list(corpus.features.values())
    longest = int(corpus.frames.max())
    room = np.ones((longest, DIM), np.float32), np.ones(longest, np.int32)

    def plan(order: Order) -> Run:
        pairs = [(room[0][: corpus.frames[i]], matrices[i]) for i in order]
        pairs += [(room[1][: corpus.frames[i]], corpus.labels[i]) for i in order]

        def run() -> None:
            copyto = np.copyto
            for target, source in pairs:
                copyto(target, source)

        return run

    return Peer("the copy", plan)


def check_dataset(dataset: Any, corpus: Corpus) -> None:
    """Every sequence of an epoch, once, as written, followed by zeros or -1."""
    from sprintcache.dataset import BatchBuffers

    buffers = BatchBuffers()
    seen = []
    for batch in batches_of(dataset, 1):
        arrays = dataset.read_batch(batch, buffers=buffers)
        for row, i in enumerate(batch.tolist()):
            n = int(corpus.frames[i])
            name = corpus.names[i]
            expected = corpus.features[name], corpus.labels[i]
            for (array, lengths), want, beyond in zip(
                arrays.values(), expected, (0, -1), strict=True
            ):
                check_equal("ours", name, array[row, :n], want)
                assert lengths[row] == n
                assert np.all(array[row, n:] == beyond)
            seen.append(i)
    assert sorted(seen) == list(range(len(corpus.names)))


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--entries", type=int, help="entries of the archives")
    args = parser.parse_args()
    module = harness.ours(args)
    entries = args.entries or (100 if args.quick else 1000)
    rounds = args.rounds or (3 if args.quick else 15)
    report = Report("bench_dataset", args, module)
    with harness.workspace(args) as folder:
        corpus = Corpus(folder, entries, args.seed)
        harness.settle(folder)
        report.say(
            f"\n{entries} entries of 200 to 1600 frames, {corpus.frames.sum() / 1e6:.2f} M frames,"
            f" {DIM}-dim, random order, batches of {FRAMES} frames, page cache warm",
            entries=entries,
        )
        peers = [copy_peer(corpus), *returnn_peer(corpus, limit=10)]
        if module is not None:
            dataset = module.SprintCacheDataset(corpus.data, seq_ordering="random")
            check_dataset(dataset, corpus)
            for how in ("into", "new"):
                reuse = how == "into"
                peers.append(floor_peer(dataset, corpus, f"ours batch calls, {how}", reuse))
                peers.append(epoch_peer(dataset, corpus, f"ours dataset, {how}", reuse))
            peers.append(sequence_peer(dataset))
        timings = measure(peers, corpus.frames, rounds, args.seed)
        report.timings("an epoch", timings, "the copy")
    if module is not None:
        ratio = timings[OURS].ratio(timings[FLOOR])
        report.figure(
            "dataset_floor",
            f"an epoch of SprintCacheDataset, batches of {FRAMES} frames",
            "<= 1.3 x the batch calls",
            ratio,
            ratio <= 1.3,
            " x",
        )
        if "RETURNN" in timings:
            ratio = timings["RETURNN"].ratio(timings[OURS])
            report.figure(
                "dataset_returnn",
                "the same against RETURNN's SprintCacheDataset",
                ">= 100 x as fast",
                ratio,
                ratio >= 100,
                " x",
                digits=0,
            )
    report.finish()


if __name__ == "__main__":
    main()
