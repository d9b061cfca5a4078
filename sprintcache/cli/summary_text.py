"""A `Summary` in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .wording import clock, counts

if TYPE_CHECKING:
    from .summary import Summary
    from .usage import AlignmentSummary

__all__ = ["summary_lines"]


def summary_lines(summary: Summary) -> Iterator[str]:
    """One line per fact: its name, then what it is."""
    for name, text in _facts(summary):
        yield f"{name:<12} {text}"


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    files = f" of {summary.num_archives} archives" if summary.kind == "bundle" else ""
    yield "path", summary.path
    yield "kind", f"{summary.kind}{files}, read by {summary.io}"
    yield (
        "entries",
        f"{summary.num_entries}: {summary.num_segments} segments,"
        f" {summary.num_attributes} attributes",
    )
    yield "size", f"{summary.file_bytes} bytes in files, {summary.payload_bytes} of payload"
    yield "compression", _compression(summary)
    if summary.sampled:
        yield (
            "sample",
            f"{summary.segments_read} of {summary.num_segments} segments were read for what"
            " follows, evenly spread (--sample 0 reads all)",
        )
    if summary.unreadable:
        yield (
            "damaged",
            f"{summary.unreadable} of {summary.segments_read} segments; see sprintcache verify",
        )
    yield "datatypes", counts(summary.datatypes)
    if summary.dims:
        yield "dimension", counts(summary.dims) if len(summary.dims) > 1 else min(summary.dims)
    if summary.num_frames:
        yield "frames", str(summary.num_frames)
    if summary.duration:
        about = "about " if summary.sampled or summary.unreadable else ""
        yield "duration", f"{about}{summary.duration:.2f} s ({clock(summary.duration)})"
    if summary.alignments is not None:
        yield from _alignment_facts(summary.alignments)
    for scan in summary.scans:
        yield "table", scan
    if summary.index_problem is not None:
        yield "index", summary.index_problem


def _compression(summary: Summary) -> str:
    if not summary.num_compressed:
        return "none"
    share = 100 * summary.stored_bytes / max(summary.payload_bytes, 1)
    return (
        f"{summary.num_compressed} of {summary.num_entries} entries;"
        f" all are stored in {share:.1f} % of their size"
    )


def _alignment_facts(alignments: AlignmentSummary) -> Iterator[tuple[str, str]]:
    yield (
        "alignments",
        f"{counts(alignments.kinds)}, {alignments.num_items} items,"
        f" {alignments.with_alphabet} with alphabet",
    )
    if alignments.label_type == "allophone-state":
        yield (
            "states",
            f"{alignments.states_used} in use, of {alignments.allophones_used} allophones",
        )
    else:
        yield "ids", f"{alignments.states_used} in use, {alignments.label_type}"
    if alignments.num_labels is not None:
        text = f"{alignments.labels_used} of {alignments.num_labels} in use"
        if alignments.states_without_label:
            text += f"; {alignments.states_without_label} states in use have none"
        yield "labels", text
    if alignments.silence_share is not None:
        yield "silence", f"{100 * alignments.silence_share:.1f} % of all items by weight"
    if alignments.contradiction:
        yield "alphabet", alignments.contradiction
