"""Renaming: functions from the name of a segment to another name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

__all__ = ["Rename", "renamer"]

Rename: TypeAlias = "Mapping[str, str] | str | Callable[[str], str]"


def renamer(rename: Rename) -> Callable[[str], str]:
    """A function that renames segments; it can be pickled unless `rename` is a lambda.

    Args:
        rename: old to new prefixes, such as ``{"train-960/": "dev/"}``: the longest old prefix of
            a name counts, other names stay. Or a substitution ``s/PATTERN/NEW/``, as in sed, with
            Python's regular expressions, any delimiter, and ``g`` at the end for all matches. Or a
            function of the name.

    Raises:
        ValueError: if a substitution is malformed.
        TypeError: if it is not one of the three.
    """
    if isinstance(rename, str):
        return _substitution(rename)
    if isinstance(rename, Mapping):
        prefixes = sorted(rename.items(), key=lambda pair: len(pair[0]), reverse=True)
        return partial(_with_prefix, prefixes)
    if not callable(rename):
        raise TypeError(f"rename must be a mapping, a substitution or a function: {rename!r:.80}")
    return rename


def _with_prefix(prefixes: list[tuple[str, str]], name: str) -> str:
    for old, new in prefixes:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _substitution(text: str) -> Callable[[str], str]:
    parts = text[2:].split(text[1]) if len(text) > 1 else []
    if text[:1] != "s" or len(parts) != 3 or parts[2] not in ("", "g") or not parts[0]:
        raise ValueError(f"rename must look like s/PATTERN/NEW/ or s/PATTERN/NEW/g, not {text!r}")
    try:
        pattern = re.compile(parts[0])
        # the empty alternative matches, so that group numbers are checked
        re.compile(f"(?:{parts[0]})|").sub(parts[1], "")
    except (re.error, IndexError) as error:
        raise ValueError(f"rename {text!r}: {error}") from error
    return partial(_substitute, pattern, parts[1], 1 if parts[2] == "" else 0)


def _substitute(pattern: re.Pattern[str], replacement: str, count: int, name: str) -> str:
    return pattern.sub(replacement, name, count=count)
