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
from sprintcache.errors import EntryNotFoundError, LabelError, SprintCacheError
from sprintcache.opening import open_archive
from sprintcache.states import Names
from sprintcache.verification import verify as verify_archive

from . import conversion, listing, pictures, rendering
from .arguments import UsageError
from .display import display
from .extraction import Extractor
from .interrupts import Work
from .managing import add, bundle, combine, copy, recover, remove, repack
from .progress import Progress
from .records import record
from .selection import as_stored, chosen, matching, similar
from .summary import summarize
from .summary_text import summary_lines
from .wording import in_words, many

__all__ = [
    "add",
    "bundle",
    "combine",
    "convert",
    "copy",
    "extract",
    "info",
    "ls",
    "plot",
    "recover",
    "remove",
    "repack",
    "show",
    "stats",
    "verify",
]

Line = Callable[[str], None]


def ls(arguments: Namespace, say: Line, note: Line) -> int:
    """Lists entries; status 1 if some are damaged."""
    with open_archive(arguments.archive, arguments.io) as archive:
        names = matching(archive, as_stored(arguments.more), arguments.segments)
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
        note(f"{many(damaged, 'damaged entry', 'damaged entries')}; see sprintcache verify")
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
        (name,) = as_stored([arguments.segment])
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
    segments_only = arguments.format != "raw"
    with open_archive(arguments.archive, arguments.io) as archive:
        extractor = Extractor(archive, arguments.to, arguments.format, arguments.overwrite, names)
        wanted = chosen(archive, arguments.more, arguments.list, segments_only)
        if wanted is None:
            wanted = list(archive.segments if segments_only else archive)
        possible = []
        for name in wanted:
            try:
                place = extractor.place_of(name)
            except ValueError as error:
                note(str(error))
            else:
                possible.append(name)
                if arguments.dry_run:
                    say(place)
        # nothing was written so far: a file in the way has ended this
        done = len(possible) if arguments.dry_run else _extract(extractor, possible, note)
    left = f"; {len(wanted) - done} left out" if done < len(wanted) else ""
    verb = "to be written" if arguments.dry_run else "written"
    note(f"{many(done, 'entry', 'entries')} {verb} to {arguments.to}{left}")
    return 0 if done == len(wanted) else 1


def _extract(extractor: Extractor, names: list[str], note: Line) -> int:
    """Gives the number of entries that became files."""
    done = 0

    def left(_done: int, _total: int) -> str:
        return f"{many(done, 'file was', 'files were')} written"

    with Work("extracting", note, left) as work:
        for number, name in enumerate(names):
            work(number, len(names))
            try:
                extractor.extract(name)
                done += 1
            except (SprintCacheError, ValueError) as error:
                note(str(error))
    return done


def convert(arguments: Namespace, say: Line, note: Line) -> int:
    """Converts archives to files of another kind, or back."""
    labeling, globs = _names(arguments).labeling, as_stored(arguments.select)
    count = conversion.run(arguments, labeling, globs, note)
    note(f"{many(count, 'segment', 'segments')} written to {arguments.to}")
    return 0


def plot(arguments: Namespace, say: Line, note: Line) -> int:
    """Draws one segment."""
    return pictures.plot(arguments, _names(arguments))


def stats(arguments: Namespace, say: Line, note: Line) -> int:
    """Prints and draws statistics; status 1 if segments are left out."""
    return pictures.stats(arguments, _names(arguments), say, note)


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
            note(in_words(error))
            unopened += 1
            continue
        for problem in report.problems:
            say(str(problem).replace("\n", "\\n"))
        problems += len(report.problems)
        entries += report.num_entries
        size += report.num_bytes
    seconds = time.monotonic() - started
    text = f"{many(len(arguments.more) - unopened, 'archive', 'archives')}"
    text += f", {many(entries, 'entry', 'entries')}, {size / 1e6:.1f} MB in {seconds:.1f} s: "
    text += many(problems, "problem", "problems") if problems else "no problems"
    note(f"{text}; {unopened} not opened" if unopened else text)
    return 1 if problems or unopened else 0


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
    if silence and labeling.sil_allo_state_id is None:
        wanted = f"{silence}{{#+#}}@i@f"
        raise LabelError(
            "the silence phoneme is not there", path=arguments.allophones, expected=wanted
        )
    return Names(labeling.allophones, labeling)
