"""PythonControl: the object in a Sprint process that answers the trainer.

Sprint calls it in several ways (sprint-interface.md, section 1), and one process may use more than
one: `init` is called for every unit, and all share ``PythonControl.instance``.

* Sprint asks for segment names (`segment_list_iterator`) and, for each, calls `init_segment`, the
  layer's ``forward`` and ``backpropagate`` and `notify_segment_loss`, or `process_segment`.
  Requests are read where Sprint waits for the next name, in Sprint's own thread, and answered as
  soon as loss and error signal are known. A segment that Sprint leaves without either is answered
  with infinite loss and no gradient.
* The same with `run_threaded_control_loop`, where a separate thread reads and answers.
* Sprint calls `run_control_loop`, and all requests are answered there (automata).

A request's way: `TrainerLink` -> `RequestHandler` -> `SegmentExchange` -> `SegmentVisits`, which
this class calls for Sprint -> the exchange -> the handler's answer.

An exception in a request is its answer; so is one that concerns only its segment: sizes that
differ, a criterion that fails. Any other exception in what Sprint calls is sent likewise, with
request id 0 in the JSON framing, and raised again: Sprint then exits.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from sprint_ctl.config import parse_config
from sprint_ctl.errors import SprintError

from .link import TrainerLink, check_supported, pipe_ends
from .log import configure_log, is_verbose, log
from .reporting import reported
from .request_handler import VERSION, RequestHandler
from .segment_visits import SegmentVisits
from .sprint_state import SprintState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PythonControl", "attach"]


def attach(config: str, **facts: Any) -> PythonControl:
    """PythonControl of this process, connected as the configuration says; `facts`: for the log.

    Raises:
        ValueError: a configuration that does not connect to a trainer.
        SprintError: it asks for something that is not supported.
    """
    pairs = parse_config(config)
    configure_log(pairs)
    log("init:", facts, pairs)
    c2p_fd, p2c_fd = pipe_ends(pairs)
    control = PythonControl.create(
        c2p_fd=c2p_fd,
        p2c_fd=p2c_fd,
        config=pairs,
        min_version_number=int(pairs.get("minPythonControlVersion", 0)),
        **facts,
    )
    try:
        check_supported(pairs)
    except SprintError as error:
        control.report(str(error))
        raise
    return control


class PythonControl:
    """The child's end of the pipes, under the names that Sprint and RETURNN's users know.

    Attributes:
        Version: of the protocol, answered to ("init", name, version).
        instance: the one of this process, or None.
        state: what Sprint has passed.
        visits: what Sprint calls for single segments.
    """

    Version = VERSION
    instance: PythonControl | None = None

    @classmethod
    def create(cls, **kwargs: Any) -> PythonControl:
        """The instance of this process; the first call makes it, further ones add a unit."""
        control = cls.instance
        if control is not None and (not control.is_closed or not _is_pipe(kwargs["c2p_fd"])):
            control._add_unit(**kwargs)
            return control
        return cls(**kwargs)

    def __init__(self, c2p_fd: int, p2c_fd: int, **kwargs: Any) -> None:
        """Takes ownership of the pipe ends, child to parent and parent to child."""
        self._link = TrainerLink(c2p_fd, p2c_fd, kwargs.get("config") or {})
        self.state = SprintState()
        self._requests = RequestHandler(self._link, self.state)
        self.visits = SegmentVisits(self._requests)
        PythonControl.instance = self
        self._add_unit(**kwargs)

    @reported
    def _add_unit(self, **kwargs: Any) -> None:
        self.state.add_unit(**kwargs)

    # ---- the pipe --------------------------------------------------------------------------

    def handle_next(self) -> None:
        """Waits for the next request of the trainer, see `RequestHandler.handle_next`."""
        self._requests.handle_next()

    def report(self, text: str) -> None:
        """Sends the trainer an exception that will end Sprint."""
        self._requests.report(text)

    def close(self) -> None:
        """Closes the pipes. Idempotent."""
        self._link.close()

    @property
    def is_closed(self) -> bool:
        """Whether the pipes are closed."""
        return self._link.is_closed

    @property
    def is_inside_request(self) -> bool:
        """Whether this thread handles a request; what Sprint calls now is part of it."""
        return self._requests.is_inside_request

    def exit(self, **_: Any) -> None:
        """Called by Sprint at its end, in some modes."""
        log("exit")
        self._requests.end()

    # ---- segments --------------------------------------------------------------------------

    def segment_list_iterator(self) -> Iterator[str]:
        """Names of the segments that the trainer asks for, until it ends."""
        return self.visits.names()

    @reported
    def init_processing(
        self, input_dim: int | None = None, output_dim: int | None = None, **_: Any
    ) -> None:
        """Called by Sprint before the first segment when it iterates over the corpus.

        The dimension of the features is -1 if none are extracted, the number of classes is -1
        without alignments.
        """
        log("init_processing", input_dim, output_dim)
        self.visits.begin(output_dim)

    @reported
    def process_segment(
        self,
        name: str,
        orthography: str | bytes | None = None,
        features: NDArray[Any] | None = None,
        alignment: NDArray[Any] | None = None,
        soft_alignment: Any = None,
        **_: Any,
    ) -> None:
        """Called by Sprint for each segment when it iterates over the corpus.

        Args:
            name: full name of the segment.
            orthography: bytes (UTF-8) from Sprint; None for other than speech segments.
            features: only their number counts, and only for a probe.
            soft_alignment: not used.
            alignment: (time,) uint32 class of each frame, or None.
        """
        self.visits.process(name, orthography, features, alignment)

    @reported
    def init_segment(self, segment_name: str | None = None, **_: Any) -> None:
        """Called by Sprint's trainers at the start of a segment; None if they do not know it."""
        if is_verbose():
            log("init_segment", segment_name)
        self.visits.current().check(segment_name)

    @reported
    def notify_segment_loss(
        self, segment_name: str | None = None, loss: float = 0, **_: Any
    ) -> None:
        """Called by Sprint's trainers with the loss of a segment, whose name may be None."""
        self.visits.record(loss=loss, name=segment_name)

    def get_current_seg_posteriors(self, seg_len: int) -> NDArray[np.float32]:
        """Log posteriors of the segment under way, (time, label); checks its length in Sprint."""
        return self.visits.posteriors(seg_len)

    def set_current_seg_error_signal(self, seg_len: int, error_signal: NDArray[Any]) -> None:
        """Records the error signal, (time, label), of the segment under way; checks its length."""
        self.visits.record(error_signal=error_signal, length=seg_len)

    def set_current_seg_loss(self, seg_name: str | None, loss: float) -> None:
        """Records the loss of the whole segment under way; checks its name unless that is None."""
        self.visits.record(loss=loss, name=seg_name)

    # ---- control loops ---------------------------------------------------------------------

    @reported
    def run_control_loop(self, callback: Callable[..., Any], **_: Any) -> None:
        """Handles requests until the trainer ends; called by Sprint in that mode."""
        log("control loop:", callback("version"))
        self._requests.run_loop(callback)

    def check_control_loop_running(self) -> None:
        """Starts the threaded control loop unless one is running."""
        if not self._requests.has_loop:
            self.run_threaded_control_loop()

    def run_threaded_control_loop(self) -> None:
        """Starts a thread that handles requests; returns when it does."""
        self._requests.start_loop(lambda: self.run_control_loop(self.own_threaded_callback))

    def own_threaded_callback(self, cmd: str, *args: Any) -> Any:
        """The callback of `run_threaded_control_loop`: our commands, then those of Sprint."""
        function = getattr(self, f"own_tcb_{cmd}", None)
        return self.state.command(cmd, *args) if function is None else function(*args)

    def own_tcb_version(self) -> str:
        """Version string of the threaded control loop."""
        return "<version>sprint_ctl.control</version>"

    def own_tcb_get_loss_and_error_signal(
        self, seg_name: str, seg_len: int, posteriors: NDArray[np.float32]
    ) -> tuple[Any, ...]:
        """Waits until Sprint has visited the segment; its loss and error signal."""
        return self._requests.exchange.wait_done(seg_name)


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
