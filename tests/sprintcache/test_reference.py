"""The oracle and the builder against real Sprint files, against each other, and against damage."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from tests.oracle import builder, reference
from tests.oracle.reference import RefAlignment, RefBlock, RefError, RefMatrix, Row
from tests.paths import DATA, full_data

ALIGNMENTS = [
    "alignment.linear.cache",
    "alignment.viterbi.cache",
    "alignment.viterbi-noalphabet.cache",
    "alignment.bw.cache",
    "alignment.bw.gz.cache",
]
FEATURES = [
    "features.cache",
    "features.gather50.cache",
    "features.gz.cache",
    "features.holes.cache",
    "features.part1.cache",
    "features.part2.cache",
    "features.part3.cache",
    "energy.cache",
]
SAMPLES = ["samples.cache", "samples-f64.cache"]
KILLED = "features.killed.cache"
HOLES = "features.holes.cache"
PRINTED = 5.1e-7  # the archiver prints six digits after the point

zlib_as_sprint = pytest.mark.skipif(
    "ng" in zlib.ZLIB_RUNTIME_VERSION, reason="this zlib deflates to other bytes than Sprint's"
)


# ---- the real files --------------------------------------------------------------------------


def real_file(folder: str, name: str) -> Path:
    """A file of the full set (`folder/name`) or its copy in the tests; skips without both."""
    copies = [DATA / name if folder == "archives" else DATA / folder / name]
    full = full_data()
    if full is not None:
        copies.append(full / folder / name)
    for path in copies:
        if path.is_file():
            return path
    pytest.skip(f"{name} is only in the full set of real Sprint files, which is not here")


def archive_bytes(name: str) -> bytes:
    return real_file("archives", name).read_bytes()


def data_entries(data: bytes) -> dict[str, bytes]:
    """Segment name -> payload, in the order of the archive, without `.attribs`."""
    return {
        row.name.decode(): reference.payload(data, row)
        for row in reference.rows(data)
        if not row.name.endswith(b".attribs")
    }


def only_alignment(payload: bytes) -> RefAlignment:
    (block,) = reference.blocks(payload)
    (alignment,) = block.packets
    assert isinstance(alignment, RefAlignment)
    assert block.times == [(alignment.start, alignment.end)]
    return alignment


def shown(name: str) -> dict[str, list[str]]:
    """What the real archiver printed: segment -> lines, without segments it printed nothing of."""
    segments: dict[str, list[str]] = {}
    text = gzip.decompress(real_file("expected", name).read_bytes()).decode("utf-8")
    for line in text.splitlines():
        if line.startswith("# "):
            lines = segments.setdefault(line[2:].strip(), [])
        elif line.strip():
            lines.append(line)
    return {segment: lines for segment, lines in segments.items() if lines}


def listed(name: str) -> list[tuple[str, int, int]]:
    """Name, size and compressed size of the entries, as the real archiver lists them."""
    actual = []
    for line in real_file("expected", f"{name}.list").read_text("utf-8").splitlines():
        fields = line.split()
        if len(fields) in (2, 3) and fields[0].startswith("espeak/"):
            compressed = int(fields[1]) if len(fields) == 3 else 0
            actual.append((fields[0], int(fields[-1]), compressed))
    return actual


@cache
def allophones() -> list[str]:
    lines = (DATA / "allophones").read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@cache
def monophone_tying() -> dict[str, int]:
    lines = (DATA / "state-tying" / "monophone").read_text("utf-8").splitlines()
    return {symbol: int(label) for symbol, label in (line.split() for line in lines)}


# ---- the reference decodes real files as the real archiver does ------------------------------


@pytest.mark.parametrize("name", [*ALIGNMENTS, *FEATURES, *SAMPLES, KILLED])
def test_rows_are_what_the_archiver_lists(name: str) -> None:
    data = archive_bytes(name)
    actual = [(row.name.decode(), row.size, row.compressed) for row in reference.rows(data)]
    assert actual == listed(name)
    assert actual


@pytest.mark.parametrize("name", [*ALIGNMENTS, *FEATURES, *SAMPLES])
def test_a_scan_finds_what_the_table_says(name: str) -> None:
    data = archive_bytes(name)
    assert reference.scan(data) == reference.read_table(data) == reference.rows(data)


def test_a_killed_writer_leaves_no_table() -> None:
    data = archive_bytes(KILLED)
    with pytest.raises(RefError, match="no table"):
        reference.read_table(data)
    assert reference.rows(data)[-1].end < len(data)


@pytest.mark.parametrize("name", ["features.cache", HOLES])
def test_features_are_what_the_archiver_shows(name: str) -> None:
    expected = shown(f"{name}.show.gz")
    entries = data_entries(archive_bytes(name))
    assert list(entries) == list(expected)
    for segment, payload in entries.items():
        (block,) = reference.blocks(payload)
        printed = [[float(word) for word in line.split()] for line in expected[segment]]
        assert block.times is not None
        assert [(f"{start:.3f}", f"{end:.3f}") for start, end in block.times] == [
            (f"{row[0]:.3f}", f"{row[1]:.3f}") for row in printed
        ]
        frames = reference.features(payload)
        assert [len(frame) for frame in frames] == [len(row) - 2 for row in printed]
        for frame, row in zip(frames, printed, strict=True):
            pairs = zip(frame, row[2:], strict=True)
            assert [pair for pair in pairs if not abs(pair[0] - pair[1]) <= PRINTED] == []


@pytest.mark.parametrize("name", ["energy.cache", "samples.cache"])
def test_packets_are_what_the_archiver_shows_as_xml(name: str) -> None:
    expected = shown(f"{name}.flow.gz")
    entries = data_entries(archive_bytes(name))
    assert list(entries) == list(expected)
    for segment, payload in entries.items():
        packets = [packet for block in reference.blocks(payload) for packet in as_xml(block)]
        assert "".join(packets) == "".join(expected[segment]).strip()


def as_xml(block: RefBlock) -> Iterator[str]:
    """The packets of a block of scalars or vectors as the archiver's `--type=flow-cache` prints."""
    assert block.times is not None
    for (start, end), packet in zip(block.times, block.packets, strict=True):
        values = packet if isinstance(packet, list) else [packet]
        size = f' size="{len(values)}"' if isinstance(packet, list) else ""
        text = " ".join(f"{value:g}" for value in values)
        opening = f'<{block.datatype} start="{start:g}" end="{end:g}"{size}>'
        yield f"{opening}{text}</{block.datatype}>"


