"""Checks that sequences arrive in the order of a given list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sprint_ctl.errors import SprintProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_complete", "check_next"]


def check_next(order: Sequence[str], index: int, tag: str | None) -> None:
    """Raises SprintProtocolError unless the list has this tag at this index."""
    if index < len(order) and order[index] == tag:
        return
    position = f"at {order.index(tag)} of the list" if tag in order else "not in the list"
    raise SprintProtocolError(
        "Sprint delivers a sequence that the given list does not have at this index",
        expected=f"{order[index]!r} at {index}" if index < len(order) else f"{len(order)} in all",
        found=f"{tag!r}, {position}",
    )


def check_complete(order: Sequence[str], num_added: int) -> None:
    """Raises SprintProtocolError if fewer sequences were added than the list has."""
    if num_added < len(order):
        raise SprintProtocolError(
            "Sprint has delivered fewer sequences than requested",
            expected=f"{len(order)}, the next one {order[num_added]!r}",
            found=num_added,
        )
