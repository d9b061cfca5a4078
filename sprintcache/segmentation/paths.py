"""heaviest_path: the reading with the largest product of weights in a soft alignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sprintcache._reader import distinct_ids
from sprintcache.errors import SegmentationError

from .allophone import AllophoneNames
from .matching import Match, match
from .runs import runs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment

    from .readings import Node, Readings

__all__ = ["heaviest_path"]


class _Step(NamedTuple):
    """The best way to a state in one frame."""

    score: float  # logarithm of the product of weights
    node: Node
    id: int
    weight: float
    before: _Step | None


class _Frontier:
    """The states that are reached in one frame; `scores` has logarithm and weight of each id."""

    def __init__(self, scores: dict[int, tuple[float, float]]) -> None:
        self.scores = scores
        self.steps: dict[tuple[Node, int], _Step] = {}

    def reach(self, node: Node, id_: int, before: _Step | None) -> None:
        """Records a way to a state unless a better one is known."""
        score, weight = self.scores[id_]
        if before is not None:
            score += before.score
        known = self.steps.get((node, id_))
        if known is None or known.score < score:
            self.steps[node, id_] = _Step(score, node, id_, weight, before)


def heaviest_path(
    alignment: Alignment,
    names: AllophoneNames,
    readings_of: Callable[[str, int], Readings],
    orthography: str,
) -> tuple[Match, NDArray[np.float32]]:
    """Returns the phones and words of the heaviest path, and its weight in each frame, (T,).

    Raises:
        SegmentationError: if no reading of the orthography passes through the items.
    """
    ids = distinct_ids(alignment.emission)
    known = names.of(alignment, ids)
    readings = readings_of(orthography, 1 + max(state for _, state in known.values()))
    frames: list[list[tuple[int, float]]] = [[] for _ in range(alignment.num_frames)]
    items = zip(
        alignment.time.tolist(), alignment.emission.tolist(), alignment.weight.tolist(), strict=True
    )
    for time, id_, weight in items:
        if weight > 0:
            frames[time].append((id_, weight))
    best: dict[tuple[Node, int], _Step] = {}
    for time, frame in enumerate(frames):
        frontier = _Frontier({id_: (float(np.log(weight)), weight) for id_, weight in frame})
        if time == 0:
            for node in readings.first():
                for id_ in frontier.scores:
                    allophone, state = known[id_]
                    if readings.matches(node, allophone, state) and (
                        readings.begins(node, allophone)
                    ):
                        frontier.reach(node, id_, None)
        for (node, id_), step in best.items():
            if id_ in frontier.scores:
                frontier.reach(node, id_, step)
            for after in readings.after(node):
                for next_id in frontier.scores:
                    left, (right, state) = known[id_][0], known[next_id]
                    if readings.matches(after, right, state) and (
                        readings.may_follow(node, after, left, right)
                    ):
                        frontier.reach(after, next_id, step)
        best = frontier.steps
        if not best:
            raise SegmentationError(f"frame {time}: no item continues a reading")
    ends = [
        step
        for (node, id_), step in best.items()
        if readings.is_last(node) and known[id_][0].right == "#"
    ]
    if not ends:
        raise SegmentationError("no path through the items reaches the end of the words")
    last: _Step | None = max(ends, key=lambda step: step.score)
    path: list[_Step] = []
    while last is not None:
        path.append(last)
        last = last.before
    path.reverse()
    emission = np.array([step.id for step in path], np.uint32)
    weights = np.array([step.weight for step in path], np.float32)
    return match(runs_of(alignment, emission, names), readings, True), weights
