"""The commands about words and phones: convert, show --words, stats --compare, plot --words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sprintcache import open_archive
from sprintcache.cli import main
from tests.paths import DATA

ALIGNER = DATA / "aligner"
MINI = [
    f"--lexicon={ALIGNER / 'corpus' / 'lexicon.mini.xml'}",
    f"--corpus={ALIGNER / 'corpus' / 'mini.xml'}",
]
BASE = [
    f"--lexicon={ALIGNER / 'corpus' / 'lexicon.base.xml'}",
    f"--corpus={ALIGNER / 'corpus' / 'base.xml'}",
]
PLAIN = ALIGNER / "alignments" / "mini-plain.cache"
SKIP = ALIGNER / "alignments" / "mini-skip.cache"
COARSE = ALIGNER / "alignments" / "dense-i6-s03.cache"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns status, output and errors."""

    def call(*argv: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def truth(tier: str, name: str) -> str:
    with gzip.open(ALIGNER / tier / f"{name}.ctm.gz", "rt", encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("tier", ["words", "phones"])
def test_convert_writes_the_truth(tier: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.ctm"
    status, out, err = run("convert", PLAIN, "--to", path, "--tier", tier, *MINI)
    assert (status, out) == (0, "")
    assert "12 segments written to" in err
    assert path.read_text("utf-8") == truth(tier, "mini-plain")
    status, _, err = run("convert", PLAIN, "--to", path, *MINI)
    assert status == 1
    assert "--overwrite" in err


@pytest.mark.parametrize("ending", ["ctm", "TextGrid", "jsonl"])
def test_convert_there_and_back(ending: str, run: Run, tmp_path: Path) -> None:
    """Alignment, text file, alignment, CTM: the same words."""
    text, back, ctm = tmp_path / f"x.{ending}", tmp_path / "back.cache", tmp_path / "x2.ctm"
    assert run("convert", PLAIN, "--to", text, *MINI)[0] == 0
    allophones = f"--allophones={ALIGNER / 'corpus' / 'allophones.mini'}"
    assert run("convert", text, "--to", back, allophones, *MINI)[0] == 0
    assert run("convert", back, "--to", ctm, *MINI)[0] == 0
    expected = truth("words", "mini-plain")
    assert ctm.read_text("utf-8") == expected
    with open_archive(back) as archive, open_archive(PLAIN) as original:
        assert archive.read_attributes("mini/rec000/1")["frame-shift"] == "0.01"
        if ending != "ctm":  # which has no silence at the end
            for name in original.segments:
                assert archive.num_frames(name) == original.num_frames(name)
    assert run("convert", text, "--to", tmp_path / "other.ctm")[0] == 0
    assert (tmp_path / "other.ctm").read_text("utf-8") == expected


def test_convert_into_a_folder(run: Run, tmp_path: Path) -> None:
    options = ["--format", "textgrid", "--textgrid-form", "short", "--encoding", "utf-16"]
    select = ["--select", "*/rec00[01]/1"]
    assert run("convert", PLAIN, "--to", tmp_path, *options, *select, *MINI)[0] == 0
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.TextGrid"))
    assert files == ["mini/rec000/1.TextGrid", "mini/rec001/1.TextGrid"]
    text = (tmp_path / files[0]).read_text("utf-16")
    assert text.split("\n")[3:8] == ["0", "0.4", "<exists>", "2", '"IntervalTier"']


def test_convert_reports_what_is_left_out(run: Run, tmp_path: Path) -> None:
    short = ALIGNER / "alignments" / "short-i6.cache"
    status, _, err = run("convert", short, "--to", tmp_path / "x.ctm", *BASE)
    assert status == 1
    assert "11 segments written" in err
    assert "13 segments were left out, the first one:" in err
    assert "the alignment has no frames" in err
    assert (tmp_path / "x.ctm").read_text("utf-8") == truth("words", "short-i6")
    status, _, err = run("convert", tmp_path / "x.ctm", "--to", tmp_path / "y.cache")
    assert status == 2
    assert "--lexicon and --allophones" in err


def test_show_words(run: Run) -> None:
    status, out, _ = run("show", PLAIN, "mini/rec006/1", "--words", *MINI)
    assert status == 0
    lines = [line.split() for line in out.splitlines() if line[0] != "#"]
    assert " ".join(lines[1]) == "0.040 0.170 0.130 see tea s 0.090 t 0.130 e 0.170"
    assert [line[:3] for line in lines if line[3] != "[SILENCE]"] == [
        ["0.040", "0.170", "0.130"],
        ["0.170", "0.360", "0.190"],
    ]
    record = json.loads(run("show", PLAIN, "mini/rec006/1", "--words", "--json", *MINI)[1])
    assert [word["symbol"] for word in record["words"]] == ["see tea", "set"]
    assert record["words"][0]["pronunciation"] == ["s", "t", "e"]
    by_flags = json.loads(run("show", PLAIN, "mini/rec006/1", "--words", "--json")[1])
    assert [word["symbol"] for word in by_flags["words"]] == ["s t e", "s e t"]


def test_stats_compares_any_two_sources(run: Run, tmp_path: Path) -> None:
    expected = json.loads((ALIGNER / "metrics.json").read_text("utf-8"))
    exact = expected["dense-i6-s03/mini-plain"]["words"]
    ctm, grid = tmp_path / "x.ctm", tmp_path / "x.TextGrid"
    ctm.write_text(truth("words", "dense-i6-s03"), "utf-8")
    assert run("convert", PLAIN, "--to", grid, *MINI)[0] == 0
    for hypothesis, reference in ((COARSE, PLAIN), (ctm, PLAIN), (COARSE, grid), (ctm, grid)):
        options = [*MINI, "--tier", "words", "--json"]
        status, out, _ = run("stats", "--compare", hypothesis, reference, *options)
        assert status == 0
        actual = json.loads(out)
        assert actual["segments"] == 12
        assert actual["intervals"]["pairs"] == 40
        assert actual["micro"]["wbe"] == pytest.approx(exact["micro"]["wbe"])
        assert actual["macro"]["wbe"] == pytest.approx(exact["macro"]["wbe"])
        for collar in (10, 50, 200):
            share = exact["collars_in_whole_ms"][f"acc_{collar}ms"]
            assert actual["collars_ms"][str(collar)]["accuracy"] == pytest.approx(share)


def test_stats_of_phones_as_text(run: Run, tmp_path: Path) -> None:
    options = ["--tier", "phones", "--collars", "0,10", "--select", "*/rec00[0-8]/*"]
    status, out, err = run("stats", "--compare", SKIP, PLAIN, *options, *MINI)
    assert (status, err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines() if line[0] not in "# ")
    assert facts["segments"] == "9 compared"
    assert "without partner 0 and 0" in facts["phones"]
    assert any(line.split()[0] == "10" for line in out.splitlines() if line[0] == " ")
    status, _, err = run("stats", "--compare", SKIP, PLAIN, "--tier", "words", "--select", "zz")
    assert status == 1
    assert "no segment matches 'zz'" in err
    assert run("stats", PLAIN, "--tier", "words")[0] == 2


def test_pictures(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "words.svg"
    options = ["--words", "--output", picture]
    assert run("plot", COARSE, "mini/rec006/1", *options, *MINI)[0] == 0
    text = picture.read_text("utf-8")
    assert "<!-- see tea -->" in text
    assert "<!-- set -->" in text
    picture = tmp_path / "x.svg"
    options = ["--tier", "words", "--output", picture]
    assert run("stats", "--compare", COARSE, PLAIN, *options, *MINI)[0] == 0
    assert picture.stat().st_size > 1000
