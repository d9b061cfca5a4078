"""Automata: a batch of weighted automata, one per sequence, as arrays of edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.errors import AutomatonError

from .words import EdgeWords

if TYPE_CHECKING:
    import os

    from .checks import Finding
    from .full_sum import FullSum

__all__ = ["Automata"]

FROM, TO, LABEL, SEQUENCE = range(4)


class Automata:
    """A batch of automata without epsilon edges, one per sequence.

    An edge consumes one frame. States are numbered across the batch: those of a sequence are below
    those of the next one. Edges are grouped by sequence. Arrays are shared, not copied; treat them
    as read-only.

    The constructor trusts its arguments; `from_edges` checks them.

    Attributes:
        edges: (4, E) uint32, rows: from state, to state, label, sequence.
        weights: (E,) float32, negative natural logarithms; inf for a forbidden edge.
        start_end: (2, B) uint32, start and end state of each sequence.
        states: (E,) uint32, allophone state of each edge as index into `state_symbols`, or None.
        state_symbols: (S,) symbols of allophone states such as ``a{b+c}@i.0``, or None.
        words: candidate words of each edge, or None.
        tags: names of the sequences, or None.
    """

    def __init__(
        self,
        edges: Any,
        weights: Any,
        start_end: Any,
        states: Any = None,
        state_symbols: Sequence[str] | None = None,
        words: EdgeWords | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        self.edges = edges
        self.weights = weights
        self.start_end = start_end
        self.states = states
        self.state_symbols = state_symbols
        self.words = words
        self.tags = None if tags is None else tuple(tags)
        self._index: dict[str, int] | None = None
        self._offsets: Any = None
        self._num_labels: int | None = None
        self._ranges: Any = None

    @classmethod
    def from_edges(
        cls,
        edges: Any,
        weights: Any,
        start_end: Any,
        states: Any = None,
        state_symbols: Sequence[str] | None = None,
        words: EdgeWords | None = None,
        tags: Sequence[str] | None = None,
    ) -> Automata:
        """Makes automata from arrays and checks them.

        Edges may come in any order; they are grouped by sequence, otherwise their order is kept.
        Tensors on the CPU and lists are accepted as well.

        Args:
            edges: (4, E) integers, rows: from state, to state, label, sequence.
            weights: (E,) floats, negative natural logarithms.
            start_end: (2, B) integers, start and end state of each sequence.
            states: (E,) integers, allophone state of each edge, as index into `state_symbols`.
            state_symbols: symbols of the allophone states.
            words: candidate words of each edge.
            tags: B names of sequences.

        Raises:
            TypeError: for arrays of another kind of numbers.
            ValueError: for shapes that do not match.
            AutomatonError: for a sequence number without start and end state, states shared by
                two sequences, NaN or -inf as weight. It names the edge and the sequence.
        """
        edges = _integers("edges", edges, (4, None))
        start_end = _integers("start_end", start_end, (2, None))
        num_edges = edges.shape[1]
        weights = _weights(weights, num_edges)
        if states is not None:
            states = _integers("states", states, (num_edges,))
            if state_symbols is not None and states.size and states.max() >= len(state_symbols):
                raise ValueError(
                    f"states must be below the {len(state_symbols)} state symbols,"
                    f" not {states.max()}"
                )
        if words is not None and len(words) != num_edges:
            raise ValueError(f"words must be those of {num_edges} edges, not of {len(words)}")
        if tags is not None and len(tags) != start_end.shape[1]:
            raise ValueError(f"{start_end.shape[1]} sequences, but {len(tags)} tags")
        names = None if tags is None else [str(tag) for tag in tags]
        automata = cls(edges, weights, start_end, states, state_symbols, words, names)
        automata._check_sequences()
        if num_edges and (np.diff(edges[SEQUENCE].astype(np.int64)) < 0).any():
            automata = automata._reordered(np.argsort(edges[SEQUENCE], kind="stable"))
        automata._check_states()
        return automata

    # ---- sizes

    def __len__(self) -> int:
        return int(self.start_end.shape[1])

    def __repr__(self) -> str:
        return f"Automata({len(self)} sequences, {self.num_edges} edges)"

    @property
    def num_edges(self) -> int:
        """Number of edges of the whole batch."""
        return int(self.edges.shape[1])

    @property
    def num_labels(self) -> int:
        """Number of labels the edges need, that is, the largest label plus 1; 0 without edges."""
        if self._num_labels is None:
            self._num_labels = int(self.edges[LABEL].max()) + 1 if self.num_edges else 0
        return self._num_labels

    @property
    def edge_offsets(self) -> Any:
        """(B + 1,) int64, edges of sequence i are those from offset i to offset i + 1."""
        if self._offsets is None:
            sequences = np.arange(len(self) + 1, dtype=np.uint32)
            self._offsets = np.searchsorted(self.edges[SEQUENCE], sequences).astype(np.int64)
        return self._offsets

    @property
    def state_ranges(self) -> Any:
        """(2, B) int64, the lowest and the highest state of each sequence."""
        if self._ranges is None:
            ends = self.start_end.astype(np.int64)
            low, high = ends.min(0), ends.max(0)
            sequences = self.edges[SEQUENCE]
            for row in (FROM, TO):
                states = self.edges[row].astype(np.int64)
                np.minimum.at(low, sequences, states)
                np.maximum.at(high, sequences, states)
            self._ranges = np.stack([low, high])
        return self._ranges

    # ---- parts and joins

    def __getitem__(self, key: int | str | slice | Sequence[int] | Sequence[str]) -> Automata:
        """Returns the automata of some sequences, in the order asked for.

        Args:
            key: a number, a tag, a slice, or a sequence of numbers or of tags.

        Raises:
            IndexError: for a number out of range.
            KeyError: for an unknown tag.
        """
        if isinstance(key, slice):
            return self._take(range(*key.indices(len(self))))
        if isinstance(key, str) or np.ndim(key) == 0:
            return self._take([self._number(key)])
        return self._take([self._number(item) for item in key])  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[Automata]:
        return (self._take([number]) for number in range(len(self)))

    @staticmethod
    def concatenate(parts: Sequence[Automata]) -> Automata:
        """Returns all sequences of some automata as one batch.

        States, words and tags are kept where all parts have them.

        Raises:
            ValueError: without parts, or if the states exceed 32 bits.
        """
        parts = list(parts)
        if not parts:
            raise ValueError("concatenate needs at least one Automata")
        if len(parts) == 1:
            return parts[0]
        edges, start_end = [], []
        next_state = next_sequence = 0
        for part in parts:
            ranges = part.state_ranges
            lowest = int(ranges[0].min()) if len(part) else 0
            shift = next_state - lowest
            shifted = part.edges.astype(np.int64)
            shifted[:2] += shift
            shifted[SEQUENCE] += next_sequence
            edges.append(shifted)
            start_end.append(part.start_end.astype(np.int64) + shift)
            next_sequence += len(part)
            next_state = int(ranges[1].max()) + shift + 1 if len(part) else next_state
        if next_state > 1 << 32:
            raise ValueError(f"{next_state} states do not fit into 32 bits")
        states, state_symbols = _joined_states(parts)
        words = [part.words for part in parts if part.words is not None]
        tags = [part.tags for part in parts if part.tags is not None]
        return Automata(
            np.concatenate(edges, axis=1).astype(np.uint32),
            np.concatenate([part.weights for part in parts]),
            np.concatenate(start_end, axis=1).astype(np.uint32),
            states,
            state_symbols,
            EdgeWords.concatenate(words) if len(words) == len(parts) else None,
            [tag for names in tags for tag in names] if len(tags) == len(parts) else None,
        )

    def __mul__(self, scale: float) -> Automata:
        """Returns the same automata with all weights multiplied.

        Forbidden edges, of weight inf or the largest float32, stay forbidden for any scale above 0.

        Raises:
            TypeError: for a scale that is not a number.
        """
        if not isinstance(scale, (int, float, np.floating, np.integer)):
            return NotImplemented
        with np.errstate(invalid="ignore", over="ignore"):
            weights = self.weights * np.float32(scale)
        if scale > 0:
            weights[self.weights == np.finfo(np.float32).max] = np.inf
        elif scale == 0:
            weights = np.zeros_like(self.weights)
        if np.isnan(weights).any() or (weights == -np.inf).any():
            raise ValueError(f"weights cannot be scaled by {scale}")
        return self._replace(weights=weights)

    __rmul__ = __mul__

    # ---- what to do with them

    def full_sum(
        self, log_probs: Any, lengths: Any, num_threads: int = 1, **options: Any
    ) -> FullSum:
        """Returns loss and posteriors of all paths; see `sprintcache.automata.full_sum.full_sum`.

        Args:
            log_probs: (T, B, L) natural logarithms.
            lengths: (B,) frames of each sequence.
            num_threads: threads to share the sequences.
            options: keyword arguments of `sprintcache.automata.full_sum.full_sum`.
        """
        from .full_sum import full_sum

        return full_sum(self, log_probs, lengths, num_threads, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all automata into one file; see `sprintcache.automata.storage.save`.

        Raises:
            AutomatonError: if two sequences have one tag.
            OSError: if the file cannot be written.
        """
        from .storage import save

        save(path, [self])

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Automata:
        """Returns the automata of a file, mapped into memory; sequences are read by tag or number.

        Raises:
            FormatError: if the file is damaged; a damaged sequence raises when it is read.
            OSError: if the file cannot be read.
        """
        from .storage import load

        return load(path)

    def check(self, lengths: Any = None, silence: int | None = None) -> list[Finding]:
        """Finds errors and suspicious structure; see `sprintcache.automata.checks.check`."""
        from .checks import check

        return check(self, lengths, silence)

    # ---- inside

    def _number(self, key: Any) -> int:
        if isinstance(key, str):
            if self._index is None:
                self._index = {tag: i for i, tag in reversed(list(enumerate(self.tags or ())))}
            return self._index[key]
        number = int(key)
        if not -len(self) <= number < len(self):
            raise IndexError(f"sequence {number} of {len(self)}")
        return number % len(self)

    def _take(self, numbers: Sequence[int]) -> Automata:
        offsets, ranges = self.edge_offsets, self.state_ranges
        spans = [slice(int(offsets[i]), int(offsets[i + 1])) for i in numbers]
        counts = [span.stop - span.start for span in spans]
        chosen = np.concatenate([np.arange(0), *(np.arange(s.start, s.stop) for s in spans)])
        chosen = chosen.astype(np.int64)
        order = np.array(list(numbers), np.int64)
        low = ranges[0, order]
        first = np.concatenate([[0], np.cumsum(ranges[1, order] - low + 1)]).astype(np.int64)
        if first[-1] > 1 << 32:
            raise ValueError(f"{first[-1]} states do not fit into 32 bits")
        edges = self.edges[:, chosen].astype(np.int64)
        edges[:2] += np.repeat(first[:-1] - low, counts)
        edges[SEQUENCE] = np.repeat(np.arange(len(order)), counts)
        return Automata(
            edges.astype(np.uint32),
            self.weights[chosen],
            (self.start_end[:, order].astype(np.int64) + first[:-1] - low).astype(np.uint32),
            None if self.states is None else self.states[chosen],
            self.state_symbols,
            None if self.words is None else self.words.select(chosen),
            None if self.tags is None else [self.tags[i] for i in numbers],
        )

    def _reordered(self, order: Any) -> Automata:
        return self._replace(
            edges=np.ascontiguousarray(self.edges[:, order]),
            weights=self.weights[order],
            states=None if self.states is None else self.states[order],
            words=None if self.words is None else self.words.select(order),
        )

    def _replace(self, **changes: Any) -> Automata:
        names = "edges", "weights", "start_end", "states", "state_symbols", "words", "tags"
        return Automata(**{**{name: getattr(self, name) for name in names}, **changes})

    def _name(self, sequence: int) -> str | None:
        return None if self.tags is None else self.tags[sequence]

    def _check_sequences(self) -> None:
        bad = np.flatnonzero(self.edges[SEQUENCE] >= len(self))
        if bad.size:
            raise AutomatonError(
                f"edge {bad[0]} belongs to a sequence without start and end state",
                expected=f"a sequence below {len(self)}",
                found=int(self.edges[SEQUENCE, bad[0]]),
            )
        bad = np.flatnonzero(np.isnan(self.weights) | (self.weights == -np.inf))
        if bad.size:
            raise AutomatonError(
                f"edge {bad[0]} has no valid weight",
                entry=self._name(int(self.edges[SEQUENCE, bad[0]])),
                expected="a number or inf",
                found=float(self.weights[bad[0]]),
            )

    def _check_states(self) -> None:
        low, high = self.state_ranges
        bad = np.flatnonzero(low[1:] <= high[:-1]) + 1
        if bad.size:
            sequence = int(bad[0])
            raise AutomatonError(
                f"states of sequence {sequence} are not above those of the one before;"
                " number states across the batch",
                entry=self._name(sequence),
                expected=f"states above {high[sequence - 1]}",
                found=int(low[sequence]),
            )


