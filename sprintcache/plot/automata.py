"""plot_automaton: states and edges of one automaton from left to right."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from .canvas import BLUE, GRAY, ORANGE, new_figure, plain, set_title, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sprintcache.automata import Automata

__all__ = ["plot_automaton"]

_MAX_STATES = 400
_MAX_LETTERS = 22  # of the name of an edge
_RADIUS = 0.17
_DROP = 0.14  # of the lowest point of an arc, for each lane that it spans
_COLUMN = 1.6  # width of a column, in lanes


def plot_automaton(
    automata: Automata,
    sequence: int | str = 0,
    *,
    symbols: Sequence[str] | None = None,
    title: str | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draws one automaton.

    States are in columns by the number of edges of the longest way to them; loops are above
    their state. Edges are named by allophone state where it is known, and by their weight where it
    is not 0.

    Args:
        automata: a batch.
        sequence: number or tag of the automaton.
        symbols: name of each label, instead of allophone states.
        title: by default the tag.
        figure: an empty figure; None creates one.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: for more than 400 states; `sprintcache.automata.export.dot_text` has no limit.
    """
    from sprintcache.automata.export import edge_names
    from sprintcache.automata.transitions import FORBIDDEN

    part = automata[sequence]
    allowed = part.weights < FORBIDDEN
    start, end = (int(state) for state in part.start_end[:, 0])
    source, target = (row.astype(np.int64) for row in part.edges[:2])
    states = np.unique(np.concatenate([source, target, [start, end]]))
    if len(states) > _MAX_STATES:
        raise ValueError(
            f"{len(states)} states are too many for a picture; dot_text writes any number"
        )
    positions = _positions(states.tolist(), source[allowed], target[allowed])
    width = max(x for x, _ in positions.values())
    lanes = [y for _, y in positions.values()]
    spans = [
        positions[int(t)][0] - positions[int(s)][0] for s, t in zip(source, target, strict=True)
    ]
    low, high = min(lanes) - 0.6 - _DROP * max(spans, default=0), max(lanes) + 1
    figure = new_figure(
        min(max(1.1 * width + 1.3, 5), 200), max(2.2, 1.1 * (high - low) + 0.4), figure
    )
    if title is None:
        title = part.tags[0] if part.tags else ""
    set_title(figure, title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-0.6, width + 0.6)
    axes.set_ylim(low, high)
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    for edge, name in enumerate(edge_names(part, symbols)):
        if allowed[edge]:
            weight = float(part.weights[edge])
            text = short(name, _MAX_LETTERS)
            text = text if weight == 0 else f"{text} {weight:.3g}"
            names[int(source[edge]), int(target[edge])].append(text)
    for (tail, head), texts in names.items():
        _draw_edge(
            axes, positions[tail], positions[head], "\n".join(plain(text) for text in texts[:4])
        )
    for state in states.tolist():
        _draw_state(axes, positions[state], state, state == start, state == end)
    return figure


def _positions(states: list[int], source: Any, target: Any) -> dict[int, tuple[float, float]]:
    """Column and lane of each state; states of one column share it around the middle."""
    column = dict.fromkeys(states, 0)
    pairs = [(s, t) for s, t in zip(source.tolist(), target.tolist(), strict=True) if s != t]
    for _ in range(len(states)):  # longest ways; a cycle ends after as many rounds as states
        changed = False
        for s, t in pairs:
            if column[t] <= column[s] < len(states) - 1:
                column[t] = column[s] + 1
                changed = True
        if not changed:
            break
    members: dict[int, list[int]] = defaultdict(list)
    before: dict[int, list[int]] = defaultdict(list)
    for state in states:
        members[column[state]].append(state)
    for s, t in pairs:
        before[t].append(s)
    positions: dict[int, tuple[float, float]] = {}
    for x in sorted(members):  # in the order of the states they are reached from
        lanes = {
            state: float(np.mean([positions[s][1] for s in before[state] if s in positions] or [0]))
            for state in members[x]
        }
        group = sorted(members[x], key=lambda state: -lanes[state])
        for lane, state in enumerate(group):
            positions[state] = _COLUMN * x, (len(group) - 1) / 2 - lane
    return positions


def _draw_state(
    axes: Axes, position: tuple[float, float], state: int, is_start: bool, is_end: bool
) -> None:
    from matplotlib.patches import Circle

    color = ORANGE if is_start or is_end else GRAY
    axes.add_patch(Circle(position, _RADIUS, facecolor="white", edgecolor=color, zorder=3))
    if is_end:
        axes.add_patch(Circle(position, 0.8 * _RADIUS, fill=False, edgecolor=color, zorder=4))
    axes.text(*position, str(state), ha="center", va="center", fontsize=7, zorder=5)


def _draw_edge(axes: Axes, tail: tuple[float, float], head: tuple[float, float], text: str) -> None:
    from matplotlib.patches import FancyArrowPatch

    if tail == head:
        x, y = tail
        begin, end, bend = (x - 0.1, y + 0.13), (x + 0.1, y + 0.13), -2.2
        label_position = (x, y + 0.42)
    else:
        begin, end = tail, head
        far = abs(head[0] - tail[0]) > 1.1 * _COLUMN and abs(head[1] - tail[1]) < 0.3
        bend = 0.28 if far else 0.0
        middle = (tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2
        drop = _DROP * (head[0] - tail[0]) if far else -0.03
        label_position = (middle[0], middle[1] - drop)
    axes.add_patch(
        FancyArrowPatch(
            begin,
            end,
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-|>",
            mutation_scale=8,
            shrinkA=0 if tail == head else 11,
            shrinkB=0 if tail == head else 11,
            linewidth=0.8,
            color=BLUE,
            zorder=2,
        )
    )
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    axes.text(*label_position, text, ha="center", va="bottom", fontsize=6, zorder=6, bbox=box)
