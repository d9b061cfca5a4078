"""Parts of pages that are generated when the documentation is built.

The command pages show the output of ``--help``. The performance page shows ``benchmarks.json`` and
``size.json``, each of which one command writes, on a quiet machine::

    python bench/run.py --json docs/reference/benchmarks.json
    python bench/size.py --json docs/reference/size.json
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pictures

from sprint_ctl import fake_sprint
from sprint_ctl.__main__ import main as sprint_ctl_command
from sprintcache.cli import COMMANDS, main

MARKER = "<!-- generated -->"
SIZES_MARKER = "<!-- sizes -->"
RESULTS = Path(__file__).parent / "reference" / "benchmarks.json"
SIZES = RESULTS.with_name("size.json")
TITLES = {
    "read": "One entry after the other",
    "batch": "Batches",
    "labels": "Labels",
    "open": "Opening, and memory",
    "index": "Opening by a shared index",
    "sequential": "Everything in order",
    "dataset": "An epoch of SprintCacheDataset",
    "torch": "PyTorch",
    "loader": "Reading ahead in threads",
    "packed": "Packed batches and chunks",
    "audio": "Audio files",
    "automata": "Building automata",
    "full_sum": "Full-sum loss",
    "returnn": "RETURNN configs and old scripts",
    "write": "Writing",
    "combine": "Combining",
    "convert": "Converting",
    "small_entries": "Short entries",
    "error_signals": "Error signals",
    "extern": "Sequences from Sprint",
    "align": "Aligning",
    "segmentation": "Words and phones",
}


def commands() -> str:
    """A section for each command with its help, as Markdown."""
    parts = [f"```text\n{_help()}```\n"]
    parts += [f"## {name}\n\n```text\n{_help(name)}```\n" for name in COMMANDS]
    doctor = _help("doctor", of=sprint_ctl_command)
    parts.append(f"## python -m sprint_ctl doctor\n\n```text\n{doctor}```\n")
    return "\n".join(parts)


def _help(*command: str, of: Callable[[list[str]], int] = main) -> str:
    text = io.StringIO()
    with (
        redirect_stdout(text),
        mock.patch.dict(os.environ, COLUMNS="80", NO_COLOR="1"),
        suppress(SystemExit),
    ):
        of([*command, "--help"])
    return text.getvalue()


def architecture() -> str:
    """The layers of both packages, drawn from their imports, as Markdown."""
    parts = ["## sprintcache\n", pictures.layers("sprintcache")]
    return "\n".join([*parts, "## sprint_ctl\n", pictures.layers("sprint_ctl")])


def stand_in() -> str:
    """The help of the stand-in for the Sprint binary, as Markdown."""
    return f"```text\n{(fake_sprint.__doc__ or '').strip()}\n```\n"


def benchmarks(path: Path = RESULTS) -> str:
    """Figures, losses and tables of all benchmarks, as Markdown."""
    results: dict[str, Any] = json.loads(path.read_text("utf-8"))
    runs = list(results.values())
    figures = [figure for run in runs for figure in run["figures"]]
    losses = [loss for run in runs for loss in run["losses"]]
    parts = [_machine(runs)]
    if any(run["quick"] for run in runs):
        parts.append(
            "```{warning}\nThis is a smoke test (`--quick`): small data, few rounds, on a machine"
            " with other work. The figures carry no weight.\n```\n"
        )
    verdicts = {True: "holds", False: "missed", None: "-"}
    rows = [[f["figure"], f["target"], f["measured"], verdicts[f["ok"]]] for f in figures]
    parts += ["## The figures\n", _table(["", "target", "measured", ""], rows, numbers=False)]
    parts.append("## Where others are faster\n")
    parts += [f"- {_escaped(loss)}" for loss in losses] or ["Nowhere in these tables."]
    charts = pictures.charts(results)
    for name, run in results.items():
        parts += [f"\n## {TITLES.get(name, name)}\n", charts.get(name, "")]
        for table in run["tables"]:
            parts += [f"{_escaped(table['title'])}\n", _table(table["columns"], table["rows"])]
    return "\n".join(parts) + "\n"


def sizes(path: Path = SIZES) -> str:
    """The chart and the table of corpora of growing size, as Markdown."""
    results: dict[str, Any] = json.loads(path.read_text("utf-8"))
    runs: dict[str, dict[str, dict[str, float]]] = results["runs"]
    counts = sorted({int(count) for run in runs.values() for count in run})
    columns = ["", *(f"{count:,}" for count in counts), "time", "MiB", "B/segment"]
    rows = []
    for operation, by_count in runs.items():
        largest = max(map(int, by_count))
        run = by_count[str(largest)]
        cells = [by_count.get(str(count), {}).get("cpu") for count in counts]
        rows.append(
            [
                operation,
                *("-" if cell is None else _digits(cell) for cell in cells),
                _digits(run["seconds"]),
                _digits(run["memory"] / 2**20),
                _digits(run["memory"] / largest),
            ]
        )
    parts = [_machine([results]), pictures.size_charts(results), _table(columns, rows)]
    return "\n".join(parts)


def _digits(value: float) -> str:
    """Two significant digits, or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 1e-3 else f"{value:.4f}"


def _machine(runs: list[dict[str, Any]]) -> str:
    facts = runs[0]["machine"]
    loads = [run["machine"]["load_average"] for run in runs]
    others = (f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"Measured on {facts['date'][:10]}: {facts['cpu']}, {facts['cores']} cores,"
        f" {facts['largest_cache_mib']} MiB of cache, {facts['memory_gib']} GiB of memory, Linux"
        f" {facts['kernel']}; load average {min(loads)} to {max(loads)}; {', '.join(others)};"
        f" inflating with {facts['build'].get('inflate', 'zlib')}.\n"
    )


def _table(columns: list[str], rows: list[list[Any]], numbers: bool = True) -> str:
    lines = [columns, ["---"] + ["--:" if numbers else "---"] * (len(columns) - 1), *rows]
    cells = [" | ".join(_escaped(str(cell)) for cell in row) for row in lines]
    return "\n".join(f"| {line} |" for line in cells) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")
