"""plot_statistics and plot_comparison: results of `statistics` and `comparison`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sprintcache._checks import require_attribute

from .canvas import (
    BLUE,
    GRAY,
    ORANGE,
    RED,
    draw_image,
    draw_pairs,
    new_figure,
    plain,
    set_title,
    short_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sprintcache._analysis.accumulators import Moments
    from sprintcache.comparison import Comparison, Confusions
    from sprintcache.statistics import LabelUse, Lengths, Statistics

__all__ = ["plot_comparison", "plot_statistics"]

_MAX_TICKS = 90  # names along an axis
_MAX_PHONES = 60  # of a confusion matrix
_MAX_CONFUSIONS = 15
_MAX_BINS = 2001  # of a histogram of shifts
_MAX_NAMED = 4  # labels in a legend


def plot_statistics(
    statistics: Statistics, *, title: str = "", rare: float = 50, figure: Figure | None = None
) -> Figure:
    """Lengths, use of labels, and mean and variance of each dimension, as far as they exist.

    Args:
        statistics: from `sprintcache.statistics.collect`.
        title: such as the archive's name.
        rare: labels with less weight are drawn in another color and named.
        figure: an empty one; None: a new one.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    require_attribute(statistics, "moments", "Statistics, from collect")
    tables = [moments for dim, moments in sorted(statistics.moments.items()) if dim > 1]
    panels = 1 + (statistics.labels is not None) + 2 * len(tables)
    figure = new_figure(10, 0.5 + 3 * panels, figure)
    axes = iter(figure.subplots(panels, 1, squeeze=False)[:, 0])
    set_title(figure, title)
    unit = "samples" if statistics.num_signals else "frames"
    _draw_lengths(next(axes), statistics.lengths, unit, statistics.frame_shift)
    if statistics.labels is not None:
        _draw_labels(next(axes), statistics.labels, rare)
    for moments in tables:
        _draw_means(next(axes), moments)
        _draw_variances(next(axes), moments)
    return figure


