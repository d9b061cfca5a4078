"""Readings: all pronunciations of an orthography, and which one an alignment follows.

The readings form an acceptor as Sprint builds it: lemmas at every position of the orthography,
compounds included, optional silence between them, states that may loop and be skipped. Sprint skips
a state inside a word only, never two in a row, and never the last one of a word. The heaviest items
of a soft alignment are not a search result: the last states of a phone may be missing, no others.
Alignments of other origin may lack any states of a phone, but not a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sprintcache._checks import require_attribute
from sprintcache.errors import SegmentationError
from sprintcache.lexicon import tokens

if TYPE_CHECKING:
    from sprintcache.lexicon import Lemma, Lexicon

    from .allophone import Allophone
    from .runs import Run

__all__ = ["Arc", "LexiconIndex", "Node", "Readings"]

Skips = Literal["sprint", "last", "any"]
# an arc and a position in its chain of states
Node = tuple["Arc", int]


@dataclass(eq=False)
class Arc:
    """One pronunciation of a lemma, or an optional silence, between two positions of the words.

    Attributes:
        begin, end: positions in the orthography; equal for silence.
        phones: its phones.
        contexts: for each phone its neighbors inside the word; None at the ends of the word.
        name: the words as spelled; "" for silence.
        is_silence: whether it is silence.
        states: states of each phone.
    """

    begin: int
    end: int
    phones: tuple[str, ...]
    contexts: tuple[tuple[str | None, str | None], ...]
    name: str
    is_silence: bool
    states: int

    @property
    def length(self) -> int:
        """Number of states."""
        return len(self.phones) * self.states

    def matches(self, position: int, allophone: Allophone, state: int) -> bool:
        """Whether a state of this arc may emit a state of an allophone."""
        index, number = divmod(position, self.states)
        left, right = self.contexts[index]
        return (
            number == state
            and self.phones[index] == allophone.phone
            and allophone.initial == (index == 0)
            and allophone.final == (index == len(self.phones) - 1)
            and left in (None, allophone.left)
            and right in (None, allophone.right)
        )


class LexiconIndex:
    """The lemmas of a lexicon by their first word, for orthographies of many segments."""

    def __init__(self, lexicon: Lexicon) -> None:
        require_attribute(lexicon, "lemmas", "a Lexicon")
        self.path = lexicon.path
        self.symbols = tuple(phoneme.symbol for phoneme in lexicon.phonemes)
        self.without_context = frozenset(
            phoneme.symbol for phoneme in lexicon.phonemes if not phoneme.context_dependent
        )
        self._by_word: dict[str, list[tuple[list[str], Lemma]]] = {}
        self._by_phones: dict[tuple[str, ...], list[str]] = {}
        self.unknown: Lemma | None = lexicon.special("unknown")
        silence = lexicon.special("silence")
        self.silence_words = frozenset(filter(None, silence.orthographies)) if silence else set()
        self.silence_phones = [
            self.phones(pronunciation.phones)
            for pronunciation in (silence.pronunciations if silence else ())
        ]
        for lemma in lexicon.lemmas:
            if lemma is silence:
                continue
            for orthography in lemma.orthographies:
                words = tokens(orthography)
                if words:
                    self._by_word.setdefault(words[0], []).append((words, lemma))
            for pronunciation in lemma.pronunciations:
                names = self._by_phones.setdefault(self.phones(pronunciation.phones), [])
                if lemma.symbol not in names:
                    names.append(lemma.symbol)

    def phones(self, ids: Iterable[int]) -> tuple[str, ...]:
        """Returns the symbols of phoneme ids, which count from 1."""
        return tuple(self.symbols[id_ - 1] for id_ in ids)

    def words_of(self, phones: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the spellings with this pronunciation, in the order of the lexicon."""
        return tuple(self._by_phones.get(phones, ()))

    def tokens(self, orthography: str) -> list[str]:
        """Returns the words of an orthography that need a pronunciation.

        Left out are those for silence, which is optional, and, where the lexicon has no lemma for
        unknown words, those that fit no lemma: Sprint leaves these out, too.
        """
        words = [word for word in tokens(orthography) if word not in self.silence_words]
        if self.unknown is not None:
            return words
        return [word for index, word in enumerate(words) if self.is_known(words, index)]

    def is_known(self, words: list[str], position: int) -> bool:
        """Whether a lemma fits at a position, or a lemma of several words over it."""
        return any(self.lemmas_at(words, position)) or self.is_inside_compound(words, position)

    def is_inside_compound(self, words: list[str], position: int) -> bool:
        """Whether a lemma that begins before a position reaches over it."""
        return any(
            start + count > position
            for start in range(position)
            for count, _ in self.lemmas_at(words, start)
        )

    def lemmas_at(self, tokens: list[str], position: int) -> Iterator[tuple[int, Lemma]]:
        """Yields (number of words, lemma) for each lemma that fits at a position."""
        for words, lemma in self._by_word.get(tokens[position], ()):
            if tokens[position : position + len(words)] == words:
                yield len(words), lemma


