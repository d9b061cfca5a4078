"""AllophoneGraph: automata of allophone states for an orthography, as Sprint builds them.

Words are pronounced by the lexicon (``lexicon.file``) or, without one, letter by letter; silence
may stand between words and at both ends. A word's first and last allophone depend on the
neighbouring word, or on the word boundary ``#``, which silence may fill. Transition penalties are
read at ``acoustic-model.tdp``; skips are not built.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from .application import CriticalError
from .automata import Arc, Automaton, Node, build
from .config import Configuration
from .extraction import AcousticModel
from .files import read_xml

__all__ = ["AllophoneGraph"]

if TYPE_CHECKING:
    Pronunciation = tuple[tuple[str, ...], float]

_BOUNDARY = "#"


class _State(NamedTuple):
    """An emitting state; `word` counts silences too: silence i stands before word i."""

    word: int
    phones: tuple[str, ...]
    phone: int
    left: str
    right: str
    state: int


class _Silence(NamedTuple):
    word: int


class AllophoneGraph:
    """Builds the automaton of an orthography."""

    def __init__(self, config: Configuration) -> None:
        """Reads the lexicon and the transition penalties at ``model-combination``."""
        self.model = AcousticModel(config)
        combination = config.select("model-combination")
        hmm = combination.select("acoustic-model")
        self.states_per_phone = hmm.select("hmm").integer("states-per-phone", 3)
        tdp = hmm.select("tdp")
        scale = tdp.real("scale", 1.0)
        phone, silence = tdp.select("state-0"), tdp.select("silence")
        self.loop = scale * phone.real("loop", 3.0)
        self.forward = scale * phone.real("forward", 0.0)
        self.exit = scale * phone.real("exit", 0.0)
        self.silence_loop = scale * silence.real("loop", 0.0)
        self.silence_exit = scale * silence.real("exit", 3.0)
        file = combination.select("lexicon").string("file", "")
        self.lexicon = _read_lexicon(file) if file else None

    def automaton(self, orthography: str) -> Automaton:
        words = orthography.split()
        pronunciations = [self._pronunciations(word) for word in words]
        return build("start", functools.partial(self._arcs, pronunciations))

    def _pronunciations(self, word: str) -> list[Pronunciation]:
        if self.lexicon is None:
            return [(tuple(word), 0.0)]
        if word not in self.lexicon:
            raise CriticalError(f"lexicon: the orthography has an unknown word '{word}'")
        return self.lexicon[word]

    def _arcs(self, words: list[list[Pronunciation]], node: Node) -> Iterator[Arc]:
        if isinstance(node, _Silence):
            yield Arc(node, self._silence_class, self.silence_loop)
            yield from self._boundary(words, node.word, self.silence_exit)
        elif isinstance(node, _State):
            yield Arc(node, self._class(node), self.loop)
            yield from self._after(words, node)
        else:
            yield from self._boundary(words, 0, 0.0)

    def _after(self, words: list[list[Pronunciation]], node: _State) -> Iterator[Arc]:
        if node.state + 1 < self.states_per_phone:
            yield self._into(node._replace(state=node.state + 1), self.forward)
        elif node.phone + 1 < len(node.phones):
            left = node.phones[node.phone]
            yield from self._enter(words, node.word, node.phones, node.phone + 1, left, self.exit)
        elif node.right == _BOUNDARY:
            yield from self._boundary(words, node.word + 1, self.exit)
        else:
            for phones, weight in words[node.word + 1]:
                if phones[0] == node.right:
                    left = node.phones[-1]
                    yield from self._enter(
                        words, node.word + 1, phones, 0, left, self.exit + weight
                    )

    def _boundary(
        self, words: list[list[Pronunciation]], word: int, weight: float
    ) -> Iterator[Arc]:
        """Silence, then the next word; or the end."""
        yield Arc(_Silence(word), self._silence_class, weight)
        if word == len(words):
            yield Arc(None, 0, weight)
            return
        for phones, score in words[word]:
            yield from self._enter(words, word, phones, 0, _BOUNDARY, weight + score)

    def _enter(
        self,
        words: list[list[Pronunciation]],
        word: int,
        phones: tuple[str, ...],
        phone: int,
        left: str,
        weight: float,
    ) -> Iterator[Arc]:
        """Into the first state of a phone, once for every right context it can have."""
        if phone + 1 < len(phones):
            rights: Iterable[str] = (phones[phone + 1],)
        else:
            following = words[word + 1] if word + 1 < len(words) else []
            rights = dict.fromkeys([_BOUNDARY, *(next_[0] for next_, _ in following)])
        for right in rights:
            yield self._into(_State(word, phones, phone, left, right, 0), weight)

    def _into(self, target: _State, weight: float) -> Arc:
        return Arc(target, self._class(target), weight)

    @property
    def _silence_class(self) -> int:
        label = self.model.labeling.sil_label_idx
        if label is None:
            raise CriticalError(f"acoustic-model: no silence {self.model.silence!r} in the tying")
        return label

    def _class(self, node: _State) -> int:
        return self._tied(
            node.phones[node.phone],
            node.left,
            node.right,
            ("@i" if node.phone == 0 else "")
            + ("@f" if node.phone + 1 == len(node.phones) else ""),
            node.state,
        )

    @functools.lru_cache(maxsize=None)  # noqa: UP033, B019  (Python 3.8; as old as the process)
    def _tied(self, phone: str, left: str, right: str, place: str, state: int) -> int:
        symbol = f"{phone}{{{left}+{right}}}{place}.{state}"
        label = (self.model.labeling.state_tying or {}).get(symbol)
        if label is None:
            raise CriticalError(f"state-tying: no class for {symbol}")
        return label


def _read_lexicon(path: str) -> dict[str, list[Pronunciation]]:
    """Word to pronunciations with their scores, of a Bliss lexicon."""
    words: dict[str, list[Pronunciation]] = {}
    for lemma in read_xml(path, "lexicon").iter("lemma"):
        found = [
            (tuple((phon.text or "").split()), float(phon.get("score", "0")))
            for phon in lemma.iter("phon")
        ]
        if lemma.get("special") is None:
            for orth in lemma.iter("orth"):
                words.setdefault((orth.text or "").strip(), []).extend(p for p in found if p[0])
    return words
