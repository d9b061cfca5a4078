"""Pairs of intervals of two tiers that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Span", "overlap_pairs", "word_pairs"]

# MFA's weights: seconds of boundary error count as they are
_GAP, _SUBSTITUTION = 2_000_000, 2_000_000


class Span(NamedTuple):
    """An interval in whole microseconds."""

    start: int
    end: int
    symbol: str


def word_pairs(first: Sequence[Span], second: Sequence[Span]) -> list[tuple[int, int]]:
    """Returns (index, index) of the equal symbols in an alignment of minimum edit distance.

    Equal sequences are paired by their order.
    """
    begin = 0
    while begin < min(len(first), len(second)) and first[begin].symbol == second[begin].symbol:
        begin += 1
    pairs = [(index, index) for index in range(begin)]
    if begin == len(first) == len(second):
        return pairs
    left, right = first[begin:], second[begin:]
    # distances of the ends of both
    costs = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left), -1, -1):
        for j in range(len(right), -1, -1):
            if i == len(left) or j == len(right):
                costs[i][j] = len(left) - i + len(right) - j
                continue
            differs = left[i].symbol != right[j].symbol
            costs[i][j] = min(
                costs[i + 1][j + 1] + differs, costs[i + 1][j] + 1, costs[i][j + 1] + 1
            )
    i = j = 0
    while i < len(left) and j < len(right):
        differs = left[i].symbol != right[j].symbol
        if costs[i][j] == costs[i + 1][j + 1] + differs:
            if not differs:
                pairs.append((begin + i, begin + j))
            i, j = i + 1, j + 1
        elif costs[i][j] == costs[i + 1][j] + 1:
            i += 1
        else:
            j += 1
    return pairs


def overlap_pairs(first: Sequence[Span], second: Sequence[Span]) -> list[tuple[int, int]]:
    """Returns (index, index) of intervals that belong together by their overlap in time.

    Equal sequences are paired by their order. Else the pairs minimize, as in MFA's comparison of
    alignments, the boundary errors in seconds, plus 2 for each pair of different symbols and for
    each interval without a partner; partners overlap.
    """
    if [span.symbol for span in first] == [span.symbol for span in second]:
        return [(index, index) for index in range(len(first))]
    infinity = float("inf")
    # the cost of the ends of both, and the step that reaches it
    after: list[float] = [_GAP * (len(second) - j) for j in range(len(second) + 1)]
    steps: list[bytearray] = []
    for i in range(len(first) - 1, -1, -1):
        row: list[float] = [0] * len(after)
        step = bytearray(len(after))
        row[-1] = after[-1] + _GAP
        for j in range(len(second) - 1, -1, -1):
            pair = after[j + 1] + _pair_cost(first[i], second[j], infinity)
            down, right = after[j] + _GAP, row[j + 1] + _GAP
            row[j] = min(pair, down, right)
            step[j] = 0 if pair <= min(down, right) else 1 if down <= right else 2
        step[-1] = 1
        steps.append(step)
        after = row
    steps.reverse()
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(first) and j < len(second):
        step_here = steps[i][j]
        if step_here == 0:
            pairs.append((i, j))
        i += step_here != 2
        j += step_here != 1
    return pairs


def _pair_cost(a: Span, b: Span, infinity: float) -> float:
    if min(a.end, b.end) <= max(a.start, b.start):
        return infinity
    errors = abs(a.start - b.start) + abs(a.end - b.end)
    return errors + (0 if a.symbol == b.symbol else _SUBSTITUTION)
