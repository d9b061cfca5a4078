"""Ours against the reference: one table of readings, and what equal means for each datatype.

The reference gives lists and tuples of Python numbers, ours numpy arrays; here one is held to the
other, dtypes and shapes included, every NaN equal to every other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sprintcache
from sprintcache import Alignment, AllophoneLabeling, Archive, Block, EntryInfo
from tests.oracle import reference
from tests.oracle.reference import RefAlignment, RefBlock, RefError, RefMatrix

IOS = ("mmap", "pread")
Numbers = NDArray[Any]

DTYPES = {
    "f32": np.float32,
    "f64": np.float64,
    "vector-u8": np.uint8,
    "vector-s8": np.int8,
    "vector-u16": np.uint16,
    "vector-s16": np.int16,
    "vector-u32": np.uint32,
    "vector-f32": np.float32,
    "vector-f64": np.float64,
    "vector-bool": np.bool_,
    "vector-complex-f32": np.complex64,
    "vector-complex-f64": np.complex128,
    "matrix-f32": np.float32,
    "matrix-f64": np.float64,
}


# ---- values ----------------------------------------------------------------------------------


def text(raw: bytes) -> str:
    """Bytes of a file as the contract gives them: UTF-8, other bytes as surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def same_numbers(ours: Any, expected: Any) -> bool:
    """Same dtype, same shape, same numbers; -0.0 is not 0.0, NaNs may differ in their bits."""
    if not isinstance(ours, np.ndarray | np.generic):
        return False
    if ours.dtype != expected.dtype or ours.shape != expected.shape:
        return False
    if ours.tobytes() == expected.tobytes():
        return True
    if not np.issubdtype(ours.dtype, np.inexact):
        return False
    parts = ours.dtype.type(0).real.dtype
    our_value, theirs = (np.frombuffer(array.tobytes(), parts) for array in (ours, expected))
    numbers = ~np.isnan(our_value)
    return bool(
        np.array_equal(numbers, ~np.isnan(theirs))
        and our_value[numbers].tobytes() == theirs[numbers].tobytes()
    )


def same_float(ours: float | None, expected: float) -> bool:
    return isinstance(ours, float) and same_numbers(np.float64(ours), np.float64(expected))


def array(values: Sequence[Any], dtype: Any, shape: tuple[int, ...]) -> Numbers:
    """Reference numbers in the dtype they were stored in; no warning where NaNs are signalling."""
    if np.dtype(dtype).char not in "fF":  # exact
        return np.array(values, dtype).reshape(shape)
    with np.errstate(all="ignore"):
        return np.array(values, dtype).reshape(shape)


def same_alignment(ours: Any, expected: RefAlignment) -> bool:
    times, emissions, weights = (
        array([item[column] for item in expected.items], dtype, (-1,))
        for column, dtype in enumerate((np.uint32, np.uint32, np.float32))
    )
    alphabet = expected.alphabet
    return (
        isinstance(ours, Alignment)
        and same_numbers(ours.time, times)
        and same_numbers(ours.emission, emissions)
        and same_numbers(ours.weight, weights)
        and ours.alphabet == (alphabet and {key: text(raw) for key, raw in alphabet.items()})
        and (ours.alphabet is None) == (alphabet is None)
        and ours.label_type == expected.label_type
        and ours.weighted is expected.weighted
        and same_float(ours.start, expected.start)
        and same_float(ours.end, expected.end)
    )


def same_times(ours: Any, expected: list[reference.Times] | None) -> bool:
    if expected is None:
        return ours is None
    return same_numbers(ours, array(expected, np.float64, (len(expected), 2)))


def same_packet(datatype: str, ours: Any, expected: Any) -> bool:
    """One packet's data without its times."""
    match expected:
        case RefAlignment():
            return same_alignment(ours, expected)
        case RefMatrix(rows, columns, values):
            return same_numbers(ours, array(values, DTYPES[datatype], (rows, columns)))
        case bytes():
            return isinstance(ours, str) and ours == text(expected)
        case None:
            return same_numbers(ours, np.empty(0, np.float32))
    match datatype:
        case "aggregate":
            return same_members(ours, expected)
        case "vector-vector-f32" | "aggregate-vector-f32":
            members = [("vector-f32", *member) for member in expected]
            return same_members(ours, members) and ours.datatype == "vector-f32"
        case "autoregressive-coefficients":
            gain, coefficients = expected
            return same_numbers(ours, array([gain, *coefficients], np.float32, (-1,)))
        case "windowing-fir-filter-parameter":
            return same_numbers(ours, array(expected, np.float64, (len(expected), 2)))
    shape = (len(expected),) if isinstance(expected, list) else ()
    return same_numbers(ours, array(expected, DTYPES[datatype], shape))


