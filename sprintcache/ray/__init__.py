"""Archives as a Ray Data dataset: features and labels, read by tasks on many machines.

>>> from sprintcache.ray import read_archives
>>> frames = read_archives("features.bundle", rows="frames")  # doctest: +SKIP
>>> frames.count()  # doctest: +SKIP
7465

The driver reads the tables of the archives only, and divides the segments, in archive order, into
as many tasks as Ray asks for, of about the same number of bytes. A task is the paths of its
archives and the names of its segments; it opens the archives where it runs, one pair at a time,
decodes, looks the labels up and hands blocks over as they are full. Tasks share the labeling, which
lies in Ray's object store once, and nothing else. A task that dies is run again by Ray from its
start; reading changes nothing. A damaged entry fails its task, and Ray's error carries ours, which
names the file.

On a cluster, all nodes must have sprintcache and, under the same path, the archives (on a network
file system ``io="auto"`` does not map them). Start Ray with ``ray start --head`` on one node and
``ray start --address=HEAD:6379`` on the others, and call ``ray.init(address="auto")`` before
`read_archives`. On one machine Ray starts by itself.
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

    from .tasks import Home, Options, Rows, Segment, reading
except ModuleNotFoundError as error:
    raise ImportError("Ray Data is missing: pip install 'sprintcache[ray]'") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    **read_options: Any,
) -> Any:
    """Reads features, and the labels of alignments if told so, as a `ray.data.Dataset`.

    Args:
        paths: archives, bundles or directories; several count as a bundle of them: of a segment in
            several of them, the last one has its data.
        alignments: the same for alignments; None: no column "labels".
        labeling: from allophone states to labels; None for alignments of emission ids.
        rows: "segments": a row for a segment, with columns "segment" str, "features" (T, D)
            float32 and "labels" (T,) int32; "frames": a row for a frame, with columns "segment"
            str, "frame" int32 (0, 1, 2, ... in each segment), "features" (D,) float32 and "labels"
            int32.
        block_frames: a task hands over a block when it has so many frames; Ray may join or cut
            blocks by its own measure, ``DataContext.target_max_block_size``.
        missing: "error", or "skip" for segments without alignment; how many is logged.
        on_alphabet_mismatch: as for `Archive.read_labels`.
        io: as for `open_archive`.
        read_options: for ``ray.data.read_datasource``, such as ``override_num_blocks`` (the number
            of tasks), ``concurrency`` or ``ray_remote_args``.

    Returns:
        a lazy `ray.data.Dataset`. Its order is that of the archives if Ray is told to preserve
        order.

    Raises:
        FileNotFoundError, OSError: if a file cannot be opened.
        FormatError: if a file is no archive.
        EntryNotFoundError: if a segment has no alignment.
        ValueError: for wrong arguments.

    A task fails with FormatError for damaged entries, and with LabelError where there is no label
    for each frame or features and alignment differ in length.
    """
    _check("rows", rows, ("segments", "frames"))
    _check("missing", missing, ("error", "skip"))
    checks_alphabet(on_alphabet_mismatch)
    if block_frames < 1:
        raise ValueError(f"block_frames must be positive, not {block_frames}")
    segments = [Segment(name, home, None) for name, home in _homes(paths, io).items()]
    if alignments is not None:
        segments = _aligned(segments, _homes(alignments, io), missing)
    options = Options(rows, block_frames, on_alphabet_mismatch, io)
    source = ArchiveDatasource(segments, None if labeling is None else ray.put(labeling), options)
    return ray.data.read_datasource(source, **read_options)


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} must be one of {known}, not {value!r}")


def _homes(paths: StrPath | Sequence[StrPath], io: str) -> dict[str, Home]:
    """Where each segment is."""
    found = {}
    with open_archive(paths, io) as archive:
        for name in archive.segments:
            entry = archive.entry(name)
            found[name] = Home(entry.archive_path, entry.size)
    return found


def _aligned(segments: list[Segment], homes: dict[str, Home], missing: str) -> list[Segment]:
    lacking = [segment for segment in segments if segment.name not in homes]
    if lacking and missing == "error":
        raise EntryNotFoundError(
            f"no alignment of it, nor of {len(lacking) - 1} other segments (missing='skip' leaves"
            " them out)",
            path=lacking[0].features.path,
            entry=lacking[0].name,
        )
    if lacking:
        logger.warning("%d of %d segments have no alignment", len(lacking), len(segments))
    return [
        segment._replace(alignment=homes[segment.name])
        for segment in segments
        if segment.name in homes
    ]


class ArchiveDatasource(Datasource):  # type: ignore[misc]
    """Divides segments into tasks; `read_archives` makes one."""

    def __init__(self, segments: list[Segment], labeling: Any, options: Options) -> None:
        super().__init__()
        self._segments = segments
        self._labeling = labeling
        self._options = options

    def get_name(self) -> str:
        """What Ray calls it."""
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

    def _task(self, segments: list[Segment], row_limit: int | None) -> Any:
        files = {home.path: None for _, *homes in segments for home in homes if home is not None}
        metadata = BlockMetadata(
            num_rows=len(segments) if self._options.rows == "segments" else None,
            size_bytes=sum(segment.features.size for segment in segments),
            exec_stats=None,
            input_files=list(files),
        )
        # Ray pickles the function: it must not hold the datasource, which has all segments
        read = reading(segments, self._labeling, self._options)
        return ReadTask(read, metadata, per_task_row_limit=row_limit)


def _ranges(sizes: NDArray[np.int64], parts: int) -> list[tuple[int, int]]:
    """(start, stop) of at most `parts` ranges of about the same sum; none is empty."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    marks = np.searchsorted(ends, np.arange(1, parts) * total // parts) + 1
    cuts = np.unique(np.concatenate([[0], np.minimum(marks, len(sizes)), [len(sizes)]]))
    return [(int(a), int(b)) for a, b in pairwise(cuts)]
