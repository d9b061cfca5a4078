"""Dataset: the interface of a training to its data, epoch by epoch, under RETURNN's names.

An epoch begins with `Dataset.init_seq_order`; from then on a sequence is identified by its index in
the epoch, the *sorted sequence index*, from 0. `Dataset.load_seqs` loads a range, and
`Dataset.get_data` returns one array of one sequence. A data key names a stream: "data" is the
features, "classes" usually the alignment.

Sprint's interpreter imports this module: standard library, numpy, and pure modules of this package
only. One thread calls the methods of a dataset unless a subclass says more.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ._checks import integer
from ._text_file import parse_literal, read_text
from .errors import EntryNotFoundError, FormatError
from .ordering import Ordering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .ordering import SeqOrdering

__all__ = ["Dataset", "DatasetSeq", "read_seq_lengths", "sliding_window"]

logger = logging.getLogger(__name__)

_IGNORED = {"chunking", "context_window", "min_chunk_size", "chunking_variance"}


class DatasetSeq:
    """One sequence with all its data.

    Attributes:
        seq_idx: sorted sequence index, or -1.
        seq_tag: name in the corpus.
        features: dict of data key to array, targets included.
    """

    __slots__ = ("features", "seq_idx", "seq_tag")

    def __init__(self, seq_idx: int, seq_tag: str, features: Mapping[str, NDArray[Any]]) -> None:
        self.seq_idx = seq_idx
        self.seq_tag = seq_tag
        self.features = dict(features)

    def get_data(self, key: str) -> NDArray[Any]:
        """The array of a data key."""
        return self.features[key]

    def get_data_keys(self) -> list[str]:
        """The data keys."""
        return list(self.features)

    @property
    def num_frames(self) -> dict[str, int]:
        """Data key to the length of its array."""
        return {key: len(array) for key, array in self.features.items()}

    def __repr__(self) -> str:
        return f"<DatasetSeq {self.seq_idx} {self.seq_tag!r} {self.num_frames}>"


class Dataset:
    """Base class; a subclass provides `num_seqs`, `get_tag`, `get_data`, `load_seqs` and the keys.

    Attributes:
        name: for messages.
        ordering: the options of the order, see `ordering.Ordering`.
        window: number of frames that `sliding_window` joins; odd.
        epoch: the current one, or None.
        num_inputs: dimension of "data" before the window; 0 until it is known.
        num_outputs: dict of data key to (dimension or number of classes, number of axes): 2 axes
            are a dense array (T, D), window included, 1 axis is indices (T,).
        labels: dict of data key to label names, where they are known.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        window: int | None = 1,
        seq_ordering: SeqOrdering = "default",
        partition_epoch: int | None = None,
        repeat_epoch: int | None = None,
        fixed_random_seed: int | None = None,
        random_seed_offset: int | None = 0,
        seq_list_filter_file: str | os.PathLike[str] | None = None,
        unique_seq_tags: bool = False,
        seq_order_seq_lens_file: str | os.PathLike[str] | None = None,
        estimated_num_seqs: int | None = None,
        num_shards: int = 1,
        shard_index: int = 0,
        shuffle_frames_of_nseqs: int = 0,
        **returnn_options: Any,
    ) -> None:
        """Accepts the options that all datasets have, under RETURNN's names.

        Args:
            name: for messages.
            window: joins that many frames around each frame of "data", zeros beyond the ends; an
                even number counts one more. None means 1.
            seq_ordering, partition_epoch, repeat_epoch, fixed_random_seed, random_seed_offset,
                num_shards, shard_index: see `ordering.Ordering`; ``_num_shards`` and
                ``_shard_index`` are accepted, too.
            seq_list_filter_file: uses only sequences whose tags are in this file: one a line, or a
                pickled list (``.pkl``), gzipped or not. Applied to the order after parts and
                shards are cut.
            unique_seq_tags: drops repeated sequences of ``random_sample``.
            seq_order_seq_lens_file: file with a Python dict of tag to length, gzipped or not; the
                order uses these lengths.
            estimated_num_seqs: for `get_complete_frac` while the number is not known.
            shuffle_frames_of_nseqs: must be 0.
            **returnn_options: chunking, min_chunk_size, chunking_variance, context_window. They
                concern RETURNN's own batches, and are ignored with a warning in the log.

        Raises:
            ValueError: if an option is out of range.
            TypeError: if an option is of another type, or unknown.
        """
        window = integer("window", 1 if window is None else window)
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        self.name = name or type(self).__name__
        self.window = window + (window % 2 == 0)
        self.seq_list_filter_file = seq_list_filter_file
        self.seq_order_seq_lens_file = seq_order_seq_lens_file
        num_shards = returnn_options.pop("_num_shards", num_shards)
        shard_index = returnn_options.pop("_shard_index", shard_index)
        if shuffle_frames_of_nseqs:
            raise ValueError(
                f"shuffle_frames_of_nseqs must be 0, not {shuffle_frames_of_nseqs!r}:"
                " frames keep their order"
            )
        _check_ignored(self.name, returnn_options)
        self.ordering = Ordering(
            seq_ordering,
            1 if partition_epoch is None else partition_epoch,
            1 if repeat_epoch is None else repeat_epoch,
            fixed_random_seed,
            0 if random_seed_offset is None else random_seed_offset,
            num_shards,
            shard_index,
            bool(unique_seq_tags),
        )
        self.epoch: int | None = None
        self.num_inputs = 0
        self.num_outputs: dict[str, tuple[int, int]] = {}
        self.labels: dict[str, list[str]] = {}
        self._estimated_num_seqs = estimated_num_seqs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, epoch {self.epoch}>"

    # ---- the epoch

    def initialize(self) -> None:
        """Does nothing: a dataset is ready once constructed. For callers of RETURNN's datasets."""

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        *,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1 (or 0, see `ordering`); None: no epoch, unless there is a list.
            seq_list: the tags of exactly the sequences to deliver, in this order.
            seq_order: the same by corpus index, where sequences have one.

        Returns:
            whether the order changed; True is always right.

        Raises:
            NotImplementedError: if there is a `seq_order` and sequences have no corpus index.
        """
        if seq_order is not None:
            raise NotImplementedError(f"{self}: sequences have no corpus index (seq_order)")
        self.epoch = epoch
        return True

    def finish_epoch(self, *, free_resources: bool = False) -> None:
        """Ends the epoch; the next one begins with `init_seq_order`."""
        self.epoch = None

    def supports_sharding(self) -> bool:
        """Whether `set_sharding` has an effect: True."""
        return True

    def set_sharding(self, *, num_shards: int, shard_index: int) -> None:
        """Selects a shard from the next epoch on; see `ordering.Ordering`.

        Raises:
            ValueError: if `shard_index` is out of range.
        """
        self.ordering = replace(self.ordering, num_shards=num_shards, shard_index=shard_index)

    def supports_seq_order_sorting(self) -> bool:
        """Whether orders by length are possible: True."""
        return True

    @property
    def num_seqs(self) -> int:
        """Number of sequences in this epoch.

        Raises:
            NotImplementedError: if it is not known before the end.
        """
        raise NotImplementedError(f"{self}: the number of sequences is not known")

    @property
    def estimated_num_seqs(self) -> int | None:
        """`num_seqs`, or the option of that name where it is not known yet."""
        try:
            return self.num_seqs
        except NotImplementedError:
            return self._estimated_num_seqs

    def is_less_than_num_seqs(self, n: int) -> bool:
        """Whether n is a sorted sequence index; may wait until that is known."""
        return n < self.num_seqs

    def have_seqs(self) -> bool:
        """Whether there is any sequence; may wait, see `is_less_than_num_seqs`."""
        return self.is_less_than_num_seqs(0)

    def get_complete_frac(
        self, sorted_seq_idx: int, *, allow_only_lr_suitable: bool = False
    ) -> float | None:
        """Fraction of the epoch up to this sequence, above 0 and at most 1; for progress.

        Args:
            sorted_seq_idx: the sequence.
            allow_only_lr_suitable: None instead of an estimate.
        """
        try:
            num_seqs: int | None = self.num_seqs
        except NotImplementedError:
            if allow_only_lr_suitable:
                return None
            num_seqs = self._estimated_num_seqs
        if num_seqs is None:
            return (sorted_seq_idx + 1) / (sorted_seq_idx + 1001)
        return min((sorted_seq_idx + 1) / num_seqs, 1.0) if num_seqs else 1.0

    def get_num_timesteps(self) -> dict[str, int]:
        """Data key to the number of frames of this epoch.

        Raises:
            NotImplementedError: the number is not known.
        """
        raise NotImplementedError(f"{self}: the number of frames is not known")

    def generate_batches(self, *args: Any, **kwargs: Any) -> NoReturn:
        """RETURNN's batches; only its own dataset classes make them.

        Raises:
            NotImplementedError: names what to use instead.
        """
        raise NotImplementedError(
            f"{self}: generate_batches needs the classes for RETURNN (sprintcache.returnn,"
            " sprint_ctl.returnn); without RETURNN: sprintcache.batching.make_batches or"
            " sprintcache.torch"
        )

    # ---- the corpus

    def get_all_tags(self) -> Sequence[str]:
        """The tags of all sequences, of all parts and shards, in the order of the corpus.

        Raises:
            NotImplementedError: the tags are not known.
        """
        raise NotImplementedError(f"{self}: the tags are not known")

    def get_total_num_seqs(self, *, fast: bool = False) -> int:
        """Number of all sequences, of all parts and shards; `fast` changes nothing.

        Raises:
            NotImplementedError: the number is not known.
        """
        raise NotImplementedError(f"{self}: the number of sequences is not known")

    def have_corpus_seq_idx(self) -> bool:
        """Whether sequences have a corpus index (`get_corpus_seq_idx`)."""
        return False

    def have_get_corpus_seq(self) -> bool:
        """Whether `get_corpus_seq` can be used."""
        return False

    def len_info(self, *, fast: bool = False) -> str:
        """Class and size of the corpus, for messages."""
        try:
            num_seqs = str(self.get_total_num_seqs(fast=fast))
        except NotImplementedError:
            num_seqs = "unknown"
        return f"{type(self).__name__}, sequences: {num_seqs}"

    # ---- sequences

    def load_seqs(self, start: int, end: int) -> None:
        """Loads sequences `start` to `end` (exclusive); earlier ones may be dropped."""
        raise NotImplementedError

    def is_cached(self, start: int, end: int) -> bool:
        """Whether sequences `start` to `end` (exclusive) are loaded."""
        return start == end

    def get_tag(self, sorted_seq_idx: int) -> str:
        """The tag of a sequence."""
        raise NotImplementedError

    def get_seq_length(self, sorted_seq_idx: int) -> dict[str, int]:
        """Data key to the length of a sequence."""
        return {key: len(self.get_data(sorted_seq_idx, key)) for key in self.get_data_keys()}

    def get_data(self, seq_idx: int, key: str) -> NDArray[Any]:
        """Features (T, D), or targets, of a sequence."""
        raise NotImplementedError

    def get_data_slice(
        self, seq_idx: int, key: str, start_frame: int, end_frame: int
    ) -> NDArray[Any]:
        """Frames `start_frame` to `end_frame` (exclusive) of `get_data`."""
        return self.get_data(seq_idx, key)[start_frame:end_frame]

    def get_input_data(self, sorted_seq_idx: int) -> NDArray[Any]:
        """Data key "data" of a sequence: (T, D) float32."""
        return self.get_data(sorted_seq_idx, "data")

    def get_targets(self, target: str, sorted_seq_idx: int) -> NDArray[Any]:
        """Data key `target` of a sequence: (T,) indices, unless the target is dense."""
        return self.get_data(sorted_seq_idx, target)

    # ---- keys

    def get_data_keys(self) -> list[str]:
        """All data keys."""
        return list(self.num_outputs)

    def get_target_list(self) -> list[str]:
        """The data keys that are targets: not available at inference."""
        return [key for key in self.get_data_keys() if key != "data"]

    def get_data_dim(self, key: str) -> int:
        """Dimension of a dense key, number of classes of a sparse one."""
        return self.num_outputs[key][0]

    def get_data_shape(self, key: str) -> list[int]:
        """Shape of `get_data` without the time axis."""
        return [] if self.num_outputs[key][1] == 1 else [self.get_data_dim(key)]

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return self.num_outputs[key][1] == 1

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype: "int32" or "float32"."""
        return "int32" if self.is_data_sparse(key) else "float32"

    def can_serialize_data(self, key: str) -> bool:
        """Whether the label names of a key are known (`labels`)."""
        return key in self.labels


