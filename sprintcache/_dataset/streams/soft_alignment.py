"""SoftAlignmentStream: the items of alignments with weights, as a dense or a sparse target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, BatchBuffers, PaddedArrays, ReadOptions
from sprintcache.alignment import Alignment
from sprintcache.allophones import AllophoneLabeling
from sprintcache.errors import LabelError, naming

from .alignment import AlignmentStream
from .archives import Filename
from .base import Entries, FrameArrays, Output, Stream, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SoftAlignmentStream"]

Items = tuple["NDArray[np.int32]", "NDArray[np.int32]", "NDArray[np.float32]"]

# per item: times are read from the file, and must not request unlimited memory
_MAX_FRAMES_PER_ITEM = 1000
# of a dense target; label numbers are read from the file, too
_MAX_LABELS_PER_STATE = 1000

# RETURNN's names for time, label and weight of the items of a sparse target
_SPARSE = ("[sparse:coo:2:0]", "[sparse:coo:2:1]", "[sparse:coo:2:2]")


class SoftAlignmentStream(AlignmentStream):
    """Weights of labels: (T, num_labels) float32, or times, labels and weights of the items.

    Attributes:
        soft: "dense" or "sparse".
    """

    def __init__(
        self,
        data_key: str,
        filename: Filename,
        allophone_labeling: Mapping[str, Any] | AllophoneLabeling | None = None,
        *,
        soft: Literal["dense", "sparse"],
        **options: Any,
    ) -> None:
        """Reads the files of the labeling, and opens the archive."""
        if soft not in ("dense", "sparse"):
            raise ValueError(f"{data_key}: soft must be 'dense' or 'sparse', not {soft!r}")
        if soft == "dense" and not allophone_labeling:
            raise ValueError(f"{data_key}: a dense soft target needs an allophone_labeling")
        super().__init__(data_key, filename, allophone_labeling, **options)
        if not self.rate.is_identity or (self.labeling and self.labeling.factors):
            raise ValueError(f"{data_key}: soft alignments have one label scheme and no rate")
        if soft == "dense" and self.num_labels > _MAX_LABELS_PER_STATE * self._num_states():
            raise LabelError(
                f"{data_key}: no dense target of {self.num_labels} labels, most of which have no"
                " state; soft='sparse' has one number per item"
            )
        self.soft = soft

    def _num_states(self) -> int:
        """Number of allophone states that have a label."""
        return int(np.count_nonzero(self.labeling.table.table >= 0)) if self.labeling else 0

    @property
    def outputs(self) -> dict[str, Output]:
        """One dense output, or three of the items."""
        num_labels = self.num_labels
        if self.soft == "dense":
            return {self.data_key: Output(num_labels, 2, "float32", False)}
        time, label, weight = (self.data_key + part for part in _SPARSE)
        return {
            time: Output(1, 1, "int32", True),
            label: Output(num_labels, 1, "int32", True),
            weight: Output(1, 1, "float32", False),
        }

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[Any, NDArray[np.int64]]:
        """Decodes alignments; see `Stream.fetch`."""
        names = self._names(entries)
        alignments = [self.archive.read_alignment(name) for name in names]
        for name, alignment in zip(names, alignments, strict=True):
            too_sparse = alignment.num_frames > _MAX_FRAMES_PER_ITEM * len(alignment)
            if self.soft == "dense" and too_sparse:
                raise LabelError(
                    f"{len(alignment)} items in {alignment.num_frames} frames: no dense target",
                    path=self.archive.entry(name).archive_path,
                    entry=name,
                )
        return alignments, np.array([a.num_frames for a in alignments], np.int64)

    def arrays(
        self,
        entries: Entries,
        fetched: Sequence[Alignment],
        frames: NDArray[np.int64],
        options: ReadOptions = DEFAULTS,
    ) -> PaddedArrays:
        """Maps items to labels and sums or pads them; see `Stream.arrays`."""
        items = [
            self._items(name, alignment, int(n))
            for name, alignment, n in zip(self._names(entries), fetched, frames, strict=True)
        ]
        if self.soft == "dense":
            return self._dense(items, frames, options.memory)
        return {
            key: padded(key, [arrays[part] for arrays in items], output, options)
            for part, (key, output) in enumerate(self.outputs.items())
        }

    def read_ranges(
        self, entries: Entries, options: ReadOptions = DEFAULTS, **ranges: Any
    ) -> dict[str, FrameArrays]:
        """Slices what is decoded; see `Stream.read_ranges`.

        Raises:
            ValueError: for a sparse target.
        """
        if self.soft == "sparse":
            raise ValueError(f"{self.data_key}: a sparse target is read in padded batches only")
        return Stream.read_ranges(self, entries, options, **ranges)

    def _items(self, name: str, alignment: Alignment, frames: int) -> Items:
        """Time, label and weight of the items of the first frames."""
        with naming(self.archive.entry(name).archive_path, name):
            if self.labeling is not None:
                labels = self.labeling.item_labels(alignment, self.on_alphabet_mismatch)
            else:
                labels = _emission_ids(alignment)
            if self.soft == "dense" and labels.max(initial=0) >= self.num_labels:
                raise LabelError(f"label {labels.max()} of {self.num_labels}")
        chosen = alignment.time < frames
        return alignment.time[chosen].astype(np.int32), labels[chosen], alignment.weight[chosen]

    def _dense(
        self, items: list[Items], frames: NDArray[np.int64], buffers: BatchBuffers
    ) -> PaddedArrays:
        shape = len(items), int(frames.max(initial=0)), self.num_labels
        batch = buffers.take(self.data_key, shape, np.float32)
        batch[:] = 0
        for row, (time, label, weight) in zip(batch, items, strict=True):
            np.add.at(row, (time, label), weight)
        return {self.data_key: (batch, frames)}


def _emission_ids(alignment: Alignment) -> NDArray[np.int32]:
    if alignment.label_type != "emission":
        raise LabelError("an alignment of allophone states needs an allophone_labeling")
    if alignment.emission.max(initial=0) > 0x7FFFFFFF:
        raise LabelError(f"emission id {alignment.emission.max()} does not fit int32")
    return alignment.emission.astype(np.int32)
