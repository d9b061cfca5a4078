"""Contents of an archive as plain data: entries, blocks, and the report of a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Block", "EntryInfo", "ScanReport", "SkippedRange"]


class EntryInfo(NamedTuple):
    """One row of an archive's table (archive format, section 2.2).

    Attributes:
        name: the entry's name; bytes that are not UTF-8 as surrogates (``surrogateescape``).
        position: file offset of the entry's size field, as in the table.
        size: bytes of the payload after inflating.
        compressed_size: bytes of the payload as stored, 0 where it is not compressed.
        archive_path: the file (or directory) that holds the entry.
    """

    name: str
    position: int
    size: int
    compressed_size: int
    archive_path: str


class Block(NamedTuple):
    """One block of a Flow cache entry: packets of one datatype (archive format, section 6).

    Attributes:
        datatype: Sprint's name of the datatype, such as ``"vector-f32"``.
        times: (N, 2) float64, start and end of each packet in seconds; None for the one datatype
            without times, ``windowing-fir-filter-parameter``.
        data: by datatype, for N packets

            * scalars: (N,) array of the stored dtype;
            * vectors: (N, D) array of the stored dtype, or a list of 1-D arrays if sizes differ;
            * ``matrix-*``: list of (R, C) arrays;
            * ``string``: list of str; ``flow-alignment``: list of `Alignment`;
            * ``timestamp``, ``linear-filter-parameter``: (N, 0) array;
            * ``autoregressive-coefficients``: list of (1 + n,) float32, the gain first;
            * ``windowing-fir-filter-parameter``: list of (n, 2) float64, gain and omega;
            * ``vector-vector-f32``, ``aggregate-vector-f32``: list of Block;
            * ``aggregate``: list of Block, or of list of Block where datatypes are mixed.
    """

    datatype: str
    times: NDArray[np.float64] | None
    data: Any


class SkippedRange(NamedTuple):
    """Bytes between complete entries that a scan skipped.

    Attributes:
        offset: where they begin in the file.
        size: how many bytes.
        reason: the damage at the offset.
    """

    offset: int
    size: int
    reason: str


class ScanReport(NamedTuple):
    """Result of scanning an archive without a valid table.

    Attributes:
        path: the archive.
        reason: why it was scanned.
        num_entries: complete entries, duplicates included.
        num_holes: removed entries.
        skipped: everything else in the file.
    """

    path: str
    reason: str
    num_entries: int
    num_holes: int
    skipped: tuple[SkippedRange, ...]

    @property
    def skipped_bytes(self) -> int:
        """Sum of the skipped ranges."""
        return sum(part.size for part in self.skipped)

    def __str__(self) -> str:
        text = f"{self.path}: scanned ({self.reason}): {self.num_entries} whole"
        text += " entry" if self.num_entries == 1 else " entries"
        if not self.skipped:
            return text + ", nothing skipped"
        first = self.skipped[0]
        return (
            f"{text}, {self.skipped_bytes} bytes skipped in {len(self.skipped)}"
            f" {'range' if len(self.skipped) == 1 else 'ranges'}, first at offset {first.offset}:"
            f" {first.reason}"
        )
