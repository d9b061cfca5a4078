"""PythonTrainer: the module functions ``init``, ``feedInput*``, ``finish*``, ``exit``.

With ``supervised-segmentwise-training`` the real Sprint never delivers data, since its factory
creates a python-evaluator: Python sees ``init`` and ``exit`` only. The stand-in does the same,
unless ``fake.fixed-segmentwise-trainer`` is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache.bliss import Segment

from .application import Application, CriticalError
from .callback import Transcriptions
from .embedding import Embedding
from .visiting import orthography

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .training import Minibatch

__all__ = ["PythonTrainer"]

_FUNCTIONS = {
    "criterion-by-sprint": "feedInput",
    "target-generic": "feedInputAndTarget",
    "target-alignment": "feedInputAndTargetAlignment",
    "target-segment-orth": "feedInputAndTargetSegmentOrth",
    "unsupervised": "feedInputUnsupervised",
    "forward-only": "feedInputForwarding",
}
_TARGETS = {  # target modes of an action, in addition to the general ones
    "supervised-training": ("target-alignment",),
    "unsupervised-training": ("unsupervised", "forward-only"),
    "supervised-segmentwise-training": ("target-segment-orth",),
}
_GENERAL_TARGETS = "criterion-by-sprint", "target-generic"


class PythonTrainer:
    """trainer=python-trainer."""

    processes_all = True

    def __init__(self, app: Application, action: str) -> None:
        """Imports the module; ``init`` is called with the first minibatch."""
        config = app.config
        self.app = app
        self.action = action
        self.mode = config.choice("target-mode", "target-alignment", tuple(_FUNCTIONS))
        self.output_dim = config.integer("trainer-output-dimension", 0)
        self.downsampling = config.boolean("trainer-allow-downsampling", False)
        if self.mode in ("criterion-by-sprint", "forward-only") and self.output_dim <= 0:
            app.terminate("a failed assertion: trainer-output-dimension > 0")
        pairing = config.select("natural-pairing-layer").string("layer-type", "identity")
        self.pairing = None if pairing == "identity" else pairing
        self.criterion = Transcriptions(app, config).criterion()
        self.delivers = action != "supervised-segmentwise-training" or app.fake.boolean(
            "fixed-segmentwise-trainer", False
        )
        self.embedding = Embedding(app, "PythonTrainer")
        self.embedding.load(config)
        self.started = False

    def call(self, function: str, **arguments: Any) -> Any:
        return self.embedding.call(self.embedding.module, function, **arguments)

    def start(self, input_dim: int) -> None:
        """Calls the module's ``init``."""
        self.app.misbehavior.at("init")
        self.call(
            "init",
            inputDim=input_dim,
            outputDim=self.output_dim,
            allowDownsampling=int(self.downsampling),
            config=self.embedding.pymod_config,
            targetMode=self.mode,
            cudaEnabled=0,
            cudaActiveGpu=-1,
        )
        self.started = True

    def process(self, batch: Minibatch) -> None:
        features, weights, segment = batch.features, batch.weights, batch.segment
        if not self.started:
            self.start(features.shape[1])
        if not self.delivers:
            return
        if self.mode not in (*_GENERAL_TARGETS, *_TARGETS[self.action]):
            raise CriticalError(f"PythonTrainer: {self.action} with invalid target mode")
        result = self.call(
            _FUNCTIONS[self.mode],
            features=self.embedding.matrix(features, features.dtype),
            weights=None if weights is None else self.embedding.vector(weights, weights.dtype),
            segmentName=None if segment is None else segment.name,
            **self._targets(batch.labels, segment),
        )
        if self.mode in ("criterion-by-sprint", "forward-only"):
            posteriors = self.posteriors(result, len(features))
            if self.mode == "criterion-by-sprint":
                self._finish(posteriors, batch)

    def _targets(
        self, labels: NDArray[np.uint32] | None, segment: Segment | None
    ) -> dict[str, Any]:
        text = None if segment is None else orthography(segment)
        alignment = None if labels is None else self.embedding.vector(labels, np.uint32)
        if self.mode == "target-alignment":
            return {"targetAlignment": alignment}
        if self.mode == "target-segment-orth":
            return {"targetSegmentOrth": text}
        if self.mode == "target-generic":
            return {
                "alignment": alignment,
                "orthography": text,
                "speaker_name": None if segment is None else segment.speaker,
                "speaker_gender": None if segment is None else segment.gender,
            }
        return {}

    def posteriors(self, result: Any, num_frames: int) -> NDArray[np.floating]:
        """Checks the result of a feedInput function: (output dimension, T)."""
        matrix = self.embedding.array(result, 2, _FUNCTIONS[self.mode], exact=True)
        fits = matrix.shape[1] == num_frames
        fits = fits or (self.downsampling and matrix.shape[1] < num_frames)
        if matrix.shape[0] != self.output_dim or not fits:
            raise CriticalError(
                f"PythonTrainer: feedInput() did return a matrix of wrong size {matrix.shape},"
                f" but we expected ({self.output_dim},{num_frames})"
            )
        return matrix

    def _finish(self, posteriors: NDArray[np.floating], batch: Minibatch) -> None:
        """Passes the error signal of the criterion."""
        self.app.misbehavior.at("request")
        self.app.work(posteriors.shape[1])
        if not self.criterion.put(posteriors, batch.labels, batch.orthography):
            self.embedding.call(self.embedding.module, "finishDiscard")
            return
        if self.pairing is None:
            error = self.criterion.error_signal()
        else:
            error = self.criterion.error_signal_before_softmax()
        if batch.weights is not None:
            error = error * batch.weights
        self.call(
            "finishError",
            error=float(posteriors.dtype.type(self.criterion.loss)),
            errorSignal=self.embedding.matrix(error.T, posteriors.dtype),
            naturalPairingType=self.pairing,
        )

    def finalize(self) -> None:
        self.embedding.call(self.embedding.module, "exit")
