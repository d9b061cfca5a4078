"""Statistics and comparisons as JSON objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache._analysis.accumulators import Moments
    from sprintcache.comparison import Comparison, Confusions
    from sprintcache.statistics import LabelUse, NameSample, Statistics

__all__ = ["comparison_record", "statistics_record"]


def statistics_record(title: str, statistics: Statistics, rare: float) -> dict[str, Any]:
    """Statistics as a JSON object; `rare` as for `statistics_lines`."""
    lengths = statistics.lengths
    return {
        "archive": title,
        "segments": statistics.num_segments,
        "left_out": statistics.num_left_out,
        "problem": statistics.problem or None,
        "datatypes": statistics.datatypes,
        "soft": statistics.num_soft,
        "frames": lengths.total,
        "seconds": statistics.seconds,
        "frame_shift": statistics.frame_shift,
        "lengths": {
            "mean": lengths.mean,
            "median": lengths.quantile(0.5),
            "values": lengths.values.tolist(),
            "counts": lengths.counts.tolist(),
        },
        "moments": {str(dim): _moments(moments) for dim, moments in statistics.moments.items()},
        "not_finite": _sample(statistics.not_finite),
        "labels": None if statistics.labels is None else _labels(statistics.labels, rare),
    }


def _moments(moments: Moments) -> dict[str, Any]:
    return {
        "count": moments.count.tolist(),
        "not_finite": moments.num_not_finite,
        "mean": moments.mean.tolist(),
        "variance": moments.variance.tolist(),
        "minimum": _finite(moments.minimum),
        "maximum": _finite(moments.maximum),
    }


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _labels(labels: LabelUse, rare: float) -> dict[str, Any]:
    return {
        "kind": labels.kind,
        "silence_share": labels.silence_share,
        "frames": dict(zip(labels.names, _finite(labels.weights), strict=True)),
        "rare": [name for name, _ in labels.rare(rare)],
        "unused": labels.unused,
    }


def comparison_record(
    titles: tuple[str, str], comparison: Comparison, frame_shift: float
) -> dict[str, Any]:
    """A comparison as a JSON object; arguments as for `comparison_lines`."""
    step = 1000 * frame_shift  # ms
    return {
        "first": titles[0],
        "second": titles[1],
        "segments": comparison.num_segments,
        "only_first": _sample(comparison.only_first),
        "only_second": _sample(comparison.only_second),
        "different_length": _sample(comparison.different_length),
        "left_out": _sample(comparison.left_out),
        "problem": comparison.problem or None,
        "units": _confusions(comparison.units),
        "phones": None if comparison.phones is None else _confusions(comparison.phones),
        "boundaries": {
            "first": comparison.num_boundaries_first,
            "second": comparison.num_boundaries_second,
            "matched": comparison.num_matched,
            "mean_shift_ms": comparison.mean_shift * step,
            "mean_distance_ms": comparison.mean_distance * step,
            "shifts_ms": (comparison.shifts * step).tolist(),
            "counts": comparison.shift_counts.tolist(),
        },
    }


def _sample(sample: NameSample) -> dict[str, Any]:
    return {"count": sample.count, "names": sample.names}


def _confusions(confusions: Confusions) -> dict[str, Any]:
    return {
        "kind": confusions.kind,
        "frames": confusions.num_frames,
        "agreement": confusions.agreement,
        "confusions": [
            {"first": first, "second": second, "frames": frames}
            for first, second, frames in confusions.most(len(confusions.frames))
        ],
    }
