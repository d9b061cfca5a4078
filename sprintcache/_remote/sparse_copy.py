"""SparseCopy: a local file that has the ranges of a remote object that were asked for.

The copy has the size of the object. A map of one byte per block, a file too, says which blocks are
there; both are shared by all processes that read the copy. A block is written before its byte is
set, so a process that dies leaves at worst a block that is fetched again. Threads and processes may
fetch at once: they write the same bytes.

The copy is in a folder named after the object, its version and the boot of the machine, because a
crash of the machine may keep the map and lose the blocks.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._threads import batch_map
from sprintcache.errors import ArchiveChangedError, FormatError, SprintCacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK", "SparseCopy", "read_object"]

BLOCK = 1 << 18  # bytes
_REQUEST = 1 << 24  # bytes that one request asks for at most
_REQUESTS = 8  # at a time
_HEAD = 1 << 20  # of a table that is fetched before its size is known
_END = 4096  # bytes of a table that the identity in an index covers at each end
_ENDPOINTS = "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT"
_TAIL = 16  # bytes: positions of the two tables, archive format, section 2.2


class SparseCopy:
    """The local copy of one object."""

    def __init__(self, url: str, folder: str) -> None:
        """Asks for size and version of the object, and opens or makes its copy.

        Args:
            url: such as ``s3://bucket/features.cache``.
            folder: parent of the folder of the copy.

        Raises:
            FileNotFoundError: if there is no such object.
            SprintCacheError: if the store cannot be reached.
        """
        self.url = url
        self._process = os.getpid()
        self._store, self._key = _store_of(url)
        with _store_errors(url):
            facts = self._store.head(self._key)
        self.size = int(facts["size"])
        self._tag = facts["e_tag"]
        modified = facts["last_modified"]
        identity = "\n".join((url, str(self.size), str(self._tag), str(modified), _boot_id()))
        name = hashlib.sha256(identity.encode()).hexdigest()[:24]
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, self._key)
        self._time = int(modified.timestamp() * 1e9)
        self._file = _open_sized(self.path, self.size)
        os.utime(self._file, ns=(self._time, self._time))
        self._num_blocks = -(-self.size // BLOCK)
        map_file = _open_sized(os.path.join(self.folder, "blocks"), max(self._num_blocks, 1))
        try:
            self._present = np.frombuffer(mmap.mmap(map_file, 0), np.uint8)
        finally:
            os.close(map_file)

    def __del__(self) -> None:
        file, self._file = getattr(self, "_file", -1), -1
        if file >= 0:
            os.close(file)

    def set_time(self, time: int) -> None:
        """Sets the time of the last change, in nanoseconds; it stays when blocks are written."""
        self._time = time
        os.utime(self._file, ns=(time, time))

    def fetch_table(self, ends_only: bool = False) -> None:
        """Makes header and tables of an archive present, or just begin and end of the tables."""
        size = _TAIL if ends_only else _HEAD
        self.fetch([(0, min(self.size, 9)), (max(self.size - size, 0), self.size)])
        if self.size < 9 + _TAIL:
            return
        tail = os.pread(self._file, _TAIL, self.size - _TAIL)
        end, begin = struct.unpack("<QQ", tail)  # the table of holes follows that of files
        if not 9 <= begin < self.size:
            return
        if ends_only and begin <= end < self.size:
            self.fetch([(begin, begin + _END), (max(end - _END, begin), end + _END)])
        else:
            self.fetch([(begin, self.size)])

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> int:
        """Makes ranges of bytes present; returns the number of bytes that were fetched.

        Neighboring blocks are fetched by one request.

        Raises:
            ArchiveChangedError: if the object was replaced after opening.
            SprintCacheError: if the store fails.
            OSError: if the copy cannot be written.
        """
        wanted = np.zeros(self._num_blocks, np.bool_)
        for begin, end in ranges:
            wanted[max(begin, 0) // BLOCK : -(-min(end, self.size) // BLOCK)] = True
        wanted &= self._present[: self._num_blocks] == 0
        runs = [
            (first * BLOCK, min(end * BLOCK, self.size))
            for first, end in _runs(np.flatnonzero(wanted))
        ]
        batch_map(lambda run: self._fetch_run(*run), runs, _REQUESTS)
        return sum(end - begin for begin, end in runs)

    def _fetch_run(self, begin: int, end: int) -> None:
        options = {"range": (begin, end), "if_match": self._tag}
        data = memoryview(self._get(options))
        if len(data) != end - begin:
            raise ArchiveChangedError(
                "the object is shorter than when it was opened",
                path=self.url,
                offset=begin,
                expected=f"{end - begin} bytes",
                found=f"{len(data)} bytes",
            )
        done = 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], begin + done)
        os.utime(self._file, ns=(self._time, self._time))  # readers check that it did not change
        self._present[begin // BLOCK : -(-end // BLOCK)] = 1

    def _get(self, options: dict[str, Any]) -> Any:
        if os.getpid() != self._process:  # the threads of obstore are gone
            raise SprintCacheError(
                "an object cannot be fetched after a fork: use threads, such as those of"
                " sprintcache.torch.Loader, or start processes by spawn",
                path=self.url,
            )
        with _store_errors(self.url):
            return self._store.get(self._key, options=options).bytes()


def read_object(url: str, limit: int) -> bytes:
    """The bytes of a small object.

    Raises:
        FormatError: if it has more than `limit` bytes.
        FileNotFoundError, SprintCacheError: as `SparseCopy`.
    """
    store, key = _store_of(url)
    with _store_errors(url):
        result = store.get(key)
        size = int(result.meta["size"])
        if size > limit:
            raise FormatError("the object is too large", path=url, expected=limit, found=size)
        return bytes(result.bytes())


def _store_of(url: str) -> tuple[Any, str]:
    """The store of the folder of an object, and the name of the object.

    Credentials and endpoint come from the environment, as obstore documents them.

    Raises:
        ImportError: without obstore; names the extra.
        ValueError: for a URL of a folder.
    """
    try:
        from obstore.store import from_url
    except ModuleNotFoundError as error:
        raise ImportError("obstore is missing: pip install 'sprintcache[remote]'") from error
    parent, _, key = url.rpartition("/")
    if not key:
        raise ValueError(f"{url} is a folder, not an object")
    endpoints = url, *(os.environ.get(name, "") for name in _ENDPOINTS)
    options: dict[str, Any] = {}
    if not url.startswith(("file:", "memory:")):
        options = {
            "client_options": {
                "timeout": "60s",
                "connect_timeout": "10s",
                "allow_http": any(each.startswith("http://") for each in endpoints),
            },
            "retry_config": {"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        }
    with _store_errors(url):
        return from_url(f"{parent}/", **options), key


@contextmanager
def _store_errors(url: str) -> Iterator[None]:
    """Turns errors of the store into ours."""
    from obstore.exceptions import BaseError, NotFoundError, PreconditionError

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", url) from error
    except PreconditionError as error:
        raise ArchiveChangedError("the object was replaced after opening", path=url) from error
    except BaseError as error:
        reason = str(error).splitlines()[0]
        raise SprintCacheError(f"the object store failed: {reason}", path=url) from error


def _open_sized(path: str, size: int) -> int:
    """Opens a file of this size for reading and writing; a new one is all holes."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(file).st_size != size:
            os.truncate(file, size)
    except BaseException:
        os.close(file)
        raise
    return file


def _runs(blocks: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(first, end) of consecutive blocks, in pieces of a request each."""
    if not len(blocks):
        return
    step = _REQUEST // BLOCK
    for run in np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1):
        first, end = int(run[0]), int(run[-1]) + 1
        for begin in range(first, end, step):
            yield begin, min(begin + step, end)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
