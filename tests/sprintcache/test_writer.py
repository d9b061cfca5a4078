"""ArchiveWriter: real archives come out identical; modes, holes, locks, failures."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    Alignment,
    Archive,
    ArchiveWriter,
    ClosedArchiveError,
    CorruptError,
    EntryNotFoundError,
    FormatError,
    SprintCacheError,
    open_archive,
    recover,
)
from tests.faults import Interrupt
from tests.oracle import builder, reference
from tests.sprintcache.test_reference import (
    ALIGNMENTS,
    FEATURES,
    HOLES,
    SAMPLES,
    real_file,
    zlib_as_sprint,
)

REAL = [name for name in [*ALIGNMENTS, *FEATURES, *SAMPLES] if name != HOLES]


def compressed(archive: Archive, name: str) -> bool:
    return archive.entry(name).compressed_size > 0


def contents(path: Path) -> dict[str, bytes]:
    with open_archive(path) as archive:
        assert archive.scan_report is None
        return {name: archive.read_bytes(name) for name in archive}


def written(path: Path, entries: dict[str, bytes], mode: str = "x") -> None:
    with ArchiveWriter(path, mode) as writer:
        for name, data in entries.items():
            writer.add_bytes(name, data)


# ---- identical files -------------------------------------------------------------------------


@zlib_as_sprint
@pytest.mark.parametrize("name", REAL)
def test_a_real_archive_is_rewritten_identically(name: str, scratch: Path) -> None:
    original = real_file("archives", name)
    with open_archive(original) as archive, ArchiveWriter(scratch / name) as writer:
        for segment in archive.segments:
            writer.add_blocks(
                segment,
                archive.read_blocks(segment),
                attributes=archive.read_attributes(segment),
                compress=compressed(archive, segment),
            )
    assert (scratch / name).read_bytes() == original.read_bytes()
    assert os.listdir(scratch) == [name]


@zlib_as_sprint
@pytest.mark.parametrize("name", [name for name in REAL if name not in SAMPLES])
def test_a_real_archive_is_rewritten_identically_by_kind(name: str, scratch: Path) -> None:
    original = real_file("archives", name)
    with open_archive(original) as archive, ArchiveWriter(scratch / name) as writer:
        for segment in archive.segments:
            options: dict[str, Any] = {
                "attributes": archive.read_attributes(segment),
                "compress": compressed(archive, segment),
            }
            if name in ALIGNMENTS:
                writer.add_alignment(segment, archive.read_alignment(segment), **options)
                continue
            blocks = archive.read_blocks(segment)
            features = np.concatenate([block.data for block in blocks])
            times = np.concatenate([block.times for block in blocks])
            gather = 50 if "gather50" in name else None
            writer.add_features(segment, features, times, gather=gather, **options)
    assert (scratch / name).read_bytes() == original.read_bytes()


def test_start_times_are_sprints(scratch: Path) -> None:
    with open_archive(real_file("archives", "features.part1.cache")) as archive:
        with ArchiveWriter(scratch / "x.cache") as writer:
            for name in archive.segments:
                writer.add_features(name, archive.read_features(name))
        with open_archive(scratch / "x.cache") as ours:
            for name in archive.segments:
                theirs, made = archive.read_times(name), ours.read_times(name)
                assert theirs[:, 0].tobytes() == made[:, 0].tobytes()
                assert theirs[:-1].tobytes() == made[:-1].tobytes()  # the last ends the recording


def test_holes_are_as_the_archiver_leaves_them(scratch: Path) -> None:
    path = scratch / "x.cache"
    shutil.copyfile(real_file("archives", "features.cache"), path)
    expected = real_file("archives", HOLES)
    with open_archive(expected) as archive, ArchiveWriter(path, "a") as writer:
        for name in contents(path):
            if name not in archive:
                writer.remove(name)
    assert path.read_bytes() == expected.read_bytes()


def test_appending_to_a_part_makes_the_whole(scratch: Path) -> None:
    parts = [real_file("archives", f"features.part{i}.cache") for i in (1, 2)]
    pieces = {name: data for part in parts for name, data in contents(part).items()}
    shutil.copyfile(parts[0], scratch / "x.cache")
    added = {name: pieces[name] for name in contents(parts[1])}
    written(scratch / "x.cache", added, "a")
    written(scratch / "y.cache", pieces)
    assert (scratch / "x.cache").read_bytes() == (scratch / "y.cache").read_bytes()


def test_an_empty_archive(scratch: Path) -> None:
    ArchiveWriter(scratch / "x.cache").close()
    assert (scratch / "x.cache").read_bytes() == builder.archive([])
    assert len((scratch / "x.cache").read_bytes()) == 33


def test_returnn_reads_it(scratch: Path) -> None:
    cache = pytest.importorskip("returnn.sprint.cache")
    features = np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32)
    alignment = Alignment(np.arange(6), [1, 1, 1, 2, 3, 3])
    with ArchiveWriter(scratch / "x.cache") as writer:
        writer.add_features("f", features, attributes={"datatype": "vector-f32"})
        writer.add_features("z", features, compress=True)
        writer.add_alignment("a", alignment)
    theirs = cache.FileArchive(str(scratch / "x.cache"), must_exists=True)
    try:
        times, actual = theirs.read("f", "feat")
        assert np.array_equal(actual, features)
        assert np.allclose(np.array(times)[:, 0], np.arange(30) * 0.01)
        assert np.array_equal(theirs.read("z", "feat")[1], features)
        assert [item[:2] for item in theirs.read("a", "align_raw")] == list(
            zip(range(6), [1, 1, 1, 2, 3, 3], strict=True)
        )
    finally:
        theirs.f.close()


# ---- anything comes back ---------------------------------------------------------------------

PARTS = st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=6)
NAMES = (
    st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda name: not any("\ud800" <= char <= "\udfff" for char in name))
)
U32 = st.integers(0, 2**32 - 1)


@st.composite
def alignments(draw: st.DrawFn) -> Alignment:
    time = draw(st.lists(st.one_of(st.integers(0, 5), U32), max_size=12))
    emission = draw(
        st.lists(st.one_of(st.integers(0, 3), U32), min_size=len(time), max_size=len(time))
    )
    weight = draw(
        st.none()
        | st.lists(
            st.one_of(st.just(1.0), st.floats(width=32)), min_size=len(time), max_size=len(time)
        )
    )
    alphabet = draw(st.none() | st.just({id_: f"s{id_}" for id_ in emission}))
    emissions = alphabet is None and draw(st.booleans())
    return Alignment(
        time,
        emission,
        weight,
        alphabet=alphabet,
        label_type="emission" if emissions else "allophone-state",
        start=draw(st.floats(allow_nan=False)),
        end=draw(st.floats(allow_nan=False)),
    )


@settings(max_examples=100)
@given(
    named=st.dictionaries(NAMES, alignments() | st.binary(max_size=20), max_size=5),
    compress=st.booleans(),
)
def test_names_alignments_and_bytes_come_back(
    scratch: Path, named: dict[str, Any], compress: bool
) -> None:
    path = scratch / "x.cache"
    with ArchiveWriter(path, "w", compress=compress) as writer:
        for name, value in named.items():
            if isinstance(value, bytes):
                writer.add_bytes(name, value)
            else:
                writer.add_alignment(name, value)
    with open_archive(path) as archive:
        assert list(archive) == list(named)
        for name, value in named.items():
            if isinstance(value, bytes):
                assert archive.read_bytes(name) == value
            else:
                assert archive.read_alignment(name) == value
            assert compressed(archive, name) == compress


def test_texts_attributes_and_names_that_are_no_utf8(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        writer.add_text("n\udcffme", "t\udcfext", attributes={})
        writer.add_bytes("//double", b"")
        writer.add_bytes("../up", memoryview(b"ab"))
        assert len(writer) == 4
        assert "../up" in writer
    rows = reference.rows((scratch / "x.cache").read_bytes())
    names = [b"n\xffme.attribs", b"n\xffme", b"//double", b"../up"]
    assert [row.name for row in rows] == names
    assert contents(scratch / "x.cache")["n\udcffme"] == b"t\xfext"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(None, None, [0.0, 0.01 * 2 + 0.025]), (0.5, None, [0.5, 0.01 * 2 + 0.025]), (1, 2, [1, 2])],
)
def test_times_of_alignments(
    scratch: Path, start: float | None, end: float | None, expected: list[float]
) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        writer.add_alignment("a", Alignment([0, 1, 2], [1, 1, 1], start=start, end=end))
        writer.add_alignment("empty", Alignment([], []))
    with open_archive(scratch / "x.cache") as archive:
        assert archive.read_times("a").tolist() == [expected]
        limit = float(np.finfo(np.float64).max)
        assert archive.read_times("empty").tolist() == [[limit, -limit]]


# ---- what is refused -------------------------------------------------------------------------


UNUSUAL = ["", "/", "//", "a//b", "a/./b", "./a", ".", "a/", "a/..", "a/../b", "/..", "///a"]


@pytest.mark.parametrize("name", [*UNUSUAL, "\ud800", "\udcc3\udca9"])
def test_names_that_sprint_would_not_find(scratch: Path, name: str) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        with pytest.raises(ValueError, match=r"x\.cache"):
            writer.add_bytes(name, b"")
        assert len(writer) == 0
    assert contents(scratch / "x.cache") == {}


def test_a_name_twice(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        writer.add_bytes("a", b"1")
        writer.add_bytes("b.attribs", b"1")
        for name in ("a", "b"):
            with pytest.raises(ValueError, match=f"'{name}"):
                writer.add_bytes(name, b"2", attributes={"x": "y"})
    assert contents(scratch / "x.cache") == {"a": b"1", "b.attribs": b"1"}


def test_four_gigabytes(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer, mmap.mmap(-1, 1 << 32) as large:
        for size in (1 << 32, (1 << 32) - 1):
            with (
                memoryview(large) as view,
                view[:size] as part,
                pytest.raises(ValueError, match="4 GiB"),
            ):
                writer.add_bytes("a", part)
        with pytest.raises(ValueError, match=r"entry 'f'.*4 GiB"):
            writer.add_features("f", np.broadcast_to(np.float32(0), (1 << 20, 1100)))


def test_an_alphabet_that_lacks_an_id(scratch: Path) -> None:
    with (
        ArchiveWriter(scratch / "x.cache") as writer,
        pytest.raises(ValueError, match=r"'a'.*id 7"),
    ):
        writer.add_alignment("a", Alignment([0], [7], alphabet={}))


def test_paths_that_are_no_archive(scratch: Path) -> None:
    with pytest.raises(ValueError, match="bundle"):
        ArchiveWriter(scratch / "x.bundle", "w")
    with pytest.raises(ValueError, match="mode"):
        ArchiveWriter(scratch / "x.cache", "r")
    with pytest.raises(IsADirectoryError):
        ArchiveWriter(scratch, "w")
    with pytest.raises(FileNotFoundError):
        ArchiveWriter(scratch / "none" / "x.cache", "w")
    (scratch / "text").write_bytes(b"not an archive")
    with pytest.raises(FormatError):
        ArchiveWriter(scratch / "text", "a")
    assert (scratch / "text").read_bytes() == b"not an archive"


# ---- modes -----------------------------------------------------------------------------------


def test_a_new_archive_appears_when_it_is_whole(scratch: Path) -> None:
    path = scratch / "x.cache"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        ArchiveWriter(path, "x")
    with ArchiveWriter(path, "w") as writer:
        writer.add_bytes("a", b"1")
        writer.flush()
        assert path.read_bytes() == b"old"
    assert contents(path) == {"a": b"1"}
    assert os.listdir(scratch) == ["x.cache"]
    writer.close()
    with pytest.raises(ClosedArchiveError):
        writer.add_bytes("b", b"")


def test_an_archive_that_is_created_meanwhile(scratch: Path) -> None:
    path = scratch / "x.cache"
    writer = ArchiveWriter(path)
    writer.add_bytes("a", b"1")
    path.write_bytes(b"other")
    with pytest.raises(FileExistsError, match="partial"):
        writer.close()
    assert path.read_bytes() == b"other"
    assert contents(scratch / "x.cache.partial") == {"a": b"1"}


def test_appending_creates(scratch: Path) -> None:
    for i in range(3):
        written(scratch / "x.cache", {f"{i}": bytes([i])}, "a")
    entries = [(str(i), bytes([i])) for i in range(3)]
    assert (scratch / "x.cache").read_bytes() == builder.archive(entries)


def test_appending_nothing_changes_nothing(scratch: Path) -> None:
    written(scratch / "x.cache", {"a": b"1"})
    before = os.stat(scratch / "x.cache")
    ArchiveWriter(scratch / "x.cache", "a").close()
    after = os.stat(scratch / "x.cache")
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_appending_needs_a_sound_table(scratch: Path) -> None:
    path = scratch / "x.cache"
    path.write_bytes(builder.archive([("a", b"1")], table=False, flag=1))
    with pytest.raises(SprintCacheError, match="recover"):
        ArchiveWriter(path, "a")


@pytest.mark.parametrize("left", ["x.cache", "x.cache.partial"])
def test_appending_finishes_what_was_left(
    scratch: Path, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    (scratch / left).write_bytes(builder.archive([("a", b"1")], table=False) + b"\x55\xaa half")
    written(scratch / "x.cache", {"b": b"2"}, "a")
    assert (scratch / "x.cache").read_bytes() == builder.archive([("a", b"1"), ("b", b"2")])
    assert os.listdir(scratch) == ["x.cache"]
    assert "finished what a writer left" in caplog.text
    assert "bytes in 1 range belong to no complete entry" in caplog.text


@pytest.mark.parametrize("size", range(9))
def test_appending_to_a_header_that_is_not_whole(scratch: Path, size: int) -> None:
    (scratch / "x.cache").write_bytes(builder.MAGIC[:size])
    written(scratch / "x.cache", {"a": b"1"}, "a")
    assert (scratch / "x.cache").read_bytes() == builder.archive([("a", b"1")])


def test_opening_names_what_was_left(scratch: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, partial = scratch / "x.cache", scratch / "x.cache.partial"
    partial.write_bytes(builder.archive([("a", b"1")], table=False))
    with pytest.raises(FileNotFoundError, match=r"x\.cache\.partial is unfinished.*recover"):
        open_archive(path)
    path.write_bytes(builder.archive([]))
    open_archive(path).close()
    assert f"{partial} is unfinished" in caplog.text
    caplog.clear()
    partial.unlink()
    with ArchiveWriter(path, "w"):
        open_archive(path).close()  # another writer has it open
    assert not caplog.text


def test_links_are_followed(scratch: Path) -> None:
    (scratch / "link").symlink_to(scratch / "x.cache")
    written(scratch / "link", {"a": b"1"}, "w")
    written(scratch / "link", {"b": b"2"}, "w")
    assert (scratch / "link").is_symlink()
    assert contents(scratch / "x.cache") == {"b": b"2"}


# ---- removing and replacing ------------------------------------------------------------------


@st.composite
def operations(draw: st.DrawFn) -> list[tuple[str, str, bytes]]:
    kinds = st.sampled_from(["add", "add", "replace", "remove", "reopen"])
    names = st.sampled_from(["a", "b", "c", "dd"])
    sizes = st.sampled_from([0, 1, 2, 3, 40])
    triples = draw(st.lists(st.tuples(kinds, names, sizes), max_size=14))
    return [(kind, name, bytes([i]) * size) for i, (kind, name, size) in enumerate(triples)]


class Model:
    """Section 2.5 by the book."""

    def __init__(self) -> None:
        self.data = bytearray(builder.MAGIC + b"\0")
        self.end = 9
        self.rows: dict[str, tuple[int, bytes]] = {}
        self.holes: list[tuple[int, int]] = []

    def add(self, name: str, payload: bytes) -> None:
        if name in self.rows:
            self.remove(name)
        whole = builder.entry(name, payload)
        size = len(name) + len(payload)
        fitting = [hole for hole in self.holes if hole[1] == size]
        start = fitting[0][0] - 8 if fitting else self.end
        if fitting:
            self.holes.remove(fitting[0])
        else:
            self.end = start + len(whole)
        self.data[start : start + len(whole)] = whole
        self.rows[name] = start, payload

    def remove(self, name: str) -> None:
        start, payload = self.rows.pop(name)
        size = len(name) + len(payload)
        if start + 24 + size == self.end:
            self.end = start
            return
        self.data[start : start + 20] = builder.hole(size)[:20]
        self.holes.append((start + 8, size))

    def file(self) -> bytes:
        rows = [
            builder.file_row(name, start, builder.entry(name, payload))
            for name, (start, payload) in self.rows.items()
        ]
        holes = [builder.u32(at) + bytes(4) + builder.u32(size) for at, size in self.holes]
        body = self.data[: self.end]
        body[8] = 1
        return bytes(body) + builder.tables(rows, holes, self.end)


@settings(max_examples=100)
@given(steps=operations(), mode=st.sampled_from(["w", "a"]))
def test_holes_are_used_as_sprint_uses_them(
    scratch: Path, steps: list[tuple[str, str, bytes]], mode: str
) -> None:
    path = scratch / "x.cache"
    path.unlink(missing_ok=True)
    model, writer = Model(), ArchiveWriter(path, mode)
    for kind, name, payload in steps:
        if kind == "reopen":
            writer.close()
            assert path.read_bytes() == model.file()
            writer = ArchiveWriter(path, "a")
        elif kind == "remove" and name in model.rows:
            model.remove(name)
            writer.remove(name)
        elif kind == "replace" or (kind == "add" and name not in model.rows):
            model.add(name, payload)
            writer.add_bytes(name, payload, replace=kind == "replace")
    writer.close()
    assert path.read_bytes() == model.file()
    assert contents(path) == {name: payload for name, (_, payload) in model.rows.items()}


def test_removing_what_is_not_there(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x.cache") as writer:
        with pytest.raises(EntryNotFoundError):
            writer.remove("a")
        writer.add_bytes("a", b"1", attributes={})
        writer.remove("a")
    assert list(contents(scratch / "x.cache")) == ["a.attribs"]


def test_a_false_table_removes_nothing(scratch: Path) -> None:
    path = scratch / "x.cache"
    data = bytearray(builder.archive([("a", b"12345"), ("b", b"1")]))
    data[17] = ord("z")  # the name in the entry
    path.write_bytes(data)
    with ArchiveWriter(path, "a") as writer, pytest.raises(CorruptError, match="'a'"):
        writer.remove("a")
    assert path.read_bytes() == data


def test_no_run_into_an_archive_with_holes(scratch: Path) -> None:
    run = builder.entry("d", b"4")
    sizes = np.array([1], np.uint32)
    (scratch / "x.cache").write_bytes(builder.archive([(name, b"1") for name in "abc"]))
    with ArchiveWriter(scratch / "x.cache", "a") as writer:
        writer.remove("b")
        assert not writer.can_run
        with pytest.raises(ValueError, match="it has holes"):
            writer.add_run(["d"], sizes, 0 * sizes, [run])
        assert "d" not in writer
    assert sorted(contents(scratch / "x.cache")) == ["a", "c"]


def test_holes_that_the_file_does_not_have_are_not_used(scratch: Path) -> None:
    rows = [builder.file_row("a", 9, builder.entry("a", b"1234"))]
    data = builder.MAGIC + b"\1" + builder.entry("a", b"1234")
    hole = builder.u32(17) + bytes(4) + builder.u32(5)
    (scratch / "x.cache").write_bytes(data + builder.tables(rows, [hole], len(data)))
    written(scratch / "x.cache", {"b": b"5678"}, "a")
    assert contents(scratch / "x.cache") == {"a": b"1234", "b": b"5678"}


# ---- one writer at a time --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"), [("x", "x"), ("x", "w"), ("w", "a"), ("a", "w"), ("a", "a")]
)
def test_a_second_writer_is_refused(scratch: Path, first: str, second: str) -> None:
    path = scratch / "x.cache"
    if first != "x":
        written(path, {"old": b"1"})
    with ArchiveWriter(path, first) as writer:
        writer.add_bytes("a", b"1")
        with pytest.raises(SprintCacheError, match=r"x\.cache.*another writer"):
            ArchiveWriter(path, second)
        writer.add_bytes("b", b"1")
    written(path, {"c": b"1"}, "a")
    assert {"a", "b", "c"} <= contents(path).keys()


def test_an_unfinished_archive_is_named(scratch: Path) -> None:
    partial = scratch / "x.cache.partial"
    partial.write_bytes(builder.archive([("a", b"1")], table=False))
    with pytest.raises(SprintCacheError, match=r"partial.*recover"):
        ArchiveWriter(scratch / "x.cache")
    written(scratch / "x.cache", {"b": b"2"}, "w")
    assert contents(scratch / "x.cache") == {"b": b"2"}
    assert not partial.exists()


def test_a_partial_that_is_a_link_of_the_archive_is_not_overwritten(scratch: Path) -> None:
    written(scratch / "x.cache", {"a": b"1"})
    os.link(scratch / "x.cache", scratch / "x.cache.partial")  # killed after link
    os.link(scratch / "x.cache", scratch / "y.cache")
    written(scratch / "x.cache", {"b": b"2"}, "w")
    assert contents(scratch / "x.cache") == {"b": b"2"}
    assert contents(scratch / "y.cache") == {"a": b"1"}


def test_many_threads(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x.cache", compress=True) as writer:

        def add(number: int) -> None:
            for i in range(50):
                writer.add_bytes(f"{number}/{i}", bytes([number, i]) * 100, attributes={})

        threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    actual = contents(scratch / "x.cache")
    assert len(actual) == 400
    assert all(
        data == bytes(map(int, name.split("/"))) * 100
        for name, data in actual.items()
        if not name.endswith(".attribs")
    )


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(0, 40), max_size=30),
    flush_every=st.integers(1, 30),
    bytes_every=st.integers(2, 30),
    aligned=st.sampled_from([1, 64, 512]),
)
def test_buffered_entries_are_written_at_their_offsets(
    scratch: Path, counts: list[int], flush_every: int, bytes_every: int, aligned: int
) -> None:
    """Features that wait, in a small buffer, between bytes that do not, and flushes."""
    path, entries = scratch / "x.cache", []
    with pytest.MonkeyPatch.context() as patch, ArchiveWriter(path, "w") as writer:
        patch.setattr("sprintcache._write.write_buffer._MAX_BUFFERED", 1500)
        patch.setattr("sprintcache._write.write_buffer._ALIGNED", aligned)
        for number, count in enumerate(counts):
            name = f"segment/{number}"
            if number % bytes_every:
                array = np.full((count, 5), number, np.float32)
                writer.add_features(name, array)
                entries.append((name.encode(), builder.features(array.tolist()) if count else b""))
            else:
                writer.add_bytes(name, bytes(count))
                entries.append((name.encode(), bytes(count)))
            if number % flush_every == 0:
                writer.flush()
    assert path.read_bytes() == builder.archive(entries)


# ---- exceptions and failures -----------------------------------------------------------------


def interrupted(writer: ArchiveWriter) -> None:
    with writer:
        writer.add_bytes("a", b"1")
        raise KeyboardInterrupt


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("mode", ["x", "w"])
def test_an_exception_removes_what_was_written(scratch: Path, mode: str, keep: bool) -> None:
    path = scratch / "x.cache"
    if mode == "w":
        written(path, {"old": b"1"})
    before = path.read_bytes() if mode == "w" else None
    with pytest.raises(KeyboardInterrupt):
        interrupted(ArchiveWriter(path, mode, keep_partial=keep))
    assert (path.read_bytes() if path.exists() else None) == before
    assert (scratch / "x.cache.partial").exists() == keep


def test_a_partial_archive_that_is_kept_has_all_that_was_added(scratch: Path) -> None:
    path = scratch / "x.cache"

    def interrupted_later() -> None:
        with ArchiveWriter(path, keep_partial=True) as writer:
            for number in range(100):
                writer.add_features(str(number), np.full((7, 3), number, np.float32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_later()
    recover(path)
    with open_archive(path) as archive:
        assert {name: set(f.ravel().tolist()) for name, f in archive.iter_features()} == {
            str(number): {number} for number in range(100)
        }


def test_an_exception_while_appending_keeps_what_was_added(scratch: Path) -> None:
    written(scratch / "x.cache", {"old": b"1"})
    with pytest.raises(KeyboardInterrupt):
        interrupted(ArchiveWriter(scratch / "x.cache", "a"))
    assert contents(scratch / "x.cache") == {"old": b"1", "a": b"1"}


@pytest.mark.parametrize("data", [b"the same size", b"of another size", b"the largest"])
@pytest.mark.parametrize("name", ["first", "last"])
def test_an_interrupted_replacement_loses_nothing(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes
) -> None:
    old, real = {"first": b"the SAME size", "last": b"the SAME size"}, os.pwritev
    left = 0

    def interrupted_write(fd: int, parts: Sequence[Any], offset: int) -> int:
        nonlocal left
        left -= 1
        if left == 0:
            whole = b"".join(parts)
            real(fd, [whole[: len(whole) // 2]], offset)
            raise KeyboardInterrupt
        return real(fd, parts, offset)

    monkeypatch.setattr(os, "pwritev", interrupted_write)
    actual: list[bytes] = []
    for calls in range(1, 15):
        written(scratch / "x.cache", old, "w")
        left = calls
        with contextlib.suppress(KeyboardInterrupt), ArchiveWriter(scratch / "x.cache", "a") as w:
            w.add_bytes(name, data, replace=True)
            left = 0
        actual.append(contents(scratch / "x.cache").pop(name))
        assert contents(scratch / "x.cache") == {**old, name: actual[-1]}
    assert set(actual) == {old[name], data}


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """Files cannot grow beyond a limit: as on a full disk, the last write is a short one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_a_full_disk(scratch: Path, mode: str, limited: Callable[[int], None]) -> None:
    path = scratch / "x.cache"
    if mode != "x":
        written(path, {"old": b"1"})
    before = path.read_bytes() if mode == "w" else None
    target = path if mode == "a" else scratch / "x.cache.partial"

    def fill() -> None:
        with ArchiveWriter(path, mode) as writer:
            writer.add_bytes("a", b"1" * 100)
            limited(500)
            writer.add_bytes("b", b"2" * 1000)

    try:
        with pytest.raises(OSError, match=r"recover\(.*x\.cache") as raised:
            fill()
    finally:
        limited(resource.RLIM_INFINITY)
    assert raised.value.errno == errno.EFBIG
    assert raised.value.filename == str(target)
    data = target.read_bytes()
    assert data[8] == 0
    actual = {row.name: reference.payload(data, row) for row in reference.rows(data)}
    assert actual == {**({b"old": b"1"} if mode == "a" else {}), b"a": b"1" * 100}
    if mode == "w":
        assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["x", "w", "a"])
