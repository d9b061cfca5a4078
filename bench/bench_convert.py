"""Converting 1,000 segments to HDF5, Kaldi and npz, against writing the same arrays alone.

The peers write arrays that are contiguous in memory already: the time of the library that writes,
without reading and decoding. Every run makes a new file and ends with fsync.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, Timing, check_equal, measure
from make_data import (
    make_alignment,
    make_features,
    make_inventory,
    write_alignments,
    write_features,
    write_inventory,
)

SEGMENTS = 1000
H5PY = "h5py, as ours"
STEP = 4 << 20  # bytes


def fsync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def whole(name: str, path: Path, write: Callable[[Path], object]) -> Peer:
    """A peer that writes everything to a new file."""

    def plan(_order: Order) -> Run:
        for old in (path, path.with_suffix(".scp")):
            old.unlink(missing_ok=True)

        def run() -> None:
            write(path)
            fsync(path)

        return run

    return Peer(name, plan)


def h5py_writers(names: Sequence[str], data: Sequence[np.ndarray]) -> dict[str, Any]:
    """The layout of RETURNN from an array of each segment: joined, in the steps that ours takes,
    and segment by segment."""
    h5py = harness.optional("h5py")
    if h5py is None:
        return {}
    width = data[0].shape[1:]
    row_bytes = data[0][:1].nbytes
    rows = (128 << 10) // row_bytes
    step = STEP // row_bytes // rows * rows

    def write(path: Path, parts: Iterable[np.ndarray]) -> None:
        end = 0
        with h5py.File(path, "w") as file:
            inputs = file.create_dataset(
                "inputs", (0, *width), data[0].dtype, maxshape=(None, *width), chunks=(rows, *width)
            )
            for part in parts:
                start, end = end, end + len(part)
                inputs.resize(end, 0)
                inputs[start:end] = part
            file["seqLengths"] = np.array([[len(array)] * 2 for array in data], np.int32)
            file.create_dataset("seqTags", data=list(names), dtype=h5py.string_dtype())

    def steps() -> Iterator[np.ndarray]:
        joined = np.concatenate(data)
        return (joined[start : start + step] for start in range(0, len(joined), step))

    return {
        H5PY: lambda path: write(path, steps()),
        "h5py, a segment at a time": lambda path: write(path, data),
    }


def returnn_writer(names: Sequence[str], data: Sequence[np.ndarray], dim: int) -> dict[str, Any]:
    hdf = harness.optional("returnn.datasets.hdf")
    if hdf is None:
        return {}

    def write(path: Path) -> None:
        with hdf.SimpleHDFWriter(str(path), dim, ndim=data[0].ndim) as writer:
            for name, array in zip(names, data, strict=True):
                writer.insert_batch(array[np.newaxis], [len(array)], [name])

    return {"RETURNN's SimpleHDFWriter": write}


def kaldi_writer(names: Sequence[str], data: Sequence[np.ndarray]) -> dict[str, Any]:
    kaldi = harness.optional("kaldi_native_io")
    if kaldi is None:
        return {}

    def write(path: Path) -> None:
        with kaldi.FloatMatrixWriter(f"ark,scp:{path},{path.with_suffix('.scp')}") as writer:
            for name, array in zip(names, data, strict=True):
                writer.write(name, array)

    return {"kaldi_native_io": write}


def check_hdf(path: Path, names: Sequence[str], data: Sequence[np.ndarray]) -> None:
    h5py = harness.optional("h5py")
    assert h5py is not None
    with h5py.File(path) as file:
        check_equal("ours, hdf", "inputs", file["inputs"][()], np.concatenate(data))
        lengths = np.array([len(array) for array in data], np.int32)
        check_equal("ours, hdf", "seqLengths", file["seqLengths"][:, 0], lengths)
        assert [tag.decode() for tag in file["seqTags"][()]] == list(names)


def main() -> None:
    parser = harness.parser(__doc__)
    args = parser.parse_args()
    module = harness.ours(args)
    report = Report("bench_convert", args, module)
    if module is None:
        return
    from sprintcache.convert import convert

    rounds = args.rounds or (2 if args.quick else 9)
    count = 50 if args.quick else SEGMENTS
    with harness.workspace(args) as folder:
        out = folder / "out"
        out.mkdir()
        features = make_features(count * 144_000, 200, 1600, seed=args.seed)
        features = dict(list(features.items())[:count])
        names, data = list(features), list(features.values())
        archive = folder / "features.cache"
        write_features(archive, features)
        harness.settle(folder)
        frames = np.array([len(array) for array in data])
        report.say(f"\n{len(data)} segments of 200 to 1600 frames, dim 40", segments=len(data))

        def ours(ending: str, **options: Any) -> Callable[[Path], object]:
            return lambda path: convert([archive], path.with_suffix(ending), **options)

        def compare(ending: str, peers: dict[str, Any]) -> dict[str, Timing]:
            path = out / f"x{ending}"
            return measure([whole(n, path, w) for n, w in peers.items()], frames, rounds, args.seed)

        peers = h5py_writers(names, data)
        if peers:
            ours(".hdf")(out / "check.hdf")
            check_hdf(out / "check.hdf", names, data)
            peers["ours"] = ours(".hdf")
            peers["ours, one thread reads"] = ours(".hdf", num_threads=1)
            peers |= returnn_writer(names, data, 40)
            timings = compare(".hdf", peers)
            report.timings("features to HDF5", timings, H5PY, 160)
            share = timings[H5PY].ratio(timings["ours"])
            naive = timings["h5py, a segment at a time"].ratio(timings["ours"])
            report.figure(
                "convert_hdf",
                "share of h5py in converting to HDF5",
                "bound by h5py: >= 0.5",
                share,
                share >= 0.5,
                remark=f"a segment at a time {naive:.2f}",
            )
        peers = kaldi_writer(names, data)
        if peers:
            peers["ours"] = ours(".ark")
            report.timings("features to Kaldi", compare(".ark", peers), "kaldi_native_io", 160)
        peers = {"numpy.savez": lambda path: np.savez(path, **features), "ours": ours(".npz")}
        ours(".npz")(out / "check.npz")
        with np.load(out / "check.npz") as file:
            for name, array in features.items():
                check_equal("ours, npz", name, file[name], array)
        report.timings(
            "features to npz, ours with times", compare(".npz", peers), "numpy.savez", 160
        )
        labels(report, folder, count, rounds, args.seed)
    report.finish()


class LabelArchive:
    """An archive of alignments of random lengths with the labels of a state tying.

    Attributes:
        names: of the segments.
        labels: int32 labels of each segment.
        num_labels: of the state tying.
    """

    def __init__(
        self, folder: Path, count: int, lengths: tuple[int, int], seed: int, *, alphabet: bool
    ) -> None:
        from sprintcache import AllophoneLabeling

        inventory = make_inventory(2000, seed)
        write_inventory(inventory, folder / "allophones", folder / "tying")
        rng = np.random.default_rng(seed)
        bodies = [
            make_alignment(inventory, frames, rng)
            for frames in rng.integers(*lengths, count).tolist()
        ]
        symbols = inventory.symbols if alphabet else None
        self._path = folder / "alignment.cache"
        self.names = write_alignments(self._path, bodies, 0, symbols).names
        self.labels = [
            np.array([inventory.labels[i] for i in body.tolist()], np.int32) for body in bodies
        ]
        self._labeling = AllophoneLabeling(
            None, folder / "allophones", state_tying_file=folder / "tying"
        )
        self.num_labels = self._labeling.num_labels
        self.convert(folder / "check.hdf")
        check_hdf(folder / "check.hdf", self.names, self.labels)

    def convert(self, to: Path) -> object:
        """Converts the archive to a file of labels."""
        from sprintcache.convert import convert

        return convert([self._path], to, labeling=self._labeling)


def labels(report: Report, folder: Path, count: int, rounds: int, seed: int) -> None:
    """Alignments to sparse HDF5, by state tying."""
    if harness.optional("h5py") is None:
        return
    archive = LabelArchive(folder, count, (200, 1601), seed, alphabet=True)
    peers = h5py_writers(archive.names, archive.labels)
    peers["ours"] = archive.convert
    peers |= returnn_writer(archive.names, archive.labels, archive.num_labels)
    frames = np.array([len(array) for array in archive.labels])
    contenders = [whole(name, folder / "x.hdf", write) for name, write in peers.items()]
    timings = measure(contenders, frames, rounds, seed)
    report.timings("alignments to sparse HDF5", timings, H5PY, 4)


if __name__ == "__main__":
    main()
