"""Damaged files: what the bytes say, or a typed error with file, entry and offset.

Small archives of every kind, built by hand and cut from real ones: every truncation, every
flipped bit, arbitrary changes, and false sizes. The judge is the reference decoder.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sprintcache
from sprintcache import (
    AllophoneLabeling,
    ArchiveWriter,
    FormatError,
    SprintCacheError,
    open_archive,
    recover,
    verify,
)
from sprintcache import _bundle as bundle
from tests.oracle import builder, reference
from tests.oracle.builder import u32
from tests.oracle.compare import (
    IOS,
    PEEK,
    READINGS,
    Checker,
    Labeling,
    Reading,
    Refusal,
    check_error,
    expected_or_refused,
    label_readings,
    text,
)
from tests.oracle.reference import RefAlignment, Row
from tests.sprintcache.test_reference import PACKETS, real_file

pytestmark = pytest.mark.usefixtures("quiet")

SANITIZED = "libasan" in Path("/proc/self/maps").read_text()
A1 = 1 | 2 << 26
ALLOPHONES = ("sil{#+#}@i@f", "a{b+c}@i")
TYING = {"sil{#+#}@i@f.0": 0, "a{b+c}@i.2": 7}
ALPHABET = {0: b"sil{#+#}@i@f.0", A1: b"a{b+c}@i.2"}
ITEMS = [(0, 0), (1, A1), (2, A1)]
FRAMES = [[1.5, -2.0], [0.25, 3.0], [0.0, 1e9]]

Entries = list[tuple[bytes, bytes]]


# ---- small archives of every kind ------------------------------------------------------------


def packets(*datatypes: str) -> Entries:
    """One entry of one packet for each datatype; short names keep the files small."""
    return [
        (b"%d" % i, builder.block(name, [PACKETS[name][0]])) for i, name in enumerate(datatypes)
    ]


def mixed_aggregate() -> Entries:
    members = [(name, PACKETS[name][0]) for name in ("f32", "vector-bool", "aggregate")]
    return [(b"mixed", builder.block("aggregate", [builder.aggregate(members, 1.0, 2.0)]))]


def runs(magic: bytes, alphabet: dict[int, bytes] | None = None) -> bytes:
    return builder.alignment_entry(builder.alignment_rle(ITEMS, magic=magic, alphabet=alphabet))


def weights(version: int, magic: bytes = b"ALIGNRLE") -> bytes:
    items = [(time, emission, 0.5) for time, emission in [*ITEMS, (2, 0)]]
    alphabet = ALPHABET if magic == b"AALPHRLE" else None
    packet = builder.alignment_weighted(items, version=version, magic=magic, alphabet=alphabet)
    return builder.alignment_entry(packet)


PLAIN = [(b"vec", builder.features(FRAMES)), (b"f32", builder.features([[1], [2]], datatype="f32"))]
BLOCKS = [
    (b"vec", builder.features(FRAMES, gather=1)),
    (b"s8", builder.features([[1]] * 2, gather=0, datatype="vector-s8")),
]
TEXTS = [
    (b"a.attribs", builder.attribs({"x": "<"})),
    (b"a", b"plain text"),
    (b"none", b""),
    (b"\xff\xc3\xa9", b"\3\0\0\0f32\0"),
]
ALIGNED = [(b"rle", runs(b"ALIGNRLE")), (b"emi", runs(b"ALIGNEMI"))]
# more than what a peek shows of it, and too irregular for deflate to say it in two ways
NOISE = [
    [float(zlib.crc32(b"%d" % (20 * row + column))) for column in range(20)] for row in range(9)
]


def with_returnn_table(entries: Entries) -> bytes:
    """No number of holes after the rows, and 0 as its position."""
    data = builder.archive(entries)
    return data[:-20] + bytes(8) + data[-8:]


def cut(name: str, count: int, compress: bool = False) -> bytes:
    """The first entry of a real archive with its first packets, values or items only."""
    data = real_file("archives", name).read_bytes()
    row = next(row for row in reference.rows(data) if not row.name.endswith(b".attribs"))
    block = reference.blocks(reference.payload(data, row))[0]
    assert block.times is not None
    packet = block.packets[0]
    if isinstance(packet, RefAlignment):
        payload = cut_alignment(packet, count)
    elif isinstance(packet, list):
        whole = zip(block.packets[:count], block.times, strict=False)
        payload = builder.block(
            block.datatype,
            [builder.vector(block.datatype, values[:16], *times) for values, times in whole],
        )
    else:
        whole = zip(block.packets[:count], block.times, strict=False)
        payload = builder.block(
            block.datatype,
            [builder.scalar(block.datatype, value, *times) for value, times in whole],
        )
    return builder.archive([(row.name, payload)], compress=compress)


def cut_alignment(alignment: RefAlignment, count: int) -> bytes:
    items = alignment.items[:count]
    used = {emission for _, emission, _ in items}
    alphabet = alignment.alphabet and {key: alignment.alphabet[key] for key in used}
    magic = b"AALPHRLE" if alphabet else b"ALIGNRLE"
    if alignment.weighted:
        packet = builder.alignment_weighted(items, magic=magic, alphabet=alphabet)
    else:
        plain = [(time, emission) for time, emission, _ in items]
        packet = builder.alignment_rle(plain, magic=magic, alphabet=alphabet)
    return builder.alignment_entry(packet, alignment.start, alignment.end)


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: builder.archive([]),
    "features": lambda: builder.archive(PLAIN),
    "features, gz": lambda: builder.archive(PLAIN, compress=True),
    "blocks": lambda: builder.archive(BLOCKS),
    "blocks, gz": lambda: builder.archive(BLOCKS, compress=True),
    "RETURNN's table": lambda: with_returnn_table(PLAIN),
    "numbers": lambda: builder.archive(
        packets("f64", "vector-bool", "vector-s16", "vector-complex-f32")
    ),
    "shapes": lambda: builder.archive(
        packets("matrix-f32", "vector-vector-f32", "autoregressive-coefficients")
    ),
    "odd ones": lambda: builder.archive(
        packets("string", "timestamp", "windowing-fir-filter-parameter")
    ),
    "aggregates": lambda: builder.archive([*packets("aggregate-vector-f32"), *mixed_aggregate()]),
    "runs": lambda: builder.archive(ALIGNED),
    "alphabet": lambda: builder.archive([(b"a", runs(b"AALPHRLE", ALPHABET))]),
    "alphabet, gz": lambda: builder.archive([(b"a", runs(b"AALPHRLE", ALPHABET))], compress=True),
    "weights": lambda: builder.archive(
        [(b"%d" % version, weights(version)) for version in range(3)]
    ),
    "weights, alphabet": lambda: builder.archive([(b"w", weights(2, b"AALPHRLE"))]),
    "texts": lambda: builder.archive(TEXTS),
    "texts, gz": lambda: builder.archive(TEXTS, compress=True),
    "holes": lambda: builder.archive(PLAIN, holes=[0, 1, 1, 2]),
    "killed": lambda: builder.archive(PLAIN, table=False),
    "killed, gz, holes": lambda: builder.archive(PLAIN, table=False, compress=True, holes=[1]),
    "table that does not count": lambda: builder.archive(PLAIN, flag=0),
    "duplicates": lambda: builder.archive([(b"a", b"first"), (b"b", b""), (b"a", b"second")]),
    "real features": lambda: cut("features.part1.cache", 2),
    "real features, gz": lambda: cut("features.part1.cache", 2, compress=True),
    "real energy": lambda: cut("energy.cache", 6),
    "real samples": lambda: cut("samples.cache", 1),
    "real linear alignment": lambda: cut("alignment.linear.cache", 12),
    "real viterbi alignment": lambda: cut("alignment.viterbi.cache", 12),
    "real soft alignment": lambda: cut("alignment.bw.gz.cache", 12),
    "real soft alignment, gz": lambda: cut("alignment.bw.gz.cache", 12, compress=True),
}
LARGE = "more than a peek, gz"
COMPRESSED = {
    **ARCHIVES,
    LARGE: lambda: builder.archive([(b"a", builder.features(NOISE))], compress=True),
}
archives = pytest.mark.parametrize("kind", ARCHIVES)
io_modes = pytest.mark.parametrize("io", IOS)


@pytest.fixture(scope="module", autouse=True)
def forget_payloads() -> Iterator[None]:
    """Drops thousands of decoded payloads, which each later garbage collection would visit."""
    yield
    expected_or_refused.cache_clear()


@pytest.fixture
def labeling(scratch: Path) -> Labeling:
    return Labeling.write(scratch, ALLOPHONES, TYING)


# ---- every truncation, every flipped bit -----------------------------------------------------


def flips(data: bytes, every: bool = SANITIZED) -> Iterator[tuple[int, bytes, Sequence[str]]]:
    """(offset, file, how to read it) for two bits of each byte, or for every bit, as in CI.

    CI runs this under sanitizers. They do not see reads past the end of a mapped file, so that
    the other six bits are read by `pread` alone.
    """
    for at in range(len(data)):
        two_bits = (at % 7, 7)
        for bit in range(8) if every else two_bits:
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            yield at, bytes(damaged), IOS if bit in two_bits else ("pread",)


def justified(refusal: Refusal, data: bytes) -> bool:
    """Damage that we see and the reference does not: the reason must be true."""
    reason = refusal.error.reason
    if reason.startswith("damaged gzip header"):  # Sprint writes one header, byte for byte
        row = next(row for row in reference.rows(data) if row.name == refusal.entry)
        return reference.stored_payload(data, row)[:10] != builder.gz(b"")[:10]
    if "twice in the alphabet" in reason or "contradicts the allophone file" in reason:
        return has_a_double_id(data, refusal.entry)
    return False


def has_a_double_id(data: bytes, name: bytes) -> bool:
    """Does an id come twice in the alphabet of the entry's alignment?"""
    row = next(row for row in reference.rows(data) if row.name == name)
    cursor = reference.Cursor(reference.payload(data, row))
    reference.read_datatype(cursor)
    cursor.u32()
    cursor.take(8)
    size = cursor.u32()
    if size < reference.WEIGHTED:
        reference.read_runs(cursor, size)
    else:
        reference.read_weighted(cursor, size - reference.WEIGHTED)
    ids = [(cursor.packed(), cursor.string())[0] for _ in range(cursor.packed())]
    return len(set(ids)) < len(ids)


