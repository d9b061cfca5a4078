"""Scoring: the calls of a PythonFeatureScorer inside an aligner.

``feature-scorer-type=python-feature-scorer`` at ``mixture-set``. Every segment is scored as the
transcript of the aligner shows: reset, all features, then the scores of every frame, twice. With
``nn-trainer-feature-scorer`` a segment is one ``feedInputForwarding`` without a name.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .application import Application, CriticalError
from .control import ControlUnit
from .extraction import AcousticModel, Extraction
from .python_trainer import PythonTrainer
from .training import Minibatch
from .visiting import CorpusDescription

__all__ = ["run"]

_PASSES = 2  # of an aligner over the frames of a segment


def run(app: Application) -> None:
    """Scores every segment of the corpus."""
    config = app.config.select("mixture-set")
    kind = config.string("feature-scorer-type", "")
    if kind == "nn-trainer-feature-scorer":
        _run_trainer(app)
        return
    if kind != "python-feature-scorer":
        raise CriticalError(f"feature-scorer-type = {kind!r} is not supported by the stand-in")
    extraction = Extraction(app, app.config)
    control = ControlUnit(app, config, "PythonFeatureScorer")
    input_dim = config.integer("feature-dimension", 0)
    output_dim = config.integer("python-feature-scorer-output-dimension", -1)
    if output_dim < 0:
        output_dim = AcousticModel(app.config).num_classes
    if input_dim <= 0:
        app.terminate("a failed assertion: feature-dimension > 0")
    control.call("init", input_dim=input_dim, output_dim=output_dim)
    size = control.call("get_feature_buffer_size")
    if not hasattr(size, "__index__"):
        raise CriticalError("PythonFeatureScorer: get_feature_buffer_size returned no integer")
    size = operator.index(size)
    if not size:
        raise CriticalError("PythonFeatureScorer: get_feature_buffer_size returned 0")
    num_received = 0
    for segment in CorpusDescription(app, app.config.select("corpus")).segments():
        control.call("reset", num_frames=num_received)
        features = extraction.features(segment.name)
        if features.shape[1] != input_dim:
            raise CriticalError(
                f"PythonFeatureScorer: was configured with input dimension {input_dim} but we got"
                f" features with dimension {features.shape[1]}"
            )
        limit = max(len(features), 1) if size < 0 else size
        for start in range(0, len(features), limit):
            if start:
                control.call("reset", num_frames=num_received)
            num_received = _score(control, features[start : start + limit], output_dim)
    control.call("exit")


def _score(
    control: ControlUnit, features: np.ndarray[Any, np.dtype[np.float32]], output_dim: int
) -> int:
    """Buffers frames and asks for their scores; returns their number."""
    for time, frame in enumerate(features):
        feature = control.embedding.vector(frame, np.float32)
        control.call("add_feature", feature=feature, time=time)
    control.app.misbehavior.at("request")
    control.call("compute", num_frames=len(features))
    for _ in range(_PASSES):
        for time in range(len(features)):
            result = control.call("get_scores", time=time)
            scores = control.embedding.array(result, 1, "get_scores")
            if len(scores) != output_dim:
                raise CriticalError(
                    f"PythonFeatureScorer: get_scores returned vector of len {len(scores)} but we"
                    f" expected len (num classes) {output_dim}"
                )
    return len(features)


def _run_trainer(app: Application) -> None:
    """feature-scorer-type=nn-trainer-feature-scorer, whose trainer forwards."""
    trainer = PythonTrainer(app, "unsupervised-training")
    extraction = Extraction(app, app.config)
    for segment in CorpusDescription(app, app.config.select("corpus")).segments():
        trainer.process(Minibatch(extraction.features(segment.name)))
    trainer.finalize()
