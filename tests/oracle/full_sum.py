"""Sums over all paths of an automaton, by enumeration and in the log domain with numpy."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

FORBIDDEN = float(np.finfo(np.float32).max)


class Sums(NamedTuple):
    """Loss, posteriors (T, L), expected counts (E,) and score of the best path."""

    loss: float
    posteriors: np.ndarray
    edge_counts: np.ndarray
    best_score: float


def enumerate_paths(
    edges: Any,
    weights: Any,
    start: int,
    end: int,
    log_probs: np.ndarray,
    label_scale: float = 1.0,
    transition_scale: float = 1.0,
) -> Sums:
    """Every sequence of edges is tried; a few edges and frames only."""
    num_frames, num_edges = len(log_probs), len(weights)
    scaled = label_scale * log_probs if label_scale else np.zeros(log_probs.shape)
    posteriors, counts = np.zeros(log_probs.shape), np.zeros(num_edges)
    scores, paths = [], []
    for path in product(range(num_edges), repeat=num_frames):
        state, score = start, 0.0
        for frame, edge in enumerate(path):
            if edges[0][edge] != state or weights[edge] >= FORBIDDEN:
                break
            state = edges[1][edge]
            score += scaled[frame, edges[2][edge]]
            score -= transition_scale * weights[edge]
        else:
            if state == end and score > -np.inf:
                scores.append(score)
                paths.append(path)
    if not scores:
        return Sums(np.inf, posteriors, counts, np.inf)
    total = np.logaddexp.reduce(scores)
    for score, path in zip(scores, paths, strict=True):
        for frame, edge in enumerate(path):
            posteriors[frame, edges[2][edge]] += np.exp(score - total)
            counts[edge] += np.exp(score - total)
    return Sums(-float(total), posteriors, counts, -max(scores))


def log_domain(
    edges: Any,
    weights: Any,
    start: int,
    end: int,
    log_probs: np.ndarray,
    label_scale: float = 1.0,
    transition_scale: float = 1.0,
) -> Sums:
    """Forward and backward over all edges and frames, float64."""
    edges = np.asarray(edges, np.int64)
    weights = np.asarray(weights, np.float64)
    allowed = np.flatnonzero(weights < FORBIDDEN)
    source, target, label = edges[:3, allowed]
    cost = weights[allowed] * transition_scale
    num_frames = len(log_probs)
    num_states = max(edges[:2].max(initial=0), start, end) + 1
    forward = np.full((num_frames + 1, num_states), -np.inf)
    backward, best = forward.copy(), forward.copy()
    forward[0, start] = backward[-1, end] = best[0, start] = 0
    for t in range(num_frames):
        step = label_scale * log_probs[t, label] - cost
        np.logaddexp.at(forward[t + 1], target, forward[t, source] + step)
        np.maximum.at(best[t + 1], target, best[t, source] + step)
    for t in reversed(range(num_frames)):
        step = label_scale * log_probs[t, label] - cost
        np.logaddexp.at(backward[t], source, backward[t + 1, target] + step)
    total = forward[-1, end]
    posteriors, counts = np.zeros(log_probs.shape), np.zeros(len(weights))
    if total > -np.inf:
        for t in range(num_frames):
            step = label_scale * log_probs[t, label] - cost
            shares = np.exp(forward[t, source] + step + backward[t + 1, target] - total)
            np.add.at(posteriors[t], label, shares)
            counts[allowed] += shares
    return Sums(-float(total), posteriors, counts, -float(best[-1, end]))
