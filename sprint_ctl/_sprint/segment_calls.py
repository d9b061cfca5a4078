"""The functions that Sprint calls to deliver segments: to a pipe, or to an engine in its process.

Names and keywords are Sprint's (sprint-interface.md, sections 1.3 and 3); keywords of later
versions are ignored. A module that Sprint loads sets the destination once, with `deliver_to`, and
re-exports the functions. Sprint calls from its main thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sprint_ctl._sequences.targets import targets_of
from sprint_ctl.errors import SprintError

from .reporting import Reporter, reporting_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "IterateCorpusControl",
    "SegmentSink",
    "deliver_to",
    "feedInputAndTarget",
    "feedInputAndTargetAlignment",
    "feedInputAndTargetSegmentOrth",
    "feedInputUnsupervised",
    "reported_to_sink",
    "sink",
]


class SegmentSink(Reporter, Protocol):
    """The destination of segments."""

    def start(self, input_dim: int, output_dim: int) -> None:
        """Accepts the dimensions, below 1 if there are none."""

    def send(
        self, name: str | None, features: NDArray[Any] | None, targets: Mapping[str, Any]
    ) -> None:
        """Accepts a segment: features (dimension, time)."""

    def finish(self) -> None:
        """Called after the last segment."""


_sinks: list[SegmentSink] = []


def deliver_to(destination: SegmentSink | None) -> None:
    """Sets the destination of segments."""
    _sinks[:] = [] if destination is None else [destination]


def sink() -> SegmentSink | None:
    """The destination of segments, or None."""
    return _sinks[0] if _sinks else None


reported_to_sink = reporting_to(lambda *_, **__: sink())


# ---- PythonTrainer ---------------------------------------------------------------------------


@reported_to_sink
def feedInputAndTarget(  # noqa: N802
    features: NDArray[Any],
    segmentName: str | None = None,  # noqa: N803
    orthography: str | None = None,
    alignment: NDArray[Any] | None = None,
    speaker_name: str | None = None,
    **kwargs: Any,
) -> None:
    """Called with target-mode target-generic for each segment, or each batch of frames.

    Args:
        features: (dimension, time) float32.
        segmentName: full name, known with buffer-type=utterance.
        orthography: its text, or None.
        alignment: (time,) uint32 classes, or None.
        speaker_name: short name, or None.
        kwargs: weights, speaker_gender, and keywords of later versions.

    Raises:
        SprintError: `init` was not called.
    """
    destination = sink()
    if destination is None:
        raise SprintError("Sprint feeds data before it has called init")
    targets = targets_of(alignment=alignment, orthography=orthography, speaker_name=speaker_name)
    destination.send(segmentName, features, targets)


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


# ---- PythonControl ---------------------------------------------------------------------------


class IterateCorpusControl:
    """The object that ``init`` returns to a PythonControl that iterates over the corpus."""

    def __init__(self, destination: SegmentSink) -> None:
        """Accepts the destination of segments."""
        self._sink = destination

    @reported_to_sink
    def init_processing(self, input_dim: int, output_dim: int, **kwargs: Any) -> None:
        """Called before the first segment; the dimensions are -1 where Sprint extracts nothing."""
        self._sink.start(input_dim, output_dim)

    @reported_to_sink
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
            kwargs: keywords of later versions.
        """
        targets = targets_of(
            alignment=alignment,
            soft_alignment=soft_alignment,
            orthography=orthography,
            speaker_name=speaker_name,
        )
        self._sink.send(name, features, targets)

    @reported_to_sink
    def run_control_loop(self, **kwargs: Any) -> None:
        """Called in the loop type that delivers no segments.

        Raises:
            SprintError: always; names the loop type to use.
        """
        raise SprintError(
            "Sprint delivers no segments in this mode",
            expected="--*.python-control-loop-type=iterate-corpus",
            found="python-control-loop",
        )

    def init_segment(self, **kwargs: Any) -> None:
        """Called by trainers under control; does nothing."""

    def notify_segment_loss(self, **kwargs: Any) -> None:
        """Called by trainers under control; does nothing."""

    @reported_to_sink
    def exit(self, **kwargs: Any) -> None:
        """Called at the end."""
        self._sink.finish()
