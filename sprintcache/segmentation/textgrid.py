"""TextGrid, the annotation files of Praat, long and short, in UTF-8, UTF-16 and older encodings.

A TextGrid is a sequence of values: numbers, quoted strings (a quote inside is doubled) and flags
such as ``<exists>``; everything between them is comment. So one reader reads both forms. Interval
tiers have no gaps: what lies between two intervals, silence included, is an interval with the text
``""``. Such intervals are left out on reading.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sprintcache.errors import TruncatedError, UnsupportedError

from .intervals import Interval, Segmentation, Tiers, end_of
from .text_files import TextFile, format_seconds, microseconds, write_text

__all__ = ["GridTier", "TextGrid", "read_textgrid", "read_textgrid_tiers", "write_textgrid"]

_VALUE = re.compile(
    r"""\s*(?:
        "(?P<string>(?:[^"]|"")*)"          # a string, quotes doubled
      | <(?P<flag>[^>\n]*)>
      | (?P<comment>![^\n]*)
      | (?P<word>[^\s"<][^\s]*)             # a number, or a comment
    )""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?%?\Z")
_SEPARATOR = " - "  # between segment and tier, as MFA writes speakers


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


class _Value(NamedTuple):
    line: int
    kind: str  # "number", "string" or "flag"
    text: str


class _Reader:
    """The values of a file, taken one after another."""

    def __init__(self, source: TextFile) -> None:
        self.source = source
        self.values = list(_values(source))
        self.next = 0

    def take(self, kind: str, what: str) -> _Value:
        if self.next == len(self.values):
            raise TruncatedError(f"the file ends before {what}", path=self.source.path)
        value = self.values[self.next]
        if value.kind != kind:
            self.source.bad(value.line, what, expected=f"a {kind}", found=repr(value.text[:80]))
        self.next += 1
        return value

    def string(self, what: str) -> str:
        return self.take("string", what).text

    def time(self, what: str, minimum: float = -1e9) -> float:
        value = self.take("number", what)
        return self.source.seconds(value.line, what, value.text, minimum)

    def count(self, what: str, values_each: int) -> int:
        value = self.take("number", what)
        remaining = len(self.values) - self.next
        is_count = value.text.isascii() and value.text.isdigit() and len(value.text) < 12
        if not is_count or int(value.text) * values_each > remaining:
            self.source.bad(value.line, what, expected=f"at most {remaining // values_each}",
                            found=repr(value.text[:80]))  # fmt: skip
        return int(value.text)

    @property
    def line(self) -> int:
        """Line of the last value."""
        return self.values[self.next - 1].line


def _values(source: TextFile) -> Iterator[_Value]:
    text, position, line, counted = source.text.removeprefix("\ufeff"), 0, 1, 0
    while True:
        found = _VALUE.match(text, position)
        if found is None:
            line += text.count("\n", counted, position)
            rest = text[position:].lstrip()
            if not rest:
                return
            source.bad(line + text.count("\n", position, len(text) - len(rest)),
                       "a string or flag without end", found=repr(rest[:40]))  # fmt: skip
        kind = found.lastgroup or ""
        start = found.start(kind)
        line += text.count("\n", counted, start)
        counted, position = start, found.end()
        value = found[kind]
        if kind == "string":
            yield _Value(line, "string", value.replace('""', '"'))
        elif kind == "flag":
            yield _Value(line, "flag", value)
        elif kind == "word" and _NUMBER.match(value):
            yield _Value(line, "number", value.rstrip("%"))


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
    if reader.take("flag", "flag of the tiers").text != "exists":
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
        segment, separator, tier_name = tier.name.rpartition(_SEPARATOR)
        segment = segment if separator else default
        target = tiers.setdefault(segment, Segmentation(name=segment))
        target.duration = max(target.duration, tier.end)
        known = tier_name.lower() if tier_name.lower() in ("words", "phones", "states") else None
        if target.tier(known or tier_name):
            known = None  # a second tier of this name keeps its own
        target.set_tier(known or tier_name, tier.intervals)
    return tiers


def write_textgrid(
    path: str | os.PathLike[str],
    tiers: Mapping[str, Segmentation] | Segmentation | TextGrid,
    tier_names: Sequence[str] | None = None,
    *,
    form: Literal["long", "short"] = "long",
    encoding: Literal["utf-8", "utf-16"] = "utf-8",
    silence: str = "[SILENCE]",
) -> None:
    """Writes a TextGrid.

    Args:
        path: the file.
        tiers: one segmentation; several by name, whose tiers are named ``SEGMENT - TIER``; or a
            TextGrid.
        tier_names: tiers to write; None: all that are not empty.
        form: Praat's long or short form.
        encoding: UTF-16 gets a byte order mark, as Praat writes it.
        silence: symbol that is written as ``""``.

    Raises:
        OSError: if it cannot be written.
        ValueError: if `form` or `encoding` is unknown.
    """
    if form not in ("long", "short") or encoding not in ("utf-8", "utf-16"):
        raise ValueError(f"form is long or short, encoding utf-8 or utf-16, not {form}, {encoding}")
    if isinstance(tiers, TextGrid):
        grid = tiers
    else:
        segments = [tiers] if isinstance(tiers, Segmentation) else list(tiers.values())
        grid = _grid(segments, tier_names)
    lines = _long_lines(grid, silence) if form == "long" else _short_lines(grid, silence)
    write_text(path, "".join(f"{line}\n" for line in lines), encoding)


def _grid(segments: Sequence[Segmentation], tier_names: Sequence[str] | None) -> TextGrid:
    grid = TextGrid()
    for segment in segments:
        prefix = f"{segment.name}{_SEPARATOR}" if len(segments) > 1 else ""
        end = max([segment.duration, *map(end_of, segment.tiers.values())])
        for name in segment.tiers if tier_names is None else tier_names:
            intervals = segment.tier(name)
            is_points = bool(intervals) and all(one.start == one.end for one in intervals)
            grid.tiers.append(GridTier(prefix + name, intervals, 0.0, end, is_points))
    grid.end = max((tier.end for tier in grid.tiers), default=0.0)
    return grid


def _entries(tier: GridTier, silence: str) -> list[tuple[int, int, str]]:
    """(start, end, text) of a tier in microseconds, gapless unless they are points."""
    entries: list[tuple[int, int, str]] = []
    last, end = microseconds(tier.start), microseconds(tier.end)
    intervals = sorted(tier.intervals, key=lambda interval: interval.start)
    if tier.is_point_tier:
        return [(microseconds(one.start),) * 2 + (one.symbol,) for one in intervals]
    for index, interval in enumerate(intervals):
        start, stop = microseconds(interval.start), microseconds(interval.end)
        if index + 1 < len(intervals):  # windows of frames overlap
            stop = min(stop, microseconds(intervals[index + 1].start))
        if stop <= start:
            continue
        if start > last:
            entries.append((last, start, ""))
        entries.append((start, stop, "" if interval.symbol == silence else interval.symbol))
        last = stop
    if last < end or not entries:
        entries.append((last, end, ""))
    return entries


def _number(value: int) -> str:
    return format_seconds(value / 1e6, 0)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _long_lines(grid: TextGrid, silence: str) -> Iterator[str]:
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "")
    yield f"xmin = {_number(microseconds(grid.start))}"
    yield f"xmax = {_number(microseconds(grid.end))}"
    yield from ("tiers? <exists>", f"size = {len(grid.tiers)}", "item []:")
    for number, tier in enumerate(grid.tiers, 1):
        entries = _entries(tier, silence)
        word = "points" if tier.is_point_tier else "intervals"
        yield f"    item [{number}]:"
        yield f'        class = "{"TextTier" if tier.is_point_tier else "IntervalTier"}"'
        yield f"        name = {_quoted(tier.name)}"
        yield f"        xmin = {_number(microseconds(tier.start))}"
        yield f"        xmax = {_number(microseconds(tier.end))}"
        yield f"        {word}: size = {len(entries)}"
        for index, (start, end, text) in enumerate(entries, 1):
            yield f"        {word} [{index}]:"
            if tier.is_point_tier:
                yield f"            number = {_number(start)}"
                yield f"            mark = {_quoted(text)}"
            else:
                yield f"            xmin = {_number(start)}"
                yield f"            xmax = {_number(end)}"
                yield f"            text = {_quoted(text)}"


def _short_lines(grid: TextGrid, silence: str) -> Iterator[str]:
    yield from ('File type = "ooTextFile"', 'Object class = "TextGrid"', "")
    yield _number(microseconds(grid.start))
    yield _number(microseconds(grid.end))
    yield from ("<exists>", str(len(grid.tiers)))
    for tier in grid.tiers:
        entries = _entries(tier, silence)
        yield '"TextTier"' if tier.is_point_tier else '"IntervalTier"'
        yield _quoted(tier.name)
        yield _number(microseconds(tier.start))
        yield _number(microseconds(tier.end))
        yield str(len(entries))
        for start, end, text in entries:
            yield _number(start)
            if not tier.is_point_tier:
                yield _number(end)
            yield _quoted(text)
