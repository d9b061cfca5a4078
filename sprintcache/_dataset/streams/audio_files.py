"""AudioFileStream: samples of the audio files that a Bliss corpus names, by soundfile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache._path_map import PathMap, path_mapper
from sprintcache._reader import check_threads
from sprintcache._renaming import Rename
from sprintcache._signals import AudioDtype, check_audio_dtype, soundfile_module
from sprintcache._text_file import open_regular
from sprintcache._threads import batch_map
from sprintcache.errors import ArchiveChangedError, FormatError, UnsupportedError

from .base import Entries, Output
from .bliss import BlissStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AudioFileStream"]


class _Header(NamedTuple):
    """What is known of an audio file."""

    path: str
    sample_rate: int
    num_samples: int
    num_channels: int
    encoding: str


class _Piece(NamedTuple):
    """The samples of one segment."""

    header: _Header
    start: int
    stop: int
    channel: int


class AudioFileStream(BlissStream):
    """Audio of segments: (N,) float32 or int16.

    A segment has the samples from round(start * rate) to round(end * rate) of the channel that is
    its track, at most those of the file. Files are opened for each batch.

    Attributes:
        dtype: "float32" or "int16".
    """

    type = "audio"

    def __init__(
        self,
        data_key: str,
        filename: str | os.PathLike[str],
        *,
        dtype: AudioDtype = "float32",
        sample_rate: int | None = None,
        audio_dir: str | os.PathLike[str] | None = None,
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Reads the corpus, but no audio file."""
        check_audio_dtype(dtype)
        soundfile_module()
        super().__init__(data_key, filename, path_map=path_map, rename=rename)
        self.dtype: AudioDtype = dtype
        self.sample_rate = sample_rate
        self._folder = os.path.abspath(audio_dir or os.path.dirname(self.table.path))
        self._path_map = path_map
        self._headers: dict[int, _Header] = {}

    def _is_available(self) -> NDArray[np.bool_]:
        available: NDArray[np.bool_] = self.table.recordings >= 0
        return available

    @property
    def outputs(self) -> dict[str, Output]:
        """One number per sample."""
        return {self.data_key: Output(1, 1, self.dtype, False)}

    def location(self, number: int) -> tuple[str, str]:
        """The audio file and the segment."""
        row = self.rows[number]
        return self._audio_path(int(self.table.recordings[row])), self.table.names[row]

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 samples, from the headers of the files."""
        pieces = [self._piece(number) for number in self._numbers(entries).tolist()]
        return np.array([piece.stop - piece.start for piece in pieces], np.int64)

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Reads samples into the batch; see `Stream.fetch`."""
        check_threads(options.num_threads)
        numbers = self._numbers(entries).tolist()
        pieces = [self._piece(number) for number in numbers]
        lengths = np.array([piece.stop - piece.start for piece in pieces], np.int64)
        dtype = np.float32 if self.dtype == "float32" else np.int16
        shape = len(pieces), int(lengths.max(initial=0))
        batch = options.memory.take(self.data_key, shape, dtype)

        def read(index: int) -> None:
            row, piece = batch[index], pieces[index]
            size = piece.stop - piece.start
            self._read(piece, row[:size], numbers[index])
            row[size:] = 0

        batch_map(read, range(len(pieces)), options.num_threads)
        return {self.data_key: (batch, lengths)}, lengths

    def _read(self, piece: _Piece, out: NDArray[Any], number: int) -> None:
        """Reads the samples of a segment into `out`."""
        header = piece.header
        with _open(header.path) as file:
            if piece.start:
                file.seek(piece.start)
            if header.num_channels == 1:
                count = len(file.read(len(out), self.dtype, out=out))
            else:
                samples = file.read(len(out), self.dtype, always_2d=True)
                count = len(samples)
                out[:count] = samples[:, piece.channel]
        if count < len(out):
            raise ArchiveChangedError(
                "the audio file has fewer samples than it declares, or was changed",
                path=header.path,
                entry=self.segments[number],
                expected=piece.start + len(out),
                found=piece.start + count,
            )

    def _piece(self, number: int) -> _Piece:
        """Where the samples of a segment are.

        Raises:
            FormatError: if the file has no such channel, or ends before the segment starts.
        """
        row = int(self.rows[number])
        header = self._header(int(self.table.recordings[row]))
        channel = int(self.table.tracks[row])
        start = round(float(self.table.start[row]) * header.sample_rate)
        end = float(self.table.end[row])
        stop = header.num_samples
        if end < float("inf"):
            stop = min(stop, round(end * header.sample_rate))
        if channel >= header.num_channels:
            raise FormatError(
                "the audio file does not have the track of the segment",
                path=header.path,
                entry=self.table.names[row],
                expected=f"track below {header.num_channels}",
                found=channel,
            )
        if start > header.num_samples:
            raise FormatError(
                "the audio file ends before the segment starts",
                path=header.path,
                entry=self.table.names[row],
                expected=f"at least {start} samples",
                found=header.num_samples,
            )
        return _Piece(header, start, max(stop, start), channel)

    def _header(self, recording: int) -> _Header:
        header = self._headers.get(recording)
        if header is None:
            path = self._audio_path(recording)
            open_regular(path).close()  # on a pipe, opening would wait
            with _open(path) as file:
                header = _Header(path, file.samplerate, file.frames, file.channels, file.subtype)
            self._check(header)
            self._headers[recording] = header
        return header

    def _check(self, header: _Header) -> None:
        if self.sample_rate not in (None, header.sample_rate):
            raise UnsupportedError(
                "audio of a different sample rate",
                path=header.path,
                expected=self.sample_rate,
                found=header.sample_rate,
            )
        if self.dtype == "int16" and header.encoding != "PCM_16":
            raise UnsupportedError(
                "audio samples that int16 cannot hold as they are (dtype='float32' reads them)",
                path=header.path,
                expected="PCM_16",
                found=header.encoding,
            )

    def _audio_path(self, recording: int) -> str:
        path = os.path.join(self._folder, self.table.audio_files[recording])
        return path_mapper(self._path_map)(os.path.normpath(path))


def _open(path: str) -> Any:
    """The file, open.

    Raises:
        OSError: if it cannot be read.
        FormatError: if soundfile cannot read it.
    """
    soundfile = soundfile_module()
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        open_regular(path).close()  # raises the error of a file that cannot be opened
        raise FormatError(f"not an audio file: {error.error_string}", path=path) from error
