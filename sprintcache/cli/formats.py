"""The forms that entries have as files: raw, npy, npz, text. extract writes and add reads them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._write.encoding import encode_alignment_entry, encode_blocks, encode_features
from sprintcache.alignment import Alignment
from sprintcache.errors import FormatError

from .array_files import NPY, NPZ
from .contents import Content, Format, Timing
from .flow_xml import read_flow_xml
from .rendering import archiver_show

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import Names

__all__ = ["FORMATS", "read_file"]

_MOST_BYTES = 1 << 33  # of a file: no entry can hold what is larger


def read_file(path: str, kind: str, timing: Timing) -> Content:
    """An entry from a file.

    Args:
        path: the file.
        kind: a key of `FORMATS`.
        timing: for features whose file has no times.

    Raises:
        FormatError: if the file is not of this form.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            raise FormatError("the file is too large for an entry", path=path)
        data = file.read()
    try:
        return FORMATS[kind].read(data, timing)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"this cannot be read as {kind}: {error}", path=path) from error


def _write_raw(archive: Archive, name: str, _names: Names | None) -> bytes:
    return archive.read_bytes(name)


def _read_raw(data: bytes, _timing: Timing) -> Content:
    return Content(data)


# ---- text: as Sprint's archiver shows it


def _write_text(archive: Archive, name: str, names: Names | None) -> bytes:
    allophones = None if names is None else names.allophones
    labeling = None if names is None else names.labeling
    tying = None if labeling is None else labeling.state_tying
    lines = archiver_show(archive, name, allophones, tying)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


# what names a state stands between the emission and the weight
_ITEM = re.compile(
    rb"\s*time=\s*(\d+)\s+emission=\s*(\d+)(?:\s+allophone=.*?)??(?:\s+weight\s*=\s*(\S+))?\s*"
)


def _read_text(data: bytes, _timing: Timing) -> Content:
    """Lines ``start end value ...`` of frames, ``time= t emission= e`` of items, or Flow's XML."""
    if data.lstrip().startswith(b"<"):
        return Content(b"".join(encode_blocks(read_flow_xml(data))))
    lines = data.splitlines()
    if lines and lines[0].lstrip().startswith(b"time="):
        time, emission, weight = zip(*map(_item, lines), strict=True)
        return Content(b"".join(encode_alignment_entry(Alignment(time, emission, weight))))
    rows = [_frame(line) for line in lines]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("its lines differ in the number of values")
    table = np.array(rows).reshape(len(rows), -1)
    return Content(b"".join(encode_features(table[:, 2:].astype(np.float32), table[:, :2])))


def _item(line: bytes) -> tuple[int, int, float]:
    match = _ITEM.fullmatch(line)
    if match is None:
        raise ValueError(f"{line[:60]!r} is not an item of an alignment")
    time, emission, weight = match.groups()
    return int(time), int(emission), 1.0 if weight is None else float(weight)


def _frame(line: bytes) -> list[float]:
    words = line.split()
    try:
        row = [float(word) for word in words]
    except ValueError:
        row = []
    if len(row) < 3:
        raise ValueError(f"{line[:60]!r} is not a frame: start, end and values")
    return row


FORMATS = {
    "raw": Format("", _write_raw, _read_raw),
    "npy": NPY,
    "npz": NPZ,
    "text": Format(".txt", _write_text, _read_text),
}
