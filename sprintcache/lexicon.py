"""Lexicon: the words of a Bliss lexicon, their orthographies and pronunciations.

Format (RASR, Bliss/LexiconParser): an XML file, optionally gzipped. A ``phoneme-inventory`` defines
phonemes, a ``lemma`` has one or more ``orth``, then ``phon`` elements, then ``synt`` and ``eval``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from ._text_file import content_lines, read_inflated
from .errors import CorruptError

__all__ = ["BLANK", "SILENCE", "UNKNOWN", "Lemma", "Lexicon", "Phoneme", "Pronunciation", "tokens"]

SILENCE, UNKNOWN, BLANK = "silence", "unknown", "blank"

# Sprint's whitespace; Unicode has more
_WHITESPACE = re.compile(r"[ \t\n\r\f\v]+")
# elements of a lemma come in this order
_LEMMA_ORDER = {"orth": 0, "phon": 1, "synt": 2, "eval": 3}
_MAX_PHONEMES = 0xFFFF


def tokens(text: str) -> list[str]:
    """Returns the words of a text, separated by Sprint's whitespace."""
    return [token for token in _WHITESPACE.split(text) if token]


@dataclass(frozen=True)
class Phoneme:
    """A phoneme.

    Attributes:
        symbol: name, such as ``"ah"``.
        context_dependent: whether its allophones depend on their neighbors
            (``<variation>`` is not ``none``).
    """

    symbol: str
    context_dependent: bool = True


@dataclass(frozen=True)
class Pronunciation:
    """One pronunciation of a lemma.

    Attributes:
        phones: phoneme ids, counted from 1 in the order of the inventory.
        weight: probability as written, before it is normalized over the lemma.
        score: negative logarithm as written instead of a weight, or None.
    """

    phones: tuple[int, ...]
    weight: float = 1.0
    score: float | None = None


@dataclass(frozen=True)
class Lemma:
    """A word of the lexicon.

    Attributes:
        orthographies: its spellings; ``""`` matches anywhere.
        pronunciations: in the order of the file.
        special: ``"silence"``, ``"unknown"``, ``"blank"`` or another role, or None.
        name: the name attribute, or None.
        line: line of the file, or None.
    """

    orthographies: tuple[str, ...]
    pronunciations: tuple[Pronunciation, ...] = ()
    special: str | None = None
    name: str | None = None
    line: int | None = None

    @property
    def symbol(self) -> str:
        """The first orthography that is not empty; without one, the name or the role."""
        return next(filter(None, self.orthographies), self.name or self.special or "")


@dataclass
class Lexicon:
    """Phonemes and lemmas in the order of the file.

    Attributes:
        phonemes: the inventory; phoneme i + 1 has id i + 1.
        lemmas: the words.
        path: the file, or None.
    """

    phonemes: list[Phoneme]
    lemmas: list[Lemma]
    path: str | None = None
    _roles: dict[str, Lemma] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for lemma in self.lemmas:
            if lemma.special:
                self._roles.setdefault(lemma.special, lemma)

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], vocabulary: str | os.PathLike[str] | None = None
    ) -> Lexicon:
        """Reads a lexicon.

        Args:
            path: a Bliss lexicon, plain or gzipped. ``vocab-text:FILE`` reads one label a line,
                each both a phoneme without context and a word.
            vocabulary: file of orthographies, one a line; others are dropped, special lemmas stay.

        Raises:
            OSError: if a file cannot be read.
            FormatError: if it is not a valid lexicon; the error names the line.
        """
        text = os.fspath(path)
        prefix, _, file = text.partition(":")
        if prefix in ("vocab-text", "vocab-txt") and file:
            return _read_labels(file)
        kept = None
        if vocabulary is not None:
            kept = {" ".join(tokens(line)) for _, line in content_lines(vocabulary)}
        return _LexiconReader(text, kept or None).lexicon()

    def special(self, role: str) -> Lemma | None:
        """Returns the lemma of a role such as ``"silence"``, or None."""
        return self._roles.get(role)

    def symbols(self, phones: tuple[int, ...]) -> str:
        """Returns the phonemes of ids, separated by blanks."""
        return " ".join(self.phonemes[phone - 1].symbol for phone in phones)

    def pronunciations(self) -> Iterator[tuple[Lemma, Pronunciation]]:
        """Yields every pair of lemma and pronunciation in the order of the file."""
        return ((lemma, phon) for lemma in self.lemmas for phon in lemma.pronunciations)


def _read_labels(path: str) -> Lexicon:
    labels: dict[str, int] = {}
    text = read_inflated(path).decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        label = " ".join(tokens(line))
        if not line:
            continue
        if label in labels or " " in label or not label or "\0" in label:
            reason = f"line {number} of the vocabulary"
            raise CorruptError(reason, path=path, expected="a new label", found=repr(line))
        labels[label] = len(labels) + 1
    return Lexicon(
        [Phoneme(label, False) for label in labels],
        [Lemma((label,), (Pronunciation((id_,)),)) for label, id_ in labels.items()],
        path,
    )


