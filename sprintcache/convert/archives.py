"""Archives as the one end of a conversion."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._threads import default_threads, ordered_map
from sprintcache._write.writer import ArchiveWriter
from sprintcache.alignment import Alignment
from sprintcache.errors import EntryNotFoundError, naming
from sprintcache.opening import open_archive

from .segments import Segment, Sink, is_labels, label_alignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.archive import Archive

__all__ = ["ArchiveSink", "ArchiveSource", "Reading"]

_PORTION = 4 << 20  # bytes of payload that a thread reads at a time


@dataclass(frozen=True)
class Reading:
    """What is made of the segments of an archive.

    Attributes:
        labeling, on_alphabet_mismatch: as for `Archive.read_labels`.
        keep_all: times are read as well, and alignments of allophone states stay what they are
            where there is no labeling; else all alignments must become labels.
        targets: alignments that become labels beside the data, or None.
        skip_missing: segments without targets are left out; else they are an error.
        num_threads: that read; None: one per processor, at most 8.
        io: as for `open_archive`.
    """

    labeling: AllophoneLabeling | None = None
    on_alphabet_mismatch: OnMismatch = "error"
    keep_all: bool = False
    targets: Archive | None = None
    skip_missing: bool = False
    num_threads: int | None = None
    io: str = "auto"


class ArchiveSource:
    """Segments of an archive, a bundle or a directory, read ahead in threads.

    At most four portions per thread are under way, each of 4 MiB or of one larger segment. The
    iterator of `segments` belongs to one thread; reading is done by threads of its own, which end
    with it.
    """

    def __init__(self, path: str | os.PathLike[str], reading: Reading) -> None:
        self._archive = open_archive(path, reading.io)
        self._reading = reading

    def __len__(self) -> int:
        return len(self._archive.segments)

    def names(self) -> Iterable[str]:
        """Of all segments."""
        return self._archive.segments

    def close(self) -> None:
        """Closes the archive."""
        self._archive.close()

    def segments(self, wanted: Collection[str] | None) -> Generator[Segment]:
        """Reads segments.

        Raises:
            EntryNotFoundError: if segments have no targets.
            FormatError, LabelError: as `Archive.read` and `Archive.read_labels`; also for what is
                neither features nor an alignment.
        """
        self._check_targets(wanted)
        given = self._reading.num_threads
        threads = default_threads() if given is None else given
        for portion in ordered_map(self._read, self._portions(wanted), threads):
            yield from portion

    def _chosen(self, wanted: Collection[str] | None) -> Iterable[str]:
        names = self._archive.segments
        return names if wanted is None else (name for name in names if name in wanted)

    def _check_targets(self, wanted: Collection[str] | None) -> None:
        targets = self._reading.targets
        if targets is None or self._reading.skip_missing:
            return
        count = sum(1 for _ in self._chosen(wanted))
        missing = [name for name in self._chosen(wanted) if name not in targets]
        if missing:
            raise EntryNotFoundError(
                f"{len(missing)} of {count} segments of {self._archive.path} have no targets,"
                f" the first: {missing[0]!r}",
                path=targets.path,
            )

    def _portions(self, wanted: Collection[str] | None) -> Iterator[list[str]]:
        targets = self._reading.targets
        portion: list[str] = []
        size = 0
        for name in self._chosen(wanted):
            if targets is not None and name not in targets:
                continue
            portion.append(name)
            size += self._archive.entry(name).size
            if size >= _PORTION or len(portion) >= 1024:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion

    def _read(self, names: list[str]) -> list[Segment]:
        return [self._segment(name) for name in names]

    def _segment(self, name: str) -> Segment:
        reading = self._reading
        targets = None
        if reading.targets is not None:
            targets = self._labels(reading.targets, name)
        if self._archive.datatype(name) != "flow-alignment":
            times = self._archive.read_times(name) if reading.keep_all else None
            return Segment(name, self._features(name), times, targets)
        if not reading.keep_all:
            return Segment(name, self._labels(self._archive, name), None, targets)
        alignment = self._archive.read_alignment(name)
        times = None
        if alignment.start is not None and alignment.end is not None:
            times = np.array([[alignment.start, alignment.end]])
        if reading.labeling is None and alignment.label_type == "allophone-state":
            return Segment(name, alignment, times, targets)
        return Segment(name, self._labels(self._archive, name), times, targets)

    def _features(self, name: str) -> NDArray[np.generic]:
        archive = self._archive
        if archive.datatype(name) in ("vector-f32", None):
            return archive.read_features(name)
        data = archive.read(name)
        if isinstance(data, np.ndarray) and data.dtype.kind in "biufc":
            return data
        return archive.read_features(name)  # tells what is wrong

    def _labels(self, archive: Archive, name: str) -> NDArray[np.int32]:
        return archive.read_labels(name, self._reading.labeling, self._reading.on_alphabet_mismatch)


class ArchiveSink(Sink):
    """A new archive; see `sprintcache.ArchiveWriter`.

    Integer labels become an alignment of emission ids: which allophone state a label came from
    cannot be known.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool,
        frame_shift: float = 0.01,
        frame_length: float = 0.025,
    ) -> None:
        self._writer = ArchiveWriter(path, "w" if overwrite else "x")
        self._shift = frame_shift
        self._length = frame_length

    def add(self, segment: Segment) -> None:
        """Adds one entry.

        Raises:
            ValueError: as `ArchiveWriter.add_features`.
            LabelError: for a label that an alignment cannot hold.
        """
        name, data, times, _ = segment
        if isinstance(data, Alignment):
            self._writer.add_alignment(name, data)
        elif is_labels(data):
            with naming(self._writer.path, name):
                alignment = label_alignment(data, times, self._shift, self._length)
            self._writer.add_alignment(name, alignment)
        else:
            self._writer.add_features(
                name, data, times, frame_shift=self._shift, frame_length=self._length
            )

    def _finish(self) -> None:
        self._writer.close()

    def _discard(self) -> None:
        self._writer.__exit__(Exception)
