"""Reader of one data key of SprintCacheDataset, under its documented path."""

from __future__ import annotations

from ._dataset.reader import SprintCacheReader

__all__ = ["SprintCacheReader"]
