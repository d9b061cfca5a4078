"""Trains a small hybrid acoustic model on the real features and alignments in tests/data.

The model says for each frame which of 79 states of phonemes it belongs to, as the network of a
hybrid recognizer does. A sixth of the segments is held out. Needs the extra `torch`, and a minute:

    python examples/train_hybrid.py --plot curve.png

On 75 seconds of synthetic speech the figures mean no more than that data, labels and batches fit
together: on held-out segments the prior has 71.5 % of the frames wrong, the model 45 %.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

import sprintcache
from sprintcache.torch import Batch, BatchSampler, MapDataset, collate

DATA = Path(__file__).parent.parent / "tests" / "data"
WINDOW = 11  # frames that the model sees around each frame


class Result(NamedTuple):
    """Frame errors: of the most frequent label of the training data, and of the model."""

    prior: float
    train: list[float]
    dev: list[float]


def open_dataset(segments: Path) -> sprintcache.SprintCacheDataset:
    """Features and labels of the segments that a file lists."""
    return sprintcache.SprintCacheDataset(
        {
            "data": {"filename": DATA / "features.bundle"},
            "classes": {
                "filename": DATA / "alignment.viterbi.cache",
                "allophone_labeling": {
                    "silence_phone": "[SILENCE]",
                    "allophone_file": DATA / "allophones",
                    "state_tying_file": DATA / "state-tying" / "monophone",
                },
            },
        },
        window=WINDOW,
        seq_ordering="random",
        seq_list_filter_file=str(segments),
    )


def make_loader(dataset: sprintcache.SprintCacheDataset, workers: int) -> DataLoader[Batch]:
    sequences = MapDataset(dataset)
    sampler = BatchSampler(sequences, max_frames=800)
    return DataLoader(
        sequences,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def run_epoch(
    model: nn.Module, loader: DataLoader[Batch], optimizer: torch.optim.Optimizer | None
) -> float:
    """Trains on all batches, or only measures without an optimizer; returns the frame error."""
    wrong = frames = 0
    for batch in loader:
        logits = model(batch.data["data"]).flatten(0, 1)
        labels = batch.data["classes"].flatten().long()  # -1 beyond the end of a segment
        if optimizer is not None:
            loss = nn.functional.cross_entropy(logits, labels, ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        wrong += int(((logits.argmax(1) != labels) & (labels >= 0)).sum())
        frames += int((labels >= 0).sum())
    return wrong / frames


def prior_error(train: DataLoader[Batch], dev: DataLoader[Batch], num_labels: int) -> float:
    """Frame error of always choosing the most frequent label."""

    def count(loader: DataLoader[Batch]) -> torch.Tensor:
        counts = torch.zeros(num_labels, dtype=torch.int64)
        for batch in loader:
            labels = batch.data["classes"]
            counts += torch.bincount(labels[labels >= 0], minlength=num_labels)
        return counts

    counts = count(dev)
    return 1 - int(counts[count(train).argmax()]) / int(counts.sum())


def train(epochs: int, workers: int = 0, seed: int = 1) -> Result:
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # so small a model gains nothing by more
    with (
        tempfile.TemporaryDirectory() as folder,
        sprintcache.open_archive(DATA / "features.bundle") as archive,
    ):
        tags = list(archive.segments)
        parts = {"dev": tags[::6], "train": [tag for tag in tags if tag not in tags[::6]]}
        datasets = {}
        for part, names in parts.items():
            path = Path(folder, part)
            path.write_text("".join(f"{tag}\n" for tag in names))
            datasets[part] = open_dataset(path)
    loaders = {part: make_loader(dataset, workers) for part, dataset in datasets.items()}
    dim, labels = (datasets["train"].get_data_dim(key) for key in ("data", "classes"))
    model = nn.Sequential(
        nn.Linear(dim, 256), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(256, labels),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    result = Result(prior_error(loaders["train"], loaders["dev"], labels), [], [])
    print(f"{len(parts['train'])} segments to train on, {len(parts['dev'])} held out")
    print(f"frame error of the prior: {result.prior:.1%}\n")
    print("epoch   train    held out")
    for epoch in range(1, epochs + 1):
        model.train()
        result.train.append(run_epoch(model, loaders["train"], optimizer))
        model.eval()
        with torch.no_grad():
            result.dev.append(run_epoch(model, loaders["dev"], None))
        bar = "#" * round(60 * result.dev[-1])
        print(f"{epoch:>5}   {result.train[-1]:6.1%}   {result.dev[-1]:6.1%}   {bar}")
    return result


def plot(result: Result, path: Path) -> None:
    """The curve as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(result.dev) + 1)
    axes.plot(epochs, result.train, label="training, with dropout")
    axes.plot(epochs, result.dev, label="held out")
    axes.axhline(result.prior, color="gray", linestyle=":", label="prior")
    axes.set(xlabel="epoch", ylabel="frame error", ylim=(0, 1))
    axes.legend()
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> Result:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--workers", type=int, default=0, help="of the DataLoaders")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the curve (matplotlib)")
    args = parser.parse_args(arguments)
    begin = time.perf_counter()
    result = train(args.epochs, args.workers)
    print(
        f"\nframe error on held-out segments: {result.dev[-1]:.1%}, of the prior"
        f" {result.prior:.1%}; {time.perf_counter() - begin:.0f} s"
    )
    if args.plot is not None:
        plot(result, args.plot)
    return result


if __name__ == "__main__":
    main()
