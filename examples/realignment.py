"""Finds an alignment from nothing: full-sum loss, then align, train on labels, align again.

Round 0 trains from flat start with the full-sum loss over the automata of the words. Each further
round trains a fresh model on the labels of the last alignment and aligns all segments with it. Each
alignment is compared with the one that Sprint's own Viterbi training found, which the training
never reads: the word boundary error falls. Needs the extra `torch`, and less than a minute:

    python examples/realignment.py --plot rounds.png --to alignment.cache

On 75 seconds of synthetic speech the figures mean no more than that loss, aligner and comparison
fit together.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

import sprintcache
from sprintcache.align import Aligner, AlignResult, write_result
from sprintcache.automata import AutomatonBuilder
from sprintcache.segmentation import Segmentation, Segmenter, compare_tiers, iter_segmentations
from sprintcache.torch import full_sum_loss

DATA = Path(__file__).parent.parent / "tests" / "data"
CONTEXT = 2  # frames on each side that the model sees
FRAME_SHIFT = 0.01
LABEL_SCALE = 0.3  # below 1: paths stay apart for longer
PRIOR_SCALE = 0.5


class Round(NamedTuple):
    """An alignment of all segments, and how far it is from Sprint's."""

    results: list[AlignResult]
    segmentations: dict[str, Segmentation]
    boundary_error: float  # of words, in milliseconds
    same_labels: float  # share of frames


class Corpus:
    """Features with context, automata of all segments, and Sprint's alignment to compare with."""

    def __init__(self) -> None:
        self.features = sprintcache.open_archive(DATA / "features.bundle")
        self.names = list(self.features.segments)
        # a trained model aligns with the transition weights of Sprint's configuration; at the start
        # too many frames go to silence with them, so silence gets the weights of the phones
        self.builder = make_builder()
        self.flat_builder = make_builder(
            {
                "*.allow-for-silence-repetitions": "false",
                "*.acoustic-model.tdp.silence.loop": "3",
                "*.acoustic-model.tdp.silence.forward": "0",
                "*.acoustic-model.tdp.silence.exit": "0",
            }
        )
        matrices = [self.features.read_features(name) for name in self.names]
        frames = np.concatenate(matrices)
        mean, deviation = frames.mean(0), frames.std(0)
        self.inputs = [with_context((matrix - mean) / deviation) for matrix in matrices]
        self.lengths = [len(x) for x in self.inputs]
        self.texts = {name: self.builder.orthography(name) for name in self.names}
        self.segmenter = Segmenter(lexicon=self.builder.lexicon)
        self.sprint = sprintcache.open_archive(DATA / "alignment.viterbi.cache")
        self.reference = {
            segmentation.name: segmentation
            for segmentation in iter_segmentations(
                self.sprint, self.segmenter, self.texts, frame_shift=FRAME_SHIFT
            )
        }

    def labels(self, alignment: sprintcache.Alignment) -> torch.Tensor:
        """(T,) int64 labels of an alignment."""
        table = self.builder.label_table
        return torch.from_numpy(table[alignment.state, alignment.allophone].astype(np.int64))


def make_builder(changes: Mapping[str, str] | None = None) -> AutomatonBuilder:
    """The words of the corpus with the labels of the state tying."""
    return AutomatonBuilder.from_sprint_config(
        DATA / "corpus" / "am.config",
        {
            "*.corpus.file": str(DATA / "corpus" / "corpus.xml.gz"),
            "*.lexicon.file": str(DATA / "corpus" / "lexicon.xml.gz"),
            "tying": "lookup",
            "tying-file": str(DATA / "state-tying" / "monophone"),
            "*.allophones.add-from-file": str(DATA / "allophones"),
            **(changes or {}),
        },
        base=DATA / "corpus",
    )


def with_context(x: np.ndarray) -> torch.Tensor:
    """(T, (2 * CONTEXT + 1) * D) float32; the first and last frame are repeated."""
    padded = np.pad(x, ((CONTEXT, CONTEXT), (0, 0)), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT + 1, axis=0)
    return torch.from_numpy(np.ascontiguousarray(windows.reshape(len(windows), -1)))


