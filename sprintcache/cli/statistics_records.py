"""Statistics and comparisons as plain lists and dicts, for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache._analysis.accumulators import Moments
    from sprintcache.comparison import Comparison, Confusions, Some
    from sprintcache.statistics import LabelUse, Statistics

__all__ = ["comparison_record", "statistics_record"]


def statistics_record(title: str, found: Statistics, rare: float) -> dict[str, Any]:
    """Statistics as a JSON object; `rare` as for `statistics_lines`."""
    lengths = found.lengths
    return {
        "archive": title,
        "segments": found.num_segments,
        "left_out": found.num_left_out,
        "problem": found.problem or None,
        "datatypes": found.datatypes,
        "soft": found.num_soft,
        "frames": lengths.total,
        "seconds": found.seconds,
        "frame_shift": found.frame_shift,
        "lengths": {
            "mean": lengths.mean,
            "median": lengths.quantile(0.5),
            "values": lengths.values.tolist(),
            "counts": lengths.counts.tolist(),
        },
        "moments": {str(dim): _moments(moments) for dim, moments in found.moments.items()},
        "labels": None if found.labels is None else _labels(found.labels, rare),
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
    titles: tuple[str, str], found: Comparison, frame_shift: float
) -> dict[str, Any]:
    """A comparison as a JSON object; arguments as for `comparison_lines`."""
    step = 1000 * frame_shift
    return {
        "first": titles[0],
        "second": titles[1],
        "segments": found.num_segments,
        "only_first": _some(found.only_first),
        "only_second": _some(found.only_second),
        "different_length": _some(found.different_length),
        "left_out": _some(found.left_out),
        "problem": found.problem or None,
        "units": _confusions(found.units),
        "phones": None if found.phones is None else _confusions(found.phones),
        "boundaries": {
            "first": found.num_boundaries_first,
            "second": found.num_boundaries_second,
            "matched": found.num_matched,
            "mean_shift_ms": found.mean_shift * step,
            "mean_distance_ms": found.mean_distance * step,
            "shifts_ms": (found.shifts * step).tolist(),
            "counts": found.shift_counts.tolist(),
        },
    }


def _some(some: Some) -> dict[str, Any]:
    return {"count": some.count, "names": some.names}


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
