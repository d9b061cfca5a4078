"""Running sums: moments of numbers, and weights by id.

Both accept data in pieces and match what numpy computes from all of it; neither keeps the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moments", "Tally", "summed", "weight_share"]

_BLOCK_ROWS = 4096  # rows that fit the cache
_MAX_PENDING, _MAX_PIECES = 1 << 18, 1 << 5  # ids that are buffered before they are summed


class Moments:
    """Mean, variance and range of each of D dimensions, in float64.

    Each piece is summed about its mean and merged by the update of Chan, Golub and LeVeque (1983),
    which avoids cancellation for large means. Non-finite values are counted and left out.

    Attributes:
        count: (D,) int64, finite values.
        num_not_finite: NaN and infinite values, over all dimensions.
        mean: (D,) float64; 0 without values.
        minimum, maximum: (D,) float64; inf and -inf without values.
    """

    def __init__(self, dim: int) -> None:
        self.count: NDArray[np.int64] = np.zeros(dim, np.int64)
        self.num_not_finite = 0
        self.mean = np.zeros(dim)
        self.minimum = np.full(dim, np.inf)
        self.maximum = np.full(dim, -np.inf)
        self._squares = np.zeros(dim)  # sum of squared distances from the mean

    @property
    def variance(self) -> NDArray[np.float64]:
        """(D,) float64: the mean squared distance from the mean, as `numpy.var`."""
        return self._squares / np.maximum(self.count, 1)

    def add(self, values: NDArray[Any]) -> None:
        """Adds (T, D) real numbers."""
        for start in range(0, len(values), _BLOCK_ROWS):
            self._add(np.array(values[start : start + _BLOCK_ROWS].T, np.float64, order="C"))

    def _add(self, columns: NDArray[np.float64]) -> None:
        """Adds (D, T) float64, which is overwritten."""
        piece = Moments(len(columns))
        with np.errstate(over="ignore", invalid="ignore"):
            piece.mean = columns.mean(1)
        if np.isfinite(piece.mean).all():
            piece.count += columns.shape[1]
            piece.minimum, piece.maximum = columns.min(1), columns.max(1)
            columns -= piece.mean[:, None]
        else:
            finite = np.isfinite(columns)
            piece.count += finite.sum(1)
            piece.num_not_finite = columns.size - int(piece.count.sum())
            piece.minimum = columns.min(1, initial=np.inf, where=finite)
            piece.maximum = columns.max(1, initial=-np.inf, where=finite)
            piece.mean = columns.sum(1, where=finite) / np.maximum(piece.count, 1)
            columns -= piece.mean[:, None]
            columns[~finite] = 0
        piece._squares = np.einsum("ij,ij->i", columns, columns)
        self.merge(piece)

    def merge(self, other: Moments) -> None:
        """Adds the values of another object."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        distance = other.mean - self.mean
        self.mean = self.mean + distance * share
        self._squares = self._squares + other._squares + distance**2 * self.count * share
        self.count = count
        self.num_not_finite += other.num_not_finite
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)


class Tally:
    """Weights summed by id; memory grows with the number of different ids only."""

    def __init__(self) -> None:
        # the sums, and the pieces added since
        self._ids: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._weights: list[NDArray[np.float64]] = [np.zeros(0)]
        self._num_pending = 0

    def add(self, ids: NDArray[np.integer], weights: NDArray[Any] | None = None) -> None:
        """Adds (N,) weights to these (N,) ids; None: 1 each."""
        self._ids.append(ids.astype(np.int64))
        self._weights.append(np.ones(len(ids)) if weights is None else weights.astype(np.float64))
        self._num_pending += len(ids)
        if self._num_pending > _MAX_PENDING or len(self._ids) > _MAX_PIECES:
            self.sums()

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(K,) int64 different ids, ascending, and the (K,) float64 sums of their weights."""
        ids, indices = np.unique(np.concatenate(self._ids), return_inverse=True)
        weights = np.bincount(indices, np.concatenate(self._weights), len(ids)).astype(np.float64)
        self._ids, self._weights, self._num_pending = [ids], [weights], 0
        return ids, weights


def summed(
    ids: NDArray[np.integer], weights: NDArray[Any] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `Tally.sums` of these ids alone."""
    tally = Tally()
    tally.add(ids, weights)
    return tally.sums()


def weight_share(weights: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> float | None:
    """The weight where the mask is true, divided by all weight; None if that is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = float(weights.sum(dtype=np.float64))
        part = float(weights[mask].sum(dtype=np.float64))
    return part / total if 0 < total < float("inf") else None
