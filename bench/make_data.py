"""Writes the benchmark's archives, fast, straight from the format, without sprintcache.

Independent of the library on purpose: what is measured is also checked against what was written.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

START_TAG = struct.pack("<I", 0xAA55AA55)
END_TAG = struct.pack("<I", 0x55AA55AA)
HEADER_BYTES = 12  # from an entry's position (its size field) to its payload
BLOCK_BYTES = 18  # "vector-f32" with its length, and the count, before the first frame
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
STATE_SHIFT = 26


# --- the container -------------------------------------------------------------------------------


class ArchiveFile:
    """A new archive: entries one after another, then the table."""

    def __init__(self, path: Path) -> None:
        self.positions: dict[str, int] = {}
        self._rows: list[bytes] = []
        self._f: BinaryIO = open(path, "wb", buffering=1 << 20)  # noqa: SIM115 closed in __exit__
        self._f.write(b"SP_ARC1\0\0")
        self._end = 9

    def __enter__(self) -> ArchiveFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            write_table(self._f, self._end, len(self._rows), [b"".join(self._rows)])
        self._f.close()

    def add(self, name: str, payload: bytes, size: int = -1) -> None:
        """Add an entry; for a compressed payload give the uncompressed `size`."""
        plain, packed = (len(payload), 0) if size < 0 else (size, len(payload))
        self._begin(name, plain, packed)
        self._f.write(payload)
        self._f.write(END_TAG)

    def add_sparse(self, name: str, head: bytes, size: int) -> None:
        """Add an entry of `size` bytes of which only `head` is written: the others are a hole."""
        self._begin(name, size, 0)
        self._f.write(head)
        self._f.seek(size - len(head), os.SEEK_CUR)
        self._f.write(END_TAG)

    def _begin(self, name: str, plain: int, packed: int) -> None:
        """Write what precedes a payload, and record the row of the table."""
        raw = name.encode()
        position = self._end + 8 + len(raw)
        self._f.write(START_TAG + struct.pack("<I", len(raw)) + raw)
        self._f.write(struct.pack("<III", plain, packed, 0))
        row = struct.pack("<I", len(raw)) + raw + struct.pack("<QII", position, plain, packed)
        self._rows.append(row)
        self.positions[name] = position
        self._end = position + HEADER_BYTES + (packed or plain) + 4


def write_table(f: BinaryIO, end: int, count: int, rows: Iterable[bytes]) -> None:
    """The table at `end`, an empty table of holes, the trailer, and the flag: they are valid."""
    f.write(struct.pack("<I", count))
    size = 4
    for part in rows:
        f.write(part)
        size += len(part)
    f.write(struct.pack("<IQQ", 0, end + size, end))
    f.seek(8)
    f.write(b"\x01")


def compress(payload: bytes) -> bytes:
    """A gzip member as Sprint writes it."""
    deflate = zlib.compress(payload)[2:-4]
    tail = struct.pack("<II", zlib.crc32(payload), len(payload) & 0xFFFFFFFF)
    return GZIP_HEADER + deflate + tail


def add_payload(archive: ArchiveFile, name: str, payload: bytes, gz: bool) -> None:
    """Add `payload` plain or compressed."""
    if gz:
        archive.add(name, compress(payload), len(payload))
    else:
        archive.add(name, payload)


# --- features ------------------------------------------------------------------------------------


def frame_dtype(dim: int) -> np.dtype:
    """One packet of vector-f32: size, values, start and end time; no padding."""
    return np.dtype([("size", "<u4"), ("data", "<f4", (dim,)), ("time", "<f8", (2,))])


def feature_payload(features: np.ndarray) -> bytes:
    """One block of vector-f32."""
    count, dim = features.shape
    packets = np.empty(count, frame_dtype(dim))
    packets["size"] = dim
    packets["data"] = features
    packets["time"][:, 0] = np.arange(count) * 0.01
    packets["time"][:, 1] = packets["time"][:, 0] + 0.025
    return struct.pack("<I10sI", 10, b"vector-f32", count) + packets.tobytes()


def attribs_payload(dim: int, duration: float) -> bytes:
    """The line of XML that Sprint stores with every feature entry."""
    return (
        '<flow-attributes><flow-attribute name="datatype" value="vector-f32"/>'
        f'<flow-attribute name="sample-size" value="{dim}"/>'
        f'<flow-attribute name="total-duration" value="{duration:g}"/></flow-attributes>'
    ).encode()


def make_features(
    total_bytes: int, low: int, high: int, dim: int = 40, seed: int = 0
) -> dict[str, np.ndarray]:
    """Float32 matrices of `low` to `high` frames, each its own array, `total_bytes` in all."""
    rng = np.random.default_rng(seed)
    features: dict[str, np.ndarray] = {}
    done = 0
    while done < total_bytes:
        count = int(rng.integers(low, high + 1))
        number = len(features)
        name = f"corpus/rec{number // 10:05d}/{number:07d}"
        features[name] = rng.standard_normal((count, dim), dtype=np.float32)
        done += features[name].nbytes
    return features


def write_features(
    path: Path, features: dict[str, np.ndarray], gz: bool = False, attribs: bool = False
) -> dict[str, int]:
    """An archive of `features`; gives the position of each entry."""
    with ArchiveFile(path) as archive:
        for name, matrix in features.items():
            if attribs:
                text = attribs_payload(matrix.shape[1], len(matrix) * 0.01)
                add_payload(archive, name + ".attribs", text, gz)
            add_payload(archive, name, feature_payload(matrix), gz)
    return archive.positions


def write_bundle(path: Path, archives: Sequence[Path]) -> None:
    """A bundle of archives in its folder."""
    path.write_text("".join(f"{archive.name}\n" for archive in archives))


# --- alignments ----------------------------------------------------------------------------------


def pack_u32(value: int) -> bytes:
    """LEB128, as in alphabets."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def run_lengths(ids: np.ndarray) -> tuple[list[int], list[int]]:
    """The values and lengths of the runs of equal ids."""
    starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
    lengths = np.diff(np.append(starts, len(ids)))
    return ids[starts].tolist(), lengths.tolist()


