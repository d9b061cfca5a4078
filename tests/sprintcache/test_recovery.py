"""recover: interrupted writers, at every byte and at any moment; damaged archives."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sprintcache import (
    ArchiveWriter,
    CorruptError,
    FormatError,
    RecoveryReport,
    SprintCacheError,
    combine,
    open_archive,
    recover,
    repack,
)
from tests.oracle import builder, reference
from tests.sprintcache.test_reference import KILLED, real_file

pytestmark = pytest.mark.usefixtures("quiet")

ENTRIES = [(name, b"payload of " + name.encode()) for name in ("a", "bb", "ccc", "dddd")]


def contents(path: Path) -> dict[str, bytes]:
    """Of a valid archive, by the oracle."""
    data = path.read_bytes()
    return {row.name.decode(): reference.payload(data, row) for row in reference.read_table(data)}


# ---- a writer that dies at every byte --------------------------------------------------------


class Killed(BaseException):
    """In place of SIGKILL: nothing that the writer does afterwards reaches the file."""


class Death:
    """Lets a number of bytes and calls through, then the process is dead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 1 << 60
        self.used = 0
        self.real = os.pwritev
        monkeypatch.setattr(os, "pwritev", self.pwritev)
        for name in ("ftruncate", "fsync", "link", "unlink", "replace"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def pwritev(self, fd: int, parts: Sequence[Any], offset: int) -> int:
        data = b"".join(parts)
        self.used += len(data)
        now = data[: max(self.left, 0)]
        self.left -= len(data)
        if now:
            self.real(fd, [now], offset)
        if self.left < 0:
            raise Killed
        return len(data)

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.used += 1
            self.left -= 1
            if self.left < 0:
                raise Killed
            return function(*args, **kwargs)

        return call


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    return Death(monkeypatch)


Step = Callable[[ArchiveWriter], None]


def adding(name: str, data: bytes, **options: Any) -> Step:
    return lambda writer: writer.add_bytes(name, data, **options)


def removing(name: str) -> Step:
    return lambda writer: writer.remove(name)


NEW = b"a new payload that is long enough to run over the old table, which it does here" * 2
SCENARIOS: dict[str, tuple[str, list[Step]]] = {
    "new": ("x", [adding(name, data, attributes={"a": name}) for name, data in ENTRIES]),
    "instead": ("w", [adding(name, data + b"!") for name, data in ENTRIES]),
    "append": ("a", [adding("new", NEW), adding("other", b"x", compress=True)]),
    "hole": ("a", [removing("bb"), adding("xx", b"payload of xx"), adding("yy", b"more")]),
    "replace": ("a", [adding("bb", b"PAYLOAD OF BB", replace=True), adding("new", NEW)]),
    "replace elsewhere": ("a", [adding("bb", b"longer than it was", replace=True)]),
    "replace into a hole": ("a", [removing("a"), adding("bb", b"12345678901", replace=True)]),
    "last": ("a", [adding("dddd", b"PAYLOAD OF DDDD", replace=True), adding("new", NEW)]),
    "remove all": ("a", [removing(name) for name, _ in ENTRIES]),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_writer_that_dies_anywhere(scratch: Path, scenario: str, death: Death) -> None:
    mode, steps = SCENARIOS[scenario]
    path, partial = scratch / "x.cache", scratch / "x.cache.partial"
    start(scratch, mode)
    death.used = 0
    run(path, mode, steps)
    assert death.used > 100
    for budget in range(death.used):
        start(scratch, mode)
        death.left = budget
        states = run(path, mode, steps)
        death.left = 1 << 60
        if mode == "w" and path.read_bytes() == builder.archive(ENTRIES):
            if partial.exists():
                assert recover(path).unfinished == str(partial)
                check(recover(partial), partial, states)
        elif path.exists() or partial.exists():
            check(recover(path), path, states)
            assert not partial.exists()
            assert recover(path).was_sound
        else:
            assert states == [{}]


def start(scratch: Path, mode: str) -> None:
    for file in scratch.iterdir():
        file.unlink()
    if mode != "x":
        (scratch / "x.cache").write_bytes(builder.archive(ENTRIES))


def run(path: Path, mode: str, steps: list[Step]) -> list[dict[str, bytes]]:
    """The states that the writer passed through: the last may have been under way."""
    writer = None
    model = dict(ENTRIES) if mode == "a" else {}
    states = [dict(model)]
    try:
        writer = ArchiveWriter(path, mode)
        for step in steps:
            states.append(after(model, step))
            model = states[-1]
            step(writer)
            states.append(model)
        writer.close()
    except Killed:
        pass
    finally:
        if writer is not None:
            writer._release()
    return states


class Recorder:
    """Applies a step to a dict instead of a file."""

    def __init__(self, model: dict[str, bytes]) -> None:
        self.model = dict(model)

    def add_bytes(self, name: str, data: bytes, **options: Any) -> None:
        if options.get("attributes"):
            (value,) = options["attributes"].values()
            self.model[name + ".attribs"] = builder.attribs({"a": value})
        self.model[name] = data

    def remove(self, name: str) -> None:
        del self.model[name]


def after(model: dict[str, bytes], step: Step) -> dict[str, bytes]:
    recorder: Any = Recorder(model)
    step(recorder)
    return recorder.model


def check(report: RecoveryReport, path: Path, states: list[dict[str, bytes]]) -> None:
    """What all of the last two states have is there; nothing that was never written is."""
    actual = contents(path)
    assert report.num_entries == len(actual)
    ever: dict[str, set[bytes]] = {}
    for state in states:
        for name, data in state.items():
            ever.setdefault(name, set()).add(data)
    for name, data in actual.items():
        assert data in ever[name]
    before, last = states[-2:] if len(states) > 1 else states * 2
    for name, data in before.items():
        if last.get(name) == data:
            assert actual[name] == data
        elif name in last:
            assert actual[name] in (data, last[name])


# ---- a real process --------------------------------------------------------------------------

CHILD = """
import sys
import numpy as np
from sprintcache._write.writer import ArchiveWriter
path, mode = sys.argv[1:]
with ArchiveWriter(path, mode) as writer:
    for i in range(100000):
        data = bytes([i % 251]) * (i * 7919 % 50000)
        options = {"compress": i % 3 == 0, "attributes": {"i": str(i)}}
        if i % 2:
            writer.add_bytes(f"segment/{i}", data, **options)
        else:
            frames = np.full((i % 50, 10), i % 7, np.float32)
            writer.add_features(f"segment/{i}", frames, **options)
        if i % 10 == 0:
            writer.flush()
            print(i, flush=True)
"""


@pytest.mark.parametrize("hole", [False, True])
def test_what_was_removed_does_not_come_back(scratch: Path, hole: bool) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive(ENTRIES))
    with ArchiveWriter(path, "a") as writer:
        if hole:  # the new one goes there, the old one was the last
            writer.remove("bb")
            writer.add_bytes("dddd", b"x" * (len(b"payload of bb") - 2), replace=True)
            writer.remove("dddd")
        else:
            writer.remove("dddd")
            writer.remove("ccc")
            writer.add_bytes("e", b"")
        writer.flush()
        (scratch / "killed.cache").write_bytes(path.read_bytes())
    recover(scratch / "killed.cache")
    assert contents(scratch / "killed.cache") == contents(path)


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_sigkill(scratch: Path, mode: str) -> None:
    num_kills = 12 if os.environ.get("SPRINTCACHE_CRASHES") == "all" else 5
    for seed in range(num_kills):
        for file in scratch.iterdir():
            file.unlink()
        path = scratch / "x.cache"
        if mode != "x":
            path.write_bytes(builder.archive(ENTRIES))
        flushed = killed(path, mode, seed)
        if mode == "w":
            assert contents(path) == dict(ENTRIES)
            path = scratch / "x.cache.partial"
        report = recover(path)
        assert not report.was_sound
        actual = contents(path)
        if mode == "a":
            assert {name: actual.pop(name) for name, _ in ENTRIES} == dict(ENTRIES)
        assert all(f"segment/{i}" in actual for i in range(flushed + 1))
        numbers = sorted(int(name.split("/")[1]) for name in actual if "." not in name)
        assert numbers == list(range(len(numbers)))
        for name, data in actual.items():
            i = int(name.split("/")[1].removesuffix(".attribs"))
            expected = (
                bytes([i % 251]) * (i * 7919 % 50000) if i % 2 else few_features(i % 50, i % 7)
            )
            attribs = builder.attribs({"i": str(i)})
            assert data == (attribs if name.endswith(".attribs") else expected)
        with ArchiveWriter(path, "a") as writer:
            writer.add_bytes("more", b"more")
        assert contents(path)["more"] == b"more"


@cache
def few_features(count: int, value: float) -> bytes:
    return builder.features([[value] * 10] * count)


def killed(path: Path, mode: str, seed: int) -> int:
    """Starts a writer, kills it; gives the last number that it had flushed, or -1."""
    arguments = [sys.executable, "-c", CHILD, str(path), mode]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.stdout]
    assert process.returncode == -signal.SIGKILL
    return int(lines[-1] if lines[-1].endswith("\n") else lines[-2])


