"""What alignments use: states, labels, silence; the alignments' part of a `Summary`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sprintcache import states
from sprintcache._analysis.accumulators import Tally
from sprintcache.alignment import ALLOPHONE_MASK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["AlignmentSummary", "Use", "Uses", "share", "use_of"]


@dataclass
class AlignmentSummary:
    """What the alignments among the segments that were read use.

    Attributes:
        num_alignments, num_items: how many.
        kinds: how many are "viterbi" (one item per frame), "soft" (weighted) or "other".
        label_type: "allophone-state", "emission" or "mixed".
        with_alphabet: how many have an alphabet of their own.
        states_used, allophones_used: different ids, and different allophones among them (0 for
            emission ids).
        contradiction: where an alphabet first contradicts the allophone file; "" if nowhere.
        labels_used, num_labels: labels in use, and of the labeling; None without one.
        states_without_label: ids in use that have none; None without a labeling.
        silence_share: silence's part of all items, by weight; None without a silence label.
    """

    num_alignments: int = 0
    num_items: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    label_type: str = ""
    with_alphabet: int = 0
    states_used: int = 0
    allophones_used: int = 0
    contradiction: str = ""
    labels_used: int | None = None
    num_labels: int | None = None
    states_without_label: int | None = None
    silence_share: float | None = None


class Use(NamedTuple):
    """What one alignment uses: the (R,) uint32 id and (R,) float64 sum of weights of each run."""

    kind: str
    label_type: str
    has_alphabet: bool
    contradiction: str
    num_items: int
    ids: NDArray[np.uint32]
    weights: NDArray[np.float64]


def use_of(alignment: Alignment, allophones: Sequence[str] | None) -> Use:
    """What an alignment uses; its alphabet is compared with the allophones where both are there."""
    emission = alignment.emission
    starts = np.flatnonzero(np.diff(emission, prepend=~emission[:1]))
    weights: NDArray[np.float64] = np.zeros(0)
    if len(starts):
        with np.errstate(invalid="ignore", over="ignore"):
            weights = np.add.reduceat(alignment.weight, starts, dtype=np.float64)
    return Use(
        "soft" if alignment.weighted else "viterbi" if alignment.is_viterbi else "other",
        alignment.label_type,
        alignment.alphabet is not None,
        states.contradiction(alignment.alphabet, allophones),
        len(alignment),
        emission[starts],
        weights,
    )


def share(weights: NDArray[np.floating[Any]], chosen: NDArray[np.bool_]) -> float | None:
    """What part of the weights is chosen; None where that is no number."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(weights.sum(dtype=np.float64))
        part = float(weights[chosen].sum(dtype=np.float64))
    return part / total if 0 < total < float("inf") else None


class Uses:
    """The sum over many alignments."""

    def __init__(self) -> None:
        self._summary = AlignmentSummary()
        self._label_types: set[str] = set()
        self._sums = Tally()

    def add(self, use: Use) -> None:
        """Counts one more."""
        summary = self._summary
        summary.num_alignments += 1
        summary.num_items += use.num_items
        summary.with_alphabet += use.has_alphabet
        summary.contradiction = summary.contradiction or use.contradiction
        summary.kinds[use.kind] = summary.kinds.get(use.kind, 0) + 1
        self._label_types.add(use.label_type)
        self._sums.add(use.ids, use.weights)

    def summary(self, labeling: AllophoneLabeling | None) -> AlignmentSummary | None:
        """What was added, in numbers; None if there was nothing."""
        summary = self._summary
        if not summary.num_alignments:
            return None
        ids, weights = self._sums.sums()
        of_states = self._label_types == {"allophone-state"}
        summary.label_type = "mixed" if len(self._label_types) > 1 else min(self._label_types)
        summary.states_used = len(ids)
        if of_states:
            summary.allophones_used = len(np.unique(ids & ALLOPHONE_MASK))
        if labeling is None or summary.label_type == "mixed":
            return summary
        labels = labeling.labels_of(ids) if of_states else ids.astype(np.int64)
        summary.num_labels = labeling.num_labels
        summary.labels_used = len(np.unique(labels[labels >= 0]))
        summary.states_without_label = int(np.count_nonzero(labels < 0))
        if labeling.sil_label_idx is not None:
            summary.silence_share = share(weights, labels == labeling.sil_label_idx)
        return summary
