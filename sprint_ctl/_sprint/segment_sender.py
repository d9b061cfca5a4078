"""The stream of segments from a Sprint process to its trainer.

Messages, in this order (interface facts, section 10.2): ("init", (input dimension, output
dimension, number of segments or None)), then for each segment ("data", (name, features (dimension,
time), targets)), then ("exit", None). ("exception", traceback) may come at any place, and is the
last one. The second framing is used as soon as it was offered.

A trainer that wants no more sends ("exit",), or closes its end. Sprint then ends in order: by the
end of the list of segments, or, where another segment comes first, by SystemExit with status 0. All
this happens in Sprint's own thread; the pipe holds it up when the trainer is slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprint_ctl.config import parse_config, to_bool
from sprint_ctl.errors import SprintError

from .link import TrainerLink
from .log import configure_log, is_verbose, log
from .reporting import reported
from .segment_calls import deliver_to, sink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["SegmentSource"]


class SegmentSource:
    """Our end of the pipes in a Sprint process that delivers segments.

    Attributes:
        config: the pairs of the configuration string it was made from.
        num_names: names that Sprint was given to visit; None without segment order.
        num_sent: segments sent.
        is_started: the dimensions were sent.
    """

    @classmethod
    def of(cls, config: str) -> SegmentSource:
        """That of this process; the first call makes it of the configuration string.

        Raises:
            ValueError: a configuration that does not connect to a trainer.
            SprintError: it asks for something that is not there.
        """
        made = sink()
        if not isinstance(made, cls):
            made = cls(parse_config(config))
            deliver_to(made)
            made._check()
        return made

    def __init__(self, config: Mapping[str, str]) -> None:
        configure_log(config)
        log("stream of segments:", dict(config))
        if "c2p_fd" not in config or "p2c_fd" not in config:
            raise ValueError(
                f"configuration {dict(config)}: no c2p_fd and p2c_fd;"
                " this module is for a Sprint that a trainer has started"
            )
        self.config = config
        self.num_names: int | None = None
        self.num_sent = 0
        self.is_started = False
        self._link = TrainerLink(int(config["c2p_fd"]), int(config["p2c_fd"]), config)
        self._link.use_json_framing()

    @reported
    def _check(self) -> None:
        if to_bool(self.config.get("EnableAutoNumpySharedMemPickling", "false")):
            raise SprintError(
                "EnableAutoNumpySharedMemPickling:True is not supported:"
                " switch it off in the trainer; arrays go through the pipe"
            )

    def start(self, input_dim: int, output_dim: int) -> None:
        """Sends the dimensions; again does nothing."""
        if not self.is_started:
            self.is_started = True
            self._send("init", (int(input_dim), int(output_dim), self.num_names))

    def send(
        self, name: str | None, features: NDArray[Any] | None, targets: Mapping[str, Any]
    ) -> None:
        """Sends a segment; returns when it is in the pipe.

        Raises:
            SystemExit: the trainer wants no more.
        """
        if is_verbose():
            log("segment", name, None if features is None else features.shape, list(targets))
        if not self.is_wanted():
            raise SystemExit(0)
        self._send("data", (name, features, dict(targets)))
        self.num_sent += 1

    def is_wanted(self) -> bool:
        """Whether the trainer wants more; looks, and does not wait."""
        while not self._link.is_closed and self._link.has_data():
            received = self._link.receive()
            if received is None or received[0][:1] == ("exit",):
                log("the trainer wants no more")
                self._link.close()
        return not self._link.is_closed

    def finish(self) -> None:
        """Tells that all was sent, and closes the link; again does nothing."""
        if not self._link.is_closed:
            self._link.send(("exit", None))
            self._link.close()

    def report(self, text: str) -> None:
        """Tells the trainer of an exception that will end Sprint."""
        self._link.report(text)

    def _send(self, kind: str, content: Any) -> None:
        if not self._link.send((kind, content)):
            self._link.close()
            raise SystemExit(0)
