"""SprintInstancePool: several Sprints that share the sequences of a batch.

A batch is a queue of sequences, longest first. Each Sprint has a thread that takes the next
sequence as soon as the last is done; with one Sprint the caller does it. Results are written into
the arrays of the batch, each sequence into its own part.

When a Sprint dies, hangs or talks nonsense, its thread starts it anew and the sequence is tried
once more, by whoever comes first; a Sprint that fails ``max_restarts`` times in a row is
given up. A sequence that fails for good does not keep the others from being done; then the batch
fails with its error, or, with ``on_failure="skip"``, it has infinite loss and no gradient, and is
counted. When the last Sprint is given up, the batch fails in any case.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sprint_ctl.errors import SprintError, SprintRequestError
from sprintcache._checks import check_arguments

from .batch import Automaton, join_automata, sequence_lengths, sequence_names
from .instance import SprintSubprocessInstance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ReaderThread", "SprintInstancePool"]

Task = Callable[[SprintSubprocessInstance, int], None]

logger = logging.getLogger(__name__)


class _Worker(threading.Thread):
    """Does tasks with one Sprint.

    Attributes:
        exception: what ended it early, or None.
    """

    def __init__(
        self,
        instance: SprintSubprocessInstance,
        instance_idx: int,
        batch_idxs: Iterable[int],
        task: Task,
        recover: Callable[[SprintSubprocessInstance, int, Exception], bool] | None = None,
    ) -> None:
        super().__init__(name=f"Sprint {instance_idx}", daemon=True)
        self.instance = instance
        self.batch_idxs = batch_idxs
        self.exception: Exception | None = None
        self._task = task
        self._recover = recover

    def run(self) -> None:
        for index in self.batch_idxs:
            try:
                self._task(self.instance, index)
            except Exception as error:
                if self._recover is None or not self._recover(self.instance, index, error):
                    self.exception = error
                    return


class ReaderThread(_Worker):
    """Computes losses and error signals of some sequences of a batch; starts at once."""

    def __init__(
        self,
        instance: SprintSubprocessInstance,
        instance_idx: int,
        batch_idxs: Iterable[int],
        tags: Sequence[str],
        seq_lengths: Sequence[int] | NDArray[np.integer[Any]],
        log_posteriors: NDArray[Any],
        batch_loss: NDArray[np.float32],
        batch_error_signal: NDArray[np.float32],
        *,
        recover: Callable[[SprintSubprocessInstance, int, Exception], bool] | None = None,
    ) -> None:
        """Starts the thread.

        Args:
            instance: used by no other thread.
            instance_idx: its number, for the name of the thread.
            batch_idxs: which sequences; may be an iterator that threads share.
            tags: names of all sequences of the batch.
            seq_lengths: (batch,) their lengths.
            log_posteriors: (time, batch, label).
            batch_loss: (batch,), written.
            batch_error_signal: (time, batch, label), written.
            recover: called with instance, sequence and error; whether to go on. Without, the first
                error ends the thread and is kept in ``exception``.
        """
        arrays = tags, seq_lengths, log_posteriors, batch_loss, batch_error_signal
        super().__init__(instance, instance_idx, batch_idxs, _loss_task(*arrays), recover)
        self.start()


def _loss_task(
    tags: Sequence[str],
    seq_lengths: Sequence[int] | NDArray[np.integer[Any]],
    log_posteriors: NDArray[Any],
    batch_loss: NDArray[np.float32],
    batch_error_signal: NDArray[np.float32],
) -> Task:
    def task(instance: SprintSubprocessInstance, index: int) -> None:
        length = int(seq_lengths[index])
        instance.get_loss_and_error_signal__send(
            tags[index], length, log_posteriors[:length, index]
        )
        _, loss, _ = instance.get_loss_and_error_signal__read(batch_error_signal[:length, index])
        batch_loss[index] = loss

    return task


class _Jobs(Iterator[int]):
    """The queue of a batch, shared by its threads, and what went wrong.

    Attributes:
        failures: errors of sequences that failed for good.
        last_death: the last error that ended a Sprint.
        cancelled: set when the caller waits no more.
    """

    def __init__(self, order: Iterable[int], max_restarts: int, last_death: Exception) -> None:
        self.failures: dict[int, Exception] = {}
        self.last_death = last_death
        self.cancelled = threading.Event()
        self._waiting = deque(order)
        self._tried: set[int] = set()
        self._lock = threading.Lock()
        self._max_restarts = max_restarts

    def __next__(self) -> int:
        with self._lock:
            if not self._waiting or self.cancelled.is_set():
                raise StopIteration
            return self._waiting.popleft()

    def __len__(self) -> int:
        return len(self._waiting)

    def recover(self, instance: SprintSubprocessInstance, index: int, error: Exception) -> bool:
        """Notes an error, restarts a Sprint that is gone; whether it can go on."""
        if self.cancelled.is_set():
            return False
        if isinstance(error, SprintRequestError) or not isinstance(error, SprintError):
            self.failures[index] = error  # Sprint lives
            return True
        with self._lock:
            self.last_death = error
            if index in self._tried:
                self.failures[index] = error
            else:
                self._tried.add(index)
                self._waiting.appendleft(index)
        while not self.cancelled.is_set():
            instance.deaths += 1
            logger.warning("%s", self.last_death)
            if instance.deaths > self._max_restarts:
                logger.warning("a Sprint is given up after %d restarts", self._max_restarts)
                return False
            try:
                instance.init()
            except SprintError as again:
                self.last_death = again
            else:
                return True
        return False


class SprintInstancePool:
    """Sprints with the same options, started when they are first needed.

    Attributes:
        class_lock: guards ``global_instances``.
        global_instances: the pools that `get_global_instance` has made.
        lock: held by the methods; callers may hold it around several calls.
        instances: the Sprints that were started.
        num_skipped: sequences that failed so far, with ``on_failure="skip"``.
    """

    class_lock = threading.RLock()
    global_instances: ClassVar[dict[Any, SprintInstancePool]] = {}

    @classmethod
    def get_global_instance(cls, sprint_opts: Mapping[str, Any]) -> SprintInstancePool:
        """The one pool of this process with these options."""
        key = _hashable(sprint_opts)
        with cls.class_lock:
            if key not in cls.global_instances:
                cls.global_instances[key] = cls(sprint_opts)
            return cls.global_instances[key]

    def __init__(self, sprint_opts: Mapping[str, Any]) -> None:
        """Starts nothing yet.

        Args:
            sprint_opts: numInstances: how many Sprints (1); max_restarts: how often in a row one is
                started anew (3); on_failure: "raise" or "skip"; all others go to
                `SprintSubprocessInstance`.

        Raises:
            TypeError: an option that is not known, or no sprintExecPath.
            ValueError: an option out of range.
        """
        options = dict(sprint_opts)
        self.max_num_instances = int(options.pop("numInstances", 1))
        self.max_restarts = int(options.pop("max_restarts", 3))
        self.on_failure = str(options.pop("on_failure", "raise"))
        if self.max_num_instances < 1:
            raise ValueError(f"numInstances {self.max_num_instances}: at least 1")
        if self.on_failure not in ("raise", "skip"):
            raise ValueError(f"on_failure {self.on_failure!r}: 'raise' or 'skip'")
        check_arguments("sprint_opts", SprintSubprocessInstance, **options)
        self.sprint_opts = options
        self.lock = threading.RLock()
        self.instances: list[SprintSubprocessInstance] = []
        self.num_skipped = 0
        self._last_death: Exception = SprintError("no Sprint is left")

    def get_batch_loss_and_error_signal(
        self,
        log_posteriors: NDArray[Any],
        seq_lengths: ArrayLike,
        tags: Any = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Loss and error signal of each sequence.

        Args:
            log_posteriors: (time, batch, label), any strides.
            seq_lengths: (batch,) of any integer type.
            tags: names of the segments: str or bytes, or an array of characters.

        Returns:
            loss (batch,) float32, error signal (time, batch, label) float32, zero beyond each
            length.

        Raises:
            ValueError: no tags, shapes that do not fit, or a sequence without frames.
            SprintError: what befell the first sequence that failed; see ``on_failure``.
        """
        names = sequence_names(tags)
        if log_posteriors.ndim != 3 or log_posteriors.shape[1] != len(names):
            raise ValueError(
                f"posteriors of shape {log_posteriors.shape} for {len(names)} tags,"
                " expected (time, batch, label)"
            )
        lengths = sequence_lengths(seq_lengths, len(names), len(log_posteriors))
        loss = np.zeros(len(names), np.float32)
        error_signal = np.zeros(log_posteriors.shape, np.float32)
        arrays = names, lengths, log_posteriors, loss, error_signal

        def start(instance: SprintSubprocessInstance, number: int, jobs: _Jobs) -> threading.Thread:
            return ReaderThread(instance, number, jobs, *arrays, recover=jobs.recover)

        order = sorted(range(len(names)), key=lambda index: -lengths[index])
        failures = self._do(order, _loss_task(*arrays), start)
        for index, error in failures.items():
            loss[index] = np.inf
            logger.warning("segment %r is skipped: %s", names[index], error)
        return loss, error_signal

    def get_automata_for_batch(
        self, tags: Any
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32]]:
        """Automata of allophone states of some segments, joined into one.

        Args:
            tags: names of the segments: str or bytes, or an array of characters.

        Returns:
            edges (4, E) uint32, rows: from, to, emission, sequence; weights (E,) float32; start and
            end state of each sequence (2, batch) uint32.

        Raises:
            ValueError: no tags.
            SprintError: what befell the first sequence that failed, whatever ``on_failure`` is.
        """
        names = sequence_names(tags)
        automata: list[Automaton | None] = [None] * len(names)

        def task(instance: SprintSubprocessInstance, index: int) -> None:
            automata[index] = instance.get_automaton(names[index])

        def start(instance: SprintSubprocessInstance, number: int, jobs: _Jobs) -> threading.Thread:
            worker = _Worker(instance, number, jobs, task, jobs.recover)
            worker.start()
            return worker

        self._do(range(len(names)), task, start, on_failure="raise")
        return join_automata([automaton for automaton in automata if automaton is not None])

    def _do(
        self,
        order: Sequence[int],
        task: Task,
        start: Callable[[SprintSubprocessInstance, int, _Jobs], threading.Thread],
        on_failure: str | None = None,
    ) -> dict[int, Exception]:
        """Has tasks done by all Sprints; the errors of those that failed, if that is allowed."""
        jobs = _Jobs(order, self.max_restarts, self._last_death)
        with self.lock:
            while jobs:
                instances = self._start(min(self.max_num_instances, len(jobs)))
                if not instances:
                    self._last_death = jobs.last_death  # tells the next batch why
                    raise jobs.last_death
                if len(instances) == 1:
                    _Worker(instances[0], 0, jobs, task, jobs.recover).run()
                    continue
                threads = [start(instance, i, jobs) for i, instance in enumerate(instances)]
                try:
                    for thread in threads:
                        thread.join()
                except BaseException:
                    jobs.cancelled.set()  # the caller was interrupted
                    self.close()
                    raise
            if jobs.failures:
                if (on_failure or self.on_failure) == "raise":
                    raise jobs.failures[min(jobs.failures)]
                self.num_skipped += len(jobs.failures)
        return jobs.failures

    def _start(self, number: int) -> list[SprintSubprocessInstance]:
        """So many Sprints that are not given up, or as many as there are; new ones at once."""
        missing = min(number, self.max_num_instances) - len(self.instances)
        if missing == 1:
            self.instances.append(SprintSubprocessInstance(**self.sprint_opts))
        elif missing > 1:
            errors: list[Exception] = []

            def start() -> None:
                try:
                    self.instances.append(SprintSubprocessInstance(**self.sprint_opts))
                except Exception as error:
                    errors.append(error)

            threads = [threading.Thread(target=start, daemon=True) for _ in range(missing)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if errors:
                raise errors[0]
        return [i for i in self.instances if i.deaths <= self.max_restarts][:number]

    def get_free_instance(self) -> SprintSubprocessInstance | None:
        """A Sprint without a request under way, started if need be; None when all are busy."""
        with self.lock:
            for instance in self.instances:
                if not instance.is_calculating:
                    return instance
            if len(self.instances) < self.max_num_instances:
                return self._start(len(self.instances) + 1)[-1]
            return None

    def close(self) -> None:
        """Ends all Sprints; the next batch starts them again."""
        with self.lock:
            instances, self.instances = self.instances, []
            threads = [threading.Thread(target=i.exit_handler, daemon=True) for i in instances]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    return value
