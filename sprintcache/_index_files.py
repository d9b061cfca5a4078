"""Index files: where they are, and how they are written (docs/reference/index-format.md)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._text_file import open_regular
from .errors import FormatError

if TYPE_CHECKING:
    from .archive import Archive

__all__ = [
    "ENVIRONMENT",
    "cached",
    "check_replaceable",
    "default_path",
    "existing",
    "is_configured",
    "write",
]

ENVIRONMENT = "SPRINTCACHE_INDEX_DIR"

_MAGIC = b"SPCINDEX"
_HEADER_SIZE = 4096
# times of files are that coarse: a change so soon after another one may not show
_TICK_SECONDS = 0.02


def default_path(path: str) -> str:
    """The index of an archive or a bundle in its folder."""
    return path + ".index"


def is_configured() -> bool:
    """Whether the environment names a folder for indexes."""
    return bool(os.environ.get(ENVIRONMENT))


def cached(paths: Sequence[str]) -> str:
    """The index of archives, given by absolute paths, in the cache folder.

    The folder is that of the environment variable `ENVIRONMENT`, or ``sprintcache`` in the user's
    cache folder (XDG).
    """
    folder = os.environ.get(ENVIRONMENT)
    if not folder:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # as the XDG specification says of relative paths
            base = os.path.join(os.path.expanduser("~"), ".cache")
        folder = os.path.join(base, "sprintcache")
    text = b"\0".join(os.fsencode(path) for path in paths)
    name = hashlib.blake2b(text, digest_size=16).hexdigest()
    return os.path.join(os.path.abspath(folder), f"{name}.index")


def existing(paths: Sequence[str]) -> list[str]:
    """The index files that may be of these archives, the first choice first."""
    files = [default_path(paths[0])] if len(paths) == 1 else []
    return [path for path in (*files, cached(paths)) if os.path.exists(path)]


def check_replaceable(path: str) -> None:
    """Checks that a file at `path`, if there is one, is an index.

    A power failure may leave zeros in an index, which counts as one by its name.

    Raises:
        FormatError: if it is another kind of file, which must not be replaced.
        OSError: if it cannot be read.
    """
    try:
        with open_regular(path) as file:
            head = file.read(len(_MAGIC))
            is_lost = path.endswith(".index") and not any(head + file.read(_HEADER_SIZE))
    except FileNotFoundError:
        return
    if not (_MAGIC.startswith(head) or is_lost):
        raise FormatError(
            "not an index, and not replaced by one",
            path=path,
            offset=0,
            expected=repr(_MAGIC),
            found=repr(head),
        )


def write(archive: Archive, path: str, num_threads: int) -> None:
    """Writes the index of an archive, whole or not at all; replaces an older one.

    It is not synced to the disk: what a power failure damages, the checksums show.

    Args:
        archive: opened without an index.
        path: the index file.
        num_threads: threads that read the heads of entries.

    Raises:
        FormatError: if `path` is another kind of file.
        UnsupportedError: if the archive is a directory, or has no valid table.
        ArchiveChangedError: if it changes meanwhile.
        OSError: if the system fails.
    """
    check_replaceable(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.{os.getpid()}.{time.monotonic_ns():x}.part"
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            archive._write_index(fd, path, num_threads)
        finally:
            os.close(fd)
        _wait_for_tick(archive)
        archive.check_unchanged()
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def _wait_for_tick(archive: Archive) -> None:
    """Waits until a change of the archive would show in its time."""
    newest = max((mtime for _, mtime in archive.source_states), default=0) / 1e9
    seconds = newest + _TICK_SECONDS - time.time()
    if 0 < seconds <= _TICK_SECONDS:
        time.sleep(seconds)
