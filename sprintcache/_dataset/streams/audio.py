"""AudioStream: samples that Sprint stored in the packets of an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache._reader import check_threads
from sprintcache._signals import AudioDtype, check_audio_dtype
from sprintcache._threads import batch_map, chunk_map

from .archives import ArchiveStream, Filename
from .base import Entries, Output, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AudioStream"]


class AudioStream(ArchiveStream):
    """Audio samples: (N,) float32 or int16.

    Attributes:
        dtype: "float32" or "int16".
    """

    type = "audio"

    def __init__(
        self, data_key: str, filename: Filename, *, dtype: AudioDtype = "float32", **options: Any
    ) -> None:
        """Opens the archive; dtype is that of `Archive.read_audio`."""
        check_audio_dtype(dtype)
        super().__init__(data_key, filename, **options)
        self.dtype: AudioDtype = dtype

    @property
    def outputs(self) -> dict[str, Output]:
        """One number per sample."""
        return {self.data_key: Output(1, 1, self.dtype, False)}

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 samples; reads them."""
        return np.array([len(self._read(name)) for name in self._names(entries)], np.int64)

    def num_frames_all(self, num_threads: int) -> NDArray[np.int64]:
        """(N,) int64 samples of every segment; reads the archive."""
        chunks = chunk_map(self.num_frames, self.archive.segments, num_threads)
        return np.concatenate([np.zeros(0, np.int64), *chunks])

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Reads samples; see `Stream.fetch`."""
        check_threads(options.num_threads)
        self.archive.check_unchanged()
        rows = batch_map(self._read, self._names(entries), options.num_threads)
        batch = padded(self.data_key, rows, self.outputs[self.data_key], options)
        return {self.data_key: batch}, batch[1]

    def _read(self, name: str) -> NDArray[Any]:
        return self.archive.read_audio(name, self.dtype)
