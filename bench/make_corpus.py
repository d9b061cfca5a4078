"""Writes a corpus like a real one at any size: bundles of archives of alignments and features.

The segments are turns of recorded conversations, named corpus/recording/recording-begin-end, with
log-normal lengths of 2.4 seconds on average. Features are 16-dimensional, with ``.attribs``, 20 kB
a segment, in the archives of parallel jobs. One segment in a thousand has no alignment.

Alignments are true bytes, features true or sparse. In a sparse archive, table, heads, end tags and
attributes are true and the frames are holes, but for those of the first segment, whose dimension is
read: a segment takes a block or two of the disk.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from make_data import (
    ArchiveFile,
    Inventory,
    alignment_payload,
    attribs_payload,
    feature_payload,
    frame_dtype,
    make_alignment,
    make_inventory,
    write_bundle,
    write_inventory,
)

Features = Literal["no", "sparse", "true"]

DIM = 16
MEAN_FRAMES = 240
SIGMA = 0.9  # of the logarithm of a length
SHORTEST, LONGEST = 10, 3000  # frames
TURNS = 100  # segments of a recording
NOT_ALIGNED = 1000  # one segment in that many has no alignment


def segments(count: int, archives: int, archive: int, seed: int) -> Iterator[tuple[str, int]]:
    """Names and frames of the segments of one of the archives, in corpus order."""
    first, stop = (number * count // archives for number in (archive, archive + 1))
    rng = np.random.default_rng((seed, archive))
    mean = np.log(MEAN_FRAMES) - SIGMA**2 / 2
    lengths = np.exp(rng.normal(mean, SIGMA, stop - first)).clip(SHORTEST, LONGEST)
    pauses = rng.integers(20, 500, stop - first)
    begin = 0
    for number, length, pause in zip(
        range(first, stop), lengths.astype(np.int64).tolist(), pauses.tolist(), strict=True
    ):
        side, turn = divmod(number, TURNS)
        begin = pause if turn == 0 else begin + pause
        recording = f"cv{side // 2:05d}-{'AB'[side % 2]}"
        yield (
            f"conversations/{recording}/{recording}-{begin:06d}-{begin + length:06d}",
            length,
        )
        begin += length


def write_corpus(
    folder: Path, count: int, archives: int, seed: int, kind: Features, processes: int
) -> int:
    """Writes bundles, allophones and tying; returns the number of frames of the alignments."""
    write_inventory(_inventory(seed), folder / "allophones", folder / "tying")
    for name in ("alignment",) if kind == "no" else ("alignment", "features"):
        paths = [folder / f"{name}.cache.{number + 1}" for number in range(archives)]
        write_bundle(folder / f"{name}.bundle", paths)
    write = functools.partial(_write_archives, folder, count, archives, seed, kind)
    with ProcessPoolExecutor(processes) as pool:
        return sum(pool.map(write, range(archives)))


def _write_archives(
    folder: Path, count: int, archives: int, seed: int, kind: Features, archive: int
) -> int:
    """Writes one archive of alignments and one of features; returns the number of frames."""
    part = list(segments(count, archives, archive, seed))
    first = archive * count // archives
    total = 0
    with ArchiveFile(folder / f"alignment.cache.{archive + 1}") as alignments:
        for number, (name, frames) in enumerate(part, first + 1):
            if number % NOT_ALIGNED:
                alignments.add(name, _alignment(frames, seed))
                total += frames
    if kind == "no":
        return total
    payload = _longest_features()
    frame_bytes = frame_dtype(DIM).itemsize
    with ArchiveFile(folder / f"features.cache.{archive + 1}") as features:
        for name, frames in part:
            features.add(f"{name}.attribs", attribs_payload(DIM, frames * 0.01))
            head = payload[:14] + struct.pack("<I", frames)
            size = len(head) + frames * frame_bytes
            if kind == "sparse" and name != part[0][0]:
                features.add_sparse(name, head + struct.pack("<I", DIM), size)
            else:
                features.add(name, head + payload[len(head) : size])
    return total


@functools.cache
def _longest_features() -> bytes:
    rng = np.random.default_rng(0)
    return feature_payload(rng.standard_normal((LONGEST, DIM), dtype=np.float32))


@functools.cache
def _inventory(seed: int) -> Inventory:
    return make_inventory(300, seed)


@functools.cache
def _alignment(frames: int, seed: int) -> bytes:
    ids = make_alignment(_inventory(seed), frames, np.random.default_rng(frames))
    return alignment_payload(ids)
