"""Runs in a separate interpreter: a trainer that reads one epoch from a Sprint.

It uses our ExternSprintDataset or RETURNN's, and prints a line of JSON. RETURNN's pipe needs NumPy
below 2.3, so this runs where sprintcache may not be installed; it imports `sprint_ctl` from this
checkout.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
STAND_IN = [sys.executable, "-m", "sprint_ctl.fake_sprint"]


def arguments(corpus: str, shape: tuple[int, int]) -> list[str]:
    """The stand-in delivers the same features for every segment."""
    return [
        "--*.action=python-control",
        "--*.python-control-loop-type=iterate-corpus",
        f"--*.corpus.file={corpus}",
        f"--*.fake.features={shape[1]}x{shape[0]}",
        "--*.log.channel=nil",
    ]


def open_dataset(side: str, words: list[str]) -> Any:
    if side == "ours":
        from sprint_ctl.dataset import ExternSprintDataset

        return ExternSprintDataset(STAND_IN, words)
    from returnn.datasets.sprint import ExternSprintDataset as Theirs

    return Theirs(STAND_IN, words, suppress_load_seqs_print=True)


def read_epoch(side: str, corpus: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Seconds until the first sequence is there, and for all others."""
    expected = np.random.default_rng(0).standard_normal(shape, np.float32)
    begin = time.perf_counter()
    dataset = open_dataset(side, arguments(corpus, shape))
    assert dataset.num_outputs["data"] == (shape[1], 2)
    dataset.init_seq_order(epoch=1)
    dataset.load_seqs(0, 1)
    data = dataset.get_data(0, "data")
    first = time.perf_counter()
    index = 1
    while dataset.is_less_than_num_seqs(index):
        dataset.load_seqs(index, index + 1)
        data = dataset.get_data(index, "data")
        index += 1
        if index % 512 == 0:
            assert np.array_equal(data, expected)
    end = time.perf_counter()
    assert np.array_equal(data, expected)
    assert data.dtype == np.float32
    if side == "ours":
        dataset.close()
    return {"first": first - begin, "rest": end - first, "count": index}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["ours", "returnn"])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = str(ROOT)
    # RETURNN's end of the pipe, in the stand-in too, prints much to stdout
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module = "returnn.datasets.sprint" if args.side == "returnn" else "sprint_ctl.dataset"
    importlib.import_module(module)  # before the clock starts
    answers.write(json.dumps(read_epoch(args.side, args.corpus, (args.frames, args.dim))) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
