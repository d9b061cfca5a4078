"""AlignmentStream: labels of the frames of alignments, at their rate or another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache.alignment import OnMismatch, checks_alphabet
from sprintcache.allophones import AllophoneLabeling
from sprintcache.label_rates import LabelRate

from .archives import ArchiveStream, Filename
from .base import Entries, FrameArrays, Layout, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AlignmentStream"]


class AlignmentStream(ArchiveStream):
    """Labels of alignments: (T,) int32; of several label schemes, one output for each.

    Attributes:
        labeling: the `AllophoneLabeling`, or None.
        on_alphabet_mismatch: as for `Archive.read_labels`.
        rate: what is done with the labels as stored.
    """

    type = "align"

    def __init__(
        self,
        data_key: str,
        filename: Filename,
        allophone_labeling: Mapping[str, Any] | AllophoneLabeling | None = None,
        *,
        on_alphabet_mismatch: OnMismatch = "error",
        rate: LabelRate | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Reads the files of the labeling, and opens the archive."""
        checks_alphabet(on_alphabet_mismatch)
        self.on_alphabet_mismatch: OnMismatch = on_alphabet_mismatch
        self.labeling = _labeling(data_key, allophone_labeling)
        self.rate = rate if isinstance(rate, LabelRate) else LabelRate(**(rate or {}))
        self.is_frame_target = not self.rate.collapse
        self.surplus = self.rate.upsample_factor - 1
        if self.rate.collapse and self.labeling is not None and self.labeling.factors:
            raise ValueError(f"{data_key}: labels of several schemes cannot be collapsed")
        super().__init__(data_key, filename, **options)

    @property
    def outputs(self) -> dict[str, Output]:
        """Labels of each scheme."""
        if self.labeling is None or self.labeling.factors is None:
            return {self.data_key: Output(self.num_labels, 1, "int32", True)}
        is_named = isinstance(self.labeling.label_scheme, Mapping)
        return {
            name if is_named else f"{self.data_key}[{name}]": Output(size, 1, "int32", True)
            for name, size in self.labeling.factor_sizes.items()
        }

    @property
    def num_labels(self) -> int:
        """Number of labels; 0 if it is not known."""
        return self.labeling.num_labels if self.labeling else 0

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 labels; decodes those that are collapsed."""
        if self.rate.collapse:
            return self.fetch(entries)[1]
        return self.rate.lengths(super().num_frames(entries))

    def num_frames_all(self, num_threads: int) -> NDArray[np.int64]:
        """(N,) int64 labels of every segment; decodes those that are collapsed."""
        if self.rate.collapse:
            return self.num_frames(np.arange(len(self.segments)))
        return self.rate.lengths(super().num_frames_all(num_threads))

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[Any, NDArray[np.int64]]:
        """Decodes labels into the batch; see `Stream.fetch`."""
        factors = None if self.labeling is None else self.labeling.factors
        is_plain = factors is None and self.rate.is_identity
        key = self.data_key if is_plain else f"{self.data_key}, stored"
        batch, lengths = self.archive.read_labels_batch(*self._arguments(entries, options, key))
        if is_plain:
            return {self.data_key: (batch, lengths)}, lengths
        if not self.rate.is_identity:
            batch, lengths = self.rate.apply(batch, lengths, options.pad)
        return self._copied(batch, lengths, factors, options), lengths

    def read_ranges(
        self,
        entries: Entries,
        options: ReadOptions = DEFAULTS,
        *,
        starts: NDArray[np.int64] | None = None,
        stops: NDArray[np.int64] | None = None,
        layout: Layout | None = None,
    ) -> dict[str, FrameArrays]:
        """Decodes labels into place if they are delivered as stored; see `Stream.read_ranges`."""
        factors = None if self.labeling is None else self.labeling.factors
        if factors is not None or not self.rate.is_identity:
            return super().read_ranges(entries, options, starts=starts, stops=stops, layout=layout)
        given = self._arguments(entries, options, self.data_key)
        if layout is None:
            values, lengths = self.archive.read_labels_batch(*given, starts=starts, stops=stops)
            return {self.data_key: FrameArrays(values, None, lengths)}
        gap, align = layout
        packed = self.archive.read_labels_packed(
            *given, gap=gap, align=align, starts=starts, stops=stops
        )
        return {self.data_key: FrameArrays(*packed)}

    def _arguments(self, entries: Entries, options: ReadOptions, key: str) -> tuple[Any, ...]:
        """Arguments of the archive's methods for labels, which read into the memory of `key`."""
        out = options.out(key, np.int32)
        return (
            entries,
            self.labeling,
            options.pad,
            out,
            options.num_threads,
            self.on_alphabet_mismatch,
        )

    def _copied(
        self,
        batch: NDArray[np.int32],
        lengths: NDArray[np.int64],
        factors: Mapping[str, NDArray[np.int32]] | None,
        options: ReadOptions,
    ) -> PaddedArrays:
        """The outputs in the memory of the batch; of several schemes, the labels of each."""
        memory = options.memory
        if factors is None:
            copy = memory.take(self.data_key, batch.shape, np.int32)
            copy[:] = batch
            return {self.data_key: (copy, lengths)}
        beyond = np.arange(batch.shape[1]) >= lengths[:, None]
        arrays: PaddedArrays = {}
        for key, labels in zip(self.outputs, factors.values(), strict=True):
            copy = memory.take(key, batch.shape, np.int32)
            if len(labels):
                np.take(labels, batch, out=copy, mode="clip")
            copy[beyond] = options.pad
            arrays[key] = copy, lengths
        return arrays


def _labeling(
    data_key: str, labeling: Mapping[str, Any] | AllophoneLabeling | None
) -> AllophoneLabeling | None:
    if isinstance(labeling, AllophoneLabeling):
        return labeling
    if not labeling:
        return None
    try:
        return AllophoneLabeling(**labeling)
    except TypeError as error:
        raise TypeError(f"{data_key}: allophone_labeling: {error}") from None
