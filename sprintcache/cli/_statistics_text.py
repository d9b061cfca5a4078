"""Statistics and comparisons as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._text import format_clock, format_counts, pluralize

if TYPE_CHECKING:
    from sprintcache._analysis.accumulators import Moments
    from sprintcache.comparison import Comparison, Confusions
    from sprintcache.statistics import LabelUse, NameSample, Statistics

__all__ = ["comparison_lines", "statistics_lines"]

_MAX_SHOWN = 10  # names in a line, confusions of a kind
_DISTANCES = (0, 10, 20, 50, 100)  # ms


def statistics_lines(title: str, statistics: Statistics, rare: float) -> Iterator[str]:
    """A line per fact, then a table of the dimensions; `title` is the archive's name."""
    yield f"{'archive':<12} {title}"
    for name, text in _facts(statistics, rare):
        yield f"{name:<12} {text}"
    for dim, moments in sorted(statistics.moments.items()):
        if len(statistics.moments) > 1:
            yield f"# frames of {pluralize(dim, 'dimension', 'dimensions')}"
        yield from _table(moments)


def _facts(statistics: Statistics, rare: float) -> Iterator[tuple[str, str]]:
    left = f", {statistics.num_left_out} left out" if statistics.num_left_out else ""
    soft = ""
    if statistics.num_soft:
        soft = f", {pluralize(statistics.num_soft, 'soft alignment', 'soft alignments')}"
    if not statistics.num_segments:
        yield "segments", f"0{left}"
        return
    yield (
        "segments",
        f"{statistics.num_segments}{left}: {format_counts(statistics.datatypes)}{soft}",
    )
    lengths, unit = statistics.lengths, "samples" if statistics.num_signals else "frames"
    yield unit, f"{lengths.total}, {statistics.seconds:.2f} s ({format_clock(statistics.seconds)})"
    shortest, p5, median, p95, longest = map(lengths.quantile, (0, 0.05, 0.5, 0.95, 1))
    yield (
        "lengths",
        f"{shortest} to {longest} {unit}, mean {lengths.mean:.1f}, median {median},"
        f" 5 % are at most {p5}, 95 % at most {p95}",
    )
    if statistics.labels is not None:
        yield from _label_facts(statistics.labels, rare)
    for moments in statistics.moments.values():
        if moments.num_not_finite:
            values = pluralize(moments.num_not_finite, "value", "values")
            yield "not finite", f"{values}, not counted"
        flat = np.flatnonzero((moments.variance == 0) & (moments.count > 0)).tolist()
        if flat:
            text = _join([str(dimension) for dimension in flat])
            yield "constant", f"{pluralize(len(flat), 'dimension', 'dimensions')}: {text}"
    if statistics.not_finite.count:
        yield "NaN or inf in", _join_sample(statistics.not_finite)


def _label_facts(labels: LabelUse, rare: float) -> Iterator[tuple[str, str]]:
    if labels.silence_share is not None:
        yield "silence", f"{100 * labels.silence_share:.1f} % of the frames"
    unused, rare_labels, ordered = labels.unused, labels.rare(rare), labels.ordered()
    used = [(name, weight) for name, weight in ordered if weight]
    kind = f"{labels.kind}s"
    yield kind, f"{len(used)} of {len(ordered)} in use" if unused else f"{len(used)} in use"
    yield "frequent", _join([_with_frames(*item) for item in used[:_MAX_SHOWN]])
    if rare_labels:
        text = _join([_with_frames(*item) for item in rare_labels])
        yield "rare", f"{len(rare_labels)} of fewer than {rare:g} frames: {text}"
    if unused:
        yield "unused", f"{len(unused)}: {_join(unused)}"


def _with_frames(name: str, frames: float) -> str:
    return f"{name} {frames:.{0 if frames.is_integer() else 2}f}"


def _join(texts: Sequence[str], count: int | None = None) -> str:
    """The first texts, and the number of the others; `count` if there are more than `texts`."""
    num_hidden = (len(texts) if count is None else count) - _MAX_SHOWN
    return ", ".join(texts[:_MAX_SHOWN]) + (f" and {num_hidden} more" if num_hidden > 0 else "")


def _join_sample(sample: NameSample) -> str:
    return f"{sample.count}: {_join(sample.names, sample.count)}"


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
    for dimension, row in enumerate(rows):
        yield f"{dimension:11}" + "".join(f" {value:12.6g}" for value in row)


def comparison_lines(
    titles: tuple[str, str], comparison: Comparison, frame_shift: float
) -> Iterator[str]:
    """A line per fact, then the most frequent confusions; `titles` name the archives."""
    yield f"{'first':<12} {titles[0]}"
    yield f"{'second':<12} {titles[1]}"
    yield f"{'segments':<12} {comparison.num_segments} compared"
    samples = (
        ("only first", comparison.only_first),
        ("only second", comparison.only_second),
        ("left out", comparison.left_out),
        ("other length", comparison.different_length),
    )
    for name, sample in samples:
        if sample.count:
            yield f"{name:<12} {_join_sample(sample)}"
    if not comparison.num_segments:
        return
    yield f"{'frames':<12} {comparison.units.num_frames} compared"
    tables = (
        [comparison.units] if comparison.phones is None else [comparison.units, comparison.phones]
    )
    for confusions in tables:
        text = f"{100 * confusions.agreement:.2f} % of the frames agree"
        yield f"{confusions.kind + 's':<12} {text}"
    yield from _boundary_lines(comparison, frame_shift)
    for confusions in tables:
        yield from _confusion_lines(confusions)


def _boundary_lines(comparison: Comparison, frame_shift: float) -> Iterator[str]:
    step = 1000 * frame_shift  # ms
    yield (
        f"{'boundaries':<12} {comparison.num_boundaries_first} and"
        f" {comparison.num_boundaries_second} of phones, {comparison.num_matched} matched"
    )
    if comparison.num_matched:
        yield (
            f"{'shift':<12} {comparison.mean_shift * step:+.1f} ms on average"
            f" (+: later in the second), {comparison.mean_distance * step:.1f} ms regardless of the"
            " sign"
        )
        shares = [f"{100 * comparison.within(ms / step + 1e-9):.1f} % by {ms}" for ms in _DISTANCES]
        yield f"{'':<12} at most {', '.join(shares)} ms"


def _confusion_lines(confusions: Confusions) -> Iterator[str]:
    most_frequent = confusions.most(_MAX_SHOWN)
    if not most_frequent:
        return
    yield f"# frames  share  most frequent confusions of {confusions.kind}s: first -> second"
    for first, second, frames in most_frequent:
        yield f"{frames:8} {100 * frames / confusions.num_frames:5.2f}%  {first} -> {second}"
