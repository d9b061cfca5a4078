"""SprintNnPythonLayer: the layer whose output is the trainer's log posteriors.

Names and keywords are Sprint's (sprint-interface.md, section 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintError

from .log import is_verbose, log
from .python_control import PythonControl, attach
from .reporting import reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["SprintNnPythonLayer"]


class SprintNnPythonLayer:
    """Made by Sprint for a network layer with ``layer-type=python``."""

    def __init__(self, config: str, **_: Any) -> None:
        """Connects to the trainer, unless another unit has connected."""
        self._control: PythonControl = attach(config, name="SprintNnPythonLayer", reference=self)
        self.input_sizes: dict[int, int] = {}  # by stream
        self.output_size: int | None = None

    def report(self, text: str) -> None:
        """Sends the trainer an exception that will end Sprint."""
        self._control.report(text)

    def finalize(self, **_: Any) -> None:
        """Called by Sprint at its end."""
        log("layer: finalize")

    def setInputDimension(self, stream: int, size: int, **_: Any) -> None:  # noqa: N802
        """Size of the features of one predecessor."""
        self.input_sizes[stream] = size

    def setOutputDimension(self, size: int, **_: Any) -> None:  # noqa: N802
        """Number of labels."""
        self.output_size = size

    def initializeNetworkParameters(self, **_: Any) -> None:  # noqa: N802
        """Does nothing: the layer has no parameters."""

    def loadNetworkParameters(self, filename: str, **_: Any) -> None:  # noqa: N802
        """Does nothing: the layer has no parameters."""

    def saveNetworkParameters(self, filename: str, **_: Any) -> None:  # noqa: N802
        """Does nothing: the layer has no parameters."""

    def isTrainable(self, **_: Any) -> bool:  # noqa: N802
        """True: Sprint computes error signals for trainable layers only."""
        return True

    def getNumberOfFreeParameters(self, **_: Any) -> int:  # noqa: N802
        """0: the parameters belong to the trainer."""
        return 0

    @reported
    def forward(self, input: Sequence[NDArray[Any]], **_: Any) -> NDArray[np.float32]:
        """The trainer's log posteriors of the segment, (label, time) float32.

        If the trainer has another number of frames or labels, its request is answered with an
        error, and Sprint continues with uniform posteriors.

        Args:
            input: (feature, time) of each predecessor; only the number of frames counts.

        Raises:
            ValueError: the predecessors have different numbers of frames.
        """
        lengths = {matrix.shape[1] for matrix in input}
        if len(lengths) != 1:
            raise ValueError(f"inputs of {sorted(lengths)} frames, expected one length")
        (length,) = lengths
        visits = self._control.visits
        visits.current().fit(length, self.output_size)
        try:
            posteriors = self._posteriors(length)
        except (SprintError, ValueError) as error:
            if self.output_size is None:
                raise
            visits.refuse(error)
            uniform = -np.log(self.output_size)
            posteriors = np.full((length, self.output_size), uniform, np.float32)
        if is_verbose():
            log("layer: forward", [matrix.shape for matrix in input], posteriors.shape)
        return np.asarray(posteriors.T, np.float32)

    def _posteriors(self, length: int) -> NDArray[np.float32]:
        posteriors = self._control.get_current_seg_posteriors(length)
        if self.output_size is not None and posteriors.shape[1] != self.output_size:
            raise ValueError(
                f"the trainer has {posteriors.shape[1]} labels, Sprint's layer has"
                f" {self.output_size} (dimension-output)"
            )
        return posteriors

    @reported
    def backpropagate(
        self,
        errorSignalIn: NDArray[Any],  # noqa: N803
        **_: Any,
    ) -> tuple[NDArray[np.float32], ...]:
        """Records the error signal of the segment, (label, time) float32.

        Returns zeros, no gradient, for each predecessor: (feature, time) float32.
        """
        length = errorSignalIn.shape[1]
        self._control.set_current_seg_error_signal(length, errorSignalIn.T)
        sizes = [self.input_sizes[stream] for stream in sorted(self.input_sizes)]
        return tuple(np.zeros((size, length), np.float32, order="F") for size in sizes)
