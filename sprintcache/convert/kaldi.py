"""Kaldi's arks and scps: matrices, vectors of floats, vectors of int32 labels.

An ark has objects of one type. The library for them, kaldi_native_io, gives arrays that die with
the next object (so they are copied), and only its inner objects say whether closing succeeded:
an ark that ends within an object looks like a shorter one otherwise.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.errors import CorruptError, FormatError, SprintCacheError, UnsupportedError

from .destination import Destination
from .segments import Segment, Sink, array_of, check_name, is_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KaldiSink", "KaldiSource"]

_BLANK = re.compile(r"[\x00-\x20\x7f]")
_BINARY = {
    b"FM": "FloatMatrix",
    b"CM": "FloatMatrix",
    b"DM": "DoubleMatrix",
    b"FV": "FloatVector",
    b"DV": "DoubleVector",
}
_PLACE = re.compile(rb"(.+?)(?::([0-9]+))?(?:\[[^]]*\])?")


def _kaldi_native_io() -> Any:
    try:
        import kaldi_native_io
    except ImportError as error:
        raise ImportError(
            "Kaldi's files need kaldi_native_io: pip install 'sprintcache[kaldi]'"
        ) from error
    return kaldi_native_io


def _last_line(error: Exception) -> str:
    """What went wrong, without the places in the C++ sources."""
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("[E] ") if lines else type(error).__name__


class KaldiSink(Sink):
    """A new ark, and the scp beside it, whose places are absolute paths.

    Args:
        path: of either; the other differs in its ending.
        overwrite: whether they are replaced if they are there.

    Raises:
        ValueError: for a path with a comma, which Kaldi cannot write to.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self._library = _kaldi_native_io()
        stem = os.path.splitext(os.path.realpath(path))[0]
        if "," in stem:
            raise ValueError(f"{stem}: Kaldi cannot write to a path with a comma")
        self._ark = Destination(f"{stem}.ark", overwrite)
        try:
            self._scp = Destination(f"{stem}.scp", overwrite)
        except BaseException:
            self._ark.discard()
            raise
        self._kind = ""
        self._writer: Any = None

    def add(self, segment: Segment) -> None:
        """Adds a segment.

        Raises:
            UnsupportedError: for a name that is no Kaldi key, data that Kaldi has no type for, or
                that do not go with those before.
            SprintCacheError: if Kaldi's library cannot write.
        """
        name, path = segment.name, self._ark.path
        check_name(name, path, "Kaldi", _BLANK, "white space")
        kind, data = _typed(name, array_of(segment, path), path)
        if self._writer is None:
            self._kind = kind
            target = f"ark,scp:{self._ark.partial},{self._scp.partial}"
            self._writer = getattr(self._library, f"{kind}Writer")(target)
        if kind != self._kind:
            raise UnsupportedError(
                "an ark takes objects of one type",
                path=path,
                entry=name,
                expected=f"{self._kind}, as the segments before",
                found=kind,
            )
        try:
            self._writer.write(name, data)
        except RuntimeError as error:
            raise SprintCacheError(f"Kaldi: {_last_line(error)}", path=path, entry=name) from error

    def _finish(self) -> None:
        if self._writer is not None and not self._writer._impl.close():
            raise SprintCacheError("Kaldi could not write all of it", path=self._ark.path)
        partial, final = (os.fsencode(path) for path in (self._ark.partial, self._ark.path))
        # in place: every line becomes shorter, so what is written was read before
        with open(self._scp.partial, "rb") as old, open(self._scp.partial, "r+b") as new:
            for line in old:
                key, _, place = line.partition(b" ")
                new.write(b"%s %s" % (key, place.replace(partial, final, 1)))
            new.truncate()
        self._ark.publish()
        self._scp.publish()

    def _discard(self) -> None:
        if self._writer is not None and self._writer.is_open:
            self._writer.close()
        self._ark.discard()
        self._scp.discard()


