"""Automata as Sprint exports them: what is refused, against brute force and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sprint_ctl._trainer.automaton import automaton_from_reply, join_automata
from sprint_ctl.errors import SprintAutomatonError
from tests.sprint_ctl.test_pool_faults import tiny_pool


def reply(num_states: int, edges: list[tuple[int, int, int]], weights: Any = None) -> list[Any]:
    numbers = np.array(edges, np.uint32).reshape(-1, 3).T.reshape(-1)
    if weights is None:
        weights = np.zeros(len(edges), np.float32)
    return [num_states, len(edges), numbers, np.asarray(weights, np.float32)]


CHAIN = [(0, 0, 7), (0, 1, 7), (1, 2, 8)]
WRONG: dict[str, tuple[list[Any], str]] = {
    "no states": (reply(0, []), "0 states"),
    "negative states": (reply(-1, []), "-1 states"),
    "to state": (reply(2, CHAIN), "to state 2 in edge 2"),
    "from state": (reply(3, [*CHAIN, (9, 2, 0)]), "from state 9 in edge 3"),
    "no edges": (reply(2, []), "none in 0 edges"),
    "no path": (reply(4, [*CHAIN, (3, 3, 0)]), "none in 4 edges"),
    "only backwards": (reply(2, [(1, 0, 0)]), "none in 1 edges"),
    "forbidden edge": (reply(3, CHAIN, [0, 0, np.inf]), "none in 3 edges"),
    "2**40 states": (reply(1 << 40, CHAIN), "states"),
    "2**31 states": (reply(1 << 31, CHAIN), "none in 3 edges"),
    "nan": (reply(3, CHAIN, [0, np.nan, 0]), "nan in edge 1"),
    "minus infinity": (reply(3, CHAIN, [0, 0, -np.inf]), "-inf in edge 2"),
    "sizes": ([3, 4, *reply(3, CHAIN)[2:]], "4 edges with arrays"),
    "negative": ([2, 1, np.array([0, -1, 5], np.int32), np.zeros(1, np.float32)], "state -1"),
    "floats": ([2, 1, np.zeros(3), np.zeros(1, np.float32)], "float64"),
    "emission": (reply(3, [*CHAIN[:2], (1, 2, 2**32 - 1)]), "emission 4294967295 in edge 2"),
    "negative emission": ([2, 1, np.array([0, 1, -1]), np.zeros(1, np.float32)], "emission -1"),
    "double infinity": ([2, 1, np.array([0, 1, 5]), np.full(1, 1e300)], "none in 1 edges"),
    "double minus infinity": ([2, 1, np.array([0, 1, 5]), np.full(1, -1e300)], "-inf in edge 0"),
    "bool": ([True, 0, np.zeros(0, np.uint32), np.zeros(0, np.float32)], "4 values"),
    "no arrays": ([2, 1, [0, 1, 5], [0.0]], "4 values"),
    "too few": ([2, 1], "2 values"),
}


@pytest.mark.parametrize("name", WRONG)
def test_malformed_automata(name: str) -> None:
    values, actual = WRONG[name]
    with pytest.raises(SprintAutomatonError) as caught:
        automaton_from_reply(values)
    assert actual in str(caught.value.found)


def test_paths_against_brute_force() -> None:
    """The last state is reached if a power of the matrix of edges says so."""
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        num_states = int(rng.integers(1, 7))
        edges = rng.integers(0, num_states, (int(rng.integers(0, 8)), 2))
        reached = np.eye(num_states, dtype=bool)
        for source, target in edges:
            reached[source, target] = True
        for _ in range(num_states):
            reached = reached @ reached
        values = reply(num_states, [(source, target, 0) for source, target in edges.tolist()])
        if reached[0, -1]:
            states, count, numbers, _ = automaton_from_reply(values)
            assert (states, count) == (num_states, len(edges))
            assert numbers[: 2 * count].reshape(2, -1).T.tolist() == edges.tolist()
        else:
            with pytest.raises(SprintAutomatonError, match="a path from state 0"):
                automaton_from_reply(values)
        outcomes.add(bool(reached[0, -1]))
    assert outcomes == {True, False}


def test_a_batch_has_room_for_its_states() -> None:
    automaton = automaton_from_reply(reply(3, CHAIN))
    edges, _, start_end = join_automata([automaton, automaton])
    assert edges[:, 3:].tolist() == [[3, 3, 4], [3, 4, 5], [7, 7, 8], [1, 1, 1]]
    assert start_end.tolist() == [[0, 3], [2, 5]]
    large = ((1 << 31) - 3, *automaton[1:])
    assert join_automata([large, automaton])[2].tolist() == [[0, 2**31 - 3], [2**31 - 4, 2**31 - 1]]
    huge = ((1 << 31) - 2, *automaton[1:])
    with pytest.raises(SprintAutomatonError, match="one automaton has 2147483646"):
        join_automata([huge, automaton])


def test_the_error_names_the_segment_and_sprint_keeps_running() -> None:
    pool = tiny_pool(on_failure="skip")
    pool.get_automata_for_batch(["a/2"])
    pids = [sprint.pid for sprint in pool.instances]
    with pytest.raises(SprintAutomatonError, match=r"at least one state.*found 0 states") as caught:
        pool.get_automata_for_batch(["a/3", "a/empty/0"])
    assert caught.value.segment == "a/empty/0"
    assert caught.value.command is not None
    assert len(pool.get_automata_for_batch(["a/3"])[1]) == 3
    assert [sprint.pid for sprint in pool.instances] == pids
    pool.close()
