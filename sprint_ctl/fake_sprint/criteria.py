"""Criterion: loss and error signals of one segment, in numpy.

Outputs of the network are (classes, time); losses are sums over the segment in natural logarithms.
Error signals of CTC and full-sum are those of Sprint's CTC criterion (RASR until April 2025): with
log posteriors, p - gamma; with posteriors, -gamma / p, and p - gamma before the
softmax; gamma, the soft alignment, as pseudo targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .application import Application, CriticalError
from .automata import Automaton, ctc_automaton

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sprintcache._configuration import Configuration

    Labels = NDArray[np.integer] | None
    Matrix = NDArray[np.floating]

__all__ = [
    "Criterion",
    "CrossEntropy",
    "FullSum",
    "Trivial",
    "create",
    "full_sum",
    "log_softmax",
    "softmax",
]

CHOICES = ("none", "cross-entropy", "ctc", "full-sum", "trivial")


class Criterion:
    """``none``: loss 0, error signals of zeros. The others derive from it.

    Attributes:
        loss: of the segment that was put in last.
        activation: what a network puts between its last layer and this criterion.
    """

    activation: Literal["softmax", "log-softmax", "identity"] = "softmax"

    def __init__(self) -> None:
        self.loss = 0.0
        self.outputs: Matrix = np.zeros((0, 0), np.float32)

    def put(
        self,
        outputs: Matrix,
        labels: Labels = None,
        orthography: str | None = None,
        log_space: bool | None = None,
    ) -> bool:
        """Accepts a segment; False if it must be discarded.

        Args:
            outputs: (C, T) posteriors, or log posteriors.
            labels: (T,) classes.
            orthography: the words.
            log_space: whether `outputs` are logarithms; None: they are if none is positive.
        """
        self.outputs = outputs
        return self._compute(labels, orthography, log_space)

    def _compute(self, labels: Labels, orthography: str | None, log_space: bool | None) -> bool:
        return True

    def error_signal(self) -> Matrix:
        """(C, T) derivative with respect to the outputs."""
        return np.zeros_like(self.outputs)

    def error_signal_before_softmax(self) -> Matrix:
        """(C, T) derivative with respect to the input of the softmax."""
        return np.zeros_like(self.outputs)

    def pseudo_targets(self) -> Matrix | None:
        return None


class Trivial(Criterion):
    """For timing: the loss is the number of frames, the error signal equals the outputs."""

    activation = "identity"

    def _compute(self, labels: Labels, orthography: str | None, log_space: bool | None) -> bool:
        self.loss = float(self.outputs.shape[1])
        return True

    def error_signal(self) -> Matrix:
        return self.outputs

    error_signal_before_softmax = error_signal


class CrossEntropy(Criterion):
    """loss = -sum log p[label]; error signal before softmax = p - onehot(label)."""

    def _compute(self, labels: Labels, orthography: str | None, log_space: bool | None) -> bool:
        if labels is None:
            raise CriticalError("cross-entropy: needs an alignment")
        num_classes, num_frames = self.outputs.shape
        if len(labels) != num_frames or (len(labels) and int(labels.max()) >= num_classes):
            raise CriticalError(
                f"cross-entropy: {num_classes} classes by {num_frames} frames, but an alignment of"
                f" {len(labels)} frames with class {int(labels.max(initial=0))}"
            )
        self._labels = labels.astype(np.intp)
        with np.errstate(divide="ignore"):
            scores = np.log(self.outputs[self._labels, np.arange(num_frames)], dtype=np.float64)
        self.loss = -float(scores.sum())
        return True

    def error_signal(self) -> Matrix:
        raise CriticalError("Generic CrossEntropyCriterion::getErrorSignal not implemented yet.")

    def error_signal_before_softmax(self) -> Matrix:
        error = np.array(self.outputs)
        error[self._labels, np.arange(error.shape[1])] -= 1
        return error


class FullSum(Criterion):
    """loss = -log of the sum over all paths of an automaton of the orthography."""

    activation = "log-softmax"

    def __init__(self, automaton: Callable[[str, int], Automaton], log_space: bool | None) -> None:
        """Keeps the function that builds automata.

        Args:
            automaton: builds one from an orthography and a number of classes.
            log_space: ``input-in-log-space``, None where it is not given.
        """
        super().__init__()
        self._automaton = automaton
        self._log_space = log_space

    def _compute(self, labels: Labels, orthography: str | None, log_space: bool | None) -> bool:
        if orthography is None:
            raise CriticalError("full-sum: needs an orthography")
        outputs = self.outputs
        known = self._log_space if log_space is None else log_space
        self._is_log = bool(outputs.max(initial=0) <= 0) if known is None else known
        if not self._is_log and outputs.min(initial=0) < 0:
            raise CriticalError("full-sum: negative posteriors; set input-in-log-space=true")
        with np.errstate(divide="ignore"):
            scores = outputs if self._is_log else np.log(outputs)
        automaton = self._automaton(orthography, outputs.shape[0])
        self.loss, self._gamma = full_sum(scores, automaton)
        return bool(np.isfinite(self.loss))

    def error_signal(self) -> Matrix:
        if self._is_log:
            return self.error_signal_before_softmax()
        error = np.zeros_like(self._gamma)
        np.divide(-self._gamma, self.outputs, out=error, where=self._gamma > 0)
        return error

    def error_signal_before_softmax(self) -> Matrix:
        return (softmax(self.outputs) if self._is_log else self.outputs) - self._gamma

    def pseudo_targets(self) -> Matrix:
        return self._gamma


def softmax(logits: Matrix) -> Matrix:
    """Log softmax over the classes, the first axis."""
    return np.exp(log_softmax(logits))


def log_softmax(logits: Matrix) -> Matrix:
    shifted: Matrix = logits - logits.max(axis=0, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))  # type: ignore[no-any-return]


def full_sum(scores: Matrix, automaton: Automaton) -> tuple[float, NDArray[np.float64]]:
    """Sum over all paths of one frame per edge, by forward and backward passes in log space.

    Args:
        scores: (C, T) log probabilities of the emissions.
        automaton: with weights of -log probabilities.

    Returns:
        -log of the sum, infinite where no path fits; and the probability of every class in every
        frame, (C, T) float64.
    """
    sources, targets, emissions = automaton.edges.astype(np.intp)
    by_edge = scores.astype(np.float64)[emissions].T - automaton.weights  # (T, E)
    num_frames, last = by_edge.shape[0], automaton.num_states - 1
    forward = np.full((num_frames + 1, automaton.num_states), -np.inf)
    backward = np.full((num_frames + 1, automaton.num_states), -np.inf)
    forward[0, 0] = backward[num_frames, last] = 0.0
    in_order, entered, starts = _grouped(targets)
    froms, incoming = sources[in_order], by_edge[:, in_order]
    for frame in range(num_frames):
        paths = forward[frame, froms] + incoming[frame]
        forward[frame + 1, entered] = np.logaddexp.reduceat(paths, starts)
    total = forward[num_frames, last]
    gamma = np.zeros(scores.shape)
    if not np.isfinite(total):
        return float("inf"), gamma
    in_order, left, starts = _grouped(sources)
    into, outgoing = targets[in_order], by_edge[:, in_order]
    for frame in range(num_frames - 1, -1, -1):
        paths = backward[frame + 1, into] + outgoing[frame]
        backward[frame, left] = np.logaddexp.reduceat(paths, starts)
    by_edge = np.exp(forward[:-1, sources] + by_edge + backward[1:, targets] - total)
    in_order, emitted, starts = _grouped(emissions)
    gamma[emitted] = np.add.reduceat(by_edge[:, in_order], starts, axis=1).T
    return -float(total), gamma


def _grouped(keys: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Order that sorts the keys, the distinct keys, and where each begins in that order."""
    in_order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[in_order], return_index=True)
    return in_order, distinct, starts


