"""What the commands that write archives do; arguments and status as in `commands`."""

from __future__ import annotations

import errno
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sprintcache import _bundle as bundles
from sprintcache._files import partial_of, same_file
from sprintcache._write import combine as combining
from sprintcache._write.combine_plan import with_attributes
from sprintcache._write.recover import recover as recover_archive
from sprintcache._write.writer import ArchiveWriter
from sprintcache.errors import SprintCacheError
from sprintcache.opening import open_archive

from .adding import Adder, sources_of
from .arguments import UsageError
from .bundling import check_bundle, check_members
from .contents import Content, Timing
from .formats import FORMATS, read_file
from .interrupts import Work
from .selection import as_stored, chosen, lines_of, listed
from .wording import in_words, many

if TYPE_CHECKING:
    from sprintcache._write.combine import CombineReport
    from sprintcache.archive import Archive

    from .bundling import BundleCheck

__all__ = ["add", "bundle", "combine", "copy", "recover", "remove", "repack"]

Line = Callable[[str], None]


def add(arguments: Namespace, say: Line, note: Line) -> int:
    """Adds files; status 1 if some are left out or differ from what is there."""
    if not arguments.more and arguments.list is None:
        raise UsageError("nothing to add: PATH or --list is needed")
    path, kind = arguments.archive, FORMATS[arguments.format]
    timing = Timing(arguments.frame_shift, arguments.frame_length)
    more = dict(as_stored(pair) for pair in arguments.attribute)

    def read(file: str) -> Content:
        payload, attributes = read_file(file, arguments.format, timing)
        if more:
            attributes = {**(attributes or {}), **more}
        return Content(payload, attributes)

    lines = [] if arguments.list is None else lines_of(arguments.list)
    (prefix,) = as_stored([arguments.prefix])
    sources = sources_of(arguments.more, lines, kind.suffix, note)
    others = [source for source in sources if not same_file(source.path, path)]
    if len(others) < len(sources):
        note(f"{path} does not go into itself and was passed over")
    sources = [source._replace(name=prefix + source.name) for source in others]
    adder = Adder(path, read, arguments.duplicates, note)
    with ExitStack() as stack:
        work = stack.enter_context(Work("adding", note, _left(path, "a")))
        if arguments.dry_run:
            for source in adder.decide(sources, work):
                say(source.name)
                adder.num_added += 1
        else:
            writer = stack.enter_context(ArchiveWriter(path, "a", arguments.compress))
            adder.add(adder.decide(sources, work), writer, work)
    facts = [(adder.num_kept, "kept"), (adder.num_differing, "of these different")]
    text = _outcome(adder.num_added, "added to", path, arguments.dry_run)
    note(text + _facts([*facts, (adder.num_left_out, "left out")]))
    return 1 if adder.num_differing or adder.num_left_out else 0


def copy(arguments: Namespace, say: Line, note: Line) -> int:
    """Copies some entries; status 1 if some are left out or differ from what is there."""
    with open_archive(arguments.archive, arguments.io) as archive:
        names = chosen(archive, arguments.more, arguments.list)
        return _combine(arguments, [archive], names, None, say, note)


def combine(arguments: Namespace, say: Line, note: Line) -> int:
    """Copies archives into one; status 1 if entries are left out or differ from what is there."""
    names = None if arguments.list is None else lines_of(arguments.list)
    with ExitStack() as stack:
        archives = [
            stack.enter_context(open_archive(path, arguments.io)) for path in arguments.more
        ]
        return _combine(arguments, archives, names, arguments.compress, say, note)


def _combine(
    arguments: Namespace,
    archives: Sequence[Archive],
    names: list[str] | None,
    compress: bool | None,
    say: Line,
    note: Line,
) -> int:
    mode = "a" if arguments.append else "w" if arguments.overwrite else "x"
    (prefix,) = as_stored([arguments.prefix])
    hint = "--overwrite replaces it, --append adds to it"
    with _explained(hint), Work("copying", note, _left(arguments.to, mode)) as work:
        report = combining.combine(
            archives,
            arguments.to,
            mode,
            names=names,
            duplicates=arguments.duplicates,
            prefix=prefix,
            compress=compress,
            skip_damaged=arguments.skip_damaged,
            dry_run=arguments.dry_run,
            tell=(lambda what, name: say(f"{what:8}{name}")) if arguments.dry_run else None,
            progress=work,
        )
    return _told(report, arguments, note)


def remove(arguments: Namespace, say: Line, note: Line) -> int:
    """Removes entries."""
    path = arguments.archive
    with open_archive(path, "pread") as archive:
        names = chosen(archive, arguments.more, arguments.list)
        if names is None:
            raise UsageError("nothing to remove: GLOB or --list is needed")
        if not arguments.keep_attributes:
            names = list(with_attributes(archive, names))
    if arguments.dry_run:
        for name in names:
            say(name)
    else:
        with (
            Work("removing", note, _left(path, "a", "without")) as work,
            ArchiveWriter(path, "a") as writer,
        ):
            for number, name in enumerate(names):
                work(number, len(names))
                writer.remove(name)
    note(_outcome(len(names), "removed from", path, arguments.dry_run))
    return 0


