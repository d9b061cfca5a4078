"""Segment: what goes from a source to a sink, and what both sides say of it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from sprintcache.alignment import Alignment
from sprintcache.errors import LabelError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Self

__all__ = [
    "Segment",
    "Sink",
    "Source",
    "array_of",
    "check_name",
    "is_labels",
    "label_alignment",
]


class Segment(NamedTuple):
    """One segment on its way.

    Attributes:
        name: of the segment.
        data: (T, D) features, (T,) floats, (T,) integer labels, or an `Alignment`.
        times: (T, 2) float64 start and end in seconds, of labels and alignments (1, 2) for the
            whole; None where they are not known or not wanted.
        targets: (T',) int32 labels beside the data, or None.
    """

    name: str
    data: NDArray[Any] | Alignment
    times: NDArray[np.float64] | None = None
    targets: NDArray[np.int32] | None = None

    def with_dtype(self, dtype: DTypeLike) -> Segment:
        """The same, features and floats in another dtype.

        Raises:
            UnsupportedError: if they are complex and the dtype is not.
        """
        data = self.data
        if isinstance(data, Alignment) or is_labels(data):
            return self
        wanted = np.dtype(dtype)
        if data.dtype.kind == "c" and wanted.kind != "c":
            raise UnsupportedError(f"complex features do not become {wanted}", entry=self.name)
        return self._replace(data=data.astype(wanted, copy=False))


class Source(Protocol):
    """Where segments come from; closed by its user."""

    def __len__(self) -> int:
        """Number of segments; 0 if that is not known."""

    def names(self) -> Iterable[str]:
        """Of all segments, in their order."""

    def segments(self, wanted: Collection[str] | None) -> Generator[Segment]:
        """The segments with these names, None: all, in the source's order."""

    def close(self) -> None:
        """Closes the files."""


class Sink(ABC):
    """Where segments go; nothing has its name before the end of the ``with`` block.

    When the block ends with an exception, what was written is removed.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    @abstractmethod
    def add(self, segment: Segment) -> None:
        """Takes one segment."""

    @abstractmethod
    def _finish(self) -> None:
        """Writes what is left and gives the files their names."""

    @abstractmethod
    def _discard(self) -> None:
        """Removes what was written and has no name yet."""


def is_labels(data: NDArray[Any]) -> bool:
    """Whether an array is one label per frame."""
    return data.ndim == 1 and data.dtype.kind in "iu"


def array_of(segment: Segment, path: str) -> NDArray[Any]:
    """The data for a file that holds arrays.

    Raises:
        UnsupportedError: if they are items of an alignment, or frames without values.
    """
    data = segment.data
    if isinstance(data, Alignment):
        raise UnsupportedError("an alignment must become labels", path=path, entry=segment.name)
    if data.ndim == 2 and len(data) and not data.shape[1]:
        raise UnsupportedError("frames without values", path=path, entry=segment.name)
    return data


def label_alignment(
    labels: NDArray[Any], times: NDArray[np.float64] | None, shift: float, length: float
) -> Alignment:
    """An alignment of emission ids, one item per frame; without times, those of T frames.

    Raises:
        LabelError: for a label below 0 or above 2**32 - 1.
    """
    if len(labels) and (labels.min() < 0 or labels.max() > 0xFFFFFFFF):
        found = labels.min() if labels.min() < 0 else labels.max()
        raise LabelError("label", expected="0 to 2**32 - 1", found=found)
    start: float | None = None
    end: float | None = None
    if times is not None and len(times):
        start, end = float(times[0, 0]), float(times[-1, 1])
    elif len(labels):
        start, end = 0.0, (len(labels) - 1) * shift + length
    time = np.arange(len(labels), dtype=np.uint32)
    return Alignment(time, labels, label_type="emission", start=start, end=end)


_NUL = re.compile("\0")


def check_name(
    name: str, path: str, holder: str, forbidden: re.Pattern[str] = _NUL, what: str = "NUL"
) -> None:
    """Raises UnsupportedError for a name that a file of another kind cannot hold."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UnsupportedError(
            f"{holder} takes names in UTF-8, which this one is not", path=path, entry=name
        ) from error
    if not name or forbidden.search(name):
        reason = f"{holder} cannot hold a name with {what}" if name else f"{holder} needs a name"
        raise UnsupportedError(reason, path=path, entry=name)
