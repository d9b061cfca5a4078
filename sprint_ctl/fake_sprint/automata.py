"""Automaton: what Sprint's exporter gives for an orthography, and the CTC topology.

Layout (RASR, Nn/AllophoneStateFsaExporter): an edge is (from, to, emission) with a weight, -log of
its probability; state 0 is initial, the last state the only final one. States are numbered
topologically, loops apart; edges are sorted by (to - from, to, from), then come those that lead
into the final state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Edge = tuple[int, int, int]
    Final = dict[int, float]

__all__ = ["Arc", "Automaton", "build", "character_automaton", "ctc_automaton"]


Node = Hashable


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


@dataclass(frozen=True)
class Arc:
    """An edge before states are numbered; target None: the source is final, with this weight."""

    target: Node | None
    emission: int
    weight: float


def build(start: Node, arcs: Callable[[Node], Iterable[Arc]]) -> Automaton:
    """Numbers states and sorts edges as Sprint does.

    Args:
        start: the initial node.
        arcs: what leaves a node; arcs to one target differ in their emissions.
    """
    numbers, unordered, finals = _explore(start, arcs)
    order = _topological(len(numbers), unordered)
    edges = {
        (order[source], order[target], emission): weight
        for (source, target, emission), weight in unordered
    }
    ranked = sorted(edges, key=lambda edge: (edge[1] - edge[0], edge[1], edge[0]))
    weights = [edges[edge] for edge in ranked]
    final = {order[state]: weight for state, weight in finals.items()}
    num_states = len(numbers)
    if final != {num_states - 1: 0.0}:
        final_edges = [index for index, edge in enumerate(ranked) if edge[1] in final]
        weights += [weights[index] + final[ranked[index][1]] for index in final_edges]
        ranked += [(ranked[index][0], num_states, ranked[index][2]) for index in final_edges]
        num_states += 1
    table = np.array(ranked, np.uint32).reshape(-1, 3).T
    return Automaton(num_states, np.ascontiguousarray(table), np.array(weights, np.float32))


def _explore(
    start: Node, arcs: Callable[[Node], Iterable[Arc]]
) -> tuple[dict[Node, int], list[tuple[Edge, float]], Final]:
    """Numbers nodes when they are first seen; goes on with the one seen last."""
    numbers: dict[Node, int] = {start: 0}
    edges: list[tuple[Edge, float]] = []
    finals: Final = {}
    waiting = [start]
    while waiting:
        node = waiting.pop()
        for arc in arcs(node):
            if arc.target is None:
                finals[numbers[node]] = arc.weight
                continue
            if arc.target not in numbers:
                numbers[arc.target] = len(numbers)
                waiting.append(arc.target)
            edges.append(((numbers[node], numbers[arc.target], arc.emission), arc.weight))
    return numbers, edges, finals


def _topological(num_states: int, edges: list[tuple[Edge, float]]) -> list[int]:
    """New number of every state: always the lowest one that nothing leads to any more."""
    import heapq

    incoming = [0] * num_states
    targets: list[list[int]] = [[] for _ in range(num_states)]
    for (source, target, _), _weight in edges:
        if source != target:
            incoming[target] += 1
            targets[source].append(target)
    ready = [state for state in range(num_states) if not incoming[state]]
    order = [0] * num_states
    for number in range(num_states):
        state = heapq.heappop(ready)
        order[state] = number
        for target in targets[state]:
            incoming[target] -= 1
            if not incoming[target]:
                heapq.heappush(ready, target)
    return order


def ctc_automaton(labels: list[int], blank: int) -> Automaton:
    """Any number of blanks between labels, at least one between equal ones; labels may repeat."""
    sequence = [blank]
    for label in labels:
        sequence += [label, blank]

    def arcs(node: Node) -> Iterable[Arc]:
        position = -1 if node == "start" else int(node)  # type: ignore[call-overload]
        for target in range(max(position, 0), min(position + 3, len(sequence))):
            skips = target == position + 2 and position >= 0
            if skips and (sequence[target] == blank or sequence[target] == sequence[position]):
                continue
            yield Arc(target, sequence[target], 0.0)
        if position >= len(sequence) - 2:
            yield Arc(None, 0, 0.0)

    return build("start", arcs)


def character_automaton(labels: list[int]) -> Automaton:
    """From left to right through the labels, each for one frame or more."""

    def arcs(node: Node) -> Iterable[Arc]:
        position = -1 if node == "start" else int(node)  # type: ignore[call-overload]
        for target in range(max(position, 0), min(position + 2, len(labels))):
            yield Arc(target, labels[target], 0.0)
        if position == len(labels) - 1:
            yield Arc(None, 0, 0.0)

    return build("start", arcs)