class Readings:
    """The acceptor of an orthography.

    Args:
        orthography: the words.
        index: the lexicon.
        num_states: states of each phone but silence, which has one.
        skips: which states may be skipped: as "sprint" does, the "last" of a phone, or "any".

    Raises:
        SegmentationError: if a word has no pronunciation.
    """

    def __init__(
        self, orthography: str, index: LexiconIndex, num_states: int, skips: Skips = "sprint"
    ) -> None:
        self._skips = skips
        self.index = index
        self.tokens = index.tokens(orthography)
        self.end = len(self.tokens)
        self._words: list[list[Arc]] = [self._words_at(i, num_states) for i in range(self.end)]
        self._words.append([])
        self._silences = [
            [self._arc(i, i, phones, True, 1) for phones in index.silence_phones if phones]
            for i in range(self.end + 1)
        ]

    def _words_at(self, position: int, num_states: int) -> list[Arc]:
        word = self.tokens[position]
        lemmas = list(self.index.lemmas_at(self.tokens, position))
        if not lemmas and self.index.unknown is not None:
            lemmas = [(1, self.index.unknown)]
        # homophones are one arc
        spoken = dict.fromkeys(
            (count, self.index.phones(pronunciation.phones))
            for count, lemma in lemmas
            for pronunciation in lemma.pronunciations
            if pronunciation.phones
        )
        if not spoken and not self.index.is_inside_compound(self.tokens, position):
            raise SegmentationError(f"word {word!r} has no pronunciation", path=self.index.path)
        return [
            self._arc(position, position + count, phones, False, num_states)
            for count, phones in spoken
        ]

    def _arc(
        self, begin: int, end: int, phones: tuple[str, ...], is_silence: bool, num_states: int
    ) -> Arc:
        contexts = tuple(self._contexts(phones, index, is_silence) for index in range(len(phones)))
        name = " ".join(self.tokens[begin:end])
        return Arc(begin, end, phones, contexts, name, is_silence, num_states)

    def _contexts(
        self, phones: tuple[str, ...], index: int, is_silence: bool
    ) -> tuple[str | None, str | None]:
        left = self.context(phones[index - 1]) if index else None
        right = self.context(phones[index + 1]) if index + 1 < len(phones) else None
        return ("#", "#") if is_silence or self.has_no_context(phones[index]) else (left, right)

    def has_no_context(self, phone: str) -> bool:
        """Whether a phone has one allophone only and is a boundary for its neighbors."""
        return phone in self.index.without_context

    def context(self, phone: str) -> str:
        """Returns a phone as the neighbor of another one."""
        return "#" if self.has_no_context(phone) else phone

    def first(self) -> Iterator[Node]:
        """Yields the states in which a segment may begin."""
        return self._entries(0, True)

    def is_last(self, node: Node) -> bool:
        """Whether a segment may end in a state."""
        return node[0].end == self.end and self._ends_word(node)

    def _ends_word(self, node: Node) -> bool:
        arc, position = node
        return position >= arc.length - (1 if self._skips == "sprint" else arc.states)

    def after(self, node: Node) -> Iterator[Node]:
        """Yields the states after a state, itself excluded."""
        arc, position = node
        following: Iterable[int]
        next_phone = (position // arc.states + 1) * arc.states
        if self._skips == "sprint":
            following = range(position + 1, position + 3)
        elif self._skips == "last":
            following = {position + 1, next_phone}
        else:
            following = range(position + 1, next_phone + arc.states)
        for number in following:
            if number < arc.length:
                yield arc, number
        if self._ends_word(node):
            yield from self._entries(arc.end, not arc.is_silence)

    def _entries(self, position: int, with_silence: bool) -> Iterator[Node]:
        if with_silence:
            for arc in self._silences[position]:
                yield arc, 0
        for arc in self._words[position]:
            count = {"sprint": 2, "last": 1, "any": arc.states}[self._skips]
            for number in range(min(count, arc.length)):
                yield arc, number

    def may_follow(self, node: Node, after: Node, left: Allophone, right: Allophone) -> bool:
        """Whether the contexts of two successive allophones agree.

        At the border of two words each has the other one or ``#`` as its context.
        """
        (arc, position), (next_arc, next_position) = node, after
        if arc is next_arc:
            return left == right or position // arc.states != next_position // arc.states
        is_border = arc.is_silence or next_arc.is_silence
        following = "#" if is_border else self.context(next_arc.phones[0])
        preceding = "#" if is_border else self.context(arc.phones[-1])
        is_skipped = next_position >= next_arc.states  # the first phone of the word
        return left.right in ("#", following) and (is_skipped or right.left in ("#", preceding))

    def begins(self, node: Node, allophone: Allophone) -> bool:
        """Whether the left context of the first allophone is that of a boundary."""
        arc, position = node
        return position >= arc.states or allophone.left == "#"

    def matches(self, node: Node, allophone: Allophone, state: int) -> bool:
        """Whether a state may emit a state of an allophone."""
        arc, position = node
        return arc.matches(position, allophone, state)

    def emits(self, node: Node, run: Run) -> bool:
        """Whether a state may emit a run."""
        return self.matches(node, run.allophone, run.state)

    def may_begin(self, node: Node, run: Run) -> bool:
        """Whether a segment may begin with a state and a run."""
        return self.emits(node, run) and self.begins(node, run.allophone)

    def may_end(self, node: Node, run: Run) -> bool:
        """Whether a segment may end with a state and a run."""
        return self.is_last(node) and run.allophone.right == "#"

    def named(self, node: Node, run: Run) -> Run:
        """Returns a run with the allophone and state of a state."""
        return run
