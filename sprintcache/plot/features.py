"""plot_features and plot_line: numbers over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import BLUE, axes_of, draw_image, figure_of, frame_edges, width_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

__all__ = ["plot_features", "plot_line"]

_MAX_POINTS = 20_000  # of a line


def plot_features(
    features: ArrayLike,
    times: ArrayLike | None = None,
    *,
    normalize: bool = False,
    axes: Axes | None = None,
) -> Figure:
    """Features as an image, the first dimension at the bottom.

    A frame is drawn from its start to the start of the next. Colors span the values from the 1st
    to the 99th percentile; gaps between frames and non-finite values are light gray.

    Args:
        features: (T, D) real numbers.
        times: (T, 2) seconds, start and end of each frame; None: the axis counts frames.
        normalize: show how many standard deviations values are from the mean of their dimension,
            so that dimensions of small variance are visible.
        axes: where to draw; None: a new figure.

    Raises:
        ValueError: if the features are not a matrix, or the times do not fit them.
        ImportError: if matplotlib is not installed.
    """
    values = np.asarray(features)
    if values.ndim != 2:
        raise ValueError(f"features must be of shape (T, D), not {values.shape}")
    edges, unit = frame_edges(times, len(values))
    axes = axes_of(axes, width_for(edges, unit), 4)
    axes.set_xlabel(unit)
    axes.set_ylabel("dimension")
    axes.set_facecolor("lightgrey")
    if not values.size:
        _draw_empty(axes)
        return figure_of(axes)
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    label = "value"
    if normalize:
        values, label = _normalized(values), "standard deviations from the mean"
    low, high, beyond = _limits(values)
    image = draw_image(
        axes, edges, np.ma.masked_invalid(values.T), cmap="viridis", vmin=low, vmax=high
    )
    axes.yaxis.get_major_locator().set_params(integer=True)
    figure_of(axes).colorbar(image, ax=axes, label=label, extend=beyond, pad=0.01)
    return figure_of(axes)


def _normalized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances from the mean of each column in standard deviations; 0 for a constant column."""
    known = np.ma.masked_invalid(values)
    deviation = known.std(0).filled(0.0)
    distance = known - known.mean(0)
    normalized: NDArray[np.float64] = (distance / np.where(deviation > 0, deviation, 1)).filled(
        np.nan
    )
    return normalized


def _limits(values: NDArray[np.float64]) -> tuple[float, float, str]:
    """Values of the first and last color, and the sides with values beyond them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0, "neither"
    low, high = np.percentile(finite, [1, 99]).tolist()
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    sides = {(True, True): "both", (True, False): "min", (False, True): "max"}
    return low, high, sides.get((finite.min() < low, finite.max() > high), "neither")


def plot_line(
    values: ArrayLike,
    times: ArrayLike | None = None,
    *,
    label: str = "value",
    axes: Axes | None = None,
) -> Figure:
    """Scalars or audio samples as a line through the centers of their times.

    Of more than 20,000 values, minimum and maximum of each of 10,000 pieces are drawn.

    Args:
        values: (N,) real numbers.
        times: (N, 2) seconds, start and end of each; or (2,) seconds, start of the first and end of
            the last; None: the axis counts values.
        label: of the values.
        axes: where to draw; None: a new figure.

    Raises:
        ValueError: if the values are not a vector, or the times do not fit them.
        ImportError: if matplotlib is not installed.
    """
    line = np.asarray(values)
    if line.ndim != 1:
        raise ValueError(f"values must be of shape (N,), not {line.shape}")
    if times is not None and np.shape(times) == (2,):
        first, last = np.asarray(times, np.float64).tolist()
        edges, unit = np.linspace(first, last, len(line) + 1), "time (s)"
    else:
        edges, unit = frame_edges(times, len(line))
    axes = axes_of(axes, width_for(edges, unit), 3)
    axes.set_xlabel(unit)
    axes.set_ylabel(label)
    if not line.size:
        _draw_empty(axes)
        return figure_of(axes)
    axes.plot(*_thinned((edges[:-1] + edges[1:]) / 2, line), color=BLUE, linewidth=0.8)
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(alpha=0.3)
    return figure_of(axes)


def _thinned(
    times: NDArray[np.float64], values: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Minimum and maximum of each piece of a long line; a short line unchanged."""
    size = -(-2 * len(values) // _MAX_POINTS)
    if len(values) <= _MAX_POINTS:
        return times, values
    starts = np.arange(0, len(values), size)
    both = np.stack([np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)], 1)
    return np.repeat(times[starts], 2), both.ravel()


def _draw_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no frames", ha="center", va="center", transform=axes.transAxes)
