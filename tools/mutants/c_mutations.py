"""Mutations of Cython and C sources, by their text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mutation import Mutation

SWAPS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "&&": "||",
    "||": "&&",
    "and": "or",
    "or": "and",
    "+": "-",
    "-": "+",
    "+=": "-=",
    "-=": "+=",
    "<<": ">>",
    ">>": "<<",
    "//": "*",
    "%": "+",
}
COMPARISONS = {"<", "<=", ">", ">=", "==", "!="}
BOOLEANS = {"&&", "||", "and", "or"}
OPERATOR = re.compile(r"(?<= )(<=?|>=?|==|!=|&&|\|\||and|or|\+=?|-=?|<<|>>|//|%)(?= )")
NUMBER = re.compile(r"(?<![\w.])(\d+)(?![\w.])")
NEGATION = re.compile(r"(?<![\w.])not (?!in\b)")
C_NEGATION = re.compile(r"!(?=[\w(])")
CONDITION = re.compile(r"^\s*(?:el)?if (.+):$")
CALL = re.compile(r"^(\s+)([a-z]\w*\(.*\))$")
C_CALL = re.compile(r"^(\s+)([a-z]\w*\(.*\);)$")
ASSIGNMENT = re.compile(r"^(\s+)([a-z][\w.\[\]>*-]* [-+]?= .+)$")
FAULT = re.compile(r"^(\s+)(return (?:sc_)?fault\(.*\))(;?)$")
DECLARATION = re.compile(
    r"^\s*(cdef|cpdef|ctypedef|cimport|from|import|include|enum|typedef|#|def |static|const|struct"
    r"|@|extern|DEF |class )"
)
CYTHON_TEXTS = r'"{3}[\s\S]*?"{3}|"(?:\\.|[^"\\\n])*"|' + r"'(?:\\.|[^'\\\n])*'|#[^\n]*"
C_TEXTS = (
    r'/\*[\s\S]*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])*'|(?m:^)[ \t]*#(?:[^\n]*\\\n)*[^\n]*"
)


def c_mutations(source: str, is_cython: bool) -> list[Mutation]:
    """Returns the mutations of a Cython or C source, in the order of the text."""
    mutations = list(_find(source, is_cython))
    return sorted(set(mutations), key=lambda mutation: (mutation.start, mutation.replacement))


def _find(source: str, is_cython: bool) -> Iterator[Mutation]:
    code = blank_texts(source, is_cython)
    offset = 0
    is_extern = False
    for line in code.splitlines(keepends=True):
        stripped = line.strip()
        if is_cython and not line.startswith((" ", "\n")):
            is_extern = stripped.startswith(("cdef extern", "cdef enum", "cdef struct", "ctypedef"))
        if stripped and not is_extern and not DECLARATION.match(line):
            yield from _of_line(source, line, offset, is_cython)
        offset += len(line)


def _of_line(source: str, line: str, offset: int, is_cython: bool) -> Iterator[Mutation]:
    def replace(operator: str, start: int, end: int, new: str) -> Mutation:
        return Mutation.of(source, operator, offset + start, offset + end, new)

    for match in OPERATOR.finditer(line):
        old = match.group()
        if old in "<>" and re.match(r"[ \w]*\*?>", line[match.end() :]) and old == "<":
            continue  # a cast of Cython
        kind = "comparison" if old in COMPARISONS else "arithmetic"
        yield replace("boolean" if old in BOOLEANS else kind, *match.span(), SWAPS[old])
    for match in NUMBER.finditer(line):
        yield replace("constant", *match.span(), str(int(match.group(), 0) + 1))
    for match in (NEGATION if is_cython else C_NEGATION).finditer(line):
        yield replace("boolean", *match.span(), "")
    text = line.rstrip("\n").rstrip()
    empty = "pass" if is_cython else ";"
    if is_cython and (condition := CONDITION.match(text)):
        yield replace("boolean", *condition.span(1), f"not ({condition.group(1)})")
    for pattern in (CALL if is_cython else C_CALL, ASSIGNMENT, FAULT):
        statement = pattern.match(text)
        if statement is None or not _is_whole(text, is_cython):
            continue
        if pattern is FAULT or not statement.group(2).startswith("return"):
            yield replace("removal", statement.start(2), len(text), empty)


def _is_whole(text: str, is_cython: bool) -> bool:
    """Whether a line is a statement of its own."""
    balanced = all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))
    return balanced and not text.endswith((",", "\\")) and (is_cython or text.endswith(";"))


def blank_texts(source: str, is_cython: bool) -> str:
    """Returns the source with blanks in place of comments, strings and macros."""
    pattern = CYTHON_TEXTS if is_cython else C_TEXTS
    return re.sub(pattern, lambda match: re.sub(r"[^\n]", " ", match.group()), source)
