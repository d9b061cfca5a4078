"""The dataset of a RETURNN config, in place of RETURNN's own SprintCacheDataset.

A config changes one line, and gets one import: RETURNN takes a class where a name may stand::

    from sprintcache.returnn import SprintCacheDataset

    train = {
        "class": SprintCacheDataset,  # was: "SprintCacheDataset"
        "data": {
            "data": {"filename": "features.bundle"},
            "classes": {"filename": "alignment.bundle", "allophone_labeling": {...}},
        },
        "seq_ordering": "laplace:.1000",
        "partition_epoch": 20,
    }

Tags, data, dtypes and order are those of RETURNN's class, by RETURNN's own code where they are
common to its datasets: every option of these works. Besides, bundles can be ordered by length,
sequences can be read by corpus index or in an order that is given, targets are told as such with a
state tying too, and a dataset can be pickled (workers of a DataLoader open the archives anew).

As with all of RETURNN's datasets one thread uses a dataset at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import dataset
from ._dataset.name_lookup import places
from ._dataset.reader import SprintCacheReader
from .errors import EntryNotFoundError

try:
    from returnn.datasets.basic import DatasetSeq
    from returnn.datasets.cached2 import CachedDataset2
except ModuleNotFoundError as error:
    raise ImportError("RETURNN is missing: pip install returnn") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SprintCacheDataset"]

_WITHOUT_LENGTHS = ("default", "reverse", "random")


class SprintCacheDataset(CachedDataset2):  # type: ignore[misc]
    """Archives as a dataset of RETURNN.

    Attributes:
        data: dict of data key to its `SprintCacheReader`.
    """

    def __init__(
        self,
        data: Mapping[str, Mapping[str, Any]],
        *,
        missing: Literal["error", "skip"] = "error",
        length_mismatch: Literal["ignore", "error", "trim", "skip"] = "ignore",
        reduce_target_factor: int = 1,
        **kwargs: Any,
    ) -> None:
        """Opens the archives and compares their segments.

        Args:
            data: data key to the arguments of `SprintCacheReader`: those of RETURNN's (filename,
                data_type, allophone_labeling) and ours.
            missing, reduce_target_factor: see `sprintcache.SprintCacheDataset`.
            length_mismatch: "ignore" gives features and targets of different length as they are,
                as RETURNN does; for the others see `sprintcache.SprintCacheDataset`.
            **kwargs: the options of all datasets of RETURNN; `window` has to be 1, since RETURNN's
                SprintCacheDataset does nothing with it.

        Raises:
            EntryNotFoundError: if the keys have different segments.
            ValueError: for wrong arguments.
            FormatError, OSError: if a file cannot be read.
        """
        super().__init__(**kwargs)
        if self.window not in (None, 0, 1):
            raise ValueError(f"window must be 1, not {self.window}: it would have no effect")
        self._data = data  # RETURNN pickles a dataset by the arguments that it finds as attributes
        self._missing = missing
        self._length_mismatch = length_mismatch
        self._reduce_target_factor = reduce_target_factor
        self._archives = dataset.SprintCacheDataset(
            data,
            missing=missing,
            length_mismatch="error" if length_mismatch == "ignore" else length_mismatch,
            reduce_target_factor=reduce_target_factor,
        )
        self.data = self._archives.data
        self.num_outputs = dict(self._archives.num_outputs)
        self.num_inputs = self.num_outputs.get("data", (0, 0))[0]
        self._dtypes: dict[str, str] = {}
        for reader in self.data.values():
            self._dtypes |= _dtypes(reader)
        self._tags = self._archives.get_all_tags()
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)

    # ---- the corpus

    def get_total_num_seqs(self, *, fast: bool = False) -> int:
        """Number of all sequences, of all parts and shards."""
        return len(self._tags)

    def get_all_tags(self) -> list[str]:
        """The tags of all sequences, in the order of the archive."""
        return list(self._tags)

    def supports_seq_order_sorting(self) -> bool:
        """Whether sequences can be ordered by length."""
        return True

    def supports_sharding(self) -> bool:
        """Whether RETURNN may cut the order into shards."""
        return True

    def have_corpus_seq_idx(self) -> bool:
        """Whether `get_corpus_seq_idx` can be used."""
        return True

    def have_get_corpus_seq(self) -> bool:
        """Whether `get_corpus_seq` can be used."""
        return True

    def get_corpus_seq(self, corpus_seq_idx: int) -> Any:
        """A sequence by its place in `get_all_tags`, in any order."""
        return self.get_dataset_seq_for_name(self._tags[corpus_seq_idx], corpus_seq_idx)

    # ---- the epoch

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1; None: no sequences, unless an order is given.
            seq_list: tags of exactly the sequences to give, in this order.
            seq_order: the same by corpus index.

        Returns:
            True: the order may have changed.

        Raises:
            EntryNotFoundError: if a tag of `seq_list` is not in the corpus.
        """
        super().init_seq_order(epoch=epoch, seq_list=seq_list, seq_order=seq_order)
        order: Any = seq_order
        if seq_list is not None:
            order = self._places(seq_list)
        elif seq_order is None:
            lengths = None if epoch is None else self._length_function()
            order = self.get_seq_order_for_epoch(epoch, len(self._tags), lengths)
        self._order = np.asarray(order, np.int64)
        self._num_seqs = len(self._order)
        return True

    def _length_function(self) -> Any:
        """From corpus index to frames; None for orders that need none, since it may take a while.

        RETURNN's class orders by the bytes of an entry, which gives the same order.
        """
        ordering = self.seq_ordering
        if isinstance(ordering, str) and ordering.startswith(_WITHOUT_LENGTHS):
            return None
        return self._archives.get_lengths().__getitem__

    def _places(self, seq_list: Sequence[str]) -> NDArray[np.int64]:
        found = places(seq_list, self._tags)
        if np.any(found < 0):
            missing = seq_list[int(np.argmax(found < 0))]
            raise EntryNotFoundError("the tag is not in the corpus", entry=missing)
        return found

    def get_current_seq_order(self) -> NDArray[np.int64]:
        """(num_seqs,) corpus indices of this epoch."""
        return self._order

    def get_corpus_seq_idx(self, seq_idx: int) -> int:
        """The place in `get_all_tags` of a sequence of this epoch."""
        return int(self._order[seq_idx])

    def get_tag(self, sorted_seq_idx: int) -> str:
        """The tag of a sequence of this epoch."""
        return self._tags[self.get_corpus_seq_idx(sorted_seq_idx)]

    def get_estimated_seq_length(self, seq_idx: int) -> int:
        """Frames of a sequence of this epoch that need not be loaded."""
        return int(self._archives.get_lengths()[self._order[seq_idx]])

    # ---- sequences

    def _collect_single_seq(self, seq_idx: int) -> Any:
        if seq_idx >= len(self._order):
            return None
        return self.get_dataset_seq_for_name(self.get_tag(seq_idx), seq_idx)

    def get_dataset_seq_for_name(self, name: str, seq_idx: int = -1) -> Any:
        """All data of one sequence, by its tag, as RETURNN's DatasetSeq.

        Raises:
            EntryNotFoundError: if there is no such sequence.
            FormatError, LabelError, ArchiveChangedError: as for `SprintCacheReader.read`.
        """
        if self._length_mismatch == "ignore":
            features: dict[str, NDArray[Any]] = {}
            for reader in self.data.values():
                found = reader.read(name)
                arrays = found if isinstance(found, tuple) else (found,)
                features |= zip(reader.outputs, arrays, strict=True)
        else:
            features = self._archives.get_dataset_seq_for_name(name).features
        converted = {
            key: array.astype(self._dtypes[key], copy=False) for key, array in features.items()
        }
        return DatasetSeq(seq_idx=seq_idx, seq_tag=name, features=converted)

    # ---- keys

    def get_data_keys(self) -> list[str]:
        """All data keys."""
        return list(self.num_outputs)

    def get_target_list(self) -> list[str]:
        """The data keys of alignments."""
        return self._archives.get_target_list()

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype."""
        return self._dtypes[key]


def _dtypes(reader: SprintCacheReader) -> dict[str, str]:
    """Data key to dtype: as RETURNN, the smallest one for labels."""
    if reader.soft == "sparse":
        return dict(zip(reader.outputs, ("int32", "int32", "float32"), strict=True))
    if reader.type == "feat" or reader.soft:
        return {reader.data_key: "float32"}
    known = 0 < reader.num_labels < 1 << 15
    small = "int8" if reader.num_labels < 1 << 7 else "int16"
    return {reader.data_key: small if known else "int32"}
