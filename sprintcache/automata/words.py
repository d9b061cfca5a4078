"""EdgeWords: the words that each edge of a batch of automata may belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["EdgeWords"]

NO_WORD = -1


class EdgeWords:
    """Candidate words of each edge, stored as one group number per edge.

    Suffixes of pronunciations share edges, so an edge may belong to several words.

    Attributes:
        groups: (E,) int32, index into `candidates`; -1 for an edge of no word.
        candidates: for each group, its words.

    Raises:
        ValueError: `groups` has another shape, or an index out of range.
    """

    def __init__(self, groups: Any, candidates: Sequence[tuple[str, ...]]) -> None:
        self.groups = np.ascontiguousarray(groups, np.int32)
        self.candidates = tuple(candidates)
        if self.groups.ndim != 1:
            raise ValueError(f"groups must have shape (edges,), not {self.groups.shape}")
        if self.groups.size and not (
            self.groups.min() >= NO_WORD and self.groups.max() < len(self.candidates)
        ):
            raise ValueError(f"groups must be -1 to {len(self.candidates) - 1}")

    @classmethod
    def unchecked(cls, groups: Any, candidates: Sequence[tuple[str, ...]]) -> EdgeWords:
        """Returns the same without reading `groups`, which are right by construction or mapped."""
        words = cls(np.zeros(0, np.int32), candidates)
        words.groups = groups
        return words

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, edge: int) -> tuple[str, ...]:
        """Returns the candidate words of an edge, () for none."""
        group = int(self.groups[edge])
        return () if group == NO_WORD else self.candidates[group]

    def select(self, edges: Any) -> EdgeWords:
        """Returns the words of some edges: a slice or an index array."""
        return EdgeWords(self.groups[edges], self.candidates)

    @staticmethod
    def concatenate(parts: Sequence[EdgeWords]) -> EdgeWords:
        """Returns the words of the edges of all parts, with one table of candidates."""
        if all(part.candidates == parts[0].candidates for part in parts):
            return EdgeWords(np.concatenate([p.groups for p in parts]), parts[0].candidates)
        known: dict[tuple[str, ...], int] = {}
        groups: list[Any] = []
        for part in parts:
            numbers = [known.setdefault(words, len(known)) for words in part.candidates]
            table = np.array([*numbers, NO_WORD], np.int32)  # the last serves group -1
            groups.append(table[part.groups])
        return EdgeWords(np.concatenate(groups), tuple(known))
