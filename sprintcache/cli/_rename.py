"""New names of segments: `--rename`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sprintcache._renaming import renamer

from ._options import stored_name

if TYPE_CHECKING:
    from ._options import Parser

__all__ = ["Rule", "add_rename", "combine_rules"]

Rule = Callable[[str], str]


def add_rename(parser: Parser) -> None:
    """Rules for new names, as `rename`."""
    parser.add_argument(
        "--rename",
        metavar="RULE",
        action="append",
        default=[],
        type=_rule,
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


def _rule(text: str) -> Rule:
    """A rule, as the type of an argument."""
    text = stored_name(text)
    try:
        if re.fullmatch(r"s([^\w\s]).+\1.*\1g?", text):
            return renamer(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    old, equals, new = text.partition("=")
    if not (old and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is neither OLD=NEW nor s/REGEX/NEW/")
    return renamer({old: new})