def all_readings(labeling: Labeling) -> tuple[Reading, ...]:
    return (*READINGS, *label_readings(labeling))


@archives
def test_every_truncation(kind: str, scratch: Path, labeling: Labeling) -> None:
    data = ARCHIVES[kind]()
    checker = Checker(scratch / "x.cache", all_readings(labeling))
    assert checker.check(data) == []
    for size in range(len(data)):
        assert checker.check(data[:size]) == []


@archives
def test_every_flipped_bit(kind: str, scratch: Path, labeling: Labeling) -> None:
    data = ARCHIVES[kind]()
    checker = Checker(scratch / "x.cache", all_readings(labeling))
    assert checker.check(data) == []
    for _, damaged, ios in flips(data):
        for refusal in checker.check(damaged, ios):
            assert justified(refusal, damaged), refusal


@pytest.mark.parametrize("kind", [kind for kind in COMPRESSED if kind.endswith("gz")])
def test_a_flip_in_a_compressed_payload_is_always_an_error(
    kind: str, scratch: Path, labeling: Labeling
) -> None:
    """But for flips that change nothing: zlib inflates the same bytes from the damaged member.

    These are the bits that fill up the last byte of the deflate data, and rarely a copy of the same
    bytes from another place.
    """
    data = COMPRESSED[kind]()
    path = scratch / "x.cache"
    readings = [r for r in all_readings(labeling) if r.name != "natural"]  # text for .attribs
    harmless = []
    rows = [row for row in reference.rows(data) if row.compressed]
    for row in rows:
        whole = reference.payload(data, row)
        begin, end = row.position + 12, row.position + 12 + row.compressed
        for at, damaged, ios in flips(data[begin:end]):
            path.write_bytes(data[:begin] + damaged + data[end:])
            if reads_as_before(path, row, whole, readings, ios):
                inflater = zlib.decompressobj(-15)
                assert inflater.decompress(damaged[10:-8]) == whole
                assert inflater.eof
                assert not inflater.unused_data
                harmless.append(at - (row.compressed - 9))
    assert harmless.count(0) <= 7 * len(rows)
    assert len(harmless) - harmless.count(0) <= len(rows)


