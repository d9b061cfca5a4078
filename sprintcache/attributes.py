"""The ".attribs" entries of Flow caches (archive format, section 6.2): one line of XML."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from .errors import CorruptError

__all__ = ["parse"]


def parse(
    data: bytes, *, path: str | None = None, entry: str | None = None, offset: int | None = None
) -> dict[str, str]:
    """Attributes of an entry by name.

    Args:
        data: the entry; bytes outside ASCII are taken as UTF-8, others become surrogates.
        path, entry, offset: where it came from, for errors.

    Raises:
        CorruptError: if it is no ``<flow-attributes>`` element, or declares entities.
    """
    attributes: dict[str, str] = {}
    place: Any = {"path": path, "entry": entry, "offset": offset}
    depth = 0

    def start(tag: str, values: dict[str, str]) -> None:
        nonlocal depth
        wanted = ("flow-attributes", "flow-attribute")[min(depth, 1)]
        if tag != wanted or depth > 1:
            raise CorruptError("attributes", **place, expected=f"<{wanted}>", found=f"<{tag}>")
        if depth == 1:
            if not {"name", "value"} <= values.keys():
                raise CorruptError("attribute without name or value", **place, found=values)
            attributes[_text(values["name"])] = _text(values["value"])
        depth += 1

    def end(_tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_args: object) -> None:
        raise CorruptError("attributes with a document type", **place)

    # Latin-1 lets every byte through: Sprint writes names and values as they are
    parser = expat.ParserCreate("iso-8859-1")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise CorruptError(f"attributes are no XML: {error}", **place) from error
    return attributes


def _text(value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a character reference beyond Latin-1: text already
        return value