def repack(arguments: Namespace, say: Line, note: Line) -> int:
    """Writes an archive anew; status 1 if entries are left out."""
    mode = "w" if arguments.to is None or arguments.overwrite else "x"
    if arguments.to is None and arguments.overwrite:
        raise UsageError("--overwrite is for --to; without it the archive itself is replaced")
    path = arguments.archive if arguments.to is None else arguments.to
    with (
        open_archive(arguments.archive, arguments.io) as archive,
        _explained("--overwrite replaces it"),
        Work("repacking", note, _left(path, mode)) as work,
    ):
        order = listed(archive, arguments.order) if arguments.order else None
        report = combining.repack(
            archive,
            arguments.to,
            mode,
            order="name" if arguments.sort else order,
            compress=arguments.compress,
            skip_damaged=arguments.skip_damaged,
            dry_run=arguments.dry_run,
            progress=work,
        )
    return _told(report, arguments, note)


def recover(arguments: Namespace, say: Line, note: Line) -> int:
    """Mends archives; status 1 if something was lost, or if one cannot be mended."""
    if arguments.to is not None and len(arguments.more) > 1:
        raise UsageError("--to is for one ARCHIVE")
    problems = 0
    for path in arguments.more:
        try:
            if arguments.dry_run:
                lost, text = _recoverable(path)
            else:
                with _explained("remove it first"):
                    report = recover_archive(path, arguments.to)
                lost, text = bool(report.skipped), str(report)
        except (SprintCacheError, OSError, ValueError) as error:
            lost = True
            text = in_words(error)
        except KeyboardInterrupt:
            note(f"interrupted: {path} can be recovered later")
            raise
        problems += lost
        note(text)
    return 1 if problems else 0


def bundle(arguments: Namespace, say: Line, note: Line) -> int:
    """Makes or checks bundles; status 1 if there is a problem."""
    if arguments.check:
        if arguments.relative or arguments.overwrite:
            raise UsageError("--relative and --overwrite are for --to")
        problems = [_checked(path, say, note) for path in arguments.more]
        return 1 if any(problems) else 0
    check = check_members(arguments.more)
    for problem in check.problems:
        say(problem.replace("\n", "\\n"))
    if check.num_archives < len(arguments.more):
        note(f"{arguments.to} was not written")
        return 1
    if not arguments.dry_run:
        with _explained("--overwrite replaces it"):
            mode = "w" if arguments.overwrite else "x"
            bundles.write(arguments.to, arguments.more, arguments.relative, mode)
    verb = "would list" if arguments.dry_run else "lists"
    note(f"{arguments.to} {verb} {_contents(check)}")
    return 1 if check.problems else 0


def _checked(path: str, say: Line, note: Line) -> int:
    """Checks one bundle; gives the number of problems."""
    check = check_bundle(path)
    for problem in check.problems:
        say(problem.replace("\n", "\\n"))
    text = _contents(check)
    if check.num_relative:
        text += f"; {check.num_relative} relative paths, which Sprint looks up where it is started"
    found = many(len(check.problems), "problem", "problems") if check.problems else "no problems"
    note(f"{path}: {text}: {found}")
    return len(check.problems)


def _contents(check: BundleCheck) -> str:
    text = f"{many(check.num_archives, 'archive', 'archives')}"
    text += f" with {many(check.num_names, 'name', 'names')}"
    if check.num_shadowed:
        text += f", {check.num_shadowed} of them in several, where the last counts"
    return text


# ---- what they have in common


def _left(path: str, mode: str, done_so_far: str = "with") -> Callable[[int, int], str]:
    """Says what an interrupted command leaves; called before it begins."""
    is_there = os.path.exists(path)

    def text(done: int, total: int) -> str:
        if not is_there:
            return f"{path} was not made"
        if mode != "a" or not done:
            return f"{path} is as it was"
        return f"{path} is whole, {done_so_far} the first {done} of {total} entries"

    return text


@contextmanager
def _explained(hint: str) -> Iterator[None]:
    """Says of a file that is in the way what can be done."""
    try:
        yield
    except FileExistsError as error:
        if error.strerror != os.strerror(errno.EEXIST):
            raise
        raise FileExistsError(f"{error.filename} is there already; {hint}") from error


def _outcome(count: int, verb: str, path: str, dry_run: bool) -> str:
    return f"{many(count, 'entry', 'entries')} {'to be ' * dry_run}{verb} {path}"


def _facts(facts: Sequence[tuple[int, str]]) -> str:
    return "".join(f", {count} {what}" for count, what in facts if count)


def _told(report: CombineReport, arguments: Namespace, note: Line) -> int:
    """Says what was done; gives the status."""
    for name in report.differing:
        note(f"{name!r} differs from what is there, which stays")
    for _, error in report.damaged:
        note(str(error))
    path = arguments.archive if arguments.to is None else arguments.to
    facts = [
        (report.num_replaced, "of these in place of others"),
        (report.num_kept, "kept"),
        (len(report.damaged), "damaged and left out"),
    ]
    note(_outcome(report.num_added, "written to", path, arguments.dry_run) + _facts(facts))
    return 1 if report.differing or report.damaged else 0


def _recoverable(path: str) -> tuple[bool, str]:
    """Whether something would be lost, and what a scan finds."""
    with open_archive(path if os.path.exists(path) else partial_of(path), "pread") as archive:
        (report,) = archive.scan_reports
    if report is None:
        return False, f"{path}: the table is sound"
    return bool(report.skipped), str(report)
