"""SprintSubprocessInstance: one Sprint that computes losses, error signals and automata.

It belongs to the thread that uses it; only ``exit_handler`` may come from another. A request that
fails because Sprint has ended, hangs or talks nonsense ends the process; `init` starts another one.
A request that Sprint answers with an exception leaves it as it is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.command import CommandLine, from_returnn, split_command
from sprint_ctl.errors import SprintError, SprintProtocolError, SprintRequestError

from .process import SprintProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .batch import Automaton

__all__ = ["SprintSubprocessInstance"]

_MODULE = "sprint_ctl.control"
_LOSS = "get_loss_and_error_signal"
_AUTOMATON = "export_allophone_state_fsa_by_segment_name"


class SprintSubprocessInstance:
    """A Sprint process and the request under way.

    Attributes:
        Version: of the protocol.
        is_calculating: a request for a loss was sent, its answer not yet read.
        deaths: how often in a row Sprint was lost; counted by the pool, 0 after a success.
    """

    Version = 1

    def __init__(
        self,
        sprintExecPath: CommandLine,  # noqa: N803
        minPythonControlVersion: int = 2,  # noqa: N803
        sprintConfigStr: CommandLine = "",  # noqa: N803
        sprintControlConfig: Mapping[str, Any] | None = None,  # noqa: N803
        usePythonSegmentOrder: bool = True,  # noqa: N803
        *,
        start_timeout: float = 1800.0,
        request_timeout: float = 600.0,
        exit_timeout: float = 5.0,
    ) -> None:
        """Starts Sprint and waits until it answers.

        Args:
            sprintExecPath: the executable, see `sprint_ctl.command.find_executable`.
            minPythonControlVersion: least interface version; Sprint is told to check.
            sprintConfigStr: its arguments: a string as for a shell, a list, or a function; with
                "config:NAME" what RETURNN's global configuration has under that name. They come
                after our own, so they win.
            sprintControlConfig: further pairs of the configuration string of our module.
            usePythonSegmentOrder: Sprint asks us for the order of segments.
            start_timeout: seconds for Sprint to start and answer.
            request_timeout: seconds for each request.
            exit_timeout: seconds for Sprint to end when asked.

        Raises:
            SprintStartError: it does not start, or ends or fails before it answers.
            SprintTimeoutError: it does not answer in time.
            SprintProtocolError: it answers nonsense.
        """
        self.is_calculating = False
        self.deaths = 0
        self._executable = sprintExecPath
        self._min_version = minPythonControlVersion
        self._arguments = split_command(from_returnn(sprintConfigStr))
        self._config = dict(sprintControlConfig or {})
        self._use_segment_order = usePythonSegmentOrder
        self._start_timeout = start_timeout
        self._request_timeout = request_timeout
        self._exit_timeout = exit_timeout
        self._process: SprintProcess | None = None
        self._request_id = 0
        self._deadline = 0.0
        self._segment: str | None = None
        self._shape: tuple[int, ...] = ()
        self.init()

    def init(self) -> None:
        """(Re)starts Sprint. Raises as the constructor does."""
        self.exit_handler()
        self._process = process = SprintProcess(
            self._executable,
            self._build_arguments,
            config={"minPythonControlVersion": self._min_version, **self._config},
            exit_timeout=self._exit_timeout,
        )
        self._segment = None
        self._deadline = time.monotonic() + self._start_timeout
        process.send(("init", "SprintSubprocessInstance", self.Version), deadline=self._deadline)
        answer = self._receive("init")
        if len(answer) < 2 or answer[1] != self.Version:
            process.fail(
                SprintProtocolError(
                    "the module in Sprint speaks another protocol",
                    expected=f"its name and version {self.Version}",
                    found=repr(answer),
                )
            )
        if answer[2:3] == (2,):
            process.wire.version = 2
        process.is_ready = True

    def _build_arguments(self, config: str, modules: str) -> list[str]:
        arguments = [
            "--*.python-control-enabled=true",
            f"--*.pymod-path={modules}",
            f"--*.pymod-name={_MODULE}",
            f"--*.pymod-config={config}",
        ]
        if self._use_segment_order:
            arguments += [
                "--*.python-segment-order=true",
                f"--*.python-segment-order-pymod-path={modules}",
                f"--*.python-segment-order-pymod-name={_MODULE}",
                f"--*.python-segment-order-config={config}",
                "--*.python-segment-order-allow-copy=false",
            ]
        return arguments + self._arguments

    @property
    def pid(self) -> int | None:
        """Process id of the Sprint, None after it was ended."""
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        process = self._process
        return process is not None and not process.is_closed and process.poll() is None

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
            ValueError: a shape that does not fit the length.
            SprintDiedError, SprintTimeoutError: it could not be sent.
        """
        if self.is_calculating:
            raise SprintError("the last answer was not read", segment=self._segment)
        length = int(seg_len)
        if log_posteriors.ndim != 2 or len(log_posteriors) != length or not length or not seg_name:
            raise ValueError(
                f"segment {seg_name!r}: posteriors of shape {log_posteriors.shape} for {length}"
                " frames, expected (time, label), a name and at least one frame"
            )
        name = seg_name.decode("utf-8") if isinstance(seg_name, bytes) else str(seg_name)
        self._shape = log_posteriors.shape
        self._send(_LOSS, name, length, log_posteriors.astype(np.float32, copy=False))
        self.is_calculating = True

    def get_loss_and_error_signal__have_data(self) -> bool:
        """Whether the answer, or the end of Sprint, has come: `__read` will not wait long."""
        process = self._running()
        return process.poll() is not None or process.wire.has_data()

    def get_loss_and_error_signal__read(
        self, out: NDArray[np.float32] | None = None
    ) -> tuple[str, float, NDArray[np.float32]]:
        """Waits for the answer.

        Args:
            out: filled with the error signal and returned instead of a new array.

        Returns:
            The name of the segment, the loss, the error signal (time, label) float32.

        Raises:
            SprintRequestError: Sprint answered with an exception, and lives.
            SprintDiedError, SprintTimeoutError, SprintProtocolError: this Sprint is gone.
        """
        if not self.is_calculating:
            raise SprintError("no request was sent")
        self.is_calculating = False
        answer = self._receive(_LOSS)
        if (
            len(answer) != 2
            or not isinstance(answer[0], (float, int))
            or not isinstance(answer[1], np.ndarray)
            or answer[1].shape != self._shape
        ):
            self._fail(_LOSS, f"a loss and an error signal of shape {self._shape}", answer)
        if out is None:
            out = np.empty(self._shape, np.float32)
        out[...] = answer[1]
        return self._segment or "", float(answer[0]), out

    def get_automaton(self, seg_name: str) -> Automaton:
        """The automaton of allophone states of a segment.

        Returns:
            number of states, number of edges E, edges uint32 (3 * E,): all from, all to, all
            emissions; weights float32 (E,).

        Raises:
            SprintRequestError: Sprint answered with an exception, and lives.
            SprintDiedError, SprintTimeoutError, SprintProtocolError: this Sprint is gone.
        """
        self._send(_AUTOMATON, seg_name)
        answer = self._receive(_AUTOMATON)
        try:
            states, edges, targets, weights = answer
            fits = targets.shape == (3 * edges,) and weights.shape == (edges,) and states >= 0
        except (TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            self._fail(_AUTOMATON, "states, edges, 3 numbers and a weight for each edge", answer)
        return int(states), int(edges), np.array(targets, np.uint32), np.array(weights, np.float32)

    def probe(
        self, seg_name: str, length: int = 0, labels: int = 0
    ) -> tuple[float, NDArray[np.float32]]:
        """Loss and error signal of a segment for uniform posteriors of the size that Sprint has.

        Args:
            seg_name: name of the segment.
            length, labels: sizes for where Sprint has none, 0: not known.

        Returns:
            The loss, the error signal (time, label) float32; infinite and (0, 0) where the sizes
            are not known.
        """
        self._send("probe", seg_name, length, labels)
        answer = self._receive("probe")
        if len(answer) != 2 or getattr(answer[1], "ndim", 0) != 2:
            self._fail("probe", "a loss and an error signal", answer)
        return float(answer[0]), np.array(answer[1], np.float32)

    def describe(self) -> dict[str, Any]:
        """What the module inside Sprint says about itself: versions of Python, numpy and Sprint."""
        self._send("describe")
        answer = self._receive("describe")
        if len(answer) != 1 or not isinstance(answer[0], dict):
            self._fail("describe", "a dict", answer)
        return dict(answer[0])

    # ---- the process -----------------------------------------------------------------------

    def _running(self) -> SprintProcess:
        if self._process is None:
            raise SprintError("this Sprint was ended")
        return self._process

    def _send(self, request: str, segment: str | None = None, *arguments: Any) -> None:
        self._segment = segment
        self._request_id += 1
        self._deadline = time.monotonic() + self._request_timeout
        message = (request,) if segment is None else (request, segment, *arguments)
        self._running().send(
            message, request_id=self._request_id, deadline=self._deadline, segment=segment
        )

    def _receive(self, request: str) -> tuple[Any, ...]:
        """What follows "ok" in the answer."""
        process = self._running()
        answer = process.receive(deadline=self._deadline, request=request, segment=self._segment)
        status, found_id = answer[:1], process.wire.received_id
        if status == ("exception",) and len(answer) == 2:
            self._fail_with_exception(request, str(answer[1]), found_id)
        if status != ("ok",):
            self._fail(request, '("ok", ...) or ("exception", text)', answer)
        if found_id is not None and found_id != self._request_id:
            self._fail(request, f"the answer to request {self._request_id}", f"to {found_id}")
        if request != "init":
            self.deaths = 0
        return answer[1:]

    def _fail_with_exception(self, request: str, text: str, found_id: int | None) -> None:
        process = self._running()
        # what answers no request, and any in the beginning: Sprint is about to end
        if found_id == 0 or not process.is_ready:
            process.fail(process.died(text), request=request, segment=self._segment)
        lines = text.strip().splitlines() or [""]
        error = SprintRequestError(
            f"Sprint answered with an exception: {lines[-1]}",
            request=request,
            segment=self._segment,
            remote=text,
        )
        process.explain(error)
        raise error

    def _fail(self, request: str, expected: str, found: Any) -> None:
        self._running().fail(
            SprintProtocolError(
                "Sprint answered nonsense", expected=expected, found=repr(found)[:200]
            ),
            request=request,
            segment=self._segment,
        )

    def exit_handler(self) -> None:
        """Ends Sprint; again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.close(ask=not self.is_calculating)
        self.is_calculating = False
