"""One pass over a bundle in file order: iter_features against `cat`, cold, and the copy, warm.

Cold means that the guest's page cache was dropped (/proc/sys/vm/drop_caches, only as root) just
before; what a virtual disk's host or a controller caches is out of reach. The time of ours includes
opening. The archives hold 40-dim float32 features and `.attribs` entries, as Sprint writes them.
Warm comes first, on the pages that writing the files left, and again after a cold pass of ours.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import make_features, write_bundle, write_features
from peers import FeatureData, NumpyView

ARCHIVES = 4
DROP = Path("/proc/sys/vm/drop_caches")
COPY = "the copy"


def drop_caches() -> None:
    os.sync()
    DROP.write_text("3\n")
    # the program itself is not what is measured
    subprocess.run(["cat", "/dev/null"], check=True)


def one_pass(module: ModuleType, bundle: Path, mode: str) -> int:
    """Open, iterate over everything, close; gives the frames seen."""
    frames = 0
    with module.open_archive(str(bundle), io=mode) as archive:
        for _, features in archive.iter_features():
            frames += len(features)
    return frames


def cat(paths: list[Path]) -> None:
    subprocess.run(["cat", *map(str, paths)], check=True, stdout=subprocess.DEVNULL)


def read_into(paths: list[Path]) -> None:
    """Plain unbuffered reads of 1 MiB into one buffer: the same in this process."""
    buffer = bytearray(1 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as f:
            while f.readinto(buffer):
                pass


def check_ours(module: ModuleType, bundle: Path, mode: str, data: FeatureData) -> None:
    count = 0
    with module.open_archive(str(bundle), io=mode) as archive:
        for i, (name, features) in enumerate(archive.iter_features()):
            if name != data.names[i]:
                raise AssertionError(f"ours {mode}: entry {i} is {name}, want {data.names[i]}")
            check_equal(f"ours {mode}", name, features, data.matrices[i])
            count += 1
    if count != len(data.names):
        raise AssertionError(f"ours {mode}: {count} entries, want {len(data.names)}")


def cold(
    module: ModuleType | None, paths: list[Path], bundle: Path, rounds: int, frames: int
) -> dict[str, list[float]]:
    """Seconds of each, interleaved, the cache dropped before every single pass."""
    runs: dict[str, Callable[[], Any]] = {
        "cat": lambda: cat(paths),
        "readinto 1 MiB": lambda: read_into(paths),
    }
    if module is not None:
        some = module
        runs["ours mmap"] = lambda: one_pass(some, bundle, "mmap")
        runs["ours pread"] = lambda: one_pass(some, bundle, "pread")
        runs["ours auto"] = lambda: one_pass(some, bundle, "auto")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        start = number % len(names)
        for name in [*names[start:], *names[:start]]:
            drop_caches()
            begin = time.perf_counter()
            result = runs[name]()
            seconds[name].append(time.perf_counter() - begin)
            if result is not None and result != frames:
                raise AssertionError(f"{name}: {result} frames, want {frames}")
    return seconds


def warm(
    module: ModuleType | None,
    paths: list[Path],
    bundle: Path,
    data: FeatureData,
    positions: list[dict[str, int]],
    rounds: int,
    seed: int,
) -> dict[str, harness.Timing]:
    """The same with everything in the page cache, next to the copy of the same matrices."""
    out = data.buffer()

    def always(work: Callable[[], object]) -> Callable[[Order], Run]:
        return lambda _: work

    def copy_new() -> None:
        for matrix in data.matrices:
            matrix.copy()

    spans = np.cumsum([0, *(len(p) // 2 for p in positions)]).tolist()  # without .attribs

    def view() -> None:
        for path, begin, end, places in zip(paths, spans[:-1], spans[1:], positions, strict=True):
            read = NumpyView(path, data, places, range(begin, end)).read
            for i in range(end - begin):
                read(i, None)

    in_order = list(range(len(data.names)))
    peers = [
        Peer(COPY, lambda _: data.copy(out, in_order)),
        Peer("the copy, new arrays", always(copy_new)),
        Peer("numpy view, mapped again", always(view)),
        Peer("cat", always(lambda: cat(paths))),
        Peer("readinto 1 MiB", always(lambda: read_into(paths))),
    ]
    if module is not None:
        some = module
        for mode in ("mmap", "pread"):

            def work(mode: str = mode) -> int:
                return one_pass(some, bundle, mode)

            peers.append(Peer(f"ours {mode}", always(work)))
    return measure(peers, data.frames, rounds, seed)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--mb", type=int, help="MB of the bundle")
    args = parser.parse_args()
    module = harness.ours(args)
    megabytes = args.mb or (64 if args.quick else 1000)
    rounds = args.rounds or (2 if args.quick else 5)
    report = Report("bench_sequential", args, module)
    with harness.workspace(args) as folder:
        paths: list[Path] = []
        positions: list[dict[str, int]] = []
        features: dict[str, np.ndarray] = {}
        for number in range(ARCHIVES):
            part = make_features(
                int(megabytes * 1e6 / ARCHIVES * 160 / 180), 200, 1600, seed=args.seed + number
            )
            part = {f"part{number}/{name}": matrix for name, matrix in part.items()}
            paths.append(folder / f"features.{number}.cache")
            positions.append(write_features(paths[-1], part, attribs=True))
            features |= part
        bundle = folder / "features.bundle"
        write_bundle(bundle, paths)
        harness.settle(folder)
        data = FeatureData(features)
        size = sum(path.stat().st_size for path in paths)
        report.say(
            f"\nbundle of {ARCHIVES} archives, {size / 1e6:.0f} MB, {len(data.names)} segments",
            bytes=size,
            entries=len(data.names),
        )
        if module is not None:
            for mode in ("mmap", "pread"):
                check_ours(module, bundle, mode, data)
        timings = warm(module, paths, bundle, data, positions, rounds, args.seed)
        report.timings("warm pass, pages as they were written", timings, COPY, data.dim * 4)
        if module is not None:
            mapped = timings["ours mmap"]
            ratio = mapped.ratio(timings[COPY])
            fresh = mapped.ratio(timings["the copy, new arrays"])
            report.figure(
                "sequential_warm",
                "warm pass, opening included",
                "bound by the copy",
                ratio,
                None,
                " x the copy",
                remark=f"{fresh:.2f} x the copy to new arrays; "
                f"pread {timings['ours pread'].ratio(timings[COPY]):.2f} x the copy",
            )
        frames = int(data.frames.sum())
        if os.geteuid() != 0 or not os.access(DROP, os.W_OK):
            report.say("cold: skipped, the page cache can only be dropped as root")
        else:
            seconds = cold(module, paths, bundle, rounds, frames)
            rows = []
            base = np.array(seconds["cat"])
            for name, values in seconds.items():
                speed = float(np.median(base / np.array(values)))
                middle = float(np.median(values))
                each = " ".join(f"{value:.3f}" for value in values)
                rows.append(
                    [name, f"{middle:.3f}", f"{size / middle / 1e9:.2f}", f"{speed:.2f}", each]
                )
            report.table(
                "cold pass (page cache dropped)",
                ["", "s", "GB/s", "speed x cat", "each round, s"],
                rows,
            )
            if module is not None:
                best = np.median(base)
                speed = float(best / np.median(seconds["ours mmap"]))
                pread = float(best / np.median(seconds["ours pread"]))
                report.figure(
                    "sequential_cold",
                    f"cold pass over {size / 1e9:.2f} GB, median of {rounds}",
                    ">= 0.8 x cat",
                    speed,
                    speed >= 0.8,
                    " x",
                    remark=f"pread {pread:.2f} x; cat {size / best / 1e9:.2f} GB/s",
                )
                # the second epoch: pages as our own cold pass has left them, in smaller folios
                drop_caches()
                one_pass(module, bundle, "mmap")
                timings = warm(module, paths, bundle, data, positions, rounds, args.seed)
                report.timings("warm pass after a cold one of ours", timings, COPY, data.dim * 4)
    report.finish()


if __name__ == "__main__":
    main()
