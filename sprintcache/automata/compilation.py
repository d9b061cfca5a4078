"""Arrays for the compiled builder that are the same for all sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sprintcache.errors import AutomatonError
from sprintcache.lexicon import Lexicon, tokens

from .alphabet import FINAL, INITIAL, Allophone, Alphabet

__all__ = ["boundary_arrays", "pronunciation_arrays", "tree_arrays"]

NONE = 0xFFFFFFFF
_MAX_ORTHOGRAPHY = 99  # bytes, as in Sprint
_LOOSE = 4  # flag of a boundary state: the context is forgotten, no phone with context may follow


def tree_arrays(lexicon: Lexicon) -> tuple[dict[str, int], dict[str, Any]]:
    """Returns token numbers, and the tree of orthographies.

    Raises:
        AutomatonError: for an orthography that Sprint does not accept.
    """
    numbers: dict[str, int] = {}
    nodes: dict[int, int] = {}
    lemmas_at: list[list[int]] = [[]]
    for index, lemma in enumerate(lexicon.lemmas):
        for orthography in lemma.orthographies:
            if len(orthography.encode("utf-8", "surrogateescape")) > _MAX_ORTHOGRAPHY:
                raise AutomatonError(
                    f"orthography {orthography[:40]!r}... is too long",
                    path=lexicon.path,
                    expected=f"at most {_MAX_ORTHOGRAPHY} bytes",
                )
            node = 0
            for token in tokens(orthography):
                key = node << 32 | numbers.setdefault(token, len(numbers))
                node = nodes.setdefault(key, len(lemmas_at))
                if node == len(lemmas_at):
                    lemmas_at.append([])
            lemmas_at[node].append(index)
    return numbers, {
        "tree_keys": np.fromiter(nodes.keys(), np.uint64, len(nodes)),
        "tree_values": np.fromiter(nodes.values(), np.uint32, len(nodes)),
        "node_lemmas_begin": _offsets(lemmas_at),
        "node_lemmas": [index for lemmas in lemmas_at for index in lemmas],
    }


def pronunciation_arrays(lexicon: Lexicon, normalize: bool) -> dict[str, Any]:
    """Returns the pronunciations as ids of phone sequences, with their scores.

    Raises:
        AutomatonError: for weights that cannot be normalized; names the lemma.
    """
    from ._graph import pronunciation_scores

    suffixes: dict[tuple[int, int], int] = {}
    phones, nexts = [0], [0]
    of_pronunciation, scores = [], []
    for lemma in lexicon.lemmas:
        phons = lemma.pronunciations
        values = [phon.weight if phon.score is None else phon.score for phon in phons]
        kinds = [phon.score is not None for phon in phons]
        normalized = pronunciation_scores(values, kinds, normalize)
        if normalized is None:
            raise AutomatonError(
                f"pronunciation weights of lemma {lemma.symbol!r} cannot be normalized:"
                " their sum is 0",
                path=lexicon.path,
            )
        if np.isnan(normalized).any() or (normalized == -np.inf).any():
            raise AutomatonError(
                f"pronunciation weights of lemma {lemma.symbol!r} are not finite",
                path=lexicon.path,
            )
        scores.append(normalized)
        for phon in phons:
            suffix = 0
            for phone in reversed(phon.phones):
                number = suffixes.setdefault((phone, suffix), len(phones))
                if number == len(phones):
                    phones.append(phone)
                    nexts.append(suffix)
                suffix = number
            of_pronunciation.append(suffix)
    return {
        "lemma_begin": _offsets([lemma.pronunciations for lemma in lexicon.lemmas]),
        "pron_suffix": of_pronunciation,
        "pron_score": np.concatenate([np.zeros(0, np.float32), *scores]),
        "suffix_phone": phones,
        "suffix_next": nexts,
    }


class _Boundaries:
    """States between phones: what was before, what comes next."""

    def __init__(self, alphabet: Alphabet) -> None:
        self.history_length = alphabet.history_length
        self.future_length = alphabet.future_length
        self.links_to_initial = not (self.history_length or self.future_length)
        self.numbers: dict[tuple[tuple[int, ...], tuple[int, ...], int], int] = {}
        self.final: list[bool] = []
        self.link: list[int] = []
        self.initial = self.number((), (), INITIAL)

    def number(self, history: tuple[int, ...], future: tuple[int, ...], flags: int) -> int:
        key = history, future, flags
        number = self.numbers.setdefault(key, len(self.final))
        if number < len(self.final):
            return number
        self.final.append(not future)  # asked where a word may begin
        self.link.append(NONE)
        if flags & FINAL and self.links_to_initial:
            self.link[number] = self.initial
        elif flags & FINAL:
            self.link[number] = self.number(history, future, flags & ~FINAL | INITIAL)
        return number

    def before(self, allophone: Allophone, is_loose: bool) -> int:
        future = (allophone.phone, *allophone.future)[: self.future_length]
        flags = INITIAL * bool(allophone.boundary & INITIAL) | _LOOSE * is_loose
        return self.number(allophone.history, future if allophone.history else (), flags)

    def after(self, allophone: Allophone, is_loose: bool) -> tuple[int, int]:
        """The state, and the phone that must come next or 0."""
        history = (allophone.phone, *allophone.history)[: self.history_length]
        future = allophone.future
        flags = FINAL * bool(allophone.boundary & FINAL) | _LOOSE * is_loose
        return self.number(history if future else (), future, flags), future[0] if future else 0


def boundary_arrays(
    alphabet: Alphabet,
    states_of: Sequence[int],
    repetitions_of: Sequence[int],
    fix_context: bool,
    drop_invalid: bool,
) -> dict[str, Any]:
    """Returns which allophones fit between which boundary states.

    Args:
        alphabet: all allophones.
        states_of, repetitions_of: states of each phoneme, and how often each of them is repeated.
        fix_context: whether a word end without context forbids a phone with context after it.
        drop_invalid: whether allophones without context inside a word are left out.
    """
    boundaries = _Boundaries(alphabet)
    candidates: dict[int, list[int]] = {}
    to: list[int] = []
    for index, allophone in enumerate(alphabet.allophones):
        dependent = alphabet.is_dependent(allophone.phone)
        is_initial, is_final = allophone.boundary & INITIAL, allophone.boundary & FINAL
        loses = bool(fix_context and is_final and not allophone.future and dependent)
        target, following = boundaries.after(allophone, loses)
        to.append(target)
        lacks_left = alphabet.history_length and not allophone.history and not is_initial
        lacks_right = alphabet.future_length and not allophone.future and not is_final
        if drop_invalid and dependent and (lacks_left or lacks_right):
            continue
        sources = [boundaries.before(allophone, False)]
        if fix_context and is_initial and not dependent:
            sources.append(boundaries.before(allophone, True))
        for source in sources:
            key = source << 33 | allophone.phone << 17 | following << 1 | bool(is_final)
            candidates.setdefault(key, []).append(index)
    phones = [allophone.phone for allophone in alphabet.allophones]
    return {
        "candidate_keys": np.fromiter(candidates.keys(), np.uint64, len(candidates)),
        "candidate_begin": _offsets(list(candidates.values())),
        "candidate_allophones": [index for indices in candidates.values() for index in indices],
        "boundary_final": np.array(boundaries.final, np.uint8),
        "boundary_link": boundaries.link,
        "allophone_to": to,
        "allophone_arcs": [states_of[phone] * repetitions_of[phone] for phone in phones],
        "allophone_repetitions": [repetitions_of[phone] for phone in phones],
        "initial_boundary": boundaries.initial,
    }


def _offsets(lists: Sequence[Sequence[Any]]) -> Any:
    """(N + 1,) uint32, where each list begins when they are joined."""
    offsets = np.zeros(len(lists) + 1, np.uint32)
    np.cumsum([len(items) for items in lists], out=offsets[1:])
    return offsets
