"""Processing of orthographies, the option ``orth_post_process``: names, functions, or a list.

A name is in a closed table, or is ``package.module:function``; nothing is evaluated. The table has
the names that RETURNN's configurations use:

* ``lowercase``, ``lowercase_keep_special`` (not ``[...]`` and ``<...>``), ``collapse_whitespace``;
* ``get_remove_chars(',/')`` (replaces each by a blank, then collapse_whitespace),
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
    """The orthography as str; Sprint's PythonControl passes UTF-8 bytes."""
    if isinstance(orthography, bytes):
        return orthography.decode("utf-8")
    return orthography


def post_processor(option: PostProcess | None) -> Function | None:
    """The function of an option ``orth_post_process``; None if there is nothing to do."""
    if callable(option):
        return option
    if option is None or option == "":
        return None
    if isinstance(option, str):
        return _named(option.strip())
    if not isinstance(option, (list, tuple)):
        raise TypeError(f"orth_post_process: names, functions, or a list of them, not {option!r}")
    if not option:
        return None
    functions = [function for function in map(post_processor, option) if function is not None]
    return _chain(functions)


def _chain(functions: Sequence[Function]) -> Function:
    def process(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return process


def _named(name: str) -> Function:
    if name in _TABLE:
        return _TABLE[name]()
    call = _CALL.fullmatch(name)
    if call is not None and call[1] in _FACTORIES:
        return _call_factory(name, _FACTORIES[call[1]], call[2])
    module, colon, function = name.partition(":")
    if colon and function.isidentifier():
        imported: Function = getattr(importlib.import_module(module), function)
        return imported
    raise ValueError(
        f"orth_post_process: {name!r} is not one of {', '.join([*_TABLE, *_FACTORIES])},"
        " nor package.module:function"
    )


def _call_factory(name: str, factory: Callable[..., Function], arguments: str) -> Function:
    try:
        values = ast.literal_eval(arguments)
        return factory(*(values if isinstance(values, tuple) else (values,)))
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

    return _chain([_to_ascii(), lowercase, _numbers(), expand_abbreviations, _collapse_whitespace])


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ImportError(
            f"orth_post_process needs {name}: pip install 'sprintcache[cleaners]'"
        ) from error


_TABLE: dict[str, Callable[[], Function]] = {
    "lowercase": lambda: str.lower,
    "lowercase_keep_special": lambda: _lowercase_keep_special,
    "collapse_whitespace": lambda: _collapse_whitespace,
    "convert_to_ascii": _to_ascii,
    "normalize_numbers": _numbers,
    "basic_cleaners": lambda: _chain([str.lower, _collapse_whitespace]),
    "transliteration_cleaners": lambda: _chain([_to_ascii(), str.lower, _collapse_whitespace]),
    "english_cleaners": lambda: _english(str.lower),
    "english_cleaners_keep_special": lambda: _english(_lowercase_keep_special),
}
_FACTORIES: dict[str, Callable[..., Function]] = {
    "get_remove_chars": _remove_chars,
    "get_replace": _replace,
}
