"""Archives to HDF5, Kaldi and NumPy files, and back: `convert`.

What travels is one segment after the other: features as they are stored, alignments as labels.

* To HDF5 (ending .hdf, .hdf5, .h5; extra `hdf`), as RETURNN's HDFDataset reads it: features or
  labels as its data, or features as data and labels as its target ``classes``.
* To Kaldi (.ark, .scp; extra `kaldi`): matrices of features, vectors of scalars or labels.
* To NumPy (.npz), with times; alignments without a labeling keep items, weights and alphabet.
* From any of them to an archive. Integer vectors become alignments of emission ids, since a label
  does not tell its allophone state. HDF5 and Kaldi have no times; they are made again of frame
  shift and length, from 0. Attributes (``.attribs``) are not converted.

Archives are read ahead by threads (see `archives.ArchiveSource`); one thread, the caller's, writes.
Memory does not grow with the corpus, but for the names: .npz files keep a table of theirs, and so
do archives that are written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._text_file import open_regular
from sprintcache.errors import EntryNotFoundError, FormatError, SprintCacheError
from sprintcache.opening import open_archive

from .archives import ArchiveSink, ArchiveSource, Reading
from .hdf_sink import HdfSink
from .hdf_source import HdfSource
from .kaldi_sink import KaldiSink
from .kaldi_source import KaldiSource
from .npz import NpzSink, NpzSource

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling

    from .segments import Segment, Sink, Source

__all__ = ["convert", "segment_names"]

StrPath = str | os.PathLike[str]

_ENDINGS = {
    ".hdf": "hdf",
    ".hdf5": "hdf",
    ".h5": "hdf",
    ".npz": "npz",
    ".ark": "kaldi",
    ".scp": "kaldi",
}


def convert(
    sources: StrPath | Sequence[StrPath],
    destination: StrPath,
    *,
    names: Collection[str] | None = None,
    labeling: AllophoneLabeling | None = None,
    on_alphabet_mismatch: OnMismatch = "error",
    targets: StrPath | None = None,
    skip_missing: bool = False,
    num_labels: int | None = None,
    dtype: DTypeLike | None = None,
    key: str | None = None,
    frame_shift: float = 0.01,
    frame_length: float = 0.025,
    overwrite: bool = False,
    num_threads: int | None = None,
    io: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Converts archives to a file of another kind, or such files to an archive.

    The destination grows as ``<destination>.partial`` and gets its name when it is whole.

    Args:
        sources: archives (files, bundles, directories), or HDF5, .npz, .ark or .scp files; their
            segments follow each other. One path or several.
        destination: from archives, the ending says its kind; else it is an archive.
        names: only segments with these names, in the order of the sources; None: all.
        labeling, on_alphabet_mismatch: for alignments, as `Archive.read_labels`.
        targets: an archive of alignments: their labels beside the features; to HDF5 only.
        skip_missing: leave out segments that have no targets.
        num_labels: for HDF5; None: those of the labeling, without one the largest label + 1.
        dtype: of features; None: as stored.
        key: what to take of an HDF5 file: "data", or a target such as "classes"; None: "data", or
            the only target where there is none.
        frame_shift, frame_length: in seconds, for what comes without times.
        overwrite: whether the destination is replaced if it is there.
        num_threads: that read archives; None: one per processor, at most 8.
        io: as for `open_archive`.
        progress: called with (segments done, segments in all) for each source; 0 in all where that
            is not known.

    Returns:
        the number of segments.

    Raises:
        ValueError: for a destination of unknown kind, or arguments that do not go together.
        FileExistsError: if the destination is there and is not to be replaced.
        EntryNotFoundError: if segments that were named, or targets, are not there.
        FormatError: if a source is damaged; UnsupportedError: if the destination cannot hold a
            name or data.
        LabelError: if alignments do not become labels, for example for want of a labeling.
        ImportError: if an extra is not installed; the text names it.
        OSError: if the system fails.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    to = _kind_of_destination(sources, destination)
    if targets is not None and to != "hdf":
        raise ValueError("targets beside the data: only HDF5 files hold both")
    if dtype is not None and np.dtype(dtype).kind not in "iufc":
        raise ValueError(f"dtype: features are numbers, not {np.dtype(dtype)}")
    if num_labels is None and labeling is not None:
        num_labels = labeling.num_labels
    wanted = None if names is None else frozenset(names)
    with ExitStack() as stack:
        target_archive = None
        if targets is not None:
            target_archive = stack.enter_context(open_archive(targets, io))
            if wanted is not None and skip_missing:
                wanted = frozenset(name for name in wanted if name in target_archive)
        reading = Reading(
            labeling=labeling,
            on_alphabet_mismatch=on_alphabet_mismatch,
            keep_all=to == "npz",
            targets=target_archive,
            skip_missing=skip_missing,
            num_threads=num_threads,
            io=io,
        )
        sink: Sink
        if to == "archive":
            sink = ArchiveSink(destination, overwrite, frame_shift, frame_length)
        elif to == "hdf":
            sink = HdfSink(destination, overwrite, targets is not None, num_labels)
        elif to == "kaldi":
            sink = KaldiSink(destination, overwrite)
        else:
            sink = NpzSink(destination, overwrite)
        stack.enter_context(sink)
        segments = stack.enter_context(closing(_all(sources, reading, key, wanted, progress)))
        done = 0
        for segment in segments:
            sink.add(segment if dtype is None else segment.with_dtype(dtype))
            done += 1
    return done


def _all(
    sources: Sequence[StrPath],
    reading: Reading,
    key: str | None,
    wanted: frozenset[str] | None,
    progress: Callable[[int, int], None] | None,
) -> Generator[Segment]:
    """The segments of all sources; a name must not come twice, and who wants names gets all."""
    seen: set[str] | None = set() if wanted is not None or len(sources) > 1 else None
    done = 0
    for path in sources:
        with closing(_open(path, reading, key)) as source:
            first, total = (done, len(source)) if wanted is None else (0, len(wanted))
            with closing(source.segments(wanted)) as segments:
                for segment in segments:
                    if seen is not None:
                        if segment.name in seen:
                            raise SprintCacheError(
                                "the segment comes twice", path=os.fspath(path), entry=segment.name
                            )
                        seen.add(segment.name)
                    yield segment
                    done += 1
                    if progress is not None:
                        progress(done - first, total)
    missing = (wanted or frozenset()) - (seen or set())
    if missing:
        raise EntryNotFoundError(
            f"{len(missing)} of {len(wanted or ())} names are in none of the sources, such as"
            f" {min(missing)!r}"
        )


def segment_names(sources: Sequence[StrPath], key: str | None = None) -> Iterator[str]:
    """The names of all segments that `convert` finds; of an .ark, by reading it.

    Raises:
        FormatError, ImportError, OSError: as `convert`.
    """
    for path in sources:
        with closing(_open(path, Reading(), key)) as source:
            yield from source.names()


def _kind_of_destination(sources: Sequence[StrPath], destination: StrPath) -> str:
    kinds = {_kind_of(path) for path in sources}
    to = _ENDINGS.get(os.path.splitext(destination)[1], "archive")
    if not kinds:
        raise ValueError("nothing to convert")
    if (to == "archive") == ("archive" in kinds) or (to != "archive" and len(kinds) > 1):
        raise ValueError(
            f"{os.fspath(destination)}: an archive is converted to a file that ends in"
            f" {', '.join(_ENDINGS)}, and such a file to an archive, which has another ending"
        )
    return to


def _kind_of(path: StrPath) -> str:
    """ "archive", "hdf", "npz" or "kaldi", by the ending or the first bytes."""
    ending = os.path.splitext(path)[1]
    if os.path.isdir(path) or ending == ".bundle":
        return "archive"
    with open_regular(path) as file:
        magic = file.read(8)
    if _ENDINGS.get(ending) == "kaldi":
        return "kaldi"
    if magic == b"\x89HDF\r\n\x1a\n":
        return "hdf"
    if magic[:4] in (b"PK\3\4", b"PK\5\6"):
        return "npz"
    if magic[:7] == b"SP_ARC1":
        return "archive"
    raise FormatError(
        "neither an archive nor an HDF5, .npz, .ark or .scp file",
        path=os.fspath(path),
        found=magic,
    )


def _open(path: StrPath, reading: Reading, key: str | None) -> Source:
    kind = _kind_of(path)
    if kind == "hdf":
        return HdfSource(path, key)
    if kind == "kaldi":
        return KaldiSource(path)
    if kind == "npz":
        return NpzSource(path)
    return ArchiveSource(path, reading)
