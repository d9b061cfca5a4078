"""Pictures of `plot` and `stats`: a window, or a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "ignore_missing_glyphs"]


class Picture:
    """A window, or the file that a figure is written to; checked before any work.

    Args:
        path: the file; None opens a window.

    Raises:
        ImportError: without matplotlib.
        OSError: if no window can be opened, or if the folder of the file does not exist.
        ValueError: for an unknown ending.
    """

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
        """Writes the figure, or shows it until the window is closed."""
        with ignore_missing_glyphs():
            if self._path is None:
                self._show()
            else:
                picture = BytesIO()  # some writers of pictures seek, which a pipe cannot
                ending = os.path.splitext(self._path)[1][1:]
                figure.savefig(picture, format=ending.lower(), dpi=100)
                with open(self._path, "wb") as file:
                    file.write(picture.getbuffer())


@contextmanager
def ignore_missing_glyphs() -> Iterator[None]:
    """Ignores warnings about letters that the font lacks; they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
