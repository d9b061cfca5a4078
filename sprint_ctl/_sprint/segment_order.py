"""The order in which Sprint visits its segments, made by us when it asks (interface facts, 6).

Sprint applies its own lists and partitions afterwards, to the order that is made here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sprintcache.ordering import Ordering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ordered_names"]


def ordered_names(
    ordering: Ordering,
    epoch: int,
    names: Sequence[str],
    info: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[str]:
    """The names of an epoch.

    Args:
        ordering: the options.
        epoch: counted from 1.
        names: of all segments, in Sprint's order.
        info: what Sprint knows of each: "nframes", or "time" in seconds.

    Raises:
        ValueError: the order goes by length, and Sprint does not tell the lengths.
    """
    lengths = None
    if ordering.needs_lengths:
        lengths = [_length((info or {}).get(name, {})) for name in names]
        unknown = [name for name, length in zip(names, lengths) if not math.isfinite(length)]  # noqa: B905
        if unknown:
            raise ValueError(
                f"seq_ordering {ordering.seq_ordering!r} goes by length, and Sprint does not know"
                f" that of {len(unknown)} segments such as {unknown[0]!r}: give them an end in the"
                " corpus, and set --*.python-segment-order-with-segment-info=true"
            )
    order = ordering.order(epoch, len(names), lengths)
    # exactly str: Sprint dies of anything else
    return [str(names[index]) for index in order.tolist()]


def _length(facts: Mapping[str, Any]) -> float:
    return float(facts.get("nframes", facts.get("time", math.inf)))
