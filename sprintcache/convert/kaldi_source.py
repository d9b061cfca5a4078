"""Kaldi's arks and scps as a source, also gzipped or as text; see `kaldi_sink` on the library."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Generator, Iterator
from typing import IO, Any

import numpy as np

from sprintcache._text_file import gzip_errors, inflated, open_regular, read_prefix
from sprintcache.errors import CorruptError, FormatError, UnsupportedError

from .extras import kaldi_module, last_line
from .items import ConvertItem

__all__ = ["KaldiSource", "is_ark"]

_BINARY_TYPES = {
    b"FM": "FloatMatrix",
    b"CM": "FloatMatrix",
    b"DM": "DoubleMatrix",
    b"FV": "FloatVector",
    b"DV": "DoubleVector",
}
_LOCATION = re.compile(rb"(.+?)(?::([0-9]+))?(?:\[[^]]*\])?")
_HEAD_BYTES = 4096
_MAX_OFFSET = 1 << 62  # that a seek accepts
_GZIP_MAGIC = b"\x1f\x8b"


def is_ark(path: str | os.PathLike[str]) -> bool:
    """Whether a file, possibly gzipped, starts like an ark of matrices or vectors, or like text."""
    try:
        head = _read_head(os.fspath(path))
    except FormatError:
        return False
    key, blank, value = head.partition(b" ")
    return bool(key and blank) and not re.search(rb"[\0-\x20]", key) and bool(_type_of(value))


class KaldiSource:
    """Segments of an ark, or of the files that an scp lists, relative to the working directory.

    A gzipped ark, such as Kaldi's ``ali.1.gz``, is inflated into an unnamed temporary file.

    Raises:
        FormatError: if it is malformed, if the type of its first object is neither a matrix nor a
            vector, or if an scp would run a program.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._library = kaldi_module()
        self._path = os.path.abspath(path)
        self._is_scp = self._path.endswith(".scp")
        self._inflated: IO[bytes] | None = None
        self._size = self._check_scp() if self._is_scp else 0
        kind = self._first_type()
        self._reader = f"Sequential{kind}Reader" if kind else None

    def _check_scp(self) -> int:
        """Returns the number of lines."""
        number = 0
        with open_regular(self._path) as file:
            for number, line in enumerate(file, 1):
                location = _location(line)
                if not location or location[:1] == b"|" or location[-1:] == b"|":
                    raise FormatError(
                        f"line {number} of the scp; programs are not run",
                        path=self._path,
                        expected="'key file:offset'",
                        found=repr(line.decode("utf-8", "replace").strip()),
                    )
        return number

    def _first_type(self) -> str | None:
        """Type of the first object; None for an empty file."""
        path, offset = self._path, 0
        if self._is_scp:
            with open_regular(path) as file:
                location = _location(file.readline())
            match = _LOCATION.fullmatch(location)
            if match is None:
                return None
            path, offset = os.fsdecode(match[1]), min(int(match[2] or 0), _MAX_OFFSET)
        head = _read_head(path, offset)
        if not self._is_scp:
            if not head:
                return None
            head = head.partition(b" ")[2]
        kind = _type_of(head)
        if kind is None:
            raise UnsupportedError(
                "not a Kaldi object",
                path=path,
                expected="a matrix or a vector",
                found=head[:12],
            )
        return kind

    def __len__(self) -> int:
        """Number of segments; 0 for an ark, which does not declare it."""
        return self._size

    def names(self) -> Iterator[str]:
        """Names of all segments; reads the whole ark.

        Raises:
            OSError, FormatError, CorruptError: the file cannot be read.
        """
        if not self._is_scp:
            yield from (name for name, _ in self._objects())
            return
        with open_regular(self._path) as file:
            for line in file:
                yield line.split(None, 1)[0].decode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Removes the inflated file, if there is one."""
        if self._inflated is not None:
            self._inflated.close()

    def items(self, names: Collection[str] | None) -> Generator[ConvertItem]:
        """Reads segments.

        Raises:
            FormatError: if an object is damaged or missing.
        """
        for name, reader in self._objects():
            if names is not None and name not in names:
                continue
            try:
                value = reader.value
            except RuntimeError as error:
                reason = f"Kaldi: {last_line(error)}"
                raise FormatError(reason, path=self._path, entry=name) from error
            if isinstance(value, list):
                value = np.array(value, np.int32)
            yield ConvertItem(name, value.copy())

    def _objects(self) -> Iterator[tuple[str, Any]]:
        """(name, reader at its object) of all objects."""
        if self._reader is None:
            return
        name = None
        try:
            specifier = f"{'scp' if self._is_scp else 'ark'}:{self._readable_path()}"
            reader = getattr(self._library, self._reader)(specifier)
            with contextlib.closing(reader):
                while not reader.done:
                    name = reader.key
                    yield name, reader
                    reader.next()
                is_complete = reader._impl.close()
        except RuntimeError as error:
            raise FormatError(f"Kaldi: {last_line(error)}", path=self._path) from error
        if not is_complete:
            after = "at its start" if name is None else f"after {name!r}"
            raise CorruptError(f"damaged or cut off {after}", path=self._path)

    def _readable_path(self) -> str:
        """The path of the ark, or of its inflated copy."""
        if self._is_scp or not _is_gzipped(self._path):
            return self._path
        if self._inflated is None:
            self._inflated = tempfile.TemporaryFile(prefix="sprintcache-")  # noqa: SIM115
            with open_regular(self._path) as file, gzip_errors(self._path):
                shutil.copyfileobj(inflated(file), self._inflated, 1 << 20)
            self._inflated.flush()
        return f"/proc/self/fd/{self._inflated.fileno()}"


def _is_gzipped(path: str) -> bool:
    with open_regular(path) as file:
        return file.read(2) == _GZIP_MAGIC


def _read_head(path: str, offset: int = 0) -> bytes:
    """The first bytes of a file, inflated if the file is gzipped; or those from an offset."""
    if not offset:
        return read_prefix(path, _HEAD_BYTES)
    with open_regular(path) as file:
        file.seek(offset)
        return file.read(_HEAD_BYTES)


def _location(line: bytes) -> bytes:
    """The part of a line of an scp after the key."""
    parts = line.split(None, 1)
    return parts[1].strip() if len(parts) == 2 else b""


def _type_of(head: bytes) -> str | None:
    """The type of an object by its first bytes."""
    if head.startswith(b"\0B"):
        return "Int32Vector" if head[2:3] == b"\4" else _BINARY_TYPES.get(head[2:4])
    line = head.partition(b"\n")[0]
    before, bracket, after = line.partition(b"[")
    if bracket and not before.strip():
        return "FloatVector" if after.strip() not in (b"", b"]") else "FloatMatrix"
    return "Int32Vector" if re.fullmatch(rb"[-0-9 \t\r]*", line) else None
