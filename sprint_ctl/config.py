"""The configuration string that Sprint hands to its Python modules: ``key:value,key:value``.

Keys and values are text. A value ends at the next comma and may hold colons (sprint-interface.md,
section 10); a value with a comma cannot be written.

Keys both ends know:

========================  ========================================================================
c2p_fd, p2c_fd            descriptors of the pipes, child to parent and parent to child
minPythonControlVersion   minimum interface version of Sprint
wire                      2: the parent knows the JSON framing (`sprint_ctl._pipe.wire`)
c2p_memory_fd,            memory files for arrays, written by the child and by the parent
p2c_memory_fd             (`sprint_ctl._pipe.shared_memory`)
parent_pid                the trainer; the child ends soon after it (`sprint_ctl._sprint.orphan`)
action, epoch             of `sprint_ctl.dataset`: the purpose of the Sprint, number of the epoch
seq_ordering, seq_seed,   order of the segments, for `sprint_ctl.extern_interface`
repeat_epoch
criterion                 how ``process_segment`` asks for the loss (`sprint_ctl._sprint.criterion`)
quiet, verbose            log lines on stderr: none (default), some, or for every segment
========================  ========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["format_config", "parse_config", "to_bool"]

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "none", "")


def parse_config(text: str) -> dict[str, str]:
    """The pairs of a configuration string; the last one of a key counts.

    Raises:
        ValueError: a piece without a colon.
    """
    pairs = {}
    for piece in text.split(","):
        if not piece:
            continue
        key, colon, value = piece.partition(":")
        if not colon:
            raise ValueError(f"configuration {text!r}: {piece!r} is not key:value")
        pairs[key] = value
    return pairs


def format_config(pairs: Mapping[str, Any]) -> str:
    """The configuration string of some pairs; values are written with ``str``.

    Raises:
        ValueError: a key or value that the string cannot hold.
    """
    for key, value in pairs.items():
        if "," in key or ":" in key or "," in str(value):
            raise ValueError(
                f"{key!r}: {value!r} cannot be part of a configuration string:"
                " no comma, and no colon in the key"
            )
    return ",".join(f"{key}:{value}" for key, value in pairs.items())


def to_bool(text: str) -> bool:
    """Truth of a value: true, yes, on, 1 and their contraries.

    Raises:
        ValueError: neither.
    """
    word = str(text).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")
