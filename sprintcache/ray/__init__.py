"""Archives as a Ray Data dataset: features and labels, read by tasks on many machines.

>>> from sprintcache.ray import read_archives
>>> frames = read_archives("features.bundle", rows="frames")  # doctest: +SKIP
>>> frames.count()  # doctest: +SKIP
7465

The driver reads the tables of the archives only, and divides the segments, in archive order, into
as many tasks as Ray requests, of about the same number of bytes. A task consists of the paths of
its archives and the names of its segments; it opens the archives where it runs, one pair at a time,
decodes features and labels, and yields blocks as they are full. The tasks share the labeling, which
is stored once in Ray's object store. Ray restarts a task that dies; reading has no side effects. A
damaged entry fails its task, and Ray's error carries ours, which names the file.

On a cluster, all nodes need sprintcache and the archives under the same path, or a path map in the
environment variable ``SPRINTCACHE_PATH_MAP`` (on a network file system ``io="auto"`` does not map
files into memory). Start Ray with ``ray start --head`` on one node and
``ray start --address=HEAD:6379`` on the others, and call ``ray.init(address="auto")`` before
`read_archives`. On one machine Ray starts automatically.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sprintcache.alignment import checks_alphabet
from sprintcache.errors import EntryNotFoundError
from sprintcache.opening import open_archive

try:
    import ray
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    from .tasks import EntryLocation, Options, Rows, SegmentRef, read_function
except ModuleNotFoundError as error:
    raise ImportError("Ray Data is missing: pip install 'sprintcache[ray]'") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache._path_map import PathMap
    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["ArchiveDatasource", "read_archives"]

logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]


def read_archives(
    paths: StrPath | Sequence[StrPath],
    *,
    alignments: StrPath | Sequence[StrPath] | None = None,
    labeling: AllophoneLabeling | None = None,
    rows: Rows = "segments",
    block_frames: int = 1 << 17,
    missing: Literal["error", "skip"] = "error",
    on_alphabet_mismatch: OnMismatch = "error",
    io: str = "auto",
    path_map: PathMap | None = None,
    **read_options: Any,
) -> Any:
    """Reads features, and labels if there are alignments, as a `ray.data.Dataset`.

    Args:
        paths: archives, bundles or directories; several count as a bundle of them: for a segment in
            several of them, the last one is used.
        alignments: the same for alignments; None: no column "labels".
        labeling: from allophone states to labels; None for alignments of emission ids.
        rows: "segments": a row per segment, with columns "segment" str, "features" (T, D)
            float32 and "labels" (T,) int32; "frames": a row per frame, with columns "segment"
            str, "frame" int32 (0, 1, 2, ... in each segment), "features" (D,) float32 and "labels"
            int32.
        block_frames: a task yields a block when it has that many frames; Ray may join or cut
            blocks, see ``DataContext.target_max_block_size``.
        missing: "error", or "skip" segments without alignment; their number is logged.
        on_alphabet_mismatch: as for `Archive.read_labels`.
        io, path_map: as for `open_archive`; tasks open the paths that the driver resolved.
        read_options: for ``ray.data.read_datasource``, such as ``override_num_blocks`` (the number
            of tasks), ``concurrency`` or ``ray_remote_args``.

    Returns:
        a lazy `ray.data.Dataset`, in the order of the archives if Ray's ``preserve_order`` is set.

    Raises:
        FileNotFoundError, OSError: if a file cannot be opened.
        FormatError: if a file is not an archive.
        EntryNotFoundError: if a segment has no alignment.
        ValueError: if an argument is out of range.

    A task fails with FormatError for damaged entries, and with LabelError if features and labels
    differ in length.
    """
    _check("rows", rows, ("segments", "frames"))
    _check("missing", missing, ("error", "skip"))
    checks_alphabet(on_alphabet_mismatch)
    if block_frames < 1:
        raise ValueError(f"block_frames must be positive, not {block_frames}")
    segments = [
        SegmentRef(name, location, None)
        for name, location in _locations(paths, io, path_map).items()
    ]
    if alignments is not None:
        segments = _aligned(segments, _locations(alignments, io, path_map), missing)
    options = Options(rows, block_frames, on_alphabet_mismatch, io)
    source = ArchiveDatasource(segments, None if labeling is None else ray.put(labeling), options)
    return ray.data.read_datasource(source, **read_options)


def _check(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option} must be one of {choices}, not {value!r}")


def _locations(
    paths: StrPath | Sequence[StrPath], io: str, path_map: PathMap | None
) -> dict[str, EntryLocation]:
    """Segment name to the location of its entry."""
    locations = {}
    with open_archive(paths, io, path_map=path_map) as archive:
        for name in archive.segments:
            entry = archive.entry(name)
            locations[name] = EntryLocation(entry.archive_path, entry.size)
    return locations


def _aligned(
    segments: list[SegmentRef], locations: dict[str, EntryLocation], missing: str
) -> list[SegmentRef]:
    unaligned = [segment for segment in segments if segment.name not in locations]
    if unaligned and missing == "error":
        raise EntryNotFoundError(
            f"no alignment of this segment, nor of {len(unaligned) - 1} others (missing='skip'"
            " leaves them out)",
            path=unaligned[0].features.path,
            entry=unaligned[0].name,
        )
    if unaligned:
        logger.warning("%d of %d segments have no alignment", len(unaligned), len(segments))
    return [
        segment._replace(alignment=locations[segment.name])
        for segment in segments
        if segment.name in locations
    ]


class ArchiveDatasource(Datasource):  # type: ignore[misc]
    """Divides segments into tasks; `read_archives` makes one."""

    def __init__(self, segments: list[SegmentRef], labeling: Any, options: Options) -> None:
        super().__init__()
        self._segments = segments
        self._labeling = labeling
        self._options = options

    def get_name(self) -> str:
        """The name that Ray shows."""
        return "SprintArchives"

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all features, from the tables of the archives."""
        return sum(segment.features.size for segment in self._segments)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[Any]:
        """Tasks of about the same number of bytes, `parallelism` of them if there are enough."""
        sizes = np.array([segment.features.size for segment in self._segments], np.int64)
        return [
            self._task(self._segments[start:stop], per_task_row_limit)
            for start, stop in _ranges(sizes, parallelism)
        ]

    def _task(self, segments: list[SegmentRef], row_limit: int | None) -> Any:
        files = {
            location.path: None
            for _, *locations in segments
            for location in locations
            if location is not None
        }
        metadata = BlockMetadata(
            num_rows=len(segments) if self._options.rows == "segments" else None,
            size_bytes=sum(segment.features.size for segment in segments),
            exec_stats=None,
            input_files=list(files),
        )
        # Ray pickles the function: it must not refer to the datasource, which has all segments
        read = read_function(segments, self._labeling, self._options)
        return ReadTask(read, metadata, per_task_row_limit=row_limit)


def _ranges(sizes: NDArray[np.int64], parts: int) -> list[tuple[int, int]]:
    """(start, stop) of at most `parts` ranges of about the same sum; none is empty."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    marks = np.searchsorted(ends, np.arange(1, parts) * total // parts) + 1
    cuts = np.unique(np.concatenate([[0], np.minimum(marks, len(sizes)), [len(sizes)]]))
    return [(int(a), int(b)) for a, b in pairwise(cuts)]
