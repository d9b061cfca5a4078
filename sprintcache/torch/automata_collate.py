"""AutomataCollate: automata of each batch, made in the workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from sprintcache.automata import Automata, from_padded

from .batch import PaddedTensors, collate

__all__ = ["AutomataBatch", "AutomataCollate"]

_Tags = Callable[[Any], Sequence[str]]


class AutomataBatch(NamedTuple):
    """A batch and the automata of its sequences.

    Attributes:
        batch: what the other collate function returned, a `Batch` by default.
        automata: automata in the order of the batch, on the CPU, as `full_sum_loss` accepts them.
    """

    batch: Any
    automata: Automata

    def to(self, device: Any, non_blocking: bool = False) -> AutomataBatch:
        """Returns the batch on another device; automata stay on the CPU."""
        return self._replace(batch=self.batch.to(device, non_blocking=non_blocking))


class AutomataCollate:
    """A `collate_fn` that adds automata, built ahead by the workers of a DataLoader.

    >>> loader = DataLoader(
    ...     dataset, batch_sampler=sampler, num_workers=2, collate_fn=AutomataCollate(builder)
    ... )  # doctest: +SKIP
    >>> for batch, automata in loader:  # doctest: +SKIP
    ...     loss = full_sum_loss(model(batch.data["data"]), lengths, automata)
    """

    def __init__(
        self,
        source: Automata | Callable[[Sequence[str]], Automata] | str,
        collate_fn: Callable[[Any], Any] = collate,
        tags: str | _Tags = "tags",
        keep_names: bool = False,
    ) -> None:
        """Calls nothing yet.

        Args:
            source: `Automata`, such as a file of a corpus, from which sequences are taken by tag;
                or a function of tags that returns automata: ``build_segments`` of a builder,
                `sprint_ctl.automata.PoolAutomata`, `LibrasrAutomata`; or the data key of type
                "automaton" of the dataset, whose arrays are then removed from the batch.
            collate_fn: makes the batch of what the dataset returns.
            tags: attribute or key of the batch that has the tags, or a function that returns them.
            keep_names: whether automata keep allophone states and words, which a loss does not need
                and which make what a worker sends larger.
        """
        self.source = source
        self.collate_fn = collate_fn
        self.tags = tags
        self.keep_names = keep_names

    def __call__(self, items: Any) -> AutomataBatch:
        """Returns the batch with its automata.

        Raises:
            KeyError: for a tag that a file of automata does not have.
            AutomatonError: for an automaton that cannot be built.
        """
        batch = self.collate_fn(items)
        tags = list(self._tags_of(batch))
        if isinstance(self.source, str):
            return _from_arrays(batch, self.source, tags)
        automata = self.source[tags] if isinstance(self.source, Automata) else self.source(tags)
        if not self.keep_names:
            automata = Automata(
                automata.edges, automata.weights, automata.start_end, tags=automata.tags or tags
            )
        return AutomataBatch(batch, automata)

    def _tags_of(self, batch: Any) -> Sequence[str]:
        if callable(self.tags):
            return self.tags(batch)
        if isinstance(batch, dict):
            tags: Sequence[str] = batch[self.tags]
            return tags
        tags = attrgetter(self.tags)(batch)
        return tags


def _from_arrays(batch: Any, key: str, tags: Sequence[str]) -> AutomataBatch:
    """Moves the arrays of a data key out of a batch."""
    keys = key, f"{key}[weights]", f"{key}[start_end]"
    data, lengths = dict(batch.data), dict(batch.lengths)
    edges, weights, start_end = (data.pop(name) for name in keys)
    num_edges, *_ = (lengths.pop(name) for name in keys)
    automata = from_padded(edges, weights, start_end, num_edges, tags)
    return AutomataBatch(batch._replace(data=PaddedTensors(data), lengths=lengths), automata)
