"""The commands that read: output of the real archiver, text, JSON, exit status."""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sprintcache
from sprintcache.cli import _progress, main
from tests.oracle import builder
from tests.paths import DATA, full_data

Run = Callable[..., tuple[int, str, str]]

FULL = full_data()
EXPECTED = DATA / "expected" if FULL is None else FULL / "expected"
ARCHIVES = DATA if FULL is None else FULL / "archives"
LISTS = sorted(EXPECTED.glob("*.list"))
SHOWN = sorted(EXPECTED.glob("*.gz"))
LABELS = [
    f"--allophones={DATA / 'allophones'}",
    f"--state-tying={DATA / 'state-tying' / 'monophone'}",
]
VITERBI = str(DATA / "alignment.viterbi.cache")
PART = str(DATA / "features.part1.cache")
FEATURES = builder.features([[1, 2], [3, 4], [-5.5, 0.25]])
COMMAND = [sys.executable, "-m", "sprintcache"]
FIRST = "espeak/rec000/1"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; returns status, output and errors."""

    def call(*argv: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def written(path: Path, entries: list[tuple[str | bytes, bytes]], **options: bool) -> str:
    path.write_bytes(builder.archive(entries, **options))
    return str(path)


def by_segment(text: str) -> dict[str, str]:
    """Parts of an expected file by the name in the ``# segment`` line before each."""
    parts = re.split(r"^# (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


# ---- ls


@pytest.mark.parametrize("expected", LISTS, ids=lambda path: path.stem)
def test_ls_prints_what_the_archiver_prints(
    run: Run, expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (ARCHIVES / expected.stem).exists():
        pytest.skip("this archive is only in the full set of real Sprint files, which is not here")
    monkeypatch.chdir(ARCHIVES)
    status, out, err = run("ls", expected.stem)
    text = expected.read_text()
    assert out == text[text.index("  archive: ") :].removesuffix("</sprint>\n")
    assert status == 0
    assert (err != "") == ("killed" in expected.stem)


def test_ls_says_once_that_an_archive_was_scanned(run: Run) -> None:
    _, _, err = run("ls", DATA / "features.killed.cache")
    assert err.startswith("sprintcache: warning: ")
    assert "scanned" in err
    assert err.count("\n") == 1


def test_ls_with_globs(run: Run) -> None:
    _, out, _ = run("ls", PART, "*rec003/1", "--segments", "*rec000*")
    assert re.findall(r"espeak\S*", out) == ["espeak/rec000/1", "espeak/rec003/1"]
    assert "total: 2 " in out
    status, out, err = run("ls", PART, "*rec003*", "rec000/1")
    assert (status, out) == (1, "")
    assert err == (
        f"sprintcache: {PART}: no entry matches 'rec000/1'; did you mean 'espeak/rec000/1'?\n"
    )


def test_ls_long(run: Run) -> None:
    _, out, _ = run("ls", "--long", DATA / "features.bundle", "*rec001*")
    assert [line.split() for line in out.splitlines()] == [
        ["position", "compressed", "size", "frames", "datatype", "name"],
        ["40", "-", "382", "-", "-", "espeak/rec001/1.attribs"],
        ["461", "-", "27486", "327", "vector-f32", "espeak/rec001/1"],
    ]


def test_ls_json(run: Run) -> None:
    _, out, _ = run("ls", "--json", PART)
    rows = [json.loads(line) for line in out.splitlines()]
    with sprintcache.open_archive(PART) as archive:
        assert rows == [archive.entry(name)._asdict() for name in archive]
    _, out, _ = run("ls", "--json", "--long", PART, FIRST)
    row = json.loads(out)
    assert (row["datatype"], row["frames"]) == ("vector-f32", 186)


def test_ls_of_damaged_entries(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [("c/1", FEATURES), ("c/2", FEATURES[:-1])])
    status, out, err = run("ls", "--long", path)
    assert status == 1
    assert "(damaged)" in out.splitlines()[2]
    assert err == "sprintcache: 1 damaged entry; see sprintcache verify\n"


def test_ls_pads_by_bytes_like_the_archiver(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [("ségment", b"abc")])
    _, out, _ = run("ls", path)
    assert len(out.splitlines()[3].encode()) == 80


# ---- show


@pytest.mark.parametrize("expected", SHOWN, ids=lambda path: path.stem)
def test_show_prints_what_the_archiver_prints(run: Run, expected: Path) -> None:
    name = re.sub(r"\.(show|flow)\.gz$", "", expected.name)
    same = {"features.cache": ["features.gather50.cache", "features.gz.cache", "features.bundle"]}
    segments = by_segment(gzip.decompress(expected.read_bytes()).decode())
    for archive in [name, *same.get(name, [])]:
        shown = 0
        for segment, text in segments.items():
            if text:
                _, out, _ = run("show", "--archiver-format", LABELS[0], ARCHIVES / archive, segment)
                assert out == text, f"{archive}: {segment}"
                shown += 1
        assert shown >= 2


def test_archiver_format_with_tied_states(run: Run) -> None:
    _, out, _ = run("show", "--archiver-format", VITERBI, FIRST, *LABELS)
    assert out.splitlines()[0] == (
        "  time=\t0\temission=\t120\tallophone=\tn{#+e}@i\tindex=\t120\tstate=\t0\ttied=\t40\t"
    )
    _, out, _ = run("show", "--archiver-format", VITERBI, FIRST)
    assert out.splitlines()[0] == "  time=\t0\temission=\t120"


def test_show_features(run: Run) -> None:
    _, out, _ = run("show", PART, FIRST, "--frames", "1:3")
    head, columns, first, _ = out.splitlines()
    assert head == (
        "espeak/rec000/1: vector-f32, 186 frames x 16, 0.000 to 1.871 s, values -3.986 to 4.785"
    )
    assert columns.split() == ["#", "frame", "start", "end", "values"]
    assert first.split()[:5] == ["1", "0.010", "0.035", "-0.3174", "0.7438"]


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        ("0:2", [0, 1]),
        ("184:", [184, 185]),
        ("-2:", [184, 185]),
        (":1", [0]),
        ("7", [7]),
        ("-1", [185]),
        ("500:600", []),
    ],
)
def test_frames(run: Run, frames: str, shown: list[int]) -> None:
    _, out, _ = run("show", PART, FIRST, "--frames", frames)
    assert [int(line.split()[0]) for line in out.splitlines()[2:]] == shown


