"""Destination: a file that gets its name when it is complete and on disk."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from sprintcache._files import (
    check_regular,
    close_locked,
    errors_of,
    open_locked,
    publish,
    sync_folder,
)

__all__ = ["Destination", "complete_file"]


class Destination:
    """``<path>.partial``, empty and locked; an existing file stays unchanged until `publish`.

    A partial file of an earlier conversion is overwritten.

    Args:
        path: the file.
        overwrite: whether an existing file is replaced.

    Attributes:
        path: the file, absolute.
        partial: the file to write.
        file: the partial file, unbuffered.

    Raises:
        FileExistsError: if the file exists and `overwrite` is false.
        IsADirectoryError: if it is a folder.
        OSError: if it is not a regular file.
        SprintCacheError: if another writer has locked it.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = os.path.realpath(path)
        self._overwrite = overwrite
        if os.path.exists(self.path) and not overwrite and not os.path.isdir(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        check_regular(self.path)
        self.partial = self.path + ".partial"
        self.file = open_locked(self.partial, "r+b", create=True)
        with errors_of(self.partial):
            os.ftruncate(self.file.fileno(), 0)  # unlike truncate, continues after an interrupt

    def publish(self) -> None:
        """Syncs the file and renames it to `path`.

        Raises:
            FileExistsError: if the path was created meanwhile and `overwrite` is false.
            OSError: if the system fails.
        """
        with errors_of(self.path):
            os.fsync(self.file.fileno())
            if self._overwrite:
                os.replace(self.partial, self.path)
            else:
                publish(self.partial, self.path)
            sync_folder(self.path)
        close_locked(self.file)

    def discard(self) -> None:
        """Removes the partial file; does nothing after `publish`."""
        if not self.file.closed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.partial)
            close_locked(self.file)


@contextlib.contextmanager
def complete_file(path: str | os.PathLike[str], overwrite: bool) -> Iterator[str]:
    """The name of a file to write, which becomes `path` at the end, and is removed after an error.

    Raises:
        FileExistsError, IsADirectoryError, OSError, SprintCacheError: as `Destination`.
    """
    destination = Destination(path, overwrite)
    try:
        with errors_of(destination.partial):
            yield destination.partial
        destination.publish()
    except BaseException:
        destination.discard()
        raise
