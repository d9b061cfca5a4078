"""Use of states and labels by alignments, summed over many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sprintcache import states
from sprintcache.alignment import ALLOPHONE_MASK

from .accumulators import Tally, weight_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["AlignmentSummary", "AlignmentTally"]


@dataclass
class AlignmentSummary:
    """States and labels in use.

    Attributes:
        num_alignments, num_items: totals.
        kinds: number of alignments that are "viterbi" (one item per frame), "soft" (weighted) or
            "other".
        label_type: "allophone-state", "emission" or "mixed".
        with_alphabet: number of alignments with an alphabet.
        states_used, allophones_used: number of different ids, and of different allophones among
            them (0 for emission ids).
        contradiction: the first contradiction between an alphabet and the allophone file, or "".
        labels_used, num_labels: labels in use, and of the labeling; None without one.
        states_without_label: ids in use without a label; None without a labeling.
        silence_share: weight of silence divided by all weight; None without a silence label.
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


class AlignmentTally:
    """Sums over alignments.

    Args:
        allophones: symbols in index order, compared with the alphabets; None: not compared.
    """

    def __init__(self, allophones: Sequence[str] | None = None) -> None:
        self._allophones = allophones
        self._summary = AlignmentSummary()
        self._label_types: set[str] = set()
        self._weights = Tally()

    def add(self, alignment: Alignment) -> None:
        """Counts an alignment."""
        summary = self._summary
        kind = "soft" if alignment.weighted else "viterbi" if alignment.is_viterbi else "other"
        summary.num_alignments += 1
        summary.num_items += len(alignment)
        summary.kinds[kind] = summary.kinds.get(kind, 0) + 1
        summary.with_alphabet += alignment.alphabet is not None
        if not summary.contradiction:
            alphabet = alignment.alphabet
            summary.contradiction = states.contradiction(alphabet, self._allophones)
        self._label_types.add(alignment.label_type)
        self._weights.add(*_run_weights(alignment))

    def merge(self, other: AlignmentTally) -> None:
        """Adds the sums of another tally."""
        summary, added = self._summary, other._summary
        summary.num_alignments += added.num_alignments
        summary.num_items += added.num_items
        for kind, count in added.kinds.items():
            summary.kinds[kind] = summary.kinds.get(kind, 0) + count
        summary.with_alphabet += added.with_alphabet
        summary.contradiction = summary.contradiction or added.contradiction
        self._label_types |= other._label_types
        self._weights.add(*other._weights.sums())

    def summary(self, labeling: AllophoneLabeling | None) -> AlignmentSummary | None:
        """The summary; None if there was no alignment."""
        summary = self._summary
        if not summary.num_alignments:
            return None
        ids, weights = self._weights.sums()
        has_states = self._label_types == {"allophone-state"}
        summary.label_type = "mixed" if len(self._label_types) > 1 else min(self._label_types)
        summary.states_used = len(ids)
        if has_states:
            summary.allophones_used = len(np.unique(ids & ALLOPHONE_MASK))
        if labeling is None or summary.label_type == "mixed":
            return summary
        labels = labeling.labels_of(ids) if has_states else ids
        summary.num_labels = labeling.num_labels
        summary.labels_used = len(np.unique(labels[labels >= 0]))
        summary.states_without_label = int(np.count_nonzero(labels < 0))
        if labeling.sil_label_idx is not None:
            summary.silence_share = weight_share(weights, labels == labeling.sil_label_idx)
        return summary


def _run_weights(alignment: Alignment) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(R,) id and (R,) summed weight of each run of one id."""
    emission = alignment.emission
    starts = np.flatnonzero(np.diff(emission, prepend=~emission[:1]))
    if not len(starts):
        return emission[:0], np.zeros(0)
    with np.errstate(invalid="ignore", over="ignore"):
        return emission[starts], np.add.reduceat(alignment.weight, starts, dtype=np.float64)
