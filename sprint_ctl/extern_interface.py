"""The module that Sprint loads to send every segment to an ExternSprintDataset in the trainer.

It supports PythonTrainer (module functions) and PythonControl (the object that `init` returns),
with or without segment order. Names and keywords are Sprint's (sprint-interface.md, sections 1, 3
and 6); keywords of later versions are ignored. It needs the standard library and numpy, Python 3.8
or newer, and does nothing on import. The trainer's end is `sprint_ctl.dataset`.
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
from ._sprint.segment_sender import SegmentSender
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
            "" if the trainer leaves the order to Sprint.
        segmentsInfo: the length of each segment, if Sprint is configured to pass it.
        kwargs: keywords of later versions.
    """
    if not config:
        return iter(segmentList)
    sender = SegmentSender.of(config)
    names = _ordered(sender, segmentList, segmentsInfo)
    sender.num_names = len(names)
    return _while_wanted(sender, names)


@reported_to_sink
def _ordered(
    sender: SegmentSender, names: Sequence[str], info: Mapping[str, Mapping[str, Any]] | None
) -> list[str]:
    rule = sender.config.get("seq_ordering", "default")
    seed = int(sender.config.get("seq_seed", 1))
    repeat = int(sender.config.get("repeat_epoch", 1))
    ordering = Ordering(rule, repeat_epoch=repeat, fixed_random_seed=seed)
    return ordered_names(ordering, 1, names, info)


def _while_wanted(sender: SegmentSender, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if not sender.is_wanted():
            return
        yield name


# ---- PythonTrainer ---------------------------------------------------------------------------


def init(config: str, **kwargs: Any) -> IterateCorpusControl | None:
    """Called by Sprint when it creates a PythonTrainer, with its first data, or a PythonControl.

    Args:
        config: configuration string, see `sprint_ctl.config`.
        kwargs: ``name="Sprint.PythonControl"``, or inputDim, outputDim and targetMode.

    Returns:
        the object for a PythonControl; None to a PythonTrainer.

    Raises:
        SprintError: the target mode asks for the output of a network.
    """
    sender = SegmentSender.of(config)
    if kwargs.get("name") == "Sprint.PythonControl":
        return IterateCorpusControl(sender)
    _init_trainer(sender, **kwargs)
    return None


@reported_to_sink
def _init_trainer(
    sender: SegmentSender,
    inputDim: int,  # noqa: N803
    outputDim: int,  # noqa: N803
    targetMode: str,  # noqa: N803
    **kwargs: Any,
) -> None:
    if targetMode in _NEEDS_OUTPUT:
        raise SprintError(
            "the trainer only accepts data, and Sprint asks for the output of a network",
            expected="--*.target-mode=target-alignment, target-generic, target-segment-orth or"
            " unsupervised",
            found=targetMode,
        )
    sender.start(inputDim, outputDim)


def exit(**kwargs: Any) -> None:
    """Called by Sprint at its end, even if it has not called `init`.

    Raises:
        SprintError: Sprint has created a PythonTrainer and delivered no data.
    """
    sender = sink()
    if isinstance(sender, SegmentSender):
        _exit_trainer(sender)
        sender.finish()


@reported_to_sink
def _exit_trainer(sender: SegmentSender) -> None:
    if sender.is_started and not sender.num_sent and sender.is_wanted():
        raise SprintError(
            "Sprint has created a PythonTrainer and delivered no data, as it always does with"
            " --*.action=supervised-segmentwise-training: use --*.action=python-control with"
            " --*.python-control-loop-type=iterate-corpus instead"
        )


feedInput = feedInputUnsupervised  # noqa: N816
