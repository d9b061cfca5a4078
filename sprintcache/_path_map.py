"""Path maps: where files are now whose paths were written elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

__all__ = ["ENVIRONMENT", "PathMap", "absolute_path", "is_url", "mapped_path", "path_mapper"]

StrPath: TypeAlias = "str | os.PathLike[str]"
PathMap: TypeAlias = "Mapping[str, str] | Callable[[str], StrPath]"

ENVIRONMENT = "SPRINTCACHE_PATH_MAP"
_BETWEEN = re.compile(rf"{os.pathsep}(?!//)")  # not the colon of a URL


def is_url(path: str) -> bool:
    """Whether a path names an object of a store, such as ``s3://bucket/features.cache``."""
    return "://" in path


def absolute_path(path: StrPath) -> str:
    """A path from the root; a URL stays as it is."""
    text = os.fspath(path)
    return text if is_url(text) else os.path.abspath(text)


def path_mapper(path_map: PathMap | None) -> Callable[[str], str]:
    """A function from an absolute path to the path that is opened instead.

    Args:
        path_map: old to new folders or files; the longest old path that contains a path counts,
            and other paths stay. Or a function of an absolute path, such as one that copies the
            file to a local disk. None: what the environment variable `ENVIRONMENT` says.

    Raises:
        TypeError: if it is neither.
        ValueError: if it maps an empty or a relative path, or for a malformed variable.
    """
    if path_map is None:
        path_map = _from_environment()
    if isinstance(path_map, Mapping):
        return _by_prefix(path_map)
    if not callable(path_map):
        raise TypeError(f"path_map must be a mapping or a function, not {path_map!r:.80}")
    return _by_function(path_map)


def mapped_path(path: StrPath, path_map: PathMap | None) -> str:
    """The absolute path that is opened instead of a path; see `path_mapper`."""
    return path_mapper(path_map)(os.path.abspath(path))


def _by_function(function: Callable[[str], StrPath]) -> Callable[[str], str]:
    def mapped(path: str) -> str:
        new = function(path)
        if not isinstance(new, (str, os.PathLike)):
            raise TypeError(f"path_map must return a path, not {new!r:.80}, for {path!r}")
        return absolute_path(new)

    return mapped


def _from_environment() -> dict[str, str]:
    """The map of the environment variable: ``/old=/new``, several joined by colons."""
    text = os.environ.get(ENVIRONMENT)
    if not text:
        return {}
    pairs = [item for item in _BETWEEN.split(text) if item]
    for item in pairs:
        if "=" not in item:
            raise ValueError(
                f"{ENVIRONMENT}: expected /old=/new, several joined by ':', not {item!r}"
            )
    return {old: new for old, _, new in (item.partition("=") for item in pairs)}


def _normal(path: str) -> str:
    return path.rstrip("/") if is_url(path) else os.path.normpath(path)


def _by_prefix(folders: Mapping[str, str]) -> Callable[[str], str]:
    pairs: list[tuple[str, str]] = []
    for old, new in folders.items():
        if not all(isinstance(path, (str, os.PathLike)) for path in (old, new)):
            raise TypeError(f"path_map must map paths, not {old!r} to {new!r:.80}")
        old, new = os.fspath(old), os.fspath(new)
        if not all(is_url(path) or os.path.isabs(path) for path in (old, new)):
            raise ValueError(f"path_map must map absolute paths, not {old!r} to {new!r}")
        pairs.append((_normal(old), _normal(new)))
    pairs.sort(key=lambda pair: len(pair[0]), reverse=True)

    def mapped(path: str) -> str:
        for old, new in pairs:
            if path == old:
                return new
            folder = old if old.endswith("/") else old + "/"
            if path.startswith(folder):
                return os.path.join(new, path[len(folder) :])
        return path

    return mapped