def encode_rle(ids: np.ndarray) -> bytes:
    """Run-length code of one id a frame, byte for byte as Sprint writes it.

    That includes the literal run that takes the first frame of the next run, and the redundant
    time marker after every literal run.
    """
    values, lengths = run_lengths(ids)
    out = [struct.pack("<I", len(ids))]
    run = time = 0
    clock_wrong = False
    while run < len(values):
        if clock_wrong:
            out.append(struct.pack("<bI", 0, time))
            clock_wrong = False
        if lengths[run] >= 2:
            count = min(lengths[run], 128)
            out.append(struct.pack("<bI", -count, values[run]))
            lengths[run] -= count
            time += count
            run += not lengths[run]
            continue
        literal = [values[run]]
        run += 1
        while run < len(values) and len(literal) < 127:
            literal.append(values[run])
            lengths[run] -= 1
            if lengths[run]:
                break
            run += 1
        out.append(struct.pack(f"<b{len(literal)}I", len(literal), *literal))
        time += len(literal)
        clock_wrong = True
    return b"".join(out)


def alignment_payload(ids: np.ndarray, symbols: dict[int, str] | None = None) -> bytes:
    """One flow-alignment; with `symbols` (id -> allophone state) the alphabet of the used ids."""
    magic = b"ALIGNRLE" if symbols is None else b"AALPHRLE"
    parts = [struct.pack("<I14sI", 14, b"flow-alignment", 1), magic, encode_rle(ids)]
    if symbols is not None:
        used = np.unique(ids).tolist()
        parts.append(pack_u32(len(used)))
        for number in used:
            raw = symbols[number].encode()
            parts.append(pack_u32(number) + struct.pack("<I", len(raw)) + raw)
    parts.append(struct.pack("<dd", 0.0, len(ids) * 0.01 + 0.015))
    return b"".join(parts)


