"""Configuration: Sprint's resources, from files and pairs, and how parameters find them.

As in RASR (Core/Configuration): a resource is a name with a value; the parameter
``application.selection.name`` takes the value of the resource whose name matches it with the most
literal components, where ``*`` matches any number of components, none included. Of resources
with the same name the later one counts.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from typing import Optional, TypeVar, Union

from ._text_file import open_regular
from .errors import ConfigurationError, FormatError

__all__ = ["Configuration", "Source"]

_COMMENT = "#;%"
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_INFINITE = ("inf", "infinity", "infinite")
_NAME = re.compile(r"(\*|[^.*]+)(\.(\*|[^.*]+))*")
_REFERENCE = re.compile(r"\$\(([^)]*)\)")
_LINE = re.compile(rf"\s*([^=\s{_COMMENT}]+)\s*(?:=\s*(.*))?")
_MAX_LEVELS = 64  # of files that include each other
_MAX_FILES = 1000  # files can include each other so that their number doubles at every level
_MAX_VALUE = 1 << 20  # characters; values can refer to each other so that they double

_Number = TypeVar("_Number", int, float)
Source = Union[str, "os.PathLike[str]", Mapping[str, object], Sequence[str]]


class Configuration:
    """Resources, seen from one selection such as ``neural-network-trainer.corpus``."""

    def __init__(
        self,
        resources: dict[str, str],
        selection: str,
        complain: Optional[Callable[[str], None]] = None,  # noqa: UP045  (Python 3.8)
    ) -> None:
        """Wraps resources.

        Args:
            resources: name to value.
            selection: selection whose parameters are read.
            complain: called for lines, names and references that are wrong and then ignored, as
                Sprint does; by default they are written to stderr.
        """
        self._resources = resources
        self.selection = selection
        self._complain = complain or _write_to_stderr
        self._base: Optional[str] = None  # noqa: UP045  (Python 3.8)
        self._num_files = 0

    @classmethod
    def from_arguments(
        cls,
        arguments: Sequence[str],
        application: str,
        complain: Optional[Callable[[str], None]] = None,  # noqa: UP045  (Python 3.8)
    ) -> Configuration:
        """Reads a command line: ``--name=value``, ``--name value``, ``--flag``, ``--config=file``.

        What is on the command line wins over the same name in the file, as in Sprint.
        """
        config = cls({}, application, complain)
        config._read_command_line(arguments)
        return config

    @classmethod
    def from_sources(
        cls,
        sources: Sequence[Source],
        application: str,
        base: Optional[str] = None,  # noqa: UP045  (Python 3.8)
    ) -> Configuration:
        """Reads files, mappings of names to values and command lines; later ones win.

        Args:
            sources: paths of configuration files, mappings, and sequences of arguments.
            application: name of the application, such as ``"lib-rasr"``.
            base: folder where a relative path of a file is looked for first.

        Raises:
            OSError: if a file cannot be read.
            ConfigurationError: for a line, name or reference that Sprint would complain about.
        """
        config = cls({}, application, _refuse)
        config._base = base
        for source in sources:
            if isinstance(source, Mapping):
                for name, value in source.items():
                    config._set(str(name), _text(value))
            elif isinstance(source, (str, os.PathLike)):
                config._read_file(config._located(os.fspath(source)), "*")
            else:
                config._read_command_line(list(source))
        return config

    def select(self, name: str) -> Configuration:
        return Configuration(self._resources, f"{self.selection}.{name}", self._complain)

    def at(self, selection: str) -> Configuration:
        """Returns the same resources seen from another selection."""
        return Configuration(self._resources, selection, self._complain)

    def mentions(self, component: str) -> bool:
        """Whether the name of a resource has this component."""
        return any(component in name.split(".") for name in self._resources)

    def values_of(self, parameter: str) -> dict[str, str]:
        """Resolved values of all resources of a parameter, for any selection, by their names."""
        names = [name for name in self._resources if name.split(".")[-1] == parameter]
        return {name: self._resolve(name, (), {}) for name in names}

    def layer_names(self, parameter: str, value: str) -> list[str]:
        """The last literal selections of resources that set `parameter` to `value`."""
        names = (name.split(".") for name, text in self._resources.items() if text == value)
        selections = [parts[-2] for parts in names if parts[-1] == parameter and len(parts) > 1]
        return [name for name in selections if name not in ("*", self.selection)]

    # ---- typed values

    def get(self, name: str) -> Optional[str]:  # noqa: UP045  (Python 3.8)
        """The resolved value of a parameter, or None."""
        resource = self._find([*self.selection.split("."), name])
        return None if resource is None else self._resolve(resource, (), {})

    def string(self, name: str, default: str) -> str:
        value = self.get(name)
        return default if value is None else value

    def integer(self, name: str, default: int) -> int:
        return self._number(name, default, int)

    def real(self, name: str, default: float) -> float:
        value = self.get(name)
        return float("inf") if value == "infinity" else self._number(name, default, float)

    def weight(self, name: str, default: float) -> float:
        """A real number; ``infinity`` is the largest double, as in Sprint."""
        value = self.get(name)
        if value is not None and value.lower().lstrip("+-") in _INFINITE:
            return -sys.float_info.max if value.startswith("-") else sys.float_info.max
        return self._number(name, default, float)

    def boolean(self, name: str, default: bool) -> bool:
        value = self.get(name)
        if value is None:
            return default
        if value.lower() not in _WORDS:
            raise ConfigurationError(
                f"{self.selection}.{name} = {value!r} is neither true nor false"
            )
        return _WORDS[value.lower()]

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        value = self.string(name, default)
        if value not in choices:
            raise ConfigurationError(
                f"{self.selection}.{name} = {value!r} is not one of {', '.join(choices)}"
            )
        return value

    def _number(self, name: str, default: _Number, kind: type[_Number]) -> _Number:
        value = self.get(name)
        try:
            number = default if value is None else kind(value)
        except ValueError:
            raise ConfigurationError(
                f"{self.selection}.{name} = {value!r} is not a number"
            ) from None
        if number != number:
            raise ConfigurationError(f"{self.selection}.{name} = {value!r} is not a number")
        return number

    # ---- matching

    def _find(self, components: list[str]) -> Optional[str]:  # noqa: UP045  (Python 3.8)
        """Name of the resource that matches best; of equals the first one in the alphabet."""
        best_score, best_name = 0, None
        last_components = ("*", components[-1])
        for name in sorted(self._resources):
            if name.rpartition(".")[2] not in last_components:
                continue  # the quick answer for almost all
            score = _score(name.split("."), components)
            if score > best_score:
                best_score, best_name = score, name
        return best_name

    def _resolve(self, name: str, parents: tuple[str, ...], known: dict[str, str]) -> str:
        """The value of a resource; `known` has the values that were resolved before."""
        if name in parents:
            self._complain(f'circular references encountered in resource "{name}"')
            return f"({name})"
        if name not in known:
            value = _REFERENCE.sub(
                lambda match: self._reference(match[1], (*parents, name), known),
                self._resources[name],
            )
            if len(value) > _MAX_VALUE:
                self._complain(f'value of resource "{name}" has {len(value)} characters')
                value = f"({name})"
            known[name] = value
        return known[name]

    def _reference(self, query: str, parents: tuple[str, ...], known: dict[str, str]) -> str:
        """The value of ``$(query)``: searched from the selection outwards, then outside."""
        scope = self.selection.split(".")
        for length in range(len(scope), -1, -1):
            resource = self._find([*scope[:length], query])
            if resource is not None:
                return self._resolve(resource, parents, known)
        if query in os.environ:
            return os.environ[query]
        self._complain(f'could not resolve reference "{query}"')
        return f"({query})"

    def resolve(self, text: str) -> str:
        """Replaces the ``$(name)`` of a text from elsewhere, such as a flow network."""
        known: dict[str, str] = {}
        return _REFERENCE.sub(lambda match: self._reference(match[1], (), known), text)

    # ---- reading

    def _set(self, name: str, value: str) -> None:
        if not _NAME.fullmatch(name):
            self._complain(f'malformed resource name "{name}"')
            return
        quotes = [index for index, char in enumerate(value) if char in "\"'"]
        if len(quotes) > 1:
            value = value[quotes[0] + 1 : quotes[-1]]
        self._resources[name] = value

    def _read_command_line(self, arguments: Sequence[str]) -> None:
        self._read_arguments(arguments)
        file = self.string("config", "")
        if file:
            self._read_file(self._located(file), "*")
            self._read_arguments(arguments)

    def _located(self, path: str) -> str:
        """Returns the path below the base if it is a file, else the path itself."""
        below = path if self._base is None else os.path.join(self._base, path)
        return below if os.path.isfile(below) else path

    def _read_arguments(self, arguments: Sequence[str]) -> None:
        waiting = None
        for argument in arguments:
            if not argument.startswith("--"):
                if waiting is not None:
                    self._set(waiting, argument)
                waiting = None
                continue
            if waiting is not None:
                self._set(waiting, "true")
            name, equals, value = argument[2:].partition("=")
            name = name[1:] if name.startswith(".") else f"{self.selection}.{name}"
            waiting = None if equals else name
            if equals:
                self._set(name, value)
        if waiting is not None:
            self._set(waiting, "true")

    def _read_file(self, path: str, selection: str, level: int = 0) -> None:
        if level > _MAX_LEVELS:
            self._complain(f'files include each other more than {_MAX_LEVELS} deep at "{path}"')
            return
        self._num_files += 1
        if self._num_files > _MAX_FILES:
            self._complain(f'more than {_MAX_FILES} files, the last one is "{path}"')
            return
        try:
            with TextIOWrapper(open_regular(path), "utf-8", "surrogateescape") as file:
                lines = file.read().split("\n")
        except FormatError as error:
            self._complain(str(error))
            return
        except OSError as error:
            if self._complain is _refuse:
                raise
            self._complain(f'failed to open file "{path}" for reading. ({error.strerror})')
            return
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0][0] in _COMMENT:
                continue
            if words[0] == "include" and len(words) > 1 and words[1][0] != "=":
                file_name = self.resolve(words[1])
                if not os.path.isfile(file_name):
                    file_name = os.path.join(os.path.dirname(path), file_name)
                self._read_file(file_name, selection, level + 1)
            elif line.startswith("["):
                selection = self.resolve(line[1:].partition("]")[0].strip()) or "*"
            else:
                self._read_line(path, number, line, selection)

    def _read_line(self, path: str, number: int, line: str, selection: str) -> None:
        match = _LINE.match(line)
        if match is None:
            self._complain(f"{path} line {number}: syntax error")
            return
        name, value = match[1], match[2]
        if value is None:
            value = "true"
        elif value[:1] not in ("'", '"'):
            value = re.split(f"[{_COMMENT}]", value)[0].rstrip()
        joint = "" if selection.endswith("*") and name.startswith("*") else "."
        prefix = selection[:-1] if not joint else selection
        self._set(f"{prefix}{joint}{self.resolve(name)}", value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _score(pattern: list[str], components: list[str]) -> int:
    """Number of literal components of a matching pattern; -1 where it does not match."""
    impossible = -1
    scores = [0] + [impossible] * len(components)
    for part in pattern:
        if part == "*":
            for length in range(1, len(scores)):
                scores[length] = max(scores[length], scores[length - 1])
            continue
        for length in range(len(components), 0, -1):
            known = scores[length - 1] >= 0 and components[length - 1] == part
            scores[length] = scores[length - 1] + 1 if known else impossible
        scores[0] = impossible
    return scores[-1]


def _write_to_stderr(text: str) -> None:
    sys.stderr.write(f"configuration error: {text}\n")


def _refuse(text: str) -> None:
    raise ConfigurationError(text)
