"""The dataset class of a RETURNN config, in place of RETURNN's own SprintCacheDataset.

A config changes one line and adds an import: RETURNN accepts a class in place of a name::

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

Once this module is imported, the name ``"sprintcache.returnn.SprintCacheDataset"`` works as well.

Tags, data, dtypes and order are those of RETURNN's class, by RETURNN's own code where its datasets
share it: every option of these works. In addition, bundles can be ordered by length, sequences can
be read by corpus index or in a given order, targets are listed with a state tying, too, and a
dataset can be pickled (workers of a DataLoader open the archives again).

As with all of RETURNN's datasets, one thread uses a dataset at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from . import dataset
from ._dataset.streams.soft_alignment import SoftAlignmentStream
from ._segment_list import read_segment_list

try:
    import returnn.datasets.sprint
    from returnn.datasets import basic
    from returnn.datasets.basic import DatasetSeq
    from returnn.datasets.cached2 import CachedDataset2
except ModuleNotFoundError as error:
    raise ImportError("RETURNN is missing: pip install returnn") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._dataset.streams.base import Stream
    from ._path_map import PathMap
    from .label_rates import Frame

__all__ = ["SprintCacheDataset", "register"]

_WITHOUT_LENGTHS = ("default", "reverse", "random")


def register(dataset_class: type[Any]) -> None:
    """Makes a class known to RETURNN by its module and name, for configs that name it by a string.

    Args:
        dataset_class: a subclass of RETURNN's ``Dataset``.
    """
    name = f"{dataset_class.__module__}.{dataset_class.__qualname__}"
    # RETURNN collects the classes of its modules when the first dataset is made
    setattr(returnn.datasets.sprint, name, dataset_class)
    if basic._dataset_classes:
        basic._dataset_classes[name] = dataset_class


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
        trim_tolerance: int | None = 10,
        reduce_target_factor: int = 1,
        reduce_target_frame: Frame | None = None,
        path_map: PathMap | None = None,
        **kwargs: Any,
    ) -> None:
        """Opens the archives and compares their segments.

        Args:
            data: data key to the arguments of `SprintCacheReader`: those of RETURNN's (filename,
                data_type, allophone_labeling) and ours.
            missing, trim_tolerance, reduce_target_factor, reduce_target_frame, path_map: see
                `sprintcache.SprintCacheDataset`.
            length_mismatch: "ignore" delivers features and targets of different length as stored,
                as RETURNN does; for the others see `sprintcache.SprintCacheDataset`.
            **kwargs: the options of all datasets of RETURNN; `window` must be 1, since RETURNN's
                SprintCacheDataset ignores it.

        Raises:
            EntryNotFoundError: if the keys have different segments.
            ValueError: for wrong arguments, or a segment list without a tag of the corpus.
            FormatError, OSError: if a file cannot be read.
        """
        seq_list = kwargs.pop("seq_list_filter_file", None)
        super().__init__(**kwargs)
        if seq_list is not None:
            self._seq_list_filter_file = seq_list
            self.seq_tags_filter = set(read_segment_list(seq_list))
        if self.window not in (None, 0, 1):
            raise ValueError(f"window must be 1, not {self.window}: it would have no effect")
        self._data = data  # RETURNN pickles a dataset by the arguments that it finds as attributes
        self._missing = missing
        self._length_mismatch = length_mismatch
        self._trim_tolerance = trim_tolerance
        self._reduce_target_factor = reduce_target_factor
        self._reduce_target_frame = reduce_target_frame
        self._path_map = path_map
        self._archives = dataset.SprintCacheDataset(
            data,
            missing=missing,
            length_mismatch="error" if length_mismatch == "ignore" else length_mismatch,
            trim_tolerance=trim_tolerance,
            reduce_target_factor=reduce_target_factor,
            reduce_target_frame=reduce_target_frame,
            path_map=path_map,
            seq_list_filter_file=seq_list,  # compares its tags with the corpus
        )
        self.data = self._archives.data
        self.num_outputs = dict(self._archives.num_outputs)
        self.num_inputs = self.num_outputs.get("data", (0, 0))[0]
        self.labels = dict(self._archives.labels)
        self._dtypes: dict[str, str] = {}
        for reader in self.data.values():
            self._dtypes |= _dtypes(reader.stream)
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
        """A sequence by its index in `get_all_tags`, in any order."""
        return self._read(corpus_seq_idx, corpus_seq_idx)

    # ---- the epoch

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1; None: no sequences, unless there is an order.
            seq_list: tags of exactly the sequences to deliver, in this order.
            seq_order: the same by corpus index.

        Returns:
            True: the order may have changed.

        Raises:
            EntryNotFoundError: if a tag of `seq_list` is not in the corpus.
        """
        super().init_seq_order(epoch=epoch, seq_list=seq_list, seq_order=seq_order)
        order: Any = seq_order
        if seq_list is not None:
            order = self._archives.find(seq_list)
        elif seq_order is None:
            lengths = None if epoch is None else self._length_function()
            order = self.get_seq_order_for_epoch(epoch, len(self._tags), lengths)
        self._order = np.asarray(order, np.int64)
        self._num_seqs = len(self._order)
        return True

    def _length_function(self) -> Any:
        """From corpus index to length; None for orders that need none: measuring takes time."""
        ordering = self.seq_ordering
        if isinstance(ordering, str) and ordering.startswith(_WITHOUT_LENGTHS):
            return None
        return self._archives.get_order_lengths().__getitem__

    def get_current_seq_order(self) -> NDArray[np.int64]:
        """(num_seqs,) corpus indices of this epoch."""
        return self._order

    def get_corpus_seq_idx(self, seq_idx: int) -> int:
        """The index in `get_all_tags` of a sequence of this epoch."""
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
        return self._read(self.get_corpus_seq_idx(seq_idx), seq_idx)

    def get_dataset_seq_for_name(self, name: str, seq_idx: int = -1) -> Any:
        """All data of one sequence, by its tag, as RETURNN's DatasetSeq.

        Raises:
            EntryNotFoundError: if there is no such sequence.
            FormatError, LabelError, ArchiveChangedError: as for `SprintCacheReader.read`.
        """
        return self._read(int(self._archives.find([name])[0]), seq_idx)

    def _read(self, index: int, seq_idx: int) -> Any:
        """A sequence by corpus index."""
        if self._length_mismatch == "ignore":
            features = self._archives.read_unmatched(index)
        else:
            features = self._archives.get_corpus_seq(index).features
        converted = {
            key: array.astype(self._dtypes[key], copy=False) for key, array in features.items()
        }
        return DatasetSeq(seq_idx=seq_idx, seq_tag=self._tags[index], features=converted)

    # ---- keys

    def get_data_keys(self) -> list[str]:
        """All data keys."""
        return list(self.num_outputs)

    def get_target_list(self) -> list[str]:
        """The data keys of alignments, texts and automata, except "data"."""
        return self._archives.get_target_list()

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return self._archives.is_data_sparse(key)

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype."""
        return self._dtypes[key]


def _dtypes(stream: Stream) -> dict[str, str]:
    """Data key to dtype: as RETURNN, the smallest one for the labels of alignments."""
    is_small = stream.type == "align" and not isinstance(stream, SoftAlignmentStream)
    return {
        key: _smallest(output.dim) if is_small else output.dtype
        for key, output in stream.outputs.items()
    }


def _smallest(num_labels: int) -> str:
    if not 0 < num_labels < 1 << 15:
        return "int32"
    return "int8" if num_labels < 1 << 7 else "int16"


register(SprintCacheDataset)
