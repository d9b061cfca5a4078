"""Features streamed from a Sprint process, against RETURNN's ExternSprintDataset on the same
stand-in.

The stand-in delivers the same features for every segment, so the time is that from its memory to
the training: its calls into Python, the pipe, the dataset, and a loop over sequences. RETURNN's
pipe needs NumPy below 2.3: name an interpreter with both in SPRINTCACHE_RETURNN_PYTHON; then both
sides are timed in it, otherwise ours alone in this one. Each round is a new trainer process with a
new Sprint.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import harness
import numpy as np
from harness import Report

WORKER = Path(__file__).with_name("extern_worker.py")
DIM = 40
# frames: number of segments
SIZES = {300: 4000, 1000: 2000, 4000: 500}


def write_corpus(path: Path, num_segments: int) -> None:
    with open(path, "w") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<corpus name="c">\n')
        for index in range(num_segments):
            file.write(
                f'<recording name="{index}" audio="x.wav">'
                '<segment name="0" start="0" end="3"><orth>a b</orth></segment></recording>\n'
            )
        file.write("</corpus>\n")


def read_epoch(python: str, side: str, corpus: Path, frames: int) -> dict[str, float]:
    done = subprocess.run(
        [
            *(python, str(WORKER), side),
            *("--corpus", str(corpus), "--frames", str(frames), "--dim", str(DIM)),
        ],
        stdout=subprocess.PIPE,
        stderr=None if side == "ours" else subprocess.DEVNULL,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise AssertionError(f"{side}: the trainer has failed: {' '.join(done.args)}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    report = Report("bench_extern", args, harness.ours(args))
    if args.peers_only:
        report.finish()
        return
    peers = os.environ.get("SPRINTCACHE_RETURNN_PYTHON")
    if not peers:
        harness.note("skipped: RETURNN's dataset (SPRINTCACHE_RETURNN_PYTHON is not set)")
    sides = ["ours", "returnn"] if peers else ["ours"]
    rounds = args.rounds or (1 if args.quick else 7)
    rng = np.random.default_rng(args.seed)
    first: dict[str, list[float]] = {side: [] for side in sides}
    with harness.workspace(args) as folder:
        for frames, count in SIZES.items():
            count = count // 20 if args.quick else count
            corpus = folder / f"{frames}.xml"
            write_corpus(corpus, count)
            times: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(rounds):
                for index in rng.permutation(len(sides)):
                    side = sides[index]
                    epoch = read_epoch(peers or sys.executable, side, corpus, frames)
                    assert epoch["count"] == count
                    times[side].append(epoch["rest"] / (count - 1))
                    if frames == 300:
                        first[side].append(epoch["first"])
            report_size(report, frames, times)
    report_first(report, first)
    report.finish()


def report_size(report: Report, frames: int, times: dict[str, list[float]]) -> None:
    nbytes = frames * DIM * 4
    speed = {side: nbytes / np.median(seconds) / 1e9 for side, seconds in times.items()}
    report.table(
        f"an epoch of segments of {frames} frames by {DIM}, {nbytes / 1e3:.0f} kB each",
        ["", "µs a segment", "GB/s", "rounds"],
        [
            [side, f"{np.median(seconds) * 1e6:.1f}", f"{speed[side]:.2f}", len(seconds)]
            for side, seconds in times.items()
        ],
    )
    ratio = None
    if "returnn" in times:
        ratio = float(np.median(np.divide(times["returnn"], times["ours"])))
        if ratio < 1:
            report.losses.append(f"segments of {frames} frames: RETURNN takes {ratio:.2f} of ours")
    name = f"segments of {nbytes / 1e3:.0f} kB from Sprint"
    if nbytes >= 160_000:
        remark = "" if ratio is None else f"{ratio:.1f} x RETURNN"
        value = float(speed["ours"])
        report.figure(
            f"extern_{frames}", name, ">= 1 GB/s", value, value >= 1, " GB/s", remark=remark
        )
    elif ratio is not None:
        report.figure(
            f"extern_{frames}_ratio",
            f"{name}, RETURNN by ours",
            ">= 2 x as fast",
            ratio,
            ratio >= 2,
            " x",
            1,
        )


def report_first(report: Report, first: dict[str, list[float]]) -> None:
    medians = {side: float(np.median(seconds)) for side, seconds in first.items()}
    report.table(
        "from nothing to the first sequence",
        ["", "s", "rounds"],
        [[side, f"{seconds:.3f}", len(first[side])] for side, seconds in medians.items()],
    )
    if "returnn" in first:
        share = float(np.median(np.divide(first["ours"], first["returnn"])))
        report.figure(
            "extern_first",
            "time to the first sequence from Sprint, ours by RETURNN's",
            "< 0.6 x",
            share,
            share < 0.6,
            " x",
        )


if __name__ == "__main__":
    main()
