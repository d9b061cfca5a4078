"""SequenceMaker: converts the data of a segment to a sequence of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintProtocolError
from sprintcache.dataset_base import DatasetSeq, sliding_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .targets import TargetConverter

__all__ = ["SequenceMaker"]


class SequenceMaker:
    """The options that concern the arrays of one sequence."""

    def __init__(
        self,
        targets: TargetConverter,
        window: int,
        input_stddev: float,
        reduce_target_factor: int,
        length_mismatch: str,
        trim_tolerance: int | None,
    ) -> None:
        """Checks the options of `SprintDatasetBase` of the same names."""
        if reduce_target_factor < 1:
            raise ValueError(f"reduce_target_factor must be at least 1: {reduce_target_factor}")
        if not 0 < input_stddev < float("inf"):
            raise ValueError(f"input_stddev must be above 0: {input_stddev}")
        if length_mismatch not in ("error", "trim"):
            raise ValueError(f"length_mismatch: 'error' or 'trim', not {length_mismatch!r}")
        if trim_tolerance is not None and not trim_tolerance >= 0:
            raise ValueError(f"trim_tolerance must be 0 or more: {trim_tolerance}")
        self._targets = targets
        self._window = window
        self._stddev = np.float32(input_stddev)
        self._factor = reduce_target_factor
        self._max_trim: float = -1  # frames of "data"
        if length_mismatch == "trim":
            self._max_trim = np.inf if trim_tolerance is None else trim_tolerance

    def make(
        self, index: int, features: Any, targets: Any, tag: str | None, input_dim: int
    ) -> DatasetSeq:
        """A sequence; arguments as of `SprintDatasetBase.add_new_data`.

        Raises:
            SprintProtocolError: features or lengths that were not announced.
            LabelError: a text is missing in a map or vocabulary.
        """
        if targets is None:
            targets = {}
        elif isinstance(targets, np.ndarray):
            targets = {"classes": targets}
        data = None if features is None else self._data(features, tag, input_dim)
        arrays = self._targets.convert(targets, 1 if data is None else len(data), tag)
        if data is not None:
            if "classes" in arrays:
                data, arrays["classes"] = self._matched(data, arrays["classes"], tag)
            arrays = {"data": data, **arrays}
        return DatasetSeq(index, tag or f"seq-{index}", arrays)

    def _data(self, features: NDArray[Any], tag: str | None, input_dim: int) -> NDArray[np.float32]:
        if features.ndim != 2 or features.shape[0] != input_dim:
            raise SprintProtocolError(
                "features of a different shape than announced",
                segment=tag,
                expected=f"({input_dim}, time)",
                found=features.shape,
            )
        data: NDArray[np.float32] = np.ascontiguousarray(features.T, np.float32)
        if self._stddev != 1:
            data = data / self._stddev
        return sliding_window(data, self._window) if self._window > 1 else data

    def _matched(
        self, data: NDArray[np.float32], classes: NDArray[Any], tag: str | None
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        expected = -(-len(data) // self._factor)
        if classes.shape == (expected,):
            return data, classes
        lacking = len(data) - len(classes) * self._factor
        excess = max(lacking, (len(classes) - expected) * self._factor)
        if classes.ndim != 1 or excess > self._max_trim:
            hint = "length_mismatch='trim' trims both to the shorter one"
            if self._max_trim >= 0:
                hint = f"'trim' accepts {self._max_trim} frames, see trim_tolerance"
            raise SprintProtocolError(
                f"alignment and features differ in length ({hint})",
                segment=tag,
                expected=f"{expected} classes for {len(data)} frames",
                found=classes.shape,
            )
        return data[: len(classes) * self._factor], classes[:expected]