def test_show_alignment(run: Run) -> None:
    _, out, _ = run("show", VITERBI, "espeak/rec001/1", *LABELS, "--silence=[SILENCE]")
    lines = out.splitlines()
    assert lines[0].startswith("espeak/rec001/1: Viterbi alignment, 327 items, 327 frames, ")
    assert lines[1] == "# 49 of 79 labels, silence 40.1 %"
    assert lines[2].split() == ["#", "frames", "count", "state", "label"]
    assert lines[3].split() == ["0-5", "6", "[SILENCE]{#+#}@i@f.0", "0"]
    assert lines[4].split() == ["6", "1", "t{#+e}@i.0", "58"]
    assert sum(int(line.split()[1]) for line in lines[3:]) == 327
    # without files, symbols come from the alphabet
    _, out, _ = run("show", VITERBI, "espeak/rec001/1", "--frames", "4:8")
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["4-5", "2", "[SILENCE]{#+#}@i@f.0"],
        ["6", "1", "t{#+e}@i.0"],
        ["7", "1", "t{#+e}@i.1"],
    ]


def test_show_soft_alignment(run: Run) -> None:
    _, out, _ = run("show", DATA / "alignment.bw.gz.cache", FIRST)
    lines = out.splitlines()
    assert lines[0].startswith("espeak/rec000/1: soft alignment, 564 items, 186 frames, ")
    assert lines[2].split() == ["0", "1", "n{#+e}@i.0", "0.994876"]
    assert lines[3].split() == ["0", "1", "[SILENCE]{#+#}@i@f.0", "0.005124"]


def test_show_names_the_alignment_that_contradicts_the_allophones(run: Run, tmp_path: Path) -> None:
    few = tmp_path / "allophones"
    few.write_text("a{#+#}@i@f\n")
    status, out, err = run("show", VITERBI, FIRST, "--archiver-format", f"--allophones={few}")
    assert (status, out) == (1, "")
    assert str(VITERBI) in err
    assert FIRST in err


def test_show_warns_of_the_wrong_allophones(run: Run, tmp_path: Path) -> None:
    lines = (DATA / "allophones").read_text().splitlines()
    wrong = tmp_path / "allophones"
    wrong.write_text("\n".join(["new{#+#}", *lines]))
    _, out, _ = run("show", VITERBI, FIRST, f"--allophones={wrong}", LABELS[1])
    lines = out.splitlines()
    assert lines[1].startswith("# warning: the alphabet contradicts the allophone file at id ")
    assert lines[2].split() == ["#", "frames", "count", "state"]
    assert lines[3].split()[2] == "n{#+e}@i.0"


def test_show_attributes(run: Run) -> None:
    _, out, _ = run("show", PART, FIRST, "--attributes")
    assert "datatype = vector-f32\n" in out
    _, out, _ = run("show", PART, FIRST, "--attributes", "--json")
    assert json.loads(out)["total-duration"] == "1.87119"
    _, out, _ = run("show", PART, FIRST + ".attribs")
    assert out.startswith("<flow-attributes>")
    assert out.count("\n") == 1


