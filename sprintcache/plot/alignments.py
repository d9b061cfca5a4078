"""plot_alignment: phones and states over time; weights of soft alignments as an intensity map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache import states
from sprintcache._analysis.units import center
from sprintcache._checks import require_attribute
from sprintcache.alignment import ALLOPHONE_MASK

from .canvas import (
    axes_of,
    check_length,
    draw_image,
    figure_of,
    frame_edges,
    frame_ends,
    plain,
    points_across,
    width_for,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from numpy.typing import ArrayLike, NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.segmentation import Interval

__all__ = ["is_soft", "phone_starts", "plot_alignment"]

_PHONES = "#CFE6F5", "#FBE6BD"  # alternating, light enough for black text
_SILENCE = "#E4E4E4"
_WORDS = "#D5EBDD", "#F3DDE9"  # alternating
_GRAYS = "#FFFFFF", "#DCDCDC", "#BBBBBB", "#9A9A9A"  # by state
_FONT_SIZE = 7  # points
_MAX_OUTLINED = 600  # spans; outlines of more would hide them
_MAX_NAMES = 5000  # more are slow to draw and cannot be read
_MAX_CELLS = 50_000_000  # of an intensity map


class _Span(NamedTuple):
    """A part of the time axis; `kind` determines its color."""

    start: float
    end: float
    name: str
    kind: int


def plot_alignment(
    alignment: Alignment,
    names: states.StateNames | None = None,
    times: ArrayLike | None = None,
    *,
    words: Sequence[Interval] = (),
    axes: Axes | None = None,
) -> Figure:
    """An alignment: phones above their states; a soft one as a row of weights for each state.

    Names are shown if they fit: more of them when a window is zoomed. With a labeling, labels
    replace the numbers of states, and silence is gray.

    Args:
        alignment: the alignment.
        names: symbols of the states and a labeling; None, or if they contradict the alignment's
            alphabet: that alphabet.
        times: (T, 2) seconds, start and end of each frame; None: the axis counts frames.
        words: words with seconds, drawn above the phones of an alignment that is not soft; `times`
            must be given.
        axes: where to draw; None: a new figure.

    Raises:
        ValueError: if the times do not fit, or if the alignment or an intensity map is too large.
        ImportError: if matplotlib is not installed.
    """
    require_attribute(alignment, "emission", "an Alignment")
    known = names or states.StateNames()
    if states.contradiction(alignment.alphabet, known.allophones):
        known = states.StateNames()  # names by id would be wrong
    check_length(alignment)
    count = alignment.num_frames if times is None else len(np.asarray(times))
    edges, unit = frame_edges(times, count)
    if count < alignment.num_frames:
        raise ValueError(f"times of {count} frames for an alignment of {alignment.num_frames}")
    soft = is_soft(alignment)
    axes = axes_of(axes, width_for(edges, unit), 6 if soft else 1.6 + 0.4 * bool(words))
    axes.set_xlabel(unit)
    if edges[-1] > edges[0]:
        axes.set_xlim(edges[0], edges[-1])
    if soft:
        _draw_weights(axes, alignment, known, edges)
    else:
        _draw_path(axes, alignment, known, edges, words)
    return figure_of(axes)


def is_soft(alignment: Alignment) -> bool:
    """Whether an alignment is drawn by its weights: it has weights, or several items in a frame."""
    return alignment.weighted or bool(np.any(np.diff(alignment.time.astype(np.int64)) <= 0))


def phone_starts(alignment: Alignment, times: NDArray[np.float64]) -> list[float]:
    """Start times of all phones but the first; empty for a soft alignment."""
    if is_soft(alignment):
        return []
    edges, _ = frame_edges(times, len(times))
    return [span.start for span in _spans(alignment, states.StateNames(), edges)[0][1:]]


def _draw_path(
    axes: Axes,
    alignment: Alignment,
    known: states.StateNames,
    edges: NDArray[np.float64],
    words: Sequence[Interval],
) -> None:
    phones, parts = _spans(alignment, known, edges)
    row_name = "state" if known.labeling is None else "label"
    if alignment.label_type == "emission":
        phones, row_name = [], "id"
    rows: list[tuple[list[_Span], str, tuple[str, ...]]]
    rows = [(parts, row_name, _GRAYS)]
    if phones:
        rows.append((phones, "phone", (*_PHONES, _SILENCE)))
    if words:
        spans = [_Span(word.start, word.end, word.symbol, i % 2) for i, word in enumerate(words)]
        rows.append((spans, "word", _WORDS))
    labels: list[tuple[Text, _Span]] = []
    for bottom, (spans, _, colors) in enumerate(rows):
        outlined = len(spans) < _MAX_OUTLINED
        axes.broken_barh(
            [(span.start, span.end - span.start) for span in spans],
            (bottom, 1),
            facecolors=[colors[span.kind % len(colors)] for span in spans],
            edgecolor="#555555" if outlined else "none",
            linewidth=0.3,
        )
        for span in spans if len(spans) <= _MAX_NAMES else ():
            y = bottom + 0.5  # `_fit_names` sets x
            text = axes.text(0, y, plain(span.name), fontsize=_FONT_SIZE, ha="center", va="center")
            text.set_clip_on(True)
            text.set_in_layout(False)
            labels.append((text, span))
    axes.set_ylim(0, len(rows))
    axes.set_yticks([index + 0.5 for index in range(len(rows))], [row[1] for row in rows])
    axes.tick_params(axis="y", length=0)
    _fit_names(axes, labels, len(rows))


def _spans(
    alignment: Alignment, known: states.StateNames, edges: NDArray[np.float64]
) -> tuple[list[_Span], list[_Span]]:
    """The phones, and their states; neighbors alternate in kind, silence is of kind 2."""
    time, emission = alignment.time.astype(np.int64), alignment.emission
    state, allophone = alignment.state.astype(np.int64), alignment.allophone
    if not len(time):
        return [], []
    gap = np.diff(time) != 1
    ends = frame_ends(edges)
    changes = gap | (emission[1:] != emission[:-1])
    turns = gap | (allophone[1:] != allophone[:-1]) | (np.diff(state) < 0)
    labels = None
    silence = None
    if known.labeling is not None:
        labels = known.labeling.labels_of(emission)
        silence = known.labeling.sil_label_idx
    phones = []
    for number, (first, last) in enumerate(_runs(turns)):
        quiet = labels is not None and silence is not None and labels[first] == silence
        symbol = states.symbol(int(emission[first]), known.allophones, alignment.alphabet)
        name = center(symbol) if "{" in symbol else str(allophone[first])
        kind = 2 if quiet else number % 2
        phones.append(_Span(edges[time[first]], ends[time[last]], name, kind))
    parts = []
    for number, (first, last) in enumerate(_runs(changes)):
        kind = int(state[first])
        name = str(kind)
        if alignment.label_type == "emission":
            kind, name = number % 2, str(emission[first])
        elif labels is not None:
            name = str(labels[first]) if labels[first] >= 0 else "-"
        parts.append(_Span(edges[time[first]], ends[time[last]], name, kind))
    return phones, parts


def _runs(changes: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last item of each run; (N - 1,) whether the next item starts a run."""
    ends = np.flatnonzero(changes)
    starts = [0, *(ends + 1).tolist()]
    return list(zip(starts, [*ends.tolist(), len(changes)], strict=True))


