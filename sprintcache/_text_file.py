"""Text files that others wrote: opened without waiting, inflated if gzipped, split into lines."""

from __future__ import annotations

import ast
import errno
import gzip
import os
import stat
import zlib
from contextlib import contextmanager
from io import BufferedReader
from typing import IO, TYPE_CHECKING, cast

from .errors import FormatError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "content_lines",
    "gzip_errors",
    "inflated",
    "not_regular",
    "open_input",
    "open_regular",
    "parse_literal",
    "read_inflated",
    "read_prefix",
    "read_text",
]

_GZIP_MAGIC = b"\x1f\x8b"
_BLANKS = " \t\r\v\f"  # what Sprint strips; Unicode has more
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# descriptors that the caller opened, such as the shell's <(command): no open can wait for a writer
_DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file for reading; never waits for the other end of a pipe.

    Returns:
        the file, buffered.

    Raises:
        FormatError: if it is a pipe, socket or device.
        IsADirectoryError: if it is a directory.
        OSError: if it cannot be opened.
    """
    name = os.fspath(path)
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(mode):
            raise not_regular(name, mode)
        return open(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def open_input(path: str | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, or a descriptor of the caller such as ``/dev/fd/63``, for reading.

    Raises:
        FormatError, OSError: as `open_regular`.
    """
    name = os.fspath(path)
    return open(name, "rb") if name.startswith(_DESCRIPTORS) else open_regular(name)


def not_regular(path: str, mode: int) -> FormatError:
    """The error for a pipe, socket or device of this mode."""
    return FormatError(
        "not a regular file",
        path=path,
        expected="a regular file",
        found=_KINDS.get(stat.S_IFMT(mode), "another kind of file"),
    )


@contextmanager
def gzip_errors(path: str) -> Iterator[None]:
    """Raises FormatError for damaged gzip data, and TruncatedError if they are cut."""
    try:
        yield
    except EOFError as error:
        raise TruncatedError(f"the gzip file is cut: {error}", path=path) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"damaged gzip file: {error}", path=path) from error


def inflated(file: BufferedReader) -> IO[bytes]:
    """The content of a file as a stream, inflated if it is gzipped; for use in `gzip_errors`."""
    is_gzipped = file.peek(2).startswith(_GZIP_MAGIC)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzipped else file


def read_inflated(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, inflated if it is gzipped.

    A path such as ``/dev/fd/63`` names a descriptor that the caller opened and is read to its end.

    Raises:
        FormatError: if it is not a regular file, or its gzip data are damaged.
        TruncatedError: if its gzip data are cut.
        OSError: if it cannot be read.
    """
    name = os.fspath(path)
    with open_input(name) as file:
        data = file.read()
    if not data.startswith(_GZIP_MAGIC):
        return data
    with gzip_errors(name):
        return gzip.decompress(data)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, inflated if it is gzipped.

    Raises:
        FormatError, TruncatedError, OSError: as `read_inflated`; also if it is not UTF-8.
    """
    try:
        return read_inflated(path).decode("utf-8")
    except UnicodeDecodeError as error:
        path = os.fspath(path)
        raise FormatError("not a text in UTF-8", path=path, found=str(error)) from None


def parse_literal(text: str, path: str | os.PathLike[str], what: str, expected: str) -> object:
    """The value of a literal in Python's syntax; nothing is evaluated.

    `what` it is and what is `expected` are for the error.

    Raises:
        FormatError: if it is not one, or nested too deeply.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        reason = str(error)[:200] or type(error).__name__
        path = os.fspath(path)
        raise FormatError(f"not {what}", path=path, expected=expected, found=reason) from None


def read_prefix(path: str | os.PathLike[str], size: int) -> bytes:
    """At most `size` bytes of the beginning of what `read_inflated` returns; raises as it does."""
    name = os.fspath(path)
    with open_regular(name) as file, gzip_errors(name):
        return inflated(file).read(size)


def content_lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """(line number, stripped text) of every line that is neither blank nor a ``#`` comment.

    Raises:
        FormatError: if the file is not text, or as `read_inflated`.
        OSError: if it cannot be read.
    """
    data = read_inflated(path)
    if b"\0" in data:
        raise FormatError(
            "not a text file",
            path=os.fspath(path),
            offset=data.find(b"\0"),
            expected="lines",
            found="a zero byte",
        )
    text = data.decode("utf-8", "surrogateescape")
    lines = ((number, line.strip(_BLANKS)) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in lines if line and not line.startswith("#")]