def test_show_entries_without_attributes(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [("c/1", FEATURES)])
    assert run("show", path, "c/1", "--attributes") == (
        0,
        "",
        "sprintcache: c/1 has no attributes\n",
    )


def test_show_texts_and_bytes(run: Run, tmp_path: Path) -> None:
    entries: list[tuple[str | bytes, bytes]] = [
        ("text", "Grüße\n\tan\x0alle".encode()),
        ("bytes", bytes(range(250, 256))),
        ("empty", b""),
    ]
    path = written(tmp_path / "a.cache", entries)
    assert run("show", path, "text") == (0, "Grüße\n\tan\nlle\n", "")
    assert run("show", path, "empty") == (0, "empty: empty\n", "")
    _, out, _ = run("show", path, "bytes")
    assert out.splitlines() == [
        "bytes: 6 bytes, not a Flow cache and not text:",
        f"     0  {'fa fb fc fd fe ff':47}  ......",
    ]


def test_show_json(run: Run) -> None:
    _, out, _ = run("show", "--json", PART, FIRST)
    (block,) = json.loads(out)["blocks"]
    with sprintcache.open_archive(PART) as archive:
        features = archive.read_features(FIRST)
        assert np.array_equal(np.array(block["data"], np.float32), features)
        assert np.array_equal(block["times"], archive.read_times(FIRST))
    assert "-0.39850742" in out  # the shortest text of the float32
    _, out, _ = run("show", "--json", VITERBI, FIRST, "--frames", "2:4", *LABELS)
    (alignment,) = json.loads(out)["blocks"][0]["data"]
    assert alignment["time"] == [2, 3]
    assert alignment["emission"] == [120, 120]
    assert alignment["symbol"] == ["n{#+e}@i.0"] * 2
    assert alignment["label"] == [40, 40]


def packets_of_all_kinds() -> list[tuple[str, bytes]]:
    """One entry of each datatype that the archiver's XML can print, named by it."""
    vector = builder.vector_f32([1, 2.5], 0, 1)
    scalar = builder.scalar("f32", 0.1, 0, 1)
    packets = {
        "timestamp": builder.timestamp(0, 0.5),
        "f64": builder.scalar("f64", 1e-7, 0, 1),
        "string": builder.string_packet("a < b & c", 0, 1),
        "vector-f64": builder.vector("vector-f64", [1e20, float("nan")], 0, 1),
        "vector-u8": builder.vector("vector-u8", [65, 200], 0, 1),
        "vector-bool": builder.vector("vector-bool", [1, 0], 0, 1),
        "vector-complex-f32": builder.vector("vector-complex-f32", [1 + 2j], 0, 1),
        "vector-vector-f32": builder.vector_vector_f32([vector, vector], 0, 2),
        "aggregate": builder.aggregate([("f32", scalar), ("vector-f32", vector)], 0, 1),
        "aggregate-vector-f32": builder.aggregate_vector_f32([vector], 0, 1),
        "autoregressive-coefficients": builder.autoregressive_coefficients(2, [1, 3], 0, 1),
        "windowing-fir-filter-parameter": builder.windowing_fir_filter_parameter([(1, 2)]),
    }
    return [(name, builder.block(name, [packet])) for name, packet in packets.items()]


INNER = '<vector-f32 start="0" end="1" size="2">1 2.5</vector-f32>'
XML = {
    "timestamp": '<timestamp start="0" end="0.5"/>',
    "f64": '<f64 start="0" end="1">1e-07</f64>',
    "string": '<string start="0" end="1">a &lt; b &amp; c</string>',
    "vector-f64": '<vector-f64 start="0" end="1" size="2">1e+20 nan</vector-f64>',
    "vector-u8": '<vector-u8 start="0" end="1" size="2">65 200</vector-u8>',
    "vector-bool": '<vector-bool start="0" end="1" size="2">1 0</vector-bool>',
    "vector-complex-f32": '<vector-complex-f32 start="0" end="1" size="1">(1,2)'
    "</vector-complex-f32>",
    "vector-vector-f32": f'<vector-vector-f32 start="0" end="2" size="2">{INNER} {INNER}'
    "</vector-vector-f32>",
    "aggregate": '<aggregate start="0" end="1" size="2"><f32 start="0" end="1">0.1</f32>'
    f"{INNER}</aggregate>",
    "aggregate-vector-f32": f'<aggregate-vector-f32 start="0" end="1" size="1">{INNER}'
    "</aggregate-vector-f32>",
    "autoregressive-coefficients": '<autoregressive-coefficients start="0" end="1">'
    '<gain>2</gain><a size="2">1 3</a></autoregressive-coefficients>',
    "windowing-fir-filter-parameter": '<windowing-fir-filter><cut-off gain="1" omega="2"/>'
    "</windowing-fir-filter>",
}