def _check_ignored(name: str, options: Mapping[str, Any]) -> None:
    """Warns of options of RETURNN's batches that are set, and refuses unknown ones."""
    unknown = options.keys() - _IGNORED
    if unknown:
        raise TypeError(f"{name}: unknown options: {', '.join(sorted(unknown))}")
    used = [key for key, value in options.items() if value and value not in ("0", 1)]
    if used:
        logger.warning(
            "%s: without effect, since they concern RETURNN's batches: %s", name, ", ".join(used)
        )


def sliding_window(features: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Joins the frames around each frame, zeros beyond the ends.

    Args:
        features: (T, D).
        window: an odd number W.

    Returns:
        (T, W * D): frame t - W // 2 first, t + W // 2 last.
    """
    num_frames, dim = features.shape
    half = window // 2
    padded = np.zeros((num_frames + 2 * half, dim), features.dtype)
    padded[half : half + num_frames] = features
    return np.concatenate([padded[i : i + num_frames] for i in range(window)], axis=1)


def _is_length(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 63)


def read_seq_lengths(path: str | os.PathLike[str], tags: Sequence[str]) -> NDArray[Any]:
    """The lengths of sequences from a file with a Python dict of tag to length, gzipped or not.

    Returns:
        (len(tags),) int64 or float64.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is not a dict literal of str to number.
        EntryNotFoundError: if it lacks a tag.
    """
    name = os.fspath(path)
    expected = "{'tag': length, ...}"
    lengths = parse_literal(read_text(path), path, "a dict of lengths", expected)
    if not isinstance(lengths, dict) or not all(map(_is_length, lengths.values())):
        raise FormatError("not a dict of lengths", path=name, expected=expected)
    missing = next((tag for tag in tags if tag not in lengths), None)
    if missing is not None:
        raise EntryNotFoundError("no length of this sequence", path=name, entry=missing)
    return np.array([lengths[tag] for tag in tags])
