"""Whole files, gzipped or not: segment lists, flow networks."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ElementTree
import zlib

from .application import CriticalError

__all__ = ["read_file", "read_xml"]


def read_file(path: str, what: str) -> bytes:
    """The contents; `what` names the file in the error."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, EOFError, zlib.error) as error:
        raise CriticalError(f"{what} {path}: {error}") from error


def read_xml(path: str, what: str) -> ElementTree.Element:
    """The root element of an XML file."""
    try:
        return ElementTree.fromstring(read_file(path, what))
    except ElementTree.ParseError as error:
        raise CriticalError(f"{what} {path}: {error}") from error
