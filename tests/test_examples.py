"""Examples that need no Sprint and no trainer; the others stand in the tests of what they show."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

import sprintcache

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_tour(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "tour.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert "24 segments; espeak/rec000/1: (186, 16), 1.87 s" in text
    assert "186 labels, 32% silence" in text
    assert "weights sum to 186.0" in text
    assert "7465 frames in 74.9 s" in text
    assert "num_entries=24" in text.splitlines()[-1]


def test_alignment_to_hdf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    example = runpy.run_path(str(EXAMPLES / "alignment_to_hdf.py"))
    example["main"](str(tmp_path / "out.hdf"))
    assert "24 segments, 7465 frames, 79 labels" in capsys.readouterr().out


def test_realignment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    example = runpy.run_path(str(EXAMPLES / "realignment.py"))
    threads = torch.get_num_threads()
    path = tmp_path / "alignment.cache"
    try:
        (rounds,) = example["main"](["--seeds", "1", "--rounds", "2", "--to", str(path)])
    finally:
        torch.set_num_threads(threads)
    assert len(rounds) == 3
    errors = [each.boundary_error for each in rounds]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.6 * errors[0]
    assert rounds[-1].same_labels > rounds[0].same_labels
    assert len(capsys.readouterr().out.splitlines()) == 5
    features = sprintcache.open_archive(EXAMPLES.parent / "tests" / "data" / "features.bundle")
    written = sprintcache.open_archive(path)
    assert sorted(written.segments) == sorted(features.segments)
    for name in features.segments:
        alignment = written.read_alignment(name)
        assert np.array_equal(alignment.time, np.arange(features.num_frames(name)))
