"""Uses the parts that own processes, threads, descriptors and files, over and over, for a time.

    python tools/soak.py SECONDS

A round has a batch of a pool of Sprints, of which one is sometimes killed; an epoch of
ExternSprintDataset, sometimes left early; an epoch of `Loader`, sometimes left early; archives that
are written, opened, read by threads, verified and closed; automata and full sums in threads; and a
fork that reads. After each round everything is closed and the resources are counted: after the
first tenth of the time, descriptors, threads, child processes and temporary files must never
change, and the anonymous memory of the last tenth may exceed that of the second by 8 MiB at most.
Prints a row per tenth. Exit status 1: something grew.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import sprintcache  # noqa: E402
from sprint_ctl.dataset import ExternSprintDataset  # noqa: E402
from sprint_ctl.error_signals import SprintInstancePool  # noqa: E402
from sprintcache.automata import Automata  # noqa: E402
from sprintcache.torch import BatchSampler, Loader, MapDataset  # noqa: E402
from tests.sprint_ctl.sprint_data import ENVIRONMENT, SMALL, STAND_IN, resources  # noqa: E402

MAX_GROWTH_KIB = 8 << 10
TINY = ROOT / "tests" / "child_programs" / "sprint_tiny.py"
SETTLE_SECONDS = 60.0  # threads and processes that end may take as long
WAIT_SECONDS = 600.0  # for Sprints, which other work on the machine may starve


class Resources:
    """What a process has: numbers that must not grow.

    Attributes:
        fixed: descriptors, threads, child processes, files in the temporary folder.
        kib: anonymous memory; pages of files are private or not by what other processes do.
    """

    def __init__(self, folder: Path) -> None:
        gc.collect()
        descriptors, _, files, children = resources(folder)
        threads = len(os.listdir("/proc/self/task"))  # those of the core as well
        self.fixed = descriptors, threads, len(children), len(files)
        status = Path("/proc/self/status").read_text()
        self.kib = int(status.split("RssAnon:")[1].split()[0])


def use_pool(chance: random.Random) -> None:
    """A few batches; a Sprint that is killed is replaced."""
    pool = SprintInstancePool(
        {
            "sprintExecPath": [sys.executable, "-S", "-E", str(TINY)],
            "numInstances": 2,
            "start_timeout": WAIT_SECONDS,
            "request_timeout": WAIT_SECONDS,
        }
    )
    try:
        for number in range(3):
            if chance.random() < 0.2:
                for instance in pool.instances[:1]:
                    if instance.pid is not None:
                        os.kill(instance.pid, signal.SIGKILL)
            scores = np.full((5, 4, 3), -np.log(3.0), np.float32)
            tags = [f"c/{number}-{index}" for index in range(4)]
            loss, _ = pool.get_batch_loss_and_error_signal(scores, np.array([5, 3, 1, 2]), tags)
            if loss.tolist() != [5, 3, 1, 2]:
                raise AssertionError(f"losses {loss}")
    finally:
        pool.close()


def use_sprint_dataset(chance: random.Random) -> None:
    """Two epochs of a Sprint process."""
    dataset = ExternSprintDataset(
        STAND_IN, SMALL, start_timeout=WAIT_SECONDS, data_timeout=WAIT_SECONDS
    )
    try:
        for epoch in (1, 2):
            dataset.init_seq_order(epoch)
            if chance.random() < 0.3:
                dataset.load_seqs(0, 3)
                continue
            num_seqs = len(list(dataset.iter_seqs()))
            if num_seqs != 24:
                raise AssertionError(f"{num_seqs} sequences")
    finally:
        dataset.close()


def use_archives(folder: Path, chance: random.Random) -> None:
    """Writes, reads by a loader, by threads and in a fork, verifies."""
    path = folder / "features.cache"
    with sprintcache.ArchiveWriter(path, "w") as writer:
        for seq in range(40):
            writer.add_features(f"s/{seq}", np.full((200 + seq, 40), seq, np.float32))
    dataset = sprintcache.SprintCacheDataset(
        {"data": {"filename": path}}, seq_ordering="random", fixed_random_seed=chance.randrange(99)
    )
    with Loader(
        MapDataset(dataset), BatchSampler(dataset, max_frames=1000), num_threads=2
    ) as loader:
        for batch in loader:
            if chance.random() < 0.05:
                break
            del batch
    dataset.close()
    with sprintcache.open_archive(path, chance.choice(["mmap", "pread"])) as archive:
        batch, _ = archive.read_features_batch(archive.segments, num_threads=4)
        if batch[7, 0, 0] != 7:
            raise AssertionError("another batch")
        child = os.fork()
        if not child:
            os._exit(0 if archive.read_features("s/3")[0, 0] == 3 else 1)
        if os.waitpid(child, 0)[1]:
            raise AssertionError("a fork could not read")
    if not sprintcache.verify(path).ok:
        raise AssertionError("verify")
    path.unlink()


def use_automata() -> None:
    """Chains of three labels, by two threads."""
    edges = [
        (3 * b + b + t, 3 * b + b + t + h, t, b)
        for b in range(64)
        for t in range(3)
        for h in (0, 1)
    ]
    start_end = [(4 * b, 4 * b + 3) for b in range(64)]
    automata = Automata.from_edges(np.array(edges).T, np.zeros(len(edges)), np.array(start_end).T)
    scores = np.full((50, 64, 3), -1.0, np.float32)
    loss = automata.full_sum(scores, np.full(64, 50), num_threads=2).loss
    expected = 50 - np.log(49 * 48 / 2)
    if not np.allclose(loss, expected):
        raise AssertionError(f"losses {loss[:2]}, not {expected}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(seconds: float, folder: Path) -> bool:
    """Whether nothing grew."""
    begin = time.monotonic()
    chance = random.Random(0)
    expected: tuple[int, ...] | None = None
    sizes: list[list[int]] = [[] for _ in range(10)]
    num_rounds = 0
    say("     s  rounds  descriptors  threads  processes  files    own KiB")
    shown = 0
    while (elapsed := time.monotonic() - begin) < seconds:
        use_pool(chance)
        use_sprint_dataset(chance)
        use_archives(folder, chance)
        use_automata()
        num_rounds += 1
        current = Resources(folder)
        tenth = min(int(10 * elapsed / seconds), 9)
        deadline = time.monotonic() + SETTLE_SECONDS
        while expected is not None and current.fixed != expected and time.monotonic() < deadline:
            time.sleep(0.05)
            current = Resources(folder)
        sizes[tenth].append(current.kib)
        if tenth >= 1 and expected is None:
            expected = current.fixed
        if tenth >= shown or (expected is not None and current.fixed != expected):
            row = elapsed, num_rounds, *current.fixed, current.kib
            say("{:6.0f}  {:6}  {:11}  {:7}  {:9}  {:5}  {:11}".format(*row))
            shown = tenth + 1
        if expected is not None and current.fixed != expected:
            say(f"grew from {expected}: {[thread.name for thread in threading.enumerate()]}")
            return False
    growth = max(sizes[9], default=0) - max(sizes[1] or sizes[9], default=0)
    say(f"{num_rounds} rounds; its memory grew by {growth} KiB")
    return growth <= MAX_GROWTH_KIB


def main() -> int:
    os.environ.update(ENVIRONMENT)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        return 0 if run(float(sys.argv[1]), Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
