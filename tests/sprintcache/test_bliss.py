"""Bliss corpus files: names, orthographies, speakers and times by RASR's rules, and bad input."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprintcache.bliss import Corpus, Segment
from sprintcache.errors import CorruptError, FormatError, TruncatedError
from tests.paths import DATA

REAL = DATA / "corpus" / "corpus.xml.gz"
NESTED = """<?xml version="1.0" encoding="iso-8859-1"?>
<corpus name="c">
  <speaker-description name="anna"><gender> female </gender><age>30</age></speaker-description>
  <speaker-description><gender>male</gender></speaker-description>
  <recording name="r1" audio="a/r1.wav">
    <segment start="0.5" end="2"><orth> gr\xfcn  <noise>[breath]</noise>
      ist </orth></segment>
    <segment start="2" end="inf" track="1"><speaker name="anna"/><orth/></segment>
    <segment name="3"/>
    <segment/>
  </recording>
  <subcorpus name="s">
    <speaker name="anna"/>
    <subcorpus name="t">
      <recording name="r1" audio="r1.wav">
        <speaker-description name="anna"><gender>unknown</gender></speaker-description>
        <segment name="x"><condition name="y"/><orth>a</orth></segment>
        <segment name="y"><speaker name="anna"/></segment>
        <segment name="z"><speaker-description name="own"><gender>male</gender>
          </speaker-description></segment>
      </recording>
    </subcorpus>
    <include file="more/more.xml.gz"/>
  </subcorpus>
  <recording name="r2" video="v"><segment name="1"/></recording>
