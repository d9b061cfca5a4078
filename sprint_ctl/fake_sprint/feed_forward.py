"""FeedForwardTrainer: a network of one Python layer below a softmax, with a ControlUnit.

The layer is the one whose ``layer-type`` is ``python``; it is built with the first minibatch. Its
output goes through a softmax into the criterion, and the error signal before the softmax is passed
to ``backpropagate``.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._configuration import Configuration

from .application import Application, CriticalError
from .callback import Transcriptions
from .control import ControlUnit
from .criteria import log_softmax, softmax
from .embedding import Embedding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .training import Minibatch

__all__ = ["FeedForwardTrainer"]

_ACTIVATIONS = {"softmax": softmax, "log-softmax": log_softmax}


class FeedForwardTrainer:
    """trainer=feed-forward-trainer."""

    processes_all = False

    def __init__(self, app: Application, action: str) -> None:
        """Creates the control, if ``python-control-enabled``; the layer follows with the data."""
        self.app = app
        self.criterion = Transcriptions(app, app.config).criterion()
        self.control: ControlUnit | None = None
        if app.config.boolean("python-control-enabled", False):
            self.control = ControlUnit(app, app.config, "FeedForwardTrainer")
        self.layer: PythonLayer | None = None

    def process(self, batch: Minibatch) -> None:
        if self.layer is None:
            names = self.app.config.layer_names("layer-type", "python")
            config = self.app.config.select(names[0] if names else "python-layer")
            if config.string("layer-type", "") != "python":
                raise CriticalError("no configuration of neural network topology found")
            self.layer = PythonLayer(self.app, config, batch.features.shape[1])
        if self.control is not None:
            name = None if batch.segment is None else batch.segment.name
            self.control.call("init_segment", segment_name=name)
        logits = self.layer.forward(batch.features)
        self.app.misbehavior.at("request")
        self.app.work(logits.shape[1])
        activation = self.criterion.activation
        outputs = logits if activation == "identity" else _ACTIVATIONS[activation](logits)
        is_log = activation == "log-softmax"
        if not self.criterion.put(outputs, batch.labels, batch.orthography, is_log):
            self.app.log("discarded a minibatch")
            return
        if self.control is not None:
            loss = float(np.float32(self.criterion.loss))
            self.control.call("notify_segment_loss", segment_name=None, loss=loss)
        if self.layer.trainable:
            error = self.criterion.error_signal_before_softmax()
            self.layer.backpropagate(error if batch.weights is None else error * batch.weights)

    def finalize(self) -> None:
        if self.layer is not None:
            self.layer.finalize()


class PythonLayer:
    """layer-type=python: the object that ``SprintNnPythonLayer`` returns.

    The order of calls is that of the real one, its many questions whether it is trainable included.

    Attributes:
        trainable: the last answer; without it no error signal is handed over.
    """

    def __init__(self, app: Application, config: Configuration, input_dim: int) -> None:
        self.embedding = Embedding(app, "PythonLayer")
        self.embedding.load(config)
        app.misbehavior.at("init")
        self.object = self.embedding.call(
            self.embedding.module, "SprintNnPythonLayer", config=self.embedding.pymod_config
        )
        self.dtype = np.float32 if app.config.boolean("single-precision", True) else np.float64
        self.trainable = False
        self.call("setOutputDimension", size=config.integer("dimension-output", 0))
        self.ask_whether_trainable(3)
        self.call("setInputDimension", stream=0, size=input_dim)
        network = app.config.select("neural-network")
        self._parameters_new = network.string("parameters-new", "")
        parameters = network.string("parameters-old", "")
        if parameters:
            self.call("loadNetworkParameters", filename=parameters)
        else:
            self.call("initializeNetworkParameters")
        self.ask_whether_trainable(2)
        self._check_number(self.call("getNumberOfFreeParameters"))
        self.ask_whether_trainable(2)

    def call(self, method: str, **arguments: Any) -> Any:
        return self.embedding.call(self.object, method, **arguments)

    def ask_whether_trainable(self, times: int) -> None:
        for _ in range(times):
            self.trainable = self.call("isTrainable")
            if type(self.trainable) is not bool:
                raise CriticalError("PythonLayer: 'isTrainable' did not return a bool.")

    def _check_number(self, number: Any) -> None:
        if not hasattr(number, "__index__") or operator.index(number) < 0:
            raise CriticalError(
                "PythonLayer: 'getNumberOfFreeParameters' did return a negative number, or no int"
            )

    def forward(self, features: NDArray[np.floating]) -> NDArray[np.floating]:
        result = self.call("forward", input=[self.embedding.matrix(features, self.dtype)])
        return self.embedding.array(result, 2, "forward").astype(self.dtype, copy=False)

    def backpropagate(self, error: NDArray[np.floating]) -> None:
        """Passes the (C, T) error signal; the result is kept and not used."""
        result = self.call(
            "backpropagate", errorSignalIn=self.embedding.matrix(error.T, self.dtype)
        )
        if not isinstance(result, tuple):
            raise CriticalError("PythonLayer: 'backpropagate' did not return a tuple")
        self.ask_whether_trainable(1)

    def finalize(self) -> None:
        self.call("finalize")
        if self._parameters_new:
            self.call("saveNetworkParameters", filename=self._parameters_new)
