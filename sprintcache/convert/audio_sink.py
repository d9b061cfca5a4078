"""Audio files, wav or flac, one for each segment below a folder."""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

from sprintcache._output_folder import OutputFolder
from sprintcache._signals import are_samples, signal, soundfile_module
from sprintcache.errors import UnsupportedError

from .items import ConvertItem, Sink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Archive

__all__ = ["AudioFormat", "AudioSink", "read_samples"]

AudioFormat = Literal["wav", "flac"]

# stored dtype to the encoding of a file, which keeps every value
_ENCODINGS = {
    "wav": {
        "int8": "PCM_U8", "uint8": "PCM_U8", "int16": "PCM_16", "uint16": "PCM_16",
        "uint32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE",
    },
    "flac": {"int8": "PCM_S8", "uint8": "PCM_S8", "int16": "PCM_16", "uint16": "PCM_16"},
}  # fmt: skip


def read_samples(archive: Archive, name: str) -> tuple[NDArray[np.generic], int | None]:
    """The samples of an entry in their stored dtype, and the sample rate in Hz.

    The rate is the attribute ``sample-rate`` of the entry, without one that of the times of the
    packets, rounded; None if there are neither.

    Raises:
        FormatError: if the entry is damaged, or not audio samples.
    """
    blocks = archive.read_blocks(name)
    for block in blocks:
        if not are_samples(block.datatype):
            raise UnsupportedError(
                "not audio samples",
                path=archive.entry(name).archive_path,
                entry=name,
                expected="vector-s16 or other real numbers",
                found=block.datatype,
            )
    parts = [signal(block.data) for block in blocks]
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    if len({part.dtype for part in parts}) > 1:
        raise UnsupportedError(
            "audio samples of several datatypes",
            path=archive.entry(name).archive_path,
            entry=name,
        )
    attribute = archive.read_attributes(name).get("sample-rate", "")
    if attribute.isascii() and attribute.isdigit() and int(attribute) > 1:
        return samples, int(attribute)
    times = [block.times for block in blocks if block.times is not None and len(block.times)]
    seconds = sum(float((pair[:, 1] - pair[:, 0]).sum()) for pair in times)
    rate = len(samples) / seconds if seconds > 0 else 0.0
    return samples, round(rate) if 1 <= rate < 1e9 else None


class AudioSink(Sink):
    """A folder of audio files; a / in a name creates sub-folders.

    Each file is complete or absent; files of segments before an error stay.

    Args:
        path: the folder.
        audio_format: "wav" or "flac".
        overwrite: whether existing files are replaced.
        sample_rate: in Hz, instead of that of the segments.

    Raises:
        ImportError: if soundfile is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        audio_format: AudioFormat,
        overwrite: bool,
        sample_rate: int | None = None,
    ) -> None:
        self._soundfile = soundfile_module()
        self._folder = OutputFolder(os.fspath(path), f".{audio_format}", overwrite)
        self._path = os.fspath(path)
        self._format = audio_format
        self._sample_rate = sample_rate

    def add(self, item: ConvertItem) -> None:
        """Writes a file.

        Raises:
            UnsupportedError: for samples that the format cannot hold, an unknown sample rate, or a
                name that is not a path below the folder.
            FileExistsError: if the file exists and is not to be replaced.
        """
        samples = np.asarray(item.data)
        rate = self._sample_rate or item.sample_rate
        if rate is None:
            raise UnsupportedError(
                "the sample rate is not known: neither attribute nor times (option sample_rate)",
                path=self._path,
                entry=item.name,
            )
        encodings = _ENCODINGS[self._format]
        encoding = encodings.get(samples.dtype.name)
        if encoding is None:
            raise UnsupportedError(
                f"{self._format} cannot hold these samples",
                path=self._path,
                entry=item.name,
                expected=", ".join(encodings),
                found=samples.dtype.name,
            )
        file = BytesIO()
        options = {"format": self._format.upper(), "subtype": encoding}
        try:
            self._soundfile.write(file, _widened(samples), rate, **options)
            self._folder.write(item.name, file.getbuffer())
        except (ValueError, self._soundfile.LibsndfileError) as error:
            raise UnsupportedError(str(error), path=self._path, entry=item.name) from error

    def _finish(self) -> None:
        pass

    def _discard(self) -> None:
        pass


def _widened(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """Samples in a dtype that soundfile writes: unsigned ones centered, 8 bits as upper ones."""
    if samples.dtype.kind == "u":
        bits = 8 * samples.dtype.itemsize
        wide = samples.astype(np.int64) - (1 << (bits - 1))
        samples = wide.astype(f"int{bits}")
    if samples.dtype == np.int8:
        return samples.astype(np.int16) << 8
    return samples
