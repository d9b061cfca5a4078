"""Kaldi's arks and scps as a source; what its library asks for stands in `kaldi_sink`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Generator, Iterator
from typing import Any

import numpy as np

from sprintcache._text_file import open_regular
from sprintcache.errors import CorruptError, FormatError, UnsupportedError

from .extras import kaldi_module, last_line
from .segments import Segment

__all__ = ["KaldiSource"]

_BINARY = {
    b"FM": "FloatMatrix",
    b"CM": "FloatMatrix",
    b"DM": "DoubleMatrix",
    b"FV": "FloatVector",
    b"DV": "DoubleVector",
}
_PLACE = re.compile(rb"(.+?)(?::([0-9]+))?(?:\[[^]]*\])?")


class KaldiSource:
    """Segments of an ark, or of what an scp lists; paths in an scp count from the working folder.

    Raises:
        FormatError: if it is none, if its first object has a type that is no matrix and no vector,
            or if an scp wants to run a program.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._library = kaldi_module()
        self._path = os.path.abspath(path)
        self._is_scp = self._path.endswith(".scp")
        self._size = self._check_scp() if self._is_scp else 0
        kind = self._first_kind()
        self._reader = f"Sequential{kind}Reader" if kind else None

    def _check_scp(self) -> int:
        """Number of lines."""
        number = 0
        with open_regular(self._path) as file:
            for number, line in enumerate(file, 1):
                place = _place(line)
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
            with open_regular(path) as file:
                place = _place(file.readline())
            match = _PLACE.fullmatch(place)
            if match is None:
                return None
            path, offset = os.fsdecode(match[1]), min(int(match[2] or 0), 1 << 62)
        with open_regular(path) as file:
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
        with open_regular(self._path) as file:
            for line in file:
                yield line.split(None, 1)[0].decode("utf-8", "surrogateescape")

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
                reason = f"Kaldi: {last_line(error)}"
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
            raise FormatError(f"Kaldi: {last_line(error)}", path=self._path) from error
        if not sound:
            after = "at its start" if name is None else f"after {name!r}"
            raise CorruptError(f"damaged or cut off {after}", path=self._path)


def _place(line: bytes) -> bytes:
    """What follows the key in a line of an scp."""
    parts = line.split(None, 1)
    return parts[1].strip() if len(parts) == 2 else b""


def _kind(head: bytes) -> str | None:
    """The type of an object by its first bytes."""
    if head.startswith(b"\0B"):
        return "Int32Vector" if head[2:3] == b"\4" else _BINARY.get(head[2:4])
    line = head.partition(b"\n")[0]
    before, bracket, behind = line.partition(b"[")
    if bracket and not before.strip():
        return "FloatVector" if behind.strip() not in (b"", b"]") else "FloatMatrix"
    return "Int32Vector" if re.fullmatch(rb"[-0-9 \t\r]*", line) else None
