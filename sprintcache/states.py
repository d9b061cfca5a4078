"""Allophone-state ids in words: symbols, labels, contradictions of alphabets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .alignment import ALLOPHONE_MASK, STATE_MASK, STATE_SHIFT

if TYPE_CHECKING:
    from .allophones import AllophoneLabeling

__all__ = ["Names", "StateNames", "contradiction", "split", "symbol"]


@dataclass(frozen=True)
class StateNames:
    """Names of states: the allophones in index order, and a labeling; either may be None."""

    allophones: Sequence[str] | None = None
    labeling: AllophoneLabeling | None = None


Names = StateNames  # the public name before


def split(id_: int) -> tuple[int, int]:
    """Allophone index and HMM state of an id."""
    return id_ & ALLOPHONE_MASK, (id_ & STATE_MASK) >> STATE_SHIFT


def symbol(
    id_: int, allophones: Sequence[str] | None, alphabet: Mapping[int, str] | None = None
) -> str:
    """``a{b+c}@i.1``: by the allophones, else by the alphabet, else by numbers."""
    index, state = split(id_)
    if id_ != index | state << STATE_SHIFT:
        return f"0x{id_:08x} (no state)"
    if allophones is not None and index < len(allophones):
        return f"{allophones[index]}.{state}"
    if alphabet is not None and id_ in alphabet:
        return alphabet[id_]
    return f"allophone {index} state {state}"


def contradiction(alphabet: Mapping[int, str] | None, allophones: Sequence[str] | None) -> str:
    """The first difference of an alphabet from the allophone file in words; "" if they agree."""
    if alphabet is None or allophones is None:
        return ""
    for id_, stored in alphabet.items():
        expected = symbol(id_, allophones)
        if stored != expected:
            return (
                f"the alphabet contradicts the allophone file at id {id_}:"
                f" expected {expected}, found {stored}"
            )
    return ""
