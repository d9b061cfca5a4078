"""Errors: their tree, what they keep, and that they say where and what."""

from __future__ import annotations

import copy
import pickle
from itertools import product
from pathlib import Path

import pytest

import sprintcache
from sprintcache import (
    AmbiguousSegmentationError,
    ArchiveChangedError,
    AutomatonError,
    ClosedArchiveError,
    ConfigurationError,
    CorruptError,
    EntryNotFoundError,
    FormatError,
    LabelError,
    LoaderError,
    SegmentationError,
    SprintCacheError,
    TruncatedError,
    UnsupportedError,
    open_archive,
)
from tests.oracle import builder, reference
from tests.oracle.compare import IOS
from tests.paths import DATA

TREE: dict[type[SprintCacheError], tuple[type[Exception], ...]] = {
    SprintCacheError: (Exception,),
    FormatError: (SprintCacheError, ValueError),
    TruncatedError: (FormatError,),
    CorruptError: (FormatError,),
    UnsupportedError: (FormatError,),
    EntryNotFoundError: (SprintCacheError, KeyError),
    ClosedArchiveError: (SprintCacheError, ValueError),
    ArchiveChangedError: (SprintCacheError,),
    LabelError: (SprintCacheError, ValueError),
    AutomatonError: (SprintCacheError, ValueError),
    ConfigurationError: (SprintCacheError, ValueError),
    LoaderError: (SprintCacheError, RuntimeError),
    SegmentationError: (SprintCacheError, ValueError),
    AmbiguousSegmentationError: (SegmentationError,),
}
classes = pytest.mark.parametrize("cls", TREE)
FACTS = ("reason", "path", "entry", "offset", "expected", "found")


@classes
def test_the_tree(cls: type[SprintCacheError]) -> None:
    assert cls.__bases__ == TREE[cls]
    assert cls.__doc__


def test_the_tree_is_complete_and_drawn() -> None:
    module = sprintcache.errors
    public = {name for name, value in vars(module).items() if isinstance(value, type)} - {"Any"}
    assert public == set(module.__all__) == {cls.__name__ for cls in TREE}
    assert all(f"``{name}``" in (module.__doc__ or "") for name in public)


