"""The same matrices in the formats of others, and their readers, each in its fastest form."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import Order, Peer, Run, check_equal, optional
from make_data import BLOCK_BYTES, HEADER_BYTES, frame_dtype

# Reads one entry: either into the given array of its shape, or to a new array (the argument None).
ReadOne = Callable[[int, Any], Any]


@dataclass(frozen=True)
class Reader:
    """Reads entry `i` of the data, into an array or as a new one."""

    name: str
    read: ReadOne
    reads_into: bool  # whether it fills the array itself; otherwise the caller copies
    limit: int | None = None


class FeatureData:
    """Feature matrices, what holds them elsewhere, and the numpy view of the archive."""

    def __init__(self, features: dict[str, np.ndarray]) -> None:
        self.names = list(features)
        self.matrices = list(features.values())
        self.frames = np.array([len(matrix) for matrix in self.matrices])
        self.dim = self.matrices[0].shape[1]
        self.bytes = sum(matrix.nbytes for matrix in self.matrices)

    def buffer(self) -> np.ndarray:
        """A buffer for the longest entry; its pages are present."""
        return np.ones((int(self.frames.max()), self.dim), np.float32)

    def copy(self, out: np.ndarray, order: Order) -> Run:
        """The copy: nothing but `np.copyto` between arrays that are there already."""
        pairs = [(out[: len(self.matrices[i])], self.matrices[i]) for i in order]

        def run() -> None:
            copyto = np.copyto
            for target, source in pairs:
                copyto(target, source)

        return run


class NumpyView:
    """The archive mapped into memory, a structured view for each entry: 1.5 lines of numpy."""

    def __init__(
        self,
        path: Path,
        data: FeatureData,
        positions: dict[str, int],
        entries: range | None = None,
    ) -> None:
        entries = range(len(data.names)) if entries is None else entries
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        self.dtype = frame_dtype(data.dim)
        starts = [positions[data.names[i]] + HEADER_BYTES + BLOCK_BYTES for i in entries]
        self.places = list(zip(data.frames[entries].tolist(), starts, strict=True))

    def read(self, i: int, out: Any) -> Any:
        count, start = self.places[i]
        view = np.frombuffer(self.map, self.dtype, count, start)["data"]
        if out is None:
            return view.copy()
        out[:] = view
        return out

    def reader(self) -> Reader:
        return Reader("numpy view", self.read, True)

    def first_pass(self, path: Path) -> None:
        """Maps the file again: the next read of each page has to fill the page table."""
        self.map.close()
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)


def h5py_readers(folder: Path, data: FeatureData) -> list[Reader]:
    """One dataset an entry, opened before; three ways to read it."""
    h5py = optional("h5py")
    if h5py is None:
        return []
    path = folder / "features.h5"
    with h5py.File(path, "w") as f:
        for i, matrix in enumerate(data.matrices):
            f.create_dataset(str(i), data=matrix)
    f = h5py.File(path, "r")
    datasets = [f[str(i)] for i in range(len(data.matrices))]
    everything = h5py.h5s.ALL

    def direct(i: int, out: Any) -> Any:
        if out is None:
            out = np.empty(datasets[i].shape, np.float32)
        datasets[i].read_direct(out)
        return out

    def slice_(i: int, out: Any) -> Any:
        return datasets[i][()]

    def low_level(i: int, out: Any) -> Any:
        if out is None:
            out = np.empty(datasets[i].shape, np.float32)
        datasets[i].id.read(everything, everything, out)
        return out

    return [
        Reader("h5py slice", slice_, False),
        Reader("h5py read_direct", direct, True),
        Reader("h5py id.read", low_level, True),
    ]


def kaldi_readers(folder: Path, data: FeatureData) -> list[Reader]:
    """An ark by offset, and the random access reader over its scp."""
    kni = optional("kaldi_native_io")
    if kni is None:
        return []
    ark, scp = folder / "features.ark", folder / "features.scp"
    with kni.FloatMatrixWriter(f"ark,scp:{ark},{scp}") as writer:
        for i, matrix in enumerate(data.matrices):
            writer.write(str(i), matrix)
    places = [line.split(" ", 1)[1] for line in scp.read_text().splitlines()]
    keys = [str(i) for i in range(len(places))]
    table = kni.RandomAccessFloatMatrixReader(f"scp:{scp}")
    from_place = kni.FloatMatrix.read

    def offset(i: int, out: Any) -> Any:
        return from_place(places[i]).numpy()

    def random(i: int, out: Any) -> Any:
        return table[keys[i]]

    return [
        Reader("kaldi_native_io offset", offset, False),
        Reader("kaldi_native_io scp", random, False),
    ]


def returnn_reader(path: Path, data: FeatureData, limit: int) -> list[Reader]:
    """RETURNN's reader of the same archive; slow, so only `limit` entries a round."""
    cache = optional("returnn.sprint.cache")
    if cache is None:
        return []
    archive = cache.FileArchive(str(path))
    names = data.names

    def read(i: int, out: Any) -> Any:
        return np.stack(archive.read(names[i], "feat")[1])

    return [Reader("RETURNN", read, False, limit)]


def check_reader(reader: Reader, data: FeatureData) -> None:
    """Every entry (of a slow reader the first few) equals what was written."""
    for i in range(len(data.names) if reader.limit is None else min(5, len(data.names))):
        want = data.matrices[i]
        check_equal(reader.name, data.names[i], reader.read(i, None), want)
        if reader.reads_into:
            out = np.zeros_like(want)
            reader.read(i, out)
            check_equal(reader.name + " into", data.names[i], out, want)


def into_buffer(reader: Reader, data: FeatureData, out: np.ndarray) -> Peer:
    """A peer that leaves the matrix in `out`; who cannot fill it itself pays the copy."""

    def plan(order: Order) -> Run:
        targets = [out[: data.frames[i]] for i in order]
        read = reader.read

        def fill() -> None:
            for i, target in zip(order, targets, strict=True):
                read(i, target)

        def copy() -> None:
            for i, target in zip(order, targets, strict=True):
                target[:] = read(i, None)

        return fill if reader.reads_into else copy

    return Peer(f"{reader.name}, into", plan, reader.limit)


def to_new(reader: Reader) -> Peer:
    """A peer that gives a new array."""

    def plan(order: Order) -> Run:
        read = reader.read

        def run() -> None:
            for i in order:
                read(i, None)

        return run

    return Peer(f"{reader.name}, new", plan, reader.limit)
