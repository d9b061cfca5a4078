"""Padded batches of 32 random entries, warm: read_features_batch, and the peers plus padding.

Plain and compressed archives of 40-dim float32 features, 200 to 1600 frames an entry. The copy is
only that of the rows (out[i, :T] = matrix); the copy with padding zeros is next to it.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, Timing, check_equal, measure
from make_data import (
    BLOCK_BYTES,
    GZIP_HEADER,
    HEADER_BYTES,
    frame_dtype,
    make_features,
    write_features,
)
from peers import FeatureData, NumpyView, Reader, check_reader, h5py_readers, kaldi_readers

COPY = "the copy"
THREADS = (1, 2)


def groups(order: Order, size: int) -> list[Order]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def padded(data: FeatureData, group: Order) -> np.ndarray:
    """What a batch has to be."""
    want = np.zeros((len(group), int(data.frames[group].max()), data.dim), np.float32)
    for row, i in enumerate(group):
        want[row, : data.frames[i]] = data.matrices[i]
    return want


def copy_peers(data: FeatureData, out: np.ndarray, size: int) -> list[Peer]:
    """The rows from contiguous arrays; and the same with zeros up to the longest."""

    def rows(order: Order) -> Run:
        pairs = [
            (out[row, : data.frames[i]], data.matrices[i])
            for group in groups(order, size)
            for row, i in enumerate(group)
        ]

        def run() -> None:
            copyto = np.copyto
            for target, source in pairs:
                copyto(target, source)

        return run

    def rows_and_zeros(order: Order) -> Run:
        triples = []
        for group in groups(order, size):
            longest = int(data.frames[group].max())
            for row, i in enumerate(group):
                count = data.frames[i]
                triples.append((out[row, :count], data.matrices[i], out[row, count:longest]))

        def run() -> None:
            copyto = np.copyto
            for target, source, rest in triples:
                copyto(target, source)
                rest.fill(0)

        return run

    def rows_to_new(order: Order) -> Run:
        parts = []
        for group in groups(order, size):
            longest = int(data.frames[group].max())
            parts.append((longest, [data.matrices[i] for i in group]))

        def run() -> None:
            for longest, matrices in parts:
                new = np.zeros((len(matrices), longest, data.dim), np.float32)
                for row, matrix in enumerate(matrices):
                    new[row, : len(matrix)] = matrix

        return run

    return [
        Peer(COPY, rows, unit=size),
        Peer("the copy + zeros", rows_and_zeros, unit=size),
        Peer("the copy to np.zeros, new", rows_to_new, unit=size),
    ]


def padding_peer(reader: Reader, data: FeatureData, out: np.ndarray, size: int) -> Peer:
    """Reads of a peer, one by one, into the rows of `out`, and zeros after them."""

    def plan(order: Order) -> Run:
        triples = []
        for group in groups(order, size):
            longest = int(data.frames[group].max())
            for row, i in enumerate(group):
                count = data.frames[i]
                triples.append((i, out[row, :count], out[row, count:longest]))
        read = reader.read

        def fill() -> None:
            for i, target, rest in triples:
                read(i, target)
                rest.fill(0)

        def copy() -> None:
            for i, target, rest in triples:
                target[:] = read(i, None)
                rest.fill(0)

        return fill if reader.reads_into else copy

    return Peer(f"{reader.name} + padding", plan, unit=size)


def torch_peer(reader: Reader, size: int) -> list[Peer]:
    """Reads of a peer, then torch's pad_sequence to a new tensor."""
    torch = harness.optional("torch")
    if torch is None:
        return []

    def plan(order: Order) -> Run:
        parts = groups(order, size)
        read, wrap = reader.read, torch.from_numpy
        pad = torch.nn.utils.rnn.pad_sequence

        def run() -> None:
            for group in parts:
                pad([wrap(np.ascontiguousarray(read(i, None))) for i in group], batch_first=True)

        return run

    return [Peer(f"{reader.name} + torch pad_sequence, new", plan, unit=size)]


def our_peer(
    archive: Any, name: str, data: FeatureData, out: np.ndarray | None, size: int, threads: int
) -> Peer:
    def plan(order: Order) -> Run:
        batches = [[data.names[i] for i in group] for group in groups(order, size)]

        def run() -> None:
            read = archive.read_features_batch
            for names in batches:
                read(names, out=out, num_threads=threads)

        return run

    return Peer(name, plan, unit=size)


