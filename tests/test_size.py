"""The measurement of corpora of growing size, on a small one, and the chart of its results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import load_generated

ROOT = Path(__file__).parent.parent


@pytest.mark.long
def test_a_small_corpus(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script compares all answers with what it wrote."""
    results = scratch / "size.json"
    command = [sys.executable, str(ROOT / "bench/size.py"), "--quick", "--dir", str(scratch)]
    done = subprocess.run(
        [*command, "--rounds", "1", "--json", str(results)],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in scratch.iterdir()] == ["size.json"]
    measured = json.loads(results.read_text())
    runs = measured["runs"]
    for run in (run for by_count in runs.values() for run in by_count.values()):
        run["cpu"] = max(run["cpu"], 1e-3)  # the chart leaves out what a fast machine does in less
    results.write_text(json.dumps(measured))
    generated = load_generated(monkeypatch)
    monkeypatch.setattr(generated.pictures, "GENERATED", scratch)
    rows = [line for line in generated.sizes(results).splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == [*runs]
    for theme in ("light", "dark"):
        for stem, names in (("alignments", ["open", "verify"]), ("features", ["dataset"])):
            picture = (scratch / f"size-{stem}-{theme}.svg").read_text()
            assert all(f">{name}</text>" in picture for name in names)