def test_every_datatype_can_be_shown(run: Run, tmp_path: Path) -> None:
    entries = packets_of_all_kinds()
    path = written(tmp_path / "a.cache", list(entries))
    for name, _ in entries:
        assert run("show", "--archiver-format", path, name) == (0, f"  {XML[name]}\n", "")
        status, out, err = run("show", path, name)
        assert (status, err) == (0, "")
        assert out.startswith(f"{name}: {name}, 1 frame")
        status, out, err = run("show", "--json", path, name)
        assert (status, err) == (0, "")
        assert json.loads(out)["blocks"][0]["datatype"] == name


def test_matrices_have_no_archiver_format(run: Run, tmp_path: Path) -> None:
    packet = builder.matrix("matrix-f32", [[1, 2], [3, 4]], 0, 1)
    path = written(tmp_path / "a.cache", [("m", builder.block("matrix-f32", [packet]))])
    status, out, err = run("show", "--archiver-format", path, "m")
    assert (status, out) == (1, "")
    assert err == (
        f"sprintcache: {path}, entry 'm': no archiver format for datatype 'matrix-f32'\n"
    )
    _, out, _ = run("show", "--json", path, "m")
    assert json.loads(out)["blocks"][0]["data"] == [[[1.0, 2.0], [3.0, 4.0]]]


def test_show_of_a_missing_entry(run: Run) -> None:
    status, out, err = run("show", PART, "rec003/1")
    assert (status, out) == (1, "")
    assert err == f"sprintcache: {PART}: no entry 'rec003/1'; did you mean 'espeak/rec003/1'?\n"


# ---- info


def test_info(run: Run) -> None:
    _, out, err = run("info", DATA / "features.bundle")
    facts = {line.split()[0]: line[13:] for line in out.splitlines()}
    assert err == ""
    assert facts["kind"].startswith("bundle of 3 archives")
    assert facts["entries"] == "48: 24 segments, 24 attributes"
    assert facts["compression"] == "none"
    assert facts["datatypes"] == "vector-f32 (24)"
    assert facts["dimension"] == "16"
    assert facts["frames"] == "7465"
    assert facts["duration"] == "74.90 s (0:01:15)"


def test_info_of_alignments(run: Run) -> None:
    _, out, _ = run("info", VITERBI, *LABELS, "--silence", "[SILENCE]")
    facts = {line.split()[0]: line[13:] for line in out.splitlines()}
    assert facts["alignments"] == "viterbi (24), 7465 items, 24 with alphabet"
    assert facts["states"] == "841 in use, of 281 allophones"
    assert facts["labels"] == "79 of 79 in use"
    with sprintcache.open_archive(VITERBI) as archive:
        items = [archive.read_alignment(name).emission for name in archive.segments]
    assert len(np.unique(np.concatenate(items))) == 841
    share = 100 * np.mean(np.concatenate(items) == 0)
    assert facts["silence"] == f"{share:.1f} % of all items by weight"


def test_info_json(run: Run) -> None:
    _, out, _ = run("info", "--json", DATA / "alignment.bw.gz.cache", *LABELS)
    summary = json.loads(out)
    assert summary["num_compressed"] == summary["num_entries"] == 48
    assert summary["alignments"]["kinds"] == {"soft": 24}
    assert summary["alignments"]["labels_used"] == 79
    assert summary["num_frames"] == 7465


def test_info_of_a_sample(run: Run) -> None:
    _, out, _ = run("info", "--json", "--sample", 5, PART)
    summary = json.loads(out)
    assert summary["segments_read"] == 5
    assert summary["num_segments"] == 8
    assert summary["num_frames"] == 2589
    assert summary["duration"] == pytest.approx(25.98, rel=0.02)
    _, out, _ = run("info", "--sample", 5, PART)
    assert "5 of 8 segments were read" in out
    assert "about" in out
    _, out, _ = run("info", "--sample", 0, PART)
    assert "segments were read" not in out


def test_info_of_a_killed_archive_and_of_damage(run: Run, tmp_path: Path) -> None:
    status, out, err = run("info", DATA / "features.killed.cache")
    assert (status, err) == (0, "")
    assert "table        scanned (the writer did not finish" in out
    path = written(tmp_path / "a.cache", [("c/1", FEATURES), ("c/2", FEATURES[:-1])])
    status, out, _ = run("info", path)
    assert status == 1
    assert "damaged      1 of 2 segments" in out


