"""Single entries in random order, warm: read_features with and without `out`, and the peers.

Two archives of 40-dim float32 features: entries of 200 to 1600 frames, and entries of 20 frames.
Every peer's output is compared with what was written before anything is timed.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, Timing, check_equal, measure
from make_data import make_features, write_features
from peers import (
    FeatureData,
    NumpyView,
    Reader,
    check_reader,
    h5py_readers,
    into_buffer,
    kaldi_readers,
    returnn_reader,
    to_new,
)

MODES = ("mmap", "pread")
COPY = "the copy"


def our_peers(archive: Any, mode: str, data: FeatureData, out: np.ndarray) -> list[Peer]:
    """read_features of one open archive, by name: into `out` and as a new array."""

    def into(order: Order) -> Run:
        names = [data.names[i] for i in order]

        def run() -> None:
            read = archive.read_features
            for name in names:
                read(name, out=out)

        return run

    def new(order: Order) -> Run:
        names = [data.names[i] for i in order]

        def run() -> None:
            read = archive.read_features
            for name in names:
                read(name)

        return run

    return [Peer(f"ours {mode}, into", into), Peer(f"ours {mode}, new", new)]


def check_ours(archive: Any, mode: str, data: FeatureData, out: np.ndarray) -> None:
    for name, want in zip(data.names, data.matrices, strict=True):
        check_equal(f"ours {mode}, new", name, archive.read_features(name), want)
        out[:] = -1
        check_equal(f"ours {mode}, into", name, archive.read_features(name, out=out), want)
        check_equal(f"ours {mode}, out", name, out[: len(want)], want)


def compare(
    module: ModuleType | None,
    path: Path,
    data: FeatureData,
    positions: dict[str, int],
    rounds: int,
    seed: int,
    returnn_limit: int,
) -> dict[str, Timing]:
    """All readers on one archive, equality first."""
    folder = path.parent
    out = data.buffer()
    readers: list[Reader] = [NumpyView(path, data, positions).reader()]
    readers += h5py_readers(folder, data) + kaldi_readers(folder, data)
    readers += returnn_reader(path, data, returnn_limit)
    for reader in readers:
        check_reader(reader, data)
    peers = [Peer(COPY, lambda order: data.copy(out, order))]
    for reader in readers:
        peers += [into_buffer(reader, data, out)] if reader.name != "RETURNN" else []
        peers += [to_new(reader)]
    if module is not None:
        for mode in MODES:
            archive = module.open_archive(str(path), io=mode)
            check_ours(archive, mode, data, out)
            peers += our_peers(archive, mode, data, out)
    return measure(peers, data.frames, rounds, seed)


def first_pass(
    module: ModuleType | None,
    path: Path,
    data: FeatureData,
    positions: dict[str, int],
    rounds: int,
    seed: int,
) -> dict[str, Timing]:
    """Every round on a freshly opened archive: page cache warm, page tables empty."""
    out = data.buffer()
    view = NumpyView(path, data, positions)
    numpy_peer = into_buffer(view.reader(), data, out)

    def numpy_plan(order: Order) -> Run:
        view.first_pass(path)
        return numpy_peer.plan(order)

    peers = [
        Peer(COPY, lambda order: data.copy(out, order)),
        Peer("numpy view, into", numpy_plan),
    ]

    def our_plan(mode: str) -> Peer:
        opened: list[Any] = []

        def plan(order: Order) -> Run:
            while opened:
                opened.pop().close()
            assert module is not None
            opened.append(module.open_archive(str(path), io=mode))
            return our_peers(opened[0], mode, data, out)[0].plan(order)

        return Peer(f"ours {mode}, into", plan)

    if module is not None:
        peers += [our_plan(mode) for mode in MODES]
    return measure(peers, data.frames, rounds, seed)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--mb", type=int, help="MB of features in each archive")
    args = parser.parse_args()
    module = harness.ours(args)
    megabytes = args.mb or (4 if args.quick else max(64, 4 * harness.cache_size() >> 20))
    rounds = args.rounds or (3 if args.quick else 21)
    report = Report("bench_read", args, module)
    with harness.workspace(args) as folder:
        for kind, low, high in (("long", 200, 1600), ("short", 20, 20)):
            path = folder / f"{kind}.cache"
            features = make_features(megabytes << 20, low, high, seed=args.seed)
            positions = write_features(path, features)
            data = FeatureData(features)
            harness.settle(folder)
            report.say(
                f"\n{kind}: {len(data.names)} entries of {low} to {high} frames, dim {data.dim}, "
                f"{data.bytes / 1e6:.0f} MB of float32, page cache warm, random order",
                **{f"{kind}_entries": len(data.names), f"{kind}_bytes": data.bytes},
            )
            timings = compare(
                module, path, data, positions, rounds, args.seed, 10 if kind == "long" else 100
            )
            frame_bytes = data.dim * 4
            report.timings(f"read one entry, {kind}", timings, COPY, frame_bytes)
            if module is not None and kind == "long":
                ratio = timings["ours mmap, into"].ratio(timings[COPY])
                report.figure(
                    "read_out",
                    "read_features(out=), 200-1600 frames",
                    "<= 1.5 x the copy",
                    ratio,
                    ratio <= 1.5,
                    " x",
                    remark=f"pread {timings['ours pread, into'].ratio(timings[COPY]):.2f} x",
                )
                view = timings["numpy view, new"]
                ratio = timings["ours mmap, new"].ratio(view)
                report.figure(
                    "read_new",
                    "read_features, 200-1600 frames",
                    "<= numpy view + copy",
                    ratio,
                    ratio <= 1.0,
                    " x",
                    remark=f"pread {timings['ours pread, new'].ratio(view):.2f} x",
                )
            if module is not None and kind == "short":
                micros = timings["ours mmap, new"].us_per_entry()
                report.figure(
                    "read_short",
                    "read_features, 20 frames",
                    "<= 3 µs",
                    micros,
                    micros <= 3.0,
                    " µs",
                    remark=f"pread {timings['ours pread, new'].us_per_entry():.2f} µs",
                )
                ratio = timings["ours mmap, new"].ratio(timings["numpy view, new"])
                report.figure(
                    "read_short_new",
                    "read_features, 20 frames",
                    "<= numpy view + copy",
                    ratio,
                    ratio <= 1.0,
                    " x",
                )
            if kind == "long":
                fresh = first_pass(
                    module, path, data, positions, max(3, rounds // 3), args.seed + 1
                )
                report.timings("first pass after opening (long)", fresh, COPY, frame_bytes)
    report.finish()


if __name__ == "__main__":
    main()
