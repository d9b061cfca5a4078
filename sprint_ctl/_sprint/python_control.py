"""PythonControl: answers the trainer from inside Sprint.

Sprint comes to it in several ways (interface facts, section 1), and one process may use more than
one: `init` is called for every unit, and all share ``PythonControl.instance``.

* Sprint asks for segment names (`segment_list_iterator`) and, for each, comes with `init_segment`,
  the layer's ``forward`` and ``backpropagate`` and `notify_segment_loss`, or with
  `process_segment`. The requests are read where Sprint waits for the next name, in its own thread,
  and answered as soon as loss and error signal are there; no other thread is needed. A segment that
  Sprint leaves without either is answered with infinite loss and no gradient.
* The same with `run_threaded_control_loop`, where a thread of its own reads and answers; see
  `sprint_ctl._sprint.segment_exchange` for who waits for whom.
* Sprint calls `run_control_loop` and leaves everything to us (automata).

An exception in a request is its answer, ("exception", traceback); so is one that concerns only its
segment: sizes that differ, a criterion that fails. Any other exception in what Sprint calls is sent
likewise, with request id 0 in the second framing, and raised again: Sprint then exits. When
the trainer closes the pipe, that is taken as ("exit",).
"""

from __future__ import annotations

import os
import stat
import threading
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintError, SprintProtocolError

from .criterion import CRITERIA, loss_by_name
from .description import describe
from .link import TrainerLink
from .log import is_verbose, log
from .reporting import reported
from .segment_exchange import SegmentExchange
from .segment_request import ProbeRequest, SegmentRequest
from .segment_request import segment_name as segment_name_of
from .segment_visits import SegmentVisits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Reply = tuple[Any, ...]

__all__ = ["PythonControl"]

_START_TIMEOUT = 10.0  # seconds, of a thread


