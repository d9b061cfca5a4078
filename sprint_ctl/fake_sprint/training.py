"""Training: segments through the feature buffer into a trainer, for the actions ``*-training``.

As RASR's buffered feature processors: ``buffer-type`` (mini-batch | batch | utterance),
``buffer-size``, ``batch-size``, ``shuffle``, ``window-size``. A trainer is created with the first
minibatch. The permutation of frames differs from that of the real Sprint.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from sprintcache._configuration import Configuration
from sprintcache.bliss import Segment

from .application import Application, CriticalError
from .extraction import AcousticModel, Extraction
from .visiting import CorpusDescription, orthography

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACTIONS", "Minibatch", "Trainer", "run"]

ACTIONS = ("supervised-training", "unsupervised-training", "supervised-segmentwise-training")


class Minibatch(NamedTuple):
    """(T, D) features with (T,) labels and weights, and the segment; None: not known."""

    features: NDArray[np.floating]
    labels: NDArray[np.uint32] | None = None
    weights: NDArray[np.floating] | None = None
    segment: Segment | None = None

    @property
    def orthography(self) -> str | None:
        """The orthography of an unlabeled segment."""
        if self.labels is not None or self.segment is None:
            return None
        return orthography(self.segment)


class Trainer(Protocol):
    """Trains on minibatches."""

    processes_all: bool  # also a last minibatch that is not full

    def process(self, batch: Minibatch) -> None: ...

    def finalize(self) -> None: ...


def run(app: Application, action: str) -> None:
    """Trains on the corpus with the trainer of the configuration."""
    config = app.config
    if action not in ACTIONS:
        raise CriticalError(f"action = {action!r} is not one of {', '.join(ACTIONS)}")
    supervised = action == "supervised-training"
    extraction = Extraction(
        app, config.select("aligning-feature-extractor") if supervised else config
    )
    model = AcousticModel(config)
    buffer = _Buffer(config, lambda: _make_trainer(app, action))
    if action == "supervised-segmentwise-training" and buffer.kind != "utterance":
        raise CriticalError("supervised-segmentwise-training needs buffer-type=utterance")
    for segment in CorpusDescription(app, config.select("corpus")).segments():
        features = extraction.features(segment.name)
        labels = None
        if supervised:
            labels, features = model.viterbi(extraction.alignment(segment.name), features)
            features = features[: len(labels)]
        buffer.add(segment, features, labels)
    buffer.flush()
    if buffer.trainer is None:
        if supervised:
            raise CriticalError("Trainer was not initalized: the corpus is empty")
        app.misbehavior.die(signal.SIGSEGV)  # the real one finalizes a null pointer
    buffer.trainer.finalize()


def _make_trainer(app: Application, action: str) -> Trainer:
    kind = app.config.string("trainer", "")
    if kind in ("python-trainer", "python-evaluator"):
        from .python_trainer import PythonTrainer

        return PythonTrainer(app, action)
    if kind == "feed-forward-trainer":
        from .feed_forward import FeedForwardTrainer

        return FeedForwardTrainer(app, action)
    raise CriticalError(f"trainer = {kind!r} is not supported by the stand-in")


class _Buffer:
    """Buffers frames for a trainer."""

    def __init__(self, config: Configuration, make_trainer: Callable[[], Trainer]) -> None:
        kinds = "mini-batch", "batch", "utterance"
        self.kind = config.choice("buffer-type", "mini-batch", kinds)
        self.size = config.integer("buffer-size", 16384)
        self.batch_size = config.integer("batch-size", 1024)
        self.window = config.integer("window-size", 1)
        self.weighted = config.boolean("weighted-accumulation", False)
        self.dtype = np.float32 if config.boolean("single-precision", True) else np.float64
        seed = config.integer("shuffle-seed", -1)
        seed = config.integer("seed", 0) if seed == -1 else seed
        shuffles = config.boolean("shuffle", True)
        self.generator = np.random.default_rng(seed) if shuffles else None
        self.trainer: Trainer | None = None
        self._make_trainer = make_trainer
        self._buffered: list[tuple[NDArray[Any], NDArray[np.uint32] | None]] = []
        self._num_buffered = 0

    def add(
        self, segment: Segment, features: NDArray[np.float32], labels: NDArray[np.uint32] | None
    ) -> None:
        """Buffers a segment; processes full buffers."""
        features = self._windowed(features).astype(self.dtype, copy=False)
        if self.kind == "utterance":
            if 0 < len(features) <= self.size:  # others are skipped
                self._process(features, labels, len(features), segment)
            return
        while len(features):
            space = self.size - self._num_buffered if self.kind == "mini-batch" else len(features)
            part, features = features[:space], features[space:]
            part_labels = None
            if labels is not None:
                part_labels, labels = labels[:space], labels[space:]
            self._buffered.append((part, part_labels))
            self._num_buffered += len(part)
            if self.kind == "mini-batch" and self._num_buffered == self.size:
                self.flush()

    def flush(self) -> None:
        """Processes the buffered frames."""
        if not self._buffered:
            return
        features = np.concatenate([features for features, _ in self._buffered])
        parts = [labels for _, labels in self._buffered if labels is not None]
        labels = np.concatenate(parts) if parts else None
        self._buffered, self._num_buffered = [], 0
        self._process(features, labels, self.batch_size, None)

    def _process(
        self,
        features: NDArray[np.floating],
        labels: NDArray[np.uint32] | None,
        size: int,
        segment: Segment | None,
    ) -> None:
        if self.trainer is None:
            self.trainer = self._make_trainer()
        if self.generator is not None:
            order = self.generator.permutation(len(features))
            features, labels = features[order], None if labels is None else labels[order]
        for start in range(0, len(features), size):
            batch = features[start : start + size]
            if len(batch) < size and not self.trainer.processes_all:
                return
            batch_labels = None if labels is None else labels[start : start + size]
            weights: NDArray[np.floating] | None = None
            if self.weighted and batch_labels is not None:
                weights = np.ones(len(batch), batch.dtype)
            self.trainer.process(Minibatch(batch, batch_labels, weights, segment))

    def _windowed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Joins the frames around each frame; repeats the first and last frame beyond the ends."""
        if self.window == 1:
            return features
        half = self.window // 2
        indices = np.arange(len(features))[:, None] + np.arange(-half, half + 1)
        windows: NDArray[np.float32] = features[indices.clip(0, len(features) - 1)]
        return windows.reshape(len(features), -1)
