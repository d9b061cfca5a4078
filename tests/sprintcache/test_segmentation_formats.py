"""Text formats of segmentations: CTM, TextGrid, Audacity labels, JSON lines.

What is written is read by strict readers of the test, and by the libraries `textgrid` and
`praatio`; what is read are files by hand, as Praat, sclite and Audacity write them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import EntryNotFoundError, SprintCacheError, UnsupportedError, open_archive
from sprintcache.bliss import Segment
from sprintcache.errors import FormatError
from sprintcache.segmentation import (
    Interval,
    Segmentation,
    Segmenter,
    read_audacity,
    read_ctm,
    read_json_lines,
    read_textgrid,
    read_textgrid_tiers,
    read_tiers,
    to_recordings,
    to_segments,
    write_audacity,
    write_ctm,
    write_json_lines,
    write_textgrid,
    write_tiers,
)
from tests.sprintcache.test_segmentation import small_run

WORDS = [Interval(0.08, 0.25, "see tea", 0.75), Interval(0.25, 0.6, 'a "b" é')]
PHONES = [
    Interval(0.0, 0.08, "[SILENCE]"),
    Interval(0.08, 0.25, "s", allophone="s{#+e}@i"),
    Interval(0.25, 0.6, "a"),
    Interval(0.6, 0.7, "[SILENCE]"),
]


def example(name: str = "corpus/rec1/1") -> Segmentation:
    return Segmentation(
        words=WORDS, phones=PHONES, num_frames=70, frame_shift=0.01, duration=0.7, name=name
    )


def real() -> dict[str, Segmentation]:
    """The words and phones of a run of the real aligner."""
    run = small_run("mini-plain")
    segmenter = Segmenter(None, run.lexicon)
    with open_archive(run.path) as archive:
        return {
            name: segmenter.segment(
                archive.read_alignment(name), run.orthographies[name], run.shift, name=name
            )
            for name in archive.segments
        }


def times(intervals: list[Interval]) -> list[tuple[float, float, str]]:
    return [(one.start, one.end, one.symbol) for one in intervals]


# ---- CTM -----------------------------------------------------------------------------------------

CTM_LINE = re.compile(
    r"(?P<file>[!-~\u00a1-\uffff]+) (?P<channel>[0-9A-Za-z]+) (?P<begin>[0-9]+\.[0-9]{3,6})"
    r" (?P<duration>[0-9]+\.[0-9]{3,6}) (?P<token>[!-~\u00a1-\uffff]+)( (?P<score>[01]\.[0-9]{4}))?"
)


def test_ctm_is_what_sclite_reads(tmp_path: Path) -> None:
    path = tmp_path / "x.ctm"
    write_ctm(path, {**real(), "z": example("z")})
    text = path.read_text("utf-8")
    assert text.endswith("\n")
    lines = [CTM_LINE.fullmatch(line) for line in text.splitlines()]
    assert all(lines)
    keys = [(one["file"], float(one["begin"])) for one in lines if one]
    assert keys == sorted(keys)
    assert text.splitlines()[-2:] == ["z 1 0.080 0.170 see_tea 0.7500", 'z 1 0.250 0.350 a_"b"_é']
    with gzip.open(small_run("mini-plain").folder / "words" / "mini-plain.ctm.gz", "rt") as file:
        expected = {tuple(line.split()) for line in file}
    assert {tuple(line.split()) for line in text.splitlines()[:-2]} == expected


def test_ctm_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.ctm.gz"
    text = ";; a comment\n\n2004/b A 1.0 .5 two 0.9\r\nrec1 1 0 1 one\n2004/b A 0.25 0.75 a\t-1.5\n"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    tiers = read_ctm(path)
    assert list(tiers) == ["2004/b", "rec1"]
    assert times(tiers["2004/b"].words) == [(0.25, 1.0, "a"), (1.0, 1.5, "two")]
    assert [one.score for one in tiers["2004/b"].words] == [-1.5, 0.9]
    assert tiers["2004/b"].duration == 1.5
    assert read_ctm(path, "phones")["rec1"].phones[0].symbol == "one"
    path = tmp_path / "stereo.ctm"
    path.write_text("r A 0 1 x\nr B 0 1 y\n")
    with pytest.raises(UnsupportedError, match="line 2: file 'r' has several channels"):
        read_ctm(path)
    assert times(read_ctm(path, channel="B")["r"].words) == [(0.0, 1.0, "y")]


def test_ctm_of_recordings(tmp_path: Path) -> None:
    facts: dict[str, Any] = {
        "orthography": None, "speaker": None, "gender": None, "track": 0, "audio": None,
    }  # fmt: skip
    corpus = [
        Segment("c/rec/1", start=0.0, end=0.7, recording="c/rec", **facts),
        Segment("c/rec/2", start=10.3, end=11.0, recording="c/rec", **facts),
        Segment("c/other/1", start=0.0, end=float("inf"), recording="c/other", **facts),
    ]
    segments = {name: example(name) for name in ("c/rec/1", "c/rec/2")}
    recordings = to_recordings(segments, corpus)
    assert times(recordings["c/rec"].words)[2:] == [
        (10.38, 10.55, "see tea"), (10.55, 10.9, WORDS[1].symbol),
    ]  # fmt: skip
    write_ctm(tmp_path / "x.ctm", recordings)
    with pytest.raises(EntryNotFoundError, match="'c/rec/2'"):
        to_recordings(segments, corpus[:1])
    back = to_segments(read_ctm(tmp_path / "x.ctm"), corpus)
    assert list(back) == ["c/rec/1", "c/rec/2"]
    assert [one[:2] for one in times(back["c/rec/2"].words)] == [(0.08, 0.25), (0.25, 0.6)]
    assert back["c/rec/2"].duration == pytest.approx(0.7)


# ---- TextGrid ------------------------------------------------------------------------------------

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Mary - Words"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.25
            text = ""
        intervals [2]:
            xmin = 1.25
            xmax = 2
            text = "say ""Ä"" 5"
        intervals [3]:
            xmin = 2
            xmax = 2.5
            text = " "
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 1.5
            mark = "ding"
    item [3]:
        class = "IntervalTier"
        name = "Mary - phones"
        xmin = 0
        xmax = 2.5
        intervals: size = 0
"""
SHORT = """File type = "ooTextFile short"
"TextGrid"

0
2.5
<exists>
3
"IntervalTier"
"Mary - Words"
0
2.5
3
0
1.25
""
1.25
2
"say ""Ä"" 5"
2
2.5
" "
"TextTier"
"bell"
0
2.5
1
1.5
"ding"
"IntervalTier"
"Mary - phones"
0
2.5
0
"""


