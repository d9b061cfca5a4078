"""Conversion: what RETURNN, Kaldi's library and NumPy read, and what comes back."""

from __future__ import annotations

import gzip
import io
import os
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import sprintcache
from sprintcache.cli import main
from sprintcache.convert import convert, segment_names
from sprintcache.convert.items import ConvertItem
from sprintcache.convert.npz import NpzSink, NpzSource
from tests.oracle import builder
from tests.paths import DATA

FEATURES = DATA / "features.bundle"
VITERBI = DATA / "alignment.viterbi.cache"
SOFT = DATA / "alignment.bw.gz.cache"
ENERGY = DATA / "energy.cache"
TYING = DATA / "state-tying" / "monophone"
LABELS = [f"--allophones={DATA / 'allophones'}", f"--state-tying={TYING}"]
ENDINGS = [".hdf", ".scp", ".npz"]
FIRST = "espeak/rec000/1"

pytestmark = pytest.mark.filterwarnings(
    # kaldi_native_io's readers and writers fail in __del__ if they could not be made
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def labeling() -> sprintcache.AllophoneLabeling:
    return sprintcache.AllophoneLabeling("[SILENCE]", DATA / "allophones", state_tying_file=TYING)


@pytest.fixture
def h5py() -> ModuleType:
    return pytest.importorskip("h5py", reason="h5py (extra hdf) is not installed")


@pytest.fixture
def kaldi() -> ModuleType:
    return pytest.importorskip(
        "kaldi_native_io", reason="kaldi_native_io (extra kaldi) is not installed"
    )


@pytest.fixture
def hdf_module(h5py: ModuleType) -> Any:
    return pytest.importorskip("returnn.datasets.hdf", reason="RETURNN is not installed")


def need(ending: str) -> None:
    """Skips unless the library for files with this ending is there."""
    library, extra = {".hdf": ("h5py", "hdf"), ".scp": ("kaldi_native_io", "kaldi")}.get(
        ending, ("numpy", "")
    )
    pytest.importorskip(library, reason=f"{library} (extra {extra}) is not installed")


def read_all(path: Path) -> dict[str, np.ndarray]:
    """All features of an archive."""
    with sprintcache.open_archive(path) as archive:
        return {name: archive.read_features(name) for name in archive.segments}


def labels_of(path: Path, labeling: sprintcache.AllophoneLabeling | None) -> dict[str, np.ndarray]:
    with sprintcache.open_archive(path) as archive:
        return {name: archive.read_labels(name, labeling) for name in archive.segments}


def assert_same(got: dict[str, Any], want: dict[str, Any]) -> None:
    """Equal names in equal order, equal values of equal dtype."""
    assert list(got) == list(want)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, name, strict=True)


# ---- HDF5


def in_returnn(module: Any, path: Path, keys: list[str]) -> tuple[Any, dict[str, tuple]]:
    """RETURNN's dataset, and its data for each segment."""
    dataset = module.HDFDataset([str(path)], cache_byte_size=0)
    dataset.initialize()
    dataset.init_seq_order(epoch=1)
    actual = {}
    for index in range(dataset.num_seqs):
        dataset.load_seqs(index, index + 1)
        lengths = dataset.get_seq_length(index)
        data = tuple(dataset.get_data(index, key) for key in keys)
        assert [lengths[key] for key in keys] == [len(array) for array in data]
        actual[dataset.get_tag(index)] = data
    return dataset, actual


def test_returnn_reads_features(hdf_module: Any, tmp_path: Path) -> None:
    path = tmp_path / "features.hdf"
    assert convert([FEATURES], path) == 24
    dataset, actual = in_returnn(hdf_module, path, ["data"])
    assert_same({name: data for name, (data,) in actual.items()}, read_all(FEATURES))
    assert dataset.num_outputs == {"data": [16, 2]}
    assert dataset.get_data_keys() == ["data"]
    assert not dataset.is_data_sparse("data")
    assert dataset.get_total_num_seqs() == 24


def test_returnn_reads_labels_as_sparse_data(
    hdf_module: Any, tmp_path: Path, labeling: sprintcache.AllophoneLabeling
) -> None:
    path = tmp_path / "labels.h5"
    assert convert([VITERBI], path, labeling=labeling) == 24
    dataset, actual = in_returnn(hdf_module, path, ["data"])
    assert_same({name: data for name, (data,) in actual.items()}, labels_of(VITERBI, labeling))
    assert dataset.num_outputs == {"data": [labeling.num_labels, 1]}
    assert dataset.is_data_sparse("data")
    assert dataset.get_data_dim("data") == labeling.num_labels


def test_returnn_reads_features_with_labels(
    hdf_module: Any, tmp_path: Path, labeling: sprintcache.AllophoneLabeling
) -> None:
    path = tmp_path / "train.hdf5"
    convert([FEATURES], path, targets=VITERBI, labeling=labeling)
    dataset, actual = in_returnn(hdf_module, path, ["data", "classes"])
    labels = labels_of(VITERBI, labeling)
    labels = {name: labels[name] for name in actual}  # the archives' orders differ
    assert_same({name: data for name, (data, _) in actual.items()}, read_all(FEATURES))
    assert_same({name: data for name, (_, data) in actual.items()}, labels)
    assert dataset.num_outputs == {"data": [16, 2], "classes": (labeling.num_labels, 1)}
    assert (dataset.is_data_sparse("data"), dataset.is_data_sparse("classes")) == (False, True)
    convert([path], tmp_path / "data.cache")
    assert_same(read_all(tmp_path / "data.cache"), read_all(FEATURES))
    convert([path], tmp_path / "classes.cache", key="classes")
    assert_same(labels_of(tmp_path / "classes.cache", None), labels)


