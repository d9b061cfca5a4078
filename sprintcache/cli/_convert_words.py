"""`sprintcache convert` from and to files with words and phones."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from sprintcache.errors import SegmentationError, SprintCacheError

from ._console import report
from ._copying import explain_existing
from ._parser import UsageError
from ._rename import combine_rules
from ._task import Task
from ._text import pluralize
from ._words import is_text, report_failures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sprintcache.segmentation import Segmentation

    from ._rename import Rule
    from .convert import Options

__all__ = ["convert_to_alignments", "convert_words", "writes_words"]


def writes_words(options: Options) -> bool:
    """Whether the destination is a file, or a folder of files, with words or phones."""
    from sprintcache.segmentation import format_of

    if options.audio_format is not None:
        return False
    return options.format is not None or format_of(options.to) is not None


def convert_words(options: Options) -> int:
    """Writes the words, phones or states of alignments, or of other such files."""
    from sprintcache.segmentation import format_of

    format_name = options.format or format_of(options.to) or ""
    holds_one = format_name in ("ctm", "audacity")
    tiers = options.tier or (["words"] if holds_one else ["words", "phones"])
    if holds_one and len(tiers) > 1:
        raise UsageError(f"a {format_name} file holds one tier")
    failures: list[SprintCacheError] = []
    with (
        explain_existing("--overwrite replaces it"),
        Task("converting", lambda *_: f"{options.to} was not written") as task,
    ):
        segmentations = _read(options, failures, tiers[0], task)
        if not segmentations and failures:
            raise failures[0]
        _write(options, segmentations, tiers, format_name)
    report(f"{pluralize(len(segmentations), 'segment', 'segments')} written to {options.to}")
    report_failures(failures)
    return 1 if failures else 0


def convert_to_alignments(options: Options) -> int:
    """Writes an archive of alignments made of words or phones."""
    from sprintcache import ArchiveWriter
    from sprintcache.segmentation import alignment_of

    if not (options.lexicon and options.allophones):
        raise UsageError("words become an alignment with --lexicon and --allophones")
    index = options.read_lexicon()
    state_names = options.read_state_names()
    num_states = options.states
    if num_states is None:
        labeling = state_names.labeling
        num_states = 3 if labeling is None else labeling.num_allo_states or 3
    allophones = state_names.labeling or state_names.allophones
    if index is None or allophones is None:
        raise UsageError("words become an alignment with --lexicon and --allophones")
    failures: list[SprintCacheError] = []
    with (
        explain_existing("--overwrite replaces it"),
        Task("converting", lambda *_: f"{options.to} was not written") as task,
    ):
        segmentations = _read(options, failures, options.tier[0] if options.tier else "words", task)
        count = 0
        with ArchiveWriter(options.to, mode="w" if options.overwrite else "x") as writer:
            for name, segmentation in segmentations.items():
                shift = options.frame_shift or segmentation.frame_shift or 0.01
                try:
                    alignment = alignment_of(
                        segmentation,
                        index,
                        allophones,
                        shift,
                        num_states=num_states,
                        window=options.frame_length,
                    )
                except SegmentationError as error:
                    failures.append(error)
                    continue
                attributes = {"datatype": "flow-alignment", "frame-shift": f"{shift:g}"}
                writer.add_alignment(name, alignment, attributes)
                count += 1
    report(f"{pluralize(count, 'segment', 'segments')} written to {options.to}")
    report_failures(failures)
    return 1 if failures else 0


def _read(
    options: Options, failures: list[SprintCacheError], tier: str, task: Task
) -> dict[str, Segmentation]:
    """The segments of all sources by name."""
    from sprintcache.segmentation import (
        archive_frame_shift,
        archive_window,
        iter_segmentations,
        read_tiers,
    )

    from ._selection import NameList, choose_names

    segmentations: dict[str, Segmentation] = {}
    segmenter, rename = None, combine_rules(options.rename)
    for path in options.sources:
        if is_text(path):
            tiers = read_tiers(path, tier)
            known = NameList(path, tiers)
            names = choose_names(known, options.select, options, segments_only=True)
            added: Iterable[Segmentation] = map(
                tiers.__getitem__, tiers if names is None else names
            )
            _add(segmentations, path, added, rename)
            continue
        if segmenter is None:
            segmenter = options.segmenter(options.on_alphabet_mismatch)
        with options.open(path) as archive:
            names = choose_names(archive, options.select, options, segments_only=True)
            total = len(archive.segments if names is None else names)
            shift = options.frame_shift or archive_frame_shift(archive)
            added = iter_segmentations(
                archive,
                segmenter,
                options.read_orthographies(archive.segments if names is None else names),
                names,
                frame_shift=shift,
                window=archive_window(archive, shift) if options.windows else None,
                failures=failures,
                progress=lambda done, total=total: task(done, total),  # type: ignore[misc]
            )
            _add(segmentations, path, added, rename)
    return segmentations


def _add(
    segmentations: dict[str, Segmentation],
    path: str,
    added: Iterable[Segmentation],
    rename: Rule | None,
) -> None:
    for segmentation in added:
        if rename is not None:
            segmentation = replace(segmentation, name=rename(segmentation.name))
        if segmentation.name in segmentations:
            raise SprintCacheError("the segment occurs twice", path=path, entry=segmentation.name)
        segmentations[segmentation.name] = segmentation


def _write(
    options: Options, segmentations: dict[str, Segmentation], tiers: list[str], format_name: str
) -> None:
    from sprintcache.convert.destination import complete_file
    from sprintcache.segmentation import to_recordings, write_tiers

    if options.recordings:
        from sprintcache.bliss import Corpus

        if options.corpus is None:
            raise UsageError("--recordings needs --corpus")
        segmentations = to_recordings(segmentations, Corpus(options.corpus))
    style = {"form": options.textgrid_form, "encoding": options.encoding}
    if os.path.isdir(options.to):
        write_tiers(options.to, segmentations, tiers, format_name, **style)  # type: ignore[arg-type]
        return
    with complete_file(options.to, options.overwrite) as partial:
        write_tiers(partial, segmentations, tiers, format_name, **style)  # type: ignore[arg-type]