def _draw_lengths(axes: Axes, lengths: Lengths, unit: str, shift: float | None) -> None:
    counts, edges = np.histogram(
        lengths.values,
        bins=min(50, max(10, int(lengths.counts.sum()) // 5)),
        weights=lengths.counts,
    )
    axes.stairs(counts, edges, fill=True, color=BLUE)
    marks = ((0.05, ":", "5 %"), (0.5, "-", "median"), (0.95, "--", "95 %"))
    for share, style, name in marks:
        length = lengths.quantile(share)
        axes.axvline(length, color=RED, linestyle=style, linewidth=1, label=f"{name}: {length}")
    axes.set_xlabel(f"{unit} per segment")
    axes.set_ylabel("segments")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    if shift:
        step = shift
        axes.secondary_xaxis(
            "top", functions=(lambda frames: frames * step, lambda seconds: seconds / step)
        ).set_xlabel("seconds", fontsize="small")


def _draw_labels(axes: Axes, labels: LabelUse, rare: float) -> None:
    """Labels by frequency, the rare ones in another color."""
    ordered = labels.ordered()
    names = [name for name, _ in ordered]
    weights = np.array([weight for _, weight in ordered])
    edges = np.arange(len(names) + 1) - 0.5
    groups = (
        (weights >= rare, BLUE, ""),
        ((weights > 0) & (weights < rare), ORANGE, f"rare, fewer than {rare:g} frames"),
    )
    for chosen, color, text in groups:
        members = [names[index] for index in np.flatnonzero(chosen)][::-1]
        label = f"{text} ({len(members)}): {_first(members)}" if text and members else None
        axes.stairs(np.where(chosen, weights, 0), edges, fill=True, color=color, label=label)
    unused = np.flatnonzero(weights == 0)
    axes.set_yscale("log")
    axes.set_ylim(bottom=min(0.5, max(weights[weights > 0].min(initial=1) / 2, 1e-3)))
    if len(unused):
        transform = axes.get_xaxis_transform()
        label = f"unused ({len(unused)}): {_first([names[index] for index in unused])}"
        height = np.full(len(unused), 0.02)
        axes.plot(unused, height, "x", color=RED, transform=transform, label=label)
    axes.set_xlim(-1, len(names))
    axes.set_ylabel("frames")
    kind = "labels" if labels.kind == "label" else "states"
    text = f"{len(names)} {kind} by frequency"
    if labels.silence_share is not None:
        text += f"; silence {100 * labels.silence_share:.1f} % of the frames"
    axes.set_xlabel(text)
    if len(names) <= _MAX_TICKS:
        axes.set_xticks(range(len(names)), [plain(n) for n in names], rotation=90, fontsize=6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _first(names: Sequence[str]) -> str:
    num_hidden = len(names) - _MAX_NAMED
    text = plain(", ".join(names[:_MAX_NAMED]))
    return f"{text} and {num_hidden} more" if num_hidden > 0 else text


def _draw_means(axes: Axes, moments: Moments) -> None:
    axes.errorbar(
        np.arange(len(moments.mean)),
        moments.mean,
        np.sqrt(moments.variance),
        fmt="o",
        markersize=3,
        color=BLUE,
        ecolor=GRAY,
        elinewidth=1.2,
        capsize=2,
        label="mean, and one standard deviation on both sides",
    )
    axes.axhline(0, color="black", linewidth=0.5)
    axes.legend(fontsize=8)
    _dimension_axis(axes, "mean", len(moments.mean))


def _draw_variances(axes: Axes, moments: Moments) -> None:
    variance = moments.variance
    edges = np.arange(len(variance) + 1) - 0.5
    axes.stairs(variance, edges, fill=True, color=BLUE)
    positive = variance[variance > 0]
    if len(positive) and positive.max() > 10 * positive.min():
        axes.set_yscale("log")
    flat = np.flatnonzero(variance == 0)
    if len(flat):
        transform = axes.get_xaxis_transform()
        label = f"variance 0 ({len(flat)}): {_first([str(dimension) for dimension in flat])}"
        height = np.full(len(flat), 0.02)
        axes.plot(flat, height, "x", color=RED, transform=transform, label=label)
        axes.legend(fontsize=8)
    _dimension_axis(axes, "variance", len(variance))


def _dimension_axis(axes: Axes, name: str, count: int) -> None:
    axes.set_xlabel(f"dimension, of {count}")
    axes.set_xlim(-1, count)
    axes.set_ylabel(name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", alpha=0.3)


def plot_comparison(
    comparison: Comparison,
    *,
    names: tuple[str, str] = ("first", "second"),
    frame_shift: float = 0.01,
    figure: Figure | None = None,
) -> Figure:
    """Confusions of phones, the most frequent confusions, and shifts of boundaries.

    Args:
        comparison: from `sprintcache.comparison.compare`.
        names: of the two alignments.
        frame_shift: seconds from frame to frame, for the shifts.
        figure: an empty one; None: a new one.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    require_attribute(comparison, "units", "a Comparison, from compare")
    figure = new_figure(13, 8.5, figure)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.6, 1])
    confusions = comparison.phones or comparison.units
    _draw_matrix(figure.add_subplot(grid[:, 0]), confusions, names)
    axes = figure.add_subplot(grid[0, 1])
    title = f"most frequent confusions of {comparison.units.kind}s"
    draw_pairs(axes, comparison.units.most(_MAX_CONFUSIONS), "frames", title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _draw_shifts(figure.add_subplot(grid[1, 1]), comparison, frame_shift, names)
    text = (
        f"{short_name(names[0])} and {short_name(names[1])}: {comparison.num_segments} segments, "
    )
    text += f"the same {comparison.units.kind} in {100 * comparison.units.agreement:.2f} %"
    if comparison.phones is not None:
        text += f", the same phone in {100 * comparison.phones.agreement:.2f} %"
    set_title(figure, f"{text} of {comparison.units.num_frames} frames")
    return figure


def _draw_matrix(axes: Axes, confusions: Confusions, names: tuple[str, str]) -> None:
    """The share of each unit of the second among the frames of each unit of the first."""
    from matplotlib.colors import LogNorm

    count = len(confusions.names)
    total = np.bincount(confusions.first, confusions.frames, count)
    total += np.bincount(confusions.second, confusions.frames, count)
    shown = np.sort(np.argsort(-total, kind="stable")[:_MAX_PHONES])
    index_of = np.full(count, -1)
    index_of[shown] = np.arange(len(shown))
    rows, columns = index_of[confusions.first], index_of[confusions.second]
    inside = (rows >= 0) & (columns >= 0)
    matrix = np.zeros((len(shown), len(shown)))
    matrix[rows[inside], columns[inside]] = confusions.frames[inside]
    row_sums = np.bincount(confusions.first, confusions.frames, count)[shown, None]
    share = np.ma.masked_equal(matrix / np.maximum(row_sums, 1), 0)
    most = f", the {len(shown)} most frequent of {count}" if len(shown) < count else ""
    if len(shown):
        image = draw_image(
            axes, np.arange(len(shown) + 1) - 0.5, share, cmap="viridis", norm=LogNorm(1e-3, 1)
        )
        axes.figure.colorbar(image, ax=axes, label="share of the frames in the row", extend="min")
    texts = [plain(confusions.names[index]) for index in shown]
    axes.set_xticks(range(len(shown)), texts, rotation=90, fontsize=7)
    axes.set_yticks(range(len(shown)), texts, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(plain(f"{confusions.kind} in {short_name(names[1])}"))
    axes.set_ylabel(plain(f"{confusions.kind} in {short_name(names[0])}{most}"))


def _draw_shifts(
    axes: Axes, comparison: Comparison, frame_shift: float, names: tuple[str, str]
) -> None:
    step = 1000 * frame_shift
    shifts = comparison.shifts
    low, high = int(shifts.min(initial=0)), int(shifts.max(initial=0))
    num_bins = min(high - low + 1, _MAX_BINS)
    edges = np.linspace(low - 0.5, high + 0.5, num_bins + 1)
    counts, _ = np.histogram(shifts, edges, weights=comparison.shift_counts)
    axes.stairs(counts, edges * step, fill=True, color=BLUE)
    axes.axvline(0, color=RED, linewidth=0.8)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"shift in ms; right of 0: later in\n{plain(short_name(names[1]))}")
    axes.set_ylabel("boundaries")
    apart = comparison.mean_distance * step
    axes.set_title(
        f"{comparison.num_matched} phone boundaries,\n{apart:.1f} ms apart on average", fontsize=9
    )