def same_members(ours: Any, expected: list[tuple[str, Any, Any]]) -> bool:
    """An aggregate is a Block, or a list of Blocks of one packet where datatypes are mixed."""
    if isinstance(ours, Block):
        times = [None] * len(ours.data) if ours.times is None else list(ours.times)
        actual = [(ours.datatype, *packet) for packet in zip(ours.data, times, strict=True)]
    else:
        actual = [
            (block.datatype, block.data[0], None if block.times is None else block.times[0])
            for block in ours
            if len(block.data) == 1
        ]
    return len(actual) == len(expected) and all(
        our_value[0] == theirs[0]
        and same_packet(our_value[0], our_value[1], theirs[1])
        and (
            our_value[2] is None
            if theirs[2] is None
            else same_numbers(our_value[2], np.array(theirs[2], np.float64))
        )
        for our_value, theirs in zip(actual, expected, strict=True)
    )


def same_data(datatype: str, ours: Any, packets: list[Any]) -> bool:
    """All packets of one datatype: an array where the contract promises one, else a list."""
    if len(ours) != len(packets):
        return False
    if datatype.startswith("vector-") and datatype in DTYPES:
        if len({len(packet) for packet in packets}) < 2:
            size = len(packets[0]) if packets else 0
            return same_numbers(ours, array(packets, DTYPES[datatype], (len(packets), size)))
        if not isinstance(ours, list):
            return False
    elif datatype in reference.SCALARS:
        return same_numbers(ours, array(packets, DTYPES[datatype], (len(packets),)))
    elif datatype in reference.ONLY_TIMES:
        return same_numbers(ours, np.empty((len(packets), 0), np.float32))
    elif not isinstance(ours, list):
        return False
    return all(map(same_packet, [datatype] * len(packets), ours, packets))


def same_blocks(ours: Any, expected: list[RefBlock]) -> bool:
    return (
        isinstance(ours, list)
        and len(ours) == len(expected)
        and all(
            isinstance(our_value, Block)
            and our_value.datatype == theirs.datatype
            and same_times(our_value.times, theirs.times)
            and same_data(our_value.datatype, our_value.data, theirs.packets)
            for our_value, theirs in zip(ours, expected, strict=True)
        )
    )


# ---- what the reference makes of a payload, for each way to read it --------------------------


def feature_array(payload: bytes) -> Numbers:
    """(T, D) float32; the reference's doubles are exact for every datatype but f64."""
    frames = reference.features(payload)
    with np.errstate(all="ignore"):
        values = np.array(frames, np.float64).astype(np.float32)
    return values.reshape(len(frames), len(frames[0]) if frames else 0)


def time_array(payload: bytes) -> Numbers:
    blocks = reference.blocks(payload)
    if any(block.times is None for block in blocks):
        raise RefError("a datatype without times")
    times = [time for block in blocks for time in block.times or ()]
    return array(times, np.float64, (len(times), 2))


def only_alignment(payload: bytes) -> RefAlignment:
    packets = [packet for block in reference.blocks(payload) for packet in block.packets]
    if len(packets) != 1 or not isinstance(packets[0], RefAlignment):
        raise RefError("not one alignment")
    return packets[0]


def num_frames(payload: bytes) -> int:
    """Last time + 1 of an alignment, else the number of packets."""
    blocks = reference.blocks(payload)
    packets = [packet for block in blocks for packet in block.packets]
    if len(packets) == 1 and isinstance(packets[0], RefAlignment):
        return max((time + 1 for time, _, _ in packets[0].items), default=0)
    return len(packets)


def frames_by_heads(payload: bytes) -> int:
    """Frames of plain features from the heads of blocks: the first packet speaks for its block.

    That is all that `num_frames` promises to look at.
    """
    cursor = reference.Cursor(payload)
    frames = 0
    while not cursor.at_end():
        datatype = reference.read_datatype(cursor)
        if datatype not in reference.SCALARS and datatype not in reference.VECTORS:
            raise RefError("no features")
        count = cursor.u32()
        size = 0
        if count and datatype in reference.VECTORS:
            size = 4 + cursor.u32() * np.dtype(DTYPES[datatype]).itemsize
            cursor.position -= 4
        elif count:
            size = np.dtype(DTYPES[datatype]).itemsize
        cursor.take(count * (size + 16))
        frames += count
    return frames


