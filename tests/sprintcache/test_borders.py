"""Limits and borders of the core, met exactly: sizes, counts, buffers, windows, tables."""

from __future__ import annotations

import gzip
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sprintcache import (
    AllophoneLabeling,
    ArchiveChangedError,
    ArchiveWriter,
    Block,
    CorruptError,
    FormatError,
    LabelError,
    UnsupportedError,
    open_archive,
    verify,
)
from sprintcache._reader import LabelTable
from tests.oracle import builder
from tests.oracle.compare import IOS

io_modes = pytest.mark.parametrize("io", IOS)


def written(path: Path, *entries: tuple[str, bytes], **options: Any) -> Path:
    path.write_bytes(builder.archive(entries, **options))
    return path


def alignment(code: bytes, items: int, magic: bytes = b"ALIGNRLE", tail: bytes = b"") -> bytes:
    """The entry of an alignment with this code."""
    return builder.alignment_entry(magic + struct.pack("<I", items) + code + tail)


# ---- alignments and labels


@io_modes
def test_a_long_alignment_of_repeats_meets_the_bound(scratch: Path, io: str) -> None:
    """60,000 items in 469 repeats: all but the last have 128 items for 5 bytes."""
    entry = builder.alignment_entry(builder.alignment_rle([(t, 7) for t in range(60_000)]))
    assert len(entry) < 2500
    with open_archive(written(scratch / "x", ("a", entry)), io) as archive:
        assert archive.num_frames("a") == 60_000
        assert np.array_equal(archive.read_alignment("a").emission, np.full(60_000, 7))


def test_frames_without_items_at_the_end_do_not_count(scratch: Path) -> None:
    """Weighted code: a frame with an item at time 4, then two frames without items."""
    code = builder.packed(1) + builder.packed(3) + builder.packed(4) + builder.packed(9)
    packet = b"ALIGNRLE" + struct.pack("<I", 0x80000002) + code + struct.pack("<f", 0.5)
    entry = builder.alignment_entry(packet)
    with open_archive(written(scratch / "x", ("a", entry))) as archive:
        assert archive.num_frames("a") == archive.read_alignment("a").num_frames == 5


@pytest.fixture
def labeling(scratch: Path) -> AllophoneLabeling:
    (scratch / "allophones").write_text("a{#+#}\nb{#+#}\n")
    states = [f"{name}{{#+#}}.{state} {state}\n" for name in "ab" for state in range(16)]
    (scratch / "tying").write_text("".join(states))
    return AllophoneLabeling(None, scratch / "allophones", state_tying_file=scratch / "tying")


@pytest.mark.parametrize("repeat", [True, False])
def test_a_last_run_one_longer_than_the_items(
    scratch: Path, labeling: AllophoneLabeling, repeat: bool
) -> None:
    count = 21
    ids = struct.pack("<I", 1) if repeat else struct.pack("<I", 1) * count
    code = bytes([256 - count if repeat else count]) + ids
    path = written(scratch / "x", ("a", alignment(code, count - 1)))
    with open_archive(path) as archive:
        out = np.full((1, count), -7, np.int32)
        with pytest.raises(FormatError, match="beyond the declared number"):
            archive.read_labels_batch(["a"], labeling, out=out)
        assert out[0, -1] == -7


def test_alphabets_of_all_states_and_an_id_twice(
    scratch: Path, labeling: AllophoneLabeling
) -> None:
    states = [9, 10, 11, 15]
    items = [(t, 1 | state << 26) for t, state in enumerate(states)]
    alphabet = {id_: f"b{{#+#}}.{id_ >> 26}".encode() for _, id_ in items}
    packet = builder.alignment_rle(items, magic=b"AALPHRLE", alphabet=alphabet)
    wrong = {**alphabet, items[1][1]: b"b{#+#}.11"}
    other = builder.alignment_rle(items, magic=b"AALPHRLE", alphabet=wrong)
    tail = builder.alphabet_tail(alphabet)
    row = builder.packed(items[0][1]) + builder.string("b{#+#}.9")
    twice = packet.removesuffix(tail) + builder.packed(5) + tail[1:] + row
    entries = [("a", packet), ("b", other), ("c", twice)]
    path = written(scratch / "x", *((n, builder.alignment_entry(p)) for n, p in entries))
    with open_archive(path) as archive:
        assert archive.read_labels("a", labeling).tolist() == states
        with pytest.raises(LabelError, match=r"expected b\{#\+#\}\.10, found b\{#\+#\}\.11"):
            archive.read_labels("b", labeling)
        for read in (archive.read_alignment, lambda name: archive.read_labels(name, labeling)):
            with pytest.raises(CorruptError, match="twice"):
                read("c")


