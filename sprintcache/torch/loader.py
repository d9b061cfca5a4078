"""Loader: batches that threads of the training process read ahead; no worker processes.

States. A loader is *idle* until it is iterated. An iteration is *running* while its queue is open
(see `step_queue`), and ends by the last batch, by an error, by `Loader.close`, by the next
iteration, or when it is deleted, as ``break`` does; then its threads end. Each iteration is one
epoch of the sampler, or the rest of one; an idle loader can always be iterated again.

Ownership.

* The *training thread* owns the `Loader`, its position, its report, and the sampler between
  iterations. It starts an iteration: the first step is drawn there, so the sampler's position is
  determined when ``iter`` returns. `Loader.close` alone may be called by any thread, and by a
  signal handler.
* The *reading threads* own the iteration of the sampler, one at a time, under the lock of the
  queue; each reads whole batches, applies `transform` and pins the result. They know the queue, the
  dataset and the memory, but not the loader, so a loader that is deleted ends them.
* The training thread reads the first batch. Later, when no batch is ready, it reads the next one
  that no thread has begun, instead of waiting, which saves changes of threads. With a `transform`
  or a `timeout` it waits.
* A batch belongs to the training once it is delivered. Its memory returns to `batch_memory` when
  its last tensor is deleted.

Everything that two threads share is guarded by the lock of the queue or of the memory; nothing
relies on the GIL. Batches are decoded without it, so several threads read at once on any Python,
and also their own Python code runs at once on a free-threaded one.

Errors and signals. The training waits interruptibly: Ctrl-C is raised at once, or after the batch
that it reads itself. No batch is lost: the next ``next`` delivers it; or the iteration is closed,
if the exception came into the sampler, or came into a read and is an Exception. An error of a
reading thread is raised by the next ``next``, as the object that it is, even if batches before it
are ready; `Loader.state_dict` then is the position after the last delivered batch. A forked process
has no reading threads: an iteration of the parent raises a LoaderError there, and a new one works,
from the sampler's position of that moment. Pickled, a loader is idle.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from sprintcache._checks import integer, positive_seconds, require_attribute
from sprintcache._dataset.reader import BatchBuffers
from sprintcache._interrupts import ServiceThread, closed_at_exit, start_threads
from sprintcache._threads import default_threads

from .batch_memory import BatchMemory, PinnedMemory
from .loader_report import LoaderReport, Meter
from .step_queue import StepQueue

if TYPE_CHECKING:
    from sprintcache.sampling import State

    from .datasets import MapDataset

__all__ = ["Loader"]

logger = logging.getLogger(__name__)

_JOIN_SECONDS = 10.0  # a read that takes longer goes on in a daemon thread

Transform = Callable[[Any], Any]


class Loader:
    """An iterable over batches, epoch after epoch, read ahead by threads.

    Attributes:
        dataset: the `MapDataset`.
        batch_sampler: the sampler.
    """

    def __init__(
        self,
        dataset: MapDataset,
        batch_sampler: Iterable[Sequence[int]],
        *,
        num_threads: int | None = None,
        prefetch: int = 8,
        transform: Transform | None = None,
        deliver: Transform | None = None,
        pin_memory: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            dataset: the sequences.
            batch_sampler: a `BatchSampler`, or another iterable of lists of corpus indices.
            num_threads: threads that read batches, each one at a time; None: 2, or 1 if the process
                may use no more than two processors. While no batch is ready, the training thread
                reads as well, except with `transform` or `timeout`.
            prefetch: batches that are read ahead, at most: ready or in progress. Threads that wait
                go on when three quarters of them were taken.
            transform: called with each `Batch` in a reading thread, several at once; what it
                returns is delivered. An `AutomataCollate` is one.
            deliver: called with what was read in the thread of the training, for work that belongs
                there, such as ``lambda batch: batch.to("cuda", non_blocking=True)``.
            pin_memory: whether to read into page-locked memory; None: where CUDA is available.
            timeout: seconds after which waiting for a batch raises a TimeoutError; None: no limit.

        Raises:
            ValueError: if an option is out of range.
            TypeError: if `dataset` is not a `MapDataset`, or `timeout` is not a number.
        """
        require_attribute(dataset, "read", "a MapDataset")
        if num_threads is None:
            num_threads = min(max(default_threads() - 1, 1), 2)
        for name, value in (("num_threads", num_threads), ("prefetch", prefetch)):
            if integer(name, value) < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self._num_threads = min(num_threads, prefetch)
        self._prefetch = prefetch
        self._transform = transform
        self._deliver = deliver
        self._pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self._timeout = None if timeout is None else positive_seconds("timeout", timeout)
        self._reset()

    def _reset(self) -> None:
        """What a new process begins with."""
        self._process = os.getpid()
        self._memory: BatchBuffers = (
            PinnedMemory() if self._pin_memory else BatchMemory(self._prefetch + 2)
        )
        self._iteration: weakref.ref[_Iteration] | None = None
        self._position: State | None = None  # after the last delivered batch
        self._meter = Meter()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_memory", "_iteration", "_position", "_meter")
        return {key: value for key, value in self.__dict__.items() if key not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Steps of the iteration in progress; between iterations of the next one."""
        return len(self.batch_sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        """Begins an epoch, or the rest of one; ends the iteration before.

        Each batch is a `Batch`, or what `transform` and `deliver` made of it.

        Raises:
            LoaderError: from ``next``, if the iteration was closed, or if the process was forked.
            TimeoutError: from ``next``, see `timeout`.
            SprintCacheError, Exception: from ``next``, what reading or `transform` raised.
        """
        self.close()
        if self._process != os.getpid():
            self._reset()
        before = self._sampler_state()
        self._position = self._position or before  # if an exception comes into the first draw
        steps = iter(self.batch_sampler)
        first = next(steps, None)
        if first is None:
            self._position = self._sampler_state()
        else:
            begun = getattr(first, "state", None)
            if before is not None and begun is not None and before["epoch"] != begun["epoch"]:
                before = {**begun, "batch": 0}
            self._position = before
            steps = itertools.chain([first], steps)
        iteration = _Iteration(self, steps)
        self._iteration = weakref.ref(iteration)
        return iteration

    def close(self) -> None:
        """Ends the iteration and its threads; reads in progress finish first. Idempotent.

        The loader can be iterated again. Archives stay open.
        """
        iteration = None if self._iteration is None else self._iteration()
        self._iteration = None
        if iteration is not None and self._process == os.getpid():
            iteration.close()

    # ---- position

    def _sampler_state(self) -> State | None:
        state_dict = getattr(self.batch_sampler, "state_dict", None)
        return None if state_dict is None else state_dict()

    def state_dict(self) -> State:
        """The position after the last delivered batch; what was read ahead does not matter.

        After the end of an iteration, the beginning of the next epoch. It can be loaded with any
        number of threads or ranks, and by a `BatchSampler` as well.

        Raises:
            TypeError: if the sampler has no state.
        """
        state = self._position or self._sampler_state()
        if state is None:
            raise TypeError(f"{type(self.batch_sampler).__name__} has no state")
        return dict(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Ends the iteration and moves to a position; the next iteration is the rest of that epoch.

        Raises:
            ValueError: if it is not a state, or one of other data or options.
        """
        self.close()
        self.batch_sampler.load_state_dict(state)  # type: ignore[attr-defined]
        self._position = None

    def set_epoch(self, epoch: int) -> None:
        """Ends the iteration and sets the epoch of the next one, see `BatchSampler.set_epoch`.

        Raises:
            ValueError: if `epoch` is negative.
        """
        self.close()
        self.batch_sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        self._position = None

    # ---- figures

    def report(self) -> LoaderReport:
        """How long the training waited in this iteration, or in the last one; frames per second."""
        return self._meter.report()


class _Iteration:
    """The training's end of one iteration."""

    def __init__(self, loader: Loader, steps: Iterator[Sequence[int]]) -> None:
        self._loader = loader
        self._meter = loader._meter = Meter()
        self._is_exhausted = False
        number = loader._num_threads
        read = functools.partial(
            _read, loader.dataset, loader._memory, loader._transform, loader._pin_memory
        )
        # a transform belongs to a reading thread, and a timeout would not end a read
        reads = loader._transform is None and loader._timeout is None
        self._read = read if reads else None
        self._queue: StepQueue[Sequence[int], _Loaded] = StepQueue(
            steps, loader._prefetch, number, begin_first=reads
        )
        self._threads = [
            ServiceThread(f"sprintcache-loader-{index}", _read_steps, self._queue, read)
            for index in range(number)
        ]
        # joins nothing: the garbage collector may run it in a reading thread
        weakref.finalize(self, self._queue.stop).atexit = False
        closed_at_exit(_Iteration.close).add(self)
        start_threads(*self._threads)

    def __iter__(self) -> _Iteration:
        return self

    def __next__(self) -> Any:
        if self._is_exhausted:
            raise StopIteration
        self._meter.ask()
        try:
            taken = self._queue.take(self._loader._timeout, self._read)
        except BaseException:
            self._meter.stop()
            raise
        if taken is None:
            position = self._loader._sampler_state()
            self._meter.stop()
            self._loader._position, self._is_exhausted = position, True
            self.close()
            raise StopIteration
        loaded, depth = taken
        batch = loaded.batch
        if self._loader._deliver is not None:
            batch = self._loader._deliver(batch)
        self._meter.deliver(depth, loaded.num_frames)
        # without a call in between, so no handler runs
        self._loader._position = loaded.state
        self._queue.taken = None
        return batch

    def close(self) -> None:
        """Stops the queue and waits for the threads."""
        self._queue.stop()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            if thread is threading.current_thread():
                continue
            if not thread.wait(max(deadline - time.monotonic(), 0)):
                logger.warning("%s is still reading", thread.name)


class _Loaded(NamedTuple):
    """A batch on its way to the training."""

    batch: Any
    state: State | None
    num_frames: int


def _read_steps(
    queue: StepQueue[Sequence[int], _Loaded], read: Callable[[Sequence[int]], _Loaded]
) -> None:
    """What a reading thread does."""
    try:
        begun = queue.begin()
        while begun is not None:
            begun = queue.begin((begun[0], read(begun[1])))
    except BaseException as error:  # raised in the thread of the training
        queue.fail(error)
    finally:
        queue.leave()


def _read(
    dataset: MapDataset,
    memory: BatchBuffers,
    transform: Transform | None,
    pin: bool,
    seqs: Sequence[int],
) -> _Loaded:
    batch: Any = dataset.read(seqs, memory)
    lengths = next(iter(batch.lengths.values()), None)
    state, num_frames = batch.state, 0 if lengths is None else sum(lengths.tolist())
    if transform is not None:
        batch = transform(batch)
    if pin:  # what is pinned already is returned as it is
        batch = torch.utils.data._utils.pin_memory.pin_memory(batch)
    return _Loaded(batch, state, num_frames)
