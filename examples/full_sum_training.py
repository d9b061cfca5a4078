"""Trains a small acoustic model from flat start, without any alignment: the full-sum loss.

The automata of the words replace the frame labels of ``train_hybrid.py``: all paths through them
count, and which frame belongs to which phone emerges in training. The same network is then trained
on Sprint's alignment, for comparison. Both are measured on held-out segments, by the frames that
they assign to another phone than Sprint does, given the words. Needs the extra `torch`, and less
than two minutes:

    python examples/full_sum_training.py --plot curve.png

On 75 seconds of synthetic speech the figures mean no more than that automata, loss and gradient fit
together.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

import sprintcache
from sprintcache.automata import AutomatonBuilder
from sprintcache.torch import AutomataBatch, AutomataCollate, MapDataset, full_sum_loss

DATA = Path(__file__).parent.parent / "tests" / "data"
TYING = DATA / "state-tying" / "monophone"
WINDOW = 11  # frames that the model sees around each frame
LABEL_SCALE = 0.3  # below 1: paths stay apart for longer
PRIOR_SCALE = 0.5


class Curve(NamedTuple):
    """Values by epoch: loss per frame, and the share of frames with another phone than Sprint's."""

    loss: list[float]
    error: list[float]


def open_dataset() -> sprintcache.SprintCacheDataset:
    """Features, and the labels of Sprint's alignment, which the full-sum training never reads."""
    return sprintcache.SprintCacheDataset(
        {
            "data": {"filename": DATA / "features.bundle"},
            "classes": {
                "filename": DATA / "alignment.viterbi.cache",
                "allophone_labeling": {
                    "silence_phone": "[SILENCE]",
                    "allophone_file": DATA / "allophones",
                    "state_tying_file": TYING,
                },
            },
        },
        window=WINDOW,
    )


def make_builder() -> AutomatonBuilder:
    """Automata from lexicon and corpus, with the labels of the state tying.

    Sprint's configuration prefers silence, which is right for a trained model only: at the start,
    all frames would go there. So silence gets the weights of the other states.
    """
    return AutomatonBuilder.from_sprint_config(
        DATA / "corpus" / "am.config",
        {
            "*.corpus.file": str(DATA / "corpus" / "corpus.xml.gz"),
            "*.lexicon.file": str(DATA / "corpus" / "lexicon.xml.gz"),
            "tying": "lookup",
            "tying-file": str(TYING),
            "*.allophones.add-from-file": str(DATA / "allophones"),
            "*.allow-for-silence-repetitions": "false",
            "*.acoustic-model.tdp.silence.loop": "3",
            "*.acoustic-model.tdp.silence.forward": "0",
            "*.acoustic-model.tdp.silence.exit": "0",
        },
        base=DATA / "corpus",
    )


def phones_of_labels(num_labels: int) -> torch.Tensor:
    """The phone of each label, as a number: its states count as one."""
    numbers: dict[str, int] = {}
    phones = torch.zeros(num_labels, dtype=torch.int64)
    for line in TYING.read_text("utf-8").splitlines():
        state, label = line.split()
        phones[int(label)] = numbers.setdefault(state.partition("{")[0], len(numbers))
    return phones


class Model(nn.Module):
    """A network whose first outputs are the same for all labels, and the prior of the labels."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor, num_labels: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.register_buffer("prior", torch.full((num_labels,), 1 / num_labels))
        self.layers = nn.Sequential(
            nn.Linear(len(mean), 256), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(256, num_labels),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Log posteriors (B, T, labels)."""
        normalized = (features - self.mean) / self.deviation
        return self.layers(normalized).log_softmax(-1)

    def scores(self, log_posteriors: torch.Tensor) -> torch.Tensor:
        """Log posteriors over a power of their prior: without it, frequent labels win them all."""
        return log_posteriors - PRIOR_SCALE * self.prior.log()

    @torch.no_grad()
    def update_prior(self, log_posteriors: torch.Tensor, lengths: torch.Tensor) -> None:
        """Moves the prior toward the mean posterior of a batch."""
        real = torch.arange(log_posteriors.shape[1])[None] < lengths[:, None]
        self.prior.mul_(0.9).add_(log_posteriors.exp()[real].mean(0), alpha=0.1)


