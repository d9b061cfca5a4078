"""Entries as JSON objects."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache import states
from sprintcache.entries import Block
from sprintcache.states import StateNames

from ._entry_text import join_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.archive import Archive

__all__ = ["entry_record"]


def entry_record(
    archive: Archive, name: str, frames: slice | None = None, state_names: StateNames | None = None
) -> dict[str, Any]:
    """An entry as a JSON object.

    ``name``; ``text`` for attributes and other texts, ``base64`` for other bytes, or ``blocks``:
    one for each datatype and shape of packets, with ``datatype``, ``times`` (N, 2) and ``data``
    (N packets). An alignment is an object of lists (``time``, ``emission``, ``weight``, ``symbol``
    and with a labeling ``label``). Numbers that are not finite are null.

    Args:
        frames: which packets, or frames of an alignment; None: all.
        state_names: symbols and labels of allophone states.

    Raises:
        EntryNotFoundError: if the archive lacks the entry.
        FormatError: if it is damaged.
    """
    if archive.datatype(name) is None:
        return {"name": name, **_raw(archive.read_bytes(name))}
    state_names = state_names or StateNames()
    blocks = join_blocks(archive.read_blocks(name))
    return {"name": name, "blocks": [_block(block, frames, state_names) for block in blocks]}


def _raw(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _block(block: Block, frames: slice | None, state_names: StateNames) -> dict[str, Any]:
    if block.datatype == "flow-alignment":
        data: Any = [_alignment(alignment, frames, state_names) for alignment in block.data]
        frames = None
    else:
        data = _plain(block.data[frames or slice(None)])
    times = None if block.times is None else _numbers(block.times[frames or slice(None)])
    return {"datatype": block.datatype, "times": times, "data": data}


def _plain(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return _numbers(data)
    if isinstance(data, Block):
        return _block(data, None, StateNames())
    if isinstance(data, list):
        return [_plain(part) for part in data]
    return data


def _numbers(array: NDArray[Any]) -> Any:
    """Nested lists; complex numbers as [real, imaginary]."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    if array.dtype.kind != "f":
        return array.tolist()
    # the shortest decimals that round-trip; for float32 they differ from those of its float64
    shortest = array if array.dtype == np.float64 else array.astype(str).astype(np.float64)
    if np.isfinite(shortest).all():
        return shortest.tolist()
    return np.where(np.isfinite(shortest), shortest, None).tolist()  # type: ignore[call-overload]


def _alignment(
    alignment: Alignment, frames: slice | None, state_names: StateNames
) -> dict[str, Any]:
    chosen = range(alignment.num_frames)[frames or slice(None)]
    selected = (alignment.time >= chosen.start) & (alignment.time < chosen.stop)
    ids = alignment.emission[selected]
    fields = {
        "label_type": alignment.label_type,
        "start": _finite(alignment.start),
        "end": _finite(alignment.end),
        "time": alignment.time[selected].tolist(),
        "emission": ids.tolist(),
        "weight": _numbers(alignment.weight[selected]),
    }
    if alignment.label_type == "allophone-state":
        contradiction = states.contradiction(alignment.alphabet, state_names.allophones)
        allophones = None if contradiction else state_names.allophones
        symbols = {
            id_: states.symbol(id_, allophones, alignment.alphabet)
            for id_ in np.unique(ids).tolist()
        }
        fields["symbol"] = [symbols[id_] for id_ in ids.tolist()]
        if contradiction:  # labels by id would be wrong
            fields["warning"] = contradiction
        elif state_names.labeling is not None:
            fields["label"] = state_names.labeling.labels_of(ids).tolist()
    return fields


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
