"""Text files of foreign origin: encodings, numbers, and errors that name file and line."""

from __future__ import annotations

import gzip
import os
import re
from typing import Any, NoReturn

from sprintcache._text_file import read_inflated
from sprintcache.errors import FormatError

__all__ = ["TextFile", "format_seconds", "microseconds", "write_text"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MAX_SECONDS = 1e9
MICRO = 1_000_000


def microseconds(seconds: float) -> int:
    """Returns seconds as whole microseconds: times that are meant to be equal compare equal."""
    return round(seconds * MICRO)


def format_seconds(seconds: float, min_digits: int = 3) -> str:
    """Returns seconds with as many digits as needed, at least some and at most 6."""
    text = f"{microseconds(seconds) / MICRO:.6f}"
    while text.endswith("0") and len(text.partition(".")[2]) > min_digits:
        text = text[:-1]
    return text.rstrip(".") if not min_digits else text


def write_text(path: str | os.PathLike[str], text: str, encoding: str = "utf-8") -> None:
    """Writes a text file with line feeds, gzipped if its name, ``.partial`` aside, ends in .gz."""
    data = text.encode(encoding)
    if os.fspath(path).removesuffix(".partial").endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    with open(path, "wb") as file:
        file.write(data)


class TextFile:
    """A text file, plain or gzipped.

    Args:
        path: the file.
        fallback: encoding of a file that has no byte order mark and is not UTF-8; None: an error.

    Attributes:
        path: the file.
        text: its text.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is not text, or a damaged gzip file.
    """

    def __init__(self, path: str | os.PathLike[str], fallback: str | None = None) -> None:
        self.path = os.fspath(path)
        data = read_inflated(self.path)
        encoding = next(
            (name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8"
        )
        try:
            self.text = data.decode(encoding)
        except UnicodeDecodeError as error:
            if fallback is None or encoding != "utf-8":
                self._bad_bytes(encoding, data, error)
            self.text = data.decode(fallback)
        if "\0" in self.text:
            self.bad(self.text.count("\n", 0, self.text.index("\0")) + 1, "not a text file",
                     expected="text", found="a zero byte")  # fmt: skip

    def _bad_bytes(self, encoding: str, data: bytes, error: UnicodeDecodeError) -> NoReturn:
        line = data[: error.start].count(b"\n") + 1
        raise FormatError(
            f"line {line}: not {encoding}",
            path=self.path, offset=error.start, found=repr(data[error.start : error.start + 4]),
        ) from error  # fmt: skip

    def lines(self) -> list[tuple[int, str]]:
        """Returns (number, line) of every line that is not blank, counted from 1."""
        lines = enumerate(self.text.split("\n"), 1)
        return [(number, line.rstrip("\r")) for number, line in lines if line.strip()]

    def bad(self, line: int, reason: str, **facts: Any) -> NoReturn:
        """Raises a FormatError that names the file and a line."""
        raise FormatError(f"line {line}: {reason}", path=self.path, **facts)

    def seconds(self, line: int, what: str, text: str, minimum: float = 0.0) -> float:
        """Returns a time.

        Raises:
            FormatError: if the text is not a number of seconds, or below `minimum`.
        """
        value = float(text) if _NUMBER.match(text) else float("nan")
        if not minimum <= value <= _MAX_SECONDS:
            self.bad(line, what, expected=f"seconds from {minimum:g}", found=repr(text[:80]))
        return value
