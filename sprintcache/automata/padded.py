"""Automata as padded arrays, one row per sequence, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sprintcache.errors import AutomatonError

from .automata import FROM, LABEL, SEQUENCE, TO, Automata

__all__ = ["PaddedAutomata", "from_padded", "to_padded"]


class PaddedAutomata(NamedTuple):
    """A batch of automata as arrays; states count from 0 in each sequence.

    Attributes:
        edges: (B, Emax, 3) int32: from state, to state, label.
        weights: (B, Emax) float32.
        start_end: (B, 2) int32 start and end state.
        lengths: (B,) int64 number of edges.
    """

    edges: Any
    weights: Any
    start_end: Any
    lengths: Any


def to_padded(automata: Automata, pad: int = -1) -> PaddedAutomata:
    """Returns automata as padded arrays, without allophone states and words.

    Args:
        automata: B sequences.
        pad: value of edges beyond the end; weights are 0 there.

    Raises:
        AutomatonError: for a state or label that int32 cannot hold.
    """
    lengths = np.diff(automata.edge_offsets)
    first = automata.state_ranges[0]
    shape = len(automata), int(lengths.max(initial=0))
    edges = np.full((*shape, 3), pad, np.int32)
    weights = np.zeros(shape, np.float32)
    sequences = automata.edges[SEQUENCE]
    columns = np.arange(automata.num_edges) - automata.edge_offsets[:-1][sequences]
    local = automata.edges[: LABEL + 1].astype(np.int64)
    local[[FROM, TO]] -= first[sequences]
    if local.size and local.max() > 0x7FFFFFFF:
        raise AutomatonError("state or label", expected="below 2**31", found=int(local.max()))
    edges[sequences, columns] = local.T
    weights[sequences, columns] = automata.weights
    start_end = (automata.start_end.astype(np.int64) - first).T
    return PaddedAutomata(edges, weights, np.ascontiguousarray(start_end, np.int32), lengths)


def from_padded(
    edges: Any, weights: Any, start_end: Any, lengths: Any, tags: Sequence[str] | None = None
) -> Automata:
    """Returns automata from padded arrays, or tensors on the CPU, as `to_padded` makes them.

    Args:
        edges, weights, start_end, lengths: see `PaddedAutomata`.
        tags: B names of sequences.

    Raises:
        ValueError: for shapes that do not match.
        AutomatonError: as `Automata.from_edges` does.
    """
    edges, lengths = np.asarray(edges), np.asarray(lengths, np.int64)
    start_end, weights = np.asarray(start_end, np.int64), np.asarray(weights)
    count, longest = edges.shape[:2]
    expected = (count, longest, 3), (count, longest), (count, 2), (count,)
    if (edges.shape, weights.shape, start_end.shape, lengths.shape) != expected:
        raise ValueError(
            f"edges {edges.shape}, weights {weights.shape}, start_end {start_end.shape} and lengths"
            f" {lengths.shape} must be (B, Emax, 3), (B, Emax), (B, 2) and (B,)"
        )
    if count and not 0 <= lengths.min() <= lengths.max() <= longest:
        raise ValueError(f"lengths must be between 0 and {longest}")
    used = np.arange(longest) < lengths[:, None]
    states = np.where(used[..., None], edges[..., :2], 0)
    sizes = np.maximum(states.max((1, 2), initial=0), start_end.max(1, initial=0)) + 1
    first = np.cumsum(sizes) - sizes
    sequences, _ = np.nonzero(used)
    rows = edges[used].T.astype(np.int64)
    return Automata.from_edges(
        np.stack([rows[0] + first[sequences], rows[1] + first[sequences], rows[2], sequences]),
        weights[used],
        (start_end + first[:, None]).T,
        tags=tags,
    )