def test_label_tables() -> None:
    table = np.asfortranarray(np.arange(32).reshape(16, 2))
    labels = LabelTable(["a", "b"], table)
    assert labels.table[3, 1] == 7
    assert np.ascontiguousarray(labels.table).tobytes() == labels.table.tobytes()
    assert labels.symbol(1 | 15 << 26) == "b.15"
    assert "no state" in labels.symbol(1 << 30)
    with pytest.raises(ValueError, match="up to 16"):
        LabelTable(["a", "b"], np.zeros((17, 2), np.int32))


def test_form_feeds_and_vertical_tabs_around_lines(scratch: Path) -> None:
    (scratch / "allophones").write_bytes(b"\x0ca{#+#}\x0b\n\x0b\x0c\nb{#+#} \x0c\n")
    (scratch / "phonemes").write_text("a\nb\n")
    labeling = AllophoneLabeling(None, scratch / "allophones", scratch / "phonemes")
    assert labeling.allophones == ["a{#+#}", "b{#+#}"]


# ---- blocks


@pytest.mark.parametrize(("depth", "is_read"), [(16, True), (17, False)])
def test_nested_aggregates(scratch: Path, depth: int, is_read: bool) -> None:
    datatype, packet = "f32", builder.scalar("f32", 1.0, 0, 1)
    for _ in range(depth):
        packet = (
            builder.aggregate([(datatype, packet), (datatype, packet)], 0, 1)
            if datatype == "f32"
            else builder.aggregate([(datatype, packet)], 0, 1)
        )
        datatype = "aggregate"
    entry = builder.block("aggregate", [packet])
    with open_archive(written(scratch / "x", ("a", entry))) as archive:
        for read in (archive.read_blocks, archive.read_times):
            if is_read:
                read("a")
            else:
                with pytest.raises(UnsupportedError, match="nested deeper"):
                    read("a")


@pytest.mark.parametrize("datatype", ["vector-f64", "vector-s16", "vector-u8"])
def test_a_later_packet_of_another_size(scratch: Path, datatype: str) -> None:
    """Converted types; the sizes add up to the same, so that only the packets differ."""
    rows = [[1, 2], [1], [1, 2, 3]]
    packets = [builder.vector(datatype, row, 0, 1) for row in rows]
    entry = builder.block(datatype, packets)
    with (
        open_archive(written(scratch / "x", ("a", entry))) as archive,
        pytest.raises(FormatError, match="frame 1 has 1 values, frame 0 has 2"),
    ):
        archive.read_features("a")


def test_more_packets_than_times(scratch: Path) -> None:
    with ArchiveWriter(scratch / "x") as writer:
        for data in (np.ones((3, 2), np.float32), ["a", "b", "c"]):
            datatype = "string" if isinstance(data, list) else "vector-f32"
            with pytest.raises(ValueError, match=r"times must be \(3, 2\)"):
                writer.add_blocks("a", [Block(datatype, np.zeros((2, 2)), data)])


# ---- gzip


@pytest.mark.parametrize("change", [0, 1])
def test_the_checksum_of_a_gzip_header(scratch: Path, change: int) -> None:
    """The flag FHCRC announces the lower half of the CRC-32 of the header."""
    data = b"data" * 200
    member = gzip.compress(data)
    head = member[:3] + b"\x02" + member[4:10]
    crc = (zlib.crc32(head) & 0xFFFF) ^ change
    (scratch / "a").write_bytes(head + struct.pack("<H", crc) + member[10:])
    with open_archive(scratch) as archive:
        if not change:
            assert archive.read_bytes("a") == data
        else:
            with pytest.raises(CorruptError, match="gzip header"):
                archive.read_bytes("a")


