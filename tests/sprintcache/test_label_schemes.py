"""Label schemes against Sprint's dense state tyings; rates against brute force."""

from __future__ import annotations

import functools
import gzip
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sprintcache
from sprintcache import AllophoneLabeling, LabelError, SprintCacheDataset
from sprintcache.dataset import BatchBuffers
from sprintcache.label_rates import LabelRate
from tests.oracle import builder
from tests.paths import DATA

ALLOPHONES = str(DATA / "allophones")
LEXICON = str(DATA / "corpus" / "lexicon.xml.gz")
ALIGNMENT = str(DATA / "alignment.viterbi.cache")
NUM_PHONES = 28  # 27 phonemes, and none
PARTS = {
    "left": NUM_PHONES,
    "center": NUM_PHONES,
    "right": NUM_PHONES,
    "state": 3,
    "position": 4,
    "word-end": 2,
}


def labeling(scheme: Any, **options: Any) -> AllophoneLabeling:
    return AllophoneLabeling(
        "[SILENCE]",
        ALLOPHONES,
        **{"label_scheme": scheme, "lexicon_file": LEXICON, **options},
    )


@functools.cache
def dense() -> dict[str, int]:
    """Sprint's own numbers of all states of all allophones, with boundary classes."""
    with gzip.open(DATA / "state-tying" / "no-tying-dense.gz", "rt") as file:
        pairs = (line.split() for line in file)
        return {symbol: int(label) for symbol, label in pairs}


def parts_of(label: int) -> dict[str, int]:
    """The parts of a number of the dense tying, by successive division."""
    label, right = divmod(label, NUM_PHONES)
    label, left = divmod(label, NUM_PHONES)
    label, position = divmod(label, 4)
    center, state = divmod(label, 3)
    return {
        "left": left,
        "center": center,
        "right": right,
        "state": state,
        "position": position,
        "word-end": int(position >= 2),
    }


@functools.cache
def ids() -> dict[str, int]:
    with open(ALLOPHONES) as file:
        names = [line.strip() for line in file if not line.startswith("#")]
    numbers = {name: number for number, name in enumerate(names)}
    return {
        symbol: numbers[symbol.rpartition(".")[0]] | int(symbol[-1]) << 26 for symbol in dense()
    }


def test_the_whole_scheme_is_sprints_dense_tying() -> None:
    actual = labeling("center.state.position.left.right")
    assert actual.num_labels == NUM_PHONES**3 * 3 * 4
    state_ids = ids()
    for symbol, label in dense().items():
        assert actual.get_label_idx_by_allo_state_idx(state_ids[symbol]) == label
    assert actual.sil_label_idx == dense()["[SILENCE]{#+#}@i@f.0"]
    assert actual.num_allo_states == 3


@pytest.mark.parametrize(
    "scheme", [*PARTS, "center.state", "center.state.word-end", "center.state.position.left"]
)
def test_schemes_are_parts_of_the_dense_tying(scheme: str) -> None:
    """As i6_core's context labels, which divide the numbers of that tying."""
    actual = labeling(scheme)
    names = scheme.split(".")
    assert actual.num_labels == np.prod([PARTS[name] for name in names])
    state_ids = ids()
    labels = actual.labels_of(np.array(list(state_ids.values())))
    for symbol, label in zip(state_ids, labels.tolist(), strict=True):
        expected = 0
        for name in names:
            expected = expected * PARTS[name] + parts_of(dense()[symbol])[name]
        assert label == expected


