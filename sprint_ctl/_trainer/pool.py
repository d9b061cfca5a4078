"""SprintInstancePool: several Sprints that share the sequences of a batch.

A batch is a queue of segments, longest first. Each Sprint takes the next segment as soon as its
last one is done. Results are written into the arrays of the batch, each segment into its own part.

States of a Sprint, and who may use it:

* idle: it runs, without a request. It belongs to the pool, and to the thread that holds ``lock``.
* in a batch: the thread of the caller holds ``lock`` and lends each Sprint to one thread, which
  alone starts it, uses it and, if necessary, ends it, until the thread is done. The Sprints that
  were not given up are idle or starting afterwards.
* starting: its process was started, its first answer is not read. In a batch its thread waits for
  that answer, until the batch is over: the other Sprints take the segments. Between batches it
  belongs to the pool as an idle one does. The next batch, in addition to the Sprints that it needs
  for its segments, has a thread for it that waits on. The first batch or
  `get_free_instance` after ``start_timeout`` finds it late, and it is lost or given up.
* used directly: `get_free_instance` returns an idle Sprint. While ``is_calculating``, it belongs to
  the caller, and a batch leaves it alone.
* lost: it was idle or in a batch, and has ended, hung or violated the protocol. It is restarted for
  the next segment.
* given up: its first start failed, or it was lost, with segments or in restarts, more than
  ``max_restarts`` times in a row. The pool drops it; the next batch starts another one.
* abandoned: the batch was broken off, by an exception of a signal handler, Ctrl-C say, whatever its
  type, by any other exception that is not a SprintError of ours, or by the interpreter's exit.
  The pool drops all Sprints of the batch before anything else is done, and each of them is ended:
  its unanswered request must not meet a later one. A batch starts others.

What counts as a try of a segment:

* A request that a running Sprint did not answer: it ended, hung, or violated the protocol. The
  segment is tried once more, by the next free Sprint; the second time it has failed for good.
* A Sprint that has ended before it is asked, between two batches say, is restarted first. If it
  ends at its first request in a batch, that does not count either: it may have ended before.
* A request that Sprint answers with an exception or a malformed automaton is not repeated: the
  segment has failed for good.

Losing a Sprint with the first try of a segment counts for the Sprint, the second one is blamed on
the segment; any answer sets the count to 0. A segment that failed does not keep the others from
being done; then the batch fails with its error, or, with ``on_failure="skip"``, the segment has
infinite loss and no gradient, and is counted. The batch fails in any case when the last Sprint is
given up, or when Sprints were lost with ``max_restarts`` of its segments and answered none.

A fork of this process has pools without Sprints: those of its parent are not its own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sprint_ctl._pipe.deadline import check_timeouts
from sprint_ctl.errors import SprintError
from sprintcache._checks import check_arguments
from sprintcache._interrupts import NoThreadError, ServiceThread, closed_at_exit, start_threads

from .automaton import Automaton, join_automata
from .batch import log_posteriors_array, sequence_lengths, sequence_names
from .batch_run import SegmentQueue, Task, run_batch
from .forks import watch_forks
from .instance import PooledInstance, SprintSubprocessInstance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["SprintInstancePool"]

_MAX_LOG_SUM = 0.1  # of a frame; half precision and many labels stay below
_TIMEOUTS = ("start_timeout", "request_timeout", "exit_timeout")

logger = logging.getLogger(__name__)


class SprintInstancePool:
    """Sprints with the same options, started when they are first needed.

    Attributes:
        class_lock: guards ``global_instances``.
        global_instances: the pools that `get_global_instance` has made.
        lock: held by the methods; callers may hold it around several calls.
        instances: the Sprints of the pool.
        num_skipped: segments that failed so far, with ``on_failure="skip"``.
    """

    class_lock = threading.RLock()
    global_instances: ClassVar[dict[Any, SprintInstancePool]] = {}

    @classmethod
    def get_global_instance(cls, sprint_opts: Mapping[str, Any]) -> SprintInstancePool:
        """Returns the one pool of this process with these options."""
        key = _hashable(sprint_opts)
        pool = cls.global_instances.get(key)
        if pool is None:
            new = cls(sprint_opts)
            with cls.class_lock:
                pool = cls.global_instances.setdefault(key, new)
        return pool

    def __init__(self, sprint_opts: Mapping[str, Any]) -> None:
        """Starts nothing yet.

        Args:
            sprint_opts: numInstances: number of Sprints (1); max_restarts: with how many segments
                in a row one may be lost and restarted (3); on_failure: "raise" or "skip"; all
                others go to `SprintSubprocessInstance`.

        Raises:
            TypeError: an unknown option, or no sprintExecPath.
            ValueError: an option out of range.
        """
        options = dict(sprint_opts)
        self.max_num_instances = int(options.pop("numInstances", 1))
        self.max_restarts = int(options.pop("max_restarts", 3))
        self.on_failure = str(options.pop("on_failure", "raise"))
        if self.max_num_instances < 1:
            raise ValueError(f"numInstances must be at least 1, not {self.max_num_instances}")
        if self.max_restarts < 0:
            raise ValueError(f"max_restarts must be at least 0, not {self.max_restarts}")
        if self.on_failure not in ("raise", "skip"):
            raise ValueError(f"on_failure must be 'raise' or 'skip', not {self.on_failure!r}")
        check_arguments("sprint_opts", SprintSubprocessInstance, **options)
        check_timeouts(**{name: options[name] for name in _TIMEOUTS if name in options})
        self.sprint_opts = options
        self.lock = threading.RLock()
        self.instances: list[SprintSubprocessInstance] = []
        self.num_skipped = 0
        self._is_checked = False
        self._lent: Sequence[SprintSubprocessInstance] = ()  # to the batch under way
        self._queue: SegmentQueue | None = None  # of that batch
        watch_forks(self)
        closed_at_exit(SprintInstancePool.before_exit).add(self)

    # ---- batches ---------------------------------------------------------------------------

    def get_batch_loss_and_error_signal(
        self, log_posteriors: Any, seq_lengths: ArrayLike, tags: Any = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns loss and error signal of each sequence.

        Args:
            log_posteriors: (time, batch, label): an array of any strides, a tensor or nested lists.
            seq_lengths: (batch,) of any integer type.
            tags: names of the segments: str or bytes, or an array of characters.

        Returns:
            loss (batch,) float32, error signal (time, batch, label) float32, zero beyond each
            length.

        Raises:
            TypeError: posteriors or lengths that are not numbers, tags that are not names.
            ValueError: no tags, shapes that do not match, or a sequence without frames.
            SprintError: the error of the first sequence that failed; see ``on_failure``.
        """
        names = sequence_names(tags)
        posteriors = log_posteriors_array(log_posteriors, len(names))
        lengths = sequence_lengths(seq_lengths, len(names), len(posteriors))
        self._check_normalized(posteriors, lengths)
        loss = np.zeros(len(names), np.float32)
        error_signal = np.zeros(posteriors.shape, np.float32)

        def task(instance: SprintSubprocessInstance, index: int) -> None:
            length = lengths[index]
            loss[index] = instance.get_loss_and_error_signal(
                names[index], posteriors[:length, index], error_signal[:length, index]
            )

        order = sorted(range(len(names)), key=lambda index: -lengths[index])
        queue = SegmentQueue(index for index in order if lengths[index])
        for index in order:
            if not lengths[index]:
                queue.failures[index] = ValueError(f"segment {names[index]!r} has no frames")
        self._run(queue, task, self.on_failure)
        for index, error in queue.failures.items():
            loss[index] = np.inf
            error_signal[:, index] = 0
            logger.warning("segment %r is skipped: %s", names[index], error)
        return loss, error_signal

    def get_automata_for_batch(
        self, tags: Any
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32]]:
        """Returns the automata of allophone states of some segments, joined into one.

        Args:
            tags: names of the segments: str or bytes, or an array of characters.

        Returns:
            edges (4, E) uint32, rows: from, to, emission, sequence; weights (E,) float32; start and
            end state of each sequence (2, batch) uint32.

        Raises:
            ValueError: no tags.
            SprintError: the error of the first segment that failed, whatever ``on_failure`` is.
        """
        names = sequence_names(tags)
        automata: dict[int, Automaton] = {}

        def task(instance: SprintSubprocessInstance, index: int) -> None:
            automata[index] = instance.get_automaton(names[index])

        self._run(SegmentQueue(range(len(names))), task, "raise")
        return join_automata([automata[index] for index in range(len(names))])

    def _check_normalized(self, posteriors: NDArray[Any], lengths: Sequence[int]) -> None:
        """Warns, in the first batch, about logits or probabilities instead of log posteriors."""
        if self._is_checked or not any(lengths):
            return
        self._is_checked = True
        frame = posteriors[0, int(np.argmax(lengths))].astype(np.float64)
        with np.errstate(invalid="ignore"):
            log_sum = float(np.logaddexp.reduce(frame)) if frame.size else 0.0
        if not abs(log_sum) <= _MAX_LOG_SUM:
            logger.warning(
                "these are not log posteriors: the labels of a frame have the log sum %.3g instead"
                " of 0; pass the output of a log_softmax",
                log_sum,
            )

    def _run(self, queue: SegmentQueue, task: Task, on_failure: str) -> None:
        """Has the segments of a batch done; raises unless all were, or may be skipped."""
        with self.lock:
            if queue:
                remaining = self._run_lent(queue, task)
                nothing = not queue.has_answer and queue.num_lost >= max(self.max_restarts, 1)
                if not remaining or nothing:
                    raise queue.last_loss or SprintError("no Sprint is left")
            if queue.failures:
                if on_failure == "raise":
                    raise queue.failures[min(queue.failures)]
                self.num_skipped += len(queue.failures)

    def _run_lent(self, queue: SegmentQueue, task: Task) -> Sequence[SprintSubprocessInstance]:
        """Lends Sprints to a batch, and drops them if it is broken off; returns who remains."""
        lent = self._choose(len(queue))
        # in a generator they would stay lent while the traceback of an interrupt exists
        try:
            self._queue = queue
            self._lent = lent
            self.instances += [i for i in lent if i not in self.instances]
            remaining = run_batch(queue, lent, task, self.max_restarts)
            self.instances = [
                i
                for i in self.instances
                if i not in lent or (i in remaining and (i.was_ready or i.is_starting))
            ]
        except BaseException:
            self.instances = [i for i in self.instances if i not in lent]
            raise
        finally:
            self._lent = ()
            self._queue = None
        return remaining

    def _choose(self, num_segments: int) -> list[SprintSubprocessInstance]:
        """The Sprints for a batch: idle and new ones, and those that are starting."""
        if self._lent:  # by a signal handler
            raise SprintError("this thread has a batch under way")
        starting = [i for i in self.instances if i.is_starting]
        lent = [i for i in self.instances if not i.is_calculating and not i.is_starting]
        most = self.max_num_instances - len(self.instances) + len(lent)
        number = min(num_segments, most)
        if number < 1 and not starting:
            raise SprintError("all Sprints of the pool have requests that were sent directly")
        lent = sorted(lent, key=lambda i: not i.is_ready)[:number]
        while len(lent) < number:
            lent.append(PooledInstance(**self.sprint_opts))
        return lent + starting

    # ---- single Sprints --------------------------------------------------------------------

    def get_free_instance(self) -> SprintSubprocessInstance | None:
        """Returns an idle Sprint, started if necessary; None if all have requests under way."""
        with self.lock:
            free = [i for i in self.instances if not i.is_calculating]
            if free:
                instance = min(free, key=lambda i: (not i.is_ready, not i.is_starting))
                if instance.is_starting:
                    instance.await_ready()
                elif not instance.is_ready:
                    instance.init()
                return instance
            if len(self.instances) == self.max_num_instances:
                return None
            instance = SprintSubprocessInstance(**self.sprint_opts)
            self.instances.append(instance)
            return instance

    def close(self) -> None:
        """Ends all Sprints; the next batch starts others.

        Waits for a batch of another thread. From a signal handler, in the middle of a batch of the
        same thread, it ends the processes at once.
        """
        with self.lock:
            if self._lent:
                for instance in self._lent:
                    instance.end()
                return
            instances, self.instances = self.instances, []
            threads = [ServiceThread("end of Sprint", i.exit_handler) for i in instances]
            with contextlib.suppress(NoThreadError):  # at the exit, say
                start_threads(*threads)
            for instance, thread in zip(instances, threads, strict=True):
                if thread.ident is None:
                    instance.exit_handler()
                thread.wait()

    def before_exit(self) -> None:
        """Breaks off the batch of another thread, and starts, when the interpreter ends."""
        queue, lent = self._queue, self._lent
        if queue is not None:
            queue.cancel()
        for instance in self.instances:
            if instance in lent or instance.is_starting:
                instance.end()

    def after_fork(self) -> None:
        """Drops the Sprints of the parent, and locks that another thread may have held."""
        SprintInstancePool.class_lock = threading.RLock()
        self.lock = threading.RLock()
        self.instances = []
        self._lent = ()
        self._queue = None


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    return value
