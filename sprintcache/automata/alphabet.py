"""Allophones of a lexicon, in the order in which Sprint numbers them.

The order matters: allophone-state ids decide how states of automata are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple, overload

from sprintcache._text_file import content_lines
from sprintcache.alignment import ALLOPHONE_MASK, STATE_SHIFT
from sprintcache.errors import FormatError
from sprintcache.lexicon import Lexicon

__all__ = ["FINAL", "INITIAL", "Allophone", "Alphabet", "StateSymbols"]

INITIAL, FINAL = 1, 2  # word boundary of an allophone: @i, @f
_SYMBOL = re.compile(r"(?P<phone>[^{}]+)\{(?P<left>[^{}]*)\+(?P<right>[^{}]*)\}(?P<flags>(@[if])*)")
_BUCKETS = (1, 13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10273, 20753, 42043, 85229)
_MAX_ALLOPHONES = 1 << 26
_MAX_LENGTH = 16


class Allophone(NamedTuple):
    """A phoneme in context.

    Attributes:
        phone: phoneme id.
        history: phones to the left, nearest first.
        future: phones to the right.
        boundary: INITIAL and FINAL for the first and the last phone of a word.
    """

    phone: int
    history: tuple[int, ...] = ()
    future: tuple[int, ...] = ()
    boundary: int = 0


class Alphabet:
    """Allophones by index.

    Attributes:
        allophones: in the order of their indices.

    Raises:
        FormatError: a phoneme has a character of the syntax of allophones.
    """

    def __init__(
        self, lexicon: Lexicon, history_length: int, future_length: int, across_word: bool
    ) -> None:
        self.lexicon = lexicon
        self.history_length = history_length
        self.future_length = future_length
        self.across_word = across_word
        self.allophones: list[Allophone] = []
        self._index: dict[Allophone, int] = {}
        self._symbols = [phoneme.symbol for phoneme in lexicon.phonemes]
        self._ids = {symbol: i for i, symbol in enumerate(self._symbols, 1)}
        self._dependent = [False, *(p.context_dependent for p in lexicon.phonemes)]
        for phoneme in lexicon.phonemes:
            if set(phoneme.symbol) & set("{}+."):
                raise FormatError(
                    f"phoneme {phoneme.symbol!r} has a character of allophone syntax: {{ }} + .",
                    path=lexicon.path,
                )

    def __len__(self) -> int:
        return len(self.allophones)

    def is_dependent(self, phone: int) -> bool:
        return self._dependent[phone]

    def index(self, allophone: Allophone) -> int | None:
        return self._index.get(allophone)

    def add(self, allophone: Allophone) -> bool:
        """Adds an allophone; returns whether it is new.

        Raises:
            FormatError: there are too many.
        """
        size = len(self.allophones)
        if self._index.setdefault(allophone, size) != size:
            return False
        if size >= _MAX_ALLOPHONES:
            raise FormatError(f"more than {_MAX_ALLOPHONES} allophones", path=self.lexicon.path)
        self.allophones.append(allophone)
        return True

    def symbol(self, allophone: Allophone) -> str:
        """Returns a symbol such as ``a{b+c}@i``."""
        name = self._symbols
        left = "-".join(name[p - 1] for p in reversed(allophone.history)) or "#"
        right = "-".join(name[p - 1] for p in allophone.future) or "#"
        flags = "@i" * bool(allophone.boundary & INITIAL) + "@f" * bool(allophone.boundary & FINAL)
        return f"{name[allophone.phone - 1]}{{{left}+{right}}}{flags}"

    def state_symbol(self, id_: int) -> str:
        """Returns the symbol of an allophone state by its id, such as ``a{b+c}@i.0``."""
        allophone = self.allophones[id_ & ALLOPHONE_MASK]
        return f"{self.symbol(allophone)}.{id_ >> STATE_SHIFT}"

    def parse(self, symbol: str) -> Allophone | None:
        """Returns the allophone of a symbol, or None if it is not one of this lexicon."""
        match = _SYMBOL.fullmatch(symbol)
        if match is None:
            return None
        sides = []
        for side in (match["left"], match["right"]):
            if side in self._ids:  # its name may contain a hyphen
                phones = [self._ids[side]]
            else:
                phones = [self._ids.get(p, 0) for p in side.split("-")] if side != "#" else []
            sides.append(phones)
        phone = self._ids.get(match["phone"], 0)
        if not phone or 0 in sides[0] or 0 in sides[1]:
            return None
        boundary = INITIAL * ("@i" in match["flags"]) | FINAL * ("@f" in match["flags"])
        return Allophone(phone, tuple(reversed(sides[0])), tuple(sides[1]), boundary)

    # ---- sources

    def add_file(self, path: str) -> None:
        """Adds the allophones of a file, one a line.

        Raises:
            OSError: if it cannot be read.
            FormatError: for a line that is not an allophone of this lexicon; names it.
        """
        for number, line in content_lines(path):
            allophone = self.parse(line)
            if allophone is None:
                raise FormatError(
                    f"line {number} of the allophone file",
                    path=path,
                    expected="an allophone of phonemes of the lexicon",
                    found=repr(line),
                )
            self.add(allophone)

    def add_all(self) -> None:
        """Adds every allophone that the phonemes allow."""
        ids = range(1, len(self._dependent))
        dependent = [phone for phone in ids if self._dependent[phone]]
        for i in range(self.future_length + 1):
            for j in range(self.history_length + 1):
                starts = j == 0 or (self.across_word and j <= 1)
                ends = i == 0 or (self.across_word and i <= 1)
                boundaries = [0]
                boundaries += [INITIAL] * starts + [FINAL] * ends
                boundaries += [INITIAL | FINAL] * (starts and ends)
                # the first phone of the history varies fastest
                for phones in product(dependent, repeat=i + j):
                    phones = phones[::-1]
                    for boundary in boundaries:
                        for phone in dependent:
                            self.add(Allophone(phone, phones[:j], phones[j:], boundary))
        for phone in ids:
            if not self._dependent[phone]:
                for boundary in (0, INITIAL, FINAL, INITIAL | FINAL):
                    self.add(Allophone(phone, (), (), boundary))

    def add_lexicon(self) -> None:
        """Adds the allophones of the pronunciations, then those across words."""
        initial, final = _PhoneSet(), _PhoneSet()
        left: list[Allophone] = []
        right: list[Allophone] = []
        both: list[Allophone] = []
        distinct = dict.fromkeys(phon.phones for _, phon in self.lexicon.pronunciations())
        for phones in distinct:
            if not phones:
                continue
            if self._dependent[phones[0]]:
                initial.add(phones[0])
            if self._dependent[phones[-1]]:
                final.add(phones[-1])
            for allophone, at_start, at_end in self._of_pronunciation(phones):
                if self.add(allophone):
                    if at_start:
                        left.append(allophone)
                    if at_end:
                        right.append(allophone)
                    if at_start and at_end:
                        both.append(allophone)
        if not self.across_word:
            return
        initials, finals = list(initial), list(final)
        for a in left:
            for before in finals:
                self.add(a._replace(history=(*a.history, before)))
        for a in right:
            for after in initials:
                self.add(a._replace(future=(*a.future, after)))
        for a in both:
            for before in finals:
                history = (*a.history, before)
                for after in initials:
                    self.add(a._replace(history=history, future=(*a.future, after)))

    def _of_pronunciation(self, phones: tuple[int, ...]) -> Iterator[tuple[Allophone, bool, bool]]:
        """Yields allophones within a word, and whether each context reaches an edge of the word."""
        last = len(phones) - 1
        for start, stop in self._pieces(phones):
            dependent = self._dependent[phones[start]]
            history_length = self.history_length if dependent else 0
            future_length = self.future_length if dependent else 0
            for i in range(start, stop):
                begin, end = max(start, i - history_length), min(stop, i + 1 + future_length)
                allophone = Allophone(
                    phones[i],
                    phones[begin:i][::-1],
                    phones[i + 1 : end],
                    INITIAL * (i == 0) | FINAL * (i == last),
                )
                at_start = self.across_word and start == 0 and i < history_length
                if i == last > 0 and not future_length:
                    at_start = False  # so does Sprint
                at_end = self.across_word and stop == last + 1 and i + future_length > last
                yield allophone, at_start, at_end

    def _pieces(self, phones: tuple[int, ...]) -> Iterable[tuple[int, int]]:
        """Cuts a pronunciation where phones with and without context meet."""
        dependent = [self._dependent[phone] for phone in phones]
        cuts = [i for i in range(1, len(phones)) if dependent[i] != dependent[i - 1]]
        return zip([0, *cuts], [*cuts, len(phones)], strict=True)


class StateSymbols(Sequence[str]):
    """Symbols of all allophone states, such as ``a{b+c}@i.0``: states of one number in a row."""

    def __init__(self, alphabet: Alphabet, num_states: int) -> None:
        self._alphabet = alphabet
        self._num_states = num_states

    def __len__(self) -> int:
        return len(self._alphabet) * self._num_states

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"state {index} of {len(self)}")
        state, allophone = divmod(int(index) % len(self), len(self._alphabet))
        return self._alphabet.state_symbol(state << STATE_SHIFT | allophone)


class _PhoneSet:
    """A set of integers that iterates in the order of a libstdc++ ``unordered_set``.

    One list holds all elements; the hash of an integer is the integer. An element of a new bucket
    goes to the front, another one before the first of its bucket.
    """

    def __init__(self) -> None:
        self._order: list[int] = []
        self._num_buckets = 1

    def add(self, phone: int) -> None:
        if phone in self._order:
            return
        if len(self._order) + 1 > self._num_buckets or self._num_buckets == 1:
            order, self._order = self._order, []
            self._num_buckets = next(n for n in _BUCKETS if n > max(self._num_buckets, 1))
            for item in order:
                self._insert(item)
        self._insert(phone)

    def _insert(self, phone: int) -> None:
        n = self._num_buckets
        same = (i for i, item in enumerate(self._order) if item % n == phone % n)
        self._order.insert(next(same, 0), phone)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)
