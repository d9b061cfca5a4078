"""JSON lines: one object per segment, with its tiers as lists of intervals.

``{"segment": NAME, "duration": SECONDS, "num_frames": N, "frame_shift": SECONDS, "words":
[{"start": SECONDS, "end": SECONDS, "symbol": TEXT, ...}], "phones": [...], ...}``. Intervals have
``score``, ``pronunciation``, ``alternatives`` and ``allophone`` where these are known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .intervals import Interval, Segmentation, Tiers
from .text_files import TextFile, write_text

__all__ = ["json_object", "read_json_lines", "write_json_lines"]

_FACTS = ("segment", "duration", "num_frames", "frame_shift")


def json_object(
    segmentation: Segmentation, tier_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns a segmentation as JSON writes it."""
    tiers = segmentation.tiers if tier_names is None else tier_names
    return {
        "segment": segmentation.name,
        "duration": segmentation.duration,
        "num_frames": segmentation.num_frames,
        "frame_shift": segmentation.frame_shift,
        **{
            name: [_interval_object(interval) for interval in segmentation.tier(name)]
            for name in tiers
        },
    }


def _interval_object(interval: Interval) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "start": interval.start,
        "end": interval.end,
        "symbol": interval.symbol,
    }
    if interval.score is not None:
        facts["score"] = interval.score
    for name in ("pronunciation", "alternatives"):
        if getattr(interval, name):
            facts[name] = list(getattr(interval, name))
    if interval.allophone:
        facts["allophone"] = interval.allophone
    return facts


def write_json_lines(
    path: str | os.PathLike[str],
    tiers: Mapping[str, Segmentation],
    tier_names: Sequence[str] | None = None,
) -> None:
    """Writes segmentations, one a line.

    Raises:
        OSError: if the file cannot be written.
    """
    lines = (
        json.dumps(json_object(segmentation, tier_names), ensure_ascii=False)
        for segmentation in tiers.values()
    )
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_json_lines(path: str | os.PathLike[str]) -> Tiers:
    """Reads segmentations.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if a line is malformed; it names the line.
    """
    source = TextFile(path)
    tiers: Tiers = {}
    for number, line in source.lines():
        try:
            facts = json.loads(line, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            source.bad(number, f"not JSON: {error}")
        if not isinstance(facts, dict) or not isinstance(facts.get("segment"), str):
            source.bad(number, "not a segment", expected='an object with a "segment"',
                       found=line[:80])  # fmt: skip
        name = facts["segment"]
        if name in tiers:
            source.bad(number, f"segment {name!r} is repeated")
        target = tiers[name] = Segmentation(name=name)
        target.duration = _number(source, number, facts, "duration", 0.0)
        target.frame_shift = _number(source, number, facts, "frame_shift", 0.0)
        target.num_frames = int(_number(source, number, facts, "num_frames", 0))
        for key, value in facts.items():
            if key in _FACTS:
                continue
            if not isinstance(value, list):
                source.bad(number, f"tier {key!r}", expected="a list", found=repr(value)[:80])
            target.set_tier(key, [_interval(source, number, item) for item in value])
    return tiers


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _number(
    source: TextFile, line: int, facts: Mapping[str, Any], name: str, default: float | None
) -> float:
    value = facts.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e9:
        source.bad(line, name, expected="a number", found=repr(value)[:80])
    return value


def _interval(source: TextFile, line: int, facts: Any) -> Interval:
    if not isinstance(facts, dict) or not isinstance(facts.get("symbol"), str):
        source.bad(line, "an interval", expected='an object with a "symbol"',
                   found=repr(facts)[:80])  # fmt: skip
    start = float(_number(source, line, facts, "start", None))
    end = float(_number(source, line, facts, "end", None))
    if end < start:
        source.bad(line, "an interval ends before it starts", found=f"{start} to {end}")
    score = None
    if facts.get("score") is not None:
        score = float(_number(source, line, facts, "score", None))
    allophone = facts.get("allophone", "")
    if not isinstance(allophone, str):
        source.bad(line, "allophone", expected="a string", found=repr(allophone)[:80])
    return Interval(
        start, end, facts["symbol"], score,
        _strings(source, line, facts, "pronunciation"),
        _strings(source, line, facts, "alternatives"), allophone,
    )  # fmt: skip


def _strings(source: TextFile, line: int, facts: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = facts.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        source.bad(line, name, expected="a list of strings", found=repr(values)[:80])
    return tuple(values)
