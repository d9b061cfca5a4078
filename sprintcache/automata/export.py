"""Automata as text for other tools: OpenFst, k2, Graphviz."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .automata import Automata
from .transitions import FORBIDDEN

__all__ = ["dot_text", "k2_text", "openfst_text", "symbol_table"]


def openfst_text(automata: Automata, sequence: int | str = 0) -> str:
    """Returns one automaton as an acceptor in the text format of OpenFst's fstcompile.

    Labels are counted from 1, since 0 is epsilon there; weights fit the log and the tropical
    semiring: ``fstcompile --acceptor --arc_type=log``. Forbidden edges are left out.

    Args:
        automata: a batch.
        sequence: number or tag of the automaton.
    """
    source, target, label, weight, start, end = _edges(automata, sequence)
    order = np.argsort(source != start, kind="stable")  # the first line names the start state
    lines = [f"{source[e]}\t{target[e]}\t{label[e] + 1}\t{weight[e]:.9g}" for e in order.tolist()]
    return "\n".join([*lines, f"{end}", ""])


def symbol_table(symbols: Sequence[str]) -> str:
    """Returns label symbols as a table for fstcompile --isymbols and fstdraw.

    Args:
        symbols: name of each label, from label 0.

    Raises:
        ValueError: for a name with white space.
    """
    for symbol in symbols:
        if not symbol or symbol.split() != [symbol]:
            raise ValueError(f"a symbol without white space is needed, not {symbol!r}")
    return "".join(f"{name}\t{i}\n" for i, name in enumerate(["<eps>", *symbols]))


def k2_text(automata: Automata, sequence: int | str = 0) -> str:
    """Returns one automaton for ``k2.Fsa.from_str``.

    Labels are counted from 1, since 0 is epsilon there: put a column in front of the log
    probabilities. Scores are minus the weights. A final state is added, with the edge of label -1
    that k2 demands, so an utterance of T frames needs T frames in the DenseFsaVec.

    Args:
        automata: a batch.
        sequence: number or tag of the automaton.
    """
    source, target, label, weight, start, end = _edges(automata, sequence)
    states = np.unique(np.concatenate([source, target, [start, end]]))
    # k2 wants the start state to be 0 and the final one to be the last
    order = np.concatenate([[start], states[states != start]])
    number = {int(state): i for i, state in enumerate(order)}
    final = len(number)
    rows = [
        (number[int(s)], number[int(t)], int(k) + 1, -float(w))
        for s, t, k, w in zip(source, target, label, weight, strict=True)
    ]
    rows.append((number[end], final, -1, 0.0))
    rows.sort(key=lambda row: row[0])
    return "\n".join([*(f"{s} {t} {k} {w:.9g}" for s, t, k, w in rows), f"{final}"])


def dot_text(
    automata: Automata, sequence: int | str = 0, symbols: Sequence[str] | None = None
) -> str:
    """Returns one automaton as a graph for Graphviz: ``dot -Tsvg``.

    Edges are named by their allophone state, else by `symbols`, else by label, and by weight where
    it is not 0.

    Args:
        automata: a batch.
        sequence: number or tag of the automaton.
        symbols: name of each label.
    """
    part = automata[sequence]
    start, end = part.start_end[:, 0].tolist()
    lines = ["digraph automaton {", "  rankdir = LR;", "  node [shape = circle];"]
    lines.append(f"  {start} [style = bold];")
    lines.append(f"  {end} [shape = doublecircle];")
    for edge, name in enumerate(edge_names(part, symbols)):
        weight = float(part.weights[edge])
        if weight >= FORBIDDEN:
            continue
        text = name if weight == 0 else f"{name} / {weight:.4g}"
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        source, target = part.edges[:2, edge].tolist()
        lines.append(f'  {source} -> {target} [label = "{quoted}"];')
    return "\n".join([*lines, "}", ""])


def edge_names(part: Automata, symbols: Sequence[str] | None = None) -> list[str]:
    """Returns the name of each edge: allophone state, else symbol of the label, else label."""
    if symbols is not None:
        return [symbols[label] if label < len(symbols) else str(label) for label in part.edges[2]]
    if part.states is not None and part.state_symbols is not None:
        return [str(part.state_symbols[state]) for state in part.states]
    return [str(label) for label in part.edges[2]]


def _edges(automata: Automata, sequence: int | str) -> tuple[Any, ...]:
    """Returns source, target, label, weight, start and end of one automaton, states from 0."""
    part = automata[sequence]
    allowed = part.weights < FORBIDDEN
    source, target, label, _ = part.edges[:, allowed].astype(np.int64)
    start, end = part.start_end[:, 0].tolist()
    return source, target, label, part.weights[allowed], start, end
