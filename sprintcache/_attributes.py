"""The ".attribs" entries of Flow caches (archive format, section 6.2): one line of XML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from .errors import CorruptError

__all__ = ["parse", "render"]


def parse(
    data: bytes, *, path: str | None = None, entry: str | None = None, offset: int | None = None
) -> dict[str, str]:
    """Attributes of an entry by name.

    Args:
        data: the entry; bytes outside ASCII are taken as UTF-8, others become surrogates.
        path, entry, offset: where it came from, for errors.

    Raises:
        CorruptError: if it is not a ``<flow-attributes>`` element, or declares entities.
    """
    attributes: dict[str, str] = {}
    location: Any = {"path": path, "entry": entry, "offset": offset}
    depth = 0

    def start(tag: str, values: dict[str, str]) -> None:
        nonlocal depth
        expected_tag = ("flow-attributes", "flow-attribute")[min(depth, 1)]
        if tag != expected_tag or depth > 1:
            raise CorruptError(
                "attributes", **location, expected=f"<{expected_tag}>", found=f"<{tag}>"
            )
        if depth == 1:
            if not {"name", "value"} <= values.keys():
                raise CorruptError("attribute without name or value", **location, found=values)
            attributes[_text(values["name"])] = _text(values["value"])
        depth += 1

    def end(_tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_args: object) -> None:
        raise CorruptError("attributes with a document type", **location)

    # Latin-1 lets every byte through: Sprint writes names and values as they are
    parser = expat.ParserCreate("iso-8859-1")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise CorruptError(f"attributes are not well-formed XML: {error}", **location) from error
    return attributes


def _text(value: str) -> str:
    try:
        return value.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a character reference beyond Latin-1: text already
        return value


def render(attributes: Mapping[str, str]) -> bytes:
    """The content of a ".attribs" entry (archive format, section 6.2): one line, sorted by name.

    Raises:
        ValueError: for control characters that XML cannot hold, and for values that are not str.
    """
    rows = sorted((_raw(name), _raw(value)) for name, value in attributes.items())
    cells = [
        b'<flow-attribute name="%s" value="%s"/>' % (_escaped(name), _escaped(value))
        for name, value in rows
    ]
    return b"<flow-attributes>%s</flow-attributes>" % b"".join(cells)


def _raw(text: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"names and values of attributes are str, not {text!r}")
    return text.encode("utf-8", "surrogateescape")


_ESCAPES = str.maketrans(
    {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        '"': "&quot;",
        "'": "&apos;",
        "\t": "&#9;",
        "\n": "&#10;",
        "\r": "&#13;",
    }
)


def _escaped(raw: bytes) -> bytes:
    text = raw.decode("latin-1").translate(_ESCAPES)
    if any(c < " " for c in text):
        raise ValueError(f"an attribute with control characters: {text!r}")
    return text.encode("latin-1")
