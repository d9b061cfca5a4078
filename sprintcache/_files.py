"""Files for writing archives: locks, complete writes, atomic names."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from io import FileIO
from typing import TYPE_CHECKING, TypeAlias

from ._text_file import open_regular
from .errors import FormatError, SprintCacheError

if TYPE_CHECKING:
    from ._reader import Packets

__all__ = [
    "Part",
    "check_regular",
    "close_locked",
    "errors_of",
    "is_locked",
    "open_locked",
    "partial_of",
    "publish",
    "same_file",
    "sync_folder",
    "write_all",
]

logger = logging.getLogger(__name__)

Part: TypeAlias = "bytes | memoryview | Packets"

_MAX_PARTS = 512  # per system call; Linux takes 1024


@contextlib.contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Adds the name of the file to errors of the system that have none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def partial_of(path: str) -> str:
    """The file in which the archive of this path is written."""
    return path + ".partial"


def check_regular(path: str) -> None:
    """Checks that `path`, if it exists, is a regular file, which may be written or replaced.

    Replacing ``/dev/null`` would break a machine, and opening a pipe would wait.

    Raises:
        IsADirectoryError: if it is a folder.
        OSError: if it is not a regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def is_locked(path: str) -> bool:
    """Whether a writer has this file open; False if that cannot be determined."""
    try:
        with open_regular(path) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, FormatError):
        return False
    return False


def open_locked(path: str, mode: str, create: bool = False) -> FileIO:
    """Opens a file that no other writer has open, unbuffered, and locks it until it is closed.

    Raises:
        SprintCacheError: if another writer has it open.
        OSError: if it cannot be opened.
    """
    while True:
        file = FileIO(path, mode, opener=_create if create else _open)
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise SprintCacheError("another writer has it open", path=path) from error
        except OSError as error:
            logger.warning("%s: this file system has no locks: %s", path, error)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # it was renamed or removed before it was locked


def close_locked(file: FileIO, unlock: bool = True) -> None:
    """Closes a locked file; with `unlock`, forked children lose the lock as well."""
    if unlock and not file.closed:
        with contextlib.suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
    file.close()


def _open(path: str, flags: int) -> int:
    """Opens a regular file, and never waits for the other end of a pipe."""
    fd = os.open(path, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def _create(path: str, flags: int) -> int:
    return _open(path, flags | os.O_CREAT)


def write_all(fd: int, parts: Sequence[Part], offset: int) -> None:
    """Writes all parts in sequence; a system call may write only some of the bytes."""
    while parts:
        chunk = parts[:_MAX_PARTS]
        left = done = os.pwritev(fd, chunk, offset)
        offset += done
        num_whole = 0
        for part in chunk:
            if left < len(part):
                break
            left -= len(part)
            num_whole += 1
        if num_whole == len(parts):
            return
        if done == 0:
            raise OSError(errno.EIO, "nothing could be written")
        remaining = parts[num_whole:]
        parts = [memoryview(remaining[0])[left:], *remaining[1:]] if left else remaining


def same_file(partial: str, path: str) -> bool:
    """Whether both exist and are one file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samefile(partial, path)
    return False


def publish(partial: str, path: str) -> None:
    """Renames the file, unless the new name exists.

    Raises:
        FileExistsError: if the new name exists.
        OSError: if the system fails.
    """
    try:
        os.link(partial, path)
    except FileExistsError:
        text = f"it was created meanwhile; the new archive is complete, as {partial}"
        raise FileExistsError(errno.EEXIST, text, path) from None
    except OSError as error:  # a file system without links
        if os.path.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
        os.rename(partial, path)
        return
    os.unlink(partial)


def sync_folder(path: str) -> None:
    """Syncs the folder of a file, so that its new name is on the disk."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
