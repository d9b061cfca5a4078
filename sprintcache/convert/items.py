"""ConvertItem, LabelBlock: segments between a source and a sink, and the interfaces of both."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from sprintcache.alignment import Alignment
from sprintcache.errors import LabelError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from typing_extensions import Self

    from sprintcache.label_rates import LabelRate

__all__ = [
    "ConvertItem",
    "LabelBlock",
    "Sink",
    "Source",
    "array_of",
    "check_name",
    "check_names",
    "is_labels",
    "label_alignment",
]


class ConvertItem(NamedTuple):
    """One segment.

    Attributes:
        name: of the segment.
        data: (T, D) features, (T,) floats, (T,) integer labels, or an `Alignment`.
        times: (T, 2) float64 start and end in seconds, of labels and alignments (1, 2) for the
            whole segment; None if unknown or not required.
        targets: (T',) int32 labels in addition to the data, or None.
        sample_rate: of audio samples, in Hz; None if unknown or not required.
    """

    name: str
    data: NDArray[Any] | Alignment
    times: NDArray[np.float64] | None = None
    targets: NDArray[np.int32] | None = None
    sample_rate: int | None = None

    def with_rate(self, rate: LabelRate) -> ConvertItem:
        """The same item, with labels at another rate.

        Raises:
            LabelError: if the data is an alignment whose labels are not known.
        """
        if isinstance(self.data, Alignment):
            raise LabelError(
                "the rate of allophone states cannot be changed, only that of labels",
                entry=self.name,
                expected="an AllophoneLabeling",
            )
        targets = None if self.targets is None else rate.apply_to(self.targets)
        data = rate.apply_to(self.data) if is_labels(self.data) else self.data
        return self._replace(data=data, targets=targets)

    def with_dtype(self, dtype: DTypeLike) -> ConvertItem:
        """The same item, with features and floats in another dtype.

        Raises:
            UnsupportedError: for complex features and a real dtype, or for values that the dtype
                cannot represent.
        """
        data = self.data
        if isinstance(data, Alignment) or is_labels(data):
            return self
        dtype = np.dtype(dtype)
        if data.dtype.kind == "c" and dtype.kind != "c":
            raise UnsupportedError(f"complex features cannot become {dtype}", entry=self.name)
        with np.errstate(over="ignore", invalid="ignore"):
            converted = data.astype(dtype, copy=False)
        if dtype.kind in "iu":
            lost = converted.astype(np.float64) != np.trunc(data.astype(np.float64))
        else:
            lost = ~np.isfinite(converted) & np.isfinite(data)
        if lost.any():
            index = tuple(np.argwhere(lost)[0].tolist())
            raise UnsupportedError(
                f"value out of range of {dtype}", entry=self.name, found=f"{data[index]} at {index}"
            )
        return self._replace(data=converted)


class LabelBlock(NamedTuple):
    """Segments with labels and nothing else, in one array.

    Attributes:
        names: of the segments.
        labels: (N,) int32, those of one segment after the other; the next block of the source
            overwrites them.
        offsets: (B + 1,) int64, where the labels of each segment begin, and N.
        largest: the largest label, at least 0.
    """

    names: Sequence[str]
    labels: NDArray[np.int32]
    offsets: NDArray[np.int64]
    largest: int

    def items(self) -> Iterator[ConvertItem]:
        """The segments one by one."""
        for name, (start, stop) in zip(self.names, pairwise(self.offsets.tolist()), strict=True):
            yield ConvertItem(name, self.labels[start:stop].copy())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,) labels of each segment."""
        return np.diff(self.offsets)


class Source(Protocol):
    """A source of segments; closed by its user."""

    def __len__(self) -> int:
        """Number of segments; 0 if unknown."""

    def names(self) -> Iterable[str]:
        """Names of all segments, in order."""

    def items(self, names: Collection[str] | None) -> Generator[ConvertItem | LabelBlock]:
        """Reads the segments with these names, None: all, in the order of the source."""

    def close(self) -> None:
        """Closes the files."""


class Sink(ABC):
    """A destination of segments; files get their names at the end of the ``with`` block.

    If the block ends with an exception, the written files are removed.
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
    def add(self, item: ConvertItem) -> None:
        """Adds one segment."""

    def add_labels(self, block: LabelBlock) -> None:
        """Adds segments with labels."""
        for item in block.items():
            self.add(item)

    @abstractmethod
    def _finish(self) -> None:
        """Writes buffered data and renames the files."""

    @abstractmethod
    def _discard(self) -> None:
        """Removes files that were not renamed."""


def is_labels(data: NDArray[Any]) -> bool:
    """Whether an array has one integer label per frame."""
    return data.ndim == 1 and data.dtype.kind in "iu"


def array_of(item: ConvertItem, path: str) -> NDArray[Any]:
    """The data for a file that holds arrays.

    Raises:
        UnsupportedError: if they are items of an alignment, or frames without values.
    """
    data = item.data
    if isinstance(data, Alignment):
        raise UnsupportedError("alignments must be mapped to labels", path=path, entry=item.name)
    if data.ndim == 2 and len(data) and not data.shape[1]:
        raise UnsupportedError("frames without values", path=path, entry=item.name)
    return data


def label_alignment(
    labels: NDArray[Any],
    times: NDArray[np.float64] | None,
    frame_shift: float,
    frame_length: float,
) -> Alignment:
    """An alignment of emission ids, one item per frame.

    Args:
        labels: (T,) integers.
        times: (N, 2) start and end in seconds; None: computed from shift and length.
        frame_shift, frame_length: in seconds.

    Raises:
        LabelError: for a label below 0 or above 2**32 - 1.
    """
    if len(labels) and (labels.min() < 0 or labels.max() > 0xFFFFFFFF):
        label = labels.min() if labels.min() < 0 else labels.max()
        raise LabelError("label", expected="0 to 2**32 - 1", found=label)
    start: float | None = None
    end: float | None = None
    if times is not None and len(times):
        start, end = float(times[0, 0]), float(times[-1, 1])
    elif len(labels):
        start, end = 0.0, (len(labels) - 1) * frame_shift + frame_length
    time = np.arange(len(labels), dtype=np.uint32)
    return Alignment(time, labels, label_type="emission", start=start, end=end)


_NUL = re.compile("\0")


def check_name(
    name: str, path: str, holder: str, forbidden: re.Pattern[str] = _NUL, character: str = "NUL"
) -> None:
    """Raises UnsupportedError for a name that a file of another kind cannot hold."""
    if not _is_utf8(name):
        raise UnsupportedError(f"{holder} requires names in UTF-8", path=path, entry=name)
    if not name:
        raise UnsupportedError(f"{holder} requires a name", path=path, entry=name)
    if forbidden.search(name):
        raise UnsupportedError(
            f"{holder} cannot hold a name with {character}", path=path, entry=name
        )


def check_names(names: Sequence[str], path: str, holder: str) -> None:
    """As `check_name` for each name."""
    joined = "".join(names)
    if not all(names) or not _is_utf8(joined) or _NUL.search(joined):
        for name in names:
            check_name(name, path, holder)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
