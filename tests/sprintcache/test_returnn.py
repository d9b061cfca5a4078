"""The dataset class for RETURNN configs, with RETURNN's own class as the peer."""

from __future__ import annotations

import gc
import gzip
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sprintcache
from sprintcache.bliss import Corpus
from tests.oracle import builder
from tests.paths import DATA

basic = pytest.importorskip("returnn.datasets.basic", reason="RETURNN is not installed")
pytest.importorskip("tree", reason="RETURNN makes datasets with dm-tree, which is not installed")

from sprintcache.returnn import SprintCacheDataset  # noqa: E402  # needs RETURNN

pytestmark = pytest.mark.filterwarnings("ignore")

TAGS = [f"corpus/{number:02d}/{number % 3}" for number in range(23)]
LABELING = {
    "silence_phone": "[SILENCE]",
    "allophone_file": str(DATA / "allophones"),
    "state_tying_file": str(DATA / "state-tying" / "monophone"),
}
REAL = {
    "data": {"filename": str(DATA / "features.part1.cache")},
    "classes": {"filename": str(DATA / "alignment.viterbi.cache"), "allophone_labeling": LABELING},
}


@pytest.fixture(autouse=True)
def closed_files() -> Iterator[None]:
    """Collects the files that RETURNN leaves open, while their warning is ignored."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Features and alignment of 23 sequences, ties among the lengths, and three labels."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "allophones").write_text("sil{#+#}@i@f\na{#+#}@i@f\nb{#+#}@i@f\n")
    (folder / "phonemes").write_text("sil\na\nb\n")
    rng = np.random.default_rng(1)
    features, alignments = [], []
    for tag in TAGS:
        size = int(rng.integers(1, 12))
        items = [(time, int(id_)) for time, id_ in enumerate(rng.integers(0, 3, size))]
        packet = builder.alignment_rle(items)
        features.append((tag, builder.features(rng.standard_normal((size, 4)).tolist())))
        features.append((f"{tag}.attribs", builder.attribs({"datatype": "vector-f32"})))
        alignments.append((tag, builder.alignment_entry(packet)))
    (folder / "features.cache").write_bytes(builder.archive(features, compress=True))
    (folder / "alignment.cache").write_bytes(builder.archive(alignments[::-1]))
    return {
        "data": {"filename": str(folder / "features.cache"), "data_type": "feat"},
        "classes": {
            "filename": str(folder / "alignment.cache"),
            "allophone_labeling": {
                "silence_phone": "sil",
                "allophone_file": str(folder / "allophones"),
                "phoneme_file": str(folder / "phonemes"),
            },
        },
    }


def both(data: dict[str, Any], **options: Any) -> tuple[Any, Any]:
    """Ours and RETURNN's, as a config makes them."""
    return tuple(
        basic.init_dataset({"class": kind, "data": data, "name": "train", **options})
        for kind in (SprintCacheDataset, "SprintCacheDataset")
    )


def same_epoch(ours: Any, theirs: Any, epoch: int) -> None:
    for dataset in (ours, theirs):
        dataset.init_seq_order(epoch=epoch)
    assert ours.num_seqs == theirs.num_seqs
    index = 0
    while theirs.is_less_than_num_seqs(index):
        assert ours.is_less_than_num_seqs(index)
        for dataset in (ours, theirs):
            dataset.load_seqs(index, index + 1)
        assert ours.get_tag(index) == theirs.get_tag(index)
        assert ours.get_seq_length(index) == theirs.get_seq_length(index)
        assert ours.get_complete_frac(index) == theirs.get_complete_frac(index)
        for key in theirs.get_data_keys():
            actual, expected = ours.get_data(index, key), theirs.get_data(index, key)
            assert actual.dtype == expected.dtype
            assert np.array_equal(actual, expected)
        index += 1
    assert not ours.is_less_than_num_seqs(index)


