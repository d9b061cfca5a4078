"""segment, Segmenter: words, phones and states of an alignment.

A phone begins where the allophone changes or the state falls, a word where a phone is initial.
With a lexicon and an orthography the alignment is matched with all readings of the words, which
also finds words whose first phone was skipped and separates equal phones on both sides of a border.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sprintcache.errors import AmbiguousSegmentationError, SegmentationError

from .allophone import AllophoneNames
from .emissions import EmissionMatcher
from .intervals import Interval, Segmentation
from .matching import Match, match
from .paths import heaviest_path
from .readings import LexiconIndex, Readings
from .runs import FramePhone, FrameWord, Run, heaviest_items, phones_of, runs_of, words_of
from .timing import stored_frame_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment, OnMismatch
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.lexicon import Lexicon

__all__ = ["Segmenter", "segment"]

# how an alignment with several items per frame is read
SoftPath = Literal["heaviest_items", "heaviest_path", "error"]


class Segmenter:
    """Finds words, phones and states in alignments of one lexicon.

    Args:
        labeling_or_allophones: a labeling, the allophones in index order, or None where the
            alignments have alphabets. Alignments of emission ids need a labeling.
        lexicon: names and pronunciations of the words, or None.
        silence: center phone of silence; None: that of the labeling, or ``"[SILENCE]"``.
        soft: alignments with several items per frame are read by the heaviest item of each frame
            ("heaviest_items", an error where these are not a path), by the heaviest path through
            all items ("heaviest_path", needs lexicon and orthography), or refused ("error").
        on_ambiguity: if several readings fit: "error", or "first" for one of them.
        on_alphabet_mismatch: as for `Archive.read_labels`.

    Raises:
        ValueError: an option has another value.
        TypeError: `labeling_or_allophones` is a str.
    """

    def __init__(
        self,
        labeling_or_allophones: AllophoneLabeling | Sequence[str] | None = None,
        lexicon: Lexicon | LexiconIndex | None = None,
        *,
        silence: str | None = None,
        soft: SoftPath = "heaviest_items",
        on_ambiguity: Literal["error", "first"] = "error",
        on_alphabet_mismatch: OnMismatch = "error",
    ) -> None:
        if soft not in ("heaviest_items", "heaviest_path", "error"):
            raise ValueError(
                f"soft must be 'heaviest_items', 'heaviest_path' or 'error', not {soft!r}"
            )
        if on_ambiguity not in ("error", "first"):
            raise ValueError(f"on_ambiguity must be 'error' or 'first', not {on_ambiguity!r}")
        if lexicon is not None and not isinstance(lexicon, LexiconIndex):
            lexicon = LexiconIndex(lexicon)
        self.index: LexiconIndex | None = lexicon
        if silence is None and self.index is not None and self.index.silence_phones:
            silence = self.index.silence_phones[0][0]
        self.names = AllophoneNames(labeling_or_allophones, silence, on_alphabet_mismatch)
        self._soft = soft
        self._first_of_several = on_ambiguity == "first"
        self._emissions: EmissionMatcher | None = None

    def segment(
        self,
        alignment: Alignment,
        orthography: str | None = None,
        frame_shift: float | None = None,
        *,
        window: float | None = None,
        offset: float = 0.0,
        name: str = "",
    ) -> Segmentation:
        """Returns words, phones and states of an alignment.

        Args:
            alignment: one item per frame, or several with weights.
            orthography: the words of the segment.
            frame_shift: seconds between frames; None: by the times stored with the alignment.
            window: seconds of a frame; ends are those of the last window, as Sprint has them. None:
                an end is that of the last frame shift, so that intervals do not overlap.
            offset: seconds added to all times.
            name: name of the segment.

        Raises:
            AmbiguousSegmentationError: if several readings fit.
            SegmentationError: if the alignment has no frames, is not a path, follows no reading of
                the orthography, or a symbol or the frame shift is unknown.
        """
        shift = stored_frame_shift(alignment) if frame_shift is None else frame_shift
        if not len(alignment):
            raise SegmentationError("the alignment has no frames")
        if shift is None or not shift > 0:
            raise SegmentationError("the frame shift is unknown", expected="seconds", found=shift)
        reading, weight = self._match(alignment, orthography)
        clock = _Clock(shift, shift if window is None else window, offset, weight)
        num_frames = reading.phones[-1].end
        return Segmentation(
            words=[self._word(word, reading.phones, clock) for word in reading.words],
            phones=[self._phone(phone, clock) for phone in reading.phones],
            states=[
                clock.interval(run.start, run.end, f"{run.allophone.symbol}.{run.state}",
                               allophone=run.allophone.symbol)
                for phone in reading.phones
                for run in phone.states
            ],
            num_frames=num_frames,
            frame_shift=shift,
            duration=clock.time(num_frames),
            name=name,
        )  # fmt: skip

    def _match(
        self, alignment: Alignment, orthography: str | None
    ) -> tuple[Match, NDArray[np.float32] | None]:
        """Phones and words in frames, and the weight of each frame where there are weights."""
        if alignment.label_type == "emission":
            return self._match_emissions(alignment, orthography), None
        if not alignment.is_viterbi:
            if self._soft == "error":
                raise SegmentationError("the alignment has several items per frame")
            if self._soft == "heaviest_path" and self.index is not None and orthography is not None:
                return heaviest_path(alignment, self.names, self._readings, orthography)
        emission, weight = heaviest_items(alignment)
        runs = runs_of(alignment, emission, self.names)
        known = weight if alignment.weighted else None
        if self.index is not None and orthography is not None:
            num_states = 1 + max(run.state for run in runs)
            if not alignment.is_viterbi:
                readings = Readings(orthography, self.index, num_states, "last")
                return match(runs, readings, self._first_of_several), known
            return self._match_path(runs, orthography, num_states), known
        phones = phones_of(runs)
        words = words_of(phones, self.names.silence)
        if orthography is not None:
            _name_words(words, orthography, self.names.silence)
        return Match(phones, words), known

    def _match_path(self, runs: list[Run], orthography: str, num_states: int) -> Match:
        """The reading by Sprint's rules; without one, that with any states skipped."""
        try:
            return match(runs, self._readings(orthography, num_states), self._first_of_several)
        except AmbiguousSegmentationError:
            raise
        except SegmentationError as error:
            if num_states == 1 or self.index is None:
                raise
            readings = Readings(orthography, self.index, num_states, "any")
            try:
                return match(runs, readings, self._first_of_several)
            except SegmentationError:
                raise error from None

    def _readings(self, orthography: str, num_states: int) -> Readings:
        if self.index is None:
            raise SegmentationError("a lexicon is needed")
        return Readings(orthography, self.index, num_states)

    def _match_emissions(self, alignment: Alignment, orthography: str | None) -> Match:
        if self._emissions is None:
            self._emissions = EmissionMatcher(self.names)
        if not alignment.is_viterbi:
            raise SegmentationError("an alignment of emission ids with several items per frame")
        if self.index is None or orthography is None:
            return self._emissions.phones(alignment.emission)
        readings = self._emissions.readings(orthography, self.index)
        return self._emissions.match(alignment.emission, readings, self._first_of_several)

    def _word(self, word: FrameWord, phones: list[FramePhone], clock: _Clock) -> Interval:
        parts = phones[word.first : word.last]
        symbol = word.symbol
        pronunciation = word.pronunciation or tuple(phone.allophone.phone for phone in parts)
        homophones = () if self.index is None else self.index.words_of(pronunciation)
        if symbol is None:
            symbol = homophones[0] if homophones else " ".join(pronunciation)
        alternatives = tuple(spelling for spelling in homophones if spelling != symbol)
        return clock.interval(
            parts[0].start, parts[-1].end, symbol,
            pronunciation=pronunciation, alternatives=alternatives,
        )  # fmt: skip

    @staticmethod
    def _phone(phone: FramePhone, clock: _Clock) -> Interval:
        allophone = phone.allophone
        return clock.interval(
            phone.start,
            phone.end,
            allophone.phone,
            allophone=allophone.symbol if allophone.left else "",
        )


