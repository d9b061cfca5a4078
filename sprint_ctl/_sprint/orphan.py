"""Ends a Sprint process whose trainer is gone, also while it computes.

A thread waits for the hang-up of the pipe from the trainer, or for the end of its process; waiting
costs nothing. Code that reads the end of the pipe stops the watch, and Sprint exits with its usual
status. Otherwise Sprint is in the middle of work whose result is not wanted any more: after a
second the process ends with exit status 3 (`ORPHANED`), silently. While Sprint holds the
interpreter's lock, in a callback command or extracting features for PythonControl
(sprint-interface.md, section 0), the thread waits for it.
"""

from __future__ import annotations

import os
import select
import threading

from sprint_ctl._pipe.descriptors import open_pipe

from .trainer_process import TrainerProcess

__all__ = ["ORPHANED", "OrphanWatch"]

ORPHANED = 3  # exit status
_GRACE = 1.0  # seconds
_POLL_INTERVAL = 1000  # milliseconds between looks at a trainer without a descriptor


class OrphanWatch(threading.Thread):
    """Watches the trainer's end of a pipe, and the trainer itself, until ``stop``."""

    def __init__(self, fd: int, trainer: TrainerProcess) -> None:
        super().__init__(name="watch for the end of the trainer", daemon=True)
        self._fd = fd
        self._trainer = trainer
        self._stopped = threading.Event()
        # not where Sprint writes its log, if that is closed
        self._wake_read, self._wake_write = open_pipe()

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._fd, 0)  # a hang-up is always reported
        poller.register(self._wake_read, select.POLLIN)
        if self._trainer.fd is not None:
            poller.register(self._trainer.fd, select.POLLIN)
        interval = _POLL_INTERVAL if self._trainer.needs_polling else None
        while not poller.poll(interval) and self._trainer.is_alive():
            pass
        if not self._stopped.wait(_GRACE):
            os._exit(ORPHANED)

    def stop(self) -> None:
        """Ends the watch, before its descriptors are closed. Idempotent."""
        if not self._stopped.is_set():
            self._stopped.set()
            os.close(self._wake_write)
            if self.is_alive():
                self.join()
            os.close(self._wake_read)
