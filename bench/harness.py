"""What the benchmarks share: options, rounds, equality, memory, machine facts, tables, JSON."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

SEED = 20241123
Order = list[int]
Run = Callable[[], object]


# --- options -------------------------------------------------------------------------------------


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--quick", action="store_true", help="small data, few rounds: a smoke test")
    p.add_argument("--json", metavar="FILE", type=Path, help="write all results here")
    p.add_argument("--dir", type=Path, help="make the data below this folder (default: temporary)")
    p.add_argument("--keep", action="store_true", help="do not remove the data at the end")
    p.add_argument("--rounds", type=int, help="timed rounds (default depends on the script)")
    p.add_argument("--seed", type=int, default=SEED)
    p.add_argument(
        "--peers-only", action="store_true", help="without sprintcache: checks the benchmark itself"
    )
    return p


@contextlib.contextmanager
def workspace(args: argparse.Namespace) -> Iterator[Path]:
    """A folder for the data, removed at the end unless --keep."""
    if args.dir is not None:
        args.dir.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sprintcache-bench-", dir=args.dir))
    try:
        yield folder
    finally:
        if args.keep:
            note(f"data kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def settle(folder: Path) -> None:
    """Write what was made to disk: dirty pages are counted otherwise and cannot be dropped."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as f:
                os.fsync(f.fileno())


def note(text: str) -> None:
    """A remark, apart from the results."""
    print(text, file=sys.stderr, flush=True)


# --- peers ---------------------------------------------------------------------------------------


def optional(module: str) -> ModuleType | None:
    """The module of a peer, or None and one line that says it is skipped."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        note(f"skipped: {module} ({error})")
        return None


def ours(args: argparse.Namespace) -> ModuleType | None:
    """sprintcache, or None with --peers-only; it is an error if it is missing otherwise."""
    if args.peers_only:
        note("skipped: sprintcache (--peers-only)")
        return None
    try:
        importlib.import_module("sprintcache._reader")
        return importlib.import_module("sprintcache")
    except ImportError as error:
        raise SystemExit(f"sprintcache cannot be imported: {error}") from error


@dataclass(frozen=True)
class Peer:
    """One contestant: `plan(order)` prepares untimed what the timed `run()` does with `order`."""

    name: str
    plan: Callable[[Order], Run]
    limit: int | None = None  # slow peers take only that many entries a round
    unit: int = 1  # entries are taken in whole groups of this size
    repeats: int = 1  # calls in a round, for peers of a few milliseconds: a loop, not a first call


@dataclass
class Timing:
    """The seconds of all timed rounds of one peer, and how much each round did."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # processor time of all threads
    entries: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)

    def per_entry(self) -> np.ndarray:
        return np.divide(self.seconds, self.entries)

    def per_frame(self) -> np.ndarray:
        return np.divide(self.seconds, self.frames)

    def ns_per_frame(self) -> float:
        return float(np.median(self.per_frame())) * 1e9

    def us_per_entry(self) -> float:
        return float(np.median(self.per_entry())) * 1e6

    def ratio(self, base: Timing) -> float:
        """Time per frame as a multiple of `base`: the median of the ratios within each round."""
        return float(np.median(self.per_frame() / base.per_frame()))

    def cpu_share(self) -> float:
        """Processors in use: below 1 a single thread had to wait, for others or for the disk."""
        return float(np.median(np.divide(self.cpu, self.seconds)))

    def spread(self) -> float:
        """Half the range from the 10th to the 90th percentile, as a part of the median."""
        low, mid, high = np.percentile(self.per_frame(), [10, 50, 90])
        return float((high - low) / mid / 2)


