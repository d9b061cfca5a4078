"""Loss and error signals from Sprint processes, against RETURNN's pool on the same stand-in.

The stand-in runs with a criterion that does nothing. RETURNN's pipe needs NumPy below 2.3: name an
interpreter with both in SPRINTCACHE_RETURNN_PYTHON; then both sides are timed in it, otherwise ours
alone in this one. "Round trip": a request through SprintNnPythonLayer and its answer. "Transfer":
from the start of sending until the whole array is in the other process. "Batch": sequences of
skewed lengths on 4 instances with a criterion that sleeps in proportion to the length, against the
larger of a quarter of the sum and the longest.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, measure

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("sprint_worker.py")
NUM_SEGMENTS = 10
INSTANCES = 4


def returnn_python() -> str | None:
    """The interpreter with RETURNN and NumPy below 2.3."""
    python = os.environ.get("SPRINTCACHE_RETURNN_PYTHON")
    if not python:
        harness.note("skipped: RETURNN's pool (SPRINTCACHE_RETURNN_PYTHON is not set)")
    return python or None


def write_corpus(path: Path) -> None:
    with open(path, "w") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<corpus name="c">\n')
        for index in range(NUM_SEGMENTS):
            file.write(
                f'<recording name="{index}" audio="x.wav">'
                '<segment name="0" start="0" end="1"><orth>a b</orth></segment></recording>\n'
            )
        file.write("</corpus>\n")


def write_launcher(path: Path, python: str) -> None:
    """The stand-in as one executable, which is what RETURNN can start."""
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{python}" -m sprint_ctl.fake_sprint "$@"\n'
    )
    path.chmod(0o755)


class Worker:
    """The process of one contestant."""

    def __init__(self, python: str, task: str, side: str, *arguments: str) -> None:
        self.side = side
        self._command = [python, str(WORKER), task, side, *arguments]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if side == "ours" else subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def do(self, count: int) -> Any:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(f"{count}\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            command = " ".join(self._command)
            raise AssertionError(f"{self.side}: the worker has failed: {command}")
        return json.loads(line)

    def close(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def contest(peers: str | None, task: str, *arguments: str) -> Iterator[dict[str, Worker]]:
    """A worker for each side; both in RETURNN's interpreter if it is given."""
    workers = {}
    try:
        if peers is not None:
            workers["RETURNN"] = Worker(peers, task, "returnn", *arguments)
        workers["ours"] = Worker(peers or sys.executable, task, "ours", *arguments)
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def round_trips(report: Report, folder: Path, peers: str | None, rounds: int) -> None:
    common = ["--launcher", str(folder / "sprint"), "--corpus", str(folder / "corpus.xml")]
    for frames, labels, count, few in ((300, 79, 1000, 400), (1000, 10_000, 4, 1)):
        if report.args.quick:
            if labels > 1000:
                continue
            count, few = 50, 20
        size = ["--frames", str(frames), "--labels", str(labels)]
        with contest(peers, "round-trips", *common, *size) as workers:

            def peer(name: str, worker: Worker, limit: int) -> Peer:
                def plan(order: Order) -> Run:
                    return lambda: worker.do(len(order))

                return Peer(name, plan, limit)

            contenders = [peer(n, w, few if n == "RETURNN" else count) for n, w in workers.items()]
            timings = measure(contenders, np.full(count, frames), rounds, report.args.seed)
        base = "RETURNN" if "RETURNN" in timings else "ours"
        report.timings(f"round trip, {frames} frames by {labels} labels", timings, base)
        if labels > 1000:
            continue
        ms = timings["ours"].us_per_entry() / 1e3
        size_text = f"{frames} frames by {labels} labels"
        report.figure(
            "sprint_round_trip", f"round trip, {size_text}", "<= 0.15 ms", ms, ms <= 0.15, " ms", 3
        )
        if "RETURNN" in timings:
            ratio = timings["RETURNN"].ratio(timings["ours"])
            report.figure(
                "sprint_round_trip_ratio",
                f"round trip, {size_text}, RETURNN by ours",
                ">= 3 x as fast",
                ratio,
                ratio >= 3,
                " x",
                1,
            )


