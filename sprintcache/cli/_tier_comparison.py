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
    titles: tuple[str, str], comparison: TierComparison, collars: Sequence[int]
) -> Iterator[str]:
    """A line per fact, a table of time errors, then the most frequent confusions.

    `titles` name hypothesis and reference; `collars` are in milliseconds.
    """
    for name, text in _facts(titles, comparison):
        yield f"{name:<12} {text}"
    micro, macro = comparison.micro, comparison.macro
    if not micro:
        return
    noun = comparison.tier[:-1]
    yield f"# error of {noun}s in ms      micro      macro   (shift > 0: late)"
    for measure, title in _TITLES.items():
        if measure in micro:
            title = title.replace("words", comparison.tier)
            yield f"{title:<22} {1000 * micro[measure]:10.2f} {1000 * macro[measure]:10.2f}"
    yield "# collar in ms  boundaries  precision     recall         F1"
    for collar in collars:
        values = (
            comparison.accuracy(collar),
            comparison.precision(collar),
            comparison.recall(collar),
            comparison.f1(collar),
        )
        shares = "  ".join(f"{100 * (value or 0):8.2f}%" for value in values)
        yield f"{collar:14}   {shares}"
    confused = comparison.most_confused(_MAX_SHOWN)
    if confused:
        yield f"#  seconds  share  most time in different {noun}s: hypothesis -> reference"
    total = comparison.confusions.total() / 1e6
    for first, second, seconds in confused:
        pair = f"{first or 'silence'} -> {second or 'silence'}"
        yield f"{seconds:10.2f} {100 * seconds / total:5.2f}%  {pair}"


def _facts(titles: tuple[str, str], comparison: TierComparison) -> Iterator[tuple[str, str]]:
    yield "hypothesis", titles[0]
    yield "reference", titles[1]
    yield "segments", f"{comparison.num_segments} compared"
    for name, names in (
        ("only first", comparison.only_hypothesis),
        ("only second", comparison.only_reference),
    ):
        if names:
            suffix = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
            yield name, f"{len(names)}: {', '.join(names[:_MAX_SHOWN])}{suffix}"
    if not comparison.num_segments:
        return
    unmatched = comparison.num_unmatched_hypothesis, comparison.num_unmatched_reference
    substituted = (
        f", {comparison.num_substituted} of them differ" if comparison.num_substituted else ""
    )
    num_pairs = comparison.errors.num_pairs
    yield (
        comparison.tier,
        f"{comparison.num_hypothesis} and {comparison.num_reference}, {num_pairs} pairs"
        f"{substituted}; without partner {unmatched[0]} and {unmatched[1]}",
    )
    if comparison.agreement is not None:
        yield "agreement", f"{100 * comparison.agreement:.2f} % of the time, silence included"
    shares = [
        100 * part / duration if duration else 0.0
        for part, duration in (
            (comparison.silence_hypothesis, comparison.duration_hypothesis),
            (comparison.silence_reference, comparison.duration_reference),
        )
    ]
    yield "silence", f"{shares[0]:.2f} % and {shares[1]:.2f} %"
    if comparison.tse is not None:
        frames = (
            f", {comparison.tse / comparison.frame_shift:.3f} frames"
            if comparison.frame_shift
            else ""
        )
        yield "TSE", f"{1000 * comparison.tse:.2f} ms{frames}"


def tier_comparison_record(
    titles: tuple[str, str], comparison: TierComparison, collars: Sequence[int]
) -> dict[str, Any]:
    """A comparison as a JSON object, times in seconds; arguments as for the lines."""
    return {
        "hypothesis": titles[0],
        "reference": titles[1],
        "tier": comparison.tier,
        "segments": comparison.num_segments,
        "only_hypothesis": comparison.only_hypothesis,
        "only_reference": comparison.only_reference,
        "intervals": {
            "hypothesis": comparison.num_hypothesis,
            "reference": comparison.num_reference,
            "pairs": comparison.errors.num_pairs,
            "substituted": comparison.num_substituted,
            "unmatched_hypothesis": comparison.num_unmatched_hypothesis,
            "unmatched_reference": comparison.num_unmatched_reference,
        },
        "agreement": comparison.agreement,
        "silence": {
            "hypothesis": comparison.silence_hypothesis,
            "reference": comparison.silence_reference,
            "duration_hypothesis": comparison.duration_hypothesis,
            "duration_reference": comparison.duration_reference,
        },
        "tse": comparison.tse,
        "frame_shift": comparison.frame_shift or None,
        "micro": comparison.micro,
        "macro": comparison.macro,
        "collars_ms": {
            str(collar): {
                "accuracy": comparison.accuracy(collar),
                "precision": comparison.precision(collar),
                "recall": comparison.recall(collar),
                "f1": comparison.f1(collar),
            }
            for collar in collars
        },
        "start_shifts": [[s / 1e6, n] for s, n in sorted(comparison.errors.start.items())],
        "end_shifts": [[s / 1e6, n] for s, n in sorted(comparison.errors.end.items())],
        "confusions": [
            {"hypothesis": first, "reference": second, "seconds": time / 1e6}
            for (first, second), time in sorted(
                comparison.confusions.items(), key=lambda item: (-item[1], item[0])
            )
        ],
    }
