"""Reads, batches, passes and close in many threads, for the thread sanitizer.

    make threads

The compiled reader is built with the sanitizer (fuzz/build.py thread); its report goes to stderr
and ends the process with status 66. Every result is compared with what was written.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import product
from pathlib import Path

from loading import load_reader

NUM_THREADS = 6
ROUNDS = 4


def read_and_close(path: Path, io: str, labeling: object, seed: int) -> int:
    """Opens an archive, reads it in threads, and closes it under them; returns the reads."""
    from sprintcache import ClosedArchiveError, open_archive
    from tests.sprintcache.test_concurrency import random_read, with_features

    archive = open_archive(path, io)
    counts = [0] * NUM_THREADS
    errors: list[BaseException] = []
    start = threading.Barrier(NUM_THREADS + 1)

    def work(index: int) -> None:
        dice = random.Random(f"{seed} {index}")
        start.wait(60)
        with suppress(ClosedArchiveError):
            while True:
                random_read(archive, labeling, dice)
                if dice.random() < 0.05 and path.is_file() and path.suffix == ".cache":
                    for _ in with_features(archive):
                        counts[index] += 1
                counts[index] += 1

    def guarded(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(NUM_THREADS)]
    for thread in threads:
        thread.start()
    start.wait(60)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline and sum(counts) < 3000:
        threads[0].join(0.05)
    archive.close()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    return sum(counts)


def main() -> None:
    """All kinds of archives, both ways to read them."""
    load_reader("thread")
    from tests.oracle.compare import IOS, Labeling
    from tests.sprintcache.test_concurrency import KINDS, write

    sys.setswitchinterval(1e-5)
    total = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labeling = Labeling.write(
            folder,
            ["sil{#+#}@i@f", "a{b+c}@i"],
            {"sil{#+#}@i@f.0": 0, "a{b+c}@i.2": 7},
        ).ours
        for kind, io in product(KINDS, IOS):
            subfolder = folder / f"{kind} {io}"
            subfolder.mkdir()
            path = write(subfolder, kind)
            for seed in range(ROUNDS):
                total += read_and_close(path, io, labeling, seed)
    sys.stdout.write(f"threads: {total} reads of {len(KINDS)} kinds of archives\n")


if __name__ == "__main__":
    main()