def test_several_schemes_are_several_outputs() -> None:
    schemes = ("left", "center.state.word-end", "right")
    tying = dense()
    names = {
        "named": {"past": "left", "center_state": "center.state.word-end", "future": "right"},
        "listed": schemes,
    }
    for kind, option in names.items():
        data = SprintCacheDataset(
            {
                "data": {"filename": str(DATA / "features.bundle")},
                "classes": {
                    "filename": ALIGNMENT,
                    "allophone_labeling": {
                        "silence_phone": "[SILENCE]",
                        "allophone_file": ALLOPHONES,
                        "lexicon_file": LEXICON,
                        "label_scheme": option,
                    },
                },
            }
        )
        data = pickle.loads(pickle.dumps(data))
        keys = [*option] if kind == "named" else [f"classes[{scheme}]" for scheme in schemes]
        assert data.get_target_list() == keys
        assert [data.num_outputs[key] for key in keys] == [(28, 1), (168, 1), (28, 1)]
        buffers = BatchBuffers()
        data.read_batch([7, 8, 9], buffers=buffers)
        batch = data.read_batch([0, 5], pad=-3, buffers=buffers)
        with sprintcache.open_archive(ALIGNMENT) as archive:
            for row, tag in enumerate(data.get_tags([0, 5])):
                alignment = archive.read_alignment(tag)
                states = zip(alignment.allophone.tolist(), alignment.state.tolist(), strict=True)
                symbols = [f"{allophones()[a]}.{state}" for a, state in states]
                parts = [parts_of(tying[symbol]) for symbol in symbols]
                for key, scheme in zip(keys, schemes, strict=True):
                    array, lengths = batch[key]
                    expected = [
                        np.ravel_multi_index(
                            [part[name] for name in scheme.split(".")],
                            [PARTS[name] for name in scheme.split(".")],
                        )
                        for part in parts
                    ]
                    assert array[row, : lengths[row]].tolist() == expected
                    assert (array[row, lengths[row] :] == -3).all()
        assert data.get_seq_length  # an epoch knows the lengths of all outputs
        data.init_seq_order(epoch=1)
        assert data.get_seq_length(0)[keys[0]] == batch[keys[0]][1][0]


@functools.cache
def allophones() -> list[str]:
    with open(ALLOPHONES) as file:
        return [line.strip() for line in file if not line.startswith("#")]


def test_two_outputs_of_one_name() -> None:
    scheme = {
        "silence_phone": None,
        "allophone_file": ALLOPHONES,
        "label_scheme": {"data": "state"},
    }
    with pytest.raises(ValueError, match="two streams deliver a data key 'data'"):
        SprintCacheDataset(
            {
                "data": {"filename": str(DATA / "features.bundle")},
                "classes": {"filename": ALIGNMENT, "allophone_labeling": scheme},
            }
        )


def test_phoneme_files_and_longer_contexts(tmp_path: Path) -> None:
    (tmp_path / "allophones").write_text("a{#+b}@i\na{b-c-d+x-y-b}\nx-y{a+x-y}@f\n")
    (tmp_path / "phonemes").write_text("a\nb\nc\nd\nx-y\nx\ny\n")
    files = {
        "allophone_file": tmp_path / "allophones",
        "phoneme_file": tmp_path / "phonemes",
        "num_states": 2,
    }
    for scheme, expected in {
        "left": [0, 4, 1],
        "center": [1, 1, 5],
        "right": [2, 6, 5],
        "position": [1, 0, 2],
    }.items():
        actual = AllophoneLabeling(None, label_scheme=scheme, **files)  # type: ignore[arg-type]
        assert actual.table.table.tolist() == [expected, expected]
        assert (actual.sil_label_idx, actual.num_allo_states) == (None, 2)