ORDERINGS = [
    *("default", "reverse", "sorted", "sorted_reverse", "random", "random:2", "random_sample"),
    "default_every_n:4",
    *("laplace:3", "laplace:.4", "sort_bin_shuffle:3", "sort_bin_shuffle_x2:.5"),
]


@pytest.mark.parametrize("ordering", ORDERINGS)
def test_epochs_are_those_of_returnn(data: dict[str, Any], ordering: str) -> None:
    ours, theirs = both(data, seq_ordering=ordering, partition_epoch=3)
    for epoch in (1, 2, 3, 4):
        same_epoch(ours, theirs, epoch)


@settings(max_examples=25)
@given(
    st.sampled_from(ORDERINGS),
    st.integers(1, 9),
    st.fixed_dictionaries(
        {},
        optional={
            "partition_epoch": st.integers(1, 4),
            "fixed_random_seed": st.integers(0, 5),
            "random_seed_offset": st.integers(0, 5),
            "_num_shards": st.just(2),
            "_shard_index": st.just(0),
            "unique_seq_tags": st.booleans(),
        },
    ),
)
def test_every_option_is_that_of_returnn(
    data: dict[str, Any], ordering: str, epoch: int, options: dict[str, Any]
) -> None:
    options = {"_num_shards": 2, **options} if "_shard_index" in options else options
    ours, theirs = both(data, seq_ordering=ordering, **options)
    same_epoch(ours, theirs, epoch)


def test_options_that_belong_together(data: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "filter").write_text("".join(f"{tag}\n" for tag in TAGS[3:9]))
    with gzip.open(tmp_path / "lengths.gz", "wt") as file:
        file.write(repr({tag: -number for number, tag in enumerate(TAGS)}))
    for options in (
        {"seq_list_filter_file": str(tmp_path / "filter"), "seq_ordering": "random"},
        {"repeat_epoch": 2, "seq_ordering": "sorted"},
        {"seq_order_seq_lens_file": str(tmp_path / "lengths.gz"), "seq_ordering": "sorted"},
        {"seq_ordering": lambda epoch, **_: "sorted" if epoch == 1 else "reverse"},
    ):
        ours, theirs = both(data, **options)
        for epoch in (1, 2):
            same_epoch(ours, theirs, epoch)


def test_attributes_that_returnn_reads(data: dict[str, Any]) -> None:
    ours, theirs = both(data)
    assert ours.num_inputs == theirs.num_inputs == 4
    assert ours.num_outputs == theirs.num_outputs == {"data": (4, 2), "classes": (3, 1)}
    assert ours.get_all_tags() == theirs.get_all_tags() == TAGS
    assert ours.get_total_num_seqs() == theirs.get_total_num_seqs()
    assert ours.have_seqs() == theirs.have_seqs()
    assert list(ours.get_data_keys()) == list(theirs.get_data_keys())
    assert ours.get_target_list() == theirs.get_target_list() == ["classes"]
    assert ours.supports_sharding() == theirs.supports_sharding()
    assert ours.supports_seq_order_sorting() == theirs.supports_seq_order_sorting()
    assert ours.num_seqs == theirs.num_seqs == 0
    for dataset in (ours, theirs):
        dataset.init_seq_order(epoch=1)
    for key in ("data", "classes"):
        for method in ("get_data_dim", "get_data_dtype", "is_data_sparse", "get_data_shape"):
            assert getattr(ours, method)(key) == getattr(theirs, method)(key), method
    assert ours.get_data_dtype("classes") == "int8"
    assert ours.len_info() == theirs.len_info()


