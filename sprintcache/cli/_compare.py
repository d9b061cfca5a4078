"""Comparisons of alignments, and of words or phones, for `sprintcache stats --compare`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ._progress import Progress
from ._words import is_text, report_failures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sprintcache.errors import SprintCacheError

    from .stats import Options

__all__ = ["Result", "compare_alignments", "compare_words", "short_titles"]

_FRAME_SHIFT = 0.01


class Result(NamedTuple):
    """The output of the command.

    Attributes:
        lines: of the text, or of JSON.
        draw: draws a picture of it.
        problem: why the first segment was left out, or "".
        is_incomplete: whether segments were left out that are reported already.
    """

    lines: list[str]
    draw: Callable[[Figure | None], Figure]
    problem: str
    is_incomplete: bool = False


def compare_alignments(options: Options) -> Result:
    """Compares states or labels, and phones, frame by frame."""
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
    return Result(lines, draw, result.problem)


def compare_words(options: Options) -> Result:
    """Compares words or phones in seconds."""
    from sprintcache.errors import SegmentationError
    from sprintcache.segmentation import compare_tiers, iter_segmentations, read_tiers

    from ._selection import NameList, choose_names
    from ._tier_comparison import tier_comparison_lines, tier_comparison_record

    tier = options.tier or "words"
    titles = options.archives[0], options.archives[1]
    shifts: list[float] | list[None] = options.frame_shift * 2 or [None, None]
    failures: list[SprintCacheError] = []
    segmenter = None
    if not all(is_text(path) for path in titles):
        segmenter = options.segmenter(options.on_alphabet_mismatch)
    sources = []
    for path, shift in zip(titles, shifts[:2], strict=True):
        if segmenter is None or is_text(path):
            sources.append(read_tiers(path, tier))
            continue
        with options.open(path) as archive:
            words = iter_segmentations(
                archive,
                segmenter,
                options.read_orthographies(archive.segments),
                frame_shift=shift,
                failures=failures,
            )
            sources.append({segmentation.name: segmentation for segmentation in words})
    for path, source in zip(titles, sources, strict=True):
        if source and not any(segmentation.tier(tier) for segmentation in source.values()):
            raise SegmentationError(f"no tier of {tier}", path=path)
    known = NameList(" and ".join(titles), dict.fromkeys([*sources[0], *sources[1]]))
    names = choose_names(known, options.select, options, segments_only=True)
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
    return Result(lines, draw, "", bool(failures))


def short_titles(*paths: str) -> tuple[str, str]:
    """File names of two paths, with as many folders as distinguish them."""
    first, second = (path.split(os.sep) for path in paths)
    length = 1
    while first[-length:] == second[-length:] and length < max(len(first), len(second)):
        length += 1
    if first == second:
        length = 1
    return os.sep.join(first[-length:]), os.sep.join(second[-length:])