@dataclass(frozen=True)
class Labeling:
    """The same labels for ours and for the reference."""

    ours: AllophoneLabeling
    allophones: tuple[str, ...]
    tying: dict[str, int]

    @classmethod
    def write(cls, folder: Path, allophones: Sequence[str], tying: dict[str, int]) -> Labeling:
        """Makes the files of a labeling and reads them."""
        (folder / "allophones").write_text("".join(f"{line}\n" for line in allophones), "utf-8")
        lines = [f"{symbol} {label}\n" for symbol, label in tying.items()]
        (folder / "tying").write_text("".join(lines), "utf-8")
        ours = AllophoneLabeling("sil", folder / "allophones", state_tying_file=folder / "tying")
        return cls(ours, tuple(allophones), tying)

    def labels(self, payload: bytes) -> Numbers:
        actual = reference.labels(payload, self.allophones, self.tying)
        if max(actual, default=0) > 0x7FFFFFFF:
            raise RefError("an emission id beyond int32")
        return np.array(actual, np.int32)


def natural_packets(payload: bytes) -> bytes | list[RefBlock]:
    """What `read` gives: bytes where it does not begin with a known datatype, else blocks."""
    try:
        reference.read_datatype(reference.Cursor(payload))
    except RefError:
        return payload
    return reference.blocks(payload)


def same_natural(ours: Any, expected: bytes | list[RefBlock]) -> bool:
    if isinstance(expected, bytes):
        return type(ours) is bytes and ours == expected
    datatypes = {block.datatype for block in expected}
    if len(datatypes) > 1:
        return same_blocks(ours, expected)
    packets = [packet for block in expected for packet in block.packets]
    if len(packets) == 1 and isinstance(packets[0], RefAlignment):
        return same_alignment(ours, packets[0])
    return same_data(datatypes.pop(), ours, packets)


# ---- readings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """One way to read an entry: ours, the reference's, and whether two results are equal."""

    name: str
    ours: Callable[[Archive, str], Any]
    expected: Callable[[bytes], Any]
    same: Callable[[Any, Any], bool]


def only_row(batch: tuple[Numbers, Numbers]) -> Numbers:
    rows, lengths = batch
    assert lengths.tolist() == [rows.shape[1]]
    row: Numbers = rows[0]
    return row


READINGS = (
    Reading("bytes", lambda a, n: a.read_bytes(n), lambda payload: payload, bytes.__eq__),
    Reading("blocks", lambda a, n: a.read_blocks(n), reference.blocks, same_blocks),
    Reading("features", lambda a, n: a.read_features(n), feature_array, same_numbers),
    Reading("times", lambda a, n: a.read_times(n), time_array, same_numbers),
    Reading("alignment", lambda a, n: a.read_alignment(n), only_alignment, same_alignment),
    Reading("frames", lambda a, n: a.num_frames(n), num_frames, int.__eq__),
    Reading("natural", lambda a, n: a.read(n), natural_packets, same_natural),
    Reading("text", lambda a, n: a.read_text(n), text, str.__eq__),
    Reading(
        "batch", lambda a, n: only_row(a.read_features_batch([n])), feature_array, same_numbers
    ),
)


def label_readings(labeling: Labeling) -> tuple[Reading, ...]:
    """Labels one by one and as a batch."""
    return (
        Reading(
            "labels", lambda a, n: a.read_labels(n, labeling.ours), labeling.labels, same_numbers
        ),
        Reading(
            "label batch",
            lambda a, n: only_row(a.read_labels_batch([n], labeling.ours)),
            labeling.labels,
            same_numbers,
        ),
    )


@lru_cache(maxsize=1 << 14)
def expected_or_refused(expected: Callable[[bytes], Any], payload: bytes) -> Any:
    """What the reference gives, or the RefError with which it refuses."""
    try:
        return expected(payload)
    except RefError as error:
        return error


# ---- whole files -----------------------------------------------------------------------------


def rows_of(data: bytes) -> list[reference.Row]:
    """The entries as the reference finds them, but for one thing in scans.

    There an entry may begin in the last three bytes of the one before: the start tag then closes
    an end tag that lost bytes. The reference gives such an entry up, ours keeps it.
    """
    reference.check_header(data)
    if data[8] != 0:
        try:
            return reference.read_table(data)
        except RefError:
            pass
    actual = []
    position = data.find(reference.START_TAG, reference.HEADER_SIZE)
    while position >= 0:
        row = reference.whole_entry_at(data, position)
        if row is not None and row.name:
            actual.append(row)
        resume = position + 1 if row is None else row.end - 3
        position = data.find(reference.START_TAG, resume)
    return reference.first_of_each_name(actual)


