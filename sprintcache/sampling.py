"""BatchSampler: deals one global list of batches to the ranks of a training, and can be resumed.

The batches of an epoch are a pure function of the options, the seed and the epoch (`ordering`,
`batching`), so every rank makes the same list by itself and nobody has to communicate. Step s of an
epoch takes one batch for each of the W ranks, numbers s * W to s * W + W - 1; all ranks make the
same number of steps, and what they take is disjoint but for a repeated remainder.

A position is an epoch and the number of batches that all ranks together have had of it. It does not
depend on W nor on who reads ahead, so a training may be resumed with another number of ranks or of
worker processes; nothing is replayed.

Whoever draws from the sampler may be ahead of the training: a DataLoader with workers asks for
batches long before they are used. So `BatchSampler.state_dict` is the position of who draws, and
every batch carries, as `BatchSeqs.state`, the position right behind itself: that is what a training
that has made its step with the batch stores.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .batching import Batches, make_batches
from .ordering import Ordering

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["BatchSampler", "BatchSeqs", "Remainder", "State"]

State = dict[str, int]
Remainder = Literal["repeat", "drop"]

_KEYS = "epoch", "seed", "batch", "checksum"
_CHUNK = 1024  # tags that are strings at a time


class BatchSeqs(list[int]):
    """The sequences of one batch, by corpus index.

    Attributes:
        state: what `BatchSampler.load_state_dict` takes to go on right behind this batch; the same
            on all ranks of a step.
    """

    __slots__ = ("state",)

    def __init__(self, seqs: Iterable[int], state: State) -> None:
        super().__init__(seqs)
        self.state = state


class BatchSampler:
    """Iterable over the batches of one rank, epoch after epoch; torch is not needed.

    An iteration is an epoch, or the rest of it after `load_state_dict`. The next one is the next
    epoch, also if the one before was left early: where that was cannot be known here, since it may
    have been read ahead. All ranks must iterate alike.

    One thread draws. Pickled, it goes on from its position; the order is made anew.
    """

    def __init__(
        self,
        num_seqs: int,
        lengths: ArrayLike | None = None,
        *,
        ordering: Ordering | str = "random",
        chosen: NDArray[np.bool_] | None = None,
        tags: Sequence[str] | None = None,
        max_frames: int | None = None,
        max_seqs: int | None = None,
        buckets: int | ArrayLike | None = None,
        rank: int = 0,
        world_size: int = 1,
        remainder: Remainder = "repeat",
    ) -> None:
        """Takes the options; makes no order yet.

        Args:
            num_seqs: number of sequences N.
            lengths: (N,) frames of each; may be None where neither order nor batches need them.
            ordering: the order of the sequences, or its `Ordering.seq_ordering`.
            chosen: (N,) whether a sequence is used; None: all are. The others are left out of the
                order after parts and shards are cut.
            tags: (N,) names, which are not kept: a state is refused where they are others. None: a
                state is of any sequences that are as many, and as long where lengths are given.
            max_frames, max_seqs, buckets: limits of a batch, see `batching.make_batches`.
            rank, world_size: which of how many processes this is.
            remainder: where the batches of an epoch do not go round, what the last step is:
                "repeat" fills it up with the first batches of the epoch, "drop" leaves it out. At
                most ``world_size - 1`` batches come twice, or not at all.

        Raises:
            ValueError: if an option is out of range, or if `ordering` has shards although there are
                several ranks: each would get a part of a part.
        """
        if num_seqs < 0:
            raise ValueError(f"num_seqs must not be negative: {num_seqs}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        if remainder not in ("repeat", "drop"):
            raise ValueError(f"remainder must be 'repeat' or 'drop', not {remainder!r}")
        self.ordering = Ordering(ordering) if isinstance(ordering, str) else ordering
        if world_size > 1 and self.ordering.num_shards > 1:
            raise ValueError(
                f"the sampler deals to {world_size} ranks, and the ordering takes shard"
                f" {self.ordering.shard_index} of {self.ordering.num_shards} besides: one too many"
            )
        self.rank = rank
        self.world_size = world_size
        self.remainder = remainder
        self._num_seqs = num_seqs
        self._lengths = None if lengths is None else np.ascontiguousarray(lengths, np.int64)
        self._chosen = chosen
        if not (buckets is None or isinstance(buckets, int)):
            buckets = np.array(buckets)
        self._group = partial(
            make_batches, max_frames=max_frames, max_seqs=max_seqs, buckets=buckets
        )
        self._group([], [])  # checks the limits
        for name, array in (("lengths", self._lengths), ("chosen", chosen)):
            if array is not None and array.shape != (num_seqs,):
                raise ValueError(f"{num_seqs} sequences, but {name} of shape {array.shape}")
        sized = self.ordering.needs_lengths or max_frames is not None or buckets is not None
        if sized and lengths is None:
            raise ValueError("this order, or these batches, need the lengths of the sequences")
        self._checksum = self._sum_of_options(tags or ())
        self._made: tuple[int, int, Batches] | None = None
        self._drawer: object = None
        self._move(1, 0)

    def __repr__(self) -> str:
        rank = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return f"<BatchSampler of {self._num_seqs} sequences, epoch {self.epoch}{rank}>"

    def __getstate__(self) -> dict[str, object]:
        # who drew goes on in the other process, if at all
        return {**self.__dict__, "_made": None, "_drawer": self._drawer and object()}

    def _sum_of_options(self, tags: Sequence[str]) -> int:
        """What must be the same for a position to mean the same."""
        options = replace(self.ordering, random_seed_offset=0), self._num_seqs
        limits = [np.asarray(value).tolist() for value in self._group.keywords.values()]
        checksum = zlib.crc32(repr((options, limits)).encode())
        for array in (self._lengths, self._chosen):
            if array is not None:
                checksum = zlib.crc32(array.tobytes(), checksum)
        for start in range(0, len(tags), _CHUNK):
            text = "\0".join(tags[start : start + _CHUNK])
            checksum = zlib.crc32(text.encode("utf-8", "surrogateescape"), checksum)
        return checksum

    # ---- position

    @property
    def epoch(self) -> int:
        """The epoch under way; between epochs the next one. Counted from 1."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Has the next iteration begin this epoch; one that was loaded and not begun stays.

        Raises:
            ValueError: if `epoch` is below 1.
        """
        self.ordering.seed(epoch)  # checks it
        if self._drawer is not None or epoch != self._epoch:
            self._move(epoch, 0)

    def state_dict(self) -> State:
        """The position of who draws: four integers, whatever the size of the corpus.

        A DataLoader with workers draws ahead of the training: store `BatchSeqs.state` then.
        """
        return self._state(self._epoch, self._batch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to a position, and to its seed; the next iteration is the rest of that epoch.

        At the end of an epoch the rest is empty, and the iteration after it the next epoch.

        Args:
            state: of any rank, and of a sampler with any number of ranks.

        Raises:
            ValueError: if this is no state, or one of other sequences, order or batches.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"not a state of a BatchSampler: {state!r}")
        missing = [key for key in _KEYS if not isinstance(state.get(key), int)]
        if missing or state["epoch"] < 1 or state["batch"] < 0:
            raise ValueError(
                f"not a state of a BatchSampler: {state!r}, wrong: {missing or 'range'}"
            )
        if state["checksum"] != self._checksum:
            raise ValueError(
                "the state is of other data or options: sequences, lengths, ordering, partition,"
                " limits of the batches and buckets must be the same"
            )
        self.ordering = replace(self.ordering, random_seed_offset=state["seed"])
        self._move(state["epoch"], state["batch"])

    def _state(self, epoch: int, batch: int) -> State:
        seed = self.ordering.random_seed_offset
        return {"epoch": epoch, "seed": seed, "batch": batch, "checksum": self._checksum}

    def _move(self, epoch: int, batch: int) -> None:
        self._epoch = epoch
        self._start = self._batch = batch
        self._drawer = None

    # ---- batches

    def __len__(self) -> int:
        """Steps of the iteration under way; between iterations of the next one."""
        return self._num_steps(self._batches(self._epoch), self._start)

    def __iter__(self) -> Iterator[BatchSeqs]:
        return self.deal()

    def deal(self, first: int = 0, every: int = 1) -> Iterator[BatchSeqs]:
        """An iteration that takes some of this rank's steps, as one of several workers does.

        Args:
            first: number of the first step, from the current position.
            every: how many steps to go on from one batch to the next.
        """
        if self._drawer is not None:
            self._move(self._epoch + 1, 0)
        drawer = self._drawer = object()
        epoch, start, size = self._epoch, self._start, self.world_size
        batches = self._batches(epoch)
        num_steps = self._num_steps(batches, start)
        for step in range(first, num_steps, every):
            behind = start + (step + 1) * size
            if step + 1 == num_steps:
                behind = max(behind, len(batches))  # what is dropped is over
            state = self._state(epoch, behind)
            if self._drawer is drawer:
                self._batch = behind
            number = start + step * size + self.rank
            yield BatchSeqs(batches[number % len(batches)].tolist(), state)
        if self._drawer is drawer:
            self._move(epoch + 1, 0)

    def _num_steps(self, batches: Batches, start: int) -> int:
        rest = max(len(batches) - start, 0)
        return (rest + (self.world_size - 1) * (self.remainder == "repeat")) // self.world_size

    def _batches(self, epoch: int) -> Batches:
        """The global list of batches of an epoch; the last one made is kept."""
        seed = self.ordering.seed(epoch)
        if self._made is None or self._made[:2] != (epoch, seed):
            order = self.ordering.order(epoch, self._num_seqs, self._lengths)
            if self._chosen is not None:
                order = order[self._chosen[order]]
            self._made = epoch, seed, self._group(order, self._lengths)
        return self._made[2]
