"""One Sprint process that delivers the segments of one epoch, seen from the trainer.

The process runs from the start, and is held up by the pipe until somebody reads. One thread reads
(`start`, `receive`, `close`); `end` may come from any other, and makes the reader find the end.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sprint_ctl.command import CommandLine
from sprint_ctl.errors import SprintError, SprintProtocolError

from .process import SprintProcess

__all__ = ["Segment", "SegmentStream", "StreamOptions"]

_MODULE = "sprint_ctl.extern_interface"
_MOST = 64  # segments, and bytes, that are received at once
_MOST_BYTES = 1 << 21


class Segment(NamedTuple):
    """What Sprint tells of one segment.

    Attributes:
        name: full name, or None where Sprint does not say.
        features: (dimension, time), or None.
        targets: data key to array or text.
    """

    name: str | None
    features: NDArray[Any] | None
    targets: Mapping[str, Any]


class StreamOptions(NamedTuple):
    """How to start Sprint, in every epoch.

    Attributes:
        executable: see `sprint_ctl.command.find_executable`.
        arguments: those of the user.
        start_timeout: seconds until the first segment is extracted.
        data_timeout: seconds for each further one.
        exit_timeout: seconds to end when asked.
        config: further pairs of the configuration string.
    """

    executable: CommandLine
    arguments: Sequence[str]
    start_timeout: float
    data_timeout: float
    exit_timeout: float
    config: Mapping[str, Any]


class SegmentStream:
    """The process, and what has come from it.

    Attributes:
        epoch: that it delivers.
        num_segments: received so far.
        is_complete: Sprint has said that this was all.
    """

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
            options: how.
            epoch: counted from 1.
            corpus_options: arguments that choose what belongs to this epoch.
            config: pairs of the configuration string that order it.
            seq_list: names of exactly the segments to deliver, in this order.

        Raises:
            SprintStartError: it cannot be started.
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

        Returns:
            dimension of the features, and number of classes; below 1 where there are none.

        Raises:
            SprintStartError: it ends or fails before.
            SprintTimeoutError: they do not come in time.
            SprintProtocolError: something else comes.
        """
        self._deadline = time.monotonic() + self._options.start_timeout
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

    def receive(self, most: int = _MOST) -> list[Segment]:
        """Waits for the next segment, and takes along what has come by then; [] at the end.

        Args:
            most: segments to receive, at least one.

        Raises:
            SprintDiedError: Sprint has ended before its epoch was complete.
            SprintTimeoutError: nothing comes in time.
            SprintProtocolError: something else comes.
        """
        if self._error is not None:
            raise self._error
        if self.is_complete:
            return []
        self._deadline = time.monotonic() + self._options.data_timeout
        segments: list[Segment] = []
        size = 0
        while not segments or (
            len(segments) < min(most, _MOST)
            and size < _MOST_BYTES
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
                self._error = error  # what came before it comes first
                break
            size += 0 if segment.features is None else segment.features.nbytes
            segments.append(segment)
        return segments

    def _segment(self, kind: Any, content: Any) -> Segment:
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
        segment = Segment(*content)
        self.num_segments += 1
        self._last = segment.name
        return segment

    def _message(self) -> tuple[Any, Any]:
        request = self._place()
        message = self._process.receive(deadline=self._deadline, request=request)
        if len(message) != 2:
            self._fail("a pair", message)
        if message[0] == "exception":
            self._process.fail(self._process.died(str(message[1])), request=request)
        return message[0], message[1]

    def _place(self) -> str:
        """Where we are, for messages."""
        place = f"epoch {self.epoch}"
        if self.num_segments:
            place += f", after {self.num_segments} segments, the last one {self._last!r}"
        return place

    def _fail(self, expected: str, found: Any) -> None:
        self._process.fail(
            SprintProtocolError(
                "Sprint sends something else than segments",
                expected=expected,
                found=repr(found)[:200],
            ),
            request=self._place(),
        )

    def explain(self, error: SprintError) -> None:
        """Writes what is known about the process into an error."""
        self._process.explain(error)
        error.request = error.request or self._place()

    def drain(self) -> None:
        """Reads on until the end, so that Sprint is not held up while it ends."""
        with contextlib.suppress(SprintError):
            while self.receive():
                pass

    def end(self, *, ask: bool = True) -> None:
        """Ends the process: ask, wait, terminate, kill; its reader finds the end."""
        self._process.end(ask=ask)

    def close(self, *, ask: bool = True) -> None:
        """Ends the process and gives everything back; how Sprint exits is no error of ours."""
        self._process.close(ask=ask)


def _list_file(names: Sequence[str]) -> IO[bytes]:
    """Returns a file in memory with a list of segments, which no process can leave behind."""
    file = os.fdopen(os.memfd_create("sprint-segments"), "wb")
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
        "--*.python-segment-order=true",
        f"--*.python-segment-order-pymod-path={modules}",
        f"--*.python-segment-order-pymod-name={_MODULE}",
        f"--*.python-segment-order-config={config}",
        "--*.python-segment-order-allow-copy=false",
        "--*.use-data-source=false",
        "--*.trainer=python-trainer",
        f"--*.pymod-path={modules}",
        f"--*.pymod-name={_MODULE}",
        f"--*.pymod-config={config}",
    ]
