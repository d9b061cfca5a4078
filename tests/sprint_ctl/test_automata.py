"""Automata from the pool, from LibRASR's return layout, and from the tuples of i6_models."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from sprint_ctl.automata import LibrasrAutomata, PoolAutomata, from_librasr, from_weighted_fsa
from sprint_ctl.error_signals import SprintInstancePool
from sprintcache import AutomatonError
from sprintcache.automata import Automata
from tests.paths import DATA

SPRINT_OPTS = {
    "sprintExecPath": [sys.executable, "-m", "sprint_ctl.fake_sprint"],
    "sprintConfigStr": [
        "--*.action=python-control",
        f"--*.corpus.file={DATA}/corpus/corpus.xml.gz",
        f"--*.lexicon.file={DATA}/corpus/lexicon.xml.gz",
        f"--*.allophones.add-from-file={DATA}/allophones",
        "--*.state-tying.type=lookup",
        f"--*.state-tying.file={DATA}/state-tying/monophone",
        "--*.hmm.states-per-phone=3",
        "--*.tdp.*.loop=3.0",
        "--*.tdp.*.skip=infinity",
        "--*.log.channel=nil",
    ],
    "numInstances": 1,
    "start_timeout": 60.0,
    "request_timeout": 60.0,
}
TAGS = ["espeak/rec000/1", "espeak/rec001/1", "espeak/rec002/1"]


def sprint_automata() -> Automata:
    """What the real Sprint exported."""
    with np.load(DATA / "automata" / "hmm.npz") as arrays:
        return Automata.from_edges(
            arrays["edges"], arrays["weights"], arrays["start_end"], tags=list(arrays["tags"])
        )


def assert_equal(actual: Automata, expected: Automata) -> None:
    np.testing.assert_array_equal(actual.edges, expected.edges)
    np.testing.assert_array_equal(actual.weights, expected.weights)
    np.testing.assert_array_equal(actual.start_end, expected.start_end)
    assert actual.tags == expected.tags


# ---- LibRASR: a stand-in with its names and its return layout ----------------------------------


class Configuration:
    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set_from_file(self, path: str) -> None:
        self.values["file"] = path

    def set(self, name: str, value: str) -> None:
        self.values[name] = value


class AllophoneStateFsaBuilder:
    built: list[AllophoneStateFsaBuilder] = []  # noqa: RUF012

    def __init__(self, config: Configuration) -> None:
        self.config = config
        self.orthographies: list[str] = []
        AllophoneStateFsaBuilder.built.append(self)

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'librasr.AllophoneStateFsaBuilder' object")

    def build_by_segment_name(self, name: str) -> tuple[int, int, Any, Any]:
        automata = sprint_automata()
        if name not in (automata.tags or ()):
            raise ValueError(f"Could not find segment with name {name}")
        return self._result(automata[name])

    def build_by_orthography(self, text: str) -> tuple[int, int, Any, Any]:
        self.orthographies.append(text)
        assert not text or (text.endswith(" ") and "  " not in text), "the process would abort"
        return self._result(sprint_automata()[0])

    @staticmethod
    def _result(automata: Automata) -> tuple[int, int, Any, Any]:
        flat = np.concatenate(list(automata.edges[:3])).astype(np.uint32)  # 1-D, 3 E
        num_states = int(automata.start_end[1, 0]) + 1
        return num_states, automata.num_edges, flat, automata.weights.astype(np.float32)


@pytest.fixture
def librasr(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("librasr")
    module.Configuration = Configuration  # type: ignore[attr-defined]
    module.AllophoneStateFsaBuilder = AllophoneStateFsaBuilder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "librasr", module)
    monkeypatch.setattr(AllophoneStateFsaBuilder, "built", [])
    return module


def test_librasr_by_segment_name(librasr: Any) -> None:
    expected = sprint_automata()
    tags = list(expected.tags or ())
    source = LibrasrAutomata("am.config", {"*.scale": "0.5"})
    assert_equal(source(tags), expected)
    assert_equal(source([tags[4], tags[1]]), expected[[4, 1]])
    (builder,) = AllophoneStateFsaBuilder.built
    assert builder.config.values == {"file": "am.config", "*.scale": "0.5"}
    with pytest.raises(AutomatonError, match=r"'nobody/1'.*Could not find segment"):
        source(["nobody/1"])


def test_librasr_by_orthography(librasr: Any) -> None:
    source = LibrasrAutomata("am.config")
    automata = source.build([" two  words", "", "x"], tags=["a", "b", "c"])
    assert AllophoneStateFsaBuilder.built[0].orthographies == ["two words ", "", "x "]
    assert (len(automata), automata.tags) == (3, ("a", "b", "c"))


def test_librasr_is_made_again_after_pickling(librasr: Any) -> None:
    source = LibrasrAutomata("am.config")
    tags = list(sprint_automata().tags or ())[:2]
    first = source(tags)
    assert_equal(pickle.loads(pickle.dumps(source))(tags), first)
    assert len(AllophoneStateFsaBuilder.built) == 2


def test_librasr_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librasr", None)
    with pytest.raises(ImportError, match=r"LibRASR is missing|librasr"):
        LibrasrAutomata("am.config")(["a"])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((2, 2, [0, 1, 0], [0.0]), r"2 edges with arrays of shape \(3,\) and \(1,\)"),
        ((1, 1, [0, 1, 0], [0.0]), "states below 1.*to state 1 in edge 0"),
        ((2, 1, [0, -1, 0], [0.0]), "to state -1 in edge 0"),
        ((2, 1, [0, 1, -1], [0.0]), "emission -1 in edge 0"),
        ((2, 1, [0, 1, 0], [np.nan]), "nan in edge 0"),
        ((2, 1, [0, 1, 0], [np.inf]), "a path from state 0 to the final state 1"),
        ((3, 1, [0, 1, 0], [0.0]), "a path from state 0 to the final state 2"),
        ((0, 0, [], []), "found 0 states"),
        ((2, 1, [0, 1.5, 0], [0.0]), "arrays of float64"),
        ((2, 2, [[0, 1, 0], [0, 1, 0]], [0.0, 0.0]), r"shape \(2, 3\)"),
        (None, "a reply of 1 values"),
    ],
)
def test_malformed_results(result: Any, message: str) -> None:
    good = (2, 1, [0, 1, 0], [0.0])
    with pytest.raises(AutomatonError, match=f"'s/1'.*sequence 1.*{message}"):
        from_librasr([good, result], ["s/0", "s/1"])
    for same in (good, (2, 1, [[0], [1], [0]], [0.0])):
        assert from_librasr([same]).edges.tolist() == [[0], [1], [0], [0]]
    assert len(from_librasr([])) == 0


# ---- i6_models ---------------------------------------------------------------------------------


class WeightedFsa(NamedTuple):
    num_states: Any
    edges: Any
    weights: Any
    start_end_states: Any


def test_tuples_of_i6_models() -> None:
    expected = sprint_automata()
    total = int(expected.start_end[1, -1]) + 1
    fsa = WeightedFsa(total, expected.edges.astype(np.int32), expected.weights, expected.start_end)
    assert_equal(from_weighted_fsa(fsa, expected.tags), expected)
    per_sequence = np.diff(expected.start_end, axis=0)[0] + 1
    counts = np.diff(expected.edge_offsets)
    second = (per_sequence, counts, expected.edges[:3], expected.weights, expected.start_end)
    assert_equal(from_weighted_fsa(second, expected.tags), expected)
    with pytest.raises(ValueError, match="4 or 5 fields, not 3"):
        from_weighted_fsa(fsa[:3])


def test_tensors_of_i6_models() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")
    from sprintcache.torch import AutomataTensors

    expected = sprint_automata()
    tensors = AutomataTensors.from_automata(expected)
    assert tensors.edges.dtype == torch.int32
    assert int(tensors.num_states) == int(expected.start_end[1, -1]) + 1
    assert_equal(from_weighted_fsa(tensors.to("cpu"), expected.tags), expected)
    assert_equal(tensors.to_automata(expected.tags), expected)
    assert_equal(from_weighted_fsa(tensors * 0.5, expected.tags), expected * 0.5)


# ---- the pool, and workers of a DataLoader -----------------------------------------------------


@pytest.fixture
def source() -> Iterator[PoolAutomata]:
    result = PoolAutomata(SPRINT_OPTS)
    yield result
    SprintInstancePool.get_global_instance(SPRINT_OPTS).close()


def test_pool(source: PoolAutomata) -> None:
    pool = SprintInstancePool.get_global_instance(SPRINT_OPTS)
    edges, weights, start_end = pool.get_automata_for_batch(TAGS)
    assert_equal(source(TAGS), Automata(edges, weights, start_end, tags=TAGS))
    log_probs = np.zeros((300, 3, 79), np.float32)
    assert np.isfinite(source(TAGS).full_sum(log_probs, [300] * 3).loss).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_dataloader_workers(source: PoolAutomata, workers: int) -> None:
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'sprintcache[torch]'")
    from torch.utils.data import DataLoader

    import sprintcache
    from sprintcache.torch import AutomataBatch, AutomataCollate, MapDataset

    reader = sprintcache.SprintCacheDataset({"data": {"filename": str(DATA / "features.bundle")}})
    dataset = MapDataset(reader)
    loader = DataLoader(
        dataset,
        batch_sampler=[[0, 1, 2], [2]],
        num_workers=workers,
        collate_fn=AutomataCollate(pickle.loads(pickle.dumps(source))),
    )
    batches = list(loader)
    assert [type(batch) for batch in batches] == [AutomataBatch] * 2
    for batch, automata in batches:
        expected = source(batch.tags)
        assert_equal(automata, expected)
        assert batch.data["data"].shape[0] == len(automata)