def transfer(report: Report, peers: str | None, rounds: int) -> None:
    frames, labels = (100, 10_000) if report.args.quick else (1000, 10_000)
    nbytes = frames * labels * 4
    source = np.random.default_rng(0).standard_normal((frames, labels), np.float32)
    target = np.zeros_like(source)
    size = ["--frames", str(frames), "--labels", str(labels)]
    times: dict[str, list[tuple[float, float]]] = {"plain copy": []}
    with contest(peers, "transfers", *size) as workers:
        for _ in range(rounds):
            begin = time.perf_counter()
            np.copyto(target, source)
            took = time.perf_counter() - begin
            times["plain copy"].append((took, took))
            for name, worker in workers.items():
                times.setdefault(name, []).extend(map(tuple, worker.do(1)))
    rows = []
    speed = {}
    for name, pairs in times.items():
        there, back = (
            nbytes / float(np.median(column)) / 1e9 for column in zip(*pairs, strict=True)
        )
        speed[name] = there, back
        rows.append([name, f"{there:.2f}", f"{back:.2f}", len(pairs)])
    report.table(
        f"transfer of {frames} frames by {labels} labels, {nbytes / 1e6:.0f} MB",
        ["", "GB/s to Sprint", "GB/s back", "rounds"],
        rows,
    )
    least = min(speed["ours"])
    remark = f"{least / speed['plain copy'][0]:.2f} of a plain copy"
    if "RETURNN" in speed:
        remark += f"; RETURNN {min(speed['RETURNN']):.2f} GB/s"
    report.figure(
        "sprint_transfer",
        f"transfer of {nbytes / 1e6:.0f} MB, the slower way",
        ">= 1.2 GB/s",
        least,
        least >= 1.2,
        " GB/s",
        remark=remark,
    )


def batches(report: Report, folder: Path, rounds: int) -> None:
    """Instances that wait are no load, so this holds with fewer processors than instances."""
    from sprint_ctl.error_signals import SprintInstancePool

    seconds_per_frame = 2e-4 if report.args.quick else 1e-3
    pool = SprintInstancePool(
        {
            "sprintExecPath": str(folder / "sprint-here"),
            "sprintConfigStr": [
                "--*.action=python-control",
                "--*.python-control-loop-type=iterate-corpus",
                "--*.extract-features=false",
                f"--*.corpus.file={folder / 'corpus.xml'}",
                "--*.fake.criterion=trivial",
                f"--*.fake.seconds-per-frame={seconds_per_frame}",
                "--*.log.channel=nil",
            ],
            "numInstances": INSTANCES,
        }
    )
    rng = np.random.default_rng(report.args.seed)
    cases: dict[str, Callable[[], np.ndarray]] = {
        "lengths skewed": lambda: np.exp(rng.normal(4.5, 0.8, 24)).astype(int).clip(10, 600),
        "one very long": lambda: np.append(rng.integers(20, 60, 23), 600),
    }
    rows, worst = [], 0.0
    ones = [1] * INSTANCES
    try:
        # a batch does not wait for the last Sprint to start
        while sum(instance.is_ready for instance in pool.instances) < INSTANCES:
            sent = np.zeros((1, INSTANCES, 79), np.float32)
            pool.get_batch_loss_and_error_signal(sent, ones, [f"c/{i}/0" for i in range(INSTANCES)])
        for case, draw in cases.items():
            shares = []
            for number in range(rounds + 1):
                lengths = draw()
                shape = lengths.max(), len(lengths), 79
                sent = np.random.default_rng(number).standard_normal(shape, np.float32)
                tags = [f"c/{index % NUM_SEGMENTS}/0" for index in range(len(lengths))]
                begin = time.perf_counter()
                loss, error_signal = pool.get_batch_loss_and_error_signal(sent, lengths, tags)
                took = time.perf_counter() - begin
                harness.check_equal("ours", "loss", loss, lengths.astype(np.float32))
                for index, length in enumerate(lengths):
                    got, want = error_signal[:length, index], sent[:length, index]
                    harness.check_equal("ours", tags[index], got, want)
                    assert not error_signal[length:, index].any()
                bound = max(lengths.sum() / INSTANCES, lengths.max()) * seconds_per_frame
                if number:
                    shares.append(took / bound)
            share = float(np.median(shares))
            worst = max(worst, share)
            rows.append([case, f"{share:.3f}", f"{max(shares):.3f}", len(shares)])
    finally:
        pool.close()
    report.table(
        f"batch of 24 on {INSTANCES} instances, by max(sum / {INSTANCES}, longest)",
        ["", "median", "worst", "rounds"],
        rows,
    )
    report.figure(
        "sprint_batch",
        f"batch on {INSTANCES} instances, by what cannot be beaten",
        "<= 1.15 x",
        worst,
        worst <= 1.15,
        " x",
    )


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    report = Report("bench_error_signals", args, harness.ours(args))
    if not args.peers_only:
        rounds = args.rounds or (2 if args.quick else 15)
        peers = returnn_python()
        with harness.workspace(args) as folder:
            write_corpus(folder / "corpus.xml")
            write_launcher(folder / "sprint", peers or sys.executable)
            write_launcher(folder / "sprint-here", sys.executable)
            round_trips(report, folder, peers, rounds)
            transfer(report, peers, rounds)
            batches(report, folder, args.rounds or (1 if args.quick else 5))
    report.finish()


if __name__ == "__main__":
    main()
