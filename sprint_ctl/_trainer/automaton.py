"""Automata of segments as Sprint exports them: checked, and joined for a batch. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintAutomatonError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Automaton", "automaton_from_reply", "join_automata"]

# of one segment: number of states, number of edges E, edges uint32 (3 * E,): all from, all to, all
# emissions; weights float32 (E,). State 0 is the initial one, the last state the only final one.
Automaton = tuple[int, int, "NDArray[np.uint32]", "NDArray[np.float32]"]

_FORMAT = "numbers of states and edges, 3 integers and a weight for each edge"
_LIMIT = 1 << 31  # of states of a batch, and of emissions: trainers keep them in int32


def automaton_from_reply(reply: Sequence[Any]) -> Automaton:
    """Returns the automaton of a reply, in new arrays.

    Raises:
        SprintAutomatonError: what is not an automaton, or one whose final state cannot be reached.
    """
    if (
        len(reply) != 4
        or not all(_is_integer(count) for count in reply[:2])
        or not all(isinstance(array, np.ndarray) for array in reply[2:])
    ):
        raise _malformed(_FORMAT, f"a reply of {len(reply)} values")
    num_states, num_edges = map(int, reply[:2])
    numbers, weights = reply[2:]
    if numbers.shape != (3 * num_edges,) or weights.shape != (num_edges,):
        shapes = f"{num_edges} edges with arrays of shape {numbers.shape} and {weights.shape}"
        raise _malformed(_FORMAT, shapes)
    if num_edges and (numbers.dtype.kind not in "iu" or weights.dtype.kind != "f"):
        raise _malformed(_FORMAT, f"arrays of {numbers.dtype} and {weights.dtype}")
    if not 1 <= num_states <= _LIMIT:
        raise _malformed("at least one state, at most 2**31", f"{num_states} states")
    _check_numbers(numbers, num_states, num_edges)
    with np.errstate(over="ignore"):  # of double precision
        weights = np.array(weights, np.float32)
    if num_edges and not weights.min() > -np.inf:
        index = int((~(weights > -np.inf)).argmax())
        raise _malformed("weights that are not NaN or -inf", f"{weights[index]} in edge {index}")
    usable = weights < np.inf
    sources, targets = numbers[:num_edges][usable], numbers[num_edges : 2 * num_edges][usable]
    if not _reaches_end(num_states, sources, targets):
        raise _malformed(
            f"a path from state 0 to the final state {num_states - 1}",
            f"none in {num_edges} edges",
        )
    return num_states, num_edges, np.array(numbers, np.uint32), weights


def _malformed(expected: str, found: str) -> SprintAutomatonError:
    return SprintAutomatonError("the automaton is malformed", expected=expected, found=found)


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_numbers(numbers: NDArray[Any], num_states: int, num_edges: int) -> None:
    """Raises SprintAutomatonError for a state or an emission that is out of range."""
    if not num_edges:
        return
    states, emissions = numbers[: 2 * num_edges], numbers[2 * num_edges :]
    if states.max() < num_states and numbers.min() >= 0 and emissions.max() < _LIMIT:
        return
    wrong = numbers < 0
    wrong[: 2 * num_edges] |= states >= num_states
    wrong[2 * num_edges :] |= emissions >= _LIMIT
    index = int(wrong.argmax())
    column = ("from state", "to state", "emission")[index // num_edges]
    raise _malformed(
        f"states below {num_states}, emissions below 2**31",
        f"{column} {numbers[index]} in edge {index % num_edges}",
    )


def _reaches_end(num_states: int, sources: NDArray[Any], targets: NDArray[Any]) -> bool:
    """Whether the last state can be reached from state 0."""
    if num_states - 1 > len(targets):
        states = np.append(targets, np.zeros(1, targets.dtype))
        if num_states - 1 not in states:
            return False  # before memory is taken for states that no edge mentions
    else:
        # in order of discovery each state has an edge from a lower one: all are reached
        has_lower = np.zeros(num_states, np.bool_)
        has_lower[targets[sources < targets]] = True
        if has_lower[1:].all():
            return True
    following: dict[int, list[int]] = {}
    for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
        following.setdefault(source, []).append(target)
    reached, waiting = {0}, [0]
    while waiting:
        for state in following.pop(waiting.pop(), ()):
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    return num_states - 1 in reached


def join_automata(
    automata: Sequence[Automaton],
) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32]]:
    """Joins the automata of a batch into one, with the states numbered across the batch.

    For the result see `SprintInstancePool.get_automata_for_batch`.

    Raises:
        SprintAutomatonError: more than 2**31 states.
    """
    num_states = [automaton[0] for automaton in automata]
    if sum(num_states) > _LIMIT:
        raise SprintAutomatonError(
            "the automata do not fit into one batch",
            expected="at most 2**31 states",
            found=f"{sum(num_states)}, of which one automaton has {max(num_states)}",
        )
    counts = [automaton[1] for automaton in automata]
    ends = np.cumsum(num_states, dtype=np.int64)
    starts = ends - np.array(num_states, np.int64)
    edges = np.empty((4, sum(counts)), np.uint32)
    weights = np.empty(sum(counts), np.float32)
    offset = 0
    for index, (_, count, numbers, edge_weights) in enumerate(automata):
        part = edges[:, offset : offset + count]
        part[:3] = numbers.reshape(3, count)
        part[:2] += np.uint32(starts[index])
        part[3] = index
        weights[offset : offset + count] = edge_weights
        offset += count
    return edges, weights, np.stack([starts, ends - 1]).astype(np.uint32)
