"""Sequences on their way from the thread that adds them to the thread that trains on them.

The producer thread adds sequences (Sprint's thread, or one that reads a pipe), the consumer thread
reads them; the lock guards shared state. The consumer *requests* a range of sorted sequence
indices, which drops earlier ones. The producer blocks when too many sequences, or bytes, are cached
beyond the requested range, and continues when about half of them are consumed; a requested sequence
always fits.

Epochs are kept in step: each side declares its epoch, and the consumer sees only the sequences of
its own epoch. All waits have a deadline. An error of the producer is raised in the consumer, after
everything that was added before it; once the consumer has stopped, adding does nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from sprint_ctl.errors import SprintError, SprintTimeoutError
from sprintcache._interrupts import Waiters
from sprintcache.errors import SprintCacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sprintcache.dataset_base import DatasetSeq

__all__ = ["SequenceCache"]

Result = TypeVar("Result")


class SequenceCache:
    """The cached sequences of one epoch.

    Attributes:
        lock: guards everything.
        epoch: epoch of the producer; None before the first, or where epochs do not count.
        wanted_epoch: epoch of the consumer.
        num_added: number of sequences added in this epoch.
        num_frames: data key to number of frames added in this epoch.
        first_keys: data keys of its first sequence.
        is_finished: whether the epoch is complete.
        has_ended: whether no epoch will follow.
        is_stopped: whether the consumer has stopped.
    """

    def __init__(self, max_bytes: int, take_timeout: float, add_timeout: float) -> None:
        """An empty cache; the timeouts are seconds for the consumer and for the producer."""
        self.lock = threading.RLock()
        self._changed = Waiters(self.lock)
        self.max_bytes = max_bytes
        self.take_timeout = take_timeout
        self.add_timeout = add_timeout
        self.keeps_step = False
        self.epoch: int | None = None
        self.wanted_epoch: int | None = None
        self.has_ended = False
        self.is_stopped = False
        self._adding_thread: int | None = None
        self._reset()

    def _reset(self) -> None:
        self.num_added = 0
        self.num_frames: dict[str, int] = {}
        self.is_finished = False
        self.start = 0  # earlier sequences are dropped
        self._requested = 0  # end of the requested range
        self._seqs: dict[int, DatasetSeq] = {}
        self._bytes: dict[int, int] = {}  # by index, beyond the requested range
        self._bytes_ahead = 0
        self.first_keys: list[str] = []
        self._error: BaseException | None = None

    # ---- producer --------------------------------------------------------------------------

    def begin(self, epoch: int | None) -> None:
        """Begins an epoch; drops what is left of the last one."""
        with self.lock:
            self.epoch = epoch
            self.has_ended = False
            self._reset()
            self._changed.notify_all()

    def add(self, seqs: Sequence[DatasetSeq], max_ahead: int, min_ahead: int) -> None:
        """Adds the next sequences, and sets their indices; waits while too many are cached ahead.

        It waits above `max_ahead` sequences beyond the requested ones, until `min_ahead` are left.
        Raises SprintError if the epoch is over, SprintTimeoutError if nothing is consumed in time.
        """
        with self.lock:
            if self.is_stopped:
                return
            if self.is_finished or self.has_ended:
                raise SprintError("a sequence after the end of its epoch", found=seqs[0].seq_tag)
            self._adding_thread = threading.get_ident()
            for seq in seqs:
                self._put(seq)
            self._changed.notify_all()
            if not self._is_full(max_ahead, 1.0):
                return
            waiting = self._requested, self.epoch
        self._wait_for(
            lambda: self.is_stopped or not self._is_full(min_ahead, 0.5) or None,
            self.add_timeout,
            lambda: SprintTimeoutError(
                "the sequences are not consumed",
                expected=f"sequence {waiting[0]} of epoch {waiting[1]} to be requested",
                found=f"{self.num_added} added, after {self.add_timeout:g} s",
            ),
        )

    def _put(self, seq: DatasetSeq) -> None:
        index = seq.seq_idx = self.num_added
        self._seqs[index] = seq
        self.num_added += 1
        self.first_keys = self.first_keys or list(seq.features)
        size = 0
        for key, array in seq.features.items():
            size += array.nbytes
            self.num_frames[key] = self.num_frames.get(key, 0) + len(array)
        if index >= self._requested:
            self._bytes[index] = size
            self._bytes_ahead += size

    def _is_full(self, num_seqs: int, fraction: float) -> bool:
        ahead = len(self._bytes)
        return ahead > num_seqs or (ahead > 0 and self._bytes_ahead > self.max_bytes * fraction)

    def finish(self) -> None:
        """Declares the epoch complete."""
        with self.lock:
            self.is_finished = True
            self._changed.notify_all()

    def end(self) -> None:
        """Declares that no epoch will follow."""
        with self.lock:
            self.has_ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Records an error of the producer; raised in the consumer instead of what is missing."""
        with self.lock:
            self._error = error
            self._changed.notify_all()

    def wait_for_epoch(self, epoch: int) -> bool:
        """Waits until the consumer is in an epoch; False if it has stopped.

        Raises SprintError if it is in a later one, SprintTimeoutError if it is not there in time.
        """

        def is_there() -> bool | None:
            if self.is_stopped:
                return False
            if (self.wanted_epoch or 0) < epoch:
                return None
            if self.wanted_epoch != epoch:
                raise SprintError(
                    "the training is ahead of Sprint", expected=epoch, found=self.wanted_epoch
                )
            return True

        return self._wait_for(
            is_there,
            self.add_timeout,
            lambda: SprintTimeoutError(
                "the training does not begin the next epoch",
                expected=f"epoch {epoch}",
                found=f"{self.wanted_epoch} after {self.add_timeout:g} s",
            ),
        )

    # ---- consumer --------------------------------------------------------------------------

    def want(self, epoch: int | None) -> None:
        """Declares the epoch of the consumer."""
        with self.lock:
            self.wanted_epoch = epoch
            self._changed.notify_all()

    def stop(self) -> None:
        """Stops the consumer; adding does nothing from now on."""
        with self.lock:
            self.is_stopped = True
            self._seqs.clear()
            self._changed.notify_all()

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was requested yet, and no error was recorded."""
        with self.lock:
            return self._requested == self.start == 0 and self._error is None

    def drop_below(self, start: int) -> None:
        """Drops sequences below `start`."""
        with self.lock:
            for index in range(self.start, min(start, self.num_added)):
                self._seqs.pop(index, None)
            self.start = max(self.start, start)

    def has(self, start: int, end: int) -> bool:
        """Whether these sequences are cached."""
        with self.lock:
            return self._is_in_step() and all(i in self._seqs for i in range(start, end))

    def reach(self, end: int) -> bool:
        """Requests sequences up to `end`, waits for them; False if the epoch ends before.

        Raises SprintError if the producer has failed (with its cause) or is in another epoch,
        SprintTimeoutError if they do not arrive in time.
        """
        return self._take(lambda: self._reached(end), end)

    def has_epoch(self) -> bool:
        """Waits until the producer begins the consumer's epoch; False if none will follow."""

        def has_begun() -> bool | None:
            if self._is_settled(0) and self.has_ended and not self._is_in_step():
                self._raise_error()
                return False
            return self._reached(0)

        return self._take(has_begun, 1)

    def get(self, index: int) -> DatasetSeq:
        """A sequence; waits for it. Raises IndexError if the epoch lacks it, or it was dropped."""
        return self._take(lambda: self._seq(index), index + 1)

    def _seq(self, index: int) -> DatasetSeq | None:
        """A sequence that `get` waits for; None if it may still come."""
        seq = self._seqs.get(index) if self._is_in_step() else None
        if seq is not None and index < self._requested:
            return seq
        if index >= self.start and index >= 0:
            is_reached = self._reached(index + 1)
            if is_reached is None:
                return None
            if is_reached:
                return self._seqs[index]
        if 0 <= index < self.start:
            raise IndexError(f"sequence {index} was dropped: load_seqs began at {self.start}")
        raise IndexError(f"sequence {index} of {self.num_added}")

    def _reached(self, end: int) -> bool | None:
        """Whether there are sequences up to `end`; None if they may still come."""
        if not self._is_settled(end):
            if threading.get_ident() == self._adding_thread:
                raise SprintError("the thread that adds sequences waits for one", found=end)
            return None
        if self.is_stopped:
            raise SprintError("the epoch was left or closed; init_seq_order begins another one")
        if self._is_in_step() and self.num_added >= end:
            return True
        if self._is_in_step() and self.is_finished:
            return False
        self._raise_error()
        raise SprintError(
            "Sprint and the training are in different epochs",
            expected=f"epoch {self.wanted_epoch}",
            found=f"{self.epoch}, the last one" if self.has_ended else f"epoch {self.epoch}",
        )

    def _take(self, result: Callable[[], Result | None], end: int) -> Result:
        """Waits for a result that depends on sequences up to `end`."""
        return self._wait_for(
            result,
            self.take_timeout,
            lambda: SprintTimeoutError(
                "no sequence arrived in time",
                expected=f"sequence {end - 1} of epoch {self.wanted_epoch}",
                found=f"{self.num_added} sequences of epoch {self.epoch} after"
                f" {self.take_timeout:g} s",
            ),
        )

    def _request(self, end: int) -> None:
        for index in range(self._requested, min(end, self.num_added)):
            self._bytes_ahead -= self._bytes.pop(index, 0)
        self._requested = end
        self._changed.notify_all()

    def _is_in_step(self) -> bool:
        return not self.keeps_step or self.epoch == self.wanted_epoch

    def _is_settled(self, end: int) -> bool:
        """Whether a wait for sequences up to `end` is over; requests them as soon as possible."""
        if end > self._requested and self._is_in_step():
            self._request(end)
        if self._error is not None or self.is_stopped:
            return True
        if not self._is_in_step():
            is_beyond = (self.epoch or 0) > (self.wanted_epoch or 0)
            return self.has_ended or is_beyond
        return self.num_added >= end or self.is_finished

    def _raise_error(self) -> None:
        error = self._error
        if isinstance(error, (SprintError, SprintCacheError)):
            raise error
        if error is not None:
            raise SprintError(
                f"adding sequences has failed: {type(error).__name__}: {error}"
            ) from error

    def _wait_for(
        self,
        result: Callable[[], Result | None],
        timeout: float,
        error: Callable[[], SprintTimeoutError],
    ) -> Result:
        value = self._changed.wait_for(result, timeout)
        if value is None:
            raise error()
        return value
