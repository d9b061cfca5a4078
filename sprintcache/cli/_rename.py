"""New names of segments: `--rename`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ._options import stored_name

if TYPE_CHECKING:
    from ._options import Parser

__all__ = ["Rule", "add_rename", "combine_rules"]

Rule = Callable[[str], str]

# s/REGEX/NEW/ with any punctuation in place of the slash
_SUBSTITUTION = re.compile(r"s([^\w\s\\])((?:\\.|(?!\1).)+)\1((?:\\.|(?!\1).)*)\1(g?)", re.DOTALL)


def add_rename(parser: Parser) -> None:
    """Rules for new names, as `rename`."""
    parser.add_argument(
        "--rename",
        metavar="RULE",
        action="append",
        default=[],
        type=rename_rule,
        help="rename segments: OLD=NEW replaces a prefix, s/REGEX/NEW/ what a regular expression"
        " matches first (s/REGEX/NEW/g: every match; \\1 is a group); may be repeated, and is"
        " applied before --prefix",
    )


def combine_rules(rules: Sequence[Rule]) -> Rule | None:
    """One function that applies all rules in order; None without rules."""
    if not rules:
        return None

    def rename(name: str) -> str:
        for rule in rules:
            name = rule(name)
        return name

    return rename


def rename_rule(text: str) -> Rule:
    """A rule, as the type of an argument."""
    text = stored_name(text)
    match = _SUBSTITUTION.fullmatch(text)
    if match is not None:
        return _substitution(*match.groups())
    old, equals, new = text.partition("=")
    if not (old and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is neither OLD=NEW nor s/REGEX/NEW/")
    return lambda name: new + name[len(old) :] if name.startswith(old) else name


def _substitution(delimiter: str, pattern: str, replacement: str, flags: str) -> Rule:
    escaped = "\\" + delimiter
    pattern = pattern.replace(escaped, re.escape(delimiter))
    replacement = replacement.replace(escaped, delimiter)
    try:
        # the empty alternative makes every group number of the replacement be checked
        re.compile(f"(?:{pattern})|").sub(replacement, "")
        regex = re.compile(pattern)
    except (re.error, IndexError) as error:
        raise argparse.ArgumentTypeError(f"s/{pattern}/{replacement}/: {error}") from error
    count = 0 if flags else 1
    return lambda name: regex.sub(replacement, name, count=count)
