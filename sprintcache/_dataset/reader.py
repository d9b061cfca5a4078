"""SprintCacheReader: one data key of a dataset, from its options to its stream."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from sprintcache._path_map import mapped_path
from sprintcache._signals import holds_audio
from sprintcache.allophones import AllophoneLabeling

from .buffers import BatchBuffers, PaddedArrays
from .corpus_table import is_corpus
from .name_lookup import NameView
from .streams.alignment import AlignmentStream
from .streams.archives import ArchiveStream, FeatureStream, open_once
from .streams.audio import AudioStream
from .streams.audio_files import AudioFileStream
from .streams.automaton import AutomatonStream
from .streams.base import Stream
from .streams.bliss import SpeakerStream
from .streams.soft_alignment import SoftAlignmentStream
from .streams.texts import TextStream
from .streams.vector import ArchiveVectorStream, VectorStream, is_vector_table

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.label_rates import Frame

__all__ = ["BatchBuffers", "PaddedArrays", "SprintCacheReader", "reduce_targets"]

StrPath = str | os.PathLike[str]

_STREAMS: dict[str, type[Stream]] = {
    "feat": FeatureStream,
    "align": AlignmentStream,
    "audio": AudioStream,
    "text": TextStream,
    "speaker": SpeakerStream,
    "vector": ArchiveVectorStream,
    "automaton": AutomatonStream,
}


class SprintCacheReader:
    """Reads one data key.

    Attributes:
        data_key: its name.
        stream: what reads it.
    """

    def __init__(
        self,
        data_key: str,
        filename: StrPath | Sequence[StrPath],
        type: str | None = None,
        allophone_labeling: Mapping[str, Any] | AllophoneLabeling | None = None,
        *,
        data_type: str | None = None,
        **options: Any,
    ) -> None:
        """Opens the file.

        Args:
            data_key: such as "data" or "classes".
            filename: archive, bundle or directory, or several of these, which count as one; of
                "text" and "speaker" a Bliss corpus, of "audio" an archive or a corpus that names
                audio files, of "vector" an archive, .npz or HDF5 file, of "automaton" a file of
                `sprintcache.automata.Automata`, or such an object, or an `AutomatonBuilder` with a
                corpus.
            type: "feat", "align", "audio", "text", "speaker", "vector" or "automaton"; None:
                "align" for "classes", and for other keys but "data" with a labeling; else "audio"
                if the first segment with data is samples in large packets without gaps or of
                different sizes, and "feat" if not.
            allophone_labeling: an `AllophoneLabeling` or its arguments; not needed for alignments
                of emission ids. Other types ignore it, as in RETURNN.
            data_type: another name of `type`.
            **options: of all types: ``rename``, the segments' names in the corpus: a mapping of
                old to new prefixes (``{"train-960/": "train/"}``), a substitution
                ``"s/PATTERN/NEW/"``, or a function of the name in the file; ``path_map``, and for
                archives ``io``, as for `open_archive`.

                "align": ``on_alphabet_mismatch``, as for `Archive.read_labels`. ``rate``, a
                `sprintcache.label_rates.LabelRate` or its arguments: labels at a lower or higher
                rate, or without repetitions. With several label schemes there is an output for
                each, ``classes[left]``, or under the names of a mapping. ``soft`` reads
                alignments with weights, or with several items per frame, as a target that is
                "dense": (T, num_labels) float32, the sum of the weights of each label; or
                "sparse": three arrays (N,) int32 time, int32 label and float32 weight of the items
                as they are stored, under the keys ``classes[sparse:coo:2:0]``, ``:1]``, ``:2]``.

                "audio": ``dtype``, "float32" or "int16", as for `Archive.read_audio`. Of a corpus
                also ``audio_dir``, the folder of relative paths (default: that of the corpus), and
                ``sample_rate``, in Hz, which all files must have.

                "text": ``lexicon``, a Bliss lexicon (file or `Lexicon`) for the phonemes of first
                pronunciations, or ``vocabulary``, options of `sprintcache.vocabulary.vocabulary`
                or an object with ``get_seq(text)`` and ``num_labels``, such as
                ``{"bpe_file": ..., "vocab_file": ...}`` or ``{"model_file": ...}`` of
                SentencePiece; without these, the UTF-8 bytes. ``process``: a function of the text.

                "speaker": ``output``, "index" or "name" (UTF-8 bytes).

        Raises:
            ValueError: if an option is out of range.
            TypeError: if the type does not have an option.
            FormatError, OSError: if a file cannot be read.
        """
        if type and data_type and type != data_type:
            raise ValueError(f"{data_key}: type is {type!r} but data_type {data_type!r}")
        is_labeled = data_key == "classes" or (data_key != "data" and bool(allophone_labeling))
        kind = type or data_type or ("align" if is_labeled else None)
        source: Any = filename
        if kind is None:
            source = open_once(filename, options.get("io", "auto"), options.get("path_map"))
            kind = "audio" if holds_audio(source) else "feat"
        if kind not in _STREAMS:
            types = ", ".join(map(repr, _STREAMS))
            raise ValueError(f"{data_key}: type must be one of {types}, not {kind!r}")
        if kind == "align":
            options["allophone_labeling"] = allophone_labeling
        stream_class = _stream_class(kind, source, options)
        _check_options(data_key, stream_class, options)
        self.data_key = data_key
        self.stream: Stream = stream_class(data_key, source, **options)

    def __repr__(self) -> str:
        return f"<SprintCacheReader {self.data_key!r}, {self.type} of {self.stream.path}>"

    @property
    def type(self) -> str:
        """Kind of the data."""
        return self.stream.type

    @property
    def archive(self) -> Archive:
        """The archive.

        Raises:
            AttributeError: if the data is not from an archive.
        """
        if not isinstance(self.stream, ArchiveStream):
            raise AttributeError(f"{self.data_key!r} is not read from an archive")
        return self.stream.archive

    @property
    def labeling(self) -> AllophoneLabeling | None:
        """The labeling of an alignment, or None."""
        return self.stream.labeling if isinstance(self.stream, AlignmentStream) else None

    @property
    def num_labels(self) -> int:
        """Dimension or number of labels; 0 if it is not known."""
        return self.stream.num_labels

    @property
    def names(self) -> NameView:
        """The names of the segments in the corpus, in the order of the file."""
        return self.stream.names

    def num_frames(self, name: str) -> int:
        """Length of a segment, given by its name in the file.

        Raises:
            EntryNotFoundError: if there is no such segment.
            FormatError: if it is damaged.
        """
        return int(self.stream.num_frames([name])[0])

    def read(self, name: str) -> Any:
        """The data of one segment.

        Args:
            name: in the file, before `rename`.

        Returns:
            The array of the data key, see `SprintCacheDataset.read_batch`; where there are several,
            the tuple of them.

        Raises:
            EntryNotFoundError: if there is no such segment.
            FormatError, LabelError: if it is damaged, or cannot be turned into labels.
        """
        arrays = tuple(self.stream.read_one([name]).values())
        return arrays if len(arrays) > 1 else arrays[0]


def _stream_class(kind: str, source: Any, options: dict[str, Any]) -> Any:
    """The class of a stream, by its type and what the file is."""
    if kind == "align":
        if options.get("soft") is not None:
            return SoftAlignmentStream
        options.pop("soft", None)
    if (
        kind == "audio"
        and isinstance(source, (str, os.PathLike))
        and is_corpus(mapped_path(source, options.get("path_map")))
    ):
        return AudioFileStream
    if kind == "vector" and is_vector_table(source):
        return VectorStream
    return _STREAMS[kind]


def _check_options(data_key: str, stream_class: Any, options: Collection[str]) -> None:
    """Raises TypeError, which lists the options of a stream, for one that it does not have."""
    parameters = [
        parameter
        for base in stream_class.__mro__
        if "__init__" in base.__dict__ and base is not object
        for parameter in signature(base.__init__).parameters.values()
    ]
    known = ["filename", "type", "allophone_labeling"]
    known += [p.name for p in parameters if p.kind == Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            names = ", ".join(dict.fromkeys(known))
            kind = stream_class.type
            raise TypeError(f"{data_key}: type {kind!r} has no option {option!r}; known: {names}")


def reduce_targets(streams: Mapping[str, Stream], factor: int, frame: Frame) -> None:
    """Reduces the labels of targets; ValueError for targets without one label per frame."""
    for key, stream in streams.items():
        if key == "data" or not isinstance(stream, AlignmentStream):
            continue
        if not stream.is_frame_target or isinstance(stream, SoftAlignmentStream):
            raise ValueError(f"{key}: reduce_target_frame is for one label per frame")
        stream.rate = replace(stream.rate, reduce_factor=factor, frame=frame)
