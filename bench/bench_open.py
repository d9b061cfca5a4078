"""Opening archives with very many entries: time, private memory, lookup by name; RETURNN for
comparison.

Every measurement is a new process: sprintcache is imported, memory read, the archive opened, memory
read again. The time includes the first lookup, in case an index is only made then. Entries hold 40
bytes each; names are as corpus/rec0000000/rec0000000-seg000.
"""

from __future__ import annotations

import argparse
import importlib
import json
import mmap
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Report
from make_data import tiny_name, write_tiny

MODES = ("mmap", "pread")
LOOKUPS = 200_000


def timed(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def child(spec: dict[str, Any]) -> dict[str, Any]:
    """Opens one archive in another process and reports the cost."""
    count = spec["count"]
    numbers = random.Random(1).choices(range(count), k=min(LOOKUPS, 10 * count))
    names = [tiny_name(number) for number in numbers]
    absent = [name + "x" for name in names]
    opener: Callable[[], Any]
    if spec["peer"] == "returnn":
        cache = importlib.import_module("returnn.sprint.cache")

        def opener() -> Any:
            return cache.FileArchive(spec["path"])

        def contains(archive: Any, some: list[str]) -> int:
            return sum(map(archive.has_entry, some))

    else:
        sprintcache = importlib.import_module("sprintcache")
        importlib.import_module("sprintcache._reader")

        def opener() -> Any:
            return sprintcache.open_archive(spec["path"], io=spec["peer"])

        def contains(archive: Any, some: list[str]) -> int:
            num_names = 0
            for name in some:
                if name in archive:
                    num_names += 1
            return num_names

        sprintcache.open_archive(spec["warm"], io=spec["peer"]).close()  # lazy imports are not ours

    before = harness.private_memory()
    begin = time.perf_counter()
    archive = opener()
    opened = time.perf_counter()
    first = contains(archive, names[:1])
    looked = time.perf_counter()
    after = harness.private_memory()
    result: dict[str, Any] = {
        "open": opened - begin,
        "first": looked - opened,
        "memory": {key: after[key] - before[key] for key in after},
    }
    entries = len(archive.ft) if spec["peer"] == "returnn" else len(archive)
    if not first or entries != spec["entries"]:
        raise AssertionError(f"{entries} entries, want {spec['entries']}; first name: {first}")
    contains(archive, names)  # warm
    begin = time.perf_counter()
    num_names = contains(archive, names)
    middle = time.perf_counter()
    wrong = contains(archive, absent)
    end = time.perf_counter()
    if num_names != len(names) or wrong:
        raise AssertionError(f"{num_names} of {len(names)} names found, {wrong} that are not there")
    result["in"] = (middle - begin) / len(names)
    result["absent"] = (end - middle) / len(names)
    if spec["peer"] != "returnn":
        get = archive.entry
        begin = time.perf_counter()
        for name in names:
            get(name)
        result["entry"] = (time.perf_counter() - begin) / len(names)
        for number in numbers[:200]:
            if archive.read_bytes(tiny_name(number)) != number.to_bytes(40, "little"):
                raise AssertionError(f"{tiny_name(number)}: wrong data")
        begin = time.perf_counter()
        segments = len(archive.segments)
        result["segments"] = time.perf_counter() - begin
        if segments != count:
            raise AssertionError(f"{segments} segments, want {count}")
    later = harness.private_memory()
    result["memory_later"] = {key: later[key] - before[key] for key in later}
    return result


def median(results: list[dict[str, Any]], *keys: str) -> float:
    values = []
    for result in results:
        value: Any = result
        for key in keys:
            value = value[key]
        values.append(value)
    return float(np.median(values))


def one_size(
    args: argparse.Namespace, report: Report, folder: Path, count: int, attribs: bool, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """All peers on an archive of `count` entries, interleaved, a process each."""
    path = folder / f"tiny-{count}.cache"
    size = write_tiny(path, count, attribs)
    spec: dict[str, Any] = {"path": str(path), "warm": str(folder / "small.cache")}
    spec |= {"entries": count, "count": count // 2 if attribs else count}
    write_tiny(folder / "small.cache", 10)
    harness.settle(folder)
    kind = f"{count:,} entries" + (", half of them .attribs" if attribs else "")
    peers = [] if args.peers_only else list(MODES)
    if count <= 1_000_000 and harness.optional("returnn.sprint.cache") is not None:
        peers.append("returnn")
    results: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for number in range(rounds):
        for peer in peers:
            if peer == "returnn" and number >= 3:
                continue
            results[peer].append(harness.run_child(__file__, {**spec, "peer": peer}))
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as other:
        int(np.frombuffer(other, np.uint8)[::4096].max())  # the same pages in another process
        for peer in peers:
            second = harness.run_child(__file__, {**spec, "peer": peer})
            results[peer][0]["memory_beside"] = second["memory"]
    path.unlink()

    def mib(peer: str, *keys: str) -> str:
        return f"{median(results[peer], *keys) / 2**20:.1f}"

    rows = []
    for peer, values in results.items():
        entry = f"{median(values, 'entry') * 1e6:.2f}" if "entry" in values[0] else "-"
        segments = f"{median(values, 'segments') * 1e3:.1f}" if "segments" in values[0] else "-"
        rows.append(
            [
                "RETURNN" if peer == "returnn" else f"ours {peer}",
                f"{median(values, 'open') * 1e3:.1f}",
                f"{median(values, 'first') * 1e3:.2f}",
                f"{(median(values, 'open') + median(values, 'first')) / count * 1e9:.0f}",
                mib(peer, "memory", "private"),
                mib(peer, "memory", "private_clean"),
                mib(peer, "memory", "anonymous"),
                f"{values[0]['memory_beside']['private'] / 2**20:.1f}",
                mib(peer, "memory_later", "private"),
                f"{median(values, 'in') * 1e6:.2f}",
                f"{median(values, 'absent') * 1e6:.2f}",
                entry,
                segments,
                len(values),
            ]
        )
    columns = ["", "open ms", "first lookup ms", "ns/entry", "private MiB", "of it clean"]
    columns += [
        "anonymous",
        "next to another",
        "private later",
        "in µs",
        "not in µs",
        "entry() µs",
        "segments ms",
        "n",
    ]
    report.table(f"open, {kind}, {size / 1e6:.0f} MB, page cache warm", columns, rows)
    return results


def figures(report: Report, results: dict[str, list[dict[str, Any]]], count: int) -> float:
    """The figures for one million entries; gives the seconds per entry."""
    mapped = results["mmap"]
    seconds = median(mapped, "open") + median(mapped, "first")
    pread = median(results["pread"], "open") + median(results["pread"], "first")
    rival = ""
    if results.get("returnn"):
        slow = median(results["returnn"], "open") + median(results["returnn"], "first")
        rival = f"; RETURNN {slow:.1f} s"
    report.figure(
        "open_time",
        f"open {count:,} entries, first lookup included",
        "<= 0.3 s",
        seconds,
        seconds <= 0.3 if count >= 1_000_000 else None,
        " s",
        digits=3,
        remark=f"pread {pread:.3f} s{rival}",
    )
    private = median(mapped, "memory", "private") / 2**20
    anonymous = median(mapped, "memory", "anonymous") / 2**20
    if results.get("returnn"):
        rival = f"; RETURNN {median(results['returnn'], 'memory', 'private') / 2**20:.0f} MiB"
    report.figure(
        "open_memory",
        f"private memory of {count:,} open entries, mmap",
        "<= 40 MiB",
        private,
        private <= 40 if count >= 1_000_000 else None,
        " MiB",
        digits=1,
        remark=f"anonymous {anonymous:.1f} MiB; next to another process with the same file "
        f"{mapped[0]['memory_beside']['private'] / 2**20:.1f} MiB{rival}",
    )
    lookup = median(mapped, "in") * 1e6
    report.figure(
        "lookup",
        f"name in archive, {count:,} entries",
        "<= 1 µs",
        lookup,
        lookup <= 1.0,
        " µs",
        remark=f"entry(name) {median(mapped, 'entry') * 1e6:.2f} µs",
    )
    return seconds / count


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    parser = harness.parser(__doc__)
    parser.add_argument("--full", action="store_true", help="10,000,000 entries as well (1 GB)")
    args = parser.parse_args()
    module = harness.ours(args)
    report = Report("bench_open", args, module)
    count = 20_000 if args.quick else 1_000_000
    rounds = args.rounds or (1 if args.quick else 7)
    with harness.workspace(args) as folder:
        results = one_size(args, report, folder, count, False, rounds)
        one_size(args, report, folder, count, True, max(1, rounds // 2))
        each = 0.0
        if module is not None:
            each = figures(report, results, count)
        if args.full:
            many = 10 * count
            results = one_size(args, report, folder, many, False, max(1, rounds // 2))
            if module is not None:
                mapped = results["mmap"]
                seconds = median(mapped, "open") + median(mapped, "first")
                ratio = seconds / many / each
                memory = median(mapped, "memory", "private") / 2**20
                report.figure(
                    "open_many",
                    f"open {many:,} entries, time per entry",
                    f"<= 2 x that of {count:,}",
                    ratio,
                    ratio <= 2.0,
                    " x",
                    remark=f"{seconds:.2f} s, {memory:.0f} MiB, "
                    f"lookup {median(mapped, 'in') * 1e6:.2f} µs",
                )
    report.finish()


if __name__ == "__main__":
    main()
