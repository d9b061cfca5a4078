"""The module that Sprint loads to hand every segment to an ExternSprintDataset in the trainer.

It serves PythonTrainer (module functions) and PythonControl (the object that `init` returns), with
or without segment order. Names and keywords are Sprint's (interface facts, sections 1, 3 and 6);
what later versions add is taken and ignored. It runs on the standard library and numpy, on Python
3.8 or newer, and does nothing when it is imported. The trainer's end is `sprint_ctl.dataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprintcache.ordering import Ordering

from ._sprint.segment_calls import (
    IterateCorpusControl,
    feedInputAndTarget,
    feedInputAndTargetAlignment,
    feedInputAndTargetSegmentOrth,
    feedInputUnsupervised,
    reported_to_sink,
    sink,
)
from ._sprint.segment_order import ordered_names
from ._sprint.segment_sender import SegmentSource
from .errors import SprintError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "exit",
    "feedInput",
    "feedInputAndTarget",
    "feedInputAndTargetAlignment",
    "feedInputAndTargetSegmentOrth",
    "feedInputUnsupervised",
    "getSegmentList",
    "init",
]

_NEEDS_OUTPUT = ("criterion-by-sprint", "forward-only")


def getSegmentList(  # noqa: N802
    corpusName: str,  # noqa: N803
    segmentList: Sequence[str],  # noqa: N803
    config: str = "",
    segmentsInfo: Mapping[str, Mapping[str, Any]] | None = None,  # noqa: N803
    **kwargs: Any,
) -> Iterator[str]:
    """Called by Sprint for the order of segments.

    Args:
        corpusName: of the corpus.
        segmentList: all its segments, or those of a list, in Sprint's order.
        config: configuration string, with ``seq_ordering`` and ``seq_seed`` for another order;
            "" from a trainer that leaves the order to Sprint.
        segmentsInfo: the length of each, where Sprint was asked to tell it.
        kwargs: whatever later versions add.
    """
    if not config:
        return iter(segmentList)
    source = SegmentSource.of(config)
    names = _ordered(source, segmentList, segmentsInfo)
    source.num_names = len(names)
    return _while_wanted(source, names)


@reported_to_sink
def _ordered(
    source: SegmentSource, names: Sequence[str], info: Mapping[str, Mapping[str, Any]] | None
) -> list[str]:
    rule = source.config.get("seq_ordering", "default")
    seed = int(source.config.get("seq_seed", 1))
    return ordered_names(Ordering(rule, fixed_random_seed=seed), 1, names, info)


def _while_wanted(source: SegmentSource, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if not source.is_wanted():
            return
        yield name


# ---- PythonTrainer ---------------------------------------------------------------------------


def init(config: str, **kwargs: Any) -> IterateCorpusControl | None:
    """Called by Sprint when it makes a PythonTrainer, with its first data, or a PythonControl.

    Args:
        config: configuration string, see `sprint_ctl.config`.
        kwargs: ``name="Sprint.PythonControl"``, or inputDim, outputDim and targetMode.

    Returns:
        what stands for PythonControl; None to a PythonTrainer.
    """
    source = SegmentSource.of(config)
    if kwargs.get("name") == "Sprint.PythonControl":
        return IterateCorpusControl(source)
    _init_trainer(source, **kwargs)
    return None


@reported_to_sink
def _init_trainer(
    source: SegmentSource,
    inputDim: int,  # noqa: N803
    outputDim: int,  # noqa: N803
    targetMode: str,  # noqa: N803
    **kwargs: Any,
) -> None:
    if targetMode in _NEEDS_OUTPUT:
        raise SprintError(
            "the trainer only takes data, and Sprint wants the output of a network",
            expected="--*.target-mode=target-alignment, target-generic, target-segment-orth or"
            " unsupervised",
            found=targetMode,
        )
    source.start(inputDim, outputDim)


def exit(**kwargs: Any) -> None:
    """Called by Sprint at its end, also where `init` was not."""
    source = sink()
    if isinstance(source, SegmentSource):
        _exit_trainer(source)
        source.finish()


@reported_to_sink
def _exit_trainer(source: SegmentSource) -> None:
    if source.is_started and not source.num_sent and source.is_wanted():
        raise SprintError(
            "Sprint has made a PythonTrainer and handed it no data, which is all that it does with"
            " --*.action=supervised-segmentwise-training: use --*.action=python-control with"
            " --*.python-control-loop-type=iterate-corpus instead"
        )


feedInput = feedInputUnsupervised  # noqa: N816
