"""Readers of other foreign bytes, each with seeds and what must hold: a value or a typed error.

A target reads a file of bytes. What it returns must agree with a plain reader of the same bytes,
where there is one.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import os
import pickle
import struct
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grammars
import numpy as np

from sprint_ctl._pipe.wire import Wire
from sprint_ctl.errors import SprintError
from sprintcache import AllophoneLabeling, SprintCacheError, open_archive, write_index
from sprintcache._attributes import parse
from sprintcache._configuration import Configuration
from sprintcache._dataset.streams.vector import _read_npz as read_npz
from sprintcache._segment_list import read_segment_list
from sprintcache.align.sprint_parameters import read_prior
from sprintcache.bliss import Corpus
from sprintcache.dataset_base import read_seq_lengths
from sprintcache.lexicon import Lexicon
from sprintcache.segmentation import read_tiers
from sprintcache.segmentation.json_lines import write_json_lines
from sprintcache.vocabulary import vocabulary
from tests.oracle import builder, index_file
from tests.paths import DATA

ALLOPHONES = "# comment\nsil{#+#}@i@f\na{b+c}@i\ne{a+#}\n"
TYING = "sil{#+#}@i@f.0 0\na{b+c}@i.0 7\na{b+c}@i.2 3\n"
LEXICON = """<?xml version="1.0" encoding="utf-8"?>
<lexicon><phoneme-inventory>
<phoneme><symbol>a</symbol></phoneme><phoneme><symbol>si</symbol><variation>none</variation></phoneme>
</phoneme-inventory>
<lemma special="silence"><orth>[S]</orth><phon score="0.5">si</phon><synt/><eval/></lemma>
<lemma><orth>A</orth><orth>B &amp; C</orth><phon>a a</phon><phon>a</phon></lemma>
</lexicon>
"""
CORPUS = """<?xml version="1.0" encoding="utf-8"?>
<corpus name="c"><speaker-description name="s"><gender>female</gender></speaker-description>
<subcorpus name="d"><recording name="r" audio="r.wav"><segment name="1" start="0" end="1.5">
<speaker name="s"/><orth> a b </orth></segment></recording></subcorpus>
<recording name="r2" audio="r2.wav"><condition-description name="x"/>
<segment start="0" end="inf"><orth>c</orth></segment></recording></corpus>
"""
CONFIGURATION = '[*]\na.b = 1\n*.c = $(a.b)/x\n[d.e] # comment\nf = "two words" \\\n  three\n'


class DisagreementError(Exception):
    """A reader returned something else than a plain one."""


@dataclass(frozen=True)
class Target:
    """A reader of a file, example inputs, words for the mutations, inputs by a grammar."""

    read: Callable[[Path], Any]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    grammar: Callable[[Random], bytes] | None = None


def expect(what: str, ours: object, expected: object) -> None:
    """Raises a DisagreementError unless both are equal."""
    if ours != expected:
        raise DisagreementError(f"{what}: {ours!r}, not {expected!r}")


# ---- bundles, allophones, tyings, segment lists


def read_bundle(path: Path) -> None:
    """Its members exist: features.part1.cache and part2."""
    bundle = path.with_suffix(".bundle")
    bundle.write_bytes(path.read_bytes())
    try:
        with open_archive(bundle) as archive:
            names = list(archive)
            expect("names", len(set(names)), len(names))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        pass


def read_allophones(path: Path) -> None:
    """Lines, stripped, without comments, as Sprint reads them."""
    labeling = AllophoneLabeling("sil", path, state_tying_file=tying_file(path))
    blanks = " \t\n\v\f\r"
    lines = [line.strip(blanks) for line in plain_text(path).replace("\r", "\n").split("\n")]
    first = dict.fromkeys(line for line in lines if line and line[0] != "#")
    expect(
        "allophones", [name for name in labeling.allophones if name.strip(blanks) not in first], []
    )


def tying_file(path: Path) -> Path:
    """A sound state tying."""
    other = path.parent / "tying"
    if not other.exists():
        other.write_text(TYING)
    return other


def read_tying(path: Path) -> None:
    """A state tying for sound allophones."""
    other = path.parent / "allophones"
    if not other.exists():
        other.write_text(ALLOPHONES)
    AllophoneLabeling("sil", other, state_tying_file=path)


def plain_text(path: Path) -> str:
    """The text of a file, gzipped or not."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.decode("utf-8", "surrogateescape")