@pytest.mark.parametrize(("largest", "dtype"), [(0, "int8"), (127, "int16"), (1 << 15, "int32")])
def test_real_archives_and_the_dtype_of_labels(tmp_path: Path, largest: int, dtype: str) -> None:
    """RETURNN needs the same segments on both sides."""
    with sprintcache.open_archive(REAL["data"]["filename"]) as archive:
        names = list(archive.segments)
    with sprintcache.open_archive(REAL["classes"]["filename"]) as archive:
        entries = [(name, archive.read_bytes(name)) for name in names]
    (tmp_path / "part.cache").write_bytes(builder.archive(entries))
    tying = Path(LABELING["state_tying_file"]).read_text()
    (tmp_path / "tying").write_text(f"{tying}unknown.0 {largest}\n")
    labeling = {**LABELING, "state_tying_file": str(tmp_path / "tying")}
    classes = {"filename": str(tmp_path / "part.cache"), "allophone_labeling": labeling}
    ours, theirs = both({"data": REAL["data"], "classes": classes}, seq_ordering="laplace:2")
    same_epoch(ours, theirs, 1)
    assert ours.num_outputs == theirs.num_outputs
    assert ours.get_data_dtype("classes") == theirs.get_data_dtype("classes") == dtype
    assert ours.get_target_list() == ["classes"]  # theirs has none with a state tying


def test_alignments_as_data(data: dict[str, Any], tmp_path: Path) -> None:
    """Their order is by bytes; they are inputs, so RETURNN's own dump writes them as inputs."""
    pytest.importorskip("h5py", reason="h5py is not installed")
    import h5py
    from returnn.datasets.hdf import HDFDatasetWriter

    entries = []
    for number, tag in enumerate(TAGS):
        items = [(time, time // (number % 4 + 1) % 3) for time in range(5 * number % 37 + 2)]
        entries.append((tag, builder.alignment_entry(builder.alignment_rle(items))))
    (tmp_path / "a.cache").write_bytes(builder.archive(entries))
    key = {**data["classes"], "filename": str(tmp_path / "a.cache"), "data_type": "align"}
    for rule in ("sorted", "sorted_reverse", "laplace:.5", "sort_bin_shuffle:3"):
        ours, theirs = both({"data": key}, seq_ordering=rule)
        for epoch in (1, 2):
            same_epoch(ours, theirs, epoch)
    by_frames = sorted(range(23), key=lambda number: 5 * number % 37 + 2)
    ours.seq_ordering = "sorted"
    ours.init_seq_order(epoch=1)
    assert list(ours.get_current_seq_order()) != by_frames
    assert ours.get_target_list() == []
    writer = HDFDatasetWriter(str(tmp_path / "dump.hdf"))
    writer.dump_from_dataset(ours, use_progress_bar=False)
    writer.close()
    with h5py.File(tmp_path / "dump.hdf") as file:
        inputs = file["inputs"][()]
    order = ours.get_current_seq_order()
    expected = [
        time // (number % 4 + 1) % 3 for number in order for time in range(5 * number % 37 + 2)
    ]
    assert inputs.reshape(-1).tolist() == expected


def test_a_string_names_the_class(data: dict[str, Any]) -> None:
    """In a config, in a dict in a string, and in RETURNN's short form."""
    name = "sprintcache.returnn.SprintCacheDataset"
    for config in (
        {"class": name, "data": data},
        repr({"class": name, "data": data}),
        f"{name}:data={data!r}",
        "{'class': __import__('sprintcache.returnn').returnn.SprintCacheDataset,"
        f" 'data': {data!r}}}",
    ):
        assert type(basic.init_dataset(config)) is SprintCacheDataset
    theirs = basic.init_dataset({"class": "SprintCacheDataset", "data": data})
    assert type(theirs).__module__ == "returnn.datasets.sprint"


def test_the_name_is_known_before_and_after_returnn_has_made_a_dataset() -> None:
    code = """
from returnn.datasets import basic
{first}
import sprintcache.returnn
{second}
kind = basic.get_dataset_class("sprintcache.returnn.SprintCacheDataset")
assert kind is sprintcache.returnn.SprintCacheDataset
assert basic.get_dataset_class("SprintCacheDataset").__module__ == "returnn.datasets.sprint"
"""
    use = "assert basic.get_dataset_class('HDFDataset')"
    for first, second in ((use, ""), ("", use)):
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code.format(first=first, second=second)],
            timeout=120,
            check=True,
        )


