"""CTM, the time-marked words of NIST's sclite: ``file channel begin duration token [confidence]``.

One line per token, blanks between; ``;;`` begins a comment. Tokens have no blanks: those inside a
symbol are written as ``_``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sprintcache.errors import EntryNotFoundError, UnsupportedError

from .intervals import Interval, Segmentation, Tiers, end_of
from .text_files import MICRO, TextFile, format_seconds, microseconds, write_text

if TYPE_CHECKING:
    from sprintcache.bliss import Segment

__all__ = ["read_ctm", "to_recordings", "to_segments", "write_ctm"]


def read_ctm(
    path: str | os.PathLike[str], tier: str = "words", channel: str | None = None
) -> Tiers:
    """Reads a CTM file.

    Args:
        path: the file, plain or gzipped.
        tier: name of the tier that the tokens go to.
        channel: read this channel only; None: the one channel of each file.

    Returns:
        One segmentation per file name, its tokens in the order of their times.

    Raises:
        OSError: if it cannot be read.
        FormatError: if a line is malformed; it names the line.
        UnsupportedError: for alternatives, or several channels if `channel` is None.
    """
    source = TextFile(path)
    tokens: dict[str, list[Interval]] = {}
    channels: dict[str, str] = {}
    for number, line in source.lines():
        fields = line.split()
        if fields[0].startswith(";;"):
            continue
        if len(fields) not in (5, 6):
            source.bad(number, "not a line of a CTM file",
                       expected="file channel begin duration token [confidence]",
                       found=repr(line[:80]))  # fmt: skip
        name, line_channel, begin, duration, token = fields[:5]
        if "*" in (begin, duration):
            raise UnsupportedError(f"line {number}: alternatives", path=source.path, found=token)
        if channel is not None and line_channel != channel:
            continue
        if channels.setdefault(name, line_channel) != line_channel:
            raise UnsupportedError(
                f"line {number}: file {name!r} has several channels, of which one must be chosen",
                path=source.path, found=f"{channels[name]!r} and {line_channel!r}",
            )  # fmt: skip
        start = source.seconds(number, "begin", begin)
        length = source.seconds(number, "duration", duration)
        score = source.seconds(number, "confidence", fields[5], -1e9) if fields[5:] else None
        end = (microseconds(start) + microseconds(length)) / MICRO
        tokens.setdefault(name, []).append(Interval(start, end, token, score))
    tiers: Tiers = {}
    for name, intervals in tokens.items():
        intervals.sort(key=lambda interval: interval.start)
        tiers[name] = Segmentation(name=name, duration=end_of(intervals))
        tiers[name].set_tier(tier, intervals)
    return tiers


def write_ctm(
    path: str | os.PathLike[str],
    tiers: Mapping[str, Segmentation],
    tier: str = "words",
    channel: str = "1",
) -> None:
    """Writes one tier of many segments, sorted by file and begin.

    Args:
        path: the file.
        tiers: segmentations by name; a name is the first field of its lines.
        tier: the tier to write.
        channel: second field.

    Raises:
        OSError: if it cannot be written.
        ValueError: if a name has blanks, or a symbol is empty.
    """
    write_text(path, "".join(f"{line}\n" for line in ctm_lines(tiers, tier, channel)))


def ctm_lines(
    tiers: Mapping[str, Segmentation], tier: str = "words", channel: str = "1"
) -> Iterable[str]:
    """Yields the lines of a CTM file; see `write_ctm`.

    Raises:
        ValueError: a name or symbol is empty or has blanks.
    """
    for name in sorted(tiers):
        field = _field("name", name)
        for interval in sorted(tiers[name].tier(tier), key=lambda interval: interval.start):
            start, end = microseconds(interval.start), microseconds(interval.end)
            times = f"{format_seconds(start / MICRO)} {format_seconds((end - start) / MICRO)}"
            token = _field("symbol", interval.symbol.replace(" ", "_"))
            score = "" if interval.score is None else f" {interval.score:.4f}"
            yield f"{field} {channel} {times} {token}{score}"


def _field(what: str, text: str) -> str:
    if not text or len(text.split()) != 1 or text != text.strip():
        raise ValueError(f"a {what} of a CTM file has no blanks and is not empty, not {text!r}")
    return text


def to_recordings(tiers: Mapping[str, Segmentation], corpus: Iterable[Segment]) -> Tiers:
    """Returns segmentations of recordings: times count from the start of the recording.

    Raises:
        EntryNotFoundError: if a segment is not in the corpus.
    """
    places = {segment.name: segment for segment in corpus if segment.name in tiers}
    missing = next((name for name in tiers if name not in places), None)
    if missing is not None:
        raise EntryNotFoundError("the corpus does not have the segment", entry=missing)
    recordings: Tiers = {}
    for name, segmentation in tiers.items():
        segment = places[name]
        target = recordings.setdefault(segment.recording, Segmentation(name=segment.recording))
        target.duration = max(target.duration, segment.start + segmentation.duration)
        for tier, intervals in segmentation.tiers.items():
            moved = [_moved(interval, segment.start) for interval in intervals]
            target.set_tier(tier, [*target.tier(tier), *moved])
    return recordings


def to_segments(recordings: Mapping[str, Segmentation], corpus: Iterable[Segment]) -> Tiers:
    """Returns segmentations of segments: an interval goes to the segment that holds its center."""
    tiers: Tiers = {}
    for segment in corpus:
        recording = recordings.get(segment.recording)
        if recording is None:
            continue
        target = Segmentation(name=segment.name)
        for tier, intervals in recording.tiers.items():
            target.set_tier(
                tier,
                [
                    _moved(interval, -segment.start)
                    for interval in intervals
                    if segment.start <= interval.center < segment.end
                ],
            )
        is_bounded = segment.end != float("inf")
        target.duration = (
            segment.end - segment.start
            if is_bounded
            else max(map(end_of, target.tiers.values()), default=0.0)
        )
        tiers[segment.name] = target
    return tiers


def _moved(interval: Interval, seconds: float) -> Interval:
    return replace(
        interval,
        start=round(interval.start + seconds, 9),
        end=round(interval.end + seconds, 9),
    )
