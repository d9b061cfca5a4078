"""Ends a Sprint process whose trainer is gone, also while it computes.

A thread waits for the hang-up of the pipe from the trainer; that costs nothing. Code that itself
reads the end of the pipe stops the watch and lets Sprint end in order, with its own exit status.
Where that does not come, Sprint is in the middle of something that nobody wants any more: after a
second the process is ended with exit status 3 (`ORPHANED`), without a word. While Sprint holds the
interpreter's lock, in a callback command or extracting features for PythonControl (interface facts,
section 0), the thread has to wait for that. The folder that these modules were loaded from goes as
well: a trainer that was killed could not remove it.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import threading

from sprint_ctl.config import MODULE_FOLDER

__all__ = ["ORPHANED", "OrphanWatch", "remove_module_folder"]

ORPHANED = 3  # exit status
_GRACE = 1.0  # seconds


def remove_module_folder() -> None:
    """Removes the folder of links that the trainer has made for this process."""
    for folder in sys.path:
        if os.path.basename(folder).startswith(MODULE_FOLDER):
            shutil.rmtree(folder, ignore_errors=True)


class OrphanWatch(threading.Thread):
    """Watches the reading end of a pipe until ``stop``."""

    def __init__(self, fd: int) -> None:
        super().__init__(name="watch for the end of the trainer", daemon=True)
        self._fd = fd
        self._stopped = threading.Event()
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._fd, 0)  # hang-up is always told
        poller.register(self._wake_read, select.POLLIN)
        poller.poll()
        if not self._stopped.wait(_GRACE):
            remove_module_folder()
            os._exit(ORPHANED)

    def stop(self) -> None:
        """Ends the watch; before the descriptor is closed. Again does nothing."""
        if not self._stopped.is_set():
            self._stopped.set()
            os.close(self._wake_write)
            if self.is_alive():
                self.join()
            os.close(self._wake_read)