def test_the_file_is_laid_out_as_simple_hdf_writer_does(hdf_module: Any, tmp_path: Path) -> None:
    """Names, dtypes, attributes and values of all that is in the files; but for label names."""
    rng = np.random.default_rng(3)
    ours, theirs, cache = tmp_path / "a.hdf", tmp_path / "b.hdf", tmp_path / "c.cache"
    alignments = tmp_path / "d.cache"
    with (
        sprintcache.ArchiveWriter(cache) as writer,
        sprintcache.ArchiveWriter(alignments) as label_writer,
        hdf_module.SimpleHDFWriter(str(theirs), 3, extra_type={"classes": (9, 1, "int32")}) as peer,
    ):
        for name, frames in [("a/1", 4), ("ä/2", 1), ("c", 7)]:
            features = rng.standard_normal((frames, 3), np.float32)
            labels = rng.integers(0, 9, frames, np.int32)
            writer.add_features(name, features)
            alignment = sprintcache.Alignment(range(frames), labels, label_type="emission")
            label_writer.add_alignment(name, alignment)
            peer.insert_batch(features[None], [frames], [name], {"classes": labels[None]})
    convert([cache], ours, targets=alignments, num_labels=9)
    assert contents(ours) == contents(theirs)
    convert([theirs], tmp_path / "back.cache")
    assert_same(read_all(tmp_path / "back.cache"), read_all(cache))
    convert([theirs], tmp_path / "labels.cache", key="classes")
    assert_same(labels_of(tmp_path / "labels.cache", None), labels_of(alignments, None))


def contents(path: Path) -> dict[str, Any]:
    h5py = pytest.importorskip("h5py", reason="h5py (extra hdf) is not installed")
    actual: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        attributes = {key: np.array(value).tolist() for key, value in item.attrs.items()}
        actual[name] = [attributes]
        if isinstance(item, h5py.Dataset):
            actual[name] += [item.dtype, item.shape, item[()].tolist()]

    with h5py.File(path) as file:
        file.visititems(visit)
        visit("/", file)
    return {name: item for name, item in actual.items() if "labels/" not in name}


def test_hdf_with_many_chunks(h5py: ModuleType, scratch: Path) -> None:
    """Segments shorter and longer than what is written at a time; an empty one among them."""
    rng = np.random.default_rng(5)
    want = {
        f"s/{i}": rng.standard_normal((frames, 40), np.float32)
        for i, frames in enumerate([1, 0, 30000, 100, 26214, 819, 0, 60000, 3])
    }
    with sprintcache.ArchiveWriter(scratch / "a.cache") as writer:
        for name, features in want.items():
            writer.add_features(name, features)
    convert([scratch / "a.cache"], scratch / "a.hdf", num_threads=3)
    with h5py.File(scratch / "a.hdf") as file:
        np.testing.assert_array_equal(file["inputs"], np.concatenate([*want.values()]))
        assert file["seqLengths"][:, 0].tolist() == [len(array) for array in want.values()]
    convert([scratch / "a.hdf"], scratch / "b.cache")
    want["s/1"] = want["s/6"] = np.zeros((0, 0), np.float32)
    assert_same(read_all(scratch / "b.cache"), want)


def test_labels_in_several_portions(h5py: ModuleType, kaldi: ModuleType, scratch: Path) -> None:
    """Portions are decoded into one array, which must not change what was added before."""
    rng = np.random.default_rng(6)
    want = {f"s/{i}": rng.integers(0, 500, i % 50, dtype=np.int32) for i in range(2500)}
    np.savez(scratch / "a.npz", **want)
    convert([scratch / "a.npz"], scratch / "a.cache")
    convert([scratch / "a.cache"], scratch / "a.hdf")
    with h5py.File(scratch / "a.hdf") as file:
        np.testing.assert_array_equal(file["inputs"], np.concatenate([*want.values()]))
        assert file["inputs"].chunks < file["inputs"].shape
        assert file["seqTags"].asstr()[:].tolist() == list(want)
        assert file["seqLengths"][:, 0].tolist() == [len(array) for array in want.values()]
    convert([scratch / "a.cache"], scratch / "a.ark")
    with kaldi.SequentialInt32VectorReader(f"ark:{scratch}/a.ark") as reader:
        assert_same({key: np.array(value, np.int32) for key, value in reader}, want)


# ---- Kaldi


def test_kaldi_reads_features(kaldi: ModuleType, tmp_path: Path) -> None:
    want = read_all(FEATURES)
    convert([FEATURES], tmp_path / "feats.ark")
    with kaldi.SequentialFloatMatrixReader(f"ark:{tmp_path}/feats.ark") as reader:
        assert_same({key: value.copy() for key, value in reader}, want)
    with kaldi.RandomAccessFloatMatrixReader(f"scp:{tmp_path}/feats.scp") as table:
        assert_same({name: table[name].copy() for name in want}, want)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["feats.ark", "feats.scp"]


def test_kaldi_reads_labels_and_scalars(
    kaldi: ModuleType, tmp_path: Path, labeling: sprintcache.AllophoneLabeling
) -> None:
    convert([VITERBI], tmp_path / "labels.scp", labeling=labeling)
    with kaldi.SequentialInt32VectorReader(f"scp:{tmp_path}/labels.scp") as reader:
        actual = {key: np.array(value, np.int32) for key, value in reader}
    assert_same(actual, labels_of(VITERBI, labeling))
    convert([ENERGY], tmp_path / "energy.ark")
    with kaldi.SequentialFloatVectorReader(f"ark:{tmp_path}/energy.ark") as reader:
        actual = {key: value[:, None].copy() for key, value in reader}
    assert_same(actual, read_all(ENERGY))