@pytest.mark.parametrize("name", ["alignment.linear", "alignment.viterbi", "alignment.bw"])
def test_alignments_are_what_the_archiver_shows(name: str) -> None:
    expected = shown(f"{name}.cache.show.gz")
    entries = data_entries(archive_bytes(f"{name}.cache"))
    assert list(entries) == list(expected)
    for segment, payload in entries.items():
        alignment = only_alignment(payload)
        assert alignment.weighted == (name == "alignment.bw")
        for item, line in zip(alignment.items, expected[segment], strict=True):
            check_shown_item(item, line)


def check_shown_item(item: tuple[int, int, float], line: str) -> None:
    """`time= T emission= E allophone= A index= I state= S`, and the weight where it is not 1."""
    words = re.sub(r"\w+\s*=", " ", line).split()
    time, emission, weight = item
    assert [time, emission] == [int(words[0]), int(words[1])]
    assert reference.state_symbol(emission, allophones()) == f"{words[2]}.{words[4]}"
    assert abs(weight - (float(words[5]) if len(words) > 5 else 1.0)) <= PRINTED


@pytest.mark.parametrize("name", ["alignment.linear", "alignment.viterbi"])
def test_labels_are_the_tied_states(name: str) -> None:
    for payload in data_entries(archive_bytes(f"{name}.cache")).values():
        actual = reference.labels(payload, allophones(), monophone_tying())
        symbols = [
            reference.state_symbol(emission, allophones())
            for _, emission, _ in only_alignment(payload).items
        ]
        assert actual == [monophone_tying()[symbol] for symbol in symbols]
        assert max(actual) < 79


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("features.gz.cache", "features.cache"),
        ("alignment.bw.gz.cache", "alignment.bw.cache"),
        ("alignment.viterbi-noalphabet.cache", "alignment.viterbi.cache"),
    ],
)
def test_compressed_entries_inflate_to_the_plain_ones(name: str, plain: str) -> None:
    compressed = archive_bytes(name)
    assert all(row.compressed for row in reference.rows(compressed))
    assert data_entries(compressed) == data_entries(archive_bytes(plain))


def test_blocks_are_joined() -> None:
    gathered = data_entries(archive_bytes("features.gather50.cache"))
    whole = data_entries(archive_bytes("features.cache"))
    assert list(gathered) == list(whole)
    for segment, payload in gathered.items():
        sizes = [len(block.packets) for block in reference.blocks(payload)]
        assert set(sizes[:-1]) == {51}
        assert reference.features(payload) == reference.features(whole[segment])


def test_the_parts_make_up_the_whole() -> None:
    parts: dict[str, bytes] = {}
    for part in (1, 2, 3):
        parts |= data_entries(archive_bytes(f"features.part{part}.cache"))
    assert parts == data_entries(archive_bytes("features.cache"))


def test_audio_samples_have_two_datatypes() -> None:
    small, large = (data_entries(archive_bytes(name)) for name in SAMPLES)
    for segment, payload in small.items():
        assert [block.datatype for block in reference.blocks(payload)] == ["vector-s16"]
        (block,), (other,) = reference.blocks(payload), reference.blocks(large[segment])
        assert (block.packets, block.times) == (other.packets, other.times)