def _name_words(words: list[FrameWord], orthography: str, silence: str) -> None:
    """Names words in their order, without a lexicon."""
    tokens = [token for token in orthography.split() if token != silence]
    if len(tokens) != len(words):
        raise SegmentationError(
            "number of words differs from the orthography", expected=len(tokens), found=len(words)
        )
    for word, token in zip(words, tokens, strict=True):
        word.symbol = token


class _Clock:
    """Frames to seconds, rounded to nanoseconds so that equal times are equal numbers."""

    def __init__(
        self, shift: float, window: float, offset: float, weight: NDArray[np.float32] | None
    ) -> None:
        self._shift, self._overhang, self._offset = shift, window - shift, offset
        self._weight = weight

    def time(self, frame: int) -> float:
        """Start of a frame."""
        return round(self._offset + frame * self._shift, 9)

    def interval(self, start: int, end: int, symbol: str, **facts: Any) -> Interval:
        """Frames ``start`` to ``end`` as an interval; its score is their mean weight."""
        score = None if self._weight is None else float(self._weight[start:end].mean())
        stop = round(self.time(end) + self._overhang, 9)
        return Interval(self.time(start), stop, symbol, score, **facts)


def segment(
    alignment: Alignment,
    labeling_or_allophones: AllophoneLabeling | Sequence[str] | None = None,
    lexicon: Lexicon | LexiconIndex | None = None,
    orthography: str | None = None,
    frame_shift: float | None = None,
) -> Segmentation:
    """Returns words, phones and states of one alignment; see `Segmenter`.

    Args:
        alignment: one item per frame, or several with weights: then the heaviest of each frame.
        labeling_or_allophones: a labeling, the allophones in index order, or None where the
            alignment has an alphabet.
        lexicon: names and pronunciations of the words. For many segments, use a `Segmenter`.
        orthography: the words of the segment.
        frame_shift: seconds between frames; None: by the times stored with the alignment.

    Raises:
        AmbiguousSegmentationError: if several readings of the orthography fit.
        SegmentationError: if the alignment has no frames, is not a path, follows no reading of the
            orthography, or a symbol or the frame shift is unknown.
    """
    return Segmenter(labeling_or_allophones, lexicon).segment(alignment, orthography, frame_shift)
