"""Readable: reading entries of an archive or bundle under the old names."""

from __future__ import annotations

import os
from collections.abc import KeysView
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.alignment import ALLOPHONE_MASK, STATE_MASK, STATE_SHIFT
from sprintcache.allophones import numbered
from sprintcache.errors import FormatError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Archive

__all__ = ["FileInfo", "Readable", "StrPath"]

StrPath = str | os.PathLike[str]
_TYPES = ("str", "bytes", "feat", "align", "align_raw")


@dataclass
class FileInfo:
    """An entry of an archive.

    Attributes:
        name: the entry.
        pos: file offset of its size field.
        size: bytes of the payload.
        compressed: bytes as stored, 0 where it is not compressed.
        index: its number in the archive.
    """

    name: str
    pos: int
    size: int
    compressed: int
    index: int


class Readable:
    """Base of `FileArchive` and `FileArchiveBundle`.

    Raises:
        ValueError: the encoding is neither ASCII nor UTF-8.
    """

    def __init__(self, encoding: str) -> None:
        if encoding.lower().replace("-", "") not in ("ascii", "utf8"):
            raise ValueError(f"names and texts are UTF-8 here, not {encoding!r}")
        self.encoding = encoding
        self.allophones: list[str] = []

    @cached_property
    def _archive(self) -> Archive:
        raise NotImplementedError

    @cached_property
    def _by_basename(self) -> dict[str, str]:
        """Entries by the last part of their names, if it is unique."""
        names: dict[str, str | None] = {}
        for name in self._archive:
            base = os.path.basename(name)
            names[base] = None if base in names else name
        return {base: name for base, name in names.items() if name is not None}

    def file_list(self) -> KeysView[str]:
        """Names of the entries, ".attribs" included, in archive order."""
        return KeysView(self._archive)

    def has_entry(self, filename: str) -> bool:
        """Whether there is an entry of that name."""
        return filename in self._archive

    def read(self, filename: str, typ: str) -> Any:
        """An entry.

        Args:
            filename: its name, or the last part of it where only one entry has that.
            typ: "str", "bytes", "feat", "align" or "align_raw".

        Returns:
            None for an empty entry; otherwise by `typ`:

            * "str": str. "bytes": bytes.
            * "feat": (times, features), a list each with an array for each frame: (2,) float64
              start and end in seconds, and (D,) float32.
            * "align": list of (time, allophone, state, weight), all of them int, but the weight
              float where the alignment is stored with weights.
            * "align_raw": the same with the id of the allophone state as allophone, and None as
              state.

        Raises:
            EntryNotFoundError: (a KeyError) if there is no such entry.
            FormatError: if the entry is damaged or holds something else.
            ValueError: for another `typ`.
        """
        if typ not in _TYPES:
            raise ValueError(f"typ must be one of {_TYPES}, not {typ!r}")
        archive = self._archive
        name = filename if filename in archive else self._by_basename.get(filename, filename)
        if archive.entry(name).size == 0:
            return None
        if typ == "str":
            return archive.read_text(name)
        if typ == "bytes":
            return archive.read_bytes(name)
        if typ == "feat":
            return list(archive.read_times(name)), _frames(archive, name)
        alignment = archive.read_alignment(name)
        times = alignment.time.tolist()
        ones: list[float] = [1] * len(times)
        weights = alignment.weight.tolist() if alignment.weighted else ones
        if typ == "align_raw":
            ids = alignment.emission.tolist()
            return list(zip(times, ids, [None] * len(times), weights, strict=True))
        if alignment.label_type != "allophone-state":
            raise UnsupportedError(
                "an alignment of emission ids has no allophones; 'align_raw' gives the ids",
                path=archive.entry(name).archive_path,
                entry=name,
            )
        allophones, states = alignment.allophone.tolist(), alignment.state.tolist()
        return list(zip(times, allophones, states, weights, strict=True))

    def get_state(self, mix: int) -> tuple[int, int]:
        """(allophone index, state) of the id of an allophone state."""
        return mix & ALLOPHONE_MASK, (mix & STATE_MASK) >> STATE_SHIFT

    def set_allophones(self, filename: StrPath) -> None:
        """Reads the allophone file, for `get_allophones_list`; `read` does not need it.

        A repeated line counts once, as in Sprint and `AllophoneLabeling`.

        Raises:
            OSError: if the file cannot be read.
        """
        self.allophones[:] = numbered(filename)

    def get_allophones_list(self) -> list[str]:
        """The allophones that `set_allophones` read."""
        return self.allophones

    getState = get_state  # noqa: N815
    setAllophones = set_allophones  # noqa: N815


def _frames(archive: Archive, name: str) -> list[NDArray[np.float32]]:
    """(D,) of each frame; unlike a matrix, a list may have frames of different size."""
    try:
        return list(archive.read_features(name))
    except FormatError as error:
        if type(error) is not FormatError:  # damaged, or no numbers
            raise
    blocks = archive.read_blocks(name)
    return [np.atleast_1d(row).astype(np.float32) for block in blocks for row in block.data]
