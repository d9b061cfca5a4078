"""Alignments of different frame shift on one grid of frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from sprintcache.errors import LabelError

if TYPE_CHECKING:
    from sprintcache.alignment import Alignment

__all__ = ["estimate_ratio", "to_finer_grid"]

_TOLERANCE = 0.1  # relative, of lengths that count as equal and of integer ratios


def estimate_ratio(pairs: Iterable[tuple[Alignment, Alignment]]) -> float:
    """The frame shift of the second alignments divided by that of the first.

    It is 1 for about equal lengths, or an integer (or its inverse) if the lengths have this ratio
    and both alignments of each pair cover the same time by their start and end.

    Args:
        pairs: alignments of the same segments.

    Raises:
        LabelError: if the lengths do not fit, or if times are missing.
    """
    num_frames = np.zeros(2)
    seconds = np.zeros(2)
    has_times = True
    for pair in pairs:
        for index, alignment in enumerate(pair):
            num_frames[index] += alignment.num_frames
            if alignment.start is None or alignment.end is None:
                has_times = False
            else:
                seconds[index] += alignment.end - alignment.start
    if _lengths_match(*num_frames):
        return 1.0
    counts = f"{num_frames[0]:.0f} frames in the first, {num_frames[1]:.0f} in the second"
    same_time = seconds.min() >= (1 - _TOLERANCE) * seconds.max() > 0
    if not (has_times and same_time):
        raise LabelError(
            f"the alignments differ in length or frame shift: {counts}; the frame shifts of both"
            " are required"
        )
    ratio = float(num_frames[0] / num_frames[1])
    factor = round(max(ratio, 1 / ratio))
    if abs(max(ratio, 1 / ratio) - factor) > _TOLERANCE * factor:
        raise LabelError(
            f"the lengths of the alignments have no integer ratio: {counts}; the frame shifts of"
            " both are required"
        )
    return float(factor) if ratio > 1 else 1 / factor


def _lengths_match(a: float, b: float) -> bool:
    """Whether two lengths are about equal; of short ones, one frame may differ."""
    return abs(a - b) <= max(1, _TOLERANCE * max(a, b))


def to_finer_grid(a: Alignment, b: Alignment, ratio: float) -> tuple[Alignment, Alignment]:
    """Repeats the items of the alignment with the larger frame shift.

    Args:
        a, b: alignments with one item per frame.
        ratio: the frame shift of `b` divided by that of `a`.

    Returns:
        both alignments in frames of the smaller shift.

    Raises:
        LabelError: if their lengths in seconds do not match.
    """
    if not _lengths_match(a.num_frames, b.num_frames * ratio) and not _lengths_match(
        a.num_frames / ratio, b.num_frames
    ):
        raise LabelError(
            f"{a.num_frames} frames in the first alignment, {b.num_frames} in the second, which do"
            f" not match for frame shifts of ratio {ratio:g}"
        )
    if ratio > 1:
        return a, _upsample(b, ratio, a.num_frames)
    if ratio < 1:
        return _upsample(a, 1 / ratio, b.num_frames), b
    return a, b


def _upsample(alignment: Alignment, ratio: float, num_frames: int) -> Alignment:
    """An alignment of `num_frames` frames, each with the item of the frame at its center."""
    time = np.arange(min(num_frames, int(np.ceil(alignment.num_frames * ratio))))
    source = np.floor((time + 0.5) / ratio).astype(np.int64)
    index = np.minimum(np.searchsorted(alignment.time, source), max(len(alignment) - 1, 0))
    if len(alignment):
        exists = alignment.time[index] == source
        time, index = time[exists], index[exists]
    else:
        time, index = time[:0], index[:0]
    return type(alignment)(
        time,
        alignment.emission[index],
        alphabet=alignment.alphabet,
        label_type=alignment.label_type,
    )