def test_damage_after_the_head_of_a_block(
    scratch: Path,
) -> None:
    """A stored block of 200 bytes, of 512 that are looked at; then a type that does not exist."""
    payload = builder.features([[1.0, 2.0]] * 100)
    stored = b"\0" + struct.pack("<HH", 200, 200 ^ 0xFFFF) + payload[:200] + b"\x07"
    ends = struct.pack("<II", zlib.crc32(payload), len(payload))
    (scratch / "a").write_bytes(builder.gz(payload)[:10] + stored + ends)
    with open_archive(scratch) as archive, pytest.raises(CorruptError, match="deflate"):
        archive.num_frames("a")


@io_modes
def test_bytes_between_gzip_member_and_end_tag(scratch: Path, io: str) -> None:
    payload = b"payload" * 9
    member = builder.gz(payload)
    longer = member[:-8] + b"\0" + member[-8:]
    sizes = struct.pack("<III", len(payload), len(longer), 0)
    whole = builder.START_TAG + builder.string("a") + sizes + longer + builder.END_TAG
    data = builder.MAGIC + b"\1" + whole
    row = builder.string("a") + struct.pack("<QII", 9 + 9, len(payload), len(longer))
    (scratch / "x").write_bytes(data + builder.tables([row], [], len(data)))
    with (
        open_archive(scratch / "x", io) as archive,
        pytest.raises(CorruptError, match="after the compressed data"),
    ):
        archive.read_bytes("a")


# ---- names and tables


@pytest.mark.parametrize("count", [1, 11, 12, 16, 24, 32, 48, 64])
def test_a_missing_name_in_a_full_index(scratch: Path, count: int) -> None:
    entries = [(f"n{number}", b"") for number in range(count)]
    with open_archive(written(scratch / "x", *entries)) as archive:
        assert all(name in archive for name, _ in entries)
        assert not any(f"missing{number}" in archive for number in range(500))


def test_an_entry_that_is_named_like_attributes_of_nothing(scratch: Path) -> None:
    with open_archive(written(scratch / "x", (".attribs", b""), ("attribs", b""))) as archive:
        assert list(archive) == [".attribs", "attribs"]
        assert list(archive.segments) == ["attribs"]


@io_modes
def test_a_table_larger_than_a_mebibyte(scratch: Path, io: str) -> None:
    names = [f"corpus/recording-{number:05}/1" for number in range(30_000)]
    path = written(scratch / "x", *((name, name.encode()) for name in names))
    with open_archive(path, io) as archive:
        assert archive.scan_report is None
        assert list(archive) == names
        assert all(archive.read_bytes(name) == name.encode() for name in names[::997])


@io_modes
def test_a_table_in_the_last_bytes_of_the_file(scratch: Path, io: str) -> None:
    """A table needs 20 bytes with its trailer; from 19 on it is not one."""
    data = builder.archive([("a", b"x")])
    for left, is_table in [(20, True), (19, False), (16, False)]:
        moved = data[:-8] + struct.pack("<Q", len(data) - left)
        (scratch / "x").write_bytes(moved)
        with open_archive(scratch / "x", io) as archive:
            assert archive.scan_report is not None
            text = f"the table is at {len(data) - left}"
            assert (text in archive.scan_report.reason) is not is_table


def test_a_scan_finds_a_tag_across_the_border_of_its_window(scratch: Path) -> None:
    """A file that is not mapped is scanned a mebibyte at a time after damage."""
    for shift in range(5):
        junk = b"\1" * ((1 << 20) - shift)
        whole = builder.entry("a", b"found")
        (scratch / "x").write_bytes(builder.MAGIC + b"\0" + junk + whole)
        with open_archive(scratch / "x", "pread") as archive:
            assert archive.read_bytes("a") == b"found"


