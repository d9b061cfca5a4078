"""English numbers and abbreviations as they are spoken, for the ``english_cleaners``.

The rules are those of the first open Tacotron implementations, which RETURNN's cleaners share:
thousands separators are dropped, money and decimals are spelled out, years are read in pairs. The
words come from the library inflect, which has no rules for running text.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["NumberSpeller", "expand_abbreviations"]

_ABBREVIATIONS = {
    "mrs": "misses",
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
}
_ABBREVIATION = re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\.", re.IGNORECASE)


def expand_abbreviations(text: str) -> str:
    """Spells out titles such as "dr."."""
    return _ABBREVIATION.sub(lambda match: _ABBREVIATIONS[match[1].lower()], text)


class NumberSpeller:
    """Spells out the numbers of a text."""

    def __init__(self, engine: Any) -> None:
        """Accepts an ``inflect.engine``."""
        self._words = engine.number_to_words

    def __call__(self, text: str) -> str:
        text = re.sub(r"[0-9][0-9,]+[0-9]", lambda m: m[0].replace(",", ""), text)
        text = re.sub(r"£([0-9,]*[0-9]+)", r"\1 pounds", text)
        text = re.sub(r"\$([0-9.,]*[0-9]+)", lambda m: _money(m[1]), text)
        text = re.sub(r"[0-9]+\.[0-9]+", lambda m: m[0].replace(".", " point "), text)
        text = re.sub(r"[0-9]+(st|nd|rd|th)", lambda m: str(self._words(m[0])), text)
        return re.sub(r"[0-9]+", lambda m: f" {self._number(m[0])} ", text)

    def _number(self, digits: str) -> str:
        number = int(digits)
        if digits.startswith("0") or number == 747:
            return " ".join(self._words(digit) for digit in digits)
        if not 1000 < number < 3000:
            return str(self._words(number, andword=""))
        if number == 2000:
            return "two thousand"
        if 2000 < number < 2010:
            return f"two thousand {self._words(number % 100)}"
        if number % 100 == 0:
            return f"{self._words(number // 100)} hundred"
        pairs: str = self._words(number, andword="", zero="oh", group=2)
        return pairs.replace(", ", " ")


def _money(amount: str) -> str:
    parts = amount.split(".")
    if len(parts) > 2 or not all(part.isdigit() or not part for part in parts):
        return f"{amount} dollars"
    units = "dollar", "cent"
    counts = [int(part or 0) for part in parts]
    spoken = [
        f"{count} {units[index] if count == 1 else units[index] + 's'}"
        for index, count in enumerate(counts)
        if count
    ]
    return ", ".join(spoken) or "zero dollars"
