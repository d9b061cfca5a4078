"""Threads, processes, and what is left when an archive was closed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprintcache import (
    AllophoneLabeling,
    Archive,
    ArchiveChangedError,
    ClosedArchiveError,
    FormatError,
    open_archive,
)
from tests.oracle import builder
from tests.oracle.compare import IOS, Labeling
from tests.resources import descriptors

KINDS = ("plain", "gz", "bundle", "directory")
ways = pytest.mark.parametrize(("kind", "io"), list(product(KINDS, IOS)))

COUNT = 24
ROWS = {f"f{at}": np.full((at * 37 % 200 + 1, 16), at, np.float32) for at in range(COUNT)}
LABELS = {f"l{at}": [0, 7, 7] * (at + 1) for at in range(COUNT)}


def payload_of(name: str) -> bytes:
    if name in ROWS:
        return builder.features(ROWS[name].tolist(), gather=50)
    ids = [0 if label == 0 else 1 | 2 << 26 for label in LABELS[name]]
    alphabet = {0: b"sil{#+#}@i@f.0", 1 | 2 << 26: b"a{b+c}@i.2"}
    packet = builder.alignment_rle(list(enumerate(ids)), magic=b"AALPHRLE", alphabet=alphabet)
    return builder.alignment_entry(packet)


PAYLOADS = {name: payload_of(name) for name in (*ROWS, *LABELS)}


def write(folder: Path, kind: str) -> Path:
    entries = list(PAYLOADS.items())
    if kind == "bundle":
        for part in range(3):
            data = builder.archive(entries[part::3], compress=part == 1)
            (folder / f"{part}.cache").write_bytes(data)
        (folder / "x.bundle").write_text("0.cache 1.cache 2.cache")
        return folder / "x.bundle"
    if kind == "directory":
        (folder / "archive").mkdir()
        for name, payload in entries:
            (folder / "archive" / name).write_bytes(payload)
        return folder / "archive"
    (folder / "x.cache").write_bytes(builder.archive(entries, compress=kind == "gz"))
    return folder / "x.cache"


@pytest.fixture(scope="module")
def labeling(tmp_path_factory: pytest.TempPathFactory) -> AllophoneLabeling:
    return Labeling.write(
        tmp_path_factory.mktemp("labeling"),
        ["sil{#+#}@i@f", "a{b+c}@i"],
        {"sil{#+#}@i@f.0": 0, "a{b+c}@i.2": 7},
    ).ours


@pytest.fixture
def busy_interpreter() -> Iterator[None]:
    """Threads take turns a thousand times more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


def random_read(archive: Archive, labeling: AllophoneLabeling, dice: random.Random) -> None:
    """One of the ways to read, of some entry; an AssertionError where the data is not right."""
    row, label = f"f{dice.randrange(COUNT)}", f"l{dice.randrange(COUNT)}"
    rows, labels = ROWS[row], LABELS[label]
    what = dice.randrange(10)
    if what == 0:
        assert np.array_equal(archive.read_features(row), rows)
    elif what == 1:
        assert archive.read_labels(label, labeling).tolist() == labels
    elif what == 2:
        assert archive.read_bytes(row) == PAYLOADS[row]
    elif what == 3:
        assert len(archive.read_alignment(label)) == archive.num_frames(label) == len(labels)
    elif what == 4:
        blocks = archive.read_blocks(row)
        assert np.array_equal(np.concatenate([block.data for block in blocks]), rows)
    elif what == 5:
        batch, lengths = archive.read_features_batch([row, "f3", row], num_threads=2)
        assert lengths.tolist() == [len(rows), len(ROWS["f3"]), len(rows)]
        assert np.array_equal(batch[2, : len(rows)], rows)
    elif what == 6:
        batch, _ = archive.read_labels_batch([label], labeling)
        assert batch.tolist() == [labels]
    elif what == 7:
        assert row in archive
        assert archive.entry(row).size == len(PAYLOADS[row])
        assert "absent" not in archive
        assert len(archive) == len(PAYLOADS)
    elif what == 8:
        assert sorted(archive) == sorted(PAYLOADS)
        assert sorted(archive.segments) == sorted(PAYLOADS)
    else:
        assert len(archive.read_times(row)) == len(rows)


