"""plot_segment: features, scalars or audio of a segment, above its alignment."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._checks import require_attribute
from sprintcache._signals import is_signal, signal
from sprintcache.alignment import Alignment
from sprintcache.errors import SprintCacheError, UnsupportedError

from .alignments import is_soft, phone_starts, plot_alignment
from .canvas import check_length, frame_edges, new_figure, points_across, set_title, width_for
from .features import plot_features, plot_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sprintcache.archive import Archive
    from sprintcache.segmentation import Interval
    from sprintcache.states import StateNames

__all__ = ["plot_segment"]

_Span = tuple[float, float]
_MIN_LINE_DISTANCE = 6  # points


def plot_segment(
    archive: Archive,
    name: str,
    alignments: Archive | None = None,
    names: StateNames | None = None,
    *,
    frames: slice | None = None,
    normalize: bool = False,
    frame_shift: float = 0.01,
    words: Sequence[Interval] = (),
    figure: Figure | None = None,
) -> Figure:
    """Features as an image, scalars and audio as a line, above the alignment.

    Args:
        archive: of features, scalars, audio samples, or alignments.
        name: the segment.
        alignments: an archive with its alignment; None: no alignment.
        names: symbols and labels of states, as for `plot_alignment`.
        frames: show only these frames, or samples of audio (colors span all frames);
            None: all.
        normalize: as for `plot_features`.
        frame_shift: seconds between the frames of an alignment alone or below audio.
        words: words with seconds, drawn above the phones.
        figure: an empty one; None: a new one.

    Raises:
        EntryNotFoundError: if an archive lacks the segment.
        FormatError: if an entry is damaged; UnsupportedError: if it cannot be drawn.
        ValueError: if times do not increase, no frame is chosen, or an alignment is too long or, if
            soft, too large.
        ImportError: if matplotlib is not installed.
    """
    figure = new_figure(8, 4, figure)  # checks for matplotlib first
    for source in (archive, archive if alignments is None else alignments):
        require_attribute(source, "source_paths", "an open Archive")
    try:
        return _draw(
            archive, name, alignments, names, frames, normalize, frame_shift, words, figure
        )
    except SprintCacheError:
        raise
    except ValueError as error:
        raise ValueError(f"{archive.path}, entry {name!r}: {error}") from error


def _draw(
    archive: Archive,
    name: str,
    alignments: Archive | None,
    names: StateNames | None,
    frames: slice | None,
    normalize: bool,
    frame_shift: float,
    words: Sequence[Interval],
    figure: Figure,
) -> Figure:
    datatype = archive.datatype(name)
    alignment = None if alignments is None else alignments.read_alignment(name)
    draw = times = None
    if datatype == "flow-alignment" and alignment is None:
        alignment = archive.read_alignment(name)
        span = _span_of(_times_for(alignment, None, frame_shift), frames)
        title = f"{name}: alignment, {_frames(alignment.num_frames)}"
    elif datatype is None or datatype == "flow-alignment":
        raise UnsupportedError(
            "no features, scalars or samples to draw",
            path=archive.entry(name).archive_path,
            entry=name,
        )
    elif is_signal(datatype, packets := archive.read_times(name)):
        draw, span, text = _samples(archive, name, packets, frames)
        title = f"{name}: {datatype}, {text}"
    else:
        times = packets
        draw, text = _features(archive, name, times, normalize)
        span = _span_of(times, frames)
        title = f"{name}: {datatype}, {text}"
        if alignment is not None and alignment.num_frames != len(times):
            title += f", but alignment of {_frames(alignment.num_frames)}"

    heights = [] if draw is None else [3.2]
    if alignment is not None:
        lower, lower_times = _within(alignment, _times_for(alignment, times, frame_shift), span)
        states = len(np.unique(lower.emission))
        height = 1.3 if words else 0.9
        heights.append(min(max(0.05 * states, 2.5), 10.0) if is_soft(lower) else height)
    figure.set_size_inches(width_for(np.array(span), "time (s)"), sum(heights) + 0.8)
    set_title(figure, title)
    grid = {"height_ratios": heights}
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw=grid)[:, 0]
    if draw is not None:
        draw(axes=panels[0])
    if alignment is not None:
        shown = [word for word in words if word.end > span[0] and word.start < span[1]]
        plot_alignment(lower, names, lower_times, words=shown, axes=panels[-1])
        if draw is not None:
            panels[0].set_xlabel("")
            _mark(panels[0], phone_starts(lower, lower_times))
    if span[1] > span[0]:
        panels[-1].set_xlim(*span)
    return figure


def _mark(axes: Axes, seconds: list[float]) -> None:
    """Draws a thin line at each of these times, unless the lines would hide the image."""
    if len(seconds) * _MIN_LINE_DISTANCE < points_across(axes)[0]:
        transform = axes.get_xaxis_transform()
        axes.vlines(seconds, 0, 1, transform=transform, color="white", linewidth=0.6, alpha=0.7)


def _chosen(count: int, frames: slice | None) -> range:
    """The chosen frames; ValueError for an empty choice."""
    chosen = range(count)[frames or slice(None)]
    if frames is not None and not chosen:
        raise ValueError(f"none of the {count} frames or samples is chosen")
    return chosen


def _frames(count: int) -> str:
    return f"{count} {'frame' if count == 1 else 'frames'}"


def _span_of(times: NDArray[np.float64], frames: slice | None) -> _Span:
    """Start and end of the chosen frames in seconds."""
    edges, _ = frame_edges(times, len(times))
    chosen = _chosen(len(times), frames)
    return float(edges[chosen.start]), float(edges[chosen.stop])


def _samples(
    archive: Archive, name: str, times: NDArray[np.float64], frames: slice | None
) -> tuple[Callable[..., Figure], _Span, str]:
    """A function that draws the chosen samples, their start and end, and the number of samples."""
    samples = signal(archive.read(name))
    start, end = (times[0, 0], times[-1, 1]) if len(times) else (0.0, 0.0)
    chosen = _chosen(len(samples), frames)
    step = (end - start) / max(len(samples), 1)
    span = float(start + step * chosen.start), float(start + step * chosen.stop)
    part = samples[chosen.start : chosen.stop]
    draw = partial(plot_line, part, span, label="sample value")
    return draw, span, f"{len(samples)} samples"


def _features(
    archive: Archive, name: str, times: NDArray[np.float64], normalize: bool
) -> tuple[Callable[..., Figure], str]:
    """A function that draws features or scalars, and their size as text."""
    features = archive.read_features(name)
    if features.shape[1] == 1:
        return partial(plot_line, features[:, 0], times), _frames(len(features))
    draw = partial(plot_features, features, times, normalize=normalize)
    return draw, f"{_frames(len(features))} x {features.shape[1]}"


def _times_for(
    alignment: Alignment, times: NDArray[np.float64] | None, frame_shift: float
) -> NDArray[np.float64]:
    """Times of all frames of an alignment: those of the features, then by the frame shift."""
    check_length(alignment)
    known_times = np.zeros((0, 2)) if times is None else times
    start = alignment.start or 0.0
    if len(known_times):
        edges, _ = frame_edges(known_times, len(known_times))
        start, frame_shift = edges[-1], edges[-1] - edges[-2]
    num_missing = max(alignment.num_frames - len(known_times), 0)
    starts = start + frame_shift * np.arange(num_missing)
    return np.concatenate([known_times, np.stack([starts, starts + frame_shift], 1)])


def _within(
    alignment: Alignment, times: NDArray[np.float64], span: _Span
) -> tuple[Alignment, NDArray[np.float64]]:
    """The frames of an alignment that start in a span of time, and their times."""
    tolerance = 1e-6  # seconds; 0.01 is not a binary fraction
    first, last = np.searchsorted(times[:, 0], np.array(span) - tolerance).tolist()
    chosen = (alignment.time >= first) & (alignment.time < last)
    part = Alignment(
        alignment.time[chosen] - np.uint32(first),
        alignment.emission[chosen],
        alignment.weight[chosen],
        alphabet=alignment.alphabet,
        label_type=alignment.label_type,
        weighted=alignment.weighted,
    )
    return part, times[first:last]
