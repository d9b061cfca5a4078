"""TimeErrors: sums over the time errors of paired intervals, in whole microseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MEASURES", "TimeErrors"]

MEASURES = (
    "wbe",
    "start_mae",
    "end_mae",
    "start_shift",
    "end_shift",
    "shift",
    "width_error",
    "center_mae",
    "edge_wbe",
    "interior_wbe",
)
_MICRO = 1e6


@dataclass
class TimeErrors:
    """Errors of pairs of intervals; positive shifts: the hypothesis is late.

    Attributes:
        start, end: how often each shift occurs, in microseconds.
    """

    start: Counter[int] = field(default_factory=Counter)
    end: Counter[int] = field(default_factory=Counter)
    _center: int = 0
    # by whether a pair is at an edge: the number of pairs, and their errors
    _pairs: Counter[bool] = field(default_factory=Counter)
    _errors: Counter[bool] = field(default_factory=Counter)

    def add(self, start: int, end: int, is_edge: bool) -> None:
        """Adds a pair: the shifts of its start and end, and whether it is first or last."""
        self.start[start] += 1
        self.end[end] += 1
        self._center += abs(start + end)
        self._pairs[is_edge] += 1
        self._errors[is_edge] += abs(start) + abs(end)

    def merge(self, other: TimeErrors) -> None:
        """Adds all pairs of another."""
        self.start.update(other.start)
        self.end.update(other.end)
        self._center += other._center
        self._pairs.update(other._pairs)
        self._errors.update(other._errors)

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return self.start.total()

    def num_within(self, collar_ms: int) -> int:
        """Number of starts and ends whose error is at most so many milliseconds."""
        return sum(
            count
            for shifts in (self.start, self.end)
            for shift, count in shifts.items()
            if abs(shift) <= collar_ms * 1000
        )

    def means(self) -> dict[str, float]:
        """Returns the `MEASURES` in seconds; those without pairs are left out.

        * ``wbe``, word boundary error: mean of half the sum of both absolute errors;
        * ``start_mae``, ``end_mae``: mean absolute errors;
        * ``start_shift``, ``end_shift``, ``shift``: mean signed errors, of both for the last;
        * ``width_error``: mean error of the duration;
        * ``center_mae``: mean absolute error of the middle;
        * ``edge_wbe``, ``interior_wbe``: ``wbe`` of the first and last interval, of the others.
        """
        count = self.num_pairs
        if not count:
            return {}
        start, end = _sum(self.start), _sum(self.end)
        start_size, end_size = _sum(self.start, abs_=True), _sum(self.end, abs_=True)
        means = {
            "wbe": (start_size + end_size) / 2,
            "start_mae": start_size,
            "end_mae": end_size,
            "start_shift": start,
            "end_shift": end,
            "shift": (start + end) / 2,
            "width_error": end - start,
            "center_mae": self._center / 2,
        }
        means = {name: value / count / _MICRO for name, value in means.items()}
        for name, is_edge in (("edge_wbe", True), ("interior_wbe", False)):
            if self._pairs[is_edge]:
                means[name] = self._errors[is_edge] / self._pairs[is_edge] / 2 / _MICRO
        return means


def _sum(shifts: Mapping[int, int], abs_: bool = False) -> int:
    return sum((abs(shift) if abs_ else shift) * count for shift, count in shifts.items())
