"""TextGrid, the annotation files of Praat, long and short, in UTF-8, UTF-16 and older encodings.

A TextGrid is a sequence of values: numbers, quoted strings (a quote inside is doubled) and flags
such as ``<exists>``; everything between them is comment. So one reader reads both forms. Interval
tiers have no gaps: the time between two intervals, silence included, is an interval with the text
``""``. Such intervals are left out on reading.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from sprintcache.errors import TruncatedError, UnsupportedError

from .intervals import Interval, Segmentation, Tiers
from .text_files import TextFile

__all__ = ["SEPARATOR", "GridTier", "TextGrid", "read_textgrid", "read_textgrid_tiers"]

_VALUE = re.compile(
    r"""
        "(?P<string>[^"]*(?:""[^"]*)*)"     # quotes doubled
      | <(?P<flag>[^<>\n]*)>
      | (?P<comment>![^\n]*)
      | (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)%?(?!\S)
      | (?P<bad>["<])                       # without end
      | (?P<word>\S+)                       # comment
    """,
    re.VERBOSE,
)
SEPARATOR = " - "  # between segment and tier, as MFA writes speakers


@dataclass
class GridTier:
    """A tier of a TextGrid.

    Attributes:
        name: name of the tier.
        intervals: those with text, in the order of time; points have equal start and end.
        start, end: seconds.
        is_point_tier: whether it holds points (``TextTier``).
    """

    name: str
    intervals: list[Interval] = field(default_factory=list)
    start: float = 0.0
    end: float = 0.0
    is_point_tier: bool = False


@dataclass
class TextGrid:
    """The tiers of a TextGrid, and where it starts and ends in seconds."""

    tiers: list[GridTier] = field(default_factory=list)
    start: float = 0.0
    end: float = 0.0


# offset, kind ("number", "string" or "flag"), text; a plain tuple, since there may be millions
_Value = tuple[int, str, str]


class _Reader:
    """The values of a file, taken one after another."""

    def __init__(self, source: TextFile) -> None:
        self.source = source
        self.values: list[_Value] = []
        self.next = 0
        for match in _VALUE.finditer(source.text):
            kind = match.lastgroup or ""
            if kind == "bad":
                text = source.text[match.start() : match.start() + 40]
                source.bad(
                    self.line_at(match.start()), "a string or flag without end", found=repr(text)
                )
            if kind not in ("comment", "word"):
                self.values.append((match.start(), kind, match[kind]))

    def line_at(self, offset: int) -> int:
        return self.source.text.count("\n", 0, offset) + 1

    @property
    def line(self) -> int:
        """Line of the last value."""
        return self.line_at(self.values[self.next - 1][0])

    def take(self, kind: str, what: str) -> str:
        if self.next == len(self.values):
            raise TruncatedError(f"the file ends before {what}", path=self.source.path)
        offset, found_kind, text = self.values[self.next]
        if found_kind != kind:
            self.source.bad(self.line_at(offset), what, expected=f"a {kind}", found=repr(text[:80]))
        self.next += 1
        return text

    def string(self, what: str) -> str:
        return self.take("string", what).replace('""', '"')

    def time(self, what: str, minimum: float = -1e9) -> float:
        value = float(self.take("number", what))
        if not minimum <= value <= 1e9:
            self.source.bad(self.line, what, expected=f"seconds from {minimum:g}", found=value)
        return value

    def count(self, what: str, values_each: int) -> int:
        text = self.take("number", what)
        remaining = len(self.values) - self.next
        if not text.isdigit() or len(text) > 11 or int(text) * values_each > remaining:
            self.source.bad(
                self.line, what, expected=f"at most {remaining // values_each}", found=text[:80]
            )
        return int(text)


def read_textgrid(path: str | os.PathLike[str]) -> TextGrid:
    """Reads a TextGrid.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is malformed; it names the line.
        UnsupportedError: if it is another object of Praat.
    """
    source = TextFile(path, fallback="latin-1")
    reader = _Reader(source)
    kind = reader.string("file type")
    if not kind.startswith("ooTextFile"):
        source.bad(reader.line, "not a TextGrid", expected='"ooTextFile"', found=repr(kind[:80]))
    name = reader.string("object class")
    if name != "TextGrid":
        raise UnsupportedError(f"line {reader.line}: object of Praat", path=source.path,
                               expected="TextGrid", found=repr(name[:80]))  # fmt: skip
    grid = TextGrid(start=reader.time("xmin"), end=reader.time("xmax"))
    if reader.take("flag", "flag of the tiers") != "exists":
        return grid
    for _ in range(reader.count("number of tiers", 5)):
        grid.tiers.append(_read_tier(reader))
    return grid


def _read_tier(reader: _Reader) -> GridTier:
    kind = reader.string("class of a tier")
    if kind not in ("IntervalTier", "TextTier"):
        reader.source.bad(reader.line, "class of a tier", expected="IntervalTier or TextTier",
                          found=repr(kind[:80]))  # fmt: skip
    tier = GridTier(reader.string("name of a tier"), is_point_tier=kind == "TextTier")
    tier.start, tier.end = reader.time("xmin"), reader.time("xmax")
    last = tier.start
    for _ in range(reader.count("size of a tier", 2 if tier.is_point_tier else 3)):
        start = reader.time("time" if tier.is_point_tier else "xmin")
        end = start if tier.is_point_tier else reader.time("xmax")
        if start < last - 1e-6 or end < start:
            reader.source.bad(reader.line, f"times of tier {tier.name!r} go back",
                              expected=f"{last} or later", found=f"{start} to {end}")  # fmt: skip
        last = end
        text = reader.string("text of an interval")
        if text.strip() or tier.is_point_tier:
            tier.intervals.append(Interval(start, end, text.strip()))
    return tier


def read_textgrid_tiers(path: str | os.PathLike[str], name: str | None = None) -> Tiers:
    """Reads a TextGrid as segmentations.

    Tiers named ``words``, ``phones`` or ``states``, in any case, become these tiers. A prefix, as
    in ``SEGMENT - words``, is the name of a segment; tiers without one belong to segment `name`.

    Args:
        path: the file.
        name: name of the segment; None: the file's name without its ending.
    """
    grid = read_textgrid(path)
    default = os.path.basename(os.fspath(path)).partition(".")[0] if name is None else name
    tiers: Tiers = {}
    for tier in grid.tiers:
        segment, separator, tier_name = tier.name.rpartition(SEPARATOR)
        segment = segment if separator else default
        target = tiers.setdefault(segment, Segmentation(name=segment))
        target.duration = max(target.duration, tier.end)
        known = tier_name.lower() if tier_name.lower() in ("words", "phones", "states") else None
        if target.tier(known or tier_name):
            known = None  # a second tier of this name keeps its own
        target.set_tier(known or tier_name, tier.intervals)
    return tiers