@pytest.mark.parametrize("kind", ["Int32Vector", "FloatVector", "DoubleMatrix", "FloatMatrix"])
@pytest.mark.parametrize("empty", [["a"], ["c"], ["a", "c"], ["a", "b", "c"]])
def test_empty_entries_go_with_all_types_of_kaldi(
    kaldi: ModuleType, tmp_path: Path, kind: str, empty: list[str]
) -> None:
    with sprintcache.ArchiveWriter(tmp_path / "x.cache") as writer:
        for name in ("a", "b", "c"):
            if name in empty:
                writer.add_bytes(name, b"")
            elif kind == "Int32Vector":
                writer.add_alignment(name, sprintcache.Alignment([0], [7], label_type="emission"))
            else:
                shape = (2, 3) if kind.endswith("Matrix") else (2,)
                writer.add_features(name, np.ones(shape, "f8" if kind[0] == "D" else "f4"))
    convert(tmp_path / "x.cache", tmp_path / "x.ark")
    kind = "FloatMatrix" if len(empty) == 3 else kind
    with getattr(kaldi, f"Sequential{kind}Reader")(f"ark:{tmp_path}/x.ark") as reader:
        actual = {name: np.array(data).size for name, data in reader}
    assert list(actual) == ["a", "b", "c"]
    assert [name for name, size in actual.items() if size == 0] == empty


@pytest.mark.parametrize("options", ["ark", "ark,t"])
@pytest.mark.parametrize("kind", ["FloatMatrix", "DoubleMatrix", "FloatVector", "Int32Vector"])
def test_from_kaldi(kaldi: ModuleType, tmp_path: Path, options: str, kind: str) -> None:
    values: dict[str, Any] = {
        "FloatMatrix": np.array([[1, 2.5], [-3, 1e-3], [0, 4]], np.float32),
        "DoubleMatrix": np.array([[1, 2.5, 1 / 3]]),
        "FloatVector": np.array([1, 2.5, -1], np.float32),
        "Int32Vector": np.array([4, 4, 0, 7], np.int32),
    }
    text_of_doubles = "DoubleMatrix" in kind and "t" in options.split(",")
    with getattr(kaldi, f"{kind}Writer")(f"{options},scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as w:
        w.write("a/1", values[kind])
        w.write("b", values[kind][:1])
    for source in ("a.ark", "a.scp"):
        convert([tmp_path / source], tmp_path / "a.cache", overwrite=True)
        with sprintcache.open_archive(tmp_path / "a.cache") as archive:
            assert list(archive) == ["a/1", "b"]
            if kind == "Int32Vector":
                alignment = archive.read_alignment("a/1")
                assert alignment.label_type == "emission"
                assert (alignment.start, alignment.end) == (0.0, pytest.approx(0.055))
                actual = archive.read_labels("a/1", None)
            else:
                actual = archive.read("a/1")
            want = values[kind].astype(np.float32) if text_of_doubles else values[kind]
            np.testing.assert_allclose(actual, want, rtol=1e-6 if "t" in options else 0)
            assert actual.dtype == want.dtype


def test_compressed_matrices_of_kaldi(kaldi: ModuleType, tmp_path: Path) -> None:
    matrix = np.random.default_rng(1).random((50, 4), np.float32)
    with kaldi.CompressedMatrixWriter(f"ark:{tmp_path}/a.ark") as writer:
        writer.write("a", matrix, kaldi.CompressionMethod.kAutomaticMethod)
    convert([tmp_path / "a.ark"], tmp_path / "a.cache")
    np.testing.assert_allclose(read_all(tmp_path / "a.cache")["a"], matrix, atol=0.02)


@pytest.mark.parametrize("cut", [1, 20, 3000])
def test_an_ark_that_is_cut_off_is_not_a_shorter_one(
    kaldi: ModuleType, tmp_path: Path, cut: int
) -> None:
    convert([FEATURES], tmp_path / "a.ark")
    data = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "b.ark").write_bytes(data[:-cut])
    with pytest.raises(sprintcache.FormatError, match=r"b\.ark"):
        convert([tmp_path / "b.ark"], tmp_path / "b.cache")
    assert not list(tmp_path.glob("b.cache*"))


