"""The aligner against runs of the real one, and against searches that share no code with it."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import sprintcache
from sprintcache import ArchiveWriter, compat, open_archive
from sprintcache.align import Aligner, AlignResult, align_segments, write_result
from sprintcache.automata.acceptor import Acceptor
from sprintcache.automata.builder import AutomatonBuilder
from sprintcache.cli import main
from sprintcache.errors import FormatError, LabelError
from tests.paths import DATA, full_data

SMALL = DATA / "aligner"
LIMIT = float(np.finfo(np.float32).max)


def folder_of_runs() -> Path:
    """All runs where they are, else the part that is in the repository."""
    full = full_data()
    return SMALL if full is None else full / "aligner"


RUNS: dict[str, Any] = json.loads((folder_of_runs() / "info.json").read_text("utf-8"))["runs"]


def aligner_of(folder: Path, run: str, **overrides: str) -> Aligner:
    return Aligner.from_sprint_config(folder / "configs" / f"{run}.config", overrides, base=folder)


@pytest.mark.parametrize("run", sorted(RUNS))
def test_runs_of_the_real_aligner(run: str, tmp_path: Path) -> None:
    folder, expected = folder_of_runs(), RUNS[run]
    aligner = aligner_of(folder, run)
    real = sprintcache.open_archive(folder / "alignments" / f"{run}.cache")
    scores = sprintcache.open_archive(folder / "posteriors" / f"{expected['posteriors']}.cache")
    failed = []
    with sprintcache.ArchiveWriter(tmp_path / "out.cache", compress=True) as writer:
        for result in align_segments(aligner, scores, real.segments, num_threads=2):
            assert write_result(writer, result, scores)
            facts = expected["scores"][result.tag]
            if result.alignment is None:
                failed.append(result.tag)
                continue
            assert result.score == pytest.approx(facts["total"], rel=6e-6)  # printed with 6 digits
            assert result.beam == facts["pruning"]
            assert result.num_active == pytest.approx(facts["states"], rel=6e-6)
    assert sorted(failed) == sorted(expected["failed"])
    ours = sprintcache.open_archive(tmp_path / "out.cache")
    assert list(ours) == list(real)
    for name in real:
        if aligner.mode == "viterbi" or name.endswith(".attribs"):
            assert ours.read_bytes(name) == real.read_bytes(name), name
            continue
        a, b = ours.read_alignment(name), real.read_alignment(name)
        np.testing.assert_array_equal(a.time, b.time)
        assert a.alphabet == b.alphabet
        assert (a.start, a.end) == (b.start, b.end)
        weights_a, weights_b = (
            dict(zip(zip(x.time.tolist(), x.emission.tolist(), strict=True), x.weight, strict=True))
            for x in (a, b)
        )
        assert weights_a.keys() == weights_b.keys()
        for key, weight in weights_a.items():
            assert abs(weight - weights_b[key]) <= 1e-5, key


# ---- other searches ----------------------------------------------------------------------------


@lru_cache(maxsize=1)
def mini_builder() -> AutomatonBuilder:
    return AutomatonBuilder(
        SMALL / "corpus" / "lexicon.mini.xml",
        across_word=True,
        phone_transition=(0.7, 0.3, 1.9, 0.4),
        silence_transition=(0.2, 1.1, LIMIT, 2.0),
        entry_transition=(LIMIT, 0.5, 1.5, 0.0),
    )


def mini(**options: Any) -> Aligner:
    keywords = {"min_beam": LIMIT / 4, "beam_factor": 1.0, **options}
    return Aligner(mini_builder(), **keywords)


def words_of(aligner: Aligner) -> list[str]:
    """The words of the lexicon, without compounds, silence and noises."""
    return [lemma.symbol for lemma, _ in aligner.builder.pronunciations if lemma.symbol.isalpha()]


def label_scores(aligner: Aligner, acceptor: Acceptor, x: NDArray[np.float32]) -> Any:
    """(T, A) float64 negative log probability of the label of each arc."""
    ids = acceptor.arc_label
    labels = aligner.builder.label_table[ids >> 26, ids & 0x03FFFFFF]
    return -x.astype(np.float64)[:, labels]


def forward(acceptor: Acceptor, steps: NDArray[np.float64], add: Any) -> NDArray[np.float64]:
    """(T + 1, S) scores of the states, `add` collects over arcs: minimum or log-sum."""
    sources = np.repeat(np.arange(acceptor.num_states), np.diff(acceptor.arc_begin.astype(int)))
    scores = np.full((len(steps) + 1, acceptor.num_states), np.inf)
    scores[0, acceptor.initial] = 0
    for t, step in enumerate(steps):
        for source, target, value in zip(sources, acceptor.arc_target, step, strict=True):
            scores[t + 1, target] = add(scores[t + 1, target], scores[t, source] + value)
    return scores


def steps_of(aligner: Aligner, acceptor: Acceptor, x: NDArray[np.float32]) -> NDArray[np.float64]:
    weights = acceptor.arc_weight.astype(np.float64)
    return label_scores(aligner, acceptor, x) + np.where(weights < LIMIT, weights, np.inf)


@given(seed=st.integers(0, 1000), num_frames=st.integers(0, 30), data=st.data())
def test_best_path_is_that_of_a_dense_search(seed: int, num_frames: int, data: Any) -> None:
    aligner = mini()
    words = words_of(aligner)
    text = " ".join(data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=3)))
    x = np.random.default_rng(seed).normal(size=(num_frames, aligner.builder.num_labels))
    x = x.astype(np.float32)
    acceptor = aligner.builder.acceptor(text)
    steps = steps_of(aligner, acceptor, x)
    final = acceptor.final_weight.astype(np.float64)
    best = (forward(acceptor, steps, min)[-1] + final).min()
    result = aligner.align(x, text)
    if np.isinf(best):
        assert result.alignment is None
        assert result.reason is not None
        assert "frames" in result.reason
        return
    assert result.score == pytest.approx(best, rel=1e-5, abs=1e-5)
    assert result.alignment is not None
    states = {acceptor.initial: 0.0}  # the labels of the path are a path of that score
    for t, label in enumerate(result.alignment.emission.tolist()):
        reached: dict[int, float] = {}
        for state, score in states.items():
            for arc in range(acceptor.arc_begin[state], acceptor.arc_begin[state + 1]):
                if acceptor.arc_label[arc] == label:
                    target = int(acceptor.arc_target[arc])
                    reached[target] = min(reached.get(target, np.inf), score + steps[t, arc])
        states = reached
    assert min(s + final[state] for state, s in states.items()) == pytest.approx(
        best, rel=1e-5, abs=1e-5
    )


@pytest.mark.parametrize("num_frames", [14, 40])
def test_weights_are_posteriors_of_a_dense_sum(num_frames: int) -> None:
    aligner = mini(mode="baum-welch")
    words = words_of(aligner)
    text = " ".join(words[:2])
    x = np.random.default_rng(3).normal(size=(num_frames, aligner.builder.num_labels))
    x = x.astype(np.float32)
    acceptor = aligner.builder.acceptor(text)
    steps = steps_of(aligner, acceptor, x)

    def log_add(a: float, b: float) -> float:
        return float(-np.logaddexp(-a, -b))

    alpha = forward(acceptor, steps, log_add)
    sources = np.repeat(np.arange(acceptor.num_states), np.diff(acceptor.arc_begin.astype(int)))
    beta = np.full(alpha.shape, np.inf)
    beta[-1] = acceptor.final_weight
    expected: dict[tuple[int, int], float] = {}
    total = -np.logaddexp.reduce(-(alpha[-1] + beta[-1]))
    for t in reversed(range(num_frames)):
        for source, target, label, step in zip(
            sources, acceptor.arc_target, acceptor.arc_label, steps[t], strict=True
        ):
            rest = step + beta[t + 1, target]
            beta[t, source] = log_add(beta[t, source], rest)
            key = (t, int(label))
            expected[key] = expected.get(key, 0.0) + np.exp(total - alpha[t, source] - rest)
    result = aligner.align(x, text)
    assert result.score == pytest.approx(total, rel=1e-6)
    alignment = result.alignment
    assert alignment is not None
    items = zip(alignment.time.tolist(), alignment.emission.tolist(), alignment.weight, strict=True)
    ours = {(t, label): float(weight) for t, label, weight in items}
    for key, value in expected.items():
        assert abs(ours.get(key, 0.0) - value) <= 1e-6, key
    for frame in range(num_frames):
        weights = alignment.weight[alignment.time == frame].tolist()
        assert weights == sorted(weights, reverse=True)


def test_the_first_beam_is_that_of_sprint() -> None:
    aligner = Aligner(mini_builder(), until_score_is_equal=False)
    x = np.zeros((50, aligner.builder.num_labels), np.float32)
    assert aligner.align(x, words_of(aligner)[0]).beam == 50


def pruned_score(acceptor: Acceptor, steps: NDArray[np.float64], beam: float) -> float:
    """The best score of paths that are never more than `beam` worse than the best of the frame."""
    scores = {acceptor.initial: 0.0}
    for step in steps:
        reached: dict[int, float] = {}
        for source, score in scores.items():
            for arc in range(acceptor.arc_begin[source], acceptor.arc_begin[source + 1]):
                target = int(acceptor.arc_target[arc])
                reached[target] = min(reached.get(target, np.inf), score + step[arc])
        limit = min(reached.values()) + beam
        scores = {state: score for state, score in reached.items() if score <= limit}
    return min(score + float(acceptor.final_weight[state]) for state, score in scores.items())


@pytest.mark.parametrize("seed", [1, 3, 11])
def test_rounds_end_with_the_first_score_that_is_equal(seed: int) -> None:
    aligner = mini(min_beam=5.0, beam_factor=2.0)
    x = 6 * np.random.default_rng(seed).normal(size=(40, aligner.builder.num_labels))
    x = x.astype(np.float32)
    text = " ".join(words_of(aligner)[:3])
    acceptor = aligner.builder.acceptor(text)
    steps = steps_of(aligner, acceptor, x)
    beam, before, score = 5.0, np.inf, pruned_score(acceptor, steps, 5.0)
    while score != before:
        beam, before, score = 2 * beam, score, pruned_score(acceptor, steps, 2 * beam)
    result = aligner.align(x, text)
    assert (result.beam, result.score) == (beam, pytest.approx(score, rel=1e-5))


# ---- what fails --------------------------------------------------------------------------------


def test_reasons() -> None:
    aligner = mini(min_beam=50.0)
    labels = aligner.builder.num_labels
    word = words_of(aligner)[0]
    x = np.zeros((50, labels), np.float32)
    short = aligner.align(x[:1], f"{word} {word} {word}", "corpus/rec/1")
    assert short.tag == "corpus/rec/1"
    assert short.score is None
    assert "too few frames: 1, the orthography needs at least " in str(short.reason)
    for value in (-np.inf, np.nan):
        bad = x.copy()
        bad[20] = value
        assert "no path with a finite score" in str(aligner.align(bad, word).reason)
    with pytest.raises(LabelError, match="columns"):
        aligner.align(x[:, :1], word)
    with pytest.raises(ValueError, match=r"shape \(T, L\)"):
        aligner.align(x[0], word)
    with pytest.raises(ValueError, match="orthography"):
        aligner.align(x)


def test_batch_is_the_single_calls() -> None:
    aligner = mini(min_beam=50.0)
    words = words_of(aligner)
    x = np.random.default_rng(0).normal(size=(4, 60, aligner.builder.num_labels)).astype(np.float32)
    lengths, texts = [60, 40, 50, 2], [" ".join(words[i : i + 2]) for i in range(4)]
    batch = aligner.align_batch(x, lengths, texts, ["a", "b", "c", "d"], num_threads=3)
    for row, length, text, result in zip(x, lengths, texts, batch, strict=True):
        single = aligner.align(row[:length], text)
        assert (single.score, single.reason) == (result.score, result.reason)
        if single.alignment is not None and result.alignment is not None:
            assert single.alignment.emission.tolist() == result.alignment.emission.tolist()
    assert [result.tag for result in batch] == ["a", "b", "c", "d"]
    assert batch[3].alignment is None
    with pytest.raises(ValueError, match="length 61"):
        aligner.align_batch(x, [61, 1, 1, 1], texts)


VITERBI_RUNS = [
    run
    for run in sorted(RUNS)
    if (folder_of_runs() / "words" / f"{run}.ctm.gz").exists() and not run.endswith("bw")
]


@pytest.mark.parametrize("run", VITERBI_RUNS)
def test_words_of_a_path(run: str) -> None:
    """The words that a script found from the archiver's text, corpus and lexicon alone."""
    folder = folder_of_runs()
    expected: dict[str, list[tuple[str, float, float]]] = {}
    with gzip.open(folder / "words" / f"{run}.ctm.gz", "rt", encoding="utf-8") as file:
        for line in file:
            name, _, start, duration, symbol = line.split()
            end = float(start) + float(duration)
            expected.setdefault(name, []).append((symbol, float(start), end))
    scores = sprintcache.open_archive(folder / "posteriors" / f"{RUNS[run]['posteriors']}.cache")
    for result in align_segments(aligner_of(folder, run), scores):
        if result.tag not in expected:
            continue
        assert result.words[0].start == 0
        assert result.words[-1].end == result.num_frames
        assert all(a.end == b.start for a, b in zip(result.words, result.words[1:], strict=False))
        shift = float(scores.read_attributes(result.tag)["frame-shift"])
        words = [word for word in result.words if not word.is_silence]
        for word, (symbol, start, end) in zip(words, expected[result.tag], strict=True):
            assert word.symbol.replace(" ", "_") == symbol
            assert word.start * shift == pytest.approx(start)
            assert word.end * shift == pytest.approx(end)


