"""SprintCacheDataset: RETURNN as the peer, archives made by hand, and the reference document."""

from __future__ import annotations

import contextlib
import functools
import gzip
import inspect
import pickle
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    AllophoneLabeling,
    ArchiveChangedError,
    ArchiveWriter,
    EntryNotFoundError,
    FormatError,
    LabelError,
    SprintCacheDataset,
)
from sprintcache._pickled_list import parse_pickled_list
from sprintcache.dataset import BatchBuffers
from sprintcache.dataset_base import Dataset, sliding_window
from tests.oracle import builder, reference
from tests.paths import DATA

LABELING = {
    "silence_phone": "[SILENCE]",
    "allophone_file": str(DATA / "allophones"),
    "state_tying_file": str(DATA / "state-tying" / "monophone"),
}
FEATURES = {"filename": str(DATA / "features.bundle")}
VITERBI = {"filename": str(DATA / "alignment.viterbi.cache"), "allophone_labeling": LABELING}
BOTH = {"data": FEATURES, "classes": VITERBI}
SOFT = {"filename": str(DATA / "alignment.bw.gz.cache"), "allophone_labeling": LABELING}


@functools.cache
def real(*names: str) -> SprintCacheDataset:
    """The repository's data; shared, so read batches only."""
    return SprintCacheDataset({name: BOTH[name] for name in names or BOTH})


# ---- RETURNN as the peer -----------------------------------------------------------------------


@contextmanager
def returnn_dataset(data: Mapping[str, Any], **options: Any) -> Iterator[Any]:
    sprint = pytest.importorskip("returnn.datasets.sprint", reason="RETURNN is not installed")
    renamed = {f"_{k}" if "shard" in k else k: v for k, v in options.items()}
    dataset = sprint.SprintCacheDataset(data, **renamed)
    dataset.initialize()
    yield dataset
    for reader in dataset.data.values():  # it leaves its files open
        for archive in getattr(reader.sprint_cache, "archives", {0: reader.sprint_cache}).values():
            archive.f.close()


@pytest.mark.filterwarnings("ignore")
def test_data_tags_and_labels_are_those_of_returnn() -> None:
    ours = SprintCacheDataset(BOTH, seq_ordering="random")
    with returnn_dataset(BOTH, seq_ordering="random") as theirs:
        assert sorted(ours.get_all_tags()) == sorted(theirs.get_all_tags())
        assert ours.get_total_num_seqs() == theirs.get_total_num_seqs() == 24
        assert ours.num_inputs == theirs.num_inputs == 16
        assert ours.num_outputs == {key: tuple(dims) for key, dims in theirs.num_outputs.items()}
        assert ours.get_data_keys() == list(theirs.get_data_keys())
        for dataset in (ours, theirs):
            dataset.init_seq_order(epoch=3)
        assert ours.num_seqs == theirs.num_seqs
        assert not ours.is_less_than_num_seqs(24)
        for seq in range(24):
            same_sequence(ours, theirs, seq)


def same_sequence(ours: SprintCacheDataset, theirs: Any, seq: int) -> None:
    for dataset in (ours, theirs):
        dataset.load_seqs(seq, seq + 1)
    assert ours.is_less_than_num_seqs(seq)
    assert ours.get_tag(seq) == theirs.get_tag(seq)
    assert ours.get_complete_frac(seq) == theirs.get_complete_frac(seq)
    for key, dtype in (("data", "float32"), ("classes", "int32")):
        actual, expected = ours.get_data(seq, key), theirs.get_data(seq, key)
        assert np.array_equal(actual, expected)
        assert actual.shape == expected.shape
        assert actual.dtype == dtype == ours.get_data_dtype(key)
        assert ours.get_seq_length(seq)[key] == theirs.get_seq_length(seq)[key]
    assert np.array_equal(ours.get_input_data(seq), theirs.get_input_data(seq))
    assert np.array_equal(ours.get_targets("classes", seq), theirs.get_targets("classes", seq))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seq_ordering": "laplace:.5", "partition_epoch": 3},
        {"seq_ordering": "sort_bin_shuffle_x2:4", "num_shards": 3, "shard_index": 1},
        {"seq_ordering": "sorted_reverse", "partition_epoch": 2},
        {"seq_ordering": "random", "repeat_epoch": 2, "fixed_random_seed": 11},
    ],
)
@pytest.mark.parametrize("filtered", [False, True])
def test_epochs_are_those_of_returnn(
    options: dict[str, Any], filtered: bool, tmp_path: Path
) -> None:
    """Of one archive: a bundle it can order by "default" and "random" only."""
    lengths = np.random.default_rng(1).integers(1, 20, 40).tolist()
    data = {"data": features(tmp_path / "f", {f"seq{i}": n for i, n in enumerate(lengths)})}
    if filtered:
        path = tmp_path / "tags.gz"
        path.write_bytes(gzip.compress("\n".join([f"seq{i}" for i in range(0, 50, 2)]).encode()))
        options = {**options, "seq_list_filter_file": str(path)}
    ours = SprintCacheDataset(data, **options)
    assert ours.report().filtered == 20 * filtered
    with returnn_dataset(data, **options) as theirs:
        for epoch in range(1, 5):
            for dataset in (ours, theirs):
                dataset.init_seq_order(epoch=epoch)
            assert ours.num_seqs == theirs.num_seqs
            tags = [ours.get_tag(i) for i in range(ours.num_seqs)]
            assert tags == [theirs.get_tag(i) for i in range(theirs.num_seqs)]
            assert tags == [ours.get_all_tags()[i] for i in ours.get_current_seq_order()]


@pytest.mark.filterwarnings("ignore")
@given(frames=st.integers(1, 12), dim=st.integers(1, 4), window=st.integers(1, 9))
def test_windows_are_those_of_returnn(frames: int, dim: int, window: int) -> None:
    basic = pytest.importorskip("returnn.datasets.basic", reason="RETURNN is not installed")
    theirs = basic.Dataset(window=window)
    theirs.num_inputs, theirs.num_outputs = dim, {"data": (dim, 2)}
    theirs._base_init()
    features = np.random.default_rng(frames).random((frames, dim), np.float32)
    ours = Dataset(window=window)
    assert ours.window == theirs.window
    expected = theirs._sliding_window(features) if theirs.window > 1 else features
    assert np.array_equal(sliding_window(features, ours.window), expected)


# ---- the reference document --------------------------------------------------------------------

# its signatures of SprintCacheDataset, and of Dataset through SprintDatasetBase
DOCUMENT = """
SprintCacheDataset(data, **kwargs)
SprintCacheReader(data_key, filename, type=None, allophone_labeling=None)
SprintCacheReader.read(name)
init_seq_order(epoch=None, seq_list=None)
get_dataset_seq_for_name(name, seq_idx=-1)
get_data_keys()
get_target_list()
get_tag(sorted_seq_idx)
is_cached(start, end)
load_seqs(start, end)
get_data(seq_idx, key)
get_input_data(sorted_seq_idx)
get_targets(target, sorted_seq_idx)
get_num_timesteps()
have_seqs()
is_less_than_num_seqs(n)
get_complete_frac(sorted_seq_idx)
get_seq_length(sorted_seq_idx)
get_all_tags()
get_total_num_seqs()
"""


