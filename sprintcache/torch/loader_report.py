"""LoaderReport: how long a training waited for its data, and how fast they came."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

__all__ = ["LoaderReport", "Meter", "StepReport"]


class StepReport(NamedTuple):
    """One step of an iteration.

    Attributes:
        seconds: time from the end of the step before, or from the start of the iteration, until
            the batch was delivered: computing and waiting.
        waited: seconds of it that the training waited for the batch.
        queue_depth: batches that were ready when this one was taken, including it.
        num_frames: frames (of audio: samples) of the batch's first data key, without padding.
    """

    seconds: float
    waited: float
    queue_depth: int
    num_frames: int


class LoaderReport(NamedTuple):
    """An iteration so far.

    Attributes:
        num_steps: delivered batches.
        num_frames: their frames, see `StepReport`.
        seconds: time from the start of the iteration until the last batch was delivered, or until
            the end of the iteration.
        waited: seconds of it that the training waited for batches.
        queue_depth: mean number of ready batches when one was taken.
        last_step: the last step; None before the first one.
    """

    num_steps: int
    num_frames: int
    seconds: float
    waited: float
    queue_depth: float
    last_step: StepReport | None

    @property
    def waited_share(self) -> float:
        """The part of the time that the training waited, from 0 to 1."""
        return self.waited / self.seconds if self.seconds else 0.0

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the whole iteration, computing included."""
        return self.num_frames / self.seconds if self.seconds else 0.0

    def write_scalars(self, writer: Any, step: int, prefix: str = "loader") -> None:
        """Writes the figures to TensorBoard.

        Args:
            writer: a ``torch.utils.tensorboard.SummaryWriter``, or another object with its method
                ``add_scalar(tag, value, step)``.
            step: number of the step of the training.
            prefix: first part of the tags ``.../step_seconds``, ``.../step_waited``,
                ``.../queue_depth`` (of the last step), ``.../waited_share`` and
                ``.../frames_per_second`` (of the iteration).
        """
        if self.last_step is None:
            return
        scalars = {
            "step_seconds": self.last_step.seconds,
            "step_waited": self.last_step.waited,
            "queue_depth": self.last_step.queue_depth,
            "waited_share": self.waited_share,
            "frames_per_second": self.frames_per_second,
        }
        for name, value in scalars.items():
            writer.add_scalar(f"{prefix}/{name}", value, step)


class Meter:
    """Measures an iteration; belongs to the thread of the training."""

    def __init__(self) -> None:
        self._begin = self._end = time.perf_counter()
        self._asked = self._begin
        self._num_steps = 0
        self._num_frames = 0
        self._waited = 0.0
        self._depths = 0
        self._last: tuple[float, float, int, int] | None = None  # of a StepReport

    def ask(self) -> None:
        """The training asks for a batch."""
        self._asked = time.perf_counter()

    def deliver(self, queue_depth: int, num_frames: int) -> None:
        """It gets one."""
        before = self._end
        waited = self.stop()
        self._num_steps += 1
        self._num_frames += num_frames
        self._depths += queue_depth
        self._last = self._end - before, waited, queue_depth, num_frames

    def stop(self) -> float:
        """It gets none, or no longer waits; returns the seconds that it waited."""
        self._end = time.perf_counter()
        waited = self._end - self._asked
        self._waited += waited
        return waited

    def report(self) -> LoaderReport:
        """The figures so far."""
        return LoaderReport(
            self._num_steps,
            self._num_frames,
            self._end - self._begin,
            self._waited,
            self._depths / self._num_steps if self._num_steps else 0.0,
            None if self._last is None else StepReport(*self._last),
        )
