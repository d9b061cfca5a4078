"""ArchiveStream: what the streams of archives have in common; FeatureStream."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, Padded, PaddedArrays, ReadOptions
from sprintcache._path_map import PathMap
from sprintcache._renaming import Rename
from sprintcache.archive import Archive, Segments
from sprintcache.errors import FormatError
from sprintcache.opening import open_archive

from .base import Entries, FrameArrays, Layout, Output, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArchiveStream", "FeatureStream", "Filename", "open_once"]

Filename = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Archive

_MAX_EMPTY_BYTES = 128  # an entry without frames is a datatype name and a count, or nothing


def open_once(filename: Filename, io: str, path_map: PathMap | None) -> Archive:
    """The archive of an option ``filename``, which may be open already."""
    if isinstance(filename, Archive):
        return filename
    return open_archive(filename, io, path_map=path_map)


class ArchiveStream(Stream):
    """Segments of an archive, a bundle or a folder, or of several of these.

    Attributes:
        archive: the `Archive`.
    """

    may_exceed = False

    def __init__(
        self,
        data_key: str,
        filename: Filename,
        *,
        io: str = "auto",
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Opens the archive."""
        super().__init__(data_key, rename)
        self.archive = open_once(filename, io, path_map)

    @property
    def path(self) -> str:
        """The archive."""
        return self.archive.path

    @property
    def segments(self) -> Segments:
        """The names of the segments in the archive."""
        return self.archive.segments

    def location(self, number: int) -> tuple[str, str]:
        """Path and name of the entry of a segment."""
        (name,) = self.archive.segments.at([number])
        return self.archive.entry(name).archive_path, name

    def close(self) -> None:
        """Closes the archive."""
        self.archive.close()

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 frames, without decoding where possible."""
        names = self._names(entries)
        return np.fromiter(map(self.archive.num_frames, names), np.int64, len(names))

    def num_frames_all(self, num_threads: int) -> NDArray[np.int64]:
        """(N,) int64 frames of every segment, without decoding where possible."""
        return self.archive.num_frames_all(num_threads)

    def has_frames(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B,) whether segments have frames; measures short entries only."""
        present = np.ones(len(numbers), np.bool_)
        short = np.flatnonzero(self.archive.segment_sizes()[numbers] <= _MAX_EMPTY_BYTES)
        present[short] = self.num_frames(numbers[short]) > 0
        return present


class FeatureStream(ArchiveStream):
    """Features: (T, D) float32."""

    type = "feat"

    def __init__(self, data_key: str, filename: Filename, **options: Any) -> None:
        """Opens the archive and reads the dimension of its first entry with frames."""
        super().__init__(data_key, filename, **options)
        self._dim = self._dimension()

    def _dimension(self) -> int:
        for name in self.archive.segments:
            dim = int(self.archive.read_features(name).shape[1])
            if dim:
                return dim
        return 0

    @property
    def outputs(self) -> dict[str, Output]:
        """Rows of float32."""
        return {self.data_key: Output(self._dim, 2, "float32", False)}

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Decodes features into the batch; see `Stream.fetch`."""
        out = options.out(self.data_key, np.float32)
        batch = self.archive.read_features_batch(entries, out, options.num_threads)
        if batch[0].shape[2] != self._dim:
            batch = self._no_frames(entries, *batch)
        return {self.data_key: batch}, batch[1]

    def read_ranges(
        self,
        entries: Entries,
        options: ReadOptions = DEFAULTS,
        *,
        starts: NDArray[np.int64] | None = None,
        stops: NDArray[np.int64] | None = None,
        layout: Layout | None = None,
    ) -> dict[str, FrameArrays]:
        """Decodes features into place; see `Stream.read_ranges`."""
        given = entries, options.out(self.data_key, np.float32), options.num_threads
        offsets = None
        if layout is None:
            values, lengths = self.archive.read_features_batch(*given, starts=starts, stops=stops)
        else:
            gap, align = layout
            values, offsets, lengths = self.archive.read_features_packed(
                *given, gap=gap, align=align, starts=starts, stops=stops
            )
        if values.shape[-1] != self._dim:
            self._no_frames(entries, values, lengths)
            values = np.zeros((*values.shape[:-1], self._dim), np.float32)
        return {self.data_key: FrameArrays(values, offsets, lengths)}

    def _no_frames(
        self, entries: Entries, batch: NDArray[Any], lengths: NDArray[np.int64]
    ) -> Padded:
        """A batch of another dimension: an error, unless there are no frames at all."""
        if lengths.any():
            name = self._names(entries)[int(np.argmax(lengths > 0))]
            raise FormatError(
                "features of a different dimension than before",
                path=self.archive.entry(name).archive_path,
                entry=name,
                expected=self._dim,
                found=batch.shape[-1],
            )
        return np.zeros((len(entries), 0, self._dim), np.float32), lengths
