"""ControlUnit: Sprint's calls of the object that ``init`` of the module returns.

For nn-trainer ``action=python-control`` (unit ``NnTrainer.pythonControl``): iterate-corpus or
python-control-loop. Trainers and the feature scorer use the same class for their units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sprintcache._configuration import Configuration

from .application import Application, CriticalError
from .callback import VERSION_NUMBER, Callback
from .embedding import Embedding, capsule
from .extraction import AcousticModel, Extraction
from .visiting import CorpusDescription, orthography

__all__ = ["ControlUnit", "run"]


class ControlUnit:
    """A unit of Sprint under the control of Python."""

    def __init__(self, app: Application, config: Configuration, unit: str) -> None:
        """Imports the module and calls its ``init``."""
        self.app = app
        self.config = config
        self.embedding = Embedding(app, f"PythonControl({unit})")
        self.embedding.load(config)
        self.callback = Callback(app, config, self.embedding)
        app.misbehavior.at("init")
        callback = self.callback
        self.object = self.embedding.call(
            self.embedding.module,
            "init",
            name="Sprint.PythonControl",
            sprint_unit=unit,
            reference=capsule(self),
            callback=lambda *args, **kwargs: callback(*args, **kwargs),
            version_number=app.fake.integer("version-number", VERSION_NUMBER),
            config=self.embedding.pymod_config,
        )
        if self.object is None:
            raise CriticalError(f"PythonControl({unit}): init() returned None")

    def call(self, method: str, **arguments: Any) -> Any:
        return self.embedding.call(self.object, method, **arguments)

    # ---- the two loops of python-control

    def run_control_loop(self) -> None:
        callback = self.callback
        self.call("run_control_loop", callback=lambda *args, **kwargs: callback(*args, **kwargs))

    def run_iterate_corpus(self) -> None:
        """Passes every segment of the corpus to ``process_segment``."""
        config = self.config
        with_features = config.boolean("extract-features", True)
        with_alignments = with_features and config.boolean("extract-alignments", False)
        soft = config.boolean("soft-alignments", False)
        extraction = Extraction(self.app, config)
        model = AcousticModel(config)
        corpus = CorpusDescription(self.app, config.select("corpus"))
        started = False
        for segment in corpus.segments():
            features = alignment = soft_alignment = None
            if with_features:
                features = extraction.features(segment.name)
            if with_alignments and features is not None:
                items = extraction.alignment(segment.name)
                if soft:
                    soft_alignment = (
                        self.embedding.vector(items.time, np.uint32),
                        self.embedding.vector(model.classes(items), np.uint32),
                        self.embedding.vector(items.weight, np.float32),
                    )
                else:
                    classes, features = model.viterbi(items, features)
                    alignment = self.embedding.vector(classes, np.uint32)
            if not started:
                self.call(
                    "init_processing",
                    input_dim=-1 if features is None else features.shape[1],
                    output_dim=model.num_classes if with_alignments else -1,
                )
                started = True
            self.call(
                "process_segment",
                name=segment.name,
                orthography=orthography(segment).encode("utf-8", "surrogateescape"),
                speaker_name=segment.speaker,
                features=None if features is None else self.embedding.matrix(features),
                alignment=alignment,
                soft_alignment=soft_alignment,
            )


def run(app: Application) -> None:
    """``action=python-control``."""
    loop = app.config.choice(
        "python-control-loop-type",
        "python-control-loop",
        ("python-control-loop", "iterate-corpus"),
    )
    control = ControlUnit(app, app.config, "NnTrainer.pythonControl")
    app.log(f"PythonControl: {loop}")
    if loop == "iterate-corpus":
        control.run_iterate_corpus()
    else:
        control.run_control_loop()
    control.call("exit")
