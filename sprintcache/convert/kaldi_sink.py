"""Kaldi's arks and scps: matrices, vectors of floats, vectors of int32 labels.

An ark has objects of one type. The library, kaldi_native_io, returns arrays that are valid until
the next object only, so they are copied. Whether closing succeeded is known to its inner objects
only; otherwise an ark that ends within an object would look like a shorter one.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._files import errors_of
from sprintcache.errors import SprintCacheError, UnsupportedError

from .destination import Destination
from .extras import kaldi_module, last_line
from .items import ConvertItem, Sink, array_of, check_name, is_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KaldiSink"]

_BLANK = re.compile(r"[\x00-\x20\x7f]")


class KaldiSink(Sink):
    """A new ark, and an scp in the same folder that refers to it by its absolute path.

    Args:
        path: of either; the other differs in its ending.
        overwrite: whether existing files are replaced.

    Raises:
        ValueError: for a path with a comma, which Kaldi cannot write to.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool) -> None:
        self._library = kaldi_module()
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
        self._empty_names: list[str] = []
        self._writer: Any = None

    def add(self, item: ConvertItem) -> None:
        """Adds a segment.

        Raises:
            UnsupportedError: for a name that is not a Kaldi key, or data without a type in Kaldi or
                of another type than those of earlier segments.
            SprintCacheError: if Kaldi's library cannot write.
        """
        name, path = item.name, self._ark.path
        check_name(name, path, "Kaldi", _BLANK, "white space")
        data = array_of(item, path)
        if data.ndim == 2 and not data.size:  # of any type
            if self._writer is None:
                self._empty_names.append(name)
            else:
                self._write(name, _empty(self._kind))
            return
        kind, data = _typed(name, data, path)
        if self._writer is None:
            self._begin(kind)
        if kind != self._kind:
            raise UnsupportedError(
                "an ark requires objects of one type",
                path=path,
                entry=name,
                expected=f"{self._kind}, as in earlier segments",
                found=kind,
            )
        self._write(name, data)

    def _begin(self, kind: str) -> None:
        """Opens the files for objects of a type, and writes earlier empty segments."""
        self._kind = kind
        target = f"ark,scp:{self._ark.partial},{self._scp.partial}"
        self._writer = getattr(self._library, f"{kind}Writer")(target)
        for name in self._empty_names:
            self._write(name, _empty(kind))

    def _write(self, name: str, data: NDArray[Any]) -> None:
        try:
            self._writer.write(name, data)
        except RuntimeError as error:
            reason = f"Kaldi: {last_line(error)}"
            raise SprintCacheError(reason, path=self._ark.path, entry=name) from error

    def _finish(self) -> None:
        if self._writer is None and self._empty_names:
            self._begin("FloatMatrix")
        if self._writer is not None and not self._writer._impl.close():
            raise SprintCacheError("Kaldi could not write the whole file", path=self._ark.path)
        partial, final = (os.fsencode(path) for path in (self._ark.partial, self._ark.path))
        # in place: every line becomes shorter, so it is read before it is overwritten
        with (
            errors_of(self._scp.partial),
            open(self._scp.partial, "rb") as old,
            open(self._scp.partial, "r+b") as new,
        ):
            for line in old:
                key, _, location = line.partition(b" ")
                new.write(b"%s %s" % (key, location.replace(partial, final, 1)))
            new.flush()
            os.ftruncate(new.fileno(), new.tell())  # unlike truncate, continues after an interrupt
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
    # integers as the smallest float type that represents them
    dtype = np.promote_types(data.dtype, np.float32)
    if dtype not in (np.float32, np.float64):
        raise UnsupportedError(
            "Kaldi has floats of 32 and 64 bits only", path=path, entry=name, found=data.dtype
        )
    precision = "Float" if dtype == np.float32 else "Double"
    return f"{precision}{'Vector' if data.ndim == 1 else 'Matrix'}", data.astype(dtype, copy=False)


def _empty(kind: str) -> NDArray[Any]:
    """The empty object of one of Kaldi's types."""
    dtype = np.int32 if kind[:3] == "Int" else np.float32 if kind[:5] == "Float" else np.float64
    return np.empty((0, 0) if kind.endswith("Matrix") else 0, dtype)