class Model(nn.Module):
    """One linear layer, and the prior of its posteriors.

    A larger network learns the labels of such a small corpus by heart, and aligns as before.
    """

    def __init__(self, dim: int, num_labels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, num_labels)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.prior = torch.full((num_labels,), 1 / num_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log posteriors of the labels."""
        return self.layer(x).log_softmax(-1)

    def update_prior(self, log_posteriors: torch.Tensor, lengths: Sequence[int]) -> None:
        """Moves the prior, a running mean of the posteriors of real frames."""
        rows = [row[:length] for row, length in zip(log_posteriors, lengths, strict=True)]
        self.prior = 0.9 * self.prior + 0.1 * torch.cat(rows).detach().exp().mean(0)

    def scores(self, log_posteriors: torch.Tensor) -> torch.Tensor:
        """Log posteriors divided by a power of the prior: without it, silence wins everywhere."""
        return log_posteriors - PRIOR_SCALE * self.prior.log()


def train(corpus: Corpus, labels: list[torch.Tensor] | None, epochs: int, rate: float) -> Model:
    """Trains a fresh model on labels, or without them on all paths through the words."""
    model = Model(corpus.inputs[0].shape[1], corpus.builder.num_labels)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, epochs)
    automata = corpus.flat_builder.build_segments(corpus.names)
    for _ in range(epochs):
        for batch in torch.randperm(len(corpus.names)).split(4):
            chosen = batch.tolist()
            x = nn.utils.rnn.pad_sequence([corpus.inputs[i] for i in chosen], batch_first=True)
            lengths = [corpus.lengths[i] for i in chosen]
            log_posteriors = model(x)
            model.update_prior(log_posteriors, lengths)
            if labels is None:
                losses = full_sum_loss(
                    model.scores(log_posteriors),
                    lengths,
                    automata[chosen],
                    batch_first=True,
                    label_scale=LABEL_SCALE,
                )
                loss = losses.sum() / sum(lengths)
            else:
                rows = [labels[i] for i in chosen]
                target = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
                loss = nn.functional.nll_loss(
                    log_posteriors.flatten(0, 1), target.flatten(), ignore_index=-1
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()
    return model


@torch.no_grad()
def align(model: Model, corpus: Corpus, builder: AutomatonBuilder) -> list[AlignResult]:
    """Alignments of all segments by the model."""
    aligner = Aligner(builder, min_beam=500, max_beam=4000)
    results = []
    for name, x in zip(corpus.names, corpus.inputs, strict=True):
        start, end = corpus.features.read_times(name)[[0, -1], [0, 1]]
        scores = model.scores(model(x)).numpy()
        result = aligner.align(scores, tag=name, start=float(start), end=float(end))
        if result.alignment is None:
            raise RuntimeError(f"{name}: {result.reason}")
        results.append(result)
    return results


def judge(corpus: Corpus, results: list[AlignResult]) -> Round:
    """Compares alignments with Sprint's own."""
    hypothesis, equal = {}, []
    for name, result in zip(corpus.names, results, strict=True):
        segmenter, text = corpus.segmenter, corpus.texts[name]
        hypothesis[name] = segmenter.segment(result.alignment, text, FRAME_SHIFT)
        expected = corpus.labels(corpus.sprint.read_alignment(name))
        equal.append(corpus.labels(result.alignment) == expected)
    comparison = compare_tiers(hypothesis, corpus.reference, "words")
    return Round(
        results,
        hypothesis,
        boundary_error=1e3 * comparison.micro["wbe"],
        same_labels=float(torch.cat(equal).float().mean()),
    )


def run_rounds(corpus: Corpus, args: argparse.Namespace, seed: int) -> list[Round]:
    """Round 0 from flat start, then the rounds on labels."""
    torch.manual_seed(seed)
    if args.from_sprint:
        labels = [corpus.labels(corpus.sprint.read_alignment(name)) for name in corpus.names]
        model = train(corpus, labels, args.epochs, rate=5e-3)
        rounds = [judge(corpus, align(model, corpus, corpus.builder))]
    else:
        model = train(corpus, None, args.flat_epochs, rate=2e-3)
        builder = corpus.builder if args.sprint_weights else corpus.flat_builder
        rounds = [judge(corpus, align(model, corpus, builder))]
    for _ in range(args.rounds):
        labels = [corpus.labels(result.alignment) for result in rounds[-1].results]
        model = train(corpus, labels, args.epochs, rate=5e-3)
        rounds.append(judge(corpus, align(model, corpus, corpus.builder)))
    return rounds


def plot(corpus: Corpus, runs: Sequence[list[Round]], path: Path) -> None:
    """Draws the measures by round, and the words of one segment in each round."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplot_mosaic([["error", "labels"], ["words", "words"]])
    numbers = range(len(runs[0]))
    for seed, rounds in enumerate(runs, 1):
        axes["error"].plot(numbers, [r.boundary_error for r in rounds], marker="o", ms=4)
        share = [100 * r.same_labels for r in rounds]
        axes["labels"].plot(numbers, share, marker="o", ms=4, label=f"seed {seed}")
    axes["error"].set(
        xlabel="round", ylabel="word boundary error (ms)", ylim=(0, None), xticks=numbers
    )
    highest = max(100 * r.same_labels for rounds in runs for r in rounds)
    axes["labels"].set(
        xlabel="round",
        ylabel="frames with Sprint's label (%)",
        ylim=(0, 1.1 * highest),
        xticks=numbers,
    )
    axes["labels"].legend(loc="lower right", frameon=False)

    def distance(name: str) -> float:
        """Word boundary error of the first round in a segment."""
        first = {name: runs[0][0].segmentations[name]}
        return compare_tiers(first, {name: corpus.reference[name]}, "words").micro["wbe"]

    name = max(corpus.names, key=distance)
    tiers = [(f"round {i}", r.segmentations[name]) for i, r in enumerate(runs[0])]
    tiers.append(("Sprint", corpus.reference[name]))
    for row, (_, segmentation) in enumerate(tiers):
        color = "tab:green" if row == len(runs[0]) else "tab:blue"
        for word in segmentation.words:
            width = word.end - word.start
            axes["words"].barh(
                row, width, left=word.start, height=0.8, color=color, alpha=0.35, edgecolor="black"
            )
            axes["words"].text(
                word.start + width / 2, row, word.symbol, ha="center", va="center", fontsize=8
            )
    for word in corpus.reference[name].words:
        for time in (word.start, word.end):
            axes["words"].axvline(time, color="tab:green", linewidth=0.8, linestyle=":")
    axes["words"].set(xlabel="seconds", title=f"words of {name}, seed 1")
    axes["words"].set_yticks(range(len(tiers)), [label for label, _ in tiers])
    axes["words"].invert_yaxis()
    figure.savefig(path, dpi=90)


def main(arguments: Sequence[str] | None = None) -> list[list[Round]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of training on labels")
    parser.add_argument("--flat-epochs", type=int, default=5, help="with the full-sum loss")
    parser.add_argument("--epochs", type=int, default=10, help="of each round")
    parser.add_argument("--seeds", type=int, default=3, help="number of runs")
    parser.add_argument(
        "--from-sprint", action="store_true", help="start from Sprint's alignment, to compare"
    )
    parser.add_argument(
        "--sprint-weights", action="store_true", help="in the alignment of round 0 too"
    )
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the last alignment")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture (matplotlib)")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)  # so small a model gains nothing from more
    corpus = Corpus()
    runs = [run_rounds(corpus, args, seed) for seed in range(1, args.seeds + 1)]
    print("word boundary error in ms, frames with Sprint's label")
    print("round" + "".join(f"{f'seed {seed}':>16}" for seed in range(1, args.seeds + 1)))
    for number, rounds in enumerate(zip(*runs, strict=True)):
        cells = (f"{r.boundary_error:9.1f} {r.same_labels:6.1%}" for r in rounds)
        print(f"{number:>5}" + "".join(cells))
    if args.to is not None:
        with sprintcache.ArchiveWriter(args.to, "w") as writer:
            for result in runs[0][-1].results:
                write_result(writer, result, corpus.features)
    if args.plot is not None:
        plot(corpus, runs, args.plot)
    return runs


if __name__ == "__main__":
    main()
