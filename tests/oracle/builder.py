"""Writes Sprint's bytes by hand: archives, entries, blocks, packets of every datatype, alignments.

What these functions give is byte for byte what Sprint writes; it imports nothing of the project.
Docstrings name the part of RASR that defines the bytes, and the section of the format description.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

MAGIC = b"SP_ARC1\0"
START_TAG = struct.pack("<I", 0xAA55AA55)
END_TAG = struct.pack("<I", 0x55AA55AA)
HOLE_SIZE = 21  # of the holes that `archive` makes; any number would do

Item = tuple[int, int]  # time, emission
WeightedItem = tuple[int, int, float]


# ---- primitives: RASR's Core/BinaryStream, section 1 -----------------------------------------


def u32(value: int) -> bytes:
    """Four bytes, little-endian."""
    return struct.pack("<I", value)


def string(text: str | bytes) -> bytes:
    """u32 number of bytes, bytes."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return u32(len(raw)) + raw


def packed(value: int) -> bytes:
    """Seven bits a byte, low group first, bit 7 set if more follow (RASR's Speech/Alignment)."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# ---- the archive: RASR's Core/FileArchive and Core/Archive, sections 2 and 3 -----------------


def gz(payload: bytes) -> bytes:
    """A gzip member as Sprint writes it: no name, no time, system 3, zlib's defaults (3)."""
    deflated = zlib.compress(payload)[2:-4]
    header = b"\x1f\x8b\x08" + bytes(6) + b"\x03"
    return header + deflated + struct.pack("<II", zlib.crc32(payload), len(payload))


def entry(name: str | bytes, payload: bytes, compress: bool = False, *, checksum: int = 0) -> bytes:
    """Start tag, name, the two sizes, checksum (0 in every valid entry), payload, end tag (2.2)."""
    stored = gz(payload) if compress else payload
    sizes = struct.pack("<III", len(payload), len(stored) if compress else 0, checksum)
    return START_TAG + string(name) + sizes + stored + END_TAG


def hole(size: int) -> bytes:
    """What a removed entry leaves: an entry without a name (2.2). The junk in it is zeros here."""
    return entry(b"", bytes(size))


def archive(
    entries: Sequence[tuple[str | bytes, bytes]],
    *,
    compress: bool = False,
    table: bool = True,
    flag: int | None = None,
    holes: Sequence[int] = (),
) -> bytes:
    """A file of these (name, payload) pairs (2.2), each row of the table included.

    A hole goes before every entry whose index is in `holes`; len(entries) puts it after the last.
    Without `table` the file is what a killed writer leaves. `flag` None: 1 with a table, else 0.
    """
    out = bytearray(MAGIC + bytes([int(table) if flag is None else flag]))
    file_rows = []
    hole_rows = []
    for index in range(len(entries) + 1):
        for _ in range(holes.count(index)):
            hole_rows.append(struct.pack("<QI", len(out) + 8, HOLE_SIZE))
            out += hole(HOLE_SIZE)
        if index < len(entries):
            whole = entry(*entries[index], compress)
            file_rows.append(file_row(entries[index][0], len(out), whole))
            out += whole
    if table:
        out += tables(file_rows, hole_rows, len(out))
    return bytes(out)


def file_row(name: str | bytes, start: int, whole: bytes) -> bytes:
    """The table's row for an entry that starts there: name, position of its sizes, sizes (2.2)."""
    sizes_at = 4 + len(string(name))
    return string(name) + struct.pack("<Q", start + sizes_at) + whole[sizes_at : sizes_at + 8]


def tables(file_rows: Sequence[bytes], hole_rows: Sequence[bytes], position: int) -> bytes:
    """File-info table, empty-file table and where they start, the second first (2.2)."""
    file_table = u32(len(file_rows)) + b"".join(file_rows)
    hole_table = u32(len(hole_rows)) + b"".join(hole_rows)
    positions = struct.pack("<QQ", position + len(file_table), position)
    return file_table + hole_table + positions


def attribs(mapping: Mapping[str, str]) -> bytes:
    """The text of an `.attribs` entry: one line, sorted by name (RASR's Flow/Attributes, 6.2)."""
    pairs = sorted((xml_escaped(name), xml_escaped(value)) for name, value in mapping.items())
    rows = [f'<flow-attribute name="{name}" value="{value}"/>' for name, value in pairs]
    return f"<flow-attributes>{''.join(rows)}</flow-attributes>".encode()


def xml_escaped(text: str) -> str:
    """The five characters that cannot stand in an attribute (RASR's Core/XmlStream)."""
    for char, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "apos")):
        text = text.replace(char, f"&{name};")
    return text


# ---- blocks and packets: RASR's Flow/Cache, Flow/Datatype, Flow/Data*, section 6 -------------

