"""Statistics of an archive: lengths, moments of the dimensions, use of labels, silence.

`collect` reads each segment once, in a few threads, and keeps sums only: its memory depends on the
number of dimensions, of different lengths and of different labels, not on the corpus (n different
lengths need n * n / 2 frames, so even a billion frames have less than 45,000 of them).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._analysis.accumulators import Moments, Tally, summed, weight_share
from ._analysis.alignment_use import AlignmentSummary, AlignmentTally
from ._analysis.name_sample import NameSample
from ._analysis.units import Units, tied_labels
from ._checks import require_attribute
from ._signals import is_signal, signal
from ._threads import chunk_map, default_threads
from .errors import SprintCacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from .allophones import AllophoneLabeling
    from .archive import Archive
    from .entries import Block

__all__ = [
    "AlignmentSummary",
    "LabelUse",
    "Lengths",
    "NameSample",
    "Statistics",
    "collect",
    "collect_shapes",
]

_MAX_GAPS = 1 << 16  # labels without a state that are listed as unused


@dataclass
class Lengths:
    """Number of segments of each length in frames.

    Attributes:
        values: (K,) int64, the different lengths, ascending.
        counts: (K,) int64, number of segments of each length.
    """

    values: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """Frames of all segments."""
        return int((self.values * self.counts).sum())

    @property
    def mean(self) -> float:
        """Mean length; 0 without segments."""
        return self.total / max(int(self.counts.sum()), 1)

    def quantile(self, share: float) -> int:
        """The smallest length that `share` (0 to 1) of the segments do not exceed; 0 if empty."""
        if not len(self.values):
            return 0
        cumulative = np.cumsum(self.counts)
        index = np.searchsorted(cumulative, share * cumulative[-1])
        return int(self.values[min(index, len(cumulative) - 1)])


@dataclass
class LabelUse:
    """Frequency of each label, state or id, by weight.

    Attributes:
        kind: "label", or "state" (also for emission ids without a labeling).
        names: of the K units; with a labeling its labels in order, used or not.
        weights: (K,) float64, their summed weights: frames, unless alignments are soft.
        silence_share: weight of silence divided by all weight; None without a silence label.
    """

    kind: str
    names: list[str]
    weights: NDArray[np.float64]
    silence_share: float | None

    @property
    def unused(self) -> list[str]:
        """Names of the labels that never occur."""
        return [self.names[index] for index in np.flatnonzero(self.weights == 0).tolist()]

    def rare(self, limit: float) -> list[tuple[str, float]]:
        """(name, weight) of the units that occur with less weight than `limit`; rarest first."""
        return [(name, weight) for name, weight in self.ordered() if 0 < weight < limit][::-1]

    def ordered(self) -> list[tuple[str, float]]:
        """(name, weight) of all units, most frequent first."""
        order = np.argsort(-self.weights, kind="stable")
        return [(self.names[index], float(self.weights[index])) for index in order.tolist()]


@dataclass
class Statistics:
    """Statistics of segments.

    Attributes:
        num_segments: segments that were read; the fields below describe these.
        num_left_out: segments that are damaged, or neither features nor alignments.
        problem: why the first of those was left out, or "".
        datatypes: number of segments by datatype.
        dims: number of segments by dimension; "varying" if frames differ.
        lengths: in frames; of audio, in samples.
        seconds: from the first start to the last end of each segment, summed.
        frame_shift: seconds between the first two frames that were read; None without times.
        moments: `Moments` by number of dimensions (one, unless the archive mixes kinds).
        not_finite: segments with NaN or infinite values.
        labels: None without alignments.
        alignments: states and labels in use (of `collect_shapes`); None without alignments.
        num_soft: weighted alignments.
        num_signals: segments of audio samples, see `Archive.read_audio`.
    """

    num_segments: int = 0
    num_left_out: int = 0
    problem: str = ""
    datatypes: dict[str, int] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    lengths: Lengths = field(default_factory=lambda: _lengths(Tally()))
    seconds: float = 0.0
    frame_shift: float | None = None
    moments: dict[int, Moments] = field(default_factory=dict)
    not_finite: NameSample = field(default_factory=NameSample)
    labels: LabelUse | None = None
    alignments: AlignmentSummary | None = None
    num_soft: int = 0
    num_signals: int = 0


def collect(
    archive: Archive,
    names: Sequence[str] | None = None,
    *,
    labeling: AllophoneLabeling | None = None,
    allophones: Sequence[str] | None = None,
    on_alphabet_mismatch: Literal["error", "map", "ignore"] = "error",
    num_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Collects statistics of features, scalars, audio samples and alignments.

    Non-finite values and weights do not count.

    Args:
        archive: the archive.
        names: segments to read; None: all.
        labeling: count labels instead of states.
        allophones: symbols of states; None: those of the labeling, or of the alignments' alphabets.
        on_alphabet_mismatch: as for `Archive.read_labels`; with "error" such a segment is left out.
        num_threads: None: one per processor, at most 8; for alignments, whose symbols take more
            time than their decoding, one.
        progress: called with (segments read, segments to read) now and then.

    Raises:
        EntryNotFoundError: if the archive lacks a name.
        OSError: if a file cannot be read.
        TypeError: if `archive` is not an Archive.
    """
    require_attribute(archive, "source_paths", "an open Archive")
    names = archive.segments if names is None else _existing(archive, names)
    units = Units(labeling, allophones, on_alphabet_mismatch)
    if num_threads is None:
        num_threads = 1 if _starts_with_alignment(archive, names) else default_threads()
    return _run(archive, names, lambda: _ValueCollector(units), num_threads, progress)


