"""Entries of 1 kB: combining, copying and verifying against `cat`; alignments to HDF5 against h5py;
reading by pread against one bare `pread` of each entry.

Half of the entries of the first three are attributes. Runs that write make a new file and end with
fsync, `cat` and h5py as well; verifying is compared with `cat` to nowhere. The files are in the
page cache.

Two bounds. Reading one entry makes two system calls: one `pread`, and one `stat` of the path, so
that a file that was replaced is an error; a batch makes the second once. Labels are decoded, which
takes about as long as h5py takes to write them, in threads where processors are free.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from bench_combine import check as check_combined
from bench_combine import write_source
from bench_convert import H5PY, LabelArchive, h5py_writers, whole
from harness import Order, Peer, Report, Run, check_equal, measure
from make_data import (
    make_features,
    write_features,
)

MOST_CAT = 3.0
MOST_H5PY = 1.5
MOST_PREAD = 1.3


def writing(name: str, path: Path, write: Callable[[], object]) -> Peer:
    """A peer that writes a new file."""

    def plan(_order: Order) -> Run:
        path.unlink(missing_ok=True)
        return write

    return Peer(name, plan)


def cat(sources: Sequence[Path], path: Path) -> None:
    with open(path, "wb") as file:
        subprocess.run(["cat", *sources], stdout=file, check=True)
        if path.is_file():
            os.fsync(file.fileno())


def files(module: ModuleType, report: Report, folder: Path, args: Any) -> None:
    """Combining two archives, copying and verifying one."""
    sources = [folder / f"source{number}.cache" for number in (1, 2)]
    megabytes = 2 if args.quick else 50
    counts = [
        write_source(source, megabytes, 5, 10, False, args.seed + number)
        for number, source in enumerate(sources)
    ]
    count = sum(counts)
    harness.settle(folder)
    path = folder / "out.cache"

    def combine(paths: Sequence[Path]) -> None:
        archives = [module.open_archive(source) for source in paths]
        module.combine(archives, path)
        for archive in archives:
            archive.close()

    def verify() -> None:
        verified = module.verify(sources[0])
        if not verified.ok or verified.num_entries != counts[0]:
            raise AssertionError(f"{verified.num_entries} entries, {verified.problems[:1]}")

    check_combined(writing("ours", path, lambda: combine(sources)), path, sources)
    check_combined(writing("ours", path, lambda: combine(sources[:1])), path, sources[:1])
    size = sum(os.path.getsize(source) for source in sources)
    report.say(f"{count} entries of {size // count} bytes", entries=count)
    one, nowhere = sources[:1], Path(os.devnull)
    tasks = {
        "combine": (lambda: cat(sources, path), lambda: combine(sources), count),
        "copy": (lambda: cat(one, path), lambda: combine(one), counts[0]),
        "verify": (lambda: cat(one, nowhere), verify, counts[0]),
    }
    for task, (theirs, ours, entries) in tasks.items():
        peers = [writing("cat", path, theirs), writing("ours", path, ours)]
        timings = measure(peers, np.array([entries]), rounds_of(args), args.seed)
        ratio = timings["ours"].ratio(timings["cat"])
        report.table(
            f"{task}, µs an entry",
            ["", "µs", "x cat", "±"],
            [
                [
                    name,
                    f"{timing.ns_per_frame() / 1e3:.2f}",
                    f"{timing.ratio(timings['cat']):.2f}",
                    f"{timing.spread():.0%}",
                ]
                for name, timing in timings.items()
            ],
        )
        report.figure(
            f"small_{task}",
            f"time to {task} entries of 1 kB",
            f"<= {MOST_CAT:.0f} x cat",
            ratio,
            ratio <= MOST_CAT,
            " x",
        )


def alignments(report: Report, folder: Path, args: Any) -> None:
    """Alignments to HDF5, against writing the same labels from memory."""
    if harness.optional("h5py") is None:
        return
    count = 200 if args.quick else 10_000
    archive = LabelArchive(folder, count, (200, 601), args.seed, alphabet=False)
    write = h5py_writers(archive.names, archive.labels)[H5PY]
    path = folder / "x.hdf"

    def write_and_sync(to: Path) -> None:
        write(to)
        with open(to, "rb") as file:
            os.fsync(file.fileno())

    peers = [whole(H5PY, path, write_and_sync), whole("ours", path, archive.convert)]
    frames = np.array([len(array) for array in archive.labels])
    timings = measure(peers, frames, rounds_of(args), args.seed)
    report.timings("alignments to HDF5", timings, H5PY, 4)
    ratio = timings["ours"].ratio(timings[H5PY])
    report.figure(
        "small_hdf",
        "time to convert alignments of 1 kB to HDF5",
        f"<= {MOST_H5PY} x h5py that has the labels",
        ratio,
        ratio <= MOST_H5PY,
        " x",
    )


def reading(module: ModuleType, report: Report, folder: Path, args: Any) -> None:
    """Entries of 6 frames by pread, and the same bytes by one `preadv` into an array."""
    features = make_features(100 * 6 if args.quick else 20_000 * 6, 6, 6, seed=args.seed)
    names, matrices = list(features), list(features.values())
    path = folder / "features.cache"
    write_features(path, features)
    archive = module.open_archive(path, "pread")
    out = np.empty((6, 40), np.float32)
    for name, matrix in features.items():
        check_equal("ours", name, archive.read_features(name, out), matrix)
    rows = [archive.entry(name) for name in names]
    payload = np.empty(rows[0].size, np.uint8)
    fd = os.open(path, os.O_RDONLY)

    def our_plan(order: Order) -> Run:
        chosen = [names[i] for i in order]

        def run() -> None:
            read = archive.read_features
            for name in chosen:
                read(name, out)

        return run

    def pread_plan(order: Order) -> Run:
        offsets = [rows[i].position + 12 for i in order]
        buffers = [payload]

        def run() -> None:
            preadv = os.preadv
            for offset in offsets:
                preadv(fd, buffers, offset)

        return run

    def guarded_plan(order: Order) -> Run:
        offsets = [rows[i].position + 12 for i in order]
        buffers = [payload]

        def run() -> None:
            preadv, stat = os.preadv, os.stat
            for offset in offsets:
                stat(path)
                preadv(fd, buffers, offset)

        return run

    peers = [
        Peer("pread", pread_plan),
        Peer("stat and pread", guarded_plan),
        Peer("ours, pread", our_plan),
    ]
    timings = measure(peers, np.array([len(m) for m in matrices]), rounds_of(args), args.seed)
    os.close(fd)
    archive.close()
    report.timings("one entry by name", timings, "pread", 160)
    ratio = timings["ours, pread"].ratio(timings["pread"])
    report.figure(
        "small_pread",
        "time to read an entry of 1 kB by pread",
        f"<= {MOST_PREAD} x one pread",
        ratio,
        ratio <= MOST_PREAD,
        " x",
        remark=f"{timings['ours, pread'].ratio(timings['stat and pread']):.2f} x of stat and pread",
    )


def rounds_of(args: Any) -> int:
    rounds: int = args.rounds or (3 if args.quick else 9)
    return rounds


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    report = Report("bench_small_entries", args, module)
    if module is not None:
        with harness.workspace(args) as folder:
            files(module, report, folder, args)
            alignments(report, folder, args)
            reading(module, report, folder, args)
    report.finish()


if __name__ == "__main__":
    main()