def run_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs work(number) in threads that start together; raises what one of them raised."""
    start = threading.Barrier(count)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# ---- threads ---------------------------------------------------------------------------------


@ways
@pytest.mark.usefixtures("busy_interpreter")
def test_eight_threads_read_what_one_does(
    scratch: Path, labeling: AllophoneLabeling, kind: str, io: str
) -> None:
    with open_archive(write(scratch, kind), io) as archive:

        def work(number: int) -> None:
            dice = random.Random(number)
            for _ in range(150):
                random_read(archive, labeling, dice)

        run_threads(8, work)


@ways
@pytest.mark.usefixtures("busy_interpreter")
def test_close_while_reads_are_under_way(
    scratch: Path, labeling: AllophoneLabeling, kind: str, io: str
) -> None:
    """Every read gives its data or ClosedArchiveError; the files are let go of at the end."""
    path = write(scratch, kind)
    done = [0] * 5
    for round_ in range(40):
        archive = open_archive(path, io)

        def read(number: int, archive: Archive = archive) -> None:
            dice = random.Random(number)
            while True:
                try:
                    random_read(archive, labeling, dice)
                except ClosedArchiveError:
                    return
                done[number] += 1

        def work(number: int, archive: Archive = archive, round_: int = round_) -> None:
            if number < 4:
                read(number)
            else:
                time.sleep(round_ % 10 * 2e-4)
                archive.close()

        run_threads(5, work)
        assert archive.is_closed
        assert not open_files(scratch)
        assert not mapped_files(scratch)
    assert sum(done) > 40


@pytest.mark.usefixtures("busy_interpreter")
@pytest.mark.parametrize("io", IOS)
def test_passes_end_when_the_archive_is_closed(scratch: Path, io: str) -> None:
    path = write(scratch, "plain")
    for round_ in range(20):
        archive = open_archive(path, io)
        items = with_features(archive)
        name, rows = next(items)
        assert np.array_equal(rows, ROWS[name])

        def work(number: int, archive: Archive = archive, round_: int = round_) -> None:
            if number == 3:
                time.sleep(round_ * 1e-4)
                archive.close()
                return
            with pytest.raises(ClosedArchiveError):
                read_over_and_over(archive)

        run_threads(4, work)
        with pytest.raises(ClosedArchiveError):
            next(items)


def read_over_and_over(archive: Archive) -> None:
    while True:
        for name, rows in with_features(archive):
            assert np.array_equal(rows, ROWS[name])


def with_features(archive: Archive) -> Iterator[tuple[str, Any]]:
    """A pass over the entries with features, which come first in the file."""
    items = archive.iter_features(prefetch=1000)
    return (next(items) for _ in range(COUNT))


def test_one_pass_for_several_threads(scratch: Path) -> None:
    """Each item goes to one of them."""
    with open_archive(write(scratch, "plain")) as archive:
        items = archive.iter_features()
        lock, actual = threading.Lock(), []

        def work(_number: int) -> None:
            for _ in range(COUNT // 4):
                with lock:
                    name, rows = next(items)
                assert np.array_equal(rows, ROWS[name])
                actual.append(name)

        run_threads(4, work)
        assert sorted(actual) == sorted(ROWS)


# ---- closed archives -------------------------------------------------------------------------


def calls(archive: Archive, labeling: AllophoneLabeling) -> dict[str, Callable[[], object]]:
    """Everything that needs the files or their index."""
    return {
        "len": lambda: len(archive),
        "in": lambda: "f0" in archive,
        "iter": lambda: list(archive),
        "segments": lambda: list(archive.segments),
        "entry": lambda: archive.entry("f0"),
        "io": lambda: archive.io,
        "read": lambda: archive.read("f0"),
        "bytes": lambda: archive.read_bytes("f0"),
        "text": lambda: archive.read_text("f0"),
        "blocks": lambda: archive.read_blocks("f0"),
        "features": lambda: archive.read_features("f0"),
        "times": lambda: archive.read_times("f0"),
        "attributes": lambda: archive.read_attributes("f0"),
        "alignment": lambda: archive.read_alignment("l0"),
        "labels": lambda: archive.read_labels("l0", labeling),
        "mapped": lambda: archive.read_labels("l0", labeling, "map"),
        "frames": lambda: archive.num_frames("f0"),
        "all frames": lambda: archive.num_frames_all(),
        "batch": lambda: archive.read_features_batch(["f0"]),
        "empty batch": lambda: archive.read_features_batch([]),
        "label batch": lambda: archive.read_labels_batch(["l0"], labeling),
        "mapped batch": lambda: archive.read_labels_batch(
            ["l0"], labeling, on_alphabet_mismatch="map"
        ),
        "pass": lambda: list(archive.iter_features()),
        "label pass": lambda: list(archive.iter_labels(labeling)),
        "unchanged": lambda: archive.check_unchanged(),
    }


@ways
def test_nothing_can_be_read_after_close(
    scratch: Path, labeling: AllophoneLabeling, kind: str, io: str
) -> None:
    with open_archive(write(scratch, kind), io) as archive:
        assert not archive.is_closed
        assert repr(archive).startswith(f"<Archive {archive.path}, {len(archive)} entries")
    assert archive.is_closed
    assert repr(archive) == f"<Archive {archive.path}, closed>"
    archive.close()
    for what, call in calls(archive, labeling).items():
        with pytest.raises(ClosedArchiveError) as caught:
            call()
        assert caught.value.path == archive.path, what
    assert archive.scan_report is None


def open_files(folder: Path) -> list[str]:
    """Descriptors of this process below a folder."""
    actual = []
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the listing's own
            continue
        if path.startswith(str(folder)):
            actual.append(path)
    return actual


def mapped_files(folder: Path) -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line]


@ways
def test_nothing_is_left_open(
    scratch: Path, labeling: AllophoneLabeling, kind: str, io: str
) -> None:
    path = write(scratch, kind)
    for end in ("close", "forget", "forget in a circle"):
        archive = open_archive(path, io)
        array = archive.read_features("f1")
        items = archive.iter_features()
        list(zip(range(3), items, strict=False))
        if kind == "plain":
            list(with_features(archive))
        assert open_files(scratch) or mapped_files(scratch)
        reference = weakref.ref(archive)
        del items  # the iterator keeps the reader
        if end == "close":
            archive.close()
        elif end == "forget in a circle":
            archive.circle = archive  # type: ignore[attr-defined]
        if end != "close":
            del archive
            gc.collect()
            assert reference() is None
        assert not open_files(scratch)
        assert not mapped_files(scratch)
        assert np.array_equal(array, ROWS["f1"])  # arrays are copies


def test_what_could_not_be_opened_is_let_go_of(scratch: Path) -> None:
    (scratch / "text").write_text("this is no archive")
    (scratch / "short").write_text("SP")
    write(scratch, "plain")
    (scratch / "x.bundle").write_text("x.cache text")
    before = descriptors()
    for path, io in product(("text", "short", "x.bundle"), IOS):
        for _ in range(20):
            with pytest.raises(FormatError):
                open_archive(scratch / path, io)
    assert descriptors() == before
    assert not mapped_files(scratch)


# ---- processes -------------------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> int:
    """Exit status of a forked child that does this; 1 where it raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run: on purpose
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@ways
def test_a_forked_child_reads_too(
    scratch: Path, labeling: AllophoneLabeling, kind: str, io: str
) -> None:
    """Also while other threads of the parent are reading, and both at once."""
    with open_archive(write(scratch, kind), io) as archive:
        stop = threading.Event()
        reads = [0, 0]

        def read_on(number: int) -> None:
            dice = random.Random(number)
            while not stop.is_set():
                random_read(archive, labeling, dice)
                reads[number] += 1

        def child() -> None:
            dice = random.Random(7)
            for _ in range(60):
                random_read(archive, labeling, dice)
            archive.close()

        def fork_often() -> None:
            try:
                assert [in_child(child) for _ in range(5)] == [0] * 5
            finally:
                stop.set()

        run_threads(3, lambda number: fork_often() if number == 2 else read_on(number))
        assert min(reads) > 0
        assert np.array_equal(archive.read_features("f1"), ROWS["f1"])


