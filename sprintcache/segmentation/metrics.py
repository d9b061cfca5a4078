"""compare_tiers: how two sets of words or phones with times differ.

The measures are those of i6_core's ComputeTimeStampErrorJob (Raissi et al., arXiv:2210.09951), of
the word boundary errors in use since, and of MFA's comparison of alignments. Times are compared in
whole microseconds, so a boundary that is off by exactly a collar is inside it. Intervals without a
partner are counted: they lower accuracies, recall and precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .intervals import Interval, Segmentation
from .pairing import Span, overlap_pairs, word_pairs
from .text_files import microseconds
from .time_errors import TimeErrors

__all__ = ["COLLARS", "TierComparison", "compare_tiers"]

COLLARS = (10, 20, 50, 100, 200)  # milliseconds
_MICRO = 1e6


@dataclass
class TierComparison:
    """The differences between a hypothesis and a reference.

    Attributes:
        tier: "words" or "phones".
        num_segments: segments that both have; what follows refers to these.
        only_hypothesis, only_reference: names of segments that the other one lacks.
        num_hypothesis, num_reference: intervals, without silence.
        num_unmatched_hypothesis, num_unmatched_reference: intervals without a partner.
        num_substituted: pairs of different symbols; of phones only.
        errors: time errors of all pairs.
        macro: each of `time_errors.MEASURES` averaged per segment, then over the segments.
        clipped: sum of the absolute errors of starts and ends in microseconds, for `tse`.
        within: for each collar in milliseconds, pairs whose start and end are both inside.
        confusions: microseconds for each (hypothesis, reference) symbol; "" is silence.
        duration_hypothesis, duration_reference: seconds of all segments.
        silence_hypothesis, silence_reference: seconds of silence in these.
        frame_shift: the finer frame shift in seconds, 0 if unknown.
    """

    tier: str
    num_segments: int = 0
    only_hypothesis: list[str] = field(default_factory=list)
    only_reference: list[str] = field(default_factory=list)
    num_hypothesis: int = 0
    num_reference: int = 0
    num_unmatched_hypothesis: int = 0
    num_unmatched_reference: int = 0
    num_substituted: int = 0
    errors: TimeErrors = field(default_factory=TimeErrors)
    macro: dict[str, float] = field(default_factory=dict)
    clipped: int = 0
    within: Counter[int] = field(default_factory=Counter)
    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)
    duration_hypothesis: float = 0.0
    duration_reference: float = 0.0
    silence_hypothesis: float = 0.0
    silence_reference: float = 0.0
    frame_shift: float = 0.0

    @property
    def micro(self) -> dict[str, float]:
        """Each of `time_errors.MEASURES` over all pairs, in seconds."""
        return self.errors.means()

    @property
    def tse(self) -> float | None:
        """Time stamp error in seconds: mean absolute error of all starts and ends.

        The last frame of the coarser source may reach beyond the end of the other one. As in
        i6_core, a word that ends more than one frame after the shorter source is cut there. None
        without pairs.
        """
        pairs = self.errors.num_pairs
        return self.clipped / pairs / 2 / _MICRO if pairs else None

    def accuracy(self, collar_ms: int) -> float | None:
        """Share of the reference's boundaries that the hypothesis has within a collar."""
        if not self.num_reference:
            return None
        return self.errors.num_within(collar_ms) / self.num_reference / 2

    def precision(self, collar_ms: int) -> float | None:
        """Share of the hypothesis' intervals with a partner, both boundaries within a collar."""
        return self.within[collar_ms] / self.num_hypothesis if self.num_hypothesis else None

    def recall(self, collar_ms: int) -> float | None:
        """Share of the reference's intervals with a partner, both boundaries within a collar."""
        return self.within[collar_ms] / self.num_reference if self.num_reference else None

    def f1(self, collar_ms: int) -> float | None:
        """Harmonic mean of precision and recall."""
        total = self.num_hypothesis + self.num_reference
        return 2 * self.within[collar_ms] / total if total else None

    @property
    def agreement(self) -> float | None:
        """Share of the common time in which both have the same symbol, silence included."""
        total = self.confusions.total()
        equal = sum(
            time
            for (hypothesis, reference), time in self.confusions.items()
            if hypothesis == reference
        )
        return equal / total if total else None

    def most_confused(self, count: int) -> list[tuple[str, str, float]]:
        """(hypothesis, reference, seconds) of the pairs of different symbols with most time."""
        wrong = [(pair, time) for pair, time in self.confusions.items() if pair[0] != pair[1]]
        wrong.sort(key=lambda item: (-item[1], item[0]))
        return [(*pair, time / _MICRO) for pair, time in wrong[:count]]