def check_ours(
    archive: Any, name: str, data: FeatureData, out: np.ndarray, size: int, threads: int
) -> None:
    """All entries in random batches, into a dirty buffer and as a new array."""
    rng = np.random.default_rng(1)
    for group in groups(rng.permutation(len(data.names)).tolist(), size):
        names = [data.names[i] for i in group]
        want = padded(data, group)
        out[:] = -1
        got, lengths = archive.read_features_batch(names, out=out, num_threads=threads)
        check_equal(name, names[0], got, want)
        check_equal(name + " lengths", names[0], lengths, data.frames[group].astype(np.int64))
        check_equal(name + " out", names[0], out[: len(group), : want.shape[1]], want)
        got, lengths = archive.read_features_batch(names, num_threads=threads)
        check_equal(name + ", new", names[0], got, want)


def plain(
    module: ModuleType | None,
    path: Path,
    data: FeatureData,
    size: int,
    rounds: int,
    seed: int,
    positions: dict[str, int],
) -> tuple[dict[str, Timing], list[str]]:
    """All peers on the plain archive, and the names of those that count as the competition."""
    out = np.ones((size, int(data.frames.max()), data.dim), np.float32)
    rivals = h5py_readers(path.parent, data) + kaldi_readers(path.parent, data)
    readers = [NumpyView(path, data, positions).reader(), *rivals]
    for reader in readers:
        check_reader(reader, data)
    peers = copy_peers(data, out, size)
    peers += [padding_peer(reader, data, out, size) for reader in readers]
    for reader in rivals[-1:]:
        peers += torch_peer(reader, size)
    if module is not None:
        for mode in ("mmap", "pread"):
            archive = module.open_archive(str(path), io=mode)
            for threads in THREADS:
                name = f"ours {mode}, {threads} thread" + "s" * (threads > 1)
                check_ours(archive, name, data, out, size, threads)
                peers.append(our_peer(archive, name, data, out, size, threads))
                peers.append(our_peer(archive, f"{name}, new", data, None, size, threads))
    timings = measure(peers, data.frames, rounds, seed)
    return timings, [f"{reader.name} + padding" for reader in rivals]


class Members:
    """The gzip members of an archive, and Python's zlib on them."""

    def __init__(self, path: Path, data: FeatureData, positions: dict[str, int]) -> None:
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        whole = memoryview(self.map)
        self.data = data
        self.members = []
        for name in data.names:
            start = positions[name]
            size, packed, _ = np.frombuffer(self.map, "<u4", 3, start).tolist()
            member = whole[start + HEADER_BYTES : start + HEADER_BYTES + packed]
            if bytes(member[:10]) != GZIP_HEADER:
                raise AssertionError(f"{name}: no gzip member at {start}")
            self.members.append((member, size))
        self.dtype = frame_dtype(data.dim)

    def inflate(self, i: int) -> bytes:
        """Only the bytes, with the check of the CRC; the size is given, as ours knows it."""
        member, size = self.members[i]
        return zlib.decompress(member, 31, size)

    def features(self, i: int, out: Any) -> Any:
        block = self.inflate(i)
        view = np.frombuffer(block, self.dtype, self.data.frames[i], BLOCK_BYTES)["data"]
        if out is None:
            return view.copy()
        out[:] = view
        return out

    def peer(self, name: str, threads: int, work: Callable[[int], object], size: int) -> Peer:
        pool = ThreadPoolExecutor(threads) if threads > 1 else None

        def plan(order: Order) -> Run:
            def some(part: Order) -> None:
                for i in part:
                    work(i)

            if pool is None:
                return lambda: some(order)
            parts = [order[k::threads] for k in range(threads)]
            return lambda: list(pool.map(some, parts))

        return Peer(name, plan, unit=size)


