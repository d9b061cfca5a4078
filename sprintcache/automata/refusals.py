"""Refusals: why the compiled builder makes no automaton of an orthography, in words."""

from __future__ import annotations

from collections.abc import Collection

from sprintcache.errors import AutomatonError
from sprintcache.lexicon import UNKNOWN, Lexicon, tokens

from .alphabet import Alphabet

__all__ = ["Refusals"]


class Refusals:
    """Explains the codes of refusals; `known` are the words of the lexicon."""

    def __init__(self, lexicon: Lexicon, alphabet: Alphabet, known: Collection[str]) -> None:
        self._lexicon = lexicon
        self._alphabet = alphabet
        self._known = known

    def error(
        self, code: str, detail: int, orthography: str, tag: str | None = None
    ) -> AutomatonError:
        """The error of an orthography, from the code of the compiled builder and its detail."""
        words = tokens(orthography)
        if code == "no-pronunciation":
            reason = self._missing_pronunciation(words, detail)
        elif code == "no-label":
            reason = f"the state tying has no label for {self._alphabet.state_symbol(detail)}"
        elif code in ("cycle", "epsilon-cycle"):
            reason = f"the automaton is cyclic: {self._cause_of_cycle()}"
        elif code == "two-loops":
            reason = (
                f"two loops at a state: {self._alphabet.state_symbol(detail)} may follow itself"
            )
        elif code == "label-loop":
            reason = (
                f"{self._alphabet.state_symbol(detail)} loops, and the topology rna has no loops:"
                " use silence_repetitions=False"
            )
        elif code == "no-edges" or (code == "no-path" and not words):
            skipped = [word for word in words if word not in self._known]
            if skipped and self._lexicon.special(UNKNOWN) is None:
                reason = f"word {skipped[0]!r} is not in the lexicon"
            else:
                reason = "every path is forbidden" if words else "empty orthography without silence"
        else:
            reason = {
                "too-large": "the automaton is too large",
                "no-path": "the transition weights forbid every path",
                "no-allophones": "its phones have no sequence of allophones",
            }[code]
        shown = orthography if len(orthography) <= 60 else f"{orthography[:60]}..."
        return AutomatonError(f"{reason} (orthography {shown!r})", entry=tag)

    def _missing_pronunciation(self, words: list[str], token: int) -> str:
        if token >= len(words):
            return "an orthography without a path"
        word = words[token]
        if word in self._known:
            return f"word {word!r} has no pronunciation"
        if self._lexicon.special(UNKNOWN) is None:
            return f"word {word!r} is not in the lexicon"
        return f"unknown word {word!r}: the lemma special='unknown' has no pronunciation"

    def _cause_of_cycle(self) -> str:
        loops = [lemma.symbol for lemma in self._lexicon.lemmas if "" in lemma.orthographies]
        if len(loops) > 1:
            return f"{' and '.join(map(repr, loops))} may alternate everywhere"
        if loops:
            return (
                f"{loops[0]!r} may follow itself with several pronunciations or contexts;"
                " use silence_repetitions=False"
            )
        return "words without phones may follow themselves"
