"""plot_tier_comparison: pictures of the time errors of words or phones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._checks import require_attribute

from .canvas import BLUE, GRAY, ORANGE, RED, draw_pairs, new_figure, plain, set_title, short_name

if TYPE_CHECKING:
    from collections import Counter

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sprintcache.segmentation import TierComparison

__all__ = ["plot_tier_comparison"]

_MAX_CONFUSIONS = 15
_MAX_BINS = 60


def plot_tier_comparison(
    comparison: TierComparison,
    *,
    names: tuple[str, str] = ("hypothesis", "reference"),
    collars: Sequence[int] = (10, 20, 50, 100, 200),
    figure: Figure | None = None,
) -> Figure:
    """Shifts of starts and ends, the share of boundaries within each collar, and confusions.

    Args:
        comparison: from `sprintcache.segmentation.compare_tiers`.
        names: names of the two sources.
        collars: milliseconds that are marked.
        figure: an empty one; None: a new one.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    require_attribute(comparison, "confusions", "a TierComparison, from compare_tiers")
    figure = new_figure(12, 7, figure)
    axes = figure.subplots(2, 2)
    noun = comparison.tier[:-1]
    _draw_shifts(axes[0, 0], comparison.errors.start, f"start of a {noun}", names)
    _draw_shifts(axes[1, 0], comparison.errors.end, f"end of a {noun}", names)
    _draw_collars(axes[0, 1], comparison, collars)
    pairs = [
        (first or "silence", second or "silence", seconds)
        for first, second, seconds in comparison.most_confused(_MAX_CONFUSIONS)
    ]
    draw_pairs(axes[1, 1], pairs, "seconds", "most time in different symbols")
    text = (
        f"{short_name(names[0])} against {short_name(names[1])}: {comparison.num_segments} segments"
    )
    micro = comparison.micro
    if micro:
        text += f", boundary error {1000 * micro['wbe']:.1f} ms"
    if comparison.agreement is not None:
        text += f", the same {noun} in {100 * comparison.agreement:.2f} % of the time"
    set_title(figure, text)
    return figure


def _draw_shifts(axes: Axes, shifts: Counter[int], title: str, names: tuple[str, str]) -> None:
    """A histogram in ms, with the shift that halves it."""
    values = np.array(sorted(shifts), np.int64)
    counts = np.array([shifts[value] for value in values.tolist()], np.int64)
    axes.set_xlabel(f"{title}, shift in ms; right of 0: later in\n{plain(short_name(names[0]))}")
    axes.set_ylabel("boundaries")
    axes.axvline(0, color=RED, linewidth=0.8)
    if not len(values):
        return
    steps = np.diff(values)
    step = max(int(np.gcd.reduce(steps)) if len(steps) else 10_000, 1000)
    # whole steps to a bin, or bins would hold different numbers of frames
    width = step * -(-(int(values[-1] - values[0]) // step + 1) // _MAX_BINS)
    num_bins = int(values[-1] - values[0]) // width + 1
    edges = values[0] - step / 2 + width * np.arange(num_bins + 1)
    heights, _ = np.histogram(values, edges, weights=counts)
    axes.stairs(heights, edges / 1000, fill=True, color=BLUE)
    middle = values[np.searchsorted(np.cumsum(counts), counts.sum() / 2)] / 1000
    axes.axvline(middle, color=ORANGE, linewidth=1, label=f"median {middle:+g} ms")
    axes.legend(fontsize=8)


def _draw_collars(axes: Axes, comparison: TierComparison, collars: Sequence[int]) -> None:
    """The share of the reference's boundaries by their distance."""
    sizes = [abs(shift) / 1000 for shift in comparison.errors.start.elements()]
    sizes += [abs(shift) / 1000 for shift in comparison.errors.end.elements()]
    total = max(2 * comparison.num_reference, 1)
    ordered = np.sort(np.array(sizes))
    limit = 1.25 * max(collars, default=100)
    points = np.concatenate([[0.0], np.repeat(ordered, 2), [limit]])
    shares = np.repeat(np.arange(len(ordered) + 1), 2) / total
    axes.plot(points, 100 * shares, color=BLUE)
    for collar in collars:
        share = 100 * (comparison.accuracy(collar) or 0.0)
        axes.plot([collar], [share], "o", color=ORANGE, markersize=4)
        axes.annotate(
            f"{share:.1f}", (collar, share), (3, -10), textcoords="offset points", fontsize=7
        )
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 102)
    axes.set_xlabel("collar in ms")
    axes.set_ylabel("% of the reference's boundaries")
    axes.grid(color=GRAY, alpha=0.3)
