"""RequestHandler: reads the trainer's requests, and answers them.

Requests for a loss go into the `SegmentExchange`, and are answered when Sprint has visited their
segment; in a control loop with Sprint's callback all requests are answered at once. An exception in
a request is its answer, ("exception", traceback). When the trainer closes the pipe, that counts as
("exit",).
"""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from sprint_ctl._pipe.plain_values import brief
from sprint_ctl.errors import SprintError, SprintProtocolError

from .criterion import loss_by_name
from .log import is_verbose, log
from .segment_exchange import SegmentExchange
from .segment_request import ProbeRequest, SegmentRequest
from .segment_request import segment_name as segment_name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .link import TrainerLink
    from .sprint_state import SprintState

    Reply = tuple[Any, ...]

__all__ = ["VERSION", "RequestHandler"]

VERSION = 1  # of the protocol
_START_TIMEOUT = 10.0  # seconds, of a thread


class RequestHandler:
    """Requests on one side, answers on the other; ``has_loop``: a control loop was started."""

    def __init__(self, link: TrainerLink, state: SprintState) -> None:
        self.state = state
        self.exchange = SegmentExchange()
        self.has_loop = False
        self._link = link
        self._handling_thread: int | None = None

    def handle_next(self) -> None:
        """Waits for the next request, and answers it unless it is for Sprint to work on.

        The trainer receives an error about what is not a message, too.
        """
        try:
            received = self._link.receive()
        except SprintProtocolError:
            self.report(traceback.format_exc())
            raise
        if received is None:
            self.end()
            return
        message, request_id = received
        self._handling_thread = threading.get_ident()
        try:
            reply = self._handle(message, request_id)
        except Exception:
            text = traceback.format_exc()
            log(text)
            self._handling_thread = None
            self._send(("exception", text), request_id)
        else:
            self._handling_thread = None
            if reply is not None:
                self._send(("ok", *reply), request_id)
            if message[:1] == ("init",):
                self._link.use_json_framing()

    @property
    def is_inside_request(self) -> bool:
        """Whether this thread handles a request; what Sprint calls now is part of it."""
        return self._handling_thread == threading.get_ident()

    def answer(self, request: SegmentRequest) -> None:
        """Sends loss and error signal of a request, or its error."""
        if request.error is None:
            self._send(("ok", request.loss, request.error_signal), request.request_id)
        else:
            kind, error = type(request.error), request.error
            text = "".join(traceback.format_exception(kind, error, error.__traceback__))
            log(text)
            self._send(("exception", text), request.request_id)

    def report(self, text: str) -> None:
        """Sends an exception that will end Sprint, and closes the pipe."""
        self._link.report(text)
        self.end()

    def end(self) -> None:
        """Closes the pipe: no more requests will come."""
        self.exchange.end()
        self._link.close()

    def _send(self, message: tuple[Any, ...], request_id: int) -> None:
        if not self._link.send(message, request_id):
            self.end()

    # ---- requests --------------------------------------------------------------------------

    def _handle(self, message: tuple[Any, ...], request_id: int) -> Reply | None:
        if is_verbose():
            log("request", message[:1], [x for x in message[1:] if isinstance(x, (str, int))])
        if message[:1] == ("exit",):
            self.end()
            return None
        if message[:1] == ("get_loss_and_error_signal",):
            return self._handle_loss(SegmentRequest(request_id, *message[1:]))
        if message[:1] == ("probe",):
            return self._handle_loss(ProbeRequest(request_id, *message[1:]))
        handlers: dict[Any, Callable[..., Reply]] = {
            "init": self._handle_init,
            "export_allophone_state_fsa_by_segment_name": self._handle_automaton,
            "describe": lambda: (self.state.describe(control_loop=self.has_loop),),
        }
        handler = handlers.get(message[0]) if message and isinstance(message[0], str) else None
        if handler is None:
            raise ValueError(f"unknown request {brief(message[:1])}")
        return handler(*message[1:])

    def _handle_init(self, name: str, version: int) -> Reply:
        if version != VERSION:
            raise ValueError(f"{name} speaks version {version}, this is version {VERSION}")
        return ("SprintControl", VERSION) + ((2,) if self._link.knows_json_framing else ())

    def _handle_loss(self, request: SegmentRequest) -> Reply | None:
        state, exchange = self.state, self.exchange
        if state.segments and request.name not in state.segments:
            raise KeyError(f"segment {request.name!r} is not in Sprint's corpus")
        if state.loop_callback is not None and not exchange.is_threaded:
            if not request.log_posteriors.size:
                raise ValueError("a probe without sizes, which Sprint does not know either")
            return loss_by_name(
                state.loop_callback,
                request.name,
                request.log_posteriors,
                criterion=state.criterion,
            )
        exchange.put(request)
        return exchange.wait_done(request.name) if exchange.is_threaded else None

    def _handle_automaton(self, segment_name: Any) -> Reply:
        callback = self.state.loop_callback or self.state.command
        return tuple(
            callback("export_allophone_state_fsa_by_segment_name", segment_name_of(segment_name))
        )

    # ---- control loops ---------------------------------------------------------------------

    def run_loop(self, callback: Callable[..., Any]) -> None:
        """Handles requests with Sprint's callback, or a substitute, until the trainer ends."""
        exchange = self.exchange
        with exchange.cond:
            if self.has_loop:
                raise SprintError("a control loop is running already")
            self.state.loop_callback = callback
            self.has_loop = True
            exchange.cond.notify_all()
        try:
            while not exchange.has_ended:
                self.handle_next()
        finally:
            exchange.end()

    def start_loop(self, run: Callable[[], None]) -> None:
        """Starts a thread that calls `run`, which calls `run_loop`; returns when the loop runs."""
        if self.has_loop:
            raise SprintError("a control loop is running already")
        exchange = self.exchange
        exchange.is_threaded = True
        threading.Thread(target=run, name="control loop", daemon=True).start()
        with exchange.cond:
            if not exchange.cond.wait_for(lambda: self.has_loop, _START_TIMEOUT):
                raise SprintError("the control loop did not start")
