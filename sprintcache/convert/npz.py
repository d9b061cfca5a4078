"""NumPy's .npz files: one array for each segment, under its name, as `numpy.load` reads it.

``<name>``: (T, D) features, (T,) floats or (T,) integer labels as they are; alignments of allophone
states as (N,) items with fields ``time``, ``emission`` and ``weight``. ``<name>.times``: (T, 2)
start and end in seconds, of labels and alignments (1, 2). ``<name>.alphabet``: ``id`` and
``symbol`` of an alignment that has an alphabet. All but the first are optional.
"""

from __future__ import annotations

import contextlib
import errno
import os
import zipfile
import zlib
from collections.abc import Collection, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._files import errors_of
from sprintcache._text_file import open_regular
from sprintcache.alignment import Alignment
from sprintcache.errors import CorruptError, FormatError, UnsupportedError

from .destination import Destination
from .segments import Segment, Sink, check_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NpzSink", "NpzSource"]

_FIELDS = ("time", "emission", "weight")
_ITEM = np.dtype([("time", np.uint32), ("emission", np.uint32), ("weight", np.float32)])
_SUFFIXES = (".times", ".alphabet")
# what zipfile and numpy raise for bytes that are not theirs; RuntimeError: an encrypted file
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)


class NpzSink(Sink):
    """A new .npz file, not compressed."""

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self._destination = Destination(path, overwrite)
        try:
            self._zip = zipfile.ZipFile(self._destination.partial, "w")
        except BaseException:
            self._destination.discard()
            raise

    def add(self, segment: Segment) -> None:
        """Adds a segment.

        Raises:
            UnsupportedError: for a name that the file cannot hold, or has already.
        """
        name, data, times, _ = segment
        check_name(name, self._destination.path, "a .npz file")
        if isinstance(data, Alignment):
            items = np.empty(len(data), _ITEM)
            items["time"], items["emission"] = data.time, data.emission
            items["weight"] = data.weight
            self._write(name, name, items)
            if data.alphabet is not None:
                self._write(name, f"{name}.alphabet", _alphabet(data.alphabet))
        else:
            self._write(name, name, data)
        if times is not None:
            self._write(name, f"{name}.times", times)

    def _write(self, name: str, key: str, array: NDArray[Any]) -> None:
        member = f"{key}.npy"
        if member in self._zip.NameToInfo:
            raise UnsupportedError(
                f"there is a {key!r} already", path=self._destination.path, entry=name
            )
        partial = self._destination.partial
        with errors_of(partial), self._zip.open(member, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    def _finish(self) -> None:
        with errors_of(self._destination.partial):
            self._zip.close()
        self._destination.publish()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._zip.close()
        self._destination.discard()


def _alphabet(alphabet: dict[int, str]) -> NDArray[np.void]:
    longest = max([1, *map(len, alphabet.values())])
    return np.array(list(alphabet.items()), [("id", np.uint32), ("symbol", f"U{longest}")])


class NpzSource:
    """Segments of a .npz file, as `NpzSink` or `numpy.savez` wrote it.

    Raises:
        FormatError: if it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        try:
            open_regular(self._path).close()  # a pipe would be waited for
            self._zip = zipfile.ZipFile(self._path)
        except _DAMAGE as error:
            raise FormatError(f".npz file: {error}", path=self._path) from error
        members = [name.removesuffix(".npy") for name in self._zip.namelist()]
        known = set(members)
        self._names = [name for name in members if not _belongs(name, known)]

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> list[str]:
        """Of all segments."""
        return self._names

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def segments(self, wanted: Collection[str] | None) -> Generator[Segment]:
        """Reads segments.

        Raises:
            FormatError: for damage, and for what is neither features nor labels nor an alignment.
        """
        for name in self._names:
            if wanted is None or name in wanted:
                yield self._segment(name)

    def _segment(self, name: str) -> Segment:
        data = self._array(name)
        times = self._array(f"{name}.times", needed=False)
        if times is not None and (times.dtype.kind not in "fiu" or times.shape[1:] != (2,)):
            raise CorruptError(
                "times", path=self._path, entry=name, expected="(T, 2) numbers", found=times.shape
            )
        if data.dtype.names == _FIELDS:
            return Segment(name, self._alignment(name, data, times))
        if data.dtype.kind not in "biufc" or data.ndim not in (1, 2):
            raise UnsupportedError(
                "neither features nor labels nor an alignment",
                path=self._path,
                entry=name,
                found=f"{data.dtype} {list(data.shape)}",
            )
        return Segment(name, data, times)

    def _alignment(self, name: str, items: Any, times: Any) -> Alignment:
        alphabet = self._array(f"{name}.alphabet", needed=False)
        try:
            symbols = None if alphabet is None else dict(alphabet.tolist())
            start, end = (None, None) if times is None or not len(times) else times[0].tolist()
            return Alignment(
                *(items[field] for field in _FIELDS), alphabet=symbols, start=start, end=end
            )
        except (TypeError, ValueError) as error:
            reason = f"not an alignment: {error}"
            raise CorruptError(reason, path=self._path, entry=name) from error

    def _array(self, key: str, needed: bool = True) -> Any:
        members = self._zip.NameToInfo
        info = members.get(f"{key}.npy") or (members.get(key) if needed else None)
        if info is None:
            return None
        try:
            with self._zip.open(info) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except (*_DAMAGE, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            # EINVAL: the offset of the member is outside of the file
            raise FormatError(f".npz file: {error}", path=self._path, entry=key) from error


def _belongs(name: str, known: set[str]) -> bool:
    """Whether an array says more of another one."""
    return any(name.endswith(s) and name.removesuffix(s) in known for s in _SUFFIXES)
