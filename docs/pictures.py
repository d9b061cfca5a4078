"""Pictures of the documentation, drawn when it is built: benchmark charts and the map of layers.

Each picture is drawn twice, for a light and for a dark page; the theme shows the one that fits.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import NullLocator

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / "_build" / "pictures"

THEMES = {
    "light": {
        "ink": "#222832",
        "faint": "#8a919c",
        "ours": "#1f6feb",
        "peer": "#c3c9d2",
        "limit": "#2da44e",
    },
    "dark": {
        "ink": "#e6e8eb",
        "faint": "#8a919c",
        "ours": "#58a6ff",
        "peer": "#4b5563",
        "limit": "#3fb950",
    },
}
# (script, title of the table, column, heading, rows that are limits)
CHARTS = (
    ("read", "read one entry, long", "ns/frame", "One entry of 200-1600 frames"),
    ("batch", "batches of 32, plain", "ns/frame", "A padded batch of 32 entries"),
    ("labels", "labels, AALPHRLE", "ns/frame", "Labels, with the alphabet checked"),
    ("dataset", "an epoch", "ns/frame", "An epoch of the dataset"),
    ("torch", "an epoch, features and labels", "ns/frame", "An epoch through a DataLoader"),
    ("packed", "packed batches of 32 entries", "ns/frame", "A packed batch of 32 entries"),
    ("full_sum", "CTC automata: loss and gradient", "µs/entry", "Loss of a CTC automaton"),
    ("segmentation", "words and phones", "ns/frame", "Words and phones out of an archive"),
    (
        "error_signals",
        "round trip, 300 frames by 79 labels",
        "µs/entry",
        "Round trip to a Sprint process",
    ),
)
LIMITS = ("the copy", "labels copied", "read_batch", "plain writes")


def charts(results: dict[str, Any]) -> dict[str, str]:
    """Draws one bar chart per script; returns Markdown with both variants, by script."""
    texts = {}
    for script, title, column, heading in CHARTS:
        tables = [t for t in results.get(script, {}).get("tables", []) if t["title"] == title]
        if not tables or column not in tables[0]["columns"]:
            continue
        index = tables[0]["columns"].index(column)
        rows = [(row[0], float(row[index])) for row in tables[0]["rows"]]
        for theme, colors in THEMES.items():
            _bars(rows, column, heading, colors, GENERATED / f"{script}-{theme}.svg")
        texts[script] = both_themes(f"{script}", f"{heading}, {column}")
    return texts


def both_themes(stem: str, alt: str) -> str:
    """Markdown that shows one variant on light pages and the other on dark ones."""
    image = "```{{image}} /_build/pictures/{}-{}.svg\n:class: only-{}\n:alt: {}\n```\n"
    return "\n".join(image.format(stem, theme, theme, alt) for theme in THEMES)


def _bars(
    rows: list[tuple[str, float]], unit: str, heading: str, colors: dict[str, str], path: Path
) -> None:
    rows = sorted(rows, key=lambda row: -row[1])
    names, values = zip(*rows, strict=True)
    kinds = [
        "limit" if n.startswith(LIMITS) else "ours" if n.startswith("ours") else "peer"
        for n in names
    ]
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.27 * len(rows)), layout="constrained")
    bars = axes.barh(names, values, color=[colors[kind] for kind in kinds], height=0.72)
    axes.bar_label(
        bars,
        [f"{v:,.0f}" if v >= 10 else f"{v:.1f}" for v in values],
        padding=3,
        fontsize=8,
        color=colors["ink"],
    )
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 2)
    figure.suptitle(
        f"{heading}: {unit}, log scale", x=0.01, ha="left", fontsize=10, color=colors["ink"]
    )
    axes.tick_params(length=0, labelsize=8, labelcolor=colors["ink"])
    axes.xaxis.set_major_locator(NullLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.spines[:].set_visible(False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "sprintcache", "svg.fonttype": "none"}):
        figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


# ---- the map of layers -------------------------------------------------------------------------

COLUMNS = {
    "sprintcache": {"": ("",)},
    "sprint_ctl": {
        "runs in the trainer": ("_trainer", "dataset", "error_signals", "torch", "command"),
        "shared": ("_pipe", "_sequences", "config", "errors", "dataset_base"),
        "runs inside Sprint": ("_sprint", "control", "engine", "extern_interface", "interface"),
    },
}


def layers(package: str) -> str:
    """Draws the modules of a package by level, computed from their imports; returns Markdown."""
    levels = _levels(package)
    for theme, colors in THEMES.items():
        _map(package, levels, colors, GENERATED / f"{package}-{theme}.svg")
    return both_themes(package, f"Layers of {package}: a module imports modules of lower rows")


def _levels(package: str) -> dict[str, int]:
    """The level of each module or folder: one more than the highest level it imports."""
    imports: dict[str, set[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        if parts[0] in ("__init__", "__main__", "_core"):
            continue
        imports.setdefault(parts[0], set()).update(_imported(package, path))
    if package == "sprintcache":
        imports["_reader"] = {"errors", "alignment", "entries", "_text_file"}
    known: dict[str, int] = {}

    def level(name: str, above: tuple[str, ...] = ()) -> int:
        if name not in known:
            below = [t for t in imports[name] if t in imports and t not in (name, *above)]
            known[name] = 1 + max((level(t, (*above, name)) for t in below), default=-1)
        return known[name]

    return {name: level(name) for name in sorted(imports)}


def _imported(package: str, path: Path) -> Iterator[str]:
    """First parts of the modules of the package that a file imports when it is loaded."""
    folder = path.relative_to(ROOT).parts[:-1]
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        base = list(folder[: len(folder) - node.level + 1]) if node.level else []
        base += node.module.split(".") if node.module else []
        for alias in node.names:
            parts = [*base, alias.name]
            if parts[0] == package and len(parts) > 1:
                yield parts[1]


def _map(package: str, levels: dict[str, int], colors: dict[str, str], path: Path) -> None:
    columns = COLUMNS[package]
    width, height = 7.6, 0.42 * (max(levels.values()) + 1) + 0.5
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, max(levels.values()) + 1.0)
    axes.axis("off")
    share = 1 / len(columns)
    for number, (heading, members) in enumerate(columns.items()):
        chosen = {n: v for n, v in levels.items() if members == ("",) or n in members}
        left = number * share
        axes.text(
            left + share / 2,
            max(levels.values()) + 0.75,
            heading,
            ha="center",
            fontsize=9,
            color=colors["faint"],
        )
        for row in sorted(set(chosen.values())):
            names = [name for name, value in chosen.items() if value == row]
            step = share / len(names)
            for i, name in enumerate(names):
                _box(axes, left + i * step, row, step, name, colors)
    _save(figure, path)


def _box(axes: Axes, x: float, row: int, width: float, name: str, colors: dict[str, str]) -> None:
    internal = name.startswith("_")
    axes.add_patch(
        FancyBboxPatch(
            (x + 0.006, row - 0.32),
            width - 0.012,
            0.64,
            boxstyle="round,pad=0,rounding_size=0.008",
            facecolor="none",
            edgecolor=colors["faint"] if internal else colors["ours"],
            linestyle="--" if internal else "-",
            mutation_aspect=20,
        )
    )
    size = min(8.5, 820 * width / len(name))  # points that fit the box
    axes.text(
        x + width / 2, row, name, ha="center", va="center", fontsize=size, color=colors["ink"]
    )


if __name__ == "__main__":
    results = json.loads((DOCS / "reference" / "benchmarks.json").read_text("utf-8"))
    sys.stdout.write("\n".join([*charts(results), layers("sprintcache"), layers("sprint_ctl")]))