@dataclass
class Inventory:
    """Words as sequences of allophones, their states, and a state tying."""

    allophones: list[str]
    words: list[list[int]]  # allophone indices
    tying: dict[str, int]
    symbols: dict[int, str]  # allophone-state id -> symbol
    labels: dict[int, int]  # allophone-state id -> label

    @property
    def silence(self) -> int:
        return 0


def make_inventory(words: int, seed: int, phones: int = 40, classes: int = 4501) -> Inventory:
    """A lexicon of random words, with the allophones and the tying that belong to it."""
    rng = np.random.default_rng(seed)
    names = [chr(ord("a") + i % 26) + ("" if i < 26 else "h") for i in range(phones)]
    index = {"[SILENCE]{#+#}@i@f": 0}
    lexicon: list[list[int]] = []
    for _ in range(words):
        word = [names[i] for i in rng.integers(0, phones, int(rng.integers(2, 10)))]
        entry = []
        for i, center in enumerate(word):
            left = word[i - 1] if i else "#"
            right = word[i + 1] if i + 1 < len(word) else "#"
            boundary = ("@i" if not i else "") + ("@f" if i + 1 == len(word) else "")
            symbol = f"{center}{{{left}+{right}}}{boundary}"
            entry.append(index.setdefault(symbol, len(index)))
        lexicon.append(entry)
    allophones = list(index)
    tying: dict[str, int] = {}
    symbols: dict[int, str] = {}
    labels: dict[int, int] = {}
    for number, allophone in enumerate(allophones):
        for state in range(1 if number == 0 else 3):
            symbol = f"{allophone}.{state}"
            tying[symbol] = 0 if number == 0 else int(rng.integers(1, classes))
            symbols[number | state << STATE_SHIFT] = symbol
            labels[number | state << STATE_SHIFT] = tying[symbol]
    return Inventory(allophones, lexicon, tying, symbols, labels)


def write_inventory(inventory: Inventory, allophones: Path, tying: Path) -> None:
    """The allophone file and the state tying as Sprint's allophone tool writes them.

    The reader of RETURNN takes no comment lines in the tying, so there are none.
    """
    head = f"# Number of allophones: {len(inventory.allophones)}\n"
    allophones.write_text(head + "".join(f"{name}\n" for name in inventory.allophones))
    tying.write_text("".join(f"{name} {label}\n" for name, label in inventory.tying.items()))


def make_alignment(
    inventory: Inventory, frames: int, rng: np.random.Generator, shortest: int = 1
) -> np.ndarray:
    """One allophone-state id a frame: words and pauses, runs of 4 frames on average.

    The lengths are `shortest` plus a geometric part; 1 gives literal runs as real alignments have
    them, 2 gives nothing but repeats.
    """
    states: list[int] = []
    while len(states) * 3 < frames + 60:  # more runs than needed
        # a few words are frequent, most are rare
        word = inventory.words[int(len(inventory.words) * rng.random() ** 3)]
        if rng.random() < 0.1:
            states.append(inventory.silence)
        for allophone in word:
            states += [allophone, allophone | 1 << STATE_SHIFT, allophone | 2 << STATE_SHIFT]
    lengths = rng.geometric(1 / (5 - shortest), len(states)) + (shortest - 1)
    ids = np.repeat(np.array(states, np.uint32), lengths)
    while len(ids) < frames:
        ids = np.concatenate([ids, ids])
    return ids[:frames]


@dataclass
class Alignments:
    """The names of an archive of alignments, and the distinct ones among them."""

    names: list[str]
    bodies: list[np.ndarray]  # entry i holds bodies[i % len(bodies)]
    bytes: int

    def ids(self, entry: int) -> np.ndarray:
        return self.bodies[entry % len(self.bodies)]

    def frames(self) -> np.ndarray:
        sizes = np.array([len(body) for body in self.bodies])
        return np.resize(sizes, len(self.names))


