"""SprintCacheReader: one data key of a dataset, from an archive to padded batches.

A batch is read in two steps, since features and targets may differ in length:
`SprintCacheReader.fetch` reads and returns the number of frames of each sequence,
`SprintCacheReader.arrays` returns the arrays, cut to fewer frames where the dataset decides so.
Only soft alignments and cut batches take a second copy.

Any number of threads may read at once, each with separate `BatchBuffers`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sprintcache._path_map import PathMap
from sprintcache._reader import check_threads
from sprintcache._renaming import Rename, renamer
from sprintcache._signals import AudioDtype, check_audio_dtype, holds_audio
from sprintcache._threads import chunk_map, ordered_map
from sprintcache.alignment import Alignment, OnMismatch, checks_alphabet
from sprintcache.allophones import AllophoneLabeling
from sprintcache.errors import FormatError, LabelError, naming
from sprintcache.opening import open_archive

from .name_lookup import NameView

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchBuffers", "PaddedArrays", "SprintCacheReader"]

StrPath = str | os.PathLike[str]
Padded = tuple["NDArray[Any]", "NDArray[np.int64]"]
PaddedArrays = dict[str, Padded]
Fetched = Padded | list[Alignment]
Items = tuple["NDArray[np.int32]", "NDArray[np.int32]", "NDArray[np.float32]"]

_NUMPY_DTYPES = {"float32": np.float32, "int16": np.int16}

# per item: times are read from the file, and must not request unlimited memory
_MAX_FRAMES_PER_ITEM = 1000

# RETURNN's names for time, label and weight of the items of a sparse target
_SPARSE = ("[sparse:coo:2:0]", "[sparse:coo:2:1]", "[sparse:coo:2:2]")


class BatchBuffers:
    """Reusable memory for batches: a batch is overwritten by the next one read into it."""

    def __init__(self) -> None:
        self._memory: dict[str, NDArray[Any]] = {}

    def take(self, key: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        """A C-contiguous array of this shape, with arbitrary content."""
        size = math.prod(shape)
        memory = self._memory.get(key)
        if memory is None or memory.size < size or memory.dtype != dtype:
            spare = 0 if memory is None else size // 4
            memory = self._memory[key] = np.empty(size + spare, dtype)
        return memory[:size].reshape(shape)


class SprintCacheReader:
    """Reads one data key.

    Attributes:
        data_key: its name.
        type: "feat", "align" or "audio".
        dtype: "float32" or "int16", of audio.
        archive: the `Archive`.
        labeling: the `AllophoneLabeling`, or None.
        soft: None, "dense" or "sparse".
        rename: from a name in the archive to the name in the corpus, or None.
        num_labels: dimension of features, number of labels of alignments, 1 of audio; 0 if it is
            not known.
    """

    def __init__(
        self,
        data_key: str,
        filename: StrPath | Sequence[StrPath],
        type: str | None = None,
        allophone_labeling: Mapping[str, Any] | AllophoneLabeling | None = None,
        *,
        data_type: str | None = None,
        soft: Literal["dense", "sparse"] | None = None,
        on_alphabet_mismatch: OnMismatch = "error",
        io: str = "auto",
        path_map: PathMap | None = None,
        rename: Rename | None = None,
        dtype: AudioDtype = "float32",
    ) -> None:
        """Opens the archive.

        Args:
            data_key: such as "data" or "classes".
            filename: archive, bundle or directory, or several of these, which count as one.
            type: "feat", "align" or "audio"; None: "align" for "classes", and for other keys but
                "data" with a labeling; else "audio" if the first segment with data is samples in
                large packets without gaps or of different sizes, and "feat" if not.
            allophone_labeling: an `AllophoneLabeling` or its arguments; not needed for alignments
                of emission ids. Features ignore it, as in RETURNN.
            data_type: another name of `type`.
            soft: reads alignments with weights, or with several items per frame, as a target that
                is "dense": (T, num_labels) float32, the sum of the weights of each label; or
                "sparse": three arrays (N,) int32 time, int32 label and float32 weight of the items
                as they are stored, under the keys ``classes[sparse:coo:2:0]``, ``:1]``, ``:2]``.
                None: one label per frame.
            on_alphabet_mismatch: as for `Archive.read_labels`.
            io, path_map: as for `open_archive`.
            rename: the segments' names in the corpus: a mapping of old to new prefixes
                (``{"train-960/": "train/"}``), a substitution ``"s/PATTERN/NEW/"``, or a function
                of the name in the archive.
            dtype: of audio: "float32" or "int16", as for `Archive.read_audio`.

        Raises:
            ValueError: if an option is out of range.
            FormatError, OSError: if a file cannot be read.
        """
        if type and data_type and type != data_type:
            raise ValueError(f"{data_key}: type is {type!r} but data_type {data_type!r}")
        labeled = data_key == "classes" or (data_key != "data" and bool(allophone_labeling))
        self.data_key = data_key
        named = type or data_type or ("align" if labeled else None)
        if named not in (None, "feat", "align", "audio"):
            raise ValueError(f"{data_key}: type must be 'feat', 'align' or 'audio', not {named!r}")
        if soft not in (None, "dense", "sparse"):
            raise ValueError(f"{data_key}: soft must be 'dense' or 'sparse', not {soft!r}")
        if named != "align" and soft:
            kind = "audio" if named == "audio" else "features"
            raise ValueError(f"{data_key}: soft is an option of alignments, not of {kind}")
        check_audio_dtype(dtype)
        checks_alphabet(on_alphabet_mismatch)
        self.soft = soft
        self.on_alphabet_mismatch: OnMismatch = on_alphabet_mismatch
        self.rename = None if rename is None else renamer(rename)
        self.labeling: AllophoneLabeling | None = None
        if named != "align":
            pass
        elif isinstance(allophone_labeling, AllophoneLabeling):
            self.labeling = allophone_labeling
        elif allophone_labeling:
            try:
                self.labeling = AllophoneLabeling(**allophone_labeling)
            except TypeError as error:
                raise TypeError(f"{data_key}: allophone_labeling: {error}") from None
        if soft == "dense" and self.labeling is None:
            raise ValueError(f"{data_key}: a dense soft target needs an allophone_labeling")
        self.archive = open_archive(filename, io, path_map=path_map)
        self.type = named or ("audio" if holds_audio(self.archive) else "feat")
        self.dtype = dtype
        if self.type == "feat":
            self.num_labels = self._dimension()
        elif self.type == "audio":
            self.num_labels = 1
        else:
            self.num_labels = self.labeling.num_labels if self.labeling else 0

    def __repr__(self) -> str:
        return f"<SprintCacheReader {self.data_key!r}, {self.type} of {self.archive}>"

    def _dimension(self) -> int:
        for name in self.archive.segments:
            dim = int(self.archive.read_features(name).shape[1])
            if dim:
                return dim
        return 0

    @property
    def names(self) -> NameView:
        """The names of the segments in the corpus, in the order of the archive."""
        return NameView(self.archive.segments, self.rename)

    @property
    def outputs(self) -> dict[str, tuple[int, int]]:
        """Data key to (dimension, number of axes), see `Dataset.num_outputs`."""
        if self.soft == "sparse":
            time, label, weight = (self.data_key + part for part in _SPARSE)
            return {time: (1, 1), label: (self.num_labels, 1), weight: (1, 1)}
        has_rows = self.type == "feat" or self.soft is not None
        return {self.data_key: (self.num_labels, 2 if has_rows else 1)}

    def num_frames(self, name: str) -> int:
        """Number of frames of an entry, of audio the number of samples.

        Raises:
            EntryNotFoundError, FormatError: as for `Archive.num_frames` and `Archive.read_audio`.
        """
        if self.type == "audio":
            return len(self.archive.read_audio(name, self.dtype))
        return self.archive.num_frames(name)

    def num_frames_all(self, num_threads: int) -> NDArray[np.int64]:
        """(N,) int64 `num_frames` of every segment of the archive; audio is read for that."""
        if self.type != "audio":
            return self.archive.num_frames_all(num_threads)
        counts = chunk_map(
            lambda names: [self.num_frames(name) for name in names],
            self.archive.segments,
            num_threads,
        )
        return np.array([count for chunk in counts for count in chunk], np.int64)

    def read(self, name: str) -> Any:
        """The data of one entry.

        Args:
            name: in the archive, before `rename`.

        Returns:
            (T, D) float32 features; (T,) int32 labels; (N,) samples of audio, of `dtype`; with
            ``soft="dense"`` (T, num_labels) float32, with ``soft="sparse"`` the tuple of three
            arrays.

        Raises:
            EntryNotFoundError, FormatError, LabelError: as for `Archive.read_features`,
                `Archive.read_labels` and `Archive.read_audio`.
        """
        arrays = list(self.read_one([name]).values())
        return tuple(arrays) if self.soft == "sparse" else arrays[0]

    def read_one(self, entries: Sequence[str] | NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Data key to array of one entry, given as for `fetch`."""
        fetched, frames = self.fetch(entries)
        batch = self.arrays(entries, fetched, frames)
        return {key: array[0, : lengths[0]] for key, (array, lengths) in batch.items()}

    def fetch(
        self,
        entries: Sequence[str] | NDArray[np.int64],
        *,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> tuple[Fetched, NDArray[np.int64]]:
        """The first step of a batch.

        Args:
            entries: B entries: names in the archive, or (B,) int64 segment numbers.
            pad: value beyond the end of labels.
            num_threads: threads to decode with.
            buffers: memory to read into; None: new arrays.

        Returns:
            an argument for `arrays`, and the number of frames of each, (B,) int64.

        Raises:
            EntryNotFoundError, FormatError, LabelError: as for `read`.
            ArchiveChangedError: if a file was changed after opening.
        """
        if self.soft:
            return self._alignments(self._entry_names(entries))
        if self.type == "audio":
            samples = self._audio(self._entry_names(entries), num_threads, buffers)
            return samples, samples[1]
        out: Any = None
        if buffers is not None:
            dtype = np.float32 if self.type == "feat" else np.int32
            out = lambda shape: buffers.take(self.data_key, shape, dtype)  # noqa: E731
        padded: Padded
        if self.type == "align":
            padded = self.archive.read_labels_batch(
                entries, self.labeling, pad, out, num_threads, self.on_alphabet_mismatch
            )
            return padded, padded[1]
        padded = self.archive.read_features_batch(entries, out, num_threads)
        if padded[0].shape[2] != self.num_labels:
            padded = self._no_frames(entries, *padded)
        return padded, padded[1]

    def _entry_names(self, entries: Sequence[str] | NDArray[np.int64]) -> Sequence[str]:
        return self.archive.segments.at(entries) if isinstance(entries, np.ndarray) else entries

    def _audio(
        self, names: Sequence[str], num_threads: int, buffers: BatchBuffers | None
    ) -> Padded:
        """Samples of several entries, zero beyond the end."""
        check_threads(num_threads)
        self.archive.check_unchanged()

        def read(name: str) -> NDArray[Any]:
            return self.archive.read_audio(name, self.dtype)

        one_by_one = num_threads == 1 or len(names) < 2
        rows = list(map(read, names) if one_by_one else ordered_map(read, names, num_threads))
        lengths = np.array([len(row) for row in rows], np.int64)
        shape = len(rows), int(lengths.max(initial=0))
        memory = BatchBuffers() if buffers is None else buffers
        batch = memory.take(self.data_key, shape, _NUMPY_DTYPES[self.dtype])
        for target, row in zip(batch, rows, strict=True):
            target[: len(row)] = row
            target[len(row) :] = 0
        return batch, lengths

    def _no_frames(
        self,
        entries: Sequence[str] | NDArray[np.int64],
        batch: NDArray[Any],
        lengths: NDArray[np.int64],
    ) -> Padded:
        """A batch of another dimension: an error, unless there are no frames at all."""
        if lengths.any():
            name = self._entry_names(entries)[int(np.argmax(lengths > 0))]
            raise FormatError(
                "features of another dimension than before",
                path=self.archive.entry(name).archive_path,
                entry=name,
                expected=self.num_labels,
                found=batch.shape[2],
            )
        return np.zeros((len(entries), 0, self.num_labels), np.float32), lengths

    def _alignments(self, names: Sequence[str]) -> tuple[Fetched, NDArray[np.int64]]:
        alignments = [self.archive.read_alignment(name) for name in names]
        for name, alignment in zip(names, alignments, strict=True):
            too_sparse = alignment.num_frames > _MAX_FRAMES_PER_ITEM * len(alignment)
            if self.soft == "dense" and too_sparse:
                raise LabelError(
                    f"{len(alignment)} items in {alignment.num_frames} frames: no dense target",
                    path=self.archive.entry(name).archive_path,
                    entry=name,
                )
        return alignments, np.array([a.num_frames for a in alignments], np.int64)

    def arrays(
        self,
        entries: Sequence[str] | NDArray[np.int64],
        fetched: Fetched,
        frames: NDArray[np.int64],
        *,
        pad: int = -1,
        buffers: BatchBuffers | None = None,
    ) -> PaddedArrays:
        """The second step: data key to (padded array, lengths).

        Args:
            entries, fetched: of the first step.
            frames: (B,) how many frames to deliver of each, at most those stored.
            pad, buffers: as for `fetch`.
        """
        if not isinstance(fetched, tuple):
            items = [
                self._items(name, alignment, int(n))
                for name, alignment, n in zip(
                    self._entry_names(entries), fetched, frames, strict=True
                )
            ]
            memory = BatchBuffers() if buffers is None else buffers
            if self.soft == "sparse":
                return self._sparse(items, pad, memory)
            return self._dense(items, frames, memory)
        batch, lengths = fetched
        if frames is not lengths:
            batch = batch[:, : frames.max(initial=0)]
            batch[np.arange(batch.shape[1]) >= frames[:, None]] = pad if self.type == "align" else 0
        return {self.data_key: (batch, frames)}

    def _items(self, name: str, alignment: Alignment, frames: int) -> Items:
        """Time, label and weight of the items of the first frames."""
        with naming(self.archive.entry(name).archive_path, name):
            if self.labeling is not None:
                labels = self.labeling.item_labels(alignment, self.on_alphabet_mismatch)
            else:
                labels = _emission_ids(alignment)
            if self.soft == "dense" and labels.max(initial=0) >= self.num_labels:
                raise LabelError(f"label {labels.max()} of {self.num_labels}")
        chosen = alignment.time < frames
        return alignment.time[chosen].astype(np.int32), labels[chosen], alignment.weight[chosen]

    def _dense(
        self, items: list[Items], frames: NDArray[np.int64], buffers: BatchBuffers
    ) -> PaddedArrays:
        shape = len(items), int(frames.max(initial=0)), self.num_labels
        batch = buffers.take(self.data_key, shape, np.float32)
        batch[:] = 0
        for row, (time, label, weight) in zip(batch, items, strict=True):
            np.add.at(row, (time, label), weight)
        return {self.data_key: (batch, frames)}

    def _sparse(self, items: list[Items], pad: int, buffers: BatchBuffers) -> PaddedArrays:
        counts = np.array([len(time) for time, _, _ in items], np.int64)
        result: PaddedArrays = {}
        for part, key in enumerate(self.outputs):
            dtype = np.float32 if part == 2 else np.int32
            batch = buffers.take(key, (len(items), int(counts.max(initial=0))), dtype)
            batch[:] = 0 if part == 2 else pad
            for row, arrays in zip(batch, items, strict=True):
                row[: len(arrays[part])] = arrays[part]
            result[key] = batch, counts
        return result


def _emission_ids(alignment: Alignment) -> NDArray[np.int32]:
    if alignment.label_type != "emission":
        raise LabelError("an alignment of allophone states needs an allophone_labeling")
    if alignment.emission.max(initial=0) > 0x7FFFFFFF:
        raise LabelError(f"emission id {alignment.emission.max()} does not fit int32")
    return alignment.emission.astype(np.int32)
