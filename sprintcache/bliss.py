"""Corpus: the segments of a Bliss corpus file, in the order of the file.

A Bliss corpus (RASR, Bliss/CorpusParser) is an XML file, optionally gzipped: a ``corpus`` holds
``subcorpus``, ``recording`` and ``include`` elements, a recording its ``segment`` elements. A full
segment name joins the names on the way down: ``corpus/[subcorpus/...]recording/segment``. The file
is read as a stream, in constant memory.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ._text_file import gzip_errors, inflated, open_regular
from .errors import CorruptError, FormatError

__all__ = ["Corpus", "Segment"]

_MAX_INCLUDES = 64  # levels of files that include each other
_MAX_REPEATS = 1000  # includes of files that were included before: they can double at every level
_MAX_SECTIONS = 64  # levels of subcorpora
_MAX_ALTERNATIVES = 64  # levels of alternatives and optional words in an orthography
_MAX_NAME = 4096  # characters of a full name; every segment repeats the names above it
_SECTIONS = ("corpus", "subcorpus", "recording")


@dataclass(frozen=True)
class Segment:
    """One segment of a corpus.

    Attributes:
        name: full name, such as ``"corpus/recording/1"``.
        orthography: the words, whitespace normalized, or None without an ``orth`` element. Sprint
            itself appends a blank to one that is not empty.
        speaker: name of the speaker: the segment's own, else the recording's or corpus's; or None.
        gender: "male", "female" or "unknown" of a known speaker, else None.
        start, end: seconds in the recording; an end that is not given is infinity.
        track: audio track.
        recording: full name of the recording.
        audio: the recording's audio file as written there, or None.
    """

    name: str
    orthography: str | None
    speaker: str | None
    gender: str | None
    start: float
    end: float
    track: int
    recording: str
    audio: str | None

    @property
    def short_name(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


class Corpus:
    """Iterates over the segments of a corpus file, as often as wanted.

    Attributes:
        path: the file.
        name: name of the root corpus.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Reads the beginning of the file.

        Raises:
            OSError: if the file cannot be read.
            FormatError: if it is not a corpus file.
        """
        self.path = os.fspath(path)
        for _, element in _events(self.path):
            if element.tag != "corpus":
                raise CorruptError("not a corpus file", path=self.path,
                                   expected="<corpus>", found=f"<{element.tag}>")  # fmt: skip
            self.name = _attribute(self.path, element, "name")
            break

    def __iter__(self) -> Iterator[Segment]:
        """Yields the segments of the file and of the files it includes.

        Raises:
            OSError: if a file cannot be read.
            TruncatedError: if a gzipped file is cut.
            CorruptError: if a file is not XML, or not a valid corpus: a name missing or used
                twice, a speaker not defined, non-numeric times, files that include each other.
        """
        return self.segments()

    def segments(self, speakers: dict[str, None] | None = None) -> Iterator[Segment]:
        """Yields the segments as iterating does, and collects the speakers on the way.

        Args:
            speakers: receives the names of speakers as they are defined.

        Raises:
            OSError, FormatError: as iterating does.
        """
        return _Reader(self.path, None, 0, _Includes(speakers)).segments()

    def __repr__(self) -> str:
        return f"<Corpus {self.name!r} in {self.path!r}>"


@dataclass
class _Speaker:
    name: str | None
    gender: str


@dataclass
class _Section:
    """A corpus, subcorpus or recording that is being read."""

    name: str
    parent: _Section | None
    audio: str | None = None
    level: int = 0
    speakers: dict[str, _Speaker] = field(default_factory=dict)
    default_speaker: _Speaker | None = None
    names: set[str] = field(default_factory=set)
    num_segments: int = 0

    def chain(self) -> Iterator[_Section]:
        section: _Section | None = self
        while section is not None:
            yield section
            section = section.parent


class _Includes:
    """The files that one iteration included, and the speakers they define."""

    def __init__(self, speakers: dict[str, None] | None = None) -> None:
        self.speakers = {} if speakers is None else speakers
        self._paths: set[str] = set()
        self._num_includes = 0

    def add(self, path: str) -> bool:
        """Whether the file may be read: few files are included more than once."""
        self._paths.add(os.path.realpath(path))
        self._num_includes += 1
        return self._num_includes - len(self._paths) <= _MAX_REPEATS


class _Reader:
    """Reads one file once; `section` is where the corpus of an included file goes."""

    def __init__(
        self, path: str, section: _Section | None, level: int, includes: _Includes
    ) -> None:
        self.path = path
        self.section = section
        self.level = level
        self.includes = includes

    def segments(self) -> Iterator[Segment]:
        open_elements: list[ElementTree.Element] = []
        included, in_segment = self.section is not None, False
        for event, element in _events(self.path):
            tag = element.tag
            if event == "start":
                open_elements.append(element)
                if len(open_elements) == 1 and tag != "corpus":
                    self.bad("not a corpus file", expected="<corpus>", found=f"<{tag}>")
                if tag in _SECTIONS and not (included and tag == "corpus"):
                    self.section = self.entered(element)
                in_segment = in_segment or tag == "segment"
                continue
            open_elements.pop()
            if in_segment and tag != "segment":
                continue
            if tag == "segment":
                in_segment = False
                yield self.segment(element)
            elif tag == "include":
                yield from self.include(element)
            elif tag == "speaker-description":
                self.define_speaker(element)
            elif tag == "speaker":
                self.here.default_speaker = self.speaker(_attribute(self.path, element, "name"))
            elif tag in ("subcorpus", "recording"):
                self.section = self.here.parent
            if open_elements and tag != "gender":
                open_elements[-1].remove(element)  # a corpus of any length in constant memory

    @property
    def here(self) -> _Section:
        if self.section is None:
            self.bad("an element outside the corpus")
        return self.section

    def bad(self, reason: str, **facts: Any) -> NoReturn:
        raise CorruptError(reason, path=self.path, **facts)

    def entered(self, element: ElementTree.Element) -> _Section:
        name = _attribute(self.path, element, "name")
        parent = self.section
        if parent is None:
            return _Section(self.checked(name), None)
        self.reserve(parent, name, element.tag)
        if parent.level >= _MAX_SECTIONS:
            self.bad(f"more than {_MAX_SECTIONS} levels of subcorpora", found=repr(name[:80]))
        full_name = self.checked(f"{parent.name}/{name}")
        return _Section(full_name, parent, element.get("audio"), parent.level + 1)

    def checked(self, full_name: str) -> str:
        if len(full_name) > _MAX_NAME:
            self.bad(f"a name of {len(full_name)} characters", expected=f"at most {_MAX_NAME}",
                     found=repr(full_name[-80:]))  # fmt: skip
        return full_name

    def reserve(self, section: _Section, name: str, what: str) -> None:
        if name in section.names:
            self.bad(f"the name of {what} {name!r} is used twice in {section.name!r}")
        section.names.add(name)

    def include(self, element: ElementTree.Element) -> Iterator[Segment]:
        target = _attribute(self.path, element, "file")
        if self.level >= _MAX_INCLUDES:
            self.bad(f"files include each other {_MAX_INCLUDES} levels deep", found=target)
        path = os.path.join(os.path.dirname(self.path), target)
        if not self.includes.add(path):
            self.bad(f"more than {_MAX_REPEATS} repeated includes", found=target)
        yield from _Reader(path, self.here, self.level + 1, self.includes).segments()

    def segment(self, element: ElementTree.Element) -> Segment:
        recording = self.here
        recording.num_segments += 1
        name = element.get("name")
        if name is None:  # named by its number
            name = str(recording.num_segments)
            while name in recording.names:
                name += "+"
        self.reserve(recording, name, "segment")
        full_name = self.checked(f"{recording.name}/{name}")
        start = self.seconds(element, "start", 0.0, full_name)
        end = self.seconds(element, "end", float("inf"), full_name)
        if not start <= end:
            self.bad(f"segment {full_name!r} ends before it starts", found=f"{start} to {end}")
        track = element.get("track", "0")
        if not (track.isascii() and track.isdigit()):
            self.bad(f"track of segment {full_name!r}", expected="a number", found=repr(track))
        speaker = self.speaker_of(element)
        return Segment(
            full_name,
            self.orthography(element.find("orth"), full_name),
            None if speaker is None else speaker.name,
            None if speaker is None else speaker.gender,
            start,
            end,
            int(track),
            recording.name,
            recording.audio,
        )

    def seconds(self, element: ElementTree.Element, name: str, default: float, what: str) -> float:
        text = element.get(name)
        try:
            return default if text is None else float(text)
        except ValueError:
            self.bad(f"{name} of segment {what!r}", expected="seconds", found=repr(text))

    def orthography(self, orth: ElementTree.Element | None, what: str) -> str | None:
        if orth is None:
            return None
        return " ".join(self.orthography_text(orth, what, 0).split())

    def orthography_text(self, element: ElementTree.Element, what: str, level: int) -> str:
        """Returns the text as Sprint reads it: first alternatives, and all optional words.

        Both end in a blank (RASR, Bliss/CorpusParser).
        """
        parts = [element.text or ""]
        for child in element:
            chosen = child.find("orth") if child.tag == "alternatives" else child
            if chosen is None:
                self.bad(f"alternatives without an orth in segment {what!r}")
            if level >= _MAX_ALTERNATIVES:
                self.bad(f"more than {_MAX_ALTERNATIVES} levels in the orth of segment {what!r}")
            text = self.orthography_text(chosen, what, level + 1)
            if child.tag in ("alternatives", "optional") and text.strip():
                text += " "
            parts += [text, child.tail or ""]
        return "".join(parts)

    def define_speaker(self, element: ElementTree.Element) -> None:
        speaker = _described(element)
        if speaker.name is None:
            self.here.default_speaker = speaker
        elif speaker.name in self.here.speakers:
            self.bad(f"two speakers are named {speaker.name!r}")
        else:
            self.here.speakers[speaker.name] = speaker
            self.includes.speakers[speaker.name] = None

    def speaker(self, name: str) -> _Speaker:
        for section in self.here.chain():
            if name in section.speakers:
                return section.speakers[name]
        self.bad(f"speaker {name!r} is not defined")

    def speaker_of(self, element: ElementTree.Element) -> _Speaker | None:
        reference = element.find("speaker")
        if reference is not None:
            return self.speaker(_attribute(self.path, reference, "name"))
        description = element.find("speaker-description")
        if description is not None:
            return _described(description)
        defaults = (section.default_speaker for section in self.here.chain())
        return next((speaker for speaker in defaults if speaker is not None), None)


def _described(element: ElementTree.Element) -> _Speaker:
    gender = (element.findtext("gender") or "unknown").strip()
    return _Speaker(element.get("name"), gender if gender in ("male", "female") else "unknown")


def _attribute(path: str, element: ElementTree.Element, name: str) -> str:
    value = element.get(name)
    if not value:
        raise CorruptError(f"attribute {name!r} of <{element.tag}> is missing", path=path)
    return value


def _events(path: str) -> Iterator[tuple[str, ElementTree.Element]]:
    """The start and end of every element of a file, which may be gzipped."""
    with open_regular(path) as file, gzip_errors(path):
        try:
            yield from ElementTree.iterparse(inflated(file), ("start", "end"))
        except ElementTree.ParseError as error:
            raise CorruptError(f"not well-formed XML: {error}", path=path) from error
        except (LookupError, ValueError) as error:  # an encoding that is not known
            raise FormatError(f"not well-formed XML: {error}", path=path) from error
