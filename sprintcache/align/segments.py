"""align_segments: aligns the segments of an archive of scores, in threads, results in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from sprintcache._threads import chunk_map, default_threads
from sprintcache.alignment import Alignment
from sprintcache.errors import EntryNotFoundError, SprintCacheError

from .aligner import CHUNK, AlignJob
from .result import AlignResult

if TYPE_CHECKING:
    from sprintcache import Archive, ArchiveWriter

    from .aligner import Aligner

__all__ = ["align_segments", "write_result"]

_DATATYPE = "flow-alignment"


def align_segments(
    aligner: Aligner,
    scores: Archive,
    names: Iterable[str] | None = None,
    num_threads: int | None = None,
) -> Iterator[AlignResult]:
    """Aligns segments of an archive with the orthographies of the builder's corpus.

    Args:
        aligner: its builder needs a corpus.
        scores: log probabilities, one column per label.
        names: segments to align, in this order; None takes those of the archive.
        num_threads: threads that read and search at once; None takes one per processor.

    Yields:
        One result per segment. A segment that is missing from the archive or the corpus, that
        cannot be read or that has no path is a result with `AlignResult.reason`.

    Raises:
        LabelError: if the scores have fewer columns than the state tying has labels.
    """

    def align_chunk(names: list[str]) -> list[AlignResult]:
        jobs = [_job(aligner, scores, name) for name in names]
        results = iter(aligner.align_jobs([job for job in jobs if isinstance(job, AlignJob)]))
        return [job if isinstance(job, AlignResult) else next(results) for job in jobs]

    chosen = scores.segments if names is None else names
    chunks = chunk_map(align_chunk, chosen, num_threads or default_threads(), CHUNK)
    return chain.from_iterable(chunks)


def _job(aligner: Aligner, scores: Archive, name: str) -> AlignJob | AlignResult:
    """The scores and the orthography of a segment, or the result of one that lacks them."""
    if name not in scores:
        return AlignResult(name, None, None, 0, reason="the archive has no scores for it")
    try:
        orthography = aligner.builder.orthography(name)
        values = scores.read_features(name)
        times = scores.read_times(name)
    except EntryNotFoundError:
        return AlignResult(name, None, None, 0, reason="the corpus has no such segment")
    except SprintCacheError as error:
        return AlignResult(name, None, None, 0, reason=f"{type(error).__name__}: {error}")
    start, end = (float(times[0, 0]), float(times[-1, 1])) if len(times) else (0.0, 0.0)
    return AlignJob(values, orthography, name, start, end)


def write_result(
    writer: ArchiveWriter, result: AlignResult, scores: Archive, *, write_failed: bool = True
) -> bool:
    """Writes one result as Sprint does, attributes included; returns whether it wrote.

    Args:
        writer: archive of alignments.
        result: with a tag.
        scores: archive that the attributes of the segment are read from.
        write_failed: write an entry without items for a segment that the search failed on, as
            Sprint does. A segment without scores has no entry in any case.

    Raises:
        ValueError: for a result without a tag.
        SprintCacheError: if the writer or the archive fails.
    """
    if result.tag is None:
        raise ValueError("a result without a tag cannot be written")
    alignment = result.alignment
    if alignment is None:
        if not write_failed or result.start is None:
            return False
        alignment = Alignment([], [], alphabet={}, start=result.start, end=result.end)
    attributes = scores.read_attributes(result.tag)
    if attributes:
        attributes = {**attributes, "datatype": _DATATYPE}
    writer.add_alignment(result.tag, alignment, attributes or None)
    return True