class _LexiconReader:
    """One pass over a lexicon file."""

    def __init__(self, path: str, kept: Collection[str] | None) -> None:
        self.path = path
        self.kept = kept
        self.phonemes: list[Phoneme] = []
        self.ids: dict[str, int] = {}
        self.lemmas: list[Lemma] = []
        self.roles: set[str] = set()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: dict[str, str] = {}
        self.order = 0
        self.line = 0
        self.symbol = ""
        self.variation = ""
        self.orthographies: list[str] = []
        self.phons: list[Pronunciation] = []
        self.role: str | None = None
        self.name: str | None = None
        self.parser: Any = None

    def lexicon(self) -> Lexicon:
        data = read_inflated(self.path)
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text.append
        try:
            self.parser.Parse(data, True)
        except (expat.ExpatError, LookupError, ValueError) as error:
            if isinstance(error, CorruptError):
                raise
            raise CorruptError(f"not well-formed XML: {error}", path=self.path) from error
        return Lexicon(self.phonemes, self.lemmas, self.path)

    def bad(self, reason: str, **facts: Any) -> NoReturn:
        where = f"line {self.parser.CurrentLineNumber}: {reason}"
        raise CorruptError(where, path=self.path, **facts)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.open and tag != "lexicon":
            self.bad("not a lexicon", expected="<lexicon>", found=f"<{tag}>")
        parent = self.open[-1] if self.open else ""
        self.open.append(tag)
        self.text.clear()
        if parent == "lemma":
            self.start_in_lemma(tag)
            self.attributes = attributes
        elif tag == "lemma" and parent == "lexicon":
            self.start_lemma(attributes)
        elif tag == "phoneme":
            self.symbol = self.variation = ""

    def start_lemma(self, attributes: dict[str, str]) -> None:
        self.orthographies, self.phons, self.order = [], [], -1
        self.line = self.parser.CurrentLineNumber
        self.role = attributes.get("special") or None
        self.name = " ".join(tokens(attributes.get("name", ""))) or None

    def start_in_lemma(self, tag: str) -> None:
        order = _LEMMA_ORDER.get(tag)
        if order is None:
            self.bad(f"<{tag}> in a lemma", expected="<orth>, <phon>, <synt> or <eval>")
        if order < self.order or (order == self.order and tag == "synt"):
            self.bad(f"<{tag}> out of order", expected="<orth>+ <phon>* <synt>? <eval>*")
        if self.order < 0 and order > 0:
            self.bad("a lemma begins with <orth>", found=f"<{tag}>")
        self.order = order

    def end(self, tag: str) -> None:
        self.open.pop()
        parent = self.open[-1] if self.open else ""
        text = " ".join(tokens("".join(self.text)))
        if parent == "lemma" and tag == "orth":
            if self.role or self.kept is None or text in self.kept:
                self.orthographies.append(text)
        elif parent == "lemma" and tag == "phon":
            self.phons.append(self.pronunciation(text))
        elif tag == "lemma" and parent == "lexicon":
            self.end_lemma()
        elif parent == "phoneme" and tag == "symbol":
            self.symbol = text
        elif parent == "phoneme" and tag == "variation":
            self.variation = text
        elif tag == "phoneme":
            self.add_phoneme()

    def add_phoneme(self) -> None:
        if not self.symbol or " " in self.symbol or self.symbol == "#":
            self.bad("a phoneme needs a symbol", found=repr(self.symbol))
        if self.symbol in self.ids:
            self.bad(f"two phonemes are named {self.symbol!r}")
        if self.variation not in ("", "none", "context"):
            self.bad("variation of a phoneme", expected="none or context", found=self.variation)
        if len(self.phonemes) >= _MAX_PHONEMES:
            self.bad(f"more than {_MAX_PHONEMES} phonemes")
        self.phonemes.append(Phoneme(self.symbol, self.variation != "none"))
        self.ids[self.symbol] = len(self.phonemes)

    def pronunciation(self, text: str) -> Pronunciation:
        phones = []
        for symbol in text.split(" ") if text else ():
            if symbol not in self.ids:
                self.bad(f"pronunciation {text!r} has an unknown phoneme {symbol!r}")
            phones.append(self.ids[symbol])
        values = {}
        for name in ("weight", "score"):
            if name in self.attributes:
                values[name] = self.number(name, self.attributes[name])
        if len(values) == 2:
            self.bad("a pronunciation has either a weight or a score, not both")
        if values.get("weight", 0.0) < 0:
            self.bad("pronunciation weight", expected="not negative", found=values["weight"])
        return Pronunciation(tuple(phones), values.get("weight", 1.0), values.get("score"))

    def number(self, name: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if value != value:
            self.bad(f"{name} of a pronunciation", expected="a number", found=repr(text))
        return value

    def end_lemma(self) -> None:
        if self.order < 0:
            self.bad("a lemma without <orth>")
        if not self.orthographies:  # not in the vocabulary
            return
        if len({phon.phones for phon in self.phons}) < len(self.phons):
            self.bad(f"a pronunciation of {self.orthographies[0]!r} is given twice")
        if self.name is not None and self.name in self.names:
            self.bad(f"two lemmas are named {self.name!r}")
        if self.role in self.roles:
            self.bad(f"two lemmas are special={self.role!r}")
        if self.name is not None:
            self.names.add(self.name)
        if self.role is not None:
            self.roles.add(self.role)
        self.lemmas.append(
            Lemma(tuple(self.orthographies), tuple(self.phons), self.role, self.name, self.line)
        )
