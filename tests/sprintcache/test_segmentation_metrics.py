"""Measures of time errors against the public implementations' results on real alignments."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sprintcache import open_archive
from sprintcache.segmentation import (
    Interval,
    Segmentation,
    archive_frame_shift,
    compare_tiers,
    read_ctm,
)
from tests.paths import DATA, full_data

ALIGNER = DATA / "aligner"
# our name of each measure of i6_experiments' align_metrics.py
NAMES = {
    "wbe": "wbe",
    "start_mae": "start_mae",
    "end_mae": "end_mae",
    "start_signed_mean": "start_shift",
    "end_signed_mean": "end_shift",
    "signed_mean": "shift",
    "center_offset": "shift",
    "width_signed_err": "width_error",
    "center_abs": "center_mae",
    "edge_wbe": "edge_wbe",
    "interior_wbe": "interior_wbe",
}
# i6_core leaves out segments in which it misses words that begin as the one before them ends
I6_CORE_LEAVES_OUT = {"mini-skip/mini-plain", "dense-i6-s03/mini-plain"}


def known_pairs() -> list[tuple[Path, str]]:
    data = full_data()
    folder = ALIGNER if data is None or not (data / "aligner").is_dir() else data / "aligner"
    names = json.loads((folder / "metrics.json").read_text("utf-8"))
    return [(folder, name) for name in names]


def source(folder: Path, name: str, shift: float) -> dict[str, Segmentation]:
    """The words of a run, with the durations of its segments."""
    tiers = read_ctm(folder / "words" / f"{name}.ctm.gz")
    archive_path = folder / "alignments" / f"{name}.cache"
    if not archive_path.is_file():
        earlier = folder.parent / "archives" / f"{name}.cache"
        archive_path = earlier if earlier.is_file() else DATA / f"{name}.cache"
    if archive_path.is_file():
        with open_archive(archive_path) as archive:
            shift = archive_frame_shift(archive)
            for segment_name, segmentation in tiers.items():
                segmentation.duration = archive.num_frames(segment_name) * shift
    for segmentation in tiers.values():
        segmentation.frame_shift = shift
    return tiers


@pytest.mark.parametrize(("folder", "pair"), known_pairs(), ids=lambda value: str(value)[-40:])
def test_metrics_are_those_of_the_public_code(folder: Path, pair: str) -> None:
    expected = json.loads((folder / "metrics.json").read_text("utf-8"))[pair]
    hypothesis, reference = (
        source(folder, expected[side], 0.01) for side in ("hypothesis", "reference")
    )
    actual = compare_tiers(hypothesis, reference)
    words = expected["words"]
    assert actual.num_segments == words["segments"]
    assert {*actual.only_hypothesis, *actual.only_reference} == set(words["not_in_both"])
    assert actual.errors.num_pairs == actual.num_reference == words["micro"]["n_words"]
    for kind, means in (("micro", actual.micro), ("macro", actual.macro)):
        for theirs, ours in NAMES.items():
            value = words[kind][theirs]
            if value == value:  # NaN: no interior word
                assert means[ours] == pytest.approx(value, abs=1e-9), (kind, theirs)
    for collar in (10, 20, 50, 100, 200):
        exact = words["collars_in_whole_ms"][f"acc_{collar}ms"]
        assert actual.accuracy(collar) == pytest.approx(exact)
    core = expected["i6_core"]
    has_archives = (folder / "alignments" / f"{expected['hypothesis']}.cache").is_file()
    if "tse_frames" not in core or pair in I6_CORE_LEAVES_OUT:
        return
    if has_archives or (actual.errors.num_pairs == 191 and "mono1" not in pair):
        assert actual.tse is not None
        assert actual.tse / 0.01 == pytest.approx(core["tse_frames"])
        starts = Counter({int(shift): count for shift, count in core["start"].items()})
        assert Counter({s // 10_000: n for s, n in actual.errors.start.items()}) == starts


def words_of(text: str, shift: int = 0) -> Segmentation:
    """``"a 0 100  b 100 200"`` in milliseconds."""
    fields = text.split()
    words = [
        Interval((int(start) + shift) / 1000, (int(end) + shift) / 1000, symbol)
        for symbol, start, end in zip(fields[::3], fields[1::3], fields[2::3], strict=True)
    ]
    return Segmentation(words=words, phones=words, duration=1.0)


def test_a_boundary_at_the_collar_is_inside() -> None:
    """0.51 - 0.50 > 0.01 in floats."""
    reference = {str(i): words_of(f"a {i} {i + 500}") for i in range(100)}
    hypothesis = {str(i): words_of(f"a {i} {i + 500}", 10) for i in range(100)}
    actual = compare_tiers(hypothesis, reference, collars=(9, 10))
    assert (actual.accuracy(9), actual.accuracy(10)) == (0.0, 1.0)
    assert (actual.f1(9), actual.f1(10)) == (0.0, 1.0)
    assert actual.micro["shift"] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="whole milliseconds"):
        compare_tiers(hypothesis, reference, collars=(0.5,))  # type: ignore[arg-type]


def test_unmatched_words_are_counted() -> None:
    reference = {"s": words_of("a 0 100 b 100 200 c 200 300 d 300 400"), "only": words_of("a 0 1")}
    hypothesis = {"s": words_of("a 0 110 x 110 150 c 200 300 d 320 400 e 400 500")}
    actual = compare_tiers(hypothesis, reference, collars=(10,))
    assert (actual.num_hypothesis, actual.num_reference) == (5, 4)
    assert (actual.num_unmatched_hypothesis, actual.num_unmatched_reference) == (2, 1)
    assert (actual.duration_hypothesis, actual.duration_reference) == (1.0, 1.0)
    assert actual.frame_shift == 0  # that of times is unknown
    assert actual.errors.num_pairs == 3
    assert actual.only_reference == ["only"]
    assert actual.accuracy(10) == 5 / 8
    assert (actual.precision(10), actual.recall(10), actual.f1(10)) == (2 / 5, 2 / 4, 4 / 9)
    assert actual.micro["wbe"] == pytest.approx(0.03 / 2 / 3)
    assert actual.micro["edge_wbe"] == pytest.approx(0.03 / 2 / 2)
    assert actual.micro["interior_wbe"] == 0
    lower = compare_tiers(
        {"s": words_of("A 0 100")}, {"s": words_of("a 0 100")}, normalize=str.lower
    )
    assert lower.errors.num_pairs == 1


def test_phones_are_paired_by_overlap() -> None:
    reference = {"s": words_of("a 0 100 b 100 200 a 200 300 c 500 600")}
    hypothesis = {"s": words_of("a 0 90 x 90 200 a 200 310 c 800 900 [SILENCE] 900 1000")}
    actual = compare_tiers(hypothesis, reference, "phones", collars=(10,))
    assert actual.errors.num_pairs == 3
    assert actual.num_substituted == 1
    assert (actual.num_unmatched_hypothesis, actual.num_unmatched_reference) == (1, 1)
    assert actual.micro["wbe"] == pytest.approx(0.03 / 2 / 3)
    assert actual.agreement == pytest.approx((90 + 100 + 190 + 200 + 100) / 1000)
    assert actual.most_confused(2) == [("", "c", 0.1), ("c", "", 0.1)]
    assert (actual.silence_hypothesis, actual.silence_reference) == pytest.approx((0.59, 0.6))


def test_agreement_is_that_of_frames() -> None:
    """Against numpy, on frames of 10 ms and of 40 ms."""
    fine = {"s": Segmentation(phones=[], frame_shift=0.01, duration=0.43)}
    coarse = {"s": Segmentation(phones=[], frame_shift=0.04, duration=0.44)}
    fine_frames = "aaaabbbbbccccc   dddddddddaaaaaabbbbbbcc  c"
    coarse_frames = "abc dddabcc"
    fine["s"].phones = intervals_of(fine_frames, 0.01)
    coarse["s"].phones = intervals_of(coarse_frames, 0.04)
    actual = compare_tiers(coarse, fine, "phones")
    upsampled = "".join(frame * 4 for frame in coarse_frames)
    pairs = list(zip(upsampled, fine_frames, strict=False))
    equal = sum(one == other for one, other in pairs)
    assert actual.agreement == pytest.approx(equal / len(pairs))
    assert actual.frame_shift == 0.01
    unknown = {"s": Segmentation(phones=[], duration=0.44)}
    assert compare_tiers(unknown, coarse, "phones").frame_shift == 0.04
    confusions = Counter((one.strip(), other.strip()) for one, other in pairs)
    assert actual.confusions == {pair: 10_000 * count for pair, count in confusions.items()}


def intervals_of(frames: str, shift: float) -> list[Any]:
    borders = [0, *(i for i in range(1, len(frames)) if frames[i] != frames[i - 1]), len(frames)]
    return [
        Interval(round(start * shift, 9), round(end * shift, 9), frames[start])
        for start, end in pairwise(borders)
        if frames[start] != " "
    ]
