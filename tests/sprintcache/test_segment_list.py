"""Segment lists: what is part of a name, and which files are read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from sprintcache import FormatError, TruncatedError
from sprintcache._segment_list import read_segment_list

NAMES = ["corpus/rec 1/1", "corpus/rec/2", "corpus/\u00e9/3"]


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", "\t\r\n", " \t \r\n\n", "\n# a comment\n"])
@pytest.mark.parametrize("front", ["", " \t", "\ufeff"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_names_without_what_is_around_them(
    tmp_path: Path, end: str, front: str, pack: type[bytes]
) -> None:
    path = tmp_path / "segments"
    path.write_bytes(pack((front + end.join(NAMES)).encode()))
    assert read_segment_list(path) == NAMES


def test_names_that_are_not_utf8_and_names_listed_twice(tmp_path: Path) -> None:
    path = tmp_path / "segments"
    path.write_bytes(b"b\na\xff\nb\n")
    assert read_segment_list(str(path)) == ["b", "a\udcff", "b"]


def test_files_that_are_not_lists(tmp_path: Path) -> None:
    path = tmp_path / "segments"
    path.write_bytes(b"a\n\0b\n")
    with pytest.raises(FormatError, match="zero byte") as caught:
        read_segment_list(path)
    assert caught.value.offset == 2
    path.write_bytes(gzip.compress(b"abc\n" * 100)[:-9])
    with pytest.raises(TruncatedError, match="cut"):
        read_segment_list(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="a pipe"):
        read_segment_list(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_segment_list(tmp_path)


def test_a_descriptor_of_the_caller_is_read_to_its_end() -> None:
    """As the shell passes the output of another command."""
    reader, writer = os.pipe()
    os.write(writer, b"a\nb\n")
    os.close(writer)
    try:
        assert read_segment_list(f"/dev/fd/{reader}") == ["a", "b"]
    finally:
        os.close(reader)