# ---- archives as others leave them -----------------------------------------------------------


def test_what_sprint_left_when_it_was_killed(scratch: Path) -> None:
    original = real_file("archives", KILLED)
    with open_archive(original) as archive:
        expected = {name: archive.read_bytes(name) for name in archive}
    path = scratch / "x.cache"
    path.write_bytes(original.read_bytes())
    copied = recover(path, scratch / "out.cache")
    assert path.read_bytes() == original.read_bytes()
    report = recover(path)
    assert contents(path) == contents(scratch / "out.cache") == expected
    assert path.read_bytes() == (scratch / "out.cache").read_bytes()
    assert (report.num_entries, report.was_sound) == (19, False)
    assert copied.skipped == report.skipped
    assert len(report.skipped) == 1
    assert "no complete entry" in str(report)
    assert recover(path).was_sound


@pytest.mark.parametrize("flag", [0, 1])
def test_damage_in_the_middle(scratch: Path, flag: int) -> None:
    pieces = [builder.entry(name, data) for name, data in [*ENTRIES, ("a", b"again")]]
    pieces[1] = pieces[1][:-9]
    data = builder.MAGIC + bytes([flag]) + b"".join(pieces) + b"rest"
    (scratch / "x.cache").write_bytes(data)
    report = recover(scratch / "x.cache", scratch / "y.cache")
    assert contents(scratch / "y.cache") == {n: d for n, d in ENTRIES if n != "bb"}
    assert (report.num_entries, report.num_duplicates, len(report.skipped)) == (3, 1, 2)
    assert recover(scratch / "x.cache")[2:] == report[2:]
    assert contents(scratch / "x.cache") == contents(scratch / "y.cache")


