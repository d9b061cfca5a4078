"""Mutations of Python source, by its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from mutation import Mutation

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
BOOLEANS = {ast.And: ("and", "or"), ast.Or: ("or", "and")}
LOG_CALLS = {"debug", "info", "warning", "error", "exception"}


def python_mutations(source: str) -> list[Mutation]:
    """Returns all mutations of a module, in the order of the text."""
    mutations = set(_Finder(source).find())
    return sorted(mutations, key=lambda mutation: (mutation.start, mutation.replacement))


class _Finder:
    """Walks over a module and skips annotations, texts of f-strings, and calls of the log."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tree = ast.parse(source)
        # columns of the tree count bytes
        self._lines = [line.encode() for line in source.splitlines(keepends=True)]
        self._line_offsets = [0]
        for line in self._lines:
            self._line_offsets.append(self._line_offsets[-1] + len(line.decode()))

    def find(self) -> Iterator[Mutation]:
        yield from self._visit(self._tree)

    def _visit(self, node: ast.AST) -> Iterator[Mutation]:
        if _is_skipped(node):
            return
        yield from self._mutate(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._visit(child)

    def _mutate(self, node: ast.AST) -> Iterator[Mutation]:
        if isinstance(node, ast.Compare):
            left = node.left
            for operator, right in zip(node.ops, node.comparators, strict=True):
                old, new = COMPARISONS[type(operator)]
                yield from self._between("comparison", left, right, old, new)
                left = right
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            if not (_is_text(node.left) or _is_text(node.right)):
                old, new = ARITHMETIC[type(node.op)]
                yield from self._between("arithmetic", node.left, node.right, old, new)
        elif isinstance(node, ast.BoolOp):
            old, new = BOOLEANS[type(node.op)]
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self._between("boolean", left, right, old, new)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield self._replace("boolean", node, self._text(node.operand))
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, bool):
                yield self._replace("constant", node, str(not node.value))
            elif isinstance(node.value, int):
                yield self._replace("constant", node, str(node.value + 1))
            elif isinstance(node.value, float):
                yield self._replace("constant", node, repr(node.value * 2 + 1))
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            yield self._replace("boolean", node.test, f"(not ({self._text(node.test)}))")
        elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            old, new = ARITHMETIC[type(node.op)]
            yield from self._between("arithmetic", node.target, node.value, f"{old}=", f"{new}=")
            yield self._replace("removal", node, "pass")
        elif _is_statement(node):
            yield self._replace("removal", node, "pass")
        elif isinstance(node, ast.Return) and not _is_none(node.value):
            yield self._replace("removal", node, "return None")

    def _offset(self, line: int, column: int) -> int:
        return self._line_offsets[line - 1] + len(self._lines[line - 1][:column].decode())

    def _span(self, node: Any) -> tuple[int, int]:
        start = self._offset(node.lineno, node.col_offset)
        return start, self._offset(node.end_lineno, node.end_col_offset)

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._source[start:end]

    def _replace(self, operator: str, node: ast.AST, new: str) -> Mutation:
        start, end = self._span(node)
        return Mutation.of(self._source, operator, start, end, new)

    def _between(
        self, operator: str, left: ast.AST, right: ast.AST, old: str, new: str
    ) -> Iterator[Mutation]:
        start, end = self._span(left)[1], self._span(right)[0]
        offset = self._source.find(old, start, end)
        if offset >= 0 and "#" not in self._source[start:offset]:
            yield Mutation.of(self._source, operator, offset, offset + len(old), new)


def _is_statement(node: ast.AST) -> bool:
    """Whether a node is a statement that can be left out."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, (ast.Call, ast.Yield))
    return isinstance(node, (ast.Raise, ast.Continue, ast.Break, ast.Delete))


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def _is_text(node: ast.AST) -> bool:
    """Whether a node is a text, of which there is no difference."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    )


def _is_skipped(node: ast.AST) -> bool:
    """Whether no test can or should see a change of the node."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return True
    if isinstance(node, ast.Assign):
        return any(isinstance(t, ast.Name) and t.id.startswith("__") for t in node.targets)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        return (
            isinstance(function, ast.Attribute)
            and function.attr in LOG_CALLS
            and "log" in ast.dump(function.value).lower()
        )
    return False
