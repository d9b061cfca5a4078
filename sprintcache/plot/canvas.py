"""Parts of all pictures: the figure, colors, text from files, the time axis."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from sprintcache.alignment import Alignment

__all__ = [
    "BLUE",
    "GRAY",
    "ORANGE",
    "RED",
    "axes_of",
    "check_format",
    "check_length",
    "draw_image",
    "draw_pairs",
    "figure_of",
    "frame_edges",
    "frame_ends",
    "new_figure",
    "open_window",
    "plain",
    "points_across",
    "set_title",
    "short",
    "short_name",
    "width_for",
]

BLUE, ORANGE, RED, GRAY = "#0072B2", "#E69F00", "#D55E00", "#999999"  # of Okabe and Ito
_MAX_FRAMES = 10_000_000
_MAX_NAME_LENGTH = 30  # at an axis
_MAX_SHARP = 2000  # columns of an image; of more, neighbors are averaged


def new_figure(width: float, height: float, figure: Figure | None = None) -> Figure:
    """A figure to draw into.

    Args:
        width, height: inches.
        figure: an empty one to use, such as a window of pyplot; None: a new one.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "pictures need matplotlib: pip install 'sprintcache[plot]'", name="matplotlib"
        ) from error
    if figure is None:
        figure = Figure()
    figure.set_layout_engine("constrained")
    figure.set_size_inches(width, height)
    return figure


