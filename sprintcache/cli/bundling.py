"""The command `bundle`: makes lists of archives, and checks them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sprintcache import _bundle as bundle
from sprintcache.errors import SprintCacheError
from sprintcache.opening import open_archive

__all__ = ["BundleCheck", "check_bundle", "check_members"]


class BundleCheck(NamedTuple):
    """What a bundle holds, and what is wrong with it.

    Attributes:
        num_archives, num_names: archives that can be opened, and different names in them.
        num_shadowed: names that several archives have; only the last one counts.
        num_relative: paths that Sprint looks up in its working directory.
        problems: a line each.
    """

    num_archives: int
    num_names: int
    num_shadowed: int
    num_relative: int
    problems: list[str]


def check_bundle(path: str) -> BundleCheck:
    """Looks at a bundle, the tables of its archives and Sprint's index; reads no entry."""
    try:
        listed, members = bundle.listed(path), bundle.members(path)
    except SprintCacheError as error:
        return BundleCheck(0, 0, 0, 0, [str(error)])
    except OSError as error:
        return BundleCheck(0, 0, 0, 0, [_text(path, error)])
    check = check_members(members)
    problems = check.problems
    for token, count in Counter(listed).items():
        if count > 1:
            problems.append(f"{path}: it lists {token} {count} times")
    if not problems:
        with open_archive(path) as archive:
            places = {name: archive.entry(name).archive_path for name in archive}
        stale = bundle.index_problem(path, places.keys(), places)
        problems += [] if stale is None else [f"{path}: {stale}"]
    relative = sum(not os.path.isabs(token) for token in listed)
    return check._replace(num_relative=relative)


def check_members(paths: Sequence[str]) -> BundleCheck:
    """Looks at the archives that a bundle lists or is to list."""
    names: Counter[str] = Counter()
    problems = []
    opened = 0
    for path in paths:
        try:
            with open_archive(path) as archive:
                names.update(archive)
                problems += list(_scans(archive.scan_reports))
                opened += 1
        except SprintCacheError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(_text(path, error))
    shadowed = sum(count > 1 for count in names.values())
    return BundleCheck(opened, len(names), shadowed, 0, problems)


def _scans(reports: Sequence[object]) -> Iterator[str]:
    for report in reports:
        if report is not None:
            yield str(report)


def _text(path: str, error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if path in reason else f"{path}: {reason}"
