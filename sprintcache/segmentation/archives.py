"""segment_archive: boundaries of states, phones or words in whole archives, compiled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import numpy as np

from sprintcache._dataset.buffers import BatchBuffers, ReadOptions
from sprintcache._reader import LabelTable, distinct_ids
from sprintcache.alignment import STATE_SHIFT
from sprintcache.allophones import AllophoneLabeling
from sprintcache.errors import LabelError, SegmentationError, SprintCacheError, naming

from ._boundaries import FLAGS, SHIFT, TIERS, find_intervals
from .allophone import AllophoneNames
from .runs import heaviest_items

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.alignment import OnMismatch
    from sprintcache.archive import Archive

__all__ = ["FrameIntervals", "segment_archive"]

_BATCH = 64  # segments that are decoded at a time
_MAX_STATES = 16


class FrameIntervals(NamedTuple):
    """Intervals of one tier of a segment, in frames; multiply by the frame shift for seconds.

    Attributes:
        start, end: (N,) int32, first frame and frame after the last one.
        allophone: (N,) int32 index of the allophone; of a word that of its first phone.
        state: (N,) int32 first state.
    """

    start: NDArray[np.int32]
    end: NDArray[np.int32]
    allophone: NDArray[np.int32]
    state: NDArray[np.int32]


class _StateNumbers:
    """A labeling for `Archive.read_labels_batch`: a number for each allophone state."""

    def __init__(self, allophones: Sequence[str], num_states: int) -> None:
        numbers = np.arange(len(allophones), dtype=np.int32) << SHIFT
        states = np.arange(num_states, dtype=np.int32)
        self.table = LabelTable(list(allophones), states[:, None] | numbers)


def segment_archive(
    archive: Archive,
    labeling_or_allophones: AllophoneLabeling | Sequence[str],
    tier: Literal["words", "phones", "states"] = "words",
    names: Iterable[str] | None = None,
    *,
    silence: str | None = None,
    num_threads: int = 1,
    on_alphabet_mismatch: Literal["error", "ignore"] = "error",
    failures: list[SprintCacheError] | None = None,
) -> Iterator[tuple[str, FrameIntervals]]:
    """Yields the boundaries of a tier for every alignment of an archive.

    A phone begins where the allophone changes or the state falls; a word ends with its final phone
    and begins after the previous word or silence. Soft alignments are read by the heaviest item of
    each frame, in Python. `Segmenter` finds the names of words.

    Args:
        archive: alignments of allophone states.
        labeling_or_allophones: a labeling, or the allophones in index order.
        tier: "words" (without silence), "phones" or "states".
        names: segments; None: all of the archive.
        silence: center phone of silence; None: that of the labeling, or ``"[SILENCE]"``.
        num_threads: threads to decode with.
        on_alphabet_mismatch: as for `Archive.read_labels`.
        failures: errors of single segments are added here and the segments left out; None: they
            are raised.

    Yields:
        (name, `FrameIntervals`).

    Raises:
        EntryNotFoundError: if there is no segment of a name.
        FormatError, LabelError: if an entry is damaged or not an alignment.
        SegmentationError: if the flags of an alignment contradict each other.
        ValueError: if `tier` is unknown.
    """
    if tier not in TIERS:
        raise ValueError(f"tier must be one of {', '.join(TIERS)}, not {tier!r}")
    known = AllophoneNames(labeling_or_allophones, silence, on_alphabet_mismatch)
    allophones = known.allophones or ()
    labeling = known.labeling
    num_states = _MAX_STATES
    if labeling is not None:
        num_states = labeling.num_allo_states or _MAX_STATES
    numbers = cast("AllophoneLabeling", _StateNumbers(allophones, num_states))
    flags = _flags(allophones, known.silence)
    chosen = archive.segments if names is None else names

    def segments() -> Iterator[tuple[str, FrameIntervals]]:
        remaining = iter(chosen)
        room = ReadOptions(buffers=BatchBuffers()).out("labels", np.int32)
        while batch := list(islice(remaining, _BATCH)):
            try:
                ids, lengths = archive.read_labels_batch(
                    batch,
                    numbers,
                    out=room,
                    num_threads=num_threads,
                    on_alphabet_mismatch=on_alphabet_mismatch,
                )
            except SprintCacheError:  # one by one, to find out which
                for name in batch:
                    try:
                        ids, lengths = _read_one(archive, numbers, name, on_alphabet_mismatch)
                        yield from _intervals(
                            archive, [name], ids, lengths, flags, TIERS[tier], failures
                        )
                    except SprintCacheError as error:
                        if failures is None:
                            raise
                        failures.append(error)
            else:
                yield from _intervals(archive, batch, ids, lengths, flags, TIERS[tier], failures)

    return segments()


def _read_one(
    archive: Archive, labeling: AllophoneLabeling, name: str, on_mismatch: OnMismatch
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(1, T) numbers of states; those of the heaviest items for a soft alignment."""
    try:
        return archive.read_labels_batch([name], labeling, on_alphabet_mismatch=on_mismatch)
    except LabelError:
        alignment = archive.read_alignment(name)
        if alignment.is_viterbi or alignment.label_type == "emission":
            raise
    with naming(archive.entry(name).archive_path, name):
        emission, _ = heaviest_items(alignment)
        used = distinct_ids(emission)
        AllophoneNames(labeling.table.allophones, None, on_mismatch).of(alignment, used)
        num_states = len(labeling.table.table)
        state, allophone = np.divmod(emission.astype(np.int64), 1 << STATE_SHIFT)
        if state.max(initial=0) >= num_states:
            raise SegmentationError("state of an alignment", expected=f"below {num_states}",
                                    found=int(state.max()))  # fmt: skip
        ids = (allophone << SHIFT | state).astype(np.int32)
    return ids[None], np.array([len(ids)], np.int64)


def _intervals(
    archive: Archive,
    names: list[str],
    ids: NDArray[np.int32],
    lengths: NDArray[np.int64],
    flags: NDArray[np.uint8],
    tier: int,
    failures: list[SprintCacheError] | None,
) -> Iterator[tuple[str, FrameIntervals]]:
    counts, start, end, first = find_intervals(ids, lengths, flags, tier)
    allophone, state = first >> SHIFT, first & (1 << SHIFT) - 1
    done = 0
    for name, count in zip(names, counts.tolist(), strict=True):
        if count < 0:
            error = SegmentationError(
                f"frame {-1 - count}: the boundary flags of the phones contradict each other",
                path=archive.entry(name).archive_path, entry=name,
            )  # fmt: skip
            if failures is None:
                raise error
            failures.append(error)
            continue
        part = slice(done, done + count)
        done += count
        yield name, FrameIntervals(start[part], end[part], allophone[part], state[part])


def _flags(allophones: Sequence[str], silence: str) -> NDArray[np.uint8]:
    initial, final = FLAGS["initial"], FLAGS["final"]
    begin = f"{silence}{{"
    return np.array(
        [
            initial * ("@i" in symbol[-4:])
            | final * symbol.endswith("@f")
            | FLAGS["silence"] * symbol.startswith(begin)
            for symbol in allophones
        ],
        np.uint8,
    )
