"""A Sprint of a few lines, for interpreters that the stand-in does not run on: segment order and
Python layer; the loss is the number of frames, the error signal twice the log posteriors."""

from __future__ import annotations

import importlib
import sys

import numpy as np

options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
sys.path.insert(0, options["*.pymod-path"])
module = importlib.import_module(options["*.pymod-name"])
config = options["*.pymod-config"]
layer = None
control = None
for name in module.getSegmentList(
    corpusName="c",
    segmentList=[],
    segmentsInfo=None,
    config=options["*.python-segment-order-config"],
):
    if layer is None:
        control = module.init(
            name="Sprint.PythonControl",
            sprint_unit="FeedForwardTrainer",
            reference=None,
            callback=None,
            version_number=5,
            config=config,
        )
        layer = module.SprintNnPythonLayer(config=config)
        layer.setInputDimension(stream=0, size=4)
    control.init_segment(segment_name=name)
    length = int(name.rpartition("/")[2])
    output = layer.forward(input=[np.zeros((4, length), np.float32, order="F")])
    control.notify_segment_loss(segment_name=None, loss=float(length))
    layer.backpropagate(errorSignalIn=np.asfortranarray(output * 2))
