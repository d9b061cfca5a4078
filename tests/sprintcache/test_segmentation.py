"""Segmentation: words and phones of real alignments, and of alignments made by hand.

The truth for the real ones was found by another program from the archiver's text, and agrees with
the words that Sprint itself reports.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprintcache import (
    Alignment,
    AllophoneLabeling,
    AmbiguousSegmentationError,
    ArchiveWriter,
    SegmentationError,
    open_archive,
)
from sprintcache.align import Aligner
from sprintcache.automata import AutomatonBuilder
from sprintcache.bliss import Corpus
from sprintcache.lexicon import Lexicon
from sprintcache.segmentation import (
    Interval,
    LexiconIndex,
    Segmentation,
    Segmenter,
    alignment_of,
    archive_frame_shift,
    archive_window,
    iter_segmentations,
    segment,
    segment_archive,
    stored_frame_shift,
)
from tests.paths import DATA, full_data

ALIGNER = DATA / "aligner"
STATE = 1 << 26
SILENCE = "[SILENCE]{#+#}@i@f"
Times = dict[str, list[tuple[int, int, str]]]


def milliseconds(path: Path) -> Times:
    """(start, end, token) of each segment of a CTM file, by a strict reader."""
    times: Times = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            name, channel, start, duration, token = line.rstrip("\n").split(" ")
            assert channel == "1"
            begin = round(float(start) * 1000)
            times[name].append((begin, begin + round(float(duration) * 1000), token))
    return times


def rounded(segmentation: Segmentation, tier: str) -> list[tuple[int, int, str]]:
    return [
        (round(one.start * 1000), round(one.end * 1000), one.symbol.replace(" ", "_"))
        for one in segmentation.tier(tier)
    ]


class Run:
    """A run of the aligner: its archive and what is known of it."""

    def __init__(self, folder: Path, archives: Path, name: str, facts: dict[str, Any]) -> None:
        self.name = name
        self.folder = folder
        is_run = not name.startswith("alignment.")
        self.path = (folder / "alignments" if is_run else archives) / f"{name}.cache"
        self.lexicon = Lexicon.read(folder / "corpus" / f"lexicon.{facts['lexicon']}.xml")
        corpus = "mini" if facts["lexicon"] == "mini" else "base"
        self.orthographies = {
            one.name: one.orthography for one in Corpus(folder / "corpus" / f"{corpus}.xml")
        }
        self.shift = facts["frame_shift"]
        self.empty = set(facts["empty"])
        self.left_out = self.empty | set(facts["ambiguous"]) | set(facts["no_reading"])
        self.allophones = None
        if name == "alignment.linear":  # no alphabet
            file = archives / "allophones"
            file = file if file.is_file() else archives.parent / "allophones"
            lines = file.read_text("utf-8").splitlines()
            self.allophones = [line for line in lines if line and line[0] != "#"]

    def truth(self, tier: str) -> Times:
        return milliseconds(self.folder / tier / f"{self.name}.ctm.gz")


def small_runs() -> list[str]:
    return list(json.loads((ALIGNER / "words.json").read_text("utf-8")))


def small_run(name: str) -> Run:
    facts = json.loads((ALIGNER / "words.json").read_text("utf-8"))
    return Run(ALIGNER, DATA, name, facts[name])


def all_runs() -> Iterator[Run]:
    data = full_data()
    if data is None or not (data / "aligner").is_dir():
        return
    info = json.loads((data / "aligner" / "info.json").read_text("utf-8"))
    for name, facts in info["runs"].items():
        posteriors = info["posteriors"][facts["posteriors"]]
        known = {key: posteriors[key] for key in ("lexicon", "frame_shift")}
        yield Run(data / "aligner", data / "archives", name, {**facts["truth"], **known})
    for name, facts in info["earlier"].items():
        known = {"lexicon": "base", "frame_shift": 0.01}
        yield Run(data / "aligner", data / "archives", name, {**facts, **known})


def check_run(run: Run, with_tiers: bool = True) -> int:
    """All segments of a run are equal to the truth; returns how many there are."""
    words, phones = run.truth("words"), run.truth("phones")
    segmenter = Segmenter(run.allophones, run.lexicon)
    refused = set()
    count = 0
    with open_archive(run.path) as archive:
        assert archive_frame_shift(archive) == run.shift
        for name in archive.segments:
            alignment = archive.read_alignment(name)
            try:
                actual = segmenter.segment(alignment, run.orthographies[name], run.shift)
            except SegmentationError:
                refused.add(name)
                continue
            assert rounded(actual, "words") == words[name], f"{run.name} {name}"
            assert rounded(actual, "phones") == phones[name], f"{run.name} {name}"
            if with_tiers:
                check_tiers(actual, alignment)
            assert stored_frame_shift(alignment) == pytest.approx(run.shift)
            count += 1
    assert refused == run.left_out, run.name
    return count


def check_tiers(actual: Segmentation, alignment: Alignment) -> None:
    """States and phones are gapless, states are the alignment, words begin and end with phones."""
    for tier in (actual.phones, actual.states):
        assert tier[0].start == 0
        assert all(a.end == b.start for a, b in pairwise(tier))
        assert round(tier[-1].end / actual.frame_shift) == actual.num_frames == alignment.num_frames
    if alignment.is_viterbi and alignment.alphabet is not None:
        symbols = [
            one.symbol
            for one in actual.states
            for _ in range(round((one.end - one.start) / actual.frame_shift))
        ]
        assert symbols == [alignment.alphabet[id_] for id_ in alignment.emission.tolist()]
    starts = {one.start for one in actual.phones}
    ends = {one.end for one in actual.phones}
    assert all(word.start in starts and word.end in ends for word in actual.words)


@pytest.mark.parametrize("name", small_runs())
def test_words_and_phones_are_those_of_sprint(name: str) -> None:
    assert check_run(small_run(name)) > 5


def test_words_and_phones_of_every_run() -> None:
    runs = list(all_runs())
    if not runs:
        pytest.skip("the full set of real data is not here")
    assert len(runs) == 37
    assert sum(check_run(run, with_tiers=False) for run in runs) == 596


# ---- alignments made by hand -------------------------------------------------------------------

LEXICON = """<lexicon>
 <phoneme-inventory>
  <phoneme><symbol>[SILENCE]</symbol><variation>none</variation></phoneme>
  <phoneme><symbol>a</symbol></phoneme>
  <phoneme><symbol>b</symbol></phoneme>
  <phoneme><symbol>x</symbol><variation>none</variation></phoneme>
 </phoneme-inventory>
 <lemma special="silence"><orth>[SILENCE]</orth><orth/><phon>[SILENCE]</phon></lemma>
 <lemma><orth>a</orth><phon>a</phon></lemma>
 <lemma><orth>ab</orth><orth>AB</orth><phon>a b</phon><phon>b</phon></lemma>
 <lemma><orth>ob</orth><phon>a b</phon></lemma>
 <lemma><orth>a ab</orth><phon>a b b</phon></lemma>
 <lemma><orth>bab</orth><phon>b a b</phon></lemma>
 <lemma><orth>[NOISE]</orth><phon>x</phon></lemma>
 <lemma><orth>mute</orth></lemma>
