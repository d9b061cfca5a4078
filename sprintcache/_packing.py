"""Layout of batches: sequences padded, or packed one after the other with gaps, as offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Packing", "joined_rows", "packed_layouts", "packed_offsets"]

Packing = bool | Mapping[str, Any]


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


def packed_layouts(packing: Packing, keys: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    """Data key to gap and alignment, or to None for a key that is padded.

    Args:
        packing: True (no gaps), or as RETURNN's ``packed_tensors``: a dict with "gap", "align" and
            "per_key", a dict of data key to a dict with "gap", "align" and "packed".
        keys: the data keys.

    Raises:
        ValueError: if an option is unknown or out of range, or belongs to a key that is not there.
    """
    keys = list(keys)
    options: Mapping[str, Any] = packing if isinstance(packing, Mapping) else {}
    per_key = options.get("per_key", {})
    unknown = {*options} - {"gap", "align", "per_key"} | {*per_key} - {*keys}
    for own in per_key.values():
        unknown |= {*own} - {"gap", "align", "packed"}
    if unknown:
        raise ValueError(f"packed: unknown options or data keys: {', '.join(sorted(unknown))}")
    layouts: dict[str, tuple[int, int] | None] = {}
    for key in keys:
        merged = {"gap": 0, "align": 1, **options, **per_key.get(key, {})}
        layout = merged["gap"], merged["align"]
        packed_offsets(np.zeros(0, np.int64), *layout)  # checks it
        layouts[key] = layout if merged.get("packed", True) else None
    return layouts


def joined_rows(
    rows: Sequence[NDArray[Any]],
    layout: tuple[int, int] | None,
    allocate: Callable[[tuple[int, ...]], NDArray[Any]],
    fill: int,
) -> tuple[NDArray[Any], NDArray[np.int64] | None, NDArray[np.int64]]:
    """Rows of different length in one array.

    Args:
        rows: B arrays, (T,) or (T, D).
        layout: gap and alignment of a packed array; None: a padded one.
        allocate: from (B, Tmax) or (N,) to the array, with further axes as in the rows.
        fill: value between the rows.

    Returns:
        the array; (B + 1,) int64 offsets, None for a padded array; and (B,) int64 lengths.
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    if layout is None:
        offsets = None
        values = allocate((len(rows), int(lengths.max(initial=0))))
        targets: Iterable[NDArray[Any]] = values
    else:
        offsets = packed_offsets(lengths, *layout)
        values = allocate((int(offsets[-1]),))
        targets = [values[begin:end] for begin, end in pairwise(offsets.tolist())]
    for target, row in zip(targets, rows, strict=True):
        target[: len(row)] = row
        target[len(row) :] = fill
    return values, offsets, lengths
