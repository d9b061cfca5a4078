"""Entries as plain lists and dicts, for JSON."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache import states
from sprintcache.entries import Block
from sprintcache.states import Names

from .display import sections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.archive import Archive

__all__ = ["record"]


def record(
    archive: Archive, name: str, frames: slice | None = None, known: Names | None = None
) -> dict[str, Any]:
    """An entry as a JSON object.

    ``name``; ``text`` for attributes and other texts, ``base64`` for other bytes, or ``blocks``:
    one for each datatype and shape of packets, with ``datatype``, ``times`` (N, 2) and ``data``
    (N packets). An alignment is an object of lists (``time``, ``emission``, ``weight``, ``symbol``
    and with a labeling ``label``). Numbers that are not finite are null.

    Args:
        archive: the archive.
        name: the entry.
        frames: which packets, or frames of an alignment; None: all.
        known: symbols and labels of allophone states.

    Raises:
        EntryNotFoundError: if there is no entry of that name.
        FormatError: if it is damaged.
    """
    if archive.datatype(name) is None:
        return {"name": name, **_raw(archive.read_bytes(name))}
    blocks = sections(archive.read_blocks(name))
    return {"name": name, "blocks": [_block(block, frames, known or Names()) for block in blocks]}


def _raw(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _block(block: Block, frames: slice | None, known: Names) -> dict[str, Any]:
    if block.datatype == "flow-alignment":
        data: Any = [_alignment(alignment, frames, known) for alignment in block.data]
        frames = None
    else:
        data = _plain(block.data[frames or slice(None)])
    times = None if block.times is None else _numbers(block.times[frames or slice(None)])
    return {"datatype": block.datatype, "times": times, "data": data}


def _plain(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return _numbers(data)
    if isinstance(data, Block):
        return _block(data, None, Names())
    if isinstance(data, list):
        return [_plain(part) for part in data]
    return data


def _numbers(array: NDArray[Any]) -> Any:
    """Nested lists; complex numbers as [real, imaginary]."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    if array.dtype.kind != "f":
        return array.tolist()
    # the shortest decimals that give the same number, which for float32 are not those of float64
    shortest = array if array.dtype == np.float64 else array.astype(str).astype(np.float64)
    if np.isfinite(shortest).all():
        return shortest.tolist()
    return np.where(np.isfinite(shortest), shortest, None).tolist()  # type: ignore[call-overload]


def _alignment(alignment: Alignment, frames: slice | None, known: Names) -> dict[str, Any]:
    chosen = range(alignment.num_frames)[frames or slice(None)]
    picked = (alignment.time >= chosen.start) & (alignment.time < chosen.stop)
    ids = alignment.emission[picked]
    fields = {
        "label_type": alignment.label_type,
        "start": _finite(alignment.start),
        "end": _finite(alignment.end),
        "time": alignment.time[picked].tolist(),
        "emission": ids.tolist(),
        "weight": _numbers(alignment.weight[picked]),
    }
    if alignment.label_type == "allophone-state":
        wrong = states.contradiction(alignment.alphabet, known.allophones)
        allophones = None if wrong else known.allophones
        symbols = {
            id_: states.symbol(id_, allophones, alignment.alphabet)
            for id_ in np.unique(ids).tolist()
        }
        fields["symbol"] = [symbols[id_] for id_ in ids.tolist()]
        if wrong:  # labels by id would be wrong ones
            fields["warning"] = wrong
        elif known.labeling is not None:
            fields["label"] = known.labeling.labels_of(ids).tolist()
    return fields


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
