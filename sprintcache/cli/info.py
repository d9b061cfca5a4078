"""`sprintcache info`: summarizes an archive.

Entries, sizes and compression come from the table. Datatypes, dimensions, times and alignments need
the payloads: of a large archive these are read for a sample of segments, evenly spread.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
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
from ._progress import Progress
from ._text import format_clock, format_counts

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.statistics import AlignmentSummary, Statistics

    from ._options import Subparsers

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
    summary = _summarize(options, options.archive)
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

    modules = ("h5py", "kaldi_native_io", "matplotlib", "torch", "ray", "returnn", "subword_nmt")
    return {
        "sprintcache": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "numpy": np.__version__,
        "platform": platform.platform(),
        **build_info(),
        "installed": ", ".join(name for name in modules if find_spec(name)) or "no extras",
    }


@dataclass
class _Summary:
    """Contents of an archive; the fields are the keys of --json.

    Attributes:
        path, io: of the archive.
        kind: "archive", "bundle" or "directory".
        num_archives: files of a bundle; else 1.
        num_entries, num_segments, num_attributes: all entries; those that do not end in ".attribs";
            those that do.
        file_bytes: size of the files; of a directory, of its entries as stored.
        payload_bytes, stored_bytes: size of all entries inflated, and as stored.
        num_compressed: compressed entries.
        segments_read: segments whose payload was read; the fields below describe these.
        unreadable: damaged segments among them.
        datatypes: number of segments by datatype; "bytes" for entries that are not Flow caches, or
            "empty".
        dims: number of segments by dimension; "varying" if frames differ.
        num_frames: frames (packets) of all segments; None if an entry is damaged.
        duration: seconds from the first start to the last end of each segment, summed; of a
            sample, scaled to all frames (or to all segments).
        alignments: None if there are no alignments.
        scans: a text for each archive without a sound table.
        index_problem: why the index of a bundle is not valid, or None.
    """

    path: str
    kind: str
    io: str
    num_archives: int
    num_entries: int
    num_segments: int
    num_attributes: int
    file_bytes: int
    payload_bytes: int
    stored_bytes: int
    num_compressed: int
    segments_read: int = 0
    unreadable: int = 0
    datatypes: dict[str, int] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    num_frames: int | None = None
    duration: float = 0.0
    alignments: AlignmentSummary | None = None
    scans: list[str] = field(default_factory=list)
    index_problem: str | None = None

    @property
    def is_sample(self) -> bool:
        """Whether some segments were not read."""
        return self.segments_read < self.num_segments


def _summarize(options: Options, path: str) -> _Summary:
    import numpy as np

    from sprintcache.statistics import collect_shapes

    state_names = options.read_state_names()
    with options.open(path) as archive, Progress("reading", sys.stderr) as progress:
        summary = _summarize_table(archive)
        names: Sequence[str] = archive.segments
        if 0 < options.sample < len(names):
            indices = np.linspace(0, len(names) - 1, options.sample).astype(int)
            names = [archive.segments[index] for index in indices.tolist()]
        statistics = collect_shapes(
            archive,
            names,
            labeling=state_names.labeling,
            allophones=state_names.allophones,
            progress=progress,
        )
        _add_statistics(summary, statistics, archive)
    return summary


def _summarize_table(archive: Archive) -> _Summary:
    """The part that needs no payloads."""
    from sprintcache import _bundle

    payload_bytes = stored_bytes = num_compressed = 0
    for name in archive:
        entry = archive.entry(name)
        payload_bytes += entry.size
        stored_bytes += entry.compressed_size or entry.size
        num_compressed += entry.compressed_size > 0
    file_bytes = sum(
        size
        for path, (size, _) in zip(archive.source_paths, archive.source_states, strict=True)
        if not os.path.isdir(path)
    )
    kind = "directory" if os.path.isdir(archive.path) else "archive"
    index_problem = None
    if archive.path.endswith(".bundle"):
        kind = "bundle"
        if os.path.exists(archive.path + ".idx.gz"):
            index_problem = _bundle.index_problem(archive.path, set(archive))
    num_segments = len(archive.segments)
    return _Summary(
        path=archive.path,
        kind=kind,
        io=archive.io,
        num_archives=len(archive.source_paths),
        num_entries=len(archive),
        num_segments=num_segments,
        num_attributes=len(archive) - num_segments,
        file_bytes=file_bytes or stored_bytes,
        payload_bytes=payload_bytes,
        stored_bytes=stored_bytes,
        num_compressed=num_compressed,
        scans=[
            str(report).removeprefix(f"{archive.path}: ")
            for report in archive.scan_reports
            if report is not None
        ],
        index_problem=index_problem,
    )


def _add_statistics(summary: _Summary, statistics: Statistics, archive: Archive) -> None:
    """Adds the part that was read from payloads."""
    num_frames = statistics.lengths.total
    summary.segments_read = statistics.num_segments + statistics.num_left_out
    summary.unreadable = statistics.num_left_out
    summary.datatypes = statistics.datatypes
    summary.dims = statistics.dims
    summary.duration = statistics.seconds
    summary.alignments = statistics.alignments
    summary.num_frames = None if summary.unreadable else num_frames
    if summary.is_sample:
        summary.num_frames = _num_frames_all(archive)
        if summary.num_frames is not None and num_frames:
            summary.duration *= summary.num_frames / num_frames
        else:
            summary.duration *= summary.num_segments / max(statistics.num_segments, 1)


def _num_frames_all(archive: Archive) -> int | None:
    from sprintcache._threads import default_threads
    from sprintcache.errors import SprintCacheError

    try:
        return int(archive.num_frames_all(default_threads()).sum())
    except SprintCacheError:
        return None


# ---- text


def _facts(summary: _Summary) -> Iterator[tuple[str, str]]:
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


def _compression(summary: _Summary) -> str:
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
