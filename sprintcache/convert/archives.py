"""Archives as source or destination of a conversion."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import BatchBuffers, ReadOptions
from sprintcache._signals import is_audio, signal
from sprintcache._threads import byte_runs, default_threads, ordered_map
from sprintcache._write.writer import ArchiveWriter
from sprintcache.alignment import Alignment
from sprintcache.errors import (
    EntryNotFoundError,
    FormatError,
    SprintCacheError,
    naming,
)
from sprintcache.opening import open_archive

from .audio_sink import read_samples
from .items import ConvertItem, LabelBlock, Sink, is_labels, label_alignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache._path_map import PathMap
    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.archive import Archive

__all__ = ["ArchiveSink", "ArchiveSource", "ReadSettings"]

_PORTION_BYTES = 4 << 20  # payload that a thread reads at a time
_PORTION_NAMES = 1024


@dataclass(frozen=True)
class ReadSettings:
    """How segments of an archive are read.

    Attributes:
        labeling, on_alphabet_mismatch: as for `Archive.read_labels`.
        as_audio: read all segments as audio samples in their stored dtype, with sample rates.
        keep_all: read times too, and keep alignments of allophone states if there is no labeling;
            otherwise all alignments must be mapped to labels.
        targets: alignments whose labels are read in addition to the data, or None.
        skip_missing: leave out segments without targets; otherwise they are an error.
        num_threads: None: one per processor, at most 8.
        io, path_map: as for `open_archive`.
    """

    labeling: AllophoneLabeling | None = None
    on_alphabet_mismatch: OnMismatch = "error"
    as_audio: bool = False
    keep_all: bool = False
    targets: Archive | None = None
    skip_missing: bool = False
    num_threads: int | None = None
    io: str = "auto"
    path_map: PathMap | None = None


class ArchiveSource:
    """Segments of an archive, a bundle or a directory, read ahead in threads.

    At most four portions per thread are in memory, each of 4 MiB or of one larger segment. The
    iterator of `items` belongs to one thread; its reading threads end with it. Labels of
    alignments are decoded by threads of the core into one array, a portion at a time: new memory
    for each portion would cost more than decoding.
    """

    def __init__(self, path: str | os.PathLike[str], settings: ReadSettings) -> None:
        self._archive = open_archive(path, settings.io, path_map=settings.path_map)
        self._settings = settings
        # of a portion, which the next one overwrites
        self._label_array = ReadOptions(buffers=BatchBuffers()).out("labels", np.int32)

    def __len__(self) -> int:
        return len(self._archive.segments)

    def names(self) -> Iterable[str]:
        """Names of all segments."""
        return self._archive.segments

    def close(self) -> None:
        """Closes the archive."""
        self._archive.close()

    def items(self, names: Collection[str] | None) -> Generator[ConvertItem | LabelBlock]:
        """Reads segments.

        Raises:
            EntryNotFoundError: if segments have no targets.
            FormatError, LabelError: as `Archive.read` and `Archive.read_labels`; also for segments
                that are neither features nor alignments.
        """
        self._check_targets(names)
        num_threads = self._settings.num_threads
        num_threads = default_threads() if num_threads is None else num_threads
        if not self._begins_with_labels(names):
            for items in ordered_map(self._read, self._portions(names), num_threads):
                yield from items
            return
        for portion in self._portions(names):
            try:
                block = self._label_block(portion, num_threads)
            except SprintCacheError:  # some are features, or one is damaged: one by one
                yield from ordered_map(self._item, portion, num_threads)
            else:
                yield block

    def _begins_with_labels(self, names: Collection[str] | None) -> bool:
        """Whether the first segment is an alignment that is mapped to labels."""
        settings = self._settings
        if settings.targets is not None or settings.as_audio or settings.keep_all:
            return False
        with suppress(SprintCacheError):  # raised again when it is read
            first = next(iter(self._chosen(names)), None)
            return first is not None and self._archive.datatype(first) == "flow-alignment"
        return False

    def _chosen(self, names: Collection[str] | None) -> Iterable[str]:
        segments = self._archive.segments
        return segments if names is None else (name for name in segments if name in names)

    def _check_targets(self, names: Collection[str] | None) -> None:
        targets = self._settings.targets
        if targets is None or self._settings.skip_missing:
            return
        missing = [name for name in self._chosen(names) if name not in targets]
        if missing:
            count = sum(1 for _ in self._chosen(names))
            raise EntryNotFoundError(
                f"{len(missing)} of {count} segments of {self._archive.path} have no targets,"
                f" the first: {missing[0]!r}",
                path=targets.path,
            )

    def _portions(self, names: Collection[str] | None) -> Iterator[list[str]]:
        targets = self._settings.targets
        chosen = iter(self._chosen(names))
        if targets is not None:
            chosen = filter(targets.__contains__, chosen)
        while portion := list(islice(chosen, _PORTION_NAMES)):
            sizes = self._archive._rows_of(portion)[3]
            for run in byte_runs(sizes, _PORTION_BYTES, _PORTION_NAMES):
                yield portion[run.start : run.stop]

    def _read(self, names: list[str]) -> list[ConvertItem]:
        return [self._item(name) for name in names]

    def _label_block(self, names: list[str], num_threads: int) -> LabelBlock:
        """Alignments as labels, by one call; raises the errors of `Archive.read_labels`."""
        settings = self._settings
        labels, offsets, _ = self._archive.read_labels_packed(
            names,
            settings.labeling,
            out=self._label_array,
            num_threads=num_threads,
            on_alphabet_mismatch=settings.on_alphabet_mismatch,
        )
        return LabelBlock(names, labels, offsets, int(labels.max(initial=0)))

    def _item(self, name: str) -> ConvertItem:
        settings = self._settings
        if settings.as_audio:
            samples, sample_rate = read_samples(self._archive, name)
            return ConvertItem(name, samples, sample_rate=sample_rate)
        targets = None
        if settings.targets is not None:
            targets = self._labels(settings.targets, name)
        if self._archive.datatype(name) != "flow-alignment":
            return self._numbers(name, targets)
        if not settings.keep_all:
            return ConvertItem(name, self._labels(self._archive, name), None, targets)
        alignment = self._archive.read_alignment(name)
        times = None
        if alignment.start is not None and alignment.end is not None:
            times = np.array([[alignment.start, alignment.end]])
        if settings.labeling is None and alignment.label_type == "allophone-state":
            return ConvertItem(name, alignment, times, targets)
        return ConvertItem(name, self._labels(self._archive, name), times, targets)

    def _numbers(self, name: str, targets: NDArray[np.int32] | None) -> ConvertItem:
        """Features, scalars, or audio samples."""
        archive = self._archive
        datatype = archive.datatype(name)
        data: Any = None
        if datatype in ("vector-f32", None):
            try:
                data = archive.read_features(name)
            except FormatError:  # packets of audio may differ in size
                if datatype is None:
                    raise
        if data is None:
            data = archive.read(name)
        if is_audio(archive, name, data):
            # (N, 1), since (N,) integers are labels
            return ConvertItem(name, signal(data)[:, np.newaxis], None, targets)
        if not isinstance(data, np.ndarray) or data.dtype.kind not in "biufc":
            data = archive.read_features(name)  # raises the error
        keep_times = self._settings.keep_all and datatype is not None
        return ConvertItem(name, data, archive.read_times(name) if keep_times else None, targets)

    def _labels(self, archive: Archive, name: str) -> NDArray[np.int32]:
        settings = self._settings
        return archive.read_labels(name, settings.labeling, settings.on_alphabet_mismatch)


class ArchiveSink(Sink):
    """A new archive; see `sprintcache.ArchiveWriter`.

    Integer labels become an alignment of emission ids, since their allophone states are unknown.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool,
        frame_shift: float = 0.01,
        frame_length: float = 0.025,
    ) -> None:
        self._writer = ArchiveWriter(path, "w" if overwrite else "x")
        self._timing: dict[str, Any] = {"frame_shift": frame_shift, "frame_length": frame_length}

    def add(self, item: ConvertItem) -> None:
        """Adds one entry.

        Raises:
            ValueError: as `ArchiveWriter.add_features`.
            LabelError: for a label that an alignment cannot hold.
        """
        name, data, times = item.name, item.data, item.times
        if isinstance(data, Alignment):
            self._writer.add_alignment(name, data)
        elif is_labels(data):
            with naming(self._writer.path, name):
                alignment = label_alignment(data, times, **self._timing)
            self._writer.add_alignment(name, alignment)
        else:
            self._writer.add_features(name, data, times, **self._timing)

    def _finish(self) -> None:
        self._writer.close()

    def _discard(self) -> None:
        self._writer.__exit__(Exception)