def reads_as_before(
    path: Path, row: Row, whole: bytes, readings: Sequence[Reading], ios: Sequence[str]
) -> bool:
    """Is the entry still read? Then by all readings that can read it, as it was."""
    read = set()
    for io in ios:
        with open_archive(path, io, index=None) as archive:
            for reading in readings:
                try:
                    ours = reading.ours(archive, text(row.name))
                except (sprintcache.FormatError, sprintcache.LabelError):
                    continue
                assert reading.same(ours, reading.expected(whole)), (reading.name, ours)
                if reading.name != "frames" or len(whole) <= PEEK:
                    read.add((io, reading.name))
    assert not read or {(io, "bytes") for io in ios} <= read
    return bool(read)


# ---- other changes ---------------------------------------------------------------------------

SMALL = ("features", "features, gz", "shapes", "aggregates", "weights, alphabet", "runs", "killed")
CHANGES = st.one_of(
    st.tuples(st.just("write"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("remove"), st.floats(0, 1), st.binary(min_size=1, max_size=30)),
    st.tuples(
        st.just("write"),
        st.floats(0, 1),
        st.sampled_from([u32(n) for n in (0, 1, 2**31 - 1, 2**31, 2**32 - 1)]),
    ),
)


def changed(data: bytes, change: tuple[str, float, bytes]) -> bytes:
    what, where, by = change
    at = int(where * len(data))
    if what == "insert":
        return data[:at] + by + data[at:]
    return data[:at] + (by if what == "write" else b"") + data[at + len(by) :]


@pytest.mark.parametrize("kind", SMALL)
@settings(max_examples=100)
@given(changes=st.lists(CHANGES, min_size=1, max_size=4))
def test_arbitrary_changes(
    kind: str, changes: list[tuple[str, float, bytes]], scratch: Path, labeling: Labeling
) -> None:
    data = ARCHIVES[kind]()
    for change in changes:
        data = changed(data, change)
    for refusal in Checker(scratch / "x.cache", all_readings(labeling)).check(data):
        assert justified(refusal, data), refusal


WORDS = st.one_of(
    st.sampled_from([u32(n) for n in (0, 1, 2, 3, 17, 2**31, 2**32 - 1)]),
    st.sampled_from([builder.string(name) for name in PACKETS]),
    st.sampled_from([packet for packet, _ in PACKETS.values()]),
    st.sampled_from([b"ALIGNRLE", b"AALPHRLE", b"ALIGNEMI", b"\xff", b"\0" * 16]),
    st.binary(max_size=12),
)


@settings(max_examples=100)
@given(datatype=st.sampled_from([*PACKETS, ""]), words=st.lists(WORDS, max_size=12))
def test_arbitrary_payloads(
    datatype: str, words: list[bytes], scratch: Path, labeling: Labeling
) -> None:
    payload = (builder.string(datatype) if datatype else b"") + b"".join(words)
    data = builder.archive([(b"x", payload)])
    for refusal in Checker(scratch / "x.cache", all_readings(labeling)).check(data):
        assert justified(refusal, data), refusal


# ---- files of text: bundles, their indices, attributes, allophones, state tyings ---------------


def text_damage(data: bytes) -> Iterator[bytes]:
    """Every truncation and every flipped bit."""
    yield from (data[:size] for size in range(len(data) + 1))
    yield from (damaged for _, damaged, _ in flips(data, every=True))


def test_damaged_bundles(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They list what they list: archives that are there, or FileNotFoundError."""
    (scratch / "here").mkdir()
    monkeypatch.chdir(scratch / "here")
    entries = {"ab": ["of ab"], "b": ["of b", "and"], "c.bundle": ["of ab"]}
    for name in ("ab", "b"):
        data = builder.archive([(entry, b"") for entry in entries[name]])
        (scratch / name).write_bytes(data)
    (scratch / "c.bundle").write_bytes(b"ab")
    path = scratch / "x.bundle"
    for data in text_damage(b"ab b\nc.bundle\n"):
        path.write_bytes(data)
        tokens = [os.fsdecode(token) for token in data.split()]
        if b"\0" in data:
            with pytest.raises(sprintcache.FormatError, match="not a bundle") as caught:
                open_archive(path)
            check_error(caught.value, path, None, len(data))
        elif not set(tokens) <= {*entries, ".", "/"}:
            with pytest.raises(FileNotFoundError, match="missing"):
                open_archive(path)
        elif set(tokens) <= set(entries):
            with open_archive(path) as archive:
                expected = dict.fromkeys(entry for token in tokens for entry in entries[token])
                assert list(archive) == list(expected)


def test_damaged_indices_are_reported(scratch: Path) -> None:
    (scratch / "a").write_bytes(builder.archive([("x", b""), ("y/z", b"")]))
    path = scratch / "x.bundle"
    path.write_text("a\n")
    index = scratch / "x.bundle.idx.gz"
    content = b"1\na\n2\ny/z 0\nx 0\n"
    for data in text_damage(gzip.compress(content, mtime=0)):
        index.write_bytes(data)
        try:
            sound = gzip.decompress(data) == content
        except (OSError, EOFError, zlib.error):
            sound = False
        assert (bundle.index_problem(str(path), {"x", "y/z"}) is None) == sound
        with open_archive(path) as archive:
            assert list(archive) == ["x", "y/z"]
    for damaged in text_damage(content):
        index.write_bytes(gzip.compress(damaged, 1))
        problem = bundle.index_problem(str(path), {"x", "y/z"})
        names = damaged.split()[3::2]
        assert problem or (
            damaged.split()[:3] == [b"1", b"a", b"2"] and set(names) == {b"x", b"y/z"}
        )


def test_damaged_attributes(scratch: Path) -> None:
    """What XML says, or a CorruptError."""
    data = builder.attribs({"datatype": "vector-f32", "a": "<&>'\u00e9"})
    path = scratch / "x.cache"
    read = 0
    for damaged in text_damage(data):
        path.write_bytes(builder.archive([(b"a.attribs", damaged), (b"a", b"")]))
        with open_archive(path) as archive:
            expected = as_xml(damaged)
            try:
                assert archive.read_attributes("a") == expected
                read += 1
            except sprintcache.CorruptError as error:
                assert expected is None, damaged
                check_error(error, path, "a.attribs", path.stat().st_size)
    assert read > 100


def as_xml(data: bytes) -> dict[str, str] | None:
    """Attributes by another XML parser, None if they are not attributes."""
    try:
        root = ET.fromstring(b"<?xml version='1.0' encoding='iso-8859-1'?>" + data)
    except ET.ParseError:
        return None
    pairs = {}
    for element in root:
        if (
            element.tag != "flow-attribute"
            or len(element)
            or not {"name", "value"} <= {*element.attrib}
        ):
            return None
        name, value = (
            element.attrib[key].encode("latin-1", "replace") for key in ("name", "value")
        )
        pairs[text(name)] = text(value)
    return pairs if root.tag == "flow-attributes" else None


def lines_of(data: bytes) -> list[str]:
    """Stripped lines that say something: what both files of a labeling are made of."""
    stripped = [line.strip() for line in data.split(b"\n")]
    return [text(line) for line in stripped if line and not line.startswith(b"#")]


def tying_of(data: bytes) -> dict[str, int] | None:
    """A state tying as the description has it: two fields between blanks, a state, a label."""
    tying = {}
    for line in lines_of(data):
        fields = [field for field in line.split(" ") if field]
        if len(fields) != 2:
            return None
        state = fields[0].rpartition(".")[2]
        if not (state.isdigit() and state.isascii() and int(state) < 16):
            return None
        if not (fields[1].isdigit() and fields[1].isascii() and int(fields[1]) < 2**31):
            return None
        tying[fields[0]] = int(fields[1])
    return tying


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_state_tyings_and_allophone_files(packed: bool, scratch: Path) -> None:
    allophones = b"# two\nsil{#+#}@i@f\n\na{b+c}@i\r\n"
    tying = b"# dump\nsil{#+#}@i@f.0 0\na{b+c}@i.0  12\n\na{b+c}@i.15 7\n"
    pack: Callable[[bytes], bytes] = gz_file if packed else bytes
    files = {"allophones": allophones, "tying": tying}
    for name, whole in files.items():
        for other, data in files.items():
            (scratch / other).write_bytes(data)
        path = scratch / name
        for damaged in text_damage(pack(whole)):
            path.write_bytes(damaged)
            content = unpacked(damaged)
            if content is not None and b"\0" in content:
                content = None  # no text
            expected = None if content is None else tying_of(content) if name == "tying" else True
            if content is None or expected is None:
                with pytest.raises(sprintcache.FormatError) as caught:
                    AllophoneLabeling("sil", scratch / "allophones", None, scratch / "tying")
                assert caught.value.path == str(path)
                continue
            ours = AllophoneLabeling("sil", scratch / "allophones", None, scratch / "tying")
            if name == "tying":
                assert ours.state_tying == expected
            else:
                assert ours.allophones == list(dict.fromkeys(lines_of(content)))


def gz_file(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def unpacked(data: bytes) -> bytes | None:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None


@pytest.mark.parametrize(
    "line", ["a.0 " + "1" * 5000, "a." + "0" * 5000 + " 1", "a.0 99999999999", "a.16 1", "a.-1 1"]
)
def test_numbers_of_a_state_tying_that_are_none(line: str, scratch: Path) -> None:
    (scratch / "allophones").write_text("a\n")
    (scratch / "tying").write_text(f"a.1 1\n{line}\n")
    with pytest.raises(sprintcache.FormatError, match="line 2") as caught:
        AllophoneLabeling(None, scratch / "allophones", state_tying_file=scratch / "tying")
    assert caught.value.path == str(scratch / "tying")


# ---- false sizes -----------------------------------------------------------------------------

MOST = (2**31 - 1, 2**31, 2**32 - 1)


def false_payloads() -> Iterator[bytes]:
    """Blocks that declare far more than there is, at every place where a number is declared."""
    rest = bytes(64)
    for datatype in PACKETS:
        yield from (builder.string(datatype) + u32(most) + rest for most in MOST)
    for datatype in ("string", "vector-u8", "vector-f64", "vector-bool", "vector-complex-f64",
                     "vector-vector-f32", "windowing-fir-filter-parameter"):  # fmt: skip
        yield from (builder.block(datatype, [u32(most) + rest]) for most in MOST)
    for shape in ((1, 0, 1), (1, 1, 1), (1, 0, 0), (0, 1, 0)):
        for most in MOST:
            rows, columns, again = (most if big else 3 for big in shape)
            packet = u32(rows) + u32(columns) + u32(again) + u32(columns) + rest
            yield from (builder.block(f"matrix-{kind}", [packet]) for kind in ("f32", "f64"))
    for most in MOST:
        yield builder.block("autoregressive-coefficients", [u32(0) + u32(most) + rest])
        yield builder.block("aggregate-vector-f32", [bytes(16) + u32(most) + rest])
        yield builder.block("aggregate", [b"\0" + bytes(16) + u32(most) + rest])
        for datatype in PACKETS:
            member = builder.string(datatype) + u32(most)
            yield builder.block("aggregate", [b"\1" + bytes(16) + member + rest])
        yield builder.string("") + u32(most)
        yield u32(most)
    yield from (nested(levels, most) for levels in (1, 15, 16, 17, 5000) for most in (1, 3, *MOST))


def nested(levels: int, most: int) -> bytes:
    """Aggregates in aggregates, each with as many as it can declare."""
    head = b"\1" + bytes(16) + builder.string("aggregate")
    return builder.string("aggregate") + (u32(most) + head) * levels + u32(most) + bytes(8)


def false_alignments() -> Iterator[bytes]:
    rest = bytes(64)
    for magic in (b"ALIGNRLE", b"AALPHRLE", b"ALIGNEMI"):
        for most in (*MOST, 2**27, 10_000):
            yield magic + u32(most % 2**31) + b"\x80" + rest  # runs of 128
            for version in (0, 1, 2, 3, 2**31 - 1):
                weighted = magic + u32(2**31 + version)
                yield weighted + builder.packed(most) + rest
                yield weighted + builder.packed(3) + builder.packed(2 * (most % 2**31)) + rest
                yield weighted + builder.packed(1) + b"\3" + builder.packed(most) + rest
    for most in MOST:
        head = b"AALPHRLE" + u32(0)
        yield head + builder.packed(most) + rest
        yield head + builder.packed(1) + builder.packed(0) + u32(most) + rest
    yield b"ALIGNRLE" + u32(2**31) + b"\xff" * 64
    yield b"ALIGNRLE" + u32(2**31 - 1) + (b"\0" + u32(2**32 - 1)) * 9  # markers, no items


def false_members() -> Iterator[tuple[bytes, int]]:
    """gzip members and the size that the entry declares."""
    for declared in (101, 1032 * 100, 2**30, *MOST):
        yield builder.gz(b"x" * 100), declared
        yield builder.gz(b"x" * 100)[:-4] + u32(declared), declared
    for inflated in (2**20, 2**26):  # honest or not, these declare less than they hold
        bomb = builder.gz(bytes(inflated))
        yield from ((bomb, declared) for declared in (0, 100, 2**20 - 1))
        yield from ((bomb[:-4] + u32(declared), declared) for declared in (0, 100, 2**20 - 1))


def false_archives() -> Iterator[bytes]:
    """Files whose entries or tables declare far more than there is."""
    payloads = [*false_payloads(), *(builder.alignment_entry(a) for a in false_alignments())]
    for payload in payloads:
        yield builder.archive([(b"x", payload)])
    yield builder.archive(
        [(b"%d" % i, payload) for i, payload in enumerate(payloads)], compress=True
    )
    for member, declared in false_members():
        sizes = struct.pack("<III", declared, len(member), 0)
        whole = builder.START_TAG + builder.string(b"x") + sizes + member + builder.END_TAG
        row = builder.file_row(b"x", 9, whole)
        yield builder.MAGIC + b"\1" + whole + builder.tables([row], [], 9 + len(whole))
        yield builder.MAGIC + b"\0" + whole
    sound = builder.archive([(b"x", b"payload")])
    table = struct.unpack("<Q", sound[-8:])[0]
    for size, most in ((4, n) for n in MOST):
        for at in (13, 18, 22, table, table + 4, table + 17, table + 21, table + 25):
            yield sound[:at] + most.to_bytes(size, "little") + sound[at + size :]
    for most in (2**31, 2**32, 2**63, 2**64 - 1, 2**64 - 16, len(sound), len(sound) - 20):
        for at in (table + 9, len(sound) - 16, len(sound) - 8):
            yield sound[:at] + most.to_bytes(8, "little") + sound[at + 8 :]


def test_false_sizes_are_refused_like_by_the_reference(scratch: Path, labeling: Labeling) -> None:
    checker = Checker(scratch / "x.cache", all_readings(labeling))
    for data in false_archives():
        for refusal in checker.check(data):
            assert justified(refusal, data), refusal


LIMIT = 512 << 20  # bytes of address space for the reader of these
GROWTH = 48 << 20  # bytes of memory; the largest file has less than 1 MiB


def test_false_sizes(scratch: Path) -> None:
    """Refused before anything is allocated: by a process that could not."""
    (scratch / "labeling").mkdir()
    Labeling.write(scratch / "labeling", ALLOPHONES, TYING)
    archives = list(false_archives())
    for number, data in enumerate(archives):
        (scratch / f"{number}.cache").write_bytes(data)
    command = [sys.executable, "-X", "faulthandler", __file__, str(scratch)]
    paths = os.pathsep.join(sys.path)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    actual = json.loads(done.stdout)
    assert actual["unexpected"] == []
    assert actual["grown"] < GROWTH
    assert actual["files"] == len(archives)
    assert actual["refused"] > 10 * len(archives)


def read_lies(folder: Path) -> dict[str, object]:
    """Runs in another process: every file, every reading; only typed errors may come."""
    import logging
    import resource

    logging.disable()
    labeling = AllophoneLabeling(
        "sil", folder / "labeling" / "allophones", state_tying_file=folder / "labeling" / "tying"
    )
    readings = all_readings(Labeling(labeling, ALLOPHONES, TYING))
    files = sorted(folder.glob("*.cache"))
    refused, unexpected = 0, []
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    if not SANITIZED:  # these reserve terabytes
        limit = pages * resource.getpagesize() + LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in files:
        for io in IOS:
            try:
                with open_archive(path, io) as archive:
                    for name in archive:
                        for reading in readings:
                            try:
                                reading.ours(archive, name)
                            except (sprintcache.FormatError, sprintcache.LabelError):
                                refused += 1
                            except Exception as error:
                                unexpected.append(f"{path.name} {io} {reading.name}: {error!r}")
            except Exception as error:
                unexpected.append(f"{path.name} {io}: {error!r}")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "files": len(files),
        "refused": refused,
        "unexpected": unexpected,
        "grown": 0 if SANITIZED else grown * 1024,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read_lies(Path(sys.argv[1]))))


# ---- what is not a regular file


def test_no_input_waits_for_the_other_end_of_a_pipe(tmp_path: Path) -> None:
    """Each place where a file of others is opened, with a pipe that has no writer."""
    pipe, sound = tmp_path / "pipe", tmp_path / "x.cache"
    sound.write_bytes(builder.archive([("a", b"x")]))
    for name in ("pipe", "pipe.bundle", "all.bundle.idx.gz", "y.cache.partial", "x.cache.partial"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "all.bundle").write_text("x.cache\n")
    (tmp_path / "of-pipes.bundle").write_text("pipe\n")
    (tmp_path / "phonemes").write_text("a\n")
    for path in (pipe, tmp_path / "pipe.bundle", tmp_path / "of-pipes.bundle"):
        with pytest.raises(FormatError, match="expected a regular file, found a pipe"):
            open_archive(path)
    for files in [(pipe, sound), (sound, pipe), (tmp_path / "phonemes", sound, pipe)]:
        with pytest.raises(FormatError):
            AllophoneLabeling(None, *files)
    assert "a pipe" in verify(tmp_path / "all.bundle").problems[0].reason
    with pytest.raises(OSError, match="not a regular file"):
        ArchiveWriter(tmp_path / "y.cache")
    with pytest.raises(OSError, match="not a regular file"):
        recover(tmp_path / "y.cache")
    with open_archive(sound) as archive:
        assert archive.read_bytes("a") == b"x"
    with pytest.raises(FormatError, match="a device"):
        open_archive("/dev/null")


@pytest.mark.parametrize("damage", range(60))
def test_both_ways_of_reading_give_the_same_answer(tmp_path: Path, damage: int) -> None:
    """Also where only the beginning of an entry is needed; a damaged byte anywhere in it."""
    features = builder.features([[1.0] * 40] * 10)
    items = builder.alignment_entry(builder.alignment_rle([(t, t) for t in range(300)]))
    blocks = builder.features([[1.0] * 4] * 60) + builder.features([[2.0] * 4] * 60)
    for number, (payload, compress) in enumerate(product([features, items, blocks], [False, True])):
        data = bytearray(builder.archive([("a", payload)], compress=compress))
        end = data.index(builder.END_TAG) + 4
        data[9 + (damage * 7919 + number) % (end - 9) if damage < 50 else end - 1 - damage % 4] ^= 1
        path = tmp_path / "x.cache"
        path.write_bytes(data)
        answers = {}
        for io in IOS:
            with open_archive(path, io) as archive:
                calls = [archive.num_frames, archive.datatype, archive.read_features]
                answers[io] = [answer(call, "a") for call in calls]
                answers[io].append(answer(archive.num_frames_all))
        assert answers["mmap"] == answers["pread"]
        if damage >= 50:
            assert all("end tag" in text for text in answers["mmap"])


@pytest.mark.parametrize("attributes", [b"", b"<attribs/>", b"<attribs>" + b" " * 3000])
def test_end_tags_of_large_entries(tmp_path: Path, attributes: bytes) -> None:
    """Entries of which only the head and the end tag are read, alone or with the next head."""
    entries = []
    for number in range(5):
        frames = [[float(number)] * 40] * (120 + number)
        entries.append((f"c/{number}", builder.features(frames)))
        if attributes:
            entries.append((f"c/{number}.attribs", attributes))
    data = builder.archive(entries)
    ends = [match.end() for match in re.finditer(re.escape(builder.END_TAG), data)]
    path = tmp_path / "x.cache"
    for damaged, threads in product([None, 0, 2, 4], [1, 3]):
        content = bytearray(data)
        if damaged is not None:
            content[ends[damaged * (2 if attributes else 1)] - 1] ^= 1
        path.write_bytes(content)
        for io in IOS:
            with open_archive(path, io) as archive:
                if damaged is None:
                    for _ in range(2):
                        assert archive.num_frames_all(threads).tolist() == [*range(120, 125)]
                    continue
                with pytest.raises(FormatError, match="end tag") as caught:
                    archive.num_frames_all(threads)
                assert caught.value.entry == f"c/{damaged}"
                assert caught.value.offset == ends[damaged * (2 if attributes else 1)] - 4


def answer(call: Callable[..., Any], *arguments: str) -> str:
    try:
        return repr(call(*arguments))
    except (SprintCacheError, MemoryError) as error:
        return repr(error) + str(error)
