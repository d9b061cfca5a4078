"""State tyings: the label of every state of every allophone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sprintcache._text_file import content_lines
from sprintcache.alignment import STATE_SHIFT
from sprintcache.errors import AutomatonError, FormatError, UnsupportedError

from .alphabet import FINAL, Alphabet

__all__ = ["NO_LABEL", "TYINGS", "StateTying", "canonical_tying", "read_lookup"]

NO_LABEL = 0xFFFFFFFF
TYINGS = (
    "monophone",
    "monophone-eow",
    "lookup",
    "no-tying",
    "no-tying-dense",
    "diphone-dense",
    "monophone-dense",
)
_ALIASES = {"none": "no-tying", "lut": "lookup", "decision-tree": "cart"}
_DENSE = ("no-tying-dense", "diphone-dense", "monophone-dense")
_MAX_STATES = 16


def canonical_tying(name: str) -> str:
    """Returns the name of a state tying, aliases replaced.

    Raises:
        UnsupportedError: for decision trees.
        ValueError: for an unknown name.
    """
    name = _ALIASES.get(name, name)
    if name == "cart":
        raise UnsupportedError(
            "state tying by decision trees (cart) is not supported;"
            " write the tying as a lookup table with Sprint's allophone-tool"
        )
    if name not in TYINGS:
        raise ValueError(f"state_tying must be one of {', '.join(TYINGS)}, not {name!r}")
    return name


def read_lookup(path: str, alphabet: Alphabet) -> dict[tuple[int, int], int]:
    """Returns (allophone, state) to label of a lookup table; adds its allophones to the alphabet.

    Raises:
        OSError: if it cannot be read.
        FormatError: for a line that is not ``allophone.state label``; names it.
    """
    lookup: dict[tuple[int, int], int] = {}
    for number, line in content_lines(path):
        symbol, _, label = line.partition(" ")
        name, _, state = symbol.rpartition(".")
        allophone = alphabet.parse(name)
        known = allophone is not None and _is_number(state, 2) and int(state) < _MAX_STATES
        if allophone is None or not known or not _is_number(label, 10) or int(label) >= NO_LABEL:
            raise FormatError(
                f"line {number} of the state tying",
                path=path,
                expected="'allophone.state label' with phonemes of the lexicon",
                found=repr(line),
            )
        alphabet.add(allophone)
        index = alphabet.index(allophone)
        lookup[index or 0, int(state)] = int(label)
    return lookup


def _is_number(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= digits


class StateTying:
    """Labels of the states of an alphabet.

    Create it before the alphabet is complete, as Sprint does: `monophone-eow` counts the final
    phones known then, `lookup` adds the allophones of its file.
    """

    def __init__(
        self,
        kind: str,
        alphabet: Alphabet,
        states_of: Sequence[int],
        states_per_phone: int,
        silence_phones: set[int],
        path: str | None = None,
        boundary_classes: bool = True,
        word_end_classes: bool = False,
    ) -> None:
        """Prepares a tying.

        Args:
            kind: one of `TYINGS`.
            alphabet: the allophones known so far.
            states_of: number of states of each phoneme, by id; 0 for id 0.
            states_per_phone: number of states of any phoneme but silence.
            silence_phones: phonemes of the lemma silence.
            path: the table of a lookup.
            boundary_classes, word_end_classes: classes of a dense tying.

        Raises:
            AutomatonError: for classes that exclude each other, or too many of them.
        """
        self.kind = kind
        self.alphabet = alphabet
        self.states_of = states_of
        self.states_per_phone = states_per_phone
        self.silence_phones = silence_phones
        self.boundary_classes = boundary_classes
        self.word_end_classes = word_end_classes
        self.num_labels = 0
        self._lookup: dict[tuple[int, int], int] = {}
        self._within: list[int] = []
        self._final: dict[int, int] = {}
        if kind == "lookup":
            if not path:
                raise ValueError("state_tying='lookup' needs state_tying_file")
            self._lookup = read_lookup(path, alphabet)
            self.num_labels = max(self._lookup.values(), default=-1) + 1
        elif kind in ("monophone", "monophone-eow"):
            self._count_monophones()
        elif kind in _DENSE:
            self._count_dense()

    def _count_monophones(self) -> None:
        total = 0
        for count in self.states_of:
            self._within.append(total)
            total += count
        if self.kind == "monophone-eow":
            phonemes = self.alphabet.lexicon.phonemes
            for allophone in self.alphabet.allophones:
                phone = allophone.phone
                if not allophone.boundary & FINAL or phone in self.silence_phones:
                    continue
                symbol = phonemes[phone - 1].symbol
                if phone in self._final:
                    continue
                if symbol.startswith("[") and symbol.endswith("]"):
                    self._final[phone] = self._within[phone]
                else:
                    self._final[phone] = total
                    total += self.states_of[phone]
        self.num_labels = total

    def _count_dense(self) -> None:
        if self.boundary_classes and self.word_end_classes:
            raise AutomatonError("boundary classes and word-end classes exclude each other")
        length = max(self.alphabet.history_length, self.alphabet.future_length)
        if self.kind != "no-tying-dense" and length != 1:
            raise AutomatonError(f"{self.kind} needs contexts of length 1", found=length)
        num_phones = len(self.states_of)
        contexts = {"no-tying-dense": 2 * length, "diphone-dense": 1, "monophone-dense": 0}
        total = num_phones * self.states_per_phone * num_phones ** contexts[self.kind]
        total *= 4 if self.boundary_classes else 2 if self.word_end_classes else 1
        if total >= NO_LABEL:
            raise AutomatonError(f"{self.kind} has {total} classes", expected="below 2**32")
        self.num_labels = total

    def table(self) -> Any:
        """Returns (states, allophones) uint32 labels of the whole alphabet; NO_LABEL for none."""
        allophones = self.alphabet.allophones
        num_states = max(self.states_of, default=1)
        if self.kind == "lookup":
            table = np.full((num_states, len(allophones)), NO_LABEL, np.uint32)
            for (index, state), label in self._lookup.items():
                if state < num_states:
                    table[state, index] = label
            return table
        if self.kind == "no-tying":
            first = np.arange(num_states, dtype=np.uint32)[:, None] << STATE_SHIFT
            table = (first | np.arange(len(allophones), dtype=np.uint32)).astype(np.uint32)
            self.num_labels = int(table.max(initial=0)) + 1
            return table
        phones = np.array([a.phone for a in allophones], np.int64)
        states = np.arange(num_states, dtype=np.int64)[:, None]
        if self.kind in _DENSE:
            return self._dense(phones, states)
        first = np.array([0, *self._within[1:]], np.int64)[phones]
        if self.kind == "monophone-eow":
            ends = [
                bool(a.boundary & FINAL) and a.phone not in self.silence_phones for a in allophones
            ]
            final = np.array([self._final.get(a.phone, NO_LABEL) for a in allophones], np.int64)
            first = np.where(ends, final, first)
        return np.where(first == NO_LABEL, NO_LABEL, first + states).astype(np.uint32)

    def _dense(self, phones: Any, states: Any) -> Any:
        allophones = self.alphabet.allophones
        num_phones = len(self.states_of)
        boundaries = np.array([a.boundary for a in allophones], np.int64)
        labels = phones * self.states_per_phone + states
        if self.boundary_classes:
            labels = labels * 4 + boundaries
        if self.word_end_classes:
            labels = labels * 2 + (boundaries & FINAL > 0)
        length = max(self.alphabet.history_length, self.alphabet.future_length)
        for distance in range({"no-tying-dense": length, "diphone-dense": 1}.get(self.kind, 0)):
            left = [a.history[distance] if distance < len(a.history) else 0 for a in allophones]
            labels = labels * num_phones + np.array(left, np.int64)
            if self.kind == "no-tying-dense":
                right = [a.future[distance] if distance < len(a.future) else 0 for a in allophones]
                labels = labels * num_phones + np.array(right, np.int64)
        return labels.astype(np.uint32)