def read_in_process(archive: Archive, name: str) -> tuple[str, int, list[list[float]]]:
    return archive.io, os.getpid(), archive.read_features(name).tolist()


def test_an_archive_goes_to_a_new_process(scratch: Path) -> None:
    """Pickled by its path, with the way it is read."""
    archives = []
    for kind, io in product(KINDS, IOS):
        (scratch / kind / io).mkdir(parents=True)
        archives.append(open_archive(write(scratch / kind / io, kind), io))
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        actual = pool.starmap(read_in_process, [(archive, "f5") for archive in archives])
    assert [io for io, _, _ in actual] == [archive.io for archive in archives]
    assert os.getpid() not in [pid for _, pid, _ in actual]
    for _, _, rows in actual:
        assert rows == ROWS["f5"].tolist()
    for archive in archives:
        archive.close()


@ways
def test_pickles(scratch: Path, kind: str, io: str) -> None:
    with open_archive(write(scratch, kind), io) as archive:
        data = pickle.dumps(archive)
        assert len(data) < 2000
        again = pickle.loads(data)
        assert (again.path, again.io, list(again)) == (archive.path, archive.io, list(archive))
        assert again is not archive
        again.close()
        assert np.array_equal(archive.read_features("f1"), ROWS["f1"])


@pytest.mark.parametrize("kind", ["plain", "bundle"])
@pytest.mark.parametrize("io", IOS)
def test_a_pickle_of_a_file_that_changed(scratch: Path, kind: str, io: str) -> None:
    with open_archive(write(scratch, kind), io) as archive:
        data = pickle.dumps(archive)
        path = archive.source_paths[-1]
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    with pytest.raises(ArchiveChangedError) as caught:
        pickle.loads(data)
    assert caught.value.path == path
    if kind == "bundle":
        (scratch / "x.bundle").write_text("0.cache 1.cache")
        with pytest.raises(ArchiveChangedError, match="different archives"):
            pickle.loads(data)
    os.unlink(path)
    if kind == "plain":
        with pytest.raises((ArchiveChangedError, FileNotFoundError)):
            pickle.loads(data)


