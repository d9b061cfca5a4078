"""Acceptor: the graph of allophone states of one orthography, as an aligner searches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Acceptor"]


@dataclass(frozen=True)
class Acceptor:
    """A graph without epsilon arcs; an arc consumes one frame.

    States keep Sprint's order. The arcs of state s are those from ``arc_begin[s]`` to
    ``arc_begin[s + 1]``, sorted by label, target and weight. Weights are negative logarithms.

    Attributes:
        initial: the initial state.
        arc_begin: (S + 1,) uint32.
        arc_target: (A,) uint32, state after each arc.
        arc_label: (A,) uint32, allophone-state id: bits 0-25 the allophone, from 26 on the state.
        arc_weight: (A,) float32; the largest float32 or inf for a forbidden arc.
        final_weight: (S,) float32, inf where a state is not final.
        arc_pronunciation: (A,) int32, pronunciation of the word that begins with an arc, as index
            into `AutomatonBuilder.pronunciations`; -1 for any other arc.
        arc_words: (2, A) int32, first token and one past the last token of that word in the
            orthography, equal for silence between words; -1 for any other arc.
    """

    initial: int
    arc_begin: NDArray[np.uint32]
    arc_target: NDArray[np.uint32]
    arc_label: NDArray[np.uint32]
    arc_weight: NDArray[np.float32]
    final_weight: NDArray[np.float32]
    arc_pronunciation: NDArray[np.int32]
    arc_words: NDArray[np.int32]

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.final_weight)

    @property
    def num_arcs(self) -> int:
        """Number of arcs."""
        return len(self.arc_label)