# ---- the builder writes real files again, byte for byte --------------------------------------


def rebuilt(name: str, payload: bytes) -> bytes:
    """An entry once more, from what the reference decodes of it."""
    if name.endswith(".attribs"):
        pairs = re.findall(r'name="([^"]*)" value="([^"]*)"', payload.decode())
        return builder.attribs(dict(reversed(pairs)))
    actual = reference.blocks(payload)
    if actual[0].datatype == "flow-alignment":
        return rebuilt_alignment(only_alignment(payload))
    if "s16" in actual[0].datatype or "f64" in actual[0].datatype:
        return b"".join(rebuilt_vectors(block) for block in actual)
    assert actual[-1].times is not None
    return builder.features(
        reference.features(payload),
        end=actual[-1].times[-1][1],
        gather=50 if len(actual) > 1 else None,
        datatype=actual[0].datatype,
    )


def rebuilt_alignment(alignment: RefAlignment) -> bytes:
    magic = b"ALIGNRLE" if alignment.alphabet is None else b"AALPHRLE"
    if alignment.weighted:
        packet = builder.alignment_weighted(
            alignment.items, magic=magic, alphabet=alignment.alphabet
        )
    else:
        items = [(time, emission) for time, emission, _ in alignment.items]
        packet = builder.alignment_rle(items, magic=magic, alphabet=alignment.alphabet)
    return builder.alignment_entry(packet, alignment.start, alignment.end)


def rebuilt_vectors(block: RefBlock) -> bytes:
    assert block.times is not None
    packets = [
        builder.vector(block.datatype, values, *times)
        for values, times in zip(block.packets, block.times, strict=True)
    ]
    return builder.block(block.datatype, packets)


@pytest.mark.parametrize("name", [*ALIGNMENTS, *FEATURES, *SAMPLES, KILLED])
def test_every_entry_is_rebuilt(name: str) -> None:
    data = archive_bytes(name)
    for row in reference.rows(data):
        payload = reference.payload(data, row)
        assert rebuilt(row.name.decode(), payload) == payload, row.name


@zlib_as_sprint
@pytest.mark.parametrize("name", [*ALIGNMENTS, *[n for n in FEATURES if n != HOLES], *SAMPLES])
def test_every_file_is_rebuilt(name: str) -> None:
    data = archive_bytes(name)
    actual = reference.rows(data)
    entries = [
        (row.name, rebuilt(row.name.decode(), reference.payload(data, row))) for row in actual
    ]
    assert builder.archive(entries, compress=actual[0].compressed > 0) == data


def test_a_file_of_a_killed_writer_is_rebuilt() -> None:
    data = archive_bytes(KILLED)
    entries = [(row.name, reference.payload(data, row)) for row in reference.rows(data)]
    whole = builder.archive(entries, table=False)
    assert data.startswith(whole)
    assert data[len(whole) :].startswith(builder.START_TAG)


def test_holes_are_rebuilt_but_for_their_junk() -> None:
    data = archive_bytes(HOLES)
    (table_position,) = struct.unpack("<Q", data[-8:])
    actual = reference.rows(data)
    holes = list(gaps(actual, table_position))
    for start, end in holes:
        size = end - start - 24
        ours = builder.hole(size)
        assert ours[:20] + data[start + 20 : end - 4] + ours[-4:] == data[start:end]
    file_rows = [builder.file_row(row.name, row.start, data[row.start : row.end]) for row in actual]
    hole_rows = [struct.pack("<QI", start + 8, end - start - 24) for start, end in holes]
    assert len(hole_rows) == 2
    assert builder.tables(file_rows, hole_rows, table_position) == data[table_position:]


def gaps(actual: list[Row], table_position: int) -> Iterator[tuple[int, int]]:
    """Start and end of the bytes between entries."""
    ends = [9, *(row.end for row in actual)]
    starts = [*(row.start for row in actual), table_position]
    return ((end, start) for end, start in zip(ends, starts, strict=True) if end != start)


# ---- the builder against bytes written out by hand -------------------------------------------


def test_an_empty_archive() -> None:
    expected = "53505f4152433100 01 00000000 00000000 0d00000000000000 0900000000000000"
    assert builder.archive([]) == bytes.fromhex(expected)
    assert reference.read_table(builder.archive([])) == []
    assert builder.archive([], table=False) == bytes.fromhex("53505f4152433100 00")