def test_lists_of_segments(data: dict[str, Any], tmp_path: Path) -> None:
    """Blanks at the ends of lines are not part of a name; pickled lists are read, not run."""
    (tmp_path / "list").write_bytes("".join(f" {tag}\t\r\n" for tag in TAGS[3:9]).encode())
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(TAGS[3:9]))
    for name in ("list", "list.pkl"):
        options = {"data": data, "seq_list_filter_file": str(tmp_path / name)}
        ours = basic.init_dataset({"class": SprintCacheDataset, **options})
        ours.init_seq_order(epoch=1)
        assert [ours.get_tag(i) for i in range(ours.num_seqs)] == TAGS[3:9]
        again = pickle.loads(pickle.dumps(ours))
        again.init_seq_order(epoch=1)
        assert again.num_seqs == 6
    (tmp_path / "list").write_text("other/1\n")
    with pytest.raises(ValueError, match="none of its 1 tags, such as 'other/1', is in the corpus"):
        basic.init_dataset({"class": SprintCacheDataset, **options, "data": data,
                            "seq_list_filter_file": str(tmp_path / "list")})  # fmt: skip


def test_batches_of_returnn(data: dict[str, Any]) -> None:
    """Its own code makes them, with limits of lengths and chunks."""
    for options, arguments in (
        ({}, {"batch_size": 20, "max_seqs": 4}),
        ({"chunking": "4:2"}, {"batch_size": 12, "max_seqs": 3}),
        ({}, {"batch_size": 99, "max_seqs": 9, "min_seq_length": 3, "max_seq_length": 8}),
    ):
        actual = []
        for dataset in both(data, seq_ordering="random", **options):
            dataset.init_seq_order(epoch=1)
            generator = dataset.generate_batches(recurrent_net=True, **arguments)
            batches = []
            while generator.has_more():
                (batch,) = generator.peek_next_n(1)
                batches.append(
                    [(s.seq_idx, s.seq_start_frame.dict, s.seq_end_frame.dict) for s in batch.seqs]
                )
                dataset.load_seqs(batch.start_seq, batch.end_seq)
                generator.advance(1)
            actual.append(batches)
        assert actual[0] == actual[1]
        assert len(actual[0]) > 1


# ---- additions to RETURNN's class


def test_an_order_that_is_given(data: dict[str, Any]) -> None:
    ours, _ = both(data)
    ours.init_seq_order(epoch=1, seq_list=[TAGS[5], TAGS[2]])
    assert [ours.get_tag(i) for i in range(ours.num_seqs)] == [TAGS[5], TAGS[2]]
    assert ours.init_seq_order(epoch=1, seq_order=[7, 0]) is True
    assert [ours.get_corpus_seq_idx(i) for i in range(ours.num_seqs)] == [7, 0]
    assert list(ours.get_current_seq_order()) == [7, 0]
    ours.load_seqs(0, 1)
    assert ours.get_estimated_seq_length(0) == ours.get_seq_length(0)["data"]
    sequence = ours.get_corpus_seq(7)
    assert sequence.seq_tag == TAGS[7]
    assert np.array_equal(sequence.features["data"], ours.get_data(0, "data"))
    with pytest.raises(sprintcache.EntryNotFoundError, match="'unknown'"):
        ours.init_seq_order(epoch=1, seq_list=[TAGS[0], "unknown"])


def test_it_travels_by_pickle(data: dict[str, Any]) -> None:
    ours, _ = both(data, seq_ordering="random", partition_epoch=2, random_seed_offset=3)
    ours.init_seq_order(epoch=5)
    again = pickle.loads(pickle.dumps(ours))
    again.init_seq_order(epoch=5)
    assert list(again.get_current_seq_order()) == list(ours.get_current_seq_order())
    assert again.partition_epoch == 2


