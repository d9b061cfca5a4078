"""SprintDatasetBase: a dataset that Sprint fills while a training consumes it.

It is used in the trainer, as the base of `sprint_ctl.dataset.ExternSprintDataset`, and in a Sprint
process, filled by `sprint_ctl.interface`. One thread adds sequences, one consumes them, see
`sprint_ctl._sequences.sequence_cache`; any thread may call `close` and `stop`. Methods have both
the names of RETURNN's documentation and those of its current code.

Sprint's interpreter loads this module: standard library, numpy, and the pure modules of sprintcache
only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sprintcache._checks import check_not_negative
from sprintcache.dataset_base import Dataset, DatasetSeq

from ._pipe.deadline import check_timeouts
from ._sequences.predefined_order import check_complete, check_next
from ._sequences.sequence_cache import SequenceCache
from ._sequences.sequence_maker import SequenceMaker
from ._sequences.targets import TargetConverter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ._sequences.orthography import PostProcess

__all__ = ["SprintDatasetBase"]

logger = logging.getLogger(__name__)


class SprintDatasetBase(Dataset):
    """Sequences in the order in which Sprint delivers them.

    Methods that wait for a sequence raise SprintError if the producer has failed, or if none comes
    in time.

    Attributes:
        SprintCachedSeqsMax: the adding thread blocks when more sequences are cached beyond the
            requested ones.
        SprintCachedSeqsMin: it continues when no more than these are left.
        window, num_inputs, num_outputs, epoch: see `sprintcache.dataset_base.Dataset`.
    """

    SprintCachedSeqsMax = 200
    SprintCachedSeqsMin = 100

    def __init__(
        self,
        target_maps: Mapping[str, str | Mapping[str, Any]] | None = None,
        str_add_final_zero: bool = False,
        input_stddev: float = 1.0,
        orth_post_process: PostProcess | None = None,
        bpe: Mapping[str, Any] | Any = None,
        orth_vocab: Mapping[str, Any] | Any = None,
        suppress_load_seqs_print: bool = False,
        reduce_target_factor: int = 1,
        *,
        length_mismatch: str = "error",
        trim_tolerance: int | None = 10,
        max_cached_bytes: int = 1 << 30,
        data_timeout: float | None = 600.0,
        consumer_timeout: float | None = 86400.0,
        **kwargs: Any,
    ) -> None:
        """Accepts the options.

        Args:
            target_maps: target key to a dict of text to index, or to a file with one text per
                line, such as ``{"speaker_name": "speakers.txt"}``. A single index is repeated for
                every frame.
            str_add_final_zero: texts also come as "orth0", "speaker_name0", ending in NUL.
            input_stddev: "data" is divided by it.
            orth_post_process: processing of the orthography, see
                `sprint_ctl._sequences.orthography`.
            bpe: target "bpe" from the orthography; options: bpe_file, vocab_file, seq_postfix,
                unknown_label, see `sprintcache.vocabulary`.
            orth_vocab: target "orth_classes", in the same way.
            suppress_load_seqs_print: ignored; nothing is printed.
            reduce_target_factor: "classes" has one frame per that many frames of "data"; the last
                one may cover fewer.
            length_mismatch: "error", or "trim": features and "classes" are cut to the shorter.
            trim_tolerance: most frames of "data" by which "trim" accepts a difference; more are
                an error. None: any number.
            max_cached_bytes: the adding thread blocks when more bytes are cached beyond the
                requested sequences.
            data_timeout: seconds to wait for a sequence; None: no limit.
            consumer_timeout: seconds that the adding thread waits while the cache is full.
            **kwargs: those of `sprintcache.dataset_base.Dataset`.

        Raises:
            ValueError: an option out of range.
            OSError, FormatError: a map or vocabulary cannot be read.
            ImportError: a library of an extra is missing.
        """
        super().__init__(**kwargs)
        check_not_negative(max_cached_bytes=max_cached_bytes)
        timeouts = check_timeouts(data_timeout=data_timeout, consumer_timeout=consumer_timeout)
        self.suppress_load_seqs_print = suppress_load_seqs_print
        self.predefined_seq_list_order: list[str] | None = None
        self._targets = TargetConverter(
            target_maps, str_add_final_zero, orth_post_process, bpe, orth_vocab
        )
        self.labels = self._targets.labels()
        self._maker = SequenceMaker(
            self._targets,
            self.window,
            input_stddev,
            reduce_target_factor,
            length_mismatch,
            trim_tolerance,
        )
        self._cache = SequenceCache(
            max_cached_bytes, timeouts["data_timeout"], timeouts["consumer_timeout"]
        )
        self._complete_frac: float | None = None
        self._keys: list[str] | None = None

    # ---- producer --------------------------------------------------------------------------

    def useMultipleEpochs(self) -> None:  # noqa: N802
        """Enables epochs: each begins with `initSprintEpoch`, and both sides keep step.

        Without it all sequences are one epoch, whatever `init_seq_order` says.
        """
        self._cache.keeps_step = True

    def setDimensions(self, inputDim: int, outputDim: int) -> None:  # noqa: N802, N803
        """Sets the dimensions, before the first sequence.

        Args:
            inputDim: dimension of the features, below 1 if there are none.
            outputDim: number of classes, below 1 if there are none.
        """
        self.set_dimensions(inputDim, outputDim)

    def set_dimensions(self, input_dim: int, output_dim: int) -> None:
        """Alias of `setDimensions`."""
        self.num_inputs = max(input_dim, 0)
        outputs = {"data": (input_dim * self.window, 2)} if input_dim > 0 else {}
        self.num_outputs = {**outputs, **self._targets.outputs(output_dim)}

    def initSprintEpoch(self, epoch: int | None) -> None:  # noqa: N802
        """Begins an epoch of Sprint; drops what is left of the last one."""
        self._complete_frac = None
        self._cache.begin(epoch)

    def finishSprintEpoch(self, seen_all: bool = True) -> None:  # noqa: N802
        """Ends an epoch of Sprint, which has delivered all of it.

        Args:
            seen_all: whether no sequence is missing.

        Raises:
            SprintProtocolError: sequences of a given list are missing.
        """
        if seen_all and not self.is_stopped:
            self._check_complete(self._cache.num_added)
        self._cache.finish()

    def _check_complete(self, num_added: int) -> None:
        if self.predefined_seq_list_order is not None:
            check_complete(self.predefined_seq_list_order, num_added)
        elif not num_added:
            logger.warning("%s: Sprint has visited no segment", self)

    def finalizeSprint(self) -> None:  # noqa: N802
        """Records that Sprint will not begin another epoch."""
        self._cache.end()

    def waitForCrnnEpoch(self, epoch: int) -> bool:  # noqa: N802
        """Waits until the training has begun an epoch; False if the training has stopped.

        Raises:
            SprintError: it is in a later one.
            SprintTimeoutError: it does not begin the epoch in ``consumer_timeout``.
        """
        return self._cache.wait_for_epoch(epoch)

    def addNewData(  # noqa: N802
        self,
        features: NDArray[Any] | None,
        targets: Mapping[str, Any] | NDArray[Any] | None = None,
        segmentName: str | None = None,  # noqa: N803
    ) -> int:
        """Adds a sequence; parameters, result and errors are those of `add_new_data`."""
        return self.add_new_data(features, targets, segmentName)

    def add_new_data(
        self,
        features: NDArray[Any] | None,
        targets: Mapping[str, Any] | NDArray[Any] | None = None,
        segment_name: str | None = None,
    ) -> int:
        """Adds a sequence, and waits while the cache is full.

        Args:
            features: (dimension, time), as Sprint passes them, or None if it extracts none; not
                copied if possible.
            targets: data key to array (time,), or text; a single array is "classes".
            segment_name: the tag.

        Returns:
            The sorted sequence index.

        Raises:
            SprintProtocolError: features or lengths that were not announced, or a segment that is
                not the next one of a given list.
            LabelError: a text is missing in a map or vocabulary.
            SprintError: the epoch is over.
            SprintTimeoutError: the cache stays full.
        """
        seq = self._sequence(self._cache.num_added, features, targets, segment_name)
        self._add([seq])
        return seq.seq_idx

    def _add(self, seqs: Sequence[DatasetSeq]) -> None:
        self._cache.add(seqs, self.SprintCachedSeqsMax, self.SprintCachedSeqsMin)

    def _sequence(self, index: int, features: Any, targets: Any, tag: str | None) -> DatasetSeq:
        """A sequence from the data of a segment."""
        if self.predefined_seq_list_order is not None:
            check_next(self.predefined_seq_list_order, index, tag)
        return self._maker.make(index, features, targets, tag, self.num_inputs)

    use_multiple_epochs = useMultipleEpochs
    init_sprint_epoch = initSprintEpoch
    finish_sprint_epoch = finishSprintEpoch
    finalize_sprint = finalizeSprint
    wait_for_returnn_epoch = waitForCrnnEpoch

    # ---- consumer --------------------------------------------------------------------------

    def init_seq_order(
        self,
        epoch: int | None = None,
        seq_list: Sequence[str] | None = None,
        *,
        seq_order: Sequence[int] | None = None,
    ) -> bool:
        """Begins an epoch of the training.

        Args:
            epoch: counted from 1.
            seq_list: tags of exactly the sequences to deliver, in this order.
            seq_order: not possible: Sprint's segments have no index.

        Returns:
            True.

        Raises:
            NotImplementedError: if there is a `seq_order`.
        """
        super().init_seq_order(epoch, seq_order=seq_order)
        self.predefined_seq_list_order = None if seq_list is None else list(seq_list)
        self._cache.want(epoch)
        return True

    def iter_epochs(self, first: int = 1) -> Iterator[int]:
        """Begins one epoch after another, from ``first`` on, as long as Sprint delivers any.

        Yields their numbers.

        Raises:
            SprintError: the producer has failed, or begins no epoch in ``data_timeout``.
        """
        epoch = first
        while True:
            self.init_seq_order(epoch)
            if not self._cache.has_epoch():
                return
            yield epoch
            if not self._cache.keeps_step:
                return
            epoch += 1

    def load_seqs(self, start: int, end: int) -> None:
        """Waits for sequences `start` to `end` (exclusive, may exceed their number).

        Sequences before `start` are dropped.

        Raises:
            ValueError: the range is not valid, or begins with a dropped sequence.
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        if not self._cache.start <= start <= end:
            raise ValueError(
                f"not a range of sequences: {start} to {end}, those before {self._cache.start} are"
                " dropped"
            )
        self._cache.drop_below(start)
        if end > start:
            self._cache.reach(end)

    def is_cached(self, start: int, end: int) -> bool:
        """Whether sequences `start` to `end` (exclusive) are cached; never waits."""
        return self._cache.has(start, end)

    @property
    def num_seqs(self) -> int:
        """Number of sequences in this epoch.

        Raises:
            NotImplementedError: the epoch has not ended.
        """
        if self.predefined_seq_list_order is not None:
            return len(self.predefined_seq_list_order)
        if not self._is_complete():
            raise NotImplementedError(f"{self}: the number of sequences is known at the end only")
        return self._cache.num_added

    def _is_complete(self) -> bool:
        cache = self._cache
        with cache.lock:
            return cache.is_finished and (not cache.keeps_step or cache.epoch == self.epoch)

    def is_less_than_num_seqs(self, n: int) -> bool:
        """Whether sequence n exists; waits for it unless the number is known.

        Raises:
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        if self.predefined_seq_list_order is not None:
            return n < len(self.predefined_seq_list_order)
        return self._cache.reach(n + 1)

    def iter_seqs(self) -> Iterator[DatasetSeq]:
        """The sequences of this epoch from the first cached one; each is dropped when yielded.

        Raises:
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        index = self._cache.start
        while self.is_less_than_num_seqs(index):
            seq = self._cache.get(index)
            index += 1
            self._cache.drop_below(index)
            yield seq

    def get_num_timesteps(self) -> dict[str, int]:
        """Data key to the number of frames of this epoch.

        Raises:
            NotImplementedError: the epoch has not ended.
        """
        if not self._is_complete():
            raise NotImplementedError(f"{self}: the number of frames is known at the end only")
        return dict(self._cache.num_frames)

    def set_complete_frac(self, frac: float) -> None:
        """Sets the fraction of the epoch that was added so far."""
        self._complete_frac = frac

    def get_complete_frac(
        self, sorted_seq_idx: int, *, allow_only_lr_suitable: bool = False
    ) -> float | None:
        """See `Dataset.get_complete_frac`; the estimate is that of `set_complete_frac`."""
        frac, num_added = self._complete_frac, self._cache.num_added
        is_known = self.predefined_seq_list_order is not None or self._is_complete()
        if is_known or frac is None or allow_only_lr_suitable:
            return super().get_complete_frac(
                sorted_seq_idx, allow_only_lr_suitable=allow_only_lr_suitable
            )
        part = (sorted_seq_idx + 1) / num_added if num_added else 1.0
        return min(max(frac * part, 1e-9), 1.0)

    def get_seq_length(self, sorted_seq_idx: int) -> dict[str, int]:
        """Data key to the length of a sequence; waits for it.

        Raises:
            IndexError: the sequence does not exist, or was dropped.
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        return self._cache.get(sorted_seq_idx).num_frames

    def get_data(self, seq_idx: int, key: str) -> NDArray[Any]:
        """Features (T, D) float32, classes (T,) int32, or the bytes of a text; waits for it.

        Raises:
            IndexError: the sequence does not exist, or was dropped.
            KeyError: it has no such data key.
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        return self._cache.get(seq_idx).features[key]

    def get_tag(self, sorted_seq_idx: int) -> str:
        """The name of a sequence; "seq-N" if Sprint passes none. Waits for it.

        Raises:
            IndexError: the sequence does not exist, or was dropped.
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        return self._cache.get(sorted_seq_idx).seq_tag

    def get_data_keys(self) -> list[str]:
        """The data keys of the sequences, sorted; waits for the first one.

        Raises:
            SprintError: the producer has failed, or no sequence comes in ``data_timeout``.
        """
        if self._keys is None:
            if not self.have_seqs():
                return sorted(self.num_outputs)
            self._keys = sorted(self._cache.first_keys)
        return list(self._keys)

    def is_data_sparse(self, key: str) -> bool:
        """Whether the key holds indices."""
        return key != "data" and not key.endswith("[sparse:coo:2:2]")

    def get_data_dtype(self, key: str) -> str:
        """Name of the numpy dtype: "float32", "int32", "uint8" for the bytes of a text."""
        return "uint8" if self._targets.is_text(key) else super().get_data_dtype(key)

    # ---- ends ------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Records an error of Sprint's side; the training gets it in place of missing data."""
        self._cache.fail(error)

    def stop(self) -> None:
        """Ends the consumption: sequences that Sprint adds from now on are dropped."""
        self._cache.stop()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._cache.is_stopped
