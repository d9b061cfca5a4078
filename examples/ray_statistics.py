"""Mean, variance and label counts of a whole corpus, computed by the workers of a Ray cluster.

    pip install 'sprintcache[ray]'
    python examples/ray_statistics.py
    python examples/ray_statistics.py FEATURES ALIGNMENTS --allophones FILE --state-tying FILE

Without arguments it takes the real archives of the repository, on this machine with two workers. On
a cluster (``ray start --head`` on one node, ``ray start --address=HEAD:6379`` on the others; the
archives under the same path everywhere) add ``--address auto``: the same program then runs on all
of its nodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray

import sprintcache
from sprintcache.ray import read_archives

DATA = Path(__file__).resolve().parents[1] / "tests" / "data"


class Statistics(NamedTuple):
    """Of frames: how many, (D,) sums of features and of their squares, (L,) counts of labels."""

    frames: int
    sums: np.ndarray
    squares: np.ndarray
    labels: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(D,) float64."""
        return self.sums / self.frames

    @property
    def variance(self) -> np.ndarray:
        """(D,) float64, of the population."""
        return self.squares / self.frames - self.mean**2


def statistics_of(features: np.ndarray, labels: np.ndarray, num_labels: int) -> Statistics:
    """Of (N, D) features and their (N,) labels."""
    values = features.astype(np.float64)
    counts = np.bincount(labels, minlength=num_labels)
    return Statistics(len(values), values.sum(axis=0), np.square(values).sum(axis=0), counts)


def with_ray(features: str, alignments: str, labeling: sprintcache.AllophoneLabeling) -> Statistics:
    """Every worker sums its blocks up; only the sums travel."""
    num_labels = labeling.num_labels  # not the labeling itself: Ray sends what a function uses

    def sum_up(block: dict[str, np.ndarray]) -> dict[str, Any]:
        part = statistics_of(block["features"], block["labels"], num_labels)
        return {name: [value] for name, value in part._asdict().items()}

    frames = read_archives(features, alignments=alignments, labeling=labeling, rows="frames")
    parts = frames.map_batches(sum_up, batch_size=None).take_all()
    return Statistics(*(sum(part[name] for part in parts) for name in Statistics._fields))


def alone(features: str, alignments: str, labeling: sprintcache.AllophoneLabeling) -> Statistics:
    """The same in this process, without Ray."""
    with (
        sprintcache.open_archive(features) as archive,
        sprintcache.open_archive(alignments) as aligned,
    ):
        matrix = np.concatenate([archive.read_features(name) for name in archive.segments])
        labels = [aligned.read_labels(name, labeling) for name in archive.segments]
        return statistics_of(matrix, np.concatenate(labels), labeling.num_labels)


def main() -> None:
    """Reads the command line, prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("features", nargs="?", default=str(DATA / "features.bundle"))
    parser.add_argument("alignments", nargs="?", default=str(DATA / "alignment.viterbi.cache"))
    parser.add_argument("--allophones", default=DATA / "allophones")
    parser.add_argument("--state-tying", default=DATA / "state-tying" / "monophone")
    parser.add_argument("--silence", default="[SILENCE]")
    parser.add_argument("--address", help="of a cluster; 'auto' on one of its nodes")
    args = parser.parse_args()

    ray.init(address=args.address, num_cpus=None if args.address else 2)
    labeling = sprintcache.AllophoneLabeling(
        args.silence, args.allophones, state_tying_file=args.state_tying
    )
    statistics = with_ray(args.features, args.alignments, labeling)
    print(f"{statistics.frames} frames")
    print("mean    ", np.array2string(statistics.mean, precision=3, max_line_width=100))
    print("variance", np.array2string(statistics.variance, precision=3, max_line_width=100))
    for label in np.argsort(-statistics.labels, kind="stable")[:5]:
        print(f"label {label}: {statistics.labels[label]} frames")


if __name__ == "__main__":
    main()