def read_segments(path: Path) -> None:
    """One name a line."""
    expect("empty names", [name for name in read_segment_list(path) if not name], [])


# ---- XML


def read_xml(read: Callable[[Path], Any]) -> Callable[[Path], None]:
    """A reader of XML, which must refuse what the standard library cannot parse."""

    def check(path: Path) -> None:
        read(path)
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        try:
            ET.fromstring(data)
        except ET.ParseError as error:
            raise DisagreementError(f"read, but not XML: {error}") from error

    return check


def read_corpus(path: Path) -> None:
    """All segments of a corpus."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # of an include
        names = [segment.name for segment in Corpus(path)]
        expect("empty names", [name for name in names if not name], [])


def read_attributes(path: Path) -> None:
    """The attributes of a segment."""
    parse(path.read_bytes(), path=str(path))


def read_configuration(path: Path) -> None:
    """A configuration, and one value of it."""
    Configuration.from_sources([str(path)], "x").get("a.b")


def read_automata(path: Path) -> None:
    """Saved automata, all of them."""
    from sprintcache.automata import Automata

    automata = Automata.load(path)
    for index in range(len(automata)):
        automata[index].check()


# ---- vocabularies, lengths, priors, vectors, tiers


def read_vocabulary(path: Path) -> None:
    """Labels of a vocabulary, whose indices are found again."""
    labels = vocabulary({"vocab_file": str(path)})
    unique = [label for label in labels.labels if labels.labels.count(label) == 1]
    sample = [label for label in unique if len(label.split()) == 1 and label.strip() == label][:20]
    expect("indices", labels.get_seq(" ".join(sample)), [labels.labels.index(x) for x in sample])


def read_codes(path: Path) -> None:
    """Byte-pair codes, as subword-nmt applies them: parts of a word are the word."""
    labels = path.parent / "labels"
    labels.write_text("a\nb\n<unk>\n")
    options = {"bpe_file": str(path), "vocab_file": str(labels), "unknown_label": "<unk>"}
    try:
        parts = vocabulary(options).split("abab")
    except ImportError:  # without subword-nmt
        return
    expect("the word", "".join(part.removesuffix("@@") for part in parts), "abab")


def read_lengths(path: Path) -> None:
    """Lengths of sequences by tag."""
    expect("their number", len(read_seq_lengths(path, [])), 0)
    with contextlib.suppress(SprintCacheError):
        expect("of a tag", read_seq_lengths(path, ["a/1"]).shape, (1,))


def read_priors(path: Path) -> None:
    """Log priors of three labels."""
    expect("their number", read_prior(path, 3).shape, (3,))


def read_vectors(path: Path) -> None:
    """Vectors of segments in an .npz file."""
    other = path.with_suffix(".npz")
    other.write_bytes(path.read_bytes())
    names, rows = read_npz(str(other))
    expect("their number", len(rows), len(names))


def read_any_tiers(path: Path) -> None:
    """Tiers in one of the formats, by the first byte; as JSON lines they are read as they were."""
    data = path.read_bytes()
    name = ("ctm", "textgrid", "audacity", "jsonl")[data[0] % 4 if data else 0]
    other = path.parent / f"tiers.{name}"
    other.write_bytes(data[1:])
    tiers = read_tiers(other, format_name=name)
    again = path.parent / "again.jsonl"
    write_json_lines(again, tiers)
    expect("tiers read again", read_tiers(again), tiers)


# ---- indexes and directories


def read_index(path: Path) -> None:
    """An index with changes, each of 8 bytes: section, offset, width, value; checksums are right.

    An index that is changed on purpose may say anything: all answers are values or typed errors.
    """
    changes = path.read_bytes()
    archive_path, specimen = indexed_archive(path.parent)
    data = bytearray(specimen)
    head = index_file.fields(specimen)
    del head["magic"]
    sections = [8, *(value for value in head.values() if 0 < value < len(data) and value % 8 == 0)]
    for section, offset, width, value in struct.iter_unpack(
        "<BBHI", changes[:64][: len(changes) & ~7]
    ):
        size = (1, 2, 4, 8)[width % 4]
        at = min(sections[section % len(sections)] + size * offset, len(data) - 8)
        new = value - (1 << 32 if width & 4 else 0) + (value << 32 if width & 8 else 0)
        data[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
    with contextlib.suppress(struct.error, IndexError):  # of sections beyond the file
        data = bytearray(index_file.sealed(bytes(data)))
    (path.parent / "changed.index").write_bytes(data)
    mode = ("mmap", "pread")[len(changes) % 2]
    with open_archive(archive_path, mode, index=path.parent / "changed.index") as archive:
        names = [f"corpus/{number}" for number in range(12)] + ["absent"]
        for call in (archive.num_frames_all, lambda: list(archive), lambda: archive.segments[:]):
            outcome(call)
        for name in names:
            for read in (archive.read_features, archive.num_frames, archive.entry):
                outcome(read, name)


def outcome(call: Callable[..., Any], *arguments: Any) -> None:
    """Calls a reader, whose typed errors are answers."""
    with contextlib.suppress(SprintCacheError, KeyError, IndexError):
        call(*arguments)


@functools.cache
def indexed_archive(folder: Path) -> tuple[Path, bytes]:
    """An archive of features, and its index."""
    path = folder / "indexed.cache"
    frames = [builder.vector_f32([1, 2], i, i + 1) for i in range(3)]
    payload = builder.block("vector-f32", frames)
    entries = [(f"corpus/{number}", payload if number % 3 else b"") for number in range(12)]
    path.write_bytes(builder.archive([*entries, ("corpus/1.attribs", builder.attribs({"a": "b"}))]))
    return path, Path(write_index(path)).read_bytes()


def read_directory(path: Path) -> None:
    """A folder of which one file has these bytes, plain and with the name of a gzip file."""
    folder = path.parent / "folder"
    folder.mkdir(exist_ok=True)
    data = path.read_bytes()
    for name in ("a", "b.gz"):
        (folder / name).write_bytes(data)
    for mode in ("mmap", "pread"):
        with open_archive(folder, mode) as archive:
            for name in archive:
                for read in (archive.read_bytes, archive.read_features, archive.read_alignment):
                    outcome(read, name)
            if data[:2] != b"\x1f\x8b":
                expect("bytes of a file", archive.read_bytes("a"), data)


# ---- the pipe


def receive(data: bytes) -> tuple[Any, ...]:
    """The message that a process sent: these bytes, then the end of the pipe."""
    read, write = os.pipe()
    other_read, other_write = os.pipe()
    try:
        os.write(write, data[:60000])
        os.close(write)
        wire = Wire(read, other_write)
        try:
            return wire.receive(deadline=time.monotonic() + 5)
        finally:
            wire.close()
    finally:
        os.close(other_read)


def read_message(path: Path) -> None:
    """A message of either framing; a pickle that is read is what `pickle` reads."""
    data = path.read_bytes()
    message = receive(data)
    if len(data) >= 4 and data[4:5] == b"\x80":
        size = struct.unpack("<I", data[:4])[0]
        try:
            expected = pickle.loads(data[4 : 4 + size])
        except pickle.UnpicklingError:
            if b"\x95" not in data:  # frames, which ours does not need, may have any size
                raise
        else:
            expect("a pickled message", same(message, expected), True)


def same(ours: Any, expected: Any) -> bool:
    """Whether two messages are equal; NaN equals NaN."""
    if isinstance(ours, np.ndarray):
        return (
            isinstance(expected, np.ndarray)
            and ours.dtype == expected.dtype
            and ours.shape == expected.shape
            and ours.tobytes() == expected.tobytes()
        )
    if isinstance(ours, (tuple, list)):
        return len(ours) == len(expected) and all(map(same, ours, expected))
    if isinstance(ours, dict):
        return ours.keys() == expected.keys() and all(same(ours[k], expected[k]) for k in ours)
    return bool(ours == expected) or (ours != ours and expected != expected)


MESSAGES: tuple[Any, ...] = (
    ("init", {"version": 5, "name": "x"}),
    ("ok", 1, -2.5, None, True, [1, "a", b"b"]),
    ("train", np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3)),
    ("error", {"a": [{"b": ("c", 2**70)}]}, float("inf")),
)


def message_seeds() -> list[bytes]:
    """Each message in both framings, as a wire sends it."""
    seeds = []
    for message in MESSAGES:
        for protocol in (2, 4):
            body = pickle.dumps(message, protocol)
            seeds.append(struct.pack("<I", len(body)) + body)
        seeds += [sent(message, version) for version in (1, 2)]
    return seeds


def sent(message: tuple[Any, ...], version: int) -> bytes:
    """The bytes that a wire sends for a message."""
    read, write = os.pipe()
    other_read, other_write = os.pipe()
    wire = Wire(other_read, write)
    wire.version = version
    try:
        wire.send(message, deadline=time.monotonic() + 5)
        return os.read(read, 65536)
    finally:
        wire.close()
        os.close(read)
        os.close(other_write)


def plain_seeds(*texts: str) -> Callable[[], list[bytes]]:
    """Texts, and the first one gzipped."""
    return lambda: [text.encode() for text in texts] + [gzip.compress(texts[0].encode())]


def saved_automata() -> list[bytes]:
    """A file of some automata."""
    from sprintcache.automata import Automata

    with np.load(DATA / "automata" / "hmm.npz") as arrays:
        names = ("edges", "weights", "start_end", "states")
        edges, weights, start_end, states = (arrays[name] for name in names)
        symbols, tags = list(arrays["state_symbols"]), list(arrays["tags"])
        automata = Automata.from_edges(edges, weights, start_end, states, symbols, None, tags)
    with tempfile.TemporaryDirectory() as folder:
        automata.save(Path(folder, "x"))
        return [Path(folder, "x").read_bytes()]


def saved_vectors() -> list[bytes]:
    """An .npz file, stored and deflated."""
    files = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **{"a": np.ones(3, np.float32), "b": np.zeros((1, 3))})
        files.append(file.getvalue())
    return files


def saved_tiers() -> list[bytes]:
    """A file of each format."""
    from sprintcache.segmentation import FORMATS, Interval, Segmentation, write_tiers

    tiers = Segmentation(name="c/r/1", duration=1.5)
    tiers.set_tier("words", [Interval(0, 0.5, "[S]"), Interval(0.5, 1.5, 'a "b"')])
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(("ctm", "textgrid", "audacity", "jsonl")):
            path = Path(folder, f"x{FORMATS[name]}")
            with contextlib.suppress(SprintCacheError):
                write_tiers(path, {"c/r/1": tiers}, format_name=name)
            for file in sorted(Path(folder).rglob(f"*{FORMATS[name]}")):
                if file.is_file():
                    seeds.append(bytes([number]) + file.read_bytes())
    return seeds


LITERAL_WORDS = (b"{", b"}", b"': ", b"[", b"()", b"1e999", b"-", b"None", b"0x", b"**", b"b''")
XML_WORDS = (
    b"<",
    b">",
    b"/>",
    b"&amp;",
    b"&#65;",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"]]>",
    b'name="',
)
TARGETS: dict[str, Target] = {
    "bundle": Target(
        read_bundle,
        plain_seeds(
            f"{DATA / 'features.part1.cache'}\n{DATA / 'features.part2.cache'}\n",
            f"{DATA / 'features.bundle'}\n",
            "x.bundle\n",
        ),
        (b"\n", b"/", b"..", b"x.bundle", b"#"),
    ),
    "allophones": Target(
        read_allophones,
        plain_seeds(ALLOPHONES, "a{#+#}@i\n"),
        (b"{", b"+", b"}", b"@i", b"@f", b"#"),
    ),
    "tying": Target(
        read_tying, plain_seeds(TYING, "sil{#+#}@i@f.0 1 2\n"), (b".0 ", b"\n", b"999")
    ),
    "segments": Target(read_segments, plain_seeds("a/1\nb/2\r\n# c\n"), (b"\n", b"\r", b"#")),
    "corpus": Target(read_xml(read_corpus), plain_seeds(CORPUS), XML_WORDS, grammars.corpus),
    "lexicon": Target(read_xml(Lexicon.read), plain_seeds(LEXICON), XML_WORDS),
    "attributes": Target(
        read_attributes, lambda: [builder.attribs({"a": "b", "c": "<&>"})], XML_WORDS
    ),
    "configuration": Target(
        read_configuration,
        plain_seeds(CONFIGURATION),
        (b"[", b"]", b"$(", b")", b"=", b"\\\n", b"*"),
    ),
    "automata": Target(read_automata, saved_automata),
    "messages": Target(
        read_message,
        message_seeds,
        (b"numpy", b"ndarray", b"__array__", b"cbuiltins", b"(l."),
        grammars.message,
    ),
    "vocabulary": Target(
        read_vocabulary, plain_seeds("a\nb\n<unk>\n", "{'a': 0, 'b': 1}\n"), LITERAL_WORDS
    ),
    "codes": Target(read_codes, plain_seeds("#version: 0.2\na b\nab </w>\n", "a b\n")),
    "lengths": Target(
        read_lengths, plain_seeds("{'a/1': 5, 'b': 1.5}", "{'a/1': -1, 2: 1e9}"), LITERAL_WORDS
    ),
    "priors": Target(
        read_priors,
        plain_seeds('<?xml version="1.0"?>\n<vector-f32 size="3"> -1 0.5 -1e30 </vector-f32>\n'),
        XML_WORDS,
    ),
    "vectors": Target(read_vectors, saved_vectors),
    "tiers": Target(read_any_tiers, saved_tiers, (b"item [1]:", b"xmin = ", b"\t", b'"', b";;")),
    "index": Target(read_index, lambda: [bytes(8), b"\x08\x00\x04" + bytes(range(13))]),
    "directory": Target(
        read_directory, lambda: [b"a", gzip.compress(b"x" * 40), builder.archive([("a", b"b")])]
    ),
}

ACCEPTED = (SprintCacheError, SprintError)


class Texts:
    """Checks inputs of a target."""

    def __init__(self, name: str, folder: Path) -> None:
        self._target = TARGETS[name]
        self._path = folder / "input"
        self.count = 0

    def __call__(self, data: bytes) -> None:
        """Reads one input.

        Raises:
            DisagreementError: if it is not read as a plain reader does.
        """
        self.count += 1
        self._path.write_bytes(data)
        begin = time.monotonic()
        try:
            self._target.read(self._path)
        except ACCEPTED as error:
            if len(str(error)) > 4000:
                raise DisagreementError("a message of more than 4,000 characters") from error
        if time.monotonic() - begin > 20:
            raise DisagreementError("more than 20 seconds")


__all__ = ["TARGETS", "DisagreementError", "Texts"]
