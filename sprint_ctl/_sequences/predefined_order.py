"""A list of sequences that must come in its order, and what is wrong where they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sprint_ctl.errors import SprintProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_complete", "check_place"]


def check_place(order: Sequence[str], index: int, tag: str | None) -> None:
    """Raises SprintProtocolError unless the list has this tag at this place."""
    if index < len(order) and order[index] == tag:
        return
    place = f"which is at {order.index(tag)} of the list" if tag in order else "not in the list"
    raise SprintProtocolError(
        "Sprint delivers another sequence than the predefined list has here",
        expected=f"{order[index]!r} at {index}" if index < len(order) else f"{len(order)} in all",
        found=f"{tag!r}, {place}",
    )


def check_complete(order: Sequence[str], num_added: int) -> None:
    """Raises SprintProtocolError if the list has more than that many."""
    if num_added < len(order):
        raise SprintProtocolError(
            "Sprint has delivered fewer sequences than were asked for",
            expected=f"{len(order)}, the next one {order[num_added]!r}",
            found=num_added,
        )
