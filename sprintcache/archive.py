"""Archive: a mapping from entry names to the contents of the entries.

One class serves archive files, bundles and directories; they differ only in the sources of the
compiled reader. Any number of threads may read. ``close`` may be called at any time: reads in
progress finish, later ones raise ClosedArchiveError. An archive survives ``fork`` and pickles as
its path.

With ``io="mmap"``, a file that another process truncates while it is read ends this process with
SIGBUS, as for any mapping; batches and iterations check the file first, single reads do not. With
``io="pread"`` every read checks, and raises an ArchiveChangedError at worst.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from . import _attributes as attributes
from ._packing import joined_rows
from ._reader import FileOrderIterator, Reader, batch_room, check_out, check_threads
from ._signals import AudioDtype, check_audio_dtype, join_audio
from .alignment import OnMismatch, check_pad, checks_alphabet, label_table
from .entries import Block, ScanReport
from .errors import naming

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._path_map import PathMap
    from .allophones import AllophoneLabeling

__all__ = ["Archive", "OpenRequest", "Segments"]

logger = logging.getLogger(__name__)

_LAST = np.iinfo(np.int64).max  # end of a range without an end

# names decoded at a time while iterating
_CHUNK = 1024


class Segments(Sequence[str]):
    """The names of an archive that do not end in ".attribs", decoded on access."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._size = archive._num_segments()

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._size)
            if step == 1:
                return self._archive._names(start, stop, True)
            return [self[i] for i in range(start, stop, step)]
        number = index + self._size if index < 0 else index
        if not 0 <= number < self._size:
            raise IndexError(f"segment {index} of {self._size}")
        return self._archive._names(number, number + 1, True)[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self._size, _CHUNK):
            yield from self._archive._names(start, start + _CHUNK, True)

    def at(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Names of segments by number; negative numbers do not count from the end."""
        return self._archive._names_at(numbers, True)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and not name.endswith(".attribs") and name in self._archive

    def __repr__(self) -> str:
        return f"<{self._size} segments of {self._archive.path}>"


class OpenRequest(NamedTuple):
    """The arguments of `sprintcache.open_archive`: absolute paths, io, path map, index."""

    paths: tuple[str, ...]
    io: str
    path_map: PathMap | None
    index_file: str | None


class Archive(Reader):
    """An open archive; `sprintcache.open_archive` makes one."""

    def __init__(
        self,
        path: str,
        sources: Sequence[tuple[str, bool, list[str] | None]],
        io: str = "auto",
        request: OpenRequest | None = None,
        scan_reason: str | None = None,
        index_paths: Sequence[str] = (),
        remote_index: bool = False,
    ) -> None:
        """Opens and indexes files.

        Args:
            path: the path for messages.
            sources: (absolute path, whether it is a directory, its entry names) of each source, in
                the order of the bundle.
            io: "auto", "mmap" or "pread".
            request: the arguments of `sprintcache.open_archive`; for pickling.
            scan_reason: why tables are ignored and files scanned; None: they are read.
            index_paths: index files, of which the first is used that is sound and up to date.
            remote_index: whether index files on network file systems are used.
        """
        self._request = request or OpenRequest((path,), io, None, None)
        self._open(path, list(sources), io, scan_reason, index_paths, remote_index)
        for index_path, problem in self.index_problems:
            logger.warning("the index %s is not used: %s", index_path, problem)
        for report in self.scan_reports:
            if report is not None:
                logger.warning("%s", report)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.is_closed:
            return f"<Archive {self.path}, closed>"
        files = len(self.source_paths)
        of = "" if files == 1 else f" in {files} archives"
        return f"<Archive {self.path}, {len(self)} entries{of}, {self.io}>"

    def __reduce__(self) -> tuple[Any, ...]:
        from .opening import reopen

        return reopen, (self._request, self.source_paths, self.source_states, self.index_path)

    def __iter__(self) -> Iterator[str]:
        """Entry names in archive order, ".attribs" included."""
        for start in range(0, len(self), _CHUNK):
            yield from self._names(start, start + _CHUNK, False)

    @property
    def segments(self) -> Segments:
        """The names that do not end in ".attribs", as a sequence that decodes on demand."""
        return Segments(self)

    @property
    def scan_report(self) -> ScanReport | tuple[ScanReport, ...] | None:
        """Report of the scan; None if every table was sound.

        For a bundle with scanned members: the one report, or a tuple of several.
        """
        reports = tuple(report for report in self.scan_reports if report is not None)
        return reports if len(reports) > 1 else reports[0] if reports else None

    # ---- one entry

    def read(self, name: str) -> Any:
        """An entry in its most natural form.

        Returns:
            By the content of the entry:

            * an entry ".attribs": str;
            * blocks of one datatype: their ``data`` joined (see `Block`); a single alignment:
              `Alignment`;
            * blocks of several datatypes: list of `Block`;
            * no known datatype name at the start: bytes; an empty entry: ``b""``.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged.
        """
        if self.datatype(name) is None:
            return self.read_text(name) if name.endswith(".attribs") else self.read_bytes(name)
        blocks = self.read_blocks(name)
        if len({block.datatype for block in blocks}) > 1:
            return blocks
        data = _joined(blocks)
        if blocks[0].datatype == "flow-alignment" and len(data) == 1:
            return data[0]
        return data

    def datatype(self, name: str) -> str | None:
        """The datatype that an entry begins with; None if it is not a Flow cache.

        ".attribs", empty entries and entries that do not begin with the name of a datatype are not
        Flow caches; all others can be read as blocks, unless they are damaged.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if its beginning is damaged.
        """
        if _is_attribs(name):
            self.entry(name)
            return None
        return self._datatype(name)

    def read_text(self, name: str) -> str:
        """An entry as UTF-8 text; other bytes become surrogates (``surrogateescape``).

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged.
        """
        return self.read_bytes(name).decode("utf-8", "surrogateescape")

    def read_attributes(self, name: str) -> dict[str, str]:
        """The attributes of an entry; {} if it has none.

        Args:
            name: the entry, with or without ".attribs".

        Raises:
            EntryNotFoundError: if there is neither such an entry nor attributes of it.
            FormatError: if the attributes are damaged.
        """
        attribs = name if _is_attribs(name) else name + ".attribs"
        if attribs not in self:
            self.entry(name)
            return {}
        data = self.read_bytes(attribs)
        info = self.entry(attribs)
        return attributes.parse(
            data,
            path=info.archive_path,
            entry=attribs,
            offset=info.position + 12 if info.position else 0,
        )

    def read_audio(self, name: str, dtype: AudioDtype = "float32") -> NDArray[Any]:
        """The samples of an entry, as Sprint stores audio: in packets, the last one shorter.

        Samples are mostly ``vector-s16``; other integers and floats, vectors or scalars, are read
        as well.

        Args:
            name: the entry.
            dtype: "float32": integers of b bits divided by 2 ** (b - 1), that is from -1 to 1 (1
                excluded), unsigned ones centered first, as by the package soundfile; floats as they
                are stored. "int16": the values of ``vector-s16``, unchanged.

        Returns:
            (N,) of `dtype`; N is 0 for an empty entry.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged.
            UnsupportedError: if it is not of one datatype of real numbers, or of another one than
                ``vector-s16`` and "int16" is requested.
            ValueError: if `dtype` is another word.
        """
        check_audio_dtype(dtype)
        blocks = self.read_blocks(name)
        with naming(self.entry(name).archive_path, name):
            return join_audio(blocks, dtype)

    def read_labels(
        self,
        name: str,
        labeling: AllophoneLabeling | None,
        on_alphabet_mismatch: OnMismatch = "error",
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> NDArray[np.int32]:
        """One label per frame of an alignment, or of a range of its frames.

        Args:
            name: the entry.
            labeling: from allophone state to label; None for alignments of emission ids.
            on_alphabet_mismatch: what to do if the alphabet of the alignment contradicts the
                allophone file: "error", "map" (by symbol), or "ignore" (take the ids as they are).
            start, stop: the range of frames, as in ``[start:stop]`` but not negative; None: to the
                end. Alignments are run-length coded, so all of it is decoded.

        Returns:
            (T,) int32; T is the number of frames in the range. Alignments of emission ids
            (``ALIGNEMI``): the ids.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged or not an alignment.
            LabelError: if a frame has no item or several, if the alphabets contradict each other,
                or if a state has no label.
            ValueError: if the range is not one.
        """
        check = checks_alphabet(on_alphabet_mismatch)
        table = label_table(labeling)
        if on_alphabet_mismatch == "map" and labeling is not None:
            labels = self._mapped_labels(name, labeling)
        else:
            labels = self._read_labels(name, table, check)
        if start == 0 and stop is None:
            return labels
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"not a range of frames: {start} to {stop}")
        return labels[start:stop].copy()

    def _mapped_labels(self, name: str, labeling: AllophoneLabeling) -> NDArray[np.int32]:
        alignment = self.read_alignment(name)
        with naming(self.entry(name).archive_path, name):
            return labeling.labels(alignment, on_alphabet_mismatch="map")

    def read_labels_batch(
        self,
        names: Iterable[str] | NDArray[np.int64],
        labeling: AllophoneLabeling | None,
        pad: int = -1,
        out: NDArray[np.int32] | Callable[[tuple[int, ...]], NDArray[Any]] | None = None,
        num_threads: int = 1,
        on_alphabet_mismatch: OnMismatch = "error",
        *,
        starts: int | NDArray[np.int64] | None = None,
        stops: int | NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Labels of many alignments, padded.

        Args:
            names: B entries, in the order of the batch. An array of integers selects by number, as
                an index into `segments`.
            labeling, on_alphabet_mismatch: as for `read_labels`.
            pad: value beyond each length.
            out: C-contiguous int32 array of at least (B, Tmax) to read into; memory beyond B and
                Tmax is not written. Or a function of that shape that returns the array.
            num_threads: threads to decode with, this one included.
            starts, stops: ranges of frames as for `read_labels`: (B,) integers, or one for all;
                None: from the first frame, to the last one.

        Returns:
            (B, Tmax) int32, or ``out[:B, :Tmax]``; and the lengths, (B,) int64.

        Raises:
            EntryNotFoundError, FormatError, LabelError: as for `read_labels`.
            ArchiveChangedError: if a file was changed after opening.
            ValueError: if `out` does not fit, or `pad` is not an int32; nothing is written then.
        """
        batch, _, lengths = self._labels_of(
            names, labeling, pad, out, num_threads, on_alphabet_mismatch, starts, stops, None
        )
        return batch, lengths

    def read_labels_packed(
        self,
        names: Iterable[str] | NDArray[np.int64],
        labeling: AllophoneLabeling | None,
        pad: int = -1,
        out: NDArray[np.int32] | Callable[[tuple[int, ...]], NDArray[Any]] | None = None,
        num_threads: int = 1,
        on_alphabet_mismatch: OnMismatch = "error",
        *,
        gap: int = 0,
        align: int = 1,
        starts: int | NDArray[np.int64] | None = None,
        stops: int | NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Labels of many alignments one after the other, without padding.

        Args:
            names, labeling, num_threads, on_alphabet_mismatch, starts, stops: as for
                `read_labels_batch`.
            pad: value in gaps.
            out: C-contiguous int32 array of at least (N,), or a function that returns it.
            gap, align: as for `read_features_packed`.

        Returns:
            (N,) int32, or ``out[:N]``; where each alignment begins, (B + 1,) int64; and the
            lengths, (B,) int64: see `read_features_packed`.

        Raises:
            EntryNotFoundError, FormatError, LabelError, ArchiveChangedError, ValueError: as for
                `read_labels_batch` and `read_features_packed`.
        """
        return self._labels_of(
            names,
            labeling,
            pad,
            out,
            num_threads,
            on_alphabet_mismatch,
            starts,
            stops,
            (gap, align),
        )

    def _labels_of(
        self,
        names: Iterable[str] | NDArray[np.int64],
        labeling: AllophoneLabeling | None,
        pad: int,
        out: NDArray[np.int32] | Callable[[tuple[int, ...]], NDArray[Any]] | None,
        num_threads: int,
        on_alphabet_mismatch: OnMismatch,
        starts: int | NDArray[np.int64] | None,
        stops: int | NDArray[np.int64] | None,
        layout: tuple[int, int] | None,
    ) -> tuple[NDArray[np.int32], Any, NDArray[np.int64]]:
        """(array, offsets, lengths), packed with gap and alignment; or padded, offsets are None."""
        check_pad(pad)
        check = checks_alphabet(on_alphabet_mismatch)
        table = label_table(labeling)
        if on_alphabet_mismatch != "map" or labeling is None:
            return self._read_labels_batch(
                names, table, pad, out, num_threads, check, starts, stops, layout
            )
        check_threads(num_threads)
        if out is not None and not callable(out):
            check_out(out, 2 if layout is None else 1, "int32")
        self.check_unchanged()
        if isinstance(names, np.ndarray) and names.dtype.kind in "iu":
            names = self.segments.at(names)
        rows = [self._mapped_labels(name, labeling) for name in names]
        ranges = zip(
            rows,
            np.broadcast_to(0 if starts is None else starts, len(rows)).tolist(),
            np.broadcast_to(_LAST if stops is None else stops, len(rows)).tolist(),
            strict=True,
        )
        return _joined_labels([row[start:stop] for row, start, stop in ranges], pad, out, layout)

    # ---- everything

    def iter_features(self, prefetch: int = 1 << 24) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """(name, features) of every segment, in the order of the files.

        Args:
            prefetch: bytes of read-ahead, so that a cold disk is busy while entries are decoded; 0
                leaves it to the operating system.

        Yields:
            the entry's name and its features, as of `read_features`.

        Raises:
            FormatError: for an entry that is damaged or not features.
            ArchiveChangedError: if a file was changed after opening.
        """
        return FileOrderIterator(self, "features", prefetch)

    def iter_labels(
        self,
        labeling: AllophoneLabeling | None,
        on_alphabet_mismatch: OnMismatch = "error",
        prefetch: int = 1 << 24,
    ) -> Iterator[tuple[str, NDArray[np.int32]]]:
        """(name, labels) of every segment, in the order of the files.

        Args:
            labeling, on_alphabet_mismatch: as for `read_labels`.
            prefetch: as for `iter_features`.

        Yields:
            the entry's name and its labels, as of `read_labels`.

        Raises:
            FormatError, LabelError: as for `read_labels`.
            ArchiveChangedError: if a file was changed after opening.
        """
        check = checks_alphabet(on_alphabet_mismatch)
        table = label_table(labeling)
        if on_alphabet_mismatch == "map" and labeling is not None:
            names: FileOrderIterator[None] = FileOrderIterator(self, "names", prefetch)
            return ((name, self._mapped_labels(name, labeling)) for name, _ in names)
        return FileOrderIterator(self, "labels", prefetch, table, check)


def _is_attribs(name: str) -> bool:
    if not isinstance(name, str):
        raise TypeError(f"an entry's name is a str, not {type(name).__name__}")
    return name.endswith(".attribs")


def _joined(blocks: list[Block]) -> Any:
    """The data of blocks of one datatype as one array, or as a list if shapes differ."""
    parts = [block.data for block in blocks]
    if len(parts) == 1:
        return parts[0]
    parts = [part for part in parts if len(part)] or parts[:1]
    if all(isinstance(part, np.ndarray) and part.shape[1:] == parts[0].shape[1:] for part in parts):
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))


def _joined_labels(
    rows: list[NDArray[np.int32]],
    pad: int,
    out: NDArray[np.int32] | Callable[[tuple[int, ...]], NDArray[Any]] | None,
    layout: tuple[int, int] | None,
) -> tuple[NDArray[np.int32], NDArray[np.int64] | None, NDArray[np.int64]]:
    """Copies rows into a padded or packed array."""

    def allocate(shape: tuple[int, ...]) -> NDArray[np.int32]:
        return batch_room(out, shape, "int32")[tuple(map(slice, shape))]

    return joined_rows(rows, layout, allocate, pad)
