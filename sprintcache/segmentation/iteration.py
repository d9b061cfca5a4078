"""iter_segmentations: words, phones and states of the alignments of an archive, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sprintcache.errors import SprintCacheError, naming

from .intervals import Segmentation
from .timing import archive_frame_shift

if TYPE_CHECKING:
    from sprintcache.archive import Archive

    from .segmentation import Segmenter

__all__ = ["iter_segmentations"]


def iter_segmentations(
    archive: Archive,
    segmenter: Segmenter,
    orthographies: Mapping[str, str | None] | None = None,
    names: Iterable[str] | None = None,
    *,
    frame_shift: float | None = None,
    window: float | None = None,
    failures: list[SprintCacheError] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Segmentation]:
    """Yields the segmentation of every alignment of an archive.

    Args:
        archive: alignments.
        segmenter: lexicon and symbols.
        orthographies: the words of each segment, such as those of a `Corpus`; a segment without is
            read by the boundary flags.
        names: segments; None: all of the archive.
        frame_shift: seconds between frames; None: as `archive_frame_shift` finds it.
        window: as for `Segmenter.segment`.
        failures: errors of single segments are added here and the segments left out; None: they
            are raised.
        progress: called with the number of segments that are done.

    Raises:
        EntryNotFoundError: if there is no segment of a name.
        FormatError: if an entry is damaged or not an alignment.
        SegmentationError: as `Segmenter.segment`, or if the frame shift is unknown.
    """
    shift = archive_frame_shift(archive) if frame_shift is None else frame_shift
    known = orthographies or {}
    for number, name in enumerate(archive.segments if names is None else names, 1):
        try:
            alignment = archive.read_alignment(name)
            with naming(archive.entry(name).archive_path, name):
                segmentation = segmenter.segment(
                    alignment, known.get(name), shift, window=window, name=name
                )
        except SprintCacheError as error:
            if failures is None:
                raise
            failures.append(error)
        else:
            yield segmentation
        if progress is not None:
            progress(number)
