"""The code of a task: from the names of segments to Ray's blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import ray
from ray.data.block import BlockAccessor

from sprintcache.errors import FormatError, LabelError
from sprintcache.opening import open_archive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["EntryLocation", "Options", "Rows", "SegmentRef", "read_function"]

Rows = Literal["segments", "frames"]


class EntryLocation(NamedTuple):
    path: str
    size: int  # bytes of the entry


class SegmentRef(NamedTuple):
    name: str
    features: EntryLocation
    alignment: EntryLocation | None


class Options(NamedTuple):
    rows: Rows
    block_frames: int
    on_alphabet_mismatch: OnMismatch
    io: str


class FeatureRow(NamedTuple):
    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int32] | None


def read_function(segments: list[SegmentRef], labeling: Any, options: Options) -> Callable[[], Any]:
    def read_segments() -> Iterator[Any]:
        rows: list[FeatureRow] = []
        frames = 0
        for row in _rows(segments, None if labeling is None else ray.get(labeling), options):
            rows.append(row)
            frames += len(row.features)
            if frames >= options.block_frames:
                yield _block(rows, options.rows)
                rows, frames = [], 0
        if rows:
            yield _block(rows, options.rows)

    return read_segments


def _rows(
    segments: Iterable[SegmentRef], labeling: AllophoneLabeling | None, options: Options
) -> Iterator[FeatureRow]:
    """Reads segments, with one archive of features and one of alignments open at a time."""
    dim = None
    for (path, alignment_path), run in groupby(segments, _paths):
        with ExitStack() as stack:
            archive = stack.enter_context(open_archive(path, options.io))
            alignments = None
            if alignment_path is not None:
                alignments = stack.enter_context(open_archive(alignment_path, options.io))
            for segment in run:
                features = archive.read_features(segment.name)
                labels = None
                if alignments is not None:
                    labels = alignments.read_labels(
                        segment.name, labeling, options.on_alphabet_mismatch
                    )
                    if len(labels) != len(features):
                        raise LabelError(
                            "the alignment is not as long as the features",
                            path=alignment_path,
                            entry=segment.name,
                            expected=f"{len(features)} frames",
                            found=len(labels),
                        )
                if len(features):
                    dim = dim or features.shape[1]
                    if features.shape[1] != dim:
                        raise FormatError(
                            "features of a different dimension than those before",
                            path=path,
                            entry=segment.name,
                            expected=dim,
                            found=features.shape[1],
                        )
                yield FeatureRow(segment.name, features, labels)


def _paths(segment: SegmentRef) -> tuple[str, str | None]:
    return segment.features.path, segment.alignment and segment.alignment.path


def _block(rows: Sequence[FeatureRow], kind: Rows) -> Any:
    columns: dict[str, Any] = {"segment": pa.array([row.name for row in rows], pa.string())}
    features = [row.features for row in rows]
    labels = [row.labels for row in rows if row.labels is not None]
    if kind == "segments":
        columns["features"] = _ragged(features)
        if labels:
            columns["labels"] = _ragged(labels)
        return BlockAccessor.batch_to_block(columns)
    lengths = [len(matrix) for matrix in features]
    columns["segment"] = columns["segment"].take(np.repeat(np.arange(len(rows)), lengths))
    columns["frame"] = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    # empty entries have no dimension
    columns["features"] = np.concatenate([m for m in features if len(m)] or features[:1])
    if labels:
        columns["labels"] = np.concatenate(labels)
    return BlockAccessor.batch_to_block(columns)


def _ragged(arrays: Sequence[NDArray[Any]]) -> NDArray[np.object_]:
    column = np.empty(len(arrays), object)
    for index, array in enumerate(arrays):
        column[index] = array
    return column
