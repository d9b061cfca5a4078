"""Corpus: the sequences that several data keys have in common, and their lengths.

The sequences are the segments of one key, the reference, in the order of its file; a *corpus
index* counts them. All that is kept is arrays of one number per sequence, and these only where
something was left out, ordered differently, or a length was needed; the names stay in the archives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sprintcache._checks import integer
from sprintcache.errors import EntryNotFoundError, LabelError

from .name_lookup import NameIndex, NameView, is_same_list
from .streams.alignment import AlignmentStream
from .streams.archives import ArchiveStream
from .streams.base import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Corpus", "Mismatch", "Missing"]

Missing = Literal["error", "skip"]
Mismatch = Literal["error", "trim", "skip"]
Frames = dict[str, "NDArray[np.int64]"]

logger = logging.getLogger(__name__)

_THREADS = 4  # to measure all lengths: on a cold disk more than one request is pending


class Corpus:
    """The sequences of a dataset.

    Attributes:
        keys: the data keys.
        reference: the data key whose archive defines the order and the lengths.
        tags: their names, decoded on demand.
        dropped: data key to the number of its segments that another key lacks.
        skipped: target key to the number of sequences left out since their lengths differ.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        missing: Missing,
        length_mismatch: Mismatch,
        reduce_target_factor: int,
        trim_tolerance: int | None,
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
        if trim_tolerance is not None and integer("trim_tolerance", trim_tolerance) < 0:
            raise ValueError(f"trim_tolerance must be 0 or more, not {trim_tolerance}")
        self._streams = dict(streams)
        self.keys = tuple(streams)
        self._policy = length_mismatch
        self._factor = reduce_target_factor
        self._tolerance = trim_tolerance
        self.reference = "data" if "data" in streams else next(iter(streams))
        self._targets = [
            key for key, stream in streams.items()
            if stream.is_frame_target and self._streams[self.reference].type == "feat"
        ]  # fmt: skip
        self._lengths: Frames = {}
        self._has_warned = False
        self.tags: NameView = self._streams[self.reference].names
        self._kept: NDArray[np.int64] | None = None  # corpus index -> segment; None: all of them
        self._index: NameIndex | None = None
        # data key -> corpus index -> segment, of keys whose archive has another order
        self._numbers: dict[str, NDArray[np.integer[Any]] | None] = dict.fromkeys(
            key for key, stream in self._streams.items()
            if not is_same_list(self.tags, stream.names)
        )  # fmt: skip
        if self._streams[self.reference].rename is not None:
            self._index = NameIndex(self.tags)  # refuses names that are no longer unique
        self.dropped = self._match(missing)
        self.skipped: dict[str, int] = {}
        if length_mismatch == "skip":
            self._skip_mismatched()

    @property
    def factor(self) -> int:
        """Frames of the reference per label."""
        return self._factor

    @property
    def timed_keys(self) -> list[str]:
        """The keys whose lengths are compared."""
        return [self.reference, *self._targets]

    def __len__(self) -> int:
        return len(self.tags)

    def __getstate__(self) -> dict[str, Any]:
        numbers = dict.fromkeys(self._numbers)
        return {**self.__dict__, "_lengths": {}, "_numbers": numbers, "_index": None}

    # ---- which sequences

    def _match(self, missing: Missing) -> dict[str, int]:
        """Keeps what all keys have; returns the number of segments each key has beyond that.

        Sources that describe more than one corpus may have more segments.
        """
        shared = np.ones(len(self.tags), np.bool_)
        for key in self._numbers:
            shared &= self._all_numbers(key) >= 0
        count = int(shared.sum())
        extra = {key: len(stream.names) - count for key, stream in self._streams.items()}
        left_out = {
            key: n
            for key, n in extra.items()
            if key == self.reference or not self._streams[key].may_exceed
        }
        if any(left_out.values()) or not count:
            if missing == "error" or not count:
                raise self._different(left_out, count)
            counts = ", ".join(f"{n} of {key!r}" for key, n in left_out.items())
            logger.warning("segments that not every data key has are left out: %s", counts)
            if count < len(shared):
                self._keep(np.flatnonzero(shared))
        return extra

    def _different(self, extra: dict[str, int], count: int) -> EntryNotFoundError:
        """The error that names one segment which a key lacks."""
        holder = next((key for key, n in extra.items() if n), self.reference)
        if not len(self._streams[holder].names):
            path = self._streams[holder].path
            return EntryNotFoundError("the archive has no segment", path=path)
        names = self._streams[holder].names
        for stream in self._streams.values():
            numbers = NameIndex(stream.names).find(names)
            if np.any(numbers < 0):
                break
        counts = ", ".join(f"{n} more in {key!r}" for key, n in extra.items())
        hint = " (missing='skip' leaves them out)" if count else ""
        return EntryNotFoundError(
            f"no such segment, but {holder!r} has it; {count} segments in common, {counts}{hint}",
            path=stream.path,
            entry=names[int(np.argmin(numbers))],
        )

    def _keep(self, indices: NDArray[np.int64]) -> None:
        """Keeps these sequences only, given by corpus index."""
        self._kept = indices if self._kept is None else self._kept[indices]
        self.tags = self.tags.subset(indices)
        self._index = None
        self._lengths = {key: lengths[indices] for key, lengths in self._lengths.items()}
        self._numbers = {
            key: None if numbers is None else numbers[indices]
            for key, numbers in self._numbers.items()
        }

    def find(self, tags: Sequence[str]) -> NDArray[np.int64]:
        """The corpus indices of some tags; -1 for a tag that is not in the corpus."""
        if self._index is None:
            self._index = NameIndex(self.tags)
        return self._index.find(tags)

    def indices(
        self, seqs: Sequence[int] | Sequence[str] | NDArray[np.int64], *, unchecked: bool = False
    ) -> NDArray[np.int64]:
        """(B,) corpus indices of some sequences, given by corpus index or by tag.

        Args:
            seqs: the sequences.
            unchecked: leaves the range to the archive, where it checks the same numbers.

        Raises:
            EntryNotFoundError: if a tag is not in the corpus.
            IndexError: if there is no such corpus index.
        """
        if len(seqs) and isinstance(seqs[0], str):
            indices = self.find(seqs)  # type: ignore[arg-type]
            if np.any(indices < 0):
                path = self._streams[self.reference].path
                tag = str(seqs[int(np.argmin(indices))])
                raise EntryNotFoundError("no such sequence in the corpus", path=path, entry=tag)
            return indices
        indices = np.asarray(seqs, np.int64)
        checks = isinstance(self._streams[self.reference], ArchiveStream)
        if unchecked and checks and self._kept is None and not self._numbers:
            return indices  # these are segment numbers, which the archive checks
        # as unsigned numbers, negative ones are large
        if len(indices) and indices.view(np.uint64).max() >= len(self):
            wrong = next(i for i in indices.tolist() if not 0 <= i < len(self))
            raise IndexError(f"sequence {wrong} of {len(self)}")
        return indices

    def numbers(self, key: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) segment numbers, in the archive of a key, of sequences given by corpus index."""
        if key not in self._numbers:
            return indices if self._kept is None else self._kept[indices]
        return self._all_numbers(key)[indices].astype(np.int64, copy=False)

    def _all_numbers(self, key: str) -> NDArray[np.integer[Any]]:
        numbers = self._numbers[key]
        if numbers is None:  # the first time, and after pickling
            names = self._streams[key].names
            dtype = np.int32 if len(names) < 1 << 31 else np.int64
            numbers = self._numbers[key] = NameIndex(names).find(self.tags).astype(dtype)
        return numbers

    def _of_all(self, key: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """From one value per segment of the archive of a key to one per sequence."""
        numbers = self._all_numbers(key) if key in self._numbers else self._kept
        selected: NDArray[np.int64] = values if numbers is None else values[numbers]
        return selected

    def location(self, key: str, index: int) -> tuple[str, str]:
        """Path and name of the entry that holds a sequence, for errors."""
        return self._streams[key].location(int(self.numbers(key, np.array([index]))[0]))

    # ---- how long they are

    def lengths(self, key: str | None = None) -> NDArray[np.int64]:
        """(N,) int64 frames of every sequence as stored, of the reference or another data key.

        Samples of audio. Measured without decoding where possible, at the first call, and kept.
        """
        key = key or self.reference
        if key not in self._lengths:
            frames = self._of_all(key, self._streams[key].num_frames_all(_THREADS))
            frames.flags.writeable = False
            self._lengths[key] = frames
        return self._lengths[key]

    def order_lengths(self) -> NDArray[np.int64]:
        """(N,) lengths that the order uses: frames; bytes where "data" is alignments, as RETURNN.

        RETURNN orders by the bytes of the entry of "data". For features this is the order by
        frames; alignments are run-length coded.
        """
        stream = self._streams[self.reference]
        if self.reference == "data" and isinstance(stream, AlignmentStream):
            return self._of_all("data", stream.archive.segment_sizes())
        return self.lengths()

    def has_frames(self) -> NDArray[np.bool_]:
        """(N,) whether each sequence has frames, after trimming; measures short entries only."""
        present = np.ones(len(self), np.bool_)
        for key in {self.reference, *(self._targets if self._policy == "trim" else ())}:
            if key in self._lengths:
                present &= self._lengths[key] > 0
                continue
            rows = np.flatnonzero(present)
            present[rows] = self._streams[key].has_frames(self.numbers(key, rows))
        return present

    def mismatched(self) -> dict[str, int]:
        """Target key to the number of sequences whose length does not match the features."""
        if self._policy == "skip":
            return self.skipped
        return {key: int(self._differs(key, self._all(key)).sum()) for key in self._targets}

    def agreed(self, frames: Frames, indices: NDArray[np.int64]) -> Frames:
        """How many frames of each sequence to deliver.

        Args:
            frames: data key to the stored frames, (B,) each.
            indices: (B,) their corpus indices, for errors.

        Returns:
            the same where all lengths match; else what the sequences share.

        Raises:
            LabelError: if lengths differ, unless the policy is "trim" and they differ by at most
                the tolerance.
        """
        features = frames.get(self.reference)
        targets = [key for key in self._targets if key in frames]
        if features is None or not targets:
            return frames
        frames = self._without_surplus(frames)
        differs = {key: self._differs(key, frames) for key in targets}
        if not any(rows.any() for rows in differs.values()):
            return frames
        if self._policy == "trim" and self._tolerance is not None:
            too_far = {key: self._excess(key, frames) > self._tolerance for key in targets}
        else:
            too_far = {} if self._policy == "trim" else differs
        for key, rows in too_far.items():
            if rows.any():
                raise self._mismatch(key, frames, int(np.argmax(rows)), indices)
        if not self._has_warned:
            self._has_warned = True
            first = int(np.argmax(np.any(list(differs.values()), axis=0)))
            logger.warning(
                "features and targets of different length are trimmed, first %r (logged once)",
                self.tags[int(indices[first])],
            )
        for key in targets:
            features = np.minimum(features, frames[key] * self._factor)
        return {
            key: self._expected(features) if key in differs
            else features if key == self.reference else count
            for key, count in frames.items()
        }  # fmt: skip

    def _all(self, key: str) -> Frames:
        return self._without_surplus({key: self.lengths(key), self.reference: self.lengths()})

    def _without_surplus(self, frames: Frames) -> Frames:
        """The same, without the last labels of targets that were repeated too often."""
        cut = {}
        for key, labels in frames.items():
            surplus = self._streams[key].surplus if key in self._targets else 0
            if surplus:
                expected = self._expected(frames[self.reference])
                is_surplus = (labels > expected) & (labels <= expected + surplus)
                cut[key] = np.where(is_surplus, expected, labels)
        return {**frames, **cut} if cut else frames

    def _expected(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many frames a target should have for that many frames of the features."""
        return frames if self._factor == 1 else -(-frames // self._factor)

    def _differs(self, key: str, frames: Frames) -> NDArray[np.bool_]:
        """(B,) whether a target does not have one frame per reduced frame of the features."""
        return np.not_equal(frames[key], self._expected(frames[self.reference]))

    def _excess(self, key: str, frames: Frames) -> NDArray[np.int64]:
        """(B,) frames of the features that a target lacks, or has in excess."""
        features, labels = frames[self.reference], frames[key]
        surplus = (labels - self._expected(features)) * self._factor
        excess: NDArray[np.int64] = np.maximum(features - labels * self._factor, surplus)
        return excess

    def _mismatch(
        self, key: str, frames: Frames, row: int, indices: NDArray[np.int64]
    ) -> LabelError:
        per = "" if self._factor == 1 else f" at one label for {self._factor} frames"
        hint = "length_mismatch='trim' or 'skip' accept that"
        if self._policy == "trim":
            hint = f"'trim' accepts {self._tolerance} frames, see trim_tolerance"
        path, name = self.location(key, int(indices[row]))
        return LabelError(
            f"{key!r} does not match the {frames[self.reference][row]} frames of"
            f" {self.reference!r}{per} ({hint})",
            path=path,
            entry=name,
            expected=f"{self._expected(frames[self.reference])[row]} frames",
            found=frames[key][row],
        )

    def _skip_mismatched(self) -> None:
        differs = {key: self._differs(key, self._all(key)) for key in self._targets}
        self.skipped = {key: int(rows.sum()) for key, rows in differs.items()}
        if not any(self.skipped.values()):
            return
        kept = np.flatnonzero(~np.any(list(differs.values()), axis=0))
        counts = ", ".join(f"{n} of {key!r}" for key, n in self.skipped.items())
        if not len(kept):
            key = max(self.skipped, key=self.skipped.__getitem__)
            error = self._mismatch(
                key, self._all(key), int(np.argmax(differs[key])), np.arange(len(self))
            )
            raise LabelError(
                f"no sequence is left: the lengths of all {len(self)} differ ({counts}); perhaps"
                " reduce_target_factor is missing",
                path=error.path, entry=error.entry, expected=error.expected, found=error.found,
            )  # fmt: skip
        self._keep(kept)
        logger.warning(
            "sequences whose length differs from that of the features are left out: %s", counts
        )
