"""EngineRunner: a user's engine and the segments that Sprint hands it, in one process.

There are two threads. Sprint's thread makes the calls: it forwards, or adds sequences to a dataset.
The engine's thread runs ``train`` on that dataset; `sprint_ctl.dataset_base` says how they wait for
each other. When ``train`` returns, further segments are dropped and the list of segments ends; when
it fails, the next call of Sprint raises the error, which ends Sprint. At its end Sprint waits until
``train`` has processed all sequences, at most ``finish_timeout`` seconds (config; one day).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.config import parse_config
from sprint_ctl.dataset_base import SprintDatasetBase
from sprint_ctl.engine import call_optional, load_engine, log_posteriors, required_method
from sprint_ctl.errors import SprintError, SprintTimeoutError
from sprintcache._interrupts import ServiceThread, start_threads
from sprintcache.ordering import Ordering

from .log import configure_log, log
from .segment_calls import deliver_to, sink
from .segment_order import ordered_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["EngineRunner"]


class EngineRunner:
    """Runs an engine in this process: the sink of the segments that Sprint delivers.

    Attributes:
        config: the pairs of all configuration strings of this process.
        output_dim: number of classes, 0 if not known.
    """

    @classmethod
    def of(cls, config: str) -> EngineRunner:
        """The one of this process, with the configurations of all calls so far."""
        runner = sink()
        if not isinstance(runner, cls):
            runner = cls()
            deliver_to(runner)
        runner.config.update(parse_config(config))
        configure_log(runner.config)
        return runner

    def __init__(self) -> None:
        self.config: dict[str, str] = {}
        self.output_dim = 0
        self._engine: Any = None
        self._dataset: SprintDatasetBase | None = None
        self._thread: ServiceThread | None = None
        self._error: BaseException | None = None
        self._has_order = self._has_finished = False
        self._epoch: int | None = None  # that Sprint visits, where this module orders the segments
        self._min_frames = 1.0  # fraction of the frames that posteriors must have

    @property
    def engine(self) -> Any:
        """The engine, created on first use."""
        if self._engine is None:
            self._engine = load_engine(self.config)
        return self._engine

    @property
    def dataset(self) -> SprintDatasetBase:
        """The dataset of ``train``."""
        if self._dataset is None:
            options = getattr(self.engine, "dataset_options", {})
            self._dataset = SprintDatasetBase(**options)
        return self._dataset

    # ---- data ------------------------------------------------------------------------------

    def start(self, input_dim: int, output_dim: int) -> None:
        """Begins to train. Idempotent."""
        if self._thread is not None:
            return
        log("train:", input_dim, output_dim, dict(self.config))
        required_method(self.engine, "train")
        call_optional(self.engine, "init", input_dim, output_dim)
        self.dataset.set_dimensions(input_dim, output_dim)
        if self._has_order:
            self.dataset.useMultipleEpochs()
        self.dataset.initSprintEpoch(self._epoch)
        self._thread = ServiceThread("engine", self._train)
        start_threads(self._thread)

    def _train(self) -> None:
        try:
            self.engine.train(self.dataset)
        except BaseException as error:
            self._error = error
        finally:
            self.dataset.stop()

    def send(
        self, name: str | None, features: NDArray[Any] | None, targets: Mapping[str, Any]
    ) -> None:
        """Adds a segment to the dataset."""
        self._check()
        self.dataset.addNewData(features, targets, name)

    def finish(self) -> None:
        """Waits until the engine has finished. Idempotent."""
        if self._has_finished:
            return
        self._has_finished = True
        if self._thread is not None:
            if not self._has_order:
                self.dataset.finishSprintEpoch()
            self.dataset.finalizeSprint()
            timeout = float(self.config.get("finish_timeout", 86400))
            if not self._thread.wait(timeout):
                raise SprintTimeoutError(f"the engine still trains after {timeout:g} s")
            self._check()
        call_optional(self._engine, "exit")

    def report(self, text: str) -> None:
        """Makes the engine raise, where it waits for data."""
        log(text)
        if self._thread is not None:
            self.dataset.fail(SprintError("Sprint has failed", remote=text))

    def _check(self) -> None:
        if self._error is not None:
            raise SprintError(f"the engine has failed: {self._error!r}") from self._error

    # ---- order -----------------------------------------------------------------------------

    def segments(
        self, names: Sequence[str], info: Mapping[str, Mapping[str, Any]] | None
    ) -> Iterator[str]:
        """The names of all epochs, lazily.

        Config keys: ``epoch``, the first one (1); ``epochs``, how many (1); ``seq_ordering``,
        ``partition_epoch``, see `sprintcache.ordering`.
        """
        first = int(self.config.get("epoch", 1))
        rule = self.config.get("seq_ordering", "default")
        ordering = Ordering(rule, int(self.config.get("partition_epoch", 1)))
        self._has_order = True
        for epoch in range(first, first + int(self.config.get("epochs", 1))):
            # before Sprint has called init, neither engine nor options are known
            if self._thread is not None:
                if epoch > first and not self.dataset.waitForCrnnEpoch(epoch):
                    break
                self.dataset.initSprintEpoch(epoch)
            self._epoch = epoch
            order = ordered_names(ordering, epoch, names, info)
            for index, name in enumerate(order):
                self._check()
                if self._thread is not None:
                    if self.dataset.is_stopped:
                        break
                    self.dataset.set_complete_frac(index / len(order))
                yield name
            if self._thread is not None:
                self.dataset.finishSprintEpoch()
        if self._thread is not None:
            self.dataset.finalizeSprint()

    # ---- posteriors ------------------------------------------------------------------------

    def prepare(self, input_dim: int, output_dim: int, allows_downsampling: bool) -> None:
        """Sprint will ask for posteriors of that many labels."""
        required_method(self.engine, "forward")
        call_optional(self.engine, "init", input_dim, output_dim)
        self.output_dim = output_dim
        self._min_frames = 0.0 if allows_downsampling else 1.0

    def posteriors(self, features: NDArray[Any], name: str | None) -> NDArray[np.float32]:
        """Posteriors (probabilities) of a segment of (dimension, time) features.

        Returns (label, time) float32, exactly an ndarray, as Sprint requires.
        """
        time_first = np.ascontiguousarray(features.T, np.float32)
        min_frames = int(len(time_first) * self._min_frames)
        scores = log_posteriors(self.engine, time_first, name, self.output_dim, min_frames)
        return np.exp(scores).T
