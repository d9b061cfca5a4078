"""Label tracks of Audacity: ``start<TAB>end<TAB>label`` lines, one segment a file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .intervals import Interval
from .text_files import TextFile, format_seconds, write_text

__all__ = ["read_audacity", "write_audacity"]


def read_audacity(path: str | os.PathLike[str]) -> list[Interval]:
    """Reads a label track; points have equal start and end. Frequency ranges are left out.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if a line is malformed; it names the line.
    """
    source = TextFile(path)
    labels: list[Interval] = []
    for number, line in source.lines():
        if line.startswith("\\"):  # frequency range of the label before
            if not labels:
                source.bad(number, "a frequency range without a label")
            continue
        fields = line.split("\t", 2)
        if len(fields) < 2:
            source.bad(number, "not a label", expected="start, end, label with tabs between",
                       found=repr(line[:80]))  # fmt: skip
        start = source.seconds(number, "start", fields[0].strip(), -1e9)
        end = source.seconds(number, "end", fields[1].strip(), -1e9)
        if end < start:
            source.bad(number, "a label ends before it starts", found=f"{start} to {end}")
        labels.append(Interval(start, end, fields[2].strip() if len(fields) == 3 else ""))
    return labels


def write_audacity(path: str | os.PathLike[str], intervals: Sequence[Interval]) -> None:
    """Writes a label track; tabs and line ends inside a symbol become blanks.

    Raises:
        OSError: if it cannot be written.
    """
    write_text(
        path,
        "".join(
            f"{format_seconds(interval.start, 6)}\t{format_seconds(interval.end, 6)}"
            f"\t{' '.join(interval.symbol.split())}\n"
            for interval in intervals
        ),
    )