def _joined_states(parts: list[Automata]) -> tuple[Any, Sequence[str] | None]:
    """Returns states and symbols of all parts, with one table of symbols."""
    if any(part.states is None for part in parts):
        return None, None
    first = parts[0].state_symbols
    if all(part.state_symbols is first for part in parts):
        return np.concatenate([part.states for part in parts]), first
    if any(part.state_symbols is None for part in parts):
        return None, None
    known: dict[str, int] = {}
    states = []
    for part in parts:
        used, inverse = np.unique(part.states, return_inverse=True)
        symbols = [str(part.state_symbols[state]) for state in used.tolist()]  # type: ignore[index]
        numbers = [known.setdefault(symbol, len(known)) for symbol in symbols]
        states.append(np.array(numbers, np.uint32)[inverse])
    return np.concatenate(states), tuple(known)


def _integers(name: str, values: Any, shape: tuple[int | None, ...]) -> Any:
    """Returns a contiguous uint32 array of that shape; None is any size."""
    array = np.asarray(values)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.uint32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    fixed = [
        size if expected is None else expected for size, expected in zip_longest(array.shape, shape)
    ]
    if array.ndim != len(shape) or list(array.shape) != fixed:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), not {array.shape}")
    if array.size and (int(array.min()) < 0 or int(array.max()) > 0xFFFFFFFF):
        raise ValueError(f"{name} must be within 32 bits: {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, np.uint32)


def _weights(values: Any, num_edges: int) -> Any:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"weights must be numbers, not {array.dtype}")
    if array.shape != (num_edges,):
        raise ValueError(f"weights must have shape ({num_edges},), not {array.shape}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)