def write_alignments(
    path: Path,
    bodies: Sequence[np.ndarray],
    total_bytes: int,
    symbols: dict[int, str] | None = None,
    gz: bool = False,
) -> Alignments:
    """An archive of `bodies`, repeated under new names until it holds `total_bytes`."""
    payloads = [alignment_payload(body, symbols) for body in bodies]
    stored = [compress(payload) for payload in payloads] if gz else payloads
    names: list[str] = []
    done = 0
    with ArchiveFile(path) as archive:
        while done < total_bytes or len(names) < len(bodies):
            number = len(names)
            name = f"corpus/rec{number // 10:05d}/{number:07d}"
            body = number % len(bodies)
            archive.add(name, stored[body], len(payloads[body]) if gz else -1)
            names.append(name)
            done += len(stored[body])
    return Alignments(names, list(bodies), done)


# --- very many tiny entries ----------------------------------------------------------------------


def tiny_name(number: int) -> str:
    """The name of entry `number` in an archive of `write_tiny`."""
    recording = f"rec{number // 1000:07d}"
    return f"corpus/{recording}/{recording}-seg{number % 1000:03d}"


def _digits(values: np.ndarray, width: int) -> np.ndarray:
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (values[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def _tiny_names(first: int, count: int) -> np.ndarray:
    """(count, 35) bytes."""
    names = np.empty((count, len(tiny_name(0))), np.uint8)
    names[:] = np.frombuffer(tiny_name(0).encode(), np.uint8)
    numbers = np.arange(first, first + count)
    names[:, 10:17] = names[:, 21:28] = _digits(numbers // 1000, 7)
    names[:, 32:35] = _digits(numbers % 1000, 3)
    return names


def write_tiny(path: Path, count: int, attribs: bool = False) -> int:
    """An archive of `count` entries of 40 bytes (154 bytes with the table); gives its size.

    With `attribs`, every second entry is the `.attribs` of the next one, as in feature caches.
    """
    length = len(tiny_name(0))
    kinds = [(length + 8, b".attribs"), (length, b"")] if attribs else [(length, b"")]
    entry_fields: list[Any] = []
    row_fields: list[Any] = []
    for i, (size, _) in enumerate(kinds):
        entry_fields += [(f"start{i}", "<u4"), (f"length{i}", "<u4"), (f"name{i}", "u1", (size,))]
        entry_fields += [(f"sizes{i}", "<u4", (3,)), (f"data{i}", "<u4", (10,)), (f"end{i}", "<u4")]
        row_fields += [(f"length{i}", "<u4"), (f"name{i}", "u1", (size,)), (f"pos{i}", "<u8")]
        row_fields += [(f"sizes{i}", "<u4", (2,))]
    entry_dtype, row_dtype = np.dtype(entry_fields), np.dtype(row_fields)
    assert entry_dtype.fields is not None
    places = [entry_dtype.fields[f"sizes{i}"][1] for i in range(len(kinds))]
    groups = count // len(kinds)
    step = 500_000
    with open(path, "wb") as f:
        f.write(b"SP_ARC1\0\0")
        for first in range(0, groups, step):
            part = np.zeros(min(step, groups - first), entry_dtype)
            for i, (size, suffix) in enumerate(kinds):
                part[f"start{i}"], part[f"end{i}"] = 0xAA55AA55, 0x55AA55AA
                part[f"length{i}"] = size
                part[f"name{i}"][:, :length] = _tiny_names(first, len(part))
                part[f"name{i}"][:, length:] = np.frombuffer(suffix, np.uint8)
                part[f"sizes{i}"] = (40, 0, 0)
                part[f"data{i}"][:, 0] = np.arange(first, first + len(part))
            f.write(part.tobytes())
        end = f.tell()

        def rows() -> Iterable[bytes]:
            for first in range(0, groups, step):
                part = np.zeros(min(step, groups - first), row_dtype)
                start = 9 + np.arange(first, first + len(part)) * entry_dtype.itemsize
                for i, (size, suffix) in enumerate(kinds):
                    part[f"length{i}"] = size
                    part[f"name{i}"][:, :length] = _tiny_names(first, len(part))
                    part[f"name{i}"][:, length:] = np.frombuffer(suffix, np.uint8)
                    part[f"pos{i}"] = start + places[i]
                    part[f"sizes{i}"] = (40, 0)
                yield part.tobytes()

        write_table(f, end, groups * len(kinds), rows())
        f.seek(0, 2)
        return f.tell()