def compressed(
    module: ModuleType | None,
    path: Path,
    data: FeatureData,
    size: int,
    rounds: int,
    seed: int,
    positions: dict[str, int],
) -> dict[str, Timing]:
    """Ours with one and two threads, Python's zlib with one and two."""
    out = np.ones((size, int(data.frames.max()), data.dim), np.float32)
    members = Members(path, data, positions)
    reader = Reader("zlib + numpy view", members.features, True)
    check_reader(reader, data)
    peers = [
        members.peer(f"zlib, {n} thread" + "s" * (n > 1), n, members.inflate, size) for n in THREADS
    ]
    peers.append(padding_peer(reader, data, out, size))
    if module is not None:
        for mode, threads in (("mmap", 1), ("mmap", 2), ("pread", 1)):
            archive = module.open_archive(str(path), io=mode)
            name = f"ours {mode}, {threads} thread" + "s" * (threads > 1)
            check_ours(archive, name, data, out, size, threads)
            peers.append(our_peer(archive, name, data, out, size, threads))
        archive = module.open_archive(str(path), io="mmap")

        def single(order: Order) -> Run:
            names = [data.names[i] for i in order]
            target = out[0]

            def run() -> None:
                for name in names:
                    archive.read_features(name, out=target)

            return run

        peers.append(Peer("ours mmap, one by one", single, unit=size))
    return measure(peers, data.frames, rounds, seed)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--mb", type=int, help="MB of features in the plain archive")
    parser.add_argument("--batch", type=int, default=32, help="entries in a batch")
    args = parser.parse_args()
    module = harness.ours(args)
    size = args.batch
    megabytes = args.mb or (8 if args.quick else max(64, 4 * harness.cache_size() >> 20))
    rounds = args.rounds or (3 if args.quick else 21)
    report = Report("bench_batch", args, module)
    with harness.workspace(args) as folder:
        features = make_features(megabytes << 20, 200, 1600, seed=args.seed)
        data = FeatureData(features)
        path = folder / "features.cache"
        positions = write_features(path, features)
        harness.settle(folder)
        report.say(
            f"\nplain: {len(data.names)} entries of 200 to 1600 frames, dim {data.dim}, "
            f"{data.bytes / 1e6:.0f} MB of float32, batches of {size}, page cache warm",
            entries=len(data.names),
            bytes=data.bytes,
        )
        timings, rivals = plain(module, path, data, size, rounds, args.seed, positions)
        report.timings(f"batches of {size}, plain", timings, COPY, data.dim * 4)
        if module is not None:
            one = timings["ours mmap, 1 thread"]
            ratio = one.ratio(timings[COPY])
            zeros = one.ratio(timings["the copy + zeros"])
            two = timings["ours mmap, 2 threads"].ratio(timings[COPY])
            report.figure(
                "batch",
                f"read_features_batch of {size}",
                "<= 1.6 x the copy",
                ratio,
                ratio <= 1.6,
                " x",
                remark=f"{zeros:.2f} x the copy + zeros; 2 threads {two:.2f} x; "
                f"pread {timings['ours pread, 1 thread'].ratio(timings[COPY]):.2f} x",
            )
            if rivals:
                best = min(rivals, key=lambda name: timings[name].ns_per_frame())
                ratio = timings[best].ratio(one)
                report.figure(
                    "batch_rivals",
                    "batch against kaldi_native_io, h5py + padding",
                    ">= 2 x as fast",
                    ratio,
                    ratio >= 2.0,
                    " x",
                    remark=best,
                )

        # inflating is slow: fewer bytes, still beyond the last-level cache once inflated
        few = args.mb or (4 if args.quick else 64)
        features = make_features(few << 20, 200, 1600, seed=args.seed + 1)
        data = FeatureData(features)
        path = folder / "features.gz.cache"
        positions = write_features(path, features, gz=True)
        harness.settle(folder)
        part = path.stat().st_size / (data.bytes * 180 / 160)
        report.say(
            f"\ncompressed: {len(data.names)} entries, {data.bytes / 1e6:.0f} MB of float32, "
            f"stored in {part:.0%} of the plain size",
            gz_entries=len(data.names),
            gz_bytes=data.bytes,
        )
        size = min(size, len(data.names))
        rounds = args.rounds or (3 if args.quick else 9)
        timings = compressed(module, path, data, size, rounds, args.seed, positions)
        report.timings(f"batches of {size}, compressed", timings, "zlib, 1 thread", data.dim * 4)
        if module is not None:
            one = timings["ours mmap, 1 thread"]
            ratio = one.ratio(timings["ours mmap, 2 threads"])
            scaling = timings["zlib, 1 thread"].ratio(timings["zlib, 2 threads"])
            processors = timings["zlib, 2 threads"].cpu_share()
            report.figure(
                "gz_threads",
                "compressed batch, 2 threads",
                ">= 1.7 x 1 thread",
                ratio,
                ratio >= 1.7 if processors >= 1.7 else None,
                " x",
                remark=f"zlib itself {scaling:.2f} x, on {processors:.2f} processors",
            )
            ratio = timings["zlib, 1 thread"].ratio(one)
            padding = timings["zlib + numpy view + padding"]
            libdeflate = harness.has_libdeflate(report.facts["build"])
            report.figure(
                "gz_zlib",
                "compressed batch against Python's zlib, a thread",
                ">= 1.5 x with libdeflate",
                ratio,
                ratio >= 1.5 if libdeflate else None,
                " x",
                remark=f"{'libdeflate' if libdeflate else 'no libdeflate in this build'}; "
                f"{padding.ratio(one):.2f} x zlib that also copies and pads",
            )
    report.finish()


if __name__ == "__main__":
    main()