def test_an_archive_of_one_entry_and_one_hole() -> None:
    hole = "55aa55aa 00000000 15000000 00000000 00000000" + "00" * 21 + "aa55aa55"
    entry = "55aa55aa 02000000 c3a9 03000000 00000000 00000000 616263 aa55aa55"
    file_table = "01000000 02000000 c3a9 4000000000000000 03000000 00000000"
    hole_table = "01000000 1100000000000000 15000000"
    positions = "6d00000000000000 5300000000000000"  # 9 + 45 (hole) + 29 (entry) = 0x53
    expected = bytes.fromhex(
        "53505f4152433100 01" + hole + entry + file_table + hole_table + positions
    )
    data = builder.archive([("\u00e9", b"abc")], holes=[0])
    assert data == expected
    assert reference.rows(data) == [Row("\u00e9".encode(), 0x40, 3, 0)]
    assert reference.scan(data) == reference.rows(data)


@zlib_as_sprint
def test_compressed_nothing_has_twenty_bytes() -> None:
    expected = "1f8b0800000000000003 0300 00000000 00000000"
    assert builder.gz(b"") == bytes.fromhex(expected)
    data = builder.archive([("a", b"")], compress=True)
    (row,) = reference.rows(data)
    assert (row.size, row.compressed) == (0, 20)
    assert reference.payload(data, row) == b""


def test_attributes_are_sorted_and_escaped() -> None:
    expected = (
        b'<flow-attributes><flow-attribute name="a" value="&lt;&amp;&gt;&quot;&apos;"/>'
        b'<flow-attribute name="b" value="\xc3\xa9"/></flow-attributes>'
    )
    assert builder.attribs({"b": "\u00e9", "a": "<&>\"'"}) == expected


def test_packed_numbers() -> None:
    known = {0: "00", 127: "7f", 128: "8001", 300: "ac02", 2**32 - 1: "ffffffff0f"}
    for value, expected in known.items():
        assert builder.packed(value).hex() == expected
        assert reference.Cursor(bytes.fromhex(expected)).packed() == value
    for damaged in ("80", "ffffffff10", "808080808000"):
        with pytest.raises(RefError):
            reference.Cursor(bytes.fromhex(damaged)).packed()


def run_code(items: list[tuple[int, int]]) -> str:
    """The hex of the run-length code after magic and size."""
    return builder.alignment_rle(items)[12:].hex()


def u32_hex(value: int) -> str:
    return builder.u32(value).hex()


def test_a_literal_run_takes_in_the_first_of_a_pair_and_a_marker_follows() -> None:
    expected = ["02", u32_hex(5), u32_hex(6), "00", u32_hex(2), "fe", u32_hex(6)]
    expected += ["01", u32_hex(7)]
    assert run_code(list(enumerate([5, 6, 6, 6, 7]))) == "".join(expected)


def test_runs_end_at_128_and_127() -> None:
    repeated = ["80", u32_hex(9), "fe", u32_hex(9)]
    assert run_code([(time, 9) for time in range(130)]) == "".join(repeated)
    literal = ["7f", *map(u32_hex, range(127)), "00", u32_hex(127), "01", u32_hex(127)]
    assert run_code([(time, time) for time in range(128)]) == "".join(literal)


def test_times_that_do_not_count_up_get_a_marker() -> None:
    first_late = ["00", u32_hex(3), "01", u32_hex(1)]
    assert run_code([(3, 1)]) == "".join(first_late)
    same_emission = ["ff", u32_hex(1), "00", u32_hex(7), "01", u32_hex(1)]
    assert run_code([(0, 1), (7, 1)]) == "".join(same_emission)
    backwards = ["00", u32_hex(5), "01", u32_hex(1), "00", u32_hex(4), "01", u32_hex(2)]
    assert run_code([(5, 1), (4, 2)]) == "".join(backwards)  # Sprint would lose the time 4


def test_a_weighted_alignment_by_hand() -> None:
    items = [(0, 7, 0.5), (0, 200, 0.25), (3, 7, 1.0)]
    expected = b"ALIGNRLE" + bytes.fromhex(
        "02000080 03 04 07 0000003f c801 0000803e 03 03 07 0000803f"
    )
    assert builder.alignment_weighted(items) == expected
    expected = b"ALIGNRLE" + bytes.fromhex("01000080 03 04 07 0080 c801 0040 03 03 07 ffff")
    assert builder.alignment_weighted(items, version=1) == expected


# ---- what the builder writes, the reference reads --------------------------------------------

