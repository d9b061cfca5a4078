"""Destination: a file that gets its name when it is whole and on the disk."""

from __future__ import annotations

import contextlib
import errno
import os

from sprintcache._files import check_regular, close_locked, open_locked, publish, sync_folder

__all__ = ["Destination"]


class Destination:
    """``<path>.partial``, empty and locked; what stands at `path` stays until `publish`.

    A partial file that an earlier conversion left behind is overwritten.

    Args:
        path: the file to be.
        overwrite: whether a file of that name is replaced.

    Attributes:
        path: the file to be, absolute.
        partial: where to write.
        file: the partial file, unbuffered.

    Raises:
        FileExistsError: if there is something at `path` that is not to be replaced.
        IsADirectoryError: if it is a folder.
        OSError: if what is to be replaced is no regular file.
        SprintCacheError: if another writer is at work.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self.path = os.path.realpath(path)
        self._overwrite = overwrite
        if os.path.exists(self.path) and not overwrite and not os.path.isdir(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        check_regular(self.path)
        self.partial = self.path + ".partial"
        self.file = open_locked(self.partial, "r+b", create=True)
        self.file.truncate(0)

    def publish(self) -> None:
        """Brings the file to the disk and gives it its name.

        Raises:
            FileExistsError: if nothing is to be replaced, and something has come up meanwhile.
            OSError: if the system fails.
        """
        os.fsync(self.file.fileno())
        if self._overwrite:
            os.replace(self.partial, self.path)
        else:
            publish(self.partial, self.path)
        sync_folder(self.path)
        close_locked(self.file)

    def discard(self) -> None:
        """Removes the partial file; after `publish`: nothing."""
        if not self.file.closed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.partial)
            close_locked(self.file)
