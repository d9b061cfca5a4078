"""PythonFeatureScorer: scores for Sprint's aligner or recognizer from an engine's posteriors.

Sprint passes single features and asks for single frames (sprint-interface.md, section 5). Features
are collected, and forwarded together when the first score is requested. Scores are
``-(log p(label | x) - prior_scale * log p(label))``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.engine import call_optional, log_posteriors, required_method
from sprint_ctl.errors import SprintError
from sprintcache._text_file import open_regular
from sprintcache.errors import FormatError

from .segment_calls import reported_to_sink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["PythonFeatureScorer", "read_log_priors"]


class PythonFeatureScorer:
    """The object that ``init`` returns to Sprint for its feature scorer.

    Config keys: ``prior_file``, logarithms of the priors, see `read_log_priors`; ``prior_scale``
    (1); ``buffer_size``, number of features that Sprint passes before it asks for scores (-1: a
    whole segment).
    """

    def __init__(self, engine: Any, config: Mapping[str, str]) -> None:
        """Accepts an engine."""
        required_method(engine, "forward")
        self._engine = engine
        self._buffer_size = int(config.get("buffer_size", -1))
        self._prior_file = config.get("prior_file")
        self._prior_scale = float(config.get("prior_scale", 1))
        self._priors: NDArray[np.float32] | None = None
        self._input_dim = self._output_dim = 0
        self._features: list[NDArray[Any]] = []
        self._scores: NDArray[np.float32] | None = None

    @reported_to_sink
    def init(self, input_dim: int, output_dim: int, **kwargs: Any) -> None:
        """Called first. Raises FormatError for priors for a different number of labels."""
        self._input_dim, self._output_dim = input_dim, output_dim
        call_optional(self._engine, "init", input_dim, output_dim)
        if self._prior_file is not None:
            priors = read_log_priors(self._prior_file)
            if priors.shape != (output_dim,):
                raise FormatError(
                    "priors for a different number of labels",
                    path=self._prior_file,
                    expected=output_dim,
                    found=len(priors),
                )
            self._priors = np.float32(self._prior_scale) * priors

    def get_feature_buffer_size(self, **kwargs: Any) -> int:
        """Number of features that Sprint may pass before it asks for a score."""
        return self._buffer_size

    @reported_to_sink
    def add_feature(self, feature: NDArray[Any], time: int, **kwargs: Any) -> None:
        """Appends a feature.

        Args:
            feature: (input_dim,) float32.
            time: counted from 0 since the last `reset`.
            kwargs: added by later versions.

        Raises:
            SprintError: the feature has another shape, or is not the next one.
        """
        if feature.shape != (self._input_dim,) or time != len(self._features):
            raise SprintError(
                "not the next feature",
                expected=f"({self._input_dim},) at time {len(self._features)}",
                found=f"{feature.shape} at {time}",
            )
        self._features.append(feature)
        self._scores = None

    def reset(self, num_frames: int, **kwargs: Any) -> None:
        """Drops all features; may be called twice, or without any `compute`."""
        self._features = []
        self._scores = None

    @reported_to_sink
    def compute(self, num_frames: int, **kwargs: Any) -> None:
        """Forwards the features that were added.

        Args:
            num_frames: their number.
            kwargs: added by later versions.

        Raises:
            SprintError: another number of features was added.
        """
        if num_frames != len(self._features) or not self._features:
            raise SprintError(
                "the number of frames differs from what was added",
                expected=f"{len(self._features)}, at least one",
                found=num_frames,
            )
        features = np.array(self._features, np.float32)
        posteriors = log_posteriors(
            self._engine, features, None, self._output_dim, min_frames=num_frames
        )
        if self._priors is not None:
            posteriors = posteriors - self._priors
        self._scores = np.negative(posteriors)

    @reported_to_sink
    def get_scores(self, time: int, **kwargs: Any) -> NDArray[np.float32]:
        """(output_dim,) float32, scores of a frame.

        Args:
            time: of the frame since the last `reset`.
            kwargs: added by later versions.

        Raises:
            SprintError: no feature was added at this time.
        """
        if self._scores is None:
            self.compute(len(self._features))
        if self._scores is None or not 0 <= time < len(self._scores):
            raise SprintError("no such frame", expected=f"below {len(self._features)}", found=time)
        scores: NDArray[np.float32] = self._scores[time]
        return scores

    def exit(self, **kwargs: Any) -> None:
        """Called at the end."""
        call_optional(self._engine, "exit")


def read_log_priors(path: str) -> NDArray[np.float32]:
    """Natural logarithms of priors: Sprint's XML vector, plain numbers as text, or ``.npy``.

    Raises:
        OSError: the file cannot be read.
        FormatError: the file has another format.
    """
    with open_regular(path) as file:
        if file.read(6) == b"\x93NUMPY":
            file.seek(0)
            try:
                return np.asarray(np.load(file, allow_pickle=False), np.float32)
            except (ValueError, EOFError) as error:
                raise FormatError("not priors", path=path, found=str(error)) from None
        file.seek(0)
        text = file.read().decode("utf-8", "replace")
    words = re.sub(r"<[^>]*>", " ", text).split()
    try:
        return np.array([float(word) for word in words], np.float32)
    except ValueError as error:
        raise FormatError("not priors", path=path, expected="numbers", found=str(error)) from None
