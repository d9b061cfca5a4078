"""Batches as trainers pass them: tags, lengths, log posteriors. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["log_posteriors_array", "sequence_lengths", "sequence_names"]


def sequence_names(tags: Any) -> list[str]:
    """Returns the names of the sequences of a batch, exactly str.

    `tags` is a sequence of str or bytes, or an array: (batch,) of strings, or (batch, length) of
    characters or code points, padded with NUL. Raises ValueError for None or an empty name, and
    TypeError for anything else.
    """
    if tags is None:
        raise ValueError("tags are needed: Sprint identifies segments by name")
    if isinstance(tags, (str, bytes)):
        raise TypeError(f"tags must be a sequence of names, not one name: {tags!r:.80}")
    names = [_name(tag) for tag in tags]
    for index, name in enumerate(names):
        if not name:
            raise ValueError(f"the tag of sequence {index} is empty")
    return names


def _name(tag: Any) -> str:
    if isinstance(tag, str):
        return str(tag)
    if isinstance(tag, bytes):
        return tag.decode("utf-8")
    characters = np.asarray(tag)
    if characters.ndim == 0:
        item = characters.item()
        if isinstance(item, (str, bytes)):
            return _name(item)
    if characters.ndim == 1 and characters.dtype.kind in "SU":
        return _name(characters.dtype.type().join(characters.tolist())).rstrip("\0")
    if characters.ndim == 1 and characters.dtype.kind in "iu":
        codes = characters.tolist()
        if characters.dtype.itemsize == 1:  # bytes of UTF-8
            return bytes(code & 255 for code in codes).decode("utf-8").rstrip("\0")
        return "".join(map(chr, codes)).rstrip("\0")
    raise TypeError(f"a tag must be str, bytes or an array of characters, not {tag!r:.80}")


def log_posteriors_array(log_posteriors: Any, batch: int) -> NDArray[Any]:
    """Returns log posteriors (time, batch, label) as an array, without a copy where possible.

    They are an array, a tensor on any device, or nested lists. Raises TypeError for other than real
    numbers, ValueError for other shapes.
    """
    if not isinstance(log_posteriors, (list, tuple)) and not hasattr(log_posteriors, "__array__"):
        kind = type(log_posteriors).__name__
        raise TypeError(f"log posteriors must be an array, a tensor or lists, not {kind}")
    array = _as_array(log_posteriors)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"log posteriors must be real numbers, not {array.dtype}")
    if array.ndim != 3 or array.shape[1] != batch:
        raise ValueError(
            f"posteriors of shape {array.shape} for {batch} tags, expected (time, batch, label)"
        )
    return array


def _as_array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor of torch
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # numpy has no such type
            values = values.float()
    return np.asarray(values)


def sequence_lengths(lengths: ArrayLike, batch: int, time: int) -> list[int]:
    """Returns the lengths of a batch, an array, a tensor or a list of any integer type, as int.

    Raises TypeError for other than integers, ValueError for another number of lengths, and for one
    that is negative or above the number of frames, `time`.
    """
    array = _as_array(lengths)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, not {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths of shape {array.shape} for a batch of {batch}")
    numbers: list[int] = array.tolist()
    for index, number in enumerate(numbers):
        if not 0 <= number <= time:
            raise ValueError(f"length {number} of sequence {index} is not in 0 to {time} frames")
    return numbers