VECTOR = builder.vector_f32([1.5, -2.0], 0.25, 0.5)
PACKETS = {
    "timestamp": (builder.timestamp(1.0, 2.0), None),
    "linear-filter-parameter": (builder.linear_filter_parameter(1.0, 2.0), None),
    "f32": (builder.scalar("f32", 0.5, 1.0, 2.0), 0.5),
    "f64": (builder.scalar("f64", 0.1, 1.0, 2.0), 0.1),
    "string": (builder.string_packet("\u00e9", 1.0, 2.0), b"\xc3\xa9"),
    "vector-u8": (builder.vector("vector-u8", [0, 255], 1.0, 2.0), [0, 255]),
    "vector-s8": (builder.vector("vector-s8", [-128, 127], 1.0, 2.0), [-128, 127]),
    "vector-u16": (builder.vector("vector-u16", [65535], 1.0, 2.0), [65535]),
    "vector-s16": (builder.vector("vector-s16", [-32768], 1.0, 2.0), [-32768]),
    "vector-u32": (builder.vector("vector-u32", [2**32 - 1], 1.0, 2.0), [2**32 - 1]),
    "vector-f32": (builder.vector_f32([], 1.0, 2.0), []),
    "vector-f64": (builder.vector("vector-f64", [0.1], 1.0, 2.0), [0.1]),
    "vector-bool": (builder.vector("vector-bool", [True, False], 1.0, 2.0), [True, False]),
    "vector-complex-f32": (builder.vector("vector-complex-f32", [1 + 2j], 1.0, 2.0), [1 + 2j]),
    "vector-complex-f64": (builder.vector("vector-complex-f64", [0.1j], 1.0, 2.0), [0.1j]),
    "vector-vector-f32": (
        builder.vector_vector_f32([VECTOR], 1.0, 2.0),
        [([1.5, -2.0], (0.25, 0.5))],
    ),
    "matrix-f32": (
        builder.matrix("matrix-f32", [[1, 2], [3, 4], [5, 6]], 1.0, 2.0),
        RefMatrix(3, 2, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    ),
    "matrix-f64": (builder.matrix("matrix-f64", [], 1.0, 2.0), RefMatrix(0, 0, [])),
    "aggregate": (
        builder.aggregate([("vector-f32", VECTOR), ("vector-f32", VECTOR)], 1.0, 2.0),
        [("vector-f32", [1.5, -2.0], (0.25, 0.5))] * 2,
    ),
    "aggregate-vector-f32": (
        builder.aggregate_vector_f32([VECTOR], 1.0, 2.0),
        [([1.5, -2.0], (0.25, 0.5))],
    ),
    "autoregressive-coefficients": (
        builder.autoregressive_coefficients(0.5, [1.0, 2.0], 1.0, 2.0),
        (0.5, [1.0, 2.0]),
    ),
    "windowing-fir-filter-parameter": (
        builder.windowing_fir_filter_parameter([(0.1, 0.2), (0.3, 0.4)]),
        [(0.1, 0.2), (0.3, 0.4)],
    ),
    "flow-alignment": (
        builder.alignment_rle([(0, 4), (1, 5)]) + builder.timestamp(1.0, 2.0),
        RefAlignment("allophone-state", False, [(0, 4, 1.0), (1, 5, 1.0)], None, 1.0, 2.0),
    ),
}
UNTIMED = "windowing-fir-filter-parameter"


@pytest.mark.parametrize("datatype", PACKETS)
def test_every_datatype_comes_back(datatype: str) -> None:
    packet, value = PACKETS[datatype]
    payload = builder.block(datatype, [packet, packet]) + builder.block(datatype, [])
    times = [(1.0, 2.0)] * 2
    assert reference.blocks(payload) == [
        RefBlock(datatype, None if datatype == UNTIMED else times, [value, value]),
        RefBlock(datatype, None if datatype == UNTIMED else [], []),
    ]


def test_an_aggregate_of_several_datatypes_and_of_aggregates() -> None:
    empty = builder.aggregate([], 0.0, 0.0)
    members = [(name, packet) for name, (packet, _) in PACKETS.items()] + [("aggregate", empty)]
    payload = builder.block("aggregate", [builder.aggregate(members, 3.0, 4.0)])
    times = [None if name == UNTIMED else (1.0, 2.0) for name in PACKETS]
    values = [value for _, value in PACKETS.values()]
    expected = [*zip(PACKETS, values, times, strict=True), ("aggregate", [], (0.0, 0.0))]
    assert reference.blocks(payload) == [RefBlock("aggregate", [(3.0, 4.0)], [expected])]


def test_aggregates_without_end() -> None:
    packet = builder.aggregate([], 0.0, 0.0)
    for _ in range(2000):
        packet = builder.aggregate([("aggregate", packet)], 0.0, 0.0)
    with pytest.raises(RefError, match="aggregates in aggregates"):
        reference.blocks(builder.block("aggregate", [packet]))


ITEMS = {
    "nothing": [],
    "contiguous": [(0, 4), (1, 4), (2, 5), (3, 6), (4, 6)],
    "late and with gaps": [(3, 1), (4, 1), (9, 1), (10, 2), (20, 3)],
    "several in a frame": [(0, 1), (0, 2), (0, 2), (1, 1), (1, 2)],
    "backwards": [(5, 1), (4, 2), (3, 2), (2, 3), (0, 7)],
    "long runs": [(time, time // 300) for time in range(900)],
    "all different": [(time, time) for time in range(300)],
    "the last of all times": [(2**32 - 1, 1), (0, 2**32 - 1)],
}


@pytest.mark.parametrize("items", ITEMS.values(), ids=ITEMS)
@pytest.mark.parametrize("magic", [b"ALIGNRLE", b"AALPHRLE", b"ALIGNEMI"])
def test_alignments_come_back(magic: bytes, items: list[tuple[int, int]]) -> None:
    alphabet = {4: b"a{#+#}.0", 300: b""} if magic == b"AALPHRLE" else None
    label_type = "emission" if magic == b"ALIGNEMI" else "allophone-state"
    packet = builder.alignment_rle(items, magic=magic, alphabet=alphabet)
    ones = [(time, emission, 1.0) for time, emission in items]
    expected = RefAlignment(label_type, False, ones, alphabet, 0.5, 2.5)
    assert only_alignment(builder.alignment_entry(packet, 0.5, 2.5)) == expected
    for version, weight in ((0, 0.0), (1, 21845 / 65535), (2, 0.125)):
        weighted = [(time, emission, weight) for time, emission in items]
        packet = builder.alignment_weighted(
            weighted, version=version, magic=magic, alphabet=alphabet
        )
        expected = RefAlignment(label_type, True, weighted, alphabet, 0.0, 1.0)
        assert only_alignment(builder.alignment_entry(packet)) == expected


def test_features_of_scalars_and_of_several_blocks() -> None:
    array = [[0.5], [1.5], [-2.0]]
    for datatype, gather in product(("f32", "f64", "vector-f32", "vector-s8"), (None, 0, 1, 9)):
        values = [[int(row[0])] for row in array] if datatype == "vector-s8" else array
        payload = builder.features(values, datatype=datatype, gather=gather)
        assert reference.features(payload) == values
        expected = {None: [3], 0: [1, 1, 1], 1: [2, 1], 9: [3]}[gather]
        assert [len(block.packets) for block in reference.blocks(payload)] == expected
    assert builder.features([]) == b""
    assert reference.features(b"") == []


# ---- damage ----------------------------------------------------------------------------------


def test_the_first_of_two_entries_with_one_name_wins() -> None:
    data = builder.archive([("a", b"first"), ("b", b""), ("a", b"second")])
    for actual in (reference.read_table(data), reference.scan(data)):
        assert [row.name for row in actual] == [b"a", b"b"]
        assert reference.payload(data, actual[0]) == b"first"


def test_the_table_as_returnn_leaves_it() -> None:
    data = builder.archive([("a", b"payload")])
    position = data[-8:]
    data = data[:-20] + bytes(8) + position
    assert reference.read_table(data) == reference.scan(data)
    with pytest.raises(RefError, match="empty-file table"):
        reference.read_table(data[:-16] + position + position)


def test_a_table_that_does_not_fill_the_end() -> None:
    data = builder.archive([("a", b"payload")])
    for damaged in (data[:-16] + b"\0" + data[-16:], data[:-17] + data[-16:]):
        with pytest.raises(RefError):
            reference.read_table(damaged)
        assert reference.rows(damaged) == reference.scan(data)


def test_a_scan_tries_again_at_every_byte() -> None:
    names = [b"a", b"bb", b"ccc", b"dddd"]
    entries = [builder.entry(name, b"payload of " + name) for name in names]
    cut = entries[1][:-2]
    wrong = builder.entry(b"x", b"payload", checksum=1)
    data = builder.MAGIC + b"\0?" + entries[0] + cut + entries[2] + wrong + b"??" + entries[3]
    actual = reference.rows(data + cut)
    assert [row.name for row in actual] == [b"a", b"ccc", b"dddd"]
    assert [reference.payload(data, row)[11:] for row in actual] == [b"a", b"ccc", b"dddd"]


def test_a_start_tag_can_complete_an_end_tag() -> None:
    first, second = builder.entry(b"a", b"payload"), builder.entry(b"b", b"payload")
    data = builder.MAGIC + b"\0" + first[:-1] + second + second
    assert [row.name for row in reference.scan(data)] == [b"a", b"b"]
    assert reference.scan(data)[1].start == len(data) - len(second)  # not the first of the two


@pytest.mark.parametrize(
    "field", ["start tag", "name", "size", "compressed", "checksum", "end tag"]
)
def test_an_entry_that_is_not_as_the_table_says(field: str) -> None:
    data = bytearray(builder.archive([("name", b"payload")]))
    (row,) = reference.rows(bytes(data))
    position = {
        "start tag": row.start,
        "name": row.position - 1,
        "size": row.position,
        "compressed": row.position + 4,
        "checksum": row.position + 8,
        "end tag": row.end - 1,
    }[field]
    data[position] ^= 1
    assert reference.read_table(bytes(data)) == [row]
    with pytest.raises(RefError, match="expected"):
        reference.payload(bytes(data), row)
    assert b"name" not in [actual.name for actual in reference.scan(bytes(data))]


def gzip_member(
    flags: int = 0, extra: bytes = b"", body: bytes = b"payload", tail: bytes = b"", method: int = 8
) -> bytes:
    """A gzip member with these flags, what they announce, and bytes after the deflate stream."""
    header = bytes([0x1F, 0x8B, method, flags]) + bytes(6) + extra
    deflated = zlib.compress(body)[2:-4] + tail
    return header + deflated + struct.pack("<II", zlib.crc32(body), len(body))


def test_gzip_headers_of_every_kind() -> None:
    assert reference.gunzip(gzip.compress(b"payload"), 7) == b"payload"
    everything = b"\x02\x00xy" + b"name\0" + b"comment\0"
    header = b"\x1f\x8b\x08\x1f" + bytes(6) + everything
    crc = struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    assert reference.gunzip(gzip_member(0x1F, everything + crc), 7) == b"payload"
    with pytest.raises(RefError, match="crc16"):
        reference.gunzip(gzip_member(0x1F, everything + b"??"), 7)


@pytest.mark.parametrize(
    ("member", "size"),
    [
        pytest.param(gzip_member(method=7), 7, id="method"),
        pytest.param(gzip_member(flags=0x20), 7, id="reserved flag"),
        pytest.param(gzip_member(flags=8, extra=b"no end"), 7, id="name without end"),
        pytest.param(gzip_member(tail=b"\0"), 7, id="bytes after the stream"),
        pytest.param(gzip_member(), 6, id="too long"),
        pytest.param(gzip_member(), 8, id="too short"),
        pytest.param(gzip_member()[:-1] + b"\1", 7, id="length"),
        pytest.param(gzip_member()[:-5] + b"????\0", 7, id="crc"),
        pytest.param(gzip_member()[:-9] + gzip_member()[-8:], 7, id="cut stream"),
        pytest.param(gzip_member()[:12], 7, id="cut member"),
        pytest.param(gzip_member(body=bytes(100_000)), 10, id="bomb"),
    ],
)
def test_gzip_members_that_are_wrong(member: bytes, size: int) -> None:
    with pytest.raises(RefError):
        reference.gunzip(member, size)


def alignment_of(code: str, size: int, magic: bytes = b"ALIGNRLE") -> bytes:
    """An entry with this run-length or weighted code after the size word."""
    return builder.alignment_entry(magic + builder.u32(size) + bytes.fromhex(code))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        pytest.param(alignment_of("fe 01000000", 1), "declared", id="repeat run overshoots"),
        pytest.param(alignment_of("02 01000000 02000000", 1), "declared", id="literal overshoots"),
        pytest.param(alignment_of("01 01000000", 2**31 - 1), "wanted", id="too few items"),
        pytest.param(
            alignment_of("00 ffffffff fe 01000000", 2), "an item after time", id="time overflows"
        ),
        pytest.param(alignment_of("03 00 01 00", 2**31), "frame", id="frame overshoots"),
        pytest.param(
            alignment_of("02 03 ffffffff0f 01 02 01", 2**31),
            "an item after time",
            id="weighted time",
        ),
        pytest.param(alignment_of("00", 2**31 + 3), "version", id="version"),
        pytest.param(alignment_of("", 0, b"ALIGNXYZ"), "magic", id="magic"),
        pytest.param(builder.block("vector-s32", []), "unknown datatype", id="not registered"),
        pytest.param(builder.block("f32", []) + b"\0", "wanted", id="left over"),
        pytest.param(builder.string("f32") + builder.u32(2**32 - 1), "wanted", id="count"),
    ],
)
def test_payloads_that_are_wrong(payload: bytes, message: str) -> None:
    with pytest.raises(RefError, match=message):
        reference.blocks(payload)


def test_a_time_beyond_the_last_matters_only_to_an_item() -> None:
    times = "00 ffffffff 01 01000000 00 00000000 01 02000000"
    assert only_alignment(alignment_of(times, 2)).items == [(2**32 - 1, 1, 1.0), (0, 2, 1.0)]


def test_features_that_are_none() -> None:
    ragged = [builder.vector_f32(values, 0.0, 1.0) for values in ([1.0], [1.0, 2.0])]
    for payload in (
        builder.block("vector-f32", ragged),
        builder.block("vector-f32", ragged[:1]) + builder.block("vector-f32", ragged[1:]),
        builder.block("string", [builder.string_packet("a", 0.0, 1.0)]),
        builder.block("vector-complex-f32", [builder.vector("vector-complex-f32", [1j], 0, 1)]),
        builder.block("matrix-f32", [builder.matrix("matrix-f32", [[1.0]], 0.0, 1.0)]),
        alignment_of("", 0),
    ):
        with pytest.raises(RefError):
            reference.features(payload)


A1 = 1 | 2 << 26  # state 2 of the second of these allophones
LABELS = (["sil{#+#}@i@f", "a{#+#}"], {"sil{#+#}@i@f.0": 0, "a{#+#}.2": 7})


def test_labels_by_hand() -> None:
    items = [(0, 0), (1, A1), (2, A1)]
    alphabet = {0: b"sil{#+#}@i@f.0", A1: b"a{#+#}.2"}
    for packet in (
        builder.alignment_rle(items),
        builder.alignment_rle(items, magic=b"AALPHRLE", alphabet=alphabet),
        builder.alignment_weighted([(*item, 0.5) for item in items]),
    ):
        assert reference.labels(builder.alignment_entry(packet), *LABELS) == [0, 7, 7]
    emissions = builder.alignment_rle([(0, 40), (1, 2**32 - 1)], magic=b"ALIGNEMI")
    assert reference.labels(builder.alignment_entry(emissions), [], {}) == [40, 2**32 - 1]


@pytest.mark.parametrize(
    ("items", "alphabet"),
    [
        pytest.param([(1, 0)], None, id="starts late"),
        pytest.param([(0, 0), (2, 0)], None, id="gap"),
        pytest.param([(0, 0), (0, A1)], None, id="two in a frame"),
        pytest.param([(0, 2)], None, id="no such allophone"),
        pytest.param([(0, 0 | 1 << 30)], None, id="high bit"),
        pytest.param([(0, 1)], None, id="not tied"),
        pytest.param([(0, A1)], {A1: b"a{#+#}.1"}, id="other symbol"),
        pytest.param([(0, A1)], {0: b"sil{#+#}@i@f.0"}, id="no symbol"),
    ],
)
def test_labels_that_are_none(
    items: list[tuple[int, int]], alphabet: dict[int, bytes] | None
) -> None:
    magic = b"ALIGNRLE" if alphabet is None else b"AALPHRLE"
    packet = builder.alignment_rle(items, magic=magic, alphabet=alphabet)
    with pytest.raises(RefError):
        reference.labels(builder.alignment_entry(packet), *LABELS)


def test_labels_need_one_alignment() -> None:
    packet = builder.alignment_rle([(0, 0)]) + builder.timestamp(0.0, 1.0)
    for payload in (
        b"",
        builder.block("flow-alignment", [packet, packet]),
        builder.block("flow-alignment", [packet]) * 2,
        builder.features([[1.0]]),
    ):
        with pytest.raises(RefError, match="one alignment"):
            reference.labels(payload, *LABELS)


def small_archive(*, compress: bool, table: bool) -> bytes:
    """Features, a run-length alignment with alphabet, a weighted one, attributes and a hole.

    No flipped bit makes one of the names another one.
    """
    aligned = builder.alignment_rle([(0, 1), (1, 1), (3, 2)], magic=b"AALPHRLE", alphabet={1: b"a"})
    weighted = builder.alignment_weighted([(0, 1, 0.5), (0, 2, 0.5)])
    entries = [
        (b"frames.attribs", builder.attribs({"datatype": "f32"})),
        (b"frames", builder.features([[1.0], [2.0]], gather=0)),
        (b"runs", builder.alignment_entry(aligned)),
        (b"weights", builder.alignment_entry(weighted)),
    ]
    return builder.archive(entries, compress=compress, table=table, holes=[2])


def read_all(data: bytes) -> dict[bytes, bytes | None]:
    """Every payload the reference gives, None where it refuses; decodes what can be decoded."""
    actual: dict[bytes, bytes | None] = {}
    for row in reference.rows(data):
        actual[row.name] = None
        try:
            actual[row.name] = reference.payload(data, row)
            reference.blocks(actual[row.name] or b"")
        except RefError:
            continue
    return actual


@pytest.mark.parametrize(("compress", "table"), list(product((False, True), repeat=2)))
def test_every_truncation_is_an_error_or_whole_entries(compress: bool, table: bool) -> None:
    data = small_archive(compress=compress, table=table)
    whole = read_all(data)
    assert len(whole) == 4
    for size in range(9):
        with pytest.raises(RefError, match="header"):
            reference.rows(data[:size])
    ends = [row.end for row in reference.rows(data)]
    for size in range(9, len(data)):
        actual = read_all(data[:size])
        assert list(actual.items()) == list(whole.items())[: sum(end <= size for end in ends)]


@pytest.mark.parametrize(("compress", "table"), list(product((False, True), repeat=2)))
def test_every_flipped_bit_is_an_error_or_something_else(compress: bool, table: bool) -> None:
    data = small_archive(compress=compress, table=table)
    whole = read_all(data)
    for at, bit in product(range(9, len(data)), range(8)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << bit
        actual = read_all(bytes(damaged))
        intact = [name for name in whole if actual.get(name) == whole[name]]
        assert len(intact) >= len(whole) - 1
        if compress:
            assert all(actual.get(name) in (None, whole[name]) for name in whole)
