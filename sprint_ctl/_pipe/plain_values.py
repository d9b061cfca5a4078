"""Plain values: what a message may hold in either framing, and the limits on it.

A message is a tuple of None, bool, int, float, str, bytes, lists, tuples, dicts with str keys, and
numpy arrays and scalars of the kinds that `plain_dtype` accepts. Nesting is limited, so that no
later ``repr``, ``hash`` or comparison of a received value recurses without bound.
"""

from __future__ import annotations

import re
import reprlib
import struct
from pickle import PickleError
from typing import Any

import numpy as np

__all__ = [
    "MAX_DEPTH",
    "READING_ERRORS",
    "brief",
    "check_depth",
    "is_plain_dtype",
    "plain_dtype",
]

# what reading malformed bytes can raise
READING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    PickleError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)

MAX_DEPTH = 32  # of lists, tuples and dicts inside a message
_PLAIN = re.compile(
    r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,5})"
    r"|bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)"
)
# the most frequent ones, without the regular expression
_KNOWN = {name: np.dtype(name) for name in ("<f4", "<f8", "<i4", "<i8", "<u4", "|u1")}


def plain_dtype(name: Any) -> np.dtype[Any]:
    """The dtype of a name such as ``<f4``, ``float32`` or ``|S3``; ValueError for any other."""
    if isinstance(name, str):
        known = _KNOWN.get(name)
        if known is not None:
            return known
        if _PLAIN.fullmatch(name):
            return np.dtype(name)
    raise ValueError(f"dtype {brief(name)}")


def is_plain_dtype(name: str) -> bool:
    """Whether `plain_dtype` accepts a name."""
    return name in _KNOWN or _PLAIN.fullmatch(name) is not None


def check_depth(container: Any, depth: int = 0) -> None:
    """Raises ValueError if a list or dict nests lists and dicts deeper than `MAX_DEPTH`."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    for item in container.values() if type(container) is dict else container:
        if type(item) in (list, dict):
            check_depth(item, depth + 1)


def brief(value: object) -> str:
    """``repr`` of a foreign value, bounded in time and length."""
    return reprlib.repr(value)
