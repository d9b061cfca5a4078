"""Writing features: ours, the same bytes with one plain write per entry, RETURNN's writer.

Every run makes a new file and ends with fsync, RETURNN's as well. Nothing can be faster than the
plain writes but by luck: they fix what a page of the page cache costs.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import harness
import numpy as np
from harness import Order, Peer, Report, Run, Timing, measure
from make_data import feature_payload, make_features, write_features

PLAIN = "plain writes"


def fsync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def compare(
    module: ModuleType, folder: Path, features: dict[str, np.ndarray], rounds: int, seed: int
) -> dict[str, Timing]:
    names = list(features)
    matrices = list(features.values())
    times = [np.zeros((len(matrix), 2)) for matrix in matrices]
    for rows in times:
        rows[:, 0] = np.arange(len(rows)) * 0.01
        rows[:, 1] = rows[:, 0] + 0.025
    path = folder / "out.cache"

    def our_plan(given: bool) -> Peer:
        def plan(order: Order) -> Run:
            path.unlink(missing_ok=True)

            def run() -> None:
                with module.ArchiveWriter(path) as writer:
                    for i in order:
                        writer.add_features(names[i], matrices[i], times[i] if given else None)

            return run

        return Peer(f"ours, times {'given' if given else 'made'}", plan)

    def plain_plan(order: Order) -> Run:
        path.unlink(missing_ok=True)
        head = b"\xaa" * 60  # as much as tags, name and sizes take
        entries = [head + feature_payload(matrices[i]) for i in order]

        def run() -> None:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT)
            for entry in entries:
                os.write(fd, entry)
            os.fsync(fd)
            os.close(fd)

        return run

    peers = [Peer(PLAIN, plain_plan), our_plan(True), our_plan(False)]
    check(our_plan(True), path, features)
    cache = harness.optional("returnn.sprint.cache")
    if cache is not None:

        def their_plan(order: Order) -> Run:
            path.unlink(missing_ok=True)

            def run() -> None:
                archive = cache.FileArchive(str(path), must_exists=False)
                for i in order:
                    archive.add_feature_cache(names[i], matrices[i], times[i])
                archive.finalize()
                fsync(path)

            return run

        frames = np.mean([len(matrix) for matrix in matrices])
        peers.append(Peer("RETURNN", their_plan, limit=int(max(10, 10000 // frames))))
    sizes = np.array([len(matrix) for matrix in matrices])
    return measure(peers, sizes, rounds, seed)


def check(peer: Peer, path: Path, features: dict[str, np.ndarray]) -> None:
    """Our file is, byte for byte, what the benchmark's own writer makes."""
    peer.plan(list(range(len(features))))()
    expected = path.with_name("expected.cache")
    write_features(expected, features)
    if path.read_bytes() != expected.read_bytes():
        raise AssertionError(f"{peer.name}: not the bytes of the format")
    expected.unlink()


def main() -> None:
    parser = harness.parser(__doc__)
    args = parser.parse_args()
    module = harness.ours(args)
    report = Report("bench_write", args, module)
    if module is None:
        return
    megabytes = 4 if args.quick else 64
    rounds = args.rounds or (3 if args.quick else 15)
    with harness.workspace(args) as folder:
        for kind, low, high in (("long", 200, 1600), ("short", 45, 45)):
            features = make_features(megabytes << 20, low, high, seed=args.seed)
            report.say(
                f"\n{kind}: {len(features)} entries of {low} to {high} frames, dim 40",
                **{f"{kind}_entries": len(features)},
            )
            timings = compare(module, folder, features, rounds, args.seed)
            report.timings(f"write features, {kind}", timings, PLAIN, 180)
            ours = timings["ours, times given"]
            ratio = timings[PLAIN].ratio(ours)
            report.figure(
                f"write_{kind}",
                f"speed of writing, {low}-{high} frames",
                ">= 0.5 x plain writes",
                ratio,
                ratio >= 0.5,
                " x",
                remark=f"times made {timings[PLAIN].ratio(timings['ours, times made']):.2f} x",
            )
            if "RETURNN" in timings:
                ratio = timings["RETURNN"].ratio(ours)
                bound = timings["RETURNN"].ratio(timings[PLAIN])
                report.figure(
                    f"write_{kind}_returnn",
                    f"speed of writing, {low}-{high} frames",
                    ">= 100 x RETURNN",
                    ratio,
                    ratio >= 100,
                    " x",
                    digits=0,
                    remark=f"plain writes {bound:.0f} x",
                )
    report.finish()


if __name__ == "__main__":
    main()
