"""Rows of `sprintcache ls --long` and `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from sprintcache.errors import SprintCacheError

if TYPE_CHECKING:
    from sprintcache.archive import Archive
    from sprintcache.entries import EntryInfo

__all__ = ["HEAD", "Row", "rows"]

HEAD = f"{'position':>14} {'compressed':>12} {'size':>12} {'frames':>8} {'datatype':24} name"


class Row(NamedTuple):
    """One entry; datatype and frames are None for what is no Flow cache, or was not looked at.

    `problem` is why an entry could not be looked at, or None.
    """

    entry: EntryInfo
    datatype: str | None
    frames: int | None
    problem: str | None
    looked_inside: bool

    def line(self) -> str:
        """The row as text below HEAD."""
        entry = self.entry
        frames = "-" if self.frames is None else self.frames
        datatype = "(damaged)" if self.problem is not None else self.datatype or "-"
        compressed = entry.compressed_size or "-"
        return (
            f"{entry.position:14} {compressed:>12} {entry.size:12} {frames:>8} {datatype:24}"
            f" {entry.name}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        fields: dict[str, Any] = self.entry._asdict()
        if self.looked_inside:
            fields.update(datatype=self.datatype, frames=self.frames)
        if self.problem is not None:
            fields["problem"] = self.problem
        return fields


def rows(archive: Archive, names: Iterable[str], look_inside: bool) -> Iterator[Row]:
    """A row for each of these entries.

    Args:
        archive: the archive.
        names: entries of it.
        look_inside: also read the heads of entries for datatype and number of frames.
    """
    for name in names:
        datatype = frames = problem = None
        if look_inside:
            try:
                datatype = archive.datatype(name)
                frames = None if datatype is None else archive.num_frames(name)
            except SprintCacheError as error:
                problem = error.reason
        yield Row(archive.entry(name), datatype, frames, problem, look_inside)
