"""The names of the two Python readers in use, so that a script changes one import.

Instead of RETURNN's ``returnn.sprint.cache`` or i6_core's ``i6_core.lib.rasr_cache``:

>>> from sprintcache import compat as cache
>>> archive = cache.open_file_archive("features.bundle")  # doctest: +SKIP
>>> times, features = archive.read("corpus/recording/1", "feat")  # doctest: +SKIP

What is returned has their types and shapes; how it is read is `sprintcache.open_archive`. It
differs where they go wrong (archive format, section 12): all blocks of an entry, of every numeric
datatype; all kinds of alignment; checksums and tags are checked, and damage is a `FormatError`; the
first of duplicate names counts; a new archive gets its name in ``finalize``; blank and repeated
lines of an allophone file do not count. A file that does not exist is created by the first
``add_``, not before; to read it is a FileNotFoundError. For new scripts `sprintcache.open_archive`
is simpler and much faster: it returns one array for an entry, not one for each frame.

Left out: `MixtureSet`, `WordBoundaries` (their constructors say so) and methods on single bytes.
"""

from __future__ import annotations

import os

from sprintcache.allophones import AllophoneLabeling

from .archives import HEADER, FileArchive, FileArchiveBundle
from .readable import FileInfo, StrPath

__all__ = [
    "AllophoneLabeling",
    "FileArchive",
    "FileArchiveBundle",
    "FileInfo",
    "MixtureSet",
    "WordBoundaries",
    "is_rasr_cache_file",
    "is_sprint_cache_file",
    "open_file_archive",
]


def open_file_archive(
    archive_filename: StrPath, must_exists: bool = True, encoding: str = "ascii"
) -> FileArchive | FileArchiveBundle:
    """Opens a bundle, by its ending ".bundle", or an archive.

    Raises:
        FileNotFoundError: if it is missing and `must_exists` says that it must not be.
        FormatError: if it is neither.
    """
    if os.fspath(archive_filename).endswith(".bundle"):
        return FileArchiveBundle(archive_filename, encoding)
    return FileArchive(archive_filename, must_exists, encoding)


def is_sprint_cache_file(filename: StrPath) -> bool:
    """Whether a file is an archive, by its first bytes, or a bundle, by its name.

    Raises:
        FileNotFoundError: if it is missing.
    """
    if not os.path.isfile(filename):
        os.stat(filename)
        return False
    if os.fspath(filename).endswith(".bundle"):
        return True
    with open(filename, "rb") as file:
        return file.read(len(HEADER)) == HEADER.encode()


is_rasr_cache_file = is_sprint_cache_file


class MixtureSet:
    """Left out.

    Raises:
        NotImplementedError: names what reads mixture sets.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "sprintcache reads no mixture sets; RETURNN's returnn.sprint.cache.MixtureSet does"
        )


class WordBoundaries:
    """Left out.

    Raises:
        NotImplementedError: names what reads word boundaries.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "sprintcache reads no word boundaries; RETURNN's returnn.sprint.cache.WordBoundaries"
            " does"
        )
