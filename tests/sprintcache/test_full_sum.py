"""full_sum against enumeration of all paths, the log domain in numpy, and real automata."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprintcache import AutomatonError
from sprintcache.automata import Automata
from sprintcache.automata.full_sum import compute
from tests.oracle.full_sum import FORBIDDEN, Sums, enumerate_paths, log_domain
from tests.paths import DATA

REAL = [
    DATA / "automata" / f"{name}.npz"
    for name in ("hmm", "ctc-units", "rna-once", "skips", "variants", "zero-weight")
]


def real_automata(path: Path, max_edges: int = 600) -> Automata:
    """What Sprint exported, without its cyclic and its longest automata."""
    with np.load(path) as arrays:
        automata = Automata.from_edges(
            arrays["edges"], arrays["weights"], arrays["start_end"], tags=list(arrays["tags"])
        )
        cyclic = arrays["cyclic"]
    sizes = np.diff(automata.edge_offsets)
    return automata[[i for i in range(len(automata)) if not cyclic[i] and sizes[i] <= max_edges]]


def log_probs_of(seed: int, *shape: int, spread: float = 3.0) -> np.ndarray:
    scores = np.random.default_rng(seed).normal(size=shape) * spread
    return np.asarray(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))


def parts(automata: Automata) -> list[tuple[Any, ...]]:
    """(edges, weights, start, end) of each sequence, states from 0."""
    result = []
    for sequence in automata:
        start, end = sequence.start_end[:, 0].tolist()
        result.append((sequence.edges.astype(np.int64), sequence.weights, start, end))
    return result


def expected(
    automata: Automata, log_probs: np.ndarray, lengths: Any, **scales: float
) -> list[Sums]:
    return [
        log_domain(*part, log_probs[: lengths[i], i].astype(np.float64), **scales)
        for i, part in enumerate(parts(automata))
    ]


def compare(automata: Automata, log_probs: np.ndarray, lengths: Any, sums: list[Sums]) -> Any:
    """All results of all sequences, whatever scales were used for `sums`."""
    result = automata.full_sum(log_probs, lengths, 2, edge_counts=True, best_score=True)
    offsets = automata.edge_offsets
    for i, one in enumerate(sums):
        assert result.loss[i] == pytest.approx(one.loss, rel=1e-12, abs=1e-9)
        assert result.best_score[i] == pytest.approx(one.best_score, rel=1e-12, abs=1e-9)
        counts = result.edge_counts[offsets[i] : offsets[i + 1]]
        np.testing.assert_allclose(counts, one.edge_counts, rtol=1e-9, atol=1e-9)
        actual = result.posteriors[: lengths[i], i]
        np.testing.assert_allclose(actual, one.posteriors, rtol=1e-6, atol=1e-9)
        assert not result.posteriors[lengths[i] :, i].any()
    return result


# ---- automata drawn by chance ----------------------------------------------------------------

scores = st.one_of(st.floats(-4, 1), st.just(-np.inf), st.floats(-2000, 0), st.floats(-1e5, 0))
weights = st.one_of(st.floats(-2, 4, width=32), st.sampled_from([np.inf, FORBIDDEN, 500.0]))


@st.composite
def problems(draw: st.DrawFn) -> tuple[Any, ...]:
    num_states, num_labels = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    states, labels = st.integers(0, num_states - 1), st.integers(0, num_labels - 1)
    edges = draw(st.lists(st.tuples(states, states, labels, weights), max_size=5))
    num_frames = draw(st.integers(0, 5))
    frames = draw(
        st.lists(st.lists(scores, min_size=num_labels, max_size=num_labels),
                 min_size=num_frames, max_size=num_frames)
    )  # fmt: skip
    log_probs = np.array(frames, np.float64).reshape(num_frames, num_labels)
    arrays = np.array([edge[:3] for edge in edges], np.int64).reshape(-1, 3).T
    costs = np.array([edge[3] for edge in edges], np.float32)
    scales = draw(st.sampled_from([(1.0, 1.0), (0.3, 2.0), (0.0, 1.0), (1.0, 0.0)]))
    return arrays, costs, draw(states), draw(states), log_probs, *scales


@given(st.lists(problems(), min_size=1, max_size=3), st.sampled_from([0, 7]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_all_paths_of_tiny_automata(
    drawn: list[tuple[Any, ...]], chunk: int, in_log_domain: bool
) -> None:
    """Any order of edges, cycles, loops, parallel edges, unreachable and dead states."""
    scales = drawn[0][5:]
    sums = [enumerate_paths(*problem[:5], *scales) for problem in drawn]
    lengths = [len(problem[4]) for problem in drawn]
    num_labels = max(problem[4].shape[1] for problem in drawn)
    log_probs = np.zeros((max(lengths), len(drawn), num_labels))
    edges, start_end, first = [], [], 0
    for i, (arrays, _, start, end, frames, *_) in enumerate(drawn):
        log_probs[: len(frames), i, : frames.shape[1]] = frames
        edges.append(np.vstack([arrays[:2] + first, arrays[2:], np.full((1, arrays.shape[1]), i)]))
        start_end.append((start + first, end + first))
        first += 4
    automata = Automata.from_edges(
        np.concatenate(edges, axis=1),
        np.concatenate([problem[1] for problem in drawn]),
        np.array(start_end).T,
    )
    posteriors = np.zeros(log_probs.shape)
    counts = np.zeros(automata.num_edges)
    loss, best, _ = compute(
        automata,
        automata.edges[2],
        log_probs,
        lengths,
        label_scale=scales[0],
        transition_scale=scales[1],
        on_no_path="inf",
        posteriors=posteriors,
        edge_counts=counts,
        best_score=True,
        num_threads=1,
        log_domain=in_log_domain,
        chunk=chunk,
    )
    offsets = automata.edge_offsets
    for i, one in enumerate(sums):
        assert loss[i] == pytest.approx(one.loss, rel=1e-12, abs=1e-12)
        assert best[i] == pytest.approx(one.best_score, rel=1e-12, abs=1e-12)
        actual = posteriors[: lengths[i], i, : one.posteriors.shape[1]]
        np.testing.assert_allclose(actual, one.posteriors, rtol=1e-9, atol=1e-11)
        actual = counts[offsets[i] : offsets[i + 1]]
        np.testing.assert_allclose(actual, one.edge_counts, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seed", range(20))
def test_random_automata_of_some_size(seed: int) -> None:
    """Sparse state numbers and states with many labels; sizes that enumeration cannot reach."""
    rng = np.random.default_rng(seed)
    num_states, num_labels, num_edges = 30, int(rng.integers(1, 40)), int(rng.integers(40, 200))
    numbers = np.sort(rng.choice(1 << 31, num_states, replace=False)) if seed % 2 else None
    edges = rng.integers(0, [[num_states], [num_states], [num_labels], [1]], (4, num_edges))
    costs = rng.exponential(2, num_edges).astype(np.float32)
    costs[rng.random(num_edges) < 0.05] = np.inf
    log_probs = log_probs_of(seed, 60, 1, num_labels, spread=10)
    sums = log_domain(edges, costs, 3, 17, log_probs[:, 0])
    if numbers is not None:
        edges[:2] = numbers[edges[:2]]
    start_end = np.array([[3], [17]]) if numbers is None else numbers[[[3], [17]]]
    automata = Automata.from_edges(edges, costs, start_end)
    compare(automata, log_probs, [60], [sums])


# ---- real automata ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_automata(path: Path) -> None:
    automata = real_automata(path)
    lengths = np.random.default_rng(1).integers(20, 150, len(automata))
    log_probs = log_probs_of(2, 150, len(automata), automata.num_labels + 2).astype(np.float32)
    sums = expected(automata, log_probs, lengths)
    assert 0 < sum(np.isinf(one.loss) for one in sums) < len(automata) or path.stem != "hmm"
    result = compare(automata, log_probs, lengths, sums)
    assert not result.in_log_domain[np.isfinite(result.loss)].any()


def test_the_loss_of_a_thousand_frames_is_exact() -> None:
    automata = real_automata(DATA / "automata" / "hmm.npz")[-4:]
    log_probs = log_probs_of(3, 1000, 4, 79).astype(np.float32)
    sums = expected(automata, log_probs, [1000] * 4)
    loss = automata.full_sum(log_probs, [1000] * 4).loss
    np.testing.assert_allclose(loss, [one.loss for one in sums], rtol=1e-13)


def test_twenty_thousand_frames_that_underflow() -> None:
    """Scores that agree with no path leave the range of scaled probabilities."""
    chain = [(s, s, s) for s in range(6)] + [(s, s + 1, s + 1) for s in range(5)]
    edges = np.array([(*edge, 0) for edge in chain]).T
    weights = np.full(len(chain), 0.7, np.float32)
    automata = Automata.from_edges(edges, weights, [[0], [5]])
    num_frames = 20_000
    log_probs = log_probs_of(4, num_frames, 1, 6, spread=0.3)
    smooth = log_domain(edges, weights, 0, 5, log_probs[:, 0])
    result = automata.full_sum(log_probs, [num_frames])
    assert not result.in_log_domain[0]
    assert result.loss[0] == pytest.approx(smooth.loss, rel=1e-12)
    # the first half says state 5, the second half says state 0: no path has both
    log_probs[: num_frames // 2, 0, :5] -= 50
    log_probs[num_frames // 2 :, 0, 1:] -= 50
    contrary = log_domain(edges, weights, 0, 5, log_probs[:, 0])
    result = automata.full_sum(log_probs, [num_frames], edge_counts=True)
    assert result.in_log_domain[0]
    assert result.loss[0] == pytest.approx(contrary.loss, rel=1e-12)
    np.testing.assert_allclose(result.posteriors[:, 0], contrary.posteriors, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.edge_counts, contrary.edge_counts, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("alone", range(6))
def test_the_scale_follows_any_state(alone: int) -> None:
    """For 2,000 frames one state alone has a path: the scale must be that of its value."""
    chain = [(s, s, s) for s in range(6)] + [(s, s + 1, s + 1) for s in range(5)]
    edges = np.array([(*edge, 0) for edge in chain]).T
    weights = np.full(len(chain), 0.7, np.float32)
    automata = Automata.from_edges(edges, weights, [[0], [5]])
    log_probs = np.full((2000, 1, 6), -900.0)
    log_probs[:, 0, alone] = -1
    for state in range(6):  # the way there and the way to the end
        log_probs[state if state < alone else state - 6, 0, state] = -1
    result = automata.full_sum(log_probs, [2000])
    assert not result.in_log_domain[0]
    expected = log_domain(edges, weights, 0, 5, log_probs[:, 0])
    assert result.loss[0] == pytest.approx(expected.loss, rel=1e-12)


def test_memory_in_chunks_gives_the_same_bits() -> None:
    automata = real_automata(DATA / "automata" / "variants.npz")
    log_probs = log_probs_of(5, 200, len(automata), automata.num_labels)
    results = []
    for chunk in (0, 1, 2000):  # all frames, one, several
        posteriors, counts = np.zeros(log_probs.shape), np.zeros(automata.num_edges)
        loss, _, _ = compute(
            automata,
            automata.edges[2],
            log_probs,
            [200] * len(automata),
            label_scale=1.0,
            transition_scale=1.0,
            on_no_path="inf",
            posteriors=posteriors,
            edge_counts=counts,
            num_threads=1,
            chunk=chunk,
        )
        results.append((loss.tobytes(), posteriors.tobytes(), counts.tobytes()))
    assert results[0] == results[1] == results[2]


def test_results_do_not_depend_on_threads_and_layout() -> None:
    automata = real_automata(DATA / "automata" / "hmm.npz")
    lengths = [150] * len(automata)
    log_probs = log_probs_of(6, 150, len(automata), 80).astype(np.float32)
    one = automata.full_sum(log_probs, lengths)
    for threads in (2, 3, 100):
        more = automata.full_sum(log_probs, lengths, threads)
        assert more.loss.tobytes() == one.loss.tobytes()
        assert more.posteriors.tobytes() == one.posteriors.tobytes()
    strided = np.zeros((len(automata), 150, 160), np.float32)[:, :, ::2]
    strided[:] = log_probs.swapaxes(0, 1)
    turned = automata.full_sum(strided, lengths, batch_first=True)
    assert turned.loss.tobytes() == one.loss.tobytes()
    np.testing.assert_array_equal(turned.posteriors, one.posteriors.swapaxes(0, 1))
    half = automata.full_sum(log_probs.astype(np.float16), lengths)
    np.testing.assert_allclose(half.loss, one.loss, rtol=1e-3)


def test_the_gil_is_released() -> None:
    automata = Automata.concatenate([real_automata(DATA / "automata" / "hmm.npz")] * 20)
    log_probs = log_probs_of(7, 200, len(automata), 76).astype(np.float32)
    worker = threading.Thread(target=automata.full_sum, args=(log_probs, [200] * len(automata)))
    worker.start()
    steps = 0
    while worker.is_alive():
        steps += 1
    worker.join(60)
    assert steps > 10


# ---- sequences without a path, malformed input -----------------------------------------------

CHAIN = Automata.from_edges(
    [[0, 1], [1, 2], [0, 1], [0, 0]], [0.0, 0.0], [[0], [2]], tags=["corpus/one"]
)


@pytest.mark.parametrize("num_frames", [0, 1, 3])
def test_no_path_of_the_length(num_frames: int) -> None:
    log_probs = log_probs_of(8, 3, 1, 2)
    result = CHAIN.full_sum(log_probs, [num_frames], edge_counts=True, best_score=True)
    assert result.loss.tolist() == result.best_score.tolist() == [np.inf]
    assert not result.posteriors.any()
    assert not result.edge_counts.any()
    with pytest.raises(AutomatonError, match=rf"'corpus/one'.*no path of its {num_frames} frames"):
        CHAIN.full_sum(log_probs, [num_frames], on_no_path="raise")


def test_no_frames_and_no_edges() -> None:
    empty = Automata.from_edges(np.zeros((4, 0), int), [], [[5], [5]])
    assert empty.full_sum(np.zeros((2, 1, 0)), [0]).loss.tolist() == [0]
    assert empty.full_sum(np.zeros((2, 1, 0)), [2]).loss.tolist() == [np.inf]
    assert CHAIN[:0].full_sum(np.zeros((2, 0, 2)), np.zeros(0, int)).loss.shape == (0,)


def test_impossible_labels() -> None:
    log_probs = np.zeros((2, 1, 2))
    log_probs[0, 0, 0] = -np.inf
    assert CHAIN.full_sum(log_probs, [2]).loss.tolist() == [np.inf]
    log_probs[0, 0] = [0, -np.inf]
    assert CHAIN.full_sum(log_probs, [2]).loss.tolist() == [0]


@pytest.mark.parametrize(
    ("log_probs", "lengths", "options", "error", "message"),
    [
        (np.zeros((2, 1, 1)), [2], {}, AutomatonError, "'corpus/one'.*edge 1 .*below 1, found 1"),
        (np.full((2, 1, 2), np.nan), [2], {}, AutomatonError, "frame 0 of label 0.*found nan"),
        (np.full((2, 1, 2), np.inf), [2], {}, AutomatonError, "frame 0 of label 0.*found inf"),
        (np.zeros((2, 1, 2)), [3], {}, ValueError, "sequence 0 must be 0 to 2, not 3"),
        (np.zeros((2, 1, 2)), [-1], {}, ValueError, "sequence 0 must be 0 to 2, not -1"),
        (np.zeros((2, 1, 2)), [2, 2], {}, ValueError, r"shape \(1,\)"),
        (np.zeros((2, 1, 2)), [2.0], {}, TypeError, "lengths must be integers"),
        (np.zeros((2, 2, 2)), [2, 2], {}, ValueError, "1 automata, but 2 sequences"),
        (np.zeros((2, 1)), [2], {}, ValueError, "3 axes"),
        (np.zeros((2, 1, 2), int), [2], {}, TypeError, "floating numbers"),
        (np.zeros((2, 1, 2)), [2], {"label_scale": -1}, ValueError, "label_scale"),
        (np.zeros((2, 1, 2)), [2], {"transition_scale": np.nan}, ValueError, "transition_scale"),
        (np.zeros((2, 1, 2)), [2], {"on_no_path": "skip"}, ValueError, "on_no_path"),
        (np.zeros((2, 1, 2)), [2], {"num_threads": 0}, ValueError, "num_threads"),
    ],
)  # fmt: skip
def test_malformed_input(
    log_probs: np.ndarray,
    lengths: Any,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        CHAIN.full_sum(log_probs, lengths, **options)


@pytest.mark.parametrize(
    ("num_labels", "message"),
    [(2**31 - 1, "on_no_path"), (2**31, "2147483648 labels do not fit into 32 bits")],
)
def test_labels_beyond_32_bits(num_labels: int, message: str) -> None:
    """With another mistake, which is found next: so many labels take 16 GB."""
    with pytest.raises(ValueError, match=message):
        CHAIN.full_sum(np.zeros((0, 1, num_labels)), [0], on_no_path="skip")


def test_frames_beyond_the_length_and_other_labels_are_not_read() -> None:
    log_probs = np.full((4, 1, 3), np.nan)
    log_probs[:2, :, :2] = np.log(0.5)
    assert CHAIN.full_sum(log_probs, [2]).loss[0] == pytest.approx(2 * np.log(2))


def test_arrays_that_no_constructor_checked() -> None:
    """The compiled code checks what it reads: states, offsets and labels out of range."""
    wild = Automata(
        np.array([[0, 9], [9, 2], [0, 1], [0, 7]], np.uint32),
        np.array([0, np.nan], np.float32),
        np.array([[0], [2]], np.uint32),
    )
    with pytest.raises(ValueError, match="offsets do not cover"):
        wild.full_sum(np.zeros((2, 1, 2)), [2])
    wild.edges[3] = 0
    wild._offsets = None
    with pytest.raises(AutomatonError, match="edge 1 has no valid weight"):
        wild.full_sum(np.zeros((2, 1, 2)), [2])
    wild.weights[1] = 0
    assert wild.full_sum(np.zeros((2, 1, 2)), [2]).loss.tolist() == [0]


def test_edges_that_lead_nowhere_do_not_count() -> None:
    """One of a probability that is too large for any other to have a value next to it."""
    edges = np.array([(0, 1, 0, 0), (1, 2, 1, 0), (1, 3, 0, 0)]).T
    automata = Automata.from_edges(edges, np.array([0, 0, -2000.0]), np.array([[0], [2]]))
    result = automata.full_sum(np.full((2, 1, 2), -1.0, np.float32), np.array([2]))
    assert result.loss.tolist() == [2.0]
    assert result.in_log_domain.tolist() == [False]
