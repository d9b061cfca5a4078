"""full_sum: loss, posteriors, expected counts and best scores of a batch, in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.errors import AutomatonError

from . import _full_sum

if TYPE_CHECKING:
    from .automata import Automata

__all__ = ["FullSum", "check_labels", "compute", "full_sum"]


@dataclass(frozen=True)
class FullSum:
    """Results of `full_sum`.

    Attributes:
        loss: (B,) float64, negative logarithm of the sum over all paths; inf without a path.
        posteriors: (T, B, L) float32, probability of each label in each frame given the automaton;
            0 beyond the length of a sequence and without a path. With `batch_first` (B, T, L).
        edge_counts: (E,) float64, expected number of times that a path uses each edge, or None.
        best_score: (B,) float64, negative logarithm of the best path, or None.
        in_log_domain: (B,) bool, where scaled probabilities were not exact enough and the sequence
            was computed in the log domain.
    """

    loss: Any
    posteriors: Any
    edge_counts: Any
    best_score: Any
    in_log_domain: Any


def full_sum(
    automata: Automata,
    log_probs: Any,
    lengths: Any,
    num_threads: int = 1,
    *,
    batch_first: bool = False,
    label_scale: float = 1.0,
    transition_scale: float = 1.0,
    on_no_path: str = "inf",
    posteriors: bool = True,
    edge_counts: bool = False,
    best_score: bool = False,
) -> FullSum:
    """Computes the sum over all paths of each automaton with as many edges as there are frames.

    A path scores the sum of `label_scale` times the log probability of its labels minus
    `transition_scale` times its weights. The derivative of the loss by the log probabilities is
    ``-label_scale * posteriors``. They need not be normalized.

    Sums run over scaled probabilities in float64; where a state underflows so far that the result
    could be off by more than 2^-50, the sequence is computed again in the log domain. Results do
    not depend on the number of threads. The GIL is released.

    Args:
        automata: B automata.
        log_probs: (T, B, L) natural logarithms, float16, float32 or float64, of any strides.
        lengths: (B,) integers, frames of each sequence; those beyond are not read.
        num_threads: threads to share the sequences.
        batch_first: whether `log_probs` is (B, T, L).
        label_scale: factor of log probabilities, 0 or more.
        transition_scale: factor of weights, 0 or more.
        on_no_path: "inf" for loss inf where no path has the length of the sequence, or "raise".
        posteriors: whether to return posteriors.
        edge_counts: whether to return expected counts of edges.
        best_score: whether to return the score of the best path.

    Raises:
        TypeError: for arrays of another kind of numbers.
        ValueError: for shapes, lengths or options out of range.
        AutomatonError: for a label that `log_probs` does not have, a log probability of NaN or
            +inf, or, with `on_no_path="raise"`, a sequence without a path; names the sequence.
    """
    scores = np.asarray(log_probs)
    if scores.dtype.kind != "f":
        raise TypeError(f"log_probs must be floating numbers, not {scores.dtype}")
    if scores.ndim != 3:
        raise ValueError(f"log_probs must have 3 axes, not shape {scores.shape}")
    if batch_first:
        scores = scores.swapaxes(0, 1)
    if scores.dtype not in (np.float32, np.float64) or not scores.flags.aligned:
        scores = scores.astype(np.float64 if scores.dtype.itemsize > 4 else np.float32)
    result = np.empty(scores.shape, np.float32) if posteriors else None
    counts = np.zeros(automata.num_edges, np.float64) if edge_counts else None
    loss, best, in_log_domain = compute(
        automata,
        automata.edges[2],
        scores,
        lengths,
        label_scale=label_scale,
        transition_scale=transition_scale,
        on_no_path=on_no_path,
        posteriors=result,
        edge_counts=counts,
        best_score=best_score,
        num_threads=num_threads,
    )
    if batch_first and result is not None:
        result = result.swapaxes(0, 1)
    return FullSum(loss, result, counts, best, in_log_domain != 0)


def compute(
    automata: Automata,
    labels: Any,
    scores: Any,
    lengths: Any,
    *,
    label_scale: float,
    transition_scale: float,
    on_no_path: str,
    posteriors: Any,
    num_threads: int,
    edge_counts: Any = None,
    best_score: bool = False,
    label_names: Any = None,
    posterior_factor: float = 1.0,
    log_domain: bool = False,
    chunk: int = 0,
) -> tuple[Any, Any, Any]:
    """Returns loss, scores of best paths or None, and 1 where the log domain was needed.

    Args:
        automata: B automata.
        labels: (E,) uint32, column of `scores` for each edge.
        scores: (T, B, L) float32 or float64.
        lengths: (B,) integers.
        posteriors: array of the shape of `scores` to be written, or None.
        edge_counts: (E,) float64, all zero, to be filled, or None.
        label_names: label of each column, None where the columns are the labels; for errors.
        posterior_factor: what posteriors are multiplied with.
        log_domain: whether to compute in the log domain from the start.
        chunk: doubles to keep in memory for one sequence at a time; 0 for the default.

    Raises:
        ValueError, TypeError, AutomatonError: as `full_sum`.
    """
    num_sequences = scores.shape[1]
    if num_sequences != len(automata):
        raise ValueError(f"{len(automata)} automata, but {num_sequences} sequences in log_probs")
    if scores.shape[2] >= 1 << 31:
        raise ValueError(f"{scores.shape[2]} labels do not fit into 32 bits")
    if label_names is None:
        check_labels(automata, scores.shape[2])
    lengths = _check_lengths(lengths, num_sequences)
    _check_scale("label_scale", label_scale)
    _check_scale("transition_scale", transition_scale)
    if on_no_path not in ("inf", "raise"):
        raise ValueError(f"on_no_path must be 'inf' or 'raise', not {on_no_path!r}")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    loss = np.empty(num_sequences)
    best = np.empty(num_sequences) if best_score else None
    status = np.zeros((num_sequences, 4), np.int64)
    num_failed = _full_sum.run(
        np.ascontiguousarray(automata.edges, np.uint32),
        np.ascontiguousarray(labels, np.uint32),
        np.ascontiguousarray(automata.weights, np.float32),
        np.ascontiguousarray(automata.start_end, np.uint32),
        automata.edge_offsets,
        scores,
        lengths,
        float(label_scale),
        float(transition_scale),
        loss,
        status,
        posteriors,
        posterior_factor,
        edge_counts,
        best,
        int(num_threads),
        log_domain,
        chunk,
    )
    if num_failed:
        _raise_first(automata, status, scores, lengths, on_no_path, label_names)
    return loss, best, status[:, 1]


def _check_scale(name: str, scale: float) -> None:
    """Raises ValueError for a scale that is negative or not finite."""
    if not 0 <= scale < np.inf:
        raise ValueError(f"{name} must be 0 or more and finite, not {scale}")


def _check_lengths(lengths: Any, num_sequences: int) -> Any:
    """Returns lengths as (B,) int64.

    Raises:
        TypeError: for lengths that are not integers.
        ValueError: for another number of lengths.
    """
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, not {array.dtype}")
    if array.shape != (num_sequences,):
        raise ValueError(f"lengths must have shape ({num_sequences},), not {array.shape}")
    return np.ascontiguousarray(array, np.int64)


def check_labels(automata: Automata, num_labels: int) -> None:
    """Raises AutomatonError for the first edge with a label of `num_labels` or above."""
    labels = automata.edges[2]
    if automata.num_labels <= num_labels:
        return
    edge = int(np.flatnonzero(labels >= num_labels)[0])
    sequence = int(automata.edges[3, edge])
    raise AutomatonError(
        f"sequence {sequence}: edge {edge} has a label that log_probs do not have",
        entry=None if automata.tags is None else automata.tags[sequence],
        expected=f"below {num_labels}",
        found=int(labels[edge]),
    )


def _raise_first(
    automata: Automata, status: Any, scores: Any, lengths: Any, on_no_path: str, label_names: Any
) -> None:
    """Raises the error of the first sequence that has one."""
    codes = status[:, 0]
    bad = codes != _full_sum.STATUS_OK
    if on_no_path == "inf":
        bad &= codes != _full_sum.STATUS_NO_PATH
    for number in np.flatnonzero(bad):
        code, _, item, label = (int(value) for value in status[number])
        if code == _full_sum.STATUS_NO_MEMORY:
            raise MemoryError(f"not enough memory for sequence {number}")
        name = None if automata.tags is None else automata.tags[number]
        prefix = f"sequence {number}"
        if code == _full_sum.STATUS_NO_PATH:
            raise AutomatonError(
                f"{prefix} has no path of its {lengths[number]} frames", entry=name
            )
        if code == _full_sum.STATUS_BAD_WEIGHT:
            raise AutomatonError(
                f"{prefix}: edge {item} has no valid weight",
                entry=name,
                found=float(automata.weights[item]),
            )
        if code == _full_sum.STATUS_BAD_SCORE:
            raise AutomatonError(
                f"{prefix}: invalid log probability in frame {item} of label"
                f" {label if label_names is None else label_names[label]}",
                entry=name,
                expected="a number or -inf",
                found=float(scores[item, number, label]),
            )
        raise AutomatonError(f"{prefix} has too many edges", entry=name)
