"""What ``orth_post_process`` does to an orthography: names, functions, or several in turn.

A name is one of a closed table, or ``package.module:function``; nothing is ever evaluated. The
table has what RETURNN's configurations name:

* ``lowercase``, ``lowercase_keep_special`` (not ``[...]`` and ``<...>``), ``collapse_whitespace``;
* ``get_remove_chars(',/')`` (a blank for each, then collapse_whitespace),
  ``get_replace('old', 'new')``;
* ``convert_to_ascii`` (library unidecode), ``normalize_numbers`` (library inflect);
* ``basic_cleaners``: lowercase, collapse_whitespace; ``transliteration_cleaners``: that after
  convert_to_ascii; ``english_cleaners``, ``english_cleaners_keep_special``: with numbers and
  abbreviations written out (both libraries).
"""

from __future__ import annotations

import ast
import importlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Function = Callable[[str], str]
    PostProcess = str | Function | Sequence[str | Function]

__all__ = ["post_processor", "to_text"]

_CALL = re.compile(r"(\w+)\s*(\(.*\))", re.DOTALL)
_SPECIAL = re.compile(r"\[\S*\]|<\S*>")


def to_text(orthography: str | bytes) -> str:
    """The orthography as str; Sprint's PythonControl hands it over as bytes of UTF-8."""
    if isinstance(orthography, bytes):
        return orthography.decode("utf-8")
    return orthography


def post_processor(what: PostProcess | None) -> Function | None:
    """The function of some ``orth_post_process``; None for none.

    Raises:
        ValueError: a name that is not in the table.
        TypeError: something else than names and functions.
        ImportError: a library or module that is not there.
    """
    if callable(what):
        return what
    if what is None or what == "":
        return None
    if isinstance(what, str):
        return _named(what.strip())
    if not isinstance(what, (list, tuple)):
        raise TypeError(f"orth_post_process: names, functions, or a list of them, not {what!r}")
    if not what:
        return None
    functions = [function for function in map(post_processor, what) if function is not None]
    return _in_turn(functions)


def _in_turn(functions: Sequence[Function]) -> Function:
    def process(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return process


def _named(name: str) -> Function:
    if name in _TABLE:
        return _TABLE[name]()
    call = _CALL.fullmatch(name)
    if call is not None and call[1] in _MAKERS:
        return _made(name, _MAKERS[call[1]], call[2])
    module, colon, function = name.partition(":")
    if colon and function.isidentifier():
        found: Function = getattr(importlib.import_module(module), function)
        return found
    raise ValueError(
        f"orth_post_process: {name!r} is none of {', '.join([*_TABLE, *_MAKERS])},"
        " nor package.module:function"
    )


def _made(name: str, maker: Callable[..., Function], arguments: str) -> Function:
    try:
        values = ast.literal_eval(arguments)
        return maker(*(values if isinstance(values, tuple) else (values,)))
    except (ValueError, SyntaxError, TypeError) as error:
        raise ValueError(f"orth_post_process: {name!r}: {error}") from None


def _lowercase_keep_special(text: str) -> str:
    return re.sub(r"\S+", lambda m: m[0] if _SPECIAL.match(m[0]) else m[0].lower(), text)


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())


def _remove_chars(chars: str | Sequence[str]) -> Function:
    def remove(text: str) -> str:
        for char in chars:
            text = text.replace(char, " ")
        return _collapse_whitespace(text)

    return remove


def _replace(old: str, new: str) -> Function:
    return lambda text: text.replace(old, new)


def _to_ascii() -> Function:
    function: Function = _library("unidecode").unidecode
    return function


def _numbers() -> Function:
    from .spoken_numbers import NumberSpeller

    return NumberSpeller(_library("inflect").engine())


def _english(lowercase: Function) -> Function:
    from .spoken_numbers import expand_abbreviations

    return _in_turn(
        [_to_ascii(), lowercase, _numbers(), expand_abbreviations, _collapse_whitespace]
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(f"orth_post_process: pip install {name}") from error


_TABLE: dict[str, Callable[[], Function]] = {
    "lowercase": lambda: str.lower,
    "lowercase_keep_special": lambda: _lowercase_keep_special,
    "collapse_whitespace": lambda: _collapse_whitespace,
    "convert_to_ascii": _to_ascii,
    "normalize_numbers": _numbers,
    "basic_cleaners": lambda: _in_turn([str.lower, _collapse_whitespace]),
    "transliteration_cleaners": lambda: _in_turn([_to_ascii(), str.lower, _collapse_whitespace]),
    "english_cleaners": lambda: _english(str.lower),
    "english_cleaners_keep_special": lambda: _english(_lowercase_keep_special),
}
_MAKERS: dict[str, Callable[..., Function]] = {
    "get_remove_chars": _remove_chars,
    "get_replace": _replace,
}
