"""Packed batches against the copy of the same frames, and chunks of long entries.

Packed: batches of 32 random entries of 200 to 1600 frames, 40-dim float32, one after the other in a
reused buffer. "The copy" is `np.copyto` of the same matrices from contiguous arrays to the same
places. "concatenate" reads entry by entry and joins the arrays.

Chunks: batches of 64 random chunks of 100 frames, from entries of 10,000 frames. The cost of 100
frames is that of the same batch from an archive whose entries are these chunks. Entries of one
block, as Sprint writes them, mapped and by pread; of blocks of 51 frames (``gather=50``);
compressed. "whole, sliced" reads the entry and takes the slice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import make_features, write_features

DIM = 40
SEQS = 32
COPY = "the copy"
LONG, CHUNK, CHUNKS = 10_000, 100, 64
BASE = "entries of 100 frames"


def groups(order: Order, size: int) -> list[Order]:
    return [order[i : i + size] for i in range(0, len(order), size)]


# --- packed --------------------------------------------------------------------------------------


def packed(module: Any, report: Report, args: Any, folder: Path) -> None:
    total = 1 << 22 if args.quick else 4 * max(harness.cache_size(), 1 << 24)
    features = make_features(total, 200, 1600, DIM, args.seed)
    write_features(folder / "packed.cache", features)
    names, matrices = list(features), list(features.values())
    frames = np.array([len(matrix) for matrix in matrices])
    harness.settle(folder)
    archive = module.open_archive(folder / "packed.cache")
    most = int(np.sort(frames)[-SEQS:].sum())
    out = np.ones((most, DIM), np.float32)
    padded_out = np.ones(SEQS * int(frames.max()) * DIM, np.float32)
    report.say(f"{len(names)} entries, {frames.sum()} frames, batches of {SEQS}")

    def copy(order: Order) -> Run:
        pairs = []
        for group in groups(order, SEQS):
            ends = np.cumsum(frames[group])
            for i, end in zip(group, ends.tolist(), strict=True):
                pairs.append((out[end - len(matrices[i]) : end], matrices[i]))

        def run() -> None:
            copyto = np.copyto
            for target, source in pairs:
                copyto(target, source)

        return run

    def ours(order: Order) -> Run:
        parts = [[names[i] for i in group] for group in groups(order, SEQS)]

        def run() -> None:
            for part in parts:
                archive.read_features_packed(part, out)

        return run

    def ours_padded(order: Order) -> Run:
        parts = []
        for group in groups(order, SEQS):
            shape = SEQS, int(frames[group].max()), DIM
            room = padded_out[: shape[0] * shape[1] * DIM].reshape(shape)
            parts.append(([names[i] for i in group], room))

        def run() -> None:
            for part, room in parts:
                archive.read_features_batch(part, room)

        return run

    def concatenate(order: Order) -> Run:
        parts = [[names[i] for i in group] for group in groups(order, SEQS)]

        def run() -> None:
            for part in parts:
                np.concatenate([archive.read_features(name) for name in part])

        return run

    for group in groups(np.random.default_rng(args.seed).permutation(len(names)).tolist(), SEQS):
        values, offsets, _ = archive.read_features_packed([names[i] for i in group], out)
        for row, i in enumerate(group):
            part = values[offsets[row] : offsets[row + 1]]
            check_equal("ours packed", names[i], part, matrices[i])
    peers = [
        Peer(COPY, copy, unit=SEQS),
        Peer("ours packed, into", ours, unit=SEQS),
        Peer("ours padded, into", ours_padded, unit=SEQS),
        Peer("concatenate, new", concatenate, unit=SEQS),
    ]
    rounds = args.rounds or (3 if args.quick else 21)
    timings = measure(peers, frames, rounds, args.seed)
    report.timings("packed batches of 32 entries", timings, COPY, DIM * 4)
    ratio = timings["ours packed, into"].ratio(timings[COPY])
    padded_ratio = timings["ours packed, into"].ratio(timings["ours padded, into"])
    report.figure(
        "packed_copy",
        "a packed batch",
        "<= 1.05 x the copy of the same frames",
        ratio,
        ratio <= 1.05,
        " x",
        remark=f"{padded_ratio:.2f} x the padded batch",
    )
    archive.close()


# --- chunks --------------------------------------------------------------------------------------


def chunks(module: Any, report: Report, args: Any, folder: Path) -> None:
    count = 8 if args.quick else 96
    rng = np.random.default_rng(args.seed)
    # compressible as little as features are
    whole = {f"long{i}": rng.standard_normal((LONG, DIM), np.float32) for i in range(count)}
    starts = [(name, start) for name in whole for start in range(0, LONG, CHUNK)]
    cut = {f"{name}/{start}": whole[name][start : start + CHUNK] for name, start in starts}
    write_features(folder / "short.cache", cut)
    write_features(folder / "long.cache", whole)
    with module.ArchiveWriter(folder / "gathered.cache") as writer:
        for name, matrix in whole.items():
            writer.add_features(name, matrix, gather=50)
    some = dict(list(whole.items())[: max(count // 8, 2)])
    write_features(folder / "packed.gz.cache", some, gz=True)
    harness.settle(folder)
    open_archive = module.open_archive
    short = open_archive(folder / "short.cache")
    kinds = {
        "ours, one block": open_archive(folder / "long.cache"),
        "ours, one block, pread": open_archive(folder / "long.cache", io="pread"),
        "ours, gathered": open_archive(folder / "gathered.cache"),
        "ours, compressed": open_archive(folder / "packed.gz.cache"),
    }
    kinds[f"{BASE}, pread"] = short_pread = open_archive(folder / "short.cache", io="pread")
    out = np.ones((CHUNKS, CHUNK, DIM), np.float32)
    frames = np.full(len(starts), CHUNK)
    report.say(f"\n{count} entries of {LONG} frames, chunks of {CHUNK}, batches of {CHUNKS}")

    def short_plan(archive: Any) -> Any:
        def plan(order: Order) -> Run:
            parts = [["{}/{}".format(*starts[i]) for i in group] for group in groups(order, CHUNKS)]

            def run() -> None:
                for part in parts:
                    archive.read_features_batch(part, out)

            return run

        return plan

    def chunk_plan(archive: Any, named: list[tuple[str, int]]) -> Any:
        def plan(order: Order) -> Run:
            parts = []
            for group in groups(order, CHUNKS):
                picked = [named[i % len(named)] for i in group]
                first = np.array([start for _, start in picked])
                parts.append(([name for name, _ in picked], first))

            def run() -> None:
                for part, first in parts:
                    archive.read_features_batch(part, out, starts=first, stops=first + CHUNK)

            return run

        return plan

    def sliced(order: Order) -> Run:
        picked = [starts[i] for i in order]
        archive = kinds["ours, one block"]

        def run() -> None:
            for name, start in picked:
                out[0] = archive.read_features(name)[start : start + CHUNK]

        return run

    in_gz = [(name, start) for name, start in starts if name in some]
    rounds = args.rounds or (3 if args.quick else 15)
    peers = [
        Peer(BASE, short_plan(short), unit=CHUNKS),
        Peer(f"{BASE}, pread", short_plan(short_pread), unit=CHUNKS),
        Peer("ours, one block", chunk_plan(kinds["ours, one block"], starts), unit=CHUNKS),
        Peer(
            "ours, one block, pread",
            chunk_plan(kinds["ours, one block, pread"], starts),
            unit=CHUNKS,
        ),
        Peer("ours, gathered", chunk_plan(kinds["ours, gathered"], starts), unit=CHUNKS),
        Peer("ours, compressed", chunk_plan(kinds["ours, compressed"], in_gz), CHUNKS, unit=CHUNKS),
        Peer("whole, sliced", sliced, 2 * CHUNKS, unit=CHUNKS),
    ]
    for name, archive in kinds.items():
        if name.startswith("ours"):
            for entry, start in in_gz[:: max(len(in_gz) // 50, 1)]:
                got = archive.read_features(entry, start=start, stop=start + CHUNK)
                check_equal(name, f"{entry}/{start}", got, whole[entry][start : start + CHUNK])
    timings = measure(peers, frames, rounds, args.seed)
    report.timings("chunks of 100 frames from entries of 10,000", timings, BASE, DIM * 4)
    for id, name, base in (
        ("chunks_mapped", "ours, one block", BASE),
        ("chunks_pread", "ours, one block, pread", f"{BASE}, pread"),
    ):
        ratio = timings[name].ratio(timings[base])
        report.figure(
            id,
            f"chunks of 100 frames from entries of 10,000, {id.removeprefix('chunks_')}",
            "<= 1.25 x entries of 100 frames",
            ratio,
            ratio <= 1.25,
            " x",
            remark=f"whole and sliced: {timings['whole, sliced'].ratio(timings[base]):.0f} x",
        )
    for name in ("gathered", "compressed"):
        ratio = timings[f"ours, {name}"].ratio(timings[BASE])
        report.figure(
            f"chunks_{name}", f"the same, {name}", "reported", ratio, None, " x of 100 frames"
        )


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    report = Report("bench_packed", args, module)
    if module is not None:
        with harness.workspace(args) as folder:
            packed(module, report, args, folder)
            chunks(module, report, args, folder)
    report.finish()


if __name__ == "__main__":
    main()
