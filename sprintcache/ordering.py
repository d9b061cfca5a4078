"""Ordering: which sequences an epoch has, and in what order.

A pure function of epoch, seed, lengths, partition and shard: no state, no files. The rules are
RETURNN's, so that the same options and seed give the same order there and here:

* ``default``, ``reverse``: as they come, or backwards;
* ``sorted``, ``sorted_reverse``: by length, shortest or longest first, ties as they come;
* ``random``: a permutation;
* ``laplace:B``: a permutation cut into B bins, which are sorted in turn upwards and downwards, so
  that neighbours are of similar length; ``laplace:.N`` makes bins of about N sequences;
* ``sort_bin_shuffle:B`` (or ``:.N``): sorted, ties at random, cut into B bins, bins shuffled;
  ``sort_bin_shuffle_x2``: the sequences in each bin as well.

``random:K`` and a second number, as in ``laplace:.N:K``, keep the permutation for K full epochs.
The generator is numpy's legacy ``RandomState``, whose streams numpy promises never to change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import integer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Ordering", "part"]

_NUMBERS = (
    *("partition_epoch", "repeat_epoch", "fixed_random_seed"),
    *("random_seed_offset", "num_shards", "shard_index"),
)

_RULE = re.compile(
    "(default|reverse|sorted|sorted_reverse)"
    "|(random)(?::([0-9]+))?"
    r"|(laplace|sort_bin_shuffle|sort_bin_shuffle_x2)(?::(\.?[0-9]+)(?::([0-9]+))?)?"
)


@dataclass(frozen=True)
class Ordering:
    """The options of an order; checked when made, equal and hashable by their values.

    Args:
        seq_ordering: one of the rules above.
        partition_epoch: an epoch is one of that many parts of the order, one after the other; the
            order, and its seed, change after the last part.
        repeat_epoch: every sequence comes that many times in its epoch.
        fixed_random_seed: the seed of every epoch; None: the number of the full epoch.
        random_seed_offset: added to the seed unless that is fixed.
        num_shards, shard_index: each part is cut into that many contiguous shards, and this one
            taken. Shards are disjoint and complete, and differ by at most one sequence.

    Raises:
        ValueError: if an option is not one of these or out of range.
        TypeError: if an option is no integer, or `seq_ordering` no str.
    """

    seq_ordering: str = "default"
    partition_epoch: int = 1
    repeat_epoch: int = 1
    fixed_random_seed: int | None = None
    random_seed_offset: int = 0
    num_shards: int = 1
    shard_index: int = 0

    def __post_init__(self) -> None:
        for name in _NUMBERS:  # of the same value, equal and written alike
            if getattr(self, name) is not None or name != "fixed_random_seed":
                object.__setattr__(self, name, integer(name, getattr(self, name)))
        for name in ("partition_epoch", "repeat_epoch", "num_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.shard_index < self.num_shards:
            raise ValueError(f"shard_index {self.shard_index} of {self.num_shards} shards")
        if not 0 <= (self.fixed_random_seed or 0) < 1 << 32:
            raise ValueError(f"fixed_random_seed {self.fixed_random_seed} is not of 32 bits")
        _parse(self.seq_ordering)

    @property
    def needs_lengths(self) -> bool:
        """Whether `order` asks for lengths."""
        return _parse(self.seq_ordering)[0] not in ("default", "reverse", "random")

    def seed(self, epoch: int) -> int:
        """Seed of an epoch: the same in all parts of a full epoch."""
        if self.fixed_random_seed is not None:
            return self.fixed_random_seed
        full = (_checked(epoch) - 1) // self.partition_epoch
        return full // _parse(self.seq_ordering)[2] + 1 + self.random_seed_offset

    def order(
        self, epoch: int, num_seqs: int, lengths: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """The sequences of an epoch.

        Args:
            epoch: counted from 1.
            num_seqs: number of all sequences.
            lengths: (num_seqs,) length of each, if `needs_lengths`.

        Returns:
            (N,) int64 indices below `num_seqs`: over `partition_epoch` epochs and all shards each
            comes `repeat_epoch` times.

        Raises:
            ValueError: if epoch or lengths are not as they should be.
        """
        sizes: NDArray[Any] = np.zeros(0)
        if self.needs_lengths:
            sizes = np.asarray([] if lengths is None else lengths)
            if sizes.shape != (num_seqs,):
                raise ValueError(
                    f"seq_ordering {self.seq_ordering!r} needs {num_seqs} lengths,"
                    f" got an array of shape {sizes.shape}"
                )
        parts = self.partition_epoch * self.num_shards
        index = (_checked(epoch) - 1) % self.partition_epoch * self.num_shards + self.shard_index
        start, stop = part(num_seqs, parts, index)
        order = _whole(self.seq_ordering, num_seqs, self.seed(epoch), sizes)[start:stop]
        return np.tile(order, self.repeat_epoch)


def part(total: int, parts: int, index: int) -> tuple[int, int]:
    """Begin and end of one of `parts` contiguous parts of `total`; the first ones are one longer.

    >>> [part(7, 3, i) for i in range(3)]
    [(0, 3), (3, 5), (5, 7)]
    """
    size, longer = divmod(total, parts)
    start = index * size + min(index, longer)
    return start, start + size + (index < longer)


def _checked(epoch: int) -> int:
    if epoch < 1:
        raise ValueError(f"epochs are counted from 1, got {epoch}")
    return epoch


def _parse(text: str) -> tuple[str, str, int]:
    """Rule, bins as they are written, and for how many full epochs a seed is kept."""
    if not isinstance(text, str):
        raise TypeError(f"seq_ordering must be a str, not {text!r:.80}")
    found = _RULE.fullmatch(text)
    numbers = [] if found is None else [n.lstrip(".") for n in found.group(3, 5, 6) if n]
    if found is None or not all(map(int, numbers)):
        raise ValueError(
            f"seq_ordering {text!r} is none of default, reverse, sorted, sorted_reverse, random,"
            " laplace:.N, laplace:N, sort_bin_shuffle:N, sort_bin_shuffle_x2:N"
        )
    return found[1] or found[2] or found[4], found[5] or "2", int(found[3] or found[6] or 1)


def _whole(text: str, num_seqs: int, seed: int, lengths: NDArray[Any]) -> NDArray[np.int64]:
    """The order of a full epoch."""
    name, wanted, _ = _parse(text)
    order = np.arange(num_seqs, dtype=np.int64)
    if name in ("default", "reverse"):
        return order if name == "default" else order[::-1]
    if name.startswith("sorted"):
        return order[_by_length(lengths, name == "sorted_reverse")]
    random = np.random.RandomState(seed)
    order = order[random.permutation(num_seqs)]
    if name == "random":
        return order
    bins = max(num_seqs // int(wanted[1:]), 2) if wanted[0] == "." else int(wanted)
    if name != "laplace":
        order = order[_by_length(lengths[order])]
    cuts = [i * num_seqs // bins for i in range(bins + 1)]
    pieces = [order[cuts[i] : cuts[i + 1]] for i in range(bins)]
    if name == "laplace":
        pieces = [piece[_by_length(lengths[piece], i % 2 == 1)] for i, piece in enumerate(pieces)]
    else:
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