def test_schemes_that_are_refused(tmp_path: Path) -> None:
    for scheme, options, message in [
        ("centre", {}, "'centre' occurs twice, or is not one of left, center"),
        ("left.left", {}, "'left' occurs twice"),
        ((), {}, "names no scheme"),
        ("left", {"num_states": 17}, "num_states must be from 1 to 16"),
        ("left", {"lexicon_file": None}, "needs a lexicon_file or a phoneme_file"),
        ("left", {"state_tying_file": "x"}, "not both"),
        ("center.left.right.state.position.word-end", {"num_states": 16}, None),
    ]:
        if message is None:
            assert labeling(scheme, **options).num_labels == 28**3 * 16 * 4 * 2
            continue
        with pytest.raises(ValueError, match=message):
            labeling(scheme, **options)
    (tmp_path / "allophones").write_text("a{#+b}@i\na{#+#}@x\n")
    with pytest.raises(LabelError, match=r"phone\{left") as caught:
        AllophoneLabeling(None, tmp_path / "allophones", label_scheme="state")
    assert caught.value.path == str(tmp_path / "allophones")
    (tmp_path / "allophones").write_text("a{#+q7}@i\n")
    with pytest.raises(LabelError, match=r"'q7' of allophone 'a\{#\+q7\}@i' is not in the"):
        AllophoneLabeling(
            None, tmp_path / "allophones", label_scheme="center", lexicon_file=LEXICON
        )
    with pytest.raises(LabelError, match="no label"):  # a state beyond those of the scheme
        labeling("state", num_states=1).get_label_idx(1, 1)


# ---- rates


