"""`sprintcache plot`: draws one segment."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._options import (
    ReadOptions,
    StateNameOptions,
    add_archive,
    add_command,
    add_output,
    add_read_options,
    add_state_names,
    frame_range,
    positive_seconds,
    stored_name,
)

if TYPE_CHECKING:
    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(StateNameOptions, ReadOptions):
    """Arguments of the command."""

    archive: str
    segment: str
    alignment: str | None
    frames: slice | None
    automaton: bool
    normalize: bool
    output: str | None
    frame_shift: float


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "plot",
        "draw one segment",
        "Draws the features of a segment as an image over seconds, or scalars and audio samples as"
        " a line, and below them the phones and states of an alignment, or the weights of a soft"
        " one. White lines are phone boundaries. With --automaton, draws the automaton of a"
        " segment in a file of automata. Needs matplotlib (pip install 'sprintcache[plot]').",
        "  sprintcache plot features.bundle corpus/rec000/1 --output segment.png \\\n"
        "      --alignment alignment.cache --allophones allophones\n"
        "  sprintcache plot corpus.automata corpus/rec000/1 --automaton --output fsa.svg",
    )
    add_archive(parser)
    parser.add_argument("segment", metavar="SEGMENT", type=stored_name, help="name of the entry")
    parser.add_argument(
        "--alignment",
        metavar="ARCHIVE",
        help="draw the alignment of the segment in this archive too",
    )
    parser.add_argument(
        "--automaton",
        action="store_true",
        help="draw the automaton of SEGMENT; ARCHIVE is a file that Automata.save wrote",
    )
    parser.add_argument(
        "--frames",
        metavar="A:B",
        type=frame_range,
        help="draw only frames (or audio samples) A to B-1, like a Python slice: 0:100, 100:, -50:",
    )
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="scale each dimension to its mean and standard deviation in the segment",
    )
    add_output(parser)
    parser.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=positive_seconds,
        default=0.01,
        help="time from one frame to the next in an alignment that is drawn alone or below audio"
        " samples (default: %(default)s)",
    )
    add_read_options(parser)
    add_state_names(parser, "for the names of phones", silence="to draw it in grey")


def run(options: Options) -> int:
    """Draws one segment."""
    if options.automaton:
        return _draw_automaton(options)
    from sprintcache.plot import plot_segment

    from ._picture import Picture, ignore_missing_glyphs
    from ._selection import check_entry

    state_names = options.read_state_names()
    picture = Picture(options.output)
    name, alignment_path = options.segment, options.alignment
    with (
        options.open(options.archive) as archive,
        nullcontext() if alignment_path is None else options.open(alignment_path) as alignments,
        ignore_missing_glyphs(),
    ):
        check_entry(archive, name, options.archive)
        if alignments is not None and alignment_path is not None:
            check_entry(alignments, name, alignment_path)
        figure = plot_segment(
            archive,
            name,
            alignments,
            state_names,
            frames=options.frames,
            normalize=options.normalize,
            frame_shift=options.frame_shift,
            figure=picture.figure,
        )
    picture.finish(figure)
    return 0


def _draw_automaton(options: Options) -> int:
    from sprintcache.automata import Automata
    from sprintcache.errors import EntryNotFoundError
    from sprintcache.plot import plot_automaton

    from ._parser import UsageError
    from ._picture import Picture, ignore_missing_glyphs

    if options.alignment is not None or options.frames is not None or options.normalize:
        raise UsageError("--automaton has no --alignment, --frames and --normalize")
    picture = Picture(options.output)
    automata = Automata.load(options.archive)
    if options.segment not in (automata.tags or ()):
        raise EntryNotFoundError(f"no automaton {options.segment!r}", path=options.archive)
    with ignore_missing_glyphs():
        figure = plot_automaton(automata, options.segment, figure=picture.figure)
    picture.finish(figure)
    return 0