@dataclass(frozen=True)
class Refusal:
    """Ours refused what the reference reads."""

    entry: bytes
    reading: str
    error: sprintcache.SprintCacheError


def check_error(error: Exception, path: Path, entry: str | None, size: int) -> None:
    """A typed error that says where, in one line: file, entry, and an offset inside the file."""
    assert isinstance(error, sprintcache.FormatError | sprintcache.LabelError), repr(error)
    message = str(error)
    assert (error.path, error.entry) == (str(path), entry), message
    assert error.offset is not None, message
    assert 0 <= error.offset <= size, message
    assert message.startswith(f"{path}, "), message
    assert len(message.splitlines()) == 1, message


class Checker:
    """Reads files in every way; all must be as the reference has it, or a typed error.

    Where the reference refuses, so must we. The other way round is given back, for the caller to
    judge: some damage we see and the reference does not. An entry that was checked before, at the
    same place and with the same bytes around it, is read as bytes only.
    """

    def __init__(self, path: Path, readings: Sequence[Reading] = READINGS) -> None:
        self.path = path
        self.readings = readings
        self.checked: dict[tuple[reference.Row, bytes], Entry] = {}

    def check(self, data: bytes, ios: Sequence[str] = IOS) -> list[Refusal]:
        """Writes the file, then reads it in these ways."""
        self.path.write_bytes(data)
        try:
            rows = rows_of(data)
        except RefError:
            for io in ios:
                self.check_refused(data, io)
            return []
        entries = [self.entry(data, row) for row in rows]
        names = [entry.name for entry in entries]
        segments = [name for name in names if not is_attributes(name)]
        refusals: list[Refusal] = []
        for io in ios:
            with sprintcache.open_archive(self.path, io, index=None) as archive:
                assert list(archive) == names
                assert archive.segments[:] == segments
                for entry in entries:
                    refusals += self.check_entry(archive, entry, len(data))
        for entry in entries:
            only_bytes = replace(entry, readings=entry.readings[:1])
            self.checked.setdefault((entry.row, entry.whole), only_bytes)
        return refusals

    def check_refused(self, data: bytes, io: str) -> None:
        try:
            sprintcache.open_archive(self.path, io, index=None).close()
        except sprintcache.SprintCacheError as error:
            check_error(error, self.path, None, len(data))
        else:
            raise AssertionError("opened, though the reference refuses the header")

    def entry(self, data: bytes, row: reference.Row) -> Entry:
        """What the reference says of an entry."""
        whole = data[row.start : row.end]
        if (row, whole) in self.checked:
            return self.checked[row, whole]
        name, readings = text(row.name), self.readings
        if is_attributes(name):  # `read` gives these as text
            readings = [reading for reading in readings if reading.name != "natural"]
        try:
            payload = reference.payload(data, row)
        except RefError as error:
            return Entry(row, name, whole, None, [(reading, error) for reading in readings])
        expected = [
            (reading, expected_or_refused(reading.expected, payload)) for reading in readings
        ]
        return Entry(row, name, whole, payload, expected)

    def check_entry(self, archive: Archive, entry: Entry, size: int) -> list[Refusal]:
        row = entry.row
        info = EntryInfo(entry.name, row.position, row.size, row.compressed, str(self.path))
        assert archive.entry(entry.name) == info
        refusals = []
        for reading, expected in entry.readings:
            try:
                ours = reading.ours(archive, entry.name)
            except sprintcache.SprintCacheError as error:
                check_error(error, self.path, entry.name, size)
                if not isinstance(expected, RefError):
                    refusals.append(Refusal(row.name, reading.name, error))
                continue
            if not agree(reading, ours, expected, entry):
                raise AssertionError(
                    f"{reading.name} of {entry.name!r} ({archive.io}): {ours!r}, not {expected!r}"
                )
        return refusals


@dataclass(frozen=True)
class Entry:
    """An entry and what each reading of it must give."""

    row: reference.Row
    name: str
    whole: bytes
    payload: bytes | None
    readings: list[tuple[Reading, Any]]


PEEK = 512  # that much of an entry is inflated to count its frames


def agree(reading: Reading, ours: Any, expected: Any, entry: Entry) -> bool:
    """Are these equal? Or did ours count frames without looking at what is damaged?"""
    if not isinstance(expected, RefError):
        return reading.same(ours, expected)
    if reading.name != "frames":
        return False
    if entry.payload is None:
        return entry.row.compressed > 0 and entry.row.size > PEEK
    return bool(ours == expected_or_refused(frames_by_heads, entry.payload))


def is_attributes(name: str) -> bool:
    return name.endswith(".attribs")
