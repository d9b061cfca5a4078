"""Comparison of two alignments of the same segments: agreement, confusions, boundary shifts.

Frames are compared by the state with the largest weight, so soft alignments can be compared as
well. Boundaries are those between phones; `boundaries` says which ones belong together. Only sums
are kept: memory grows with the number of different pairs of states, not with the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np

from ._analysis.accumulators import Tally
from ._analysis.boundaries import phones_in_time, shifts
from ._analysis.units import Units
from ._checks import expect
from ._threads import chunk_map
from .errors import LabelError, SprintCacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .alignment import Alignment
    from .allophones import AllophoneLabeling
    from .archive import Archive

__all__ = ["Comparison", "Confusions", "Some", "compare"]

_MOST_NAMES = 100
_SHIFT = 32  # a pair of numbers as one: the first is above these bits


@dataclass
class Some:
    """How many segments there are of a sort, and the names of the first 100.

    Attributes:
        count: how many.
        names: their names.
    """

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.names) < _MOST_NAMES:
            self.names.append(name)

    def merge(self, other: Some) -> None:
        """Counts what another has counted."""
        self.count += other.count
        self.names = (self.names + other.names)[:_MOST_NAMES]


@dataclass
class Confusions:
    """What the one alignment calls each frame, and what the other.

    Attributes:
        kind: "label", "state" or "phone".
        names: (K,) names; `first` and `second` are places in it.
        first, second: (P,) int64, the pairs that occur.
        frames: (P,) int64, in how many frames.
    """

    kind: str
    names: list[str]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    frames: NDArray[np.int64]

    @property
    def num_frames(self) -> int:
        """Frames that were compared."""
        return int(self.frames.sum())

    @property
    def num_equal(self) -> int:
        """Frames in which both say the same."""
        return int(self.frames[self.first == self.second].sum())

    @property
    def agreement(self) -> float:
        """The part of the frames in which both say the same; 1 where there is no frame."""
        return self.num_equal / self.num_frames if self.num_frames else 1.0

    def most(self, count: int) -> list[tuple[str, str, int]]:
        """(first, second, frames) of the most frequent pairs of different names."""
        wrong = np.flatnonzero(self.first != self.second)
        order = wrong[np.argsort(-self.frames[wrong], kind="stable")[:count]].tolist()
        return [
            (self.names[self.first[at]], self.names[self.second[at]], int(self.frames[at]))
            for at in order
        ]


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        num_segments: segments that were compared; what follows speaks of these.
        only_first, only_second: segments that the other archive does not have.
        different_length: segments whose numbers of frames differ; their common beginning counts.
        left_out: segments that could not be compared.
        problem: why the first of those could not; "" if all could.
        units: confusions of labels, or of states without a labeling.
        phones: confusions of centre phones; None where there are no symbols.
        shifts: (K,) int64 different shifts in frames, ascending; positive: later in the second.
        shift_counts: (K,) int64, how many boundaries have each.
        num_boundaries_first, num_boundaries_second: all boundaries between phones.
    """

    num_segments: int = 0
    only_first: Some = field(default_factory=Some)
    only_second: Some = field(default_factory=Some)
    different_length: Some = field(default_factory=Some)
    left_out: Some = field(default_factory=Some)
    problem: str = ""
    units: Confusions = field(default_factory=lambda: _confusions("state", Tally(), str))
    phones: Confusions | None = None
    shifts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    shift_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    num_boundaries_first: int = 0
    num_boundaries_second: int = 0

    @property
    def num_matched(self) -> int:
        """Boundaries that belong together."""
        return int(self.shift_counts.sum())

    def within(self, frames: float) -> float:
        """The part of the matched boundaries that are at most so many frames apart."""
        near = np.abs(self.shifts) <= frames
        return int(self.shift_counts[near].sum()) / max(self.num_matched, 1)

    @property
    def mean_shift(self) -> float:
        """Mean shift of the matched boundaries in frames, positive where the second is later."""
        return float((self.shifts * self.shift_counts).sum()) / max(self.num_matched, 1)

    @property
    def mean_distance(self) -> float:
        """Mean absolute shift of the matched boundaries in frames."""
        return float((np.abs(self.shifts) * self.shift_counts).sum()) / max(self.num_matched, 1)


