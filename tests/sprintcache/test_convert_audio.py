"""`convert` to audio files, read by soundfile; label schemes and rates, computed by numpy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sprintcache
from sprintcache import AllophoneLabeling, LabelError, UnsupportedError
from sprintcache.cli import main
from sprintcache.convert import convert
from sprintcache.label_rates import LabelRate
from tests.oracle import builder
from tests.paths import DATA

ALIGNMENT = str(DATA / "alignment.viterbi.cache")
ALLOPHONES = str(DATA / "allophones")
LEXICON = str(DATA / "corpus" / "lexicon.xml.gz")


def samples_of(path: Path, dtype: str = "int16") -> tuple[Any, int]:
    soundfile = pytest.importorskip("soundfile", reason="needs soundfile")
    samples, rate = soundfile.read(path, dtype=dtype)
    return samples, rate


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_audio_archives_become_audio_files(tmp_path: Path, audio_format: Any) -> None:
    pytest.importorskip("soundfile", reason="needs soundfile")
    source = DATA / "samples.cache"
    assert convert(source, tmp_path, audio_format=audio_format) == 2
    with sprintcache.open_archive(source) as archive:
        for name in archive.segments:
            actual, rate = samples_of(tmp_path / f"{name}.{audio_format}")
            stored = [x for block in archive.read_blocks(name) for x in block.data]
            assert np.array_equal(actual, np.concatenate(stored))
            assert rate == int(archive.read_attributes(name)["sample-rate"])
    with pytest.raises(FileExistsError, match=r"rec000/1\."):
        convert(source, tmp_path, audio_format=audio_format)
    convert(source, tmp_path, audio_format=audio_format, overwrite=True, names=["espeak/rec012/1"])


@pytest.mark.parametrize(
    ("datatype", "values", "as_int32"),
    [
        ("vector-s8", [-128, 0, 127], [-(2**31), 0, 127 << 24]),
        ("vector-u8", [0, 128, 255], [-(2**31), 0, 127 << 24]),
        ("vector-u16", [0, 32768, 65535], [-(2**31), 0, 32767 << 16]),
        ("vector-u32", [0, 5, 2**32 - 1], [-(2**31), 5 - 2**31, 2**31 - 1]),
    ],
)
def test_every_value_is_kept(
    tmp_path: Path, datatype: str, values: list[int], as_int32: list[int]
) -> None:
    entry = builder.block(datatype, [builder.vector(datatype, values, 0.0, 3 / 8000)])
    (tmp_path / "a.cache").write_bytes(builder.archive([("a", entry)]))
    pytest.importorskip("soundfile", reason="needs soundfile")
    for audio_format in ("wav", "flac"):
        to = tmp_path / audio_format
        if audio_format == "flac" and datatype.endswith("32"):
            with pytest.raises(UnsupportedError, match="flac cannot hold these samples"):
                convert(tmp_path / "a.cache", to, audio_format="flac")
            continue
        convert(tmp_path / "a.cache", to, audio_format=audio_format)
        actual, rate = samples_of(to / f"a.{audio_format}", "int32")
        assert (actual.tolist(), rate) == (as_int32, 8000)


def test_floats_and_the_sample_rate(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="needs soundfile")
    values = np.random.default_rng(1).standard_normal(50).astype(np.float32).tolist()
    entry = builder.block("vector-f32", [builder.vector("vector-f32", values, 0.0, 0.0)])
    (tmp_path / "a.cache").write_bytes(builder.archive([("a", entry)]))
    with pytest.raises(UnsupportedError, match="the sample rate is not known"):
        convert(tmp_path / "a.cache", tmp_path / "x", audio_format="wav")
    convert(tmp_path / "a.cache", tmp_path / "x", audio_format="wav", sample_rate=11_025)
    actual, rate = samples_of(tmp_path / "x" / "a.wav", "float64")
    assert (actual.tolist(), rate) == (values, 11_025)


def test_entries_that_are_not_audio(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="needs soundfile")
    with pytest.raises(UnsupportedError, match="not audio samples"):
        convert(ALIGNMENT, tmp_path / "x", audio_format="wav")
    entry = builder.block("vector-s16", [builder.vector("vector-s16", [1, 2], 0.0, 1.0)])
    (tmp_path / "a.cache").write_bytes(builder.archive([("../a", entry)]))
    with pytest.raises(UnsupportedError, match="not a path below a folder"):
        convert(tmp_path / "a.cache", tmp_path / "x", audio_format="wav", sample_rate=8000)
    with pytest.raises(ValueError, match="audio_format must be"):
        convert(tmp_path / "a.cache", tmp_path / "x", audio_format="mp3")  # type: ignore[arg-type]
    np.savez(tmp_path / "b.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="audio files can only be made from archives"):
        convert(tmp_path / "b.npz", tmp_path / "x", audio_format="wav")


def test_audio_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("soundfile", reason="needs soundfile")
    arguments = ["convert", str(DATA / "samples.cache"), "--to", str(tmp_path), "--format", "flac"]
    assert main([*arguments, "--select", "*12/1", "--rename", "espeak/="]) == 0
    assert [p.name for p in tmp_path.rglob("*.*")] == ["1.flac"]
    assert main([*arguments[:-1], "wav", "--sample-rate", "16"]) == 0
    assert samples_of(tmp_path / "espeak" / "rec012" / "1.wav")[1] == 16
    assert main([*arguments[:-1], "wav"]) == 1
    assert "already exists; --overwrite replaces it" in capsys.readouterr().err


# ---- labels


def labels_of(scheme: str) -> dict[str, list[int]]:
    labeling = AllophoneLabeling(None, ALLOPHONES, label_scheme=scheme, lexicon_file=LEXICON)
    with sprintcache.open_archive(ALIGNMENT) as archive:
        return {name: archive.read_labels(name, labeling).tolist() for name in archive.segments}


def test_label_schemes_and_rates_on_the_command_line(tmp_path: Path) -> None:
    base = ["convert", ALIGNMENT, "--allophones", ALLOPHONES, "--lexicon", LEXICON]
    base += ["--label-scheme", "center.state", "--overwrite", "--to", str(tmp_path / "a.npz")]
    stored = labels_of("center.state")
    for options, expected in {
        (): lambda row: row,
        ("--reduce-target-factor", "3", "--reduce-target-frame", "majority"): lambda row: [
            Counter(row[i : i + 3]).most_common(1)[0][0] for i in range(0, len(row), 3)
        ],
        ("--upsample", "2"): lambda row: np.repeat(row, 2).tolist(),
        ("--collapse", "--blank", "3"): lambda row: [
            x for i, x in enumerate(row) if (i == 0 or x != row[i - 1]) and x != 3
        ],
    }.items():
        assert main([*base, *options]) == 0
        with np.load(tmp_path / "a.npz") as file:
            assert {name: file[name].tolist() for name in stored} == {
                name: expected(row) for name, row in stored.items()
            }
    assert main([*base, "--state-tying", "x"]) == 2
    assert main([*base, "--blank", "1"]) == 2


def test_rates_of_targets_and_of_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    labeling = AllophoneLabeling(None, ALLOPHONES, label_scheme="left", lexicon_file=LEXICON)
    features = DATA / "features.part1.cache"
    rate = LabelRate(4, "middle")
    options: dict[str, Any] = {"labeling": labeling, "targets": ALIGNMENT, "rate": rate}
    convert(features, tmp_path / "a.hdf", **options)
    stored = labels_of("left")
    with h5py.File(tmp_path / "a.hdf") as file:
        names = [name.decode() for name in file["seqTags"]]
        expected = [
            group[len(group) // 2]
            for name in names
            for row in [stored[name]]
            for group in (row[i : i + 4] for i in range(0, len(row), 4))
        ]
        assert file["targets/data/classes"][:].tolist() == expected
        assert file["targets/size"].attrs["classes"][0] == 28
    with pytest.raises(LabelError, match="the rate of allophone states cannot be changed"):
        convert(ALIGNMENT, tmp_path / "b.npz", rate=rate)
    several = AllophoneLabeling(None, ALLOPHONES, label_scheme=["state", "position"])
    with pytest.raises(ValueError, match="the labels of one label scheme"):
        convert(ALIGNMENT, tmp_path / "b.npz", labeling=several)
