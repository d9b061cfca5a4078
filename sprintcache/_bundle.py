"""Bundles: text files that list archives (archive format, section 4)."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Iterable, Mapping, Set

from ._files import check_regular
from .errors import FormatError

__all__ = ["index_problem", "listed", "members", "write"]

# a bundle is a list of paths: anything longer is another kind of file under a wrong name
_MOST_BYTES = 1 << 28
# bundles can list each other so that their members double at every level
_MOST_MEMBERS = 1 << 16
_MOST_LEVELS = 64


def members(path: str) -> list[str]:
    """Paths of the archives that a bundle lists, absolute, nested bundles replaced by theirs.

    The file is split at whitespace. A relative path is looked up beside the bundle first, then in
    the working directory.

    Raises:
        FileNotFoundError: if a listed archive is in neither place.
        FormatError: if the file is no list of paths, or if bundles contain each other, or more
            than 64 levels or 65,536 members.
    """
    found: list[str] = []
    _visit(os.path.abspath(path), (), found, [0])
    return found


def _visit(path: str, parents: tuple[str, ...], found: list[str], visited: list[int]) -> None:
    """Appends the archives of a bundle to `found`; `visited` counts archives and bundles."""
    real = os.path.realpath(path)
    if real in parents or len(parents) >= _MOST_LEVELS:
        what = "contains itself" if real in parents else f"lies {_MOST_LEVELS} bundles deep"
        raise FormatError(f"the bundle {what}", path=path, found=" > ".join(parents[-3:]))
    for token in listed(path):
        visited[0] += 1
        if visited[0] > _MOST_MEMBERS:
            raise FormatError(f"more than {_MOST_MEMBERS} members, nested ones included", path=path)
        member = _resolve(path, token)
        if member.endswith(".bundle"):
            _visit(member, (*parents, real), found, visited)
        else:
            found.append(member)


def listed(path: str) -> list[str]:
    """The paths as they stand in a bundle.

    Raises:
        FormatError: if the file is no list of paths.
        OSError: if it cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise FormatError("not a bundle", path=path, expected="a list of paths", found="no file")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read() if size <= _MOST_BYTES else b""
    if size > _MOST_BYTES or b"\0" in data:
        raise FormatError(
            "not a bundle",
            path=path,
            offset=max(data.find(b"\0"), 0),
            expected="a list of paths",
            found="binary data" if b"\0" in data else "more than 256 MiB",
        )
    return [os.fsdecode(token) for token in data.split()]


def _resolve(bundle: str, token: str) -> str:
    beside = os.path.join(os.path.dirname(bundle), token)
    here = os.path.abspath(token)
    for candidate in (beside, here):
        if os.path.exists(candidate):
            return os.path.abspath(candidate)
    where = ", nor ".join(dict.fromkeys((beside, here)))
    raise FileNotFoundError(
        errno.ENOENT, f"listed archive {token!r} is missing: no {where}", bundle
    )


def write(path: str, archives: Iterable[str], relative: bool = False, mode: str = "x") -> None:
    """Writes a bundle, whole or not at all.

    Args:
        path: the bundle.
        archives: what it lists; of a name that several have, the last one counts.
        relative: whether paths are written relative to the bundle's folder; Sprint looks them up in
            its working directory. Otherwise they are absolute.
        mode: "x": an error if there is one; "w": in place of what is there, and Sprint's index of
            that is removed.

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
        text = os.path.relpath(text, os.path.dirname(full)) if relative else text
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
    path: str, names: Set[str], places: Mapping[str, str] | None = None
) -> str | None:
    """Why Sprint's index ``<bundle>.idx.gz`` cannot be trusted; None if it is sound or absent.

    We read every member's own table and need no index; Sprint does use it, checks only the list of
    members, and so misses entries that an old index does not have.

    Args:
        path: the bundle.
        names: all entry names of the bundle.
        places: entry name to the path of the archive that holds it; None: not looked at.
    """
    index = path + ".idx.gz"
    if not os.path.exists(index):
        return None
    # what a sound one can have at most: the bundle's paths, a line for each name, two counts
    most = os.path.getsize(path) + sum(len(os.fsencode(name)) + 12 for name in names) + 64
    try:
        with gzip.open(index, "rb") as file:
            words = file.read(most).split()
        count = int(words[0])
        tokens = [os.fsdecode(token) for token in words[1 : 1 + count]]
        rows = int(words[1 + count])
        keys = [os.fsdecode(name) for name in words[2 + count :: 2]]
        homes = [tokens[int(number)] for number in words[3 + count :: 2]]
        indexed = dict(zip(keys, homes, strict=True))
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        return f"the bundle's index is damaged ({error}); remove {index}"
    if tokens != listed(path):
        return f"the bundle's index lists other archives (Sprint makes it anew): {index}"
    if len(indexed) != rows or indexed.keys() != {n for n in names if not n.split()[1:]}:
        return (
            f"the bundle's index is stale: it has {len(indexed)} names, the archives {len(names)};"
            f" Sprint would miss entries; remove {index}"
        )
    members = {token: _resolve(path, token) for token in tokens}
    for name, token in indexed.items():
        if places and not token.endswith(".bundle") and members[token] != places[name]:
            return f"the bundle's index looks for {name!r} in {token}; remove {index}"
    return None
