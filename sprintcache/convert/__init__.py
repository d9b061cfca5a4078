"""Conversion of archives to HDF5, Kaldi and NumPy files, and back: `convert`.

Segments are converted one after the other: features as they are stored, alignments as labels.

* To HDF5 (ending .hdf, .hdf5, .h5; extra `hdf`), as RETURNN's HDFDataset reads it: features or
  labels as its data, or features as data and labels as its target ``classes``.
* To Kaldi (.ark, .scp; extra `kaldi`): matrices of features, vectors of scalars or labels.
* To a folder of audio files, wav or flac (extra `audio`), with ``audio_format``.
* To NumPy (.npz), with times; alignments without a labeling keep items, weights and alphabet.
* From any of them to an archive. Integer vectors become alignments of emission ids, since a label
  does not determine its allophone state. HDF5 and Kaldi have no times; they are computed from frame
  shift and length, from 0. Attributes (``.attribs``) are not converted.

Audio samples become (N, 1) arrays, without times. Archives are read ahead in threads (see
`archives.ArchiveSource`); the calling thread writes. Memory does not grow with the corpus, except
for names: .npz files and archives have a table of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._analysis.name_sample import NameSample
from sprintcache._text_file import open_regular
from sprintcache.errors import EntryNotFoundError, FormatError, SprintCacheError
from sprintcache.opening import open_archive

from .archives import ArchiveSink, ArchiveSource, ReadSettings
from .audio_sink import AudioSink
from .hdf_sink import HdfSink
from .hdf_source import HdfSource
from .items import LabelBlock
from .kaldi_sink import KaldiSink
from .kaldi_source import KaldiSource, is_ark
from .npz import NpzSink, NpzSource

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from sprintcache._path_map import PathMap
    from sprintcache.alignment import OnMismatch
    from sprintcache.allophones import AllophoneLabeling
    from sprintcache.label_rates import LabelRate

    from .audio_sink import AudioFormat
    from .items import ConvertItem, Sink, Source

__all__ = ["convert", "segment_names"]

logger = logging.getLogger(__name__)

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
    rename: Callable[[str], str] | None = None,
    labeling: AllophoneLabeling | None = None,
    on_alphabet_mismatch: OnMismatch = "error",
    targets: StrPath | None = None,
    skip_missing: bool = False,
    num_labels: int | None = None,
    rate: LabelRate | None = None,
    dtype: DTypeLike | None = None,
    audio_format: AudioFormat | None = None,
    sample_rate: int | None = None,
    key: str | None = None,
    frame_shift: float = 0.01,
    frame_length: float = 0.025,
    overwrite: bool = False,
    num_threads: int | None = None,
    io: str = "auto",
    path_map: PathMap | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Converts archives to a file of another kind, or such files to an archive.

    The destination is written as ``<destination>.partial`` and renamed when it is complete. Empty
    segments are converted, and their number is logged as a warning.

    Args:
        sources: archives (files, bundles, directories), or HDF5, .npz, .ark or .scp files, an ark
            also gzipped or as text under any name; one path or several.
        destination: for archives, the ending determines its kind; for files, an archive.
        names: only segments with these names, in the order of the sources; None: all.
        rename: from the name of a segment to its name in the destination.
        labeling, on_alphabet_mismatch: for alignments, as `Archive.read_labels`.
        targets: an archive of alignments whose labels are stored with the features; HDF5 only.
        skip_missing: leave out segments that have no targets.
        num_labels: for HDF5; None: that of the labeling, without one the largest label + 1.
        rate: labels at another rate, or without repetitions.
        dtype: of features; None: as stored.
        audio_format: "wav" or "flac": the destination is a folder, and gets a file for each
            segment with every sample of the archive as it is.
        sample_rate: of audio files, in Hz; None: the attribute ``sample-rate`` of the segment, or
            what its times say.
        key: of an HDF5 file: "data", or a target such as "classes"; None: "data", or the only
            target of a file without inputs.
        frame_shift, frame_length: in seconds, for sources without times.
        overwrite: whether an existing destination is replaced.
        num_threads: threads that read archives; None: one per processor, at most 8.
        io, path_map: as for `open_archive`.
        progress: called with (segments done, total) for each source; the total is 0 if unknown.

    Returns:
        the number of segments.

    Raises:
        ValueError: for a destination of unknown kind, or contradictory arguments.
        FileExistsError: if the destination exists and `overwrite` is false.
        EntryNotFoundError: if the sources lack one of the names, or targets are missing.
        FormatError: if a source is damaged; UnsupportedError: if the destination cannot hold a
            name or data, or `dtype` cannot represent a value.
        LabelError: if alignments cannot be mapped to labels, for example without a labeling.
        SprintCacheError: if two segments have the same name.
        ImportError: if an extra is not installed; the text names it.
        OSError: if a file cannot be read or written.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if audio_format not in (None, "wav", "flac"):
        raise ValueError(f"audio_format must be 'wav' or 'flac', not {audio_format!r}")
    to = _kind_of_destination(sources, destination, audio_format)
    if targets is not None and to != "hdf":
        raise ValueError("targets can be stored in HDF5 files only")
    if dtype is not None and np.dtype(dtype).kind not in "iufc":
        raise ValueError(f"dtype must be numeric, not {np.dtype(dtype)}")
    if labeling is not None and labeling.factors is not None:
        raise ValueError("a file holds the labels of one label scheme")
    if num_labels is None and labeling is not None:
        num_labels = labeling.num_labels
    chosen = None if names is None else frozenset(names)
    with ExitStack() as stack:
        target_archive = None
        if targets is not None:
            target_archive = stack.enter_context(open_archive(targets, io, path_map=path_map))
            if chosen is not None and skip_missing:
                chosen = frozenset(name for name in chosen if name in target_archive)
        settings = ReadSettings(
            labeling=labeling,
            on_alphabet_mismatch=on_alphabet_mismatch,
            as_audio=to == "audio",
            keep_all=to == "npz",
            targets=target_archive,
            skip_missing=skip_missing,
            num_threads=num_threads,
            io=io,
            path_map=path_map,
        )
        sink: Sink
        if to == "archive":
            sink = ArchiveSink(destination, overwrite, frame_shift, frame_length)
        elif to == "hdf":
            sink = HdfSink(destination, overwrite, targets is not None, num_labels)
        elif audio_format is not None:
            sink = AudioSink(destination, audio_format, overwrite, sample_rate)
        elif to == "kaldi":
            sink = KaldiSink(destination, overwrite)
        else:
            sink = NpzSink(destination, overwrite)
        stack.enter_context(sink)
        items = stack.enter_context(closing(_items(sources, settings, key, chosen, progress)))
        count = _convert_items(items, sink, dtype, rename, rate)
    return count


def _convert_items(
    items: Iterable[ConvertItem | LabelBlock],
    sink: Sink,
    dtype: DTypeLike | None,
    rename: Callable[[str], str] | None,
    rate: LabelRate | None,
) -> int:
    """Adds the segments to the sink; returns their number."""
    count = 0
    empty = NameSample()
    new_names: set[str] = set()
    keeps_blocks = rename is None and (rate is None or rate.is_identity)
    for item in items if keeps_blocks else _single_items(items):
        if isinstance(item, LabelBlock):
            for index in np.flatnonzero(item.lengths == 0).tolist():
                empty.add(item.names[index])
            sink.add_labels(item)
            count += len(item.names)
            continue
        if not len(item.data):
            empty.add(item.name)
        if rate is not None and not rate.is_identity:
            item = item.with_rate(rate)
        if dtype is not None:
            item = item.with_dtype(dtype)
        if rename is not None:
            old_name, item = item.name, item._replace(name=rename(item.name))
            if item.name in new_names:
                raise SprintCacheError(
                    f"another segment is already renamed to {item.name!r}", entry=old_name
                )
            new_names.add(item.name)
        sink.add(item)
        count += 1
    if empty.count:
        segments = "segment is" if empty.count == 1 else "segments are"
        logger.warning("%d %s empty, the first: %r", empty.count, segments, empty.names[0])
    return count


def _single_items(items: Iterable[ConvertItem | LabelBlock]) -> Iterator[ConvertItem]:
    """The segments one by one."""
    for item in items:
        if isinstance(item, LabelBlock):
            yield from item.items()
        else:
            yield item


def _items(
    sources: Sequence[StrPath],
    settings: ReadSettings,
    key: str | None,
    chosen: frozenset[str] | None,
    progress: Callable[[int, int], None] | None,
) -> Generator[ConvertItem | LabelBlock]:
    """The segments of all sources; checks that names are unique, and that no chosen one lacks."""
    seen: set[str] | None = set() if chosen is not None or len(sources) > 1 else None
    done = 0
    for path in sources:
        with closing(_open(path, settings, key)) as source:
            first, total = (done, len(source)) if chosen is None else (0, len(chosen))
            with closing(source.items(chosen)) as items:
                for item in items:
                    names = item.names if isinstance(item, LabelBlock) else (item.name,)
                    if seen is not None:
                        for name in names:
                            if name in seen:
                                raise SprintCacheError(
                                    "the segment is in several sources, or twice in one",
                                    path=os.fspath(path),
                                    entry=name,
                                )
                            seen.add(name)
                    yield item
                    done += len(names)
                    if progress is not None:
                        progress(done - first, total)
    missing = (chosen or frozenset()) - (seen or set())
    if missing:
        raise EntryNotFoundError(
            f"{len(missing)} of {len(chosen or ())} names are missing from the sources, such as"
            f" {min(missing)!r}"
        )


def segment_names(
    sources: Sequence[StrPath], key: str | None = None, *, path_map: PathMap | None = None
) -> Iterator[str]:
    """The names of all segments that `convert` would read; an .ark is read for them.

    Raises:
        FormatError, ImportError, OSError: as `convert`.
    """
    for path in sources:
        with closing(_open(path, ReadSettings(path_map=path_map), key)) as source:
            yield from source.names()


def _kind_of_destination(
    sources: Sequence[StrPath], destination: StrPath, audio_format: AudioFormat | None
) -> str:
    kinds = {_kind_of(path) for path in sources}
    if audio_format is not None:
        if kinds != {"archive"}:
            raise ValueError("audio files can only be made from archives")
        return "audio"
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
    """Returns "archive", "hdf", "npz" or "kaldi", by the ending or the first bytes."""
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
    if is_ark(path):
        return "kaldi"
    raise FormatError(
        "neither an archive nor an HDF5, .npz, .ark or .scp file",
        path=os.fspath(path),
        found=magic,
    )


def _open(path: StrPath, settings: ReadSettings, key: str | None) -> Source:
    kind = _kind_of(path)
    if kind == "hdf":
        return HdfSource(path, key)
    if kind == "kaldi":
        return KaldiSource(path)
    if kind == "npz":
        return NpzSource(path)
    return ArchiveSource(path, settings)
