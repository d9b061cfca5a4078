"""`sprintcache bundle`: writes bundles, and checks them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import sprintcache
from sprintcache.errors import SprintCacheError

from ._console import report, write_line
from ._copying import explain_existing
from ._options import add_command, add_dry_run, add_paths
from ._parser import UsageError
from ._text import pluralize

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments of the command."""

    archives: list[str]
    to: str
    check: bool
    relative: bool
    overwrite: bool
    dry_run: bool

    def __post_init__(self) -> None:
        if self.check and (self.relative or self.overwrite):
            raise UsageError("--relative and --overwrite are for --to")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "bundle",
        "make or check a bundle of archives",
        "Writes a bundle, a list of archives that Sprint reads as if they were one. If several"
        " archives have an entry of the same name, the last one in the list counts. With --check,"
        " checks that the archives in a bundle exist and have a valid table, and that Sprint's"
        " index of the bundle is up to date.\n\n"
        "exit status: 1 if there is a problem",
        "  sprintcache bundle features.*.cache --to features.bundle\n"
        "  sprintcache bundle --check features.bundle",
    )
    add_paths(parser, "archives", "ARCHIVE")
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--to", metavar="BUNDLE", help="the bundle to write; must end in .bundle")
    group.add_argument("--check", action="store_true", help="check each ARCHIVE, which is a bundle")
    parser.add_argument(
        "--relative",
        action="store_true",
        help="list paths relative to the bundle's folder, in which Sprint must then be started;"
        " the default is absolute paths",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace BUNDLE if it exists")
    add_dry_run(parser)


def run(options: Options) -> int:
    """Writes or checks bundles; status 1 if there is a problem."""
    if options.check:
        num_problems = sum([_check_and_report(path) for path in options.archives])
        return 1 if num_problems else 0
    check = _check_members(options.archives)
    _write_problems(check.problems)
    if check.num_archives < len(options.archives):
        report(f"{options.to} was not written")
        return 1
    if not options.dry_run:
        from sprintcache import _bundle

        with explain_existing("--overwrite replaces it"):
            mode = "w" if options.overwrite else "x"
            _bundle.write(options.to, options.archives, options.relative, mode)
    verb = "would list" if options.dry_run else "lists"
    report(f"{options.to} {verb} {_describe(check)}")
    return 1 if check.problems else 0


def _check_and_report(path: str) -> int:
    """Checks one bundle; returns the number of problems."""
    check = _check_bundle(path)
    _write_problems(check.problems)
    text = _describe(check)
    if check.num_relative:
        text += f"; {check.num_relative} relative paths, which Sprint resolves where it is started"
    num_problems = len(check.problems)
    outcome = pluralize(num_problems, "problem", "problems") if num_problems else "no problems"
    report(f"{path}: {text}: {outcome}")
    return num_problems


def _write_problems(problems: Sequence[str]) -> None:
    for problem in problems:
        write_line(problem.replace("\n", "\\n"))


class _BundleCheck(NamedTuple):
    """Contents of a bundle, and its problems.

    Attributes:
        num_archives, num_names: archives that can be opened, and different names in them.
        num_shadowed: names in several archives; only the last one counts.
        num_relative: paths that Sprint resolves in its working directory.
        problems: a line each.
    """

    num_archives: int
    num_names: int
    num_shadowed: int
    num_relative: int
    problems: list[str]


def _describe(check: _BundleCheck) -> str:
    text = pluralize(check.num_archives, "archive", "archives")
    text += f" with {pluralize(check.num_names, 'name', 'names')}"
    if check.num_shadowed:
        text += f", {check.num_shadowed} of them in several, where the last counts"
    return text


def _check_bundle(path: str) -> _BundleCheck:
    """Checks a bundle, the tables of its archives and Sprint's index; reads no entry."""
    from sprintcache import _bundle

    try:
        tokens, members = _bundle.listed(path), _bundle.members(path)
    except SprintCacheError as error:
        return _BundleCheck(0, 0, 0, 0, [str(error)])
    except OSError as error:
        return _BundleCheck(0, 0, 0, 0, [_describe_os_error(path, error)])
    check = _check_members(members)
    problems = check.problems
    for token, count in Counter(tokens).items():
        if count > 1:
            problems.append(f"{path}: it lists {token} {count} times")
    if not problems:
        with sprintcache.open_archive(path, index=None) as archive:
            archive_paths = {name: archive.entry(name).archive_path for name in archive}
        stale = _bundle.index_problem(path, archive_paths.keys(), archive_paths)
        problems += [] if stale is None else [f"{path}: {stale}"]
    num_relative = sum(not os.path.isabs(token) for token in tokens)
    return check._replace(num_relative=num_relative)


def _check_members(paths: Sequence[str]) -> _BundleCheck:
    """Opens the members of a bundle."""
    names: Counter[str] = Counter()
    problems = []
    num_opened = 0
    for path in paths:
        try:
            with sprintcache.open_archive(path, index=None) as archive:
                names.update(archive)
                problems += [str(scan) for scan in archive.scan_reports if scan is not None]
                num_opened += 1
        except SprintCacheError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(_describe_os_error(path, error))
    num_shadowed = sum(count > 1 for count in names.values())
    return _BundleCheck(num_opened, len(names), num_shadowed, 0, problems)


def _describe_os_error(path: str, error: OSError) -> str:
    reason = error.strerror or str(error)
    return reason if path in reason else f"{path}: {reason}"
