"""Automata of orthographies by the rules, one step after the other and as slowly as they read.

Everything is composed in full: orthography, pronunciations, allophones. It imports nothing of the
project; allophones come in the order of their numbers, and the labels of their states with them.
Docstrings name the parts of RASR that define each step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

LIBM = ctypes.CDLL("libm.so.6")
for name in ("expf", "logf", "log1pf"):
    getattr(LIBM, name).restype = ctypes.c_float
    getattr(LIBM, name).argtypes = [ctypes.c_float]
LIBM.exp.restype = LIBM.log.restype = ctypes.c_double
LIBM.exp.argtypes = LIBM.log.argtypes = [ctypes.c_double]

EPSILON = -1
WORD_END = 1 << 40
MAX = 3.4028234663852886e38
INFINITY = float("inf")

State = Hashable
Arc = tuple[int, Any, float, State]  # input, output, weight, target


def f32(value: float) -> float:
    return ctypes.c_float(value).value


class RefusedError(Exception):
    """What Sprint refuses, crashes on, or answers with states on a cycle."""


@dataclass
class Model:
    """lemmas: (orthographies, [(phones, score)], special); allophones: (phone, history, future,
    boundary), phones as strings; dependent: phones with context; sets: (loop, forward, skip, exit)
    of entry, silence and phone."""

    lemmas: list[tuple[list[str], list[tuple[tuple[str, ...], float]], str]]
    allophones: list[tuple[str, tuple[str, ...], tuple[str, ...], int]]
    label_of: Callable[[int, int], int]
    dependent: set[str]
    phone_order: list[str]
    silence: str
    sets: dict[str, tuple[float, float, float, float]]
    history_length: int = 1
    future_length: int = 1
    states: int = 3
    repetitions: int = 1
    topology: str = "hmm"
    silence_repetitions: bool = True
    corrected: bool = False
    fix: bool = False
    drop_invalid: bool = False
    blank: tuple[int, int] | None = None
    finals: dict[State, float] = field(default_factory=dict)


@dataclass
class Machine:
    start: State
    arcs: Callable[[State], list[Arc]]
    final: Callable[[State], float | None]


def compose(left: Machine, right: Machine) -> Machine:
    """All paths on which the output of `left` is the input of `right` (Fsa/tCompose).

    The middle of a state filters epsilon moves: 1 after one on the left, 2 on the right.
    """

    def arcs(state: Any) -> list[Arc]:
        one, filter_, two = state
        ours = sorted(left.arcs(one), key=lambda arc: arc[1])
        theirs = sorted(right.arcs(two), key=lambda arc: arc[0])
        ours_empty = [arc for arc in ours if arc[1] == EPSILON]
        theirs_empty = [arc for arc in theirs if arc[0] == EPSILON]
        ours_full = ours[len(ours_empty) :]
        theirs_full = theirs[len(theirs_empty) :]
        out: list[Arc] = []
        left_alone = theirs_full or right.final(two) is not None
        right_alone = ours_full or left.final(one) is not None
        if filter_ == 1 or (filter_ == 0 and left_alone):
            out += [(i, EPSILON, w, (t, 1, two)) for i, _, w, t in ours_empty]
        if filter_ == 2 or (filter_ == 0 and right_alone):
            out += [(EPSILON, o, w, (one, 2, t)) for _, o, w, t in theirs_empty]
        for i, middle, w, t in ours_full if filter_ == 1 else ours:
            for j, o, v, u in theirs_full if filter_ == 2 else theirs:
                if middle == j:
                    out.append((i, o, f32(w + v), (t, 0, u)))
        return out

    def final(state: Any) -> float | None:
        a, b = left.final(state[0]), right.final(state[2])
        return None if a is None or b is None else f32(a + b)

    return Machine((left.start, 0, right.start), arcs, final)


def trimmed(machine: Machine) -> Machine:
    """Without states that lead to no final one; RefusedError if nothing is left."""
    arcs: dict[State, list[Arc]] = {}
    waiting = [machine.start]
    while waiting:
        state = waiting.pop()
        if state not in arcs:
            arcs[state] = machine.arcs(state)
            waiting += [arc[3] for arc in arcs[state]]
    alive = {state for state in arcs if machine.final(state) is not None}
    grew = True
    while grew:
        more = {s for s in arcs if s not in alive and any(a[3] in alive for a in arcs[s])}
        alive |= more
        grew = bool(more)
    if machine.start not in alive:
        raise RefusedError("no path")
    kept = {state: [arc for arc in arcs[state] if arc[3] in alive] for state in alive}
    return Machine(machine.start, kept.__getitem__, machine.final)


def lemma_acceptor(model: Model, text: str) -> Machine:
    """Bliss/OrthographicParser."""
    text = " ".join(text.split())
    text += " " if text else ""
    spelled = [
        (orthography + " " if orthography else "", index)
        for index, (orthographies, _, _) in enumerate(model.lemmas)
        for orthography in orthographies
    ]
    special = {role: index for index, (_, _, role) in enumerate(model.lemmas) if role}
    arcs: dict[State, list[Arc]] = {0: []}
    finals: set[State] = {len(text)}
    rightmost = 0
    for i in range(len(text) + 1):
        if i not in arcs:
            continue
        for length in range(len(text) - i, -1, -1):
            for orthography, lemma in spelled:
                if orthography != text[i : i + length]:
                    continue
                arcs.setdefault(i + length, [])
                rightmost = max(rightmost, i + length)
                if model.silence_repetitions or lemma != special.get("silence") or length:
                    arcs[i].append((lemma, lemma, 0.0, i + length))
                else:
                    arcs["copy", i] = list(arcs[i])
                    if i == len(text):
                        finals.add(("copy", i))
                    arcs[i].append((lemma, lemma, 0.0, ("copy", i)))
        if i == rightmost and i < len(text):
            rightmost = text.index(" ", i) + 1
            arcs.setdefault(rightmost, [])
            unknown = special.get("unknown", EPSILON)
            arcs[i].append((unknown, unknown, 0.0, rightmost))
    return Machine(0, arcs.__getitem__, lambda state: 0.0 if state in finals else None)


def lemmas_to_pronunciations(model: Model) -> Machine:
    arcs, number = [], 0
    for lemma, (_, phons, _) in enumerate(model.lemmas):
        for _, score in phons:
            arcs.append((lemma, number, score, 0))
            number += 1
    return Machine(0, lambda state: list(arcs), lambda state: 0.0)


def phones_to_pronunciations(model: Model) -> Machine:
    """Bliss/Lexicon: suffixes of pronunciations share states."""
    ids = {phone: number for number, phone in enumerate(model.phone_order, 1)}
    start: list[Arc] = []
    number = 0
    for _, phons, _ in model.lemmas:
        for phones, _ in phons:
            if phones:
                start.append((ids[phones[0]], number, 0.0, phones[1:]))
            else:
                start.append((WORD_END, number, 0.0, "start"))
            number += 1

    def arcs(state: Any) -> list[Arc]:
        if state == "start":
            return list(start)
        if not state:
            return [(WORD_END, EPSILON, 0.0, "start")]
        return [(ids[state[0]], EPSILON, 0.0, state[1:])]

    return Machine("start", arcs, lambda state: 0.0 if state == "start" else None)


def states_to_phones(model: Model) -> Machine:
    """Am/ClassicTransducerBuilder."""
    ids = {phone: number for number, phone in enumerate(model.phone_order, 1)}
    arcs: dict[State, list[Arc]] = {}
    free = model.history_length == model.future_length == 0
    start = ((), (), "start", False)

    def boundary(history: Any, future: Any, position: str, loose: bool) -> State:
        state = (history, future, position, loose)
        if state not in arcs:
            arcs[state] = []
            if position == "end":
                target = start if free else boundary(history, future, "start", loose)
                arcs[state].append((WORD_END, WORD_END, 0.0, target))
        return state

    boundary(*start)
    for index, (phone, history, future, flags) in enumerate(model.allophones):
        dependent = phone in model.dependent
        if model.drop_invalid and dependent:
            if model.history_length and not history and not flags & 1:
                continue
            if model.future_length and not future and not flags & 2:
                continue
        before_future = (phone, *future)[: model.future_length] if history else ()
        behind_history = (phone, *history)[: model.history_length] if future else ()
        loose = model.fix and bool(flags & 2) and not future and dependent
        end = boundary(behind_history, future, "end" if flags & 2 else "", loose)
        begins = [boundary(history, before_future, "start" if flags & 1 else "", False)]
        if model.fix and flags & 1 and not dependent:
            begins.append(boundary(history, before_future, "start", True))
        is_silence = phone == model.silence
        repetitions = 1 if is_silence else model.repetitions
        total = 1 if is_silence else model.states * repetitions
        for begin in begins:
            source, output = begin, ids[phone]
            for arc in range(total):
                target: State = end if arc + 1 == total else ("inside", index, arc)
                label = index | arc // repetitions << 26
                if (label, output, 0.0, target) not in arcs.setdefault(source, []):
                    arcs[source].append((label, output, 0.0, target))
                source, output = target, EPSILON

    def final(state: Any) -> float | None:
        return 0.0 if state[2] == "start" and not state[1] else None

    return Machine(start, lambda state: list(arcs[state]), final)


def flat_machine(model: Model, text: str) -> Machine:
    invert = lemmas_to_pronunciations(model)
    words = trimmed(compose(lemma_acceptor(model, text), invert))
    acceptor = Machine(
        words.start,
        lambda state: [(o, o, w, t) for _, o, w, t in words.arcs(state)],
        words.final,
    )
    phones = trimmed(compose(phones_to_pronunciations(model), acceptor))
    return trimmed(compose(states_to_phones(model), phones))


def with_loops(model: Model, flat: Machine) -> tuple[list[list[Arc]], dict[int, float]]:
    """Am/TransitionModel: loops, skips and weights."""
    incoming: dict[State, int] = {}
    seen, waiting = {flat.start}, [flat.start]
    while waiting:
        for label, _, _, target in flat.arcs(waiting.pop()):
            if 0 <= label < WORD_END:
                incoming[target] = incoming.get(target, 0) + 1
            if target not in seen:
                seen.add(target)
                waiting.append(target)

    def degrees(state: State) -> tuple[int, int, int]:
        labels = [arc[0] for arc in flat.arcs(state)]
        ends, empty = labels.count(WORD_END), labels.count(EPSILON)
        return len(labels) - ends - empty, ends, empty

    silence_states = {
        index for index, a in enumerate(model.allophones) if a == (model.silence, (), (), 3)
    }

    def set_of(label: int) -> str:
        return "silence" if label in silence_states else "phone"

    def weight(name: str | None, kind: int) -> float:
        return 0.0 if name is None else model.sets[name][kind]

    numbers: dict[Any, int] = {}
    arcs: list[list[Arc]] = []
    finals: dict[int, float] = {}
    contexts: list[int] = []
    todo: list[tuple[Any, int]] = []

    def number(may: str, label: int, name: str | None, right: State, context: int) -> int:
        key = may, label, name, right
        if key not in numbers:
            numbers[key] = len(arcs)
            arcs.append([])
            contexts.append(context)
            end = flat.final(right)
            if "E" in may and end is not None:
                finals[numbers[key]] = end
            todo.append((key, numbers[key]))
        return numbers[key]

    def leaving(key: Any, state: int, kind: int) -> float:
        _, label, name, _ = key
        if not model.corrected or label != EPSILON:
            return weight(name, kind)
        if contexts[state] == EPSILON:
            return 0.0 if kind == 1 else weight("phone", kind)
        return weight(set_of(contexts[state]), kind)

    number("FSXE", EPSILON, "entry", flat.start, EPSILON)
    while todo:
        key, state = todo.pop()
        may, label, name, right = key
        if "L" in may:
            arcs[state].append((label, None, weight(name, 0), state))
        num_labels, num_ends, _ = degrees(right)
        if label != EPSILON and incoming.get(right, 0) > 1 and (num_labels > 1 or num_ends > 1):
            target = number("F", EPSILON, None, right, label)
            arcs[state].append((EPSILON, None, weight(name, 1), target))
            target = number("SX", EPSILON, name, right, label)
            arcs[state].append((EPSILON, None, 0.0, target))
            continue
        for arc_label, _, w, next_state in flat.arcs(right):
            if arc_label == EPSILON:
                target = number(may.replace("L", ""), EPSILON, name, next_state, label)
                arcs[state].append((EPSILON, None, w, target))
            elif arc_label == WORD_END:
                if "X" in may:
                    target = number("FSXE", EPSILON, "entry", next_state, label)
                    arcs[state].append((EPSILON, None, f32(w + weight(name, 3)), target))
            else:
                if "F" in may:
                    v = leaving(key, state, 1)
                    target = number("LFSXE", arc_label, set_of(arc_label), next_state, label)
                    arcs[state].append((arc_label, None, f32(w + v), target))
                next_labels, _, next_empty = degrees(next_state)
                v = leaving(key, state, 2)
                if "S" in may and next_labels + next_empty and v < MAX:
                    v = f32(w + v)
                    following = flat.arcs(next_state)
                    if next_labels == 1 and len(following) == 1 and following[0][1] == EPSILON:
                        after, _, u, end = following[0]
                        target = number("LFSXE", after, set_of(after), end, label)
                        arcs[state].append((after, None, f32(v + u), target))
                    else:
                        target = number("F", EPSILON, None, next_state, label)
                        arcs[state].append((EPSILON, None, v, target))
    for state in range(len(arcs) - 1):
        arcs[state] = [arc for arc in arcs[state] if abs(arc[2]) != MAX]
    return arcs, finals


def numbered(machine: Machine) -> tuple[list[list[Arc]], dict[int, float]]:
    """States numbered when they are mentioned; the one mentioned last is expanded next."""
    numbers: dict[State, int] = {machine.start: 0}
    arcs: dict[int, list[Arc]] = {}
    finals: dict[int, float] = {}
    waiting = [machine.start]
    while waiting:
        state = waiting.pop()
        if numbers[state] in arcs:
            continue
        out: list[Arc] = []
        for label, _, w, target in machine.arcs(state):
            numbers.setdefault(target, len(numbers))
            out.append((EPSILON if label == WORD_END else label, None, w, numbers[target]))
        arcs[numbers[state]] = out
        end = machine.final(state)
        if end is not None:
            finals[numbers[state]] = end
        waiting += [a[3] for a in machine.arcs(state) if numbers[a[3]] not in arcs]
    return [arcs[i] for i in range(len(arcs))], finals


def coaccessible(arcs: list[list[Arc]], finals: dict[int, float]) -> list[list[Arc]]:
    alive = set(finals)
    grew = True
    while grew:
        more = {
            s for s, out in enumerate(arcs) if s not in alive and any(a[3] in alive for a in out)
        }
        alive |= more
        grew = bool(more)
    if 0 not in alive:
        raise RefusedError("no path")
    return [[a for a in out if s in alive and a[3] in alive] for s, out in enumerate(arcs)]


def compare(a: float, b: float) -> int:
    if a == b:
        return 0
    bits = [ctypes.c_int32.from_buffer(ctypes.c_float(x)).value for x in (a, b)]
    low, high = (x if x >= 0 else -(2**31) - x for x in bits)
    return 0 if abs(low - high) <= 1 else -1 if a < b else 1


def without_epsilons(
    arcs: list[list[Arc]], finals: dict[int, float]
) -> tuple[list[list[Arc]], dict[int, float]]:
    """Fsa/tRemoveEpsilons."""
    arcs = [sorted(out, key=lambda arc: (arc[0], arc[3])) for out in arcs]
    result, ends = [], {}
    for state in range(len(arcs)):
        distance: dict[int, float] = {state: 0.0}
        waiting, steps = [state], 0
        while waiting:
            source = waiting.pop()
            steps += 1
            if steps > 10_000:
                raise RefusedError("cycle of epsilons")
            for label, _, w, target in arcs[source]:
                d = f32(distance[source] + w)
                if label == EPSILON and (target not in distance or d < distance[target]):
                    distance[target] = d  # type: ignore[index]
                    waiting.append(target)  # type: ignore[arg-type]
        out = [arc for arc in arcs[state] if arc[0] != EPSILON]
        final = finals.get(state)
        for reached in sorted(set(distance) - {state}):
            for label, _, w, target in arcs[reached]:
                if label == EPSILON:
                    continue
                w = f32(distance[reached] + w)
                low, count = 0, len(out)
                while count:  # std::lower_bound
                    half = count // 2
                    other = out[low + half]
                    if other[0] < label or (other[0] == label and compare(other[2], w) < 0):
                        low += half + 1
                        count -= half + 1
                    else:
                        count = half
                if low < len(out) and (out[low][0], out[low][3]) == (label, target):
                    out[low] = (label, None, min(out[low][2], w), target)
                else:
                    out.insert(low, (label, None, w, target))
            if reached in finals:
                end = f32(distance[reached] + finals[reached])
                final = end if final is None else min(final, end)
        result.append(out)
        if final is not None:
            ends[state] = final
    return result, ends


def with_blanks(
    model: Model, arcs: list[list[Arc]], finals: dict[int, float]
) -> tuple[list[list[Arc]], dict[int, float]]:
    """Speech/AllophoneStateGraphBuilder: CTC and RNA."""
    assert model.blank is not None
    blank = model.blank[0] | model.blank[1] << 26
    emission = lambda label: model.label_of(label & 0x3FFFFFF, label >> 26)  # noqa: E731
    arcs = [list(out) for out in arcs]
    finals = dict(finals)
    common = None
    queue, done = [0], set()
    while queue:
        state: Any = queue.pop(0)
        if state in done:
            continue
        done.add(state)
        loops = [a[0] for a in arcs[state] if a[3] == state and a[0] != blank]
        queue += [a[3] for a in arcs[state]]
        if model.topology == "rna":
            if any(a[3] == state for a in arcs[state]):
                raise RefusedError("loop")
            arcs[state].append((blank, None, 0.0, state))
            continue
        if len(loops) > 1:
            raise RefusedError("two loops")
        for arc_index in range(len(arcs[state])):
            label, _, w, target = arcs[state][arc_index]
            if target == state or label == blank or w >= MAX:
                continue
            new = len(arcs)
            arcs.append([(blank, None, 0.0, new), (label, None, w, target)])
            if loops and emission(label) == emission(loops[0]):
                arcs[state][arc_index] = (blank, None, 0.0, new)
            else:
                arcs[state].append((blank, None, 0.0, new))
        if state in finals:
            if common is None:
                common = len(arcs)
                arcs.append([(blank, None, 0.0, common)])
                finals[common] = 0.0
            arcs[state].append((blank, None, 0.0, common))
    return arcs, finals


def exported(
    model: Model, arcs: list[list[Arc]], finals: dict[int, float]
) -> tuple[int, list[tuple[int, int, int, float]]]:
    """Nn/AllophoneStateFsaExporter: number of states, edges (from, to, label, weight)."""
    arcs = [sorted(out, key=lambda arc: (arc[0], arc[3])) for out in arcs]
    walk, ends = numbered(
        Machine(0, lambda s: arcs[s], finals.get)  # type: ignore[index, arg-type]
    )
    edges: list[Any] = []
    for state, out in enumerate(walk):
        for label, _, w, target in out:
            if w < MAX:
                emission = model.label_of(label & 0x3FFFFFF, label >> 26)
                edges.append((state, target, emission, w))
    if not edges:
        raise RefusedError("no edges")
    waiting = {state: 0 for state in range(len(walk))}
    for source, target, _, _ in edges:
        waiting[target] += source != target
    order: dict[int, int] = {}
    while free := [state for state, count in waiting.items() if not count]:
        order[free[0]] = len(order)
        del waiting[free[0]]
        for source, target, _, _ in edges:
            if source == free[0] != target:
                waiting[target] -= 1
    if waiting:
        raise RefusedError("cycle")
    edges = [(order[s], order[t], label, w) for s, t, label, w in edges]
    edges.sort(key=lambda e: (e[1] - e[0], e[1], e[0]))
    joined: list[Any] = []
    for edge in edges:
        if joined and joined[-1][:3] == edge[:3]:
            a, b = joined[-1][3], edge[3]
            total = f32(min(a, b) - LIBM.log1pf(LIBM.expf(-abs(f32(a - b)))))
            joined[-1] = (*edge[:3], total)
        else:
            joined.append(edge)
    num_states = len(walk)
    last = order[len(walk) - 1]
    ends = {order[s]: w for s, w in ends.items()}
    if ends != {last: 0.0}:
        joined += [
            (s, num_states, label, f32(w + ends[t])) for s, t, label, w in joined if t in ends
        ]
        num_states += 1
    return num_states, joined


def automaton(model: Model, text: str) -> tuple[int, list[tuple[int, int, int, float]]]:
    """Number of states and edges (from, to, label, weight) of an orthography.

    Raises:
        RefusedError: if there is no automaton, or a cyclic one.
    """
    flat = flat_machine(model, text)
    if model.topology == "rna":
        arcs, finals = numbered(flat)
    else:
        if not flat.arcs(flat.start):
            raise RefusedError("nothing to emit")
        arcs, finals = with_loops(model, flat)
    arcs, finals = without_epsilons(coaccessible(arcs, finals), finals)
    if model.topology != "hmm":
        arcs, finals = with_blanks(model, arcs, finals)
    return exported(model, arcs, finals)
