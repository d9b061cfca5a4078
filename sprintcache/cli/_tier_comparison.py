"""Comparisons of words or phones as lines of text and as JSON objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sprintcache.segmentation import TierComparison

__all__ = ["tier_comparison_lines", "tier_comparison_record"]

_MAX_SHOWN = 10
_TITLES = {
    "wbe": "boundary error",
    "start_mae": "start, absolute",
    "end_mae": "end, absolute",
    "start_shift": "start, shift",
    "end_shift": "end, shift",
    "shift": "both, shift",
    "width_error": "width, shift",
    "center_mae": "center, absolute",
    "edge_wbe": "edge words",
    "interior_wbe": "interior words",
}


def tier_comparison_lines(
    titles: tuple[str, str], found: TierComparison, collars: Sequence[int]
) -> Iterator[str]:
    """A line per fact, a table of time errors, then the most frequent confusions.

    Args:
        titles: names of hypothesis and reference.
        found: the comparison.
        collars: milliseconds.
    """
    for name, text in _facts(titles, found):
        yield f"{name:<12} {text}"
    micro, macro = found.micro, found.macro
    if not micro:
        return
    noun = found.tier[:-1]
    yield f"# error of {noun}s in ms      micro      macro   (shift > 0: late)"
    for measure, title in _TITLES.items():
        if measure in micro:
            title = title.replace("words", found.tier)
            yield f"{title:<22} {1000 * micro[measure]:10.2f} {1000 * macro[measure]:10.2f}"
    yield "# collar in ms  boundaries  precision     recall         F1"
    for collar in collars:
        values = (
            found.accuracy(collar),
            found.precision(collar),
            found.recall(collar),
            found.f1(collar),
        )
        shares = "  ".join(f"{100 * (value or 0):8.2f}%" for value in values)
        yield f"{collar:14}   {shares}"
    confused = found.most_confused(_MAX_SHOWN)
    if confused:
        yield f"#  seconds  share  most time in different {noun}s: hypothesis -> reference"
    total = found.confusions.total() / 1e6
    for first, second, seconds in confused:
        pair = f"{first or 'silence'} -> {second or 'silence'}"
        yield f"{seconds:10.2f} {100 * seconds / total:5.2f}%  {pair}"


def _facts(titles: tuple[str, str], found: TierComparison) -> Iterator[tuple[str, str]]:
    yield "hypothesis", titles[0]
    yield "reference", titles[1]
    yield "segments", f"{found.num_segments} compared"
    for name, names in (
        ("only first", found.only_hypothesis),
        ("only second", found.only_reference),
    ):
        if names:
            more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
            yield name, f"{len(names)}: {', '.join(names[:_MAX_SHOWN])}{more}"
    if not found.num_segments:
        return
    unmatched = found.num_unmatched_hypothesis, found.num_unmatched_reference
    substituted = f", {found.num_substituted} of them differ" if found.num_substituted else ""
    yield (
        found.tier,
        f"{found.num_hypothesis} and {found.num_reference}, {found.errors.num_pairs} pairs"
        f"{substituted}; without partner {unmatched[0]} and {unmatched[1]}",
    )
    if found.agreement is not None:
        yield "agreement", f"{100 * found.agreement:.2f} % of the time, silence included"
    shares = [
        100 * part / whole if whole else 0.0
        for part, whole in (
            (found.silence_hypothesis, found.duration_hypothesis),
            (found.silence_reference, found.duration_reference),
        )
    ]
    yield "silence", f"{shares[0]:.2f} % and {shares[1]:.2f} %"
    if found.tse is not None:
        frames = f", {found.tse / found.frame_shift:.3f} frames" if found.frame_shift else ""
        yield "TSE", f"{1000 * found.tse:.2f} ms{frames}"


def tier_comparison_record(
    titles: tuple[str, str], found: TierComparison, collars: Sequence[int]
) -> dict[str, Any]:
    """A comparison as a JSON object, times in seconds; arguments as for the lines."""
    return {
        "hypothesis": titles[0],
        "reference": titles[1],
        "tier": found.tier,
        "segments": found.num_segments,
        "only_hypothesis": found.only_hypothesis,
        "only_reference": found.only_reference,
        "intervals": {
            "hypothesis": found.num_hypothesis,
            "reference": found.num_reference,
            "pairs": found.errors.num_pairs,
            "substituted": found.num_substituted,
            "unmatched_hypothesis": found.num_unmatched_hypothesis,
            "unmatched_reference": found.num_unmatched_reference,
        },
        "agreement": found.agreement,
        "silence": {
            "hypothesis": found.silence_hypothesis,
            "reference": found.silence_reference,
            "duration_hypothesis": found.duration_hypothesis,
            "duration_reference": found.duration_reference,
        },
        "tse": found.tse,
        "frame_shift": found.frame_shift or None,
        "micro": found.micro,
        "macro": found.macro,
        "collars_ms": {
            str(collar): {
                "accuracy": found.accuracy(collar),
                "precision": found.precision(collar),
                "recall": found.recall(collar),
                "f1": found.f1(collar),
            }
            for collar in collars
        },
        "start_shifts": [[s / 1e6, n] for s, n in sorted(found.errors.start.items())],
        "end_shifts": [[s / 1e6, n] for s, n in sorted(found.errors.end.items())],
        "confusions": [
            {"hypothesis": first, "reference": second, "seconds": time / 1e6}
            for (first, second), time in sorted(
                found.confusions.items(), key=lambda item: (-item[1], item[0])
            )
        ],
    }
