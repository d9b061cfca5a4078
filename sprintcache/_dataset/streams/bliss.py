"""BlissStream: what the streams of a Bliss corpus file have in common; SpeakerStream."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache._dataset.corpus_table import corpus_table
from sprintcache._dataset.name_lookup import NameView
from sprintcache._path_map import PathMap, mapped_path
from sprintcache._renaming import Rename

from .base import Entries, Output, Stream, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BlissStream", "SpeakerStream"]


class BlissStream(Stream):
    """Segments of a corpus file, those for which it has what the stream delivers.

    Attributes:
        table: the `CorpusTable`.
        rows: (N,) int64 the rows of the table that are segments of this stream.
    """

    def __init__(
        self,
        data_key: str,
        filename: str | os.PathLike[str],
        *,
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Reads the corpus, unless another stream has read it."""
        super().__init__(data_key, rename)
        self.table = corpus_table(mapped_path(filename, path_map))
        self.rows: NDArray[np.int64] = np.flatnonzero(self._is_available())

    def _is_available(self) -> NDArray[np.bool_]:
        """(number of rows of the table,) whether each is a segment of this stream."""
        return np.ones(len(self.table.names), np.bool_)

    @property
    def path(self) -> str:
        """The corpus file."""
        return self.table.path

    @property
    def segments(self) -> NameView:
        """The full names of the segments."""
        return NameView(self.table.names, None, self.rows)


class SpeakerStream(BlissStream):
    """The speaker of each segment: one int32 label, or the name as UTF-8 bytes.

    Speakers are numbered in the order of their definitions.
    """

    type = "speaker"

    def __init__(
        self,
        data_key: str,
        filename: str | os.PathLike[str],
        *,
        output: Literal["index", "name"] = "index",
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Reads the corpus."""
        if output not in ("index", "name"):
            raise ValueError(f"{data_key}: output must be 'index' or 'name', not {output!r}")
        super().__init__(data_key, filename, path_map=path_map, rename=rename)
        self.output = output
        self._encoded = [
            np.frombuffer(name.encode("utf-8", "surrogateescape"), np.uint8)
            for name in self.table.speaker_names
        ]

    def _is_available(self) -> NDArray[np.bool_]:
        available: NDArray[np.bool_] = self.table.speakers >= 0
        return available

    @property
    def outputs(self) -> dict[str, Output]:
        """One label, or bytes."""
        if self.output == "name":
            return {self.data_key: Output(256, 1, "uint8", True)}
        names = self.table.speaker_names
        return {self.data_key: Output(len(names), 1, "int32", True, names)}

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64: 1, or the number of bytes."""
        numbers = self._numbers(entries)
        if self.output == "index":
            return np.ones(len(numbers), np.int64)
        sizes = np.array([*map(len, self._encoded), 0], np.int64)
        lengths: NDArray[np.int64] = sizes[self._speakers(numbers)]
        return lengths

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Looks the speakers up; see `Stream.fetch`."""
        speakers = self._speakers(self._numbers(entries))
        if self.output == "index":
            rows = list(speakers[:, None])
        else:
            rows = [self._encoded[speaker] for speaker in speakers.tolist()]
        batch = padded(self.data_key, rows, self.outputs[self.data_key], options)
        return {self.data_key: batch}, batch[1]

    def _speakers(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        speakers: NDArray[np.int32] = self.table.speakers[self.rows[numbers]]
        return speakers
