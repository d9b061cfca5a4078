"""Label schemes: labels of allophone states by their parts, without a tying file.

A scheme is the name of a part, or several joined by dots such as ``center.state.word-end``; the
last one varies fastest. Phonemes are numbered from 1 as in the inventory, 0 is no context (``#``),
so that a scheme of phonemes has one label more than there are phonemes. These are the numbers of
Sprint's dense state tyings (RASR, Am/ClassicStateTying): ``monophone-dense`` is
``center.state.position``, ``diphone-dense`` is that and ``.left``, ``no-tying-dense`` is that and
``.left.right``; with word-end classes, ``word-end`` in place of ``position``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from .errors import LabelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "PARTS",
    "AllophoneParts",
    "ParsedAllophone",
    "Schemes",
    "named_schemes",
    "needs_phonemes",
    "parse_allophone",
    "scheme_table",
]

Schemes: TypeAlias = "str | Sequence[str] | Mapping[str, str]"

PARTS = ("left", "center", "right", "state", "position", "word-end")
_PHONES = ("left", "center", "right")
_BOUNDARY = "#"
_SYMBOL = re.compile(
    r"(?P<phone>[^{}]+)\{(?P<left>[^{}+]+)\+(?P<right>[^{}+]+)\}(?P<initial>@i)?(?P<final>@f)?"
)


class ParsedAllophone(NamedTuple):
    """The parts of a symbol ``phone{left+right}@i@f``.

    Attributes:
        phone: center phone.
        left, right: contexts as written, ``"#"`` at a boundary.
        initial, final: whether it is the first or last phone of a word.
    """

    phone: str
    left: str
    right: str
    initial: bool
    final: bool


def parse_allophone(symbol: str) -> ParsedAllophone | None:
    """Returns the parts of a symbol, or None if it is not of that form."""
    match = _SYMBOL.fullmatch(symbol)
    if match is None:
        return None
    phone, left, right, initial, final = match.groups()
    return ParsedAllophone(phone, left, right, initial is not None, final is not None)


class AllophoneParts:
    """The parts of N allophones as numbers.

    Attributes:
        phones: {"left", "center", "right"} to (N,) int64 phoneme ids from 1, 0 for no context;
            without phonemes {}.
        position: (N,) int64: 1 if it begins a word, 2 if it ends one, 3 for both, 0 for neither.
        num_phones: number of phonemes + 1.
    """

    def __init__(
        self, allophones: Sequence[str], phonemes: Sequence[str] | None, path: str | None = None
    ) -> None:
        """Parses the symbols.

        Args:
            allophones: symbols in index order.
            phonemes: the inventory in order, or None if no part of a scheme is a phoneme.
            path: the allophone file, for errors.

        Raises:
            LabelError: for a symbol that is malformed, or whose phonemes are not in the inventory.
        """
        parsed = []
        for symbol in allophones:
            allophone = parse_allophone(symbol)
            if allophone is None:
                raise LabelError("symbol of an allophone", path=path,
                                 expected="phone{left+right}@i@f", found=repr(symbol))  # fmt: skip
            parsed.append(allophone)
        flags = [allophone.initial + 2 * allophone.final for allophone in parsed]
        self.position = np.array(flags, np.int64)
        self.phones: dict[str, NDArray[np.int64]] = {}
        self.num_phones = 0
        if phonemes is None:
            return
        self.num_phones = len(phonemes) + 1
        ids = {phoneme: number for number, phoneme in enumerate(phonemes, 1)}

        def numbered(side: str, index: int, symbol: str) -> int:
            if side == _BOUNDARY:
                return 0
            if side not in ids:  # contexts of several phonemes; a name may contain a hyphen
                side = side.split("-")[index]
            if side not in ids:
                raise LabelError(f"phoneme {side!r} of allophone {symbol!r} is not in the"
                                 " inventory", path=path)  # fmt: skip
            return ids[side]

        sides: list[tuple[str, int, Callable[[ParsedAllophone], str]]] = [
            ("left", -1, lambda parts: parts.left),
            ("center", 0, lambda parts: parts.phone),
            ("right", 0, lambda parts: parts.right),
        ]
        for name, index, side_of in sides:
            pairs = zip(parsed, allophones, strict=True)
            numbers = [numbered(side_of(parts), index, symbol) for parts, symbol in pairs]
            self.phones[name] = np.array(numbers, np.int64)


def check_scheme(scheme: str) -> list[str]:
    """Returns the parts of a scheme.

    Raises:
        ValueError: for an unknown part, or one that occurs twice.
    """
    parts = scheme.split(".")
    for part in parts:
        if part not in PARTS or parts.count(part) > 1:
            known = ", ".join(PARTS)
            raise ValueError(
                f"label scheme {scheme!r}: {part!r} occurs twice, or is not one of {known}"
            )
    return parts


def named_schemes(schemes: Schemes) -> dict[str, str]:
    """Returns name to scheme of an option; a scheme without a name is named by itself.

    Raises:
        ValueError: for an unknown part, or if there is no scheme.
    """
    if isinstance(schemes, str):
        schemes = [schemes]
    named = dict(schemes) if isinstance(schemes, Mapping) else {text: text for text in schemes}
    if not named:
        raise ValueError("label_scheme names no scheme")
    for scheme in named.values():
        check_scheme(scheme)
    return named


def needs_phonemes(scheme: str) -> bool:
    """Whether a part of a scheme is a phoneme."""
    return any(part in _PHONES for part in check_scheme(scheme))


def scheme_table(
    scheme: str, parts: AllophoneParts, num_states: int
) -> tuple[NDArray[np.int32], int]:
    """Labels of the states of all allophones.

    Returns:
        (num_states, N) int32, and the number of labels.

    Raises:
        ValueError: if there are more labels than int32 has.
    """
    labels = np.zeros((num_states, len(parts.position)), np.int64)
    num_labels = 1
    for part in check_scheme(scheme):
        size, values = _values(part, parts, num_states)
        num_labels *= size
        labels = labels * size + values
    if num_labels >= 1 << 31:
        raise ValueError(f"label scheme {scheme!r} has {num_labels} labels, more than int32 holds")
    return labels.astype(np.int32), num_labels


def _values(part: str, parts: AllophoneParts, num_states: int) -> tuple[int, NDArray[np.int64]]:
    if part == "state":
        return num_states, np.arange(num_states, dtype=np.int64)[:, None]
    if part == "position":
        return 4, parts.position
    if part == "word-end":
        return 2, parts.position >> 1
    return parts.num_phones, parts.phones[part]
