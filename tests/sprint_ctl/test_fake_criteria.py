"""The stand-in's automata against the real exporter, its criteria against derivatives and torch,
its configuration against the rules of RASR."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest

import sprint_ctl.fake_sprint
import sprintcache
from sprint_ctl.fake_sprint.application import CriticalError
from sprint_ctl.fake_sprint.automata import Automaton, character_automaton, ctc_automaton
from sprint_ctl.fake_sprint.criteria import CrossEntropy, FullSum, full_sum, log_softmax, softmax
from sprintcache._configuration import Configuration
from sprintcache.automata import AutomatonBuilder
from sprintcache.errors import ConfigurationError
from tests.paths import DATA

APPLICATION = "neural-network-trainer"
MODEL = [
    f"--*.allophone-file={DATA}/allophones",
    f"--*.lexicon.file={DATA}/corpus/lexicon.xml.gz",
    f"--config={DATA}/corpus/am.config",
]


# ---- automata


@pytest.mark.parametrize(
    ("orthography", "edges", "weights"),
    [
        ("ten fox posterior markov brown over states frames ", "a0", "a1"),
        ("and ten with ", "a3", "a4"),
        ("quick brown fox ", "a6", "a7"),
    ],
)
def test_automata_are_those_of_the_real_exporter(
    orthography: str, edges: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGFILE", "nil")
    monkeypatch.setenv("tying", "lookup")
    monkeypatch.setenv("tying-file", str(DATA / "state-tying" / "monophone"))
    config = Configuration.from_arguments(MODEL, APPLICATION)
    real = np.load(DATA / "transcripts" / "control-loop.npz")
    builder = AutomatonBuilder.from_configuration(config.select("alignment-fsa-exporter"))
    actual = builder.build([orthography])
    np.testing.assert_array_equal(actual.edges[:3], real[edges].reshape(3, -1))
    np.testing.assert_array_equal(actual.weights, real[weights])


def paths(automaton: Automaton, length: int) -> list[tuple[list[int], float]]:
    """Every path of so many edges into the final state: its emissions and its weight."""
    actual: list[tuple[list[int], float]] = []
    edges = list(zip(*automaton.edges.tolist(), automaton.weights.tolist(), strict=True))

    def walk(state: int, emissions: list[int], weight: float) -> None:
        if len(emissions) == length:
            if state == automaton.num_states - 1:
                actual.append((emissions, weight))
            return
        for source, target, emission, more in edges:
            if source == state:
                walk(target, [*emissions, emission], weight + more)

    walk(0, [], 0.0)
    return actual


def test_the_automaton_of_ctc_has_every_alignment_once() -> None:
    labels, blank = [0, 0, 1], 2
    for length in (3, 4, 5, 6):
        expected = []
        for sequence in itertools.product(range(3), repeat=length):
            collapsed = [key for key, _ in itertools.groupby(sequence)]
            if [label for label in collapsed if label != blank] == labels:
                expected.append(list(sequence))
        actual = [emissions for emissions, _ in paths(ctc_automaton(labels, blank), length)]
        assert sorted(actual) == sorted(expected)
    assert [path for path, _ in paths(ctc_automaton([], 0), 3)] == [[0, 0, 0]]


def test_the_automaton_of_characters_goes_from_left_to_right() -> None:
    actual = sorted(emissions for emissions, _ in paths(character_automaton([5, 2]), 3))
    assert actual == [[5, 2, 2], [5, 5, 2]]


# ---- criteria


def test_the_full_sum_is_the_sum_over_all_paths() -> None:
    generator = np.random.default_rng(1)
    scores = log_softmax(generator.standard_normal((4, 5)))
    plain = ctc_automaton([1, 1, 0], 3)
    weights = generator.standard_normal(len(plain.weights)).astype(np.float32)
    for automaton in (plain, Automaton(plain.num_states, plain.edges, weights)):
        by_class = np.zeros(scores.shape)
        for emissions, weight in paths(automaton, 5):
            p = np.exp(scores[emissions, range(5)].sum() - weight)
            by_class[emissions, range(5)] += p
        loss, gamma = full_sum(scores, automaton)
        assert loss == pytest.approx(-np.log(by_class.sum() / 5))
        np.testing.assert_allclose(gamma, by_class / (by_class.sum() / 5), atol=1e-12)


def test_no_path_discards_a_segment_and_extreme_scores_do_not() -> None:
    criterion = FullSum(lambda _text, blank: ctc_automaton([0, 1], blank - 1), None)
    assert not criterion.put(np.full((3, 1), -1.0), None, "ab")
    scores = np.full((3, 4), -5000.0)
    assert criterion.put(scores, None, "ab")
    assert criterion.loss == pytest.approx(20000.0 - np.log(15.0))


def put_ctc(logits: np.ndarray, labels: list[int]) -> FullSum:
    criterion = FullSum(lambda _text, classes: ctc_automaton(labels, classes - 1), True)
    assert criterion.put(log_softmax(logits), None, "")
    return criterion


@pytest.mark.parametrize("labels", [[], [0], [1, 1, 2], [0, 1, 2, 1]])
def test_error_signals_are_the_derivatives(labels: list[int]) -> None:
    """By the logits, against central differences."""
    generator = np.random.default_rng(2)
    logits = generator.standard_normal((5, 9))
    criterion = put_ctc(logits, labels)
    by_frames = np.zeros_like(logits)
    step = 1e-5
    for index in np.ndindex(logits.shape):
        moved = np.zeros_like(logits)
        moved[index] = step
        difference = put_ctc(logits + moved, labels).loss - put_ctc(logits - moved, labels).loss
        by_frames[index] = difference / (2 * step)
    np.testing.assert_allclose(criterion.error_signal(), by_frames, atol=1e-8)
    np.testing.assert_allclose(criterion.error_signal_before_softmax(), by_frames, atol=1e-8)
    # in the space of probabilities: by the posteriors, and by what is before the softmax
    plain = FullSum(lambda _text, classes: ctc_automaton(labels, classes - 1), False)
    assert plain.put(softmax(logits), None, "")
    np.testing.assert_allclose(plain.error_signal_before_softmax(), by_frames, atol=1e-8)
    targets = plain.pseudo_targets()
    np.testing.assert_allclose(plain.error_signal() * softmax(logits), -targets, atol=1e-12)
    np.testing.assert_allclose(targets.sum(axis=0), 1, atol=1e-12)


def test_ctc_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    logits = np.random.default_rng(3).standard_normal((30, 60))
    labels = [4, 4, 7, 28, 0, 1, 1, 1, 12]
    scores = torch.tensor(logits.T[:, None], requires_grad=True)
    loss = torch.nn.functional.ctc_loss(
        scores.log_softmax(-1), torch.tensor([labels]), [60], [9], blank=29, reduction="sum"
    )
    loss.backward()
    criterion = put_ctc(logits, labels)
    assert criterion.loss == pytest.approx(float(loss.detach()))
    np.testing.assert_allclose(criterion.error_signal(), scores.grad[:, 0].numpy().T, atol=1e-9)


def test_cross_entropy_by_hand() -> None:
    criterion = CrossEntropy()
    posteriors = np.array([[0.5, 0.25], [0.5, 0.75]])
    assert criterion.put(posteriors, np.array([0, 1]))
    assert criterion.loss == pytest.approx(-np.log(0.5 * 0.75))
    expected = [[-0.5, 0.25], [0.5, -0.25]]
    np.testing.assert_allclose(criterion.error_signal_before_softmax(), expected)
    for labels in (None, np.array([0]), np.array([0, 2])):
        with pytest.raises(CriticalError):
            criterion.put(posteriors, labels)
    with pytest.raises(CriticalError):
        criterion.error_signal()


# ---- configuration


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--*.file=a"], "a"),
        (["--*.file=a", "--*.corpus.file=b"], "b"),
        (["--*.corpus.file=b", "--*.file=a"], "b"),
        (["--*.corpus.*.file=b", "--*.file=a"], "b"),  # a star may match nothing
        (["--corpus.file=b"], "b"),
        (["--.neural-network-trainer.corpus.file=b"], "b"),
        (["--*.file=a", "--*.file=b"], "b"),
        (["--*.file", "a"], "a"),
        (["--*.file", "--*.x=a"], "true"),
        (["--*.file=$(x)/$(y)", "--*.x=1", "--*.y=2"], "1/2"),
        (["--*.file=$(x)", "--*.x=1", "--*.corpus.x=2"], "2"),  # from the inside outwards
        (["--*.file='a b'"], "a b"),
        (["--*.other.file=a"], None),
        (["--other.file=a"], None),
        (["--*.corpus=a"], None),
    ],
)
def test_the_most_specific_resource_wins(arguments: list[str], value: str | None) -> None:
    config = Configuration.from_arguments(arguments, APPLICATION)
    assert config.select("corpus").get("file") == value


def test_configuration_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more").write_text("inner = $(outer)x # said outside\n[a.*]\nname = 'a # b'\n")
    (tmp_path / "config").write_text(
        "# comment\n\nouter = 1\n[*.corpus]\nfile = f ; comment\nflag\ninclude more\nfile=g\n[x]\n"
    )
    config = Configuration.from_arguments(
        ["--*.corpus.file=h", f"--config={tmp_path}/config"], APPLICATION
    )
    corpus = config.select("corpus")
    assert corpus.get("file") == "h"  # the command line wins
    assert corpus.get("inner") == "1x"
    assert corpus.boolean("flag", False)
    assert Configuration(config._resources, "a.b").get("name") == "a # b"
    assert capfd.readouterr().err == ""
    for name, kind in (("file", corpus.integer), ("inner", corpus.real)):
        with pytest.raises(ConfigurationError, match=name):
            kind(name, 0)
    with pytest.raises(ConfigurationError, match="not one of x, y"):
        corpus.choice("file", "x", ("x", "y"))


def test_the_stand_in_runs_on_python_3_8() -> None:
    """So that what Sprint embeds can be tried on an old interpreter."""
    (folder,) = sprint_ctl.fake_sprint.__path__
    configuration = Path(sprintcache.__path__[0], "_configuration.py")
    for path in [*Path(folder).glob("*.py"), configuration]:
        ast.parse(path.read_text("utf-8"), str(path), feature_version=(3, 8))