def test_prior_files(tmp_path: Path) -> None:
    folder = folder_of_runs()
    path = tmp_path / "prior.xml"
    for text, match in (
        ("<vector-f32 size='2'>1 2</vector-f32>", "27 values"),
        ("<vector-f32 size='2'>1 x</vector-f32>", "not a vector"),
        ("<vector", "not a vector"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=match):
            aligner_of(
                folder, "mono1-prior", **{"*.acoustic-model.mixture-set.prior-file": str(path)}
            )


def test_the_scale_of_a_prior_is_one_unless_it_is_set(tmp_path: Path) -> None:
    folder, run = folder_of_runs(), "mono1-prior"
    lines = (folder / "configs" / f"{run}.config").read_text("utf-8").splitlines()
    kept = [line for line in lines if "priori-scale" not in line]
    assert len(kept) < len(lines)
    (tmp_path / "x.config").write_text("\n".join(kept))
    scale = {"*.acoustic-model.mixture-set.priori-scale": "1"}
    ours, expected = (
        Aligner.from_sprint_config(tmp_path / "x.config", changes, base=folder)
        for changes in ({}, scale)
    )
    words = words_of(ours)[:2]
    x = np.random.default_rng(2).normal(size=(80, ours.builder.num_labels)).astype(np.float32)
    results = [aligner.align(x, " ".join(words)) for aligner in (ours, expected)]
    assert results[0].score is not None
    assert results[0].score == results[1].score


# ---- the command -------------------------------------------------------------------------------


def command(folder: Path, run: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(folder)  # paths in the configurations start there
    posteriors = f"posteriors/{RUNS[run]['posteriors']}.cache"
    return main(["align", posteriors, "--config", f"configs/{run}.config", *arguments])


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = folder_of_runs(), "mini-plain"
    out, ctm, table = (str(tmp_path / name) for name in ("out.cache", "w.ctm", "scores.tsv"))
    outputs = ("--to", out, "--ctm", ctm, "--scores", table, "--worst", "1", "--compress")
    assert command(folder, run, monkeypatch, *outputs) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = RUNS[run]["scores"]
    worst = max(facts, key=lambda name: facts[name]["total"] / facts[name]["frames"])
    assert lines[0] == f"{len(facts)} of {len(facts)} segments aligned"
    assert lines[2].split()[1] == worst
    with gzip.open(folder / "words" / f"{run}.ctm.gz", "rt", encoding="utf-8") as file:
        assert Path(ctm).read_text("utf-8") == file.read()
    rows = [line.split("\t") for line in Path(table).read_text("utf-8").splitlines()[1:]]
    assert {row[0]: float(row[2]) for row in rows} == pytest.approx(
        {name: fact["total"] for name, fact in facts.items()}, rel=1e-5
    )
    real = sprintcache.open_archive(f"alignments/{run}.cache")
    ours = sprintcache.open_archive(out)
    assert all(ours.read_bytes(name) == real.read_bytes(name) for name in real)
    assert command(folder, run, monkeypatch, *outputs) == 1  # the files exist
    assert "--overwrite" in capsys.readouterr().err


def test_what_is_written_is_read_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run, out = folder_of_runs(), "mini-plain", str(tmp_path / "out.cache")
    assert command(folder, run, monkeypatch, "--to", out) == 0
    alphabet = aligner_of(folder, run).builder.alphabet
    with contextlib.ExitStack() as stack:
        readers = [compat.FileArchive(out)]
        if importlib.util.find_spec("returnn") is not None:
            readers.append(importlib.import_module("returnn.sprint.cache").FileArchive(out))
            stack.callback(readers[-1].f.close)
        for reader in readers:
            reader.allophones = [alphabet.symbol(allophone) for allophone in alphabet.allophones]
        archive = stack.enter_context(sprintcache.open_archive(out))
        for name in archive.segments:
            alignment = archive.read_alignment(name)
            columns = alignment.time, alignment.allophone, alignment.state, alignment.weight
            items = list(zip(*(column.tolist() for column in columns), strict=True))
            assert items
            for reader in readers:
                assert [tuple(item) for item in reader.read(name, "align")] == items


def test_command_reports_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = folder_of_runs(), "mini-plain"
    names = tmp_path / "names"
    names.write_text("mini/rec000/1\nmini/rec009/1\nmini/nobody/1\n")
    with sprintcache.open_archive(folder / "posteriors" / "mini.mono3.1x.mid.cache") as scores:
        matrix = scores.read_features("mini/rec009/1")
        with sprintcache.ArchiveWriter(tmp_path / "short.cache") as writer:
            writer.add_features("mini/rec000/1", scores.read_features("mini/rec000/1"))
            writer.add_features("mini/rec009/1", matrix[:5])
    monkeypatch.chdir(folder)
    arguments = ["align", str(tmp_path / "short.cache"), "--config", f"configs/{run}.config"]
    for failed, written in (("empty", 2), ("omit", 1)):
        out = tmp_path / f"{failed}.cache"
        more = ["--to", str(out), "--list", str(names), "--failed", failed]
        assert main([*arguments, *more]) == 1
        captured = capsys.readouterr()
        assert captured.out.startswith("1 of 3 segments aligned, 2 without an alignment\n")
        assert "mini/rec009/1: too few frames: 5, " in captured.err
        assert "mini/nobody/1: the archive has no scores for it" in captured.err
        assert len(sprintcache.open_archive(out).segments) == written
    assert (
        len(sprintcache.open_archive(tmp_path / "empty.cache").read_alignment("mini/rec009/1")) == 0
    )


# ---- CTC


PHONES = "abcde"


def ctc_aligner(folder: Path) -> tuple[Aligner, dict[str, int], int]:
    """An aligner of one-phone words, the label of each word, and that of blank."""
    phonemes = "".join(f"<phoneme><symbol>{p}</symbol></phoneme>" for p in [*PHONES, "blank"])
    lemmas = "".join(f"<lemma><orth>{p}</orth><phon>{p}</phon></lemma>" for p in PHONES)
    path = folder / "lexicon.xml"
    path.write_text(
        f"<lexicon><phoneme-inventory>{phonemes}</phoneme-inventory>"
        f"<lemma special='blank'><orth>[BLANK]</orth><phon>blank</phon></lemma>{lemmas}</lexicon>"
    )
    builder = AutomatonBuilder(
        path, topology="ctc", states_per_phone=1, history_length=0, future_length=0
    )
    symbols = [builder.alphabet.symbol(allophone) for allophone in builder.alphabet.allophones]
    labels = {
        symbol.split("{")[0]: int(builder.label_table[0, i]) for i, symbol in enumerate(symbols)
    }
    return Aligner(builder, min_beam=1e9), labels, labels.pop("blank")


def ctc_cases(count: int, num_labels: int) -> Iterator[tuple[NDArray[np.float32], list[str]]]:
    rng = np.random.default_rng(7)
    for _ in range(count):
        words = [PHONES[i] for i in rng.integers(0, 3, int(rng.integers(1, 8)))]
        scores = rng.normal(0, 2, (int(rng.integers(1, 20)), num_labels))
        scores -= np.log(np.exp(scores).sum(1, keepdims=True))
        yield scores.astype(np.float32), words


def test_ctc_by_definition(tmp_path: Path) -> None:
    """Against the rules of CTC in a table of (label, frame), blanks at the even rows."""
    aligner, labels, blank = ctc_aligner(tmp_path)
    outcomes = {True: 0, False: 0}
    for scores, words in ctc_cases(200, len(PHONES) + 1):
        row_labels = [blank]
        for word in words:
            row_labels += [labels[word], blank]
        best = np.full(len(row_labels), -np.inf)
        best[:2] = scores[0, row_labels[:2]]
        for frame in scores[1:]:
            sources = np.full((3, len(row_labels)), -np.inf)
            sources[0], sources[1, 1:] = best, best[:-1]
            for row in range(3, len(row_labels), 2):
                if row_labels[row] != row_labels[row - 2]:
                    sources[2, row] = best[row - 2]
            best = sources.max(0) + frame[row_labels]
        score = max(best[-2:])
        result = aligner.align(scores, " ".join(words))
        outcomes[result.alignment is not None] += 1
        if result.alignment is None:
            assert score == -np.inf
            assert "too few frames" in str(result.reason)
            continue
        table = aligner.builder.label_table
        path = table[result.alignment.state, result.alignment.allophone]
        assert result.score == pytest.approx(-score, rel=1e-5, abs=1e-5)
        assert scores[np.arange(len(scores)), path].sum() == pytest.approx(
            score, rel=1e-5, abs=1e-5
        )
        collapsed = path[np.append(True, path[1:] != path[:-1])]
        assert [labels[word] for word in words] == [x for x in collapsed if x != blank]
    assert min(outcomes.values()) > 20


def test_ctc_like_torchaudio(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = pytest.importorskip(
        "torchaudio.functional", reason="torchaudio is not installed", exc_type=ImportError
    )
    aligner, labels, blank = ctc_aligner(tmp_path)
    for scores, words in ctc_cases(200, len(PHONES) + 1):
        result = aligner.align(scores, " ".join(words))
        if result.alignment is None:
            continue
        targets = torch.tensor([[labels[word] for word in words]])
        theirs, _ = functional.forced_align(torch.from_numpy(scores)[None], targets, blank=blank)
        path = aligner.builder.label_table[result.alignment.state, result.alignment.allophone]
        assert path.tolist() == theirs[0].tolist()


def test_a_result_without_a_tag_is_not_written(tmp_path: Path) -> None:
    path = SMALL / "posteriors" / "mini.mono3.1x.mid.cache"
    with ArchiveWriter(tmp_path / "x.cache") as writer, open_archive(path) as scores:
        with pytest.raises(ValueError, match="without a tag"):
            write_result(writer, AlignResult(None, None, None, 0, reason="none"), scores)
        assert len(writer) == 0
