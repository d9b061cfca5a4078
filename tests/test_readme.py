"""The examples of README.md run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sprintcache.cli import main

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_python_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    features, labels = names["features"], names["labels"]
    assert features.shape[1] == 16  # type: ignore[attr-defined]
    assert labels.dtype == "int32"  # type: ignore[attr-defined]
    assert names["data"].shape[2] == 16  # type: ignore[attr-defined]


def test_commands_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"^    (sprintcache .*)$", TEXT, re.MULTILINE)
    assert len(lines) == 14
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        words = [word.replace("/tmp", str(tmp_path)) for word in words]
        paths = [
            p
            for word in words
            for p in (sorted(map(str, ROOT.glob(word))) if "tests/" in word else [word])
        ]
        # features.killed.cache is there to be found
        assert main(paths) == (words[0] == "verify"), line
    assert len(list(tmp_path.rglob("*.npy"))) == 24
    assert "features.killed.cache" in capsys.readouterr().out