def measure(
    peers: Sequence[Peer],
    frames: np.ndarray,
    rounds: int,
    seed: int,
    warmup: int = 1,
) -> dict[str, Timing]:
    """Time all peers in interleaved rounds, so that drift hits all alike.

    Each round has a new order of the entries, the same for all peers, and a new order of the peers:
    none has always the same one before it, which may leave the caches warm or spoilt.
    """
    rng = np.random.default_rng(seed)
    timings = {peer.name: Timing(peer.name) for peer in peers}
    if len(timings) != len(peers):
        raise ValueError("two peers of the same name")
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds + warmup):
            order = rng.permutation(len(frames)).tolist()
            for peer in (peers[i] for i in rng.permutation(len(peers))):
                part = order if peer.limit is None else order[: peer.limit]
                if peer.unit > 1:
                    part = part[: len(part) // peer.unit * peer.unit]
                run = peer.plan(part)
                cpu = time.process_time()
                begin = time.perf_counter()
                for _ in range(peer.repeats):
                    run()
                seconds = (time.perf_counter() - begin) / peer.repeats
                cpu = (time.process_time() - cpu) / peer.repeats
                del run
                if number >= warmup:
                    timing = timings[peer.name]
                    timing.seconds.append(seconds)
                    timing.cpu.append(cpu)
                    timing.entries.append(len(part))
                    timing.frames.append(int(frames[part].sum()))
    finally:
        if enabled:
            gc.enable()
    return timings


def check_equal(peer: str, entry: str, got: Any, want: np.ndarray) -> None:
    """Raise with the first difference unless `got` is bit for bit what was written."""
    got = np.asarray(got)
    if got.shape != want.shape or got.dtype != want.dtype:
        raise AssertionError(
            f"{peer}: {entry}: {got.dtype}{list(got.shape)}, want {want.dtype}{list(want.shape)}"
        )
    if not np.array_equal(got, want):
        where = tuple(int(i) for i in np.argwhere(got != want)[0])
        raise AssertionError(
            f"{peer}: {entry}: first difference at {list(where)}: {got[where]!r}, "
            f"want {want[where]!r}"
        )


def run_child(script: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The last line, JSON, that a script prints when it is called with ``--child`` and a spec."""
    command = [sys.executable, script, "--child", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{spec.get('peer', script)}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- facts ---------------------------------------------------------------------------------------


def private_memory() -> dict[str, int]:
    """Bytes of this process from smaps_rollup.

    `private` is Private_Clean + Private_Dirty. Pages of a mapped file that no other process maps
    count as Private_Clean although they are page cache; `anonymous` shows what is memory for sure.
    """
    fields: dict[str, int] = {}
    with open("/proc/self/smaps_rollup") as f:
        for line in f:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                fields[words[0].rstrip(":")] = int(words[1]) * 1024
    return {
        "private": fields["Private_Clean"] + fields["Private_Dirty"],
        "private_clean": fields["Private_Clean"],
        "private_dirty": fields["Private_Dirty"],
        "anonymous": fields["Anonymous"],
    }


def cache_size() -> int:
    """Bytes of the largest cache of the first processor, 0 where unknown."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text().strip()
            factor = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
            sizes.append(int(text.rstrip("KM")) * factor)
    return max(sizes)


def build_facts(module: ModuleType | None) -> dict[str, Any]:
    """What the compiled reader says of its build; empty where it says nothing."""
    if module is None:
        return {}
    try:
        reader = importlib.import_module("sprintcache._reader")
        return dict(reader.build_info())
    except Exception as error:  # an old build has no such function: not a reason to stop
        return {"unknown": f"{type(error).__name__}: {error}"}


def has_libdeflate(build: dict[str, Any]) -> bool:
    """Whether the build facts name libdeflate as what inflates."""
    for key, value in build.items():
        if "libdeflate" in str(value).lower():
            return True
        if "libdeflate" in key.lower() and value and str(value).lower() not in ("no", "false"):
            return True
    return False


def machine(module: ModuleType | None) -> dict[str, Any]:
    """Date, processor, versions and load: what a figure depends on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
        cpu = names[0] if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {"python": platform.python_version()}
    for package in ("numpy", "sprintcache", "h5py", "kaldi_native_io", "returnn", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "arch": platform.machine(),
        "largest_cache_mib": round(cache_size() / 2**20, 1),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release().partition("-")[0],
        "load_average": round(os.getloadavg()[0], 2),
        "versions": versions,
        "build": build_facts(module),
    }


# --- results -------------------------------------------------------------------------------------


@dataclass
class Figure:
    """One figure that the project promises, and what was measured."""

    id: str
    figure: str
    target: str
    measured: str
    value: float
    ok: bool | None  # None: no limit was set, or it does not apply here

    def verdict(self, quick: bool) -> str:
        if self.ok is None:
            return "-"
        return ("holds" if self.ok else "MISSED") + (" (quick: no weight)" if quick else "")


class Report:
    """Collects tables and figures, prints them, writes the JSON."""

    def __init__(self, script: str, args: argparse.Namespace, module: ModuleType | None) -> None:
        self.script = script
        self.args = args
        self.facts = machine(module)
        self.tables: list[dict[str, Any]] = []
        self.figures: list[Figure] = []
        self.losses: list[str] = []
        self.data: dict[str, Any] = {}
        facts = {k: v for k, v in self.facts.items() if k not in ("versions", "build")}
        print(f"== {script}")
        print(", ".join(f"{k} {v}" for k, v in facts.items()))
        print(", ".join(f"{k} {v}" for k, v in self.facts["versions"].items()))
        print("build: " + (", ".join(f"{k} {v}" for k, v in self.facts["build"].items()) or "-"))

    def say(self, text: str, **data: Any) -> None:
        """A line about the data; keyword arguments go to the JSON."""
        self.data.update(data)
        print(text, flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.tables.append({"title": title, "columns": list(columns), "rows": [*map(list, rows)]})
        print(f"\n{title}")
        print_table(columns, rows)

    def timings(
        self, title: str, timings: dict[str, Timing], base: str, frame_bytes: int = 0
    ) -> None:
        """The usual table: per entry, per frame, speed, multiple of `base`, spread."""
        columns = ["", "µs/entry", "ns/frame", f"x {base}", "±", "cpu", "rounds"]
        if frame_bytes:
            columns.insert(3, "GB/s")
        rows = []
        for name, timing in timings.items():
            row: list[Any] = [
                name,
                f"{timing.us_per_entry():.2f}",
                f"{timing.ns_per_frame():.2f}",
                f"{timing.ratio(timings[base]):.2f}",
                f"{timing.spread():.0%}",
                f"{timing.cpu_share():.2f}",
                len(timing.seconds),
            ]
            if frame_bytes:
                row.insert(3, f"{frame_bytes / timing.ns_per_frame():.2f}")
            rows.append(row)
        self.table(title, columns, rows)
        self.losses += [f"{title}: {loss}" for loss in losses(timings)]

    def figure(
        self,
        id: str,
        figure: str,
        target: str,
        value: float,
        ok: bool | None,
        unit: str = "",
        digits: int = 2,
        remark: str = "",
    ) -> None:
        measured = f"{value:.{digits}f}{unit}" + (f" ({remark})" if remark else "")
        self.figures.append(Figure(id, figure, target, measured, float(value), ok))

    def finish(self) -> None:
        """Print the verdicts and write the JSON."""
        self.facts["load_average_at_end"] = round(os.getloadavg()[0], 2)
        if self.figures:
            print(f"\nload average at the end: {self.facts['load_average_at_end']}")
            print_figures(self.figures, self.args.quick)
        print_losses(self.losses)
        if self.args.json is not None:
            result = {
                "script": self.script,
                "quick": self.args.quick,
                "seed": self.args.seed,
                "machine": self.facts,
                "data": self.data,
                "tables": self.tables,
                "figures": [vars(figure) for figure in self.figures],
                "losses": self.losses,
            }
            self.args.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        print(flush=True)


BOUNDS = ("the copy", "labels copied", "cat", "readinto")  # these decode nothing


def losses(timings: dict[str, Timing]) -> list[str]:
    """Where a peer was faster than one of ours at the same task (`into` and `new` differ)."""
    lines = []
    for name, our in timings.items():
        if not name.startswith("ours"):
            continue
        task = name.rpartition(", ")[2] if name.endswith((", into", ", new")) else ""
        for rival, timing in timings.items():
            if rival.startswith(("ours", *BOUNDS)) or not rival.endswith(task):
                continue
            if "2 threads" in rival and "2 threads" not in name:
                continue
            ratio = our.ratio(timing)
            if ratio > 1:
                lines.append(f"{name} takes {ratio:.2f} x {rival}")
    return lines


def print_losses(lines: Sequence[str]) -> None:
    """One line for each case where we lose."""
    print("\nwhere we lose:" if lines else "\nwhere we lose: nowhere in these tables")
    for line in lines:
        print(f"  {line}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """The first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [columns, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        line = [row[0].ljust(widths[0])]
        line += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  " + "  ".join(line).rstrip())


def print_figures(figures: Sequence[Figure], quick: bool) -> None:
    """figure | target | measured | verdict, all to the left."""
    rows = [["figure", "target", "measured", "verdict"]]
    rows += [[f.figure, f.target, f.measured, f.verdict(quick)] for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        print(" | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
