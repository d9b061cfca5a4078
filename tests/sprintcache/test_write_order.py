"""The order of system calls in which a writer keeps what it promises for a crash of the machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprintcache import (
    ArchiveChangedError,
    ArchiveWriter,
    _bundle,
    combine,
    open_archive,
    recover,
)
from tests.oracle import builder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """(call, file name, offset or 0) of everything that changes files or syncs them."""
    recorded: list[tuple[str, str, int]] = []

    def name_of(fd: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

    real = {name: getattr(os, name) for name in ("pwritev", "fsync", "ftruncate")}

    def pwritev(fd: int, parts: Sequence[Any], offset: int) -> int:
        recorded.append(("write", name_of(fd), offset))
        return int(real["pwritev"](fd, parts, offset))

    def fsync(fd: int) -> None:
        recorded.append(("sync", name_of(fd), 0))
        real["fsync"](fd)

    def ftruncate(fd: int, size: int) -> None:
        recorded.append(("truncate", name_of(fd), size))
        real["ftruncate"](fd, size)

    monkeypatch.setattr(os, "pwritev", pwritev)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    for name in ("link", "replace"):
        function = getattr(os, name)

        def rename(old: str, new: str, _name: str = name, _function: Any = function) -> None:
            recorded.append((_name, os.path.basename(new), 0))
            _function(old, new)

        monkeypatch.setattr(os, name, rename)
    return recorded


FLAG = 8  # offset of the flag that says whether there is a table


@pytest.mark.parametrize(("mode", "rename"), [("x", "link"), ("w", "replace"), ("a", None)])
def test_data_then_flag_then_name(
    scratch: Path, calls: list[tuple[str, str, int]], mode: str, rename: str | None
) -> None:
    """Entries and table are on the disk before the flag, the flag before the name."""
    path = scratch / "x.cache"
    if mode != "x":
        path.write_bytes(builder.archive([("old", b"x")]))
    with ArchiveWriter(path, mode) as writer:
        writer.add_features("a", np.ones((5, 2), np.float32))
        writer.add_bytes("b", b"y" * 100)
    file = "x.cache" if mode == "a" else "x.cache.partial"
    flags = [index for index, call in enumerate(calls) if call == ("write", file, FLAG)]
    last = flags[-1]
    kinds = [call[0] for call in calls]
    assert kinds[last - 1 : last + 2] == ["sync", "write", "sync"]
    assert all(kind != "write" for kind in kinds[last + 1 :])
    before = calls[: last - 1]
    assert max(offset for kind, _, offset in before if kind == "write") > 100
    if mode == "a":  # the table is invalid before the first change
        assert calls[0] == ("write", file, FLAG)
    if rename is not None:
        assert calls[last + 2 :] == [(rename, "x.cache", 0), ("sync", scratch.name, 0)]


def test_flush_reaches_the_disk(scratch: Path, calls: list[tuple[str, str, int]]) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        writer.add_features("a", np.ones((5, 2), np.float32))
        assert [call[0] for call in calls] == ["write"]  # the header; features are buffered
        writer.flush()
        file, folder = "x.cache.partial", scratch.name
        assert calls[1:] == [("write", file, 9), ("sync", file, 0), ("sync", folder, 0)]


def test_a_replaced_entry_is_copied_before_it_is_overwritten(
    scratch: Path, calls: list[tuple[str, str, int]]
) -> None:
    """A copy of the new entry is on the disk while the old one is overwritten."""
    path = scratch / "x.cache"
    path.write_bytes(builder.archive([("a", b"1" * 20), ("b", b"2" * 20)]))
    size = len(builder.entry("a", b"1" * 20))
    with ArchiveWriter(path, "a") as writer:
        writer.add_bytes("a", b"3" * 20, replace=True)
        of_entries = [(call, at) for call, _, at in calls if call != "truncate" and at != FLAG]
    kinds = [call for call, _ in of_entries]
    offsets = [at for call, at in of_entries if call == "write"]
    first_old = next(i for i, at in enumerate(offsets) if at < 9 + size)
    assert all(at >= 9 + 2 * size for at in offsets[:first_old])
    assert kinds[: first_old + 2] == ["write"] * first_old + ["sync", "write"]
    assert of_entries[-2][0] == "sync"
    assert of_entries[-1][1] == 9 + 2 * size
    with open_archive(path) as archive:
        assert {name: archive.read_bytes(name) for name in archive} == {
            "a": b"3" * 20,
            "b": b"2" * 20,
        }


def test_a_recovered_table_is_on_the_disk_before_the_flag(
    scratch: Path, calls: list[tuple[str, str, int]]
) -> None:
    (scratch / "x.cache").write_bytes(builder.archive([("a", b"x")], table=False))
    recover(scratch / "x.cache")
    assert [call[0] for call in calls[-3:]] == ["sync", "write", "sync"]
    assert calls[-2] == ("write", "x.cache", FLAG)


def test_a_file_that_is_renamed_between_open_and_lock(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock must be on the file that has the name afterwards."""
    path, other = scratch / "x.cache", scratch / "other.cache"
    path.write_bytes(builder.archive([("old", b"x")]))
    other.write_bytes(builder.archive([("new", b"y")]))
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if other.exists() and operation & fcntl.LOCK_EX:
            os.replace(other, path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with ArchiveWriter(path, "a") as writer:
        assert list(writer._file.rows) == ["new"]
        writer.add_bytes("more", b"z")
    with open_archive(path) as archive:
        assert list(archive) == ["new", "more"]


# ---- copying


def test_a_source_that_changes_while_it_is_copied(scratch: Path) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive([(f"n{n}", b"x" * 100_000) for n in range(20)]))

    def touch(_done: int, _total: int) -> None:
        os.utime(path, ns=(1, 1))

    with open_archive(path) as archive, pytest.raises(ArchiveChangedError):
        combine([archive], scratch / "out.cache", progress=touch)
    assert not (scratch / "out.cache").exists()


