"""Corpus: which sequences the archives of several data keys have in common, and how long they are.

The sequences are the segments of one key, the reference, in the order of its archive; a *corpus
index* is a place among them. All that is kept is arrays of one number per sequence, and these only
where something was left out or a length was asked for; the names stay in the archives.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from sprintcache._checks import integer
from sprintcache.errors import EntryNotFoundError, LabelError

from .name_lookup import Subset, contained, is_same_list, places
from .reader import SprintCacheReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Segments

__all__ = ["Corpus", "Mismatch", "Missing"]

Missing = Literal["error", "skip"]
Mismatch = Literal["error", "trim", "skip"]
Frames = dict[str, "NDArray[np.int64]"]
Count = TypeVar("Count", int, "NDArray[np.int64]")

logger = logging.getLogger(__name__)

_THREADS = 4  # to measure all lengths: on a cold disk more than one request is under way


class Corpus:
    """The sequences of a dataset.

    Attributes:
        reference: the data key whose archive gives the order, and the lengths to go by.
        tags: their names, decoded when asked for.
        dropped: data key to the number of its segments that another key lacks.
        skipped: target key to the number of sequences left out since their lengths differ.
    """

    def __init__(
        self,
        readers: Mapping[str, SprintCacheReader],
        missing: Missing,
        length_mismatch: Mismatch,
        reduce_target_factor: int,
    ) -> None:
        """Compares the segments; see `SprintCacheDataset` for arguments and errors."""
        if missing not in ("error", "skip"):
            raise ValueError(f"missing must be 'error' or 'skip', not {missing!r}")
        if length_mismatch not in ("error", "trim", "skip"):
            raise ValueError(
                f"length_mismatch must be 'error', 'trim' or 'skip', not {length_mismatch!r}"
            )
        reduce_target_factor = integer("reduce_target_factor", reduce_target_factor)
        if reduce_target_factor < 1:
            raise ValueError(f"reduce_target_factor must be at least 1, not {reduce_target_factor}")
        self._readers = dict(readers)
        self._policy = length_mismatch
        self._factor = reduce_target_factor
        self.reference = "data" if "data" in readers else next(iter(readers))
        self._targets = [
            key for key, reader in readers.items()
            if reader.type == "align" and self._readers[self.reference].type == "feat"
        ]  # fmt: skip
        self._segments = self._readers[self.reference].archive.segments
        self._lengths: Frames = {}
        self._told = False
        self.tags: Segments | Subset = self._segments
        self._kept: NDArray[np.int64] | None = None  # corpus index -> segment; None: all of them
        self._other_order = [
            key for key, reader in self._readers.items()
            if not is_same_list(self._segments, reader.archive.segments)
        ]  # fmt: skip
        self.dropped = self._common(missing)
        self.skipped: dict[str, int] = {}
        if length_mismatch == "skip":
            self._skip_mismatched()

    def __len__(self) -> int:
        return len(self.tags)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lengths": {}}

    # ---- which sequences

    def _common(self, missing: Missing) -> dict[str, int]:
        """Keeps what all keys have; the number of segments each key has beyond that."""
        shared = np.ones(len(self._segments), np.bool_)
        for key in self._other_order:
            shared &= contained(self._segments, self._readers[key].archive.segments)
        count = int(shared.sum())
        extra = {k: len(r.archive.segments) - count for k, r in self._readers.items()}
        if any(extra.values()):
            if missing == "error" or not count:
                raise self._different(extra, count)
            told = ", ".join(f"{n} of {key!r}" for key, n in extra.items())
            logger.warning("segments that not every data key has are left out: %s", told)
            if count < len(shared):
                self._keep(np.flatnonzero(shared))
        return extra

    def _different(self, extra: dict[str, int], count: int) -> EntryNotFoundError:
        """The error that names one segment which an archive lacks."""
        holder = next(key for key, n in extra.items() if n)
        names = self._readers[holder].archive.segments
        for reader in self._readers.values():
            found = contained(names, reader.archive.segments)
            if not found.all():
                break
        told = ", ".join(f"{n} more in {key!r}" for key, n in extra.items())
        hint = " (missing='skip' leaves them out)" if count else ""
        return EntryNotFoundError(
            f"no such segment, but {holder!r} has it; {count} segments in common, {told}{hint}",
            path=reader.archive.path,
            entry=names[int(np.argmin(found))],
        )

    def _keep(self, chosen: NDArray[np.int64]) -> None:
        """Keeps these sequences only, given by corpus index."""
        self._kept = chosen if self._kept is None else self._kept[chosen]
        self.tags = Subset(self._segments, self._kept)
        self._lengths = {key: lengths[chosen] for key, lengths in self._lengths.items()}

    def indices(self, tags: Sequence[str]) -> NDArray[np.int64]:
        """The corpus indices of some names.

        Raises:
            EntryNotFoundError: if a name is not in the corpus.
        """
        at = places(tags, self._segments)
        if self._kept is not None:
            index = np.full(len(self._segments) + 1, -1, np.int64)
            index[self._kept] = np.arange(len(self._kept))
            at = index[at]  # -1, the name is nowhere, finds the last place: -1
        if np.any(at < 0):
            path = self._readers[self.reference].archive.path
            raise EntryNotFoundError(
                "no such sequence in the corpus", path=path, entry=tags[int(np.argmin(at))]
            )
        return at

    # ---- how long they are

    def lengths(self, key: str | None = None) -> NDArray[np.int64]:
        """(N,) int64 frames of every sequence as stored, of the reference or another data key.

        Measured without decoding where possible, when first asked for, and kept.
        """
        key = key or self.reference
        if key not in self._lengths:
            archive = self._readers[key].archive
            frames = archive.num_frames_all(_THREADS)
            if key in self._other_order:
                frames = frames[places(self.tags, archive.segments)]
            elif self._kept is not None:
                frames = frames[self._kept]
            frames.flags.writeable = False
            self._lengths[key] = frames
        return self._lengths[key]

    def mismatched(self) -> dict[str, int]:
        """Target key to the number of sequences whose length does not match the features."""
        if self._policy == "skip":
            return self.skipped
        return {key: int(self._wrong(key, self._all(key)).sum()) for key in self._targets}

    def agreed(self, frames: Frames, name: Callable[[int], str]) -> Frames:
        """How many frames of each sequence to give.

        Args:
            frames: data key to the stored frames, (B,) each.
            name: place among the B sequences to its name.

        Returns:
            the same where all lengths match; else what the sequences share.

        Raises:
            LabelError: if lengths differ and the policy is not "trim".
        """
        targets = [key for key in self._targets if key in frames and self.reference in frames]
        wrong = {key: self._wrong(key, frames) for key in targets}
        if not any(places.any() for places in wrong.values()):
            return frames
        if self._policy != "trim":
            raise self._mismatch(frames, wrong, name)
        if not self._told:
            self._told = True
            logger.warning(
                "features and targets of different length are trimmed, first %r (logged once)",
                name(int(np.argmax(np.any(list(wrong.values()), axis=0)))),
            )
        features = frames[self.reference]
        for key in wrong:
            features = np.minimum(features, frames[key] * self._factor)
        return {
            key: self.expected(features) if key in wrong
            else features if key == self.reference else count
            for key, count in frames.items()
        }  # fmt: skip

    def _all(self, key: str) -> Frames:
        return {key: self.lengths(key), self.reference: self.lengths()}

    def longest(self, seqs: Sequence[int] | Sequence[str] | NDArray[np.int64]) -> int | None:
        """Frames of the longest of some sequences; None where they were not measured yet."""
        known = self._lengths.get(self.reference)
        if known is None or not len(seqs) or isinstance(seqs[0], str):
            return None
        return int(known[np.asarray(seqs, np.int64)].max())

    def guess(self, key: str, longest: int | None) -> int | None:
        """Frames of the longest entry of a key, if that of the reference has so many."""
        if longest is None or key == self.reference:
            return longest
        return self.expected(longest) if key in self._targets else None

    def expected(self, frames: Count) -> Count:
        """How many frames a target should have for that many frames of the features."""
        return frames if self._factor == 1 else -(-frames // self._factor)

    def _wrong(self, key: str, frames: Frames) -> NDArray[np.bool_]:
        """(B,) whether a target has not one frame per reduced frame of the features."""
        return np.not_equal(frames[key], self.expected(frames[self.reference]))

    def _mismatch(
        self, frames: Frames, wrong: dict[str, NDArray[np.bool_]], name: Callable[[int], str]
    ) -> LabelError:
        key = next(key for key, places in wrong.items() if places.any())
        place = int(np.argmax(wrong[key]))
        per = "" if self._factor == 1 else f" at one label for {self._factor} frames"
        tag = name(place)
        return LabelError(
            f"{key!r} does not match the {frames[self.reference][place]} frames of"
            f" {self.reference!r}{per} (length_mismatch='trim' or 'skip' accept that)",
            path=self._readers[key].archive.entry(tag).archive_path,
            entry=tag,
            expected=f"{self.expected(frames[self.reference])[place]} frames",
            found=frames[key][place],
        )

    def _skip_mismatched(self) -> None:
        wrong = {key: self._wrong(key, self._all(key)) for key in self._targets}
        self.skipped = {key: int(places.sum()) for key, places in wrong.items()}
        if any(self.skipped.values()):
            self._keep(np.flatnonzero(~np.any(list(wrong.values()), axis=0)))
            told = ", ".join(f"{n} of {key!r}" for key, n in self.skipped.items())
            logger.warning("sequences of another length than the features are left out: %s", told)
