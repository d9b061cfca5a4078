"""An engine for `sprint_ctl.interface`: a small network in PyTorch, inside a Sprint process.

--*.pymod-name=sprint_ctl.interface
--*.pymod-config=engine:torch_engine:Engine,epochs:5,model:model.pt

It trains on what Sprint delivers (target-mode target-alignment, or action=python-control) and
forwards (target-mode forward-only, feature scorer). The model is read and written where ``model``
says; to forward it must be there.
"""

from __future__ import annotations

import os
import sys

import torch


class Engine:
    """Two layers and a softmax, trained sequence by sequence."""

    def __init__(self, config):
        torch.set_num_threads(1)  # Sprint needs the other processors
        self.path = config.get("model", "")
        self.first_epoch = int(config.get("epoch", 1))
        self.model = None
        if os.path.exists(self.path):
            saved = torch.load(self.path, weights_only=True)
            self.init(*saved["sizes"])
            self.model.load_state_dict(saved["model"])

    def init(self, input_dim, output_dim):
        """Called as soon as Sprint knows the dimensions."""
        if self.model is None:
            torch.manual_seed(0)
            self.sizes = input_dim, output_dim
            self.model = torch.nn.Sequential(
                torch.nn.Linear(input_dim, 64), torch.nn.ReLU(), torch.nn.Linear(64, output_dim)
            )

    def train(self, dataset):
        """Runs in a separate thread; sequences arrive as Sprint delivers them."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        for epoch in dataset.iter_epochs(self.first_epoch):
            losses = []
            for seq in dataset.iter_seqs():
                features = torch.from_numpy(seq.features["data"])
                labels = torch.from_numpy(seq.features["classes"]).long()
                loss = torch.nn.functional.cross_entropy(self.model(features), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            sys.stderr.write(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}\n")

    def forward(self, features, segment_name):
        """(T, D) to (T, L) log posteriors."""
        with torch.no_grad():
            return self.model(torch.from_numpy(features)).log_softmax(1).numpy()

    def exit(self):
        if self.path and self.model is not None:
            torch.save({"sizes": self.sizes, "model": self.model.state_dict()}, self.path)