def test_a_full_disk_at_the_end(scratch: Path, mode: str, limited: Callable[[int], None]) -> None:
    path = scratch / "x.cache"
    if mode != "x":
        written(path, {"old": b"1"})
    writer = ArchiveWriter(path, mode)
    writer.add_bytes("a", b"1" * 100)
    limited(170)
    with pytest.raises(OSError, match="recover"):
        writer.close()
    limited(resource.RLIM_INFINITY)
    target = path if mode == "a" else scratch / "x.cache.partial"
    assert target.read_bytes()[8] == 0
    assert recover(target).num_entries == 1 + (mode == "a")
    assert contents(target)["a"] == b"1" * 100


def test_a_failure_is_not_forgotten(scratch: Path, limited: Callable[[int], None]) -> None:
    writer = ArchiveWriter(scratch / "x.cache")
    limited(100)
    with pytest.raises(OSError, match="recover"):
        writer.add_bytes("a", bytes(1000))
    limited(resource.RLIM_INFINITY)
    with pytest.raises(SprintCacheError, match="recover"):
        writer.add_bytes("b", b"")
    with pytest.raises(SprintCacheError, match="not finished"):
        writer.close()
    assert os.listdir(scratch) == ["x.cache.partial"]


def test_short_writes(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev

    def short(fd: int, parts: Sequence[Any], offset: int) -> int:
        return real(fd, [b"".join(parts)[:7]], offset)

    features = np.arange(3000, dtype=np.float32).reshape(-1, 2)
    for name in ("x", "y"):
        with ArchiveWriter(scratch / name) as writer:
            writer.add_features("a", features, gather=0)
        monkeypatch.setattr(os, "pwritev", short)
    assert (scratch / "x").read_bytes() == (scratch / "y").read_bytes()


def test_a_forked_child_leaves_the_archive_alone(scratch: Path) -> None:
    path = scratch / "x.cache"
    with ArchiveWriter(path) as writer:
        writer.add_bytes("a", b"1")
        child = os.fork()
        if child == 0:
            try:
                writer.add_bytes("b", b"1")
                os._exit(1)
            except SprintCacheError:
                writer.__exit__(SystemExit)
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        writer.add_bytes("c", b"1")
    assert contents(path) == {"a": b"1", "c": b"1"}


def test_a_child_does_not_wait_for_a_thread_that_it_does_not_have(scratch: Path) -> None:
    writer = ArchiveWriter(scratch / "x.cache")
    with writer._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                writer.add_bytes("b", b"1")
            except SprintCacheError:
                writer.__exit__(SystemExit)
                writer.close()
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    writer.close()
    assert contents(scratch / "x.cache") == {}


def test_the_list_of_holes_at_any_offset(scratch: Path) -> None:
    """Also inside the trailer that names it: then the archive has no list of holes."""
    data = builder.archive([("a", b"xyz")], holes=[1])
    (end,) = struct.unpack("<Q", data[-8:])
    path = scratch / "x.cache"
    for offset in (*range(len(data) + 2), 2**63 - 1, 2**63, 2**64 - 1):
        path.write_bytes(data[:-16] + struct.pack("<QQ", offset, end))
        with ArchiveWriter(path, "a") as writer:
            writer.add_bytes("b", b"added")
        assert contents(path) == {"a": b"xyz", "b": b"added"}


def test_holes_inside_an_entry_are_not_filled(scratch: Path) -> None:
    """A damaged list of holes points at bytes of a payload that look like one."""
    payload = b"before" + builder.hole(20) + b"after"
    data = builder.archive([("a", payload), ("b", b"x")])
    position = data.index(builder.hole(20)) + 8
    holes_at, end = struct.unpack("<QQ", data[-16:])
    for size, where in [(20, position), (20, 1 << 60), (20, 8), (1 << 31, position)]:
        hole = struct.pack("<IQI", 1, where, size)
        path = scratch / "x.cache"
        path.write_bytes(data[:-20] + hole + struct.pack("<QQ", holes_at, end))
        with ArchiveWriter(path, "a") as writer:
            writer.add_bytes("n", bytes(19))
        with open_archive(path) as archive:
            assert [archive.read_bytes(name) for name in archive] == [payload, b"x", bytes(19)]


def test_entries_that_overlap_are_not_appended_to(scratch: Path) -> None:
    """To replace one of them would change the other."""
    inner = builder.entry("inner", b"y")
    data = builder.archive([("outer", inner), ("other", b"z")], holes=[2])
    table = data.rindex(struct.pack("<I", 2) + builder.string("outer"))
    position = data.index(builder.string("inner")) + 9
    row = builder.string("inner") + struct.pack("<QII", position, 1, 0)
    at = data.rindex(builder.string("other"))
    data = data[:at] + row + data[at + len(row) :]
    path = scratch / "x.cache"
    path.write_bytes(data)
    assert table < at
    with pytest.raises(CorruptError, match="overlaps entry 'outer'"):
        ArchiveWriter(path, "a")
    assert path.read_bytes() == data
    recover(path)
    with ArchiveWriter(path, "a") as writer:
        writer.add_bytes("inner", b"new")
    with open_archive(path) as archive:
        assert archive.read_bytes("outer") == inner
        assert archive.read_bytes("inner") == b"new"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="names of the instructions of Python 3.11")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("work", ["add_features", "remove", "flush"])
def test_an_exception_at_any_point_leaves_the_lock_free(
    work: str, kind: type[BaseException], scratch: Path
) -> None:
    """While its traceback exists, the writer can be used and closed."""

    def attempt(index: int) -> Interrupt:
        path = scratch / "x.cache"
        path.unlink(missing_ok=True)
        interrupt = Interrupt(kind, index, "sprintcache._write.writer", "contextlib")
        matrix = np.ones((2, 3), np.float32)
        writer = ArchiveWriter(path)
        writer.add_features("a", matrix)
        raised: BaseException | None = None
        arguments = {"add_features": ("b", matrix), "remove": ("a",), "flush": ()}[work]
        try:
            with interrupt:
                getattr(writer, work)(*arguments)
        except kind as error:
            raised = error
        assert (raised is not None) == bool(interrupt.position)
        assert writer._lock.acquire(timeout=1), interrupt.position
        writer._lock.release()
        writer.add_features("c", matrix)
        writer.close()
        with open_archive(path) as archive:
            np.testing.assert_array_equal(archive.read_features("c"), matrix)
        return interrupt

    num_points = attempt(-1).num_passed
    assert num_points > 3
    for index in range(num_points):
        attempt(index)
