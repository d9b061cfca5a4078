"""Summaries of archives, for `sprintcache info`.

Entries, sizes and compression come from the table. Datatypes, dimensions, times and alignments need
the payloads: of a large archive these are read for a sample of segments, evenly spread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sprintcache import _bundle
from sprintcache._threads import default_threads
from sprintcache.errors import SprintCacheError
from sprintcache.statistics import collect_shapes

from ._progress import Progress

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import StateNames
    from sprintcache.statistics import AlignmentSummary, Statistics

__all__ = ["Summary", "summarize"]


@dataclass
class Summary:
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
        scans: a text for each archive without a valid table.
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


def summarize(archive: Archive, state_names: StateNames, sample: int) -> Summary:
    """Summarizes an archive; reads at most `sample` segments, or all if it is 0."""
    summary = _summarize_table(archive)
    names: Sequence[str] = archive.segments
    if 0 < sample < len(names):
        indices = np.linspace(0, len(names) - 1, sample).astype(int)
        names = [archive.segments[index] for index in indices.tolist()]
    with Progress("reading", sys.stderr) as progress:
        statistics = collect_shapes(
            archive,
            names,
            labeling=state_names.labeling,
            allophones=state_names.allophones,
            progress=progress,
        )
    _add_statistics(summary, statistics, archive)
    return summary


def _summarize_table(archive: Archive) -> Summary:
    """The part that needs no payloads."""
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
    return Summary(
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


def _add_statistics(summary: Summary, statistics: Statistics, archive: Archive) -> None:
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
    try:
        return int(archive.num_frames_all(default_threads()).sum())
    except SprintCacheError:
        return None
