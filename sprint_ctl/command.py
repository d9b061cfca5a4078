"""Sprint's command line, from what users write in a configuration.

A command line is a string, split as a shell would, or a list, or a function that returns either. A
word that begins with ``$`` is replaced by that environment variable, split again; a word that is a
function is called (sprint-interface.md, section 8).
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from typing import TypeAlias

from .errors import SprintError, SprintStartError

__all__ = ["CommandLine", "find_executable", "from_returnn", "split_command"]

Word: TypeAlias = str | Callable[[], str]
CommandLine: TypeAlias = str | Sequence[Word] | Callable[[], str | Sequence[Word]]


def split_command(line: CommandLine) -> list[str]:
    """The words of a command line.

    Raises:
        TypeError: it is none.
        ValueError: unbalanced quotes, or an environment variable that is not set.
    """
    if callable(line):
        line = line()
    if isinstance(line, str):
        pieces: Sequence[Word] = shlex.split(line)
    elif isinstance(line, (list, tuple)):
        pieces = line
    else:
        raise TypeError(f"a command line is a string, a list or a function: {line!r}")
    words = []
    for piece in pieces:
        word = piece() if callable(piece) else piece
        if not isinstance(word, str):
            raise TypeError(f"a word of a command line is a string: {word!r}")
        words += _variable(word) if word.startswith("$") else [word]
    return words


def _variable(word: str) -> list[str]:
    """The words of ``$NAME`` or ``${NAME}``, with whatever follows the name."""
    name, rest = word[1:], ""
    if name.startswith("{"):
        name, _, rest = name[1:].partition("}")
    else:
        end = next((i for i, c in enumerate(name) if not (c.isalnum() or c == "_")), len(name))
        name, rest = name[:end], name[end:]
    if name not in os.environ:
        raise ValueError(f"the environment variable of {word!r} is not set")
    return shlex.split(os.environ[name] + rest)


def find_executable(executable: CommandLine) -> list[str]:
    """The words that start Sprint: a path, a name on PATH, or an interpreter with its arguments.

    A string that names a file is taken as it is, also with blanks in it.

    Raises:
        SprintStartError: there is no such program.
    """
    if isinstance(executable, (str, os.PathLike)) and os.path.exists(executable):
        words = [os.fspath(executable)]
    else:
        words = split_command(executable)
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise SprintStartError(
            "Sprint cannot be started: no such program, or not executable",
            found=repr(words[0]) if words else "an empty command",
        )
    return [os.path.abspath(found), *words[1:]]


def from_returnn(line: CommandLine) -> CommandLine:
    """Looks up "config:NAME" in RETURNN's global configuration; gives anything else back.

    Raises:
        SprintError: returnn cannot be imported, has no global configuration, or none of that name.
    """
    if not (isinstance(line, str) and line.startswith("config:")):
        return line
    try:
        from returnn.config import get_global_config
    except ImportError:
        raise SprintError(
            f"{line!r} is looked up in RETURNN's configuration, and returnn cannot be imported"
        ) from None
    name = line[len("config:") :]
    config = get_global_config(raise_exception=False)
    if config is None or name not in config.typed_dict:
        where = "RETURNN has loaded no configuration" if config is None else "it is not there"
        raise SprintError(f"{line!r} is looked up in RETURNN's configuration: {where}")
    found: CommandLine = config.typed_dict[name]
    return found
