"""Examples that need no Sprint and no trainer; the others stand in the tests of what they show."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

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
