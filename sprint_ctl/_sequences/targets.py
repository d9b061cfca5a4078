"""Targets: alignment, orthography and speaker of a segment, as the arrays of a sequence.

Sprint passes alignments as uint32 vectors, soft alignments as three vectors, orthography and
speaker as text. A sequence has arrays only: "classes" int32, texts as uint8 (their bytes), and
what the options derive from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintProtocolError
from sprintcache._text_file import read_text
from sprintcache.errors import LabelError
from sprintcache.vocabulary import vocabulary

from .orthography import post_processor, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .orthography import PostProcess

__all__ = ["SOFT_KEYS", "TargetConverter", "targets_of"]

# times, classes and weights of a soft alignment: sparse, by coordinates
SOFT_KEYS = tuple(f"classes[sparse:coo:2:{i}]" for i in range(3))
_TEXTS = ("orth", "speaker_name")


def targets_of(
    *,
    alignment: NDArray[np.uint32] | None = None,
    soft_alignment: tuple[NDArray[Any], ...] | None = None,
    orthography: str | bytes | None = None,
    speaker_name: str | None = None,
) -> dict[str, Any]:
    """The targets of a segment: the arguments of Sprint's call that are not None."""
    targets: dict[str, Any] = {}
    if alignment is not None:
        targets["classes"] = alignment
    elif soft_alignment is not None:
        targets.update((key, soft_alignment[i]) for i, key in enumerate(SOFT_KEYS))
    if orthography is not None:
        targets["orth"] = orthography
    if speaker_name is not None:
        targets["speaker_name"] = speaker_name
    return targets


class TargetConverter:
    """Applies the options that concern targets."""

    def __init__(
        self,
        target_maps: Mapping[str, str | Mapping[str, Any]] | None,
        str_add_final_zero: bool,
        orth_post_process: PostProcess | None,
        bpe: Any,
        orth_vocab: Any,
    ) -> None:
        """Reads maps and vocabularies; the arguments are those of `SprintDatasetBase`."""
        self._maps = {key: _read_map(value) for key, value in (target_maps or {}).items()}
        self._add_final_zero = str_add_final_zero
        self._post_process = post_processor(orth_post_process)
        self._vocabularies = {
            key: vocabulary(options)
            for key, options in (("bpe", bpe), ("orth_classes", orth_vocab))
            if options
        }

    def outputs(self, num_classes: int) -> dict[str, tuple[int, int]]:
        """Data key to (number of classes, number of axes)."""
        outputs = {"classes": (num_classes, 1)} if num_classes > 0 else {}
        for key, labels in self._vocabularies.items():
            outputs[key] = labels.num_labels, 1
        for key in _TEXTS:
            outputs[key] = 256, 1
        for key, known in self._maps.items():
            outputs[key] = len(known), 1
        return outputs

    def labels(self) -> dict[str, list[str]]:
        """Data key to label names, for "orth" and for vocabularies that know theirs."""
        labels = {"orth": [chr(byte) for byte in range(256)]}
        for key, known in self._vocabularies.items():
            if hasattr(known, "labels"):
                labels[key] = list(known.labels)
        return labels

    def is_text(self, key: str) -> bool:
        """Whether a key holds the bytes of a text."""
        name = key[:-1] if self._add_final_zero and key.endswith("0") else key
        return name in _TEXTS and name not in self._maps

    def convert(
        self, targets: Mapping[str, Any], num_frames: int, tag: str | None
    ) -> dict[str, NDArray[Any]]:
        """The arrays of a sequence, of `num_frames` where a map has a single index.

        Raises:
            SprintProtocolError: a target that is neither array nor text, or that an option needs is
                missing.
            LabelError: a text is missing in a map or vocabulary.
        """
        known = {
            key: to_text(value).strip() if isinstance(value, (str, bytes)) else value
            for key, value in targets.items()
            if value is not None
        }
        if "orth" in known and self._post_process is not None:
            known["orth"] = self._post_process(known["orth"])
        for key, labels in self._vocabularies.items():
            known[key] = np.array(labels.get_seq(_required(known, "orth", key, tag)), np.int32)
        for key, indices in self._maps.items():
            value = _required(known, key, "target_maps", tag)
            if value not in indices:
                raise LabelError(f"target_maps: no {key} {value!r}", entry=tag)
            mapped = np.asarray(indices[value])
            known[key] = mapped if mapped.ndim else np.full(num_frames, mapped, np.int32)
        arrays: dict[str, NDArray[Any]] = {}
        for key, value in known.items():
            if isinstance(value, str):
                code = value.encode("utf-8")
                arrays[key] = np.frombuffer(bytearray(code), np.uint8)
                if self._add_final_zero:
                    arrays[f"{key}0"] = np.frombuffer(bytearray(code + b"\0"), np.uint8)
            elif isinstance(value, np.ndarray):
                arrays[key] = _signed(value)
            else:
                raise SprintProtocolError(
                    f"target {key!r} is neither array nor text", segment=tag, found=repr(value)
                )
        return arrays


def _required(known: Mapping[str, Any], key: str, option: str, tag: str | None) -> Any:
    if key not in known:
        raise SprintProtocolError(
            f"{option} needs {key!r} of every segment", segment=tag, found=f"only {sorted(known)}"
        )
    return known[key]


def _signed(array: NDArray[Any]) -> NDArray[Any]:
    """Indices as int32; uint32 from Sprint is reinterpreted without a copy."""
    if array.dtype == np.uint32:
        return array.view(np.int32)
    return array.astype(np.int32) if array.dtype.kind in "iu" and array.itemsize > 4 else array


def _read_map(value: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """A map, or the lines of a file with their indices from 0."""
    if not isinstance(value, str):
        return value
    return {line: index for index, line in enumerate(read_text(value).splitlines())}
