"""An alignment as Sprint stores it: items of (time, emission, weight)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ALLOPHONE_MASK", "STATE_MASK", "STATE_SHIFT", "Alignment"]

# archive format, section 7.3 (RASR's Am/ClassicStateModel): bits 0-25 allophone, 26-29 state
ALLOPHONE_MASK = 0x03FFFFFF
STATE_MASK = 0x3C000000
STATE_SHIFT = 26

LABEL_TYPES = ("allophone-state", "emission")

# what to do where the alphabet of an alignment contradicts the allophone file
OnMismatch = Literal["error", "map", "ignore"]


def checks_alphabet(on_alphabet_mismatch: str) -> bool:
    """Whether such an alphabet is an error.

    Raises:
        ValueError: the value is not an `OnMismatch`.
    """
    if on_alphabet_mismatch not in ("error", "map", "ignore"):
        raise ValueError(
            f"on_alphabet_mismatch must be 'error', 'map' or 'ignore', not {on_alphabet_mismatch!r}"
        )
    return on_alphabet_mismatch == "error"


def check_pad(pad: int) -> None:
    """Checks a padding.

    Raises:
        ValueError: it is not an int32.
    """
    if not -(1 << 31) <= pad < 1 << 31:
        raise ValueError(f"pad must be an int32, not {pad!r}")


def label_table(labeling: Any) -> Any:
    """The table of an `AllophoneLabeling` for the compiled module; None for None.

    Raises:
        TypeError: it is neither.
    """
    if labeling is not None and not hasattr(labeling, "table"):
        raise TypeError(f"labeling must be an AllophoneLabeling, not {type(labeling).__name__}")
    return None if labeling is None else labeling.table


class Alignment:
    """Items in stored order; several may share a frame (Baum-Welch), and times may have gaps.

    Args:
        time: (N,) frame of each item.
        emission: (N,) id of each item: an allophone state, or with ``label_type="emission"`` the
            class after state tying.
        weight: (N,) weights, usually probabilities; None for 1.
        alphabet: symbols of the ids, such as ``{67108865: "a{b+c}@i.1"}``, or None.
        label_type: ``"allophone-state"`` or ``"emission"``.
        start, end: times in seconds as stored after the alignment, or None.
        weighted: the scheme it was stored in; None: weighted if any weight is not 1.

    Attributes:
        time: (N,) uint32.  emission: (N,) uint32.  weight: (N,) float32.
        alphabet, label_type, start, end: as given.  weighted: bool.

    Raises:
        ValueError: if the arrays differ in length or have values that do not fit their dtype.
    """

    __slots__ = ("alphabet", "emission", "end", "label_type", "start", "time", "weight", "weighted")

    time: NDArray[np.uint32]
    emission: NDArray[np.uint32]
    weight: NDArray[np.float32]
    alphabet: dict[int, str] | None
    label_type: str
    start: float | None
    end: float | None
    weighted: bool

    def __init__(
        self,
        time: ArrayLike,
        emission: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        alphabet: Mapping[int, str] | None = None,
        label_type: str = "allophone-state",
        start: float | None = None,
        end: float | None = None,
        weighted: bool | None = None,
    ) -> None:
        if label_type not in LABEL_TYPES:
            raise ValueError(f"label_type must be one of {LABEL_TYPES}, not {label_type!r}")
        self.time = _ids("time", time)
        self.emission = _ids("emission", emission)
        if weight is None:
            self.weight = np.ones(len(self.time), np.float32)
        else:
            self.weight = np.ascontiguousarray(weight, np.float32)
        if not self.time.shape == self.emission.shape == self.weight.shape:
            raise ValueError(
                f"time {self.time.shape}, emission {self.emission.shape} and weight"
                f" {self.weight.shape} must be vectors of one length"
            )
        self.alphabet = None if alphabet is None else dict(alphabet)
        self.label_type = label_type
        self.start = start
        self.end = end
        self.weighted = bool(np.any(self.weight != 1)) if weighted is None else weighted

    def __len__(self) -> int:
        """Number of items."""
        return len(self.time)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Alignment):
            return NotImplemented
        return (
            np.array_equal(self.time, other.time)
            and np.array_equal(self.emission, other.emission)
            and np.array_equal(self.weight, other.weight, equal_nan=True)
            and (self.alphabet, self.label_type, self.start, self.end, self.weighted)
            == (other.alphabet, other.label_type, other.start, other.end, other.weighted)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kind = "viterbi" if self.is_viterbi else "soft" if self.weighted else "unweighted"
        return (
            f"<Alignment {kind}, {len(self)} items in {self.num_frames} frames,"
            f" {self.label_type}{', with alphabet' if self.alphabet is not None else ''}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: getattr(self, name) for name in self.__slots__}
        return type(self), (self.time, self.emission, self.weight), (None, state)

    @property
    def allophone(self) -> NDArray[np.uint32]:
        """(N,) uint32 allophone index of each item; of allophone-state alignments only."""
        return self.emission & np.uint32(ALLOPHONE_MASK)

    @property
    def state(self) -> NDArray[np.uint8]:
        """(N,) uint8 HMM state, 0 to 15, of each item; of allophone-state alignments only."""
        return ((self.emission & np.uint32(STATE_MASK)) >> np.uint32(STATE_SHIFT)).astype(np.uint8)

    @property
    def num_frames(self) -> int:
        """Last time + 1; 0 without items."""
        return int(self.time.max()) + 1 if len(self.time) else 0

    @property
    def is_viterbi(self) -> bool:
        """Whether there is exactly one item per frame, at 0, 1, 2, ..., as labels need it."""
        return bool(np.array_equal(self.time, np.arange(len(self.time), dtype=np.uint32)))


def _ids(name: str, values: ArrayLike) -> NDArray[np.uint32]:
    array = np.asarray(values)
    if array.dtype != np.uint32:
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} must be integers, not {array.dtype}")
        if array.size and (array.min() < 0 or array.max() > 0xFFFFFFFF):
            raise ValueError(f"{name} must be between 0 and 2**32 - 1")
    return np.ascontiguousarray(array, np.uint32)
