"""Interval, Segmentation: words, phones and states of a segment with their times in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["TIERS", "Interval", "Segmentation", "Tiers"]

TIERS = ("words", "phones", "states")


@dataclass(frozen=True)
class Interval:
    """A word, phone or state between two times.

    Attributes:
        start, end: seconds from the start of the segment; the end is exclusive.
        symbol: the word as spelled, the center phone, or the state's symbol. A word without a
            known spelling is named by its phones, separated by blanks.
        score: confidence from 0 to 1, or None.
        pronunciation: phones of a word in the lexicon; () if unknown.
        alternatives: other words of the same pronunciation.
        allophone: allophone of a phone, such as ``"a{b+c}@i"``; "" if unknown.
    """

    start: float
    end: float
    symbol: str
    score: float | None = None
    pronunciation: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    allophone: str = ""

    @property
    def duration(self) -> float:
        """Seconds between start and end."""
        return self.end - self.start

    @property
    def center(self) -> float:
        """Middle of the interval in seconds."""
        return (self.start + self.end) / 2


@dataclass
class Segmentation:
    """Words, phones and states of one segment, each in the order of time.

    Attributes:
        words: without silence.
        phones: silence included.
        states: silence included.
        num_frames: number of frames; 0 if unknown.
        frame_shift: seconds between frames; 0 if unknown.
        duration: end of the segment in seconds.
        name: name of the segment, or "".
        other_tiers: tiers of other names, as read from a file.
    """

    words: list[Interval] = field(default_factory=list)
    phones: list[Interval] = field(default_factory=list)
    states: list[Interval] = field(default_factory=list)
    num_frames: int = 0
    frame_shift: float = 0.0
    duration: float = 0.0
    name: str = ""
    other_tiers: dict[str, list[Interval]] = field(default_factory=dict)

    @property
    def tiers(self) -> dict[str, list[Interval]]:
        """Every tier that is not empty, by name: words, phones, states, then the others."""
        known = {name: getattr(self, name) for name in TIERS if getattr(self, name)}
        return {**known, **self.other_tiers}

    def tier(self, name: str) -> list[Interval]:
        """Returns a tier by name; an unknown tier is empty."""
        if name in TIERS:
            intervals: list[Interval] = getattr(self, name)
            return intervals
        return self.other_tiers.get(name, [])

    def set_tier(self, name: str, intervals: Iterable[Interval]) -> None:
        """Replaces a tier."""
        if name in TIERS:
            setattr(self, name, list(intervals))
        else:
            self.other_tiers[name] = list(intervals)


# segmentations of many segments, by name, in the order of the source
Tiers = dict[str, Segmentation]


def end_of(intervals: Sequence[Interval]) -> float:
    """Returns the latest end, 0 without intervals."""
    return max((interval.end for interval in intervals), default=0.0)