def test_holes_are_kept_in_place_and_dropped_in_a_copy(scratch: Path) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive(ENTRIES, holes=[0, 2, 2], table=False))
    assert recover(path, scratch / "y.cache").num_holes == 3
    assert (scratch / "y.cache").read_bytes() == builder.archive(ENTRIES)
    assert recover(path).num_holes == 3
    assert path.read_bytes() == builder.archive(ENTRIES, holes=[0, 2, 2])


def test_a_sound_archive_is_left_as_it_is(scratch: Path) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive(ENTRIES))
    data, before = path.read_bytes(), path.stat()
    report = recover(path)
    assert report == RecoveryReport(str(path), str(path), 4, 0, 0, (), True)
    assert "sound" in str(report)
    after = path.stat()  # but for the time of the last read
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert path.read_bytes() == data


@pytest.mark.parametrize("size", range(9))
def test_a_header_that_is_not_whole(scratch: Path, size: int) -> None:
    (scratch / "x.cache.partial").write_bytes(builder.MAGIC[:size])
    assert recover(scratch / "x.cache").num_entries == 0
    assert (scratch / "x.cache").read_bytes() == builder.archive([])


def test_a_partial_file_of_an_archive_is_reported(scratch: Path) -> None:
    path, partial = scratch / "x.cache", scratch / "x.cache.partial"
    path.write_bytes(builder.archive(ENTRIES))
    partial.write_bytes(builder.archive(ENTRIES[:1], table=False))
    report = recover(path)
    assert report.unfinished == str(partial)
    assert "unfinished" in str(report)
    assert recover(partial).num_entries == 1
    assert contents(partial) == dict(ENTRIES[:1])
    assert contents(path) == dict(ENTRIES)


def refusals() -> Iterator[Any]:
    yield pytest.param("none.cache", None, FileNotFoundError, id="nothing")
    yield pytest.param("text", None, FormatError, id="no archive")
    yield pytest.param(".", None, ValueError, id="directory")
    yield pytest.param("x.bundle", None, ValueError, id="bundle")
    yield pytest.param("x.cache", "text", FileExistsError, id="out exists")
    yield pytest.param("x.cache", "x.cache", (FileExistsError, SprintCacheError), id="itself")


@pytest.mark.parametrize(("path", "out", "error"), list(refusals()))
def test_what_cannot_be_recovered(scratch: Path, path: str, out: str | None, error: Any) -> None:
    (scratch / "text").write_bytes(b"this is not an archive")
    (scratch / "x.bundle").write_bytes(b"x.cache")
    (scratch / "x.cache").write_bytes(builder.archive(ENTRIES, table=False))
    before = {file.name: file.read_bytes() for file in scratch.iterdir()}
    with pytest.raises(error):
        recover(scratch / path, None if out is None else scratch / out)
    assert {file.name: file.read_bytes() for file in scratch.iterdir()} == before


