"""What the subcommands do: each takes its arguments and two places for lines, and gives a status.

`say` takes the lines of the result, `note` those about it: errors, and how much was done.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable

from sprintcache.allophones import AllophoneLabeling, numbered
from sprintcache.errors import EntryNotFoundError, SprintCacheError
from sprintcache.opening import open_archive
from sprintcache.states import Names
from sprintcache.verification import verify as verify_archive

from . import conversion, listing, rendering
from .arguments import UsageError
from .display import display
from .extraction import Extractor
from .progress import Progress
from .records import record
from .selection import listed, matching, similar
from .summary import summarize
from .summary_text import summary_lines

__all__ = ["convert", "extract", "info", "ls", "show", "verify"]

Line = Callable[[str], None]


def ls(arguments: Namespace, say: Line, note: Line) -> int:
    """Lists entries; status 1 if some are damaged."""
    with open_archive(arguments.archive, arguments.io) as archive:
        names = matching(archive, _as_stored(arguments.more), arguments.segments)
        if not (arguments.long or arguments.json):
            for line in rendering.archiver_list(archive, arguments.archive, names):
                say(line)
            return 0
        damaged = 0
        if not arguments.json:
            say(listing.HEAD)
        for row in listing.rows(archive, names, look_inside=arguments.long):
            damaged += row.problem is not None
            say(json.dumps(row.as_dict()) if arguments.json else row.line())
    if damaged:
        note(f"{_many(damaged, 'damaged entry', 'damaged entries')}; see sprintcache verify")
    return 1 if damaged else 0


def info(arguments: Namespace, say: Line, note: Line) -> int:
    """Summarises an archive, or the build; status 1 if segments are damaged."""
    if arguments.build:
        from sprintcache._reader import build_info

        build = build_info()
        for line in [json.dumps(build)] if arguments.json else map(": ".join, build.items()):
            say(line)
        return 0
    if arguments.archive is None:
        raise UsageError("the following arguments are required: ARCHIVE")
    names = _names(arguments)
    with (
        open_archive(arguments.archive, arguments.io) as archive,
        Progress("reading", sys.stderr) as progress,
    ):
        summary = summarize(archive, names.labeling, arguments.sample, names.allophones, progress)
    for line in [json.dumps(summary.as_dict())] if arguments.json else summary_lines(summary):
        say(line)
    return 1 if summary.unreadable else 0


def show(arguments: Namespace, say: Line, note: Line) -> int:
    """Prints one entry."""
    if arguments.archiver_format and (arguments.frames or arguments.json):
        raise UsageError("--archiver-format prints whole entries, without --frames or --json")
    if arguments.attributes and arguments.frames:
        raise UsageError("--attributes and --frames do not go together")
    names = _names(arguments)
    with open_archive(arguments.archive, arguments.io) as archive:
        (name,) = _as_stored([arguments.segment])
        if name not in archive:
            hint = similar(archive, name)
            raise EntryNotFoundError(f"no entry {name!r}{hint}", path=arguments.archive)
        if arguments.attributes:
            attributes = archive.read_attributes(name)
            if not attributes:
                note(f"{name} has no attributes")
            pairs = [f"{key} = {value}" for key, value in attributes.items()]
            lines = iter([json.dumps(attributes)] if arguments.json else pairs)
        elif arguments.json:
            lines = iter([json.dumps(record(archive, name, arguments.frames, names))])
        elif arguments.archiver_format:
            tying = None if names.labeling is None else names.labeling.state_tying
            lines = rendering.archiver_show(archive, name, names.allophones, tying)
        else:
            lines = display(archive, name, arguments.frames, names)
        for line in lines:
            say(line)
    return 0


def extract(arguments: Namespace, say: Line, note: Line) -> int:
    """Writes entries to files; status 1 if some could not be."""
    names = _names(arguments)
    with (
        open_archive(arguments.archive, arguments.io) as archive,
        Progress("extracting", sys.stderr) as progress,
    ):
        extractor = Extractor(archive, arguments.to, arguments.format, arguments.overwrite, names)
        wanted = [] if arguments.list is None else listed(archive, arguments.list)
        if arguments.more or arguments.list is None:
            wanted += matching(archive, _as_stored(arguments.more), arguments.format != "raw")
        wanted = list(dict.fromkeys(wanted))
        possible = []
        for name in wanted:
            try:
                extractor.place_of(name)
                possible.append(name)
            except ValueError as error:
                note(str(error))
        # nothing was written so far: a file in the way has ended this
        done = 0
        for number, name in enumerate(possible, 1):
            try:
                extractor.extract(name)
                done += 1
            except SprintCacheError as error:
                note(str(error))
            progress(number, len(possible))
    left = f"; {len(wanted) - done} left out" if done < len(wanted) else ""
    note(f"{_many(done, 'entry', 'entries')} written to {arguments.to}{left}")
    return 0 if done == len(wanted) else 1


def convert(arguments: Namespace, say: Line, note: Line) -> int:
    """Converts archives to files of another kind, or back."""
    labeling, globs = _names(arguments).labeling, _as_stored(arguments.select)
    count = conversion.run(arguments, labeling, globs)
    note(f"{_many(count, 'segment', 'segments')} written to {arguments.to}")
    return 0


def verify(arguments: Namespace, say: Line, note: Line) -> int:
    """Checks archives; status 1 if there is a problem, or if one cannot be opened."""
    if arguments.threads == 0:
        raise UsageError("--threads must be at least 1")
    if arguments.allophones and not arguments.state_tying:
        raise UsageError("--allophones needs --state-tying")
    labeling = _names(arguments).labeling
    problems = entries = size = unopened = 0
    started = time.monotonic()
    for path in arguments.more:
        try:
            with Progress(f"checking {os.path.basename(path)}", sys.stderr) as progress:
                report = verify_archive(path, arguments.threads, labeling, progress, arguments.io)
        except OSError as error:
            note(f"{path}: {error.strerror or error}")
            unopened += 1
            continue
        for problem in report.problems:
            say(str(problem).replace("\n", "\\n"))
        problems += len(report.problems)
        entries += report.num_entries
        size += report.num_bytes
    seconds = time.monotonic() - started
    text = f"{_many(len(arguments.more) - unopened, 'archive', 'archives')}"
    text += f", {_many(entries, 'entry', 'entries')}, {size / 1e6:.1f} MB in {seconds:.1f} s: "
    note(text + (_many(problems, "problem", "problems") if problems else "no problems"))
    return 1 if problems or unopened else 0


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _as_stored(names: list[str]) -> list[str]:
    """Names of the command line as the library has them, in any locale."""
    return [os.fsencode(name).decode("utf-8", "surrogateescape") for name in names]


def _names(arguments: Namespace) -> Names:
    """What the options say of allophone states."""
    if arguments.state_tying and not arguments.allophones:
        raise UsageError("--state-tying needs --allophones")
    silence = getattr(arguments, "silence", None)
    if silence and not arguments.state_tying:
        raise UsageError("--silence needs --state-tying")
    if not arguments.allophones:
        return Names()
    if not arguments.state_tying:
        return Names(list(numbered(arguments.allophones)))
    labeling = AllophoneLabeling(
        silence, arguments.allophones, state_tying_file=arguments.state_tying
    )
    return Names(labeling.allophones, labeling)
