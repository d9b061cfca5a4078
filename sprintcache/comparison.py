"""Comparison of two alignments of the same segments: agreement, confusions, boundary shifts.

Each frame counts by the state with the largest weight, so soft alignments can be compared too.
Phone boundaries are matched by `sprintcache._analysis.boundaries`. Only sums are kept: memory grows
with the number of different pairs of states, not with the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

import numpy as np

from ._analysis.accumulators import Tally, summed
from ._analysis.boundaries import phones_in_time, shifts
from ._analysis.frame_grid import estimate_ratio, to_finer_grid
from ._analysis.name_sample import NameSample
from ._analysis.units import Units
from ._checks import require_attribute
from ._threads import chunk_map
from .errors import EntryNotFoundError, LabelError, SprintCacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .alignment import Alignment
    from .allophones import AllophoneLabeling
    from .archive import Archive

__all__ = ["Comparison", "Confusions", "NameSample", "compare"]

_NUM_SAMPLED = 50  # segments that determine the ratio of frame shifts
_SHIFT = 32  # a pair of numbers as one int64: the first in the upper bits


@dataclass
class Confusions:
    """Pairs of units of the same frames in two alignments.

    Attributes:
        kind: "label", "state" or "phone".
        names: (K,) names; `first` and `second` are indices into it.
        first, second: (P,) int64, the pairs that occur.
        frames: (P,) int64, number of frames of each pair.
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
        """Frames with the same unit in both."""
        return int(self.frames[self.first == self.second].sum())

    @property
    def agreement(self) -> float:
        """Share of the frames with the same unit in both; 1 without frames."""
        return self.num_equal / self.num_frames if self.num_frames else 1.0

    def most(self, count: int) -> list[tuple[str, str, int]]:
        """(first, second, frames) of the most frequent pairs of different names."""
        wrong = np.flatnonzero(self.first != self.second)
        order = wrong[np.argsort(-self.frames[wrong], kind="stable")[:count]].tolist()
        return [
            (self.names[self.first[pair]], self.names[self.second[pair]], int(self.frames[pair]))
            for pair in order
        ]