</corpus>"""
INCLUDED = (
    '<corpus name="s"><recording name="r9" audio="b"><segment name="1"/></recording></corpus>'
)


def corpus(folder: Path, text: str) -> Corpus:
    path = folder / "corpus.xml"
    path.write_text(text, "iso-8859-1")
    return Corpus(path)


def test_the_real_corpus() -> None:
    """Names and orthographies are those that the real Sprint gave to Python."""
    with gzip.open(DATA / "transcripts" / "control-iterate-corpus-no-features.jsonl.gz") as file:
        calls = [json.loads(line) for line in file]
    actual = Corpus(REAL)
    segments = {segment.name: segment for segment in actual}
    (order,) = (line["kwargs"] for line in calls if line["call"] == "getSegmentList")
    assert actual.name == order["corpusName"]
    assert list(segments) == order["segmentList"]
    for line in calls:
        if line["call"] == "control.process_segment":
            segment = segments[line["kwargs"]["name"]]
            assert f"{segment.orthography} " == line["kwargs"]["orthography"]["bytes"]
            assert segment.speaker == line["kwargs"]["speaker_name"]
            assert (segment.start, segment.end) == (0.0, float("inf"))
    assert [segments[f"espeak/rec0{n}/1"].gender for n in ("01", "15")] == ["male", "female"]
    assert list(actual) == list(actual)


def test_names_defaults_and_includes(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "more.xml.gz").write_bytes(gzip.compress(INCLUDED.encode()))
    actual = list(corpus(tmp_path, NESTED))
    inf = float("inf")
    r1, t = ("c/r1", "a/r1.wav"), ("c/s/t/r1", "r1.wav")
    assert actual == [
        Segment("c/r1/1", "gr\xfcn [breath] ist", None, "male", 0.5, 2.0, 0, *r1),
        Segment("c/r1/2", "", "anna", "female", 2.0, inf, 1, *r1),
        Segment("c/r1/3", None, None, "male", 0.0, inf, 0, *r1),
        Segment("c/r1/4", None, None, "male", 0.0, inf, 0, *r1),
        Segment("c/s/t/r1/x", "a", "anna", "female", 0.0, inf, 0, *t),
        Segment("c/s/t/r1/y", None, "anna", "unknown", 0.0, inf, 0, *t),
        Segment("c/s/t/r1/z", None, "own", "male", 0.0, inf, 0, *t),
        Segment("c/s/r9/1", None, "anna", "female", 0.0, inf, 0, "c/s/r9", "b"),
        Segment("c/r2/1", None, None, "male", 0.0, inf, 0, "c/r2", None),
    ]
    assert actual[0].short_name == "1"


def test_an_unnamed_segment_evades_a_taken_name(tmp_path: Path) -> None:
    text = '<corpus name="c"><recording name="r"><segment name="2"/><segment/></recording></corpus>'
    assert [segment.name for segment in corpus(tmp_path, text)] == ["c/r/2", "c/r/2+"]


R = '<corpus name="c"><recording name="r">{}</recording></corpus>'


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", CorruptError, "not well-formed XML"),
        ("<a/>", CorruptError, "expected <corpus>, found <a>"),
        ("<corpus/>", CorruptError, "attribute 'name' of <corpus>"),
        ('<corpus name="c"><recording/></corpus>', CorruptError, "attribute 'name'"),
        ('<corpus name="c"><segment/>', CorruptError, "line 1"),
        (R.format('<segment name="1"/>' * 2), CorruptError, "is used twice in 'c/r'"),
        (
            '<corpus name="c">' + '<recording name="r"/>' * 2 + "</corpus>",
            CorruptError,
            "is used twice",
        ),
        (R.format('<segment><speaker name="x"/></segment>'), CorruptError, "'x' is not defined"),
        (R.format("<segment><speaker/></segment>"), CorruptError, "attribute 'name' of <speaker>"),
        (R.format('<speaker-description name="a"/>' * 2), CorruptError, "two speakers"),
        (R.format('<segment start="x"/>'), CorruptError, "start of segment 'c/r/1'"),
        (R.format('<segment start="2" end="1"/>'), CorruptError, "ends before it starts"),
        (R.format('<segment start="nan"/>'), CorruptError, "ends before it starts"),
        (R.format('<segment track="x"/>'), CorruptError, "track"),
        ('<corpus name="c"><include/></corpus>', CorruptError, "attribute 'file'"),
        ('<corpus name="c"><include file="corpus.xml"/></corpus>', CorruptError, "64 levels deep"),
        ('<?xml version="1.0" encoding="unknown"?><corpus name="c"/>', FormatError, "encoding"),
        (R.format("<segment><orth><alternatives/></orth></segment>"), CorruptError, "altern"),
    ],
)
def test_bad_corpora(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message) as caught:
        list(corpus(tmp_path, text))
    assert "corpus.xml" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Corpus(tmp_path / "none")
    actual = corpus(tmp_path, '<corpus name="c"><include file="none"/></corpus>')
    with pytest.raises(FileNotFoundError, match="none"):
        list(actual)


def test_cut_and_damaged_gzip_files(tmp_path: Path) -> None:
    data = REAL.read_bytes()
    path = tmp_path / "corpus.xml.gz"
    path.write_bytes(data[:-20])
    with pytest.raises(TruncatedError):
        list(Corpus(path))
    path.write_bytes(data[:400] + b"\0\0\0\0" + data[404:])
    with pytest.raises(FormatError):
        list(Corpus(path))


@given(offset=st.integers(0, 5000), byte=st.integers(0, 255))
def test_any_changed_byte_gives_segments_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, offset: int, byte: int
) -> None:
    data = bytearray(gzip.decompress(REAL.read_bytes()))
    data[offset % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.xml"
    path.write_bytes(data)
    try:
        segments = list(Corpus(path))
    except FormatError:
        return
    assert len(segments) == len({segment.name for segment in segments})


def test_a_long_corpus_is_read_in_constant_memory(tmp_path: Path) -> None:
    recording = '<recording name="r{}">' + "<segment><orth>a b</orth></segment>" * 50
    text = "".join(recording.format(n) + "</recording>" for n in range(400))
    actual = corpus(tmp_path, f'<corpus name="c">{text}</corpus>')
    tracemalloc.start()
    try:
        assert sum(1 for _ in actual) == 20000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_files_that_include_each_other_many_times(tmp_path: Path) -> None:
    """Their number doubles at every level; files that differ are not limited."""
    for i in range(40):
        include = f'<include file="{i + 1}.xml"/>' * 2 if i < 39 else ""
        (tmp_path / f"{i}.xml").write_text(f'<corpus name="c">{include}</corpus>')
    with pytest.raises(CorruptError, match="more than 1000 repeated includes"):
        list(Corpus(tmp_path / "0.xml"))
    part = '<corpus name="c"><recording name="{}"><segment/></recording></corpus>'
    for i in range(1200):
        (tmp_path / f"part{i}.xml").write_text(part.format(i))
    includes = "".join(f'<include file="part{i}.xml"/>' for i in range(1200))
    actual = corpus(tmp_path, f'<corpus name="c">{includes}</corpus>')
    assert [segment.name for segment in actual] == [f"c/{i}/1" for i in range(1200)]


@pytest.mark.parametrize(
    "text",
    [
        '<corpus name="c">' + '<subcorpus name="long name">' * 5000,
        '<corpus name="' + "c" * 100_000 + '"><recording name="r">' + "<segment/>" * 5000,
    ],
    ids=["deep", "long"],
)
def test_full_names_are_limited(tmp_path: Path, text: str) -> None:
    """Together the names of a small file could need any memory."""
    path = tmp_path / "corpus.xml"
    path.write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptError, match=r"64 levels|100000 characters"):
            list(Corpus(path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("levels", [64, 65, 100_000])
@pytest.mark.parametrize("tag", ["orth", "optional"])
def test_levels_of_an_orthography_are_limited(tmp_path: Path, levels: int, tag: str) -> None:
    text = f"<orth>{f'<{tag}>' * levels}word{f'</{tag}>' * levels}</orth>"
    segments = corpus(
        tmp_path,
        f'<corpus name="c"><recording name="r"><segment>{text}</segment></recording></corpus>',
    )
    if levels <= 64:
        assert [segment.orthography for segment in segments] == ["word"]
    else:
        with pytest.raises(
            CorruptError, match="more than 64 levels in the orth of segment 'c/r/1'"
        ):
            list(segments)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="a pipe"):
        Corpus(tmp_path / "pipe")
    with pytest.raises(FormatError, match="a pipe"):
        list(corpus(tmp_path, '<corpus name="c"><include file="pipe"/></corpus>'))
