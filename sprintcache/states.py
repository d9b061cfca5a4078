"""Allophone-state ids as people read them: their symbols, their labels, who contradicts whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .alignment import ALLOPHONE_MASK, STATE_MASK, STATE_SHIFT

if TYPE_CHECKING:
    from .allophones import AllophoneLabeling

__all__ = ["Names", "contradiction", "split", "symbol"]


@dataclass(frozen=True)
class Names:
    """What is known of states: the allophones in index order and a labeling, where there are."""

    allophones: Sequence[str] | None = None
    labeling: AllophoneLabeling | None = None


def split(id_: int) -> tuple[int, int]:
    """Allophone index and HMM state of an id."""
    return id_ & ALLOPHONE_MASK, (id_ & STATE_MASK) >> STATE_SHIFT


def symbol(
    id_: int, allophones: Sequence[str] | None, alphabet: Mapping[int, str] | None = None
) -> str:
    """``a{b+c}@i.1``: by the allophones, else by the alphabet, else the bare numbers."""
    index, state = split(id_)
    if id_ != index | state << STATE_SHIFT:
        return f"0x{id_:08x} (no state)"
    if allophones is not None and index < len(allophones):
        return f"{allophones[index]}.{state}"
    if alphabet is not None and id_ in alphabet:
        return alphabet[id_]
    return f"allophone {index} state {state}"


def contradiction(alphabet: Mapping[int, str] | None, allophones: Sequence[str] | None) -> str:
    """Where an alignment's alphabet and the allophone file differ first; "" if they agree."""
    if alphabet is None or allophones is None:
        return ""
    for id_, found in alphabet.items():
        expected = symbol(id_, allophones)
        if found != expected:
            return (
                f"the alphabet contradicts the allophone file at id {id_}:"
                f" expected {expected}, found {found}"
            )
    return ""
