"""An engine for `sprint_ctl.interface`: softmax regression in numpy, inside a Sprint process.

--*.pymod-name=sprint_ctl.interface
--*.pymod-config=engine:numpy_engine:Engine,epochs:5,model:model.npz

It trains on what Sprint delivers (target-mode target-alignment, or action=python-control), or with
the error signals that Sprint computes (criterion-by-sprint), and forwards (forward-only, feature
scorer). The model is read and written where ``model`` says.
"""

from __future__ import annotations

import os
import sys

import numpy as np


class Engine:
    """One linear layer and a softmax."""

    def __init__(self, config):
        self.path = config.get("model", "")
        self.rate = float(config.get("rate", 0.02))
        self.first_epoch = int(config.get("epoch", 1))
        self.model = None  # (inputs + 1, labels): weights and bias
        self.last = None  # what was forwarded last
        self.losses = []  # mean of each epoch
        if os.path.exists(self.path):
            self.model = np.load(self.path)["model"]

    def init(self, input_dim, output_dim):
        """Called as soon as Sprint knows the dimensions."""
        if self.model is None:
            self.model = np.zeros((input_dim + 1, output_dim), np.float32)

    def train(self, dataset):
        """Runs in a separate thread; sequences arrive as Sprint delivers them."""
        for epoch in dataset.iter_epochs(self.first_epoch):
            loss = frames = 0
            for seq in dataset.iter_seqs():
                features, labels = seq.features["data"], seq.features["classes"]
                scores = self.forward(features, seq.seq_tag)
                picked = np.arange(len(labels)), labels
                loss -= scores[picked].sum()
                frames += len(labels)
                error_signal = np.exp(scores)
                error_signal[picked] -= 1
                self.update(error_signal)
            self.losses.append(float(loss / frames))
            sys.stderr.write(f"epoch {epoch}: {frames} frames, loss {self.losses[-1]:.3f}\n")

    def forward(self, features, segment_name):
        """(T, D) to (T, L) log posteriors."""
        self.last = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
        scores = self.last @ self.model
        scores -= scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def backward(self, loss, error_signal, natural_pairing_type):
        """What Sprint's criterion says of the segment that was forwarded last."""
        if natural_pairing_type != "softmax":
            raise ValueError("set --*.natural-pairing-layer.layer-type=softmax")
        self.losses.append(loss / len(error_signal))
        self.update(error_signal)

    def update(self, error_signal):
        self.model -= self.rate * (self.last.T @ error_signal) / len(error_signal)

    def exit(self):
        if self.path and self.model is not None:
            np.savez(self.path, model=self.model, losses=self.losses)
