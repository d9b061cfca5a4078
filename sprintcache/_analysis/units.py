"""Units that items of alignments are counted by, each with a number and a name.

With a labeling these are its labels. Without one, they are states by their symbols, taken from the
allophone file or from the alphabets of the alignments; without symbols, and for emission ids, they
are the ids. Thread-safe.
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

__all__ = ["Units", "center", "label_names", "tied_labels"]


class _Numbering:
    """Numbers of names, in the order of their first use."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._lock = Lock()

    def number(self, name: str) -> int:
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
        on_alphabet_mismatch: if an alignment's alphabet contradicts the allophones: "error",
            "map" (by symbol) or "ignore" (use the ids unchanged).

    Attributes:
        kind: "label" or "state".
        has_allophones: whether symbols of states are known without the alignments' alphabets.
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
        self._label_names = {} if labeling is None else label_names(labeling)

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
        ids, indices = np.unique(alignment.emission, return_inverse=True)
        symbols = self._symbols_of(alignment, ids)
        return np.array([self._symbols.number(symbol) for symbol in symbols], np.int64)[indices]

    def phones(self, alignment: Alignment) -> NDArray[np.int64]:
        """(N,) int64: the number of each item's center phone; -1 without a symbol.

        Alphabets are checked by `numbers` only.
        """
        if alignment.label_type == "emission":
            return np.full(len(alignment), -1, np.int64)
        if self._maps(alignment) or self._allophones is None:
            ids, indices = np.unique(alignment.emission, return_inverse=True)
            symbols = self._symbols_of(alignment, ids)
            phones = [self._phones.number(center(text)) if "{" in text else -1 for text in symbols]
            return np.array(phones, np.int64)[indices]
        if self._phone_table is None:
            table = [self._phones.number(center(symbol)) for symbol in self._allophones]
            self._phone_table = np.array([*table, -1], np.int64)
        return self._phone_table[np.minimum(alignment.allophone, len(self._phone_table) - 1)]

    def _maps(self, alignment: Alignment) -> bool:
        """Whether ids are named by the alignment's alphabet."""
        return alignment.alphabet is not None and self._on_mismatch == "map"

    def _symbols_of(self, alignment: Alignment, ids: NDArray[np.uint32]) -> list[str]:
        """The symbol of each id, from the allophones or else from the alphabet."""
        if alignment.label_type == "emission":
            return [str(id_) for id_ in ids.tolist()]
        allophones = None if self._maps(alignment) else self._allophones
        return [states.symbol(id_, allophones, alignment.alphabet) for id_ in ids.tolist()]

    def name(self, number: int) -> str:
        """A label with its states, such as ``7 (a.0)``; the symbol of a state; an id."""
        if self.labeling is None:
            return self._symbols.names[number]
        if not 0 <= number < self.labeling.num_labels:
            return str(number)
        return f"{number} ({self._label_names.get(number, 'no state')})"

    def phone(self, number: int) -> str:
        """The name of a center phone."""
        return self._phones.names[number]


def center(symbol: str) -> str:
    """The center phone of an allophone or of a state: ``a`` of ``a{b+c}@i.1``."""
    return symbol.partition("{")[0]


def tied_labels(labeling: AllophoneLabeling) -> NDArray[np.int64]:
    """(K,) int64, the labels of at least one state, ascending."""
    table = labeling.table.table
    return np.unique(table[table >= 0]).astype(np.int64)


def label_names(labeling: AllophoneLabeling) -> dict[int, str]:
    """Names of the labels that have states.

    ``a.1`` if all states of the label are this one of this phone, ``a`` if they share only the
    phone; otherwise the first state and the number of further ones.
    """
    table = labeling.table.table
    states_of_label: dict[int, list[tuple[int, int]]] = {}
    for state, index in np.argwhere(table >= 0).tolist():
        states_of_label.setdefault(int(table[state, index]), []).append((state, index))
    return {
        label: _label_name(tied, labeling.allophones) for label, tied in states_of_label.items()
    }


def _label_name(tied: list[tuple[int, int]], allophones: Sequence[str]) -> str:
    phones = {center(allophones[index]) for _, index in tied}
    state_numbers = {state for state, _ in tied}
    is_single = len(tied) == 1 and "{#+#}" not in allophones[tied[0][1]]
    if is_single or len(phones) > 1:
        state, index = tied[0]
        more = f" and {len(tied) - 1} more" if len(tied) > 1 else ""
        return f"{allophones[index]}.{state}{more}"
    return min(phones) + (f".{min(state_numbers)}" if len(state_numbers) == 1 else "")
