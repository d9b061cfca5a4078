"""Tries out a Sprint: what works with it, and why something fails.

A Sprint runs in one of three modes, by its arguments:

* control loop: automata of segments (``--*.action=python-control``)
* criterion by callback: losses and error signals, Sprint iterates over the corpus
  (``--*.action=python-control``, ``--*.python-control-loop-type=iterate-corpus``)
* Python layer: losses and error signals through a network of Sprint

It is started with the given arguments, described, and asked for the results of its mode; then, with
the same arguments, in those other modes that need no further arguments but ours.
"""

from __future__ import annotations

import logging
import shlex
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from sprint_ctl.command import CommandLine, find_executable, split_command
from sprint_ctl.errors import SprintError, SprintRequestError
from sprintcache._configuration import Configuration

from .advice import advice_for
from .instance import SprintSubprocessInstance

__all__ = ["Finding", "examine"]

logger = logging.getLogger(__name__)

_LOOP, _CALLBACK, _LAYER = "control loop", "criterion by callback", "Python layer"
_MODES = {
    _LOOP: ["--*.action=python-control", "--*.python-control-loop-type=python-control-loop"],
    _CALLBACK: ["--*.action=python-control", "--*.python-control-loop-type=iterate-corpus"],
}
_REPEATS = 20
_MAX_SECONDS = 5.0  # of repetitions
_NO_SEGMENT = "sprint_ctl doctor"  # no corpus has it
_APPLICATION = "neural-network-trainer"  # the name of nn-trainer in its configuration
_LARGE_BUFFER = 100_000  # frames; a segment of a quarter of an hour has fewer


@dataclass(frozen=True)
class Finding:
    """One entry of the report; the verdict "note" is neither good nor bad."""

    verdict: Literal["ok", "FAIL", "note"]
    subject: str
    text: str
    advice: Sequence[str] = ()


def examine(
    executable: CommandLine,
    arguments: CommandLine = "",
    *,
    segment: str | None = None,
    frames: int = 0,
    labels: int = 0,
    timeout: float = 120.0,
    other_modes: bool = True,
) -> Iterator[Finding]:
    """Starts Sprint several times and reports what works.

    Args:
        executable, arguments: as ``sprintExecPath`` and ``sprintConfigStr`` of the pool.
        segment: the one to request; None: the first of the corpus.
        frames, labels: sizes of the posteriors for where Sprint does not know them, 0: not known.
        timeout: seconds for each start and each request.
        other_modes: also try modes other than that of the arguments.

    Yields:
        The report. With a "FAIL" in it the pool will not work with these arguments; a failure in
        another mode is a "note".
    """
    try:
        yield Finding("ok", "executable", shlex.join(find_executable(executable)))
        yield from _buffer_size(split_command(arguments))
    except (SprintError, TypeError, ValueError) as error:
        yield _failure("executable", error)
        return

    def start(extra_arguments: Sequence[str] = ()) -> SprintSubprocessInstance:
        return SprintSubprocessInstance(
            executable,
            sprintConfigStr=[*split_command(arguments), *extra_arguments],
            start_timeout=timeout,
            request_timeout=timeout,
        )

    trial = _Trial(segment, frames, labels)
    given = yield from trial.run(start)
    for mode, mode_arguments in _MODES.items():
        if not other_modes or mode == given:
            continue
        for finding in trial.run(partial(start, mode_arguments)):
            subject = f"{mode}, {finding.subject}"
            if finding.verdict == "FAIL":
                text = f"{finding.text.splitlines()[0]} (with {shlex.join(mode_arguments)})"
                yield Finding("note", subject, text, finding.advice)
            elif finding.subject in ("automaton", "loss"):
                yield Finding(finding.verdict, subject, finding.text, finding.advice)