def test_info_of_numbers_at_their_limits(run: Run, tmp_path: Path) -> None:
    huge = 1.797e308
    entries: list[tuple[str | bytes, bytes]] = [
        ("none", builder.alignment_entry(builder.alignment_rle([]), huge, -huge)),
        ("inf", builder.alignment_entry(builder.alignment_weighted([(0, 1, float("inf"))]))),
        ("nan", builder.features([[float("nan"), float("inf")]])),
        ("audio", builder.block("vector-s16", [builder.vector("vector-s16", [1] * n, 0, 1)
                                               for n in (3, 2)])),
    ]  # fmt: skip
    path = written(tmp_path / "a.cache", entries)
    for name in ["none", "inf", "nan", "audio"]:
        for options in ([], ["--json"], ["--archiver-format"]):
            status, out, err = run("show", *options, path, name, *LABELS)
            assert (status, err) == (0, "")
            if options == ["--json"]:
                json.loads(out, parse_constant=lambda text: pytest.fail(text))
    status, out, err = run("info", path, *LABELS, "--json", "--silence=[SILENCE]")
    assert (status, err) == (0, "")
    summary = json.loads(out, parse_constant=lambda text: pytest.fail(text))
    assert summary["dims"] == {"2": 1, "varying": 1}


def test_build_info(run: Run) -> None:
    _, out, _ = run("info", "--build")
    assert re.search(r"^inflate: (libdeflate|zlib|python)$", out, re.MULTILINE)
    _, out, _ = run("info", "--build", "--json")
    assert {"inflate", "gather"} <= json.loads(out).keys()
    assert json.loads(out)["sprintcache"] == sprintcache.__version__
    assert json.loads(out)["python"].startswith(platform.python_version())
    assert json.loads(out)["numpy"] == np.__version__


# ---- extract


def test_raw_files_are_a_directory_archive(run: Run, tmp_path: Path) -> None:
    source = DATA / "alignment.bw.gz.cache"
    status, out, err = run("extract", source, "--to", tmp_path / "out")
    assert (status, out) == (0, "")
    assert err == f"sprintcache: 48 entries written to {tmp_path / 'out'}\n"
    with (
        sprintcache.open_archive(source) as archive,
        sprintcache.open_archive(tmp_path / "out") as copy,
    ):
        assert set(copy) == set(archive)
        for name in archive:
            assert copy.read_bytes(name) == archive.read_bytes(name)


def test_npy_files(run: Run, tmp_path: Path) -> None:
    run("extract", PART, "*rec000*", "--to", tmp_path, "--format", "npy")
    run("extract", DATA / "alignment.bw.gz.cache", "*rec001*", "--to", tmp_path, "--format=npy")
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npy"))
    assert files == ["espeak/rec000/1.npy", "espeak/rec001/1.npy"]
    with sprintcache.open_archive(PART) as archive:
        assert np.array_equal(np.load(tmp_path / files[0]), archive.read_features(FIRST))
    with sprintcache.open_archive(DATA / "alignment.bw.gz.cache") as archive:
        alignment = archive.read_alignment("espeak/rec001/1")
        items = np.load(tmp_path / files[1])
        for field in ("time", "emission", "weight"):
            assert np.array_equal(items[field], getattr(alignment, field))


def test_text_files(run: Run, tmp_path: Path) -> None:
    run("extract", VITERBI, FIRST, "--to", tmp_path, "--format", "text", LABELS[0])
    _, out, _ = run("show", VITERBI, FIRST, "--archiver-format", LABELS[0])
    assert (tmp_path / "espeak/rec000/1.txt").read_text() == out


def test_entries_that_do_not_fit_npy(run: Run, tmp_path: Path) -> None:
    entries: list[tuple[str | bytes, bytes]] = [
        ("text", b"x"), ("c/1", FEATURES), ("cut", FEATURES[:-1]), ("c/1.attribs", b"x"),
    ]  # fmt: skip
    path = written(tmp_path / "a.cache", entries)
    status, _, err = run("extract", path, "--to", tmp_path / "out", "--format", "npy")
    assert status == 1
    first, second, third = err.splitlines()
    assert "entry 'text'" in first
    assert "entry 'cut'" in second
    assert third.endswith("1 entry written to " + str(tmp_path / "out") + "; 2 left out")
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["1.npy"]


