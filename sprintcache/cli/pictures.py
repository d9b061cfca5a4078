"""What `plot` and `stats` do."""

from __future__ import annotations

import json
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sprintcache import comparison, statistics
from sprintcache.errors import EntryNotFoundError
from sprintcache.opening import open_archive

from .arguments import UsageError
from .progress import Progress
from .selection import as_stored, chosen, similar
from .statistics_records import comparison_record, statistics_record
from .statistics_text import comparison_lines, statistics_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sprintcache.archive import Archive
    from sprintcache.states import Names

__all__ = ["plot", "stats"]

Line = Callable[[str], None]


def plot(arguments: Namespace, names: Names) -> int:
    """Draws one segment."""
    from sprintcache.plot import plot_segment

    picture = _Picture(arguments.output)
    (name,) = as_stored([arguments.segment])
    with open_archive(arguments.archive, arguments.io) as archive:
        _check_there(archive, name, arguments.archive)
        options: dict[str, Any] = {
            "frames": arguments.frames,
            "normalize": arguments.normalize,
            "frame_shift": arguments.frame_shift,
            "figure": picture.figure,
        }
        if arguments.alignment is None:
            with _quiet_glyphs():
                figure = plot_segment(archive, name, None, names, **options)
        else:
            with open_archive(arguments.alignment, arguments.io) as alignments, _quiet_glyphs():
                _check_there(alignments, name, arguments.alignment)
                figure = plot_segment(archive, name, alignments, names, **options)
    picture.finish(figure)
    return 0


def stats(arguments: Namespace, names: Names, say: Line, note: Line) -> int:
    """Prints and draws statistics, or a comparison; status 1 if segments are left out."""
    if arguments.threads == 0:
        raise UsageError("--threads must be at least 1")
    if arguments.compare and len(arguments.more) != 2:
        raise UsageError("--compare takes two archives")
    wanted = arguments.plot or arguments.output is not None
    picture = _Picture(arguments.output) if wanted else None
    run = _compare if arguments.compare else _collect
    lines, draw, problem = run(arguments, names)
    for line in lines:
        say(line)
    if picture is not None:
        if sys.stdout is not None:
            sys.stdout.flush()  # a window may stay open for long
        picture.finish(draw(picture.figure))
    if problem:
        note(f"left out, the first one: {problem}")
    return 1 if problem else 0


_Result = tuple[list[str], Callable[["Figure | None"], "Figure"], str]


def _collect(arguments: Namespace, names: Names) -> _Result:
    paths = arguments.more if len(arguments.more) > 1 else arguments.more[0]
    with (
        open_archive(paths, arguments.io) as archive,
        Progress("reading", sys.stderr) as progress,
    ):
        found = statistics.collect(
            archive,
            chosen(archive, arguments.select, arguments.list, True),
            labeling=names.labeling,
            allophones=names.allophones,
            on_alphabet_mismatch=arguments.on_alphabet_mismatch,
            num_threads=arguments.threads,
            progress=progress,
        )
    title = ", ".join(arguments.more)

    def draw(figure: Figure | None) -> Figure:
        from sprintcache.plot import plot_statistics

        return plot_statistics(found, title=title, rare=arguments.rare, figure=figure)

    if arguments.json:
        lines = [json.dumps(statistics_record(title, found, arguments.rare))]
    else:
        lines = list(statistics_lines(title, found, arguments.rare))
    return lines, draw, found.problem


def _compare(arguments: Namespace, names: Names) -> _Result:
    with (
        open_archive(arguments.more[0], arguments.io) as first,
        open_archive(arguments.more[1], arguments.io) as second,
        Progress("comparing", sys.stderr) as progress,
    ):
        some = chosen(first, arguments.select, arguments.list, True)
        if arguments.select and some is not None:
            # a list speaks of the first; globs also find what only the second has
            some += [
                name
                for name in chosen(second, arguments.select, None, True) or ()
                if name not in first
            ]
        found = comparison.compare(
            first,
            second,
            some,
            labeling=names.labeling,
            allophones=names.allophones,
            on_alphabet_mismatch=arguments.on_alphabet_mismatch,
            num_threads=arguments.threads,
            progress=progress,
        )
    titles = arguments.more[0], arguments.more[1]
    shift = arguments.frame_shift

    def draw(figure: Figure | None) -> Figure:
        from sprintcache.plot import plot_comparison

        return plot_comparison(found, names=_distinct(*titles), frame_shift=shift, figure=figure)

    if arguments.json:
        lines = [json.dumps(comparison_record(titles, found, shift))]
    else:
        lines = list(comparison_lines(titles, found, shift))
    return lines, draw, found.problem


def _distinct(*paths: str) -> tuple[str, str]:
    """The ends of two paths by which they can be told from each other; file names, if that does."""
    first, second = (path.split(os.sep) for path in paths)
    length = 1
    while first[-length:] == second[-length:] and length < max(len(first), len(second)):
        length += 1
    if first == second:
        length = 1
    return os.sep.join(first[-length:]), os.sep.join(second[-length:])


def _check_there(archive: Archive, name: str, path: str) -> None:
    if name not in archive:
        raise EntryNotFoundError(f"no entry {name!r}{similar(archive, name)}", path=path)


class _Picture:
    """A window, or the file that a picture goes to; whether that can be is said at once."""

    def __init__(self, path: str | None) -> None:
        from sprintcache.plot.canvas import check_format, open_window

        self._path = path
        self.figure: Figure | None = None
        if path is None:
            try:
                self.figure, self._show = open_window()
            except OSError as error:
                raise OSError(f"{error}; --output FILE.png writes a picture") from error
        else:
            check_format(path)
            folder = os.path.dirname(path) or "."
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"{folder}: no such folder")

    def finish(self, figure: Figure) -> None:
        """Writes the picture, or shows it until the window is closed."""
        with _quiet_glyphs():
            if self._path is None:
                self._show()
            else:
                figure.savefig(self._path, dpi=100)


@contextmanager
def _quiet_glyphs() -> Iterator[None]:
    """No warnings of letters that the font does not have: their boxes are seen."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
