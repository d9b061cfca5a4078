"""Open files: one budget for all archives of the process, whatever is read how and by whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracle import builder
from tests.paths import ROOT

LIMIT = 64
NUM_FILES = 300


@pytest.fixture
def files(scratch: Path) -> Path:
    """Archives with one entry, which says their number; a directory archive; bundles of all."""
    for number in range(NUM_FILES):
        data = builder.archive([(f"s{number}", builder.features([[float(number)] * 3] * 2))])
        (scratch / f"{number}.cache").write_bytes(data)
        folder = scratch / f"folder{number}"
        folder.mkdir()
        (folder / f"f{number}").write_bytes(str(number).encode())
    names = [f"{number}.cache\n" for number in range(NUM_FILES)]
    (scratch / "all.bundle").write_text("".join(names))
    (scratch / "folders.bundle").write_text("".join(f"folder{n}\n" for n in range(NUM_FILES)))
    return scratch


def run(folder: Path, code: str) -> None:
    """Runs code in a process that may open few files."""
    start = f"""
import os, random, resource, threading
import numpy as np
from sprintcache import open_archive
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
NUM_FILES = {NUM_FILES}
def num_open():
    return len(os.listdir("/proc/self/fd"))
"""
    command = [sys.executable, "-c", start + code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


def test_many_archives_and_bundles_at_once(files: Path) -> None:
    """More archives than the limit, and again as members of two bundles."""
    run(
        files,
        """
archives = [open_archive(f"{n}.cache", "pread") for n in range(NUM_FILES)]
bundles = [open_archive("all.bundle", "pread") for _ in range(2)]
folders = open_archive("folders.bundle")
for n in random.Random(1).sample(range(NUM_FILES), NUM_FILES):
    for archive in (archives[n], *bundles):
        assert archive.read_features(f"s{n}").tolist() == [[n] * 3] * 2
        assert archive.num_frames(f"s{n}") == 2
    assert folders.read_bytes(f"f{n}") == str(n).encode()
    assert num_open() <= 48
names = [f"s{n}" for n in range(NUM_FILES)]
batch, lengths = bundles[0].read_features_batch(names, num_threads=4)
assert batch[:, 0, 0].tolist() == list(range(NUM_FILES))
passes = [archive.iter_features() for archive in archives]
for n, one in enumerate(passes):
    assert next(one)[1][0, 0] == n
assert [float(f[0, 0]) for _, f in bundles[1].iter_features()] == list(range(NUM_FILES))
for archive in (*archives, *bundles, folders):
    archive.close()
assert num_open() < 12
""",
    )


def test_the_rest_of_the_program_gets_files_when_it_needs_them(files: Path) -> None:
    """The program opens all that is left; reading goes on with what the archives have."""
    run(
        files,
        """
bundle = open_archive("all.bundle", "pread")
for n in range(NUM_FILES):
    bundle.read_features(f"s{n}")
others = []
try:
    while True:
        others.append(open("all.bundle"))
except OSError:
    pass
assert len(others) >= 20
for n in range(NUM_FILES):
    assert bundle.read_features(f"s{n}")[0, 0] == n
""",
    )


def test_the_least_recently_used_file_is_closed(files: Path) -> None:
    run(
        files,
        """
bundle = open_archive("all.bundle", "pread")
def is_open(number):
    paths = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return any(path.endswith(f"/{number}.cache") for path in paths)
for n in range(1, 200):
    bundle.read_features("s0")
    bundle.read_features(f"s{n}")
assert is_open(0) and is_open(199) and not is_open(100)
""",
    )


def test_threads_and_a_fork_while_files_are_closed(files: Path) -> None:
    run(
        files,
        """
bundle = open_archive("all.bundle", "pread")
errors = []
def read(seed):
    rng = random.Random(seed)
    try:
        for _ in range(3000):
            n = rng.randrange(NUM_FILES)
            assert bundle.read_features(f"s{n}")[0, 0] == n
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
for thread in threads:
    thread.start()
children = []
for seed in range(8, 12):
    pid = os.fork()
    if pid == 0:
        read(seed)
        os._exit(len(errors))
    children.append(pid)
for thread in threads:
    thread.join()
assert not errors, errors
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
assert num_open() <= 48
""",
    )


def test_iteration_over_mapped_files_leaves_none_open(files: Path) -> None:
    """At its end, when the iterator is dropped, and when the archive is closed before that."""
    run(
        files,
        """
bundle = open_archive("all.bundle", "mmap")
before = num_open()
iterator = bundle.iter_features()
assert [float(f[0, 0]) for _, f in iterator] == list(range(NUM_FILES))
assert num_open() == before
iterator = bundle.iter_features()
next(iterator)
assert num_open() <= before + 1
del iterator
assert num_open() == before
iterator = bundle.iter_features()
next(iterator)
bundle.close()
assert num_open() == before
del iterator
""",
    )