def collect_shapes(
    archive: Archive,
    names: Sequence[str] | None = None,
    *,
    labeling: AllophoneLabeling | None = None,
    allophones: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Collects datatypes, dimensions, lengths and durations of any entries, and the use of states.

    Moments and `Statistics.labels` are not computed; only damaged segments are left out.

    Args:
        archive, names, progress: as for `collect`.
        labeling: for the labels in `Statistics.alignments`.
        allophones: to compare alphabets with; None: those of the labeling.

    Raises:
        EntryNotFoundError, OSError, TypeError: as `collect`.
    """
    require_attribute(archive, "source_paths", "an open Archive")
    names = archive.segments if names is None else _existing(archive, names)
    if allophones is None and labeling is not None:
        allophones = labeling.allophones
    threads = default_threads()
    return _run(archive, names, lambda: _ShapeCollector(labeling, allophones), threads, progress)


def _existing(archive: Archive, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        archive.entry(name)
    return names


def _starts_with_alignment(archive: Archive, names: Sequence[str]) -> bool:
    try:
        return len(names) > 0 and archive.datatype(names[0]) == "flow-alignment"
    except SprintCacheError:
        return False


def _run(
    archive: Archive,
    names: Sequence[str],
    new_collector: Callable[[], _Collector],
    num_threads: int,
    progress: Callable[[int, int], None] | None,
) -> Statistics:
    """Reads the segments in threads and merges what each chunk of names gives."""

    def read(chunk: list[str]) -> _Collector:
        collector = new_collector()
        for name in chunk:
            collector.add(archive, name)
        return collector

    total = new_collector()
    for collector in chunk_map(read, names, num_threads):
        total.merge(collector)
        if progress is not None:
            statistics = total.statistics
            progress(statistics.num_segments + statistics.num_left_out, len(names))
    return total.result()


class _Collector(ABC):
    """The sums over some segments."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self._lengths = Tally()

    def add(self, archive: Archive, name: str) -> None:
        """Counts a segment."""
        statistics = self.statistics
        try:
            datatype, length = self._read(archive, name)
        except SprintCacheError as error:
            if error.path is None:
                error.path, error.entry = archive.entry(name).archive_path, name
            statistics.num_left_out += 1
            statistics.problem = statistics.problem or str(error)
            return
        statistics.num_segments += 1
        _count(statistics.datatypes, datatype)
        self._lengths.add(np.array([length]))

    @abstractmethod
    def _read(self, archive: Archive, name: str) -> tuple[str, int]:
        """Reads a segment, adds to the sums, and returns (datatype, number of frames)."""

    def _add_seconds(self, start: float | None, end: float | None) -> None:
        if start is not None and end is not None and 0 < end - start < float("inf"):
            self.statistics.seconds += float(end - start)

    def merge(self, other: Self) -> None:
        """Adds the sums of another collector of this class."""
        total, added = self.statistics, other.statistics
        total.num_segments += added.num_segments
        total.num_left_out += added.num_left_out
        total.problem = total.problem or added.problem
        for datatype, count in added.datatypes.items():
            _count(total.datatypes, datatype, count)
        for dim, count in added.dims.items():
            _count(total.dims, dim, count)
        total.seconds += added.seconds
        if total.frame_shift is None:
            total.frame_shift = added.frame_shift
        for num_dims, moments in added.moments.items():
            total.moments.setdefault(num_dims, Moments(num_dims)).merge(moments)
        total.not_finite.merge(added.not_finite)
        total.num_soft += added.num_soft
        total.num_signals += added.num_signals
        self._lengths.add(*other._lengths.sums())

    def result(self) -> Statistics:
        """The statistics."""
        self.statistics.lengths = _lengths(self._lengths)
        return self.statistics


class _ValueCollector(_Collector):
    """Moments of numbers, and weights of units."""

    def __init__(self, units: Units) -> None:
        super().__init__()
        self._units = units
        self._labels = Tally()

    def _read(self, archive: Archive, name: str) -> tuple[str, int]:
        datatype = archive.datatype(name) or "not a Flow cache"
        if datatype == "flow-alignment":
            return datatype, self._read_alignment(archive, name)
        return datatype, self._read_numbers(archive, name, datatype)

    def _read_numbers(self, archive: Archive, name: str, datatype: str) -> int:
        statistics = self.statistics
        times = archive.read_times(name)
        is_audio = is_signal(datatype, times)
        statistics.num_signals += is_audio
        if is_audio:
            values: NDArray[Any] = signal(archive.read(name))[:, None]
        else:
            values = archive.read_features(name)
        if len(values):
            num_dims = values.shape[1]
            _count(statistics.dims, str(num_dims))
            moments = statistics.moments.setdefault(num_dims, Moments(num_dims))
            num_not_finite = moments.num_not_finite
            moments.add(values)
            if moments.num_not_finite > num_not_finite:
                statistics.not_finite.add(name)
        if len(times):
            self._add_seconds(times[0, 0], times[-1, 1])
        if len(times) > 1 and statistics.frame_shift is None and not is_audio:
            statistics.frame_shift = round(float(times[1, 0] - times[0, 0]), 6)
        return len(values)

    def _read_alignment(self, archive: Archive, name: str) -> int:
        alignment = archive.read_alignment(name)
        numbers = self._units.numbers(alignment)
        finite = np.isfinite(alignment.weight)
        if not finite.all():
            self.statistics.not_finite.add(name)
        self._labels.add(*summed(numbers, np.where(finite, alignment.weight, 0)))
        self.statistics.num_soft += alignment.weighted
        self._add_seconds(alignment.start, alignment.end)
        return alignment.num_frames

    def merge(self, other: Self) -> None:
        super().merge(other)
        self._labels.add(*other._labels.sums())

    def result(self) -> Statistics:
        if "flow-alignment" in self.statistics.datatypes:
            self.statistics.labels = _label_use(self._labels, self._units)
        return super().result()


class _ShapeCollector(_Collector):
    """Shapes of entries of any datatype, and states of alignments."""

    def __init__(
        self, labeling: AllophoneLabeling | None, allophones: Sequence[str] | None
    ) -> None:
        super().__init__()
        self._labeling = labeling
        self._alignments = AlignmentTally(allophones)

    def _read(self, archive: Archive, name: str) -> tuple[str, int]:
        if archive.datatype(name) is None:
            return "bytes" if archive.read_bytes(name) else "empty", 0
        blocks = archive.read_blocks(name)
        num_frames = 0
        for block in blocks:
            if block.datatype == "flow-alignment":
                num_frames += sum(alignment.num_frames for alignment in block.data)
                for alignment in block.data:
                    self._alignments.add(alignment)
            else:
                num_frames += len(block.data)
        dim = _dim(blocks)
        if dim:
            _count(self.statistics.dims, dim)
        times = [block.times for block in blocks if block.times is not None and len(block.times)]
        if times:
            self._add_seconds(float(times[0][0, 0]), float(times[-1][-1, 1]))
        return "+".join(dict.fromkeys(block.datatype for block in blocks)), num_frames

    def merge(self, other: Self) -> None:
        super().merge(other)
        self._alignments.merge(other._alignments)

    def result(self) -> Statistics:
        self.statistics.alignments = self._alignments.summary(self._labeling)
        return super().result()


def _count(counts: dict[str, int], key: str, count: int = 1) -> None:
    counts[key] = counts.get(key, 0) + count


def _dim(blocks: list[Block]) -> str:
    """Values per frame; "varying"; "" if frames are not vectors of numbers."""
    dims: set[str] = set()
    for block in blocks:
        if not len(block.data) or block.datatype in ("timestamp", "linear-filter-parameter"):
            continue
        if isinstance(block.data, np.ndarray):
            dims.add(str(block.data.shape[1]) if block.data.ndim == 2 else "1")
        elif isinstance(block.data[0], np.ndarray) and block.datatype.startswith("vector-"):
            dims.add("varying")
    return dims.pop() if len(dims) == 1 else "varying" if dims else ""


def _lengths(tally: Tally) -> Lengths:
    values, counts = tally.sums()
    return Lengths(values, counts.astype(np.int64))


def _label_use(tally: Tally, units: Units) -> LabelUse:
    labeling = units.labeling
    if labeling is None:
        numbers, weights = tally.sums()
        names = [units.name(number) for number in numbers.tolist()]
        order = np.argsort(np.array(names, object))  # numbers depend on the order of threads
        return LabelUse(units.kind, [names[index] for index in order], weights[order], None)
    labels = tied_labels(labeling)
    if labeling.num_labels <= len(labels) + _MAX_GAPS:
        labels = np.arange(labeling.num_labels)
    tally.add(labels, np.zeros(len(labels)))
    numbers, weights = tally.sums()
    share = None
    if labeling.sil_label_idx is not None:
        share = weight_share(weights, numbers == labeling.sil_label_idx)
    return LabelUse(units.kind, [units.name(n) for n in numbers.tolist()], weights, share)