@pytest.mark.parametrize("line", DOCUMENT.split("\n")[1:-1])
def test_names_and_parameters_of_the_document(line: str) -> None:
    name, _, parameters = line[:-1].partition("(")
    value: Any = SprintCacheDataset
    if name != "SprintCacheDataset":
        value = functools.reduce(getattr, name.split("."), value)
    actual = str(inspect.signature(value).replace(return_annotation=inspect.Signature.empty))
    bare = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in inspect.signature(value).parameters.values()
        if (p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD and p.name != "self")
        or (p.kind == inspect.Parameter.VAR_KEYWORD and value is SprintCacheDataset)
    ]
    assert str(inspect.Signature(bare)) == f"({parameters})", actual
    assert inspect.getdoc(value)


def test_the_types_of_the_reader() -> None:
    reader = SprintCacheDataset.SprintCacheReader
    assert reader("data", **FEATURES).type == "feat"
    assert reader("classes", VITERBI["filename"]).type == "align"
    assert reader("other", **VITERBI).type == "align"
    assert reader("other", FEATURES["filename"], "feat").type == "feat"
    assert reader("other", FEATURES["filename"], data_type="feat").num_labels == 16
    labeling = AllophoneLabeling(**LABELING)
    classes = reader("classes", VITERBI["filename"], "align", labeling)
    assert classes.labeling is labeling
    labels = classes.read("espeak/rec000/1")
    assert (labels.shape, labels.dtype) == ((186,), np.int32)
    for options, message in [
        ({"type": "feats"}, "one of 'feat', 'align', 'audio'"),
        ({"type": "audio", "dtype": "int8"}, "dtype must be 'float32' or 'int16'"),
        ({"type": "feat", "data_type": "align"}, "type is 'feat' but data_type 'align'"),
        ({"type": "align", "soft": "some"}, "soft must be"),
        ({"type": "align", "soft": "dense"}, "needs an allophone_labeling"),
        ({"type": "align", "on_alphabet_mismatch": "?"}, "on_alphabet_mismatch must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            reader("data", FEATURES["filename"], **options)
    for name, kind in [("dtype", None), ("soft", "feat"), ("soft", "audio"), ("dtype", "align")]:
        with pytest.raises(TypeError, match=f"no option '{name}'; known: filename, type"):
            reader("data", FEATURES["filename"], kind, **{name: "sparse"})
    with pytest.raises(LabelError, match="labeling"):
        reader("classes", VITERBI["filename"]).read("espeak/rec000/1")


# ---- batches -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    seqs=st.lists(st.integers(0, 23), max_size=5),
    window=st.sampled_from([1, 3, 4]),
    pad=st.integers(-3, 0),
    threads=st.integers(1, 2),
    reuse=st.booleans(),
    measured=st.booleans(),
)
def test_a_batch_is_its_sequences_padded(
    seqs: list[int], window: int, pad: int, threads: int, reuse: bool, measured: bool
) -> None:
    ours = pickle.loads(pickle.dumps(real()))
    if measured:
        ours.get_lengths()
    ours.window = window + (window % 2 == 0)
    buffers = BatchBuffers() if reuse else None
    ours.read_batch([5, 17], pad=-9, buffers=buffers)  # old content must not remain visible
    batch = ours.read_batch(seqs, pad=pad, num_threads=threads, buffers=buffers)
    tags = ours.get_all_tags()
    assert list(batch) == ["data", "classes"]
    for key, (array, lengths) in batch.items():
        archive = real().data[key].archive
        assert lengths.tolist() == [archive.num_frames(tags[i]) for i in seqs]
        assert array.shape[:2] == (len(seqs), max(lengths, default=0))
        assert array.flags.c_contiguous
        for row, seq, length in zip(array, seqs, lengths, strict=True):
            one = real().data[key].read(tags[seq])
            if key == "data":
                one = sliding_window(one, ours.window)
            assert np.array_equal(row[:length], one)
            assert np.all(row[length:] == (0 if key == "data" else pad))


def test_ways_to_name_sequences() -> None:
    order = [3, 0, 11]
    tags = [real().get_all_tags()[i] for i in order]
    expected = real().read_batch(order)["classes"][0]
    for seqs in (np.array(order), tuple(order), tags):
        assert np.array_equal(real().read_batch(seqs, ["classes"])["classes"][0], expected)
    with pytest.raises(IndexError):
        real().read_batch([24])
    with pytest.raises(EntryNotFoundError, match="nowhere"):
        real().read_batch(["nowhere"])
    with pytest.raises(TypeError, match="several sequences, not one"):
        real().read_batch(tags[0])
    with pytest.raises(KeyError, match="other"):
        real().read_batch([0], ["other"])


def test_buffers_are_used_again() -> None:
    buffers = BatchBuffers()
    first = real().read_batch([8, 9, 10], buffers=buffers)
    second = real().read_batch([3], buffers=buffers)
    for key in ("data", "classes"):
        assert np.shares_memory(first[key][0], second[key][0])
    assert not np.shares_memory(
        real().read_batch([3])["data"][0], real().read_batch([3])["data"][0]
    )


def test_threads_read_batches_at_once() -> None:
    expected = [real().read_batch([i])["data"][0] for i in range(24)]
    wrong: list[int] = []

    def work(start: int) -> None:
        buffers = BatchBuffers()
        for i in [*range(start, 24), *range(start)] * 5:
            if not np.array_equal(real().read_batch([i], buffers=buffers)["data"][0], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 7, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


# ---- archives made by hand ---------------------------------------------------------------------


def features(path: Path, lengths: Mapping[str, int]) -> dict[str, str]:
    entries = [
        (name, builder.features([[t, t + 0.5, -t] for t in range(1, count + 1)]))
        for name, count in lengths.items()
    ]
    path.write_bytes(builder.archive(entries))
    return {"filename": str(path)}


def labels(path: Path, lengths: Mapping[str, int], **options: str) -> dict[str, str]:
    """Emission ids: 100 * the entry's number + the frame."""
    entries = [
        (name, builder.alignment_entry(builder.alignment_rle(
            [(t, 100 * number + t) for t in range(count)], magic=b"ALIGNEMI")))
        for number, (name, count) in enumerate(lengths.items())
    ]  # fmt: skip
    path.write_bytes(builder.archive(entries))
    return {"filename": str(path), **options}


def test_other_sets_of_segments(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = {
        "data": features(tmp_path / "f", {"a": 2, "b": 3, "c": 4, "d": 5}),
        "classes": labels(tmp_path / "l", {"d": 5, "x": 1, "b": 3, "a": 2}),
    }
    with pytest.raises(EntryNotFoundError) as caught:
        SprintCacheDataset(data)
    assert (caught.value.entry, caught.value.path) == ("c", str(tmp_path / "l"))
    for words in ("'data' has it", "3 segments in common", "1 more in 'classes'", "missing='skip'"):
        assert words in str(caught.value)
    ours = SprintCacheDataset(data, missing="skip")
    assert "left out: 1 of 'data', 1 of 'classes'" in caplog.text
    assert ours.report() == (3, {"data": 1, "classes": 1}, {"classes": 0}, 0, 0, 0)
    assert list(ours.get_all_tags()) == ["a", "b", "d"]
    assert ours.get_all_tags()[1:] == ["b", "d"]
    ours.init_seq_order(1)
    assert [ours.get_data(i, "classes").tolist() for i in range(3)] == [
        [300, 301],
        [200, 201, 202],
        [0, 1, 2, 3, 4],
    ]
    assert ours.get_lengths().tolist() == ours.get_lengths("classes").tolist() == [2, 3, 5]
    again = pickle.loads(pickle.dumps(ours))
    assert again.get_tag(2) == "d"
    assert again.get_num_timesteps() == {"data": 10, "classes": 10}
    again.init_seq_order(seq_list=["d", "a"])
    assert again.get_current_seq_order().tolist() == [2, 0]
    with pytest.raises(EntryNotFoundError, match=r"'c'.*no such sequence"):
        again.init_seq_order(seq_list=["d", "c"])
    # one archive has all of the other and more; nothing in common at all
    for lengths, policy in (
        ({"a": 2, "b": 3, "c": 4, "d": 5, "e": 6}, "error"),
        ({"z": 1}, "skip"),
    ):
        data["classes"] = labels(tmp_path / "m", lengths)
        with pytest.raises(EntryNotFoundError, match="segments in common") as caught:
            SprintCacheDataset(data, missing=policy)
        assert ("missing='skip'" in str(caught.value)) == (policy == "error")


LENGTHS = {"a": 7, "b": 8, "c": 9, "d": 10}


def test_other_lengths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = {
        "data": features(tmp_path / "f", LENGTHS),
        "classes": labels(tmp_path / "l", {"a": 5, "b": 8, "c": 11, "d": 10}),
        "other": labels(tmp_path / "o", {"a": 7, "b": 8, "c": 8, "d": 10}, type="align"),
    }
    for policy in ("error", "trim"):
        counted = SprintCacheDataset(data, length_mismatch=policy)
        assert counted.report() == (4, dict.fromkeys(data, 0), {"classes": 2, "other": 1}, 0, 0, 0)
    refusing = SprintCacheDataset(data)
    refusing.init_seq_order(1)
    assert refusing.get_data(1, "classes").tolist() == [*range(100, 108)]
    for read in (
        lambda: refusing.read_batch([1, 0]),
        lambda: refusing.get_data(0, "data"),
        lambda: refusing.get_seq_length(0),
        lambda: refusing.get_num_timesteps(),
    ):
        with pytest.raises(LabelError) as caught:
            read()
        assert (caught.value.entry, caught.value.path) == ("a", str(tmp_path / "l"))
        assert "7 frames of 'data'" in str(caught.value)
        assert "expected 7 frames, found 5" in str(caught.value)
    assert refusing.read_batch([0], ["classes"])["classes"][1].tolist() == [5]  # alone

    trimming = SprintCacheDataset(data, length_mismatch="trim")
    for buffers, lengths in ((None, ()), (BatchBuffers(), ()), (BatchBuffers(), LENGTHS.values())):
        assert not lengths or trimming.get_lengths().tolist() == list(lengths)
        batch = trimming.read_batch([2, 0], buffers=buffers)
        for key, expected in {
            "data": [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 0, 0, 0]],
            "classes": [[*range(200, 208)], [0, 1, 2, 3, 4, -1, -1, -1]],
            "other": [[*range(200, 208)], [0, 1, 2, 3, 4, -1, -1, -1]],
        }.items():
            array, lengths = batch[key]
            assert lengths.tolist() == [8, 5]
            assert (array[:, :, 0] if key == "data" else array).tolist() == expected
    assert caplog.text.count("are trimmed, first 'c'") == 1
    trimming.init_seq_order(1)
    assert trimming.get_seq_length(0) == {"data": 5, "classes": 5, "other": 5}
    assert trimming.get_num_timesteps() == dict.fromkeys(data, 5 + 8 + 8 + 10)
    assert trimming.get_lengths().tolist() == [7, 8, 9, 10]

    skipping = SprintCacheDataset(data, length_mismatch="skip")
    assert "left out: 2 of 'classes', 1 of 'other'" in caplog.text
    assert list(skipping.get_all_tags()) == ["b", "d"]
    assert skipping.report() == (2, dict.fromkeys(data, 0), {"classes": 2, "other": 1}, 0, 0, 0)
    skipping.init_seq_order(1)
    assert skipping.get_num_timesteps() == dict.fromkeys(data, 18)


def test_targets_at_a_lower_rate(tmp_path: Path) -> None:
    data = {
        "data": features(tmp_path / "f", LENGTHS),
        "classes": labels(tmp_path / "l", {"a": 3, "b": 3, "c": 2, "d": 4}),
    }
    ours = SprintCacheDataset(data, reduce_target_factor=3)
    ours.init_seq_order(1)
    assert ours.get_seq_length(3) == {"data": 10, "classes": 4}
    assert ours.get_data(1, "classes").tolist() == [100, 101, 102]
    with pytest.raises(LabelError, match=r"one label for 3 frames .*expected 3 frames, found 2"):
        ours.get_data(2, "classes")
    trimming = SprintCacheDataset(data, reduce_target_factor=3, length_mismatch="trim")
    batch = trimming.read_batch([2, 0])
    assert batch["data"][1].tolist() == [6, 7]
    assert batch["classes"][1].tolist() == [2, 3]
    with pytest.raises(ValueError, match="reduce_target_factor must be at least 1"):
        SprintCacheDataset(data, reduce_target_factor=0)


def test_trimming_has_a_tolerance(tmp_path: Path) -> None:
    """Edges may differ by some frames; labels of a quarter of the frames are another mistake."""
    data = {
        "data": features(tmp_path / "f", {"a": 40, "b": 12, "c": 29, "d": 3}),
        "classes": labels(tmp_path / "l", {"a": 10, "b": 22, "c": 40, "d": 1}),
    }
    ours = SprintCacheDataset(data, length_mismatch="trim")
    assert ours.read_batch([1])["classes"][1].tolist() == [12]
    assert ours.read_batch([3])["data"][1].tolist() == [1]
    for seq, expected, actual in ((0, 40, 10), (2, 29, 40)):
        with pytest.raises(LabelError, match=f"expected {expected} frames, found {actual}"):
            ours.read_batch([1, seq])
    with pytest.raises(LabelError, match="'trim' accepts 10 frames, see trim_tolerance"):
        ours.init_seq_order(1) and ours.get_num_timesteps()
    exact = SprintCacheDataset(data, length_mismatch="trim", trim_tolerance=30)
    assert exact.read_batch([0, 2])["data"][1].tolist() == [10, 29]
    with pytest.raises(LabelError):
        SprintCacheDataset(data, length_mismatch="trim", trim_tolerance=29).read_batch([0])
    unlimited = SprintCacheDataset(data, length_mismatch="trim", trim_tolerance=None)
    assert unlimited.read_batch([0])["data"][1].tolist() == [10]
    reduced = SprintCacheDataset(data, length_mismatch="trim", reduce_target_factor=4)
    assert reduced.read_batch([0])["classes"][1].tolist() == [10]
    with pytest.raises(LabelError):  # 22 labels are 19 more than 3: 76 frames
        reduced.read_batch([1])
    for wrong, error in ((-1, ValueError), ("5", TypeError)):
        with pytest.raises(error, match="trim_tolerance must be"):
            SprintCacheDataset(data, trim_tolerance=wrong)  # type: ignore[arg-type]


def test_an_empty_training_set_is_an_error(tmp_path: Path) -> None:
    data: dict[str, Any] = {
        "data": features(tmp_path / "f", {"a": 40, "b": 12}),
        "classes": labels(tmp_path / "l", {"a": 10, "b": 3}),
    }
    with pytest.raises(LabelError, match=r"no sequence is left.*all 2 differ") as caught:
        SprintCacheDataset(data, length_mismatch="skip")
    assert (caught.value.entry, caught.value.path) == ("a", str(tmp_path / "l"))
    assert SprintCacheDataset(data, length_mismatch="skip", reduce_target_factor=4).have_seqs()
    (tmp_path / "empty").write_bytes(builder.archive([]))
    with pytest.raises(EntryNotFoundError, match="the archive has no segment"):
        SprintCacheDataset({"data": {"filename": str(tmp_path / "empty")}})
    for limits in ({"min_seq_length": 41}, {"max_seq_length": 11}):
        with pytest.raises(ValueError, match=f"no sequence is left by .*{next(iter(limits))}"):
            SprintCacheDataset({"data": data["data"]}, **limits)
    (tmp_path / "list").write_text("b\n")
    with pytest.raises(ValueError, match="no sequence is left"):
        SprintCacheDataset(
            {"data": data["data"]}, seq_list_filter_file=tmp_path / "list", min_seq_length=13
        )
    silent = SprintCacheDataset({"data": features(tmp_path / "g", {"a": 0, "b": 0})})
    with pytest.raises(ValueError, match="no sequence is left"):
        silent.init_seq_order(1)


def test_a_part_without_sequences_is_named(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    ours = SprintCacheDataset({"data": features(tmp_path / "f", {"a": 4})}, partition_epoch=2)
    ours.init_seq_order(1)
    assert not caplog.records
    ours.init_seq_order(2)
    assert "epoch 2 has no sequence" in caplog.text


def test_limits_of_lengths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lengths = {"a": 0, "b": 10, "c": 12, "d": 9, "e": 0, "f": 1000}
    data = {"data": features(tmp_path / "f", lengths)}

    def used(**options: Any) -> list[str]:
        ours = SprintCacheDataset(data, **options)
        ours.init_seq_order(1)
        tags = [ours.get_tag(i) for i in range(ours.num_seqs)]
        report = ours.report()
        assert report.out_of_range == 6 - len(tags) - report.filtered
        assert ours.get_total_num_seqs() == 6
        again = pickle.loads(pickle.dumps(ours))
        assert [again.get_tag(i) for i in range(again.num_seqs)] == tags
        return tags

    assert used() == ["b", "c", "d", "f"]
    assert "2 sequences are left out by min_seq_length {'data': 1}" in caplog.text
    assert used(min_seq_length=0) == list(lengths)
    assert used(max_seq_length=999) == ["b", "c", "d"]
    assert used(max_seq_length=12, min_seq_length=10) == ["b", "c"]
    assert used(max_seq_length={"data": 10}, min_seq_length=0) == ["a", "b", "d", "e"]
    (tmp_path / "list").write_text("a\nb\nf\n")
    assert used(seq_list_filter_file=tmp_path / "list", max_seq_length=999) == ["b"]
    with pytest.raises(ValueError, match="max_seq_length: no data key 'classes' among data"):
        SprintCacheDataset(data, max_seq_length={"classes": 75})
    with pytest.raises(TypeError, match="min_seq_length must be an integer, not 'x'"):
        SprintCacheDataset(data, min_seq_length="x")  # type: ignore[arg-type]
    # by the labels, as in RETURNN: {"classes": 75}
    data["classes"] = labels(tmp_path / "l", lengths)
    assert used(max_seq_length={"classes": 10}) == ["b", "d"]
    # trimmed to nothing
    data["classes"] = labels(tmp_path / "l", {**lengths, "d": 0, "f": 1003})
    assert used(length_mismatch="trim") == ["b", "c", "f"]


def test_many_blocks_without_frames_are_measured(tmp_path: Path) -> None:
    """Entries of no frames are known by their size, those near it are looked at."""
    one = builder.features([[0.5]])
    entries = [("a", b""), ("b", one), ("c", builder.features([])), ("d", builder.features([[]]))]
    (tmp_path / "f").write_bytes(builder.archive([("x", builder.features([[1.0] * 99])), *entries]))
    ours = SprintCacheDataset({"data": {"filename": str(tmp_path / "f")}})
    assert ours.chosen is not None
    measured = SprintCacheDataset({"data": {"filename": str(tmp_path / "f")}}, max_seq_length=9)
    expected = [n > 0 for n in measured.get_lengths().tolist()]
    assert ours.chosen.tolist() == expected == [True, False, True, False, True]


@pytest.mark.parametrize("ending", ["", ".gz", ".pkl", ".pkl.gz"])
def test_lists_of_segments(ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Blanks and carriage returns are no part of a name; unknown names are counted."""
    names = ["b", "d", "nowhere", "b", "elsewhere"]
    content = b"b \r\n\td\r\n\r\nnowhere\r\nb\r\nelsewhere\r\n"
    if "pkl" in ending:
        content = pickle.dumps(names)
    path = tmp_path / f"list{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    data = {"data": features(tmp_path / "f", LENGTHS)}
    ours = SprintCacheDataset(data, seq_list_filter_file=str(path))
    ours.init_seq_order(1)
    assert [ours.get_tag(i) for i in range(ours.num_seqs)] == ["b", "d"]
    report = ours.report()
    assert (report.num_seqs, report.filtered, report.unknown) == (4, 2, 2)
    assert "2 of 4 tags, such as 'elsewhere', are not in the corpus" in caplog.text


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("touched"),)


@settings(max_examples=100)
@given(
    names=st.lists(st.text(max_size=300), max_size=9), protocol=st.integers(0, 5), data=st.data()
)
def test_pickled_lists(names: list[str], protocol: int, data: st.DataObject) -> None:
    """Those of every protocol are read; whatever else the bytes are, nothing is run or built."""
    pickled = pickle.dumps(data.draw(st.sampled_from([list, tuple]))(names), protocol)
    assert parse_pickled_list(pickled, "x") == names
    broken = bytearray(pickled)
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] = data.draw(st.integers(0, 255))
    for wrong in (bytes(broken), pickled[:at]):
        with contextlib.suppress(FormatError):
            assert all(isinstance(name, str) for name in parse_pickled_list(wrong, "x"))


def test_pickles_of_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    for value in (Evil(), {"a": 1}, [1], "a", [["a"]], nested, [b"a"], print):
        with pytest.raises(FormatError, match="not a pickled list of segment names"):
            parse_pickled_list(pickle.dumps(value), "x")
    huge_memo = b"\x80\x02]r\xff\xff\xff\x7f(X\x01\0\0\0ae."
    assert parse_pickled_list(huge_memo, "x") == ["a"]
    for damaged in (b"", b"(((", b"\x80\x02]e.", b"\x80\x02h\x05.", b"\x8e" + b"\xff" * 8):
        with pytest.raises(FormatError):
            parse_pickled_list(damaged, "x")
    assert parse_pickled_list(b"(lp0\nS'\\u'\np1\na.", "x") == ["\\u"]  # no warning
    assert not Path("touched").exists()


# ---- names, paths, and the order of alignments -------------------------------------------------


@pytest.mark.parametrize(
    "rename",
    [
        {"train-960/": "dev/", "train": "wrong/"},
        "s/^train-960/dev/",
        "s|train-9.0|dev|g",
        lambda name: name.replace("train-960", "dev"),
    ],
)
def test_a_key_of_another_corpus_name(rename: Any, tmp_path: Path) -> None:
    lengths = {f"dev/{name}": n for name, n in LENGTHS.items()}
    other = {f"train-960/{name}": n for name, n in reversed(LENGTHS.items())}
    data = {
        "data": features(tmp_path / "f", lengths),
        "classes": {**labels(tmp_path / "l", other), "rename": rename},
    }
    ours = SprintCacheDataset(data)
    assert list(ours.get_all_tags()) == list(lengths)
    batch = ours.read_batch(["dev/c", "dev/a"])
    assert batch["classes"][0][:, 0].tolist() == [100, 300]
    assert batch["classes"][1].tolist() == [9, 7]
    swapped = {
        "data": {**data["classes"], "type": "align"},
        "classes": {**data["data"], "type": "feat"},
    }
    ours = SprintCacheDataset(swapped, seq_ordering="sorted")
    assert list(ours.get_all_tags()) == list(lengths)[::-1]
    ours.init_seq_order(seq_list=["dev/b"])
    assert ours.get_data(0, "data")[0] == 200
    wrong = {**data, "classes": {**data["classes"], "rename": {"train-960": "x"}}}
    with pytest.raises(EntryNotFoundError, match="0 segments in common"):
        SprintCacheDataset(wrong)


def test_names_that_are_renamed_to_one(tmp_path: Path) -> None:
    data = {"data": {**features(tmp_path / "f", LENGTHS), "rename": "s/[ab]/x/"}}
    with pytest.raises(ValueError, match="two segments are named 'x'"):
        SprintCacheDataset(data)
    for wrong in ("a/b", "s/a/b", "s/a/b/x", "s", "s//b/", "s/(/b/", "s/a/\\2/"):
        data["data"]["rename"] = wrong
        with pytest.raises(ValueError, match="rename"):
            SprintCacheDataset(data)
    with pytest.raises(TypeError, match="rename must be"):
        SprintCacheDataset({"data": {**FEATURES, "rename": 5}})


def test_archives_that_moved(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    features(tmp_path / "new" / "f", LENGTHS)
    labels(tmp_path / "l", LENGTHS)
    data: dict[str, Any] = {
        "data": {"filename": "/old/f"},
        "classes": {"filename": "/older/l", "path_map": {"/older": str(tmp_path)}},
    }
    ours = SprintCacheDataset(data, path_map={"/old": str(tmp_path / "new")})
    assert ours.get_lengths().tolist() == list(LENGTHS.values())
    assert pickle.loads(pickle.dumps(ours)).read_batch([1])["classes"][0][0, 0] == 100


def test_alignments_as_data_are_ordered_by_bytes(tmp_path: Path) -> None:
    """As RETURNN does; they are run-length coded, so frames would be another order."""

    def entry(count: int, step: int) -> bytes:
        items = [(t, t // step % 2) for t in range(count)]
        return builder.alignment_entry(builder.alignment_rle(items, magic=b"ALIGNEMI"))

    entries = [("long", entry(100, 100)), ("short", entry(20, 1)), ("middle", entry(50, 4))]
    (tmp_path / "l").write_bytes(builder.archive(entries))
    expected = [name for name, _ in sorted(entries, key=lambda pair: len(pair[1]))]
    assert expected == ["long", "middle", "short"]
    data = {"data": {"filename": str(tmp_path / "l"), "type": "align"}}
    ours = SprintCacheDataset(data, seq_ordering="sorted")
    ours.init_seq_order(1)
    assert [ours.get_tag(i) for i in range(3)] == expected
    assert ours.get_order_lengths().tolist() == [len(payload) for _, payload in entries]
    assert ours.get_lengths().tolist() == [100, 20, 50]
    assert ours.get_target_list() == []
    by_file = tmp_path / "lengths"
    by_file.write_text("{'long': 2.5, 'short': 0.5, 'middle': 9, 'other': 1}")
    ours = SprintCacheDataset(data, seq_ordering="sorted", seq_order_seq_lens_file=by_file)
    ours.init_seq_order(1)
    assert [ours.get_tag(i) for i in range(3)] == ["short", "long", "middle"]
    for text, message in (
        ("{'long': 1}", "'short'.*no length"),
        ("[1]", "not a dict"),
        ("{'long': print()}", "not a dict"),
        ("{'long': 'x'}", "not a dict"),
    ):
        by_file.write_text(text)
        ours = SprintCacheDataset(data, seq_ordering="sorted", seq_order_seq_lens_file=by_file)
        with pytest.raises((FormatError, EntryNotFoundError), match=message):
            ours.init_seq_order(1)


def test_features_ignore_a_labeling() -> None:
    """One dict serves features and alignments in many configs; its files need not exist."""
    labeling = {"allophone_file": "/nowhere", "anything": 1}
    data = {**FEATURES, "data_type": "feat", "allophone_labeling": labeling}
    ours = SprintCacheDataset({"data": data})
    assert (ours.data["data"].labeling, ours.num_inputs) == (None, 16)


def test_methods_of_every_dataset_of_returnn(tmp_path: Path) -> None:
    ours = SprintCacheDataset(BOTH, seq_ordering="reverse", partition_epoch=2, estimated_num_seqs=5)
    ours.initialize()
    for method in ("have_corpus_seq_idx", "have_get_corpus_seq", "supports_sharding"):
        assert getattr(ours, method)() is True
    assert ours.supports_seq_order_sorting()
    ours.init_seq_order(1, seq_order=[7, 3, 7])
    assert [ours.get_corpus_seq_idx(i) for i in range(3)] == [7, 3, 7]
    assert ours.init_seq_order(1, seq_order=np.array([7, 3, 7])) is False  # type: ignore[arg-type]
    assert np.array_equal(ours.get_corpus_seq(3).features["data"], ours.get_data(1, "data"))
    assert np.array_equal(ours.get_data_slice(1, "data", 5, 9), ours.get_data(1, "data")[5:9])
    assert ours.get_estimated_seq_length(1) == len(ours.get_data(1, "data"))
    assert (ours.get_data_shape("data"), ours.get_data_shape("classes")) == ([16], [])
    assert ours.estimated_num_seqs == ours.num_seqs == 3
    assert ours.get_complete_frac(1, allow_only_lr_suitable=True) == 2 / 3
    assert ours.len_info(fast=True) == "SprintCacheDataset, sequences: 24"
    assert not ours.can_serialize_data("classes")
    with pytest.raises(IndexError, match="sequence 24 of 24"):
        ours.init_seq_order(1, seq_order=[24])
    alone = SprintCacheDataset({"data": BOTH["data"]})  # whose archive would check it later
    with pytest.raises(IndexError, match="sequence 24 of 24"):
        alone.init_seq_order(1, seq_order=[24])
    ours.init_seq_order(1)
    whole = ours.get_current_seq_order().tolist()
    ours.set_sharding(num_shards=3, shard_index=1)
    ours.init_seq_order(1)
    assert ours.get_current_seq_order().tolist() == whole[4:8]
    ours.finish_epoch(free_resources=True)
    assert (ours.num_seqs, ours.epoch) == (0, None)
    with pytest.raises(NotImplementedError, match="make_batches"):
        ours.generate_batches(batch_size=5)
    base = Dataset(estimated_num_seqs=8, _num_shards=2, _shard_index=1, window=None)
    assert (base.ordering.num_shards, base.ordering.shard_index, base.window) == (2, 1, 1)
    assert base.get_complete_frac(3) == 0.5
    assert base.get_complete_frac(3, allow_only_lr_suitable=True) is None
    assert base.len_info() == "Dataset, sequences: unknown"


@pytest.mark.parametrize("window", [1, 3, 9, 15])
def test_windows_of_short_sequences(window: int, tmp_path: Path) -> None:
    data = {"data": features(tmp_path / "f", {"a": 4, "b": 1, "c": 7})}
    plain, ours = SprintCacheDataset(data), SprintCacheDataset(data, window=window)
    assert ours.get_data_dim("data") == 3 * window
    batch, lengths = ours.read_batch([0, 1, 2], buffers=BatchBuffers())["data"]
    for row, tag, length in zip(batch, "abc", lengths, strict=True):
        expected = sliding_window(plain.data["data"].read(tag), window)
        assert np.array_equal(row[:length], expected)
        assert not row[length:].any()


def test_entries_without_frames_or_of_another_dimension(tmp_path: Path) -> None:
    path = tmp_path / "f"
    entries = [("a", b""), ("b", builder.features([[1.0, 2.0]])), ("c", builder.features([[3.0]]))]
    path.write_bytes(builder.archive(entries))
    ours = SprintCacheDataset({"data": {"filename": str(path)}}, min_seq_length=0)
    ours.init_seq_order(1)
    assert ours.num_inputs == 2
    assert ours.get_data(0, "data").shape == (0, 2)
    for measured in (False, True):
        assert not measured or ours.get_lengths().tolist() == [0, 1, 1]
        for buffers in (None, BatchBuffers()):
            batch, lengths = ours.read_batch([1, 0], buffers=buffers)["data"]
            assert (batch.tolist(), lengths.tolist()) == ([[[1.0, 2.0]], [[0.0, 0.0]]], [1, 0])
            assert ours.read_batch([0], buffers=buffers)["data"][0].shape == (1, 0, 2)
            assert ours.read_batch([], buffers=buffers)["data"][0].shape == (0, 0, 2)
            with pytest.raises(FormatError, match="a different dimension") as caught:
                ours.read_batch([0, 2], buffers=buffers)
            assert (caught.value.entry, caught.value.path) == ("c", str(path))
            assert "expected 2, found 1" in str(caught.value)
    with pytest.raises(ValueError, match="num_threads must be at least 1"):
        ours.read_batch([1], num_threads=0, buffers=BatchBuffers())
    with pytest.raises(ValueError, match="read-only"):
        ours.get_lengths()[0] = 5


def test_bundles_and_lists_of_archives_are_one(tmp_path: Path) -> None:
    parts = [str(DATA / f"features.part{i}.cache") for i in (1, 2, 3)]
    several = SprintCacheDataset({"data": {"filename": parts}, "classes": VITERBI})
    assert list(several.get_all_tags()) == list(real().get_all_tags())
    again = pickle.loads(pickle.dumps(several))
    for ours in (several, again):
        for actual, expected in zip(
            ours.read_batch(range(24)).values(), real().read_batch(range(24)).values(), strict=True
        ):
            assert np.array_equal(actual[0], expected[0])
    with pytest.raises(ValueError, match="no path to open"):
        SprintCacheDataset({"data": {"filename": []}})
    path = tmp_path / "f"
    data = {"data": {"filename": [features(path, LENGTHS)["filename"], parts[0]]}}
    saved = pickle.dumps(SprintCacheDataset(data, length_mismatch="trim"))
    features(path, {**LENGTHS, "e": 3})
    with pytest.raises(ArchiveChangedError, match="changed after the archive was pickled"):
        pickle.loads(saved)


# ---- soft alignments ---------------------------------------------------------------------------


def soft_items() -> dict[str, list[tuple[int, int, float]]]:
    """Segment to (time, label, weight) of its items, by the reference reader and the files."""
    lines = (DATA / "state-tying" / "monophone").read_text().split("\n")[:-1]
    tying = dict(line.split(" ") for line in lines)
    symbols = [s for s in (DATA / "allophones").read_text().split("\n") if s and s[0] != "#"]
    data = Path(SOFT["filename"]).read_bytes()  # type: ignore[arg-type]
    items = {}
    for row in reference.rows(data):
        if not row.name.endswith(b".attribs"):
            (block,) = reference.blocks(reference.payload(data, row))
            items[row.name.decode()] = [
                (time, int(tying[f"{symbols[id_ & 0x3FFFFFF]}.{id_ >> 26}"]), weight)
                for time, id_, weight in block.packets[0].items
            ]
    return items


def test_soft_alignments() -> None:
    items = soft_items()
    dense = SprintCacheDataset({"data": FEATURES, "classes": {**SOFT, "soft": "dense"}})
    sparse = SprintCacheDataset({"data": FEATURES, "classes": {**SOFT, "soft": "sparse"}})
    keys = [f"classes[sparse:coo:2:{part}]" for part in range(3)]
    assert dense.get_target_list() == ["classes"]
    assert (dense.get_data_dim("classes"), dense.is_data_sparse("classes")) == (79, False)
    assert sparse.get_target_list() == keys
    assert [sparse.get_data_dtype(key) for key in keys] == ["int32", "int32", "float32"]
    for ours in (dense, sparse):
        assert ours.report().mismatched == {"classes": 0}
        ours.init_seq_order(1)
    assert len(items) == 24
    assert any(len(actual) > dense.get_seq_length(0)["data"] for actual in items.values())
    for seq in range(24):
        expected = items[dense.get_tag(seq)]
        frames = dense.get_seq_length(seq)["data"]
        posteriors = np.zeros((frames, 79))
        for time, label, weight in expected:
            posteriors[time, label] += weight
        actual = dense.get_data(seq, "classes")
        assert (actual.dtype, actual.shape) == (np.float32, (frames, 79))
        assert np.allclose(actual, posteriors, atol=1e-6)
        assert np.allclose(actual.sum(axis=1), 1, atol=1e-3)
        arrays = [sparse.get_data(seq, key) for key in keys]
        assert list(zip(*(array.tolist() for array in arrays), strict=True)) == expected
        assert sparse.get_seq_length(seq) == {"data": frames, **dict.fromkeys(keys, len(expected))}
    batch = sparse.read_batch([4, 9], pad=-7)
    counts = [len(items[dense.get_tag(i)]) for i in (4, 9)]
    for key, beyond in zip(keys, (-7, -7, 0), strict=True):
        array, lengths = batch[key]
        assert lengths.tolist() == counts
        row = int(np.argmin(counts))
        assert np.all(array[row, min(counts) :] == beyond)
    buffers = BatchBuffers()
    dense.read_batch([0, 1], buffers=buffers)
    reused, fresh = (dense.read_batch([2, 3], buffers=b)["classes"] for b in (buffers, None))
    assert np.array_equal(reused[0], fresh[0])


def test_dense_soft_alignments_are_bounded(tmp_path: Path) -> None:
    """One line of the state tying would make every frame 8 GB."""
    tying = (DATA / "state-tying" / "monophone").read_text()
    (tmp_path / "tying").write_text(f"{tying}a{{b+c}}.0 {2**31 - 1}\n")
    labeling = {**LABELING, "state_tying_file": str(tmp_path / "tying")}
    soft = {**SOFT, "allophone_labeling": labeling}
    with pytest.raises(LabelError, match="classes: no dense target of 2147483648 labels"):
        SprintCacheDataset({"data": FEATURES, "classes": {**soft, "soft": "dense"}})
    sparse = SprintCacheDataset({"data": FEATURES, "classes": {**soft, "soft": "sparse"}})
    assert sparse.get_data_dim("classes[sparse:coo:2:1]") == 2**31
    # 1000 labels for each state that has one
    (tmp_path / "allophones").write_text("[SILENCE]{#+#}@i@f\na{b+c}\n")
    labeling["allophone_file"] = str(tmp_path / "allophones")
    for last, is_allowed in ((1999, True), (2000, False)):
        (tmp_path / "tying").write_text(f"[SILENCE]{{#+#}}@i@f.0 0\na{{b+c}}.0 {last}\n")
        with contextlib.nullcontext() if is_allowed else pytest.raises(LabelError, match="2001"):
            dense = SprintCacheDataset({"data": FEATURES, "classes": {**soft, "soft": "dense"}})
            assert dense.get_data_dim("classes") == 2000


def test_soft_alignments_are_trimmed(tmp_path: Path) -> None:
    items = [(0, 1, 0.25), (0, 2, 0.75), (1, 2, 1.0), (3, 1, 0.5), (3, 1, 0.125)]
    packet = builder.alignment_weighted(items, magic=b"ALIGNEMI")
    path = tmp_path / "l"
    path.write_bytes(builder.archive([("a", builder.alignment_entry(packet))]))
    options: dict[str, Any] = {"filename": str(path), "allophone_labeling": LABELING}
    data: dict[str, Any] = {"data": features(tmp_path / "f", {"a": 4})}
    for frames in (1, 3, 4):
        data["data"] = features(tmp_path / "f", {"a": frames})
        data["classes"] = {**options, "soft": "dense"}
        batch = SprintCacheDataset(data, length_mismatch="trim").read_batch([0])["classes"]
        expected = np.zeros((1, frames, 79))
        for time, label, weight in items:
            if time < frames:
                expected[0, time, label] += weight
        assert batch[0].tolist() == expected.tolist()
        data["classes"] = {"filename": str(path), "soft": "sparse"}
        sparse = SprintCacheDataset(data, length_mismatch="trim")
        times, labels_, weights = (sparse.read_batch([0])[key] for key in sparse.get_target_list())
        chosen = [item for item in items if item[0] < frames]
        assert times[1].tolist() == [len(chosen)]
        arrays = [part[0][0].tolist() for part in (times, labels_, weights)]
        assert list(zip(*arrays, strict=True)) == chosen
    packet = builder.alignment_weighted([(0, 1, 1.0), (4_000_000_000, 3, 0.5)], magic=b"ALIGNEMI")
    path.write_bytes(builder.archive([("a", builder.alignment_entry(packet))]))
    alone = {"classes": {**options, "soft": "dense"}}
    with pytest.raises(LabelError, match="2 items in 4000000001 frames"):
        SprintCacheDataset(alone).read_batch([0])
    packet = builder.alignment_weighted([(0, 79, 1.0), (0, 3, 0.5)], magic=b"ALIGNEMI")
    path.write_bytes(builder.archive([("a", builder.alignment_entry(packet))]))
    data["classes"] = {**options, "soft": "dense"}
    with pytest.raises(LabelError, match="label 79 of 79") as caught:
        SprintCacheDataset(data, length_mismatch="trim").read_batch([0])
    assert (caught.value.entry, caught.value.path) == ("a", str(path))


# ---- the epoch ---------------------------------------------------------------------------------


def test_an_epoch_from_begin_to_end() -> None:
    ours = SprintCacheDataset(BOTH, seq_ordering="random", name="train")
    assert ours.have_seqs()
    assert ours.num_seqs == 0
    assert repr(ours) == "<SprintCacheDataset 'train', epoch None>"
    with pytest.raises(IndexError, match=r"sequence 0 of 0; init_seq_order\(epoch=1\)"):
        ours.get_data(0, "data")
    assert ours.init_seq_order(1) is True
    assert ours.init_seq_order(1) is False
    first = ours.get_data(0, "data")
    assert ours.is_cached(0, 1)
    assert not ours.is_cached(0, 2)
    ours.load_seqs(0, 3)
    assert ours.get_data(0, "data") is first  # not read again
    ours.load_seqs(2, 99)
    assert ours.is_cached(2, 24)
    assert not ours.is_cached(1, 2)
    assert ours.is_cached(1, 1)
    for wrong in (24, -1):
        with pytest.raises(IndexError, match=f"sequence {wrong} of 24"):
            ours.get_data(wrong, "data")
    for wrong in (24, -1):
        with pytest.raises(IndexError, match=f"sequence {wrong} of 24"):
            ours.read_batch([0, 23, wrong])
    with pytest.raises(KeyError, match="other"):
        ours.get_data(0, "other")
    with pytest.raises(ValueError, match="not a range"):
        ours.load_seqs(3, 2)
    before = ours.get_current_seq_order().tolist()
    again = pickle.loads(pickle.dumps(ours))
    assert again.get_current_seq_order().tolist() == before
    assert ours.is_cached(0, 1)
    assert not again.is_cached(0, 1)
    assert ours.init_seq_order(2) is True
    assert not ours.is_cached(2, 3)
    assert ours.get_current_seq_order().tolist() != before
    tags = [ours.get_tag(i) for i in (5, 1, 5)]
    ours.init_seq_order(seq_list=tags)
    assert [ours.get_tag(i) for i in range(ours.num_seqs)] == tags
    assert pickle.loads(pickle.dumps(ours)).get_tag(2) == tags[2]
    ours.init_seq_order()
    assert (ours.num_seqs, ours.epoch) == (0, None)
    seq = ours.get_dataset_seq_for_name(tags[1])
    assert (seq.seq_idx, seq.seq_tag) == (-1, tags[1])
    assert seq.features.keys() == BOTH.keys()
    assert seq.num_frames == {key: len(array) for key, array in seq.features.items()}
    ours.init_seq_order(0)
    assert ours.num_seqs == 24
    with pytest.raises(ValueError, match="counted from 1"):
        ours.init_seq_order(-1)
    ours.close()
    with pytest.raises(ValueError, match="closed"):
        ours.get_dataset_seq_for_name(tags[1])


def test_frames_are_counted() -> None:
    ours = SprintCacheDataset(BOTH, partition_epoch=2)
    total = 0
    for epoch in (1, 2):
        ours.init_seq_order(epoch)
        frames = sum(len(ours.get_data(i, "data")) for i in range(ours.num_seqs))
        assert ours.get_num_timesteps() == {"data": frames, "classes": frames}
        total += frames
    assert total == ours.get_lengths().sum() == 7465


def test_labels_alone() -> None:
    ours = SprintCacheDataset({"classes": VITERBI}, seq_ordering="sorted")
    ours.init_seq_order(1)
    assert (ours.num_inputs, ours.get_data_keys()) == (0, ["classes"])
    lengths = [len(ours.get_data(i, "classes")) for i in range(24)]
    assert lengths == sorted(real().get_lengths().tolist())
    with pytest.raises(ValueError, match="a window needs features"):
        SprintCacheDataset({"classes": VITERBI}, window=3)


def test_wrong_options(tmp_path: Path) -> None:
    (tmp_path / "tags").write_text("unknown\nnowhere\n")
    (tmp_path / "tags.gz").write_bytes(b"\x1f\x8b nothing")
    for options, message in [
        ({"seq_list_filter_file": str(tmp_path / "tags")}, "none of its 2 tags, such as 'nowhere'"),
        ({"window": 0}, "window must be at least 1"),
        ({"missing": "trim"}, "missing must be"),
        ({"length_mismatch": "ignore"}, "length_mismatch must be"),
        ({"seq_ordering": "laplce:.5"}, "not one of default"),
        ({"num_shards": 2, "shard_index": 2}, "shard_index 2 of 2"),
        ({"fixed_random_seed": -1}, "fixed_random_seed -1 does not fit into 32 bits"),
    ]:
        with pytest.raises(ValueError, match=message):
            SprintCacheDataset({"data": FEATURES}, **options)  # type: ignore[arg-type]
    for name in ("window", "partition_epoch", "num_shards", "reduce_target_factor"):
        with pytest.raises(TypeError, match=f"{name} must be an integer, not '2'"):
            SprintCacheDataset({"data": FEATURES}, **{name: "2"})  # type: ignore[arg-type]
    for text in (None, 3):
        with pytest.raises(TypeError, match="seq_ordering must be a str or a function"):
            SprintCacheDataset({"data": FEATURES}, seq_ordering=text)
    with pytest.raises(FormatError, match="damaged gzip file"):
        SprintCacheDataset({"data": FEATURES}, seq_list_filter_file=tmp_path / "tags.gz")
    with pytest.raises(ValueError, match="no data key"):
        SprintCacheDataset({})
    with pytest.raises(TypeError, match="unknown options: chunk"):
        SprintCacheDataset({"data": FEATURES}, chunk=5)
    with pytest.raises(TypeError, match=r"data: .*'typ'; known: .*filename, type"):
        SprintCacheDataset({"data": {**FEATURES, "typ": "feat"}})
    with pytest.raises(TypeError, match=r"classes: allophone_labeling: .*'tying'"):
        SprintCacheDataset({"classes": {**FEATURES, "allophone_labeling": {"tying": "x"}}})


def test_no_python_object_per_sequence(tmp_path: Path) -> None:
    """Matched in another order, some left out, lengths measured, filtered, in a random order."""
    count = 20_000
    names = [f"corpus/recording-{i // 7}/{i:07d}" for i in range(count)]
    data = {
        "data": {"filename": str(tmp_path / "f")},
        "classes": labels(tmp_path / "l", dict.fromkeys(reversed(names[5:]), 1)),
    }
    payload = builder.features([[0.5]])
    (tmp_path / "f").write_bytes(builder.archive([(name, payload) for name in names]))
    (tmp_path / "tags").write_text("\n".join(names[100:]))
    tracemalloc.start()
    ours = SprintCacheDataset(
        data,
        missing="skip",
        length_mismatch="skip",
        seq_ordering="laplace:.100",
        seq_list_filter_file=str(tmp_path / "tags"),
    )
    ours.init_seq_order(1)
    ours.get_num_timesteps()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ours.num_seqs == count - 100
    assert held < 45 * count  # kept, two lengths, order: 8 bytes each, and the filter
    assert len(pickle.dumps(ours)) < 12 * count


def test_the_dimension_of_an_archive_without_frames(tmp_path: Path) -> None:
    """0, as there is no frame that could have another one."""
    for frames, dim in ((np.zeros((0, 3)), 0), (np.zeros((1, 3)), 3)):
        path = tmp_path / f"{dim}.cache"
        with ArchiveWriter(path) as writer:
            writer.add_features("a", frames.astype(np.float32))
        data = SprintCacheDataset({"data": {"filename": path}}, min_seq_length=0)
        assert data.num_outputs["data"] == (dim, 2)
        assert data.num_inputs == dim