def reduced(labels: list[int], factor: int, frame: str) -> list[int]:
    groups = [labels[i : i + factor] for i in range(0, len(labels), factor)]
    if frame == "majority":
        return [Counter(group).most_common(1)[0][0] for group in groups]
    return [group[0 if frame == "first" else len(group) // 2] for group in groups]


def collapsed(labels: list[int], blank: int | None) -> list[int]:
    merged = [x for i, x in enumerate(labels) if i == 0 or x != labels[i - 1]]
    return [x for x in merged if x != blank]


LABELS = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=4)


@given(
    LABELS,
    st.integers(1, 5),
    st.sampled_from(["first", "middle", "majority"]),
    st.integers(1, 3),
    st.sampled_from([None, "merge", 0, 2]),
)
def test_rates_of_batches(
    rows: list[list[int]], factor: int, frame: Any, upsample: int, collapse: Any
) -> None:
    blank = collapse if isinstance(collapse, int) else None
    rate = LabelRate(factor, frame, upsample, collapse is not None, blank)
    lengths = np.array([len(row) for row in rows], np.int64)
    batch = np.full((len(rows), lengths.max(initial=0) + 2), 7, np.int32)
    for target, row in zip(batch, rows, strict=True):
        target[: len(row)] = row
    actual, sizes = rate.apply(batch, lengths, -5)
    assert actual.dtype == np.int32
    expected = []
    for row in rows:
        labels = [x for x in reduced(row, factor, frame) for _ in range(upsample)]
        expected.append(labels if collapse is None else collapsed(labels, blank))
    assert sizes.tolist() == [len(row) for row in expected]
    assert actual.shape == (len(rows), sizes.max(initial=0))
    for found_row, wanted_row, row in zip(actual, expected, rows, strict=True):
        assert found_row[: len(wanted_row)].tolist() == wanted_row
        assert (found_row[len(wanted_row) :] == -5).all()
        assert rate.apply_to(np.array(row, np.int32)).tolist() == wanted_row
    if collapse is None:
        assert rate.lengths(lengths).tolist() == sizes.tolist()


def test_rates_that_are_refused() -> None:
    for options, message in [
        ({"reduce_factor": 0}, "reduce_factor must be at least 1"),
        ({"upsample_factor": -1}, "upsample_factor must be at least 1"),
        ({"frame": "last"}, "frame must be one of first, middle, majority"),
        ({"blank": 0}, "removed by collapse only"),
    ]:
        with pytest.raises(ValueError, match=message):
            LabelRate(**options)  # type: ignore[arg-type]


def emissions(path: Path, rows: dict[str, list[int]], factor: int = 1) -> dict[str, Any]:
    """Labels as an alignment of emission ids, and features of `factor` frames each."""
    with sprintcache.ArchiveWriter(path / "a.cache") as writer:
        for name, row in rows.items():
            times = np.arange(len(row))
            writer.add_alignment(name, sprintcache.Alignment(times, row, label_type="emission"))
    entries = [
        (name, builder.features([[0.0]] * (len(row) * factor))) for name, row in rows.items()
    ]
    (path / "f.cache").write_bytes(builder.archive(entries))
    return {
        "data": {"filename": str(path / "f.cache")},
        "classes": {"filename": str(path / "a.cache")},
    }


ROWS = {"a": [0, 0, 1, 1, 1, 2, 0], "b": [3, 3, 3, 3], "c": [0, 5, 0, 5, 5, 5, 0, 0, 1]}


@pytest.mark.parametrize("frame", ["first", "middle", "majority"])
def test_a_dataset_reduces_its_targets(tmp_path: Path, frame: Any) -> None:
    files = emissions(tmp_path, ROWS)
    data = SprintCacheDataset(files, reduce_target_factor=3, reduce_target_frame=frame)
    rated = {**files["classes"], "rate": {"reduce_factor": 3, "frame": frame}}
    other = SprintCacheDataset({**files, "classes": rated}, reduce_target_factor=3)
    for each in (data, other, pickle.loads(pickle.dumps(data))):
        batch = each.read_batch([0, 1, 2], buffers=BatchBuffers())
        for row, length, labels in zip(*batch["classes"], ROWS.values(), strict=True):
            assert row[:length].tolist() == reduced(labels, 3, frame)
            assert (row[length:] == -1).all()
        assert each.get_lengths("classes").tolist() == [3, 2, 3]
        assert batch["data"][1].tolist() == [7, 4, 9]
        assert each.report().mismatched == {"classes": 0}
    with pytest.raises(LabelError, match="does not match the 7 frames"):
        SprintCacheDataset(files, reduce_target_factor=2).read_batch([0])


def test_a_dataset_repeats_its_targets(tmp_path: Path) -> None:
    files = emissions(tmp_path, ROWS)
    with sprintcache.ArchiveWriter(tmp_path / "short.cache") as writer:
        for name, row in ROWS.items():
            writer.add_features(name, np.zeros((3 * len(row) - 2, 2), np.float32))
    files["data"] = {"filename": str(tmp_path / "short.cache")}
    files["classes"]["rate"] = {"upsample_factor": 3}
    data = SprintCacheDataset(files)  # up to two labels more than frames are cut
    batch = data.read_batch([2, 0])
    assert batch["classes"][1].tolist() == batch["data"][1].tolist() == [25, 19]
    assert batch["classes"][0][0].tolist() == np.repeat(ROWS["c"], 3)[:25].tolist()
    assert data.report().mismatched == {"classes": 0}
    files["classes"]["rate"] = {"upsample_factor": 4}
    with pytest.raises(LabelError, match="does not match"):
        SprintCacheDataset(files).read_batch([0])


def test_a_dataset_collapses_its_targets(tmp_path: Path) -> None:
    files = emissions(tmp_path, ROWS)
    files["classes"]["rate"] = {"collapse": True, "blank": 0}
    data = SprintCacheDataset(files, max_seq_length={"classes": 2})
    expected = [collapsed(row, 0) for row in ROWS.values()]
    assert data.get_lengths("classes").tolist() == [2, 1, 3]
    array, lengths = data.read_batch([0, 1, 2])["classes"]
    assert [row[:n].tolist() for row, n in zip(array, lengths, strict=True)] == expected
    data.init_seq_order(epoch=1)
    assert data.get_current_seq_order().tolist() == [0, 1]
    with pytest.raises(ValueError, match="reduce_target_frame is for one label per frame"):
        SprintCacheDataset(files, reduce_target_factor=2, reduce_target_frame="first")
    soft = {**files["classes"], "soft": "sparse"}
    with pytest.raises(ValueError, match="soft alignments have one label scheme and no rate"):
        SprintCacheDataset({**files, "classes": soft})
