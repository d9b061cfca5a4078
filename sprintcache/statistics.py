"""Statistics of an archive: lengths, moments of the dimensions, use of labels, silence.

`collect` goes once over the segments, in a few threads, and keeps sums only: its memory depends on
the number of dimensions, of different lengths and of different labels, not on the corpus (n
different lengths need n * n / 2 frames, so even a billion frames have less than 45,000 of them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ._analysis.accumulators import Moments, Tally
from ._analysis.units import Units
from ._checks import expect
from ._threads import chunk_map, default_threads
from .errors import SprintCacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .allophones import AllophoneLabeling
    from .archive import Archive

__all__ = ["LabelUse", "Lengths", "Statistics", "collect", "is_signal", "signal"]

_INTEGERS = ("vector-s8", "vector-u8", "vector-s16", "vector-u16", "vector-s32", "vector-u32")
_PACKET = 0.1 - 1e-9  # seconds: no frame is as long, and pieces of audio are longer


@dataclass
class Lengths:
    """How many segments there are of each length in frames.

    Attributes:
        values: (K,) int64, the different lengths, ascending.
        counts: (K,) int64, how many segments have each.
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
        """The least length that `share` (0 to 1) of the segments do not exceed; 0 without any."""
        if not len(self.values):
            return 0
        below = np.cumsum(self.counts)
        return int(self.values[min(np.searchsorted(below, share * below[-1]), len(below) - 1)])


@dataclass
class LabelUse:
    """How often each label, state or id occurs, by weight.

    Attributes:
        kind: "label", or "state" (also for emission ids without a labeling).
        names: of the K units; with a labeling all its labels in order, used or not.
        weights: (K,) float64, their summed weights: frames, where alignments are not soft.
        silence_share: silence's part of all; None without a silence label.
    """

    kind: str
    names: list[str]
    weights: NDArray[np.float64]
    silence_share: float | None

    @property
    def unused(self) -> list[str]:
        """Names of the labels that never occur."""
        return [self.names[place] for place in np.flatnonzero(self.weights == 0).tolist()]

    def rare(self, limit: float) -> list[tuple[str, float]]:
        """(name, weight) of what occurs, but with less weight than `limit`; rarest first."""
        return [(name, weight) for name, weight in self.ordered() if 0 < weight < limit][::-1]

    def ordered(self) -> list[tuple[str, float]]:
        """(name, weight) of all, most frequent first."""
        order = np.argsort(-self.weights, kind="stable")
        return [(self.names[place], float(self.weights[place])) for place in order.tolist()]


@dataclass
class Statistics:
    """What `collect` found.

    Attributes:
        num_segments: segments that were read; what follows speaks of these.
        num_left_out: segments that are damaged, or neither features nor alignments.
        problem: why the first of those was left out; "" if none was.
        datatypes: number of segments by datatype.
        lengths: in frames; of audio, in samples.
        seconds: from the first start to the last end of each segment, summed.
        frame_shift: seconds between the first two frames met; None where there are no times.
        moments: `Moments` by number of dimensions (one, unless the archive mixes kinds).
        labels: None if there are no alignments.
        num_soft: alignments that are weighted.
        num_signals: segments of audio samples, see `is_signal`.
    """

    num_segments: int = 0
    num_left_out: int = 0
    problem: str = ""
    datatypes: dict[str, int] = field(default_factory=dict)
    lengths: Lengths = field(default_factory=lambda: _lengths(Tally()))
    seconds: float = 0.0
    frame_shift: float | None = None
    moments: dict[int, Moments] = field(default_factory=dict)
    labels: LabelUse | None = None
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
    """Statistics of features, scalars, audio samples and alignments.

    Values and weights that are not finite do not count.

    Args:
        archive: the archive.
        names: segments to read; None: all.
        labeling: count labels instead of states.
        allophones: symbols of states; None: those of the labeling, or of the alignments' alphabets.
        on_alphabet_mismatch: as for `Archive.read_labels`; with "error" such a segment is left out.
        num_threads: None: one per processor, at most 8; of alignments, whose symbols take more time
            than their decoding, one.
        progress: is called with (segments read, segments to read) now and then.

    Raises:
        EntryNotFoundError: if a name is not in the archive.
        OSError: if a file cannot be read.
        TypeError: if `archive` is none.
    """
    expect(archive, "source_paths", "an open Archive")
    if names is None:
        names = archive.segments
    else:
        for name in names:
            archive.entry(name)
    units = Units(labeling, allophones, on_alphabet_mismatch)

    def look(chunk: list[str]) -> _Part:
        part = _Part(units)
        for name in chunk:
            part.add(archive, name)
        return part

    whole = _Part(units)
    if num_threads is None:
        num_threads = 1 if _begins_with_alignment(archive, names) else default_threads()
    for part in chunk_map(look, names, num_threads):
        whole.merge(part)
        if progress is not None:
            progress(whole.statistics.num_segments + whole.statistics.num_left_out, len(names))
    return whole.result()


def _begins_with_alignment(archive: Archive, names: Sequence[str]) -> bool:
    try:
        return len(names) > 0 and archive.datatype(names[0]) == "flow-alignment"
    except SprintCacheError:
        return False


