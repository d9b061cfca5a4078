"""Layout of packed batches: sequences one after the other, with gaps, as offsets of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["packed_offsets"]


def packed_offsets(lengths: NDArray[np.int64], gap: int = 0, align: int = 1) -> NDArray[np.int64]:
    """Where each sequence begins; each takes its length plus the gap, rounded up to `align`.

    Args:
        lengths: (B,) frames.
        gap: frames after each sequence, at least.
        align: multiple of frames that a sequence and its gap take.

    Returns:
        (B + 1,) int64 offsets, the last one being the size of the batch. This is the layout of
        RETURNN's ``packed_tensors``, and without gap and alignment ``cu_seqlens``.

    Raises:
        ValueError: if `gap` is negative or `align` below 1.
    """
    if gap < 0 or align < 1:
        raise ValueError(f"gap {gap}, align {align}: expected 0 or more, 1 or more")
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(-(-(lengths + gap) // align) * align, out=offsets[1:])
    return offsets
