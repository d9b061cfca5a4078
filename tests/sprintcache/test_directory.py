"""Directory archives: files are entries, gzip files are compressed entries."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import (
    ArchiveChangedError,
    CorruptError,
    EntryInfo,
    EntryNotFoundError,
    open_archive,
)
from tests.oracle import builder
from tests.oracle.compare import Labeling

FRAMES = [[1.5, -2.0], [0.25, 3.0]]


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_entries_are_the_files_below(tmp_path: Path) -> None:
    features = builder.features(FRAMES)
    files = {
        "b": features,
        "a.attribs": builder.attribs({"datatype": "vector-f32"}),
        "a": builder.gz(features),
        "empty": b"",
        "one": b"\x1f",
        "corpus/rec/1": gzip.compress(features),
        "corpus/\u00e9": b"text",
        "corpus/another/x": b"",
    }
    fill(tmp_path, files)
    (tmp_path / "no files").mkdir()
    with open_archive(tmp_path) as archive:
        assert sorted(archive) == sorted(files)
        assert list(archive) == [
            "a", "a.attribs", "b", "empty", "one",
            "corpus/\u00e9", "corpus/another/x", "corpus/rec/1",
        ]  # fmt: skip
        assert "a.attribs" not in archive.segments
        for name in ("a", "b", "corpus/rec/1"):
            assert archive.read_bytes(name) == features
            assert archive.read_features(name).tolist() == FRAMES
            assert archive.num_frames(name) == 2
        assert archive.read_attributes("a") == {"datatype": "vector-f32"}
        assert archive.read_attributes("b") == {}
        assert archive.read_bytes("one") == b"\x1f"
        assert archive.read("empty") == b""
        assert archive.read_text("corpus/\u00e9") == "text"
        for name, data in files.items():
            packed = data[:2] == b"\x1f\x8b"
            size = len(features) if packed else len(data)
            info = EntryInfo(name, 0, size, len(data) if packed else 0, str(tmp_path))
            assert archive.entry(name) == info
        with pytest.raises(EntryNotFoundError):
            archive.entry("corpus")
        assert archive.scan_report is None


def test_a_trailing_slash_and_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    fill(tmp_path, {"a": b"1"})
    with open_archive(f"{tmp_path}/") as archive:
        assert archive.path == str(tmp_path)
        assert list(archive) == ["a"]
    with pytest.raises(FileNotFoundError):
        open_archive(tmp_path / "absent")


def test_batches_labels_and_passes(scratch: Path) -> None:
    folder = scratch / "archive"
    alignment = builder.alignment_entry(builder.alignment_rle([(0, 0), (1, 0)]))
    names = [f"f{number}" for number in range(5)]
    data = [builder.features([[float(at)] * 3] * (at + 1)) for at in range(5)]
    fill(
        folder,
        {
            name: builder.gz(d) if at % 2 else d
            for at, (name, d) in enumerate(zip(names, data, strict=True))
        },
    )
    with open_archive(folder) as archive:
        batch, lengths = archive.read_features_batch(names, num_threads=3)
        assert lengths.tolist() == [1, 2, 3, 4, 5]
        for at in range(5):
            assert (batch[at, : at + 1] == at).all()
            assert not batch[at, at + 1 :].any()
        assert [name for name, _ in archive.iter_features()] == names
        assert archive.num_frames_all().tolist() == [1, 2, 3, 4, 5]
    fill(folder, {"alignment": alignment})
    labeling = Labeling.write(scratch, ["sil{#+#}@i@f"], {"sil{#+#}@i@f.0": 5})
    with open_archive(folder) as archive:
        assert archive.read_labels("alignment", labeling.ours).tolist() == [5, 5]
        rows, _ = archive.read_labels_batch(["alignment"] * 2, labeling.ours)
        assert np.array_equal(rows, [[5, 5], [5, 5]])


@settings(max_examples=60)
@given(
    payload=st.binary(max_size=2000),
    name=st.text(max_size=5).filter(lambda text: "\0" not in text),
    flags=st.integers(0, 31),
)
def test_gzip_files_of_every_kind(scratch: Path, payload: bytes, name: str, flags: int) -> None:
    """Extra field, name, comment, CRC of the header, as RFC 1952 has them."""
    raw = name.encode("utf-8", "ignore")
    header = b"\x1f\x8b\x08" + bytes([flags]) + b"time" + b"\2\xff"
    header += struct.pack("<H", len(raw)) + raw if flags & 4 else b""
    header += (raw + b"\0") * ((flags >> 3 & 1) + (flags >> 4 & 1))
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) if flags & 2 else b""
    tail = struct.pack("<II", zlib.crc32(payload), len(payload))
    member = header + zlib.compress(payload)[2:-4] + tail
    assert gzip.decompress(member) == payload
    fill(scratch / "folder", {"a": member})
    with open_archive(scratch / "folder") as archive:
        assert archive.read_bytes("a") == payload
        assert archive.entry("a").size == len(payload)


@pytest.mark.parametrize("damage", ["crc", "size", "cut", "trailing", "text"])
def test_damaged_gzip_files_are_reported(tmp_path: Path, damage: str) -> None:
    member = builder.gz(b"payload" * 9)
    data = {
        "crc": member[:-8] + bytes(4) + member[-4:],
        "size": member[:-4] + bytes(4),
        "cut": member[:-12],
        "trailing": member + b"more",
        "text": b"\x1f\x8b is no gzip file at all",
    }[damage]
    fill(tmp_path, {"a": data})
    with open_archive(tmp_path) as archive:
        with pytest.raises(CorruptError) as caught:
            archive.read_bytes("a")
        assert (caught.value.path, caught.value.entry) == (str(tmp_path), "a")
        assert caught.value.offset is not None


def test_names_that_are_no_text(tmp_path: Path) -> None:
    raw = [b"\xff\xc3", "\u6f22 \n".encode(), b"-"]
    for name in raw:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    with open_archive(tmp_path) as archive:
        assert sorted(map(os.fsencode, archive)) == sorted(raw)
        assert all(archive.read_bytes(name) == os.fsencode(name) for name in archive)


def test_links_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path, {"sub/a": b"1", "elsewhere/b": b"2"})
    (tmp_path / "sub" / "again").symlink_to(tmp_path / "sub")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "sub" / "a")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    with open_archive(tmp_path) as archive:
        contents = {name: archive.read_bytes(name) for name in archive}
    assert contents == {"link": b"1", "sub/a": b"1", "elsewhere/b": b"2"}


def test_files_may_come_and_go(tmp_path: Path) -> None:
    """Names are those at opening; contents are those at reading."""
    fill(tmp_path, {"a": b"old", "b": b"", "c": b""})
    with open_archive(tmp_path) as archive:
        fill(tmp_path, {"a": b"new and longer", "d": b""})
        (tmp_path / "b").unlink()
        assert archive.read_bytes("a") == b"new and longer"
        assert list(archive) == ["a", "b", "c"]
        with pytest.raises(ArchiveChangedError, match="removed") as caught:
            archive.read_bytes("b")
        assert caught.value.entry == "b"
        (tmp_path / "c").unlink()
        (tmp_path / "c").mkdir()
        with pytest.raises((OSError, ArchiveChangedError)):
            archive.read_bytes("c")
