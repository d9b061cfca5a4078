"""Names of segments, counted; the first ones are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["NameSample"]

_MAX_NAMES = 100


@dataclass
class NameSample:
    """The number of segments of a kind, and the names of the first 100.

    Attributes:
        count: number of segments.
        names: their names.
    """

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts a segment."""
        self.count += 1
        if len(self.names) < _MAX_NAMES:
            self.names.append(name)

    def merge(self, other: NameSample) -> None:
        """Adds the segments of another sample."""
        self.count += other.count
        self.names = (self.names + other.names)[:_MAX_NAMES]
