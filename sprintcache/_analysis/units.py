"""Units: what the items of alignments are counted as, each with a number and a name.

With a labeling these are its labels. Without, they are states by their symbols, taken from the
allophone file or from the alignments' own alphabets; where there is neither, and for emission ids,
they are the ids. Safe to use from several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np

from sprintcache import states
from sprintcache.errors import LabelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import Alignment
    from sprintcache.allophones import AllophoneLabeling

__all__ = ["Units", "centre", "label_names"]


class _Numbering:
    """Numbers for names, in the order in which they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._lock = Lock()

    def of(self, name: str) -> int:
        with self._lock:
            number = self._numbers.setdefault(name, len(self.names))
            if number == len(self.names):
                self.names.append(name)
            return number


class Units:
    """Numbers and names of units.

    Args:
        labeling: count labels; None: states.
        allophones: symbols of the states in index order; None: those of the labeling, if any.
        on_alphabet_mismatch: where an alignment's alphabet contradicts the allophones: "error",
            "map" (by symbol) or "ignore" (take the ids as they are).

    Attributes:
        kind: "label" or "state".
        has_allophones: whether symbols of the states are known without the alignments' alphabets.
    """

    def __init__(
        self,
        labeling: AllophoneLabeling | None = None,
        allophones: Sequence[str] | None = None,
        on_alphabet_mismatch: Literal["error", "map", "ignore"] = "error",
    ) -> None:
        self.labeling = labeling
        self.kind = "state" if labeling is None else "label"
        self._allophones = labeling.allophones if labeling is not None else allophones
        self.has_allophones = self._allophones is not None
        self._on_mismatch = on_alphabet_mismatch
        self._symbols = _Numbering()
        self._phones = _Numbering()
        self._phone_table: NDArray[np.int64] | None = None
        self._labels = [] if labeling is None else label_names(labeling)

    def numbers(self, alignment: Alignment) -> NDArray[np.int64]:
        """(N,) int64: the unit of each item.

        Raises:
            LabelError: if the alphabets contradict each other, or a state has no label.
        """
        if self.labeling is not None:
            return self.labeling.item_labels(alignment, self._on_mismatch).astype(np.int64)
        if alignment.label_type == "allophone-state" and self._on_mismatch == "error":
            contradiction = states.contradiction(alignment.alphabet, self._allophones)
            if contradiction:
                raise LabelError(contradiction)
        ids, places = np.unique(alignment.emission, return_inverse=True)
        symbols = self._symbols_of(alignment, ids)
        return np.array([self._symbols.of(symbol) for symbol in symbols], np.int64)[places]

    def phones(self, alignment: Alignment) -> NDArray[np.int64]:
        """(N,) int64: a number for the centre phone of each item; -1 where it has no symbol.

        Alphabets are not checked; `numbers` does that.
        """
        if alignment.label_type == "emission":
            return np.full(len(alignment), -1, np.int64)
        if self._maps(alignment) or self._allophones is None:
            ids, places = np.unique(alignment.emission, return_inverse=True)
            symbols = self._symbols_of(alignment, ids)
            phones = [self._phones.of(centre(text)) if "{" in text else -1 for text in symbols]
            return np.array(phones, np.int64)[places]
        if self._phone_table is None:
            table = [self._phones.of(centre(symbol)) for symbol in self._allophones]
            self._phone_table = np.array([*table, -1], np.int64)
        return self._phone_table[np.minimum(alignment.allophone, len(self._phone_table) - 1)]

    def _maps(self, alignment: Alignment) -> bool:
        """Whether the alignment's own alphabet says what its ids are."""
        return alignment.alphabet is not None and self._on_mismatch == "map"

    def _symbols_of(self, alignment: Alignment, ids: NDArray[np.uint32]) -> list[str]:
        """The symbol of each id, by the allophones, else by the alphabet."""
        if alignment.label_type == "emission":
            return [str(id_) for id_ in ids.tolist()]
        allophones = None if self._maps(alignment) else self._allophones
        return [states.symbol(id_, allophones, alignment.alphabet) for id_ in ids.tolist()]

    def name(self, number: int) -> str:
        """A label with its states, such as ``7 (a.0)``; the symbol of a state; an id."""
        if self.labeling is None:
            return self._symbols.names[number]
        known = 0 <= number < len(self._labels)
        return f"{number} ({self._labels[number]})" if known else str(number)

    def phone(self, number: int) -> str:
        """The name of a centre phone."""
        return self._phones.names[number]


def centre(symbol: str) -> str:
    """The centre phone of an allophone or of a state: ``a`` of ``a{b+c}@i.1``."""
    return symbol.partition("{")[0]


def label_names(labeling: AllophoneLabeling) -> list[str]:
    """What each label stands for.

    ``a.1`` where all its states are this one of this phone, ``a`` where only the phone is common;
    else its first state and how many more there are; ``no state`` where there is none.
    """
    table = labeling.table.table
    of_label: list[list[tuple[int, int]]] = [[] for _ in range(labeling.num_labels)]
    for state, index in np.argwhere(table >= 0).tolist():
        of_label[int(table[state, index])].append((state, index))
    return [_label_name(tied, labeling.allophones) for tied in of_label]


def _label_name(tied: list[tuple[int, int]], allophones: Sequence[str]) -> str:
    if not tied:
        return "no state"
    phones = {centre(allophones[index]) for _, index in tied}
    numbers = {state for state, _ in tied}
    alone = len(tied) == 1 and "{#+#}" not in allophones[tied[0][1]]
    if alone or len(phones) > 1:
        state, index = tied[0]
        more = f" and {len(tied) - 1} more" if len(tied) > 1 else ""
        return f"{allophones[index]}.{state}{more}"
    return min(phones) + (f".{min(numbers)}" if len(numbers) == 1 else "")
