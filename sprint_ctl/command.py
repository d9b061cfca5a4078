"""Sprint's command line, as users write it in a configuration.

A command line is a string, split as by a shell, a path, a list of words, or a function that returns
any of these. A word that begins with ``$`` is replaced by that environment variable, split again; a
word that is a function is called, a word that is a path is used as it is (sprint-interface.md,
section 8).
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .errors import SprintError, SprintStartError

__all__ = ["CommandLine", "find_executable", "from_returnn", "split_command"]

Text: TypeAlias = str | os.PathLike[str]
Word: TypeAlias = Text | Callable[[], Text]
CommandLine: TypeAlias = Text | Sequence[Word] | Callable[[], Text | Sequence[Word]]


def split_command(line: CommandLine) -> list[str]:
    """Returns the words of a command line.

    Raises:
        TypeError: not a command line.
        ValueError: unbalanced quotes, or an environment variable that is not set.
    """
    if callable(line):
        line = line()
    words: Sequence[Word]
    if isinstance(line, str):
        words = shlex.split(line)
    elif isinstance(line, os.PathLike):
        words = [line]
    elif isinstance(line, (list, tuple)):
        words = line
    else:
        raise TypeError(f"a command line must be a string, a list or a function, not {line!r:.80}")
    return [part for word in words for part in _parts(word() if callable(word) else word)]


def _parts(word: Text) -> list[str]:
    """Returns what a word is replaced by."""
    if isinstance(word, os.PathLike):
        return [os.fspath(word)]
    if not isinstance(word, str):
        raise TypeError(f"a word of a command line must be a string or a path, not {word!r:.80}")
    return _variable(word) if word.startswith("$") else [word]


def _variable(word: str) -> list[str]:
    """Returns the words of ``$NAME`` or ``${NAME}`` together with what follows the name."""
    name, suffix = word[1:], ""
    if name.startswith("{"):
        name, _, suffix = name[1:].partition("}")
    else:
        end = next((i for i, c in enumerate(name) if not (c.isalnum() or c == "_")), len(name))
        name, suffix = name[:end], name[end:]
    if name not in os.environ:
        raise ValueError(f"the environment variable of {word!r} is not set")
    return shlex.split(os.environ[name] + suffix)


def find_executable(executable: CommandLine) -> list[str]:
    """Returns the words that start Sprint: a path, a name on PATH, or a program with arguments.

    A string that names a file is used as it is, also if it contains blanks.

    Raises:
        SprintStartError: no such program.
    """
    if isinstance(executable, (str, os.PathLike)) and os.path.exists(executable):
        words = [os.fspath(executable)]
    else:
        words = split_command(executable)
    path = shutil.which(words[0]) if words else None
    if path is None:
        raise SprintStartError(
            "Sprint cannot be started: no such program, or not executable",
            found=repr(words[0]) if words else "an empty command",
        )
    return [os.path.abspath(path), *words[1:]]


def from_returnn(line: CommandLine) -> CommandLine:
    """Looks up "config:NAME" in RETURNN's global configuration; returns other lines unchanged.

    Raises:
        SprintError: returnn cannot be imported, has no global configuration, or not that name.
    """
    if not (isinstance(line, str) and line.startswith("config:")):
        return line
    try:
        from returnn.config import get_global_config
    except ImportError:
        raise SprintError(
            f"{line!r} is looked up in RETURNN's configuration, but returnn cannot be imported"
        ) from None
    name = line[len("config:") :]
    config = get_global_config(raise_exception=False)
    if config is None or name not in config.typed_dict:
        reason = "RETURNN has loaded no configuration" if config is None else "it has no such name"
        raise SprintError(f"{line!r} is looked up in RETURNN's configuration: {reason}")
    value: CommandLine = config.typed_dict[name]
    return value
