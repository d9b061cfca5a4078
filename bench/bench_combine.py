"""Combining two archives without recompression, against `cat` of the two files.

Every run makes a new file and ends with fsync, `cat` as well. The sources are in the page cache.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType

import harness
import numpy as np
from harness import Order, Peer, Report, Run, Timing, measure
from make_data import ArchiveFile, attribs_payload, compress, feature_payload, make_features

DIFFERENT = 64  # payloads that are made; they come again under other names


def write_source(path: Path, megabytes: int, low: int, high: int, gz: bool, seed: int) -> int:
    """An archive of that many megabytes in the file, with attributes; gives its entries."""
    features = make_features(DIFFERENT * 160 * (low + high) // 2, low, high, seed=seed)
    entries = []
    for matrix in features.values():
        parts = [attribs_payload(matrix.shape[1], len(matrix) * 0.01), feature_payload(matrix)]
        entries.append([(compress(part), len(part)) if gz else (part, -1) for part in parts])
    count = size = 0
    with ArchiveFile(path) as archive:
        while size < megabytes << 20:
            name = f"corpus{seed}/rec{count // 20:05d}/{count:07d}"
            attribs, payload = entries[count // 2 % len(entries)]
            archive.add(f"{name}.attribs", *attribs)
            archive.add(name, *payload)
            size += len(attribs[0]) + len(payload[0])
            count += 2
    return count


def compare(module: ModuleType, sources: list[Path], rounds: int, seed: int) -> dict[str, Timing]:
    path = sources[0].with_name("out.cache")

    def our_plan(_order: Order) -> Run:
        path.unlink(missing_ok=True)

        def run() -> None:
            archives = [module.open_archive(source) for source in sources]
            module.combine(archives, path)
            for archive in archives:
                archive.close()

        return run

    def cat_plan(_order: Order) -> Run:
        path.unlink(missing_ok=True)

        def run() -> None:
            with open(path, "wb") as file:
                subprocess.run(["cat", *sources], stdout=file, check=True)
                os.fsync(file.fileno())

        return run

    check(Peer("ours", our_plan), path, sources)
    size = sum(os.path.getsize(source) for source in sources)
    peers = [Peer("cat", cat_plan), Peer("ours", our_plan)]
    timings = measure(peers, np.array([size]), rounds, seed)
    path.unlink()
    return timings


def check(peer: Peer, path: Path, sources: list[Path]) -> None:
    """The entries of the sources stand in the new file, byte for byte."""
    peer.plan([0])()
    contents, at = path.read_bytes(), 9
    for source in sources:
        data = source.read_bytes()
        entries = data[9 : int.from_bytes(data[-8:], "little")]
        if contents[at : at + len(entries)] != entries:
            raise AssertionError(f"{peer.name}: not the bytes of {source.name}")
        at += len(entries)
    if at != int.from_bytes(contents[-8:], "little"):
        raise AssertionError(f"{peer.name}: more than the entries of the sources")


def main() -> None:
    parser = harness.parser(__doc__)
    args = parser.parse_args()
    module = harness.ours(args)
    report = Report("bench_combine", args, module)
    if module is None:
        return
    rounds = args.rounds or (3 if args.quick else 9)
    kinds = (
        ("plain", 200, 200, 1600, False),
        ("compressed", 200, 200, 1600, True),
        ("small", 50, 4, 8, False),
    )
    with harness.workspace(args) as folder:
        for kind, megabytes, low, high, gz in kinds:
            megabytes = 4 if args.quick else megabytes
            sources = [folder / f"source{number}.cache" for number in (1, 2)]
            counts = [
                write_source(source, megabytes, low, high, gz, args.seed + number)
                for number, source in enumerate(sources)
            ]
            harness.settle(folder)
            report.say(
                f"\n{kind}: two archives of {megabytes} MB, {sum(counts)} entries,"
                f" half of them attributes, the others of {low} to {high} frames, dim 40",
                **{f"{kind}_entries": sum(counts)},
            )
            timings = compare(module, sources, rounds, args.seed)
            rows = [
                [
                    name,
                    f"{timing.us_per_entry() / 1e3:.1f}",
                    f"{1 / timing.ns_per_frame():.2f}",
                    f"{timing.ratio(timings['cat']):.2f}",
                    f"{timing.spread():.0%}",
                    f"{timing.us_per_entry() / sum(counts):.2f}",
                ]
                for name, timing in timings.items()
            ]
            columns = ["", "ms", "GB/s", "x cat", "±", "µs/entry"]
            report.table(f"combine, {kind}", columns, rows)
            ratio = timings["cat"].ratio(timings["ours"])
            has_target = kind != "small"
            report.figure(
                f"combine_{kind}",
                f"speed of combining, {kind}",
                ">= 0.5 x cat" if has_target else "- (x cat)",
                ratio,
                ratio >= 0.5 if has_target else None,
                " x",
            )
    report.finish()


if __name__ == "__main__":
    main()
