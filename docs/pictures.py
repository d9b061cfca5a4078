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
from matplotlib.ticker import FuncFormatter, NullLocator

DOCS = Path(__file__).parent
ROOT = DOCS.parent
GENERATED = DOCS / "_build" / "pictures"

THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "ink": "#222832",
        "faint": "#8a919c",
        "ours": "#1f6feb",
        "peer": "#c3c9d2",
        "limit": "#2da44e",
        "series": ("#1f6feb", "#1a7f37", "#bc4c00", "#bf3989", "#8250df", "#1b7c83"),
    },
    "dark": {
        "ink": "#e6e8eb",
        "faint": "#8a919c",
        "ours": "#58a6ff",
        "peer": "#4b5563",
        "limit": "#3fb950",
        "series": ("#58a6ff", "#3fb950", "#f0883e", "#f778ba", "#bc8cff", "#39c5cf"),
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
FEATURE_RUNS = ("index of features", "dataset", "verify features", "combine features")
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


def size_charts(results: dict[str, Any]) -> str:
    """Draws processor time and memory against the number of segments; returns Markdown."""
    texts = []
    for stem, title, are_features in (
        ("size-alignments", "Alignments", False),
        ("size-features", "Features", True),
    ):
        runs = {
            name: {int(count): run for count, run in by_count.items()}
            for name, by_count in results["runs"].items()
            if (name in FEATURE_RUNS) == are_features
        }
        time = {name: {n: run["cpu"] for n, run in by.items()} for name, by in runs.items()}
        memory = {
            name: {n: run["memory"] / 2**20 for n, run in by.items()} for name, by in runs.items()
        }
        for theme, colors in THEMES.items():
            figure, (above, below) = plt.subplots(
                2, figsize=(7.2, 2.4 + 0.55 * len(runs)), layout="constrained"
            )
            _growth(above, time, f"{title}: processor time, seconds", 1e-3, colors)
            _growth(below, memory, f"{title}: peak of private memory, MiB", 1e-1, colors)
            _save(figure, GENERATED / f"{stem}-{theme}.svg")
        alt = f"{title}: processor time and memory against the number of segments"
        texts.append(both_themes(stem, alt))
    return "\n".join(texts)


def _growth(
    axes: Axes,
    series: dict[str, dict[int, float]],
    heading: str,
    lowest: float,
    colors: dict[str, Any],
) -> None:
    """One line for each series on logarithmic axes, labeled at its end; leaves out low values."""
    counts = sorted({count for values in series.values() for count in values})
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = []
    for number, (name, values) in enumerate(series.items()):
        points = [(count, values[count]) for count in counts if values.get(count, 0) >= lowest]
        color = colors["series"][number % len(colors["series"])]
        if points:
            axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, lw=1.3)
            ends.append((*reversed(points[-1]), name, color))
    ratio = counts[-1] / counts[0]
    for exponent in range(-8, 6, 2):  # what grows in proportion is parallel to these
        start = lowest * 10.0**exponent
        axes.plot(
            [counts[0], counts[-1]], [start, start * ratio], color=colors["faint"], lw=0.6, ls=":"
        )
    top = max(end[0] for end in ends)
    axes.set_ylim(lowest, top * 2)
    axes.set_xlim(counts[0] * 0.8, counts[-1] * 1.2)
    step = (top * 2 / lowest) ** (0.45 / axes.figure.get_figheight())  # the height of a label
    ends.sort()
    heights = [value for value, *_ in ends]
    for i in range(1, len(ends)):
        heights[i] = max(heights[i], heights[i - 1] * step)
    heights[-1] = min(heights[-1], top * 1.5)
    for i in reversed(range(len(ends) - 1)):
        heights[i] = min(heights[i], heights[i + 1] / step)
    for (value, count, name, color), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (count, value),
            (counts[-1] * 1.6, height),
            fontsize=8,
            color=color,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
    axes.set_title(heading, loc="left", fontsize=10, color=colors["ink"])
    axes.set_xlabel("segments", fontsize=8, color=colors["ink"])
    axes.set_facecolor("none")
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.tick_params(labelsize=8, labelcolor=colors["ink"], color=colors["faint"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colors["faint"])


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
