"""A slow decoder of Sprint cache archives that is meant to be obviously right: the tests' oracle.

It works on the `bytes` of a whole file and imports nothing of the project. Every structural
problem is a `RefError`. Docstrings name the part of RASR that defines the bytes, and the section
of the format description.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAGIC = b"SP_ARC1\0"
HEADER_SIZE = 9
TRAILER_SIZE = 16
START_TAG = b"\x55\xaa\x55\xaa"
END_TAG = b"\xaa\x55\xaa\x55"

TIME_LIMIT = 1 << 32
WEIGHTED = 1 << 31
ALLOPHONE_MASK = 0x03FFFFFF
STATE_MASK = 0x3C000000
STATE_SHIFT = 26
MAX_DEPTH = 100  # of aggregates in aggregates; Sprint itself has no limit

Times = tuple[float, float]


class RefError(Exception):
    """The bytes are not what the format says."""


@dataclass(frozen=True)
class Row:
    """One entry; `position` is the offset of its size field, as in the archive's table."""

    name: bytes
    position: int
    size: int
    compressed: int

    @property
    def start(self) -> int:
        return self.position - 8 - len(self.name)

    @property
    def stored(self) -> int:
        return self.compressed or self.size

    @property
    def end(self) -> int:
        return self.position + 12 + self.stored + 4


@dataclass(frozen=True)
class RefMatrix:
    """A matrix packet. `columns` is stored since a matrix may have no rows."""

    rows: int
    columns: int
    values: list[list[float]]


@dataclass(frozen=True)
class RefAlignment:
    """An alignment packet: items are (time, emission, weight), in stored order."""

    label_type: str
    weighted: bool
    items: list[tuple[int, int, float]]
    alphabet: dict[int, bytes] | None
    start: float
    end: float


@dataclass(frozen=True)
class RefBlock:
    """One block of an entry; `times` is None for the one datatype that stores none."""

    datatype: str
    times: list[Times] | None
    packets: list[Any]


