"""Entries as NumPy files: .npy has the numbers only, .npz all fields of an entry.

Arrays of an .npz file, of features: ``data`` (T, D) or (T,), ``times`` (T, 2) in seconds,
``datatype``, ``blocks`` (frames in each block); of alignments: ``time``, ``emission``, ``weight``,
``weighted``, ``label_type``, ``start``, ``end``, ``alphabet`` (JSON, id to symbol); of both:
``attributes`` (JSON, name to value). Only ``data`` or ``emission`` is required.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache._signals import is_signal, signal
from sprintcache._write.encoding import encode_alignment_entry, encode_blocks, encode_features
from sprintcache._zip_errors import MALFORMED_ZIP
from sprintcache.alignment import Alignment
from sprintcache.entries import Block
from sprintcache.errors import UnsupportedError

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import StateNames

__all__ = ["Content", "Timing", "read_npy", "read_npz", "write_npy", "write_npz"]

_ITEM = np.dtype([("time", np.uint32), ("emission", np.uint32), ("weight", np.float32)])
# the first field is required
_ALIGNMENT_FIELDS = "emission", "time", "weight", "weighted", "label_type", "start", "end"
_FEATURE_FIELDS = "data", "times", "datatype", "blocks"


class Timing(NamedTuple):
    """Frame shift and length in seconds, for features without times."""

    frame_shift: float = 0.01
    frame_length: float = 0.025


class Content(NamedTuple):
    """The payload of an entry, and its attributes if the file has some."""

    payload: bytes
    attributes: dict[str, str] | None = None


def write_npy(archive: Archive, name: str, _state_names: StateNames | None) -> memoryview:
    """Encodes an entry as a .npy file.

    Raises:
        FormatError: if the entry is damaged; UnsupportedError: if it is not one array.
    """
    file = io.BytesIO()
    np.save(file, _array(archive, name, join_audio=True), allow_pickle=False)
    return file.getbuffer()


def write_npz(archive: Archive, name: str, _state_names: StateNames | None) -> memoryview:
    """Encodes an entry as a .npz file.

    Raises:
        FormatError: if the entry is damaged; UnsupportedError: if its data is not one array.
    """
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **_arrays(archive, name))
    return file.getbuffer()


def _array(archive: Archive, name: str, join_audio: bool = False) -> Any:
    """An entry as one array of the stored dtype; with `join_audio`, samples of all packets."""
    datatype = archive.datatype(name)
    if datatype == "flow-alignment":
        alignment = archive.read_alignment(name)
        items = np.empty(len(alignment), _ITEM)
        items["time"], items["emission"] = alignment.time, alignment.emission
        items["weight"] = alignment.weight
        return items
    data = archive.read(name) if datatype is not None else None
    if (
        join_audio
        and isinstance(data, list)
        and is_signal(datatype or "", archive.read_times(name))
    ):
        return signal(data)
    if isinstance(data, np.ndarray):
        return data
    if datatype is None and archive.entry(name).size == 0:
        return np.zeros((0, 0), np.float32)
    raise UnsupportedError(
        f"{datatype or 'an entry that is not a Flow cache'} cannot be stored as one array; use"
        " --format raw or text",
        path=archive.entry(name).archive_path,
        entry=name,
    )


def _arrays(archive: Archive, name: str) -> dict[str, Any]:
    """The fields of an entry."""
    datatype = archive.datatype(name)
    arrays: dict[str, Any] = {}
    if datatype == "flow-alignment":
        alignment = archive.read_alignment(name)
        arrays = {field: getattr(alignment, field) for field in _ALIGNMENT_FIELDS}
        if alignment.alphabet is not None:
            arrays["alphabet"] = json.dumps(alignment.alphabet)
    else:
        arrays["data"] = _array(archive, name)
    if datatype is not None and datatype != "flow-alignment":
        blocks = archive.read_blocks(name)
        times = [block.times for block in blocks if block.times is not None]
        arrays["times"] = np.concatenate(times)
        arrays["datatype"] = datatype
        arrays["blocks"] = np.array([len(block.data) for block in blocks])
    attributes = archive.read_attributes(name)
    if attributes:
        arrays["attributes"] = json.dumps(attributes)
    return arrays


def read_npy(data: bytes, timing: Timing) -> Content:
    """Decodes a .npy file; ValueError if it is malformed."""
    array = _load(data)
    if not isinstance(array, np.ndarray):
        raise ValueError("this is a .npz file")
    if array.dtype.names is None:
        return Content(b"".join(encode_features(array, **timing._asdict())))
    return Content(_alignment({field: array[field] for field in array.dtype.names}))


def read_npz(data: bytes, timing: Timing) -> Content:
    """Decodes a .npz file; ValueError if it is malformed."""
    file = _load(data)
    if isinstance(file, np.ndarray):
        raise ValueError("this is a .npy file")
    try:
        fields = {field: file[field] for field in file.files}
    except _DAMAGE as error:
        raise ValueError(str(error)) from error
    attributes = _strings(fields.pop("attributes", None))
    read = _alignment if "emission" in fields else lambda fields: _features(fields, timing)
    return Content(read(fields), attributes)


_DAMAGE = (*MALFORMED_ZIP, OSError)


def _load(data: bytes) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except _DAMAGE as error:
        raise ValueError(str(error)) from error


def _strings(array: Any) -> dict[str, str] | None:
    """The JSON object in an array; None without an array."""
    if array is None:
        return None
    pairs = json.loads(str(array))
    if not (isinstance(pairs, dict) and all(isinstance(text, str) for text in pairs.values())):
        raise ValueError(f"not a JSON object of strings: {str(array)[:60]}")
    return pairs


def _check_fields(fields: Mapping[str, Any], required: str, *optional: str) -> None:
    if required not in fields or not fields.keys() <= {required, *optional}:
        raise ValueError(
            "an entry has the arrays data and times, or emission, time and weight, not"
            f" {', '.join(fields) or 'none'}"
        )


def _alignment(fields: Mapping[str, Any]) -> bytes:
    _check_fields(fields, *_ALIGNMENT_FIELDS, "alphabet")
    emission = fields["emission"]
    alphabet = _strings(fields.get("alphabet"))
    alignment = Alignment(
        fields.get("time", np.arange(emission.size)),
        emission,
        fields.get("weight"),
        alphabet=None if alphabet is None else {int(id_): s for id_, s in alphabet.items()},
        label_type=str(fields.get("label_type", "allophone-state")),
        start=float(fields["start"]) if "start" in fields else None,
        end=float(fields["end"]) if "end" in fields else None,
        weighted=bool(fields["weighted"]) if "weighted" in fields else None,
    )
    return b"".join(encode_alignment_entry(alignment))


def _features(fields: Mapping[str, Any], timing: Timing) -> bytes:
    _check_fields(fields, *_FEATURE_FIELDS)
    data, times = fields["data"], fields.get("times")
    datatype = str(fields["datatype"]) if "datatype" in fields else None
    if "blocks" not in fields or times is None or datatype is None:
        return b"".join(encode_features(data, times, datatype=datatype, **timing._asdict()))
    ends = np.cumsum(fields["blocks"]).tolist()
    spans = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    if sum(ends[-1:]) != len(data) or any(span.start > span.stop for span in spans):
        raise ValueError(f"{len(data)} frames, but blocks of {fields['blocks'].tolist()[:9]}")
    return b"".join(encode_blocks(Block(datatype, times[span], data[span]) for span in spans))
