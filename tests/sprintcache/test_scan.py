"""Archives without a (sound) table: every complete entry is found, the rest is reported."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import Archive, EntryInfo, ScanReport, SkippedRange, open_archive
from tests.oracle import builder
from tests.oracle.builder import u32
from tests.oracle.compare import IOS, text

pytestmark = pytest.mark.usefixtures("quiet")
io_modes = pytest.mark.parametrize("io", IOS)

HEADER = builder.MAGIC + b"\0"
NAMES = [b"a", b"bb", b"ccc", b"dddd", b"eeeee"]
ENTRIES = [(name, b"payload of " + name) for name in NAMES]
WHOLE = [builder.entry(*entry) for entry in ENTRIES]


def contents(archive: Archive) -> dict[str, bytes]:
    return {name: archive.read_bytes(name) for name in archive}


def found_in(path: Path, data: bytes, io: str) -> tuple[dict[str, bytes], ScanReport]:
    """What a scan finds, and its report."""
    path.write_bytes(data)
    with open_archive(path, io) as archive:
        report = archive.scan_report
        assert isinstance(report, ScanReport)
        return contents(archive), report


def expected_without(index: int) -> dict[str, bytes]:
    return {text(name): payload for name, payload in ENTRIES[:index] + ENTRIES[index + 1 :]}


# ---- damage in the middle --------------------------------------------------------------------

DAMAGE: dict[str, Callable[[bytes, int], bytes]] = {
    "overwritten": lambda data, at: data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :],
    "removed": lambda data, at: data[:at] + data[at + 1 :],
    "inserted": lambda data, at: data[:at] + b"\x07" + data[at:],
    "cut off up to the next entry": lambda data, at: data[:at],
}


@io_modes
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("table", [False, True])
def test_all_other_entries_are_found(scratch: Path, damage: str, table: bool, io: str) -> None:
    """The middle one is damaged at every byte in turn; no four-byte grid is left where it was."""
    before, middle, after = b"".join(WHOLE[:2]), WHOLE[2], b"".join(WHOLE[3:])
    flag = builder.MAGIC + bytes([table])
    trailer = struct.pack("<QQ", 3, 5) if table else b""  # not a table
    for at in range(len(middle)):
        data = flag + before + DAMAGE[damage](middle, at) + after + trailer
        actual, report = found_in(scratch / "x.cache", data, io)
        others = expected_without(2)
        assert {name: actual.get(name) for name in others} == others
        extra = actual.keys() - others.keys()
        assert len(extra) <= 1  # the middle one, perhaps under another name
        assert report.num_entries == len(actual)


@io_modes
@pytest.mark.parametrize("lost", [1, 3])
def test_a_start_tag_that_closes_an_end_tag_starts_an_entry_too(
    scratch: Path, lost: int, io: str
) -> None:
    data = HEADER + WHOLE[0][:-lost] + WHOLE[1] + WHOLE[2]
    actual, report = found_in(scratch / "x.cache", data, io)
    assert list(actual.items()) == [(text(name), payload) for name, payload in ENTRIES[:3]]
    assert report.skipped_bytes == 0


@io_modes
def test_tags_that_start_nothing(scratch: Path, io: str) -> None:
    """Start tags inside payloads and between entries, also overlapping ones."""
    tags = builder.START_TAG[:2] + builder.START_TAG * 2 + builder.START_TAG[:3]
    inner = builder.entry(b"inner", b"an entry in an entry")
    entries = [(b"outer", tags + inner + tags), (b"last", builder.END_TAG * 3)]
    pieces = [tags, builder.entry(*entries[0]), tags, builder.entry(*entries[1]), tags]
    actual, report = found_in(scratch / "x.cache", HEADER + b"".join(pieces), io)
    assert actual == {text(name): payload for name, payload in entries}
    assert [(skipped.offset, skipped.size) for skipped in report.skipped] == [
        (9 + len(b"".join(pieces[:at])), len(tags)) for at in (0, 2, 4)
    ]


# ---- what may be between entries -------------------------------------------------------------


@io_modes
def test_holes_and_duplicates(scratch: Path, io: str) -> None:
    entries = [(b"a", b"first"), (b"b", b""), (b"a", b"second"), (b"b", b"third")]
    data = builder.archive(entries, table=False, holes=[0, 2, 2, 4])
    actual, report = found_in(scratch / "x.cache", data, io)
    assert list(actual.items()) == [("a", b"first"), ("b", b"")]
    assert (report.num_entries, report.num_holes, report.skipped) == (4, 4, ())


@io_modes
@pytest.mark.parametrize("flag", [0, 1])
def test_the_remains_of_an_old_table(scratch: Path, flag: int, io: str) -> None:
    """A writer that appended to an archive and was killed: new entries on top of the table."""
    old = builder.archive(ENTRIES)
    end = 9 + sum(map(len, WHOLE))
    new = builder.entry(b"new", b"on top")
    assert len(new) < len(old) - end
    data = builder.MAGIC + bytes([flag]) + old[9:end] + new + old[end + len(new) :]
    actual, report = found_in(scratch / "x.cache", data, io)
    assert actual == {text(name): payload for name, payload in [*ENTRIES, (b"new", b"on top")]}
    (rest,) = report.skipped
    assert (rest.offset, rest.size) == (end + len(new), len(data) - end - len(new))


@io_modes
def test_an_archive_that_never_got_an_entry(scratch: Path, io: str) -> None:
    for data in (HEADER, builder.MAGIC + b"\1"):
        actual, report = found_in(scratch / "x.cache", data, io)
        assert (actual, report.num_entries, report.skipped) == ({}, 0, ())
    for junk in (b"x", builder.START_TAG, WHOLE[0][:-1], bytes(5000), b"junk" * 30_000):
        actual, report = found_in(scratch / "x.cache", HEADER + junk, io)
        assert actual == {}
        assert [(skipped.offset, skipped.size) for skipped in report.skipped] == [(9, len(junk))]


# ---- the report ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """Part of a file; `name` is None for other bytes, empty for holes."""

    data: bytes
    name: bytes | None = None
    payload: bytes = b""


def entry_piece(name: bytes, payload: bytes) -> Piece:
    return Piece(builder.entry(name, payload), name, payload)


JUNK = st.one_of(
    st.lists(st.integers(0, 15), min_size=1, max_size=40).map(bytes),  # no part of a tag
    st.integers(5, 23).map(lambda lost: WHOLE[3][:-lost]),
    st.just(builder.entry(b"checksum", b"payload", checksum=1)),
)
PIECES = st.lists(
    st.one_of(
        st.builds(entry_piece, st.sampled_from(NAMES), st.binary(max_size=20)),
        st.builds(entry_piece, st.just(b""), st.binary(max_size=20)),
        st.builds(Piece, JUNK),
    ),
    max_size=8,
)


@io_modes
@settings(max_examples=100)
@given(pieces=PIECES)
def test_the_report_covers_exactly_what_was_skipped(
    scratch: Path, pieces: list[Piece], io: str
) -> None:
    data = HEADER
    skipped: list[int] = []
    expected: dict[str, bytes] = {}
    for piece in pieces:
        if piece.name is None:
            skipped += range(len(data), len(data) + len(piece.data))
        elif piece.name:
            expected.setdefault(text(piece.name), piece.payload)
        data += piece.data
    actual, report = found_in(scratch / "x.cache", data, io)
    assert actual == expected
    assert report.num_entries == sum(bool(piece.name) for piece in pieces)
    assert report.num_holes == sum(piece.name == b"" for piece in pieces)
    covered = [at for part in report.skipped for at in range(part.offset, part.offset + part.size)]
    assert covered == skipped
    assert report.skipped_bytes == len(skipped)
    assert report.path == str(scratch / "x.cache")
    assert all(isinstance(part, SkippedRange) and part.reason for part in report.skipped)
    assert len(str(report).splitlines()) == 1
    assert not skipped or f"{len(skipped)} bytes skipped" in str(report)


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (b"no tag here", "no start tag"),
        (WHOLE[3][:10], "head is cut by the end of the file"),
        (WHOLE[3][:-1], "entry 'dddd' is cut"),
        (builder.hole(9)[:-1], "a hole is cut"),
        (WHOLE[3][:-1] + b"?", "entry 'dddd' has no end tag"),
        (builder.entry(b"dddd", b"", checksum=3), "checksum field that is not 0"),
    ],
)
def test_the_report_says_why(scratch: Path, piece: bytes, reason: str) -> None:
    _, report = found_in(scratch / "x.cache", HEADER + WHOLE[0] + piece, "mmap")
    assert [part.reason for part in report.skipped if reason in part.reason]


def test_a_scan_is_logged(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("sprintcache", "sprintcache.archive"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
    (scratch / "x.cache").write_bytes(HEADER + WHOLE[0] + b"junk")
    with caplog.at_level(logging.WARNING), open_archive(scratch / "x.cache") as archive:
        assert [record.getMessage() for record in caplog.records] == [str(archive.scan_report)]
    caplog.clear()
    (scratch / "x.cache").write_bytes(builder.archive(ENTRIES))
    with caplog.at_level(logging.WARNING), open_archive(scratch / "x.cache") as archive:
        assert archive.scan_report is None
    assert caplog.records == []


# ---- valid tables, damaged tables ------------------------------------------------------------


@io_modes
def test_no_byte_of_a_table_can_hide_an_entry(scratch: Path, io: str) -> None:
    """Each byte of table and trailer changed: a scan, or a table that says the same names."""
    data = builder.archive(ENTRIES)
    end = 9 + sum(map(len, WHOLE))
    scans = 0
    for at in range(end, len(data)):
        for value in (0, 1, data[at] ^ 0xFF, data[at] ^ 1):
            damaged = data[:at] + bytes([value]) + data[at + 1 :]
            (scratch / "x.cache").write_bytes(damaged)
            with open_archive(scratch / "x.cache", io) as archive:
                assert len(archive) == len(ENTRIES)
                if archive.scan_report is not None:
                    scans += 1
                    assert contents(archive) == dict(map(named, ENTRIES))
    assert scans > 100


def named(entry: tuple[bytes, bytes]) -> tuple[str, bytes]:
    return text(entry[0]), entry[1]


@io_modes
def test_the_table_as_returnn_leaves_it(scratch: Path, io: str) -> None:
    """No number of holes, and 0 as its position; anything else is damage."""
    for entries in (ENTRIES, []):
        sound = builder.archive(entries)
        data = sound[:-20] + bytes(8) + sound[-8:]
        (scratch / "x.cache").write_bytes(data)
        with open_archive(scratch / "x.cache", io) as archive:
            assert archive.scan_report is None
            assert contents(archive) == dict(map(named, entries))
        actual, report = found_in(scratch / "x.cache", sound[:-20] + u32(1) * 2 + sound[-8:], io)
        assert actual == dict(map(named, entries))
        assert report.skipped_bytes == len(data) - 9 - sum(map(len, WHOLE)) * bool(entries)


@io_modes
def test_a_table_of_nothing_in_an_archive_of_something(scratch: Path, io: str) -> None:
    """The trailer points at the number of holes, which is 0: no reason to open as empty."""
    data = builder.archive(ENTRIES)
    actual, _ = found_in(scratch / "x.cache", data[:-8] + struct.pack("<Q", len(data) - 20), io)
    assert actual == dict(map(named, ENTRIES))


# ---- names -----------------------------------------------------------------------------------


@io_modes
@pytest.mark.parametrize("table", [True, False])
def test_names_are_utf8_or_any_other_bytes(scratch: Path, table: bool, io: str) -> None:
    raw = [
        "s\u00e9g/\u6f22\u5b57/\U0001f600".encode(),
        b"\xff\xfe",
        b"a\xc3",
        b"\xed\xa0\x80",
        b" \n\t",
        b"\0",
    ]
    data = builder.archive([(name, name + name) for name in raw], table=table)
    (scratch / "x.cache").write_bytes(data)
    with open_archive(scratch / "x.cache", io) as archive:
        assert [os.fsencode(name) for name in archive] == raw
        assert list(archive.segments) == list(archive)
        for name in raw:
            assert text(name) in archive
            assert archive.read_bytes(text(name)) == name + name
            assert archive.entry(text(name)).name == text(name)
        for absent in ("s\u00e9g", "", "\ud800", "\udcff", "a\udcc3x"):
            assert absent not in archive


# ---- more than 4 GiB -------------------------------------------------------------------------

GIB = 1 << 30


@dataclass
class Sparse:
    """Writes an archive of which most is a hole in the file."""

    path: Path
    rows: list[bytes] = field(default_factory=list)
    expected: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def write(self, entries: list[tuple[bytes, bytes, int]], flag: int) -> None:
        with open(self.path, "wb") as file:
            file.write(builder.MAGIC + bytes([flag]))
            for name, payload, at in entries:
                file.seek(at)
                whole = builder.entry(name, payload)
                file.write(whole)
                self.rows.append(builder.file_row(name, at, whole))
                self.expected[text(name)] = (at + 8 + len(name), payload)
            if flag:
                file.write(builder.tables(self.rows, [], file.tell()))
        if os.stat(self.path).st_blocks * 512 > GIB:
            pytest.skip("the file system has no sparse files")

    def check(self, archive: Archive) -> None:
        assert list(archive) == list(self.expected)
        for name, (position, payload) in self.expected.items():
            assert archive.entry(name) == EntryInfo(name, position, len(payload), 0, str(self.path))
            assert archive.read_bytes(name) == payload


@io_modes
def test_entries_beyond_4_gib(tmp_path: Path, io: str) -> None:
    sparse = Sparse(tmp_path / "x.cache")
    features = builder.features([[1.5, 2.5]] * 3)
    places = [9, 2 * GIB, 4 * GIB - 60, 4 * GIB + 200, 9 * GIB]
    sparse.write([(b"%d" % at, features, at) for at in places], 1)
    with open_archive(sparse.path, io) as archive:
        sparse.check(archive)
        assert archive.scan_report is None
        for name in archive:
            assert archive.read_features(name).tolist() == [[1.5, 2.5]] * 3
        assert [name for name, _ in archive.iter_features()] == list(archive)
        batch, lengths = archive.read_features_batch(list(archive), num_threads=2)
        assert batch.shape == (5, 3, 2)
        assert lengths.tolist() == [3] * 5


@io_modes
def test_a_scan_beyond_4_gib(tmp_path: Path, io: str) -> None:
    """Two holes of almost 4 GiB each between the entries."""
    sparse = Sparse(tmp_path / "x.cache")
    size = 2**32 - 1
    first = builder.entry(b"first", b"1")
    behind_one = 9 + len(first) + 24 + size
    sparse.write(
        [
            (b"first", b"1", 9),
            (b"far", b"22", behind_one),
            (b"end", b"", behind_one + 29 + 24 + size),
        ],
        0,
    )
    with open(sparse.path, "r+b") as file:
        for at in (9 + len(first), behind_one + 29):
            file.seek(at)
            file.write(builder.START_TAG + u32(0) + struct.pack("<III", size, 0, 0))
            file.seek(at + 20 + size)
            file.write(builder.END_TAG)
    with open_archive(sparse.path, io) as archive:
        sparse.check(archive)
        report = archive.scan_report
        assert isinstance(report, ScanReport)
        assert (report.num_entries, report.num_holes, report.skipped) == (3, 2, ())


@io_modes
def test_a_table_at_a_wrong_offset_is_not_read_to_the_end(tmp_path: Path, io: str) -> None:
    """One flipped bit in the trailer of a large archive: refused early, not read up to there."""
    sparse = Sparse(tmp_path / "x.cache")
    after = 2 * GIB + 9 + len(WHOLE[0]) + 24
    sparse.write([(*ENTRIES[0], 9), (*ENTRIES[1], after)], 1)
    size = os.stat(sparse.path).st_size
    with open(sparse.path, "r+b") as file:
        for at, data in (
            (9 + len(WHOLE[0]), builder.hole(0)[:8] + struct.pack("<III", 2 * GIB, 0, 0)),
            (after - 4, builder.END_TAG),
            (size - 5, b"\0"),  # the table is at 0 GiB instead of 2: zeros in the hole
            (size - 8, struct.pack("<I", 5000)),
        ):
            file.seek(at)
            file.write(data)
    before = read_so_far()
    with open_archive(sparse.path, io) as archive:
        after = read_so_far()
        sparse.check(archive)
        assert isinstance(archive.scan_report, ScanReport)
        assert archive.scan_report.num_holes == 1
    if before is not None and after is not None:
        assert after - before < 16 << 20


def read_so_far() -> int | None:
    """Bytes that this process got by read calls, where the system counts them."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return int(lines[0].removeprefix("rchar:"))


@io_modes
def test_a_file_of_nothing_but_start_tags_is_read_a_few_times(scratch: Path, io: str) -> None:
    """Not once for every tag."""
    data = HEADER + WHOLE[0] + builder.START_TAG * (1 << 16)
    before = read_so_far()
    if before is None:
        pytest.skip("no /proc/self/io")
    actual, report = found_in(scratch / "x.cache", data, io)
    after = read_so_far()
    assert actual == dict(map(named, ENTRIES[:1]))
    assert report.skipped_bytes == 4 << 16
    assert after is not None
    assert after - before < 20 * len(data)