def axes_of(axes: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of this size in inches."""
    return new_figure(width, height).add_subplot() if axes is None else axes


def figure_of(axes: Axes) -> Figure:
    """The figure of axes, also if they are in a subfigure."""
    return axes.figure.figure


def plain(text: str) -> str:
    """A name from a file as text to draw: one line, no formula, only printable characters."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    characters = [char if char.isprintable() else "\ufffd" for char in decoded]
    return "".join(characters).replace("$", r"\$")


def short(text: str, max_length: int) -> str:
    """A text of at most `max_length` characters, with an ellipsis in the middle if it is longer."""
    if len(text) <= max_length:
        return text
    end = max_length // 2
    return f"{text[: max_length - end - 1]}\N{HORIZONTAL ELLIPSIS}{text[-end:]}"


def short_name(text: str) -> str:
    """A name for an axis or a title."""
    return short(text, _MAX_NAME_LENGTH)


def set_title(figure: Figure, text: str) -> None:
    """Sets the title of a figure, shortened to its width."""
    figure.suptitle(plain(short(text, int(11 * figure.get_figwidth()))), fontsize=10)


def frame_edges(times: ArrayLike | None, count: int) -> tuple[NDArray[np.float64], str]:
    """The start of each frame, the end of the last one, and the label of this axis.

    A frame lasts until the next starts, the last one for the median of the others.

    Args:
        times: (count, 2) seconds, start and end of each; None: the axis counts frames.
        count: number of frames.

    Returns:
        (count + 1,) float64 and "time (s)" or "frame".

    Raises:
        ValueError: for another number of times, or if they do not increase.
    """
    if times is None:
        return np.arange(count + 1, dtype=np.float64), "frame"
    table = np.asarray(times, np.float64)
    if table.shape != (count, 2):
        raise ValueError(f"times must be of shape ({count}, 2), not {table.shape}")
    if not count:
        return np.zeros(1), "time (s)"
    starts = table[:, 0]
    steps = np.diff(starts)
    if not (np.isfinite(table).all() and (steps > 0).all()):
        raise ValueError("times do not increase")
    last = float(np.median(steps)) if count > 1 else float(table[0, 1] - starts[0])
    return np.append(starts, starts[-1] + last), "time (s)"


def check_length(alignment: Alignment) -> None:
    """Refuses an alignment that is too long for an axis, such as a damaged one.

    Raises:
        ValueError: if it has more than 10 million frames.
    """
    if alignment.num_frames > _MAX_FRAMES:
        raise ValueError(f"an alignment of {alignment.num_frames} frames is too long for a picture")


def frame_ends(edges: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(T,) the end of each frame: the start of the next, or before a gap the median shift later."""
    shift = float(np.median(np.diff(edges))) if len(edges) > 1 else 0.0
    ends: NDArray[np.float64] = np.minimum(edges[:-1] + shift, edges[1:])
    return ends


def points_across(axes: Axes) -> tuple[float, float]:
    """Width and height in points (1/72 inch) of axes in a figure with a layout."""
    box, dpi = axes.get_window_extent(), figure_of(axes).dpi
    return 72 * box.width / dpi, 72 * box.height / dpi


def width_for(edges: NDArray[np.float64], unit: str) -> float:
    """Width in inches that fits the names of phones, within limits."""
    seconds = float(edges[-1] - edges[0]) * (0.01 if unit == "frame" else 1.0)
    return min(max(3 + 3 * seconds, 8.0), 30.0)


def draw_image(
    axes: Axes, edges: NDArray[np.floating[Any]], rows: NDArray[np.floating[Any]], **options: Any
) -> Any:
    """(D, T) values as an image, its frames from edge to edge; gaps stay empty.

    Args:
        axes: where to draw.
        edges: (T + 1,) from `frame_edges`.
        rows: the values, the first row at the bottom.
        options: for the colors.

    Returns:
        the artist, for a color bar.
    """
    steps, ends = np.diff(edges), frame_ends(edges)
    if np.allclose(steps, steps[0], rtol=0.02):
        bottom, top = -0.5, len(rows) - 0.5
        return axes.imshow(
            rows,
            aspect="auto",
            origin="lower",
            interpolation="nearest" if len(steps) <= _MAX_SHARP else "antialiased",
            extent=(edges[0], edges[-1], bottom, top),
            **options,
        )
    # a column for each frame, and one for a gap before the next
    sides = np.append(np.stack([edges[:-1], ends], 1).ravel(), edges[-1])
    cells = np.full((len(rows), 2 * len(steps)), np.nan)
    cells[:, ::2] = rows
    heights = np.arange(len(rows) + 1) - 0.5
    return axes.pcolormesh(sides, heights, np.ma.masked_invalid(cells), rasterized=True, **options)


def draw_pairs(axes: Axes, pairs: Sequence[tuple[str, str, float]], unit: str, title: str) -> None:
    """A bar for each pair of names that are confused, the first one on top.

    Args:
        axes: where to draw.
        pairs: two names, and the length of the bar.
        unit: of the lengths.
        title: of the axes.
    """
    axes.barh(range(len(pairs)), [length for *_, length in pairs], color=ORANGE)
    texts = [
        plain(f"{short_name(first)}  \N{RIGHTWARDS ARROW}  {short_name(second)}")
        for first, second, _ in pairs
    ]
    axes.set_yticks(range(len(pairs)), texts, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title, fontsize=9)


def open_window() -> tuple[Figure, Callable[[], None]]:
    """An empty figure in a window, and a function that shows it until it is closed.

    Raises:
        ImportError: if matplotlib is not installed.
        OSError: if no window can be opened here.
    """
    new_figure(1, 1)  # checks for matplotlib
    import matplotlib
    from matplotlib import pyplot

    figure = pyplot.figure()
    backend = matplotlib.get_backend()
    if backend.lower() in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        pyplot.close(figure)
        raise OSError(f"no window can be opened here (matplotlib's backend is {backend})")
    return figure, pyplot.show


def check_format(path: str) -> None:
    """Checks that matplotlib can write a file of this name: .png, .svg, .pdf and others.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: for another ending.
    """
    known = new_figure(1, 1).canvas.get_supported_filetypes()
    suffix = os.path.splitext(path)[1].lstrip(".").lower()
    if suffix not in known:
        raise ValueError(
            f"{path}: a picture must end in .png, .svg or .pdf, not in {suffix or 'nothing'!r}"
        )
