"""Statistics and comparisons in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .wording import clock, counts, many

if TYPE_CHECKING:
    from sprintcache._analysis.accumulators import Moments
    from sprintcache.comparison import Comparison, Confusions, Some
    from sprintcache.statistics import LabelUse, Statistics

__all__ = ["comparison_lines", "statistics_lines"]

_SHOWN = 10  # names in a line, confusions of a kind
_NEAR = (0, 10, 20, 50, 100)  # ms


def statistics_lines(title: str, found: Statistics, rare: float) -> Iterator[str]:
    """A line per fact, then a table of the dimensions.

    Args:
        title: the archive's name.
        found: the statistics.
        rare: labels of less frames are rare.
    """
    yield f"{'archive':<12} {title}"
    for name, text in _facts(found, rare):
        yield f"{name:<12} {text}"
    for dim, moments in sorted(found.moments.items()):
        if len(found.moments) > 1:
            yield f"# frames of {many(dim, 'dimension', 'dimensions')}"
        yield from _table(moments)


def _facts(found: Statistics, rare: float) -> Iterator[tuple[str, str]]:
    left = f", {found.num_left_out} left out" if found.num_left_out else ""
    soft = f", {many(found.num_soft, 'soft alignment', 'soft alignments')}" * bool(found.num_soft)
    if not found.num_segments:
        yield "segments", f"0{left}"
        return
    yield "segments", f"{found.num_segments}{left}: {counts(found.datatypes)}{soft}"
    lengths, unit = found.lengths, "samples" if found.num_signals else "frames"
    yield unit, f"{lengths.total}, {found.seconds:.2f} s ({clock(found.seconds)})"
    marks = [lengths.quantile(share) for share in (0, 0.05, 0.5, 0.95, 1)]
    yield (
        "lengths",
        f"{marks[0]} to {marks[4]} {unit}, mean {lengths.mean:.1f}, median {marks[2]},"
        f" 5 % are at most {marks[1]}, 95 % at most {marks[3]}",
    )
    if found.labels is not None:
        yield from _label_facts(found.labels, rare)
    for moments in found.moments.values():
        if moments.num_not_finite:
            yield "not finite", f"{many(moments.num_not_finite, 'value', 'values')}, not counted"
        flat = np.flatnonzero((moments.variance == 0) & (moments.count > 0)).tolist()
        if flat:
            text = _some([str(place) for place in flat])
            yield "constant", f"{many(len(flat), 'dimension', 'dimensions')}: {text}"


def _label_facts(labels: LabelUse, rare: float) -> Iterator[tuple[str, str]]:
    if labels.silence_share is not None:
        yield "silence", f"{100 * labels.silence_share:.1f} % of the frames"
    unused, few, ordered = labels.unused, labels.rare(rare), labels.ordered()
    used = [(name, weight) for name, weight in ordered if weight]
    kind = f"{labels.kind}s"
    yield kind, f"{len(used)} of {len(ordered)} in use" if unused else f"{len(used)} in use"
    yield "frequent", _some([_with_frames(*item) for item in used], len(used))
    if few:
        text = _some([_with_frames(*item) for item in few])
        yield "rare", f"{len(few)} of fewer than {rare:g} frames: {text}"
    if unused:
        yield "unused", f"{len(unused)}: {_some(unused)}"


def _with_frames(name: str, frames: float) -> str:
    return f"{name} {frames:.{0 if frames.is_integer() else 2}f}"


def _some(texts: Sequence[str], at_most: int | None = None) -> str:
    more = len(texts) - _SHOWN
    tail = f" and {more} more" if more > 0 and at_most is None else ""
    return ", ".join(texts[:_SHOWN]) + tail


def _table(moments: Moments) -> Iterator[str]:
    yield "# dimension         mean     variance    deviation      minimum      maximum"
    rows = zip(
        moments.mean.tolist(),
        moments.variance.tolist(),
        np.sqrt(moments.variance).tolist(),
        moments.minimum.tolist(),
        moments.maximum.tolist(),
        strict=True,
    )
    for place, row in enumerate(rows):
        yield f"{place:11}" + "".join(f" {value:12.6g}" for value in row)


def comparison_lines(
    titles: tuple[str, str], found: Comparison, frame_shift: float
) -> Iterator[str]:
    """A line per fact, then the most frequent confusions.

    Args:
        titles: names of the two archives.
        found: the comparison.
        frame_shift: seconds from frame to frame.
    """
    yield f"{'first':<12} {titles[0]}"
    yield f"{'second':<12} {titles[1]}"
    yield f"{'segments':<12} {found.num_segments} compared"
    some = (
        ("only first", found.only_first),
        ("only second", found.only_second),
        ("left out", found.left_out),
        ("other length", found.different_length),
    )
    for name, segments in some:
        if segments.count:
            yield f"{name:<12} {_segments(segments)}"
    if not found.num_segments:
        return
    yield f"{'frames':<12} {found.units.num_frames} compared"
    tables = [found.units] if found.phones is None else [found.units, found.phones]
    for confusions in tables:
        text = f"{100 * confusions.agreement:.2f} % of the frames agree"
        yield f"{confusions.kind + 's':<12} {text}"
    yield from _boundary_lines(found, frame_shift)
    for confusions in tables:
        yield from _confusion_lines(confusions)


def _segments(some: Some) -> str:
    return f"{some.count}: {_some(some.names[:_SHOWN])}" + (
        f" and {some.count - _SHOWN} more" if some.count > _SHOWN else ""
    )


def _boundary_lines(found: Comparison, frame_shift: float) -> Iterator[str]:
    step = 1000 * frame_shift
    yield (
        f"{'boundaries':<12} {found.num_boundaries_first} and {found.num_boundaries_second} of"
        f" phones, {found.num_matched} belong together"
    )
    if found.num_matched:
        yield (
            f"{'shift':<12} {found.mean_shift * step:+.1f} ms on average (+: later in the second),"
            f" {found.mean_distance * step:.1f} ms regardless of the sign"
        )
        near = [f"{100 * found.within(ms / step + 1e-9):.1f} % by {ms}" for ms in _NEAR]
        yield f"{'':<12} at most {', '.join(near)} ms"


def _confusion_lines(confusions: Confusions) -> Iterator[str]:
    most = confusions.most(_SHOWN)
    if not most:
        return
    yield f"# frames  share  most frequent confusions of {confusions.kind}s: first -> second"
    for first, second, frames in most:
        yield f"{frames:8} {100 * frames / confusions.num_frames:5.2f}%  {first} -> {second}"