def create(
    app: Application,
    config: Configuration,
    characters: Callable[[], str],
    graph: Callable[[str], Automaton],
) -> Criterion:
    """The criterion of ``fake.criterion``, else of ``training-criterion``.

    Args:
        characters: returns the classes of CTC, without the blank.
        graph: returns the automaton of an orthography, for full-sum.
    """
    choice = app.fake.string("criterion", "") or config.string("training-criterion", "none")
    log_space: bool | None = None
    if config.get("input-in-log-space") is not None:
        log_space = config.boolean("input-in-log-space", False)

    def ctc(orthography: str, num_classes: int) -> Automaton:
        classes = characters()
        if num_classes != len(classes) + 1:
            raise CriticalError(
                f"ctc: {num_classes} classes, but there are {len(classes)} characters and the blank"
            )
        unknown = set(orthography.strip()) - set(classes)
        if unknown:
            raise CriticalError(f"ctc: no class for {''.join(sorted(unknown))!r}")
        return ctc_automaton([classes.index(c) for c in orthography.strip()], len(classes))

    if choice == "cross-entropy":
        return CrossEntropy()
    if choice == "trivial":
        return Trivial()
    if choice == "ctc":
        return FullSum(ctc, log_space)
    if choice == "full-sum":
        return FullSum(lambda orthography, _: graph(orthography), log_space)
    if choice != "none":
        raise CriticalError(f"training-criterion = {choice!r} is not one of {', '.join(CHOICES)}")
    return Criterion()