class _Trial:
    """One run of Sprint."""

    def __init__(self, segment: str | None, frames: int, labels: int) -> None:
        self._segment = segment
        self._frames = frames
        self._labels = labels
        self._sizes: tuple[int, ...] = frames, labels  # or what another mode had

    def run(
        self, start: Callable[[], SprintSubprocessInstance]
    ) -> Generator[Finding, None, str | None]:
        """Yields findings, returns the mode."""
        began = time.monotonic()
        try:
            instance = start()
        except (SprintError, TypeError, ValueError) as error:
            yield _failure("start", error)
            return None
        took = time.monotonic() - began
        try:
            yield Finding("ok", "start", f"process {instance.pid}, ready after {took:.2f} s")
            facts = instance.describe()
            yield from _environment(facts)
            if facts["control_loop"]:
                yield _mode(_LOOP, facts)
                yield from self._automaton(instance)
                if self._labels:
                    yield from self._loss(instance, self._frames or 300, self._labels)
                return _LOOP
            yield from self._loss(instance, *self._sizes)
            if not instance.is_running:
                return None
            facts = instance.describe()
            mode = _LAYER if "SprintNnPythonLayer" in facts["units"] else _CALLBACK
            yield _mode(mode, facts)
            return mode
        except SprintError as error:
            yield _failure(error.request or "request", error)
            return None
        finally:
            instance.exit_handler()

    def _name(self, instance: SprintSubprocessInstance) -> str | None:
        return self._segment or next(iter(instance.describe()["segments"] or ()), None)

    def _automaton(self, instance: SprintSubprocessInstance) -> Iterator[Finding]:
        try:
            name = self._name(instance)
            if name is None:
                try:  # Sprint reads its corpus to look for it
                    instance.get_automaton(_NO_SEGMENT)
                except SprintRequestError:
                    name = self._name(instance)
            if name is None:
                yield _no_segment("automaton")
                return
            first, median = _timed(lambda: instance.get_automaton(name))
            states, edges, _, _ = instance.get_automaton(name)
        except SprintError as error:
            if error.segment == _NO_SEGMENT:
                error.segment = None
            yield _failure("automaton", error)
            return
        yield Finding(
            "ok",
            "automaton",
            f"{states} states, {edges} edges for {name!r}; {first}, then {median}",
        )

    def _loss(
        self, instance: SprintSubprocessInstance, frames: int, labels: int
    ) -> Iterator[Finding]:
        try:
            name = self._name(instance)
            if name is None:
                yield _no_segment("loss")
                return
            loss, error_signal = instance.probe(name, frames, labels)
            advice = _doubts(loss, error_signal)
            if advice:
                size = "" if error_signal.size else ", sizes not known"
                yield Finding("FAIL", "loss", f"{loss} for {name!r}{size}", advice)
                return

            def round_trip() -> None:
                instance.get_loss_and_error_signal__send(name, len(error_signal), sent)
                instance.get_loss_and_error_signal__read()

            sent = np.full(error_signal.shape, -np.log(error_signal.shape[1]), np.float32)
            first, median = _timed(round_trip)
            self._sizes = error_signal.shape
        except SprintError as error:
            yield _failure("loss", error)
            return
        size = f"{error_signal.shape[0]} frames by {error_signal.shape[1]} labels"
        yield Finding("ok", "loss", f"{loss:.4f} for {name!r}, {size}; {first}, then {median}")
        unbalanced = float(np.abs(error_signal.sum(1)).max())
        if unbalanced > 1e-3 * max(1.0, float(np.abs(error_signal).max())):
            yield Finding(
                "note",
                "error signal",
                f"sums to {unbalanced:.3g} instead of 0 over the labels of a frame",
                ["not the derivative with respect to logits: do not use it as a loss in torch"],
            )


def _mode(mode: str, facts: dict[str, Any]) -> Finding:
    return Finding("ok", "mode", f"{mode}, interface version {facts['interface_version']}")


def _buffer_size(arguments: Sequence[str]) -> Iterator[Finding]:
    """A note if Sprint is to clear a large buffer at every segment."""
    config = Configuration.from_arguments(arguments, _APPLICATION, complain=logger.debug)
    for name, value in config.values_of("buffer-size").items():
        if value.isdecimal() and int(value[:18]) >= _LARGE_BUFFER:
            yield Finding(
                "note",
                "buffer-size",
                f"{value} frames ({name})",
                [
                    "Sprint clears buffer-size x dimension x 4 bytes at every segment, in 25 ms"
                    " for 1,000,000 frames of 40 dimensions; set it to the number of frames of"
                    " the longest segment, rounded up, such as 10000"
                ],
            )


def _environment(facts: dict[str, Any]) -> Iterator[Finding]:
    version = facts["python"].split()[0]
    yield Finding("ok", "Python", f"{version}, {facts['python_path']}")
    yield Finding("ok", "numpy", f"{facts['numpy']}, {facts['numpy_path']}")
    yield Finding("ok", "our modules", facts["module_path"])
    if facts["reader"] is not None:
        yield Finding(
            "note",
            "archives",
            f"sprintcache._reader cannot be imported there: {facts['reader']}",
            ["only layers and engines of your own that read archives inside Sprint need it"],
        )


def _doubts(loss: float, error_signal: np.ndarray[Any, Any]) -> list[str]:
    """Returns advice on an answer to a probe that is not as it should be."""
    if not error_signal.size:
        return [
            "with a layer: Sprint skipped the segment, as it does without"
            " --*.buffer-type=utterance, and if a segment is longer than --*.buffer-size",
            "without: Sprint does not report these sizes in this mode; give --labels and --frames",
        ]
    if np.isnan(loss) or np.isnan(error_signal).any():
        return ["not a number: does the criterion take log posteriors (--*.input-in-log-space)?"]
    if np.isinf(loss):
        return [
            "Sprint discards this segment, because a matching alignment or orthography is missing,"
            " or because it is too short for its text: try another --segment, or more --frames"
        ]
    if loss == 0 and not error_signal.any():
        return [
            "no loss and no gradient: --*.training-criterion is none. With alignments:"
            " cross-entropy. Without: ctc, which Sprint had until April 2025"
        ]
    return []


def _no_segment(subject: str) -> Finding:
    return Finding(
        "FAIL",
        subject,
        "no segment is known",
        ["give --segment; is the corpus empty, or --*.python-segment-order=false?"],
    )


def _timed(task: Callable[[], object]) -> tuple[str, str]:
    """Returns the time of the first run and the median of the others, in words."""
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) <= _REPEATS and sum(seconds) < _MAX_SECONDS):
        began = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - began)
    return f"{seconds[0] * 1e3:.2f} ms", f"{statistics.median(seconds[1:]) * 1e3:.2f} ms"


def _failure(subject: str, error: Exception) -> Finding:
    advice = advice_for(error) if isinstance(error, SprintError) else ()
    return Finding("FAIL", subject, str(error), advice)
