"""Running sums over a stream: moments of numbers, and weights by id.

Both take data in pieces and give what numpy gives for all of it at once; neither keeps the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moments", "Tally"]

_ROWS = 4096  # rows that are worked on at a time: they fit the cache
_MOST_ADDED, _MOST_PIECES = 1 << 18, 1 << 5  # ids that are kept before they are summed up


class Moments:
    """Mean, variance and range of each of D dimensions, in float64.

    Pieces are summed about their own mean and merged by the update of Chan, Golub and LeVeque
    (1983), so that nothing cancels where the mean is large. Values that are not finite are counted
    and left out.

    Attributes:
        count: (D,) int64, finite values.
        num_not_finite: the others, over all dimensions.
        mean: (D,) float64; 0 where there is no value.
        minimum, maximum: (D,) float64; inf and -inf where there is no value.
    """

    def __init__(self, dim: int) -> None:
        self.count: NDArray[np.int64] = np.zeros(dim, np.int64)
        self.num_not_finite = 0
        self.mean = np.zeros(dim)
        self.minimum = np.full(dim, np.inf)
        self.maximum = np.full(dim, -np.inf)
        self._squares = np.zeros(dim)  # sum of the squared distances from the mean

    @property
    def variance(self) -> NDArray[np.float64]:
        """(D,) float64: the mean squared distance from the mean, as `numpy.var`."""
        return self._squares / np.maximum(self.count, 1)

    def add(self, values: NDArray[Any]) -> None:
        """Counts (T, D) real numbers."""
        for start in range(0, len(values), _ROWS):
            self._add(np.array(values[start : start + _ROWS].T, np.float64, order="C"))

    def _add(self, columns: NDArray[np.float64]) -> None:
        """Counts (D, T) float64, which is overwritten."""
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
        """Counts what another has counted."""
        count = self.count + other.count
        part = other.count / np.maximum(count, 1)
        distance = other.mean - self.mean
        self.mean = self.mean + distance * part
        self._squares = self._squares + other._squares + distance**2 * self.count * part
        self.count = count
        self.num_not_finite += other.num_not_finite
        self.minimum = np.minimum(self.minimum, other.minimum)
        self.maximum = np.maximum(self.maximum, other.maximum)


class Tally:
    """Weights summed by id; memory grows with the number of different ids, not with the data."""

    def __init__(self) -> None:
        # the sums so far, and what was added since
        self._ids: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._weights: list[NDArray[np.float64]] = [np.zeros(0)]
        self._added = 0

    def add(self, ids: NDArray[np.integer], weights: NDArray[Any] | None = None) -> None:
        """Adds (N,) weights to these (N,) ids; None: 1 each."""
        self._ids.append(ids.astype(np.int64))
        self._weights.append(np.ones(len(ids)) if weights is None else weights.astype(np.float64))
        self._added += len(ids)
        if self._added > _MOST_ADDED or len(self._ids) > _MOST_PIECES:
            self.sums()

    def sums(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(K,) int64 different ids, ascending, and the (K,) float64 sums of their weights."""
        ids, places = np.unique(np.concatenate(self._ids), return_inverse=True)
        weights = np.bincount(places, np.concatenate(self._weights), len(ids)).astype(np.float64)
        self._ids, self._weights, self._added = [ids], [weights], 0
        return ids, weights
