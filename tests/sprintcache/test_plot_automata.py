"""Pictures of automata: every state and edge is in the axes; the command draws files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sprintcache.automata import Automata
from sprintcache.cli import main
from tests.sprintcache.test_automata_files import corpus

pytest.importorskip("matplotlib", reason="matplotlib (extra plot) is not installed")

from sprintcache.plot import plot_automaton


@pytest.mark.parametrize("tag", ["dev/onephone/1", "dev/empty/1", "dev/single/1"])
def test_all_states_and_edges_are_drawn(tag: str) -> None:
    automata = corpus()
    part = automata[tag]
    figure = plot_automaton(automata, tag)
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    states = np.unique(part.edges[:2]).tolist()
    pairs = {(s, t) for s, t, _, _ in part.edges.T.tolist()}
    assert [text for text in texts if text.isdigit()] == [str(state) for state in states]
    assert len(texts) == len(states) + len(pairs)
    assert sum(len(text.split("\n")) for text in texts) == len(states) + part.num_edges
    assert figure._suptitle.get_text() == tag  # type: ignore[attr-defined]
    low, high = axes.get_ylim()
    assert all(low < text.get_position()[1] < high for text in axes.texts)


def test_names_of_labels_and_forbidden_edges() -> None:
    automata = Automata.from_edges(
        [[0, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0]], [0.5, 0.0, np.inf], [[0], [1]]
    )
    (axes,) = plot_automaton(automata, symbols=["a", "b"]).axes
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "a 0.5", "b"]


def test_the_labels_of_an_edge_are_at_most_four() -> None:
    edges = [[0] * 5, [1] * 5, [0, 1, 2, 3, 4], [0] * 5]
    automata = Automata.from_edges(edges, np.zeros(5), [[0], [1]])
    (axes,) = plot_automaton(automata, symbols=list("abcde")).axes
    assert [text.get_text() for text in axes.texts if not text.get_text().isdigit()] == [
        "a\nb\nc\nd"
    ]


def test_an_edge_over_a_state_is_an_arc() -> None:
    """Two branches 0-1-3-5-7 and 0-2-4-6-7, with a way around 3 and one around 4."""
    pairs = [(0, 1), (1, 3), (3, 5), (5, 7), (0, 2), (2, 4), (4, 6), (6, 7), (1, 5), (2, 6)]
    edges = np.array([(*pair, label, 0) for label, pair in enumerate(pairs)]).T
    automata = Automata.from_edges(edges, np.zeros(len(pairs)), [[0], [7]])
    names = [f"{tail}-{head}" for tail, head in pairs]
    (axes,) = plot_automaton(automata, symbols=names).axes
    positions = {text.get_text(): np.array(text.get_position()) for text in axes.texts}
    arcs = set()
    for name in names:
        tail, head = (positions[state] for state in name.split("-"))
        if abs(positions[name][1] - (tail[1] + head[1]) / 2) > 0.2:
            arcs.add(name)
    assert arcs == {"1-5", "2-6"}


def test_cycles_and_large_automata() -> None:
    ring = Automata.from_edges([[0, 1, 2], [1, 2, 0], [0, 0, 0], [0, 0, 0]], [0.0] * 3, [[0], [2]])
    plot_automaton(ring)
    count = 500
    edges = np.stack([np.arange(count), np.arange(count) + 1, np.zeros(count), np.zeros(count)])
    long = Automata.from_edges(edges.astype(int), np.zeros(count), [[0], [count]])
    with pytest.raises(ValueError, match="501 states are too many"):
        plot_automaton(long)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = tmp_path / "corpus.automata", tmp_path / "a.svg"
    corpus().save(path)
    command = ["plot", str(path), "dev/single/1", "--automaton", "--output", str(picture)]
    assert main(command) == 0
    assert picture.read_bytes().startswith(b"<?xml")
    assert main([*command[:2], "nobody", *command[3:]]) == 1
    assert "no automaton 'nobody'" in capsys.readouterr().err
    assert main([*command, "--normalize"]) == 2
