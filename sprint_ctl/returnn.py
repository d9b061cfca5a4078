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

import functools
import inspect
from collections.abc import Sequence
from typing import Any

from sprintcache.returnn import register

from . import dataset
from .command import CommandLine

try:
    from returnn.datasets.basic import Dataset
    from returnn.util.basic import NumbersDict
except ModuleNotFoundError as error:
    raise ImportError("RETURNN is missing: pip install returnn") from error

__all__ = ["ExternSprintDataset"]

_SHARED = ("seq_ordering", "partition_epoch", "repeat_epoch", "fixed_random_seed")
_RETURNN_OPTIONS = frozenset(inspect.signature(Dataset.__init__).parameters) - {"self"}


def _of_source(name: str) -> Any:
    """A method that calls that of the same name of the source."""

    @functools.wraps(getattr(dataset.ExternSprintDataset, name))
    def method(self: ExternSprintDataset, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._source, name)(*args, **kwargs)

    return method


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
        *arguments, options = self._arguments
        return functools.partial(type(self), **options), tuple(arguments)

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

    def get_num_timesteps(self) -> Any:
        """RETURNN's NumbersDict of data key to frames of this epoch, once it is complete."""
        return NumbersDict(self._source.get_num_timesteps())

    # ---- sequences

    def get_seq_length(self, seq_idx: int) -> Any:
        """RETURNN's NumbersDict of data key to length of a sequence."""
        return NumbersDict(self._source.get_seq_length(seq_idx))

    is_less_than_num_seqs = _of_source("is_less_than_num_seqs")
    have_seqs = _of_source("have_seqs")
    get_complete_frac = _of_source("get_complete_frac")
    is_cached = _of_source("is_cached")
    load_seqs = _of_source("load_seqs")
    get_data = _of_source("get_data")
    get_tag = _of_source("get_tag")
    get_data_keys = _of_source("get_data_keys")
    get_target_list = _of_source("get_target_list")
    is_data_sparse = _of_source("is_data_sparse")
    get_data_dtype = _of_source("get_data_dtype")
    close = exit_handler = _of_source("close")


register(ExternSprintDataset)
