"""Audio files of a Bliss corpus: batches of segments against soundfile's own reading, warm.

Wav files of 3 to 15 seconds, 16 kHz, 16 bits, a segment each. "soundfile" opens each file and reads
it into a row of one reused array, and clears the rest of the row as a batch does; "soundfile.read"
returns new arrays, without padding. Batches are 16 files in random order, float32.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Order, Peer, Report, Run, measure

RATE = 16_000
BATCH = 16


def write_corpus(folder: Path, count: int, seed: int) -> tuple[Path, list[np.ndarray]]:
    """Files of noise, and the corpus that names them."""
    import soundfile

    rng = np.random.default_rng(seed)
    samples = []
    corpus = folder / "corpus.xml"
    with corpus.open("w") as file:
        file.write('<corpus name="c">')
        for number in range(count):
            size = int(rng.integers(3 * RATE, 15 * RATE))
            samples.append(rng.integers(-(1 << 14), 1 << 14, size, np.int16))
            soundfile.write(folder / f"{number}.wav", samples[-1], RATE)
            file.write(
                f'<recording name="r{number}" audio="{number}.wav"><segment name="1"/></recording>'
            )
        file.write("</corpus>")
    return corpus, samples


def batches(order: Order) -> list[list[int]]:
    items = iter(order)
    return list(iter(lambda: list(islice(items, BATCH)), []))


def peers(module: Any, folder: Path, corpus: Path, samples: list[np.ndarray]) -> list[Peer]:
    import soundfile

    from sprintcache.dataset import BatchBuffers

    dataset = module.SprintCacheDataset({"data": {"type": "audio", "filename": str(corpus)}})
    lengths = dataset.get_lengths()
    buffers = BatchBuffers()
    memory = np.zeros((BATCH, lengths.max()), np.float32)
    paths = [str(folder / f"{number}.wav") for number in range(len(samples))]

    def ours(seqs: list[int], threads: int = 1) -> Any:
        return dataset.read_batch(seqs, buffers=buffers, num_threads=threads)["data"][0]

    def into(seqs: list[int]) -> Any:
        longest = lengths[seqs].max()
        for row, seq in zip(memory, seqs, strict=False):
            with soundfile.SoundFile(paths[seq]) as file:
                file.read(out=row[: lengths[seq]], dtype="float32")
            row[lengths[seq] : longest] = 0
        return memory[: len(seqs), :longest]

    def new(seqs: list[int]) -> Any:
        return [soundfile.read(paths[seq], dtype="float32")[0] for seq in seqs]

    readers: dict[str, Callable[[list[int]], Any]] = {
        "soundfile": into,
        "soundfile.read": new,
        "ours, 1 thread": ours,
        "ours, 2 threads": lambda seqs: ours(seqs, 2),
    }
    for name, read in readers.items():
        for seqs in batches(list(range(len(samples)))):
            for row, seq in zip(read(seqs), seqs, strict=True):
                expected = samples[seq] / np.float32(1 << 15)
                harness.check_equal(name, paths[seq], row[: len(expected)], expected)

    def peer(name: str, read: Callable[[list[int]], Any]) -> Peer:
        def plan(order: Order) -> Run:
            groups = batches(order)

            def run() -> None:
                for seqs in groups:
                    read(seqs)

            return run

        return Peer(name, plan)

    return [peer(name, read) for name, read in readers.items()]


def main() -> None:
    args = harness.parser(__doc__).parse_args()
    module = harness.ours(args)
    report = Report("bench_audio", args, module)
    if module is not None and harness.optional("soundfile") is not None:
        with harness.workspace(args) as folder:
            corpus, samples = write_corpus(folder, 48 if args.quick else 400, args.seed)
            lengths = np.array([len(row) for row in samples])
            report.say(f"{len(samples)} files, {lengths.sum() / RATE / 60:.0f} minutes")
            rounds = args.rounds or (3 if args.quick else 15)
            contestants = peers(module, folder, corpus, samples)
            timings = measure(contestants, lengths, rounds, args.seed)
            report.timings("batches of 16 segments", timings, "soundfile", 4)
            speed = 1 / timings["ours, 1 thread"].ratio(timings["soundfile"])
            report.figure(
                "audio_files",
                "audio files in batches, 1 thread",
                ">= 0.9 x the speed of soundfile",
                speed,
                speed >= 0.9,
                " x",
            )
    report.finish()


if __name__ == "__main__":
    main()
