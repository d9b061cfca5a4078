"""Sequence training: a network learns characters by Sprint's loss over the orthography.

Features come from an archive, the loss and its gradient from two Sprint processes: here the
stand-in with CTC, whose classes are the characters of the corpus and the blank. With a Sprint of
your own, OPTIONS are its nn-trainer and its arguments. Needs PyTorch; half a minute on a laptop.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import sprintcache
from sprint_ctl.error_signals import SprintInstancePool
from sprint_ctl.torch import sprint_loss
from sprintcache.torch import BatchSampler, MapDataset, collate

DATA = Path(__file__).parent.parent / "tests" / "data"
NUM_LABELS = 28  # 26 letters, the space between words, the blank
OPTIONS = {
    "sprintExecPath": [sys.executable, "-m", "sprint_ctl.fake_sprint"],
    "sprintConfigStr": [
        "--*.action=python-control",
        "--*.python-control-loop-type=iterate-corpus",
        "--*.extract-features=false",
        "--*.training-criterion=ctc",
        "--*.input-in-log-space=true",
        f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
        "--*.log.channel=nil",
    ],
    "numInstances": 2,
    "on_failure": "skip",  # a segment that Sprint cannot do: infinite loss, no gradient
}


class Network(torch.nn.Module):
    """Two layers, the first one over 11 frames."""

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.first = torch.nn.Conv1d(dim, hidden, 11, padding=5)
        self.second = torch.nn.Linear(hidden, NUM_LABELS)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, time, dim) features to (time, batch, label) log posteriors."""
        hidden = self.first(features.transpose(1, 2)).relu()
        return self.second(hidden.permute(2, 0, 1)).log_softmax(-1)


def train(num_epochs: int, report: Callable[[str], object] = print) -> list[float]:
    """The loss per frame of each epoch."""
    torch.manual_seed(1)
    dataset = MapDataset(
        sprintcache.SprintCacheDataset({"data": {"filename": DATA / "features.bundle"}})
    )
    loader = DataLoader(
        dataset, batch_sampler=BatchSampler(dataset, max_frames=2000), collate_fn=collate
    )
    network = Network(dim=16)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for epoch in range(num_epochs):
        total, frames = 0.0, 0
        for batch in loader:
            log_posteriors = network(batch.data["data"])
            lengths = batch.lengths["data"]
            loss = sprint_loss(log_posteriors, lengths, batch.tags, OPTIONS)
            good = loss.isfinite()
            optimizer.zero_grad()
            (loss[good].sum() / lengths[good].sum()).backward()
            optimizer.step()
            total += loss[good].sum().item()
            frames += int(lengths[good].sum())
        losses.append(total / frames)
        report(f"epoch {epoch + 1:2}: loss per frame {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    train(parser.parse_args().epochs)
    SprintInstancePool.get_global_instance(OPTIONS).close()
