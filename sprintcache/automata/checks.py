"""check: finds errors and suspicious structure in automata before the training does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .automata import Automata
from .transitions import FORBIDDEN

__all__ = ["Finding", "check"]

_SILENCE = re.compile(r"\W*sil", re.IGNORECASE)  # [SILENCE], SIL, <sil>


@dataclass(frozen=True)
class Finding:
    """One finding of `check`.

    Attributes:
        kind: a fixed name such as "dead states".
        is_error: whether a loss over the automaton is wrong or infinite; otherwise the finding is
            a warning.
        sequence: number of the automaton.
        tag: its name, or None.
        message: what was found, with numbers, and what it means.
    """

    kind: str
    is_error: bool
    sequence: int
    tag: str | None
    message: str

    def __str__(self) -> str:
        name = f"sequence {self.sequence}" if self.tag is None else repr(self.tag)
        return f"{name}: {self.kind}: {self.message}"


def check(automata: Automata, lengths: Any = None, silence: int | None = None) -> list[Finding]:
    """Finds errors and suspicious structure; returns them by sequence, or an empty list.

    Errors: ``no edges``, ``no path`` from start to end, ``cycle`` through several states (Sprint
    collapses such states, so its weights are meaningless), ``loops with several labels`` (what is
    left of a cycle that Sprint collapsed), ``states without edges`` where the start has a loop (the
    same), ``too short``. Warnings: ``states without edges`` elsewhere, ``unreachable states``,
    ``dead states``, ``forbidden edges``, ``parallel edges``, ``negative weights``,
    ``exit penalty``, ``doubled silence``.

    Args:
        automata: B automata.
        lengths: (B,) frames of the segments, to compare with the shortest path; None to skip that.
        silence: label of silence; None for the labels of allophone states whose symbol begins like
            ``[SILENCE]`` or ``sil``.

    Raises:
        ValueError: for another number of lengths.
    """
    if lengths is not None:
        lengths = np.asarray(lengths)
        if lengths.shape != (len(automata),):
            raise ValueError(f"lengths must have shape ({len(automata)},), not {lengths.shape}")
    findings = []
    for number in range(len(automata)):
        part = automata[number]
        graph = _Graph(part, silence)
        tag = None if part.tags is None else part.tags[0]
        length = None if lengths is None else int(lengths[number])
        for kind, is_error, message in graph.findings(length):
            findings.append(Finding(kind, is_error, number, tag, message))
    return findings


class _Graph:
    """One automaton as lists; edges that are allowed only."""

    def __init__(self, part: Automata, silence: int | None) -> None:
        allowed = part.weights < FORBIDDEN
        self.num_forbidden = int((~allowed).sum())
        self.num_all = part.num_edges
        self.source, self.target, self.label, _ = (row[allowed].tolist() for row in part.edges)
        self.weight: list[float] = part.weights[allowed].tolist()
        self.start, self.end = (int(state) for state in part.start_end[:, 0])
        used = {self.start, self.end, *part.edges[0].tolist(), *part.edges[1].tolist()}
        self.states = sorted(used)
        self.leaving: dict[int, list[int]] = {state: [] for state in self.states}
        self.entering: dict[int, list[int]] = {state: [] for state in self.states}
        for edge, (source, target) in enumerate(zip(self.source, self.target, strict=True)):
            self.leaving[source].append(edge)
            self.entering[target].append(edge)
        self.silence = {silence} if silence is not None else _silence_labels(part, allowed)

    def findings(self, length: int | None) -> Iterator[tuple[str, bool, str]]:
        if not self.num_all:
            yield "no edges", True, "the only path has no frames"
            return
        reached = self._distances(self.start, self.leaving, self.target)
        ending = self._distances(self.end, self.entering, self.source)
        if self.end not in reached:
            yield "no path", True, "the end state cannot be reached from the start state"
        yield from self._states(reached, ending)
        yield from self._numbers()
        if length is not None and reached.get(self.end, 0) > length:
            yield (
                "too short",
                True,
                f"the shortest path has {reached[self.end]} frames, the segment has {length}",
            )
        yield from self._cycles()
        yield from self._weights()
        yield from self._exit_penalty()
        yield from self._doubled_silence()

    def _distances(
        self, first: int, edges_of: dict[int, list[int]], heads: list[int]
    ) -> dict[int, int]:
        """Number of edges to each state within reach."""
        distance, layer = {first: 0}, [first]
        while layer:
            next_layer = []
            for state in layer:
                for edge in edges_of[state]:
                    if heads[edge] not in distance:
                        distance[heads[edge]] = distance[state] + 1
                        next_layer.append(heads[edge])
            layer = next_layer
        return distance

    def _states(
        self, reached: dict[int, int], ending: dict[int, int]
    ) -> Iterator[tuple[str, bool, str]]:
        unreachable = [state for state in self.states if state not in reached]
        if unreachable and self.end in reached:
            yield "unreachable states", False, f"no path leads to {_some(unreachable)}"
        dead = [state for state in self.states if state in reached and state not in ending]
        if dead and self.end in reached:
            yield "dead states", False, f"no path leads on from {_some(dead)} to the end"

    def _numbers(self) -> Iterator[tuple[str, bool, str]]:
        """States between start and end that no edge uses; collapsed ones share a number."""
        low, high = sorted((self.start, self.end))
        unused = high - low + 1 - sum(low <= state <= high for state in self.states)
        if unused:
            loops = any(self.target[edge] == self.start for edge in self.leaving[self.start])
            message = f"{unused} states between start and end have no edges"
            if loops:
                message += ", as cycles through the start leave them that the exporter collapsed"
            yield "states without edges", loops, message

    def _cycles(self) -> Iterator[tuple[str, bool, str]]:
        """States that are left when those without incoming edges are removed, again and again."""
        waiting = {
            state: sum(self.source[edge] != state for edge in edges)
            for state, edges in self.entering.items()
        }
        ready = [state for state, count in waiting.items() if not count]
        while ready:
            state = ready.pop()
            del waiting[state]
            for edge in self.leaving[state]:
                target = self.target[edge]
                if target != state:
                    waiting[target] -= 1
                    if not waiting[target]:
                        ready.append(target)
        if waiting:
            yield "cycle", True, f"there are cycles through or before {_some(sorted(waiting))}"
        for state in self.states:
            labels = {self.label[e] for e in self.leaving[state] if self.target[e] == state}
            if len(labels) > 1:
                yield (
                    "loops with several labels",
                    True,
                    f"state {state} has loops with {len(labels)} labels,"
                    " as cycles leave them that the exporter collapsed",
                )
                return

    def _weights(self) -> Iterator[tuple[str, bool, str]]:
        if self.num_forbidden:
            yield (
                "forbidden edges",
                False,
                f"{self.num_forbidden} of {self.num_all} edges have an infinite weight",
            )
        negative = [weight for weight in self.weight if weight < 0]
        if negative:
            yield (
                "negative weights",
                False,
                f"{len(negative)} edges, down to {min(negative):.6g}: more than all of the"
                " probability, such as two ways through one edge that were summed",
            )
        edges = set(zip(self.source, self.target, self.label, strict=True))
        if len(edges) < len(self.weight):
            yield (
                "parallel edges",
                False,
                f"{len(self.weight) - len(edges)} edges repeat another with the same label",
            )

    def _exit_penalty(self) -> Iterator[tuple[str, bool, str]]:
        """Edges into the end state cost more than those they are copies of."""
        inner = {
            (self.source[e], self.label[e]): self.weight[e]
            for e in range(len(self.weight))
            if self.target[e] != self.end
        }
        last = self.entering[self.end]
        extra = [
            self.weight[edge] - inner[key]
            for edge in last
            if (key := (self.source[edge], self.label[edge])) in inner
        ]
        if len(extra) == len(last) > 1 and max(extra) > 1e-6:
            yield (
                "exit penalty",
                False,
                f"the last frame costs {max(extra):.6g} more than within the automaton;"
                " *.tdp.*.exit=0 avoids it",
            )

    def _doubled_silence(self) -> Iterator[tuple[str, bool, str]]:
        """Two ways to stay in silence: loops and repetitions, or silence after silence."""
        summed = [
            self.weight[e]
            for state in self.states
            for e in self.leaving[state]
            if self.target[e] == state and self.label[e] in self.silence and self.weight[e] < 0
        ]
        advice = "allow-for-silence-repetitions=false avoids it"
        if summed:
            yield (
                "doubled silence",
                False,
                f"a loop of silence has weight {min(summed):.6g}: loop and repetition were summed;"
                f" {advice}",
            )
            return
        inside = {
            self.target[e]
            for e in range(len(self.label))
            if self.label[e] in self.silence and self.target[e] != self.end
        }
        twice = [
            (source, target)
            for source, target, label in zip(self.source, self.target, self.label, strict=True)
            if label in self.silence and source != target and {source, target} <= inside
        ]
        if twice:
            yield (
                "doubled silence",
                False,
                f"silence follows silence, from state {twice[0][0]} to {twice[0][1]}; {advice}",
            )


def _silence_labels(part: Automata, allowed: Any) -> set[int]:
    """Labels of edges whose allophone state is silence."""
    if part.states is None or part.state_symbols is None:
        return set()
    used, inverse = np.unique(part.states, return_inverse=True)
    names = [str(part.state_symbols[state]) for state in used.tolist()]
    marked = np.array([_SILENCE.match(name) is not None for name in names], bool)
    return set(part.edges[2][allowed & marked[inverse]].tolist())


def _some(states: list[int]) -> str:
    """Some states by number."""
    shown = ", ".join(str(state) for state in states[:5])
    if len(states) == 1:
        return f"state {shown}"
    return f"{len(states)} states ({shown}{', ...' if len(states) > 5 else ''})"
