"""alignment_of: an alignment of allophone states made of words or phones with times.

The frames of a phone are divided evenly among its states: frame i of n is in state
``i * num_states // n``. With fewer frames than states, the first and the last frame are in the
first and the last state; a single frame is in the last state of a word, else in a middle state. The
frames of a word without phones are divided evenly among the states of its pronunciation. What is
not covered is silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sprintcache.alignment import STATE_SHIFT, Alignment
from sprintcache.allophones import AllophoneLabeling
from sprintcache.errors import SegmentationError

from .allophone import BOUNDARY, Allophone, AllophoneNames
from .intervals import Interval, Segmentation
from .readings import LexiconIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.lexicon import Lexicon

__all__ = ["alignment_of"]


class _Phone(NamedTuple):
    """A phone of a word, or silence, in frames."""

    phone: str
    start: int
    end: int
    initial: bool
    final: bool
    is_silence: bool


def alignment_of(
    segmentation: Segmentation,
    lexicon: Lexicon | LexiconIndex,
    labeling_or_allophones: AllophoneLabeling | Sequence[str],
    frame_shift: float | None = None,
    *,
    num_frames: int | None = None,
    num_states: int = 3,
    across_word: bool = True,
    window: float = 0.025,
) -> Alignment:
    """Returns the alignment of a segmentation, with alphabet.

    Args:
        segmentation: words, and phones if known. A phone belongs to the word that holds its
            center; a word without phones is spoken as the first pronunciation of the lexicon.
        lexicon: pronunciations, and which phones have no context.
        labeling_or_allophones: a labeling, or the allophones in index order.
        frame_shift: seconds between frames; None: that of the segmentation.
        num_frames: number of frames; None: that of the segmentation, else by its duration.
        num_states: states of each phone but silence, which has one.
        across_word: contexts of phones reach over the borders of words without silence between.
        window: seconds of a frame, for the end that is stored with the alignment.

    Raises:
        SegmentationError: if there is no frame shift, a word is not in the lexicon or has fewer
            frames than phones, words overlap, or an allophone is not known.
    """
    shift = segmentation.frame_shift if frame_shift is None else frame_shift
    if not shift > 0:
        raise SegmentationError("the frame shift is unknown", entry=segmentation.name or None)
    index = lexicon if isinstance(lexicon, LexiconIndex) else LexiconIndex(lexicon)
    silence = index.silence_phones[0][0] if index.silence_phones else None
    names = AllophoneNames(labeling_or_allophones, silence)
    if num_frames is None:
        num_frames = segmentation.num_frames or round(segmentation.duration / shift)
    try:
        maker = _Maker(index, names.silence, shift, num_frames, num_states, across_word)
        emission, alphabet = maker.emission(maker.phones(segmentation), names.allophones or ())
    except SegmentationError as error:
        error.entry = error.entry or segmentation.name or None
        raise
    return Alignment(
        np.arange(num_frames, dtype=np.uint32),
        emission,
        alphabet=alphabet,
        start=0.0,
        end=max(num_frames - 1, 0) * shift + window,
    )


@dataclass
class _Maker:
    """Makes phones of words, and states of phones."""

    index: LexiconIndex
    silence: str
    shift: float
    num_frames: int
    num_states: int
    across_word: bool

    def phones(self, segmentation: Segmentation) -> list[_Phone]:
        """The phones of all words, and silence where there is no word."""
        phones: list[_Phone] = []
        last = 0
        leave_out = {self.silence, "", *self.index.silence_words}
        for word in segmentation.words:
            if word.symbol in leave_out:
                continue
            start, end = (
                min(round(time / self.shift), self.num_frames) for time in (word.start, word.end)
            )
            if start < last:
                raise SegmentationError(
                    f"word {word.symbol!r} begins before the word before it ends",
                    expected=f"frame {last}", found=f"frame {start}",
                )  # fmt: skip
            if start > last:
                phones.append(_Phone(self.silence, last, start, True, True, True))
            phones += self._phones_of(word, start, end, segmentation.phones)
            last = end
        if last < self.num_frames:
            phones.append(_Phone(self.silence, last, self.num_frames, True, True, True))
        return phones

    def _phones_of(
        self, word: Interval, start: int, end: int, known: Sequence[Interval]
    ) -> list[_Phone]:
        inside = [
            phone
            for phone in known
            if word.start <= phone.center < word.end and phone.symbol not in (self.silence, "")
        ]
        if inside:
            symbols = [phone.symbol for phone in inside]
            borders = [start, *(round(phone.start / self.shift) for phone in inside[1:]), end]
        else:
            symbols = list(word.pronunciation or self._pronunciation(word.symbol))
            num = len(symbols) * self.num_states
            states = [start + -(-i * (end - start) // num) for i in range(num + 1)]
            borders = states[:: self.num_states]
        if not symbols or any(b <= a for a, b in pairwise(borders)):
            raise SegmentationError(
                f"word {word.symbol!r} has too few frames for its phones", expected=len(symbols),
                found=end - start,
            )  # fmt: skip
        count = len(symbols)
        return [
            _Phone(symbol, borders[i], borders[i + 1], i == 0, i == count - 1, False)
            for i, symbol in enumerate(symbols)
        ]

    def _pronunciation(self, symbol: str) -> tuple[str, ...]:
        for spelling in (symbol, symbol.replace("_", " ")):
            tokens = spelling.split()
            for count, lemma in self.index.lemmas_at(tokens, 0) if tokens else ():
                if count == len(tokens) and lemma.pronunciations:
                    return self.index.phones(lemma.pronunciations[0].phones)
        raise SegmentationError(f"word {symbol!r} is not in the lexicon", path=self.index.path)

    def emission(
        self, phones: list[_Phone], allophones: Sequence[str]
    ) -> tuple[NDArray[np.uint32], dict[int, str]]:
        """The id of each frame, and the symbols of the ids."""
        emission = np.zeros(self.num_frames, np.uint32)
        indices = {symbol: number for number, symbol in enumerate(allophones)}
        alphabet: dict[int, str] = {}
        for number, phone in enumerate(phones):
            before = phones[number - 1] if number else None
            after = phones[number + 1] if number + 1 < len(phones) else None
            left = self._context(phone, before, phone.initial)
            right = self._context(phone, after, phone.final)
            symbol = _known_symbol(
                Allophone(phone.phone, left, right, phone.initial, phone.final), indices
            )
            count = 1 if phone.is_silence else self.num_states
            states = _states(phone.end - phone.start, count, phone.final)
            emission[phone.start : phone.end] = states << STATE_SHIFT | np.uint32(indices[symbol])
            for state in np.unique(states).tolist():
                alphabet[indices[symbol] | state << STATE_SHIFT] = f"{symbol}.{state}"
        return emission, alphabet

    def _context(self, phone: _Phone, neighbor: _Phone | None, at_border: bool) -> str:
        if neighbor is None or neighbor.is_silence or phone.is_silence:
            return BOUNDARY
        if at_border and not self.across_word:
            return BOUNDARY
        without = self.index.without_context
        return BOUNDARY if {phone.phone, neighbor.phone} & without else neighbor.phone


def _states(num_frames: int, num_states: int, is_final: bool) -> NDArray[np.uint32]:
    """The state of each frame of a phone."""
    frames = np.arange(num_frames)
    if num_frames >= num_states:
        return (frames * num_states // num_frames).astype(np.uint32)
    if num_frames == 1:
        return np.array([num_states - 1 if is_final else num_states // 2], np.uint32)
    return (frames * (num_states - 1) // (num_frames - 1)).astype(np.uint32)


def _known_symbol(allophone: Allophone, indices: dict[str, int]) -> str:
    """The symbol, or where it is unknown that with boundaries as outer contexts."""
    left = BOUNDARY if allophone.initial else allophone.left
    right = BOUNDARY if allophone.final else allophone.right
    for variant in (allophone, allophone._replace(left=left, right=right)):
        if variant.symbol in indices:
            return variant.symbol
    raise SegmentationError(f"allophone {allophone.symbol!r} is not in the allophone file")
