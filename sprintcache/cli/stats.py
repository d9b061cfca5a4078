"""`sprintcache stats`: statistics of archives, or a comparison of alignments."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ._compare import Result, compare_alignments, compare_words
from ._console import flush, report, write_line
from ._options import (
    ListOptions,
    add_command,
    add_json,
    add_list,
    add_mismatch,
    add_output,
    add_paths,
    add_read_options,
    add_select,
    add_state_names,
    add_threads,
    positive_seconds,
)
from ._parser import UsageError
from ._progress import Progress
from ._words import WordOptions, add_words, is_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(WordOptions, ListOptions):
    """Arguments of the command."""

    archives: list[str]
    compare: bool
    select: list[str]
    rare: float
    json: bool
    plot: bool
    output: str | None
    frame_shift: list[float]
    tier: str | None
    collars: tuple[int, ...]
    threads: int | None
    on_alphabet_mismatch: Literal["error", "map", "ignore"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compare and len(self.archives) != 2:
            raise UsageError("--compare requires two archives")
        if self.tier and not self.compare:
            raise UsageError("--tier needs --compare")
        if len(self.frame_shift) > (2 if self.compare else 1):
            raise UsageError("--frame-shift is given once, or with --compare once for each archive")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "stats",
        "statistics of a corpus, or compare alignments",
        "Prints, and with --plot draws, the lengths of segments, mean and variance of each"
        " dimension, and how often each label or state occurs, with rare and unused ones. Several"
        " archives are read as one, as in a bundle: if several have a name, the last entry"
        " counts. With --compare, compares two archives of alignments: how many frames agree, what"
        " is confused, and how far phone boundaries are shifted. With --tier or --lexicon, or"
        " if one of the two is a CTM, TextGrid, Audacity or JSON lines file, compares words or"
        " phones in seconds: the first is the hypothesis, the second the reference, and frame"
        " shifts may differ.\n\n"
        "exit status: 1 if segments were left out, for example because they are damaged",
        "  sprintcache stats features.bundle\n"
        "  sprintcache stats alignment.cache --output labels.png \\\n"
        "      --allophones allophones --state-tying tying --silence '[SILENCE]'\n"
        "  sprintcache stats --compare old.cache new.cache --allophones allophones\n"
        "  sprintcache stats --compare new.cache words.ctm --lexicon lexicon.xml \\\n"
        "      --corpus corpus.xml",
    )
    add_paths(parser, "archives", "ARCHIVE")
    parser.add_argument("--compare", action="store_true", help="compare two archives")
    add_select(parser)
    add_list(parser)
    parser.add_argument(
        "--rare",
        metavar="N",
        type=_num_frames,
        default=50.0,
        help="labels with fewer than N frames are rare (default: 50)",
    )
    add_json(parser)
    parser.add_argument("--plot", action="store_true", help="draw it too; needs matplotlib")
    add_output(parser, "; this implies --plot")
    parser.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=positive_seconds,
        action="append",
        default=[],
        help="time from one frame to the next in alignments (default: 0.01, for words and phones"
        " that of each archive); with --compare, give it twice if the archives differ (default:"
        " equal, or a ratio that lengths and times determine)",
    )
    group = parser.add_argument_group("words and phones")
    group.add_argument(
        "--tier",
        choices=["words", "phones"],
        help="compare words (default) or phones, with --compare",
    )
    group.add_argument(
        "--collars",
        metavar="MS,MS",
        type=_milliseconds,
        default=(10, 20, 50, 100, 200),
        help="distances in whole milliseconds (default: 10,20,50,100,200)",
    )
    add_words(parser)
    add_threads(parser, "number of processors, at most 8; for alignments 1")
    add_read_options(parser)
    add_state_names(parser, "for the names of states and labels", silence="to report its share")
    add_mismatch(parser)


def run(options: Options) -> int:
    """Prints and draws statistics, or a comparison; status 1 if segments are left out."""
    from ._picture import Picture

    with_picture = options.plot or options.output is not None
    picture = Picture(options.output) if with_picture else None
    if not options.compare:
        result = _collect(options)
    elif options.tier or options.lexicon or any(is_text(path) for path in options.archives):
        result = compare_words(options)
    else:
        result = compare_alignments(options)
    for line in result.lines:
        write_line(line)
    if picture is not None:
        flush()  # a window may stay open for long
        picture.finish(result.draw(picture.figure))
    if result.problem:
        report(f"left out, the first one: {result.problem}")
    return 1 if result.problem or result.is_incomplete else 0


def _collect(options: Options) -> Result:
    from sprintcache import statistics

    from ._selection import choose_names
    from ._statistics_json import statistics_record
    from ._statistics_text import statistics_lines

    state_names = options.read_state_names()
    paths = options.archives
    with (
        options.open(paths if len(paths) > 1 else paths[0]) as archive,
        Progress("reading", sys.stderr) as progress,
    ):
        result = statistics.collect(
            archive,
            choose_names(archive, options.select, options, segments_only=True),
            labeling=state_names.labeling,
            allophones=state_names.allophones,
            on_alphabet_mismatch=options.on_alphabet_mismatch,
            num_threads=options.threads,
            progress=progress,
        )
    title = ", ".join(paths)

    def draw(figure: Figure | None) -> Figure:
        from sprintcache.plot import plot_statistics

        return plot_statistics(result, title=title, rare=options.rare, figure=figure)

    if options.json:
        lines = [json.dumps(statistics_record(title, result, options.rare))]
    else:
        lines = list(statistics_lines(title, result, options.rare))
    return Result(lines, draw, result.problem)


def _milliseconds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not whole milliseconds, such as 10,20,50")
    return tuple(sorted({int(part) for part in parts}))


def _num_frames(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames")
    return number
