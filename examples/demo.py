"""What `make demo` runs: decode a bundle of real Sprint archives, and say how fast."""

import time
from pathlib import Path

import numpy as np

import sprintcache

DATA = Path(__file__).parent.parent / "tests" / "data"


def main() -> None:
    labeling = sprintcache.AllophoneLabeling(
        silence_phone="[SILENCE]",
        allophone_file=DATA / "allophones",
        state_tying_file=DATA / "state-tying" / "monophone",
    )
    with (
        sprintcache.open_archive(DATA / "features.bundle") as features,
        sprintcache.open_archive(DATA / "alignment.viterbi.cache") as alignments,
    ):
        print(f"{features.path}\n  {len(features.segments)} segments in {len(features)} entries\n")
        print(f"{'segment':<20} {'features':>12}   labels")
        for name in features.segments:
            x = features.read_features(name)
            labels = alignments.read_labels(name, labeling)
            silence = np.mean(labels == labeling.sil_label_idx)
            print(
                f"{name:<20} {x.shape[0]:>6} x {x.shape[1]:<3}   {len(np.unique(labels)):>2} of"
                f" {labeling.num_labels}, {silence:4.0%} silence"
            )
        names = list(features.segments)
        start = time.perf_counter()
        rounds = 20
        for _ in range(rounds):
            batch, lengths = features.read_features_batch(names)
            alignments.read_labels_batch(names, labeling)
        seconds = (time.perf_counter() - start) / rounds
        frames = int(lengths.sum())
        print(
            f"\nas one padded batch {batch.shape} with labels: {seconds * 1e3:.2f} ms,"
            f" {seconds / frames * 1e9:.0f} ns a frame,"
            f" {frames / 100 / seconds:,.0f} times real time"
        )


if __name__ == "__main__":
    main()