def full_sum(model: Model, item: AutomataBatch) -> torch.Tensor:
    """Full-sum loss per frame: reads features and automata."""
    lengths = item.batch.lengths["data"]
    log_posteriors = model(item.batch.data["data"])
    model.update_prior(log_posteriors, lengths)
    loss = full_sum_loss(
        model.scores(log_posteriors),
        lengths,
        item.automata,
        batch_first=True,
        label_scale=LABEL_SCALE,
    )
    return loss.sum() / lengths.sum()


def cross_entropy(model: Model, item: AutomataBatch) -> torch.Tensor:
    """Cross-entropy per frame: reads features and the labels of Sprint's alignment."""
    log_posteriors = model(item.batch.data["data"])
    model.update_prior(log_posteriors, item.batch.lengths["data"])
    labels = item.batch.data["classes"].flatten().long()  # -1 beyond the end of a segment
    return nn.functional.nll_loss(log_posteriors.flatten(0, 1), labels, ignore_index=-1)


@torch.no_grad()
def alignment_error(model: Model, loader: DataLoader[AutomataBatch], phones: torch.Tensor) -> float:
    """Share of frames whose likeliest phone, given the words, is not that of Sprint's alignment."""
    model.eval()
    wrong = frames = 0
    for item in loader:
        labels = item.batch.data["classes"].long()
        scores = model.scores(model(item.batch.data["data"]))
        posteriors = item.automata.full_sum(
            scores.numpy(),
            item.batch.lengths["data"].numpy(),
            batch_first=True,
            label_scale=LABEL_SCALE,
        ).posteriors
        best = torch.from_numpy(posteriors.argmax(-1))
        wrong += int(((phones[best] != phones[labels]) & (labels >= 0)).sum())
        frames += int((labels >= 0).sum())
    return wrong / frames


def train(method: str, epochs: int, workers: int = 0, seed: int = 1) -> Curve:
    """Trains a model and measures it on held-out segments after each epoch."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # so small a model gains nothing by more
    dataset = open_dataset()
    sequences = MapDataset(dataset)
    held_out = list(range(0, len(sequences), 6))
    rest = [seq for seq in range(len(sequences)) if seq not in held_out]
    collate = AutomataCollate(make_builder().build_segments)
    loaders = [
        DataLoader(
            Subset(sequences, part),
            batch_size=4,
            shuffle=part is rest,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for part in (rest, held_out)
    ]
    features = torch.cat([sequences[seq].data["data"] for seq in rest])
    num_labels = dataset.get_data_dim("classes")
    model = Model(features.mean(0), features.std(0) + 1e-5, num_labels)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    loss_of = full_sum if method == "full sum" else cross_entropy
    curve, phones = Curve([], []), phones_of_labels(num_labels)
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for item in loaders[0]:
            loss = loss_of(model, item)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curve.loss.append(sum(losses) / len(losses))
        curve.error.append(alignment_error(model, loaders[1], phones))
        if epoch == 1 or epoch % 5 == 0:
            print(f"{epoch:>5}   {curve.loss[-1]:7.3f}   {curve.error[-1]:6.1%}", flush=True)
    return curve


def plot(curves: dict[str, Curve], path: Path) -> None:
    """The curves as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in curves.items():
        epochs = range(1, len(curve.loss) + 1)
        left.plot(epochs, curve.loss, label=name)
        right.plot(epochs, curve.error, label=name)
    left.set(xlabel="epoch", ylabel="training loss per frame")
    right.set(xlabel="epoch", ylabel="frames with another phone, held out", ylim=(0, 1))
    left.legend()
    figure.savefig(path, dpi=90)


def main(arguments: Sequence[str] | None = None) -> dict[str, Curve]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--workers", type=int, default=0, help="of the DataLoaders")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the curves (matplotlib)")
    args = parser.parse_args(arguments)
    begin = time.perf_counter()
    curves = {}
    for name in ("full sum", "frame labels"):
        print(f"{name}\nepoch      loss   held-out frames with another phone")
        curves[name] = train(name, args.epochs, args.workers)
    print(
        f"\nheld-out frames with another phone than Sprint's alignment:"
        f" {curves['full sum'].error[0]:.1%} at the start,"
        f" {curves['full sum'].error[-1]:.1%} from flat start,"
        f" {curves['frame labels'].error[-1]:.1%} with frame labels;"
        f" {time.perf_counter() - begin:.0f} s"
    )
    if args.plot is not None:
        plot(curves, args.plot)
    return curves


if __name__ == "__main__":
    main()
