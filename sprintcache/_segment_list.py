"""Segment lists: text files with one segment name a line, as Sprint reads them, or pickled."""

from __future__ import annotations

import os

from ._pickled_list import parse_pickled_list
from ._text_file import content_lines, read_inflated

__all__ = ["read_segment_list"]


def read_segment_list(path: str | os.PathLike[str]) -> list[str]:
    """The names of a segment list, in its order and as often as it has them.

    The file may be gzipped. Blanks, tabs and carriage returns around a name are not part of it;
    blank lines and lines that begin with ``#`` are skipped. A file that ends in ``.pkl`` or
    ``.pkl.gz`` is a pickled list of str, as RETURNN accepts it; no code in it is run.

    Raises:
        FormatError: if the file is not text (or not a pickled list), not a regular file, or a
            damaged gzip file.
        OSError: if it cannot be read.
    """
    if os.fspath(path).endswith((".pkl", ".pkl.gz")):
        return parse_pickled_list(read_inflated(path), os.fspath(path))
    names = [line for _, line in content_lines(path)]
    if names and names[0].startswith("\ufeff"):  # the byte order mark of Windows editors
        names[0] = names[0][1:]
    return names
