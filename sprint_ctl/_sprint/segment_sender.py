"""SegmentSender: sends the segments of a Sprint process to its trainer.

Messages, in this order (sprint-interface.md, section 10.2): ("init", (input dimension, output
dimension, number of segments or None)), then for each segment ("data", (name, features (dimension,
time), targets)), then ("exit", None). ("exception", traceback) may replace any of them and is the
last message. The JSON framing is used if it was offered.

A trainer that wants no more segments sends ("exit",), or closes its end. Sprint then exits
normally: at the end of the list of segments, or, if another segment follows, by SystemExit with
status 0. All this runs in Sprint's own thread, which blocks on the pipe when the trainer is slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprint_ctl.config import parse_config

from .link import TrainerLink, check_supported, pipe_ends
from .log import configure_log, is_verbose, log
from .reporting import reported
from .segment_calls import deliver_to, sink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["SegmentSender"]


class SegmentSender:
    """The child's end of the pipes in a Sprint process that delivers segments.

    Attributes:
        num_names: number of names that Sprint will visit; None without segment order.
        num_sent: number of segments sent.
        is_started: whether the dimensions were sent.
    """

    @classmethod
    def of(cls, config: str) -> SegmentSender:
        """The one of this process; the first call creates it from the configuration string."""
        sender = sink()
        if not isinstance(sender, cls):
            sender = cls(parse_config(config))
            deliver_to(sender)
            sender._check()
        return sender

    def __init__(self, config: Mapping[str, str]) -> None:
        configure_log(config)
        log("stream of segments:", dict(config))
        self.config = config
        self.num_names: int | None = None
        self.num_sent = 0
        self.is_started = False
        self._link = TrainerLink(*pipe_ends(config), config)
        self._link.use_json_framing()

    @reported
    def _check(self) -> None:
        check_supported(self.config)

    def start(self, input_dim: int, output_dim: int) -> None:
        """Sends the dimensions. Idempotent."""
        if not self.is_started:
            self.is_started = True
            self._send("init", (int(input_dim), int(output_dim), self.num_names))

    def send(
        self, name: str | None, features: NDArray[Any] | None, targets: Mapping[str, Any]
    ) -> None:
        """Sends a segment; SystemExit if the trainer wants no more."""
        if is_verbose():
            log("segment", name, None if features is None else features.shape, list(targets))
        if not self.is_wanted():
            raise SystemExit(0)
        self._send("data", (name, features, dict(targets)))
        self.num_sent += 1

    def is_wanted(self) -> bool:
        """Whether the trainer wants more segments; does not wait."""
        while not self._link.is_closed and self._link.has_data():
            received = self._link.receive()
            if received is None or received[0][:1] == ("exit",):
                log("the trainer wants no more segments")
                self._link.close()
        return not self._link.is_closed

    def finish(self) -> None:
        """Sends ("exit", None), and closes the link. Idempotent."""
        if not self._link.is_closed:
            self._link.send(("exit", None))
            self._link.close()

    def report(self, text: str) -> None:
        """Sends an exception that will end Sprint."""
        self._link.report(text)

    def _send(self, kind: str, content: Any) -> None:
        if not self._link.send((kind, content)):
            self._link.close()
            raise SystemExit(0)
