"""Matching: which reading of an orthography an alignment follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import comb
from typing import TYPE_CHECKING

from sprintcache.errors import AmbiguousSegmentationError, SegmentationError

from .runs import FramePhone, FrameWord, Run

if TYPE_CHECKING:
    from .readings import Arc, Node, Readings

__all__ = ["Match", "match"]

MAX_COUNT = 1 << 30  # readings are counted up to here


@dataclass
class Match:
    """The phones and words of a reading.

    Attributes:
        phones: silence included.
        words: without silence.
    """

    phones: list[FramePhone] = field(default_factory=list)
    words: list[FrameWord] = field(default_factory=list)


@dataclass
class _Hypothesis:
    """A state that some readings reach, as the `step`-th state within one run."""

    node: Node
    step: int
    count: int  # readings up to here
    before: _Hypothesis | None


def match(runs: list[Run], readings: Readings, first_of_several: bool = False) -> Match:
    """Returns the one reading that the runs of an alignment follow.

    Forward pass over the runs. A run is one state as a rule; it is several, each with at least one
    frame, where successive states have the same symbol, as in repeated one-phone words.

    Args:
        runs: runs of equal allophone states, gapless from frame 0.
        readings: the acceptor of the orthography.
        first_of_several: where several readings fit, return one of them.

    Raises:
        AmbiguousSegmentationError: if several readings fit that differ in times or words.
        SegmentationError: if there is no frame, or no reading fits; it names the first frame that
            does not fit.
    """
    if not runs:
        raise SegmentationError("the alignment has no frames")
    ends: dict[Node, list[_Hypothesis]] = {}
    for number, run in enumerate(runs):
        entries: list[_Hypothesis] = []
        if number == 0:
            for node in readings.first():
                if readings.may_begin(node, run):
                    _add(entries, _Hypothesis(node, 1, 1, None))
        else:
            for hypotheses in ends.values():
                _follow(readings, hypotheses, runs[number - 1], run, entries, True)
        ends = _within(readings, run, entries)
        if not ends:
            raise SegmentationError(
                f"frame {run.start} fits no reading of {' '.join(readings.tokens)!r}",
                found=f"{run.allophone.symbol}.{run.state}".lstrip("."),
            )
    last = runs[-1]
    final = [h for node, hs in ends.items() if readings.may_end(node, last) for h in hs]
    if not final:
        raise SegmentationError(
            f"the alignment ends inside the words {' '.join(readings.tokens)!r}", expected="all"
        )
    count = sum(h.count * _ways(h, last) for h in final)
    if count > 1 and not first_of_several:
        raise AmbiguousSegmentationError(
            f"{'many' if count >= MAX_COUNT else count} readings fit: one state per phone and the"
            " same allophone twice"
        )
    return _trace(runs, readings, final[0])


def _ways(hypothesis: _Hypothesis, run: Run) -> int:
    """In how many ways the frames of a run are shared by the states up to this one."""
    return comb(run.end - run.start - 1, hypothesis.step - 1)


def _add(hypotheses: list[_Hypothesis], new: _Hypothesis) -> None:
    for hypothesis in hypotheses:
        if hypothesis.node == new.node and hypothesis.step == new.step:
            hypothesis.count = min(hypothesis.count + new.count, MAX_COUNT)
            return
    hypotheses.append(new)


def _follow(
    readings: Readings,
    hypotheses: list[_Hypothesis],
    left: Run,
    right: Run,
    into: list[_Hypothesis],
    is_next_run: bool,
) -> None:
    """Adds the states of the right run that follow states of the left one."""
    for hypothesis in hypotheses:
        for node in readings.after(hypothesis.node):
            if readings.emits(node, right) and readings.may_follow(
                hypothesis.node, node, left.allophone, right.allophone
            ):
                ways = _ways(hypothesis, left) if is_next_run else 1
                step = 1 if is_next_run else hypothesis.step + 1
                count = min(hypothesis.count * ways, MAX_COUNT)
                _add(into, _Hypothesis(node, step, count, hypothesis))


def _within(
    readings: Readings, run: Run, entries: list[_Hypothesis]
) -> dict[Node, list[_Hypothesis]]:
    """The states in which a run may end: the entries, and states of the same symbol after them."""
    ends: dict[Node, list[_Hypothesis]] = {}
    step = 1
    while entries:
        for hypothesis in entries:
            ends.setdefault(hypothesis.node, []).append(hypothesis)
        following: list[_Hypothesis] = []
        if step < run.end - run.start:
            _follow(readings, entries, run, run, following, False)
        entries = following
        step += 1
    return ends


def _trace(runs: list[Run], readings: Readings, last: _Hypothesis) -> Match:
    """Phones and words of a path, from its last state."""
    path: list[_Hypothesis] = []
    hypothesis: _Hypothesis | None = last
    while hypothesis is not None:
        path.append(hypothesis)
        hypothesis = hypothesis.before
    path.reverse()
    result = Match()
    number = -1
    previous: tuple[Arc | None, int] = (None, -1)
    for index, hypothesis in enumerate(path):
        number += hypothesis.step == 1
        run = runs[number]
        is_last_of_run = index + 1 == len(path) or path[index + 1].step == 1
        # the last state of a run takes the frames that are left
        start = run.start + hypothesis.step - 1
        end = run.end if is_last_of_run else start + 1
        state = readings.named(hypothesis.node, Run(run.allophone, run.state, start, end))
        arc, position = hypothesis.node
        phone = position // arc.states
        if (arc, phone) == previous:
            result.phones[-1].states.append(state)
            continue
        if not arc.is_silence and previous[0] is not arc:
            first = len(result.phones)
            result.words.append(FrameWord(first, first, arc.name, arc.phones))
        result.phones.append(FramePhone(state.allophone, [state]))
        if not arc.is_silence:
            result.words[-1].last = len(result.phones)
        previous = (arc, phone)
    return result
