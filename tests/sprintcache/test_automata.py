"""The type Automata: construction, parts and joins, against plain loops over the edges."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sprintcache import AutomatonError
from sprintcache.automata import Automata, EdgeWords

# two sequences: 0 -a-> 1 -b-> 2 with loops, and one edge 3 -> 4
EDGES = [[0, 0, 1, 1, 3], [0, 1, 1, 2, 4], [7, 7, 8, 8, 9], [0, 0, 0, 0, 1]]
WEIGHTS = [0.5, 1.0, 0.25, 2.0, 0.0]
START_END = [[0, 3], [2, 4]]
WORDS = EdgeWords([0, 0, 1, 1, -1], [("a",), ("a", "b")])


def small(**arguments: object) -> Automata:
    options = {
        "states": [0, 0, 1, 1, 2],
        "state_symbols": ["a.0", "b.0", "c.0"],
        "words": WORDS,
        "tags": ["x", "y"],
    }
    return Automata.from_edges(EDGES, WEIGHTS, START_END, **{**options, **arguments})  # type: ignore[arg-type]


def rows(automata: Automata) -> list[tuple[object, ...]]:
    """Every edge with all that belongs to it, states counted from the start of its sequence."""
    result = []
    for number, (source, target, label, sequence) in enumerate(automata.edges.T.tolist()):
        start = int(automata.start_end[0, sequence])
        assert automata.states is not None
        assert automata.state_symbols is not None
        assert automata.words is not None
        assert automata.tags is not None
        state = automata.state_symbols[automata.states[number]]
        weight = float(automata.weights[number])
        facts = source - start, target - start, label, weight, state, automata.words[number]
        result.append((automata.tags[sequence], *facts))
    return result


def test_arrays_have_the_documented_types() -> None:
    automata = small()
    assert (automata.edges.dtype, automata.edges.shape) == (np.uint32, (4, 5))
    assert (automata.weights.dtype, automata.weights.shape) == (np.float32, (5,))
    assert (automata.start_end.dtype, automata.start_end.shape) == (np.uint32, (2, 2))
    assert (len(automata), automata.num_edges, automata.num_labels) == (2, 5, 10)
    assert automata.edge_offsets.tolist() == [0, 4, 5]
    assert automata.state_ranges.tolist() == [[0, 3], [2, 4]]


def test_parts_are_numbered_from_zero_and_keep_everything() -> None:
    automata = small()
    both = rows(automata)
    assert rows(automata[1]) == both[4:]
    assert automata[1].edges.tolist() == [[0], [1], [9], [0]]
    assert rows(automata["x"]) == both[:4]
    assert rows(automata[::-1]) == both[4:] + both[:4]
    assert rows(automata[[1, 1]]) == both[4:] * 2
    assert [rows(part) for part in automata] == [both[:4], both[4:]]
    assert len(automata[:0]) == 0
    with pytest.raises(IndexError, match="sequence 2 of 2"):
        automata[2]
    with pytest.raises(KeyError):
        automata["z"]


def test_joining_the_parts_makes_the_batch() -> None:
    automata = small()
    joined = Automata.concatenate([automata[0], automata[1]])
    assert rows(joined) == rows(automata)
    assert joined.edges.tolist() == automata.edges.tolist()
    other = small(state_symbols=["b.0", "x.0", "a.0"], words=EdgeWords([-1] * 5, []))
    joined = Automata.concatenate([automata, other])
    assert rows(joined) == rows(automata) + rows(other)
    assert Automata.concatenate([automata, small(states=None)]).states is None
    assert rows(Automata.concatenate([automata])) == rows(automata)
    with pytest.raises(ValueError, match="at least one"):
        Automata.concatenate([])


def test_edges_are_grouped_by_sequence_in_a_stable_order() -> None:
    order = [4, 1, 0, 3, 2]
    shuffled = Automata.from_edges(
        np.array(EDGES)[:, order], np.array(WEIGHTS)[order], START_END, tags=["x", "y"]
    )
    assert shuffled.edges.T.tolist() == np.array(EDGES)[:, [1, 0, 3, 2, 4]].T.tolist()
    assert shuffled.weights.tolist() == [1.0, 0.5, 2.0, 0.25, 0.0]


def test_scaling() -> None:
    automata = small()
    assert (0.5 * automata).weights.tolist() == [0.25, 0.5, 0.125, 1.0, 0.0]
    forbidden = Automata.from_edges([[0], [1], [0], [0]], [np.finfo(np.float32).max], [[0], [1]])
    assert (forbidden * 0.5).weights.tolist() == [np.inf]
    with pytest.raises(TypeError):
        automata * "2"  # type: ignore[operator]


def test_pickling() -> None:
    assert rows(pickle.loads(pickle.dumps(small()))) == rows(small())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"edges": [[0.5]] * 4}, TypeError, "edges must be integers"),
        ({"edges": [[0]] * 3}, ValueError, r"shape \(4, any\)"),
        ({"edges": [[-1], [0], [0], [0]]}, ValueError, "32 bits"),
        ({"weights": [0.0]}, ValueError, r"shape \(5,\)"),
        ({"weights": ["a"] * 5}, TypeError, "weights must be numbers"),
        ({"start_end": [[0], [2]]}, AutomatonError, "edge 4 belongs to a sequence"),
        ({"weights": [0, 0, 0, 0, np.nan]}, AutomatonError, "'y'.*edge 4 has no valid weight"),
        ({"weights": [0, -np.inf, 0, 0, 0]}, AutomatonError, "'x'.*edge 1"),
        ({"start_end": [[0, 2], [2, 4]]}, AutomatonError, "'y'.*expected states above 2, found 2"),
        ({"states": [0, 1, 2, 3, 4]}, ValueError, "below the 3 state symbols"),
        ({"words": EdgeWords([0], [("a",)])}, ValueError, "5 edges, not of 1"),
        ({"tags": ["x"]}, ValueError, "2 sequences, but 1 tags"),
    ],
)
def test_malformed_arrays(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    options = {
        "edges": EDGES,
        "weights": WEIGHTS,
        "start_end": START_END,
        "states": [0] * 5,
        "state_symbols": ["a", "b", "c"],
        "tags": ["x", "y"],
    }
    if "edges" in arguments:
        options.update(weights=[0.0], states=None, tags=None, start_end=[[0], [1]])
    if "start_end" in arguments and len(arguments["start_end"][0]) == 1:  # type: ignore[index]
        options.update(tags=["x"])
    with pytest.raises(error, match=message):
        Automata.from_edges(**{**options, **arguments})  # type: ignore[arg-type]


def test_words_out_of_range() -> None:
    with pytest.raises(ValueError, match="-1 to 0"):
        EdgeWords([1], [("a",)])
