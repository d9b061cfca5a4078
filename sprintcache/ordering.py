"""Ordering: which sequences an epoch has, and in what order.

A pure function of epoch, seed, lengths, partition and shard: no state, no files. The rules are
RETURNN's, so the same options and seed give the same order there and here:

* ``default``, ``reverse``: corpus order, or its reverse;
* ``default_every_n:N``: corpus order in N columns, read row by row; up to N - 1 sequences at the
  end are left out;
* ``sorted``, ``sorted_reverse``: by length, shortest or longest first, ties in corpus order;
* ``random``: a permutation;
* ``random_sample``: as many draws as sequences, with replacement;
* ``laplace:B``: a permutation cut into B bins, which are sorted alternately upwards and downwards,
  so neighbors have similar lengths; ``laplace:.N`` makes bins of about N sequences;
* ``sort_bin_shuffle:B`` (or ``:.N``): sorted, ties at random, cut into B bins, bins shuffled;
  ``sort_bin_shuffle_x2``: the sequences in each bin as well;
* a function: called as ``function(epoch=epoch)``, returns one of these rules.

``random:K`` and a second number, as in ``laplace:.N:K``, keep the permutation for K full epochs.
The generator is numpy's legacy ``RandomState``, whose streams numpy promises never to change.

Epochs count from 1, as in RETURNN. Epoch 0 exists for training loops that count from 0: it is the
last part of the full epoch before the first one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._checks import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    SeqOrdering = str | Callable[..., str]

__all__ = ["Ordering", "check_epoch", "part"]

_NUMBERS = (
    *("partition_epoch", "repeat_epoch", "fixed_random_seed"),
    *("random_seed_offset", "num_shards", "shard_index"),
)

_RULE = re.compile(
    "(?P<plain>default|reverse|sorted|sorted_reverse)"
    "|(?P<columns>default_every_n):(?P<num_columns>[0-9]+)"
    "|(?P<drawn>random|random_sample)(?::(?P<drawn_epochs>[0-9]+))?"
    r"|(?P<binned>laplace|sort_bin_shuffle|sort_bin_shuffle_x2)"
    r"(?::(?P<bins>\.?[0-9]+)(?::(?P<binned_epochs>[0-9]+))?)?"
)
_BY_LENGTH = ("sorted", "sorted_reverse", "laplace", "sort_bin_shuffle", "sort_bin_shuffle_x2")
_MAX_SEED = (1 << 32) - 1


class _Rule(NamedTuple):
    """A parsed `seq_ordering`: its name, its bins or columns as written, epochs per seed."""

    name: str
    number: str
    num_epochs: int


@dataclass(frozen=True)
class Ordering:
    """The options of an order; checked at construction, equal and hashable by value.

    Args:
        seq_ordering: one of the rules above, or a function that returns one.
        partition_epoch: an epoch is one of that many parts of the order, in turn; the order, and
            its seed, change after the last part.
        repeat_epoch: every sequence comes that many times in its epoch.
        fixed_random_seed: the seed of every epoch; None: the number of the full epoch.
        random_seed_offset: added to the seed unless that is fixed.
        num_shards, shard_index: each part is cut into that many contiguous shards; this is the
            index of the one to use. Shards are disjoint and complete, and differ by at most one
            sequence.
        unique_seqs: drops repeated sequences before parts are cut; only ``random_sample`` has any.

    Raises:
        ValueError: if an option is out of range or `seq_ordering` is not a rule.
        TypeError: if an option is not an integer, or `seq_ordering` neither str nor function.
    """

    seq_ordering: SeqOrdering = "default"
    partition_epoch: int = 1
    repeat_epoch: int = 1
    fixed_random_seed: int | None = None
    random_seed_offset: int = 0
    num_shards: int = 1
    shard_index: int = 0
    unique_seqs: bool = False

    def __post_init__(self) -> None:
        for name in _NUMBERS:  # of the same value: equal, with the same repr
            if getattr(self, name) is not None or name != "fixed_random_seed":
                object.__setattr__(self, name, integer(name, getattr(self, name)))
        for name in ("partition_epoch", "repeat_epoch", "num_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.shard_index < self.num_shards:
            raise ValueError(f"shard_index {self.shard_index} of {self.num_shards} shards")
        if not 0 <= (self.fixed_random_seed or 0) <= _MAX_SEED:
            raise ValueError(
                f"fixed_random_seed {self.fixed_random_seed} does not fit into 32 bits"
            )
        if not _is_function(self.seq_ordering):
            _parse(self.seq_ordering)

    @property
    def needs_lengths(self) -> bool:
        """Whether `order` may need lengths; always True for a function."""
        return _is_function(self.seq_ordering) or _parse(self.seq_ordering).name in _BY_LENGTH

    @property
    def description(self) -> str:
        """The options as text, the same in every process; a function by its qualified name."""
        rule: Any = self.seq_ordering
        if not isinstance(rule, str):
            rule = f"{getattr(rule, '__module__', '')}.{getattr(rule, '__qualname__', '')}"
        return repr((rule, *(getattr(self, name) for name in _NUMBERS), self.unique_seqs))

    def rule(self, epoch: int) -> str:
        """The rule of an epoch, as text.

        Raises:
            ValueError, TypeError: if a function returns anything but a rule, or as `check_epoch`.
        """
        if isinstance(self.seq_ordering, str):
            return self.seq_ordering
        text = self.seq_ordering(epoch=check_epoch(epoch))
        _parse(text)
        return text

    def seed(self, epoch: int) -> int:
        """Seed of an epoch: the same in all parts of a full epoch.

        Raises:
            ValueError, TypeError: the epoch is negative, or a function returns anything but a rule.
        """
        epoch = check_epoch(epoch)
        if self.fixed_random_seed is not None:
            return self.fixed_random_seed
        full = (epoch - 1) // self.partition_epoch
        return full // _parse(self.rule(epoch)).num_epochs + 1 + self.random_seed_offset

    def order(
        self, epoch: int, num_seqs: int, lengths: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """The sequences of an epoch.

        Args:
            epoch: counted from 1; see the module's documentation for 0.
            num_seqs: number of all sequences.
            lengths: (num_seqs,) length of each, if `needs_lengths`.

        Returns:
            (N,) int64 indices below `num_seqs`: over `partition_epoch` epochs and all shards each
            comes `repeat_epoch` times (but see ``random_sample`` and ``default_every_n``).

        Raises:
            ValueError: if the epoch is negative, or the lengths are missing or of another shape.
            TypeError: if the epoch is not an integer.
        """
        epoch = check_epoch(epoch)
        text = self.rule(epoch)
        rule = _parse(text)
        sizes: NDArray[Any] = np.zeros(0)
        if rule.name in _BY_LENGTH:
            sizes = np.asarray([] if lengths is None else lengths)
            if sizes.shape != (num_seqs,):
                raise ValueError(
                    f"seq_ordering {text!r} needs {num_seqs} lengths,"
                    f" got an array of shape {sizes.shape}"
                )
        order = _full_order(rule, num_seqs, self.seed(epoch) & _MAX_SEED, sizes)
        if self.unique_seqs and rule.name == "random_sample":
            order = order[np.sort(np.unique(order, return_index=True)[1])]
        parts = self.partition_epoch * self.num_shards
        index = (epoch - 1) % self.partition_epoch * self.num_shards + self.shard_index
        start, stop = part(len(order), parts, index)
        return np.tile(order[start:stop], self.repeat_epoch)


def check_epoch(epoch: Any) -> int:
    """The number of an epoch as an int; raises ValueError, TypeError for anything else."""
    number = integer("epoch", epoch)
    if number < 0:
        raise ValueError(f"epochs are counted from 1 (or 0), got {number}")
    return number


def part(total: int, parts: int, index: int) -> tuple[int, int]:
    """Start and end of one of `parts` contiguous parts of `total`; the first ones are one longer.

    >>> [part(7, 3, i) for i in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    size, longer = divmod(total, parts)
    start = index * size + min(index, longer)
    return start, start + size + (index < longer)


def _is_function(seq_ordering: object) -> bool:
    return callable(seq_ordering) and not isinstance(seq_ordering, (str, type))


def _parse(text: object) -> _Rule:
    if not isinstance(text, str):
        raise TypeError(f"seq_ordering must be a str or a function that returns one: {text!r:.80}")
    match = _RULE.fullmatch(text)
    values = {} if match is None else {k: v for k, v in match.groupdict().items() if v is not None}
    numbers = [values.get(key, "1").lstrip(".") for key in ("num_columns", "bins")]
    epochs = values.get("drawn_epochs") or values.get("binned_epochs") or "1"
    if match is None or not all(map(int, (*numbers, epochs))):
        raise ValueError(
            f"seq_ordering {text!r} is not one of default, reverse, default_every_n:N, sorted,"
            " sorted_reverse, random, random_sample, laplace:.N, laplace:N, sort_bin_shuffle:N,"
            " sort_bin_shuffle_x2:N"
        )
    name = next(values[key] for key in ("plain", "columns", "drawn", "binned") if key in values)
    return _Rule(name, values.get("num_columns") or values.get("bins") or "2", int(epochs))


def _full_order(rule: _Rule, num_seqs: int, seed: int, lengths: NDArray[Any]) -> NDArray[np.int64]:
    """The order of a full epoch."""
    name = rule.name
    order = np.arange(num_seqs, dtype=np.int64)
    if name == "default":
        return order
    if name == "reverse":
        return order[::-1]
    if name == "default_every_n":
        columns = int(rule.number)
        rows = num_seqs // columns
        return order[: rows * columns].reshape(columns, rows).T.reshape(-1)
    if name.startswith("sorted"):
        return order[_by_length(lengths, name == "sorted_reverse")]
    random = np.random.RandomState(seed)
    if name == "random_sample":
        return random.randint(0, max(num_seqs, 1), size=num_seqs).astype(np.int64, copy=False)
    order = random.permutation(num_seqs).astype(np.int64, copy=False)
    if name == "random":
        return order
    per_bin = rule.number.startswith(".")
    bins = max(num_seqs // int(rule.number[1:]), 2) if per_bin else int(rule.number)
    if name != "laplace":
        order = order[_by_length(lengths[order])]
    cuts = [i * num_seqs // bins for i in range(bins + 1)]
    pieces = [order[cuts[i] : cuts[i + 1]] for i in range(bins)]
    if name == "laplace":
        for i, piece in enumerate(pieces):
            piece[:] = piece[_by_length(lengths[piece], i % 2 == 1)]
        return order
    pieces = [pieces[i] for i in random.permutation(bins)]
    if name == "sort_bin_shuffle_x2":
        for piece in pieces:
            random.shuffle(piece)
    return np.concatenate(pieces)


def _by_length(lengths: NDArray[Any], descending: bool = False) -> NDArray[np.intp]:
    """Stable argsort; lengths below 65,536 as 16 bits, which numpy sorts by radix: much faster."""
    if np.issubdtype(lengths.dtype, np.integer):
        small = int(lengths.min(initial=0)) >= 0 and int(lengths.max(initial=0)) < 1 << 16
        lengths = lengths.astype(np.uint16 if small else np.int64)
        return np.argsort(~lengths if descending else lengths, kind="stable")
    return np.argsort(-lengths if descending else lengths, kind="stable")