@pytest.mark.parametrize("out", [None, "y.cache"])
def test_a_full_disk_is_an_error_that_names_the_file(scratch: Path, out: str | None) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive(ENTRIES, table=False))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(OSError, match=r"x\.cache'$|y\.cache\.partial'$") as raised:
            recover(path, out and scratch / out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.errno == errno.EFBIG
    assert [file.name for file in scratch.iterdir()] == ["x.cache"]
    assert recover(path).num_entries == len(ENTRIES)
    assert contents(path) == dict(ENTRIES)


@pytest.mark.parametrize("limit", [50, 1000, 5000])
def test_a_disk_that_fills_up_within_an_entry_of_the_copy(scratch: Path, limit: int) -> None:
    path, out = scratch / "x.cache", scratch / "y.cache"
    path.write_bytes(builder.archive([("a", bytes(4000)), ("b", bytes(4000))], table=False))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"y\.cache\.partial'$"):
            recover(path, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in scratch.iterdir()] == ["x.cache"]
    assert recover(path, out).num_entries == 2


def test_an_archive_that_is_being_written(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        writer.add_bytes("a", b"1")
        for out in (None, scratch / "y.cache"):
            with pytest.raises(SprintCacheError, match="another writer"):
                recover(scratch / "x.cache", out)
    assert contents(scratch / "x.cache") == {"a": b"1"}


# ---- tables that do not agree with the entries -----------------------------------------------


def row_at(data: bytes, name: str) -> int:
    """Offset of the position in the row of an entry."""
    return data.rindex(builder.string(name)) + 4 + len(name)


def with_row(entries: Sequence[tuple[str, bytes]], name: str, position: int) -> bytes:
    """An archive whose table has an entry at another position."""
    data = bytearray(builder.archive(entries))
    at = row_at(data, name)
    data[at : at + 8] = struct.pack("<Q", position)
    return bytes(data)


EQUAL = [("a", b"payload of a"), ("b", b"payload of b"), ("c", b"payload of c")]


@pytest.mark.parametrize("out", [None, "y.cache"])
def test_an_entry_elsewhere_than_in_the_table_is_searched_for(
    scratch: Path, out: str | None
) -> None:
    """Its row points at another entry of its size, whose data it must never get."""
    path = scratch / "x.cache"
    position = builder.archive(EQUAL).index(builder.string("a")) + 5
    path.write_bytes(with_row(EQUAL, "b", position))
    report = recover(path, out and scratch / out)
    assert contents(scratch / (out or "x.cache")) == dict(EQUAL)
    assert (report.num_entries, report.skipped, report.was_sound) == (3, (), False)


@pytest.mark.parametrize("out", [None, "y.cache"])
@pytest.mark.parametrize("damage", ["start tag", "name", "size", "checksum", "end tag"])
def test_a_damaged_entry_stays_damaged(scratch: Path, damage: str, out: str | None) -> None:
    path, target = scratch / "x.cache", scratch / (out or "x.cache")
    data = bytearray(builder.archive(EQUAL))
    at = data.index(builder.string("b"))
    offsets = {"start tag": -2, "name": 4, "size": 5, "checksum": 13, "end tag": 29}
    data[at + offsets[damage]] ^= 1
    path.write_bytes(data)
    report = recover(path, out and scratch / out)
    (skipped,) = report.skipped
    assert (skipped.offset, skipped.size) == (at - 4, 37)
    assert not report.was_sound
    with open_archive(target) as archive:
        assert archive.read_bytes("a") + archive.read_bytes("c") == b"payload of apayload of c"
        if out is None:  # nothing that another reader may accept is dropped
            assert path.read_bytes() == data
            with pytest.raises(FormatError):
                archive.read_bytes("b")
        else:
            assert [*archive] == ["a", "c"]


def test_rows_that_share_bytes_do_not_multiply_the_file(scratch: Path) -> None:
    """Entries inside the payload of others: all rows agree with the bytes they point at."""
    payload = b"x" * 1000
    for number in range(200):
        payload = builder.entry(f"n{number:03}", payload)
    data = builder.MAGIC + b"\1" + payload
    rows = b""
    for number in range(200):
        at = data.index(builder.string(f"n{number:03}"))
        size = struct.unpack("<I", data[at + 8 : at + 12])[0]
        rows += builder.string(f"n{number:03}") + struct.pack("<QII", at + 8, size, 0)
    end = len(data)
    table = struct.pack("<I", 200) + rows
    trailer = struct.pack("<IQQ", 0, end + len(table), end)
    path = scratch / "x.cache"
    path.write_bytes(data + table + trailer)
    recover(path, scratch / "out.cache")
    assert contents(scratch / "out.cache").keys() == {"n199"}
    with open_archive(path) as archive:
        for compress in (None, True):
            with pytest.raises(CorruptError, match="entries overlap"):
                repack(archive, scratch / "none.cache", compress=compress)
        report = combine([archive], scratch / "combined.cache", skip_damaged=True)
        assert len(report.damaged) > 100
    for name in ("out", "combined"):
        assert (scratch / f"{name}.cache").stat().st_size < 2 * path.stat().st_size
