"""AutomatonStream: the automaton of each segment, from a file of automata or a builder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache._dataset.packed_strings import PackedStrings
from sprintcache._path_map import PathMap, mapped_path
from sprintcache._renaming import Rename
from sprintcache.automata import Automata, AutomatonBuilder
from sprintcache.automata.padded import PaddedAutomata, to_padded

from .base import Entries, Output, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AutomatonStream"]


class AutomatonStream(Stream):
    """Automata as three outputs, see `sprintcache.automata.to_padded`.

    ``automaton``: (E, 3) int32 edges, ``automaton[weights]``: (E,) float32,
    ``automaton[start_end]``: (2,) int32.
    """

    type = "automaton"

    def __init__(
        self,
        data_key: str,
        filename: str | os.PathLike[str] | Automata | AutomatonBuilder,
        *,
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Opens the file, or reads the corpus of the builder."""
        super().__init__(data_key, rename)
        self._path = ""
        self._source: Automata | AutomatonBuilder
        if isinstance(filename, (Automata, AutomatonBuilder)):
            self._source = filename
        else:
            self._path = mapped_path(filename, path_map)
            self._source = Automata.load(self._path)
        self._segments = PackedStrings(self._tags())

    def _tags(self) -> list[str]:
        if isinstance(self._source, AutomatonBuilder):
            return self._source.segments()
        if self._source.tags is None:
            raise ValueError(f"{self.data_key}: automata without tags belong to no segments")
        return list(self._source.tags)

    @property
    def path(self) -> str:
        """The file, or "" for automata in memory."""
        return self._path

    @property
    def segments(self) -> PackedStrings:
        """The tags of the automata."""
        return self._segments

    @property
    def num_labels(self) -> int:
        """Number of labels of the edges; 0 if it is not known."""
        return self._source.num_labels if isinstance(self._source, AutomatonBuilder) else 0

    @property
    def outputs(self) -> dict[str, Output]:
        """Edges, weights, and start and end state."""
        key = self.data_key
        return {
            key: Output(3, 2, "int32", False),
            f"{key}[weights]": Output(1, 1, "float32", False),
            f"{key}[start_end]": Output(1, 1, "int32", False),
        }

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 edges; a builder makes the automata for that."""
        if isinstance(self._source, AutomatonBuilder):
            lengths: NDArray[np.int64] = np.diff(self._automata(entries).edge_offsets)
        else:
            lengths = np.diff(self._source.edge_offsets)[self._numbers(entries)]
        return lengths

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedAutomata, NDArray[np.int64]]:
        """Reads or builds the automata; see `Stream.fetch`."""
        arrays = to_padded(self._automata(entries), options.pad)
        return arrays, arrays.lengths

    def arrays(
        self,
        entries: Entries,
        fetched: PaddedAutomata,
        frames: NDArray[np.int64],
        options: ReadOptions = DEFAULTS,
    ) -> PaddedArrays:
        """The three arrays, copied into the buffers; see `Stream.arrays`."""
        twos = np.full(len(frames), 2, np.int64)
        arrays: list[tuple[NDArray[Any], NDArray[np.int64]]] = [
            (fetched.edges, frames),
            (fetched.weights, frames),
            (fetched.start_end, twos),
        ]
        batch: PaddedArrays = {}
        for key, (array, lengths) in zip(self.outputs, arrays, strict=True):
            if options.buffers is not None:
                memory = options.buffers.take(key, array.shape, array.dtype.type)
                memory[:] = array
                array = memory
            batch[key] = array, lengths
        return batch

    def _automata(self, entries: Entries) -> Automata:
        if isinstance(self._source, AutomatonBuilder):
            return self._source.build_segments(self._names(entries))
        return self._source[self._numbers(entries).tolist()]
