"""The module that Sprint loads to train or forward inside its own process, with a user's engine.

It supports PythonTrainer in all target modes (module functions), PythonControl (segments of
iterate-corpus, notifications), PythonFeatureScorer, and the order of segments with epochs. Names
and keywords are Sprint's (sprint-interface.md, sections 1, 3, 5 and 6); keywords of later versions
are ignored. The user provides the engine, see `sprint_ctl.engine`:

    --*.pymod-name=sprint_ctl.interface
    --*.pymod-config=engine:my.module:Engine,epochs:10

It needs the standard library and numpy, Python 3.8 or newer, and does nothing on import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._sprint.engine_runner import EngineRunner
from ._sprint.feature_scorer import PythonFeatureScorer
from ._sprint.segment_calls import (
    IterateCorpusControl,
    feedInputAndTarget,
    feedInputAndTargetAlignment,
    feedInputAndTargetSegmentOrth,
    feedInputUnsupervised,
    reported_to_sink,
    sink,
)
from .engine import call_optional, required_method
from .errors import SprintError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "PythonFeatureScorer",
    "exit",
    "feedInput",
    "feedInputAndTarget",
    "feedInputAndTargetAlignment",
    "feedInputAndTargetSegmentOrth",
    "feedInputForwarding",
    "feedInputUnsupervised",
    "finishDiscard",
    "finishError",
    "getSegmentList",
    "init",
]

_WANTS_POSTERIORS = ("criterion-by-sprint", "forward-only")


def getSegmentList(  # noqa: N802
    corpusName: str,  # noqa: N803
    segmentList: Sequence[str],  # noqa: N803
    config: str,
    segmentsInfo: Mapping[str, Mapping[str, Any]] | None = None,  # noqa: N803
    **kwargs: Any,
) -> Iterator[str]:
    """Called by Sprint for the order of segments: the names of all epochs in succession.

    Args:
        corpusName: of the corpus.
        segmentList: all its segments, in Sprint's order.
        config: configuration string; for its keys see `EngineRunner.segments`.
        segmentsInfo: the length of each segment, if Sprint is configured to pass it.
        kwargs: keywords of later versions.
    """
    return EngineRunner.of(config).segments(segmentList, segmentsInfo)


def init(config: str, **kwargs: Any) -> IterateCorpusControl | PythonFeatureScorer | None:
    """Called by Sprint when it creates a PythonTrainer, with its first data, or a PythonControl.

    Args:
        config: configuration string.
        kwargs: ``name="Sprint.PythonControl"`` and ``sprint_unit``; or inputDim, outputDim,
            targetMode, allowDownsampling.

    Returns:
        the object for a PythonControl or a feature scorer; None to a PythonTrainer.
    """
    runner = EngineRunner.of(config)
    if kwargs.get("name") != "Sprint.PythonControl":
        _init_trainer(runner, **kwargs)
        return None
    if kwargs.get("sprint_unit") == "PythonFeatureScorer":
        return PythonFeatureScorer(runner.engine, runner.config)
    return IterateCorpusControl(runner)


@reported_to_sink
def _init_trainer(
    runner: EngineRunner,
    inputDim: int,  # noqa: N803
    outputDim: int,  # noqa: N803
    targetMode: str,  # noqa: N803
    allowDownsampling: int = 0,  # noqa: N803
    **kwargs: Any,
) -> None:
    if targetMode in _WANTS_POSTERIORS:
        runner.prepare(inputDim, outputDim, bool(allowDownsampling))
    else:
        runner.start(inputDim, outputDim)


def exit(**kwargs: Any) -> None:
    """Called by Sprint at its end, even if it has not called `init`."""
    runner = sink()
    if runner is not None:
        runner.finish()


def _runner() -> EngineRunner:
    runner = sink()
    if not isinstance(runner, EngineRunner):
        raise SprintError("Sprint feeds data before it has called init")
    return runner


@reported_to_sink
def feedInputForwarding(  # noqa: N802
    features: NDArray[Any],
    segmentName: str | None = None,  # noqa: N803
    **kwargs: Any,
) -> NDArray[np.float32]:
    """Called with target-mode forward-only for each segment.

    Args:
        features: (dimension, time) float32.
        segmentName: full name, or None.
        kwargs: weights, and keywords of later versions.

    Returns:
        (label, time) float32 posteriors.

    Raises:
        SprintError: `init` was not called.
    """
    return _runner().posteriors(features, segmentName)


@reported_to_sink
def feedInput(  # noqa: N802
    features: NDArray[Any],
    segmentName: str | None = None,  # noqa: N803
    **kwargs: Any,
) -> NDArray[np.float32]:
    """The same for target-mode criterion-by-sprint; `finishError` or `finishDiscard` follows.

    Raises:
        SprintError: `init` was not called.
    """
    return _runner().posteriors(features, segmentName)


@reported_to_sink
def finishError(  # noqa: N802
    error: float,
    errorSignal: NDArray[Any],  # noqa: N803
    naturalPairingType: str | None = None,  # noqa: N803
    **kwargs: Any,
) -> None:
    """Called with loss and error signal of the segment that `feedInput` has answered.

    Args:
        error: the loss.
        errorSignal: (label, time) float32, see `sprint_ctl.engine`.
        naturalPairingType: "softmax": the derivative is with respect to the input of the softmax.
        kwargs: keywords of later versions.

    Raises:
        SprintError: `init` was not called.
    """
    backward = required_method(_runner().engine, "backward")
    backward(error, np.ascontiguousarray(errorSignal.T), naturalPairingType)


@reported_to_sink
def finishDiscard(**kwargs: Any) -> None:  # noqa: N802
    """Called if Sprint drops the segment that `feedInput` has answered.

    Raises:
        SprintError: `init` was not called.
    """
    call_optional(_runner().engine, "discard")
