"""The order in which Sprint visits its segments, where Sprint asks for it.

See sprint-interface.md, section 6. Sprint applies its own lists and partitions to this order.
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
    """The names of an epoch; `info` holds, per segment, "nframes", or "time" in seconds.

    Raises:
        ValueError: the order needs lengths that Sprint does not provide.
    """
    lengths = None
    if ordering.needs_lengths:
        lengths = [_length((info or {}).get(name, {})) for name in names]
        unknown = [name for name, length in zip(names, lengths) if not math.isfinite(length)]  # noqa: B905
        if unknown:
            raise ValueError(
                f"seq_ordering {ordering.seq_ordering!r} needs lengths, and Sprint does not know"
                f" those of {len(unknown)} segments such as {unknown[0]!r}: specify their end in"
                " the corpus, and set --*.python-segment-order-with-segment-info=true"
            )
    order = ordering.order(epoch, len(names), lengths)
    # exactly str: Sprint crashes otherwise
    return [str(names[index]) for index in order.tolist()]


def _length(info: Mapping[str, Any]) -> float:
    return float(info.get("nframes", info.get("time", math.inf)))