def compare_tiers(
    hypothesis: Mapping[str, Segmentation],
    reference: Mapping[str, Segmentation],
    tier: str = "words",
    *,
    names: Iterable[str] | None = None,
    silence: Collection[str] = ("[SILENCE]", ""),
    collars: Sequence[int] = COLLARS,
    normalize: Callable[[str], str] | None = None,
) -> TierComparison:
    """Compares the intervals of two sources of any origin and frame shift.

    Words are paired by their order where both sources have the same words in a segment, else by
    the equal words of an alignment of minimum edit distance; phones by their overlap in time.

    Args:
        hypothesis, reference: segmentations by name.
        tier: "words" or "phones".
        names: segments to compare; None: all.
        silence: symbols of silence, which is not paired; time without interval is silence too.
        collars: whole milliseconds.
        normalize: applied to symbols first, such as `str.lower`.

    Raises:
        ValueError: if a collar is not a whole number of milliseconds, or negative.
    """
    if not all(isinstance(collar, int) and collar >= 0 for collar in collars):
        raise ValueError(f"collars must be whole milliseconds, not {collars!r}")
    comparison = TierComparison(tier)
    wanted = dict.fromkeys([*hypothesis, *reference] if names is None else names)
    segments: list[dict[str, float]] = []
    shifts: set[float] = set()
    for name in wanted:
        first, second = hypothesis.get(name), reference.get(name)
        if first is None or second is None:
            if first is not None or second is not None:
                (comparison.only_reference if first is None else comparison.only_hypothesis).append(
                    name
                )
            continue
        comparison.num_segments += 1
        shifts |= {first.frame_shift, second.frame_shift}
        sides = [_Side(segmentation, tier, silence, normalize) for segmentation in (first, second)]
        errors = _add_segment(comparison, sides[0], sides[1], tier, collars)
        comparison.errors.merge(errors)
        segments.append(errors.means())
    for measure in dict.fromkeys(key for means in segments for key in means):
        values = [means[measure] for means in segments if measure in means]
        comparison.macro[measure] = sum(values) / len(values)
    comparison.frame_shift = min(shifts - {0.0}, default=0.0)
    return comparison


class _Side:
    """The intervals of one source in a segment."""

    def __init__(
        self,
        segmentation: Segmentation,
        tier: str,
        silence: Collection[str],
        normalize: Callable[[str], str] | None,
    ) -> None:
        self.spans = [
            _span(interval, normalize)
            for interval in segmentation.tier(tier)
            if interval.symbol not in silence
        ]
        self.frame = microseconds(segmentation.frame_shift)
        self.end = max([microseconds(segmentation.duration), *(span.end for span in self.spans)])

    def silence(self) -> int:
        """Microseconds without interval."""
        covered = last = 0
        for span in self.spans:
            covered += max(span.end - max(span.start, last), 0)
            last = max(last, span.end)
        return self.end - covered


def _span(interval: Interval, normalize: Callable[[str], str] | None) -> Span:
    symbol = interval.symbol.replace(" ", "_")  # as CTM has compounds
    return Span(
        microseconds(interval.start),
        microseconds(interval.end),
        symbol if normalize is None else normalize(symbol),
    )


def _add_segment(
    comparison: TierComparison, first: _Side, second: _Side, tier: str, collars: Sequence[int]
) -> TimeErrors:
    """Adds a segment to the counts and returns its time errors."""
    pairs = (overlap_pairs if tier == "phones" else word_pairs)(first.spans, second.spans)
    comparison.num_hypothesis += len(first.spans)
    comparison.num_reference += len(second.spans)
    comparison.num_unmatched_hypothesis += len(first.spans) - len(pairs)
    comparison.num_unmatched_reference += len(second.spans) - len(pairs)
    comparison.duration_hypothesis += first.end / _MICRO
    comparison.duration_reference += second.end / _MICRO
    comparison.silence_hypothesis += first.silence() / _MICRO
    comparison.silence_reference += second.silence() / _MICRO
    errors = TimeErrors()
    end = min(first.end, second.end)
    frame = min(filter(None, (first.frame, second.frame)), default=0)
    for i, j in pairs:
        one, other = first.spans[i], second.spans[j]
        comparison.num_substituted += one.symbol != other.symbol
        start_shift, end_shift = one.start - other.start, one.end - other.end
        errors.add(start_shift, end_shift, j in (0, len(second.spans) - 1))
        (start, stop), (other_start, other_stop) = (_cut(span, end, frame) for span in (one, other))
        comparison.clipped += abs(start - other_start) + abs(stop - other_stop)
        for collar in collars:
            inside = max(abs(start_shift), abs(end_shift)) <= collar * 1000
            comparison.within[collar] += inside and one.symbol == other.symbol
    _add_confusions(comparison.confusions, first.spans, second.spans, end)
    return errors


def _cut(span: Span, end: int, frame: int) -> tuple[int, int]:
    """Start and end of a span, at most one frame beyond an end."""
    if span.end <= end + frame:
        return span.start, span.end
    return min(span.start, end - frame), end + frame


def _add_confusions(
    confusions: Counter[tuple[str, str]], first: Sequence[Span], second: Sequence[Span], end: int
) -> None:
    """Adds the time that each pair of symbols has in common, up to an end."""
    changes = sorted(
        {
            0,
            end,
            *(time for spans in (first, second) for interval in spans for time in interval[:2]),
        }
    )
    indices = [0, 0]
    for start, stop in pairwise(changes):
        if start < 0 or stop > end:
            continue
        symbols = []
        for side, spans in enumerate((first, second)):
            while indices[side] < len(spans) and spans[indices[side]].end <= start:
                indices[side] += 1
            span = spans[indices[side]] if indices[side] < len(spans) else None
            symbols.append(span.symbol if span is not None and span.start <= start else "")
        confusions[symbols[0], symbols[1]] += stop - start
