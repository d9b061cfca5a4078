"""NumPy's .npz files: an array for each segment, under its name, as `numpy.load` reads it.

``<name>``: (T, D) features, (T,) floats or (T,) integer labels; alignments of allophone states as
(N,) items with fields ``time``, ``emission`` and ``weight``. ``<name>.times``: (T, 2) start and end
in seconds, of labels and alignments (1, 2). ``<name>.alphabet``: ``id`` and ``symbol`` of an
alignment with an alphabet. All arrays but the first are optional.
"""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Collection, Generator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from sprintcache._files import errors_of
from sprintcache._text_file import open_regular
from sprintcache._zip_errors import zip_errors
from sprintcache.alignment import Alignment
from sprintcache.errors import CorruptError, UnsupportedError

from .destination import Destination
from .items import ConvertItem, Sink, check_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NpzSink", "NpzSource"]

_FIELDS = ("time", "emission", "weight")
_ITEM = np.dtype([("time", np.uint32), ("emission", np.uint32), ("weight", np.float32)])
_SUFFIXES = (".times", ".alphabet")


class NpzSink(Sink):
    """A new .npz file, not compressed."""

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self._destination = Destination(path, overwrite)
        try:
            self._zip = zipfile.ZipFile(self._destination.partial, "w")
        except BaseException:
            self._destination.discard()
            raise

    def add(self, item: ConvertItem) -> None:
        """Adds a segment.

        Raises:
            UnsupportedError: for a name that the file cannot hold, or holds already.
        """
        name, data, times = item.name, item.data, item.times
        check_name(name, self._destination.path, "a .npz file")
        if isinstance(data, Alignment):
            items = np.empty(len(data), _ITEM)
            items["time"], items["emission"] = data.time, data.emission
            items["weight"] = data.weight
            self._write(name, name, items)
            if data.alphabet is not None:
                self._write(name, f"{name}.alphabet", _alphabet_array(data.alphabet))
        else:
            self._write(name, name, data)
        if times is not None:
            self._write(name, f"{name}.times", times)

    def _write(self, name: str, key: str, array: NDArray[Any]) -> None:
        member = f"{key}.npy"
        if member in self._zip.NameToInfo:
            raise UnsupportedError(
                f"the file already has an array {key!r}", path=self._destination.path, entry=name
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


def _alphabet_array(alphabet: dict[int, str]) -> NDArray[np.void]:
    longest = max([1, *map(len, alphabet.values())])
    return np.array(list(alphabet.items()), [("id", np.uint32), ("symbol", f"U{longest}")])


class NpzSource:
    """Segments of a .npz file, as `NpzSink` or `numpy.savez` wrote it.

    Raises:
        FormatError: if it is damaged.
        OSError: if it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        with zip_errors(self._path):
            open_regular(self._path).close()  # opening a pipe would wait
            self._zip = zipfile.ZipFile(self._path)
        members = [name.removesuffix(".npy") for name in self._zip.namelist()]
        known = set(members)
        self._names = [name for name in members if not _is_auxiliary(name, known)]

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> list[str]:
        """Names of all segments."""
        return self._names

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def items(self, names: Collection[str] | None) -> Generator[ConvertItem]:
        """Reads segments.

        Raises:
            FormatError: for damage, and for arrays that are neither features nor labels nor an
                alignment.
            OSError: if the file cannot be read.
        """
        for name in self._names:
            if names is None or name in names:
                yield self._item(name)

    def _item(self, name: str) -> ConvertItem:
        data = self._array(name)
        times = self._array(f"{name}.times", optional=True)
        if times is not None and (times.dtype.kind not in "fiu" or times.shape[1:] != (2,)):
            raise CorruptError(
                "times", path=self._path, entry=name, expected="(T, 2) numbers", found=times.shape
            )
        if data.dtype.names == _FIELDS:
            return ConvertItem(name, self._alignment(name, data, times))
        if data.dtype.kind not in "biufc" or data.ndim not in (1, 2):
            raise UnsupportedError(
                "neither features nor labels nor an alignment",
                path=self._path,
                entry=name,
                found=f"{data.dtype} {list(data.shape)}",
            )
        return ConvertItem(name, data, times)

    def _alignment(self, name: str, items: Any, times: Any) -> Alignment:
        alphabet = self._array(f"{name}.alphabet", optional=True)
        try:
            symbols = None if alphabet is None else dict(alphabet.tolist())
            start, end = (None, None) if times is None or not len(times) else times[0].tolist()
            return Alignment(
                *(items[field] for field in _FIELDS), alphabet=symbols, start=start, end=end
            )
        except (TypeError, ValueError) as error:
            reason = f"not an alignment: {error}"
            raise CorruptError(reason, path=self._path, entry=name) from error

    def _array(self, key: str, optional: bool = False) -> Any:
        members = self._zip.NameToInfo
        info = members.get(f"{key}.npy") or (None if optional else members.get(key))
        if info is None:
            return None
        with zip_errors(self._path, key), self._zip.open(info) as file:
            return _read_array(file, info.file_size)


def _read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """Reads a .npy file of a declared size; ValueError if its shape does not fit the size."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("object arrays are not read")
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != size - file.tell():
        raise ValueError(f"an array of {num_bytes} bytes in {size - file.tell()} bytes")
    data = file.read(num_bytes)  # grows with what the file has, not by its declared size
    if len(data) != num_bytes:
        raise EOFError("the array is cut off")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape, order="F" if fortran_order else "C")


def _is_auxiliary(name: str, known: set[str]) -> bool:
    """Whether an array holds times or alphabet of another one."""
    return any(name.endswith(s) and name.removesuffix(s) in known for s in _SUFFIXES)
