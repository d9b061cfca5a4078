"""Frame shifts: seconds between the frames of an alignment, from what Sprint stored."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from sprintcache.errors import FormatError, SegmentationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sprintcache.alignment import Alignment
    from sprintcache.archive import Archive

__all__ = ["archive_frame_shift", "archive_window", "stored_frame_shift"]

# by how much the last window ends after the last frame shift, as a rule: 25 ms - 10 ms
_OVERHANG = 0.015
_MAX_OVERHANG = 0.05
# steps of common frame shifts in seconds, coarse ones first
_STEPS = (0.01, 0.005, 0.0025, 0.001, 0.0005)
_NUM_TRIED = 100


def stored_frame_shift(alignment: Alignment) -> float | None:
    """Returns the frame shift by the times stored with an alignment, None if there are none.

    Sprint stores the start of the first frame and the end of the window of the last one, which is
    later than the end of the last shift by an unknown overhang, often 15 ms. The result is the
    roundest shift that agrees: reliable from about 10 frames on.
    """
    num_frames = alignment.num_frames
    if not num_frames or alignment.start is None or alignment.end is None:
        return None
    duration = alignment.end - alignment.start
    if not 0 < duration < 1e6:
        return None
    for step in _STEPS:
        for overhang in (_OVERHANG, 0.0):
            shift = round((duration - overhang) / num_frames / step) * step
            if shift > 0 and abs(duration - overhang - shift * num_frames) < 1e-6:
                return round(shift, 6)
    for step in _STEPS:
        shift = round((duration - _OVERHANG) / num_frames / step) * step
        if shift > 0 and -1e-6 <= duration - shift * num_frames <= _MAX_OVERHANG:
            return round(shift, 6)
    return None


def archive_frame_shift(archive: Archive) -> float:
    """Returns the frame shift of an archive of alignments.

    Uses the attribute ``frame-shift`` of the first entries that have attributes, else the times
    stored with the longest of the first 100 alignments.

    Raises:
        SegmentationError: if the archive holds neither.
    """
    for name in islice(archive.segments, _NUM_TRIED):
        text = archive.read_attributes(name).get("frame-shift")
        if text is None:
            continue
        try:
            shift = float(text)
        except ValueError:
            shift = 0.0
        if 0 < shift < 1e6:
            return shift
        raise SegmentationError(
            "attribute 'frame-shift'", path=archive.path, entry=f"{name}.attribs",
            expected="seconds", found=repr(text),
        )  # fmt: skip
    longest = max(_alignments(archive), key=lambda alignment: alignment.num_frames, default=None)
    shift_found = None if longest is None else stored_frame_shift(longest)
    if shift_found is None:
        raise SegmentationError("the archive does not specify the frame shift", path=archive.path)
    return shift_found


def archive_window(archive: Archive, frame_shift: float) -> float:
    """Returns the seconds of a frame's window, by the times stored with the alignments.

    It is the largest of the first 100 alignments: at the end of a recording a window may be cut.

    Raises:
        SegmentationError: if no alignment has such times.
    """
    window = 0.0
    for alignment in _alignments(archive):
        if len(alignment) and alignment.start is not None and alignment.end is not None:
            duration = alignment.end - alignment.start
            window = max(window, duration - (alignment.num_frames - 1) * frame_shift)
    if not 0 < window < 1e6:
        raise SegmentationError(
            "the archive does not specify the window of a frame", path=archive.path
        )
    return round(window, 6)


def _alignments(archive: Archive) -> Iterator[Alignment]:
    """Those of the first 100 entries that are alignments."""
    for name in islice(archive.segments, _NUM_TRIED):
        with suppress(FormatError):
            yield archive.read_alignment(name)
