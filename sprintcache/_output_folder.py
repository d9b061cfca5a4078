"""OutputFolder: files for entries, below a folder and nowhere else."""

from __future__ import annotations

import errno
import os

__all__ = ["OutputFolder"]

# errors about one name: the file cannot exist, the others can
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class OutputFolder:
    """Writes a file for each entry; a / in a name creates sub-folders.

    Each file is written under a temporary name and renamed, so it is complete or absent.

    Args:
        path: the folder, created if it does not exist.
        suffix: of all files.
        overwrite: replace existing files.
    """

    def __init__(self, path: str, suffix: str, overwrite: bool) -> None:
        self._path = os.path.realpath(path)
        self._suffix = suffix
        self._overwrite = overwrite

    def path_of(self, name: str) -> str:
        """The path of the file of an entry.

        Raises:
            ValueError: if the name leads out of the folder or is not a plain path.
            FileExistsError: if the file exists and `overwrite` is false.
        """
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ValueError(
                f"entry {name!r} is not written: its name is not a path below a folder"
            )
        raw = name.encode("utf-8", "surrogateescape")
        path = os.path.join(self._path, os.fsdecode(raw)) + self._suffix
        # an existing link may lead out of the folder
        parent = os.path.realpath(os.path.dirname(path))
        if parent != self._path and not parent.startswith(os.path.join(self._path, "")):
            raise ValueError(f"entry {name!r} is not written: {parent} is outside the folder")
        if os.path.lexists(path) and not self._overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return path

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Writes the file of an entry.

        Raises:
            ValueError, FileExistsError: as `path_of`; ValueError also if no file can have the name,
                or if a file exists where a folder is needed.
            OSError: if the file cannot be written.
        """
        path = self.path_of(name)
        os.makedirs(self._path, exist_ok=True)
        try:
            _write(path, data)
        except OSError as error:
            if error.errno not in _NAME_ERRORS:
                raise
            raise ValueError(f"entry {name!r} is not written: {error.strerror}: {path}") from error


def _write(path: str, data: bytes | memoryview) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".sprintcache-{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
