"""Entries as files: raw, npy, npz and text. `extract` writes them, `add` reads all but text."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from sprintcache._text_file import open_input
from sprintcache.errors import FormatError

from . import _array_files
from ._archiver_format import archiver_show
from ._array_files import Content, Timing

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.states import StateNames

__all__ = ["SUFFIXES", "WRITERS", "Content", "Timing", "read_file"]

_MAX_BYTES = 1 << 33  # more than an entry can hold

SUFFIXES = {"raw": "", "npy": ".npy", "npz": ".npz", "text": ".txt"}


def read_file(path: str, format_name: str, timing: Timing) -> Content:
    """Reads the content of an entry from a file.

    Args:
        format_name: "raw", "npy" or "npz".
        timing: times of features if the file has none.

    Raises:
        FormatError: if the file is malformed.
        OSError: if it cannot be read.
    """
    with open_input(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise FormatError("the file is too large for an entry", path=path)
        data = file.read()
    try:
        return _READERS[format_name](data, timing)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"this cannot be read as {format_name}: {error}", path=path) from error


def _write_text(archive: Archive, name: str, state_names: StateNames | None) -> bytes:
    allophones = None if state_names is None else state_names.allophones
    labeling = None if state_names is None else state_names.labeling
    tying = None if labeling is None else labeling.state_tying
    lines = archiver_show(archive, name, allophones, tying)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


# a writer encodes an entry of an archive, or raises SprintCacheError
WRITERS: dict[str, Callable[[Archive, str, StateNames | None], bytes | memoryview]] = {
    "raw": lambda archive, name, _state_names: archive.read_bytes(name),
    "npy": _array_files.write_npy,
    "npz": _array_files.write_npz,
    "text": _write_text,
}
# a reader decodes the bytes of a file, or raises ValueError or a FormatError without path
_READERS: dict[str, Callable[[bytes, Timing], Content]] = {
    "raw": lambda data, _timing: Content(data),
    "npy": _array_files.read_npy,
    "npz": _array_files.read_npz,
}