def test_runs_end_with_their_file(scratch: Path) -> None:
    """An entry of the second archive begins at the offset where the run of the first ends."""
    first, second = [("a", b"1" * 20)], [("hole", b"2" * 17), ("b", b"3" * 20)]
    (scratch / "1").write_bytes(builder.archive(first))
    (scratch / "2").write_bytes(builder.archive(second))
    (scratch / "x.bundle").write_text("1\n2\n")
    with open_archive(scratch / "x.bundle") as archive:
        assert archive.entry("a").position + 16 + 20 == archive.entry("b").position - 9
        combine([archive], scratch / "out", names=["a", "b"])
    with open_archive(scratch / "out") as archive:
        assert [archive.read_bytes(name) for name in archive] == [b"1" * 20, b"3" * 20]


def test_attributes_that_only_one_archive_has_are_a_difference(scratch: Path) -> None:
    attribs = builder.attribs({"a": "b"})
    (scratch / "1").write_bytes(builder.archive([("n", b"x")]))
    (scratch / "2").write_bytes(builder.archive([("n.attribs", attribs), ("n", b"x")]))
    for sources in (["1", "2"], ["2", "1"]):
        archives = [open_archive(scratch / source) for source in sources]
        report = combine(archives, scratch / "out", "w")
        assert report.differing == ("n",)
        for archive in archives:
            archive.close()


def test_a_bundle_is_on_the_disk_before_it_has_its_name(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was synced is the whole list, not an empty file whose lines wait in a buffer."""
    (scratch / "a.cache").write_bytes(builder.archive([("a", b"x")]))
    synced: list[bytes] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").read_bytes())
        assert not (scratch / "x.bundle").exists()
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    _bundle.write(str(scratch / "x.bundle"), [str(scratch / "a.cache")])
    content = (scratch / "x.bundle").read_bytes()
    assert content.split() == [os.fsencode(scratch / "a.cache")]
    assert synced[0] == content
