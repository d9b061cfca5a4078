"""ReaderThread: for trainers that distribute the sequences of a batch over Sprints themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sprintcache._interrupts import start_threads

from .instance import SprintSubprocessInstance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ReaderThread"]


class ReaderThread(threading.Thread):
    """Computes losses and error signals of some sequences of a batch; starts at once.

    Attributes:
        instance: its Sprint.
        batch_idxs: its sequences.
        exception: the error that ended it early, or None.
    """

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
        """
        super().__init__(name=f"Sprint {instance_idx}", daemon=True)
        self.instance = instance
        self.batch_idxs = batch_idxs
        self.exception: Exception | None = None
        self._arrays = tags, seq_lengths, log_posteriors, batch_loss, batch_error_signal
        start_threads(self)

    def run(self) -> None:
        """Requests loss and error signal of each sequence."""
        tags, seq_lengths, log_posteriors, batch_loss, batch_error_signal = self._arrays
        try:
            for index in self.batch_idxs:
                length = int(seq_lengths[index])
                batch_loss[index] = self.instance.get_loss_and_error_signal(
                    tags[index], log_posteriors[:length, index], batch_error_signal[:length, index]
                )
        except Exception as error:
            self.exception = error
