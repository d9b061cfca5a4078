"""SequenceReader: the sequences of several streams by corpus index: tags, lengths, batches.

It has no epochs and changes nothing, so that any number of threads may read, each with separate
`BatchBuffers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._packing import Packing, packed_layouts

from .buffers import BatchBuffers, PaddedArrays, ReadOptions
from .corpus import Corpus
from .streams.base import FrameArrays, Output, Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SequenceReader"]


class SequenceReader:
    """Sequences that several data keys have in common, by corpus index.

    Attributes:
        window: number of frames that are joined around each frame of "data"; odd.
    """

    window: int

    def __init__(self, streams: Mapping[str, Stream], corpus: Corpus) -> None:
        """Accepts data key to its stream, and the sequences they have in common.

        Raises:
            ValueError: if two streams deliver the same data key.
        """
        self._streams = dict(streams)
        self._outputs: dict[str, Output] = {}
        for stream in self._streams.values():
            for key, output in stream.outputs.items():
                if key in self._outputs:
                    raise ValueError(f"two streams deliver a data key {key!r}")
                self._outputs[key] = output
        self._corpus = corpus
        self._shared: NDArray[np.int64] | None = None

    def close(self) -> None:
        """Closes the files."""
        for stream in self._streams.values():
            stream.close()

    def get_all_tags(self) -> Sequence[str]:
        """The tags of the corpus, by corpus index, as a sequence that decodes on demand."""
        return self._corpus.tags

    def get_tags(self, seqs: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The tags of some sequences, by corpus index; much faster than one by one."""
        return self._corpus.tags.at(seqs)

    def get_total_num_seqs(self, *, fast: bool = False) -> int:
        """Number of sequences in the corpus."""
        return len(self._corpus)

    def get_lengths(self, key: str | None = None) -> NDArray[np.int64]:
        """Frames of all sequences, without decoding where possible; measured once, then kept.

        Of audio the samples, for which all of it is read.

        Args:
            key: the data key; None: "data", or the first one.

        Returns:
            (N,) int64 by corpus index: as stored in the archive of that key, before trimming.
        """
        return self._corpus.lengths(key)

    def find(self, tags: Sequence[str]) -> NDArray[np.int64]:
        """(B,) int64 corpus indices of sequences.

        Raises:
            EntryNotFoundError: if a tag is not in the corpus.
        """
        return self._corpus.indices(tags)

    def read_unmatched(self, index: int) -> dict[str, NDArray[Any]]:
        """Data key to array of one sequence, by corpus index, without comparing lengths."""
        (index,) = self._corpus.indices([index]).tolist()
        data: dict[str, NDArray[Any]] = {}
        for key, stream in self._streams.items():
            data |= stream.read_one(self._corpus.numbers(key, np.array([index])))
        return data

    def read_batch(
        self,
        seqs: Sequence[int] | Sequence[str] | NDArray[np.int64],
        keys: Sequence[str] | None = None,
        *,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> PaddedArrays:
        """A padded batch of each data key, by one copy from the page cache.

        Args:
            seqs: B sequences, by corpus index (not their index in an epoch) or by tag.
            keys: data keys to read (of `data`); None: all. Lengths are compared, and trimmed,
                among these.
            pad: value beyond the end of int32 labels; beyond other data it is zero.
            num_threads: threads to decode with, including the calling one.
            buffers: memory to read into; the arrays are then overwritten by the next batch that is
                read into it. None: new arrays.

        Returns:
            dict of data key to (array, lengths): features (B, Tmax, D) float32, labels (B, Tmax)
            int32, audio (B, Nmax) float32 or int16, texts (B, Lmax) int32 or uint8, speakers
            (B, 1) int32, vectors (B, 1, D) float32, automata as in `automata.to_padded`, soft
            targets as for `SprintCacheReader`; the lengths are (B,) int64, in samples for audio.

        Raises:
            EntryNotFoundError: if a tag is not in the corpus.
            FormatError, LabelError: if an entry is damaged, cannot be turned into labels, or if
                lengths do not match.
            ArchiveChangedError: if a file was changed after opening.
            IndexError: if there is no such corpus index.
        """
        if isinstance(seqs, (str, bytes)):
            raise TypeError("seqs must be several sequences, not one")
        corpus = self._corpus
        indices = corpus.indices(seqs, unchecked=True)
        streams = self._streams if keys is None else {key: self._streams[key] for key in keys}
        options = ReadOptions(pad, num_threads, buffers)
        entries, fetched, frames = {}, {}, {}
        for key, stream in streams.items():
            entries[key] = corpus.numbers(key, indices)
            fetched[key], frames[key] = stream.fetch(entries[key], options)
        agreed = corpus.agreed(frames, indices)
        batch: PaddedArrays = {}
        for key, stream in streams.items():
            batch.update(stream.arrays(entries[key], fetched[key], agreed[key], options))
        if self.window > 1 and "data" in batch:
            batch["data"] = _windowed(*batch["data"], self.window, options.memory), batch["data"][1]
        return batch

    def read_packed(
        self,
        seqs: Sequence[int] | Sequence[str] | NDArray[np.int64],
        keys: Sequence[str] | None = None,
        *,
        packing: Packing = True,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> dict[str, FrameArrays]:
        """A batch of each data key without padding, the sequences one after the other.

        Features and labels are read into place. Other data, and what is trimmed, is copied once
        more.

        Args:
            seqs, keys, num_threads, buffers: as for `read_batch`.
            packing: True: without gaps. Or gap and alignment, as RETURNN's ``packed_tensors``:
                ``{"gap": 120, "align": 6, "per_key": {"classes": {"packed": False}}}``. A sequence
                and its gap take a multiple of `align` frames; a key that is not packed is padded.
            pad: value of labels in gaps; other data is zero there.

        Returns:
            dict of data key to `FrameArrays`: values (N, D) or (N,), offsets (B + 1,) where each
            sequence begins, and the lengths (B,). Sequence i is
            ``values[offsets[i] : offsets[i] + lengths[i]]``. Of a padded key, `offsets` is None.

        Raises:
            ValueError: if `packing` is not valid, or if the dataset has a window.
            SprintCacheError, IndexError: as for `read_batch`.
        """
        if self.window > 1:
            raise ValueError("packed batches have no window")
        streams = self._streams if keys is None else {key: self._streams[key] for key in keys}
        layouts = packed_layouts(packing, streams)
        indices = self._corpus.indices(seqs, unchecked=True)
        options = ReadOptions(pad, num_threads, buffers)
        batch: dict[str, FrameArrays] = {}
        frames = {}
        for key, stream in streams.items():
            numbers = self._corpus.numbers(key, indices)
            read = stream.read_ranges(numbers, options, layout=layouts[key])
            frames[key] = next(iter(read.values())).lengths
            batch.update(read)
        agreed = self._corpus.agreed(frames, indices)
        for key, stream in streams.items():
            if agreed[key] is not frames[key]:
                numbers = self._corpus.numbers(key, indices)
                batch |= stream.read_ranges(
                    numbers, options, stops=agreed[key], layout=layouts[key]
                )
        return batch

    @property
    def target_factor(self) -> int:
        """Frames of features per label, the option `reduce_target_factor`."""
        return self._corpus.factor

    def shared_lengths(self) -> NDArray[np.int64]:
        """(N,) int64 frames of the reference key that all keys share, by corpus index.

        The stored lengths, unless ``length_mismatch="trim"`` cuts them.

        Raises:
            LabelError: if lengths differ by more than the options accept.
        """
        if self._shared is None:
            frames = {key: self._corpus.lengths(key) for key in self._corpus.timed_keys}
            indices = np.arange(len(self._corpus))
            self._shared = self._corpus.agreed(frames, indices)[self._corpus.reference]
        return self._shared

    def read_ranges(
        self,
        key: str,
        seqs: NDArray[np.int64],
        starts: NDArray[np.int64] | None,
        stops: NDArray[np.int64] | None,
        *,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> dict[str, FrameArrays]:
        """Ranges of frames of one data key, padded; lengths of keys are not compared.

        Args:
            key: the data key; of some types, one with several outputs.
            seqs: (B,) corpus indices.
            starts, stops: (B,) ranges, cut at the end of the sequence; None: all frames.
            pad, num_threads, buffers: as for `read_batch`.

        Returns:
            dict of data key to `FrameArrays`.

        Raises:
            KeyError: if there is no such data key.
            SprintCacheError, IndexError: as for `read_batch`.
        """
        indices = self._corpus.indices(seqs, unchecked=True)
        return self._streams[key].read_ranges(
            self._corpus.numbers(key, indices),
            ReadOptions(pad, num_threads, buffers),
            starts=starts,
            stops=stops,
        )


def _windowed(
    batch: NDArray[np.float32],
    lengths: NDArray[np.int64],
    window: int,
    memory: BatchBuffers,
) -> NDArray[np.float32]:
    """`sliding_window` of a padded batch: (B, Tmax, D) to (B, Tmax, window * D)."""
    num_seqs, longest, dim = batch.shape
    shape = num_seqs, longest, window, dim
    out = memory.take("data, window", shape, np.float32)
    for column in range(window):
        shift = column - window // 2
        count, to, source = max(longest - abs(shift), 0), max(-shift, 0), max(shift, 0)
        out[:, :to, column] = 0
        out[:, to : to + count, column] = batch[:, source : source + count]
        out[:, to + count :, column] = 0
    out[np.arange(longest) >= lengths[:, None]] = 0
    return out.reshape(num_seqs, longest, window * dim)
