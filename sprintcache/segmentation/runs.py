"""Runs: stretches of frames with one allophone state, and the phones and words they form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sprintcache.errors import SegmentationError

from .allophone import Allophone, AllophoneNames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment

__all__ = [
    "FramePhone",
    "FrameWord",
    "Run",
    "heaviest_items",
    "phones_of",
    "runs_of",
    "spans_of",
    "words_of",
]


class Run(NamedTuple):
    """Frames ``start`` to ``end`` (exclusive) in one state of one allophone."""

    allophone: Allophone
    state: int
    start: int
    end: int


@dataclass
class FramePhone:
    """One phone: its states are consecutive runs."""

    allophone: Allophone
    states: list[Run]

    @property
    def start(self) -> int:
        """First frame."""
        return self.states[0].start

    @property
    def end(self) -> int:
        """Frame after the last one."""
        return self.states[-1].end


@dataclass
class FrameWord:
    """One word: phones ``first`` to ``last`` (exclusive) of the segment.

    Attributes:
        symbol: spelling, or None if unknown.
        pronunciation: phones in the lexicon, or () if unknown.
    """

    first: int
    last: int
    symbol: str | None = None
    pronunciation: tuple[str, ...] = ()


def heaviest_items(alignment: Alignment) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Returns the id and weight of the heaviest item of each frame, (T,) each.

    Raises:
        SegmentationError: if a frame has no item.
    """
    emission, weight = alignment.emission, alignment.weight
    if not alignment.is_viterbi:
        order = np.lexsort((-weight, alignment.time))
        time = alignment.time[order]
        first = np.diff(time.astype(np.int64), prepend=-1) != 0
        order = order[first]
        missing = np.flatnonzero(time[first] != np.arange(len(order)))
        if len(missing):
            raise SegmentationError(f"frame {missing[0]} has no item")
        emission, weight = emission[order], weight[order]
    return emission, weight


def runs_of(alignment: Alignment, emission: NDArray[np.uint32], names: AllophoneNames) -> list[Run]:
    """Returns the runs of equal ids of an alignment of allophone states."""
    spans = spans_of(emission)
    known = names.of(alignment, sorted({id_ for id_, _, _ in spans}))
    return [Run(*known[id_], start, end) for id_, start, end in spans]


def spans_of(emission: NDArray[np.uint32]) -> list[tuple[int, int, int]]:
    """Returns (id, first frame, frame after the last one) of each stretch of equal ids."""
    begins = np.flatnonzero(np.diff(emission, prepend=~emission[:1]) != 0)
    ends = np.append(begins[1:], len(emission))
    return list(zip(emission[begins].tolist(), begins.tolist(), ends.tolist(), strict=True))


def phones_of(runs: list[Run]) -> list[FramePhone]:
    """Returns the phones: one begins where the allophone changes or the state falls."""
    phones: list[FramePhone] = []
    for run in runs:
        last = phones[-1] if phones else None
        if last is None or last.allophone != run.allophone or run.state < last.states[-1].state:
            phones.append(FramePhone(run.allophone, [run]))
        else:
            last.states.append(run)
    return phones


def words_of(phones: list[FramePhone], silence: str) -> list[FrameWord]:
    """Returns the words by the boundary flags of the phones.

    A word ends with a final phone. Its initial phone may have been skipped.

    Raises:
        SegmentationError: if the flags contradict each other; it names the frame.
    """
    words: list[FrameWord] = []
    first = -1  # the first phone of an open word
    for index, phone in enumerate(phones):
        if phone.allophone.phone == silence:
            if first >= 0:
                raise SegmentationError(f"frame {phone.start}: silence inside a word")
            continue
        if first < 0:
            first = index
        elif phone.allophone.initial:
            raise SegmentationError(
                f"frame {phone.start}: {phone.allophone.symbol} begins a word inside a word"
            )
        if phone.allophone.final:
            words.append(FrameWord(first, index + 1))
            first = -1
    if first >= 0:
        raise SegmentationError(f"the last word, from frame {phones[first].start}, has no end")
    return words
