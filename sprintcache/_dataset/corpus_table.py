"""CorpusTable: the segments of a Bliss corpus as arrays; read once for all streams of a file."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sprintcache._text_file import read_prefix
from sprintcache.bliss import Corpus, Segment

from .packed_strings import PackedStrings

if TYPE_CHECKING:
    pass

__all__ = ["CorpusTable", "corpus_table", "is_corpus"]


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
        tracks: (N,) int32 channels.
    """

    def __init__(self, path: str) -> None:
        """Reads the file.

        Raises:
            OSError: if it cannot be read.
            FormatError: if it is not a valid corpus.
        """
        self.path = path
        defined: dict[str, None] = {}
        speakers: dict[str, int] = {}
        files: dict[str, int] = {}
        rows: list[tuple[bool, int, int, float, float, int]] = []
        texts: list[str] = []

        def names() -> Iterator[str]:
            for segment in Corpus(path).segments(defined):
                rows.append(_row(segment, speakers, files))
                texts.append(segment.orthography or "")
                yield segment.name

        self.names = PackedStrings(names())
        self.orthographies = PackedStrings(texts)
        columns = list(zip(*rows, strict=True)) or [()] * 6
        self.has_orthography = np.array(columns[0], np.bool_)
        self.speaker_names = list(dict.fromkeys([*defined, *speakers]))
        numbers = {name: number for number, name in enumerate(self.speaker_names)}
        of_first_use = np.array([*map(numbers.__getitem__, speakers), -1], np.int32)
        self.speakers = of_first_use[np.array(columns[1], np.int64)]
        self.recordings = np.array(columns[2], np.int32)
        self.audio_files = list(files)
        self.start = np.array(columns[3], np.float64)
        self.end = np.array(columns[4], np.float64)
        self.tracks = np.array(columns[5], np.int32)


def _row(
    segment: Segment, speakers: dict[str, int], files: dict[str, int]
) -> tuple[bool, int, int, float, float, int]:
    speaker, audio = segment.speaker, segment.audio
    return (
        segment.orthography is not None,
        -1 if speaker is None else speakers.setdefault(speaker, len(speakers)),
        -1 if audio is None else files.setdefault(audio, len(files)),
        segment.start,
        segment.end,
        segment.track,
    )


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
    """Whether a file begins as XML, gzipped or not, and so is no archive."""
    if os.path.isdir(path):
        return False
    return read_prefix(path, 64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
