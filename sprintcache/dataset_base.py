"""Dataset: what a training asks of its data, epoch by epoch, under the names RETURNN users know.

An epoch begins with `Dataset.init_seq_order`; from then on a sequence is known by its place in the
epoch, the *sorted sequence index*, from 0. `Dataset.load_seqs` has a range read ahead, and
`Dataset.get_data` gives one array of one sequence. A data key names a stream: "data" is the
features, "classes" usually the alignment.

Sprint's own interpreter imports this module: standard library, numpy, `errors` and `ordering` only.
One thread calls the methods of a dataset unless a subclass says more.
"""

from __future__ import annotations

import gzip
import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ._checks import integer
from .errors import FormatError
from .ordering import Ordering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Dataset", "DatasetSeq", "read_seq_list", "sliding_window"]


class DatasetSeq:
    """One sequence with all its data.

    Attributes:
        seq_idx: sorted sequence index, or -1.
        seq_tag: its name in the corpus.
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
    """Base class; a subclass gives `num_seqs`, `get_tag`, `get_data`, `load_seqs` and the keys.

    Attributes:
        name: for messages.
        ordering: the options of the order, see `ordering.Ordering`.
        window: frames that `sliding_window` puts side by side; odd.
        epoch: the current one, or None.
        num_inputs: dimension of "data" before the window; 0 until it is known.
        num_outputs: dict of data key to (dimension or number of classes, number of axes): 2 axes
            are a dense array (T, D), window included, 1 axis is indices (T,).
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        window: int = 1,
        seq_ordering: str = "default",
        partition_epoch: int | None = None,
        repeat_epoch: int | None = None,
        fixed_random_seed: int | None = None,
        random_seed_offset: int = 0,
        seq_list_filter_file: str | os.PathLike[str] | None = None,
        num_shards: int = 1,
        shard_index: int = 0,
    ) -> None:
        """Takes the options that all datasets have.

        Args:
            name: for messages.
            window: "data" has that many frames around each frame side by side, zeros beyond the
                ends; an even one counts one more.
            seq_ordering, partition_epoch, repeat_epoch, fixed_random_seed, random_seed_offset,
                num_shards, shard_index: see `ordering.Ordering`.
            seq_list_filter_file: only sequences whose tags are in this file, one a line (``.gz``
                too), are used; the rest is left out of the order after parts and shards are cut.

        Raises:
            ValueError: if an option is out of range.
            TypeError: if an option is of another type.
        """
        window = integer("window", window)
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        self.name = name or type(self).__name__
        self.window = window + (window % 2 == 0)
        self.seq_list_filter_file = seq_list_filter_file
        self.ordering = Ordering(
            seq_ordering,
            1 if partition_epoch is None else partition_epoch,
            1 if repeat_epoch is None else repeat_epoch,
            fixed_random_seed,
            random_seed_offset,
            num_shards,
            shard_index,
        )
        self.epoch: int | None = None
        self.num_inputs = 0
        self.num_outputs: dict[str, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, epoch {self.epoch}>"

    # ---- the epoch

    def init_seq_order(
        self, epoch: int | None = None, seq_list: Sequence[str] | None = None
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1; None: no epoch, unless there is a `seq_list`.
            seq_list: the tags of exactly the sequences to give, in this order.

        Returns:
            whether the order changed; True is always right.
        """
        self.epoch = epoch
        return True

    @property
    def num_seqs(self) -> int:
        """Number of sequences in this epoch.

        Raises:
            NotImplementedError: if it is not known before the end.
        """
        raise NotImplementedError(f"{self}: the number of sequences is not known")

    def is_less_than_num_seqs(self, n: int) -> bool:
        """Whether n is a sorted sequence index; may wait until that is known."""
        return n < self.num_seqs

    def have_seqs(self) -> bool:
        """Whether there is any sequence."""
        return self.is_less_than_num_seqs(0)

    def get_complete_frac(self, sorted_seq_idx: int) -> float:
        """Which part of the epoch is done with this sequence: above 0, at most 1; for people."""
        try:
            num_seqs = self.num_seqs
        except NotImplementedError:
            return (sorted_seq_idx + 1) / (sorted_seq_idx + 1001)
        return min((sorted_seq_idx + 1) / num_seqs, 1.0) if num_seqs else 1.0

    def get_num_timesteps(self) -> dict[str, int]:
        """Data key to the number of frames of this epoch."""
        raise NotImplementedError(f"{self}: the number of frames is not known")

    # ---- the corpus

    def get_all_tags(self) -> Sequence[str]:
        """The tags of all sequences, of all parts and shards, in the order of the corpus."""
        raise NotImplementedError(f"{self}: the tags are not known")

    def get_total_num_seqs(self) -> int:
        """Number of all sequences, of all parts and shards."""
        raise NotImplementedError(f"{self}: the number of sequences is not known")

    # ---- sequences

    def load_seqs(self, start: int, end: int) -> None:
        """Has sequences `start` to `end` (exclusive) ready; the ones before may be forgotten."""
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
        """The data keys that are targets: not there when the model is used."""
        return [key for key in self.get_data_keys() if key != "data"]

    def get_data_dim(self, key: str) -> int:
        """Dimension of a dense key, number of classes of a sparse one."""
        return self.num_outputs[key][0]

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return self.num_outputs[key][1] == 1

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype: "int32" or "float32"."""
        return "int32" if self.is_data_sparse(key) else "float32"


def sliding_window(features: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Puts the frames around each frame side by side, zeros beyond the ends.

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


def read_seq_list(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file, gzipped or not: one tag each; empty ones are left out.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is a damaged gzip file.
    """
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(f"damaged gzip file: {error}", path=os.fspath(path)) from error
    return [line.decode("utf-8", "surrogateescape") for line in data.splitlines() if line]