@pytest.mark.parametrize("text", [LONG, SHORT, "! 7 \n" + LONG.replace("xmax = 2\n", "xmax=  2\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "latin-1", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_textgrids_of_praat_are_read(
    text: str, encoding: str, newline: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.TextGrid"
    text = text.replace("\n", newline)
    path.write_bytes(("\ufeff" * (encoding == "utf-16-be") + text).encode(encoding))
    grid = read_textgrid(path)
    assert (grid.start, grid.end) == (0.0, 2.5)
    assert [(tier.name, tier.is_point_tier) for tier in grid.tiers] == [
        ("Mary - Words", False), ("bell", True), ("Mary - phones", False),
    ]  # fmt: skip
    assert times(grid.tiers[0].intervals) == [(1.25, 2.0, 'say "Ä" 5')]
    assert times(grid.tiers[1].intervals) == [(1.5, 1.5, "ding")]
    tiers = read_textgrid_tiers(path)
    assert times(tiers["Mary"].words) == [(1.25, 2.0, 'say "Ä" 5')]
    assert list(tiers["x"].other_tiers) == ["bell"]
    assert tiers["Mary"].duration == 2.5


@pytest.mark.parametrize("form", ["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrids_are_read_by_others(form: Any, encoding: Any, tmp_path: Path) -> None:
    textgrid = pytest.importorskip("textgrid")
    praatio = pytest.importorskip("praatio.textgrid")
    path = tmp_path / "x.TextGrid"
    segmentation = example()
    segmentation.set_tier("bells", [Interval(0.3, 0.3, "ding")])
    write_textgrid(path, segmentation, form=form, encoding=encoding)
    words = [(0.0, 0.08, ""), (0.08, 0.25, "see tea"), (0.25, 0.6, 'a "b" é'), (0.6, 0.7, "")]
    phones = [(0.0, 0.08, ""), (0.08, 0.25, "s"), (0.25, 0.6, "a"), (0.6, 0.7, "")]
    opened = praatio.openTextgrid(str(path), includeEmptyIntervals=True)
    assert opened.tierNames == ("words", "phones", "bells")
    assert [tuple(one) for one in opened.getTier("words").entries] == words
    assert [tuple(one) for one in opened.getTier("phones").entries] == phones
    assert [tuple(one) for one in opened.getTier("bells").entries] == [(0.3, "ding")]
    if form == "long":  # the other library reads the long form only
        grid = textgrid.TextGrid.fromFile(str(path))
        actual = [(one.minTime, one.maxTime, one.mark) for one in grid[0]]
        assert [one[:2] for one in actual] == [one[:2] for one in words]
        assert [one[2] for one in actual[:2]] == ["", "see tea"]
        assert (grid.minTime, grid.maxTime) == (0.0, 0.7)
    back = read_textgrid_tiers(path, "corpus/rec1/1")["corpus/rec1/1"]
    assert times(back.words) == times(WORDS)
    assert times(back.phones) == times(PHONES[1:3])
    assert times(back.tier("bells")) == [(0.3, 0.3, "ding")]


def test_boundaries_of_a_textgrid_are_the_same_number_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "x.TextGrid"
    window = [
        Interval(0.0, 0.1 + 0.2, "a"),
        Interval(0.3, 0.625, "b"),
        Interval(0.6, 1 / 3 * 2, "c"),
    ]
    write_textgrid(path, Segmentation(words=window, duration=1.0), ["words"], form="short")
    numbers = re.findall(r"^[0-9.]+$", path.read_text(), re.MULTILINE)
    assert numbers[:6] == ["0", "1", "1", "0", "1", "4"]
    pairs = numbers[6:]
    assert pairs == ["0", "0.3", "0.3", "0.6", "0.6", "0.666667", "0.666667", "1"]


# ---- Audacity and JSON ---------------------------------------------------------------------------


def test_audacity(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_audacity(path, WORDS)
    expected = '0.080000\t0.250000\tsee tea\n0.250000\t0.600000\ta "b" é\n'
    assert path.read_text("utf-8") == expected
    assert times(read_audacity(path)) == times(WORDS)
    path.write_text("0.5\t0.5\tpoint\n\\\t100.0\t200.5\n1\t2\n", "utf-8")
    assert times(read_audacity(path)) == [(0.5, 0.5, "point"), (1.0, 2.0, "")]


def test_json_lines_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    tiers = {**real(), "z": example("z")}
    write_json_lines(path, tiers)
    assert read_json_lines(path) == tiers
    facts = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [one["segment"] for one in facts] == list(tiers)
    assert facts[-1]["words"][0] == {"start": 0.08, "end": 0.25, "symbol": "see tea", "score": 0.75}


# ---- all formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".ctm", ".TextGrid", ".jsonl", ".ctm.gz"])
def test_all_segments_come_back(ending: str, tmp_path: Path) -> None:
    tiers = real()
    path = tmp_path / f"x{ending}"
    write_tiers(path, tiers, ["words"])
    back = read_tiers(path)
    assert set(back) == set(tiers)
    for name, segmentation in tiers.items():
        expected = [(*one[:2], one[2]) for one in times(segmentation.words)]
        if ending.startswith(".ctm"):
            expected = [(*one[:2], one[2].replace(" ", "_")) for one in expected]
        assert times(back[name].words) == expected


@pytest.mark.parametrize("format_name", ["textgrid", "audacity"])
def test_a_folder_has_a_file_for_each_segment(format_name: str, tmp_path: Path) -> None:
    tiers = real()
    write_tiers(tmp_path, tiers, ["words"], format_name)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    ending = {"textgrid": ".TextGrid", "audacity": ".txt"}[format_name]
    assert files == {name + ending for name in tiers}
    back = read_tiers(tmp_path, format_name=format_name)
    assert {name: times(one.words) for name, one in back.items()} == {
        name: times(one.words) for name, one in tiers.items()
    }
    with pytest.raises(ValueError, match="does not make a file name"):
        write_tiers(tmp_path, {"../x": example()}, ["words"], format_name)


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    tiers = {"a b": example(), "c": example()}
    with pytest.raises(ValueError, match="has no blanks"):
        write_tiers(tmp_path / "x.ctm", tiers)
    with pytest.raises(ValueError, match="holds one tier"):
        write_tiers(tmp_path / "x.ctm", tiers, ["words", "phones"])
    with pytest.raises(ValueError, match="holds one segment, not 2"):
        write_tiers(tmp_path / "x.txt", tiers)
    with pytest.raises(ValueError, match="must be one of ctm, textgrid"):
        write_tiers(tmp_path / "x.lab", tiers)


# ---- malformed files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.ctm", "\nf 1 0 1\n", "line 2: not a line of a CTM file"),
        ("x.ctm", "f 1 0 1 a\nf 1 x 1 a\n", "line 2: begin: expected seconds from 0, found 'x'"),
        ("x.ctm", "f 1 0 -1 a\n", "line 1: duration"),
        ("x.ctm", "f 1 nan 1 a\n", "line 1: begin"),
        ("x.ctm", "f 1 1_0 1 a\n", "line 1: begin"),
        ("x.ctm", "f 1 * * <ALT_BEGIN>\n", "line 1: alternatives"),
        ("x.ctm", b"f 1 0 1 \xff\n", "line 1: not utf-8"),
        ("x.ctm", b"f 1 0 1 a\nf 1 1 1 \0\n", "line 2: not a text file"),
        ("x.TextGrid", "", "ends before file type"),
        ("x.TextGrid", '"ooTextFile" "PitchTier"', "line 1: object of Praat: expected TextGrid"),
        ("x.TextGrid", '"wave"', "line 1: not a TextGrid"),
        ("x.TextGrid", SHORT.replace("\n3\n", "\n9999999999\n", 1), "line 7: number of tiers"),
        (
            "x.TextGrid",
            LONG.replace("size = 3\n        intervals [1]", "size = 4\n [1]"),
            "line 28: xmin: expected a number",
        ),
        ("x.TextGrid", LONG.replace("xmax = 2\n", "xmax = 1\n"), "line 21: times of tier"),
        ("x.TextGrid", LONG.replace('phones"', "phones"), "line 38: a string or flag without end"),
        ("x.TextGrid", LONG.replace('"TextTier"', '"Tier"'), "line 28: class of a tier"),
        ("x.txt", "0.5 1 a\n", "line 1: not a label"),
        ("x.txt", "0\t1\ta\n2\t1\tb\n", "line 2: a label ends before it starts"),
        ("x.txt", "\\\t1\t2\n", "line 1: a frequency range without a label"),
        ("x.jsonl", "{}\n", "line 1: not a segment"),
        ("x.jsonl", '{"segment": "a"}\n{"segment": "a"}\n', "line 2: segment 'a' is repeated"),
        ("x.jsonl", "\n[1\n", "line 2: not JSON"),
        ("x.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("x.jsonl", '{"segment": "a", "words": 3}', "line 1: tier 'words'"),
        ("x.jsonl", '{"segment": "a", "words": [{"symbol": "b", "start": 1}]}', "line 1: end"),
        ("x.jsonl", '{"segment": "a", "duration": NaN}', "line 1: not JSON: NaN"),
    ],
)
def test_malformed_files_are_named_with_their_line(
    name: str, text: str | bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError) as caught:
        read_tiers(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


READERS: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("x.ctm", read_ctm, ["f 1 0.5 1 a 0.5\n", ";; x\n"]),
    ("x.TextGrid", read_textgrid_tiers, [LONG, SHORT]),
    ("x.txt", read_audacity, ["0.1\t0.5\ta\n\\\t1\t2\n"]),
    ("x.jsonl", read_json_lines, ['{"segment":"a","words":[{"symbol":"b","start":0,"end":1}]}\n']),
]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A valid file with some bytes replaced, or any text of the pieces that files are made of."""
    name, read, valid = data.draw(st.sampled_from(READERS))
    pieces = st.sampled_from(
        ['"', "<", ">", "!", "\t", "\n", "1", "-1", "1e9", "a", "{", "é", "\\"]
    )
    start = data.draw(st.sampled_from([*valid, ""])).encode()
    at = data.draw(st.integers(0, len(start)))
    cut = data.draw(st.integers(0, 20))
    middle = data.draw(
        st.one_of(st.binary(max_size=8), st.lists(pieces).map(lambda p: "".join(p).encode()))
    )
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(start[:at] + middle + start[at + cut :])
    with contextlib.suppress(SprintCacheError):
        read(path)
