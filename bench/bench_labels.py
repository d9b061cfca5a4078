"""Labels from alignments, warm: read_labels_batch, read_labels, and RETURNN.

Random segments, 64 a call into a reused buffer. `ALIGNRLE` with runs of 4 frames on average: as
real aligners give them (single frames among them, so literal runs and Sprint's redundant time
markers), and with repeats only. `AALPHRLE`: the same with the alphabet of the used states, checked
against the allophone file. Each archive is beyond the last-level cache; the distinct alignments are
2000 and come again under other names.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import (
    Alignments,
    Inventory,
    make_alignment,
    make_inventory,
    write_alignments,
    write_inventory,
)

SILENCE = "[SILENCE]"
REAL = "ALIGNRLE as real"
REPEATS = "ALIGNRLE repeats"
ALPHABET = "AALPHRLE"
COMPRESSED = "ALIGNRLE gz"


class LabelData:
    """An archive of alignments and the labels that belong to them."""

    def __init__(self, path: Path, alignments: Alignments, inventory: Inventory) -> None:
        self.path = path
        self.names = alignments.names
        self.frames = alignments.frames()
        self.bytes = alignments.bytes
        keys = np.array(sorted(inventory.labels), np.uint32)
        values = np.array([inventory.labels[key] for key in keys.tolist()], np.int32)
        self._labels = [values[np.searchsorted(keys, body)] for body in alignments.bodies]

    def labels(self, entry: int) -> np.ndarray:
        return self._labels[entry % len(self._labels)]


def groups(order: Order, size: int) -> list[Order]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def batch_peer(
    archive: Any, labeling: Any, data: LabelData, name: str, size: int, threads: int, mismatch: str
) -> Peer:
    out = np.full((size, int(data.frames.max())), -1, np.int32)

    def plan(order: Order) -> Run:
        batches = [[data.names[i] for i in group] for group in groups(order, size)]

        def run() -> None:
            read = archive.read_labels_batch
            for names in batches:
                read(names, labeling, out=out, num_threads=threads, on_alphabet_mismatch=mismatch)

        return run

    return Peer(name, plan, unit=size)


def single_peer(archive: Any, labeling: Any, data: LabelData, name: str, limit: int) -> Peer:
    def plan(order: Order) -> Run:
        names = [data.names[i] for i in order]

        def run() -> None:
            read = archive.read_labels
            for entry in names:
                read(entry, labeling)

        return run

    return Peer(name, plan, limit)


def copy_peer(data: LabelData, size: int) -> Peer:
    """For the scale: labels that are there already, copied row by row into a reused buffer."""
    out = np.zeros((size, int(data.frames.max())), np.int32)

    def plan(order: Order) -> Run:
        pairs = [
            (out[row, : data.frames[i]], data.labels(i))
            for group in groups(order, size)
            for row, i in enumerate(group)
        ]

        def run() -> None:
            copyto = np.copyto
            for target, source in pairs:
                copyto(target, source)

        return run

    return Peer("labels copied", plan, unit=size)


def check_ours(archive: Any, labeling: Any, data: LabelData, name: str, size: int) -> None:
    """All entries in batches, a part of them one by one."""
    out = np.full((size, int(data.frames.max())), -7, np.int32)
    order = np.random.default_rng(1).permutation(len(data.names)).tolist()
    for number, group in enumerate(groups(order, size)):
        names = [data.names[i] for i in group]
        want = np.full((len(group), int(data.frames[group].max())), -1, np.int32)
        for row, i in enumerate(group):
            want[row, : data.frames[i]] = data.labels(i)
        threads = 1 + number % 2
        got, lengths = archive.read_labels_batch(names, labeling, out=out, num_threads=threads)
        check_equal(name, names[0], got, want)
        check_equal(name + " lengths", names[0], lengths, data.frames[group].astype(np.int64))
        single = archive.read_labels(names[0], labeling)
        check_equal(name + " single", names[0], single, data.labels(group[0]))


def returnn_peer(data: LabelData, allophones: Path, tying: Path, limit: int) -> list[Peer]:
    """FileArchive.read and AllophoneLabeling for each frame, as SprintCacheDataset does it."""
    cache = harness.optional("returnn.sprint.cache")
    if cache is None:
        return []
    archive = cache.FileArchive(str(data.path))
    archive.set_allophones(str(allophones))
    labeling = cache.AllophoneLabeling(SILENCE, str(allophones), state_tying_file=str(tying))

    def read(name: str) -> np.ndarray:
        items = archive.read(name, "align")
        lookup = labeling.get_label_idx
        return np.array([lookup(a, s) for _, a, s, _ in items], np.int32)

    for i in range(3):
        check_equal("RETURNN", data.names[i], read(data.names[i]), data.labels(i))

    def plan(order: Order) -> Run:
        names = [data.names[i] for i in order]

        def run() -> None:
            for name in names:
                read(name)

        return run

    return [Peer("RETURNN", plan, limit)]


def compare(
    module: ModuleType | None, data: LabelData, name: str, files: tuple[Path, Path], size: int
) -> list[Peer]:
    """The peers of one archive, equality first."""
    peers = [copy_peer(data, size)]
    peers += returnn_peer(data, *files, limit=5)
    if module is None:
        return peers
    allophones, tying = map(str, files)
    labeling = module.AllophoneLabeling(SILENCE, allophones, state_tying_file=tying)
    for mode in ("mmap", "pread"):
        archive = module.open_archive(str(data.path), io=mode)
        check_ours(archive, labeling, data, f"ours {mode}", size)
        peers.append(batch_peer(archive, labeling, data, f"ours {mode}", size, 1, "error"))
        if mode == "mmap":
            peers.append(
                batch_peer(archive, labeling, data, "ours mmap, 2 threads", size, 2, "error")
            )
            if name == ALPHABET:
                peers.append(
                    batch_peer(archive, labeling, data, "ours mmap, ignore", size, 1, "ignore")
                )
            peers.append(single_peer(archive, labeling, data, "ours mmap, single", 4096))
    return peers


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--mb", type=int, help="MB of each archive")
    parser.add_argument("--batch", type=int, default=64, help="segments in a batch")
    args = parser.parse_args()
    module = harness.ours(args)
    size = args.batch
    megabytes = args.mb or (1 if args.quick else max(64, 2 * harness.cache_size() >> 20))
    distinct = 100 if args.quick else 2000
    rounds = args.rounds or (3 if args.quick else 11)
    report = Report("bench_labels", args, module)
    with harness.workspace(args) as folder:
        rng = np.random.default_rng(args.seed)
        inventory = make_inventory(300 if args.quick else 5000, args.seed)
        files = (folder / "allophones", folder / "state-tying")
        write_inventory(inventory, *files)
        lengths = rng.integers(200, 1601, distinct).tolist()
        real = [make_alignment(inventory, n, rng) for n in lengths]
        repeats = [make_alignment(inventory, n, rng, shortest=2) for n in lengths]
        report.say(
            f"\n{len(inventory.allophones)} allophones, {distinct} distinct alignments, segments "
            f"of 200 to 1600 frames, {size} a call, page cache warm",
            allophones=len(inventory.allophones),
        )
        kinds: dict[str, tuple[list[np.ndarray], dict[int, str] | None, bool]] = {
            REAL: (real, None, False),
            REPEATS: (repeats, None, False),
            ALPHABET: (real, inventory.symbols, False),
            COMPRESSED: (real, None, True),
        }
        measured = {}
        for name, (bodies, symbols, gz) in kinds.items():
            path = folder / (name.replace(" ", "-") + ".cache")
            alignments = write_alignments(path, bodies, megabytes << 20, symbols, gz)
            harness.settle(folder)
            data = LabelData(path, alignments, inventory)
            report.say(
                f"\n{name}: {len(data.names)} entries, {data.frames.sum() / 1e6:.1f} M frames, "
                f"{data.bytes / data.frames.sum():.2f} bytes a frame",
            )
            peers = compare(module, data, name, files, size)
            timings = measure(peers, data.frames, rounds, args.seed)
            report.timings(f"labels, {name}", timings, "labels copied")
            measured[name] = timings
            del peers
            path.unlink()
    if module is not None:
        ns = {name: timings["ours mmap"].ns_per_frame() for name, timings in measured.items()}
        for id, name, limit in (
            ("labels_rle", REAL, 2.0),
            ("labels_rle_repeats", REPEATS, 2.0),
            ("labels_alphabet", ALPHABET, 8.0),
        ):
            ignore = measured[name].get("ours mmap, ignore")
            report.figure(
                id,
                f"read_labels_batch of {size}, {name}",
                f"<= {limit:.0f} ns a frame",
                ns[name],
                ns[name] <= limit,
                " ns",
                remark=f"2 threads {measured[name]['ours mmap, 2 threads'].ns_per_frame():.2f} ns"
                + (f"; without the check {ignore.ns_per_frame():.2f} ns" if ignore else ""),
            )
        if "RETURNN" in measured[REAL]:
            ratio = measured[REAL]["RETURNN"].ratio(measured[REAL]["ours mmap"])
            report.figure(
                "labels_returnn",
                f"labels, {REAL}, against RETURNN",
                ">= 100 x as fast",
                ratio,
                ratio >= 100,
                " x",
                digits=0,
            )
    report.finish()


if __name__ == "__main__":
    main()
