"""`sprintcache info`: summarizes an archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ._console import write_line
from ._options import (
    ReadOptions,
    StateNameOptions,
    add_archive,
    add_command,
    add_json,
    add_read_options,
    add_state_names,
    non_negative_int,
)
from ._parser import UsageError
from ._text import format_clock, format_counts

if TYPE_CHECKING:
    from sprintcache.statistics import AlignmentSummary

    from ._options import Subparsers
    from ._summary import Summary

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(StateNameOptions, ReadOptions):
    """Arguments of the command."""

    archive: str | None
    json: bool
    sample: int
    build: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.archive is None and not self.build:
            raise UsageError("the following arguments are required: ARCHIVE")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "info",
        "summarize an archive",
        "Summarizes an archive: entries, sizes, datatypes, dimensions, frames, duration and"
        " compression, and for alignments the states and labels in use. The duration is the sum"
        " over all segments, from the start of the first to the end of the last frame.",
        "  sprintcache info alignment.cache \\\n"
        "      --allophones allophones --state-tying tying --silence '[SILENCE]'",
    )
    add_archive(parser, nargs="?")
    add_json(parser)
    parser.add_argument(
        "--sample",
        metavar="N",
        type=non_negative_int,
        default=10_000,
        help="read only N segments, evenly spread, if there are more; 0 reads all"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--build",
        action="store_true",
        help="print versions, how sprintcache was built, and which extras are installed",
    )
    add_read_options(parser)
    add_state_names(
        parser, "to compare with the alphabets of alignments", silence="to report its share"
    )


def run(options: Options) -> int:
    """Summarizes an archive, or the build; status 1 if segments are damaged."""
    if options.build or options.archive is None:
        build = _build_info()
        for line in [json.dumps(build)] if options.json else map(": ".join, build.items()):
            write_line(line)
        return 0
    from ._summary import summarize

    with options.open(options.archive) as archive:
        summary = summarize(archive, options.read_state_names(), options.sample)
    if options.json:
        write_line(json.dumps(asdict(summary)))
    else:
        for name, text in _facts(summary):
            write_line(f"{name:<12} {text}")
    return 1 if summary.unreadable else 0


def _build_info() -> dict[str, str]:
    """Versions, the compiled core, and installed extras."""
    import platform
    from importlib.util import find_spec

    import numpy as np

    from sprintcache import __version__
    from sprintcache._reader import build_info

    modules = ["h5py", "kaldi_native_io", "matplotlib", "torch", "ray", "returnn"]
    modules += ["sentencepiece", "soundfile", "subword_nmt"]
    return {
        "sprintcache": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "numpy": np.__version__,
        "platform": platform.platform(),
        **build_info(),
        "installed": ", ".join(name for name in modules if find_spec(name)) or "no extras",
    }


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    """(name, text) of each line."""
    archives = f" of {summary.num_archives} archives" if summary.kind == "bundle" else ""
    yield "path", summary.path
    yield "kind", f"{summary.kind}{archives}, read by {summary.io}"
    yield (
        "entries",
        f"{summary.num_entries}: {summary.num_segments} segments,"
        f" {summary.num_attributes} attributes",
    )
    yield "size", f"{summary.file_bytes} bytes in files, {summary.payload_bytes} of payload"
    yield "compression", _compression(summary)
    if summary.is_sample:
        yield (
            "sample",
            f"{summary.segments_read} of {summary.num_segments} segments were read for the lines"
            " below, evenly spread (--sample 0 reads all)",
        )
    if summary.unreadable:
        yield (
            "damaged",
            f"{summary.unreadable} of {summary.segments_read} segments; see sprintcache verify",
        )
    yield "datatypes", format_counts(summary.datatypes)
    if summary.dims:
        several = len(summary.dims) > 1
        yield "dimension", format_counts(summary.dims) if several else min(summary.dims)
    if summary.num_frames:
        yield "frames", str(summary.num_frames)
    if summary.duration:
        about = "about " if summary.is_sample or summary.unreadable else ""
        yield "duration", f"{about}{summary.duration:.2f} s ({format_clock(summary.duration)})"
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
        f"{format_counts(alignments.kinds)}, {alignments.num_items} items,"
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
