"""Selection: the sequences of a corpus that a segment list and limits of lengths leave over."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sprintcache._checks import integer
from sprintcache._segment_list import read_segment_list

from .corpus import Corpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DatasetReport", "Limit", "Selection"]

logger = logging.getLogger(__name__)

Limit = int | Mapping[str, int]


class DatasetReport(NamedTuple):
    """The size of a dataset, and what it leaves out.

    Attributes:
        num_seqs: sequences in the corpus, including those that filter and limits leave out.
        missing: data key to the segments of its archive that another key lacks.
        mismatched: target key to the sequences whose length does not match the features; with
            ``length_mismatch="skip"`` they are not in the corpus, else they are.
        filtered: sequences of the corpus that `seq_list_filter_file` leaves out.
        unknown: names in `seq_list_filter_file` that are not in the corpus.
        out_of_range: further sequences left out by `min_seq_length` and `max_seq_length`.
    """

    num_seqs: int
    missing: dict[str, int]
    mismatched: dict[str, int]
    filtered: int
    unknown: int
    out_of_range: int


class Selection:
    """One bit per sequence for the list, and one for list and limits; limits are applied lazily.

    Attributes:
        num_filtered: sequences of the corpus that the list leaves out.
        num_unknown: names of the list that the corpus lacks.
    """

    def __init__(
        self,
        corpus: Corpus,
        path: str | os.PathLike[str] | None,
        min_seq_length: Limit,
        max_seq_length: Limit | None,
    ) -> None:
        """Reads the list; measures lengths only if the limits differ from the default.

        Args:
            corpus: the sequences.
            path: a segment list, or None.
            min_seq_length, max_seq_length: see `SprintCacheDataset`.

        Raises:
            ValueError: if a limit names an unknown data key, or no sequence is left.
            TypeError: if a limit is not an integer.
            FormatError, OSError: if the list cannot be read.
        """
        self._corpus = corpus
        self._lower = _limits("min_seq_length", min_seq_length, corpus)
        self._upper = _limits("max_seq_length", max_seq_length, corpus)
        self.num_filtered = self.num_unknown = 0
        self._listed: NDArray[np.bool_] | None = None  # None: all
        if path is not None:
            self._listed = self._read_list(path)
        self._selected: NDArray[np.bool_] | None = None
        self._is_applied = False
        if self._upper or any(frames > 1 for frames in self._lower.values()):
            self._apply_limits()

    def mask(self) -> NDArray[np.bool_] | None:
        """(N,) whether each sequence is selected, or None if all are.

        Raises:
            ValueError: if none is.
        """
        if not self._is_applied:
            self._apply_limits()
        return self._selected

    @property
    def num_out_of_range(self) -> int:
        """Listed sequences that the limits leave out."""
        mask = self.mask()
        return 0 if mask is None else int(np.sum(~mask)) - self.num_filtered

    def report(self) -> DatasetReport:
        """Counts what is left out or does not match; measures all lengths."""
        return DatasetReport(
            len(self._corpus),
            self._corpus.dropped,
            self._corpus.mismatched(),
            self.num_filtered,
            self.num_unknown,
            self.num_out_of_range,
        )

    def _read_list(self, path: str | os.PathLike[str]) -> NDArray[np.bool_]:
        tags, corpus_tags = set(read_segment_list(path)), self._corpus.tags
        listed = np.fromiter(map(tags.__contains__, corpus_tags), np.bool_, len(corpus_tags))
        num_listed = int(listed.sum())
        self.num_filtered = len(listed) - num_listed
        self.num_unknown = len(tags) - num_listed
        example = f", such as {min(tags)!r}," if tags else ""
        if not num_listed:
            raise ValueError(f"{path}: none of its {len(tags)} tags{example} is in the corpus")
        if self.num_unknown:
            example = min(tags.difference(corpus_tags))
            message = "%s: %d of %d tags, such as %r, are not in the corpus"
            logger.warning(message, path, self.num_unknown, len(tags), example)
        return listed

    def _apply_limits(self) -> None:
        corpus = self._corpus
        if self._lower == {corpus.reference: 1}:
            in_range = corpus.has_frames()
        else:
            in_range = np.ones(len(corpus), np.bool_)
            for key, frames in self._lower.items():
                if frames > 0:
                    in_range &= corpus.lengths(key) >= frames
        for key, frames in self._upper.items():
            in_range &= corpus.lengths(key) <= frames
        selected = in_range if self._listed is None else self._listed & in_range
        num_left_out = len(corpus) - self.num_filtered - int(selected.sum())
        if num_left_out:
            limits = f"min_seq_length {self._lower}"
            if self._upper:
                limits += f" and max_seq_length {self._upper}"
            if not selected.any():
                raise ValueError(f"no sequence is left by {limits}")
            logger.warning("%d sequences are left out by %s", num_left_out, limits)
        self._selected = None if selected.all() else selected
        self._is_applied = True


def _limits(option: str, limit: Limit | None, corpus: Corpus) -> dict[str, int]:
    """Data key to a limit of its lengths."""
    if limit is None:
        return {}
    limits = limit if isinstance(limit, Mapping) else {corpus.reference: limit}
    for key in limits:
        if key not in corpus.keys:
            raise ValueError(f"{option}: no data key {key!r} among {', '.join(corpus.keys)}")
    return {key: integer(option, frames) for key, frames in limits.items()}
