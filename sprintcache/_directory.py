"""Directory archives: every file below a directory is an entry (archive format, section 5)."""

from __future__ import annotations

import os

__all__ = ["names"]


def names(path: str) -> list[str]:
    """Relative paths of all regular files below a directory, sorted within each directory.

    Links are followed, a directory that contains itself is entered once.

    Raises:
        OSError: if a directory cannot be read.
    """
    paths: list[str] = []
    seen: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(path, followlinks=True, onerror=fail):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        below = os.path.relpath(folder, path)
        for file in sorted(files):
            if os.path.isfile(os.path.join(folder, file)):
                paths.append(file if below == "." else os.path.join(below, file))
    return paths
