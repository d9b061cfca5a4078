"""Libraries of others, loaded when they are needed."""

from __future__ import annotations

from typing import Any

__all__ = ["h5py_module", "kaldi_module", "last_line"]


def h5py_module() -> Any:
    """h5py; ImportError that names the extra where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 files need h5py: pip install 'sprintcache[hdf]'") from error
    return h5py


def kaldi_module() -> Any:
    """kaldi_native_io; ImportError that names the extra where it is not installed."""
    try:
        import kaldi_native_io
    except ImportError as error:
        raise ImportError(
            "Kaldi's files need kaldi_native_io: pip install 'sprintcache[kaldi]'"
        ) from error
    return kaldi_native_io


def last_line(error: Exception) -> str:
    """What went wrong, without the places in the C++ sources."""
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("[E] ") if lines else type(error).__name__