class PythonControl(SegmentVisits):
    """Our end of the pipes in a Sprint process.

    Attributes:
        Version: of the protocol, answered to ("init", name, version).
        instance: the one of this process, or None.
    """

    Version = 1
    instance: PythonControl | None = None

    @classmethod
    def create(cls, **kwargs: Any) -> PythonControl:
        """The instance of this process; the first call makes it, further ones add what they know.

        Args:
            kwargs: those of the constructor.
        """
        control = cls.instance
        if control is not None and (not control.is_closed or not _is_pipe(kwargs["c2p_fd"])):
            control._add_unit(**kwargs)
            return control
        return cls(**kwargs)

    def __init__(self, c2p_fd: int, p2c_fd: int, **kwargs: Any) -> None:
        """Takes over the pipe ends.

        Args:
            c2p_fd: child-to-parent file descriptor.
            p2c_fd: parent-to-child file descriptor.
            kwargs: name, sprint_unit, version_number, min_version_number, callback as given to
                ``init``; config, the parsed configuration string.
        """
        self._link = TrainerLink(c2p_fd, p2c_fd, kwargs.get("config") or {})
        self._exchange = SegmentExchange(self.handle_next, self._answer)
        self.sprint_callback: Callable[..., Any] | None = None
        self.sprint_version_number: int | None = None
        self.callback: Callable[..., Any] | None = None  # of the control loop
        self.criterion: str | None = None
        self.units: list[str] = []
        self.segments: dict[str, None] | None = None  # names, in Sprint's order
        self.control_loop_started = False
        self._handler: int | None = None  # the thread that is inside of a request
        PythonControl.instance = self
        self._add_unit(**kwargs)

    @reported
    def _add_unit(
        self,
        name: str = "",
        sprint_unit: str | None = None,
        callback: Callable[..., Any] | None = None,
        version_number: int | None = None,
        min_version_number: int | None = None,
        config: Mapping[str, str] | None = None,
        **_: Any,
    ) -> None:
        self.units.append(sprint_unit or name)
        criterion = (config or {}).get("criterion")
        if criterion is not None:
            if criterion not in CRITERIA:
                raise ValueError(f"criterion:{criterion}: one of {', '.join(CRITERIA)}")
            self.criterion = criterion
        if name == "Sprint.PythonControl":
            if (version_number or 0) < (min_version_number or 0):
                raise SprintError(
                    "this Sprint is too old",
                    expected=f"interface version {min_version_number} or later",
                    found=version_number,
                )
            self.sprint_version_number = version_number
            if callback is not None:
                self.sprint_callback = callback

    # ---- the pipe --------------------------------------------------------------------------

    def handle_next(self) -> None:
        """Waits for the next request of the trainer, handles it and answers.

        With `segment_list_iterator` in the same thread a request for a loss is only noted.
        """
        try:
            received = self._link.receive()
        except SprintProtocolError:
            self.report(traceback.format_exc())
            raise
        if received is None:
            self._leave()
            return
        message, request_id = received
        self._handler = threading.get_ident()
        try:
            reply = self._handle(message, request_id)
        except Exception:
            text = traceback.format_exc()
            log(text)
            self._handler = None
            self._send(("exception", text), request_id)
        else:
            self._handler = None
            if reply is not None:
                self._send(("ok", *reply), request_id)
            if message[:1] == ("init",):
                self._link.use_json_framing()

    def _handle(self, message: tuple[Any, ...], request_id: int) -> Reply | None:
        if is_verbose():
            log("request", message[:1], [x for x in message[1:] if isinstance(x, (str, int))])
        if message[:1] == ("exit",):
            self._leave()
            return None
        if message[:1] == ("get_loss_and_error_signal",):
            return self._handle_loss(SegmentRequest(request_id, *message[1:]))
        if message[:1] == ("probe",):
            return self._handle_loss(ProbeRequest(request_id, *message[1:]))
        handlers: dict[Any, Callable[..., Reply]] = {
            "init": self._handle_init,
            "export_allophone_state_fsa_by_segment_name": self._handle_automaton,
            "describe": lambda: (describe(self),),
        }
        if not message or message[0] not in handlers:
            raise ValueError(f"unknown request {message[:1]}")
        return handlers[message[0]](*message[1:])

    def _handle_init(self, name: str, version: int) -> Reply:
        if version != self.Version:
            raise ValueError(f"{name} speaks version {version}, this is version {self.Version}")
        return ("SprintControl", self.Version) + ((2,) if self._link.knows_json_framing else ())

    def _handle_loss(self, request: SegmentRequest) -> Reply | None:
        if self.segments and request.name not in self.segments:
            raise KeyError(f"segment {request.name!r} is not in Sprint's corpus")
        if self.callback is not None and not self._exchange.is_threaded:
            if not request.log_posteriors.size:
                raise ValueError("a probe, and nobody knows the sizes")
            return loss_by_name(
                self.callback, request.name, request.log_posteriors, criterion=self.criterion
            )
        self._exchange.put(request)
        if not self._exchange.is_threaded:
            return None
        return tuple(
            self.own_threaded_callback(
                "get_loss_and_error_signal",
                request.name,
                len(request.log_posteriors),
                request.log_posteriors,
            )
        )

    def _handle_automaton(self, segment_name: Any) -> Reply:
        callback = self.callback or self.own_threaded_callback
        return tuple(
            callback("export_allophone_state_fsa_by_segment_name", segment_name_of(segment_name))
        )

    def _send(self, message: tuple[Any, ...], request_id: int) -> None:
        if not self._link.send(message, request_id):
            self._leave()

    def _answer(self, request: SegmentRequest) -> None:
        if request.error is None:
            self._send(("ok", request.loss, request.error_signal), request.request_id)
        else:
            kind, error = type(request.error), request.error
            text = "".join(traceback.format_exception(kind, error, error.__traceback__))
            log(text)
            self._send(("exception", text), request.request_id)

    def report(self, text: str) -> None:
        """Tells the trainer of an exception that will end Sprint."""
        self._link.report(text)
        self._leave()

    def _leave(self) -> None:
        self._exchange.end()
        self.close()

    def close(self) -> None:
        """Closes the pipes; again does nothing."""
        self._link.close()

    @property
    def is_closed(self) -> bool:
        """Whether the pipes are closed."""
        return self._link.is_closed

    @property
    def is_inside_request(self) -> bool:
        """Whether this thread handles a request; what Sprint calls now is part of it."""
        return self._handler == threading.get_ident()

    # ---- control loops ---------------------------------------------------------------------

    @reported
    def run_control_loop(self, callback: Callable[..., Any], **_: Any) -> None:
        """Handles requests until the trainer has had enough; called by Sprint in that mode."""
        log("control loop:", callback("version"))
        with self._exchange.cond:
            if self.control_loop_started:
                raise SprintError("a control loop is running already")
            self.callback = callback
            self.control_loop_started = True
            self._exchange.cond.notify_all()
        try:
            while not self._exchange.has_ended:
                self.handle_next()
        finally:
            self._exchange.end()

    def check_control_loop_running(self) -> None:
        """Starts the threaded control loop unless one is running."""
        if not self.control_loop_started:
            self.run_threaded_control_loop()

    def run_threaded_control_loop(self) -> None:
        """Starts a thread that handles requests; returns when it does.

        Raises:
            SprintError: a loop is running already, or the thread did not start.
        """
        if self.control_loop_started:
            raise SprintError("a control loop is running already")
        self._exchange.is_threaded = True
        arguments = (self.own_threaded_callback,)
        threading.Thread(
            target=self.run_control_loop, args=arguments, name="control loop", daemon=True
        ).start()
        cond = self._exchange.cond
        with cond:
            if not cond.wait_for(lambda: self.control_loop_started, _START_TIMEOUT):
                raise SprintError("the control loop did not start")

    def own_threaded_callback(self, cmd: str, *args: Any) -> Any:
        """Stands for Sprint's callback in a control loop of our own.

        What is no command of ours goes to Sprint's, where it has handed one.
        """
        function = getattr(self, f"own_tcb_{cmd}", None)
        if function is not None:
            return function(*args)
        if self.sprint_callback is None:
            raise SprintError(
                f"{cmd} needs Sprint's callback, and in this mode Sprint has handed none:"
                " it comes with --action=python-control"
            )
        return self.sprint_callback(cmd, *args)

    def own_tcb_version(self) -> str:
        """Version string of our own control loop."""
        return "<version>sprint_ctl.control</version>"

    def own_tcb_get_loss_and_error_signal(
        self, seg_name: str, seg_len: int, posteriors: NDArray[np.float32]
    ) -> Reply:
        """Waits until Sprint has visited the segment; its loss and error signal.

        Args:
            seg_name: of the segment.
            seg_len: frames.
            posteriors: (time, label) float32.
        """
        return self._exchange.wait_done(seg_name)

    def exit(self, **_: Any) -> None:
        """Called by Sprint at its end, in some modes."""
        log("exit")
        self._leave()


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
