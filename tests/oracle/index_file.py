"""Reads and forges index files by the page of their format; imports nothing of the project."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

BLOCK = 4096
PART = 1 << 16
HEADER = struct.Struct("<8sIIQQQ4I11Q")
FIELDS = (
    *("magic", "version", "block", "size", "key"),
    *("num_slots", "num_entries", "num_segments", "num_sources", "unused"),
    *("slots", "row_offsets", "source_numbers", "segments", "frames", "dims"),
    *("rows", "rows_size", "sources", "checksums", "checksum"),
)
SOURCE = struct.Struct("<QqQQQII")
MASK = (1 << 64) - 1


def mix(a: int, b: int) -> int:
    product = a * b
    return (product & MASK) ^ (product >> 64)


def name_hash(name: bytes, key: int) -> int:
    value = key ^ (len(name) * 0x9E3779B97F4A7C15 & MASK)
    whole = len(name) // 8 * 8
    for at in range(0, whole, 8):
        value = mix(value ^ int.from_bytes(name[at : at + 8], "little"), 0xA0761D6478BD642F)
    rest = int.from_bytes(name[whole:], "little")
    return mix(value ^ rest, 0xE7037ED1A0B428DB ^ key)


def block_checksum(data: bytes, key: int) -> int:
    lanes = [(key + lane * 0x9E3779B97F4A7C15) & MASK for lane in (1, 2, 3, 4)]
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    for at in range(0, len(words), 8):
        for lane in range(4):
            first, second = words[at + 2 * lane : at + 2 * lane + 2]
            lanes[lane] = mix(first ^ 0xA0761D6478BD642F, second ^ lanes[lane])
    value = key ^ len(data)
    for lane in range(4):
        value = mix(value ^ lanes[lane], 0xE7037ED1A0B428DB)
    return value


def chained(data: bytes) -> int:
    """The checksum of the section of checksums."""
    value = 0
    for at in range(0, len(data), PART):
        part = data[at : at + PART]
        whole = len(part) // 64 * 64
        value = block_checksum(part[:whole], value)
        if whole < len(part):
            value = block_checksum(part[whole:].ljust(64, b"\0"), value)
    return value


def fields(data: bytes) -> dict[str, int]:
    """The numbers of the header."""
    return dict(zip(FIELDS, HEADER.unpack_from(data), strict=True))


class IndexedEntry(NamedTuple):
    name: bytes
    position: int
    size: int
    compressed: int
    source: int


class IndexContents(NamedTuple):
    entries: list[IndexedEntry]
    segments: list[int]
    frames: list[int]
    dims: list[int]
    sources: list[tuple[int, ...]]


def read(data: bytes) -> IndexContents:
    """All that an index says; every checksum and every slot is checked."""
    head = fields(data)
    assert data[:8] == b"SPCINDEX"
    assert (head["version"], head["block"]) == (1, BLOCK)
    assert head["size"] == len(data)
    assert data == sealed(data)
    sources = [
        SOURCE.unpack_from(data, head["sources"] + i * SOURCE.size)
        for i in range(head["num_sources"])
    ]
    num_entries, num_segments = head["num_entries"], head["num_segments"]

    def numbers(section: str, code: str, count: int) -> list[int]:
        return list(struct.unpack_from(f"<{count}{code}", data, head[section]))

    offsets = numbers("row_offsets", "Q", num_entries)
    sources_of = [0] * num_entries
    if head["source_numbers"]:
        sources_of = numbers("source_numbers", "I", num_entries)
    entries = []
    for offset, source in zip(offsets, sources_of, strict=True):
        at = head["rows"] + sources[source][3] + offset
        (length,) = struct.unpack_from("<I", data, at)
        name = data[at + 4 : at + 4 + length]
        position, size, compressed = struct.unpack_from("<QII", data, at + 4 + length)
        entries.append(IndexedEntry(name, position, size, compressed, source))
    slots = numbers("slots", "Q", head["num_slots"])
    assert sum(map(bool, slots)) == num_entries
    for number, entry in enumerate(entries):
        value = name_hash(entry.name, head["key"])
        at = value % len(slots)
        while slots[at] & 0xFFFFFFFF != number + 1:
            assert slots[at] != 0
            at = (at + 1) % len(slots)
        assert slots[at] >> 32 == value >> 32
    segments = list(range(num_entries))
    if head["segments"]:
        segments = numbers("segments", "I", num_segments)
    frames, dims = numbers("frames", "I", num_segments), numbers("dims", "I", num_segments)
    return IndexContents(entries, segments, frames, dims, sources)


def sealed(data: bytes) -> bytes:
    """The file with checksums that are right."""
    head = fields(data)
    out = bytearray(data)
    end = head["checksums"]
    for at in range(BLOCK, end, BLOCK):
        number = at // BLOCK
        checksum = block_checksum(bytes(out[at : at + BLOCK]), number)
        struct.pack_into("<Q", out, end + 8 * (number - 1), checksum)
    struct.pack_into("<Q", out, HEADER.size - 8, chained(bytes(out[end:])))
    return with_header_checksum(bytes(out))


def with_header_checksum(data: bytes) -> bytes:
    """The file with a header checksum that is right, whatever the header says."""
    head = data[: BLOCK - 8] + bytes(8)
    return head[:-8] + struct.pack("<Q", block_checksum(head, 0)) + data[BLOCK:]


def forged(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The file after a change, with checksums of blocks that are right."""
    out = bytearray(data)
    change(out)
    return sealed(bytes(out))
