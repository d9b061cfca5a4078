"""Entries as stored: names that Sprint accepts, sizes, bytes, compressed or not."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING

from .archive_layout import raw_name
from .encoding import SIZE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sprintcache._files import Part

__all__ = ["check_name", "stored_form"]

_UNUSUAL = re.compile(r"//|/\.|^\.|/$|^/|^$")


def check_name(name: str) -> None:
    """Raises ValueError for a name that Sprint would not look up: empty or not normalized.

    Also for surrogates in place of a UTF-8 character, another spelling of a name. TypeError if it
    is not a str.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of an entry is a str, not {type(name).__name__}: {name!r}")
    if not name.isascii() and raw_name(name).decode("utf-8", "surrogateescape") != name:
        raise ValueError("a name must be UTF-8, with surrogates only for bytes that are not")
    if not _UNUSUAL.search(name):
        return
    body = name[2:] if name.startswith("//") else name.removeprefix("/")
    parts = body.split("/")
    if all(parts) and "." not in parts and ".." not in parts:
        return
    climbs = len(name) == len(body)  # leading ".." are normal, but not below the root
    for part in parts:
        if part in ("", ".") or (part == ".." and not climbs):
            raise ValueError(
                "a name must be a normalized path: not empty, without '//', '.', trailing '/' or"
                " inner '..'"
            )
        climbs = climbs and part == ".."


def stored_form(
    name: str, parts: Sequence[Part], compress: bool
) -> tuple[int, int, Sequence[Part]]:
    """Size, compressed size and bytes of an entry as stored.

    Compressed as Sprint does it (archive format, section 3).

    Raises:
        ValueError: if the entry would have 4 GiB.
    """
    size = stored = sum(map(len, parts))
    if compress and size < SIZE_LIMIT:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        deflated = memoryview(zlib.compress(data))[2:-4]
        trailer = struct.pack("<II", zlib.crc32(data), size)
        parts = [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", deflated, trailer]
        stored = sum(map(len, parts))
    if max(size, stored + len(raw_name(name))) >= SIZE_LIMIT:
        raise ValueError(f"{stored} bytes: an entry must be below 4 GiB")
    return size, stored if compress else 0, parts
