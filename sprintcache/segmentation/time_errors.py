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
    _edge: tuple[int, int] = (0, 0)
    _interior: tuple[int, int] = (0, 0)

    def add(self, start: int, end: int, is_edge: bool) -> None:
        """Adds a pair: the shifts of its start and end, and whether it is first or last."""
        self.start[start] += 1
        self.end[end] += 1
        self._center += abs(start + end)
        error = abs(start) + abs(end)
        if is_edge:
            self._edge = (self._edge[0] + 1, self._edge[1] + error)
        else:
            self._interior = (self._interior[0] + 1, self._interior[1] + error)

    def merge(self, other: TimeErrors) -> None:
        """Adds all pairs of another."""
        self.start.update(other.start)
        self.end.update(other.end)
        self._center += other._center
        self._edge = (self._edge[0] + other._edge[0], self._edge[1] + other._edge[1])
        self._interior = (
            self._interior[0] + other._interior[0],
            self._interior[1] + other._interior[1],
        )

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
        for name, (number, error) in (("edge_wbe", self._edge), ("interior_wbe", self._interior)):
            if number:
                means[name] = error / number / 2 / _MICRO
        return means


def _sum(shifts: Mapping[int, int], abs_: bool = False) -> int:
    return sum((abs(shift) if abs_ else shift) * count for shift, count in shifts.items())