def test_lists_of_names(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "names"
    names.write_text(f"# comment\n\n  {FIRST}  \n")
    status, _, _ = run("extract", PART, "--list", names, "--to", tmp_path / "out")
    assert status == 0
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["1"]
    names.write_text(f"{FIRST}\nrec003/1\n")
    status, _, err = run("extract", PART, "--list", names, "--to", tmp_path / "none")
    assert status == 1
    assert "1 of 2 names of the list names are not in the archive, the first: 'rec003/1'" in err
    assert not (tmp_path / "none").exists()


def test_extract_replaces_nothing_unasked(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [("c/1", b"new"), ("c/2", b"new")])
    (tmp_path / "out" / "c").mkdir(parents=True)
    (tmp_path / "out" / "c" / "2").write_text("old")
    status, _, err = run("extract", path, "--to", tmp_path / "out")
    assert status == 1
    assert err.endswith("c/2 already exists; --overwrite replaces it\n")
    assert not (tmp_path / "out" / "c" / "1").exists()
    status, _, _ = run("extract", path, "--to", tmp_path / "out", "--overwrite")
    assert status == 0
    assert (tmp_path / "out" / "c" / "2").read_text() == "new"


def test_extract_stays_below_its_folder(run: Run, tmp_path: Path) -> None:
    names = ["../up", "/abs", "a/../../up", "a//b", "./c", "d/", "..", "nul\0x", "link/x", "good"]
    path = written(tmp_path / "a.cache", [(name, b"x") for name in names])
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    before = {str(path) for path in tmp_path.rglob("*")}
    status, _, err = run("extract", path, "--to", out)
    assert status == 1
    assert err.count("is not written") == len(names) - 1
    assert {str(path) for path in tmp_path.rglob("*")} - before == {str(out / "good")}
    assert not Path("/abs").exists()


def test_an_existing_link_is_replaced(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [("c", b"new")])
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("old")
    (tmp_path / "out" / "c").symlink_to(tmp_path / "victim")
    status, _, _ = run("extract", path, "--to", tmp_path / "out", "--overwrite")
    assert status == 0
    assert (tmp_path / "victim").read_text() == "old"
    assert (tmp_path / "out" / "c").read_text() == "new"


def test_a_failed_write_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    status, _, err = run("extract", PART, FIRST, "--to", tmp_path / "out")
    assert (status, err) == (1, "sprintcache: No space left on device\n")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_the_umask_holds(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [("c", b"x")])
    before = os.umask(0o022)
    try:
        run("extract", path, "--to", tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "c").stat().st_mode & 0o777 == 0o644


# ---- verify


def test_verify(run: Run, tmp_path: Path) -> None:
    status, out, err = run("verify", PART, "--io", "pread", DATA / "energy.cache")
    assert (status, out) == (0, "")
    assert re.fullmatch(
        r"sprintcache: 2 archives, 64 entries, 0\.4 MB in \S+ s: no problems\n", err
    )
    bad = written(tmp_path / "a.cache", [("c/1", FEATURES[:-1]), ("c/2", FEATURES)])
    status, out, err = run("verify", bad, PART)
    assert status == 1
    assert out.startswith(f"{bad}, entry 'c/1', offset ")
    assert out.count("\n") == 1
    assert err.endswith(": 1 problem\n")


def test_verify_reports_problems_once(run: Run) -> None:
    status, out, err = run("verify", DATA / "features.killed.cache")
    assert status == 1
    assert out.count("\n") == 2
    assert err.count("\n") == 1


def test_verify_continues_after_an_archive_that_does_not_open(run: Run, tmp_path: Path) -> None:
    status, out, err = run("verify", tmp_path / "absent.cache", PART)
    assert (status, out) == (1, "")
    first, second = err.splitlines()
    assert first == f"sprintcache: {tmp_path / 'absent.cache'}: No such file or directory"
    assert second.startswith("sprintcache: 1 archive, 16 entries")


def test_verify_with_labels(run: Run, tmp_path: Path) -> None:
    assert run("verify", VITERBI, *LABELS)[0] == 0
    tying = tmp_path / "tying"
    lines = (DATA / "state-tying" / "monophone").read_text().splitlines()
    tying.write_text("\n".join(line for line in lines if not line.startswith("n{#+e}@i.1 ")))
    status, out, _ = run("verify", VITERBI, LABELS[0], "--state-tying", tying)
    assert status == 1
    assert "no label for 1 of the states in use, the first: n{#+e}@i.1" in out


# ---- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "_DELAY", 0)
    monkeypatch.setattr(_progress, "_INTERVAL", 0)
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with _progress.Progress("reading", stream) as shown:
            shown(0, 4)
            shown(3, 4)
    assert file.getvalue() == ""
    lines = terminal.getvalue().split("\r")
    assert lines[1] == "reading: 0 %, 0 of 4"
    assert lines[2].startswith("reading: 75 %, 3 of 4, ")
    assert (lines[3].strip(), lines[4]) == ("", "")
    assert len(lines[3]) >= len(lines[2])


def test_short_work_shows_no_progress() -> None:
    terminal = Terminal()
    with _progress.Progress("reading", terminal) as shown:
        shown(1, 2)
    assert terminal.getvalue() == ""


# ---- wrong arguments and other errors


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND (see sprintcache --help)"),
        (["ls"], "the following arguments are required: ARCHIVE (see sprintcache ls --help)"),
        (["ls", "a", "--frob"], "unrecognized argument '--frob' (see sprintcache ls --help)"),
        (["info"], "the following arguments are required: ARCHIVE (see sprintcache info --help)"),
        (["info", "a", "b"], "unrecognized argument 'b' (see sprintcache info --help)"),
        (["info", "a", "--sample", "x"], "argument --sample: 'x' is not a number"),
        (["show", "a", "b", "--frames", "x"], "argument --frames: 'x' is not A:B, such as"),
        (["show", "a", "b", "--frames", "1:2:3"], "argument --frames: '1:2:3' is not A:B"),
        (["show", "a", "b", "--attributes", "--archiver-format"], "argument --archiver-format:"),
        (["show", "a", "b", "--json", "--archiver-format"], "--archiver-format prints whole"),
        (["show", "a", "b", "--state-tying", "t"], "--state-tying needs --allophones"),
        (["info", "a", "--silence", "s"], "--silence needs --state-tying"),
        (["extract", "a"], "the following arguments are required: --to"),
        (["verify", "a", "--threads", "0"], "--threads must be at least 1"),
        (["verify", "a", "--allophones", "x"], "--allophones needs --state-tying"),
        (["ls", "a", "--io", "fast"], "argument --io: invalid choice: 'fast'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run: Run, argv: list[str], message: str) -> None:
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"sprintcache: {message}")
    assert err.count("\n") == 1
    assert " --help)" in err


@pytest.mark.parametrize(
    "argv",
    [
        ["ls", "absent.cache"],
        ["ls", "absent.bundle"],
        ["ls", "garbage"],
        ["info", "garbage"],
        ["show", "garbage", "x"],
        ["extract", "garbage", "--to", "out"],
        ["show", VITERBI, FIRST, "--allophones", "absent"],
        ["show", VITERBI, FIRST, LABELS[0], "--state-tying", "garbage"],
        ["show", VITERBI, FIRST, "--archiver-format", "--allophones", "garbage"],
        ["extract", PART, "--to", "garbage"],
    ],
)
def test_errors_are_one_line_and_status_1(
    run: Run, argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("garbage").write_bytes(b"this is something else")
    status, out, err = run(*argv)
    assert (status, out) == (1, "")
    assert err.startswith("sprintcache: ")
    assert err.count("\n") == 1


LOOKING = ["ls", "info", "show", "extract", "verify", "convert", "plot", "stats"]


@pytest.mark.parametrize("command", [[], *([name] for name in LOOKING)])
def test_help(run: Run, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(" ".join(["usage: sprintcache", *command]))
    assert not command or "example:\n  sprintcache " + command[0] in out
    assert max(len(line) for line in out.splitlines()) < 80


def test_version(run: Run) -> None:
    status, out, _ = run("--version")
    assert status == 0
    assert out == f"sprintcache {sprintcache.__version__}\n"


# ---- as a process


def start(*argv: object) -> subprocess.Popen[bytes]:
    command = [*COMMAND, *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    "argv",
    [
        ["ls"],
        ["ls", "--json"],
        ["ls", "--long"],
    ],
)
def test_a_reader_that_stops_early(argv: list[str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [(f"corpus/{n}", b"") for n in range(20_000)])
    process = start(*argv, path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_a_reader_of_problems_that_stops_early(tmp_path: Path) -> None:
    path = written(tmp_path / "a.cache", [(f"corpus/{n}", FEATURES[:-1]) for n in range(5000)])
    process = start("verify", path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1


def test_a_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "ls", PART], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"sprintcache: No space left on device\n"


def test_interrupts_are_quiet() -> None:
    read_end, write_end = os.pipe()  # the command waits for data that never comes
    os.write(write_end, b"# ")
    command = [*COMMAND, "show", str(PART), FIRST, "--allophones", f"/dev/fd/{read_end}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[read_end]
    )
    try:
        deadline = time.monotonic() + 60
        while select.select([read_end], [], [], 0)[0]:  # a signal during start-up kills Python
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(6):
            # repeatedly: one just before a read is lost; rarely: one at the exit kills Python
            process.send_signal(signal.SIGINT)
            try:
                out, err = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                continue
            break
    finally:
        process.kill()
        process.communicate()
        os.close(read_end)
        os.close(write_end)
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_names_are_printed_as_their_bytes(locale: str, tmp_path: Path) -> None:
    name = "ség".encode() + b"\xff\xfe"
    path = written(tmp_path / "a.cache", [(name, FEATURES)])
    environment = {**os.environ, "LC_ALL": locale, "PYTHONWARNINGS": "error"}
    listed = subprocess.run(
        [*COMMAND, "ls", path, "*g\udcff*"], capture_output=True, check=True, env=environment
    )
    assert name in listed.stdout
    shown = subprocess.run(
        [*COMMAND, "show", path, os.fsdecode(name)],
        capture_output=True,
        check=True,
        env=environment,
    )
    assert shown.stdout.startswith(name + b": vector-f32, 3 frames x 2")


def test_help_does_not_wait_for_numpy() -> None:
    code = "import sys, sprintcache.cli as c; c.main(['--help']); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# ---- lists of a whole corpus, files that moved, folders of archives


@pytest.fixture
def corpus_list(tmp_path: Path) -> Path:
    """Two segments of PART among others that it does not have, with CR at the line ends."""
    path = tmp_path / "corpus.list"
    path.write_bytes(b"espeak/rec000/1\r\nespeak/rec999/1\r\n\tespeak/rec003/1 \r\nother/1\r\n")
    return path


@pytest.mark.parametrize("command", ["copy", "convert", "extract", "stats", "combine"])
def test_a_list_of_a_whole_corpus(
    run: Run, tmp_path: Path, corpus_list: Path, command: str
) -> None:
    to = {"copy": "a.cache", "combine": "a.cache", "convert": "a.npz", "extract": "files"}
    words = [command, PART, "--list", corpus_list]
    if command in to:
        words += ["--to", tmp_path / to[command]]
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert "2 of 4 names" in err
    status, out, err = run(*words, "--ignore-missing")
    assert status == 0
    assert "2 of 4 names of the list corpus.list are not in the archive, the first: " in err
    chosen = ["espeak/rec000/1", "espeak/rec003/1"]
    if command == "stats":
        assert "segments     2: vector-f32 (2)" in out
    elif command == "extract":
        paths = [p for p in (tmp_path / "files").rglob("*") if p.is_file()]
        assert sorted(str(p.relative_to(tmp_path / "files")) for p in paths) == chosen
    elif command == "convert":
        with np.load(tmp_path / "a.npz") as file:
            assert [name for name in file.files if not name.endswith(".times")] == chosen
    else:
        with sprintcache.open_archive(tmp_path / "a.cache") as archive:
            assert list(archive.segments) == chosen


def test_an_empty_list_is_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# none\n\n")
    status, out, err = run("stats", PART, "--list", tmp_path / "list")
    assert (status, err) == (0, f"sprintcache: {tmp_path / 'list'}: no names in the list\n")
    assert "0" in out


def test_a_list_without_existing_names(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("nowhere/1\n")
    words = ["--list", tmp_path / "list", "--ignore-missing", "--to", tmp_path / "a.cache"]
    status, _, err = run("copy", PART, *words)
    assert (status, "1 of 1 names of the list" in err) == (1, True)
    assert not (tmp_path / "a.cache").exists()
    assert run("copy", PART, "--ignore-missing", "--to", tmp_path / "a.cache")[0] == 2


def test_path_map(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "a.bundle"
    bundle.write_text(f"/nowhere/on/this/disk/{Path(PART).name}\n")
    status, _, err = run("ls", bundle)
    assert (status, "is missing" in err) == (1, True)
    words = ["--path-map", f"/nowhere/on/this/disk={DATA}"]
    assert run("ls", bundle, *words)[0] == 0
    for command in (["info"], ["stats"], ["verify"], ["copy", "--to", tmp_path / "a.cache"],
                    ["convert", "--to", tmp_path / "a.npz"]):  # fmt: skip
        assert run(command[0], bundle, *command[1:], *words)[0] == 0
    assert run("ls", bundle, "--path-map", "here=there")[0] == 2


def test_verify_of_a_folder_of_archives(run: Run, tmp_path: Path) -> None:
    """The entries of the archives are checked, not only the files."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    written(folder / "good.cache", [("c/1", FEATURES)])
    bad = written(folder / "sub" / "bad.cache", [("c/2", FEATURES[:-1]), ("c/3", FEATURES)])
    (folder / "notes.txt").write_text("no archive")
    status, out, err = run("verify", folder)
    assert status == 1
    assert out.startswith(f"{bad}, entry 'c/2'")
    assert out.count("\n") == 1
    assert ", 4 entries, " in err  # those of the archives, and the text


def test_a_pipe_is_not_an_archive(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for words in (["ls"], ["verify"], ["convert", "--to", tmp_path / "a.npz"]):
        status, out, err = run(words[0], tmp_path / "pipe", *words[1:])
        assert status == 1
        assert "not a regular file" in out + err
