"""Another process changes, replaces or removes a file that is open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sprintcache import AllophoneLabeling, Archive, ArchiveChangedError, open_archive
from tests.oracle import builder
from tests.oracle.compare import IOS, Labeling

ROWS = [[1.0, 2.0], [3.0, 4.0]]
OTHER = [[5.0, 6.0], [7.0, 8.0]]


def data_of(rows: list[list[float]], name: str = "") -> bytes:
    alignment = builder.alignment_entry(builder.alignment_rle([(0, 0), (1, 0)]))
    entries = [
        (f"f{name}.attribs", builder.attribs({"datatype": "vector-f32"})),
        (f"f{name}", builder.features(rows)),
        (f"l{name}", alignment),
    ]
    return builder.archive(entries)


@pytest.fixture
def labeling(tmp_path: Path) -> AllophoneLabeling:
    return Labeling.write(tmp_path, ["sil{#+#}@i@f"], {"sil{#+#}@i@f.0": 3}).ours


def touch(path: Path) -> None:
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))


def append(path: Path) -> None:
    before = os.stat(path).st_mtime_ns
    with open(path, "ab") as file:
        file.write(b"more")
    os.utime(path, ns=(0, before))


def rewrite(path: Path) -> None:
    """Other data of the same size, and another time."""
    with open(path, "r+b") as file:
        file.write(data_of(OTHER))
    touch(path)


def replace(path: Path) -> None:
    """Another file of the same size and time in its place."""
    before = os.stat(path).st_mtime_ns
    path.with_suffix(".new").write_bytes(data_of(OTHER))
    os.utime(path.with_suffix(".new"), ns=(0, before))
    os.replace(path.with_suffix(".new"), path)


def cut(path: Path) -> None:
    os.truncate(path, 20)


CHANGES: dict[str, Callable[[Path], None]] = {
    "time": touch,
    "size": append,
    "content": rewrite,
    "inode": replace,
    "removed": os.unlink,
    "renamed": lambda path: path.rename(path.with_suffix(".old")),
    "a folder": lambda path: (path.unlink(), path.mkdir())[1],
    "cut": cut,
}
READS: dict[str, Callable[[Archive, AllophoneLabeling], object]] = {
    "read": lambda a, _: a.read("f"),
    "bytes": lambda a, _: a.read_bytes("f"),
    "text": lambda a, _: a.read_text("f"),
    "blocks": lambda a, _: a.read_blocks("f"),
    "features": lambda a, _: a.read_features("f"),
    "times": lambda a, _: a.read_times("f"),
    "attributes": lambda a, _: a.read_attributes("f"),
    "frames": lambda a, _: a.num_frames("f"),
    "alignment": lambda a, _: a.read_alignment("l"),
    "labels": lambda a, labeling: a.read_labels("l", labeling),
    "mapped labels": lambda a, labeling: a.read_labels("l", labeling, "map"),
}
BATCHES: dict[str, Callable[[Archive, AllophoneLabeling], object]] = {
    "check": lambda a, _: a.check_unchanged(),
    "batch": lambda a, _: a.read_features_batch(["f"]),
    "batch, two threads": lambda a, _: a.read_features_batch(["f"] * 9, num_threads=2),
    "label batch": lambda a, labeling: a.read_labels_batch(["l"], labeling),
    "mapped batch": lambda a, labeling: a.read_labels_batch(
        ["l"], labeling, on_alphabet_mismatch="map"
    ),
    "all frames": lambda a, _: a.num_frames_all(),
}
PASSES: dict[str, Callable[[Archive, AllophoneLabeling], object]] = {
    "pass": lambda a, _: next(a.iter_features()),
    "label pass": lambda a, labeling: next(a.iter_labels(labeling)),
    "mapped pass": lambda a, labeling: next(a.iter_labels(labeling, "map")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_with_pread_the_next_read_says_so(
    scratch: Path, labeling: AllophoneLabeling, change: str
) -> None:
    path = scratch / "x.cache"
    path.write_bytes(data_of(ROWS))
    with open_archive(path, "pread") as archive:
        assert archive.read_features("f").tolist() == ROWS
        CHANGES[change](path)
        for what, read in (READS | BATCHES | PASSES).items():
            with pytest.raises(ArchiveChangedError) as caught:
                read(archive, labeling)
            assert caught.value.path == str(path), what
        assert list(archive.segments) == ["f", "l"]  # names are known
        assert archive.entry("f").size == len(builder.features(ROWS))


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "cut"])
def test_with_mmap_the_next_batch_or_pass_says_so(
    scratch: Path, labeling: AllophoneLabeling, change: str
) -> None:
    """Single reads go on with the mapping, which keeps a replaced or removed file."""
    path = scratch / "x.cache"
    path.write_bytes(data_of(ROWS))
    with open_archive(path, "mmap") as archive:
        CHANGES[change](path)
        for what, read in (BATCHES | PASSES).items():
            with pytest.raises(ArchiveChangedError) as caught:
                read(archive, labeling)
            assert caught.value.path == str(path), what
        for read in READS.values():
            read(archive, labeling)
        rows = OTHER if change == "content" else ROWS
        assert archive.read_features("f").tolist() == rows


@pytest.mark.parametrize("io", IOS)
def test_a_file_that_is_itself_again(scratch: Path, labeling: AllophoneLabeling, io: str) -> None:
    path = scratch / "x.cache"
    path.write_bytes(data_of(ROWS))
    time = os.stat(path).st_mtime_ns
    with open_archive(path, io) as archive:
        touch(path)
        with pytest.raises(ArchiveChangedError):
            archive.read_features_batch(["f"])
        os.utime(path, ns=(0, time))
        for read in (READS | BATCHES).values():
            read(archive, labeling)


@pytest.mark.parametrize("change", ["time", "content", "size", "cut"])
def test_a_pass_under_way(scratch: Path, change: str) -> None:
    """It reads ahead, so the error may come later; what it yielded until then is right."""
    path = scratch / "x.cache"
    large = builder.features([[float(at)] * 1000 for at in range(100)])
    path.write_bytes(builder.archive([(f"f{at}", large) for at in range(20)]))
    with open_archive(path, "pread") as archive:
        items = archive.iter_features()
        next(items)
        if change == "content":
            with open(path, "r+b") as file:
                file.write(bytes(path.stat().st_size))
            touch(path)
        else:
            CHANGES[change](path)
        with pytest.raises(ArchiveChangedError) as caught:
            check_all(items)
        assert caught.value.path == str(path)


def check_all(items: Iterator[tuple[str, NDArray[np.float32]]]) -> None:
    for _, rows in items:
        assert np.array_equal(rows[:, 0], np.arange(100))


def test_iteration_over_a_replaced_file_continues_with_the_old_one(scratch: Path) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive([(f"f{at}", builder.features(ROWS)) for at in range(4)]))
    with open_archive(path, "mmap") as archive:
        items = archive.iter_features()
        next(items)
        replace(path)
        assert [(name, rows.tolist()) for name, rows in items] == [
            (f"f{at}", ROWS) for at in (1, 2, 3)
        ]


@pytest.mark.parametrize("io", IOS)
def test_one_member_of_a_bundle(scratch: Path, labeling: AllophoneLabeling, io: str) -> None:
    """The others can still be read, in batches too."""
    for name in ("0", "1"):
        (scratch / f"{name}.cache").write_bytes(data_of(ROWS, name))
    (scratch / "x.bundle").write_text("0.cache 1.cache")
    with open_archive(scratch / "x.bundle", io) as archive:
        replace(scratch / "1.cache")
        batch, _ = archive.read_features_batch(["f0", "f0"])
        assert np.array_equal(batch, [ROWS, ROWS])
        assert archive.read_labels_batch(["l0"], labeling)[0].tolist() == [[3, 3]]
        assert archive.read_features("f0").tolist() == ROWS
        calls: list[Callable[[], object]] = [
            lambda: archive.read_features_batch(["f0", "f1"]),
            lambda: archive.read_labels_batch(["l0", "l1"], labeling),
            lambda: archive.num_frames_all(),
            lambda: next(archive.iter_features()),
        ]
        if io == "pread":
            calls.append(lambda: archive.read_features("f1"))
        for call in calls:
            with pytest.raises(ArchiveChangedError) as caught:
                call()
            assert caught.value.path == str(scratch / "1.cache")


@pytest.mark.parametrize("number", [0, 1])
def test_a_mapped_table_that_is_overwritten(scratch: Path, number: int) -> None:
    """Names of four gigabytes, in one member of a bundle; Sprint appends on top of the table."""
    for name in ("0", "1"):
        (scratch / f"{name}.cache").write_bytes(data_of(ROWS, name))
    (scratch / "x.bundle").write_text("0.cache 1.cache")
    path = scratch / f"{number}.cache"
    with open_archive(scratch / "x.bundle", "mmap") as archive, open(path, "r+b") as file:
        assert f"f{number}" in list(archive)
        file.seek(-8, os.SEEK_END)
        begin = int.from_bytes(file.read(8), "little")
        file.seek(begin)
        file.write(b"\xff" * (os.path.getsize(path) - 16 - begin))
        file.flush()
        with pytest.raises(ArchiveChangedError, match="table was overwritten"):
            list(archive)
        with pytest.raises(ArchiveChangedError):
            archive.read_features(f"f{number}")


@pytest.mark.parametrize("change", CHANGES)
def test_files_that_are_not_kept_open(scratch: Path, change: str) -> None:
    """Of many members with pread, the later ones are opened again for each read."""
    for at in range(560):
        (scratch / f"{at}.cache").write_bytes(data_of(ROWS, str(at)))
    (scratch / "x.bundle").write_text(" ".join(f"{at}.cache" for at in range(560)))
    with open_archive(scratch / "x.bundle", "pread") as archive:
        assert archive.read_features("f559").tolist() == ROWS
        CHANGES[change](scratch / "559.cache")
        for call in (
            lambda: archive.read_features("f559"),
            lambda: archive.read_bytes("l559"),
            lambda: archive.num_frames("f559"),
            lambda: archive.read_features_batch(["f0", "f559"]),
        ):
            with pytest.raises(ArchiveChangedError) as caught:
                call()
            assert caught.value.path == str(scratch / "559.cache")
        assert archive.read_features("f558").tolist() == ROWS


@pytest.mark.parametrize(("kind", "io"), list(product(["file", "bundle", "directory"], IOS)))
def test_another_working_directory(
    scratch: Path, labeling: AllophoneLabeling, kind: str, io: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means what it meant when the archive was opened."""
    monkeypatch.chdir(scratch)
    if kind == "directory":
        os.mkdir("x")
        for name, payload in (("f", builder.features(ROWS)), ("l", builder.alignment_entry(
            builder.alignment_rle([(0, 0), (1, 0)])
        ))):  # fmt: skip
            Path("x", name).write_bytes(payload)
    else:
        Path("x.cache").write_bytes(data_of(ROWS))
        Path("x.bundle").write_text("x.cache")
    name = {"file": "x.cache", "bundle": "x.bundle", "directory": "x"}[kind]
    with open_archive(name, io) as archive:
        assert archive.path == str(scratch / name)
        monkeypatch.chdir("/")
        for read in (READS | BATCHES).values():
            read(archive, labeling)
        assert archive.read_features("f").tolist() == ROWS


def test_a_renamed_folder_above_a_mapped_archive(scratch: Path) -> None:
    (scratch / "a").mkdir()
    path = scratch / "a" / "x.cache"
    path.write_bytes(data_of(ROWS))
    with open_archive(path, "mmap") as archive:
        shutil.move(scratch / "a", scratch / "b")
        assert archive.read_features("f").tolist() == ROWS
        with pytest.raises(ArchiveChangedError):
            archive.check_unchanged()
        shutil.move(scratch / "b", scratch / "a")
        archive.check_unchanged()