@io_modes
def test_iteration_over_entries_across_chunks(scratch: Path, io: str) -> None:
    """Entries of 300 KB in chunks of 1 MiB: each chunk keeps a part of the one before."""
    rng = np.random.default_rng(3)
    matrices = {f"n{number}": rng.random((1900 + number, 40), np.float32) for number in range(12)}
    with ArchiveWriter(scratch / "x") as writer:
        for name, matrix in matrices.items():
            writer.add_features(name, matrix)
    with open_archive(scratch / "x", io) as archive:
        read = dict(archive.iter_features())
    assert list(read) == list(matrices)
    assert all(np.array_equal(read[name], matrix) for name, matrix in matrices.items())


def test_two_threads_in_one_iterator(scratch: Path) -> None:
    """The second one gets a ValueError while the first one decodes."""
    path = written(
        scratch / "x", *((f"n{n}", builder.features([[1.0] * 400] * 900)) for n in range(30))
    )
    with open_archive(path) as archive:
        for _ in range(50):
            iterator = archive.iter_features()
            errors: list[BaseException] = []
            barrier = threading.Barrier(4)

            def run(iterator: Any = iterator, errors: Any = errors, barrier: Any = barrier) -> None:
                barrier.wait(10)
                try:
                    for _ in iterator:
                        pass
                except ValueError as error:
                    errors.append(error)

            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            if errors:
                break
    assert errors
    assert "another thread" in str(errors[0])


@pytest.mark.parametrize(("io", "compress"), [("pread", False), ("mmap", True)])
def test_large_buffers_are_freed_after_a_read(scratch: Path, io: str, compress: bool) -> None:
    """malloc maps more than 32 MiB by themselves, whatever it did before."""

    def anonymous_mib() -> int:
        return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) >> 10

    size = 33 << 20
    path = written(scratch / "x", ("a", bytes(size)), ("b", b"b" * 1000), compress=compress)
    with open_archive(path, io) as archive:
        before = anonymous_mib()
        assert len(archive.read_bytes("a")) == size
        assert anonymous_mib() < before + 16
        assert archive.read_bytes("b") == b"b" * 1000


# ---- files that change


def test_a_reopened_file_must_be_the_same_inode(scratch: Path) -> None:
    """Many files by pread: another file of the same size and time has the name later."""
    count = 600  # more than the process keeps open
    for number in range(count):
        written(scratch / f"{number}", (f"n{number}", b"old"))
    (scratch / "all.bundle").write_text("".join(f"{number}\n" for number in range(count)))
    with open_archive(scratch / "all.bundle", "pread") as archive:
        status = os.stat(scratch / "0")
        written(scratch / "new", ("n0", b"new"))
        os.utime(scratch / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(scratch / "new", scratch / "0")
        for number in range(1, count):
            assert archive.read_bytes(f"n{number}") == b"old"
        with pytest.raises(ArchiveChangedError):
            archive.read_bytes("n0")


def test_a_pipe_in_a_directory_archive(scratch: Path) -> None:
    (scratch / "a").write_bytes(b"x")
    with open_archive(scratch) as archive:
        (scratch / "a").unlink()
        os.mkfifo(scratch / "a")
        with pytest.raises(ArchiveChangedError):
            archive.read_bytes("a")


def test_an_archive_that_changes_while_it_is_verified(scratch: Path) -> None:
    path = written(scratch / "x", *((f"n{number}", b"x") for number in range(1000)))

    def touch(_done: int, _total: int) -> None:
        os.utime(path, ns=(1, 1))

    for num_threads in (1, 2):  # seen while names are read, or at the end
        os.utime(path)
        problems = verify(path, num_threads, progress=touch, io="mmap").problems
        assert any("changed" in problem.reason for problem in problems)


def test_an_entry_that_the_system_cannot_read_is_a_problem(scratch: Path) -> None:
    """Names of files in a directory archive may lead through a folder without permission."""
    path = written(scratch / "x", ("a", b"x"), ("b", b"y"))
    with open_archive(path) as opened:
        reads: dict[str, Callable[..., Any]] = {"datatype": type(opened).datatype}

    def datatype(archive: Any, name: str) -> Any:
        if name == "a":
            raise OSError(5, "Input/output error", str(path))
        return reads["datatype"](archive, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(opened), "datatype", datatype)
        (problem,) = verify(path, 1).problems
    assert (problem.path, problem.entry, problem.reason) == (str(path), "a", "Input/output error")