@classes
def test_everything_survives_pickles_and_copies(cls: type[SprintCacheError]) -> None:
    error = cls("why", path="/a/b", entry="seg/1", offset=7, expected=3, found=[4])
    error.extra = "kept"  # type: ignore[attr-defined]
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [
        pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for again in copies:
        assert type(again) is cls
        assert vars(again) == vars(error)
        assert again.args == error.args
        assert (str(again), repr(again)) == (str(error), repr(error))
    assert {*FACTS, "extra"} == set(vars(error))


@classes
def test_the_message_says_what_is_known(cls: type[SprintCacheError]) -> None:
    assert str(cls("why")) == "why"
    assert str(cls("why", path="/a/b")) == "/a/b: why"
    assert str(cls("why", entry="e", offset=0)) == "entry 'e', offset 0: why"
    full = cls("why", path="/a/b", entry="seg/1", offset=7, expected=3, found=0)
    assert str(full) == "/a/b, entry 'seg/1', offset 7: why: expected 3, found 0"


@classes
def test_the_message_is_one_line(cls: type[SprintCacheError]) -> None:
    nasty = "a\nb\r\x0b\x1c\x85\u2028\udcff\0\x1b[31m"
    error = cls(nasty, path=nasty, entry=nasty, expected=nasty, found=nasty)
    assert str(error).isprintable()
    assert len(str(error).splitlines()) == 1
    str(error).encode()  # no lone surrogates: it can be written to a log
    assert [getattr(error, fact) for fact in ("path", "entry", "found")] == [nasty] * 3


def archive_of(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    return str(path)


# ---- real errors: where exactly --------------------------------------------------------------

PAYLOAD = builder.features([[1.5, 2.5], [3.5, 4.5]])
# field -> (offset in the entry "ab", what is expected there, the value that is written)
FIELDS = {
    "start tag": (0, "0xaa55aa55", 0x01020304),
    "name": (4, None, 9),
    "size": (10, str(len(PAYLOAD)), 5),
    "compressed size": (14, "0", 5),
    "checksum": (18, "0", 5),
    "end tag": (22 + len(PAYLOAD), "0x55aa55aa", 0x01020304),
}


@pytest.mark.parametrize(("field", "io"), list(product(FIELDS, IOS)))
def test_damage_around_a_payload(tmp_path: Path, field: str, io: str) -> None:
    at, expected, value = FIELDS[field]
    data = builder.archive([("first", b""), ("ab", PAYLOAD)])
    row = next(row for row in reference.rows(data) if row.name == b"ab")
    at += row.start
    damaged = data[:at] + builder.u32(value) + data[at + 4 :]
    path = archive_of(damaged, tmp_path / "x.cache")
    with open_archive(path, io) as archive:
        with pytest.raises(CorruptError, match=field) as caught:
            archive.read_features("ab")
        error = caught.value
        assert (error.path, error.entry) == (path, "ab")
        assert error.offset is not None
        assert at <= error.offset < at + 4
        assert error.expected == expected
        if expected is not None:
            assert error.found == (
                f"0x{value:08x}" if len(expected) > 3 or field == "checksum" else "5"
            )
        assert archive.read_bytes("first") == b""


@pytest.mark.parametrize("io", IOS)
def test_damage_in_a_payload(tmp_path: Path, io: str) -> None:
    """The offset is that of the packet, or of the number that cannot be."""
    head = len(builder.string("vector-f32"))
    cases: list[tuple[bytes, type[FormatError], int, tuple[str, ...]]] = [
        (PAYLOAD[:-1], TruncatedError, -1, ("vector-f32", "cut")),
        (PAYLOAD[:3], TruncatedError, 0, ("head of a block",)),
        (b"\x03\0\0\0xyz" + PAYLOAD, UnsupportedError, 0, ("unknown datatype 'xyz'",)),
        (b"RWTHFSA\0" + PAYLOAD, UnsupportedError, 0, ("use read_bytes", "found 'RWTHFSA'")),
        (b"\x1a\0\0\0xyz", TruncatedError, 0, ("head of a block",)),
        (PAYLOAD[:head] + builder.u32(99) + PAYLOAD[head + 4 :], CorruptError, head, ("found 99",)),
        (PAYLOAD + b"\0", TruncatedError, len(PAYLOAD), ("head of a block",)),
    ]
    for payload, cls, offset, words in cases:
        path = archive_of(builder.archive([("ab", payload)]), tmp_path / "x.cache")
        with open_archive(path, io) as archive, pytest.raises(cls) as caught:
            archive.read_blocks("ab")
        begin = 9 + 4 + 6 + 12
        error = caught.value
        assert (error.path, error.entry) == (path, "ab")
        assert error.offset == begin + offset or (offset < 0 and error.offset is not None)
        assert all(word in str(error) for word in words)


@pytest.mark.parametrize("io", IOS)
def test_damage_in_a_compressed_payload(tmp_path: Path, io: str) -> None:
    """The offset is where the stored bytes begin; the text counts in the inflated ones."""
    data = builder.archive([("ab", PAYLOAD + b"\0")], compress=True)
    path = archive_of(data, tmp_path / "x.cache")
    with open_archive(path, io) as archive, pytest.raises(TruncatedError) as caught:
        archive.read_blocks("ab")
    assert caught.value.offset == 9 + 4 + 6 + 12
    assert f"byte {len(PAYLOAD)} of the inflated data" in str(caught.value)
    for at, word in ((0, "gzip header"), (-1, "size in the gzip trailer"), (-5, "CRC-32")):
        offset = next(row.position + 12 for row in reference.rows(data))
        offset += at if at >= 0 else reference.rows(data)[0].compressed + at
        damaged = data[:offset] + bytes([data[offset] ^ 0x80]) + data[offset + 1 :]
        path = archive_of(damaged, tmp_path / "x.cache")
        with open_archive(path, io) as archive, pytest.raises(CorruptError, match=word) as caught:
            archive.read_bytes("ab")
        assert caught.value.entry == "ab"


@pytest.mark.parametrize("io", IOS)
def test_files_that_are_no_archives(tmp_path: Path, io: str) -> None:
    for data, cls, words in (
        (b"", TruncatedError, ("9 bytes", "found 0")),
        (b"SP_ARC1\0", TruncatedError, ("9 bytes", "found 8")),
        (b"PK\x03\x04 an archive of another kind", FormatError, ("SP_ARC1", "PK")),
    ):
        path = archive_of(data, tmp_path / "x.cache")
        with pytest.raises(cls) as caught:
            open_archive(path, io)
        assert (caught.value.path, caught.value.entry, caught.value.offset) == (path, None, 0)
        assert all(word in str(caught.value) for word in words)
    with pytest.raises(FileNotFoundError) as missing:
        open_archive(tmp_path / "absent", io)
    assert str(tmp_path / "absent") in str(missing.value)


def test_names_that_are_not_there(tmp_path: Path) -> None:
    path = archive_of(builder.archive([("seg/1", PAYLOAD)]), tmp_path / "x.cache")
    with open_archive(path) as archive:
        for name in ("seg/2", "", "\ud800", "seg/1\0"):
            for read in (
                archive.read,
                archive.entry,
                archive.read_features,
                archive.read_attributes,
                lambda name: archive.read_features_batch(["seg/1", name]),
            ):
                with pytest.raises(KeyError) as caught:
                    read(name)
                error = caught.value
                assert isinstance(error, EntryNotFoundError)
                assert (error.path, error.offset) == (path, None)
                assert error.entry in (name, f"{name}.attribs")
                assert str(error).startswith(f"{path}, entry ")
                assert "'seg/1'" in str(error)  # what there is instead
        for other in (None, 1, ["seg/1"]):
            with pytest.raises(TypeError):
                archive.read_features(other)  # type: ignore[arg-type]


def test_one_class_catches_them_all(tmp_path: Path) -> None:
    path = archive_of(builder.archive([("a", PAYLOAD[:-1])]), tmp_path / "x.cache")
    archive = open_archive(path)
    for read in (
        lambda: archive.read_features("a"),
        lambda: archive.read("absent"),
        lambda: archive.read_labels("a", None),
        lambda: open_archive(archive_of(b"", tmp_path / "y.cache")),
        lambda: (archive.close(), archive.read("a")),
    ):
        with pytest.raises(SprintCacheError) as caught:
            read()
        again = pickle.loads(pickle.dumps(caught.value))
        assert vars(again) == vars(caught.value)
        assert isinstance(caught.value, ValueError | KeyError)


def test_wrong_arguments_say_what_was_expected(tmp_path: Path) -> None:
    path = DATA / "features.part1.cache"
    with pytest.raises(TypeError, match="path must be a path or several"):
        sprintcache.open_archive(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="it is empty"):
        sprintcache.open_archive("")
    with pytest.raises(TypeError, match=r"an open archive is needed.*not 'x'"):
        sprintcache.repack("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"an open archive is needed.*not 'x'"):
        sprintcache.combine(["x"], tmp_path / "new")  # type: ignore[list-item]
    with pytest.raises(TypeError, match="data: expected a dict with 'filename'"):
        sprintcache.SprintCacheDataset({"data": str(path)})  # type: ignore[dict-item]
    with pytest.raises(sprintcache.FormatError, match="not a text file"):
        sprintcache.AllophoneLabeling(None, path, state_tying_file=path)
    with sprintcache.open_archive(path) as archive:
        for read in (archive.read, archive.read_attributes, archive.read_features):
            with pytest.raises(TypeError, match="an entry's name is a str, not int"):
                read(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="labeling must be an AllophoneLabeling, not str"):
            archive.read_labels("x", "y")  # type: ignore[arg-type]
    with sprintcache.ArchiveWriter(tmp_path / "x.cache") as writer:
        with pytest.raises(ValueError, match="invalid frame times: shift nan"):
            writer.add_features("a", [[1.0]], frame_shift=float("nan"))
        with pytest.raises(TypeError, match="the name of an entry is a str, not NoneType"):
            writer.add_text(None, "text")  # type: ignore[arg-type]
