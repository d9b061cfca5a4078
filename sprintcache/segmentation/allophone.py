"""Allophone: the parts of a symbol such as ``a{b+c}@i@f``, and the symbols of an alignment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from sprintcache import states
from sprintcache._label_schemes import ParsedAllophone, parse_allophone
from sprintcache.allophones import AllophoneLabeling
from sprintcache.errors import SegmentationError

if TYPE_CHECKING:
    from sprintcache.alignment import Alignment, OnMismatch

__all__ = ["SILENCE", "Allophone", "AllophoneNames"]

SILENCE = "[SILENCE]"
BOUNDARY = "#"


class Allophone(ParsedAllophone):
    """The parts of an allophone; without contexts, `left` and `right` are empty."""

    __slots__ = ()

    @property
    def symbol(self) -> str:
        """The allophone as Sprint writes it; the phone alone if its contexts are unknown."""
        if not (self.left and self.right):
            return self.phone
        flags = f"{'@i' * self.initial}{'@f' * self.final}"
        return f"{self.phone}{{{self.left}+{self.right}}}{flags}"

    @classmethod
    def parse(cls, symbol: str) -> Allophone:
        """Returns the parts of a symbol.

        Raises:
            SegmentationError: if the symbol is not of the form ``phone{left+right}@i@f``.
        """
        return _parse(symbol)


@lru_cache(maxsize=1 << 16)
def _parse(symbol: str) -> Allophone:
    parts = parse_allophone(symbol)
    if parts is None:
        raise SegmentationError(
            "symbol of an allophone", expected="phone{left+right}@i@f", found=repr(symbol)
        )
    return Allophone(*parts)


class AllophoneNames:
    """Symbols of allophone-state ids, from a labeling, a list, or the alignment's alphabet.

    Args:
        source: a labeling, the allophones in index order, or None for the alignments' alphabets.
        silence: center phone of silence; None: that of the labeling, or ``"[SILENCE]"``.
        on_alphabet_mismatch: if an alphabet contradicts the allophones: "error", "map" (by symbol)
            or "ignore" (use the ids).

    Raises:
        TypeError: `source` is a str.
    """

    def __init__(
        self,
        source: AllophoneLabeling | Sequence[str] | None,
        silence: str | None = None,
        on_alphabet_mismatch: OnMismatch = "error",
    ) -> None:
        self.labeling = source if isinstance(source, AllophoneLabeling) else None
        self.allophones: Sequence[str] | None
        self.allophones = source.allophones if isinstance(source, AllophoneLabeling) else source
        if isinstance(self.allophones, str):
            raise TypeError("allophones must be a labeling or the allophones in index order")
        if silence is None:
            silence = SILENCE
            if self.labeling is not None and self.labeling.sil_allo_state_id is not None:
                index, _ = states.split(self.labeling.sil_allo_state_id)
                silence = Allophone.parse(self.labeling.allophones[index]).phone
        self.silence = silence
        self._on_mismatch = on_alphabet_mismatch

    def of(self, alignment: Alignment, ids: Sequence[int]) -> dict[int, tuple[Allophone, int]]:
        """Returns the allophone and state of each of some ids of an alignment.

        Raises:
            SegmentationError: if an id has no symbol, or the alphabets contradict each other.
        """
        allophones = self.allophones
        if alignment.alphabet is not None and self._on_mismatch == "map":
            allophones = None
        elif self._on_mismatch == "error":
            contradiction = states.contradiction(alignment.alphabet, allophones)
            if contradiction:
                raise SegmentationError(contradiction)
        return {id_: _named(id_, states.symbol(id_, allophones, alignment.alphabet)) for id_ in ids}


def _named(id_: int, symbol: str) -> tuple[Allophone, int]:
    allophone, _, state = symbol.rpartition(".")
    if "{" not in symbol or not state.isdecimal():
        raise SegmentationError(
            f"state id {id_} has no symbol: an allophone file or an alphabet is needed",
            found=symbol,
        )
    return Allophone.parse(allophone), int(state)
