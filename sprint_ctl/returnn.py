"""ExternSprintDataset for a RETURNN config, in place of RETURNN's own class.

A config changes one line and adds an import: RETURNN accepts a class in place of a name::

    from sprint_ctl.returnn import ExternSprintDataset

    train = {
        "class": ExternSprintDataset,  # was: "ExternSprintDataset"
        "sprintTrainerExecPath": "nn-trainer",
        "sprintConfigStr": ["--config=train.config", ...],
        "partition_epoch": 20,
    }

Once this module is imported, the name ``"sprint_ctl.returnn.ExternSprintDataset"`` works as well.

Sprint and its processes are those of `sprint_ctl.dataset.ExternSprintDataset`; batches, chunking
and the options of all datasets are RETURNN's own code. As with all of RETURNN's datasets, one
thread uses a dataset at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sprintcache.returnn import register

from . import dataset
from .command import CommandLine

try:
    from returnn.datasets.basic import Dataset
    from returnn.util.basic import NumbersDict
except ModuleNotFoundError as error:
    raise ImportError("RETURNN is missing: pip install returnn") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ExternSprintDataset"]

_SHARED = ("seq_ordering", "partition_epoch", "repeat_epoch", "fixed_random_seed")
_RETURNN_OPTIONS = frozenset(inspect.signature(Dataset.__init__).parameters) - {"self"}


class ExternSprintDataset(Dataset):  # type: ignore[misc]
    """Sequences that a Sprint process extracts, as a dataset of RETURNN."""

    def __init__(
        self,
        sprintTrainerExecPath: CommandLine,  # noqa: N803
        sprintConfigStr: CommandLine,  # noqa: N803
        partitionEpoch: int | None = None,  # noqa: N803
        **kwargs: Any,
    ) -> None:
        """Accepts the options; Sprint is started when the dimensions are needed.

        Args:
            sprintTrainerExecPath, sprintConfigStr, partitionEpoch: see
                `sprint_ctl.dataset.ExternSprintDataset`.
            **kwargs: the options of that class and of all datasets of RETURNN.

        Raises:
            SprintStartError: if there is no such executable.
            ValueError, TypeError: if an option is out of range or unknown.
        """
        self._arguments = sprintTrainerExecPath, sprintConfigStr, partitionEpoch, kwargs
        shared = {key: value for key, value in kwargs.items() if key in _RETURNN_OPTIONS}
        own = {key: value for key, value in kwargs.items() if key not in _RETURNN_OPTIONS}
        seq_list = shared.pop("seq_list_filter_file", None)  # Sprint applies it
        super().__init__(**shared)
        self._source = dataset.ExternSprintDataset(
            sprintTrainerExecPath,
            sprintConfigStr,
            partitionEpoch,
            name=self.name,
            window=self.window or 1,
            random_seed_offset=self.random_seed_offset,
            seq_list_filter_file=seq_list,
            **{key: shared[key] for key in _SHARED if key in shared},
            **own,
        )
        self.partition_epoch = self._source.ordering.partition_epoch
        self.labels.update(self._source.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), *self._arguments)

    # ---- dimensions

    @property
    def num_inputs(self) -> int:
        """Dimension of "data" before the window; starts Sprint if it is not known."""
        return self._source.num_inputs

    @num_inputs.setter
    def num_inputs(self, value: int) -> None:
        """Has no effect: for RETURNN's base class."""

    @property
    def num_outputs(self) -> dict[str, tuple[int, int]]:
        """Data key to (dimension or number of classes, axes); starts Sprint if need be."""
        return self._source.num_outputs

    @num_outputs.setter
    def num_outputs(self, value: Any) -> None:
        """Has no effect: for RETURNN's base class."""

    # ---- the epoch

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch.

        Args:
            epoch: counted from 1; None: 1.
            seq_list: tags of exactly the sequences to deliver, in this order.
            seq_order: not possible: Sprint's segments have no index.

        Returns:
            whether the order may have changed.

        Raises:
            SprintStartError: if Sprint cannot be started.
            NotImplementedError: if there is a `seq_order`.
        """
        epoch = epoch or 1
        super().init_seq_order(epoch=epoch, seq_list=seq_list, seq_order=seq_order)
        self._source.set_sharding(num_shards=self._num_shards, shard_index=self._shard_index)
        return self._source.init_seq_order(epoch, seq_list, seq_order=seq_order)

    def finish_epoch(self, *, free_resources: bool = False) -> None:
        """Ends the epoch and its Sprint."""
        self._source.finish_epoch(free_resources=free_resources)
        super().finish_epoch(free_resources=free_resources)

    def supports_sharding(self) -> bool:
        """Whether the parts of an epoch can be cut into shards: True."""
        return True

    def supports_seq_order_sorting(self) -> bool:
        """Whether sequences can be ordered by length: True."""
        return True

    @property
    def num_seqs(self) -> int:
        """Number of sequences in this epoch; NotImplementedError before it is known."""
        return self._source.num_seqs

    def is_less_than_num_seqs(self, n: int) -> bool:
        """Whether n is a sorted sequence index; waits for it."""
        return self._source.is_less_than_num_seqs(n)

    def have_seqs(self) -> bool:
        """Whether this epoch has any sequence; may wait."""
        return self._source.have_seqs()

    def get_num_timesteps(self) -> Any:
        """RETURNN's NumbersDict of data key to frames of this epoch, once it is complete."""
        return NumbersDict(self._source.get_num_timesteps())

    def get_complete_frac(
        self, sorted_seq_idx: int, *, allow_only_lr_suitable: bool = False
    ) -> float | None:
        """Fraction of the epoch up to this sequence."""
        return self._source.get_complete_frac(
            sorted_seq_idx, allow_only_lr_suitable=allow_only_lr_suitable
        )

    # ---- sequences

    def is_cached(self, start: int, end: int) -> bool:
        """Whether sequences `start` to `end` (exclusive) are available."""
        return self._source.is_cached(start, end)

    def load_seqs(self, start: int, end: int) -> None:
        """Waits for sequences `start` to `end` (exclusive); drops those before `start`."""
        self._source.load_seqs(start, end)

    def get_seq_length(self, seq_idx: int) -> Any:
        """RETURNN's NumbersDict of data key to length of a sequence."""
        return NumbersDict(self._source.get_seq_length(seq_idx))

    def get_data(self, seq_idx: int, key: str) -> NDArray[Any]:
        """Features (T, D) float32, classes (T,) int32, or the bytes of a text."""
        return self._source.get_data(seq_idx, key)

    def get_tag(self, sorted_seq_idx: int) -> str:
        """The name of a sequence."""
        return self._source.get_tag(sorted_seq_idx)

    # ---- keys

    def get_data_keys(self) -> list[str]:
        """The data keys of the sequences, sorted; waits for the first sequence."""
        return self._source.get_data_keys()

    def get_target_list(self) -> list[str]:
        """The data keys except "data"."""
        return self._source.get_target_list()

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return self._source.is_data_sparse(key)

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype."""
        return self._source.get_data_dtype(key)

    # ---- end

    def close(self) -> None:
        """Ends all Sprint processes. Idempotent."""
        self._source.close()

    def exit_handler(self) -> None:
        """Alias of `close`."""
        self.close()


def _restored(
    kind: type[ExternSprintDataset],
    executable: CommandLine,
    config: CommandLine,
    parts: int | None,
    options: dict[str, Any],
) -> ExternSprintDataset:
    return kind(executable, config, parts, **options)


register(ExternSprintDataset)
