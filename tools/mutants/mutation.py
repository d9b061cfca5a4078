"""A change at one point of a source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A replacement of the characters [start, end) of a source.

    Attributes:
        operator: Kind of the change, such as "comparison".
        line: Line of the first character, from 1.
        column: Its column in `text`, from 0.
        original: The characters that are replaced.
        text: The line without blanks around it.
    """

    operator: str
    start: int
    end: int
    line: int
    column: int
    original: str
    replacement: str
    text: str

    @classmethod
    def of(cls, source: str, operator: str, start: int, end: int, new: str) -> Mutation:
        """Returns the replacement of a part of the source."""
        line_start = source.rfind("\n", 0, start) + 1
        line_end = source.find("\n", start)
        line = source[line_start : line_end if line_end >= 0 else len(source)]
        return cls(
            operator,
            start,
            end,
            source.count("\n", 0, start) + 1,
            start - line_start - (len(line) - len(line.lstrip())),
            source[start:end],
            new,
            line.strip(),
        )

    def apply(self, source: str) -> str:
        """Returns the mutated source; it has as many lines."""
        lines = "\n" * (self.original.count("\n") - self.replacement.count("\n"))
        if lines and self.replacement.startswith("("):
            lines = ""
        return source[: self.start] + self.replacement + lines + source[self.end :]
