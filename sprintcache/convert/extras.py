"""Libraries of the extras, imported when they are used."""

from __future__ import annotations

from typing import Any

__all__ = ["h5py_module", "kaldi_module", "last_line"]


def h5py_module() -> Any:
    """Returns h5py, or raises ImportError that names the extra."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install 'sprintcache[hdf]'") from error
    return h5py


def kaldi_module() -> Any:
    """Returns kaldi_native_io, or raises ImportError that names the extra."""
    try:
        import kaldi_native_io
    except ImportError as error:
        raise ImportError(
            "Kaldi's files need kaldi_native_io: pip install 'sprintcache[kaldi]'"
        ) from error
    return kaldi_native_io


def last_line(error: Exception) -> str:
    """The message of an error, without the lines that name C++ sources."""
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("[E] ") if lines else type(error).__name__
