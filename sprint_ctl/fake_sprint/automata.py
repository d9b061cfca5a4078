"""Automaton: what Sprint's exporter gives for an orthography, and the CTC topology.

Layout (RASR, Nn/AllophoneStateFsaExporter): an edge is (from, to, emission) with a weight, -log of
its probability; state 0 is initial, the last state the only final one. States are numbered
topologically, loops apart; edges are sorted by (to - from, to, from), then come those that lead
into the final state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Automaton", "character_automaton", "ctc_automaton"]


@dataclass(frozen=True)
class Automaton:
    """Attributes:
    num_states: the last one is final.
    edges: (3, E) uint32: from, to, emission.
    weights: (E,) float32.
    """

    num_states: int
    edges: NDArray[np.uint32]
    weights: NDArray[np.float32]


def ctc_automaton(labels: list[int], blank: int) -> Automaton:
    """Any number of blanks between labels, at least one between equal ones; labels may repeat."""
    sequence = [blank]
    for label in labels:
        sequence += [label, blank]
    last = len(sequence)
    edges = []
    for source in range(last + 1):  # 0 is before the sequence, i is at its i-th item
        for target in range(max(source, 1), min(source + 3, last + 1)):
            emission = sequence[target - 1]
            is_skip = 0 < source == target - 2
            if not is_skip or emission not in (blank, sequence[source - 1]):
                edges.append((source, target, emission))
    edges = _sorted(edges)
    # a sequence ends with its last label or the blank after it
    edges += [(source, last + 1, emission) for source, to, emission in edges if to >= last - 1]
    return _automaton(last + 2, edges)


def character_automaton(labels: list[int]) -> Automaton:
    """From left to right through the labels, each for one frame or more."""
    last = len(labels)
    edges = [
        (source, target, labels[target - 1])
        for source in range(last + 1)
        for target in range(max(source, 1), min(source + 2, last + 1))
    ]
    return _automaton(last + 1, _sorted(edges))


def _sorted(edges: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    return sorted(edges, key=lambda edge: (edge[1] - edge[0], edge[1], edge[0]))


def _automaton(num_states: int, edges: list[tuple[int, int, int]]) -> Automaton:
    table = np.array(edges, np.uint32).T
    return Automaton(num_states, np.ascontiguousarray(table), np.zeros(len(edges), np.float32))
