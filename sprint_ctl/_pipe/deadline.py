"""Timeouts and deadlines: the one place that turns seconds into waiting.

A timeout is a number of seconds, at least 0; None and infinity mean no limit. A deadline is a time
of ``time.monotonic()``; None and infinity mean none. The system calls accept less than that: poll
at most 24.8 days, a lock at most 292 years, neither of them infinity.
"""

from __future__ import annotations

import math
import threading
import time
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import select

__all__ = [
    "check_timeouts",
    "deadline_after",
    "lock_timeout",
    "poll_milliseconds",
    "poll_until",
    "seconds_left",
]

_MAX_MILLISECONDS = (1 << 31) - 1  # a C int


def check_timeouts(**timeouts: float | None) -> dict[str, float]:
    """Returns the timeouts as float, infinity for None; TypeError, ValueError for other values."""
    seconds: dict[str, float] = {}
    for name, value in timeouts.items():
        seconds[name] = math.inf if value is None else _number(name, value)
        if not seconds[name] >= 0:
            raise ValueError(f"{name} must be 0 or more seconds, not {value}")
    return seconds


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r:.80}")
    number: Any = value
    try:
        return float(number)
    except OverflowError:  # of an int
        return math.inf if number > 0 else -math.inf


def deadline_after(timeout: float | None) -> float:
    """Returns the deadline of a timeout that begins now."""
    return math.inf if timeout is None else time.monotonic() + timeout


def seconds_left(deadline: float | None) -> float:
    """Returns the time until a deadline, 0 after it, infinity without one."""
    return math.inf if deadline is None else max(deadline - time.monotonic(), 0.0)


def poll_milliseconds(seconds: float) -> float:
    """Returns the timeout for one call of poll; the caller polls again until its deadline."""
    return min(seconds * 1000, _MAX_MILLISECONDS)


def poll_until(poller: select.poll, deadline: float | None) -> Any:
    """Polls until a descriptor is ready or the deadline has passed; returns what poll does."""
    while True:
        left = seconds_left(deadline)
        ready = poller.poll(poll_milliseconds(left))
        if ready or left <= 0:
            return ready


def lock_timeout(timeout: float | None) -> float:
    """Returns the timeout for a lock, a condition or ``Thread.join``."""
    return threading.TIMEOUT_MAX if timeout is None else min(timeout, threading.TIMEOUT_MAX)
