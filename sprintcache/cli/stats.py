"""`sprintcache stats`: statistics of archives, or a comparison of alignments."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

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
from ._words import TextNames, WordOptions, add_words, is_text, report_failures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sprintcache.errors import SprintCacheError

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]

_FRAME_SHIFT = 0.01


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
        " archives are read as one, as in a bundle: of a name in several of them, the last entry"
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
        result = _compare_tiers(options)
    else:
        result = _compare(options)
    for line in result.lines:
        write_line(line)
    if picture is not None:
        flush()  # a window may stay open for long
        picture.finish(result.draw(picture.figure))
    if result.problem:
        report(f"left out, the first one: {result.problem}")
    return 1 if result.problem or result.is_incomplete else 0


class _Result(NamedTuple):
    """What is printed and drawn; `problem` is why the first segment was left out."""

    lines: list[str]
    draw: Callable[[Figure | None], Figure]
    problem: str
    is_incomplete: bool = False


def _collect(options: Options) -> _Result:
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
    return _Result(lines, draw, result.problem)


def _compare(options: Options) -> _Result:
    from sprintcache import comparison

    from ._selection import choose_names
    from ._statistics_json import comparison_record
    from ._statistics_text import comparison_lines

    state_names = options.read_state_names()
    titles, shifts = (options.archives[0], options.archives[1]), options.frame_shift
    with (
        options.open(titles[0]) as first,
        options.open(titles[1]) as second,
        Progress("comparing", sys.stderr) as progress,
    ):
        names = choose_names(first, options.select, options, segments_only=True)
        if options.select and names is not None:
            # a list names segments of the first archive; globs also match segments of the second
            names += [
                name
                for name in choose_names(second, options.select, None, segments_only=True) or ()
                if name not in first
            ]
        result = comparison.compare(
            first,
            second,
            names,
            labeling=state_names.labeling,
            allophones=state_names.allophones,
            on_alphabet_mismatch=options.on_alphabet_mismatch,
            frame_shifts=(shifts[0], shifts[1]) if len(shifts) == 2 else None,
            num_threads=options.threads,
            progress=progress,
        )
    frame_shift = min(shifts, default=_FRAME_SHIFT)

    def draw(figure: Figure | None) -> Figure:
        from sprintcache.plot import plot_comparison

        return plot_comparison(
            result, names=short_titles(*titles), frame_shift=frame_shift, figure=figure
        )

    if options.json:
        lines = [json.dumps(comparison_record(titles, result, frame_shift))]
    else:
        lines = list(comparison_lines(titles, result, frame_shift))
    return _Result(lines, draw, result.problem)


def _compare_tiers(options: Options) -> _Result:
    from sprintcache.errors import SegmentationError
    from sprintcache.segmentation import compare_tiers

    from ._tier_comparison import tier_comparison_lines, tier_comparison_record

    tier = options.tier or "words"
    titles = options.archives[0], options.archives[1]
    shifts: list[float] | list[None] = options.frame_shift * 2 or [None, None]
    failures: list[SprintCacheError] = []
    segmenter = None
    if not all(is_text(path) for path in titles):
        segmenter = options.segmenter(options.on_alphabet_mismatch)
    sources = [
        options.read_words(
            path,
            None,
            failures,
            tier=tier,
            frame_shift=shift,
            segmenter=segmenter,
        )
        for path, shift in zip(titles, shifts[:2], strict=True)
    ]
    for path, source in zip(titles, sources, strict=True):
        if source and not any(one.tier(tier) for one in source.values()):
            raise SegmentationError(f"no tier of {tier}", path=path)
    names = choose_segments(options, titles, [*sources[0], *sources[1]])
    silence = {"", "[SILENCE]"} | ({segmenter.names.silence} if segmenter is not None else set())
    result = compare_tiers(
        sources[0], sources[1], tier, names=names, silence=silence, collars=options.collars
    )
    report_failures(failures)

    def draw(figure: Figure | None) -> Figure:
        from sprintcache.plot import plot_tier_comparison

        return plot_tier_comparison(
            result, names=short_titles(*titles), collars=options.collars, figure=figure
        )

    if options.json:
        record = tier_comparison_record(titles, result, options.collars)
        lines = [json.dumps({**record, "left_out": [str(error) for error in failures]})]
    else:
        lines = list(tier_comparison_lines(titles, result, options.collars))
    return _Result(lines, draw, "", bool(failures))


def choose_segments(
    options: Options, titles: tuple[str, str], names: list[str]
) -> list[str] | None:
    """The segments of both sources that were selected; None for all."""
    from ._selection import choose_names

    known = TextNames(" and ".join(titles), dict.fromkeys(names))
    return choose_names(known, options.select, options, segments_only=True)


def short_titles(*paths: str) -> tuple[str, str]:
    """File names of two paths, with as many folders as distinguish them."""
    first, second = (path.split(os.sep) for path in paths)
    length = 1
    while first[-length:] == second[-length:] and length < max(len(first), len(second)):
        length += 1
    if first == second:
        length = 1
    return os.sep.join(first[-length:]), os.sep.join(second[-length:])


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
