"""Many mutants of Cython sources in one build, of which a number in the environment chooses one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from c_mutations import blank_texts
from mutation import Mutation

VARIABLE = "SPRINTCACHE_MUTANT"
DECLARATION = f'''cdef extern from *:
    """
    #include <stdlib.h>
    static int sc_mutant = 0;
    __attribute__((constructor)) static void sc_choose_mutant(void) {{
        const char *number = getenv("{VARIABLE}");
        if (number != NULL) sc_mutant = atoi(number);
    }}
    """
    int sc_mutant

'''
FIRST_IMPORT = re.compile(r"^(from \S+ )?cimport ", re.MULTILINE)
CONDITION = re.compile(r"( *)(if|elif|while) ([\s\S]+):\s*")
STATEMENT = re.compile(r" +(?!(for|with|def|cdef|cpdef|class|else|try|except|finally)\b)[\w(]")


def declare(source: str) -> str:
    """Returns the source of a module with the number of the mutant declared."""
    match = FIRST_IMPORT.search(source)
    if match is None:
        raise ValueError("the module imports nothing")
    return source[: match.start()] + DECLARATION + source[match.start() :]


def switched(source: str, mutations: Mapping[int, Mutation]) -> tuple[str, set[int]]:
    """Returns a source that can behave as each of its numbered mutants, and their numbers.

    Mutations of anything else than conditions and simple statements are left out.
    """
    parts: list[str] = []
    numbers: set[int] = set()
    for start, end, code in _logical_lines(source):
        line = source[start:end]
        variants = {
            number: m.apply(source)[start : end + len(m.replacement) - len(m.original)]
            for number, m in mutations.items()
            if start <= m.start < end
        }
        replacement = _switch(line, code, variants) if variants else None
        parts.append(line if replacement is None else replacement)
        if replacement is not None:
            numbers |= set(variants)
    return "".join(parts), numbers


def _switch(line: str, code: str, variants: Mapping[int, str]) -> str | None:
    """Returns one logical line that behaves as any of its variants; None: it cannot."""
    condition = CONDITION.fullmatch(code)
    if condition:  # a double negation makes booleans of all types
        first = condition.start(3)
        last = condition.end(3) - len(line)  # the mutation is before it
        choices = "".join(
            f"(not not ({text[first:last]}\n)) if sc_mutant == {number} else "
            for number, text in variants.items()
        )
        indent, keyword, _ = condition.groups()
        return f"{indent}{keyword} ({choices}(not not ({line[first:last]}\n))):\n"
    if STATEMENT.match(code) and not code.rstrip().endswith(":"):
        indent = code[: len(code) - len(code.lstrip())]
        cases = (
            f"{indent}{'elif' if i else 'if'} sc_mutant == {number}:\n    {text}"
            for i, (number, text) in enumerate(variants.items())
        )
        return f"{''.join(cases)}{indent}else:\n    {line}"
    return None


def _logical_lines(source: str) -> Iterator[tuple[int, int, str]]:
    """The offsets of lines and of what brackets continue, and their text without comments."""
    code = blank_texts(source, True)
    start = end = depth = 0
    for line in code.splitlines(keepends=True):
        end += len(line)
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
        if depth == 0:
            yield start, end, code[start:end]
            start = end
