"""Label rates: labels of alignments at a lower or higher frame rate, or without repetitions.

>>> import numpy as np
>>> from sprintcache.label_rates import LabelRate
>>> LabelRate(reduce_factor=3, frame="majority").apply_to(np.array([7, 7, 7, 7, 5, 5, 5]))
array([7, 5, 5])
>>> LabelRate(collapse=True, blank=0).apply_to(np.array([0, 4, 4, 0, 4, 2]))
array([4, 4, 2])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._checks import integer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Frame", "LabelRate"]

Frame = Literal["first", "middle", "majority"]
_FRAMES = ("first", "middle", "majority")


@dataclass(frozen=True)
class LabelRate:
    """What is done with the labels of a sequence: reduce, then upsample, then collapse.

    Attributes:
        reduce_factor: one label for that many frames; the last one perhaps for less.
        frame: which label of these frames: that of the first one; of the middle one, frame n // 2
            of n; or the most frequent one, of several the one that occurs first.
        upsample_factor: how often each label is repeated.
        collapse: merge equal neighbors, and then remove the blank, as CTC does.
        blank: the label to remove, or None.
    """

    reduce_factor: int = 1
    frame: Frame = "first"
    upsample_factor: int = 1
    collapse: bool = False
    blank: int | None = None

    def __post_init__(self) -> None:
        for name in ("reduce_factor", "upsample_factor"):
            if integer(name, getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.frame not in _FRAMES:
            raise ValueError(f"frame must be one of {', '.join(_FRAMES)}, not {self.frame!r}")
        if self.blank is not None and not self.collapse:
            raise ValueError("blank is removed by collapse only")

    @property
    def is_identity(self) -> bool:
        """Whether labels stay as they are."""
        return self.reduce_factor == self.upsample_factor == 1 and not self.collapse

    def lengths(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) lengths after reducing and upsampling, but before collapsing."""
        return -(-lengths // self.reduce_factor) * self.upsample_factor

    def apply_to(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Labels of one sequence: (T,) to (T',) of the same dtype."""
        batch, lengths = self.apply(labels[np.newaxis], np.array([len(labels)], np.int64), 0)
        row: NDArray[Any] = batch[0, : lengths[0]]
        return row

    def apply(
        self, batch: NDArray[Any], lengths: NDArray[np.int64], pad: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Labels of a padded batch.

        Args:
            batch: (B, Tmax) labels.
            lengths: (B,) int64.
            pad: value beyond the end of the result.

        Returns:
            (B, Tmax') of the same dtype, and the new lengths.
        """
        if self.reduce_factor > 1:
            batch, lengths = self._reduced(batch, lengths)
        if self.upsample_factor > 1:
            batch = np.repeat(batch, self.upsample_factor, axis=1)
            lengths = lengths * self.upsample_factor
        if self.collapse:
            return self._collapsed(batch, lengths, pad)
        batch = np.array(batch[:, : lengths.max(initial=0)])
        batch[np.arange(batch.shape[1]) >= lengths[:, None]] = pad
        return batch, lengths

    def _reduced(
        self, batch: NDArray[Any], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        factor = self.reduce_factor
        reduced = -(-lengths // factor)
        starts = np.arange(0, batch.shape[1], factor)
        if self.frame == "first":
            return batch[:, starts], reduced
        sizes = np.clip(lengths[:, None] - starts, 0, factor)
        if self.frame == "middle":
            indices = np.minimum(starts + sizes // 2, batch.shape[1] - 1)
            return np.take_along_axis(batch, indices, 1), reduced
        columns = np.minimum(starts[:, None] + np.arange(factor), batch.shape[1] - 1)
        groups = batch[:, columns]  # (B, G, factor)
        valid = np.arange(factor) < sizes[..., None]
        same = groups[..., :, None] == groups[..., None, :]
        counts = np.where(valid, (same & valid[..., None, :]).sum(-1), -1)
        most = counts.argmax(-1)[..., None]
        return np.take_along_axis(groups, most, -1)[..., 0], reduced

    def _collapsed(
        self, batch: NDArray[Any], lengths: NDArray[np.int64], pad: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        kept = np.arange(batch.shape[1]) < lengths[:, None]
        kept[:, 1:] &= batch[:, 1:] != batch[:, :-1]
        if self.blank is not None:
            kept &= batch != self.blank
        counts = kept.sum(1, dtype=np.int64)
        result = np.full((len(batch), int(counts.max(initial=0))), pad, batch.dtype)
        result[np.arange(result.shape[1]) < counts[:, None]] = batch[kept]
        return result, counts
