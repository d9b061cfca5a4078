"""BatchSampler: deals one global list of batches to the ranks of a training, and can be resumed.

The batches of an epoch are a pure function of the options, the seed and the epoch (`ordering`,
`batching`), so every rank computes the same list without communication. Step s of an epoch takes
one batch for each of the W ranks, numbers s * W to s * W + W - 1; all ranks make the same number
of steps, and their batches are disjoint except for a repeated remainder.

A position is an epoch and the number of batches that all ranks together have consumed of it. It
depends neither on W nor on read-ahead, so a training may be resumed with another number of ranks
or worker processes; nothing is replayed.

The iterator may be ahead of the training: a DataLoader with workers requests batches long before
they are used. So `BatchSampler.state_dict` is the position of the iterator, and every batch
carries, as `BatchSeqs.state`, the position right after itself: the one to store once the training
has made its step with the batch.

Epochs count from 1, as in RETURNN. Loops that count from 0 (PyTorch's documentation, accelerate,
Lightning) begin with epoch 0, which has an order different from all others, see `ordering`.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .batching import Batches, make_batches
from .ordering import Ordering, check_epoch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["BatchSampler", "BatchSeqs", "Remainder", "State"]

logger = logging.getLogger(__name__)

State = dict[str, int]
Remainder = Literal["repeat", "drop"]

_KEYS = "epoch", "seed", "batch", "checksum"
_CHUNK = 1024  # tags that are strings at a time


class BatchSeqs(list[int]):
    """The sequences of one batch, by corpus index.

    Attributes:
        state: the position after this batch, for `BatchSampler.load_state_dict`; the same on all
            ranks of a step.
    """

    __slots__ = ("state",)

    def __init__(self, seqs: Iterable[int], state: State) -> None:
        super().__init__(seqs)
        self.state = state


class BatchSampler:
    """Iterable over the batches of one rank, epoch after epoch; does not need torch.

    An iteration is an epoch, or the rest of it after `load_state_dict`. The next one is the next
    epoch, even if the previous one was left early: the position of the training is not known here,
    since batches may have been read ahead. All ranks must iterate in the same way.

    One thread iterates. A pickled sampler continues from its position; the order is computed again.
    """

    def __init__(
        self,
        num_seqs: int,
        lengths: ArrayLike | None = None,
        *,
        order_lengths: ArrayLike | None = None,
        ordering: Ordering | str = "random",
        chosen: NDArray[np.bool_] | None = None,
        tags: Sequence[str] | None = None,
        max_frames: int | None = None,
        max_packed_frames: int | None = None,
        max_seqs: int | None = None,
        buckets: int | ArrayLike | None = None,
        min_seq_length: int = 1,
        max_seq_length: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        remainder: Remainder = "repeat",
    ) -> None:
        """Accepts the options; computes no order yet.

        Args:
            num_seqs: number of sequences N.
            lengths: (N,) frames of each; may be None where neither order nor batches need them.
            order_lengths: (N,) lengths for the order, if they differ from `lengths`.
            ordering: the order of the sequences, or its `Ordering.seq_ordering`.
            chosen: (N,) whether a sequence is used; None: all are. The others are left out of the
                order after parts and shards are cut.
            tags: (N,) names, which are not kept: states of other names are refused. None: states
                of other sequences of the same number (and lengths, where given) are accepted.
            max_frames, max_packed_frames, max_seqs, buckets, min_seq_length, max_seq_length: limits
                of a batch and of its sequences, see `batching.make_batches`.
            rank, world_size: number of this process, and of all processes.
            remainder: the last step, if the number of batches is not a multiple of `world_size`:
                "repeat" fills it with the first batches of the epoch, "drop" leaves it out. At
                most ``world_size - 1`` batches come twice, or not at all.

        Raises:
            ValueError: if an option is out of range, if the limits of lengths leave no sequence, or
                if `ordering` has shards although there are several ranks: each would get a part
                of a part.
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
                f" {self.ordering.shard_index} of {self.ordering.num_shards}: use one of the two"
            )
        self.rank = rank
        self.world_size = world_size
        self.remainder = remainder
        self._num_seqs = num_seqs
        self._lengths = None if lengths is None else np.ascontiguousarray(lengths, np.int64)
        self._order_lengths = self._lengths if order_lengths is None else np.array(order_lengths)
        self._chosen = chosen
        if not (buckets is None or isinstance(buckets, int)):
            buckets = np.array(buckets)
        self._group = partial(
            make_batches,
            max_frames=max_frames,
            max_packed_frames=max_packed_frames,
            max_seqs=max_seqs,
            buckets=buckets,
            min_seq_length=min_seq_length,
            max_seq_length=max_seq_length,
        )
        self._group([], [])  # checks the limits
        arrays = {
            "lengths": self._lengths,
            "order_lengths": self._order_lengths,
            "chosen": self._chosen,
        }
        for name, array in arrays.items():
            if array is not None and array.shape != (num_seqs,):
                raise ValueError(f"{num_seqs} sequences, but {name} of shape {array.shape}")
        limits = max_frames, max_packed_frames, buckets, max_seq_length
        needs_lengths = any(limit is not None for limit in limits) or min_seq_length > 1
        if (lengths is None and needs_lengths) or (
            self._order_lengths is None and self.ordering.needs_lengths
        ):
            raise ValueError("this order, or these batches, need the lengths of the sequences")
        self._check_limits(min_seq_length, max_seq_length)
        self._checksum = self._options_checksum(tags or ())
        self._cached: tuple[int, int, Batches] | None = None
        self._iteration: object = None  # identifies the iteration in progress
        self._move(1, 0)

    def _check_limits(self, lower: int, upper: int | None) -> None:
        """Raises ValueError if `chosen` and the limits of lengths leave none of the sequences."""
        if self._chosen is not None and self._num_seqs and not self._chosen.any():
            raise ValueError(f"none of the {self._num_seqs} sequences is chosen")
        if self._lengths is None:
            return
        sizes = self._lengths if self._chosen is None else self._lengths[self._chosen]
        if len(sizes) and not np.any((sizes >= lower) & (sizes <= (upper or sizes.max()))):
            limits = f"min_seq_length {lower}" + (f" and max_seq_length {upper}" if upper else "")
            raise ValueError(
                f"no sequence is left by {limits}: {sizes.min()} to {sizes.max()} frames"
            )

    def __repr__(self) -> str:
        rank = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return f"<BatchSampler of {self._num_seqs} sequences, epoch {self.epoch}{rank}>"

    def __getstate__(self) -> dict[str, object]:
        # an iteration in progress continues in the other process, if anywhere
        return {**self.__dict__, "_cached": None, "_iteration": self._iteration and object()}

    def _options_checksum(self, tags: Sequence[str]) -> int:
        """Checksum of everything that must be equal for a position to mean the same."""
        options = replace(self.ordering, random_seed_offset=0).description, self._num_seqs
        limits = [
            np.asarray(value).tolist()
            for name, value in self._group.keywords.items()
            if name != "max_packed_frames" or value is not None  # states from before it existed
        ]
        checksum = zlib.crc32(repr((options, limits)).encode())
        for array in (self._lengths, self._order_lengths, self._chosen):
            if array is not None:
                checksum = zlib.crc32(array.tobytes(), checksum)
        for start in range(0, len(tags), _CHUNK):
            text = "\0".join(tags[start : start + _CHUNK])
            checksum = zlib.crc32(text.encode("utf-8", "surrogateescape"), checksum)
        return checksum

    # ---- position

    @property
    def epoch(self) -> int:
        """The epoch in progress; between epochs the next one."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next iteration; a loaded position in this epoch stays.

        Args:
            epoch: counted from 1, or from 0 by loops that begin there.

        Raises:
            ValueError: if `epoch` is negative.
            TypeError: if it is not an integer.
        """
        epoch = check_epoch(epoch)
        if self._iteration is not None or epoch != self._epoch:
            self._move(epoch, 0)

    def state_dict(self) -> State:
        """The position of the iterator: four integers for any size of the corpus.

        A DataLoader with workers iterates ahead of the training: store `BatchSeqs.state` then.
        """
        return self._state(self._epoch, self._batch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Moves to a position, and to its seed; the next iteration is the rest of that epoch.

        At the end of an epoch the rest is empty, and the iteration after it is the next epoch.

        Args:
            state: of any rank, and of a sampler with any number of ranks.

        Raises:
            ValueError: if it is not a state, or one of other sequences, order or batches.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"not a state of a BatchSampler: {state!r}")
        missing = [key for key in _KEYS if not isinstance(state.get(key), int)]
        if missing or state["epoch"] < 0 or state["batch"] < 0:
            raise ValueError(
                f"not a state of a BatchSampler: {state!r}, wrong: {missing or 'range'}"
            )
        if state["checksum"] != self._checksum:
            raise ValueError(
                "the state belongs to different data or options: sequences, lengths, ordering,"
                " partition, limits of the batches and buckets must be the same"
            )
        self.ordering = replace(self.ordering, random_seed_offset=state["seed"])
        self._move(state["epoch"], state["batch"])

    def _state(self, epoch: int, batch: int) -> State:
        seed = self.ordering.random_seed_offset
        return {"epoch": epoch, "seed": seed, "batch": batch, "checksum": self._checksum}

    def _move(self, epoch: int, batch: int) -> None:
        self._epoch = epoch
        self._start = self._batch = batch
        self._iteration = None

    # ---- batches

    def __len__(self) -> int:
        """Steps of the iteration in progress; between iterations of the next one."""
        return self._num_steps(self._batches(self._epoch), self._start)

    def __iter__(self) -> Iterator[BatchSeqs]:
        return self.deal()

    def deal(self, first: int = 0, every: int = 1) -> Iterator[BatchSeqs]:
        """Iterates over some of this rank's steps, as one of several workers does.

        Args:
            first: number of the first step, from the current position.
            every: distance from one step to the next.
        """
        if self._iteration is not None:
            self._move(self._epoch + 1, 0)
        iteration = self._iteration = object()
        epoch, start, size = self._epoch, self._start, self.world_size
        batches = self._batches(epoch)
        num_steps = self._num_steps(batches, start)
        if not num_steps and start == 0:
            logger.warning(
                "%r: no batch in epoch %d, of %d of all ranks", self, epoch, len(batches)
            )
        for step in range(first, num_steps, every):
            end = start + (step + 1) * size
            if step + 1 == num_steps:
                end = max(end, len(batches))  # dropped batches count as consumed
            state = self._state(epoch, end)
            if self._iteration is iteration:
                self._batch = end
            number = start + step * size + self.rank
            yield BatchSeqs(batches[number % len(batches)].tolist(), state)
        if self._iteration is iteration:
            self._move(epoch + 1, 0)

    def _num_steps(self, batches: Batches, start: int) -> int:
        num_remaining = max(len(batches) - start, 0)
        return (
            num_remaining + (self.world_size - 1) * (self.remainder == "repeat")
        ) // self.world_size

    def _batches(self, epoch: int) -> Batches:
        """The global list of batches of an epoch; the last one is cached."""
        seed = self.ordering.seed(epoch)
        if self._cached is None or self._cached[:2] != (epoch, seed):
            order = self.ordering.order(epoch, self._num_seqs, self._order_lengths)
            if self._chosen is not None:
                order = order[self._chosen[order]]
            self._cached = epoch, seed, self._group(order, self._lengths)
        return self._cached[2]