def compare(
    first: Archive,
    second: Archive,
    names: Sequence[str] | None = None,
    *,
    labeling: AllophoneLabeling | None = None,
    allophones: Sequence[str] | None = None,
    on_alphabet_mismatch: Literal["error", "map", "ignore"] = "error",
    num_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compares the alignments of two archives, segment by segment.

    Args:
        first, second: the archives.
        names: segments to compare; None: all of both.
        labeling: compare labels instead of states.
        allophones: symbols of states; None: those of the labeling, or of the alignments' alphabets.
        on_alphabet_mismatch: as for `Archive.read_labels`; with "error" such a segment is left out.
        num_threads: None: one; more are of use where reading is slow.
        progress: is called with (segments done, segments to do) now and then.

    Raises:
        EntryNotFoundError: if neither archive has one of the names.
        OSError: if a file cannot be read.
        TypeError: if `first` or `second` is no archive.
    """
    for archive in (first, second):
        expect(archive, "source_paths", "an open Archive")
    units = Units(labeling, allophones, on_alphabet_mismatch)
    wanted: Iterable[str] = names or ()
    if names is None:
        more = (name for name in second.segments if name not in first)
        wanted = chain(first.segments, more)

    def look(chunk: list[str]) -> _Part:
        part = _Part()
        for name in chunk:
            part.add(first, second, name, units)
        return part

    whole = _Part()
    total = len(first.segments if names is None else names)
    for part in chunk_map(look, wanted, num_threads or 1):
        whole.merge(part)
        if progress is not None:
            progress(whole.num_seen, max(total, whole.num_seen))
    return whole.result(units)


class _Part:
    """The sums over some segments."""

    def __init__(self) -> None:
        self.found = Comparison()
        self.num_seen = 0
        self._units = Tally()
        self._phones = Tally()
        self._shifts = Tally()

    def add(self, first: Archive, second: Archive, name: str, units: Units) -> None:
        """Compares a segment."""
        self.num_seen += 1
        if name not in first:
            second.entry(name)
            self.found.only_second.add(name)
            return
        if name not in second:
            self.found.only_first.add(name)
            return
        try:
            one, other = _best(first.read_alignment(name)), _best(second.read_alignment(name))
            self._compare(one, other, name, units)
        except SprintCacheError as error:
            if error.path is None:
                error.path, error.entry = second.entry(name).archive_path, name
            self.found.left_out.add(name)
            self.found.problem = self.found.problem or str(error)

    def _compare(self, one: Alignment, other: Alignment, name: str, units: Units) -> None:
        _check_names(one, other, units)
        numbers = units.numbers(one), units.numbers(other)
        phones = units.phones(one), units.phones(other)
        self.found.num_segments += 1
        if one.num_frames != other.num_frames:
            self.found.different_length.add(name)
        _, at, there = np.intersect1d(one.time, other.time, True, return_indices=True)
        self._units.add(*_pairs(numbers[0][at], numbers[1][there]))
        known = (phones[0][at] >= 0) & (phones[1][there] >= 0)
        self._phones.add(*_pairs(phones[0][at][known], phones[1][there][known]))
        runs = [
            phones_in_time(one, phones[0], numbers[0]),
            phones_in_time(other, phones[1], numbers[1]),
        ]
        self.found.num_boundaries_first += runs[0].num_boundaries
        self.found.num_boundaries_second += runs[1].num_boundaries
        self._shifts.add(shifts(*runs))

    def merge(self, other: _Part) -> None:
        """Counts what another has counted."""
        mine, its = self.found, other.found
        self.num_seen += other.num_seen
        mine.num_segments += its.num_segments
        mine.only_first.merge(its.only_first)
        mine.only_second.merge(its.only_second)
        mine.different_length.merge(its.different_length)
        mine.left_out.merge(its.left_out)
        mine.problem = mine.problem or its.problem
        mine.num_boundaries_first += its.num_boundaries_first
        mine.num_boundaries_second += its.num_boundaries_second
        self._units.add(*other._units.sums())
        self._phones.add(*other._phones.sums())
        self._shifts.add(*other._shifts.sums())

    def result(self, units: Units) -> Comparison:
        """The comparison, sums turned into what they say."""
        found = self.found
        found.units = _confusions(units.kind, self._units, units.name)
        phones = _confusions("phone", self._phones, units.phone)
        found.phones = phones if len(phones.frames) else None
        found.shifts, counts = self._shifts.sums()
        found.shift_counts = counts.astype(np.int64)
        return found


def _best(alignment: Alignment) -> Alignment:
    """One item per frame, that of the largest weight, in the order of time."""
    if alignment.is_viterbi:
        return alignment
    order = np.lexsort((-alignment.weight, alignment.time))
    time = alignment.time[order]
    order = order[np.diff(time, prepend=~time[:1]) != 0]
    return type(alignment)(
        alignment.time[order],
        alignment.emission[order],
        alphabet=alignment.alphabet,
        label_type=alignment.label_type,
    )


def _check_names(one: Alignment, other: Alignment, units: Units) -> None:
    """States by symbol on one side and by bare id on the other cannot be compared."""
    if units.labeling is not None:
        return
    if one.label_type != other.label_type:
        raise LabelError(
            f"the first has ids of type {one.label_type}, the second {other.label_type};"
            " a state tying makes both labels"
        )
    if not units.has_allophones and (one.alphabet is None) != (other.alphabet is None):
        raise LabelError(
            "only one of the two alignments has an alphabet; states need the allophone file"
        )


def _pairs(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each pair of numbers as one number, and how often it occurs."""
    tally = Tally()
    tally.add(first << _SHIFT | second)
    return tally.sums()


def _confusions(kind: str, tally: Tally, name: Callable[[int], str]) -> Confusions:
    pairs, frames = tally.sums()
    numbers, places = np.unique(
        np.stack([pairs >> _SHIFT, pairs & (1 << _SHIFT) - 1]), return_inverse=True
    )
    names = [name(number) for number in numbers.tolist()]
    # numbers depend on which thread came first, names do not
    order = np.arange(len(names)) if kind == "label" else np.argsort(np.array(names, object))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    first, second = ranks[places.reshape(2, -1)]
    by_name = np.lexsort((second, first))
    return Confusions(
        kind,
        [names[place] for place in order.tolist()],
        first[by_name],
        second[by_name],
        frames[by_name].astype(np.int64),
    )