ELEMENTS = {
    "u8": "B",
    "s8": "b",
    "u16": "H",
    "s16": "h",
    "u32": "I",
    "f32": "f",
    "f64": "d",
}


def block(datatype: str, packets: Sequence[bytes]) -> bytes:
    """Name of the datatype, number of packets, packets (6.1)."""
    return string(datatype) + u32(len(packets)) + b"".join(packets)


def timestamp(start: float, end: float) -> bytes:
    """The packet of datatype `timestamp`, and the last part of most others (6.3)."""
    return struct.pack("<dd", start, end)


def linear_filter_parameter(start: float, end: float) -> bytes:
    """Sprint stores the times of it and nothing else (6.3)."""
    return timestamp(start, end)


def scalar(datatype: str, value: float, start: float, end: float) -> bytes:
    """A packet of `f32` or `f64` (6.3)."""
    return struct.pack(f"<{ELEMENTS[datatype]}", value) + timestamp(start, end)


def string_packet(text: str | bytes, start: float, end: float) -> bytes:
    """A packet of `string` (6.3)."""
    return string(text) + timestamp(start, end)


def vector(datatype: str, values: Iterable[complex], start: float, end: float) -> bytes:
    """A packet of any `vector-` of numbers: size, elements, times (RASR's Flow/Vector, 6.3)."""
    elements = list(values)
    return u32(len(elements)) + vector_elements(datatype, elements) + timestamp(start, end)


def vector_elements(datatype: str, elements: Sequence[complex]) -> bytes:
    """The elements alone: true is FF, complex numbers are (real, imaginary) pairs (1, 6.3)."""
    kind = datatype.removeprefix("vector-")
    if kind == "bool":
        return bytes(0xFF if element else 0 for element in elements)
    if kind.startswith("complex-"):
        kind = kind.removeprefix("complex-")
        elements = [part for element in elements for part in (element.real, element.imag)]
    return struct.pack(f"<{len(elements)}{ELEMENTS[kind]}", *elements)


def vector_f32(values: Iterable[float], start: float, end: float) -> bytes:
    """A packet of `vector-f32` (6.3)."""
    return vector("vector-f32", values, start, end)


def vector_vector_f32(vectors: Sequence[bytes], start: float, end: float) -> bytes:
    """A packet of `vector-vector-f32` from what `vector_f32` gave (6.3)."""
    return u32(len(vectors)) + b"".join(vectors) + timestamp(start, end)


def matrix(datatype: str, rows: Sequence[Sequence[float]], start: float, end: float) -> bytes:
    """A packet of `matrix-f32` or `matrix-f64`; each row repeats its size (6.3)."""
    code = ELEMENTS[datatype.removeprefix("matrix-")]
    columns = len(rows[0]) if rows else 0
    stored = [u32(columns) + struct.pack(f"<{columns}{code}", *row) for row in rows]
    shape = struct.pack("<III", len(rows), columns, len(rows))
    return shape + b"".join(stored) + timestamp(start, end)


def aggregate(members: Sequence[tuple[str, bytes]], start: float, end: float) -> bytes:
    """A packet of `aggregate` from (datatype, packet) pairs (RASR's Flow/Aggregate, 6.3)."""
    datatypes = {datatype for datatype, _ in members} or {"aggregate"}
    if len(datatypes) == 1:
        same = block(datatypes.pop(), [packet for _, packet in members])
        return b"\xff" + timestamp(start, end) + same
    each = [string(datatype) + packet for datatype, packet in members]
    return b"\0" + timestamp(start, end) + u32(len(each)) + b"".join(each)


def aggregate_vector_f32(vectors: Sequence[bytes], start: float, end: float) -> bytes:
    """A packet of `aggregate-vector-f32` from what `vector_f32` gave: times first (6.3)."""
    return timestamp(start, end) + u32(len(vectors)) + b"".join(vectors)


def autoregressive_coefficients(
    gain: float, coefficients: Sequence[float], start: float, end: float
) -> bytes:
    """A packet of `autoregressive-coefficients` (6.3)."""
    return struct.pack("<f", gain) + vector_f32(coefficients, start, end)


def windowing_fir_filter_parameter(pairs: Sequence[tuple[float, float]]) -> bytes:
    """A packet of `windowing-fir-filter-parameter`: (gain, omega) pairs, no times (6.3)."""
    return u32(len(pairs)) + b"".join(struct.pack("<dd", *pair) for pair in pairs)


