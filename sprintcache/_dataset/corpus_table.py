"""CorpusTable: the segments of a Bliss corpus as arrays; read once for all streams of a file."""

from __future__ import annotations

import os
import weakref
from array import array
from typing import Any

import numpy as np

from sprintcache._text_file import read_prefix
from sprintcache.bliss import Corpus

from .packed_strings import StringPacker

__all__ = ["CorpusTable", "corpus_table", "is_corpus"]

_MAX_TRACK = 0x7FFFFFFF  # larger numbers are as wrong


class CorpusTable:
    """Segments of a corpus file, N of them, in its order.

    Attributes:
        path: the file.
        names: (N,) full names.
        orthographies: (N,) texts; "" where there is none.
        has_orthography: (N,) bool.
        speakers: (N,) int32 index into `speaker_names`, -1 if the speaker is not known.
        speaker_names: all speakers in the order of their definitions, then those that are
            described in a segment only.
        recordings: (N,) int32 index into `audio_files`, -1 if the recording names no file.
        audio_files: the paths as the corpus has them.
        start, end: (N,) float64 seconds in the recording; inf: its end.
        tracks: (N,) int64 channels.
    """

    def __init__(self, path: str) -> None:
        """Reads the file; raises as `corpus_table`."""
        self.path = path
        defined: dict[str, None] = {}
        speakers: dict[str, int] = {}
        files: dict[str, int] = {}
        names, texts = StringPacker(), StringPacker()
        columns: list[array[Any]] = [array(code) for code in "bqqddq"]
        for segment in Corpus(path).segments(defined):
            names.add(segment.name)
            texts.add(segment.orthography or "")
            speaker, audio = segment.speaker, segment.audio
            row = (
                segment.orthography is not None,
                -1 if speaker is None else speakers.setdefault(speaker, len(speakers)),
                -1 if audio is None else files.setdefault(audio, len(files)),
                segment.start,
                segment.end,
                min(segment.track, _MAX_TRACK),
            )
            for column, value in zip(columns, row, strict=True):
                column.append(value)
        has_text, speaker_of_first_use, recordings, start, end, tracks = map(np.array, columns)
        self.names = names.packed()
        self.orthographies = texts.packed()
        self.has_orthography = has_text.astype(np.bool_)
        self.speaker_names = list(dict.fromkeys([*defined, *speakers]))
        numbers = {name: number for number, name in enumerate(self.speaker_names)}
        order = np.array([*map(numbers.__getitem__, speakers), -1], np.int32)
        self.speakers = order[speaker_of_first_use]
        self.recordings = recordings.astype(np.int32)
        self.audio_files = list(files)
        self.start, self.end = start, end
        self.tracks = tracks


_tables: weakref.WeakValueDictionary[tuple[str, int, int], CorpusTable]
_tables = weakref.WeakValueDictionary()


def corpus_table(path: str | os.PathLike[str]) -> CorpusTable:
    """The table of a corpus file; the same object as long as one is in use and the file unchanged.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is not a valid corpus.
    """
    name = os.path.abspath(path)
    status = os.stat(name)
    key = name, status.st_size, status.st_mtime_ns
    table = _tables.get(key)
    if table is None:
        table = _tables[key] = CorpusTable(name)
    return table


def is_corpus(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as XML, gzipped or not, and so is not an archive."""
    if os.path.isdir(path):
        return False
    return read_prefix(path, 64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
