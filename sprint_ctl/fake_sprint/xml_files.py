"""Whole XML files, perhaps gzipped: lexica and flow networks."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ElementTree
import zlib

from .application import CriticalError

__all__ = ["read_xml"]


def read_xml(path: str, what: str) -> ElementTree.Element:
    """The root element of a file; `what` names it in the error."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        return ElementTree.fromstring(
            gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        )
    except (OSError, EOFError, zlib.error, ElementTree.ParseError) as error:
        raise CriticalError(f"{what} {path}: {error}") from error
