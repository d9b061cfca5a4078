"""PartialFile: a new archive that is renamed once it is complete and on the disk."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO

from sprintcache._files import (
    close_locked,
    open_locked,
    partial_of,
    publish,
    same_file,
    sync_folder,
)
from sprintcache.errors import SprintCacheError

__all__ = ["PartialFile"]


class PartialFile:
    """``<path>.partial``, created, empty and locked; a file at `path` stays until `publish`.

    Args:
        path: the archive to be.
        replace: whether an archive of that name is replaced; it is locked as well until then, and
            an older partial file is removed.

    Attributes:
        path: the partial file.
        fd: its descriptor, for reading and writing.

    Raises:
        FileExistsError: if `path` exists and is not replaced.
        SprintCacheError: if another writer has the file open, or an earlier one did not finish.
    """

    def __init__(self, path: str, replace: bool) -> None:
        self.path = partial_of(path)
        self._final = path
        self._replace = replace
        self._replaced: FileIO | None = None
        if os.path.exists(path):
            if not replace:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            self._replaced = open_locked(path, "rb")
        try:
            self._file = self._create()
        except BaseException:
            if self._replaced is not None:
                self._replaced.close()
            raise
        self.fd = self._file.fileno()

    def _create(self) -> FileIO:
        if self._replaced is not None and same_file(self.path, self._final):
            os.unlink(self.path)  # a writer was killed between its last two steps
        while True:
            try:
                file = open_locked(self.path, "r+b", create=True)
            except FileNotFoundError as error:  # the folder is missing, not the file
                folder = os.path.dirname(self.path)
                raise FileNotFoundError(error.errno, error.strerror, folder) from error
            if os.fstat(file.fileno()).st_size == 0:
                return file
            file.close()
            if not self._replace:
                raise SprintCacheError(
                    f"an earlier writer did not finish; sprintcache.recover({self._final!r})"
                    " finishes it, or remove the file",
                    path=self.path,
                )
            os.unlink(self.path)

    def publish(self) -> None:
        """Renames the file, which must be on the disk.

        Raises:
            FileExistsError: if `path` was created meanwhile and is not replaced.
        """
        if self._replace:
            if self._replaced is not None:  # permissions are kept
                os.fchmod(self.fd, stat.S_IMODE(os.fstat(self._replaced.fileno()).st_mode))
            os.replace(self.path, self._final)
        else:
            publish(self.path, self._final)
        sync_folder(self._final)

    def discard(self) -> None:
        """Removes the file."""
        os.unlink(self.path)

    def close(self, unlock: bool = True) -> None:
        """Closes the files; with `unlock`, also for forked children that have them open."""
        for file in (self._file, self._replaced):
            if file is not None:
                close_locked(file, unlock)