def test_bundles_by_length_and_segments_of_one_side_only() -> None:
    data = {**REAL, "data": {"filename": str(DATA / "features.bundle")}}
    dataset = basic.init_dataset(
        {"class": SprintCacheDataset, "data": data, "seq_ordering": "sorted"}
    )
    dataset.init_seq_order(epoch=1)
    lengths = [dataset.get_estimated_seq_length(i) for i in range(dataset.num_seqs)]
    assert lengths == sorted(lengths)
    assert len(lengths) == 24
    with pytest.raises(sprintcache.EntryNotFoundError):
        basic.init_dataset({"class": SprintCacheDataset, "data": REAL})
    dataset = basic.init_dataset({"class": SprintCacheDataset, "data": REAL, "missing": "skip"})
    assert dataset.get_total_num_seqs() == 8


def test_inside_a_meta_dataset(data: dict[str, Any]) -> None:
    """It takes the order from one dataset and hands tags to the other."""
    kind = {"class": SprintCacheDataset}
    parts = {"x": {"data": data["data"]}, "xy": data}
    dataset = basic.init_dataset(
        {
            "class": "MetaDataset",
            "datasets": {
                "x": {**kind, "data": parts["x"]},
                "xy": {**kind, "data": parts["xy"], "seq_ordering": "laplace:.4"},
            },
            "data_map": {"data": ("x", "data"), "classes": ("xy", "classes")},
            "seq_order_control_dataset": "xy",
        }
    )
    _, theirs = both(data, seq_ordering="laplace:.4")
    same_epoch(dataset, theirs, 2)


def test_lengths_that_differ(data: dict[str, Any], tmp_path: Path) -> None:
    features = builder.archive([("x", builder.features([[1.0]] * 4))])
    packet = builder.alignment_rle([(0, 1), (1, 2)])
    (tmp_path / "f.cache").write_bytes(features)
    (tmp_path / "a.cache").write_bytes(builder.archive([("x", builder.alignment_entry(packet))]))
    data = {
        "data": {"filename": str(tmp_path / "f.cache")},
        "classes": {**data["classes"], "filename": str(tmp_path / "a.cache")},
    }
    ours, theirs = both(data)
    same_epoch(ours, theirs, 1)
    strict = SprintCacheDataset(data, length_mismatch="error")
    with pytest.raises(sprintcache.LabelError):
        strict.get_dataset_seq_for_name("x")
    with pytest.raises(sprintcache.LabelError, match="accepts 1 frames"):
        SprintCacheDataset(data, length_mismatch="trim", trim_tolerance=1).get_corpus_seq(0)
    trimmed = SprintCacheDataset(data, length_mismatch="trim").get_dataset_seq_for_name("x")
    assert trimmed.num_frames.dict == {"data": 2, "classes": 2}
    reduced = SprintCacheDataset(data, length_mismatch="error", reduce_target_factor=2)
    assert reduced.get_dataset_seq_for_name("x").num_frames.dict == {"data": 4, "classes": 2}
    with pytest.raises(ValueError, match="window"):
        SprintCacheDataset(data, window=3)


def test_soft_targets() -> None:
    targets = {**REAL["classes"], "filename": str(DATA / "alignment.bw.gz.cache"), "soft": "sparse"}
    data = {"data": {"filename": str(DATA / "features.bundle")}, "classes": targets}
    dataset = SprintCacheDataset(data)
    sequence = dataset.get_corpus_seq(0)
    kinds = {key: str(array.dtype) for key, array in sequence.features.items()}
    assert kinds == {key: dataset.get_data_dtype(key) for key in dataset.get_data_keys()}
    assert list(kinds.values()) == ["float32", "int32", "int32", "float32"]
    dense = SprintCacheDataset({**data, "classes": {**targets, "soft": "dense"}})
    matrix = dense.get_corpus_seq(0).features["classes"]
    time, label, weight = [*sequence.features.values()][1:]
    expected = np.zeros_like(matrix)
    np.add.at(expected, (time, label), weight)
    np.testing.assert_allclose(matrix, expected, rtol=1e-6)


# ---- inside of RETURNN


CONFIG = """#!rnn.py
{first}
batch_size = 40
train = {{
    "class": {kind},
    "data": {data},
    "seq_ordering": "laplace:3",
    "partition_epoch": 2,
}}
"""

