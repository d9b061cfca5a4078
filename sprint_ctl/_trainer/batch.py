"""Batches as trainers hand them in: tags, lengths, and automata joined into one. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Automaton", "join_automata", "sequence_lengths", "sequence_names"]

# of one segment: number of states, number of edges, edges uint32 (3 * E,), weights float32 (E,)
Automaton = tuple[int, int, "NDArray[np.uint32]", "NDArray[np.float32]"]


def sequence_names(tags: Any) -> list[str]:
    """Names of the sequences of a batch, exactly str.

    Args:
        tags: a sequence of str or bytes, or an array: (batch,) of strings, or (batch, length) of
            characters or code points, padded with NUL.

    Raises:
        ValueError: None, or an empty name.
        TypeError: anything else.
    """
    if tags is None:
        raise ValueError("tags are needed: Sprint knows its segments by name")
    if isinstance(tags, (str, bytes)):
        raise TypeError(f"tags are a sequence of names, not one: {tags!r}")
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
    raise TypeError(f"a tag is a str, bytes or characters, not {tag!r}")


def sequence_lengths(lengths: ArrayLike, batch: int, time: int) -> list[int]:
    """Lengths of the sequences of a batch as int.

    Args:
        lengths: (batch,) of any integer type.
        batch: number of sequences.
        time: frames there are.

    Raises:
        TypeError: no integers.
        ValueError: another number of lengths, or one that is negative or beyond the frames.
    """
    array = np.asarray(lengths)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"lengths are integers, not {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths of shape {array.shape} for a batch of {batch}")
    numbers: list[int] = array.tolist()
    for index, number in enumerate(numbers):
        if not 0 <= number <= time:
            raise ValueError(f"length {number} of sequence {index}: there are {time} frames")
    return numbers


def join_automata(
    automata: Sequence[Automaton],
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32]]:
    """One automaton of those of a batch, states numbered on.

    Returns:
        edges (4, E) uint32, rows: from, to, emission, sequence; weights (E,) float32; start and end
        state of each sequence (2, batch) uint32.
    """
    states = np.array([automaton[0] for automaton in automata], np.uint32)
    counts = [automaton[1] for automaton in automata]
    ends = np.cumsum(states, dtype=np.uint32)
    starts = ends - states
    edges = np.empty((4, sum(counts)), np.uint32)
    weights = np.empty(sum(counts), np.float32)
    place = 0
    for index, (_, count, ours, ours_weights) in enumerate(automata):
        part = edges[:, place : place + count]
        part[:3] = ours.reshape(3, count)
        part[:2] += starts[index]
        part[3] = index
        weights[place : place + count] = ours_weights
        place += count
    return edges, weights, np.stack([starts, ends - np.uint32(1)])
