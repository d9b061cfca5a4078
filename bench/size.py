"""Corpora of 1,000 to 10,000,000 segments: time and memory of what passes over all of them.

Every run is a new process: imports and a corpus of 100 segments come first and are not counted,
then time, processor time of all threads, and the peak of anonymous memory above that before the
run, which this process samples. Mapped files are page cache and no memory of a process. Before each
run the files of the corpus are dropped from the page cache. Each run is of one of the bundles of
make_corpus.py: alignments, features, or features that are sparse, since the bytes of the frames do
not matter. A bundle or a combined archive for which there is no room is left out.

The documentation draws docs/reference/size.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
from make_corpus import NOT_ALIGNED, Features, segments, write_corpus

SIZES = (1_000, 10_000, 100_000, 1_000_000, 2_450_000, 10_000_000)
QUICK_SIZES = (300,)
ARCHIVES = 100
RESERVE = 12 << 30  # bytes of the disk that stay free
# bytes of the disk for a segment; sparse features also need a block
BYTES: dict[Features, int] = {"no": 1_000, "sparse": 1_800, "true": 22_000}
COMBINED_BYTES = {"combine": 600, "combine features": 21_000}  # of a segment, besides the corpus
ROUNDS = 3  # up to 100,000 segments
ORDER = "laplace:.1000"
BATCH_FRAMES = 20_000
SAMPLE_SECONDS = 0.005

Run = Callable[[], None]


# --- runs, each planned and called in a new process ----------------------------------------------


def command(*arguments: str) -> None:
    """Runs `sprintcache` with these arguments."""
    from sprintcache.cli import main

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        status = main([*arguments])
    if status:
        raise AssertionError(f"sprintcache {' '.join(arguments)}: {status}, {text.getvalue()}")


def open_bundle(folder: Path, index: str | None) -> Any:
    """The bundle of alignments, and the first look-up."""
    import sprintcache

    archive = sprintcache.open_archive(folder / "alignment.bundle", index=index)
    if facts(folder)["first"] not in archive or (archive.index_path is None) != (index is None):
        raise AssertionError(f"not the first segment, or index {archive.index_path}")
    return archive


def facts(folder: Path) -> dict[str, Any]:
    """What is known of the corpus in a folder."""
    result: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return result


def plan_open(folder: Path) -> Run:
    return lambda: keep(open_bundle(folder, None))


def plan_open_index(folder: Path) -> Run:
    return lambda: keep(open_bundle(folder, "auto"))


def plan_index(folder: Path, bundle: str = "alignment.bundle") -> Run:
    (folder / f"{bundle}.index").unlink(missing_ok=True)
    return lambda: command("index", str(folder / bundle))


def plan_lengths(folder: Path) -> Run:
    archive = open_bundle(folder, "auto")
    expected = facts(folder)

    def run() -> None:
        frames = archive.num_frames_all()
        keep(frames)
        if (len(frames), int(frames.sum())) != (expected["alignments"], expected["frames"]):
            raise AssertionError(f"{len(frames)} segments of {frames.sum()} frames")

    return run


def plan_order(folder: Path) -> Run:
    from sprintcache.ordering import Ordering

    lengths = open_bundle(folder, "auto").num_frames_all()

    def run() -> None:
        keep(Ordering(ORDER).order(1, len(lengths), lengths))

    return run


def plan_dataset(folder: Path) -> Run:
    import sprintcache
    from sprintcache.dataset import SprintCacheDataset

    for bundle in ("alignment.bundle", "features.bundle"):
        if not (folder / f"{bundle}.index").exists():  # of an operation before
            sprintcache.write_index(folder / bundle)
    labeling = {
        "silence_phone": "[SILENCE]",
        "allophone_file": str(folder / "allophones"),
        "state_tying_file": str(folder / "tying"),
    }
    data = {
        "data": {"filename": folder / "features.bundle", "type": "feat"},
        "classes": {"filename": folder / "alignment.bundle", "allophone_labeling": labeling},
    }
    expected = facts(folder)["alignments"]

    def run() -> None:
        dataset = SprintCacheDataset(data, missing="skip", seq_ordering=ORDER)
        dataset.init_seq_order(1)
        keep(dataset)
        if dataset.num_seqs != expected:
            raise AssertionError(f"{dataset.num_seqs} sequences")

    return run


def plan_sampler(folder: Path) -> Run:
    """One epoch of batches; in the middle, another sampler continues."""
    from sprintcache.sampling import BatchSampler

    archive = open_bundle(folder, "auto")
    lengths = archive.num_frames_all()

    def sampler() -> BatchSampler:
        return BatchSampler(
            len(lengths),
            lengths,
            ordering=ORDER,
            tags=archive.segments,
            max_frames=BATCH_FRAMES,
        )

    def run() -> None:
        first, second = sampler(), sampler()
        keep((first, second))
        half = len(first) // 2
        count = total = 0
        for number, batch in enumerate(first, 1):
            count += len(batch)
            total += sum(batch)
            if number == half:
                second.load_state_dict(batch.state)
                break
        for batch in second:
            count += len(batch)
            total += sum(batch)
        if (count, total) != (len(lengths), len(lengths) * (len(lengths) - 1) // 2):
            raise AssertionError(f"{count} sequences in an epoch of {len(lengths)}")

    return run


def plan_verify(folder: Path, bundle: str = "alignment.bundle") -> Run:
    return lambda: command("verify", str(folder / bundle))


def plan_combine(folder: Path, bundle: str = "alignment.bundle") -> Run:
    target = folder / "combined.cache"
    target.unlink(missing_ok=True)
    return lambda: command("combine", str(folder / bundle), "--to", str(target))


Plans = dict[str, Callable[[Path], Run]]
PLANS: dict[Features, Plans] = {
    "no": {
        "open": plan_open,
        "index": plan_index,
        "open by index": plan_open_index,
        "lengths by index": plan_lengths,
        "order": plan_order,
        "epoch of batches": plan_sampler,
        "combine": plan_combine,
        "verify": plan_verify,
    },
    "sparse": {
        "index of features": partial(plan_index, bundle="features.bundle"),
        "dataset": plan_dataset,
    },
    "true": {
        "verify features": partial(plan_verify, bundle="features.bundle"),
        "combine features": partial(plan_combine, bundle="features.bundle"),
    },
}
ALL_PLANS: Plans = {name: plan for plans in PLANS.values() for name, plan in plans.items()}

_kept: list[object] = []


def keep(value: object) -> None:
    """Keeps what a run made until its memory was read."""
    _kept.append(value)


def child(spec: dict[str, Any]) -> dict[str, Any]:
    """One run in another process, which begins once the parent answers."""
    plan = ALL_PLANS[spec["operation"]]
    plan(Path(spec["warm"]))()
    run = plan(Path(spec["folder"]))
    _kept.clear()
    before = anonymous_memory("self")
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    begin = time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    cpu = time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "before": before, "after": anonymous_memory("self")}


# --- measuring -----------------------------------------------------------------------------------


def anonymous_memory(process: int | str) -> int:
    """Bytes of a process that are not pages of files."""
    with open(f"/proc/{process}/status") as f:
        words = next(line.split() for line in f if line.startswith("RssAnon:"))
    return int(words[1]) * 1024


def measure(operation: str, folder: Path, warm: Path) -> dict[str, Any]:
    """Seconds, processor seconds and peak of memory of one run."""
    evict(folder)
    spec = {"operation": operation, "folder": str(folder), "warm": str(warm)}
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    peak = 0
    has_ended = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not has_ended.wait(SAMPLE_SECONDS):
            with contextlib.suppress(OSError, StopIteration):
                peak = max(peak, anonymous_memory(process.pid))

    sampler = threading.Thread(target=sample)
    is_ready = process.stdout.readline() == "ready\n"
    if is_ready:
        sampler.start()
    try:
        output, errors = process.communicate("go\n" if is_ready else None)
    finally:
        has_ended.set()
    if is_ready:
        sampler.join()
    if process.returncode:
        raise RuntimeError(f"{operation}: {errors.strip()}")
    result = json.loads(output.splitlines()[-1])
    memory = max(peak, result["after"]) - result["before"]
    return {"seconds": result["seconds"], "cpu": result["cpu"], "memory": max(memory, 0)}


def make(
    folder: Path, count: int, archives: int, seed: int, kind: Features, processes: int = 1
) -> dict[str, Any]:
    """Writes a corpus; returns what is known of it."""
    begin = time.perf_counter()
    folder.mkdir()
    frames = write_corpus(folder, count, archives, seed, kind, processes)
    harness.settle(folder)
    known: dict[str, Any] = {
        "alignments": count - count // NOT_ALIGNED,
        "frames": frames,
        "first": next(segments(count, archives, 0, seed))[0],
    }
    (folder / "facts.json").write_text(json.dumps(known))
    for name in ("alignment", "features"):
        states = [path.stat() for path in folder.glob(f"{name}.cache.*")]
        known[f"{name}_bytes"] = sum(state.st_size for state in states)
        known[f"{name}_disk"] = sum(state.st_blocks * 512 for state in states)
    return known | {"seconds": round(time.perf_counter() - begin, 1)}


def evict(folder: Path) -> None:
    """Drops the files from the page cache, once they are on the disk."""
    harness.settle(folder)
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def is_room(folder: Path, need: int) -> bool:
    """Whether the disk has that many bytes above the reserve; says so if not."""
    free = shutil.disk_usage(folder).free
    if free - need < RESERVE:
        harness.note(f"skipped: {need / 1e9:.0f} GB are needed, {free / 1e9:.0f} GB are free")
    return free - need >= RESERVE


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    parser = harness.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of segments")
    parser.add_argument("--only", nargs="+", choices=ALL_PLANS, help="not all")
    parser.add_argument("--sparse-dir", type=Path, help="make sparse archives below this folder")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="that write the corpora"
    )
    args = parser.parse_args()
    module = harness.ours(args)
    assert module is not None
    results = earlier_results(args.json)
    results |= {"quick": args.quick, "seed": args.seed, "machine": harness.machine(module)}
    with contextlib.ExitStack() as stack:
        folder = sparse_folder = stack.enter_context(harness.workspace(args))
        if args.sparse_dir is not None:
            sparse_args = argparse.Namespace(dir=args.sparse_dir, keep=args.keep)
            sparse_folder = stack.enter_context(harness.workspace(sparse_args))
        warm = folder / "warm"
        make(warm, 100, 2, args.seed, "true")
        module.write_index(warm / "alignment.bundle")
        for count in args.sizes or (QUICK_SIZES if args.quick else SIZES):
            for kind, plans in PLANS.items():
                chosen = [name for name in plans if args.only is None or name in args.only]
                parent = sparse_folder if kind == "sparse" else folder
                block = os.statvfs(parent).f_frsize if kind == "sparse" else 0
                need = count * (BYTES[kind] + block)
                if not chosen or not (args.quick or is_room(parent, need)):
                    continue
                corpus = parent / f"{count}-{kind}"
                known = make(corpus, count, ARCHIVES, args.seed, kind, args.processes)
                print(f"{count:,} segments, {kind} features: {json.dumps(known)}", flush=True)
                results["corpora"][corpus.name] = known
                for operation in chosen:
                    need = count * COMBINED_BYTES.get(operation, 0)
                    if not (args.quick or is_room(parent, need)):
                        continue
                    rounds = args.rounds or (ROUNDS if count <= 100_000 else 1)
                    run = median_run(operation, corpus, warm, rounds)
                    results["runs"].setdefault(operation, {})[str(count)] = run
                    if args.json is not None:
                        args.json.write_text(json.dumps(results, indent=1) + "\n")
                shutil.rmtree(corpus)


def earlier_results(path: Path | None) -> dict[str, Any]:
    """The results in a file, which those of this run replace one by one."""
    if path is None or not path.exists():
        return {"corpora": {}, "runs": {}}
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def median_run(operation: str, corpus: Path, warm: Path, rounds: int) -> dict[str, float]:
    """Medians over some runs, which are printed."""
    measured = [measure(operation, corpus, warm) for _ in range(rounds)]
    run = {key: round(float(np.median([m[key] for m in measured])), 6) for key in measured[0]}
    print(
        f"  {operation:20} {run['seconds']:10.4f} s  {run['cpu']:10.4f} s processor "
        f"{run['memory'] / 2**20:10.1f} MiB",
        flush=True,
    )
    return run


if __name__ == "__main__":
    main()
