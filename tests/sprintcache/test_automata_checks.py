"""check, and automata as text: against real automata and readers written here."""

from __future__ import annotations

import numpy as np
import pytest

from sprintcache.automata import Automata
from sprintcache.automata.export import dot_text, k2_text, openfst_text, symbol_table
from tests.oracle.full_sum import log_domain
from tests.paths import DATA
from tests.sprintcache.test_automata_files import corpus

LOOP, STEP = (0, 0, 0), (0, 1, 0)


def automaton(
    edges: list[tuple[int, ...]], end: int, weights: list[float] | None = None
) -> Automata:
    rows = np.array([(*edge, 0) for edge in edges], np.int64).reshape(-1, 4).T
    return Automata.from_edges(rows, weights or [0.0] * len(edges), [[0], [end]], tags=["x"])


def kinds(automata: Automata, **options: object) -> list[str]:
    return [finding.kind for finding in automata.check(**options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edges", "end", "weights", "expected"),
    [
        ([LOOP, STEP], 1, None, []),
        ([], 0, None, ["no edges"]),
        ([LOOP], 1, None, ["no path"]),
        ([LOOP, STEP, (2, 1, 0)], 1, None, ["unreachable states"]),
        ([LOOP, STEP, (0, 2, 0)], 1, None, ["dead states"]),
        ([STEP, (1, 2, 0), (2, 1, 0), (2, 3, 0)], 3, None, ["cycle"]),
        ([STEP, (1, 1, 0), (1, 1, 1)], 1, None, ["loops with several labels"]),
        ([STEP, STEP], 1, None, ["parallel edges"]),
        ([LOOP, STEP], 1, [-0.5, 0.0], ["negative weights"]),
        ([LOOP, STEP], 1, [0.5, 2.0], []),
        ([STEP, STEP], 1, [0.0, np.inf], ["forbidden edges"]),
        (
            [STEP, (1, 1, 0), (0, 2, 0), (1, 2, 0)],
            2,
            [0.5, 1.0, 3.5, 4.0],
            ["exit penalty"],
        ),
    ],
)
def test_findings(
    edges: list[tuple[int, ...]], end: int, weights: list[float] | None, expected: list[str]
) -> None:
    findings = automaton(edges, end, weights).check()
    assert [finding.kind for finding in findings] == expected
    errors = {"no edges", "no path", "cycle", "loops with several labels"}
    assert all(finding.is_error == (finding.kind in errors) for finding in findings)


def test_too_short_and_doubled_silence() -> None:
    chain = automaton([STEP, (1, 2, 1)], 2)
    assert kinds(chain, lengths=[2]) == []
    (finding,) = chain.check(lengths=[1])
    assert str(finding) == "'x': too short: the shortest path has 2 frames, the segment has 1"
    assert finding.is_error
    silence = automaton([(0, 1, 9), (1, 1, 9), (1, 2, 9), (2, 2, 9), (2, 3, 1)], 3)
    assert kinds(silence) == []
    assert kinds(silence, silence=9) == ["doubled silence"]
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        chain.check(lengths=[1, 2])


@pytest.mark.parametrize(
    "name", ["hmm", "ctc-units", "rna-once", "noise-optional", "sil-context", "zero-weight"]
)
def test_real_automata(name: str) -> None:
    """What Sprint exports with collapsed cycles, and what has no path, are the errors."""
    automata = corpus(name)
    with np.load(DATA / "automata" / f"{name}.npz") as arrays:
        cyclic = set(np.flatnonzero(arrays["cyclic"]).tolist())
    findings = automata.check()
    wrong = {finding.sequence for finding in findings if finding.is_error}
    without_path = {finding.sequence for finding in findings if finding.kind == "no path"}
    assert wrong - without_path == cyclic
    actual = {finding.kind for finding in findings if not finding.is_error}
    expected = {
        "hmm": {"negative weights", "exit penalty", "doubled silence"},
        "ctc-units": set(),
        "rna-once": set(),
        "sil-context": {"negative weights"},
        "noise-optional": {"doubled silence", "parallel edges", "exit penalty", "negative weights"},
        "zero-weight": {"unreachable states", "dead states"},
    }
    assert actual >= expected[name]
    losses = automata.full_sum(
        np.zeros((500, len(automata), automata.num_labels)), [500] * len(automata)
    ).loss
    assert set(np.flatnonzero(np.isinf(losses)).tolist()) == without_path


# ---- text for other tools --------------------------------------------------------------------


def loss_of_text(text: str, sign: float, log_probs: np.ndarray, has_final_edge: bool) -> float:
    """A reader of the two text formats: the first state starts, the line of one number ends."""
    lines = [line.split() for line in text.splitlines()]
    (final,) = (int(words[0]) for words in lines if len(words) == 1)
    edges = [words for words in lines if len(words) == 4]
    if has_final_edge:
        (last,) = (words for words in edges if words[2] == "-1")
        assert int(last[1]) == final == max(int(w) for words in edges for w in words[:2])
        edges = [words for words in edges if words[2] != "-1"]
        final = int(last[0])
    rows = np.array([[int(word) for word in words[:3]] for words in edges]).T
    rows[2] -= 1
    weights = [sign * float(words[3]) for words in edges]
    return log_domain(rows, weights, int(edges[0][0]), final, log_probs).loss


@pytest.mark.parametrize("tag", ["dev/single/1", "dev/onephone/1", "dev/samephone/1"])
def test_openfst_and_k2_text_mean_the_same(tag: str) -> None:
    automata = corpus()
    log_probs = np.random.default_rng(1).normal(size=(70, 1, 80))
    loss = automata[tag].full_sum(log_probs, [70]).loss[0]
    text = openfst_text(automata, tag)
    assert loss_of_text(text, 1, log_probs[:, 0], False) == pytest.approx(loss, rel=1e-6)
    text = k2_text(automata, tag)
    assert loss_of_text(text, -1, log_probs[:, 0], True) == pytest.approx(loss, rel=1e-6)
    sources = [int(line.split()[0]) for line in text.splitlines()]
    assert sources == sorted(sources)


def test_dot_and_symbols() -> None:
    chain = automaton([LOOP, STEP, STEP], 1, [0.5, 0.0, np.inf])
    text = dot_text(chain, symbols=['a"b'])
    assert text.count("->") == 2
    assert '0 -> 0 [label = "a\\"b / 0.5"];' in text
    assert '0 -> 1 [label = "a\\"b"];' in text
    assert "a{#+#}@i@f.0" in dot_text(corpus(), "dev/onephone/1")
    assert symbol_table(["a", "b"]) == "<eps>\t0\na\t1\nb\t2\n"
    with pytest.raises(ValueError, match="without white space"):
        symbol_table(["a b"])
