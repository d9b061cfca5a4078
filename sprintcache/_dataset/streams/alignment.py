"""AlignmentStream: one label per frame of an alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sprintcache._dataset.buffers import BatchBuffers, Padded
from sprintcache.alignment import OnMismatch, checks_alphabet
from sprintcache.allophones import AllophoneLabeling

from .archives import ArchiveStream, Filename
from .base import Entries, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AlignmentStream"]


class AlignmentStream(ArchiveStream):
    """Labels of alignments: (T,) int32.

    Attributes:
        labeling: the `AllophoneLabeling`, or None.
        on_alphabet_mismatch: as for `Archive.read_labels`.
    """

    type = "align"

    def __init__(
        self,
        data_key: str,
        filename: Filename,
        allophone_labeling: Mapping[str, Any] | AllophoneLabeling | None = None,
        *,
        on_alphabet_mismatch: OnMismatch = "error",
        **options: Any,
    ) -> None:
        """Reads the files of the labeling, and opens the archive."""
        checks_alphabet(on_alphabet_mismatch)
        self.on_alphabet_mismatch: OnMismatch = on_alphabet_mismatch
        self.labeling = _labeling(data_key, allophone_labeling)
        super().__init__(data_key, filename, **options)

    @property
    def outputs(self) -> dict[str, Output]:
        """Labels."""
        num_labels = self.labeling.num_labels if self.labeling else 0
        return {self.data_key: Output(num_labels, 1, "int32", True)}

    def fetch(
        self,
        entries: Entries,
        *,
        pad: int = -1,
        num_threads: int = 1,
        buffers: BatchBuffers | None = None,
    ) -> tuple[Any, NDArray[np.int64]]:
        """Decodes labels into the batch; see `Stream.fetch`."""
        out: Any = None
        if buffers is not None:
            out = lambda shape: buffers.take(self.data_key, shape, np.int32)  # noqa: E731
        batch: Padded = self.archive.read_labels_batch(
            entries, self.labeling, pad, out, num_threads, self.on_alphabet_mismatch
        )
        return batch, batch[1]


def _labeling(
    data_key: str, labeling: Mapping[str, Any] | AllophoneLabeling | None
) -> AllophoneLabeling | None:
    if isinstance(labeling, AllophoneLabeling):
        return labeling
    if not labeling:
        return None
    try:
        return AllophoneLabeling(**labeling)
    except TypeError as error:
        raise TypeError(f"{data_key}: allophone_labeling: {error}") from None
