"""SegmentStream: a Sprint process that sends the segments of one epoch, seen from the trainer.

The process runs from the start and blocks on its pipe until the segments are read. One thread reads
(`start`, `receive`, `close`); `end` may come from any other, and the reader then gets an error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sprint_ctl._pipe.deadline import deadline_after
from sprint_ctl._pipe.descriptors import above_standard
from sprint_ctl._pipe.plain_values import brief
from sprint_ctl.command import CommandLine
from sprint_ctl.errors import SprintError, SprintProtocolError

from .process import SprintProcess, segment_order_options

__all__ = ["SegmentMessage", "SegmentStream", "StreamOptions"]

_MODULE = "sprint_ctl.extern_interface"
# that are received at once
_MAX_SEGMENTS = 64
_MAX_BYTES = 1 << 21


class SegmentMessage(NamedTuple):
    """The data of a segment: features (dimension, time), targets by data key; None: not known."""

    name: str | None
    features: NDArray[Any] | None
    targets: Mapping[str, Any]


class StreamOptions(NamedTuple):
    """How to start Sprint, in every epoch: see `ExternSprintDataset`; timeouts in seconds."""

    executable: CommandLine
    arguments: Sequence[str]
    start_timeout: float
    data_timeout: float
    exit_timeout: float
    config: Mapping[str, Any]
    environment: Mapping[str, str] | None = None


class SegmentStream:
    """The process and its segments; ``is_complete``: Sprint has ended the epoch."""

    def __init__(
        self,
        options: StreamOptions,
        epoch: int,
        corpus_options: Sequence[str],
        config: Mapping[str, Any],
        seq_list: Sequence[str] | None = None,
    ) -> None:
        """Starts Sprint.

        Args:
            options: see `StreamOptions`.
            epoch: counted from 1.
            corpus_options: arguments that select the segments of this epoch.
            config: pairs of the configuration string that order them.
            seq_list: names of exactly the segments to deliver, in this order.
        """
        self.epoch = epoch
        self.num_segments = 0
        self.is_complete = False
        self._last: str | None = None
        self._error: SprintError | None = None
        self._options = options
        self._deadline = 0.0

        with contextlib.ExitStack() as files:
            inherited = []
            order_options: list[str] = []
            if seq_list is not None:
                file = files.enter_context(_list_file(seq_list))
                inherited.append(file.fileno())
                order_options = _list_options(f"/proc/self/fd/{file.fileno()}")

            def arguments(pairs: str, modules: str) -> list[str]:
                own = [*corpus_options, *order_options, *_module_options(pairs, modules)]
                return [*options.arguments, *own]

            self._process = SprintProcess(
                options.executable,
                arguments,
                config={"action": "ExternSprintDataset", **config, **options.config},
                environment=options.environment,
                inherited=inherited,
                shared_memory=False,
                exit_timeout=options.exit_timeout,
            )

    @property
    def pid(self) -> int:
        """Process id of the Sprint."""
        return self._process.pid

    def start(self) -> tuple[int, int] | None:
        """Waits for the dimensions; None if Sprint ends its epoch without any segment.

        Returns the dimension of the features and the number of classes, below 1 where there are
        none.
        """
        self._deadline = deadline_after(self._options.start_timeout)
        kind, content = self._message()
        self._process.is_ready = True
        if kind == "exit":
            self.is_complete = True
            return None
        if (
            kind != "init"
            or not isinstance(content, (list, tuple))
            or [type(number) for number in content[:2]] != [int, int]
        ):
            self._fail('("init", (input dimension, output dimension, ...))', (kind, content))
        return content[0], content[1]

    def receive(self, max_segments: int = _MAX_SEGMENTS) -> list[SegmentMessage]:
        """Waits for the next segment; returns those that have arrived by then, [] at the end."""
        if self._error is not None:
            raise self._error
        if self.is_complete:
            return []
        self._deadline = deadline_after(self._options.data_timeout)
        segments: list[SegmentMessage] = []
        size = 0
        while not segments or (
            len(segments) < min(max_segments, _MAX_SEGMENTS)
            and size < _MAX_BYTES
            and self._process.wire.has_data()
        ):
            try:
                kind, content = self._message()
                if kind == "exit":
                    self.is_complete = True
                    break
                segment = self._segment(kind, content)
            except SprintError as error:
                if not segments:
                    raise
                self._error = error  # raised after the segments before it
                break
            size += 0 if segment.features is None else segment.features.nbytes
            segments.append(segment)
        return segments

    def _segment(self, kind: Any, content: Any) -> SegmentMessage:
        fits = kind == "data" and isinstance(content, (list, tuple)) and len(content) == 3
        if fits:
            name, features, targets = content
            fits = (
                isinstance(name, (str, type(None)))
                and isinstance(features, (np.ndarray, type(None)))
                and isinstance(targets, dict)
            )
        if not fits:
            self._fail('("data", (name, features, targets)) or ("exit", None)', (kind, content))
        segment = SegmentMessage(*content)
        self.num_segments += 1
        self._last = segment.name
        return segment

    def _message(self) -> tuple[Any, Any]:
        request = self._position()
        message = self._process.receive(deadline=self._deadline, request=request)
        if len(message) != 2:
            self._fail("a pair", message)
        if message[0] == "exception":
            self._process.fail(self._process.died(str(message[1])), request=request)
        return message[0], message[1]

    def _position(self) -> str:
        """Returns the position in the epoch, for errors."""
        position = f"epoch {self.epoch}"
        if self.num_segments:
            position += f", after {self.num_segments} segments, the last one {self._last!r}"
        return position

    def _fail(self, expected: str, found: Any) -> None:
        self._process.fail(
            SprintProtocolError(
                "Sprint sends something other than segments",
                expected=expected,
                found=brief(found),
            ),
            request=self._position(),
        )

    def explain(self, error: SprintError) -> None:
        """Writes what is known about the process into an error."""
        self._process.explain(error)
        error.request = error.request or self._position()

    def drain(self) -> None:
        """Reads and drops everything until the end, so that Sprint can end."""
        with contextlib.suppress(SprintError):
            while self.receive():
                pass

    def end(self, *, ask: bool = True) -> None:
        """Ends the process: asks, waits, terminates, kills; its reader gets an error."""
        self._process.end(ask=ask)

    def close(self, *, ask: bool = True) -> None:
        """Ends the process and releases its resources; its exit status is ignored."""
        self._process.close(ask=ask)


def _list_file(names: Sequence[str]) -> IO[bytes]:
    """Returns a list of segments as a file in memory, which ends with its last descriptor."""
    file = os.fdopen(above_standard(os.memfd_create("sprint-segments")), "wb")
    file.writelines(f"{name}\n".encode() for name in names)
    file.flush()
    return file


def _list_options(path: str) -> list[str]:
    """Options for exactly the segments of a list."""
    return [
        "--*.corpus.segment-order-shuffle=false",
        "--*.corpus.segment-order-sort-by-time-length=false",
        f"--*.corpus.segments.file={path}",
        f"--*.corpus.segment-order={path}",
    ]


def _module_options(config: str, modules: str) -> list[str]:
    return [
        *segment_order_options(_MODULE, config, modules),
        "--*.use-data-source=false",
        "--*.trainer=python-trainer",
        f"--*.pymod-path={modules}",
        f"--*.pymod-name={_MODULE}",
        f"--*.pymod-config={config}",
    ]
