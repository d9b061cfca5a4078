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
from sprint_ctl.config import to_bool
from sprint_ctl.errors import PipeClosedError, SprintError

from .log import log
from .orphan import OrphanWatch
from .trainer_process import TrainerProcess

__all__ = ["TrainerLink", "check_supported", "pipe_ends"]

_REPORT_TIMEOUT = 5.0  # seconds, for a trainer that does not read


def pipe_ends(config: Mapping[str, str]) -> tuple[int, int]:
    """The descriptors from child to parent and from parent to child; ValueError without them."""
    if "c2p_fd" not in config or "p2c_fd" not in config:
        raise ValueError(
            f"configuration {dict(config)}: no c2p_fd and p2c_fd;"
            " this module is for a Sprint that a trainer has started"
        )
    return int(config["c2p_fd"]), int(config["p2c_fd"])


def check_supported(config: Mapping[str, str]) -> None:
    """Raises SprintError for arrays in shared memory of RETURNN."""
    if to_bool(config.get("EnableAutoNumpySharedMemPickling", "false")):
        raise SprintError(
            "EnableAutoNumpySharedMemPickling:True is not supported:"
            " switch it off in the trainer; arrays go through the pipe, or through memory files"
        )


class TrainerLink:
    """Owns the pipe ends and memory files that were inherited from the trainer.

    Attributes:
        knows_json_framing: whether the trainer has offered it.
    """

    def __init__(self, c2p_fd: int, p2c_fd: int, config: Mapping[str, str]) -> None:
        """Takes ownership of the pipe ends: child to parent, parent to child."""
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
