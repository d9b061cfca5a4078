"""Statistics and comparisons: numpy over all the data at once, and alignments counted by hand."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import sprintcache
from sprintcache import Alignment, AllophoneLabeling, Archive, ArchiveWriter
from sprintcache._analysis.accumulators import Moments, Tally
from sprintcache._analysis.boundaries import Phones, shifts
from sprintcache._analysis.units import Units, label_names
from sprintcache.cli import main
from sprintcache.comparison import Comparison, compare
from sprintcache.statistics import Statistics, collect, collect_shapes
from tests.oracle import builder
from tests.paths import DATA

Run = Callable[..., tuple[int, str, str]]
VITERBI = DATA / "alignment.viterbi.cache"
SOFT = DATA / "alignment.bw.gz.cache"
LINEAR = DATA / "alignment.linear.cache"
TYING = [
    f"--allophones={DATA / 'allophones'}",
    f"--state-tying={DATA / 'state-tying' / 'monophone'}",
]
FILES = sorted(DATA.glob("features.part*.cache"))


@pytest.fixture(scope="module")
def labeling() -> AllophoneLabeling:
    return AllophoneLabeling(
        "[SILENCE]", DATA / "allophones", state_tying_file=DATA / "state-tying" / "monophone"
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def of(path: object, names: list[str] | None = None, **options: object) -> Statistics:
    with sprintcache.open_archive(path) as archive:  # type: ignore[arg-type]
        return collect(archive, names, **options)  # type: ignore[arg-type]


def both(first: object, second: object, names: object = None, **options: object) -> Comparison:
    opened = sprintcache.open_archive
    with opened(first) as one, opened(second) as other:  # type: ignore[arg-type]
        return compare(one, other, names, **options)  # type: ignore[arg-type]


def all_features(archive: Archive) -> NDArray[np.float64]:
    rows = [archive.read_features(name) for name in archive.segments]
    return np.concatenate(rows).astype(np.float64)


def labels_by_segment(path: Path, labeling: AllophoneLabeling) -> dict[str, NDArray[np.int32]]:
    with sprintcache.open_archive(path) as archive:
        return {name: archive.read_labels(name, labeling) for name in archive.segments}


def best_labels(path: Path, labeling: AllophoneLabeling) -> dict[str, dict[int, int]]:
    """Frame to label of the item with the largest weight, the first of equal ones."""
    result = {}
    with sprintcache.open_archive(path) as archive:
        for name in archive.segments:
            alignment = archive.read_alignment(name)
            best: dict[int, tuple[float, int]] = {}
            for time, id_, weight in zip(
                alignment.time.tolist(),
                alignment.emission.tolist(),
                alignment.weight.tolist(),
                strict=True,
            ):
                if time not in best or weight > best[time][0]:
                    best[time] = weight, labeling.get_label_idx_by_allo_state_idx(id_)
            result[name] = {time: label for time, (_, label) in best.items()}
    return result


def written(path: Path, alignments: dict[str, Alignment]) -> Path:
    with ArchiveWriter(path, "w") as writer:
        for name, alignment in alignments.items():
            writer.add_alignment(name, alignment)
    return path


def phones(text: str, **options: object) -> Alignment:
    """An alignment of one state per phone: `aab` is two frames of a and one of b; `.` is a gap."""
    times = [time for time, letter in enumerate(text) if letter != "."]
    ids = [ord(text[time]) for time in times]
    alphabet = {id_: f"{chr(id_)}{{#+#}}.0" for id_ in ids}
    return Alignment(times, ids, alphabet=alphabet, **options)  # type: ignore[arg-type]


# ---- running sums


@given(
    values=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 4)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    offset=st.sampled_from([0.0, 1e4, -1e6]),
)
def test_moments_in_pieces_are_those_of_the_whole(
    values: NDArray[np.float32], cuts: list[int], offset: float
) -> None:
    whole = values.astype(np.float64) + offset
    moments, other = Moments(values.shape[1]), Moments(values.shape[1])
    pieces = np.split(whole, sorted(cut for cut in cuts if cut < len(whole)))
    for number, piece in enumerate(pieces):
        (other if number % 2 else moments).add(piece)
    moments.merge(other)
    assert (whole == values.astype(np.float64) + offset).all()  # the data is unchanged
    scale = np.abs(whole).max() + 1
    np.testing.assert_allclose(moments.mean, whole.mean(0), rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(moments.variance, whole.var(0), rtol=1e-9, atol=1e-13 * scale**2)
    np.testing.assert_array_equal(moments.minimum, whole.min(0))
    np.testing.assert_array_equal(moments.maximum, whole.max(0))
    assert (moments.count == len(whole)).all()


def test_moments_do_not_cancel() -> None:
    values = 1e8 + np.random.default_rng(1).normal(size=(20_000, 2))
    moments = Moments(2)
    for piece in np.array_split(values, 700):
        moments.add(piece)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-9)


def test_moments_leave_out_non_finite_values() -> None:
    values = np.arange(12.0).reshape(6, 2)
    values[1, 0], values[2, 0], values[3, 1] = np.nan, np.inf, -np.inf
    moments = Moments(2)
    moments.add(values[:3])
    moments.add(values[3:])
    known = np.ma.masked_invalid(values)
    assert moments.num_not_finite == 3
    assert moments.count.tolist() == [4, 5]
    np.testing.assert_allclose(moments.mean, known.mean(0))
    np.testing.assert_allclose(moments.variance, known.var(0))
    assert moments.minimum.tolist() == known.min(0).tolist()
    assert moments.maximum.tolist() == known.max(0).tolist()


@given(st.lists(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 9)), max_size=30)))
def test_a_tally_sums_by_id(pieces: list[list[tuple[int, int]]]) -> None:
    tally, expected = Tally(), Counter[int]()
    for piece in pieces:
        ids = np.array([id_ for id_, _ in piece], np.int32)
        tally.add(ids, np.array([weight for _, weight in piece]))
        tally.add(ids)
        for id_, weight in piece:
            expected[id_] += weight + 1
    ids, weights = tally.sums()
    assert dict(zip(ids.tolist(), weights.tolist(), strict=True)) == expected
    assert ids.tolist() == sorted(expected)


# ---- features


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_features_of_a_bundle(threads: int | None) -> None:
    result = of(DATA / "features.bundle", num_threads=threads)
    with sprintcache.open_archive(DATA / "features.bundle") as archive:
        values = all_features(archive)
        lengths = archive.num_frames_all()
        ends = [archive.read_times(name) for name in archive.segments]
    moments = result.moments.pop(16)
    assert not result.moments
    np.testing.assert_allclose(moments.mean, values.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-12)
    assert moments.minimum.tolist() == values.min(0).tolist()
    assert moments.maximum.tolist() == values.max(0).tolist()
    assert (result.num_segments, result.num_left_out, result.problem) == (24, 0, "")
    assert result.datatypes == {"vector-f32": 24}
    assert dict(
        zip(result.lengths.values.tolist(), result.lengths.counts.tolist(), strict=True)
    ) == (Counter(lengths.tolist()))
    assert result.lengths.total == lengths.sum() == len(values)
    assert result.lengths.mean == lengths.mean()
    for share in (0, 0.05, 0.3, 0.5, 0.95, 1):
        expected = np.quantile(lengths, share, method="inverted_cdf")
        assert result.lengths.quantile(share) == expected
    assert result.seconds == pytest.approx(sum(times[-1, 1] - times[0, 0] for times in ends))
    assert result.frame_shift == 0.01
    assert result.labels is None


def test_several_archives_count_as_one() -> None:
    first, second = of(DATA / "features.bundle"), of(list(map(str, FILES)))
    assert first.lengths.total == second.lengths.total
    np.testing.assert_allclose(first.moments[16].variance, second.moments[16].variance, rtol=1e-12)


def test_scalars_and_samples() -> None:
    result = of(DATA / "energy.cache")
    with sprintcache.open_archive(DATA / "energy.cache") as archive:
        values = all_features(archive)
    np.testing.assert_allclose(result.moments[1].variance, values.var(0), rtol=1e-12)
    result = of(DATA / "samples.cache")
    with sprintcache.open_archive(DATA / "samples.cache") as archive:
        samples = [np.concatenate(archive.read(name)) for name in archive.segments]
    whole = np.concatenate(samples).astype(np.float64)
    assert result.num_signals == 2
    assert result.lengths.values.tolist() == sorted(map(len, samples))
    np.testing.assert_allclose(result.moments[1].mean, [whole.mean()])
    np.testing.assert_allclose(result.moments[1].variance, [whole.var()])
    assert result.moments[1].minimum.tolist() == [whole.min()]


def test_audio_as_floating_point_numbers(tmp_path: Path) -> None:
    """As in an archive of `vector-f64` that Sprint made of audio: 4096 samples a packet."""
    samples = np.random.default_rng(2).normal(size=10_000)
    pieces = [samples[at : at + 4096] for at in range(0, 10_000, 4096)]
    starts = np.arange(3) * 0.256
    times = np.stack([starts, starts + [len(piece) / 16_000 for piece in pieces]], 1)
    with ArchiveWriter(tmp_path / "a.cache") as writer:
        writer.add_blocks("c/1", [sprintcache.Block("vector-f64", times, pieces)])
        writer.add_features("frames", np.ones((3, 4), np.float32), frame_length=0.01)
        writer.add_features("embedding", np.ones((1, 4), np.float32), frame_length=2.0)
    result = of(tmp_path / "a.cache")
    assert (result.num_segments, result.num_signals, result.problem) == (3, 1, "")
    np.testing.assert_allclose(result.moments[1].variance, [samples.var()])
    assert result.moments[4].count.tolist() == [4] * 4
    assert result.lengths.values.tolist() == [1, 3, 10_000]


def test_unreadable_segments_are_left_out_and_reported(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "some.cache"
    with ArchiveWriter(path) as writer:
        writer.add_features("c/1", np.ones((3, 2), np.float32))
        writer.add_bytes("c/2", b"neither this nor that")
        writer.add_features("c/3", np.ones((4, 3), np.float32))
    result = of(path)
    assert (result.num_segments, result.num_left_out) == (2, 1)
    assert sorted(result.moments) == [2, 3]
    assert "'c/2'" in result.problem
    status, out, err = run("stats", path)
    assert status == 1
    assert "2, 1 left out: vector-f32 (2)" in out
    assert "constant     2 dimensions: 0, 1" in out
    assert err.startswith("sprintcache: left out, the first one: ")


def test_shapes_of_entries_without_a_datatype(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path / "some.cache") as writer:
        writer.add_features("c/1", np.ones((3, 2), np.float32))
        for name, data in (("c/2", b"neither this nor that"), ("c/3", b""), ("c/4", b"")):
            writer.add_bytes(name, data)
    with sprintcache.open_archive(tmp_path / "some.cache") as archive:
        shapes = collect_shapes(archive)
    assert shapes.datatypes == {"vector-f32": 1, "bytes": 1, "empty": 2}
    assert shapes.lengths.values.tolist() == [0, 3]
    assert shapes.lengths.counts.tolist() == [3, 1]


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(sprintcache.EntryNotFoundError, match="nowhere"):
        of(DATA / "energy.cache", ["nowhere"])


def test_memory_does_not_grow_with_the_corpus(scratch: Path) -> None:
    peaks = []
    for count in (2000, 5000):
        path = scratch / f"{count}.cache"
        with ArchiveWriter(path) as writer:
            for number in range(count):
                writer.add_features(
                    f"c/{number}", np.full((number % 7 + 1, 20), number, np.float32)
                )
        with sprintcache.open_archive(path) as archive:
            tracemalloc.start()
            collect(archive, num_threads=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 20_000


# ---- labels


@pytest.mark.parametrize("threads", [None, 3])
def test_labels_of_a_viterbi_alignment(labeling: AllophoneLabeling, threads: int | None) -> None:
    result = of(VITERBI, labeling=labeling, num_threads=threads)
    every = np.concatenate(list(labels_by_segment(VITERBI, labeling).values()))
    counts = np.bincount(every, minlength=labeling.num_labels)
    labels = result.labels
    assert labels is not None
    assert labels.kind == "label"
    assert labels.weights.tolist() == counts.tolist()
    assert [name.split()[0] for name in labels.names] == list(map(str, range(len(counts))))
    assert labels.silence_share == pytest.approx((every == labeling.sil_label_idx).mean())
    rare = [(labels.names[at], counts[at]) for at in np.flatnonzero((counts > 0) & (counts < 20))]
    assert sorted(labels.rare(20)) == sorted(rare)
    assert labels.rare(20)[0][1] == counts[counts > 0].min()
    assert result.lengths.total == len(every)
    assert result.moments == {}


def test_unused_labels_are_named(labeling: AllophoneLabeling) -> None:
    name = "espeak/rec000/1"
    labels = of(VITERBI, [name], labeling=labeling).labels
    assert labels is not None
    used = set(labels_by_segment(VITERBI, labeling)[name].tolist())
    assert {int(text.split()[0]) for text in labels.unused} == set(range(79)) - used


def test_soft_alignments_count_by_weight(labeling: AllophoneLabeling) -> None:
    result = of(SOFT, labeling=labeling)
    expected = np.zeros(labeling.num_labels)
    with sprintcache.open_archive(SOFT) as archive:
        for name in archive.segments:
            alignment = archive.read_alignment(name)
            np.add.at(expected, labeling.item_labels(alignment), alignment.weight.astype(float))
    assert result.labels is not None
    np.testing.assert_allclose(result.labels.weights, expected)
    assert result.num_soft == 24
    assert result.lengths.total == 7465


@pytest.mark.parametrize("given", ["alphabet", "allophones"])
def test_states_by_symbol(labeling: AllophoneLabeling, given: str) -> None:
    allophones = labeling.allophones if given == "allophones" else None
    result = of(VITERBI, allophones=allophones, num_threads=2)
    expected: Counter[str] = Counter()
    with sprintcache.open_archive(VITERBI) as archive:
        for name in archive.segments:
            alignment = archive.read_alignment(name)
            expected.update(alignment.alphabet[id_] for id_ in alignment.emission.tolist())  # type: ignore[index]
    assert result.labels is not None
    assert dict(zip(result.labels.names, result.labels.weights.tolist(), strict=True)) == expected
    assert result.labels.names == sorted(expected)


def test_a_contradicting_alphabet(tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", {"c/1": phones("aab")})
    allophones = ["x{#+#}"] * 98
    result = of(path, allophones=allophones)
    assert result.num_left_out == 1
    assert "contradicts the allophone file" in result.problem
    assert "entry 'c/1'" in result.problem
    mapped = of(path, allophones=allophones, on_alphabet_mismatch="map").labels
    ignored = of(path, allophones=allophones, on_alphabet_mismatch="ignore").labels
    assert mapped is not None
    assert mapped.ordered() == [("a{#+#}.0", 2), ("b{#+#}.0", 1)]
    assert ignored is not None
    assert set(ignored.names) <= {"x{#+#}.0", "b{#+#}.0"}


def test_names_of_labels(tmp_path: Path) -> None:
    (tmp_path / "allophones").write_text("a{#+#}@i@f\nb{a+a}\nb{c+c}\nc{a+b}\n")
    (tmp_path / "tying").write_text(
        "a{#+#}@i@f.0 0\nb{a+a}.0 1\nb{c+c}.0 1\nb{a+a}.1 2\nb{c+c}.2 2\nb{a+a}.2 4\nc{a+b}.0 4\n"
        "c{a+b}.1 5\n"
    )
    labeling = AllophoneLabeling("a", tmp_path / "allophones", state_tying_file=tmp_path / "tying")
    assert label_names(labeling) == {
        0: "a.0",
        1: "b.0",
        2: "b",
        4: "c{a+b}.0 and 1 more",
        5: "c{a+b}.1",
    }
    assert Units(labeling).name(3) == "3 (no state)"


# ---- comparison


@pytest.mark.parametrize("second", [LINEAR, SOFT], ids=["linear", "soft"])
def test_agreement_and_confusions(second: Path, labeling: AllophoneLabeling) -> None:
    result = both(VITERBI, second, labeling=labeling)
    first_labels, second_labels = best_labels(VITERBI, labeling), best_labels(second, labeling)
    pairs: Counter[tuple[int, int]] = Counter()
    for name, labels in first_labels.items():
        pairs.update((label, second_labels[name][time]) for time, label in labels.items())
    units = result.units
    assert result.num_segments == 24
    assert units.num_frames == pairs.total() == 7465
    assert units.num_equal == sum(count for (a, b), count in pairs.items() if a == b)
    numbers = [int(name.split()[0]) for name in units.names]
    assert {
        (numbers[a], numbers[b]): frames
        for a, b, frames in zip(
            units.first.tolist(), units.second.tolist(), units.frames.tolist(), strict=True
        )
    } == pairs
    wrong = Counter({pair: count for pair, count in pairs.items() if pair[0] != pair[1]})
    assert [frames for *_, frames in units.most(5)] == [count for _, count in wrong.most_common(5)]
    # 79 labels are three states of 26 phones, and silence: labels say the phone
    assert result.phones is not None
    same = sum(count for (a, b), count in pairs.items() if (a + 2) // 3 == (b + 2) // 3)
    assert result.phones.num_equal == same


def test_an_alignment_agrees_with_itself() -> None:
    result = both(VITERBI, VITERBI, num_threads=3)
    assert result.units.kind == "state"
    assert result.units.agreement == 1
    assert result.units.most(3) == []
    assert result.shifts.tolist() == [0]
    assert result.num_matched == result.num_boundaries_first == result.num_boundaries_second


def test_shifts_of_the_same_phones(tmp_path: Path) -> None:
    first = written(tmp_path / "a", {"c/1": phones("aaabbbccc")})
    second = written(tmp_path / "b", {"c/1": phones("aabbbbbbc")})
    result = both(first, second)
    assert dict(zip(result.shifts.tolist(), result.shift_counts.tolist(), strict=True)) == {
        -1: 1,
        2: 1,
    }
    assert (result.mean_shift, result.mean_distance) == (0.5, 1.5)
    assert (result.within(0), result.within(1), result.within(2)) == (0, 0.5, 1)
    assert result.units.agreement == 6 / 9
    assert result.units.most(9) == [("c{#+#}.0", "b{#+#}.0", 2), ("a{#+#}.0", "b{#+#}.0", 1)]


def test_shifts_of_other_phones(tmp_path: Path) -> None:
    first = written(tmp_path / "a", {"c/1": phones("aabbccaabb")})
    second = written(tmp_path / "b", {"c/1": phones("aaabxccabb")})
    result = both(first, second)
    assert (result.num_boundaries_first, result.num_boundaries_second) == (4, 5)
    # a|b at 2 and 8, there at 3 and 8; c|a at 6, there at 7; b|c has no partner
    assert dict(zip(result.shifts.tolist(), result.shift_counts.tolist(), strict=True)) == {
        0: 1,
        1: 2,
    }


def test_gaps_lengths_and_missing_segments(tmp_path: Path, run: Run) -> None:
    first = written(
        tmp_path / "a", {"c/1": phones("aab.b"), "c/2": phones("a"), "c/3": phones("ab")}
    )
    second = written(
        tmp_path / "b", {"c/1": phones("a.bbbb"), "c/4": phones("a"), "c/3": phones("ab")}
    )
    result = both(first, second)
    assert result.num_segments == 2
    assert (result.only_first.names, result.only_second.names) == (["c/2"], ["c/4"])
    assert result.different_length.names == ["c/1"]
    assert (result.units.num_frames, result.units.num_equal) == (5, 5)
    some = both(first, second, ["c/4", "c/3"])
    assert (some.num_segments, some.only_first.count, some.only_second.count) == (1, 0, 1)
    with pytest.raises(sprintcache.EntryNotFoundError, match="c/9"):
        both(first, second, ["c/9"])
    status, out, _ = run("stats", "--compare", first, second)
    assert status == 0
    assert "only first   1: c/2\n" in out
    assert "only second  1: c/4\n" in out
    assert "other length 1: c/1\n" in out
    assert "states       100.00 % of the frames agree\n" in out


def test_the_same_symbols_under_other_ids(tmp_path: Path) -> None:
    first = written(tmp_path / "a", {"c/1": phones("aab")})
    other = Alignment([0, 1, 2], [1, 1, 2], alphabet={1: "a{#+#}.0", 2: "b{#+#}.0"})
    result = both(first, written(tmp_path / "b", {"c/1": other}))
    assert result.units.agreement == 1
    assert result.shifts.tolist() == [0]


def test_incomparable_segments_are_left_out(tmp_path: Path) -> None:
    bare = {"c/1": Alignment([0, 1], [1, 1]), "c/2": Alignment([0], [1], label_type="emission")}
    first = written(tmp_path / "a", {"c/1": phones("ab"), "c/2": phones("a")})
    result = both(first, written(tmp_path / "b", bare))
    assert result.left_out.names == ["c/1", "c/2"]
    assert "only one of the two alignments has an alphabet" in result.problem
    assert result.num_segments == 0


def test_emission_ids(tmp_path: Path) -> None:
    def ids(*values: int) -> dict[str, Alignment]:
        return {"c/1": Alignment(range(len(values)), values, label_type="emission")}

    result = both(written(tmp_path / "a", ids(7, 7, 8)), written(tmp_path / "b", ids(7, 8, 8)))
    assert result.units.most(3) == [("7", "8", 1)]
    assert result.phones is None
    assert (result.shifts.tolist(), result.num_matched) == ([-1], 1)


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
)
def test_boundaries_are_mutually_nearest(first: list[str], second: list[str]) -> None:
    def runs(letters: list[str]) -> Phones:
        starts = [at for at, new in enumerate(letters) if at == 0 or letters[at - 1] != new]
        return Phones(np.array([ord(letters[at]) for at in starts]), np.array(starts))

    a, b = runs(first), runs(second)
    result = shifts(a, b)
    if a.number.tolist() == b.number.tolist():
        assert result.tolist() == (b.start - a.start)[1:].tolist()
        return

    def boundaries(known: Phones) -> list[tuple[int, int, int]]:
        what, start = known.number.tolist(), known.start.tolist()
        return [(what[at - 1], what[at], start[at]) for at in range(1, len(what))]

    def nearest(bound: tuple[int, int, int], known: Phones) -> tuple[int, int, int] | None:
        same = [other for other in boundaries(known) if other[:2] == bound[:2]]
        # of equally near ones, the earlier
        return min(same, key=lambda other: (abs(other[2] - bound[2]), other[2]), default=None)

    expected = []
    for bound in boundaries(a):
        partner = nearest(bound, b)
        if partner is not None and nearest(partner, a) == bound:
            expected.append(partner[2] - bound[2])
    assert sorted(result.tolist()) == sorted(expected)


# ---- the command


def test_stats_prints_what_numpy_says(run: Run) -> None:
    status, out, err = run("stats", DATA / "features.bundle")
    assert (status, err) == (0, "")
    assert "frames       7465, 74.90 s (0:01:15)\n" in out
    assert "lengths      100 to 597 frames, mean 311.0, median 248," in out
    rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]
    with sprintcache.open_archive(DATA / "features.bundle") as archive:
        values = all_features(archive)
    assert [int(row[0]) for row in rows] == list(range(16))
    expected = [values.mean(0), values.var(0), values.std(0), values.min(0), values.max(0)]
    np.testing.assert_allclose(
        np.array([row[1:] for row in rows], float), np.stack(expected, 1), rtol=1e-5, atol=1e-9
    )


def test_stats_of_labels(run: Run, labeling: AllophoneLabeling) -> None:
    _, out, _ = run("stats", VITERBI, *TYING, "--silence", "[SILENCE]", "--rare", "7")
    assert "silence      32.1 % of the frames\n" in out
    assert "labels       79 in use\n" in out
    assert "frequent     0 ([SILENCE].0) 2396, 13 (e.0) 273, " in out
    assert "rare         2 of fewer than 7 frames: 50 (q.1) 2, 49 (q.0) 6\n" in out
    _, out, _ = run("stats", VITERBI, *TYING, "--select", "*rec000*", "--json")
    record = json.loads(out)
    assert record["segments"] == 1
    assert record["labels"]["silence_share"] is None
    used = set(labels_by_segment(VITERBI, labeling)["espeak/rec000/1"].tolist())
    assert len(record["labels"]["unused"]) == 79 - len(used)
    assert sum(record["labels"]["frames"].values()) == record["frames"] == 186


def test_stats_compare(run: Run) -> None:
    status, out, err = run("stats", "--compare", VITERBI, SOFT, *TYING)
    assert (status, err) == (0, "")
    assert "labels       79.01 % of the frames agree\n" in out
    assert "boundaries   1144 and 1171 of phones, 1111 matched\n" in out
    assert "      35  0.47%  13 (e.0) -> 14 (e.1)\n" in out
    _, out, _ = run("stats", "--compare", VITERBI, SOFT, "--json", "--select", "*rec000*", *TYING)
    record = json.loads(out)
    assert record["segments"] == 1
    assert record["units"]["frames"] == 186
    with sprintcache.open_archive(VITERBI) as first, sprintcache.open_archive(SOFT) as second:
        frames = compare(first, second, ["espeak/rec000/1"]).shifts
    assert record["boundaries"]["shifts_ms"] == (10 * frames).tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--compare", "a"], "--compare requires two archives"),
        (["a", "--threads", "0"], "--threads must be at least 1"),
        (["a", "--rare", "x"], "'x' is not a number of frames"),
        (["a", "--frame-shift", "0"], "the time from frame to frame cannot be 0"),
        (["a", "--silence", "x"], "--silence needs --state-tying"),
    ],
)
def test_stats_with_wrong_arguments(run: Run, words: list[str], message: str) -> None:
    status, _, err = run("stats", *words)
    assert status == 2
    assert message in err


def test_non_finite_weights(run: Run, tmp_path: Path) -> None:
    strange = Alignment([0, 0, 1, 2], [1, 2, 1, 1], [np.nan, np.inf, 0.5, 1])
    path = written(tmp_path / "a.cache", {"c/1": strange})
    status, out, _ = run("stats", path)
    assert status == 0
    assert "frequent     allophone 1 state 0 1.50\n" in out
    assert "unused       1: allophone 2 state 0\n" in out


@pytest.mark.parametrize("wrong", [None, "a.cache", 3])
def test_arguments_that_are_not_archives(wrong: Any) -> None:
    for call in (collect, collect_shapes, lambda archive: compare(archive, archive)):
        with pytest.raises(TypeError, match=f"expected an open Archive, found .*{wrong!r}"):
            call(wrong)


# ---- labels without end, frame shifts, values that are not finite


@pytest.mark.parametrize("sparse", ["no tying", "one large label"])
def test_memory_by_label_number(tmp_path: Path, run: Run, sparse: str) -> None:
    """Labels up to 2**31 - 1 of which few are in use: lists of all of them would be gigabytes."""
    allophones = [f"{phone}{{#+#}}@i@f" for phone in "abc"]
    (tmp_path / "allophones").write_text("".join(f"{line}\n" for line in allophones))
    states = [(index, state) for index in range(3) for state in range(3)]
    labels = {pair: number for number, pair in enumerate(states)}
    if sparse == "no tying":
        labels = {(index, state): index | state << 26 for index, state in states}
    else:
        labels[2, 2] = 2**31 - 1
    lines = [f"{allophones[i]}.{state} {label}\n" for (i, state), label in labels.items()]
    (tmp_path / "tying").write_text("".join(lines))
    ids = [index | state << 26 for index, state in states[1:]]  # all but the first
    path = written(tmp_path / "a.cache", {"c/1": Alignment(range(len(ids)), ids)})
    tying = [f"--allophones={tmp_path / 'allophones'}", f"--state-tying={tmp_path / 'tying'}"]
    tracemalloc.start()
    status, out, _ = run("stats", path, *tying, "--json")
    compared, compared_out, _ = run("stats", "--compare", path, path, *tying, "--json")
    info = run("info", path, *tying, "--json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (status, compared, info[0]) == (0, 0, 0)
    assert peak < 50e6
    used = json.loads(out)["labels"]
    numbers = {int(name.split()[0]): frames for name, frames in used["frames"].items()}
    assert {label: frames for label, frames in numbers.items() if frames} == {
        labels[pair]: 1 for pair in states[1:]
    }
    assert used["unused"] == ["0 (a.0)"]
    assert json.loads(compared_out)["units"]["agreement"] == 1
    assert json.loads(info[1])["alignments"]["labels_used"] == 8


def test_gaps_of_a_small_tying_are_unused_labels(tmp_path: Path) -> None:
    (tmp_path / "allophones").write_text("a{#+#}@i@f\n")
    (tmp_path / "tying").write_text("a{#+#}@i@f.0 0\na{#+#}@i@f.1 3\n")
    labeling = AllophoneLabeling("a", tmp_path / "allophones", state_tying_file=tmp_path / "tying")
    path = written(tmp_path / "a.cache", {"c/1": Alignment([0], [0])})
    labels = of(path, labeling=labeling).labels
    assert labels is not None
    assert labels.unused == ["1 (no state)", "2 (no state)", "3 (a.1)"]


def subsampled(num_frames: int, factor: int, times: bool) -> tuple[Alignment, Alignment]:
    """The same alignment at two frame shifts: runs of 12 frames, and every `factor`-th frame."""
    ids = np.repeat(np.arange(num_frames // 12 + 1), 12)[:num_frames]
    alphabet = {int(id_): f"{chr(97 + id_ % 26)}{{#+#}}@i@f.0" for id_ in ids}
    coarse = ids[::factor]
    span: Any = {"start": 0.0, "end": num_frames * 0.01} if times else {}
    return (
        Alignment(np.arange(num_frames), ids, alphabet=alphabet, **span),
        Alignment(np.arange(len(coarse)), coarse, alphabet=alphabet, **span),
    )


@pytest.mark.parametrize("factor", [2, 3, 4, 6])
@pytest.mark.parametrize("swap", [False, True])
def test_alignments_of_different_frame_shift(tmp_path: Path, factor: int, swap: bool) -> None:
    fine, coarse = subsampled(240, factor, times=True)
    # one frame off: the second run starts a coarse frame later
    moved = coarse.emission.copy()
    moved[12 // factor] = 0
    late = Alignment(coarse.time, moved, alphabet=coarse.alphabet, start=0.0, end=2.4)
    first = written(tmp_path / "a", {"c/1": fine, "c/2": fine})
    second = written(tmp_path / "b", {"c/1": coarse, "c/2": late})
    paths = (second, first) if swap else (first, second)
    shifts = (0.01 * factor, 0.01) if swap else (0.01, 0.01 * factor)
    for result in (both(*paths), both(*paths, frame_shifts=shifts)):
        assert result.num_segments == 2
        assert result.units.num_frames == 480
        assert result.units.num_frames - result.units.num_equal == factor
        moves = dict(zip(result.shifts.tolist(), result.shift_counts.tolist(), strict=True))
        assert moves == {0: 37, (-factor if swap else factor): 1}


def test_frame_shifts_that_cannot_be_determined(tmp_path: Path, run: Run) -> None:
    fine, coarse = subsampled(240, 4, times=False)
    first = written(tmp_path / "a", {"c/1": fine})
    second = written(tmp_path / "b", {"c/1": coarse})
    with pytest.raises(sprintcache.LabelError, match="240 frames in the first, 60 in the second"):
        both(first, second)
    status, out, err = run("stats", "--compare", first, second)
    assert (status, out) == (1, "")
    assert "frame shifts of both are required" in err
    shifts = ["--frame-shift", "0.01", "--frame-shift"]
    status, out, _ = run("stats", "--compare", first, second, *shifts, "0.04")
    assert (status, "100.00 % of the frames agree" in out) == (0, True)
    # 240 frames of 10 ms are not 60 of 20 ms
    status, out, err = run("stats", "--compare", first, second, *shifts, "0.02")
    assert status == 1
    assert "left out" in out
    assert "which do not match for frame shifts of ratio 2" in err


def test_archives_without_a_common_segment(tmp_path: Path, run: Run) -> None:
    first = written(tmp_path / "a", {"c/1": phones("ab")})
    second = written(tmp_path / "b", {"d/1": phones("ab")})
    status, out, err = run("stats", "--compare", first, second)
    assert (status, out) == (1, "")
    assert "have no common segment, such as 'c/1' and 'd/1'" in err


def test_segments_with_non_finite_values_are_named(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.cache"
    with ArchiveWriter(path) as writer:
        for number in range(300):
            features = np.ones((4, 3), np.float32)
            if number in (31, 250):
                features[2, 1] = -np.inf if number == 31 else np.nan
            writer.add_features(f"c/{number}", features)
        weights = [1, np.nan]
        writer.add_alignment("soft", Alignment([0, 1], [1, 1], weights, weighted=True))
        frames = [builder.vector_f32([1, value], 0, 1) for value in (1, 2, 3, np.nan, np.inf)]
        blocks = [
            builder.block("vector-f32", part) for part in (frames[:2], frames[2:3], frames[3:])
        ]
        writer.add_bytes("blocks", b"".join(blocks))
    result = of(path)
    assert result.not_finite.names == ["c/31", "c/250", "soft", "blocks"]
    status, out, _ = run("stats", path)
    assert status == 0
    assert "NaN or inf in 4: c/31, c/250, soft, blocks\n" in out
    assert json.loads(run("stats", path, "--json")[1])["not_finite"]["count"] == 4
    assert run("verify", path)[0] == 0
    status, out, _ = run("verify", "--finite", path)
    assert status == 1
    assert [line.partition(": ")[2] for line in out.splitlines()] == [
        "1 value is NaN or infinite, the first in frame 2",
        "1 value is NaN or infinite, the first in frame 2",
        "1 value is NaN or infinite, the first in frame 0",
        "2 values are NaN or infinite, the first in frame 3",
    ]
    assert [name in out for name in ("'c/31'", "'c/250'", "'soft'", "'c/30'")] == [
        True, True, True, False,
    ]  # fmt: skip


def test_names_of_many_segments_are_limited(tmp_path: Path) -> None:
    """In several chunks: the first 100 names are kept, all are counted."""
    names = [f"c/{number:03}" for number in range(250)]
    first = written(tmp_path / "a", {name: phones("a") for name in [*names, "common"]})
    second = written(tmp_path / "b", {"common": phones("a")})
    result = both(first, second, num_threads=2)
    assert result.only_first.count == 250
    assert result.only_first.names == names[:100]


def test_frames_without_a_phone_on_one_side(tmp_path: Path) -> None:
    """Item 2 of the second alignment is not an allophone: two of three frames count."""
    first = written(tmp_path / "a", {"c/1": phones("aab")})
    other = Alignment([0, 1, 2], [97, 97, 99], alphabet={97: "a{#+#}.0", 99: "noise"})
    result = both(first, written(tmp_path / "b", {"c/1": other}))
    assert result.phones is not None
    assert (result.phones.num_frames, result.phones.num_equal) == (2, 2)
    assert (result.units.num_frames, result.units.num_equal) == (3, 2)
