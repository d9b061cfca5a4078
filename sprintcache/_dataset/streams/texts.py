"""TextStream: orthographies, as bytes, phonemes, or the labels of a vocabulary."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import DEFAULTS, PaddedArrays, ReadOptions
from sprintcache._path_map import PathMap
from sprintcache._renaming import Rename
from sprintcache.errors import LabelError, naming
from sprintcache.lexicon import Lexicon, tokens
from sprintcache.segmentation.readings import LexiconIndex
from sprintcache.vocabulary import vocabulary as make_vocabulary

from .base import Entries, Output, padded
from .bliss import BlissStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.lexicon import Lemma

__all__ = ["PhonemeVocabulary", "TextStream"]


class PhonemeVocabulary:
    """The phonemes of words, by the first pronunciation of each.

    Attributes:
        labels: the phonemes of the lexicon, by index from 0.
        num_labels: their number.
    """

    def __init__(self, lexicon: Lexicon | str | os.PathLike[str]) -> None:
        """Reads the lexicon.

        Raises:
            OSError: if it cannot be read.
            FormatError: if it is not valid.
        """
        self._index = LexiconIndex(
            lexicon if isinstance(lexicon, Lexicon) else Lexicon.read(lexicon)
        )
        self.labels = self._index.symbols
        self.num_labels = len(self.labels)

    def get_seq(self, sentence: str) -> list[int]:
        """Phonemes of a sentence; of lemmas of several words, the longest one that fits counts.

        Words for silence have none. A word that is not in the lexicon has the pronunciation of the
        lemma for unknown words.

        Raises:
            LabelError: if a word has no pronunciation.
        """
        words = [word for word in tokens(sentence) if word not in self._index.silence_words]
        phonemes: list[int] = []
        position = 0
        while position < len(words):
            count, lemma = self._lemma_at(words, position)
            if lemma is None or not lemma.pronunciations:
                raise LabelError(f"no pronunciation of {words[position]!r}", path=self._index.path)
            phonemes += [phone - 1 for phone in lemma.pronunciations[0].phones]
            position += count
        return phonemes

    def _lemma_at(self, words: list[str], position: int) -> tuple[int, Lemma | None]:
        lemmas = self._index.lemmas_at(words, position)
        return max(lemmas, key=lambda pair: pair[0], default=(1, self._index.unknown))


class TextStream(BlissStream):
    """Orthographies: UTF-8 bytes, or int32 labels."""

    type = "text"

    def __init__(
        self,
        data_key: str,
        filename: str | os.PathLike[str],
        *,
        lexicon: Lexicon | str | os.PathLike[str] | None = None,
        vocabulary: Mapping[str, Any] | Any = None,
        process: Callable[[str], str] | None = None,
        path_map: PathMap | None = None,
        rename: Rename | None = None,
    ) -> None:
        """Reads the corpus, and lexicon or vocabulary."""
        if lexicon is not None and vocabulary is not None:
            raise ValueError(f"{data_key}: either a lexicon or a vocabulary, not both")
        self._vocabulary: Any = None
        if lexicon is not None:
            self._vocabulary = PhonemeVocabulary(lexicon)
        elif vocabulary is not None:
            self._vocabulary = make_vocabulary(vocabulary)
        self._process = process
        super().__init__(data_key, filename, path_map=path_map, rename=rename)

    def _is_available(self) -> NDArray[np.bool_]:
        return self.table.has_orthography

    @property
    def outputs(self) -> dict[str, Output]:
        """Labels, or bytes."""
        if self._vocabulary is None:
            return {self.data_key: Output(256, 1, "uint8", True)}
        labels: Sequence[str] | None = getattr(self._vocabulary, "labels", None)
        return {self.data_key: Output(self._vocabulary.num_labels, 1, "int32", True, labels)}

    def num_frames(self, entries: Entries) -> NDArray[np.int64]:
        """(B,) int64 labels or bytes."""
        numbers = self._numbers(entries)
        if self._vocabulary is None and self._process is None:
            lengths: NDArray[np.int64] = self.table.orthographies.num_bytes()[self.rows[numbers]]
            return lengths
        return np.fromiter((len(row) for row in map(self._row, numbers)), np.int64, len(numbers))

    def fetch(
        self, entries: Entries, options: ReadOptions = DEFAULTS
    ) -> tuple[PaddedArrays, NDArray[np.int64]]:
        """Encodes the orthographies; see `Stream.fetch`."""
        rows = [self._row(number) for number in self._numbers(entries)]
        batch = padded(self.data_key, rows, self.outputs[self.data_key], options)
        return {self.data_key: batch}, batch[1]

    def _row(self, number: int) -> NDArray[Any]:
        row = int(self.rows[number])
        if self._vocabulary is None and self._process is None:
            return self.table.orthographies.encoded(row)
        text = self.table.orthographies[row]
        with naming(self.path, self.table.names[row]):
            text = text if self._process is None else self._process(text)
            if self._vocabulary is None:
                return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
            return np.array(self._vocabulary.get_seq(text), np.int32)
