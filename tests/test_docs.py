"""Runs every code block of the README and of the documentation, and compares its output.

Blocks of a page run in order and share their names, in a folder with the repository's data. A
``python`` block is executed; a comment after ``print(...)`` is its output. In a ``console`` block,
lines that begin with ``$`` are commands and the lines below are their output, where ``...`` matches
any text; a command ``sprintcache`` that needs no shell runs in this process. ``sh`` blocks set up a
machine and ``text`` blocks have no code; neither is run. The line ``<!-- needs: torch -->`` above a
block names the packages that it needs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import sprintcache.cli
from tests.pages import load_generated

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(
    r"^(?:<!-- needs: ([^\n]*) -->\n)?```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
NOT_RUN = {"sh", "text", "{toctree}", "{eval-rst}", "{note}", "{warning}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text("utf-8")
    for folder in ("tests", "examples", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    missing = set()
    for needs, language, block in BLOCK.findall(text):
        lacking = {name for name in needs.split() if importlib.util.find_spec(name) is None}
        if lacking:
            missing |= lacking
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(block, str(page), "exec"), names)
            check_output(block, PRINTED.findall(block), printed.getvalue())
        elif language == "console":
            block = block.replace("\\\n", "")
            for command in re.findall(r"^\$ .*(?:\n(?!\$ ).*)*", block, re.MULTILINE):
                line, *output = command.splitlines()
                check_output(line, output, run(line[2:]))
        else:
            assert language in NOT_RUN, f"a block of {language!r}: not a known language"
    if missing:
        pytest.skip(f"blocks that need {', '.join(sorted(missing))} are skipped: not installed")


def run(line: str) -> str:
    """Returns the output of a command; its line names an exit status that is not 0."""
    command, _, remark = line.partition("  # exit status ")
    if re.fullmatch(r"sprintcache( '[^']*'| [^'\"$*|<>&;]+)*", command):
        with (
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(output),
        ):
            status = sprintcache.cli.main(shlex.split(command)[1:])
        assert status == int(remark or 0), f"$ {line}\n{output.getvalue()}"
        return output.getvalue()
    folder = Path(sys.executable).parent
    done = subprocess.run(
        command,
        shell=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        env={
            "PATH": f"{folder}:/usr/bin:/bin",
            "HOME": str(Path.cwd()),
            "PYTHONPATH": str(ROOT),
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    assert done.returncode == int(remark or 0), f"$ {line}\n{done.stdout}"
    return done.stdout


def check_output(code: str, expected: Iterable[str], printed: str) -> None:
    """Checks that the expected lines are printed in this order; ``...`` matches any text."""
    lines = iter(printed.splitlines())
    for line in expected:
        pattern = re.escape(line.rstrip()).replace(r"\.\.\.", ".*") + r"\s*"
        if pattern not in (r"\s*", r".*\s*"):
            is_printed = any(re.fullmatch(pattern, each) for each in lines)
            assert is_printed, f"{code}\ndoes not print {line!r}, but\n{printed}"


def test_names_of_sprintcache_are_all_in_the_reference() -> None:
    pages = "".join(page.read_text("utf-8") for page in ROOT.glob("docs/reference/api/*.md"))
    shown = re.findall(r"auto(?:class|function):: sprintcache\.(\w+)$", pages, re.MULTILINE)
    errors = importlib.import_module("sprintcache.errors").__all__
    assert sorted([*shown, *errors]) == sprintcache.__all__


def test_generated_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    generated = load_generated(monkeypatch)
    commands = generated.commands()
    assert re.findall(r"^usage: sprintcache (\w+)", commands, re.MULTILINE) == re.findall(
        r"^## (\w+)$", commands, re.MULTILINE
    )
    assert "usage: python -m sprint_ctl doctor" in commands
    figures = generated.benchmarks()
    assert len(re.findall(r"^\| the copy \|", figures, re.MULTILINE)) > 2
    assert "misbehave=RULES" in generated.stand_in()
