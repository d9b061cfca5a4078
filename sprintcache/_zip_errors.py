"""Errors of zipfile and numpy for malformed .npz files, as errors of this package."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import FormatError

__all__ = ["MALFORMED_ZIP", "zip_errors"]

# RuntimeError: an encrypted file; OverflowError: an offset that no file has
MALFORMED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    OverflowError,
    MemoryError,
)


@contextmanager
def zip_errors(path: str, entry: str | None = None) -> Iterator[None]:
    """Raises FormatError instead of an error that a malformed .npz file causes."""
    try:
        yield
    except FormatError:
        raise
    except OSError as error:
        # zipfile seeks to offsets that the file declares
        if error.errno not in (None, errno.EINVAL):
            raise OSError(error.errno, error.strerror, path) from error
        raise FormatError(f".npz file: {error}", path=path, entry=entry) from error
    except MALFORMED_ZIP as error:
        reason = f".npz file: {error or type(error).__name__}"
        raise FormatError(reason, path=path, entry=entry) from error
