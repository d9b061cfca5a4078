"""SprintSubprocessInstance: one Sprint that computes losses, error signals and automata.

It belongs to the thread that uses it; only `end` may come from another. One request is under way at
a time, from before its first byte is sent until its answer is read completely: ``is_calculating``.
A Sprint whose request was broken off, by an error or by an exception of a signal handler, is ended,
so that no later request can receive that answer; `init` starts another one. So is one that has sent
an answer to no request. A request that Sprint answers with an exception leaves it running.

A start is the first such exchange: `start` sends, `await_ready` reads the answer. In between, while
``is_starting``, Sprint has no other request, and the time for its start runs on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl._pipe.deadline import check_timeouts, deadline_after, seconds_left
from sprint_ctl._pipe.foreign_errors import is_foreign
from sprint_ctl._pipe.plain_values import brief
from sprint_ctl.command import CommandLine, from_returnn, split_command
from sprint_ctl.errors import (
    SprintAutomatonError,
    SprintError,
    SprintProtocolError,
    SprintRequestError,
)

from .automaton import Automaton, automaton_from_reply
from .process import SprintProcess, segment_order_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PooledInstance", "SprintSubprocessInstance"]

_MODULE = "sprint_ctl.control"
_LOSS = "get_loss_and_error_signal"
_AUTOMATON = "export_allophone_state_fsa_by_segment_name"
_START_INTERVALS = 0.0002, 0.01  # seconds between looks at whether a start is still waited for
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class SprintSubprocessInstance:
    """A Sprint process and the request under way.

    Attributes:
        Version: of the protocol.
        is_calculating: a request was begun and its answer is not read yet.
        deaths: how often in a row Sprint was lost; counted by the pool, 0 after an answer.
        was_ready: Sprint has answered at least once.
    """

    Version = 1
    _starts_at_once = True

    def __init__(
        self,
        sprintExecPath: CommandLine,  # noqa: N803
        minPythonControlVersion: int = 2,  # noqa: N803
        sprintConfigStr: CommandLine = "",  # noqa: N803
        sprintControlConfig: Mapping[str, Any] | None = None,  # noqa: N803
        usePythonSegmentOrder: bool = True,  # noqa: N803
        *,
        start_timeout: float | None = 1800.0,
        request_timeout: float | None = 600.0,
        exit_timeout: float | None = 5.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts Sprint and waits until it answers.

        Args:
            sprintExecPath: the executable, see `sprint_ctl.command.find_executable`.
            minPythonControlVersion: minimum interface version, checked inside Sprint.
            sprintConfigStr: its arguments: a string as for a shell, a list, or a function; with
                "config:NAME" the value of NAME in RETURNN's global configuration. They follow our
                arguments, so they take precedence.
            sprintControlConfig: further pairs of the configuration string of our module.
            usePythonSegmentOrder: Sprint asks us for the order of segments.
            start_timeout: seconds for Sprint to start and answer; None: no limit.
            request_timeout: seconds for each request; None: no limit.
            exit_timeout: seconds for Sprint to end when asked; None: no limit.
            environment: environment variables of Sprint, in addition to those of this process.

        Raises:
            SprintStartError: it does not start, or ends or fails before it answers.
            SprintTimeoutError: it does not answer in time.
            SprintProtocolError: its answer violates the protocol.
            TypeError, ValueError: an option out of range.
        """
        timeouts = check_timeouts(
            start_timeout=start_timeout, request_timeout=request_timeout, exit_timeout=exit_timeout
        )
        self.is_calculating = False
        self.deaths = 0
        self.was_ready = False
        self._executable = sprintExecPath
        self._min_version = minPythonControlVersion
        self._arguments = split_command(from_returnn(sprintConfigStr))
        self._config = dict(sprintControlConfig or {})
        self._use_segment_order = usePythonSegmentOrder
        self._start_timeout = timeouts["start_timeout"]
        self._request_timeout = timeouts["request_timeout"]
        self._exit_timeout = timeouts["exit_timeout"]
        self._environment = environment
        self._process: SprintProcess | None = None
        self._request_id = 0
        self._deadline = 0.0
        self._segment: str | None = None
        self._shape: tuple[int, ...] = ()
        if self._starts_at_once:
            self.init()

    def init(self) -> None:
        """(Re)starts Sprint and waits until it answers. Raises as the constructor does."""
        self.start()
        self.await_ready()

    def start(self) -> None:
        """(Re)starts Sprint; `await_ready` must follow. Raises as the constructor does."""
        self.exit_handler()
        self._segment = None
        self._request_id += 1
        self._deadline = deadline_after(self._start_timeout)
        try:
            self._process = process = SprintProcess(
                self._executable,
                self._build_arguments,
                config={"minPythonControlVersion": self._min_version, **self._config},
                environment=self._environment,
                exit_timeout=self._exit_timeout,
            )
            message = ("init", "SprintSubprocessInstance", self.Version)
            process.send(message, request_id=self._request_id, deadline=self._deadline)
        except BaseException:
            self._abandon()
            raise

    def await_ready(self, is_over: Callable[[], bool] | None = None) -> bool:
        """Waits until Sprint has answered to its start, at most until the time for that is over.

        Args:
            is_over: called at short intervals; when it returns True, the start is not awaited any
                more, but goes on.

        Returns:
            Whether Sprint has answered. Raises as the constructor does.
        """
        process = self._running()
        try:
            interval, longest = _START_INTERVALS
            while is_over is not None and not process.wait(interval):
                if not seconds_left(self._deadline):
                    break
                if is_over():
                    return False
                interval = min(2 * interval, longest)
            answer = self._receive("init")
            if len(answer) < 2 or answer[1] != self.Version:
                self._fail("init", f"the name and version {self.Version} of the module", answer)
            if answer[2:3] == (2,):
                process.wire.version = 2
            process.is_ready = self.was_ready = True
        except BaseException:
            self._abandon()
            raise
        return True

    def _build_arguments(self, config: str, modules: str) -> list[str]:
        arguments = [
            "--*.python-control-enabled=true",
            f"--*.pymod-path={modules}",
            f"--*.pymod-name={_MODULE}",
            f"--*.pymod-config={config}",
        ]
        if self._use_segment_order:
            arguments += segment_order_options(_MODULE, config, modules)
        return arguments + self._arguments

    @property
    def pid(self) -> int | None:
        """Process id of the Sprint, None after it was ended."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether Sprint runs."""
        process = self._process
        return process is not None and not process.is_closed and process.is_running

    @property
    def is_starting(self) -> bool:
        """Whether Sprint was started and its answer to that is not read yet."""
        process = self._process
        return process is not None and not process.is_closed and not process.is_ready

    @property
    def is_ready(self) -> bool:
        """Whether Sprint has answered to its start and runs."""
        process = self._process
        return process is not None and process.is_ready and self.is_running

    # ---- requests --------------------------------------------------------------------------

    def get_loss_and_error_signal__send(
        self, seg_name: str | bytes, seg_len: int, log_posteriors: NDArray[Any]
    ) -> None:
        """Sends a request; `get_loss_and_error_signal__read` must follow.

        Args:
            seg_name: name of the segment.
            seg_len: its length in frames, any integer type.
            log_posteriors: (time, label), any strides; sent as float32.

        Raises:
            SprintError: the answer to the last request was not read.
            ValueError: a shape that does not match the length.
            SprintDiedError, SprintTimeoutError: it could not be sent.
        """
        length = int(seg_len)
        if log_posteriors.ndim != 2 or len(log_posteriors) != length or not length or not seg_name:
            raise ValueError(
                f"segment {seg_name!r}: posteriors of shape {log_posteriors.shape} for {length}"
                " frames, expected (time, label), a name and at least one frame"
            )
        name = seg_name.decode("utf-8") if isinstance(seg_name, bytes) else str(seg_name)
        posteriors = log_posteriors.astype(np.float32, copy=False)
        self._begin(name)
        self._shape = posteriors.shape
        try:
            self._send(_LOSS, name, length, posteriors)
        except BaseException:
            self._abandon()
            raise

    def get_loss_and_error_signal__have_data(self) -> bool:
        """Whether the answer has arrived or Sprint has ended: `__read` will not wait long.

        Raises:
            SprintError: this Sprint was ended.
        """
        process = self._running()
        return not process.is_running or process.wire.has_data()

    def get_loss_and_error_signal__read(
        self, out: NDArray[np.float32] | None = None
    ) -> tuple[str, float, NDArray[np.float32]]:
        """Waits for the answer.

        Args:
            out: filled with the error signal and returned instead of a new array.

        Returns:
            The name of the segment, the loss, the error signal (time, label) float32.

        Raises:
            SprintRequestError: Sprint answered with an exception, and keeps running.
            SprintDiedError, SprintTimeoutError, SprintProtocolError: this Sprint has ended.
        """
        if not self.is_calculating:
            raise SprintError("no request was sent")
        try:
            answer = self._receive(_LOSS)
            if (
                len(answer) != 2
                or not _is_float32(answer[0])
                or not isinstance(answer[1], np.ndarray)
                or answer[1].shape != self._shape
                or answer[1].dtype.kind not in "fiu"
            ):
                self._fail(_LOSS, f"a loss and an error signal of shape {self._shape}", answer)
            if out is None:
                out = np.empty(self._shape, np.float32)
            out[...] = answer[1]  # which may be overwritten by the next answer
        except BaseException:
            if self.is_calculating:
                self._abandon()
            raise
        self.is_calculating = False
        return self._segment or "", float(answer[0]), out

    def get_loss_and_error_signal(
        self, seg_name: str, log_posteriors: NDArray[Any], out: NDArray[np.float32]
    ) -> float:
        """Sends a request, reads the answer, fills ``out`` and returns the loss."""
        self.get_loss_and_error_signal__send(seg_name, len(log_posteriors), log_posteriors)
        return self.get_loss_and_error_signal__read(out)[1]

    def get_automaton(self, seg_name: str) -> Automaton:
        """Returns the automaton of allophone states of a segment.

        Raises:
            SprintRequestError: Sprint answered with an exception, and keeps running.
            SprintAutomatonError: its answer is not an automaton, or one without a path to its final
                state; Sprint keeps running.
            SprintDiedError, SprintTimeoutError, SprintProtocolError: this Sprint has ended.
        """
        answer = self._ask(_AUTOMATON, seg_name)
        try:
            return automaton_from_reply(answer)
        except SprintAutomatonError as error:
            if is_foreign(error):
                raise
            error.request, error.segment = _AUTOMATON, seg_name
            self._running().explain(error)
            raise

    def probe(
        self, seg_name: str, length: int = 0, labels: int = 0
    ) -> tuple[float, NDArray[np.float32]]:
        """Requests loss and error signal for uniform posteriors of the size that Sprint has.

        Args:
            seg_name: name of the segment.
            length, labels: sizes for where Sprint has none, 0: not known.

        Returns:
            The loss, the error signal (time, label) float32; infinite and (0, 0) where the sizes
            are not known.
        """
        answer = self._ask("probe", seg_name, length, labels)
        if len(answer) != 2 or getattr(answer[1], "ndim", 0) != 2:
            self._fail("probe", "a loss and an error signal", answer)
        return float(answer[0]), np.array(answer[1], np.float32)

    def describe(self) -> dict[str, Any]:
        """Returns what the module inside Sprint reports: versions of Python, numpy and Sprint."""
        answer = self._ask("describe")
        if len(answer) != 1 or not isinstance(answer[0], dict):
            self._fail("describe", "a dict", answer)
        return dict(answer[0])

    # ---- the request under way -------------------------------------------------------------

    def _ask(self, request: str, segment: str | None = None, *arguments: Any) -> tuple[Any, ...]:
        """Sends a request and waits for the answer."""
        self._begin(segment)
        try:
            self._send(request, segment, *arguments)
            answer = self._receive(request)
        except BaseException:
            if self.is_calculating:
                self._abandon()
            raise
        self.is_calculating = False
        return answer

    def _begin(self, segment: str | None) -> None:
        if self.is_calculating:
            raise SprintError("the last answer was not read", segment=self._segment)
        self._running()
        self.is_calculating = True
        self._segment = segment

    def _send(self, request: str, segment: str | None = None, *arguments: Any) -> None:
        self._request_id += 1
        self._deadline = deadline_after(self._request_timeout)
        if self._running().wire.version == 1:
            self._check_silent(request)
        message = (request,) if segment is None else (request, segment, *arguments)
        self._running().send(
            message, request_id=self._request_id, deadline=self._deadline, segment=segment
        )

    def _check_silent(self, request: str) -> None:
        """Ends a Sprint that has sent something before the request; no id would show it later."""
        process = self._running()
        if not process.is_closed and process.wire.has_data():
            message = process.receive(
                deadline=self._deadline, request=request, segment=self._segment
            )
            if message[:1] == ("exception",) and len(message) == 2:
                died = process.died(str(message[1]))
                process.fail(died, request=request, segment=self._segment)
            self._fail(request, "nothing before the request is sent", message)

    def _receive(self, request: str) -> tuple[Any, ...]:
        """Returns what follows "ok" in the answer."""
        process = self._running()
        answer = process.receive(deadline=self._deadline, request=request, segment=self._segment)
        status, received_id = answer[:1], process.wire.received_id
        is_exception = status == ("exception",) and len(answer) == 2
        # the id of no request, and any exception at the start: Sprint is about to end
        if is_exception and (received_id == 0 or not process.is_ready):
            died = process.died(str(answer[1]))
            process.fail(died, request=request, segment=self._segment)
        if received_id is not None and received_id != self._request_id:
            self._fail(request, f"the answer to request {self._request_id}", f"to {received_id}")
        if is_exception:
            self.is_calculating = False  # answered
            self._raise_remote(request, str(answer[1]))
        if status != ("ok",):
            self._fail(request, '("ok", ...) or ("exception", text)', answer)
        if request != "init":
            self.deaths = 0
        return answer[1:]

    def _raise_remote(self, request: str, text: str) -> None:
        self.deaths = 0
        lines = text.strip().splitlines() or [""]
        error = SprintRequestError(
            f"Sprint answered with an exception: {lines[-1]:.300}",
            request=request,
            segment=self._segment,
            remote=text,
        )
        self._running().explain(error)
        raise error

    def _fail(self, request: str, expected: str, found: Any) -> None:
        self._running().fail(
            SprintProtocolError(
                "unexpected reply from Sprint", expected=expected, found=brief(found)
            ),
            request=request,
            segment=self._segment,
        )

    # ---- the process -----------------------------------------------------------------------

    def _running(self) -> SprintProcess:
        if self._process is None:
            raise SprintError("this Sprint was ended")
        return self._process

    def _abandon(self) -> None:
        """Ends a Sprint whose request was broken off; the request goes with it."""
        if self._process is not None:
            self._process.close(ask=False)
        self.is_calculating = False

    def end(self) -> None:
        """Ends the process from another thread; the thread that uses it gets an error."""
        process = self._process
        if process is not None:
            process.end(ask=False)

    def exit_handler(self) -> None:
        """Ends Sprint. Idempotent."""
        process = self._process
        if process is not None:  # one that is starting would not answer in time
            process.close(ask=process.is_ready and not self.is_calculating)
        self._process = None
        self.is_calculating = False


def _is_float32(value: Any) -> bool:
    """Whether a value is a number, infinity or NaN that float32 can hold."""
    number: Any = value
    if isinstance(value, (int, np.integer)):
        return bool(abs(number) <= _MAX_FLOAT32)
    if isinstance(value, (float, np.floating)):
        return abs(float(number)) <= _MAX_FLOAT32 or not math.isfinite(number)
    return False


class PooledInstance(SprintSubprocessInstance):
    """The Sprint of a pool, which calls `init` when it has a segment for it."""

    _starts_at_once = False
