"""Bundles: text files that list archives (archive format, section 4)."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from ._files import check_regular
from ._path_map import PathMap, absolute_path, is_url, path_mapper
from ._text_file import open_regular
from .errors import FormatError

__all__ = ["index_problem", "listed", "members", "write"]

# a bundle is a list of paths: anything longer is another kind of file under a wrong name
_MAX_BYTES = 1 << 28
# bundles can list each other so that their members double at every level
_MAX_MEMBERS = 1 << 16
_MAX_LEVELS = 64


def members(
    path: str,
    path_map: PathMap | None = None,
    by_line: bool = False,
    original: str | None = None,
) -> list[str]:
    """Paths of the archives that a bundle lists, absolute, nested bundles replaced by theirs.

    The file is split at whitespace. A relative path is looked up in the folder of the bundle, then
    in the folders that a symbolic link to the bundle leads to, then in the working directory. The
    bundle and its members may be URLs; a path relative to a URL is one.

    Args:
        path_map: as of `open_archive`; for the listed paths, not for `path` itself.
        by_line: split at line ends only, as RETURNN and i6_core do: paths may contain blanks.
        original: the path that the path map led from; relative paths are looked up in its folder
            too.

    Raises:
        FileNotFoundError: if a listed archive does not exist.
        FormatError: if the file is not a list of paths, or if bundles contain each other, or more
            than 64 levels or 65,536 members.
    """
    full = absolute_path(path)
    return _Members(path_mapper(path_map), by_line).of(full, original or full)


class _Members:
    """Collects the archives of a bundle; counts archives and bundles."""

    def __init__(self, mapped: Callable[[str], str], by_line: bool) -> None:
        self._mapped = mapped
        self._by_line = by_line
        self._archives: list[str] = []
        self._num_paths = 0

    def of(self, path: str, original: str) -> list[str]:
        self._visit(path, original, ())
        return self._archives

    def _visit(self, path: str, original: str, parents: tuple[str, ...]) -> None:
        real = path if is_url(path) else os.path.realpath(path)
        if real in parents or len(parents) >= _MAX_LEVELS:
            problem = "contains itself" if real in parents else f"is nested {_MAX_LEVELS} deep"
            raise FormatError(f"the bundle {problem}", path=path, found=" > ".join(parents[-3:]))
        for token in listed(path, self._by_line):
            self._num_paths += 1
            if self._num_paths > _MAX_MEMBERS:
                reason = f"more than {_MAX_MEMBERS} members, nested ones included"
                raise FormatError(reason, path=path)
            member, unmapped = _resolve(path, original, token, self._mapped)
            if member.endswith(".bundle"):
                self._visit(member, unmapped, (*parents, real))
            else:
                self._archives.append(member)


def listed(path: str, by_line: bool = False) -> list[str]:
    """The paths of a bundle as they are written there; `by_line` as of `members`.

    Raises:
        FormatError: if the file is not a list of paths.
        OSError: if it cannot be read.
    """
    if is_url(path):
        from ._remote.sparse_copy import read_object

        data = read_object(path, _MAX_BYTES)
        size = len(data)
    else:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= _MAX_BYTES else b""
    if size > _MAX_BYTES or b"\0" in data:
        raise FormatError(
            "not a bundle",
            path=path,
            offset=max(data.find(b"\0"), 0),
            expected="a list of paths",
            found="binary data" if b"\0" in data else "more than 256 MiB",
        )
    tokens = [line for line in data.splitlines() if line.strip()] if by_line else data.split()
    return [os.fsdecode(token) for token in tokens]


def _resolve(
    bundle: str, original: str, token: str, mapped: Callable[[str], str]
) -> tuple[str, str]:
    """The path of an archive that a bundle lists, mapped and before the map."""
    folders = [*_folders(bundle), os.path.dirname(original), os.getcwd()]
    candidates = list(dict.fromkeys(_absolute(folder, token) for folder in folders))
    # a function as path map, such as a copy to a local disk, may fail for a file that is missing
    candidates.sort(key=lambda candidate: not _may_exist(candidate))
    tried: dict[str, None] = {}
    for candidate in candidates:
        for path in (mapped(candidate), candidate):
            if _may_exist(path):
                return path, candidate
            tried[path] = None
    raise FileNotFoundError(
        errno.ENOENT, f"listed archive {token!r} is missing: no {', nor '.join(tried)}", bundle
    )


def _may_exist(path: str) -> bool:
    """Whether a file exists; an object of a store is taken for granted until it is opened."""
    return is_url(path) or os.path.exists(path)


def _folders(bundle: str) -> Iterator[str]:
    """The folder of a bundle, and those that a symbolic link leads to."""
    path = bundle
    for _ in range(_MAX_LEVELS):
        yield os.path.dirname(path)
        if is_url(path) or not os.path.islink(path):
            return
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.readlink(path))


def _absolute(folder: str, token: str) -> str:
    """A path in a folder; the parent of a linked folder is that of the folder it leads to."""
    if is_url(token):
        return token
    path = os.path.join(folder, token)
    if is_url(path):
        scheme, separator, rest = path.partition("://")
        return scheme + separator + os.path.normpath(rest)
    parent, name = os.path.split(path)
    if ".." in parent.split(os.sep):
        path = os.path.join(os.path.realpath(parent), name)
    return os.path.abspath(path)


def write(path: str, archives: Iterable[str], relative: bool = False, mode: str = "x") -> None:
    """Writes a bundle, whole or not at all.

    Args:
        archives: the paths to list; of entries in several, the last one counts.
        relative: whether paths are written relative to the bundle's folder; Sprint looks them up in
            its working directory. Otherwise they are absolute.
        mode: "x": an error if it exists; "w": replaces it, and
            removes Sprint's index of it.

    Raises:
        FileExistsError: in mode "x".
        ValueError: for a path with blanks, which a bundle cannot hold, or a name that does not end
            in ".bundle".
        OSError: if the system fails.
    """
    full = os.path.abspath(path)
    if not full.endswith(".bundle"):
        raise ValueError(f"{path}: the name of a bundle must end in .bundle")
    if mode == "x" and os.path.lexists(full):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    check_regular(full)
    lines = []
    for archive in archives:
        text = os.path.abspath(archive)
        if relative:  # ".." of a linked folder leads to the parent of its target
            folder, name = os.path.split(text)
            text = os.path.join(os.path.realpath(folder), name)
            text = os.path.relpath(text, os.path.realpath(os.path.dirname(full)))
        line = os.fsencode(text)
        if len(line.split()) != 1:
            raise ValueError(f"{text}: a bundle cannot list a path with blanks")
        lines.append(line + b"\n")
    partial = f"{full}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, full)
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)
    if os.path.exists(full + ".idx.gz"):
        os.unlink(full + ".idx.gz")


def index_problem(
    path: str,
    names: Set[str],
    archive_paths: Mapping[str, str] | None = None,
    path_map: PathMap | None = None,
) -> str | None:
    """Why Sprint's index ``<bundle>.idx.gz`` is wrong; None if it is correct or absent.

    We read every member's own table and need no index; Sprint does use it, checks only the list of
    members, and so misses entries that an old index does not have.

    Args:
        names: all entry names of the bundle.
        archive_paths: entry name to the path of the archive that holds it; None: not compared.
        path_map: as of `members`.
    """
    index = path + ".idx.gz"
    if not os.path.exists(index):
        return None
    # the largest valid index: the paths of the bundle, a line for each name, two counts
    limit = os.path.getsize(path) + sum(len(os.fsencode(name)) + 12 for name in names) + 64
    try:
        with open_regular(index) as file, gzip.GzipFile(fileobj=file) as inflated:
            words = inflated.read(limit).split()
        count = int(words[0])
        tokens = [os.fsdecode(token) for token in words[1 : 1 + count]]
        rows = int(words[1 + count])
        keys = [os.fsdecode(name) for name in words[2 + count :: 2]]
        homes = [tokens[int(number)] for number in words[3 + count :: 2]]
        indexed = dict(zip(keys, homes, strict=True))
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        return f"the bundle's index is damaged ({error}); remove {index}"
    if tokens != listed(path):
        return f"the bundle's index lists other archives (Sprint rewrites it): {index}"
    if len(indexed) != rows or indexed.keys() != {n for n in names if not n.split()[1:]}:
        return (
            f"the bundle's index is stale: it has {len(indexed)} names, the archives {len(names)};"
            f" Sprint would miss entries; remove {index}"
        )
    mapped = path_mapper(path_map)
    resolved = {token: _resolve(path, path, token, mapped)[0] for token in tokens}
    for name, token in indexed.items():
        is_archive = not token.endswith(".bundle")
        if archive_paths and is_archive and resolved[token] != archive_paths[name]:
            return f"the bundle's index looks for {name!r} in {token}; remove {index}"
    return None
