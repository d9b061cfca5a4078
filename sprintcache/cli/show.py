"""`sprintcache show`: prints one entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._console import report, write_line
from ._options import (
    add_archive,
    add_command,
    add_json,
    add_read_options,
    add_state_names,
    frame_range,
    positive_seconds,
    stored_name,
)
from ._parser import UsageError
from ._words import WordOptions, add_words

if TYPE_CHECKING:
    from sprintcache.archive import Archive

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(WordOptions):
    """Arguments of the command."""

    archive: str
    segment: str
    frames: slice | None
    archiver_format: bool
    attributes: bool
    json: bool
    words: bool
    frame_shift: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.archiver_format and (self.frames or self.json):
            raise UsageError("--archiver-format prints whole entries, without --frames or --json")
        if self.attributes and self.frames:
            raise UsageError("--attributes cannot be combined with --frames")
        if self.words and self.frames:
            raise UsageError("--words cannot be combined with --frames")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "show",
        "print one entry",
        "Prints one entry: features frame by frame, an alignment run by run, attributes or text.",
        "  sprintcache show features.cache corpus/rec000/1 --frames 0:10\n"
        "  sprintcache show alignment.cache corpus/rec000/1 --words \\\n"
        "      --lexicon lexicon.xml --corpus corpus.xml",
    )
    add_archive(parser)
    parser.add_argument("segment", metavar="SEGMENT", type=stored_name, help="name of the entry")
    parser.add_argument(
        "--frames",
        metavar="A:B",
        type=frame_range,
        help="show only frames A to B-1, like a Python slice: 0:10, 100:, -5: (the last five), 7",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--archiver-format", action="store_true", help="print as Sprint's archiver does"
    )
    group.add_argument(
        "--words", action="store_true", help="print the words and phones of an alignment"
    )
    group.add_argument("--attributes", action="store_true", help="print the entry's attributes")
    parser.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=positive_seconds,
        help="of the words (default: that of the archive)",
    )
    add_json(parser)
    add_read_options(parser)
    add_words(parser)
    add_state_names(parser, "for the names of states", silence="to report its share")


def run(options: Options) -> int:
    """Prints one entry."""
    from ._selection import check_entry

    with options.open(options.archive) as archive:
        check_entry(archive, options.segment, options.archive)
        for line in _lines(options, archive):
            write_line(line)
    return 0


def _lines(options: Options, archive: Archive) -> Iterator[str]:
    from ._archiver_format import archiver_show
    from ._entry_json import entry_record
    from ._entry_text import entry_lines

    name, state_names = options.segment, options.read_state_names()
    if options.words:
        yield from _word_lines(options, archive)
    elif options.attributes:
        attributes = archive.read_attributes(name)
        if not attributes:
            report(f"{name} has no attributes")
        if options.json:
            yield json.dumps(attributes)
        else:
            yield from (f"{key} = {value}" for key, value in attributes.items())
    elif options.json:
        yield json.dumps(entry_record(archive, name, options.frames, state_names))
    elif options.archiver_format:
        labeling = state_names.labeling
        tying = None if labeling is None else labeling.state_tying
        yield from archiver_show(archive, name, state_names.allophones, tying)
    else:
        yield from entry_lines(archive, name, options.frames, state_names)


def _word_lines(options: Options, archive: Archive) -> Iterator[str]:
    """A line for each word and for each silence, with its phones."""
    from sprintcache.segmentation import iter_segmentations
    from sprintcache.segmentation.json_lines import json_object

    name = options.segment
    segmenter = options.segmenter()
    orthographies = options.read_orthographies([name])
    (segmentation,) = iter_segmentations(
        archive, segmenter, orthographies, [name], frame_shift=options.frame_shift
    )
    if options.json:
        yield json.dumps(json_object(segmentation))
        return
    yield f"# {name}: {segmentation.num_frames} frames of {1000 * segmentation.frame_shift:g} ms"
    yield "#  start      end duration  word                  phones with their ends"
    words = iter([*segmentation.words, None])
    word = next(words)
    line: list[str] = []
    for phone in segmentation.phones:
        is_inside = word is not None and word.start <= phone.start < word.end
        line.append(f"{phone.symbol} {phone.end:.3f}")
        if not is_inside:
            yield _word_line(phone.start, phone.end, phone.symbol, "")
            line.clear()
        elif word is not None and phone.end >= word.end:
            yield _word_line(word.start, word.end, word.symbol, "  ".join(line))
            line.clear()
            word = next(words)


def _word_line(start: float, end: float, symbol: str, phones: str) -> str:
    return f"{start:8.3f} {end:8.3f} {end - start:8.3f}  {symbol:<20}  {phones}".rstrip()
