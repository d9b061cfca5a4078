"""TrainerLink: the child's end of the wire, used by every module that Sprint loads.

A trainer that has ended is not an error here, since no one misses what is not sent. Any thread may
send, one message at a time; one thread at a time may receive.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire
from sprint_ctl.errors import PipeClosedError, SprintError

from .log import log
from .orphan import OrphanWatch
from .trainer_process import TrainerProcess

__all__ = ["TrainerLink"]

_REPORT_TIMEOUT = 5.0  # seconds, for a trainer that does not read


class TrainerLink:
    """Owns the pipe ends and memory files that were inherited from the trainer.

    Attributes:
        knows_json_framing: whether the trainer has offered it.
    """

    def __init__(self, c2p_fd: int, p2c_fd: int, config: Mapping[str, str]) -> None:
        """Takes ownership of the pipe ends.

        Args:
            c2p_fd: child-to-parent file descriptor.
            p2c_fd: parent-to-child file descriptor.
            config: the parsed configuration string.
        """
        memories = [
            ArrayMemory(int(config[key])) if key in config else None
            for key in ("p2c_memory_fd", "c2p_memory_fd")
        ]
        self._trainer: TrainerProcess | None = None
        self._watch: OrphanWatch | None = None
        watched: dict[str, Any] = {}
        pid = int(config.get("parent_pid", os.getpid()))
        if pid != os.getpid():
            self._trainer = trainer = TrainerProcess(pid)
            watched["process_fd"] = trainer.fd
            watched["is_alive"] = trainer.is_alive if trainer.needs_polling else None
        self._wire = Wire(
            p2c_fd, c2p_fd, read_memory=memories[0], write_memory=memories[1], **watched
        )
        self._sending = threading.Lock()
        self.knows_json_framing = int(config.get("wire", 1)) >= 2
        if self._trainer is not None:
            self._watch = OrphanWatch(p2c_fd, self._trainer)
            self._watch.start()

    def use_json_framing(self) -> None:
        """Switches to the JSON framing, if the trainer has offered it."""
        if self.knows_json_framing:
            self._wire.version = 2

    def has_data(self) -> bool:
        """Whether `receive` would find at least the beginning of a message, or the end."""
        return self._wire.has_data()

    def receive(self) -> tuple[tuple[Any, ...], int] | None:
        """The next message and its request id (0 in the pickle framing); None if the trainer ended.

        Raises:
            SprintProtocolError: not a message.
        """
        try:
            message = self._wire.receive()
        except PipeClosedError:
            log("the trainer has closed the pipe")
            return None
        return message, self._wire.received_id or 0

    def send(self, message: tuple[Any, ...], request_id: int = 0) -> bool:
        """Sends a message; False if the trainer has ended."""
        with self._sending:
            if self.is_closed:
                return False
            try:
                self._wire.send(message, request_id=request_id)
            except PipeClosedError:
                log("the trainer has closed the pipe")
                return False
        return True

    def report(self, text: str) -> None:
        """Sends an exception that will end Sprint, and closes the link."""
        log(text)
        with self._sending:
            if not self.is_closed:
                try:
                    deadline = time.monotonic() + _REPORT_TIMEOUT
                    self._wire.send(("exception", text), deadline=deadline)
                except PipeClosedError:
                    log("the trainer has closed the pipe")
                except (SprintError, OSError) as error:
                    log("cannot report to the trainer:", error)
        self.close()

    def close(self) -> None:
        """Closes pipes and memory files. Idempotent."""
        if self._watch is not None:
            self._watch.stop()
        with self._sending:
            self._wire.close()
        if self._trainer is not None:
            self._trainer.close()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._wire.is_closed
