"""Every code block of the README and of the documentation runs as it stands there.

Blocks of a page run in order and share their names, in a folder that has the repository's data.
``python`` is executed, of ``console`` every line that begins with ``$``; ``sh`` is what sets up a
machine, and ``text`` no code. A page that needs an extra says so: ``% needs: torch``.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN = {"sh", "text", "{toctree}", "{eval-rst}", "{automodule}", "{note}", "{warning}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text("utf-8")
    for name in re.findall(r"^% needs: (\S+)$", text, re.MULTILINE):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    for folder in ("tests", "examples", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for language, block in BLOCK.findall(text):
        if language == "python":
            exec(compile(block, str(page), "exec"), names)
        elif language == "console":
            for line in block.splitlines():
                if line.startswith("$ "):
                    run(line[2:])
        else:
            assert language in NOT_RUN, f"a block of {language!r}: say how it is run"


def run(line: str) -> None:
    """Runs a command with this interpreter; where it ends with another status, it says so."""
    command, _, remark = line.partition("  # exit status ")
    folder = Path(sys.executable).parent
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(Path.cwd()), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == int(remark or 0), f"$ {line}\n{done.stdout}{done.stderr}"
