"""Visiting a corpus: which segments, and in which order (RASR's Bliss/CorpusDescription).

The order is determined first: by Python (``python-segment-order``), a list (``segment-order``),
shuffling (``segment-order-shuffle``; the real Sprint has a different permutation) or length.
Segments in this order are then filtered: partition, segments to skip, white list
(``segments.file``).
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from typing import Any

from sprintcache._configuration import Configuration
from sprintcache.bliss import Corpus, Segment

from .application import Application, CriticalError, critical
from .embedding import Embedding
from .extraction import Extraction
from .files import read_file

__all__ = ["CorpusDescription", "orthography"]

_PROGRESS = ("none", "local", "global")


def orthography(segment: Segment) -> str:
    """The orthography as in Sprint: unless empty, it ends in a blank."""
    text = segment.orthography or ""
    return f"{text} " if text else ""


class CorpusDescription:
    """The corpus of one component, at the selection ``corpus``."""

    def __init__(self, app: Application, config: Configuration) -> None:
        """Reads the lists, and imports the module for the order, if configured."""
        self.app = app
        self.config = config
        self.extraction = Extraction(app, config)
        self.short_names = config.boolean("segment-order-look-up-short-name", False)
        self.python: Embedding | None = None
        if config.boolean("python-segment-order", False):
            self.python = Embedding(app, "python-segment-order")
            self.python.load_module(
                config.string("python-segment-order-pymod-path", ""),
                config.string("python-segment-order-pymod-name", ""),
            )
        order = config.string("segment-order", "")
        self.order = _read_list(order) if order else None
        self._read_filters()

    def _read_filters(self) -> None:
        config = self.config
        self.num_partitions = config.integer("partition", 0)
        selected = config.integer("select-partition", 0)
        if selected > self.num_partitions:
            raise CriticalError(
                f"Invalid partition {selected} (should be 0 - {self.num_partitions})."
            )
        self.partition = 0 if selected == self.num_partitions else selected
        self.by_recording = config.boolean("recording-based-partition", False)
        self.skip_first = config.integer("skip-first-segments", 0)
        self.to_skip = set(filter(None, config.string("segments-to-skip", "").split(",")))
        file = config.select("segments").string("file", "")
        self.to_keep = set(_read_list(file)) if file else None
        if self.to_keep is not None and not self.to_keep:
            if not config.select("segments").boolean("allow-empty-whitelist", False):
                raise CriticalError(f"Discard segment whitelist, because file is empty: {file}")
            self.to_keep = None  # an empty list keeps everything, as in Sprint

    def segments(self) -> Iterator[Segment]:
        """The segments to process, lazily."""
        counted = self.config.choice("progress-indication", "none", _PROGRESS) == "global"
        if counted and self.config.boolean("python-segment-order-allow-copy", False):
            sum(1 for _ in self._ordered())  # Sprint counts them first
        for segment in self._filtered(self._ordered()):
            self.app.misbehavior.at("segment")
            yield segment
            self.app.misbehavior.at("done")

    def by_name(self) -> dict[str, str]:
        """Full segment name to orthography, of visited segments; asks Python for its order."""
        visited = self._filtered(self._ordered())
        return {segment.name: orthography(segment) for segment in visited}

    def characters(self) -> str:
        """Every character of the orthographies in the file, sorted."""
        texts = (segment.orthography or "" for segment in self._parsed(self._file()))
        return "".join(sorted({character for text in texts for character in text}))

    # ---- order

    def _file(self) -> Corpus:
        path = self.config.string("file", "")
        if not path:
            raise CriticalError("corpus.file: no corpus file was given")
        with critical("corpus"):
            return Corpus(path)

    def _parsed(self, corpus: Corpus) -> Iterator[Segment]:
        with critical("corpus"):
            yield from corpus

    def _ordered(self) -> Iterator[Segment]:
        config = self.config
        shuffled = config.boolean("segment-order-shuffle", False)
        sorted_ = config.boolean("segment-order-sort-by-time-length", False)
        corpus = self._file()
        if not (self.python or self.order is not None or shuffled or sorted_):
            return self._parsed(corpus)
        segments = {self._key(segment): segment for segment in self._parsed(corpus)}
        names = list(segments) if self.order is None else self.order
        if shuffled:
            names = list(names)
            seed = config.integer("segment-order-shuffle-seed", -1)
            seed = config.integer("seed", 0) if seed == -1 else seed
            random.Random(seed).shuffle(names)
        if sorted_:
            names = self._by_length(names, segments)
        if self.python is not None:
            return self._from_python(self.python, corpus, names, segments)
        return (self._look_up(name, segments) for name in names)

    def _key(self, segment: Segment) -> str:
        return segment.short_name if self.short_names else segment.name

    def _look_up(self, name: str, segments: dict[str, Segment]) -> Segment:
        segment = segments.get(name)
        if segment is None:
            raise CriticalError(f"segment '{name}' not found")
        return segment

    def _by_length(self, names: list[str], segments: dict[str, Segment]) -> list[str]:
        def length(name: str) -> float:
            segment = self._look_up(name, segments)
            return segment.end - segment.start

        size = self.config.integer("segment-order-sort-by-time-length-chunk-size", -1)
        size = size if size > 0 else max(len(names), 1)
        chunks = [names[start : start + size] for start in range(0, len(names), size)]
        return [name for chunk in chunks for name in sorted(chunk, key=length)]

    def _from_python(
        self, python: Embedding, corpus: Corpus, names: list[str], segments: dict[str, Segment]
    ) -> Iterator[Segment]:
        info: dict[str, dict[str, float]] | None = None
        if self.config.boolean("python-segment-order-with-segment-info", False):
            with_length = self.config.boolean("use-data-source", False)
            info = {name: self._info(self._look_up(name, segments), with_length) for name in names}
        ordered = python.call(
            python.module,
            "getSegmentList",
            corpusName=corpus.name,
            segmentList=list(names),
            segmentsInfo=info,
            config=self.config.string("python-segment-order-config", ""),
        )
        iterator = python.guarded(
            "getSegmentList() did not return an iterable object", lambda: iter(ordered)
        )
        end: Any = object()
        while True:
            name = python.guarded("failed to get next segment-name", lambda: next(iterator, end))
            if name is end:
                return
            if type(name) is not str:
                self._not_a_name(name)
            yield self._look_up(name.partition("\0")[0], segments)

    def _info(self, segment: Segment, with_length: bool) -> dict[str, float]:
        info: dict[str, float] = {"time": segment.end - segment.start}
        if with_length:
            info["nframes"] = self.extraction.num_frames(segment.name)
        return info

    def _not_a_name(self, name: object) -> None:
        if isinstance(name, str):  # the real one recurses until its stack is full
            self.app.warning(f"segment name of type {type(name).__name__}: dies of recursion")
            self.app.misbehavior.die(signal.SIGSEGV)
        raise CriticalError(
            f"python-segment-order: segment-name is not a string but a {type(name).__name__}"
        )

    # ---- filters

    def _filtered(self, ordered: Iterator[Segment]) -> Iterator[Segment]:
        recording, num_recordings, index = None, 0, -1
        parts = self.num_partitions or 1
        for segment in ordered:
            if segment.recording != recording:
                recording, num_recordings = segment.recording, num_recordings + 1
            index += 1
            position = num_recordings if self.by_recording else index
            if position % parts != self.partition or index // parts < self.skip_first:
                continue
            if segment.name in self.to_skip:
                continue
            if self.to_keep is None or {segment.name, segment.short_name} & self.to_keep:
                yield segment


def _read_list(path: str) -> list[str]:
    """Names of a segment list, one per line; ``#`` begins a comment line."""
    lines = read_file(path, "segment list").decode("utf-8", "surrogateescape").split("\n")
    return [line.strip() for line in lines if line and not line.startswith("#")]