def _fit_names(axes: Axes, labels: list[tuple[Text, _Span]], num_rows: int) -> None:
    """Centers names in the visible part of their spans, if they fit; again at every zoom."""

    def fit(_changed: Any) -> None:
        width, height = points_across(axes)
        left, right = axes.get_xlim()
        scale, row_height = width / max(right - left, 1e-9), height / num_rows - 2
        for text, span in labels:
            begin, end = max(span.start, left), min(span.end, right)
            text.set_x((begin + end) / 2)
            available = (end - begin) * scale - 1
            length = 0.6 * _FONT_SIZE * len(text.get_text())
            is_rotated = length > available
            text.set_rotation(90 if is_rotated else 0)
            text.set_visible(not is_rotated or (available >= _FONT_SIZE and length <= row_height))

    figure_of(axes).draw_without_rendering()  # computes the layout
    fit(axes)
    for sibling in axes.get_shared_x_axes().get_siblings(axes):
        sibling.callbacks.connect("xlim_changed", fit)


def _draw_weights(
    axes: Axes, alignment: Alignment, known: states.StateNames, edges: NDArray[np.float64]
) -> None:
    ids, rows = np.unique(alignment.emission, return_inverse=True)
    if not len(ids):
        return
    is_state = alignment.label_type == "allophone-state"
    groups = ids & np.uint32(ALLOPHONE_MASK) if is_state else ids
    weight = np.where(np.isfinite(alignment.weight), alignment.weight, 0).astype(np.float64)
    _, number = np.unique(groups, return_inverse=True)
    total = np.bincount(number[rows], weight)
    mean_times = np.bincount(number[rows], weight * alignment.time) / np.where(total > 0, total, 1)
    order = np.lexsort((ids, mean_times[number]))
    row_of = np.empty(len(ids), np.int64)
    row_of[order] = np.arange(len(ids))
    first, count = int(alignment.time.min()), int(np.ptp(alignment.time)) + 1
    if len(ids) * count > _MAX_CELLS:
        raise ValueError(
            f"a soft alignment of {len(ids)} states in {count} frames is too large for a picture;"
            " choose fewer frames"
        )
    cells = np.zeros((len(ids), count))
    np.add.at(cells, (row_of[rows], alignment.time - first), weight)
    image = draw_image(
        axes,
        edges[first : first + count + 1],
        cells,
        cmap="cividis",
        vmin=0,
        vmax=max(float(cells.max()), 1e-9),
    )
    axes.set_facecolor(image.cmap(0))
    figure_of(axes).colorbar(image, ax=axes, label="weight", pad=0.01)
    names = [_row_name(int(id_), alignment, known, is_state) for id_ in ids[order].tolist()]
    _name_rows(axes, names, groups[order])
    axes.set_ylabel("allophone, its states upwards" if is_state else "id")


def _row_name(id_: int, alignment: Alignment, known: states.StateNames, is_state: bool) -> str:
    if not is_state:
        return str(id_)
    return states.symbol(id_, known.allophones, alignment.alphabet).rpartition(".")[0] or str(id_)


def _name_rows(axes: Axes, names: Sequence[str], groups: NDArray[np.uint32]) -> None:
    """Names the rows of each allophone at their center, if the name fits."""
    figure_of(axes).draw_without_rendering()  # computes the layout
    height = points_across(axes)[1] / len(names)
    centers: list[float] = []
    texts: list[str] = []
    for first, last in _runs(groups[1:] != groups[:-1]):
        middle = (first + last) / 2
        if not centers or (middle - centers[-1]) * height >= _FONT_SIZE - 1:
            centers.append(middle)
            texts.append(plain(names[first]))
    axes.set_yticks(centers, texts, fontsize=_FONT_SIZE - 1)
