"""write_textgrid: TextGrids in Praat's long and short form."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from .intervals import Segmentation, end_of
from .text_files import format_seconds, microseconds, write_text
from .textgrid import SEPARATOR, GridTier, TextGrid

__all__ = ["write_textgrid"]


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
        prefix = f"{segment.name}{SEPARATOR}" if len(segments) > 1 else ""
        end = max([segment.duration, *map(end_of, segment.tiers.values())])
        for name in segment.tiers if tier_names is None else tier_names:
            intervals = segment.tier(name)
            is_points = bool(intervals) and all(
                interval.start == interval.end for interval in intervals
            )
            grid.tiers.append(GridTier(prefix + name, intervals, 0.0, end, is_points))
    grid.end = max((tier.end for tier in grid.tiers), default=0.0)
    return grid


def _entries(tier: GridTier, silence: str) -> list[tuple[int, int, str]]:
    """(start, end, text) of a tier in microseconds, gapless unless they are points."""
    entries: list[tuple[int, int, str]] = []
    last, end = microseconds(tier.start), microseconds(tier.end)
    intervals = sorted(tier.intervals, key=lambda interval: interval.start)
    if tier.is_point_tier:
        return [(microseconds(point.start),) * 2 + (point.symbol,) for point in intervals]
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