def features(
    array: Iterable[Iterable[float]],
    *,
    shift: float = 0.01,
    length: float = 0.025,
    end: float | None = None,
    gather: int | None = None,
    datatype: str = "vector-f32",
) -> bytes:
    """The payload of a feature entry (RASR's Flow/Cache, 6.1); no frames, no bytes.

    `gather` is Sprint's parameter: 50 gives blocks of 51 frames. As in Sprint, start times are a
    running sum, so that they differ from t * shift in the last bits; Sprint's last frame ends
    with the recording, which `end` gives.
    """
    packets = []
    rows = list(array)
    start = 0.0
    for count, row in enumerate(rows, 1):
        frame_end = start + length if end is None or count < len(rows) else end
        packets.append(frame(datatype, row, start, frame_end))
        start += shift
    size = max(1, len(packets)) if gather is None else gather + 1
    chunks = [packets[at : at + size] for at in range(0, len(packets), size)]
    return b"".join(block(datatype, chunk) for chunk in chunks)


def frame(datatype: str, row: Iterable[float], start: float, end: float) -> bytes:
    """One frame as a vector, or as a scalar if that is the datatype."""
    if datatype.startswith("vector-"):
        return vector(datatype, row, start, end)
    (value,) = row
    return scalar(datatype, value, start, end)


# ---- alignments: RASR's Speech/Alignment, section 7 ------------------------------------------


def alignment_rle(
    items: Sequence[Item],
    *,
    magic: bytes = b"ALIGNRLE",
    alphabet: Mapping[int, bytes] | None = None,
) -> bytes:
    """The run-length code of (time, emission) items as Sprint's encoder forms it, without times.

    After a literal run Sprint's own clock is wrong (one before the start of the run), hence its
    time marker there, needed or not. The one item that would fit the wrong clock gets no marker
    in Sprint and is lost; here it gets one (7.2). An alphabet follows the items if given.
    """
    out = bytearray(magic + u32(len(items)))
    clock: int | None = 0
    at = 0
    while at < len(items):
        time, emission = items[at]
        if time != clock:
            out += b"\0" + u32(time)
        if at + 1 < len(items) and items[at + 1][1] == emission:
            count = run_length(items, at, repeat=True, limit=128)
            out += struct.pack("<bI", -count, emission)
            clock = time + count
        else:
            count = run_length(items, at, repeat=False, limit=127)
            out += struct.pack(f"<b{count}I", count, *(item[1] for item in items[at : at + count]))
            clock = None
        at += count
    return bytes(out) + alphabet_tail(alphabet)


def run_length(items: Sequence[Item], at: int, *, repeat: bool, limit: int) -> int:
    """How far neighbors are equal (or differ) and times count up, at most `limit` items (7.2)."""
    count = 1
    while at + count < len(items) and count < limit:
        (_, previous), (time, emission) = items[at + count - 1 : at + count + 1]
        if (emission == previous) != repeat or time != items[at][0] + count:
            break
        count += 1
    return count


def alignment_weighted(
    items: Sequence[WeightedItem],
    *,
    version: int = 2,
    magic: bytes = b"ALIGNRLE",
    alphabet: Mapping[int, bytes] | None = None,
) -> bytes:
    """The code of (time, emission, weight) items, without times (7.2).

    Frames are neighbors of equal time. Sprint writes version 2 (f32 weights); 1 has u16 weights
    in [0, 1], 0 none.
    """
    out = bytearray(magic + u32(0x80000000 | version) + packed(len(items)))
    expected = 0
    for group in groups_of_equal_time(items):
        time = group[0][0]
        explicit = time != expected
        out += packed(2 * len(group) + explicit)
        if explicit:
            out += packed(time)
        for _, emission, weight in group:
            out += packed(emission) + stored_weight(weight, version)
        expected = time + 1
    return bytes(out) + alphabet_tail(alphabet)


def groups_of_equal_time(items: Iterable[WeightedItem]) -> list[list[WeightedItem]]:
    """Neighbors with one time; the same time later is another frame (7.2)."""
    groups: list[list[WeightedItem]] = []
    for item in items:
        if groups and groups[-1][0][0] == item[0]:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def stored_weight(weight: float, version: int) -> bytes:
    """f32, u16 of 65535ths, nothing: versions 2, 1, 0 (7.2)."""
    if version == 0:
        return b""
    return struct.pack("<H", round(weight * 65535)) if version == 1 else struct.pack("<f", weight)


def alphabet_tail(alphabet: Mapping[int, bytes] | None) -> bytes:
    """What follows the items of `AALPHRLE`: count, then id and symbol by rising id (7.2)."""
    if alphabet is None:
        return b""
    symbols = [packed(emission) + string(alphabet[emission]) for emission in sorted(alphabet)]
    return packed(len(symbols)) + b"".join(symbols)


def alignment_entry(packet: bytes, start: float = 0.0, end: float = 1.0) -> bytes:
    """The payload of an alignment entry: a block of one packet with its times (7)."""
    return block("flow-alignment", [packet + timestamp(start, end)])
