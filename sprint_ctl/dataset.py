"""ExternSprintDataset: training data from Sprint processes, one for every epoch.

Threads: the training's thread calls the methods. One thread per epoch reads from its Sprint into
the cache of that epoch and, when the epoch is complete, starts the Sprint of the next one ahead
(``prefetch_epochs``), which blocks on its pipe until its epoch begins. A cache belongs to one
epoch, so sequences of an interrupted epoch cannot reach the next.

Ends: if an epoch is left early, its Sprint is asked to end, and terminated after ``exit_timeout``
seconds. Errors of Sprint are raised in the training's thread, instead of the sequence that is
missing. `close`, dropping the dataset and the end of the interpreter end all processes; so does the
death of the trainer (`sprint_ctl._sprint.orphan`).

Other processes: a fork or a pickled copy is a dataset without an epoch, which starts its own
Sprints; so it works in the workers of a DataLoader.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sprintcache._checks import check_not_negative
from sprintcache.ordering import check_epoch

from ._pipe.deadline import check_timeouts
from ._sequences.sequence_cache import SequenceCache
from ._trainer.epoch_reader import EpochReaders
from ._trainer.forks import watch_forks
from ._trainer.segment_receiver import SegmentStream, StreamOptions
from .command import CommandLine, find_executable, from_returnn, split_command
from .dataset_base import SprintDatasetBase
from .errors import SprintError

__all__ = ["ExternSprintDataset", "SprintDatasetBase"]

logger = logging.getLogger(__name__)

_JOIN_TIMEOUT = 10.0  # seconds beyond exit_timeout, for a reader whose Sprint should have ended


class ExternSprintDataset(SprintDatasetBase):
    """Sequences that a Sprint process extracts, by default in the order of Sprint."""

    def __init__(
        self,
        sprintTrainerExecPath: CommandLine,  # noqa: N803
        sprintConfigStr: CommandLine,  # noqa: N803
        partitionEpoch: int | None = 1,  # noqa: N803
        *,
        prefetch_epochs: int = 0,
        start_timeout: float | None = 1800.0,
        exit_timeout: float | None = 10.0,
        sprintControlConfig: Mapping[str, Any] | None = None,  # noqa: N803
        environment: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Accepts the options; Sprint is started with the first epoch.

        Asking for the dimensions begins the first epoch, and `init_seq_order(1)` continues it.

        Args:
            sprintTrainerExecPath: Sprint's nn-trainer, see `sprint_ctl.command.find_executable`.
            sprintConfigStr: its arguments: a string as for a shell, a list, or a function. They
                name the action: python-control with python-control-loop-type=iterate-corpus, or
                supervised-training or unsupervised-training with buffer-type=utterance. Options
                that this class needs are appended, and win.
            partitionEpoch: the same as ``partition_epoch``: an epoch is one of that many parts of
                the corpus (``corpus.partition``); None: 1.
            prefetch_epochs: number of following epochs whose Sprint is started ahead.
            start_timeout: seconds until Sprint has started and extracted the first segment; None:
                no limit.
            exit_timeout: seconds for Sprint to exit at the end, or when asked to; it is then
                terminated.
            sprintControlConfig: further pairs of the configuration string of the module.
            environment: environment variables of Sprint, in addition to those of this process.
            **kwargs: those of `SprintDatasetBase`. With a ``seq_ordering`` other than "default"
                our module orders the segments, by the length in seconds that Sprint knows;
                ``num_shards``, ``shard_index`` cut each part further; ``seq_list_filter_file``
                is passed to Sprint as ``corpus.segments.file``.

        Raises:
            SprintStartError: the executable does not exist.
            ValueError, TypeError: an option out of range.
        """
        self._arguments = (
            (sprintTrainerExecPath, sprintConfigStr),
            {
                "partitionEpoch": partitionEpoch,
                "prefetch_epochs": prefetch_epochs,
                "start_timeout": start_timeout,
                "exit_timeout": exit_timeout,
                "sprintControlConfig": sprintControlConfig,
                "environment": environment,
                **kwargs,
            },
        )
        parts = kwargs.pop("partition_epoch", None)
        if partitionEpoch not in (None, 1, parts) and parts not in (None, 1):
            raise ValueError(f"partitionEpoch={partitionEpoch} and partition_epoch={parts}")
        parts = partitionEpoch if parts in (None, 1) else parts
        self._dimensions: tuple[int, int] | None = None
        super().__init__(partition_epoch=parts, **kwargs)
        check_not_negative(prefetch_epochs=prefetch_epochs)
        timeouts = check_timeouts(start_timeout=start_timeout, exit_timeout=exit_timeout)
        if self.ordering.repeat_epoch > 1 and self.ordering.partition_epoch > 1:
            raise ValueError("repeat_epoch and partition_epoch exclude each other")
        if self.ordering.unique_seqs:
            logger.warning(
                "%s: unique_seq_tags has no effect: Sprint lists the segments", self.name
            )
        if self.seq_order_seq_lens_file is not None:
            raise ValueError("seq_order_seq_lens_file: Sprint orders by the lengths it knows")
        if str(self.seq_list_filter_file or "").endswith((".pkl", ".pkl.gz")):
            raise ValueError(
                f"seq_list_filter_file {self.seq_list_filter_file}: Sprint reads text files, not"
                " pickled lists"
            )
        find_executable(sprintTrainerExecPath)
        self.prefetch_epochs = prefetch_epochs
        self._options = StreamOptions(
            sprintTrainerExecPath,
            split_command(from_returnn(sprintConfigStr)),
            timeouts["start_timeout"],
            self._cache.take_timeout,
            timeouts["exit_timeout"],
            dict(sprintControlConfig or {}),
            environment,
        )
        self.useMultipleEpochs()
        self._running = EpochReaders(self._new_cache(), self._options.exit_timeout + _JOIN_TIMEOUT)
        self._finalizer = weakref.finalize(self, self._running.release)
        watch_forks(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), *self._arguments, self._dimensions)

    def _new_cache(self) -> SequenceCache:
        """The cache of an epoch; its consumer waits longer than its reader does."""
        options = self._options
        patience = options.start_timeout + options.data_timeout + options.exit_timeout
        old = self._cache
        self._cache = SequenceCache(old.max_bytes, patience, old.add_timeout)
        self._cache.keeps_step = True
        return self._cache

    # ---- dimensions ------------------------------------------------------------------------

    def set_dimensions(self, input_dim: int, output_dim: int) -> None:
        """Alias of `setDimensions`."""
        self._dimensions = input_dim, output_dim
        super().set_dimensions(input_dim, output_dim)

    def _know_dimensions(self) -> None:
        if self._dimensions is None:
            if self._running.begun is None:
                self.init_seq_order(1)
            self._cache.reach(0)
            if self._dimensions is None:
                raise SprintError("Sprint has visited no segment: the dimensions are not known")

    @property
    def num_inputs(self) -> int:
        """Dimension of "data" before the window; starts Sprint if it is not known.

        Raises:
            SprintError: Sprint fails, or visits no segment.
        """
        self._know_dimensions()
        return self._num_inputs

    @num_inputs.setter
    def num_inputs(self, value: int) -> None:
        self._num_inputs = value

    @property
    def num_outputs(self) -> dict[str, tuple[int, int]]:
        """Data key to (dimension or number of classes, axes); starts Sprint if not known.

        Raises:
            SprintError: Sprint fails, or visits no segment.
        """
        self._know_dimensions()
        return self._num_outputs

    @num_outputs.setter
    def num_outputs(self, value: dict[str, tuple[int, int]]) -> None:
        self._num_outputs = value

    # ---- the epoch -------------------------------------------------------------------------

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        *,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch, and ends the one under way.

        Args:
            epoch: counted from 1; None: 1.
            seq_list: tags of exactly the sequences to deliver, in this order; from the whole
                corpus, whatever the partition.
            seq_order: not possible: Sprint's segments have no index.

        Returns:
            False if this epoch has begun already, and nothing was consumed.

        Raises:
            SprintStartError: Sprint cannot be started.
            ValueError: a negative epoch.
            NotImplementedError: there is a `seq_order`.
        """
        if seq_order is not None:
            return super().init_seq_order(epoch, seq_list, seq_order=seq_order)
        epoch = 1 if epoch is None else check_epoch(epoch)
        seq_tags = None if seq_list is None else list(seq_list)
        running = self._running
        if self.predefined_seq_list_order is None and self._is_complete():
            self._estimated_num_seqs = self.num_seqs
        begun = epoch, seq_tags, self.ordering
        if running.begun == begun and self._cache.is_untouched:
            return False
        running.end_epoch()
        cache = running.cache = self._new_cache()
        super().init_seq_order(epoch, seq_tags)
        if seq_tags is not None and not seq_tags:  # Sprint treats an empty list as none
            cache.begin(epoch)
            cache.finish()
        else:
            ahead = running.take(epoch, None if seq_tags is not None else self.ordering)
            running.read(self, ahead or self._start(epoch, seq_tags))
        running.begun = begun  # an epoch whose start failed or was interrupted can be begun again
        return True

    init_epoch = init_seq_order

    def _start(self, epoch: int, seq_list: Sequence[str] | None = None) -> SegmentStream:
        """Starts the Sprint of an epoch."""
        ordering = self.ordering
        corpus = [f"--*.seed={(ordering.seed(epoch) - 1) % (1 << 31)}"]
        config: dict[str, Any] = {"epoch": epoch}
        if seq_list is None:
            parts = ordering.partition_epoch * ordering.num_shards
            if parts > 1:
                part = (epoch - 1) % ordering.partition_epoch
                part += ordering.partition_epoch * ordering.shard_index
                corpus += [
                    f"--*.corpus.partition={parts}",
                    f"--*.corpus.select-partition={part}",
                ]
            if self.seq_list_filter_file is not None:
                corpus.append(f"--*.corpus.segments.file={self.seq_list_filter_file}")
            rule = ordering.rule(epoch)
            if rule != "default":
                config.update(seq_ordering=rule, seq_seed=ordering.seed(epoch))
            if ordering.repeat_epoch > 1:
                config["repeat_epoch"] = ordering.repeat_epoch
            if replace(ordering, seq_ordering=rule).needs_lengths:
                corpus.append("--*.python-segment-order-with-segment-info=true")
        return SegmentStream(self._options, epoch, corpus, config, seq_list)

    def _start_ahead(self, epoch: int) -> None:
        """Starts the Sprints of the epochs that will probably follow."""
        if self.predefined_seq_list_order is None:
            with contextlib.suppress(SprintError):  # raised when the epoch begins
                for following in range(epoch + 1, epoch + 1 + self.prefetch_epochs):
                    self._running.start_ahead(epoch, following, self.ordering, self._start)

    def reader_thread_proc(self, child_pid: int, epoch: int) -> None:
        """Waits until all data of the current epoch was read from Sprint.

        A separate thread reads, from the beginning of the epoch.

        Args:
            child_pid: its process id; returns at once for another one.
            epoch: its epoch.
        """
        self._running.wait(child_pid, epoch)

    def stop(self) -> None:
        """Ends the epoch of the training; alias of `finish_epoch`."""
        self.finish_epoch()

    def finish_epoch(self, *, free_resources: bool = False) -> None:
        """Ends the epoch of the training.

        Args:
            free_resources: also ends Sprints that were started ahead.
        """
        self._running.end_epoch()
        if free_resources:
            self._running.end_ahead()

    # ---- ends ------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends all Sprint processes. Idempotent; `init_seq_order` starts new ones."""
        self._running.release(ask=True)

    def exit_handler(self) -> None:
        """Alias of `close`."""
        self.close()

    def __enter__(self) -> ExternSprintDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """Drops the processes and threads of the parent; see `watch_forks`."""
        self._finalizer.detach()
        self.epoch = None
        self._running = EpochReaders(self._new_cache(), self._options.exit_timeout + _JOIN_TIMEOUT)
        self._finalizer = weakref.finalize(self, self._running.release)


def _restored(
    kind: type[ExternSprintDataset],
    arguments: tuple[CommandLine, CommandLine],
    options: Mapping[str, Any],
    dimensions: tuple[int, int] | None,
) -> ExternSprintDataset:
    dataset = kind(*arguments, **options)
    if dimensions is not None:
        dataset.set_dimensions(*dimensions)
    return dataset