class _Part:
    """The sums over some segments."""

    def __init__(self, units: Units) -> None:
        self.statistics = Statistics()
        self._units = units
        self._lengths = Tally()
        self._labels = Tally()

    def add(self, archive: Archive, name: str) -> None:
        """Counts a segment."""
        found = self.statistics
        try:
            datatype = archive.datatype(name) or "not a Flow cache"
            if datatype == "flow-alignment":
                length = self._add_alignment(archive, name)
            else:
                length = self._add_numbers(archive, name, datatype)
        except SprintCacheError as error:
            if error.path is None:
                error.path, error.entry = archive.entry(name).archive_path, name
            found.num_left_out += 1
            found.problem = found.problem or str(error)
            return
        found.num_segments += 1
        found.datatypes[datatype] = found.datatypes.get(datatype, 0) + 1
        self._lengths.add(np.array([length]))

    def _add_numbers(self, archive: Archive, name: str, datatype: str) -> int:
        times = archive.read_times(name)
        audio = is_signal(datatype, times)
        self.statistics.num_signals += audio
        if audio:
            values: NDArray[Any] = signal(archive.read(name))[:, None]
        else:
            values = archive.read_features(name)
        if len(values):
            dim = values.shape[1]
            self.statistics.moments.setdefault(dim, Moments(dim)).add(values)
        if len(times):
            self._add_seconds(times[0, 0], times[-1, 1])
        if len(times) > 1 and self.statistics.frame_shift is None and not audio:
            self.statistics.frame_shift = round(float(times[1, 0] - times[0, 0]), 6)
        return len(values)

    def _add_alignment(self, archive: Archive, name: str) -> int:
        alignment = archive.read_alignment(name)
        numbers = self._units.numbers(alignment)
        weight = np.where(np.isfinite(alignment.weight), alignment.weight, 0)
        self._labels.add(*_summed(numbers, weight))
        self.statistics.num_soft += alignment.weighted
        if alignment.start is not None and alignment.end is not None:
            self._add_seconds(alignment.start, alignment.end)
        return alignment.num_frames

    def _add_seconds(self, start: float, end: float) -> None:
        if 0 < end - start < float("inf"):
            self.statistics.seconds += float(end - start)

    def merge(self, other: _Part) -> None:
        """Counts what another has counted."""
        mine, its = self.statistics, other.statistics
        mine.num_segments += its.num_segments
        mine.num_left_out += its.num_left_out
        mine.problem = mine.problem or its.problem
        for datatype, count in its.datatypes.items():
            mine.datatypes[datatype] = mine.datatypes.get(datatype, 0) + count
        mine.seconds += its.seconds
        if mine.frame_shift is None:
            mine.frame_shift = its.frame_shift
        for dim, moments in its.moments.items():
            mine.moments.setdefault(dim, Moments(dim)).merge(moments)
        mine.num_soft += its.num_soft
        mine.num_signals += its.num_signals
        self._lengths.add(*other._lengths.sums())
        self._labels.add(*other._labels.sums())

    def result(self) -> Statistics:
        """The statistics, sums turned into what they say."""
        self.statistics.lengths = _lengths(self._lengths)
        if "flow-alignment" in self.statistics.datatypes:
            self.statistics.labels = _label_use(self._labels, self._units)
        return self.statistics


def _summed(
    numbers: NDArray[np.int64], weights: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Different numbers and their summed weights."""
    tally = Tally()
    tally.add(numbers, weights)
    return tally.sums()


def _lengths(tally: Tally) -> Lengths:
    values, counts = tally.sums()
    return Lengths(values, counts.astype(np.int64))


def _label_use(tally: Tally, units: Units) -> LabelUse:
    numbers, weights = tally.sums()
    if units.labeling is None:
        names = [units.name(number) for number in numbers.tolist()]
        order = np.argsort(np.array(names, object))  # numbers depend on which thread came first
        return LabelUse(units.kind, [names[place] for place in order], weights[order], None)
    tally.add(np.arange(units.labeling.num_labels), np.zeros(units.labeling.num_labels))
    numbers, weights = tally.sums()
    silence, total = units.labeling.sil_label_idx, float(weights.sum())
    share = None
    if silence is not None and total > 0:
        share = float(weights[numbers == silence].sum()) / total
    return LabelUse(units.kind, [units.name(n) for n in numbers.tolist()], weights, share)


def is_signal(datatype: str, times: NDArray[np.float64]) -> bool:
    """Whether packets are pieces of one signal, such as audio samples, and not frames.

    So are vectors of integers, and those of other numbers if there are several packets, one begins
    where the one before ends, and all but the last are of 0.1 seconds or more.

    Args:
        datatype: Sprint's name of the datatype.
        times: (N, 2) seconds, start and end of each packet.
    """
    if datatype in _INTEGERS:
        return True
    if datatype not in ("vector-f32", "vector-f64") or len(times) < 2:
        return False
    lengths, gaps = times[:-1, 1] - times[:-1, 0], times[1:, 0] - times[:-1, 1]
    return bool(lengths.min() >= _PACKET and np.abs(gaps).max() < 1e-5)


def signal(packets: Any) -> NDArray[Any]:
    """(N,) samples of the packets that `Archive.read` gives for a signal."""
    if isinstance(packets, np.ndarray):
        return packets.ravel()
    return np.concatenate(packets) if len(packets) else np.zeros(0, np.int16)