</lexicon>"""


@pytest.fixture(name="lexicon")
def _lexicon(tmp_path: Path) -> Lexicon:
    path = tmp_path / "lexicon.xml"
    path.write_text(LEXICON, "utf-8")
    return Lexicon.read(path)


def alignment_of_states(text: str) -> Alignment:
    """``"a{#+#}@i@f.0 * 3  ..."`` as an alignment with alphabet."""
    names: list[str] = []
    for part in text.split():
        symbol, _, count = part.partition("*")
        names += [symbol] * int(count or 1)
    allophones = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    ids = {
        name: allophones.index(name.rpartition(".")[0]) | int(name.rpartition(".")[2]) * STATE
        for name in names
    }
    return Alignment(
        range(len(names)),
        [ids[name] for name in names],
        alphabet={id_: name for name, id_ in ids.items()},
    )


SIL = "[SILENCE]{#+#}@i@f.0"


def words_in(text: str, orthography: str | None, lexicon: Lexicon | None) -> list[Any]:
    actual = segment(alignment_of_states(text), None, lexicon, orthography, 1.0)
    return [(one.start, one.end, one.symbol) for one in actual.words]


@pytest.mark.parametrize(
    ("text", "orthography", "expected"),
    [
        # one-phone words with the same allophone: the state falls, with silence or without
        (
            f"a{{#+#}}@i@f.0 a{{#+#}}@i@f.1 a{{#+#}}@i@f.0 a{{#+#}}@i@f.1 {SIL}",
            "a a",
            [(0, 2, "a"), (2, 4, "a")],
        ),
        # one state, two frames, two words: no other reading
        ("a{#+#}@i@f.0*2", "a a", [(0, 1, "a"), (1, 2, "a")]),
        # the contexts reach over the border on one side only, as linear alignments have them
        ("a{#+#}@i@f.0*3 a{#+b}@i.0 b{a+#}@f.0", "a ab", [(0, 3, "a"), (3, 5, "ab")]),
        # the same phone on both sides of a border
        (
            "b{#+a}@i.0 a{b+b}.0 b{a+b}@f.0*2 b{b+#}@i@f.0*2",
            "bab ab",
            [(0, 4, "bab"), (4, 6, "ab")],
        ),
        # a compound, whose phones are not those of its parts
        ("a{#+b}@i.0*2 b{a+b}.0 b{b+#}@f.0", "a ab", [(0, 4, "a ab")]),
        # the first phone is skipped; a homophone keeps the spelling of the orthography
        ("b{a+#}@f.0 [SILENCE]{#+#}@i@f.0*3 b{a+#}@f.0", "AB ob", [(0, 1, "AB"), (4, 5, "ob")]),
        # silence words are optional, noises are words
        (f"x{{#+#}}@i@f.0*2 {SIL}*2", "[SILENCE] [NOISE] [SILENCE]", [(0, 2, "[NOISE]")]),
        (SIL, "", []),
        # Sprint leaves out unknown words if the lexicon has no lemma for them
        ("a{#+#}@i@f.0*2", "b a b", [(0, 2, "a")]),
        # by other rules than Sprint's: last states are missing, but no phone
        ("b{#+a}@i.0 a{b+b}.0 a{b+b}.1 b{a+#}@f.0", "bab", [(0, 4, "bab")]),
    ],
)
def test_readings(lexicon: Lexicon, text: str, orthography: str, expected: list[Any]) -> None:
    assert words_in(text, orthography, lexicon) == expected


@pytest.mark.parametrize(
    ("text", "orthography", "reason"),
    [
        ("a{#+#}@i@f.0*2", "a mute", "'mute' has no pronunciation"),
        ("a{#+#}@i@f.0*2", "ob", "frame 0 fits no reading"),
        ("a{#+b}@i.0 b{a+#}@f.0", "ob ob", "ends inside the words"),
        ("a{#+b}@i.0 b{b+#}@f.0", "ob", "frame 1 fits no reading"),
        (f"a{{#+b}}@i@f.0 {SIL}", "a", "frame 1 fits no reading"),
        ("", "a", "no frames"),
    ],
)
def test_no_reading(lexicon: Lexicon, text: str, orthography: str, reason: str) -> None:
    with pytest.raises(SegmentationError, match=reason):
        words_in(text, orthography, lexicon)


def test_ambiguity_is_refused_unless_one_reading_is_enough(lexicon: Lexicon) -> None:
    alignment = alignment_of_states("a{#+#}@i@f.0*4")
    with pytest.raises(AmbiguousSegmentationError, match="3 readings"):
        segment(alignment, None, lexicon, "a a", 1.0)
    actual = Segmenter(None, lexicon, on_ambiguity="first").segment(alignment, "a a", 1.0)
    assert [(one.start, one.end) for one in actual.words] == [(0, 1), (1, 4)]


def test_without_orthography_words_are_named_by_pronunciation(lexicon: Lexicon) -> None:
    text = f"{SIL}*2 a{{#+b}}@i.0 b{{a+#}}@f.0 {SIL} a{{#+b}}@i@f.0 b{{a+#}}@i@f.0"
    alignment = alignment_of_states(text)
    actual = segment(alignment, frame_shift=0.04)
    assert [one.symbol for one in actual.words] == ["a b", "a", "b"]
    assert [one.symbol for one in actual.phones] == [
        "[SILENCE]", "a", "b", "[SILENCE]", "a", "b",
    ]  # fmt: skip
    assert [one.allophone for one in actual.phones[1:3]] == ["a{#+b}@i", "b{a+#}@f"]
    named = segment(alignment, None, lexicon, frame_shift=0.04).words
    assert [one.symbol for one in named] == ["ab", "a", "ab"]
    assert named[0].alternatives == ("ob",)
    assert named[0].pronunciation == ("a", "b")
    counted = Segmenter().segment(alignment, "one two three", 0.04).words
    assert [one.symbol for one in counted] == ["one", "two", "three"]
    assert (counted[0].start, counted[0].end) == (0.08, 0.16)
    with pytest.raises(SegmentationError, match="expected 2, found 3"):
        Segmenter().segment(alignment, "one two", 0.04)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"a{{#+b}}@i.0 {SIL}", "frame 1: silence inside a word"),
        ("a{#+b}@i.0 a{b+#}@i.0", "frame 1: a{b.#}@i begins a word inside a word"),
        (f"{SIL} a{{#+b}}@i.0", "from frame 1, has no end"),
    ],
)
def test_contradicting_flags(text: str, reason: str) -> None:
    with pytest.raises(SegmentationError, match=reason):
        segment(alignment_of_states(text), frame_shift=0.01)


def test_times() -> None:
    alignment = alignment_of_states(f"{SIL}*3 a{{#+#}}@i@f.0*97")
    with pytest.raises(SegmentationError, match="frame shift is unknown"):
        segment(alignment)
    alignment.start, alignment.end = 0.0, 99 * 0.0125 + 0.025
    word = segment(alignment).words[0]
    assert (word.start, word.end) == (0.0375, 1.25)
    sprint = Segmenter().segment(alignment, None, 0.0125, window=0.025, offset=2.0)
    assert (sprint.words[0].start, sprint.words[0].end) == (2.0375, 3.2625)
    assert sprint.duration == 3.25


def test_soft_alignments(lexicon: Lexicon) -> None:
    """The heaviest items jump from a to silence and back; the heaviest path does not."""
    names = [SIL, "a{#+#}@i@f.0"]
    alphabet = {0: names[0], 1: names[1]}
    weights = [(0, 0, 0.9), (0, 1, 0.1), (1, 1, 0.8), (1, 0, 0.2), (2, 0, 0.6), (2, 1, 0.4)]
    weights += [(3, 1, 0.9), (3, 0, 0.1)]
    time, emission, weight = zip(*weights, strict=True)
    alignment = Alignment(time, emission, weight, alphabet=alphabet)
    with pytest.raises(SegmentationError, match="frame 3 fits no reading"):
        segment(alignment, None, lexicon, "a", 1.0)
    path = Segmenter(None, lexicon, soft="heaviest_path").segment(alignment, "a", 1.0)
    assert [(one.start, one.end) for one in path.words] == [(1, 4)]
    assert path.words[0].score == pytest.approx(0.7)
    two = segment(alignment, None, lexicon, "a a", 1.0)
    assert [(one.start, one.end) for one in two.words] == [(1, 2), (3, 4)]
    assert [one.score for one in two.phones] == pytest.approx([0.9, 0.8, 0.6, 0.9])
    with pytest.raises(SegmentationError, match="several items"):
        Segmenter(soft="error").segment(alignment, None, 1.0)
    with pytest.raises(SegmentationError, match="frame 1 has no item"):
        segment(Alignment([0, 2], [0, 0], alphabet=alphabet), frame_shift=1.0)


# ---- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["monophone", "no-tying"])
def test_labels_are_inverted(kind: str, tmp_path: Path) -> None:
    """Labels of the real alignment give the words and phones of the alignment itself."""
    run = small_run("alignment.viterbi")
    tying = DATA / "state-tying" / "monophone"
    if kind == "no-tying":
        lines = (DATA / "allophones").read_text("utf-8").splitlines()
        symbols = [f"{line}.{state}" for line in lines for state in range(3) if line[0] != "#"]
        tying = tmp_path / "tying"
        tying.write_text("".join(f"{name} {i}\n" for i, name in enumerate(symbols)), "utf-8")
    labeling = AllophoneLabeling("[SILENCE]", DATA / "allophones", state_tying_file=tying)
    by_labels = Segmenter(labeling, run.lexicon)
    with open_archive(run.path) as archive:
        for name in list(archive.segments)[:6]:
            alignment = archive.read_alignment(name)
            labels = Alignment(alignment.time, labeling.labels(alignment), label_type="emission")
            orthography = run.orthographies[name]
            expected = segment(alignment, labeling, run.lexicon, orthography, 0.01)
            actual = by_labels.segment(labels, orthography, 0.01)
            assert actual.words == expected.words
            assert rounded(actual, "phones") == rounded(expected, "phones")
            alone = Segmenter(labeling).segment(labels, None, 0.01)
            assert rounded(alone, "phones") == rounded(expected, "phones")
            if kind == "no-tying":
                assert actual.states == expected.states
                assert rounded(alone, "words") == [
                    (*one[:2], "_".join(word.pronunciation))
                    for one, word in zip(rounded(expected, "words"), expected.words, strict=True)
                ]


def test_labels_that_several_phones_share(tmp_path: Path) -> None:
    (tmp_path / "allophones").write_text("a{#+#}@i@f\nb{#+#}@i@f\n")
    (tmp_path / "tying").write_text("a{#+#}@i@f.0 0\nb{#+#}@i@f.0 0\n")
    labeling = AllophoneLabeling(None, tmp_path / "allophones", None, tmp_path / "tying")
    with pytest.raises(SegmentationError, match="label 0 has 2 phones"):
        segment(Alignment([0], [0], label_type="emission"), labeling, frame_shift=1.0)
    with pytest.raises(SegmentationError, match="needs a labeling"):
        segment(Alignment([0], [0], label_type="emission"), frame_shift=1.0)


# ---- archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mini-plain", "mini-skip", "dense-zero", "short-i6"])
@pytest.mark.parametrize("tier", ["words", "phones", "states"])
def test_the_compiled_pass_equals_the_flags(name: str, tier: Any) -> None:
    run = small_run(name)
    lexicon = "mini" if len(run.lexicon.phonemes) == 7 else "base"
    lines = (ALIGNER / "corpus" / f"allophones.{lexicon}").read_text("utf-8").splitlines()
    allophones = [line for line in lines if line[0] != "#"]
    seen = []
    with open_archive(run.path) as archive:
        for segment_name, actual in segment_archive(archive, allophones, tier, num_threads=2):
            seen.append(segment_name)
            alignment = archive.read_alignment(segment_name)
            if segment_name in run.empty:
                assert not len(actual.start)
                continue
            expected = Segmenter(allophones).segment(alignment, None, 1.0).tier(tier)
            assert actual.start.tolist() == [one.start for one in expected]
            assert actual.end.tolist() == [one.end for one in expected]
            if tier == "phones":
                symbols = [allophones[index] for index in actual.allophone.tolist()]
                assert symbols == [one.allophone for one in expected]
            if tier == "states":
                symbols = [
                    f"{allophones[index]}.{state}"
                    for index, state in zip(actual.allophone, actual.state, strict=True)
                ]
                assert symbols == [one.symbol for one in expected]
        assert seen == list(archive.segments)


def test_a_contradiction_is_named_or_collected(tmp_path: Path) -> None:
    allophones = ["[SILENCE]{#+#}@i@f", "a{#+b}@i", "a{#+#}@i@f"]
    with ArchiveWriter(tmp_path / "x.cache") as writer:
        writer.add_alignment("good", Alignment(range(3), [0, 2, 2]))
        writer.add_alignment("bad", Alignment(range(3), [0, 1, 0]))
        writer.add_alignment("soft", Alignment([0, 0, 1], [2, 0, 0], [0.4, 0.6, 1.0]))
        writer.add_alignment("unknown", Alignment([0], [3]))
    failures: list[Any] = []
    with open_archive(tmp_path / "x.cache") as archive:
        actual = dict(segment_archive(archive, allophones, failures=failures))
        assert {name: one.start.tolist() for name, one in actual.items()} == {
            "good": [1],
            "soft": [],
        }
        assert [error.entry for error in failures] == ["bad", "unknown"]
        assert "frame 2" in str(failures[0])
        with pytest.raises(SegmentationError, match="entry 'bad'"):
            dict(segment_archive(archive, allophones))
        with pytest.raises(ValueError, match="tier must be one of"):
            segment_archive(archive, allophones, "syllables")  # type: ignore[arg-type]


# ---- back into an alignment ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mini-plain", "alignment.viterbi"])
def test_words_and_phones_become_an_alignment(name: str) -> None:
    """All but the states inside a phone, and contexts where Sprint had the choice, come back."""
    run = small_run(name)
    folder = ALIGNER / "corpus" / ("allophones.mini" if name == "mini-plain" else "allophones.base")
    allophones = [line for line in folder.read_text("utf-8").splitlines() if line[0] != "#"]
    index = LexiconIndex(run.lexicon)
    with open_archive(run.path) as archive:
        for segment_name in archive.segments:
            alignment = archive.read_alignment(segment_name)
            orthography = run.orthographies[segment_name]
            expected = segment(alignment, None, index, orthography, run.shift)
            made = alignment_of(expected, index, allophones)
            actual = segment(made, allophones, index, orthography, run.shift)
            assert actual.words == expected.words
            assert rounded(actual, "phones") == rounded(expected, "phones")
            assert made.is_viterbi
            assert made.num_frames == alignment.num_frames
            words_only = replace(expected, phones=[], states=[])
            again = alignment_of(words_only, index, allophones)
            assert segment(again, None, index, orthography, run.shift).words == expected.words


def test_states_are_divided_evenly(lexicon: Lexicon) -> None:
    text = "a{#+b}@i.0 b{a+#}@f.0"
    source = segment(alignment_of_states(text.replace(".0", ".0*7")), None, lexicon, "ob", 1.0)
    made = alignment_of(source, lexicon, ["[SILENCE]{#+#}@i@f", "a{#+b}@i", "b{a+#}@f"])
    assert made.state.tolist() == [0, 0, 0, 1, 1, 2, 2] * 2
    assert made.allophone.tolist() == [1] * 7 + [2] * 7
    with pytest.raises(SegmentationError, match=r"allophone 'a\{#\+b\}@i'"):
        alignment_of(source, lexicon, ["[SILENCE]{#+#}@i@f"])
    with pytest.raises(SegmentationError, match="too few frames"):
        alignment_of(replace(source, phones=[]), lexicon, ["a"], 14.0)
    with pytest.raises(SegmentationError, match="not in the lexicon"):
        alignment_of(replace(source, phones=[], words=[Interval(0.0, 14.0, "z")]), lexicon, ["a"])
    assert np.array_equal(made.time, np.arange(14))


@pytest.mark.parametrize(
    ("across_word", "gap", "symbols"),
    [
        (True, 0, ["a{#+b}@i", "b{a+a}@f", "a{b+b}@i", "b{a+#}@f"]),
        (False, 0, ["a{#+b}@i", "b{a+#}@f", "a{#+b}@i", "b{a+#}@f"]),
        (True, 3, ["a{#+b}@i", "b{a+#}@f", SILENCE, "a{#+b}@i", "b{a+#}@f"]),
    ],
)
def test_contexts_across_words(
    lexicon: Lexicon, across_word: bool, gap: int, symbols: list[str]
) -> None:
    allophones = [SILENCE, "b{a+#}@f", "b{a+a}@f", "a{b+b}@i", "a{#+b}@i"]
    words = [Interval(0.0, 8.0, "ob"), Interval(8.0 + gap, 16.0 + gap, "ob")]
    source = Segmentation(words=words, frame_shift=1.0)
    made = alignment_of(source, lexicon, allophones, num_frames=16 + gap, across_word=across_word)
    assert [allophones[index] for index, _ in groupby(made.allophone.tolist())] == symbols


# ---- against Sprint's own words


@pytest.mark.parametrize("name", ["mini-plain", "dense-i6-s03"])
def test_words_and_windows_are_those_of_the_traceback(name: str) -> None:
    """Sprint's log of each run: segment, lemma, pronunciation, frames, start and end time."""
    run = small_run(name)
    expected = defaultdict(list)
    with gzip.open(ALIGNER / "traceback" / f"{name}.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            segment_name, _, phones, _, _, start, end = line.rstrip("\n").split("\t")
            if phones != "[SILENCE]":
                expected[segment_name].append((phones, float(start), float(end)))
    segmenter = Segmenter(None, run.lexicon)
    with open_archive(run.path) as archive:
        window = archive_window(archive, run.shift)
        assert window == pytest.approx(run.shift + 0.015)
        for segmentation in iter_segmentations(
            archive, segmenter, run.orthographies, window=window, failures=[]
        ):
            words = [
                (" ".join(word.pronunciation), word.start, word.end) for word in segmentation.words
            ]
            assert [word[0] for word in words] == [w[0] for w in expected[segmentation.name]]
            for word, truth in zip(words, expected[segmentation.name], strict=True):
                assert word[1:] == pytest.approx(truth[1:])


# ---- against the aligner's own words -------------------------------------------------------------


@pytest.mark.parametrize("num_states", [1, 2, 3])
@pytest.mark.parametrize("skip", [0.0, 1.0, float("inf")])
def test_words_are_those_of_the_search(num_states: int, skip: float) -> None:
    """Random posteriors and orthographies: the words of the best path, from its states alone."""
    rng = np.random.default_rng(num_states)
    lexicon = Lexicon.read(ALIGNER / "corpus" / "lexicon.mini.xml")
    builder = AutomatonBuilder(
        lexicon,
        states_per_phone=num_states,
        state_repetitions=1,
        across_word=True,
        phone_transition=(1.0, 0.0, skip, 0.5),
        silence_transition=(0.5, 0.5, float("inf"), 0.5),
        entry_transition=(float("inf"), 0.0, skip, 0.0),
    )
    aligner = Aligner(builder, min_beam=1e9, until_score_is_equal=False)
    segmenter = Segmenter(None, lexicon, on_ambiguity="error")
    spellings = [
        spelling
        for lemma in lexicon.lemmas
        if lemma.pronunciations and not lemma.special
        for spelling in lemma.orthographies
    ]
    num_checked = 0
    for _ in range(20):
        count = int(rng.integers(1, 7))
        orthography = " ".join(rng.choice(spellings, count))
        num_frames = int(rng.integers(2 * count, 8 * count * min(num_states, 2)))
        posteriors = rng.dirichlet(np.full(builder.num_labels, 0.15), num_frames) + 1e-6
        result = aligner.align(np.log(posteriors).astype(np.float32), orthography)
        if result.alignment is None:
            continue
        try:
            words = segmenter.segment(result.alignment, orthography, 1.0).words
        except AmbiguousSegmentationError:
            assert num_states == 1
            continue
        expected = [(word.start, word.end) for word in result.words if not word.is_silence]
        assert [(word.start, word.end) for word in words] == expected
        num_checked += 1
    assert num_checked > 5