def test_a_data_loader_with_workers(scratch: Path) -> None:
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    with open_archive(write(scratch, "plain")) as archive:

        class Rows(data.Dataset):  # type: ignore[misc, name-defined]
            def __len__(self) -> int:
                return COUNT

            def __getitem__(self, at: int) -> tuple[int, Any]:
                return at, archive.read_features(f"f{at}")

        loader = data.DataLoader(Rows(), batch_size=None, num_workers=2)
        actual = {int(at): np.asarray(rows) for at, rows in loader}
    assert len(actual) == COUNT
    assert all(np.array_equal(rows, ROWS[f"f{at}"]) for at, rows in actual.items())


def test_an_interrupted_batch_can_be_read_again(scratch: Path) -> None:
    """A signal arrives between entries; Python's handler runs when the batch is done."""
    caught = []
    usual = signal.signal(signal.SIGALRM, lambda *_: caught.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        with open_archive(write(scratch, "gz"), "pread") as archive:
            while len(caught) < 20:
                batch, _ = archive.read_features_batch(list(ROWS), num_threads=2)
                assert np.array_equal(batch[:, 0, 0], np.arange(COUNT))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads by /proc")
def test_batches_in_threads_while_the_process_forks(tmp_path: Path) -> None:
    (tmp_path / "x.cache").write_bytes(builder.archive(list(PAYLOADS.items())[:COUNT]))
    program = Path(__file__).parents[1] / "child_programs" / "pool_and_forks.py"
    command = [sys.executable, program, tmp_path / "x.cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
