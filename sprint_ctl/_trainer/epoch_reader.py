"""The threads of an ExternSprintDataset that read segments from its Sprints into its cache.

They hold the dataset only while they convert segments, not while they wait, so that it can be
dropped. A thread ends with its Sprint.
"""

from __future__ import annotations

import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sprint_ctl._sequences.sequence_cache import SequenceCache
from sprint_ctl.errors import SprintError, SprintStartError
from sprintcache._interrupts import NoThreadError, ServiceThread, start_threads
from sprintcache.dataset_base import DatasetSeq
from sprintcache.ordering import Ordering

from .segment_receiver import SegmentMessage, SegmentStream

__all__ = ["EpochReaders", "SegmentConsumer"]


class SegmentConsumer(Protocol):
    """What a thread needs of the dataset."""

    SprintCachedSeqsMax: int
    SprintCachedSeqsMin: int

    def set_dimensions(self, input_dim: int, output_dim: int) -> None:
        """Accepts the dimensions that Sprint reports."""

    def _sequence(self, index: int, features: Any, targets: Any, tag: str | None) -> DatasetSeq:
        """Returns the sequence of a segment."""

    def _check_complete(self, num_added: int) -> None:
        """Raises SprintError if sequences are missing at the end of an epoch."""

    def _start_ahead(self, epoch: int) -> None:
        """Starts the Sprints of the epochs that follow."""


class EpochReaders:
    """The Sprint of the epoch under way and those started ahead; a finalizer can hold it.

    Attributes:
        cache: cache of the epoch under way.
        stream: Sprint of the epoch under way; None between epochs.
        begun: number, list and order of the epoch under way; None between epochs.
    """

    def __init__(self, cache: SequenceCache, join_timeout: float) -> None:
        self.cache = cache
        self._join_timeout = join_timeout
        self.stream: SegmentStream | None = None
        self.begun: tuple[int, list[str] | None, Ordering] | None = None
        self._thread: ServiceThread | None = None
        self._lock = threading.Lock()  # guards what follows
        self._ahead: dict[tuple[Ordering, int], SegmentStream] = {}
        self._epoch: int | None = None

    def read(self, dataset: SegmentConsumer, stream: SegmentStream) -> None:
        """Starts a thread that reads a stream; it does not keep the dataset alive."""
        name = f"reader of Sprint, epoch {stream.epoch}"
        thread = ServiceThread(name, _read, weakref.ref(dataset), stream, self.cache)
        try:
            self.stream, self._thread = stream, thread
            start_threads(thread)
        except BaseException as error:
            if thread.ident is None:
                self.stream = self._thread = None
                stream.close(ask=False)
            if isinstance(error, NoThreadError):
                raise SprintStartError(f"Sprint cannot be read: {error}") from None
            raise

    def wait(self, pid: int, epoch: int) -> None:
        """Waits until a Sprint is read to its end, if it is that of the epoch under way."""
        stream, thread = self.stream, self._thread
        if stream is not None and thread is not None and (stream.pid, stream.epoch) == (pid, epoch):
            thread.wait()

    def take(self, epoch: int, ordering: Ordering | None) -> SegmentStream | None:
        """Returns the stream that was started ahead for an epoch; ends those of other epochs."""
        with self._lock:
            self._epoch = epoch
            taken = None if ordering is None else self._ahead.pop((ordering, epoch), None)
            kept = {
                key: stream
                for key, stream in self._ahead.items()
                if taken is not None and key[0] == ordering and key[1] > epoch
            }
            stale = [stream for key, stream in self._ahead.items() if key not in kept]
            self._ahead = kept
        _close_all(stale)
        return taken

    def start_ahead(
        self,
        epoch: int,
        following: int,
        ordering: Ordering,
        start: Callable[[int], SegmentStream],
    ) -> None:
        """Starts the Sprint of a following epoch, unless the training has left this one."""
        key = ordering, following
        with self._lock:
            if epoch == self._epoch and key not in self._ahead:
                self._ahead[key] = start(following)

    def end_ahead(self) -> None:
        """Ends the Sprints that were started ahead."""
        with self._lock:
            self._epoch = None
            stale = list(self._ahead.values())
            self._ahead = {}
        _close_all(stale)

    def end_epoch(self, *, ask: bool = True) -> None:
        """Ends the epoch under way; a Sprint whose epoch is complete exits by itself."""
        stream, thread = self.stream, self._thread
        self.begun = None
        self.cache.stop()
        if stream is None or thread is None:
            return
        if not stream.is_complete:
            stream.end(ask=ask)
        if thread is not threading.current_thread() and not stream.is_complete:
            thread.wait(self._join_timeout)
        self.stream = None

    def release(self, *, ask: bool = False) -> None:
        """Ends all Sprints and threads. Idempotent."""
        thread = self._thread
        self.end_epoch(ask=ask)
        self.end_ahead()
        if thread is not None and thread is not threading.current_thread():
            thread.wait(self._join_timeout)
            self._thread = None


def _close_all(streams: Sequence[SegmentStream]) -> None:
    for stream in streams:
        stream.close(ask=False)


def _read(
    reference: weakref.ref[SegmentConsumer], stream: SegmentStream, cache: SequenceCache
) -> None:
    """Reads a stream into a cache and closes it."""
    try:
        _deliver(reference, stream, cache)
    except BaseException as error:
        if isinstance(error, SprintError) and error.pid is None:
            stream.explain(error)
        traceback.clear_frames(error.__traceback__)  # they hold the dataset
        cache.fail(error)
    finally:
        if cache.is_stopped and not stream.is_complete:
            stream.drain()
        stream.close(ask=stream.is_complete)


def _deliver(
    reference: weakref.ref[SegmentConsumer], stream: SegmentStream, cache: SequenceCache
) -> None:
    dimensions = stream.start()
    dataset = reference()
    if dataset is None:
        return
    if dimensions is not None:
        dataset.set_dimensions(*dimensions)
    cache.begin(stream.epoch)
    max_segments = dataset.SprintCachedSeqsMax
    del dataset
    while segments := stream.receive(max_segments):
        dataset = reference()
        if dataset is None or cache.is_stopped:
            return
        seqs, error = _convert(dataset, cache.num_added, segments)
        limits = dataset.SprintCachedSeqsMax, dataset.SprintCachedSeqsMin
        del dataset
        if seqs:
            cache.add(seqs, *limits)
        if error is not None:
            raise error
    dataset = reference()
    if dataset is not None and not cache.is_stopped:
        dataset._check_complete(cache.num_added)
        cache.finish()
        dataset._start_ahead(stream.epoch)


def _convert(
    dataset: SegmentConsumer, first: int, segments: Sequence[SegmentMessage]
) -> tuple[list[DatasetSeq], Exception | None]:
    """Returns the sequences before the first that fails, numbered from ``first``, and its error."""
    seqs: list[DatasetSeq] = []
    try:
        for index, (name, features, targets) in enumerate(segments, first):
            seqs.append(dataset._sequence(index, features, targets, name))
    except Exception as error:
        return seqs, error
    return seqs, None
