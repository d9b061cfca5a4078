"""EmissionMatcher: phones and words of alignments of emission ids, by inverting the state tying."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sprintcache.errors import SegmentationError

from .allophone import Allophone, AllophoneNames
from .matching import Match, match
from .readings import Arc, LexiconIndex, Node, Readings
from .runs import Run, phones_of, spans_of, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EmissionMatcher", "EmissionReadings"]

_UNKNOWN = Allophone("", "", "", False, False)


class EmissionMatcher:
    """The allophones of each emission id.

    Args:
        names: allophones with a labeling.

    Attributes:
        num_states: states per phone in the tying.

    Raises:
        SegmentationError: the names have no labeling.
    """

    def __init__(self, names: AllophoneNames) -> None:
        labeling = names.labeling
        if labeling is None:
            raise SegmentationError("an alignment of emission ids needs a labeling")
        self.names = names
        self.table: NDArray[np.int32] = labeling.table.table
        self.num_states = len(self.table)
        self._index = labeling.allophones_idx
        self._groups: dict[tuple[str, bool, bool], list[tuple[str, str, int]]] = {}
        self._allophones = [Allophone.parse(symbol) for symbol in labeling.allophones]
        for index, (phone, left, right, initial, final) in enumerate(self._allophones):
            self._groups.setdefault((phone, initial, final), []).append((left, right, index))
        self._labels: dict[tuple[Allophone, int], frozenset[int]] = {}
        self._inverse: dict[int, tuple[Allophone, int, bool]] = {}

    def labels(self, pattern: Allophone, state: int) -> frozenset[int]:
        """Returns the labels of a state of all allophones of a pattern; "" is any context."""
        key = pattern, state
        if key not in self._labels:
            phone, left, right, initial, final = pattern
            if left and right:
                indices = [self._index.get(pattern.symbol, -1)]
            else:
                indices = [
                    index
                    for other_left, other_right, index in self._groups.get(
                        (phone, initial, final), ()
                    )
                    if left in ("", other_left) and right in ("", other_right)
                ]
            labels = {int(self.table[state, index]) for index in indices if index >= 0}
            self._labels[key] = frozenset(labels - {-1})
        return self._labels[key]

    def has_label(self, allophone: Allophone, state: int, label: int) -> bool:
        """Whether a state of an allophone has this label."""
        index = self._index.get(allophone.symbol)
        return index is not None and int(self.table[state, index]) == label

    def phones(self, emission: NDArray[np.uint32]) -> Match:
        """Returns the phones of labels without an orthography; words if labels mark their ends.

        Raises:
            SegmentationError: if the states of a label have different center phones.
        """
        runs = []
        has_words = True
        for label, start, end in spans_of(emission):
            allophone, state, is_certain = self._of_label(label)
            has_words &= is_certain
            runs.append(Run(allophone, state, start, end))
        phones = phones_of(runs)
        return Match(phones, words_of(phones, self.names.silence) if has_words else [])

    def _of_label(self, label: int) -> tuple[Allophone, int, bool]:
        """The allophone and state of a label, contexts unknown.

        The last value is whether all its allophones end a word, or none of them.
        """
        if label not in self._inverse:
            self._inverse[label] = self._common(label)
        return self._inverse[label]

    def _common(self, label: int) -> tuple[Allophone, int, bool]:
        where = np.argwhere(self.table == label).tolist()
        states = {state for state, _ in where}
        allophones = [self._allophones[index] for _, index in where]
        phones = {allophone.phone for allophone in allophones}
        if len(phones) != 1:
            raise SegmentationError(
                f"label {label} has {len(phones)} phones: give orthography and lexicon",
                expected="one phone", found=", ".join(sorted(phones)[:5]) or "none",
            )  # fmt: skip
        initial = all(allophone.initial for allophone in allophones)
        finals = {allophone.final for allophone in allophones}
        state = min(states) if len(states) == 1 else 0
        return Allophone(phones.pop(), "", "", initial, min(finals)), state, len(finals) == 1

    def match(
        self, emission: NDArray[np.uint32], readings: Readings, first_of_several: bool
    ) -> Match:
        """Returns the one reading that the labels follow; see `matching.match`."""
        runs = [Run(_UNKNOWN, *span) for span in spans_of(emission)]  # a label in place of a state
        reading = match(runs, readings, first_of_several)
        self._add_contexts(reading, emission)
        return reading

    def readings(self, orthography: str, index: LexiconIndex) -> EmissionReadings:
        """Returns the acceptor of an orthography that emits labels."""
        return EmissionReadings(orthography, index, self)

    def _add_contexts(self, reading: Match, emission: NDArray[np.uint32]) -> None:
        """Replaces each allophone by that with the contexts of its neighbors, or with ``#``."""
        phones = reading.phones
        without = [phone.allophone.left == "#" for phone in phones]  # silence, noises
        for index, phone in enumerate(phones):
            if without[index]:
                continue
            neighbors = [
                "#" if not 0 <= neighbor < len(phones) or without[neighbor]
                else phones[neighbor].allophone.phone
                for neighbor in (index - 1, index + 1)
            ]  # fmt: skip
            center = phone.allophone
            variants = [center._replace(left=neighbors[0], right=neighbors[1])]
            if center.initial:
                variants.append(variants[0]._replace(left="#"))
            if center.final:
                variants += [variant._replace(right="#") for variant in list(variants)]
            for variant in variants:
                if all(
                    self.has_label(variant, run.state, int(emission[run.start]))
                    for run in phone.states
                ):
                    phone.allophone = variant
                    phone.states = [run._replace(allophone=variant) for run in phone.states]
                    break


class EmissionReadings(Readings):
    """The acceptor of an orthography for labels: a run's `state` is its label."""

    def __init__(self, orthography: str, index: LexiconIndex, matcher: EmissionMatcher) -> None:
        self._matcher = matcher
        super().__init__(orthography, index, matcher.num_states)

    def emits(self, node: Node, run: Run) -> bool:
        arc, position = node
        phone, state = divmod(position, arc.states)
        return run.state in self._matcher.labels(_pattern(arc, phone), state)

    def may_follow(self, node: Node, after: Node, left: Allophone, right: Allophone) -> bool:
        return True

    def may_begin(self, node: Node, run: Run) -> bool:
        return self.emits(node, run)

    def may_end(self, node: Node, run: Run) -> bool:
        return self.is_last(node)

    def named(self, node: Node, run: Run) -> Run:
        arc, position = node
        phone, state = divmod(position, arc.states)
        return run._replace(allophone=_pattern(arc, phone), state=state)


def _pattern(arc: Arc, phone: int) -> Allophone:
    """The allophone of a phone of an arc; contexts outside the word are ""."""
    left, right = arc.contexts[phone]
    return Allophone(
        arc.phones[phone], left or "", right or "", phone == 0, phone == len(arc.phones) - 1
    )