@dataclass
class Comparison:
    """Result of `compare`; frames are those of the smaller frame shift.

    Attributes:
        num_segments: segments that were compared; the fields below describe these.
        only_first, only_second: segments that the other archive lacks.
        different_length: segments whose numbers of frames differ; their common frames count.
        left_out: segments that cannot be compared.
        problem: why the first of those cannot, or "".
        units: confusions of labels, or of states without a labeling.
        phones: confusions of center phones; None without symbols.
        shifts: (K,) int64 different shifts in frames, ascending; positive: later in the second.
        shift_counts: (K,) int64, number of boundaries of each shift.
        num_boundaries_first, num_boundaries_second: all boundaries between phones.
    """

    num_segments: int = 0
    only_first: NameSample = field(default_factory=NameSample)
    only_second: NameSample = field(default_factory=NameSample)
    different_length: NameSample = field(default_factory=NameSample)
    left_out: NameSample = field(default_factory=NameSample)
    problem: str = ""
    units: Confusions = field(default_factory=lambda: _confusions("state", Tally(), str))
    phones: Confusions | None = None
    shifts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    shift_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    num_boundaries_first: int = 0
    num_boundaries_second: int = 0

    @property
    def num_matched(self) -> int:
        """Boundaries that are matched with one of the other alignment."""
        return int(self.shift_counts.sum())

    def within(self, frames: float) -> float:
        """Share of the matched boundaries that are at most so many frames apart."""
        near = np.abs(self.shifts) <= frames
        return int(self.shift_counts[near].sum()) / max(self.num_matched, 1)

    @property
    def mean_shift(self) -> float:
        """Mean shift of the matched boundaries in frames, positive if the second is later."""
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
    frame_shifts: tuple[float, float] | None = None,
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
        frame_shifts: of the first and the second, in seconds. If they differ, alignments are
            compared in frames of the smaller one. None: equal, or a ratio that the lengths and
            times of the first segments determine.
        num_threads: None: one; more help if reading is slow.
        progress: called with (segments done, segments to do) now and then.

    Raises:
        EntryNotFoundError: if both archives lack one of the names, or have no common segment.
        LabelError: if the frame shifts differ and cannot be determined.
        OSError: if a file cannot be read.
        TypeError: if `first` or `second` is not an Archive.
    """
    for archive in (first, second):
        require_attribute(archive, "source_paths", "an open Archive")
    units = Units(labeling, allophones, on_alphabet_mismatch)
    chosen: Iterable[str] = names or ()
    if names is None:
        only_second = (name for name in second.segments if name not in first)
        chosen = chain(first.segments, only_second)

    if frame_shifts is None:
        ratio = _estimate_ratio(first, second, names)
    else:
        ratio = frame_shifts[1] / frame_shifts[0]

    def read(chunk: list[str]) -> _Collector:
        collector = _Collector(units, ratio)
        for name in chunk:
            collector.add(first, second, name)
        return collector

    total = _Collector(units, ratio)
    num_names = len(first.segments if names is None else names)
    for collector in chunk_map(read, chosen, num_threads or 1):
        total.merge(collector)
        if progress is not None:
            progress(total.num_done, max(num_names, total.num_done))
    _check_common(total.comparison, first.path, second.path)
    return total.result()


def _estimate_ratio(first: Archive, second: Archive, names: Sequence[str] | None) -> float:
    """The frame shift of the second archive divided by that of the first."""
    common = (name for name in (names or first.segments) if name in first and name in second)
    pairs = []
    for name in islice(common, _NUM_SAMPLED):
        with suppress(SprintCacheError):  # reported when it is compared
            pairs.append((first.read_alignment(name), second.read_alignment(name)))
    return estimate_ratio(pairs)


def _check_common(comparison: Comparison, *paths: str) -> None:
    if comparison.num_segments or comparison.left_out.count:
        return
    samples = comparison.only_first, comparison.only_second
    examples = [f"{sample.names[0]!r}" for sample in samples if sample.names]
    such_as = f", such as {' and '.join(examples)}" if examples else ""
    raise EntryNotFoundError(f"{' and '.join(paths)} have no common segment{such_as}")


class _Collector:
    """The sums over some segments."""

    def __init__(self, units: Units, ratio: float) -> None:
        self.comparison = Comparison()
        self.num_done = 0
        self._units = units
        self._ratio = ratio
        self._unit_pairs = Tally()
        self._phone_pairs = Tally()
        self._shifts = Tally()

    def add(self, first: Archive, second: Archive, name: str) -> None:
        """Compares a segment."""
        comparison = self.comparison
        self.num_done += 1
        if name not in first:
            second.entry(name)
            comparison.only_second.add(name)
            return
        if name not in second:
            comparison.only_first.add(name)
            return
        try:
            self._compare(
                name, _best(first.read_alignment(name)), _best(second.read_alignment(name))
            )
        except SprintCacheError as error:
            if error.path is None:
                error.path, error.entry = second.entry(name).archive_path, name
            comparison.left_out.add(name)
            comparison.problem = comparison.problem or str(error)

    def _compare(self, name: str, a: Alignment, b: Alignment) -> None:
        _check_comparable(a, b, self._units)
        if self._ratio != 1:
            a, b = to_finer_grid(a, b, self._ratio)
        numbers_a, numbers_b = self._units.numbers(a), self._units.numbers(b)
        phones_a, phones_b = self._units.phones(a), self._units.phones(b)
        comparison = self.comparison
        comparison.num_segments += 1
        if a.num_frames != b.num_frames:
            comparison.different_length.add(name)
        _, index_a, index_b = np.intersect1d(a.time, b.time, True, return_indices=True)
        self._unit_pairs.add(*summed(numbers_a[index_a] << _SHIFT | numbers_b[index_b]))
        known = (phones_a[index_a] >= 0) & (phones_b[index_b] >= 0)
        self._phone_pairs.add(*summed((phones_a[index_a] << _SHIFT | phones_b[index_b])[known]))
        runs_a = phones_in_time(a, phones_a, numbers_a)
        runs_b = phones_in_time(b, phones_b, numbers_b)
        comparison.num_boundaries_first += runs_a.num_boundaries
        comparison.num_boundaries_second += runs_b.num_boundaries
        self._shifts.add(shifts(runs_a, runs_b))

    def merge(self, other: _Collector) -> None:
        """Adds the sums of another collector."""
        total, added = self.comparison, other.comparison
        self.num_done += other.num_done
        total.num_segments += added.num_segments
        total.only_first.merge(added.only_first)
        total.only_second.merge(added.only_second)
        total.different_length.merge(added.different_length)
        total.left_out.merge(added.left_out)
        total.problem = total.problem or added.problem
        total.num_boundaries_first += added.num_boundaries_first
        total.num_boundaries_second += added.num_boundaries_second
        self._unit_pairs.add(*other._unit_pairs.sums())
        self._phone_pairs.add(*other._phone_pairs.sums())
        self._shifts.add(*other._shifts.sums())

    def result(self) -> Comparison:
        """The comparison."""
        comparison, units = self.comparison, self._units
        comparison.units = _confusions(units.kind, self._unit_pairs, units.name)
        phones = _confusions("phone", self._phone_pairs, units.phone)
        comparison.phones = phones if len(phones.frames) else None
        comparison.shifts, counts = self._shifts.sums()
        comparison.shift_counts = counts.astype(np.int64)
        return comparison


def _best(alignment: Alignment) -> Alignment:
    """One item per frame, the one with the largest weight, in order of time."""
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


def _check_comparable(a: Alignment, b: Alignment, units: Units) -> None:
    """Raises LabelError for states by symbol on one side and by id on the other."""
    if units.labeling is not None:
        return
    if a.label_type != b.label_type:
        raise LabelError(
            f"the first has ids of type {a.label_type}, the second {b.label_type};"
            " a state tying maps both to labels"
        )
    if not units.has_allophones and (a.alphabet is None) != (b.alphabet is None):
        raise LabelError(
            "only one of the two alignments has an alphabet; states need the allophone file"
        )


def _confusions(kind: str, tally: Tally, name: Callable[[int], str]) -> Confusions:
    pairs, frames = tally.sums()
    numbers, indices = np.unique(
        np.stack([pairs >> _SHIFT, pairs & (1 << _SHIFT) - 1]), return_inverse=True
    )
    names = [name(number) for number in numbers.tolist()]
    # numbers depend on the order of threads, names do not
    order = np.arange(len(names)) if kind == "label" else np.argsort(np.array(names, object))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    first, second = ranks[indices.reshape(2, -1)]
    by_name = np.lexsort((second, first))
    return Confusions(
        kind,
        [names[index] for index in order.tolist()],
        first[by_name],
        second[by_name],
        frames[by_name].astype(np.int64),
    )
