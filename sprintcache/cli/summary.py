"""summarize: what is in an archive, in numbers; `sprintcache info` prints it.

The table gives entries, sizes and compression of all entries. Datatypes, dimensions, times and
alignments need the payloads: of large archives these are read for some segments only, evenly spread
over the archive, and `Summary.segments_read` says for how many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache import _bundle as bundle
from sprintcache._threads import chunk_map, default_threads
from sprintcache.errors import SprintCacheError

from .usage import AlignmentSummary, Use, Uses, use_of

if TYPE_CHECKING:
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.archive import Archive
    from sprintcache.entries import Block

__all__ = ["SAMPLE", "Summary", "summarize"]

SAMPLE = 10_000  # segments that are read unless told otherwise


@dataclass
class Summary:
    """What is in an archive.

    Attributes:
        path, io: of the archive.
        kind: "archive", "bundle" or "directory".
        num_archives: files of a bundle; else 1.
        num_entries, num_segments, num_attributes: all entries; those that do not end in
            ".attribs"; those that do.
        file_bytes: size of the files; of a directory, of its entries as stored.
        payload_bytes, stored_bytes: all entries inflated, and as they are stored.
        num_compressed: entries that are stored compressed.
        segments_read: segments whose payload was read; what follows speaks of these.
        unreadable: how many of them are damaged.
        datatypes: number of segments by datatype; "bytes" for what is no Flow cache, "empty".
        dims: number of segments with numbers by dimension; "varying" where frames differ.
        num_frames: frames (packets) of all segments; None if an entry does not say.
        duration: seconds from the first start to the last end of each segment, summed; where not
            all segments were read, scaled up to all frames (or to all segments).
        alignments: None if there are none.
        scans: a text for each archive without a sound table.
        index_problem: why a bundle's index cannot be trusted, or None.
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
    def sampled(self) -> bool:
        """Whether some segments were not read."""
        return self.segments_read < self.num_segments

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


class _Segment(NamedTuple):
    """What one segment holds."""

    datatype: str
    dim: str
    frames: int
    seconds: float
    uses: list[Use]


def summarize(
    archive: Archive,
    labeling: AllophoneLabeling | None = None,
    sample: int = SAMPLE,
    allophones: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Counts what is in an archive.

    Args:
        archive: the archive.
        labeling: for what an `AlignmentSummary` says of labels.
        sample: how many segments to read at most; 0: all.
        allophones: to compare alphabets with; None: those of the labeling.
        progress: called with (segments read, segments to read) now and then.

    Raises:
        OSError: if the archive's files cannot be read. Damaged entries are counted instead.
    """
    summary = _from_table(archive)
    names: Sequence[str] = archive.segments
    if 0 < sample < len(names):
        spread = np.linspace(0, len(names) - 1, sample).astype(int)
        names = [archive.segments[place] for place in spread.tolist()]
    if allophones is None and labeling is not None:
        allophones = labeling.allophones

    def look(chunk: list[str]) -> list[_Segment | None]:
        return [_segment(archive, name, allophones) for name in chunk]

    frames = 0
    uses = Uses()
    for part in chunk_map(look, names, default_threads()):
        for segment in part:
            summary.segments_read += 1
            if segment is None:
                summary.unreadable += 1
                continue
            _count(summary.datatypes, segment.datatype)
            if segment.dim:
                _count(summary.dims, segment.dim)
            frames += segment.frames
            summary.duration += segment.seconds
            for use in segment.uses:
                uses.add(use)
        if progress is not None:
            progress(summary.segments_read, len(names))
    summary.alignments = uses.summary(labeling)
    summary.num_frames = None if summary.unreadable else frames
    if summary.sampled:
        summary.num_frames = _all_frames(archive)
        if summary.num_frames is not None and frames:
            summary.duration *= summary.num_frames / frames
        else:
            sound = summary.segments_read - summary.unreadable
            summary.duration *= summary.num_segments / max(sound, 1)
    return summary


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _from_table(archive: Archive) -> Summary:
    """What can be said without reading payloads."""
    payload = stored = compressed = 0
    for name in archive:
        entry = archive.entry(name)
        payload += entry.size
        stored += entry.compressed_size or entry.size
        compressed += entry.compressed_size > 0
    files = sum(
        size
        for path, (size, _) in zip(archive.source_paths, archive.source_states, strict=True)
        if not os.path.isdir(path)
    )
    kind = "directory" if os.path.isdir(archive.path) else "archive"
    index_problem = None
    if archive.path.endswith(".bundle"):
        kind = "bundle"
        if os.path.exists(archive.path + ".idx.gz"):
            index_problem = bundle.index_problem(archive.path, set(archive))
    segments = len(archive.segments)
    return Summary(
        path=archive.path,
        kind=kind,
        io=archive.io,
        num_archives=len(archive.source_paths),
        num_entries=len(archive),
        num_segments=segments,
        num_attributes=len(archive) - segments,
        file_bytes=files or stored,
        payload_bytes=payload,
        stored_bytes=stored,
        num_compressed=compressed,
        scans=[
            str(report).removeprefix(f"{archive.path}: ")
            for report in archive.scan_reports
            if report is not None
        ],
        index_problem=index_problem,
    )


def _all_frames(archive: Archive) -> int | None:
    try:
        return int(archive.num_frames_all(default_threads()).sum())
    except SprintCacheError:
        return None


def _segment(archive: Archive, name: str, allophones: Sequence[str] | None) -> _Segment | None:
    """What one segment holds; None if it is damaged."""
    try:
        if archive.datatype(name) is None:
            return _Segment("bytes" if archive.read_bytes(name) else "empty", "", 0, 0.0, [])
        blocks = archive.read_blocks(name)
    except (SprintCacheError, OSError):
        return None
    frames = 0
    uses = []
    for block in blocks:
        if block.datatype == "flow-alignment":
            frames += sum(alignment.num_frames for alignment in block.data)
            uses += [use_of(alignment, allophones) for alignment in block.data]
        else:
            frames += len(block.data)
    datatypes = dict.fromkeys(block.datatype for block in blocks)
    return _Segment("+".join(datatypes), _dim(blocks), frames, _seconds(blocks), uses)


def _dim(blocks: list[Block]) -> str:
    """Values per frame; "varying"; "" where frames are no vectors of numbers."""
    dims: set[str] = set()
    for block in blocks:
        if not len(block.data) or block.datatype in ("timestamp", "linear-filter-parameter"):
            continue
        if isinstance(block.data, np.ndarray):
            dims.add(str(block.data.shape[1]) if block.data.ndim == 2 else "1")
        elif isinstance(block.data[0], np.ndarray) and block.datatype.startswith("vector-"):
            dims.add("varying")
    return dims.pop() if len(dims) == 1 else "varying" if dims else ""


def _seconds(blocks: list[Block]) -> float:
    """From the first start to the last end; 0 for what has no times, or those of no frames."""
    times = [block.times for block in blocks if block.times is not None and len(block.times)]
    seconds = float(times[-1][-1, 1]) - float(times[0][0, 0]) if times else 0.0
    return seconds if 0 < seconds < float("inf") else 0.0
