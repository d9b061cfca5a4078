"""The module that Sprint loads to hand every segment to an ExternSprintDataset in the trainer.

It serves PythonTrainer (module functions) and PythonControl (the object that `init` returns), with
or without segment order. Names and keywords are Sprint's (interface facts, sections 1, 3 and 6);
what later versions add is taken and ignored. It runs on the standard library and numpy, on Python
3.8 or newer, and does nothing when it is imported. The trainer's end is `sprint_ctl.dataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprintcache.ordering import Ordering

from .errors import SprintError
from .segment_order import ordered_names
from .segment_source import SegmentSource, reported
from .targets import targets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "PythonControl",
    "exit",
    "feedInput",
    "feedInputAndTarget",
    "feedInputAndTargetAlignment",
    "feedInputAndTargetSegmentOrth",
    "feedInputForwarding",
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


@reported
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


def init(config: str, **kwargs: Any) -> PythonControl | None:
    """Called by Sprint when it makes a PythonTrainer, with its first data, or a PythonControl.

    Args:
        config: configuration string, see `sprint_ctl.config`.
        kwargs: ``name="Sprint.PythonControl"``, or inputDim, outputDim and targetMode.

    Returns:
        what stands for PythonControl; None to a PythonTrainer.
    """
    source = SegmentSource.of(config)
    if kwargs.get("name") == "Sprint.PythonControl":
        return PythonControl(source)
    _init_trainer(source, **kwargs)
    return None


@reported
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
    source = SegmentSource.instance
    if source is not None:
        _exit_trainer(source)
        source.finish()


@reported
def _exit_trainer(source: SegmentSource) -> None:
    if source.is_started and not source.num_sent and source.is_wanted():
        raise SprintError(
            "Sprint has made a PythonTrainer and handed it no data, which is all that it does with"
            " --*.action=supervised-segmentwise-training: use --*.action=python-control with"
            " --*.python-control-loop-type=iterate-corpus instead"
        )


@reported
def feedInputAndTarget(  # noqa: N802
    features: NDArray[Any],
    segmentName: str | None = None,  # noqa: N803
    orthography: str | None = None,
    alignment: NDArray[Any] | None = None,
    speaker_name: str | None = None,
    **kwargs: Any,
) -> None:
    """Called by Sprint for each segment, or for each batch of frames, of target-mode
    target-generic.

    Args:
        features: (dimension, time) float32.
        segmentName: full name, known with buffer-type=utterance.
        orthography: its text, or None.
        alignment: (time,) uint32 classes, or None.
        speaker_name: short name, or None.
        kwargs: weights, speaker_gender, and whatever later versions add.
    """
    source = SegmentSource.instance
    if source is None:
        raise SprintError("Sprint feeds data before it has called init")
    targets = targets_of(alignment=alignment, orthography=orthography, speaker_name=speaker_name)
    source.send(segmentName, features, targets)


def feedInputAndTargetAlignment(  # noqa: N802
    features: NDArray[Any],
    targetAlignment: NDArray[Any],  # noqa: N803
    segmentName: str | None = None,  # noqa: N803
    **kwargs: Any,
) -> None:
    """The same for target-mode target-alignment."""
    feedInputAndTarget(features, segmentName, alignment=targetAlignment)


def feedInputAndTargetSegmentOrth(  # noqa: N802
    features: NDArray[Any],
    targetSegmentOrth: str,  # noqa: N803
    segmentName: str | None = None,  # noqa: N803
    **kwargs: Any,
) -> None:
    """The same for target-mode target-segment-orth."""
    feedInputAndTarget(features, segmentName, orthography=targetSegmentOrth)


def feedInputUnsupervised(  # noqa: N802
    features: NDArray[Any],
    segmentName: str | None = None,  # noqa: N803
    **kwargs: Any,
) -> None:
    """The same for target-mode unsupervised."""
    feedInputAndTarget(features, segmentName)


feedInput = feedInputForwarding = feedInputUnsupervised  # noqa: N816


# ---- PythonControl ---------------------------------------------------------------------------


class PythonControl:
    """What `init` returns to Sprint for its PythonControl."""

    def __init__(self, source: SegmentSource) -> None:
        self._source = source

    @reported
    def init_processing(self, input_dim: int, output_dim: int, **kwargs: Any) -> None:
        """Called before the first segment.

        Args:
            input_dim: of the features, -1 if none are extracted.
            output_dim: number of classes, -1 without alignments.
            kwargs: whatever later versions add.
        """
        self._source.start(input_dim, output_dim)

    @reported
    def process_segment(
        self,
        name: str,
        orthography: str | bytes | None = None,
        features: NDArray[Any] | None = None,
        alignment: NDArray[Any] | None = None,
        soft_alignment: tuple[NDArray[Any], ...] | None = None,
        speaker_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Called for each segment.

        Args:
            name: full name.
            orthography: bytes (UTF-8); None for other than speech segments.
            features: (dimension, time) float32, or None.
            alignment: (time,) uint32 classes, or None.
            soft_alignment: times, classes and weights, each (N,), or None.
            speaker_name: short name, or None.
            kwargs: whatever later versions add.
        """
        targets = targets_of(
            alignment=alignment,
            soft_alignment=soft_alignment,
            orthography=orthography,
            speaker_name=speaker_name,
        )
        self._source.send(name, features, targets)

    @reported
    def run_control_loop(self, **kwargs: Any) -> None:
        """Called in a loop type that delivers nothing."""
        raise SprintError(
            "Sprint delivers no segments in this mode",
            expected="--*.python-control-loop-type=iterate-corpus",
            found="python-control-loop",
        )

    def init_segment(self, **kwargs: Any) -> None:
        """Called by trainers that are under control; nothing to do."""

    def notify_segment_loss(self, **kwargs: Any) -> None:
        """Called by trainers that are under control; nothing to do."""

    def exit(self, **kwargs: Any) -> None:
        """Called at the end."""
        self._source.finish()