def test_an_scp_runs_no_program(kaldi: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.scp").write_text(f"a {tmp_path}/a.ark:2\nb touch {tmp_path}/ran |\n")
    with pytest.raises(sprintcache.FormatError, match=r"line 2 of the scp; programs are not run"):
        convert([tmp_path / "a.scp"], tmp_path / "a.cache")
    assert not (tmp_path / "ran").exists()


# ---- NumPy


def test_numpy_reads_features_and_times(tmp_path: Path) -> None:
    convert([FEATURES], tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file, sprintcache.open_archive(FEATURES) as archive:
        assert len(file.files) == 48
        for name in archive.segments:
            np.testing.assert_array_equal(file[name], archive.read_features(name), strict=True)
            times = archive.read_times(name)
            np.testing.assert_array_equal(file[f"{name}.times"], times, strict=True)


def test_soft_alignments_come_back_from_npz(tmp_path: Path) -> None:
    for source in (SOFT, VITERBI):
        convert([source], tmp_path / "a.npz", overwrite=True)
        convert([tmp_path / "a.npz"], tmp_path / "a.cache", overwrite=True)
        with (
            sprintcache.open_archive(source) as old,
            sprintcache.open_archive(tmp_path / "a.cache") as new,
        ):
            assert list(new) == list(old.segments)
            for name in new:
                assert new.read_alignment(name) == old.read_alignment(name)
    with np.load(tmp_path / "a.npz") as file:
        assert file[FIRST].dtype.names == ("time", "emission", "weight")
        assert file[f"{FIRST}.alphabet"].dtype.names == ("id", "symbol")


def test_from_numpy_savez(tmp_path: Path) -> None:
    arrays = {"a/1": np.arange(6.0).reshape(3, 2), "b": np.array([3, 1], np.uint8)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    convert([tmp_path / "a.npz"], tmp_path / "a.cache", frame_shift=0.02, frame_length=0.5)
    with sprintcache.open_archive(tmp_path / "a.cache") as archive:
        np.testing.assert_array_equal(archive.read("a/1"), arrays["a/1"], strict=True)
        want = [[0, 0.5], [0.02, 0.52], [0.04, 0.54]]
        np.testing.assert_allclose(archive.read_times("a/1"), want)
        assert archive.read_labels("b", None).tolist() == [3, 1]
        alignment = archive.read_alignment("b")
        assert (alignment.start, alignment.end) == (0.0, 0.52)


# ---- there and back

DTYPES = st.sampled_from(["<f4", "<f8", "i1", "u1", "<i2", "<u2", "<u4", "?"])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/."), min_size=1, max_size=8)
SEGMENTS = st.tuples(DTYPES, st.integers(1, 4)).flatmap(
    lambda kind: st.dictionaries(
        NAMES.filter(lambda name: name.isprintable() and not any(c.isspace() for c in name)),
        arrays.arrays(kind[0], st.tuples(st.integers(1, 9), st.just(kind[1]))),
        min_size=1,
        max_size=5,
    )
)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25)
@given(segments=SEGMENTS)
def test_any_features_come_back(
    ending: str, scratch: Path, segments: dict[str, np.ndarray]
) -> None:
    need(ending)
    first, middle, last = scratch / "a.cache", scratch / f"b{ending}", scratch / "c.cache"
    with sprintcache.ArchiveWriter(first, "w") as writer:
        for name, features in segments.items():
            writer.add_features(name, features)
    assert convert([first], middle, overwrite=True) == len(segments)
    assert list(segment_names([middle])) == list(segments)
    convert([middle], last, overwrite=True)
    with sprintcache.open_archive(last) as archive:
        for name, features in segments.items():
            # Kaldi has floats only, the smallest that hold the values
            actual = archive.read(name)
            np.testing.assert_array_equal(actual, features)
            assert actual.dtype == features.dtype or ending == ".scp"


@pytest.mark.parametrize("ending", ENDINGS)
def test_labels_come_back_as_emission_ids(
    ending: str, tmp_path: Path, labeling: sprintcache.AllophoneLabeling
) -> None:
    need(ending)
    convert([VITERBI], tmp_path / f"a{ending}", labeling=labeling)
    convert([tmp_path / f"a{ending}"], tmp_path / "a.cache")
    assert_same(labels_of(tmp_path / "a.cache", None), labels_of(VITERBI, labeling))
    with sprintcache.open_archive(tmp_path / "a.cache") as archive:
        actual = archive.read_alignment(FIRST)
    assert actual.label_type == "emission"
    with sprintcache.open_archive(VITERBI) as archive:
        want = archive.read_alignment(FIRST)
    made = 0.0, (len(actual) - 1) * 0.01 + 0.025
    times = (want.start, want.end) if ending == ".npz" else made
    assert (actual.start, actual.end) == pytest.approx(times)
    # and once more, as labels that need no labeling
    convert([tmp_path / "a.cache"], tmp_path / f"b{ending}")
    convert([tmp_path / f"b{ending}"], tmp_path / "b.cache")
    assert (tmp_path / "b.cache").read_bytes() == (tmp_path / "a.cache").read_bytes()


@pytest.mark.parametrize("ending", ENDINGS)
def test_dtype(ending: str, tmp_path: Path) -> None:
    need(ending)
    convert([FEATURES], tmp_path / f"a{ending}", dtype="float64", names=[FIRST])
    convert([tmp_path / f"a{ending}"], tmp_path / "a.cache")
    with sprintcache.open_archive(tmp_path / "a.cache") as archive:
        assert archive.datatype(FIRST) == "vector-f64"
        np.testing.assert_array_equal(archive.read(FIRST), read_all(FEATURES)[FIRST])


# ---- names, targets, several sources


def test_several_sources_and_some_names(tmp_path: Path) -> None:
    parts = [DATA / f"features.part{i}.cache" for i in (3, 1)]
    every = list(segment_names(parts))
    assert len(every) > 8
    chosen = [every[-1], every[0], every[5]]
    convert(parts, tmp_path / "a.npz", names=chosen)
    assert list(segment_names([tmp_path / "a.npz"])) == [every[0], every[5], every[-1]]
    with pytest.raises(sprintcache.EntryNotFoundError, match=r"1 of 2 names .*, such as 'nope'"):
        convert(parts, tmp_path / "b.npz", names=["nope", every[0]])
    with pytest.raises(sprintcache.SprintCacheError, match="the segment is in several sources"):
        convert([parts[0], parts[0]], tmp_path / "b.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_arrays_of_one_name_in_an_npz_file(tmp_path: Path) -> None:
    """A segment that is named like the times of another one would be lost."""
    labels, times = np.arange(2, dtype=np.int32), np.array([[0.0, 0.5], [0.5, 1.0]])
    items = [ConvertItem("a", labels, times), ConvertItem("a.times", labels)]
    for first, second in (items, items[::-1], [items[0], items[0]]):
        with NpzSink(tmp_path / "a.npz", overwrite=True) as sink:
            sink.add(first)
            name = second.name if first is second else "a.times"
            with pytest.raises(sprintcache.UnsupportedError, match=f"has an array '{name}'"):
                sink.add(second)


def test_segments_without_targets(
    h5py: ModuleType, tmp_path: Path, labeling: sprintcache.AllophoneLabeling
) -> None:
    with (
        sprintcache.open_archive(VITERBI) as archive,
        sprintcache.ArchiveWriter(tmp_path / "some.cache") as writer,
    ):
        for name in archive.segments[1:3]:
            writer.add_alignment(name, archive.read_alignment(name))

    def run(**options: bool) -> int:
        return convert(
            [FEATURES],
            tmp_path / "a.hdf",
            targets=tmp_path / "some.cache",
            labeling=labeling,
            **options,
        )

    with pytest.raises(sprintcache.EntryNotFoundError, match=f"22 of 24 .* first: '{FIRST}'"):
        run()
    assert run(skip_missing=True) == 2


# ---- refused input, partial files


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_partial_file_is_left(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, Ctrl-C, a damaged source: the old file stays, no partial one does."""
    need(ending)
    good, bad = builder.features([[1, 2], [3, 4]]), builder.features([[1, 2], [3, 4]])[:-3]
    (tmp_path / "good.cache").write_bytes(builder.archive([("a", good), ("b", good)]))
    (tmp_path / "bad.cache").write_bytes(builder.archive([("a", good), ("b", bad)]))
    target = tmp_path / f"x{ending}"
    convert([tmp_path / "good.cache"], target)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def after() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with pytest.raises(FileExistsError, match="x"):
        convert([tmp_path / "good.cache"], target)
    with pytest.raises(sprintcache.FormatError, match=r"bad\.cache, entry 'b'"):
        convert([tmp_path / "bad.cache"], target, overwrite=True)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert([tmp_path / "good.cache"], target, overwrite=True, progress=interrupt)
    assert after() == before
    with pytest.raises(KeyboardInterrupt):
        convert([target], tmp_path / "new.cache", progress=interrupt)
    assert after() == before
    # a partial file of a killed conversion is overwritten
    (tmp_path / f"x{ending}.partial").write_bytes(b"old" * 9999)
    convert([tmp_path / "good.cache"], target, overwrite=True)
    convert([target], tmp_path / "back.cache")
    assert_same(read_all(tmp_path / "back.cache"), read_all(tmp_path / "good.cache"))
    assert not list(tmp_path.glob("*.partial"))


FULL_DISK = """
import resource, signal, sys
from sprintcache.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_an_error_that_names_the_file(ending: str, tmp_path: Path) -> None:
    need(ending)
    command = [sys.executable, "-c", FULL_DISK, "convert", FEATURES, f"--to={tmp_path}/a{ending}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    said = [text for text in done.stderr.splitlines() if text.startswith("sprintcache: ")]
    assert str(tmp_path) in said[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


BAD_NAMES = [
    ("a b", {".scp"}),
    ("a\tb", {".scp"}),
    ("a\0b", {".scp", ".hdf", ".npz"}),
    ("a\udcff", {".scp", ".hdf", ".npz"}),
    ("a\u00a0ü", set()),
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("name", "refused"), BAD_NAMES)
def test_names_that_files_cannot_hold(
    ending: str, name: str, refused: set[str], tmp_path: Path
) -> None:
    need(ending)
    raw = name.encode("utf-8", "surrogateescape")
    (tmp_path / "a.cache").write_bytes(builder.archive([(raw, builder.features([[1]]))]))
    target = tmp_path / f"x{ending}"
    if ending not in refused:
        convert([tmp_path / "a.cache"], target)
        assert list(segment_names([target])) == [name]
        return
    with pytest.raises(sprintcache.UnsupportedError) as error:
        convert([tmp_path / "a.cache"], target)
    assert error.value.entry == name
    assert [p.name for p in tmp_path.iterdir()] == ["a.cache"]


@pytest.mark.parametrize("ending", [".hdf", ".scp"])
def test_segments_of_different_kind(ending: str, tmp_path: Path) -> None:
    need(ending)
    with sprintcache.ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_features("a", np.ones((2, 3), np.float32))
        writer.add_features("b", np.ones((2, 3)))
    with pytest.raises(sprintcache.UnsupportedError) as error:
        convert([tmp_path / "a.cache"], tmp_path / f"a{ending}")
    assert error.value.entry == "b"
    assert "as in earlier segments" in str(error.value)
    assert convert([tmp_path / "a.cache"], tmp_path / f"a{ending}", dtype="float32") == 2


def test_labels_that_are_too_large(
    h5py: ModuleType, tmp_path: Path, labeling: sprintcache.AllophoneLabeling
) -> None:
    with pytest.raises(sprintcache.LabelError, match=r"expected less than 5, found"):
        convert([VITERBI], tmp_path / "a.hdf", labeling=labeling, num_labels=5)
    with pytest.raises(sprintcache.LabelError, match="need a labeling"):
        convert([VITERBI], tmp_path / "a.hdf")
    with sprintcache.ArchiveWriter(tmp_path / "ids.cache") as writer:
        for name, ids in (("fits", [1, 4]), ("large", [4, 5])):
            alignment = sprintcache.Alignment(range(2), ids, label_type="emission")
            writer.add_alignment(name, alignment)
    message = "a.hdf, entry 'large': label: expected less than 5, found 5"
    with pytest.raises(sprintcache.LabelError, match=message):
        convert([tmp_path / "ids.cache"], tmp_path / "a.hdf", num_labels=5)
    np.savez(tmp_path / "a.npz", a=np.array([1, -1]))
    with pytest.raises(sprintcache.LabelError, match=r"entry 'a': label: .*found -1"):
        convert([tmp_path / "a.npz"], tmp_path / "a.cache")


def test_malformed_sources(h5py: ModuleType, kaldi: ModuleType, tmp_path: Path) -> None:
    hdf = tmp_path / "other.hdf"
    with h5py.File(hdf, "w") as file:
        file["streams"] = [1]
    cases: list[tuple[Path, str]] = [(hdf, "not that of RETURNN's HDFDataset: .*found streams")]
    good = tmp_path / "good.hdf"
    convert([FEATURES], good)
    for name, data in [
        ("cut.hdf", good.read_bytes()[:-1000]),
        ("a.npz", b"PK\3\4 nothing"),
        ("a.ark", b"key \0BXX "),
        ("a.cache", b"nothing"),
    ]:
        (tmp_path / name).write_bytes(data)
        cases.append((tmp_path / name, name))
    np.savez(tmp_path / "deep.npz", a=np.zeros((2, 2, 2)))
    cases.append((tmp_path / "deep.npz", r"entry 'a': neither .*found float64 \[2, 2, 2\]"))
    for path, text in cases:
        with pytest.raises(sprintcache.FormatError, match=text):
            convert([path], tmp_path / "x.cache")
    with pytest.raises(sprintcache.FormatError, match=r"no data 'classes'.*found data"):
        convert([good], tmp_path / "x.cache", key="classes")
    with pytest.raises(FileNotFoundError):
        convert([tmp_path / "nothing.hdf"], tmp_path / "x.cache")
    assert not list(tmp_path.glob("x*"))


@pytest.mark.usefixtures("quiet")
def test_damaged_hdf_files_give_an_error_or_values(h5py: ModuleType, scratch: Path) -> None:
    good = scratch / "good.hdf"
    convert([DATA / "features.part1.cache"], good)
    data = good.read_bytes()
    rng = np.random.default_rng(11)
    failed = 0
    for _ in range(60):
        damaged = bytearray(data)
        for offset in rng.integers(0, 4096, 8):  # where the structure is
            damaged[offset] = int(rng.integers(256))
        (scratch / "bad.hdf").write_bytes(damaged)
        try:
            convert([scratch / "bad.hdf"], scratch / "x.cache", overwrite=True)
        except (sprintcache.SprintCacheError, ValueError):
            failed += 1
    assert failed > 0


def test_contradictory_arguments(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones((2, 2)))
    for sources, to, options in [
        ([FEATURES], "a.cache", {}),
        ([FEATURES], "a", {}),
        ([tmp_path / "a.npz"], "b.npz", {}),
        ([tmp_path / "a.npz", FEATURES], "a.hdf", {}),
        ([FEATURES], "a.npz", {"targets": VITERBI}),
        ([], "a.npz", {}),
        ([FEATURES], "a.npz", {"dtype": "U3"}),
    ]:
        with pytest.raises(
            ValueError, match=r"an archive is converted|HDF5 files only|nothing to|must be numeric"
        ):
            convert(sources, tmp_path / to, **options)


@pytest.mark.parametrize(("module", "ending"), [("h5py", ".hdf"), ("kaldi_native_io", ".ark")])
def test_a_missing_extra_is_named(
    module: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = {"h5py": "hdf", "kaldi_native_io": "kaldi"}[module]
    with pytest.raises(ImportError, match=rf"pip install 'sprintcache\[{extra}\]'"):
        convert([FEATURES], tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


MEMORY = """
import sys
from pathlib import Path
from sprintcache.convert import convert

def peak(source, to):
    Path("/proc/self/clear_refs").write_text("5")
    convert([source], to, overwrite=True, num_threads=1, io="pread")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10

folder = Path(sys.argv[1])
for to in sys.argv[2:]:
    there = [peak(folder / f"{size}.cache", folder / f"{size}{to}") for size in ("s", "s", "l")]
    back = [peak(folder / f"{size}{to}", folder / "back.cache") for size in ("s", "l")]
    print(there[2] - there[1], back[1] - back[0])
"""


def test_memory_does_not_grow_with_the_corpus(scratch: Path) -> None:
    """The peak for 96 MB is that for 32 MB."""
    features = np.random.default_rng(1).random((6000, 40), np.float32)
    for size, count in [("s", 32), ("l", 96)]:
        with sprintcache.ArchiveWriter(scratch / f"{size}.cache") as writer:
            for number in range(count):
                writer.add_features(f"corpus/{number}", features)
    endings = [".npz"]
    for ending, library in [(".hdf", "h5py"), (".ark", "kaldi_native_io")]:
        endings += [ending] if library_is_there(library) else []
    command = [sys.executable, "-c", MEMORY, scratch, *endings]
    # arrays that are freed go back to the system: no peak depends on what the heap had kept
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    grown = np.array([line.split() for line in done.stdout.splitlines()], int)
    assert len(grown) == len(endings)
    assert grown.max() <= 8, f"{endings}: {grown.tolist()} MB"


def library_is_there(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


# ---- the command


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*argv: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_command(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("espeak/rec003/1\n")
    to = tmp_path / "a.npz"
    words = ["convert", VITERBI, "--to", to, *LABELS, "--list", names, "--select", "*rec00[01]*"]
    want = f"sprintcache: 3 segments written to {to}\n"
    assert run(*words) == (0, "", want)
    with np.load(to) as file:
        assert [n for n in file.files if "times" not in n] == [
            f"espeak/rec00{i}/1" for i in (0, 1, 3)
        ]
        assert file[FIRST].dtype == np.int32
    assert run(*words) == (
        1,
        "",
        f"sprintcache: {to} already exists; --overwrite replaces it\n",
    )
    assert run(*words, "--overwrite") == (0, "", want)
    assert run("convert", to, "--to", tmp_path / "b.cache", "--select", "rec000")[::2] == (
        1,
        f"sprintcache: {to}: no segment matches 'rec000'\n",
    )
    assert run("convert", to, "--to", tmp_path / "b.cache")[0] == 0
    assert labels_of(tmp_path / "b.cache", None).keys() == {f"espeak/rec00{i}/1" for i in (0, 1, 3)}


def test_command_with_targets(
    run: Callable[..., tuple[int, str, str]], h5py: ModuleType, tmp_path: Path
) -> None:
    to = tmp_path / "a.hdf"
    assert run("convert", FEATURES, "--to", to, "--targets", VITERBI, *LABELS)[0] == 0
    with h5py.File(to) as file:
        assert file["targets/data/classes"].shape == file["inputs"].shape[:1]
    status, _, err = run("convert", VITERBI, "--to", tmp_path / "b.hdf", "--state-tying", TYING)
    assert (status, err[:46]) == (2, "sprintcache: --state-tying needs --allophones ")


def test_command_that_is_interrupted(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = NpzSink.add

    def interrupted(sink: NpzSink, segment: Any) -> None:
        add(sink, segment)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(NpzSink, "add", interrupted)
    to = tmp_path / "a.npz"
    want = f"sprintcache: interrupted: {to} was not written\n"
    assert run("convert", FEATURES, "--to", to) == (130, "", want)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("h5py")
@pytest.mark.parametrize("more", [[], ["--targets"]])
def test_the_command_asks_for_its_own_options(run: Any, tmp_path: Path, more: list[str]) -> None:
    alignments, path = DATA / "alignment.viterbi.cache", tmp_path / "x.hdf"
    sources = [FEATURES, *more, alignments] if more else [alignments]
    status, out, err = run("convert", *sources, "--to", path)
    assert (status, out) == (1, "")
    assert err.endswith("labels of allophone states need --allophones and --state-tying\n")


def test_importing_needs_no_extra() -> None:
    code = "import sys, sprintcache.convert; print({'h5py', 'kaldi_native_io'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")


# ---- values out of range, empty segments, locked files, files of Kaldi, damage


def test_values_that_a_dtype_cannot_hold(tmp_path: Path) -> None:
    """float16 ends at 65,504; infinity in the source stays infinity."""
    with sprintcache.ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_features("fits", np.array([[65504, -np.inf, 1e-9]], np.float32))
        writer.add_features("large", np.array([[1, 2, 3], [4, 70000, 6]], np.float32))
    convert(tmp_path / "a.cache", tmp_path / "fits.npz", names=["fits"], dtype="float16")
    with np.load(tmp_path / "fits.npz") as file:
        assert file["fits"].tolist() == [[65504, -np.inf, 0]]
    message = r"entry 'large': value out of range of float16: found 70000\.0 at \(1, 1\)"
    with pytest.raises(sprintcache.UnsupportedError, match=message):
        convert(tmp_path / "a.cache", tmp_path / "b.npz", dtype="float16")
    with pytest.raises(sprintcache.UnsupportedError, match="out of range of int16"):
        convert(tmp_path / "a.cache", tmp_path / "b.npz", dtype="int16")
    assert not (tmp_path / "b.npz").exists()


def test_complex_features_stay_complex() -> None:
    values = np.array([[1 + 2j, 0.5j]], np.complex128)
    item = ConvertItem("a", values)
    converted = item.with_dtype("complex64").data
    assert converted.dtype == np.complex64
    np.testing.assert_array_equal(converted, values)
    with pytest.raises(sprintcache.UnsupportedError, match="complex features cannot become float"):
        item.with_dtype("float32")
    real = ConvertItem("a", np.array([[0.5, 2]], np.float32)).with_dtype("complex64").data
    assert (real.dtype, real.tolist()) == (np.complex64, [[0.5, 2]])


def test_empty_segments_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sprintcache.ArchiveWriter(tmp_path / "a.cache") as writer:
        for name, ids in (("a", [5]), ("b", []), ("c", [])):
            alignment = sprintcache.Alignment(range(len(ids)), ids, label_type="emission")
            writer.add_alignment(name, alignment)
    convert(tmp_path / "a.cache", tmp_path / "a.npz")
    (record,) = caplog.records
    assert record.getMessage() == "2 segments are empty, the first: 'b'"
    with np.load(tmp_path / "a.npz") as file:
        assert {name: file[name].tolist() for name in "abc"} == {"a": [5], "b": [], "c": []}


def test_empty_segments_among_labels_are_reported(
    h5py: ModuleType,
    tmp_path: Path,
    labeling: sprintcache.AllophoneLabeling,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As above, where all segments of an archive are read at once."""
    empty = sprintcache.Alignment(range(0), [], label_type="emission")
    with (
        sprintcache.open_archive(VITERBI) as archive,
        sprintcache.ArchiveWriter(tmp_path / "a.cache") as writer,
    ):
        whole = archive.read_alignment(archive.segments[0])
        for name, alignment in (("a", whole), ("b", empty), ("c", whole)):
            writer.add_alignment(name, alignment)
    assert convert(tmp_path / "a.cache", tmp_path / "a.hdf", labeling=labeling) == 3
    (record,) = caplog.records
    assert record.getMessage() == "1 segment is empty, the first: 'b'"
    with h5py.File(tmp_path / "a.hdf") as file:
        assert file["seqLengths"][:, 0].tolist() == [whole.num_frames, 0, whole.num_frames]


@pytest.mark.parametrize("dim", [None, 6])
def test_hdf_of_two_dynamic_axes(h5py: ModuleType, tmp_path: Path, dim: int | None) -> None:
    """In the layout of RETURNN's SimpleHDFWriter, which flattens them and adds `sizes`."""
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file["inputs"] = np.zeros((22,) if dim is None else (22, dim), np.float32)
        file["seqLengths"] = np.array([[12, 2], [10, 2]], np.int32)
        file.create_dataset("seqTags", data=[b"a", b"b"], dtype=h5py.string_dtype())
        file["targets/data/sizes"] = np.array([3, 4, 2, 5], np.int32)
        file.create_group("targets/size").attrs["sizes"] = [1, 1]
    with pytest.raises(sprintcache.UnsupportedError, match=r"expected one axis, found 2 axes"):
        convert(tmp_path / "a.hdf", tmp_path / "a.cache")
    assert convert(tmp_path / "a.hdf", tmp_path / "a.cache", key="sizes") == 2


def test_a_locked_hdf_is_not_damage(h5py: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    code = f"import h5py; f = h5py.File({str(path)!r}, 'w'); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(OSError, match="unable to lock file") as error:
            convert(path, tmp_path / "a.cache")
    finally:
        holder.communicate(b"\n", timeout=60)
    assert error.value.filename == str(path)
    assert not isinstance(error.value, sprintcache.SprintCacheError)


ALI = {"utt1": [3, 3, 4, 5], "utt2": [], "utt3": [7]}


def kaldi_ali(binary: bool) -> bytes:
    """An ark of int32 vectors, as Kaldi writes it, by hand."""
    ark = b""
    for name, labels in ALI.items():
        ark += name.encode() + b" "
        if binary:
            ark += b"\0B\4" + struct.pack("<i", len(labels))
            ark += b"".join(b"\4" + struct.pack("<i", label) for label in labels)
        else:
            ark += b"".join(b"%d " % label for label in labels) + b"\n"
    return ark


@pytest.mark.parametrize("name", ["ali.1.gz", "ali.ark", "ali.1.pdf.txt", "ali.ark.gz"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.usefixtures("kaldi")
def test_alignments_of_kaldi(tmp_path: Path, name: str, binary: bool) -> None:
    data = kaldi_ali(binary)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert convert(tmp_path / name, tmp_path / "a.cache") == 3
    with sprintcache.open_archive(tmp_path / "a.cache") as archive:
        actual = {name: archive.read_labels(name, None).tolist() for name in archive.segments}
    assert actual == ALI
    assert list(segment_names([tmp_path / name])) == list(ALI)


@pytest.mark.usefixtures("kaldi")
def test_a_damaged_gzip_of_kaldi(tmp_path: Path) -> None:
    data = gzip.compress(kaldi_ali(True) * 500)
    (tmp_path / "ali.1.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(sprintcache.TruncatedError, match=r"ali\.1\.gz: the gzip file is cut"):
        convert(tmp_path / "ali.1.gz", tmp_path / "a.cache")
    assert not (tmp_path / "a.cache").exists()


def test_any_damage_to_npz_is_a_typed_error(tmp_path: Path) -> None:
    """Every byte of a small file set to other values: data, or FormatError."""
    np.savez(tmp_path / "a.npz", a=np.ones((2, 2), np.float32))
    data = (tmp_path / "a.npz").read_bytes()
    path, num_errors = tmp_path / "b.npz", 0
    for index in range(len(data)):
        for value in (0, 0xFF, data[index] ^ 1):
            path.write_bytes(data[:index] + bytes([value]) + data[index + 1 :])
            try:
                source = NpzSource(path)
                list(source.items(None))
                source.close()
            except sprintcache.FormatError:
                num_errors += 1
    assert num_errors > len(data)


def test_npz_that_declares_more_than_it_has(tmp_path: Path) -> None:
    header = io.BytesIO()
    fields = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 2)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", header.getvalue() + bytes(64))
    with pytest.raises(sprintcache.FormatError, match="array of 8796093022208 bytes in 64 bytes"):
        convert(tmp_path / "a.npz", tmp_path / "a.cache")


@pytest.mark.parametrize("last", [1808, 4096])
def test_audio_samples(h5py: ModuleType, tmp_path: Path, last: int) -> None:
    """As Sprint stores them: 4096 samples a packet, the last one shorter, or not."""
    samples = (np.arange(8192 + last) % 311).astype(np.int16)
    pieces = np.split(samples, [4096, 8192])
    ends = np.cumsum([0, *map(len, pieces)]) / 16_000
    times = np.stack([ends[:-1], ends[1:]], 1)
    with sprintcache.ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_blocks("int", [sprintcache.Block("vector-s16", times, pieces)])
        floats = [piece.astype(np.float32) for piece in pieces]
        writer.add_blocks("float", [sprintcache.Block("vector-f32", times, floats)])
    for name in ("int", "float"):
        convert(tmp_path / "a.cache", tmp_path / f"{name}.hdf", names=[name])
        with h5py.File(tmp_path / f"{name}.hdf") as file:
            assert file["inputs"][:].tolist() == samples[:, None].tolist()
            assert file["seqLengths"][0, 0] == len(samples)


def test_kaldi_that_cannot_finish_its_file(
    kaldi: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kaldi reports a full disk at the end by the result of close() only."""

    class FailingWriter:
        def __init__(self, _target: str) -> None:
            self._impl = self
            self.is_open = True

        def write(self, _name: str, _value: Any) -> None:
            pass

        def close(self) -> bool:
            self.is_open = False
            return False

    monkeypatch.setattr(kaldi, "FloatMatrixWriter", FailingWriter)
    with pytest.raises(sprintcache.SprintCacheError, match="could not write the whole file"):
        convert(FEATURES, tmp_path / "a.ark", names=[FIRST])
    assert os.listdir(tmp_path) == []


def test_npz_cannot_hold_two_arrays_of_one_name(tmp_path: Path) -> None:
    """A segment `a.times` where the file stores the times of `a`."""
    with sprintcache.ArchiveWriter(tmp_path / "a.cache") as writer:
        for name in ("a", "a.times"):
            writer.add_features(name, np.ones((2, 3), np.float32))
    with pytest.raises(sprintcache.UnsupportedError, match=r"already has an array 'a\.times'"):
        convert(tmp_path / "a.cache", tmp_path / "a.npz")
    assert os.listdir(tmp_path) == ["a.cache"]


def test_labels_with_the_times_of_each_frame(tmp_path: Path) -> None:
    times = np.array([[0.5, 0.6], [0.6, 0.7], [0.7, 0.9]])
    np.savez(tmp_path / "a.npz", **{"a": np.array([3, 3, 4]), "a.times": times})  # type: ignore[arg-type]
    convert(tmp_path / "a.npz", tmp_path / "a.cache")
    with sprintcache.open_archive(tmp_path / "a.cache") as archive:
        alignment = archive.read_alignment("a")
    assert (alignment.start, alignment.end) == (0.5, 0.9)
