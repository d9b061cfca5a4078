"""Audio samples in the packets of Flow caches: which entries hold them, and as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .errors import UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .archive import Archive
    from .entries import Block

__all__ = [
    "AudioDtype",
    "are_pieces",
    "are_samples",
    "check_audio_dtype",
    "holds_audio",
    "is_audio",
    "is_signal",
    "join_audio",
    "signal",
    "soundfile_module",
]

AudioDtype = Literal["float32", "int16"]

_INTEGERS = ("vector-s8", "vector-u8", "vector-s16", "vector-u16", "vector-s32", "vector-u32")
_FLOATS = ("vector-f32", "vector-f64")
_SAMPLES = {*_INTEGERS, *_FLOATS, "f32", "f64"}
_MIN_PACKET = 0.1 - 1e-9  # seconds: frames are shorter, packets of audio are not
_MIN_SAMPLES = 512  # in a packet of audio; fewer are features


def is_signal(datatype: str, times: NDArray[np.float64]) -> bool:
    """Whether packets are pieces of one signal, such as audio samples, and not frames.

    Vectors of integers are; so are vectors of floats if there are several packets without gaps, and
    all but the last are of 0.1 seconds or more.

    Args:
        datatype: Sprint's name of the datatype.
        times: (N, 2) seconds, start and end of each packet.
    """
    if datatype in _INTEGERS:
        return True
    return datatype in _FLOATS and len(times) > 1 and are_pieces(times)


def are_pieces(times: NDArray[np.float64]) -> bool:
    """Whether packets have no gaps, and all but the last are of 0.1 seconds or more.

    Args:
        times: (N, 2) seconds, start and end of each packet; of one packet, its length counts.
    """
    if not len(times):
        return False
    lengths = (times[:, 1] - times[:, 0])[: max(len(times) - 1, 1)]
    gaps = np.abs(times[1:, 0] - times[:-1, 1])
    return bool(lengths.min() >= _MIN_PACKET and gaps.max(initial=0) < 1e-5)


def are_samples(datatype: str) -> bool:
    """Whether a datatype may hold audio samples: vectors or scalars of real numbers."""
    return datatype in _SAMPLES


def is_audio(archive: Archive, name: str, data: Any) -> bool:
    """Whether an entry is audio samples, where vectors of integers may also be features.

    They are a signal (`is_signal`) whose packets differ in size, or are large and without gaps.

    Args:
        archive: of the entry.
        name: the entry.
        data: its content, as `Archive.read` returns it.
    """
    is_list = isinstance(data, list) and len(data) > 0 and isinstance(data[0], np.ndarray)
    if not is_list and not (
        isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] >= _MIN_SAMPLES
    ):
        return False
    times = archive.read_times(name)
    return is_signal(archive.datatype(name) or "", times) and (is_list or are_pieces(times))


def holds_audio(archive: Archive) -> bool:
    """Whether the first segment that has data is audio samples, see `is_audio`.

    Raises:
        FormatError: if it is damaged.
    """
    for name in archive.segments:
        datatype = archive.datatype(name)
        if datatype is None and archive.entry(name).size == 0:
            continue
        if datatype not in _INTEGERS and datatype not in _FLOATS:
            return False
        data = archive.read(name)
        if len(data):
            return is_audio(archive, name, data)
    return False


def signal(packets: Any) -> NDArray[Any]:
    """(N,) samples of the packets of a signal, as `Archive.read` returns them."""
    if isinstance(packets, np.ndarray):
        return packets.ravel()
    return np.concatenate(packets) if len(packets) else np.zeros(0, np.int16)


def check_audio_dtype(dtype: str) -> None:
    """Raises ValueError unless `dtype` is "float32" or "int16"."""
    if dtype not in ("float32", "int16"):
        raise ValueError(f"dtype must be 'float32' or 'int16', not {dtype!r}")


def join_audio(blocks: Sequence[Block], dtype: AudioDtype) -> NDArray[Any]:
    """(N,) samples of all packets of an entry, in the dtype of `Archive.read_audio`.

    Raises:
        UnsupportedError: if the blocks are not numbers of one datatype, or "int16" is requested
            and they are of another one.
    """
    datatypes = sorted({block.datatype for block in blocks})
    if len(datatypes) > 1:
        raise UnsupportedError(
            "audio samples of several datatypes", expected="one", found=", ".join(datatypes)
        )
    if not datatypes:
        return np.zeros(0, dtype)
    if not are_samples(datatypes[0]):
        raise UnsupportedError(
            "not audio samples", expected="vector-s16 or other real numbers", found=datatypes[0]
        )
    samples = np.concatenate([signal(block.data) for block in blocks])
    if dtype == "float32":
        return _scaled(samples)
    if samples.dtype != np.int16:
        raise UnsupportedError(
            "audio samples that int16 cannot hold as they are (dtype='float32' reads them)",
            expected="vector-s16",
            found=datatypes[0],
        )
    return samples


def _scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as float32; integers divided by their full scale, unsigned ones centered first."""
    bits = 8 * samples.dtype.itemsize
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    full_scale = 1 << (bits - 1)
    dtype = np.float32 if bits <= 16 else np.float64  # float32 holds integers of 16 bits
    if samples.dtype.kind == "u":
        samples = np.subtract(samples, full_scale, dtype=dtype)
    scaled: NDArray[np.floating[Any]] = np.divide(samples, full_scale, dtype=dtype)
    return scaled.astype(np.float32, copy=False)


def soundfile_module() -> Any:
    """Returns soundfile, or raises ImportError that names the extra."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: it does not find libsndfile
        raise ImportError("audio files need soundfile: pip install 'sprintcache[audio]'") from error
    return soundfile
