"""Opening archives with very many entries by a shared index: time, private memory, lookup; eight
worker processes at once; writing the index.

Every measurement is a new process, as in bench_open. The archives are those of bench_open: entries
of 40 bytes, with names as corpus/rec0000000/rec0000000-seg000. Answers are compared first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import random
import sys
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Report
from make_data import tiny_name, write_tiny

LOOKUPS = 200_000
WORKERS = 8
PEERS = ("table", "index", "index, pread", "build")


def child(spec: dict[str, Any]) -> dict[str, Any]:
    """Opens one archive, or writes its index, in another process and reports the cost."""
    import sprintcache
    import sprintcache._reader

    io = "pread" if "pread" in spec["peer"] else "mmap"
    index = None if spec["peer"] in ("table", "build") else "auto"
    sprintcache.open_archive(spec["warm"], io, index=index).close()  # lazy imports are not ours
    if spec["peer"] == "build":
        target = spec["path"] + ".other"
        begin = time.perf_counter()
        sprintcache.write_index(spec["path"], target)
        seconds = time.perf_counter() - begin
        os.unlink(target)
        return {"open": seconds, "first": 0.0}
    count = spec["count"]
    numbers = random.Random(1).choices(range(count), k=min(LOOKUPS, 10 * count))
    names = [tiny_name(number) for number in numbers]
    before = harness.private_memory()
    begin = time.perf_counter()
    archive = sprintcache.open_archive(spec["path"], io, index=index)
    opened = time.perf_counter()
    first = names[0] in archive
    looked = time.perf_counter()
    after = harness.private_memory()
    if not first or len(archive) != count or (archive.index_path is None) != (index is None):
        raise AssertionError(f"{len(archive)} entries, index {archive.index_path}")
    for number in numbers[:1000]:
        if archive.read_bytes(tiny_name(number)) != number.to_bytes(40, "little"):
            raise AssertionError(f"{tiny_name(number)}: wrong data")
    if archive.segments.at(numbers[:1000]) != names[:1000] or "absent" in archive:
        raise AssertionError("wrong names")
    passes = [look_up(archive, names) for _ in range(3)]
    return {
        "open": opened - begin,
        "first": looked - opened,
        "memory": {key: after[key] - before[key] for key in after},
        "in": min(passes[1:]),
    }


def look_up(archive: Any, names: list[str]) -> float:
    """Seconds per name."""
    num_names = 0
    begin = time.perf_counter()
    for name in names:
        if name in archive:
            num_names += 1
    seconds = (time.perf_counter() - begin) / len(names)
    if num_names != len(names):
        raise AssertionError(f"{num_names} of {len(names)} names found")
    return seconds


def work(pickled: bytes, warm: str, name: str, barrier: Any, queue: Any) -> None:
    """A worker: memory for opening and one lookup, while all workers have the archive open."""
    import sprintcache

    sprintcache.open_archive(warm).close()
    before = harness.private_memory()
    archive = pickle.loads(pickled)
    is_found = name in archive and archive.index_path is not None
    barrier.wait(300)
    after = harness.private_memory()
    barrier.wait(300)
    queue.put(after["private"] - before["private"] if is_found else -1)


def workers(path: str, warm: str) -> list[int]:
    """Private bytes of each of eight spawned workers."""
    import sprintcache

    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(WORKERS), context.Queue()
    with sprintcache.open_archive(path) as archive:
        names = [archive.segments[number * 997 % len(archive)] for number in range(WORKERS)]
        pickled = pickle.dumps(archive)
        processes = [
            context.Process(target=work, args=(pickled, warm, name, barrier, queue))
            for name in names
        ]
        for process in processes:
            process.start()
        sizes = [queue.get(timeout=300) for _ in processes]
        for process in processes:
            process.join(60)
    if min(sizes) < 0:
        raise AssertionError("a worker did not find its name by the index")
    return sizes


def measure(args: argparse.Namespace, report: Report, folder: Path, count: int) -> None:
    import sprintcache

    path, warm = folder / f"tiny-{count}.cache", folder / "small.cache"
    size = write_tiny(path, count)
    write_tiny(warm, 10)
    for each in (path, warm):
        sprintcache.write_index(each)
    harness.settle(folder)
    index_size = os.path.getsize(f"{path}.index")
    rounds = args.rounds or (1 if args.quick else 5)
    results: dict[str, list[dict[str, Any]]] = {peer: [] for peer in PEERS}
    for _ in range(rounds):
        for peer in PEERS:
            spec = {"path": str(path), "warm": str(warm), "count": count, "peer": peer}
            results[peer].append(harness.run_child(__file__, spec))
    sizes = workers(str(path), str(warm))

    def median(peer: str, *keys: str) -> float:
        values: list[Any] = results[peer]
        for key in keys:
            values = [value[key] for value in values]
        return float(np.median(values))

    rows = []
    for peer in PEERS:
        row = [peer, f"{median(peer, 'open') * 1e3:.2f}", f"{median(peer, 'first') * 1e3:.3f}"]
        if peer == "build":
            row += ["-", "-", "-"]
        else:
            row += [
                f"{median(peer, 'memory', key) / 2**20:.2f}" for key in ("private", "anonymous")
            ]
            row.append(f"{median(peer, 'in') * 1e6:.2f}")
        rows.append([*row, rounds])
    report.table(
        f"{count:,} entries, {size / 1e6:.0f} MB, index of {index_size / 1e6:.0f} MB, cache warm",
        ["", "open ms", "first lookup ms", "private MiB", "anonymous", "in µs", "n"],
        rows,
    )
    is_full = count >= 10_000_000
    opened = median("index", "open") + median("index", "first")
    table = median("table", "open") + median("table", "first")
    report.figure(
        "index_open",
        f"open {count:,} entries by an index, first lookup included",
        "<= 5 ms",
        opened * 1e3,
        opened <= 5e-3 if is_full else None,
        " ms",
        remark=f"by the table {table * 1e3:.0f} ms",
    )
    private = median("index", "memory", "private") / 2**20
    report.figure(
        "index_memory",
        f"private memory of {count:,} entries open by an index",
        "<= 2 MiB",
        private,
        private <= 2 if is_full else None,
        " MiB",
        remark=f"by the table {median('table', 'memory', 'private') / 2**20:.0f} MiB",
    )
    report.figure(
        "index_workers",
        f"private memory of each of {WORKERS} spawned workers, the largest",
        "<= 4 MiB",
        max(sizes) / 2**20,
        max(sizes) <= 4 * 2**20 if is_full else None,
        " MiB",
    )
    lookup = median("index", "in") * 1e6
    report.figure(
        "index_lookup",
        f"name in archive, {count:,} entries, by an index",
        "<= 1 µs",
        lookup,
        lookup <= 1.0 if is_full else None,
        " µs",
        remark=f"by the table {median('table', 'in') * 1e6:.2f} µs",
    )
    ratio = float(
        np.median(
            [b["open"] / t["open"] for b, t in zip(results["build"], results["table"], strict=True)]
        )
    )
    report.figure(
        "index_build",
        f"write the index of {count:,} entries",
        "<= 2 x opening by the table",
        ratio,
        ratio <= 2.0 if is_full else None,
        " x",
        remark=f"{median('build', 'open'):.2f} s",
    )


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    report = Report("bench_index", args, module)
    if module is not None:
        with harness.workspace(args) as folder:
            measure(args, report, folder, 20_000 if args.quick else 10_000_000)
    report.finish()


if __name__ == "__main__":
    main()
