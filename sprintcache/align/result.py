"""AlignResult: what the aligner found for one segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment

    Items = tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.float64]]
    # status, score, beam, number of hypotheses, and label, path or items; see `Search.run`
    SearchResult = tuple[str, float | None, float, int, int | NDArray[np.uint32] | Items | None]

__all__ = ["AlignResult", "AlignedWord"]


class AlignedWord(NamedTuple):
    """A word, or silence, of the best path.

    Attributes:
        symbol: orthography of the lemma; the symbol of the lemma where it has none.
        start, end: first frame, and the frame after the last one.
        pronunciation: phones, separated by blanks.
        is_silence: whether the lemma is the silence of the lexicon.
    """

    symbol: str
    start: int
    end: int
    pronunciation: str
    is_silence: bool


@dataclass(frozen=True)
class AlignResult:
    """The alignment of one segment, or the reason for its absence.

    Attributes:
        tag: name of the segment, or None.
        alignment: None where the search failed.
        score: negative logarithm of the best path, or of the sum over all paths; None where the
            search failed.
        num_frames: frames of the segment.
        num_active: states within the beam, averaged over the frames of the last round.
        beam: beam of the last round.
        reason: why the search failed; None if it did not.
        start, end: time of the first and the last frame in seconds, if they were given.
    """

    tag: str | None
    alignment: Alignment | None
    score: float | None
    num_frames: int
    num_active: float = 0.0
    beam: float = 0.0
    reason: str | None = None
    _find_words: Callable[[], tuple[AlignedWord, ...]] = field(
        default=tuple, repr=False, compare=False
    )
    start: float | None = None
    end: float | None = None

    @cached_property
    def words(self) -> tuple[AlignedWord, ...]:
        """Words and silences of the best path, found when first used; empty for Baum-Welch."""
        return self._find_words()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "words": self.words, "_find_words": tuple}

    @property
    def score_per_frame(self) -> float | None:
        """`score` divided by the number of frames."""
        return None if self.score is None else self.score / max(self.num_frames, 1)