TRAINING = """
import sys
import numpy as np
from returnn.config import Config, set_global_config
from returnn.datasets.basic import init_dataset
from returnn.torch.data import pipeline, returnn_dataset_wrapper

def batches(path, workers):
    config = Config()
    config.load_file(path)
    set_global_config(config)
    dataset = returnn_dataset_wrapper.ReturnnDatasetIterDataPipe(init_dataset("config:train"))
    pipe = pipeline.get_batching_iterable_dataset_from_config(
        dataset=dataset, config=config, train=True)
    loader = pipeline.create_data_loader_from_batches(pipe, {"num_workers": workers})
    found = [batch for _ in range(2) for batch in loader]
    pipeline.shutdown_data_loader(loader)
    return found

if __name__ == "__main__":
    expected = batches("theirs.config", 0)
    for workers in (0, 1):
        found = batches("ours.config", workers)
        assert len(found) == len(expected) > 4
        for ours, theirs in zip(found, expected):
            assert ours.keys() == theirs.keys()
            for key in theirs:
                one, other = np.asarray(ours[key]), np.asarray(theirs[key])
                assert one.dtype == other.dtype and np.array_equal(one, other), key
    print("equal")
"""


def test_batches_of_the_torch_engine(data: dict[str, Any], tmp_path: Path) -> None:
    """Config to batches, as RETURNN's PyTorch engine does it; a worker unpickles the dataset."""
    pytest.importorskip("torch", reason="torch is not installed")
    theirs = CONFIG.format(first="", kind='"SprintCacheDataset"', data=data)
    first = "from sprintcache.returnn import SprintCacheDataset"
    ours = CONFIG.format(first=first, kind="SprintCacheDataset", data=data)
    (tmp_path / "ours.config").write_text(ours)
    (tmp_path / "theirs.config").write_text(theirs)
    (tmp_path / "training.py").write_text(TRAINING)
    done = subprocess.run(
        [sys.executable, "training.py"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stderr


def test_without_returnn_it_is_named() -> None:
    code = "import sys; sys.modules['returnn'] = None; import sprintcache.returnn"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install returnn" in done.stderr.splitlines()[-1]


# ---- other streams -----------------------------------------------------------------------------

CORPUS = str(DATA / "corpus" / "corpus.xml.gz")
LEXICON = str(DATA / "corpus" / "lexicon.xml.gz")
STREAMS = {
    "data": {"filename": str(DATA / "samples.cache")},
    "classes": {
        "filename": str(DATA / "alignment.viterbi.cache"),
        "allophone_labeling": {
            "silence_phone": "[SILENCE]",
            "allophone_file": str(DATA / "allophones"),
            "lexicon_file": LEXICON,
            "label_scheme": ["left", "center.state"],
        },
    },
    "text": {"type": "text", "filename": CORPUS, "lexicon": LEXICON},
    "raw": {"type": "text", "filename": CORPUS},
    "speaker": {"type": "speaker", "filename": CORPUS},
    "features": {"type": "feat", "filename": str(DATA / "features.bundle")},
}

ENGINE_CONFIG = """#!rnn.py
import json
import torch
import returnn.frontend as rf
from returnn.tensor import Dim, batch_dim
from sprintcache.returnn import SprintCacheDataset

task, backend, device = "train", "torch", "cpu"
train = {
    "class": SprintCacheDataset, "data": STREAMS, "missing": "skip", "seq_ordering": "random",
    "reduce_target_factor": 2, "reduce_target_frame": "majority", "length_mismatch": "ignore",
}
batch_size, max_seqs, num_epochs = {"data": 100_000}, 2, 1
optimizer, learning_rate = {"class": "adam"}, 0.001
model, learning_rate_file = OUT + "/net", OUT + "/rates"

def sparse(size, dtype):
    return {
        "dim_tags": [batch_dim, Dim(None, name="time")],
        "sparse_dim": Dim(size, name="labels"), "dtype": dtype,
    }

extern_data = {
    "data": {"dim_tags": [batch_dim, Dim(None, name="samples")], "dtype": "float32"},
    "classes[left]": sparse(28, "int8"),
    "classes[center.state]": sparse(84, "int8"),
    "text": sparse(27, "int32"),
    "raw": sparse(256, "uint8"),
    "speaker": sparse(5, "int32"),
}

def get_model(*, epoch, step, **_):
    return torch.nn.Linear(320, 84)

def train_step(*, model, extern_data, **_):
    data = {key: extern_data[key].raw_tensor for key in extern_data.data}
    frames = data["classes[center.state]"]
    size = min(frames.shape[1], data["data"].shape[1] // 320)
    logits = model(data["data"][:, : 320 * size].unflatten(1, (size, 320)))
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), frames[:, :size].flatten().long()
    )
    rf.get_run_ctx().mark_as_loss(name="ce", loss=loss)
    with open(OUT + "/seen", "a") as file:
        for row, tag in enumerate(data["seq_tag"]):
            found = {}
            for key in ("classes[left]", "text", "raw", "speaker"):
                lengths = extern_data[key].get_sequence_lengths()
                found[key] = data[key][row, : lengths[row]].tolist()
            file.write(json.dumps([str(tag), found]) + "\\n")
"""


def test_keys_of_other_streams() -> None:
    dataset = basic.init_dataset({"class": SprintCacheDataset, "data": STREAMS, "missing": "skip"})
    kinds = {
        "data": ("float32", False, []),
        "classes[left]": ("int8", True, []),
        "classes[center.state]": ("int8", True, []),
        "text": ("int32", True, []),
        "raw": ("uint8", True, []),
        "speaker": ("int32", True, []),
        "features": ("float32", False, [16]),
    }
    assert dataset.get_data_keys() == list(kinds)
    assert dataset.get_target_list() == [
        "classes[left]", "classes[center.state]", "text", "raw"
    ]  # fmt: skip
    dataset.init_seq_order(epoch=1)
    dataset.load_seqs(0, 1)
    for key, (dtype, is_sparse, shape) in kinds.items():
        assert dataset.get_data_dtype(key) == dtype == dataset.get_data(0, key).dtype
        assert dataset.is_data_sparse(key) == is_sparse
        assert dataset.get_data_shape(key) == shape
        assert list(dataset.get_data(0, key).shape[1:]) == shape


def test_an_epoch_of_audio_alignment_text_and_speaker(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="RETURNN trains with torch, which is not installed")
    (tmp_path / "train.config").write_text(
        ENGINE_CONFIG.replace("STREAMS", repr(STREAMS)).replace("OUT", repr(str(tmp_path)))
    )
    done = subprocess.run(
        [sys.executable, "-m", "returnn", str(tmp_path / "train.config")],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(DATA.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Finished training at epoch 1" in done.stdout + done.stderr
    lines = map(json.loads, (tmp_path / "seen").read_text().splitlines())
    seen = {re.sub(r".*?(espeak/rec\d+/\d+).*", r"\1", tag): data for tag, data in lines}
    words = {segment.name: segment for segment in Corpus(CORPUS)}
    assert sorted(seen) == ["espeak/rec000/1", "espeak/rec012/1"]
    with sprintcache.open_archive(DATA / "alignment.viterbi.cache") as archive:
        left = sprintcache.AllophoneLabeling(
            None, DATA / "allophones", label_scheme="left", lexicon_file=LEXICON
        )
        for tag, data in seen.items():
            text = words[tag].orthography or ""
            assert bytes(data["raw"]).decode() == text
            letters = [" abcdefghijklmnopqrstuvwxyz".index(letter) for letter in text]
            assert data["text"] == [number for number in letters if number]
            assert data["speaker"] == [int((words[tag].speaker or "")[3:])]
            labels = archive.read_labels(tag, left).tolist()
            pairs = (labels[i : i + 2] for i in range(0, len(labels), 2))
            assert data["classes[left]"] == [pair[0] for pair in pairs]
