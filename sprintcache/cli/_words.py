"""Words and phones of any source: archives of alignments, and files of text formats."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ._console import report
from ._options import ReadOptions, StateNameOptions
from ._text import pluralize

if TYPE_CHECKING:
    from sprintcache.errors import SprintCacheError
    from sprintcache.segmentation import LexiconIndex, Segmenter

    from ._options import Parser

__all__ = ["WordOptions", "add_words", "is_text", "report_failures"]


@dataclass(frozen=True, kw_only=True)
class WordOptions(StateNameOptions, ReadOptions):
    """Files that name words."""

    lexicon: str | None
    corpus: str | None

    def read_lexicon(self) -> LexiconIndex | None:
        """Reads the lexicon, if there is one."""
        if self.lexicon is None:
            return None
        from sprintcache.lexicon import Lexicon
        from sprintcache.segmentation import LexiconIndex

        return LexiconIndex(Lexicon.read(self.lexicon))

    def read_orthographies(self, names: Iterable[str] | None = None) -> dict[str, str | None]:
        """The words of segments by name; {} without a corpus.

        Args:
            names: the segments that are wanted; None: all.
        """
        if self.corpus is None:
            return {}
        from sprintcache.bliss import Corpus

        wanted = None if names is None else frozenset(names)
        return {
            segment.name: segment.orthography
            for segment in Corpus(self.corpus)
            if wanted is None or segment.name in wanted
        }

    def segmenter(
        self, on_alphabet_mismatch: Literal["error", "map", "ignore"] = "error"
    ) -> Segmenter:
        """A segmenter with the lexicon and the names of states."""
        from sprintcache.segmentation import Segmenter

        state_names = self.read_state_names()
        return Segmenter(
            state_names.labeling or state_names.allophones,
            self.read_lexicon(),
            silence=self.silence,
            on_alphabet_mismatch=on_alphabet_mismatch,
        )


def add_words(parser: Parser) -> None:
    """The fields of `WordOptions` beyond those of its bases."""
    group = parser.add_argument_group("words")
    group.add_argument(
        "--lexicon", metavar="FILE", help="Bliss lexicon, for names and pronunciations of words"
    )
    group.add_argument(
        "--corpus", metavar="FILE", help="Bliss corpus, for the words of each segment"
    )


def is_text(path: str) -> bool:
    """Whether a source is a file, or a folder of files, with words or phones and their times."""
    from sprintcache.convert.kaldi_source import is_ark
    from sprintcache.segmentation import format_of

    if not os.path.isdir(path):
        format_name = format_of(path)
        # text of Kaldi may have the ending .txt too
        is_kaldi = format_name == "audacity" and os.path.isfile(path) and is_ark(path)
        return format_name is not None and not is_kaldi
    return any(
        format_of(name) in ("textgrid", "audacity")
        for _, _, names in os.walk(path)
        for name in names
    )


def report_failures(failures: list[SprintCacheError]) -> None:
    """One line on the segments that were left out, and the first reason."""
    if failures:
        count = pluralize(len(failures), "segment was", "segments were")
        report(f"{count} left out, the first one: {failures[0]}")