def _typed(name: str, data: NDArray[Any], path: str) -> tuple[str, NDArray[Any]]:
    """Kaldi's type for an array, and the array in its dtype."""
    if is_labels(data):
        if len(data) and int(data.max()) > 0x7FFFFFFF:
            raise UnsupportedError(
                "label", path=path, entry=name, expected="below 2**31", found=data.max()
            )
        return "Int32Vector", data.astype(np.int32, copy=False)
    # ints as the smallest float that holds them
    dtype = np.promote_types(data.dtype, np.float32)
    if dtype not in (np.float32, np.float64):
        raise UnsupportedError(
            "Kaldi has floats of 32 and 64 bits", path=path, entry=name, found=data.dtype
        )
    if data.ndim == 2 and data.size == 0:
        data = data.reshape(0, 0)  # Kaldi's only empty matrix
    precision = "Float" if dtype == np.float32 else "Double"
    return f"{precision}{'Vector' if data.ndim == 1 else 'Matrix'}", data.astype(dtype, copy=False)


class KaldiSource:
    """Segments of an ark, or of what an scp lists; paths in an scp count from the working folder.

    Raises:
        FormatError: if it is none, if its first object has a type that is no matrix and no vector,
            or if an scp wants to run a program.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._library = _kaldi_native_io()
        self._path = os.path.abspath(path)
        self._is_scp = self._path.endswith(".scp")
        self._size = self._check_scp() if self._is_scp else 0
        kind = self._first_kind()
        self._reader = f"Sequential{kind}Reader" if kind else None

    def _check_scp(self) -> int:
        """Number of lines."""
        number = 0
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                place = line.partition(b" ")[2].strip()
                if not place or place[:1] == b"|" or place[-1:] == b"|":
                    raise FormatError(
                        f"line {number} of the scp; programs are not run",
                        path=self._path,
                        expected="'key file:offset'",
                        found=repr(line.decode("utf-8", "replace").strip()),
                    )
        return number

    def _first_kind(self) -> str | None:
        """Type of the first object; None where there is none."""
        path, offset = self._path, 0
        if self._is_scp:
            with open(path, "rb") as file:
                place = file.readline().partition(b" ")[2].strip()
            match = _PLACE.fullmatch(place)
            if match is None:
                return None
            path, offset = os.fsdecode(match[1]), int(match[2] or 0)
        with open(path, "rb") as file:
            file.seek(offset)
            head = file.read(4096)
        if not self._is_scp:
            if not head:
                return None
            head = head.partition(b" ")[2]
        kind = _kind(head)
        if kind is None:
            raise UnsupportedError(
                "not Kaldi's", path=path, expected="a matrix or a vector", found=head[:12]
            )
        return kind

    def __len__(self) -> int:
        """Number of segments; of an ark, which would have to be read for it, 0."""
        return self._size

    def names(self) -> Iterator[str]:
        """Of all segments; an ark is read for it."""
        if not self._is_scp:
            yield from (name for name, _ in self._objects())
            return
        with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                yield line.split()[0]

    def close(self) -> None:
        """Nothing is open between readings."""

    def segments(self, wanted: Collection[str] | None) -> Generator[Segment]:
        """Reads segments.

        Raises:
            FormatError: if an object is damaged or missing.
        """
        for name, reader in self._objects():
            if wanted is not None and name not in wanted:
                continue
            try:
                value = reader.value
            except RuntimeError as error:
                reason = f"Kaldi: {_last_line(error)}"
                raise FormatError(reason, path=self._path, entry=name) from error
            if isinstance(value, list):
                value = np.array(value, np.int32)
            yield Segment(name, value.copy())

    def _objects(self) -> Iterator[tuple[str, Any]]:
        """(name, reader at its object) of all objects."""
        if self._reader is None:
            return
        name = None
        try:
            what = f"{'scp' if self._is_scp else 'ark'}:{self._path}"
            reader = getattr(self._library, self._reader)(what)
            with contextlib.closing(reader):
                while not reader.done:
                    name = reader.key
                    yield name, reader
                    reader.next()
                sound = reader._impl.close()
        except RuntimeError as error:
            raise FormatError(f"Kaldi: {_last_line(error)}", path=self._path) from error
        if not sound:
            after = "at its start" if name is None else f"after {name!r}"
            raise CorruptError(f"damaged or cut off {after}", path=self._path)


def _kind(head: bytes) -> str | None:
    """The type of an object by its first bytes."""
    if head.startswith(b"\0B"):
        return "Int32Vector" if head[2:3] == b"\4" else _BINARY.get(head[2:4])
    line = head.partition(b"\n")[0]
    before, bracket, behind = line.partition(b"[")
    if bracket and not before.strip():
        return "FloatVector" if behind.strip() not in (b"", b"]") else "FloatMatrix"
    return "Int32Vector" if re.fullmatch(rb"[-0-9 \t\r]*", line) else None
