"""`sprintcache plot`: draws segments."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from sprintcache._output_folder import OutputFolder
from sprintcache.errors import SprintCacheError

from ._console import report
from ._copying import explain_existing
from ._options import (
    ListOptions,
    add_archive,
    add_command,
    add_globs,
    add_list,
    add_output,
    add_read_options,
    add_state_names,
    frame_range,
    positive_seconds,
)
from ._parser import UsageError
from ._task import Task
from ._text import pluralize
from ._words import WordOptions, add_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from sprintcache.archive import Archive
    from sprintcache.segmentation import Interval

    from ._options import Subparsers

__all__ = ["Options", "add_parser", "run"]


@dataclass(frozen=True, kw_only=True)
class Options(WordOptions, ListOptions):
    """Arguments of the command."""

    archive: str
    globs: list[str]
    alignment: str | None
    frames: slice | None
    automaton: bool
    normalize: bool
    output: str | None
    output_dir: str | None
    overwrite: bool
    frame_shift: float | None
    words: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output_dir is not None:
            if self.output is not None or self.automaton:
                raise UsageError("--output-dir excludes --output and --automaton")
        elif len(self.globs) != 1 or self.list_file is not None or self.overwrite:
            raise UsageError("one SEGMENT is required; --output-dir draws several")
        if self.automaton and (
            self.alignment is not None or self.frames is not None or self.normalize
        ):
            raise UsageError("--automaton excludes --alignment, --frames and --normalize")


def add_parser(subparsers: Subparsers) -> None:
    """Adds the parser of the command."""
    parser = add_command(
        subparsers,
        "plot",
        "draw segments",
        "Draws the features of a segment as an image over seconds, or scalars and audio samples as"
        " a line, and below them the phones and states of an alignment, or the weights of a soft"
        " one. With --words, words are above the phones. White lines are phone boundaries. With"
        " --automaton, draws the automaton of a segment in a file of automata. With --output-dir,"
        " draws all segments that match or are listed. Needs matplotlib (pip install"
        " 'sprintcache[plot]').",
        "  sprintcache plot features.bundle corpus/rec000/1 --output segment.png \\\n"
        "      --alignment alignment.cache --allophones allophones\n"
        "  sprintcache plot features.bundle 'corpus/rec00*' --output-dir pictures\n"
        "  sprintcache plot corpus.automata corpus/rec000/1 --automaton --output fsa.svg",
    )
    add_archive(parser)
    add_globs(
        parser,
        "name of the entry; with --output-dir, patterns (* also matches /); quote them; default:"
        " all",
        metavar="SEGMENT",
    )
    add_list(parser)
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
        "--output-dir",
        metavar="DIR",
        help="write a .png picture of each segment into this folder; a / in a name creates"
        " sub-folders",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing files in --output-dir"
    )
    parser.add_argument(
        "--frame-shift",
        metavar="SECONDS",
        type=positive_seconds,
        help="time from one frame to the next in an alignment that is drawn alone or below audio"
        " samples (default: 0.01; with --words that of the archive)",
    )
    parser.add_argument(
        "--words",
        action="store_true",
        help="draw the words of the alignment; --lexicon and --corpus give their names",
    )
    add_read_options(parser)
    add_words(parser)
    add_state_names(parser, "for the names of phones", silence="to draw it in gray")


def run(options: Options) -> int:
    """Draws segments; with --output-dir, status 1 if some are left out."""
    from sprintcache.plot import plot_segment

    from ._picture import Picture, ignore_missing_glyphs
    from ._selection import check_entry

    if options.automaton:
        return _draw_automaton(options)
    state_names = options.read_state_names()
    picture = None if options.output_dir is not None else Picture(options.output)
    path = options.alignment
    with (
        options.open(options.archive) as archive,
        nullcontext() if path is None else options.open(path) as alignments,
        ignore_missing_glyphs(),
    ):
        words = _Words(options, archive if alignments is None else alignments)

        def draw(name: str, figure: Figure | None = None) -> Figure:
            return plot_segment(
                archive,
                name,
                alignments,
                state_names,
                frames=options.frames,
                normalize=options.normalize,
                frame_shift=words.frame_shift,
                words=words.of(name),
                figure=figure,
            )

        if picture is None:
            return _draw_many(options, archive, draw)
        (name,) = options.globs
        check_entry(archive, name, options.archive)
        if alignments is not None:
            check_entry(alignments, name, alignments.path)
        figure = draw(name, picture.figure)
    picture.finish(figure)
    return 0


class _Words:
    """The words of segments, if they are to be drawn; lexicon and corpus are read once.

    Attributes:
        frame_shift: seconds between frames of alignments: that of the option, with words that of
            the archive, or 0.01.
    """

    def __init__(self, options: Options, alignments: Archive) -> None:
        from sprintcache.segmentation import archive_frame_shift

        self.frame_shift = options.frame_shift or 0.01
        self._alignments = alignments
        self._segmenter = options.segmenter() if options.words else None
        if self._segmenter is not None:
            self._orthographies = options.read_orthographies()
            self.frame_shift = options.frame_shift or archive_frame_shift(alignments)

    def of(self, name: str) -> list[Interval]:
        """The words of a segment."""
        from sprintcache.segmentation import iter_segmentations

        if self._segmenter is None:
            return []
        (segmentation,) = iter_segmentations(
            self._alignments,
            self._segmenter,
            self._orthographies,
            [name],
            frame_shift=self.frame_shift,
        )
        return segmentation.words


def _draw_many(options: Options, archive: Archive, draw: Callable[[str], Figure]) -> int:
    """Draws the chosen segments into a folder."""
    from ._selection import choose_names

    folder = OutputFolder(options.output_dir or "", ".png", options.overwrite)
    names = choose_names(archive, options.globs, options, segments_only=True)
    names = list(archive.segments) if names is None else names
    num_drawn = 0

    def state(_done: int, _total: int) -> str:
        return f"{pluralize(num_drawn, 'picture was', 'pictures were')} written"

    with explain_existing("--overwrite replaces it"), Task("drawing", state) as task:
        for index, name in enumerate(names):
            task(index, len(names))
            try:
                folder.path_of(name)
                picture = BytesIO()
                draw(name).savefig(picture, format="png", dpi=100)
                folder.write(name, picture.getbuffer())
                num_drawn += 1
            except (SprintCacheError, ValueError) as error:
                report(str(error))
    omitted = f"; {len(names) - num_drawn} left out" if num_drawn < len(names) else ""
    report(f"{pluralize(num_drawn, 'picture', 'pictures')} in {options.output_dir}{omitted}")
    return 0 if num_drawn == len(names) else 1


def _draw_automaton(options: Options) -> int:
    from sprintcache.automata import Automata
    from sprintcache.errors import EntryNotFoundError
    from sprintcache.plot import plot_automaton

    from ._picture import Picture, ignore_missing_glyphs

    (name,) = options.globs
    picture = Picture(options.output)
    automata = Automata.load(options.archive)
    if name not in (automata.tags or ()):
        raise EntryNotFoundError(f"no automaton {name!r}", path=options.archive)
    with ignore_missing_glyphs():
        figure = plot_automaton(automata, name, figure=picture.figure)
    picture.finish(figure)
    return 0