@dataclass
class Cursor:
    """Little-endian reads that never pass the end of the data (RASR's Core/BinaryStream, 1)."""

    data: bytes
    position: int = 0

    def take(self, size: int) -> bytes:
        left = len(self.data) - self.position
        if self.position < 0 or size > left:
            raise RefError(f"{size} bytes wanted at {self.position}, {left} are left")
        self.position += size
        return self.data[self.position - size : self.position]

    def expect(self, expected: bytes, what: str) -> None:
        at = self.position
        actual = self.take(len(expected))
        if actual != expected:
            raise RefError(f"{what} expected at {at}, found {actual.hex()}")

    def numbers(self, code: str, count: int) -> list[Any]:
        size = struct.calcsize(f"<{code}")
        return list(struct.unpack(f"<{count}{code}", self.take(count * size)))

    def u8(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def string(self) -> bytes:
        return self.take(self.u32())

    def packed(self) -> int:
        """Seven bits a byte, low group first, at most five bytes (RASR's Speech/Alignment, 1)."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise RefError(f"a packed number of more than five bytes before {self.position}")
        if value > 0xFFFFFFFF:
            raise RefError(f"a packed number of more than 32 bits before {self.position}")
        return value

    def at_end(self) -> bool:
        return self.position == len(self.data)


# ---- the archive: RASR's Core/FileArchive, section 2 -----------------------------------------


def rows(data: bytes) -> list[Row]:
    """The entries: from the table if the flag says so and the table is sane, else by a scan."""
    check_header(data)
    if data[8] != 0:
        try:
            return read_table(data)
        except RefError:
            pass
    return scan(data)


def check_header(data: bytes) -> None:
    """Magic and flag byte (RASR's Core/FileArchive, 2.2)."""
    if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
        raise RefError("no archive header")


def read_table(data: bytes) -> list[Row]:
    """File-info table, empty-file table and the two positions fill the end of the file exactly.

    RASR's Core/FileArchive, 2.2; the first of the two positions is never used, as there.
    """
    check_header(data)
    if data[8] == 0:
        raise RefError("the flag says that there is no table")
    trailer = len(data) - TRAILER_SIZE
    if trailer < HEADER_SIZE:
        raise RefError("no room for a table")
    empty_position, table_position = struct.unpack("<QQ", data[trailer:])
    if not HEADER_SIZE <= table_position <= trailer:
        raise RefError(f"table position {table_position} in a file of {len(data)} bytes")
    cursor = Cursor(data[:trailer], table_position)
    actual = [read_row(cursor) for _ in range(cursor.u32())]
    skip_empty_table(cursor, empty_position)
    for row in actual:
        if row.start < HEADER_SIZE or row.end > table_position:
            raise RefError(f"entry {row.name!r} is not between header and table")
    return first_of_each_name(actual)


def read_row(cursor: Cursor) -> Row:
    """One row of the file-info table (RASR's Core/FileArchive, 2.2)."""
    return Row(cursor.string(), cursor.u64(), cursor.u32(), cursor.u32())


def skip_empty_table(cursor: Cursor, position: int) -> None:
    """The empty-file table, or nothing at all, and then position 0, as RETURNN leaves it (12)."""
    if cursor.at_end():
        if position != 0:
            raise RefError("the empty-file table is missing, but it has a position")
        return
    cursor.take(12 * cursor.u32())
    if not cursor.at_end():
        raise RefError(f"bytes left over after the tables at {cursor.position}")


def first_of_each_name(actual: Iterable[Row]) -> list[Row]:
    """Of several entries with one name, Sprint knows the first (RASR's Core/FileArchive, 2.4)."""
    first: dict[bytes, Row] = {}
    for row in actual:
        first.setdefault(row.name, row)
    return list(first.values())


def scan(data: bytes) -> list[Row]:
    """Find the whole entries of a file without a table, trying again at every byte.

    RASR's Core/FileArchive scans too (2.6), but in steps of four bytes, and trusts more.
    """
    check_header(data)
    actual = []
    position = data.find(START_TAG, HEADER_SIZE)
    while position >= 0:
        row = whole_entry_at(data, position)
        if row is None:
            position = data.find(START_TAG, position + 1)
        else:
            if row.name:  # an entry without a name is a hole
                actual.append(row)
            position = data.find(START_TAG, row.end)
    return first_of_each_name(actual)


def whole_entry_at(data: bytes, position: int) -> Row | None:
    """The entry or hole that starts here, None unless all of it is there and right."""
    cursor = Cursor(data, position)
    try:
        cursor.expect(START_TAG, "start tag")
        name = cursor.string()
        row = Row(name, cursor.position, cursor.u32(), cursor.u32())
        stored_payload(data, row)
    except RefError:
        return None
    return row


def stored_payload(data: bytes, row: Row) -> bytes:
    """The payload as stored, when all around it is right (RASR's Core/FileArchive, 2.2)."""
    if row.start < HEADER_SIZE:
        raise RefError(f"entry {row.name!r} starts inside the header")
    cursor = Cursor(data, row.start)
    cursor.expect(START_TAG, "start tag")
    cursor.expect(struct.pack("<I", len(row.name)) + row.name, f"name {row.name!r}")
    cursor.expect(struct.pack("<II", row.size, row.compressed), "the two sizes of the table")
    cursor.expect(struct.pack("<I", 0), "checksum 0")
    stored = cursor.take(row.stored)
    cursor.expect(END_TAG, "end tag")
    return stored


def payload(data: bytes, row: Row) -> bytes:
    """The bytes of an entry, inflated if it is compressed."""
    stored = stored_payload(data, row)
    return gunzip(stored, row.size) if row.compressed else stored


# ---- compressed entries: RASR's Core/Archive, section 3 --------------------------------------


def gunzip(stored: bytes, size: int) -> bytes:
    """One gzip member that fills `stored` and inflates to `size` bytes (RFC 1952)."""
    begin = gzip_header_size(stored)
    end = len(stored) - 8
    if end < begin:
        raise RefError("a gzip member without room for its trailer")
    inflater = zlib.decompressobj(-15)
    try:
        data = inflater.decompress(stored[begin:end], size + 1)
    except zlib.error as error:
        raise RefError(f"deflate: {error}") from None
    if len(data) != size or not inflater.eof or inflater.unused_data:
        raise RefError(f"the deflate stream does not end with {size} bytes of output")
    if struct.unpack("<II", stored[end:]) != (zlib.crc32(data), len(data)):
        raise RefError("crc32 or length of the gzip member is wrong")
    return data


def gzip_header_size(stored: bytes) -> int:
    """Magic, method 8, flags, mtime, xfl, os, then what the flags announce (RFC 1952, 2.3)."""
    cursor = Cursor(stored)
    cursor.expect(b"\x1f\x8b\x08", "gzip magic and method")
    flags = cursor.u8()
    cursor.take(6)
    if flags & 0xE0:
        raise RefError(f"reserved gzip flags {flags:#x}")
    if flags & 0x04:  # FEXTRA
        cursor.take(cursor.u8() + 256 * cursor.u8())
    for text in (0x08, 0x10):  # FNAME, FCOMMENT
        while flags & text and cursor.u8() != 0:
            pass
    if flags & 0x02:  # FHCRC
        header_crc = zlib.crc32(stored[: cursor.position]) & 0xFFFF
        cursor.expect(struct.pack("<H", header_crc), "crc16 of the gzip header")
    return cursor.position


# ---- blocks of packets: RASR's Flow/Cache, Flow/Datatype, Flow/Data*, section 6 --------------

SCALARS = {"f32": "f", "f64": "d"}
VECTORS = {
    "vector-u8": "B",
    "vector-s8": "b",
    "vector-u16": "H",
    "vector-s16": "h",
    "vector-u32": "I",
    "vector-f32": "f",
    "vector-f64": "d",
    "vector-bool": "?",  # any byte but 0 is true
}
COMPLEX_VECTORS = {"vector-complex-f32": "f", "vector-complex-f64": "d"}
MATRICES = {"matrix-f32": "f", "matrix-f64": "d"}
ONLY_TIMES = {"timestamp", "linear-filter-parameter"}


def blocks(payload: bytes) -> list[RefBlock]:
    """All blocks of an entry, to its last byte (RASR's Flow/Cache, 6.1)."""
    actual = blocks_or_error(payload)
    if isinstance(actual, RefError):
        raise actual.with_traceback(None)
    return actual


@lru_cache(maxsize=8)  # tests ask six questions about each payload
def blocks_or_error(payload: bytes) -> list[RefBlock] | RefError:
    """All blocks of an entry, or why they cannot be read."""
    cursor = Cursor(payload)
    actual = []
    try:
        while not cursor.at_end():
            actual.append(read_block(cursor))
    except RefError as error:
        return error
    return actual


def read_block(cursor: Cursor) -> RefBlock:
    """Name of a datatype, number of packets, packets (RASR's Flow/Datatype, 6.1)."""
    datatype = read_datatype(cursor)
    packets = [read_packet(cursor, datatype) for _ in range(cursor.u32())]
    times = None if datatype in UNTIMED else [time for _, time in packets if time is not None]
    return RefBlock(datatype, times, [value for value, _ in packets])


def read_datatype(cursor: Cursor) -> str:
    """One of the names that are registered in Sprint and can be stored (6.3)."""
    datatype = cursor.string().decode("ascii", "replace")
    if datatype not in READERS and datatype not in UNTIMED and datatype not in TIMES_FIRST:
        raise RefError(f"unknown datatype {datatype!r}")
    return datatype


def read_packet(cursor: Cursor, datatype: str, depth: int = 0) -> tuple[Any, Times | None]:
    """One packet and its times, which most datatypes store last (RASR's Flow/Data*, 6.3)."""
    if datatype in UNTIMED:
        return UNTIMED[datatype](cursor), None
    if datatype in TIMES_FIRST:
        return TIMES_FIRST[datatype](cursor, depth)
    value = READERS[datatype](cursor)
    times = read_times(cursor)
    if datatype == "flow-alignment":
        value = RefAlignment(**value, start=times[0], end=times[1])
    return value, times


def read_times(cursor: Cursor) -> Times:
    """Start and end in seconds (RASR's Flow/Timestamp, 6.3)."""
    start, end = cursor.numbers("d", 2)
    return start, end


def scalar_reader(code: str) -> Callable[[Cursor], Any]:
    """Reads f32 or f64."""
    return lambda cursor: cursor.numbers(code, 1)[0]


def vector_reader(code: str) -> Callable[[Cursor], list[Any]]:
    """Reads a u32 size, then as many elements (RASR's Flow/Vector)."""
    return lambda cursor: cursor.numbers(code, cursor.u32())


def complex_vector_reader(code: str) -> Callable[[Cursor], list[complex]]:
    """Reads a u32 size, then as many pairs of real and imaginary part."""

    def read(cursor: Cursor) -> list[complex]:
        flat = cursor.numbers(code, 2 * cursor.u32())
        return [complex(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]

    return read


def matrix_reader(code: str) -> Callable[[Cursor], RefMatrix]:
    """Reads rows, columns, rows again, then each row with its own size in front."""

    def read(cursor: Cursor) -> RefMatrix:
        row_count, columns, again = cursor.u32(), cursor.u32(), cursor.u32()
        if again != row_count:
            raise RefError(f"a matrix of {row_count} rows and of {again} rows")
        values = [cursor.numbers(code, cursor.u32()) for _ in range(row_count)]
        if any(len(row) != columns for row in values):
            raise RefError(f"a matrix of {columns} columns with a row of another size")
        return RefMatrix(row_count, columns, values)

    return read


def read_vectors(cursor: Cursor) -> list[tuple[list[float], Times]]:
    """A u32 count of complete vector-f32 packets, each with its own times."""
    read_vector = READERS["vector-f32"]
    return [(read_vector(cursor), read_times(cursor)) for _ in range(cursor.u32())]


def read_autoregressive(cursor: Cursor) -> tuple[float, list[float]]:
    """Gain and coefficients of a linear prediction (RASR's Signal module)."""
    return cursor.numbers("f", 1)[0], cursor.numbers("f", cursor.u32())


def read_windowing(cursor: Cursor) -> list[tuple[float, float]]:
    """Pairs of gain and omega, and no times (RASR's Signal module)."""
    flat = cursor.numbers("d", 2 * cursor.u32())
    return list(zip(flat[::2], flat[1::2], strict=True))


def read_aggregate(cursor: Cursor, depth: int) -> tuple[list[tuple[str, Any, Any]], Times]:
    """Packets of one or of several datatypes (RASR's Flow/Aggregate): (datatype, value, times)."""
    if depth >= MAX_DEPTH:
        raise RefError(f"aggregates in aggregates, {depth} deep")
    same = cursor.u8() != 0
    times = read_times(cursor)
    shared = read_datatype(cursor) if same else None
    members = []
    for _ in range(cursor.u32()):
        datatype = shared or read_datatype(cursor)
        members.append((datatype, *read_packet(cursor, datatype, depth + 1)))
    return members, times


def read_aggregate_vector(
    cursor: Cursor, depth: int
) -> tuple[list[tuple[list[float], Times]], Times]:
    """As vector-vector-f32, but the outer times come first (RASR's Flow)."""
    times = read_times(cursor)
    return read_vectors(cursor), times


# ---- alignments: RASR's Speech/Alignment, section 7 ------------------------------------------

LABEL_TYPES = {
    b"ALIGNRLE": "allophone-state",
    b"AALPHRLE": "allophone-state",
    b"ALIGNEMI": "emission",
}


def read_alignment(cursor: Cursor) -> dict[str, Any]:
    """What an alignment packet holds before its times (RASR's Speech/Alignment, 7.1, 7.2)."""
    magic = cursor.take(8)
    if magic not in LABEL_TYPES:
        raise RefError(f"unknown alignment magic {magic!r}")
    size = cursor.u32()
    weighted = size >= WEIGHTED
    items = read_weighted(cursor, size - WEIGHTED) if weighted else read_runs(cursor, size)
    alphabet = read_alphabet(cursor) if magic == b"AALPHRLE" else None
    return {
        "label_type": LABEL_TYPES[magic],
        "weighted": weighted,
        "items": items,
        "alphabet": alphabet,
    }


def read_runs(cursor: Cursor, size: int) -> list[tuple[int, int, float]]:
    """Run-length code: literal runs, repeat runs and time markers (7.2)."""
    items: list[tuple[int, int, float]] = []
    time = 0
    while len(items) < size:
        (code,) = cursor.numbers("b", 1)
        if code == 0:
            time = cursor.u32()
            continue
        run = cursor.numbers("I", code) if code > 0 else cursor.numbers("I", 1) * -code
        for emission in run:
            items.append((checked_time(time), emission, 1.0))
            time += 1
    if len(items) > size:
        raise RefError(f"the last run ends with item {len(items)}, {size} were declared")
    return items


def read_weighted(cursor: Cursor, version: int) -> list[tuple[int, int, float]]:
    """Frames of several weighted items (7.2)."""
    if version > 2:
        raise RefError(f"unknown version {version} of weighted alignments")
    items: list[tuple[int, int, float]] = []
    size = cursor.packed()
    time = 0
    while len(items) < size:
        head = cursor.packed()
        if head & 1:
            time = cursor.packed()
        if len(items) + (head >> 1) > size:
            raise RefError(f"a frame of {head >> 1} items after {len(items)} of {size}")
        for _ in range(head >> 1):
            items.append((checked_time(time), cursor.packed(), read_weight(cursor, version)))
        time += 1
    return items


def read_weight(cursor: Cursor, version: int) -> float:
    """f32, u16 of 65535ths, or none at all, which counts as 0 (7.2)."""
    if version == 2:
        return float(cursor.numbers("f", 1)[0])
    return int(cursor.numbers("H", 1)[0]) / 65535 if version == 1 else 0.0


def checked_time(time: int) -> int:
    """Time is a u32 in Sprint: an item after the last one has no time."""
    if time >= TIME_LIMIT:
        raise RefError("an item after time 2**32 - 1")
    return time


def read_alphabet(cursor: Cursor) -> dict[int, bytes]:
    """Symbols of the used ids (7.2). Should an id come twice, Sprint keeps the first symbol."""
    alphabet: dict[int, bytes] = {}
    for _ in range(cursor.packed()):
        emission = cursor.packed()
        alphabet.setdefault(emission, cursor.string())
    return alphabet


READERS: Mapping[str, Callable[[Cursor], Any]] = {
    **{name: scalar_reader(code) for name, code in SCALARS.items()},
    **{name: vector_reader(code) for name, code in VECTORS.items()},
    **{name: complex_vector_reader(code) for name, code in COMPLEX_VECTORS.items()},
    **{name: matrix_reader(code) for name, code in MATRICES.items()},
    **dict.fromkeys(ONLY_TIMES, lambda cursor: None),
    "string": Cursor.string,
    "vector-vector-f32": read_vectors,
    "autoregressive-coefficients": read_autoregressive,
    "flow-alignment": read_alignment,
}
UNTIMED: Mapping[str, Callable[[Cursor], Any]] = {
    "windowing-fir-filter-parameter": read_windowing,
}
TIMES_FIRST: Mapping[str, Callable[[Cursor, int], tuple[Any, Times]]] = {
    "aggregate": read_aggregate,
    "aggregate-vector-f32": read_aggregate_vector,
}


# ---- what people ask for ---------------------------------------------------------------------


def features(payload: bytes) -> list[list[float]]:
    """All frames of all blocks, as numbers; scalars are frames of size 1."""
    frames: list[list[float]] = []
    for block in blocks(payload):
        if block.datatype in SCALARS:
            frames += [[value] for value in block.packets]
        elif block.datatype in VECTORS:
            frames += [[float(value) for value in packet] for packet in block.packets]
        else:
            raise RefError(f"{block.datatype} is no feature type")
    sizes = sorted({len(frame) for frame in frames})
    if len(sizes) > 1:
        raise RefError(f"frames of sizes {sizes}")
    return frames


def labels(payload: bytes, allophones: Sequence[str], tying: Mapping[str, int]) -> list[int]:
    """One label per frame of an alignment that has one item per frame (7.3, 9)."""
    actual = blocks(payload)
    packets = [packet for block in actual for packet in block.packets]
    if len(packets) != 1 or not isinstance(packets[0], RefAlignment):
        raise RefError(f"one alignment expected, found {[block.datatype for block in actual]}")
    alignment = packets[0]
    if [time for time, _, _ in alignment.items] != list(range(len(alignment.items))):
        raise RefError("not one item for each frame")
    emissions = [emission for _, emission, _ in alignment.items]
    if alignment.label_type == "emission":
        return emissions
    check_alphabet(alignment, allophones)
    return [tied(state_symbol(emission, allophones), tying) for emission in emissions]


def state_symbol(emission: int, allophones: Sequence[str]) -> str:
    """The name of an allophone state id (RASR's Am/ClassicStateModel, 7.3)."""
    index = emission & ALLOPHONE_MASK
    if emission & ~(ALLOPHONE_MASK | STATE_MASK) or index >= len(allophones):
        raise RefError(f"{emission:#x} is no state of {len(allophones)} allophones")
    return f"{allophones[index]}.{(emission & STATE_MASK) >> STATE_SHIFT}"


def check_alphabet(alignment: RefAlignment, allophones: Sequence[str]) -> None:
    """An alphabet names every used id, and as the allophones do (7.2)."""
    if alignment.alphabet is None:
        return
    for _, emission, _ in alignment.items:
        if emission not in alignment.alphabet:
            raise RefError(f"{emission} is not in the alphabet")
    for emission, symbol in alignment.alphabet.items():
        expected = state_symbol(emission, allophones).encode("utf-8", "surrogateescape")
        if symbol != expected:
            raise RefError(f"{emission} is {symbol!r} in the alphabet, {expected!r} here")


def tied(symbol: str, tying: Mapping[str, int]) -> int:
    """The label of a state (RASR's Am/ClassicStateTying, 9)."""
    if symbol not in tying:
        raise RefError(f"no label for {symbol!r}")
    return tying[symbol]
